/* pg_basebackup into an empty directory. A directory that is not empty is emptied first, and its WAL
 * set aside before that (INV-5); the source is known to be there by then. What a failed clone has
 * written is removed: a half-copied directory must never be taken for a server. */
#include "pg/pg_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"

#define OPTIONS_MAX 64
#define PROGRESS_MS 1000

/* ---- the directory that is in the way ---- */

static enum pg_step over_examine(struct pg_job *job)
{
    job->any_source = true; /* a clone may come from a standby */
    if (!job->has_control) {
        /* no position to be had: all WAL counts as from the fork on, the newest first */
        job->skip_check = true;
        job->has_control = true;
        job->control = (struct pgcontrol){.wal_segment_bytes = 16 * 1024 * 1024};
        job->local = (struct pghistory_local){.kind = PGHISTORY_REPLICA, .timeline = UINT32_MAX};
        job->verdict = PGHISTORY_CANNOT_TELL;
    }
    return PG_STEP_NEXT;
}

static enum err over_clear(struct pg_job *job)
{
    char path[PATH_SIZE];
    enum err err = pg_boot_unfinished_begin(job, true);
    /* First of all: what is left of a removal that is cut off must not be taken for a server. */
    if (err == ERR_OK &&
        str_format(path, sizeof(path), "%s/global/pg_control", job->pg->config.data_dir) &&
        unlink(path) != 0 && errno != ENOENT) {
        err = err_set_errno(&job->detail, ERR_INVALID, errno, "cannot remove %s", path);
    }
    return err == ERR_OK ? pg_datadir_clear(job->pg->config.data_dir, &job->detail) : err;
}

static enum pg_step over_remove(struct pg_job *job)
{
    log_warn("postgres_data_dir_removed", "data_dir=%s reason=\"clone from %s\"",
             job->pg->config.data_dir, job->source.name);
    job->created = true; /* what is left after a failure is no server any more */
    return pg_job_work(job, over_clear);
}

/* ---- the slot on the source ---- */

enum pg_step pg_clone_slot_connect(struct pg_job *job)
{
    struct pg_target target;
    pg_source_target(job->pg, &job->source, &job->pg->config.replication, &target);
    target.replication = true;
    return pg_job_connect(job, &target);
}

static void slot_answered(enum err err, const PGresult *result, const struct err_detail *detail,
                          void *arg)
{
    struct pg_job *job = arg;
    (void)result;
    static const char duplicate_object[] = "42710";
    job->with_slot =
        err == ERR_OK || str_equal(pg_session_sqlstate(job->session), duplicate_object);
    if (!job->with_slot) {
        log_warn("postgres_slot_not_created", "source=%s slot=%s detail=\"%s\"", job->source.name,
                 job->pg->slot_name, detail->text);
    }
    pg_session_close(job->session);
    job->session = NULL;
    pg_job_next(job);
}

enum pg_step pg_clone_slot_create(struct pg_job *job)
{
    if (!job->pg->config.use_slots) {
        pg_session_close(job->session);
        job->session = NULL;
        return PG_STEP_NEXT;
    }
    char sql[NAME_SIZE + 64];
    (void)snprintf(sql, sizeof(sql), "CREATE_REPLICATION_SLOT \"%s\" PHYSICAL RESERVE_WAL",
                   job->pg->slot_name); /* fits; the name is of [a-z0-9_] */
    pg_session_query(job->session, sql, PG_SQL_TIMEOUT_MS, slot_answered, job);
    return PG_STEP_WAIT;
}

/* ---- the copy ---- */

static enum err clone_prepare(struct pg_job *job)
{
    const struct pg *pg = job->pg;
    char path[PATH_SIZE];
    int sys_errno = 0;
    enum err err = pg_boot_discard_half_made(job);
    if (err != ERR_OK) {
        return err;
    }
    if (!pg_dir_empty(pg->config.data_dir, &sys_errno)) {
        return err_set(&job->detail, ERR_INVALID, "%s is not empty", pg->config.data_dir);
    }
    (void)snprintf(path, sizeof(path), "%s/setup_pending", pg->config.state_dir); /* checked */
    (void)unlink(path); /* of an earlier bootstrap */
    err = pg_dir_make(pg->config.data_dir, 0700, &job->detail);
    if (err == ERR_OK) {
        err = pg_boot_unfinished_begin(job, true);
    }
    return err == ERR_OK ? pg_conf_write_passfile(pg, pg->config.pgpass, &job->source,
                                                  &pg->config.replication, &job->detail)
                         : err;
}

static enum pg_step clone_files(struct pg_job *job)
{
    return pg_job_work(job, clone_prepare);
}

static void clone_line(const char *line, bool from_stderr, void *arg)
{
    struct pg_job *job = arg;
    struct pg_details *details = &job->pg->details;
    int64_t done = 0;
    int64_t total = 0;
    if (!from_stderr || !pgconf_progress_parse(line, &done, &total)) {
        return;
    }
    details->progress_done_bytes = done;
    details->progress_total_bytes = total;
    struct mono now = mono_now();
    if (mono_sub(now, job->progress_logged_at) >= PROGRESS_MS) {
        job->progress_logged_at = now;
        log_info("postgres_clone_progress", "source=%s done_bytes=%" PRId64 " total_bytes=%" PRId64,
                 job->source.name, done, total);
    }
}

static bool has_option(const struct pg_config *config, const char *option)
{
    size_t length = strlen(option);
    for (size_t i = 0; i < config->basebackup_option_count; i++) {
        const char *at = config->basebackup_options[i];
        if (strncmp(at, option, length) == 0 && (at[length] == '\0' || at[length] == '=')) {
            return true;
        }
    }
    return false;
}

static enum pg_step clone_run(struct pg_job *job)
{
    const struct pg_config *config = &job->pg->config;
    struct arena *arena = &job->arena;
    char binary[PATH_SIZE];
    char conninfo[PG_CONNINFO_SIZE];
    const char *argv[OPTIONS_MAX + 12];
    size_t count = 0;
    pg_binary(job->pg, "pg_basebackup", binary);
    if (!pg_conf_conninfo(job->pg, &job->source, &config->replication, NULL, NULL, conninfo)) {
        pg_job_fail(job, ERR_INVALID, "the connection string is too long");
        return PG_STEP_WAIT;
    }
    argv[count++] = binary;
    argv[count++] = arena_printf(arena, "--pgdata=%s", config->data_dir);
    argv[count++] = "--wal-method=stream";
    argv[count++] = arena_printf(arena, "--dbname=%s", conninfo);
    argv[count++] = "--progress";
    argv[count++] = "--no-password";
    if (!has_option(config, "--checkpoint")) {
        argv[count++] = "--checkpoint=fast";
    }
    if (job->with_slot && !has_option(config, "--slot") && !has_option(config, "--no-slot")) {
        argv[count++] = arena_printf(arena, "--slot=%s", job->pg->slot_name);
    }
    for (size_t i = 0; i < config->basebackup_option_count && i < OPTIONS_MAX; i++) {
        argv[count++] = config->basebackup_options[i];
    }
    argv[count] = NULL;
    const char *environment[] = {arena_printf(arena, "PGPASSFILE=%s", config->pgpass), NULL};
    struct pg_child_spawn spawn = {.argv = argv, .environment = environment, .line_cb = clone_line};
    job->created = true;
    job->pg->details.progress_done_bytes = 0;
    job->pg->details.progress_total_bytes = 0;
    return pg_job_spawn(job, &spawn, NULL);
}

static enum err clone_restore(struct pg_job *job)
{
    pg_conf_restore(job->pg);
    return pg_boot_unfinished_end(job);
}

static enum pg_step clone_finish(struct pg_job *job)
{
    pg_state_set(job->pg, "stopped");
    return pg_job_work(job, clone_restore);
}

static enum err clone_cleanup(struct pg_job *job)
{
    if (!job->created) {
        return ERR_OK;
    }
    enum err err = pg_datadir_clear(job->pg->config.data_dir, NULL);
    return err == ERR_OK ? pg_boot_unfinished_end(job) : err;
}

static const pg_step_fn empty_steps[] = {
    pg_job_need_stopped, pg_clone_slot_connect, pg_clone_slot_create, clone_files,
    clone_run,           clone_finish,
};
static const struct pg_plan empty_plan = {
    .name = "clone",
    .state = "creating replica",
    .failed_state = "stopped",
    .steps = empty_steps,
    .count = sizeof(empty_steps) / sizeof(empty_steps[0]),
    .cleanup = clone_cleanup,
};

static const pg_step_fn over_steps[] = {
    pg_job_need_stopped, pg_job_read_control,   over_examine,         pg_check_local,
    pg_check_dump,       pg_check_connect,      pg_check_identify,    pg_check_history,
    pg_check_judge,      pg_clone_slot_connect, pg_clone_slot_create, pg_wal_copy,
    pg_wal_count,        pg_wal_report,         over_remove,          clone_files,
    clone_run,           clone_finish,
};
static const struct pg_plan over_plan = {
    .name = "clone",
    .state = "creating replica",
    .failed_state = "stopped",
    .steps = over_steps,
    .count = sizeof(over_steps) / sizeof(over_steps[0]),
    .cleanup = clone_cleanup,
};

void pg_clone(struct pg *pg, const struct pg_source *source, pg_done_cb cb, void *arg)
{
    pg_look_now(pg);
    bool empty = pg->look.datadir == CORE_DATADIR_EMPTY;
    struct pg_job *job = pg_job_new(pg, empty ? &empty_plan : &over_plan, cb, arg);
    job->source = *source;
    job->has_source = true;
    pg_job_submit(job);
}
