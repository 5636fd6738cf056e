/* Four acts on a cluster of one's own. Nothing in the verdicts rests on what the agents say: write
 * gap and missing rows come from the clients, timelines from pg_control, rows from psql. */
#include "lab/demo.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/str.h"
#include "lab/node.h"
#include "lab/story.h"
#include "lab/view.h"
#include "lab/writer.h"

#define EXIT_FAILED 1
#define EXIT_INTERRUPTED 130
#define CLIENTS 4
#define PACE_MS 10
#define PROBE_MS 50
#define FREEZE_MS 10000
#define ACT_MS 90000 /* until the cluster is whole again */
#define ASK_MS 300
#define POLL_MS 20
#define QUIET_POLL_MS 200
#define ROW_WAL_BYTES 256   /* at most, of one row's commit */
#define LAG_ALLOWED 1048576 /* maximum_lag_on_failover of the lab's configuration */
#define ACTS_MAX 4

struct act {
    const char *title;
    struct writer_report report;
    uint64_t missing;
    bool right;
};

struct demo {
    struct lab *lab;
    struct writer *writer;
    struct story story;
    struct view view;
    int leader; /* before the fault */
    int64_t fault_us;
    struct mono whole_since;
    uint64_t missing_before;
    struct act act[ACTS_MAX];
    uint32_t act_count;
};

typedef bool condition(struct demo *demo);

static const char *name_of(const struct demo *demo, int index)
{
    return index < 0 ? "nobody" : demo->lab->node[index].name;
}

/* Follows the story until the condition holds. False: time is up, which is told, or Ctrl-C. */
static bool await(struct demo *demo, const char *what, int64_t timeout_ms, condition *holds)
{
    struct mono deadline = mono_add(mono_now(), timeout_ms);
    for (;;) {
        up_reap();
        view_take(demo->lab, ASK_MS, &demo->view);
        story_follow(demo->lab, &demo->story);
        if (holds(demo)) {
            return true;
        }
        if (up_interrupted()) {
            return false;
        }
        if (mono_before(deadline, mono_now())) {
            story_say(&demo->story, "NOT in time: %s", what);
            return false;
        }
        process_pause_ms(POLL_MS);
    }
}

/* For a while, that is: what the nodes tell of themselves may be as old as a round of theirs. */
static bool is_whole(struct demo *demo)
{
    if (!view_is_whole(demo->lab, &demo->view)) {
        demo->whole_since = MONO_NEVER;
    } else if (demo->whole_since.ms == MONO_NEVER.ms) {
        demo->whole_since = mono_now();
    }
    return mono_before(demo->whole_since, mono_add(mono_now(), -demo->lab->ttl_ms / 4));
}

static bool is_written(struct demo *demo)
{
    return demo->view.primary >= 0 && writer_acked_since(demo->writer, demo->fault_us, true);
}

static bool is_led_by_another(struct demo *demo)
{
    return is_written(demo) && demo->view.primary != demo->leader;
}

static void control_value(const struct lab *lab, uint32_t index, const char *label, char *out,
                          size_t out_size)
{
    char program[PATH_SIZE];
    char data_dir[PATH_SIZE];
    char text[8192];
    node_data_dir(lab, index, data_dir);
    bool fits = str_format(program, sizeof(program), "%.900s/pg_controldata", lab->pg_bin);
    char *argv[] = {program, data_dir, NULL};
    str_copy_cut(out, out_size, "?");
    if (!fits || process_capture(argv, NULL, text, sizeof(text), NULL) != ERR_OK) {
        return;
    }
    char *at = strstr(text, label);
    if (at != NULL) {
        at += strlen(label);
        at += strspn(at, ": ");
        at[strcspn(at, "\n")] = '\0';
        str_copy_cut(out, out_size, at);
    }
}

static void psql_value(const struct lab *lab, const char *sql, char *out, size_t out_size)
{
    char program[PATH_SIZE];
    char conninfo[1024];
    char query[256];
    struct err_detail detail = {.sys_errno = 0};
    char flags[] = "-XAtc";
    lab_conninfo(lab, "read-write", conninfo, sizeof(conninfo));
    bool fits = str_format(program, sizeof(program), "%.900s/psql", lab->pg_bin) &&
                str_copy(query, sizeof(query), sql);
    char *argv[] = {program, flags, query, conninfo, NULL};
    ASSERT(fits);
    if (process_capture(argv, NULL, out, out_size, &detail) != ERR_OK) {
        str_copy_cut(out, out_size, detail.text);
    }
    out[strcspn(out, "\n")] = '\0';
}

static void show_facts(struct demo *demo, const char *title)
{
    char sysid[64];
    char timeline[32];
    char rows[256];
    (void)printf(
        "\n%s (pg_controldata, psql; a replica's timeline is that of its last restartpoint):\n",
        title);
    for (uint32_t i = 0; i < demo->lab->node_count; i++) {
        control_value(demo->lab, i, "Database system identifier", sysid, sizeof(sysid));
        control_value(demo->lab, i, "Latest checkpoint's TimeLineID", timeline, sizeof(timeline));
        (void)printf("  %s  %-7s  system_identifier %s  timeline %s  postmaster %d\n",
                     demo->lab->node[i].name, (int)i == demo->view.primary ? "primary" : "replica",
                     sysid, timeline, node_postmaster(demo->lab, i));
    }
    psql_value(demo->lab, "SELECT count(*) FROM " WRITER_TABLE, rows, sizeof(rows));
    (void)printf("  rows as psql sees them: %s\n", rows);
    (void)fflush(stdout);
}

static struct act *begin_act(struct demo *demo, const char *title)
{
    struct act *act = &demo->act[demo->act_count++];
    ASSERT(demo->act_count <= ACTS_MAX);
    act->title = title;
    (void)printf("\nAct %u: %s\n", demo->act_count, title);
    demo->leader = demo->view.primary;
    story_begin(demo->lab, &demo->story);
    demo->fault_us = writer_now_us();
    return act;
}

/* The clients' account of the act. right: what the act itself demanded was seen. */
static bool end_act(struct demo *demo, struct act *act, bool right, uint64_t missing_allowed)
{
    struct err_detail detail = {.sys_errno = 0};
    struct writer_check check = {.acked = 0};
    enum err err = up_interrupted() ? ERR_CANCELED : writer_check(demo->writer, &check, &detail);
    writer_report(demo->writer, demo->fault_us, &act->report);
    if (err == ERR_CANCELED) {
        return false;
    }
    if (err != ERR_OK) {
        (void)printf("  %s\n", detail.text);
        return false;
    }
    const struct journal_report *all = &act->report.all;
    act->missing = check.missing - demo->missing_before;
    demo->missing_before = check.missing;
    if (all->two_writable) {
        (void)printf("  TWO WRITABLE SERVERS: %s and %s for %.3f s\n",
                     name_of(demo, all->two_node[0]), name_of(demo, all->two_node[1]),
                     (double)all->two_writable_us / 1e6);
    }
    act->right = right && act->missing <= missing_allowed && !all->two_writable;
    (void)printf("  leader now: %s (was %s), timeline %" PRId64 "\n",
                 name_of(demo, demo->view.primary), name_of(demo, demo->leader),
                 demo->view.primary < 0 ? 0 : demo->view.node[demo->view.primary].timeline);
    (void)printf("  write gap %.3f s; %" PRIu64 " rows acknowledged in this act, %" PRIu64
                 " of them missing; writes refused or cut off: %" PRIu64 "\n",
                 (double)act->report.clients.gap_us / 1e6, act->report.clients.acked, act->missing,
                 act->report.clients.refused + act->report.clients.unknown);
    (void)printf("  %s\n", act->right ? "right" : "WRONG");
    (void)fflush(stdout);
    return act->right;
}

static bool await_whole(struct demo *demo)
{
    demo->whole_since = MONO_NEVER;
    bool whole = await(demo, "every node streams again", ACT_MS, is_whole);
    if (whole) {
        story_say(&demo->story, "all %u nodes are back: %s leads, the others stream",
                  demo->lab->node_count, name_of(demo, demo->view.primary));
    }
    return whole;
}

static bool fault_failed(const struct demo *demo, const struct err_detail *detail)
{
    story_say(&demo->story, "%s", detail->text);
    return false;
}

static bool act_postmaster(struct demo *demo)
{
    struct err_detail detail = {.sys_errno = 0};
    pid_t pid = 0;
    struct act *act = begin_act(demo, "the primary's postmaster is killed (kill -9)");
    uint32_t leader = (uint32_t)demo->leader;
    if (node_kill(demo->lab, leader, NODE_POSTMASTER, &pid, &detail) != ERR_OK) {
        return fault_failed(demo, &detail);
    }
    story_say(&demo->story, "kill -9 %d, the postmaster of %s", pid, name_of(demo, demo->leader));
    bool right = await(demo, "a write is acknowledged", ACT_MS, is_written);
    if (right) {
        story_say(&demo->story, "writes are acknowledged again, by %s",
                  name_of(demo, demo->view.primary));
    }
    return end_act(demo, act, right && await_whole(demo), 0);
}

static const char *how_rejoined(const struct demo *demo, uint32_t index, off_t since)
{
    if (story_has(demo->lab, index, since, "reason=CLONE")) {
        return "by a new copy of the primary";
    }
    return story_has(demo->lab, index, since, "reason=REWIND")
               ? "by pg_rewind: its last WAL had reached nobody, and was set aside"
               : "as a replica, with its data as they were";
}

static bool act_node(struct demo *demo)
{
    struct err_detail detail = {.sys_errno = 0};
    pid_t pid = 0;
    struct act *act = begin_act(demo, "the primary's whole node is lost (kill -9 to all of it)");
    uint32_t leader = (uint32_t)demo->leader;
    off_t since = demo->story.offset[leader];
    if (node_kill(demo->lab, leader, NODE_ALL, &pid, &detail) != ERR_OK) {
        return fault_failed(demo, &detail);
    }
    story_say(&demo->story, "guard, agent and every PostgreSQL process of %s are gone",
              name_of(demo, demo->leader));
    bool right = await(demo, "another node is written to", ACT_MS, is_led_by_another);
    if (right) {
        story_say(&demo->story, "writes are acknowledged again, by %s",
                  name_of(demo, demo->view.primary));
        story_say(&demo->story, "%s is started again", name_of(demo, demo->leader));
        right = node_start(demo->lab, leader, &detail) == ERR_OK &&
                lab_save(demo->lab, &detail) == ERR_OK;
    }
    right = right && await_whole(demo);
    if (right) {
        story_say(&demo->story, "%s came back %s", name_of(demo, demo->leader),
                  how_rejoined(demo, leader, since));
    }
    return end_act(demo, act, right, LAG_ALLOWED / ROW_WAL_BYTES);
}

static bool act_switchover(struct demo *demo)
{
    char body[256];
    char answer[512];
    long status = 0;
    struct act *act = begin_act(demo, "a planned switchover");
    uint32_t leader = (uint32_t)demo->leader;
    uint32_t candidate = (leader + 1) % demo->lab->node_count;
    ASSERT(str_format(body, sizeof(body), "{\"leader\": \"%s\", \"candidate\": \"%s\"}",
                      demo->lab->node[leader].name, demo->lab->node[candidate].name));
    story_say(&demo->story, "POST /switchover to %s: %s", demo->lab->node[leader].name, body);
    view_post(&demo->lab->node[leader], "/switchover", body, &status, answer, sizeof(answer));
    story_follow(demo->lab, &demo->story);
    story_say(&demo->story, "answer: %ld %s", status, answer);
    bool right =
        status == 200 && await(demo, "the candidate is written to", ACT_MS, is_led_by_another);
    right = right && demo->view.primary == (int)candidate;
    return end_act(demo, act, await_whole(demo) && right, 0);
}

static bool never(struct demo *demo)
{
    (void)demo;
    return false;
}

/* For so long, with the story: what is watched is that nothing happens. */
static void watch(struct demo *demo, int64_t ms, condition *ends)
{
    struct mono end = mono_add(mono_now(), ms);
    while (mono_before(mono_now(), end) && !up_interrupted() && !ends(demo)) {
        up_reap();
        story_follow(demo->lab, &demo->story);
        process_pause_ms(POLL_MS);
    }
}

static pid_t agent_pid(const struct demo *demo, uint32_t index)
{
    static struct process_list list;
    node_list(demo->lab, index, &list);
    const struct process *agent = process_first(&list, PROCESS_AGENT);
    return agent == NULL || agent->stopped ? 0 : agent->id.pid;
}

static bool act_frozen(struct demo *demo)
{
    struct err_detail detail = {.sys_errno = 0};
    pid_t frozen = 0;
    struct act *act = begin_act(demo, "the primary's agent is frozen (SIGSTOP)");
    uint32_t leader = (uint32_t)demo->leader;
    pid_t postmaster = node_postmaster(demo->lab, leader);
    if (node_signal(demo->lab, leader, NODE_AGENT, SIGSTOP, &frozen, &detail) != ERR_OK) {
        return fault_failed(demo, &detail);
    }
    story_say(&demo->story, "kill -STOP %d, the agent of %s; nobody wakes it; %d s go by", frozen,
              name_of(demo, demo->leader), FREEZE_MS / 1000);
    watch(demo, FREEZE_MS, never);
    pid_t successor = agent_pid(demo, leader);
    bool right = await_whole(demo);
    writer_report(demo->writer, demo->fault_us, &act->report);
    bool same =
        node_postmaster(demo->lab, leader) == postmaster && demo->view.primary == demo->leader;
    uint64_t failed = act->report.clients.refused + act->report.clients.unknown;
    story_say(&demo->story,
              "the guard put agent %d in its place; postmaster %s (%d); %" PRIu64 " writes failed",
              successor, same ? "the same" : "ANOTHER", postmaster, failed);
    return end_act(demo, act, right && same && failed == 0 && successor != 0 && successor != frozen,
                   0);
}

static void show_summary(const struct demo *demo)
{
    (void)printf("\n%-56s %10s %8s %8s\n", "", "write gap", "rows", "missing");
    for (uint32_t i = 0; i < demo->act_count; i++) {
        const struct act *act = &demo->act[i];
        (void)printf("%-56s %8.3f s %8" PRIu64 " %8" PRIu64 "%s\n", act->title,
                     (double)act->report.clients.gap_us / 1e6, act->report.clients.acked,
                     act->missing, act->right ? "" : "  WRONG");
    }
}

static void show_commands(const struct lab *lab)
{
    char conninfo[1024];
    lab_conninfo(lab, "read-write", conninfo, sizeof(conninfo));
    (void)printf("\nThe cluster is yours until Ctrl-C:\n");
    for (uint32_t i = 0; i < lab->node_count; i++) {
        const struct lab_node *node = &lab->node[i];
        (void)printf(
            "  %s  PostgreSQL 127.0.0.1:%u  http://127.0.0.1:%u/patroni  log %s/log/%s.log\n",
            node->name, node->pg_port, node->rest_port, lab->dir, node->name);
    }
    (void)printf("\n  %s/psql \"%s\"\n", lab->pg_bin, conninfo);
    (void)printf("  %s ctl -c %s/n1.yml list\n", lab->program, lab->dir);
    (void)printf("  %s ctl -c %s/n1.yml switchover --force\n", lab->program, lab->dir);
    (void)printf("  %s lab status --dir %s\n", lab->program, lab->dir);
    (void)printf("  %s lab kill n1 --dir %s       (then: lab start n1)\n", lab->program, lab->dir);
    (void)fflush(stdout);
}

static void writer_settings(const struct lab *lab, struct writer_options *out)
{
    *out = (struct writer_options){
        .clients = CLIENTS,
        .pace_ms = PACE_MS,
        .probe_ms = PROBE_MS,
        .node_count = lab->node_count,
    };
    lab_conninfo(lab, "read-write", out->conninfo, sizeof(out->conninfo));
    for (uint32_t i = 0; i < lab->node_count; i++) {
        str_set(out->node[i].name, sizeof(out->node[i].name), lab->node[i].name);
        str_set(out->node[i].host, sizeof(out->node[i].host), "127.0.0.1");
        out->node[i].port = lab->node[i].pg_port;
    }
}

static bool has_written(struct demo *demo)
{
    return writer_acked_since(demo->writer, 0, false);
}

static bool play(struct demo *demo)
{
    bool (*const acts[])(struct demo *) = {act_postmaster, act_node, act_switchover, act_frozen};
    bool right = true;
    (void)printf("\nwriters: %d connections through one multi-host string, one row a commit, every "
                 "%d ms\n",
                 CLIENTS, PACE_MS);
    story_begin(demo->lab, &demo->story);
    if (!await(demo, "the first row is acknowledged", ACT_MS, has_written)) {
        return false;
    }
    show_facts(demo, "Before");
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]) && !up_interrupted(); i++) {
        if (demo->view.primary < 0) {
            (void)printf("\nno leader: the other acts are left out\n");
            return false;
        }
        right = acts[i](demo) && right;
    }
    if (!up_interrupted()) {
        show_facts(demo, "After");
        show_summary(demo);
    }
    return right;
}

int demo_run(struct lab *lab, const struct up_options *options, bool check)
{
    static struct demo demo;
    struct writer_options settings;
    struct err_detail detail = {.sys_errno = 0};
    struct err_detail down_detail;
    bool right = false;
    up_catch_signals();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* dead nodes leave no zombies for a slow init */
    enum err err = up_run(lab, options, &detail);
    if (err != ERR_OK) {
        (void)fprintf(stderr, "holdfast lab: %s\n", detail.text);
        return err == ERR_CANCELED ? EXIT_INTERRUPTED : EXIT_FAILED;
    }
    demo.lab = lab;
    writer_settings(lab, &settings);
    err = writer_create(&settings, &demo.writer, &detail);
    if (err == ERR_OK) {
        right = play(&demo);
        writer_destroy(demo.writer);
    } else {
        (void)fprintf(stderr, "holdfast lab: %s\n", detail.text);
    }
    bool stays = err == ERR_OK && !check && !up_interrupted();
    if (stays) {
        show_commands(lab);
        story_begin(lab, &demo.story);
    }
    while (stays && !up_interrupted()) {
        up_reap();
        story_follow(lab, &demo.story);
        process_pause_ms(QUIET_POLL_MS);
    }
    bool ended = up_interrupted() && !stays;
    if (down_run(lab, false, &down_detail) != ERR_OK) {
        (void)fprintf(stderr, "holdfast lab: %s\n", down_detail.text);
        return EXIT_FAILED;
    }
    return ended ? EXIT_INTERRUPTED : (right ? 0 : EXIT_FAILED);
}
