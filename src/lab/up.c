/* The state file is written before the first process starts, so that whatever happens afterwards,
 * `lab down` knows what to look for. */
#include "lab/up.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/str.h"
#include "lab/node.h"

#define PRIMARY_MS 90000 /* initdb included, on a slow disk */
#define REPLICAS_MS 120000
#define ASK_MS 1000
#define POLL_MS 50

static volatile sig_atomic_t interrupted;

static void note_signal(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

void up_catch_signals(void)
{
    struct sigaction action = {.sa_handler = note_signal};
    (void)sigaction(SIGINT, &action, NULL); /* valid signals: cannot fail */
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
}

bool up_interrupted(void)
{
    return interrupted != 0;
}

void up_reap(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) {
        /* another one */
    }
}

static void say(const char *line)
{
    (void)printf("  %s\n", line);
    (void)fflush(stdout);
}

static double seconds_since(struct mono start)
{
    return (double)mono_sub(mono_now(), start) / 1000.0;
}

static bool guards_run(const struct lab *lab)
{
    for (uint32_t i = 0; i < lab->node_count; i++) {
        if (lab->node[i].guard.pid != 0 && !process_runs(&lab->node[i].guard)) {
            return false;
        }
    }
    return true;
}

bool up_await_whole(const struct lab *lab, struct mono deadline, struct view *out_view)
{
    for (;;) {
        view_take(lab, ASK_MS, out_view);
        if (view_is_whole(lab, out_view)) {
            return true;
        }
        if (up_interrupted() || mono_before(deadline, mono_now())) {
            return false;
        }
        process_pause_ms(POLL_MS);
    }
}

static void tell_progress(const struct lab *lab, const struct view *view, struct view *told,
                          struct mono start)
{
    for (uint32_t i = 0; i < lab->node_count; i++) {
        const struct view_node *node = &view->node[i];
        struct view_node *before = &told->node[i];
        if (!node->reached ||
            (str_equal(node->state, before->state) && node->primary == before->primary &&
             node->streaming == before->streaming)) {
            continue;
        }
        *before = *node;
        (void)printf("  %5.1f s  %s: %s%s\n", seconds_since(start), lab->node[i].name, node->state,
                     node->primary ? ", primary" : (node->streaming ? ", streaming" : ""));
        (void)fflush(stdout);
    }
}

static enum err await_nodes(const struct lab *lab, bool all, struct mono start, struct view *told,
                            struct err_detail *detail)
{
    struct view view;
    struct mono deadline = mono_add(mono_now(), all ? REPLICAS_MS : PRIMARY_MS);
    for (;;) {
        view_take(lab, ASK_MS, &view);
        tell_progress(lab, &view, told, start);
        if (all ? view_is_whole(lab, &view) : view.primary >= 0) {
            return ERR_OK;
        }
        if (up_interrupted()) {
            return err_set(detail, ERR_CANCELED, "interrupted");
        }
        if (!guards_run(lab)) {
            return err_set(detail, ERR_REFUSED, "a node ended while it was started");
        }
        if (mono_before(deadline, mono_now())) {
            return err_set(detail, ERR_REFUSED, "%s in time",
                           all ? "the replicas do not stream" : "no primary came up");
        }
        process_pause_ms(POLL_MS);
    }
}

static enum err start_all(struct lab *lab, struct mono start, struct err_detail *detail)
{
    static struct view told;
    (void)memset(&told, 0, sizeof(told));
    enum err err = store_start(lab, detail);
    if (err == ERR_OK) {
        (void)printf("  %5.1f s  store: pid %d\n", seconds_since(start), lab->store.pid);
        err = lab_save(lab, detail);
    }
    if (err == ERR_OK) {
        err = node_start(lab, 0, detail); /* first and alone: so n1 is the first primary */
    }
    if (err == ERR_OK) {
        err = lab_save(lab, detail);
    }
    if (err == ERR_OK) {
        err = await_nodes(lab, false, start, &told, detail);
    }
    for (uint32_t i = 1; err == ERR_OK && i < lab->node_count; i++) {
        err = node_start(lab, i, detail);
    }
    if (err == ERR_OK) {
        err = lab_save(lab, detail);
    }
    return err == ERR_OK ? await_nodes(lab, true, start, &told, detail) : err;
}

/* The last lines of every log, for a start that failed. */
static void show_logs(const struct lab *lab)
{
    char path[PATH_SIZE];
    char text[4096];
    char tail[] = "/usr/bin/tail";
    char lines[] = "-n8";
    for (uint32_t i = 0; i < lab->node_count; i++) {
        node_log_path(lab, i, path);
        char *argv[] = {tail, lines, path, NULL};
        if (access(path, R_OK) == 0 &&
            process_capture(argv, NULL, text, sizeof(text), NULL) == ERR_OK) {
            (void)fprintf(stderr, "--- %s:\n%s", path, text);
        }
    }
}

static enum err make_room(struct lab *lab, struct err_detail *detail)
{
    struct lab old = *lab;
    if (!lab_exists(lab)) {
        return ERR_OK;
    }
    enum err err = lab_load(&old, detail);
    if (err == ERR_OK && node_any_runs(&old)) {
        return err_set(detail, ERR_REFUSED,
                       "a lab of %u nodes is already running in %s: see it with `holdfast lab "
                       "status`, end it with `holdfast lab down`",
                       old.node_count, lab->dir);
    }
    if (err != ERR_OK) {
        return err;
    }
    say("removing what is left of an earlier lab");
    (void)node_end_all(&old, say); /* nothing runs: this clears shared memory */
    err = lab_clear(lab, detail);
    return err == ERR_OK ? lab_make_dir(lab, detail) : err;
}

enum err up_run(struct lab *lab, const struct up_options *options, struct err_detail *detail)
{
    struct mono start = mono_now();
    struct err_detail down_detail;
    enum err err = lab_find_postgres(lab, options->pg_bin, detail);
    if (err == ERR_OK) {
        err = lab_make_dir(lab, detail);
    }
    if (err == ERR_OK) {
        err = lab_lock(lab, detail);
    }
    if (err == ERR_OK) {
        err = make_room(lab, detail);
    }
    if (err == ERR_OK) {
        err = lab_choose(lab, options->nodes, options->ttl_ms, detail);
    }
    if (err == ERR_OK) {
        err = lab_save(lab, detail);
    }
    if (err != ERR_OK) {
        lab_unlock(lab);
        lab_remove_unused(lab);
        return err; /* nothing was started */
    }
    (void)printf("lab: %u nodes, ttl %.1f s, in %s\n", lab->node_count,
                 (double)lab->ttl_ms / 1000.0, lab->dir);
    err = node_write_files(lab, detail);
    if (err == ERR_OK) {
        err = start_all(lab, start, detail);
    }
    if (err == ERR_OK) {
        (void)printf("lab: up after %.1f s\n", seconds_since(start));
        lab_unlock(lab);
        return ERR_OK;
    }
    if (err != ERR_CANCELED) {
        show_logs(lab);
    }
    lab_unlock(lab);
    if (!options->keep && down_run(lab, false, &down_detail) != ERR_OK) {
        (void)fprintf(stderr, "holdfast lab: %s\n", down_detail.text); /* beside the first error */
    }
    return err;
}

enum err down_run(struct lab *lab, bool keep, struct err_detail *detail)
{
    if (!lab_exists(lab)) {
        (void)printf("lab: none in %s\n", lab->dir);
        return ERR_OK;
    }
    enum err err = lab_lock(lab, detail);
    if (err == ERR_OK) {
        err = lab_load(lab, detail);
    }
    if (err == ERR_OK && !node_end_all(lab, say)) {
        err = err_set(detail, ERR_REFUSED, "some processes could not be ended");
    }
    if (err == ERR_OK && !keep) {
        err = lab_remove_tree(lab->dir, detail);
    }
    lab_unlock(lab);
    if (err == ERR_OK) {
        (void)printf("lab: down%s%s\n", keep ? ", files kept in " : "", keep ? lab->dir : "");
    }
    return err;
}
