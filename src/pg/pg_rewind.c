/* pg_rewind, with what has to come before it: the verdict, the set-aside of our own WAL (INV-5, before
 * crash recovery already, since recovery removes old segments), the source's checkpoint on its new
 * timeline, and crash recovery in single-user mode where the server did not end cleanly.
 *
 * pg_rewind of 13 and later would run that recovery itself, but it fails where standby.signal is
 * present ("standby mode is not supported by single-user servers"), and it lets the checkpoint at the
 * end remove segments that the rewind then misses. So it is always done here, and pg_rewind is told
 * --no-ensure-shutdown. */
#include "pg/pg_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"

#define OPTIONS_MAX 64

static void passfile_path(const struct pg *pg, char out[PATH_SIZE])
{
    (void)snprintf(out, PATH_SIZE, "%s/rewind.pgpass", pg->config.state_dir); /* checked before */
}

static enum pg_step rewind_needed(struct pg_job *job)
{
    if (job->verdict == PGHISTORY_SAME) {
        log_info("postgres_rewind_not_needed", "source=%s", job->source.name);
        pg_job_done(job);
        return PG_STEP_WAIT;
    }
    if (job->fork.timeline == 0) {
        pg_job_fail(job, ERR_REFUSED, "no common ancestor with %s", job->source.name);
        return PG_STEP_WAIT;
    }
    return PG_STEP_NEXT;
}

static enum pg_step source_connect(struct pg_job *job)
{
    struct pg_target target;
    pg_source_target(job->pg, &job->source, pg_rewind_credentials(job->pg), &target);
    target.options = "-c statement_timeout=2000 -c search_path=pg_catalog";
    return pg_job_connect(job, &target);
}

static void source_answered(enum err err, const PGresult *result, const struct err_detail *detail,
                            void *arg)
{
    struct pg_job *job = arg;
    uint64_t timeline = 0;
    if (err != ERR_OK) {
        pg_job_fail_detail(job, ERR_REFUSED, detail);
        return;
    }
    if (!str_equal(PQgetvalue(result, 0, 0), "f")) {
        pg_job_fail(job, ERR_REFUSED, "%s is in recovery itself", job->source.name);
        return;
    }
    /* pg_rewind reads the source's pg_control: before that checkpoint it would find nothing to do */
    if (!str_to_u64(PQgetvalue(result, 0, 1), &timeline) || timeline != job->source_timeline) {
        pg_job_fail(job, ERR_REFUSED, "%s made no checkpoint on its timeline yet",
                    job->source.name);
        return;
    }
    pg_session_close(job->session);
    job->session = NULL;
    pg_job_next(job);
}

static enum pg_step source_check(struct pg_job *job)
{
    pg_session_query(
        job->session,
        "SELECT pg_is_in_recovery(), (SELECT timeline_id FROM pg_control_checkpoint())",
        PG_SQL_TIMEOUT_MS, source_answered, job);
    return PG_STEP_WAIT;
}

/* ---- crash recovery ---- */

static enum err recovery_prepare(struct pg_job *job)
{
    static const char *const files[] = {"standby.signal", "recovery.signal", "postmaster.pid"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[PATH_SIZE];
        if (str_format(path, sizeof(path), "%s/%s", job->pg->config.data_dir, files[i])) {
            (void)unlink(path); /* the start as a replica writes its own */
        }
    }
    return ERR_OK;
}

static bool ended_cleanly(const struct pg_job *job)
{
    return job->control.state == PGCONTROL_SHUT_DOWN ||
           job->control.state == PGCONTROL_SHUT_DOWN_IN_RECOVERY;
}

static enum pg_step recovery_files(struct pg_job *job)
{
    if (ended_cleanly(job)) {
        return PG_STEP_NEXT;
    }
    job->in_doubt = true;
    return pg_job_work(job, recovery_prepare);
}

static enum pg_step recovery_run(struct pg_job *job)
{
    if (ended_cleanly(job)) {
        return PG_STEP_NEXT;
    }
    const struct pg_config *config = &job->pg->config;
    const struct pgcontrol *control = &job->control;
    const char *conf = config->config_dir != NULL ? config->config_dir : config->data_dir;
    struct arena *arena = &job->arena;
    const char *argv[] = {
        job->pg->postgres_path,
        "--single",
        "-D",
        config->data_dir,
        "-c",
        arena_printf(arena, "config_file=%s/postgresql.conf", conf),
        "-c",
        "archive_mode=on", /* segments stay marked for archiving, and none is archived now */
        "-c",
        "archive_command=false",
        "-c",
        "wal_keep_size=2147483647", /* pg_rewind wants the WAL back to before the fork */
        "-c",
        arena_printf(arena, "max_prepared_transactions=%" PRId64,
                     control->max_prepared_transactions),
        "-c",
        arena_printf(arena, "max_locks_per_transaction=%" PRId64,
                     control->max_locks_per_transaction > 0 ? control->max_locks_per_transaction
                                                            : 64),
        "template1",
        NULL,
    };
    log_info("postgres_crash_recovery", "mode=single-user data_dir=%s", config->data_dir);
    struct pg_child_spawn spawn = {.argv = argv};
    return pg_job_spawn(job, &spawn, NULL);
}

/* ---- pg_rewind ---- */

static enum err rewind_passfile(struct pg_job *job)
{
    char path[PATH_SIZE];
    passfile_path(job->pg, path);
    return pg_conf_write_passfile(job->pg, path, &job->source, pg_rewind_credentials(job->pg),
                                  &job->detail);
}

static enum pg_step rewind_files(struct pg_job *job)
{
    return pg_job_work(job, rewind_passfile);
}

static bool has_restore_command(const struct pg_config *config)
{
    const struct pg_parameter *lists[] = {config->recovery, config->parameters};
    const size_t counts[] = {config->recovery_count, config->parameter_count};
    for (size_t l = 0; l < 2; l++) {
        for (size_t i = 0; i < counts[l]; i++) {
            if (pgconf_same_name(lists[l][i].name, "restore_command") &&
                lists[l][i].value != NULL && lists[l][i].value[0] != '\0') {
                return true;
            }
        }
    }
    return false;
}

static enum pg_step rewind_run(struct pg_job *job)
{
    const struct pg_config *config = &job->pg->config;
    struct arena *arena = &job->arena;
    char binary[PATH_SIZE];
    char passfile[PATH_SIZE];
    char conninfo[PG_CONNINFO_SIZE];
    const char *argv[OPTIONS_MAX + 12];
    size_t count = 0;
    pg_binary(job->pg, "pg_rewind", binary);
    passfile_path(job->pg, passfile);
    if (!pg_conf_conninfo(job->pg, &job->source, pg_rewind_credentials(job->pg), NULL,
                          config->database, conninfo)) {
        pg_job_fail(job, ERR_INVALID, "the connection string is too long");
        return PG_STEP_WAIT;
    }
    argv[count++] = binary;
    argv[count++] = arena_printf(arena, "--target-pgdata=%s", config->data_dir);
    argv[count++] = arena_printf(arena, "--source-server=%s", conninfo);
    argv[count++] = "--no-ensure-shutdown";
    bool apart = pg_conf_config_dir_apart(job->pg);
    if (has_restore_command(config) && (!apart || pg_major(job->pg) >= 15)) {
        argv[count++] = "--restore-target-wal";
        if (apart) {
            argv[count++] =
                arena_printf(arena, "--config-file=%s/postgresql.conf", config->config_dir);
        }
    }
    for (size_t i = 0; i < config->rewind_option_count && i < OPTIONS_MAX; i++) {
        argv[count++] = config->rewind_options[i];
    }
    argv[count] = NULL;
    const char *environment[] = {arena_printf(arena, "PGPASSFILE=%s", passfile),
                                 "PGOPTIONS=-c statement_timeout=0", "LANG=C", NULL};
    struct pg_child_spawn spawn = {.argv = argv, .environment = environment};
    job->in_doubt = true;
    log_info("postgres_rewind", "source=%s what=\"running pg_rewind from %s\"", job->source.name,
             job->source.name);
    return pg_job_spawn(job, &spawn, NULL);
}

static enum err rewind_tidy(struct pg_job *job)
{
    char path[PATH_SIZE];
    passfile_path(job->pg, path);
    (void)unlink(path); /* absent without a password */
    return ERR_OK;
}

static enum pg_step rewind_finish(struct pg_job *job)
{
    return pg_job_work(job, rewind_tidy);
}

static const pg_step_fn rewind_steps[] = {
    pg_job_need_stopped,  pg_job_read_control, pg_check_local,   pg_check_dump,
    pg_check_connect,     pg_check_identify,   pg_check_history, pg_check_judge,
    rewind_needed,        source_connect,      source_check,     pg_clone_slot_connect,
    pg_clone_slot_create, pg_wal_copy,         pg_wal_count,     pg_wal_report,
    recovery_files,       recovery_run,        rewind_files,     rewind_run,
    rewind_finish,
};
static const struct pg_plan rewind_plan = {
    .name = "rewind",
    .steps = rewind_steps,
    .count = sizeof(rewind_steps) / sizeof(rewind_steps[0]),
    .cleanup = rewind_tidy,
};

void pg_rewind(struct pg *pg, const struct pg_source *source, pg_done_cb cb, void *arg)
{
    struct pg_job *job = pg_job_new(pg, &rewind_plan, cb, arg);
    job->source = *source;
    job->has_source = true;
    pg_job_submit(job);
}
