/* The running server: start, promote, follow, checkpoint, stop. While one of these waits, it looks
 * again every PG_RETRY_MS and at once when the data directory tells of a change. */
#include "pg/pg_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"

#define LOG_KEEP_BYTES (16 * 1024 * 1024)
#define LOG_TAIL_BYTES (64 * 1024)
#define LOG_SHOWN_BYTES 440
#define RECOVERY_UNDER_WAY_MS 1000 /* a replica that replays for longer counts as started */
#define CHECKPOINT_TIMEOUT_MS (60 * 60 * 1000)
#define FOLLOW_TIMEOUT_MS 3000
#define PROMOTE_ASK_MS 5
#define STOP_AGAIN_MS 1000
#define CONTROL_STATE_OFFSET 16 /* of global/pg_control, the same in 13 to 18 */
#define CONTROL_STATE_ARCHIVE_RECOVERY 5

static bool log_path(const struct pg *pg, char out[PATH_SIZE])
{
    return str_format(out, PATH_SIZE, "%s/postgresql.log", pg->config.state_dir);
}

/* ---- start ---- */

static enum pg_step start_check(struct pg_job *job)
{
    struct pg *pg = job->pg;
    pg_look_now(pg);
    if (pg->start_pending || pg->look.process != TRI_NO) {
        pg_job_fail(job, ERR_INVALID, "a server runs in %s already", pg->config.data_dir);
        return PG_STEP_WAIT;
    }
    if (pg->look.datadir != CORE_DATADIR_USABLE) {
        pg_job_fail(job, ERR_INVALID, "%s is no usable data directory", pg->config.data_dir);
        return PG_STEP_WAIT;
    }
    pg_heartbeat_drop(pg);
    pg_probe_resume(pg);
    return PG_STEP_NEXT;
}

static enum err start_prepare(struct pg_job *job)
{
    const struct pg *pg = job->pg;
    char path[PATH_SIZE];
    char old[PATH_SIZE];
    struct stat st;
    if (str_format(path, sizeof(path), "%s/postmaster.pid", pg->config.data_dir)) {
        (void)unlink(
            path); /* nothing of that server runs (start_check): its pid may be another's */
    }
    job->log_offset = 0;
    if (log_path(pg, path) && stat(path, &st) == 0) {
        job->log_offset = st.st_size;
        if (st.st_size > LOG_KEEP_BYTES && str_format(old, sizeof(old), "%s.1", path) &&
            rename(path, old) == 0) {
            job->log_offset = 0;
        }
    }
    return pg_conf_apply(pg, &job->arena, job->has_source ? &job->source : NULL, job->as_primary,
                         NULL, &job->detail);
}

static enum pg_step start_files(struct pg_job *job)
{
    return pg_job_work(job, start_prepare);
}

static int64_t control_value(const struct pg_job *job, const char *name)
{
    if (!job->has_control || job->as_primary) {
        return 0;
    }
    const struct {
        const char *name;
        int64_t value;
    } values[] = {
        {"max_connections", job->control.max_connections},
        {"max_worker_processes", job->control.max_worker_processes},
        {"max_wal_senders", job->control.max_wal_senders},
        {"max_prepared_transactions", job->control.max_prepared_transactions},
        {"max_locks_per_transaction", job->control.max_locks_per_transaction},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (pgconf_same_name(values[i].name, name)) {
            return values[i].value;
        }
    }
    return 0;
}

struct arguments {
    const char *list[PG_ARGS_MAX];
    size_t count;
    bool full;
};

static void argument_add(struct arguments *arguments, const char *text)
{
    if (text == NULL || arguments->count + 1 >= PG_ARGS_MAX) {
        arguments->full = true;
        return;
    }
    arguments->list[arguments->count++] = text;
}

static void setting_add(struct pg_job *job, struct arguments *arguments, const char *name,
                        const char *value)
{
    int64_t least = control_value(job, name);
    int64_t number = 0;
    if (least > 0 && (!str_to_i64(value, &number) || number < least)) {
        /* a standby with less than its primary had would not start (config.md 5.4) */
        argument_add(arguments, arena_printf(&job->arena, "--%s=%" PRId64, name, least));
        log_info("postgres_parameter_raised", "name=%s configured=%s used=%" PRId64, name, value,
                 least);
        return;
    }
    if (pgconf_same_name(name, "wal_level") && str_equal(value, "hot_standby")) {
        value = "replica";
    }
    argument_add(arguments, arena_printf(&job->arena, "--%s=%s", name, value));
}

static bool text_sets(const char *text, const char *name)
{
    for (const char *line = text; line[0] != '\0';) {
        const char *end = line + strcspn(line, "\n");
        const char *word = line + strspn(line, " \t");
        char first[64] = "";
        size_t length = strcspn(word, " \t=\n'#");
        if (length > 0 && length < sizeof(first)) {
            memcpy(first, word, length);
            if (pgconf_same_name(first, name)) {
                return true;
            }
        }
        line = end[0] == '\0' ? end : end + 1;
    }
    return false;
}

/* A person has set it, here or in the files of the server. */
static bool setting_is_given(const struct pg *pg, const char *name)
{
    const struct pg_config *config = &pg->config;
    for (size_t i = 0; i < config->parameter_count; i++) {
        if (pgconf_same_name(config->parameters[i].name, name)) {
            return true;
        }
    }
    const char *conf = config->config_dir != NULL ? config->config_dir : config->data_dir;
    const char *const files[][2] = {{conf, "postgresql.base.conf"},
                                    {config->data_dir, "postgresql.auto.conf"}};
    AUTO_FREE char *text = malloc(PG_FILE_TEXT_SIZE);
    bool given = false;
    for (size_t i = 0; text != NULL && i < sizeof(files) / sizeof(files[0]); i++) {
        char path[PATH_SIZE];
        given = given || (str_format(path, sizeof(path), "%s/%s", files[i][0], files[i][1]) &&
                          pg_file_read(path, text, PG_FILE_TEXT_SIZE) && text_sets(text, name));
    }
    return given;
}

/* Before a server recovers from a crash it makes everything in its directory durable, because the
 * crash may have come between a write and its fsync: by opening and fsyncing every file, which is
 * most of the time that a restart in place takes when there are many, or by one syncfs for each file
 * system it uses (data directory, tablespaces, pg_wal), since PostgreSQL 14. Both promise the same:
 * whatever was written before is on disk before the first WAL record is replayed, and an error in
 * writing it back ends the start (syncfs tells of such errors since Linux 5.8; on an older kernel
 * the default stays). What else waits to be written on those file systems is flushed with it, which
 * costs time at worst. */
static bool crash_start_by_syncfs(const struct pg_job *job)
{
    struct utsname system;
    unsigned long major = 0;
    unsigned long minor = 0;
    if (uname(&system) == 0) {
        char *end = NULL;
        major = strtoul(system.release, &end, 10);
        minor = end[0] == '.' ? strtoul(end + 1, NULL, 10) : 0;
    }
    bool tells_errors = major > 5 || (major == 5 && minor >= 8);
    return job->as_primary && job->has_control && job->control.state == PGCONTROL_IN_PRODUCTION &&
           pg_major(job->pg) >= 14 && tells_errors &&
           !setting_is_given(job->pg, "recovery_init_sync_method");
}

static void arguments_fill(struct pg_job *job, struct arguments *arguments)
{
    const struct pg_config *config = &job->pg->config;
    const char *conf = config->config_dir != NULL ? config->config_dir : config->data_dir;
    argument_add(arguments, job->pg->postgres_path);
    argument_add(arguments, "-D");
    argument_add(arguments, config->data_dir);
    argument_add(arguments, arena_printf(&job->arena, "--config_file=%s/postgresql.conf", conf));
    argument_add(arguments,
                 arena_printf(&job->arena, "--listen_addresses=%s", config->listen_addresses));
    argument_add(arguments, arena_printf(&job->arena, "--port=%u", config->port));
    argument_add(arguments, arena_printf(&job->arena, "--cluster_name=%s", config->scope));
    static const char *const defaults[][2] = {
        {"hot_standby", "on"},
        {"wal_level", "replica"},
        {"max_connections", "100"},
        {"max_wal_senders", "10"},
        {"max_prepared_transactions", "0"},
        {"max_locks_per_transaction", "64"},
        {"max_worker_processes", "8"},
        {"max_replication_slots", "10"},
        {"track_commit_timestamp", "off"},
        {"wal_log_hints", "on"},
    };
    for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
        const char *value = defaults[i][1];
        for (size_t k = 0; k < config->controlled_count; k++) {
            if (pgconf_same_name(config->controlled[k].name, defaults[i][0]) &&
                config->controlled[k].value != NULL) {
                value = config->controlled[k].value;
            }
        }
        setting_add(job, arguments, defaults[i][0], value);
    }
    if (crash_start_by_syncfs(job)) {
        argument_add(arguments, "--recovery_init_sync_method=syncfs");
    }
    arguments->list[arguments->count] = NULL;
}

/* The last words of the server that ended go into the error, its reason among them. */
static void start_exited(struct pg_job *job)
{
    char path[PATH_SIZE];
    AUTO_FREE char *tail = calloc(1, LOG_TAIL_BYTES);
    ASSERT(tail != NULL);
    if (log_path(job->pg, path)) {
        pg_file_tail(path, job->log_offset, tail, LOG_TAIL_BYTES);
    }
    job->exited_fn = NULL;
    job->poke_fn = NULL;
    const size_t room = sizeof(job->detail.text) - sizeof("the server ended: ");
    log_warn("postgres_start_failed", "log=\"%.*s\"", LOG_SHOWN_BYTES,
             pg_log_shown(tail, LOG_SHOWN_BYTES));
    pg_job_fail(job, ERR_REFUSED, "the server ended: %s", pg_log_shown(tail, room));
}

static enum pg_step start_launch(struct pg_job *job)
{
    struct pg *pg = job->pg;
    struct arguments arguments = {0};
    char log[PATH_SIZE];
    arguments_fill(job, &arguments);
    if (arguments.full || !log_path(pg, log)) {
        pg_job_fail(job, ERR_INVALID, "more than %d arguments for the server", PG_ARGS_MAX);
        return PG_STEP_WAIT;
    }
    job->exited_fn = start_exited;
    job->awaits_start = true;
    job->in_doubt = true;
    pg->start_pending = true;
    pg->ending = PG_END_NONE;
    struct pg_process_start request = {
        .argv = arguments.list,
        .log_path = log,
        .data_dir = pg->config.data_dir,
        .as_primary = job->as_primary,
    };
    pg->process.start(pg->process.arg, &request);
    return PG_STEP_WAIT;
}

static bool archive_recovery(const struct pg *pg)
{
    char path[PATH_SIZE];
    uint32_t state = 0;
    if (!str_format(path, sizeof(path), "%s/global/pg_control", pg->config.data_dir)) {
        return false;
    }
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 &&
           pread(fd, &state, sizeof(state), CONTROL_STATE_OFFSET) == (ssize_t)sizeof(state) &&
           state == CONTROL_STATE_ARCHIVE_RECOVERY;
}

/* postmaster.pid says "ready" from the moment connections are accepted. */
static void start_look(struct pg_job *job)
{
    struct pg *pg = job->pg;
    pg_look_now(pg);
    struct mono now = mono_now();
    bool up = pg->look.process == TRI_YES && !pg->look.orphan;
    bool ready = pg->look.status == PGCONF_PID_READY || pg->look.status == PGCONF_PID_STANDBY;
    if (up && !ready && !job->as_primary) {
        ready = mono_sub(now, job->waiting_since) > RECOVERY_UNDER_WAY_MS && archive_recovery(pg);
    }
    if (up && ready) {
        (void)uv_timer_stop(&job->timer); /* always 0 */
        job->poke_fn = NULL;
        job->exited_fn = NULL;
        pg_job_next(job);
        return;
    }
    if (!mono_before(now, job->deadline)) {
        job->poke_fn = NULL;
        job->exited_fn = NULL;
        pg_job_fail(job, ERR_IN_DOUBT, "the server is still starting");
        return;
    }
    (void)pg_job_wait(job, PG_RETRY_MS, start_look);
}

static enum pg_step start_wait(struct pg_job *job)
{
    int64_t timeout_ms = job->pg->config.pg_ctl_timeout_ms;
    job->waiting_since = mono_now();
    job->deadline = mono_add(job->waiting_since, timeout_ms > 0 ? timeout_ms : 60000);
    job->poke_fn = start_look;
    pg_watch(job->pg);
    return pg_job_wait(job, 1, start_look);
}

static enum err start_backup(struct pg_job *job)
{
    pg_conf_backup(job->pg);
    return ERR_OK;
}

static enum pg_step start_finish(struct pg_job *job)
{
    job->in_doubt = false;
    pg_changed(job->pg);
    pg_state_set(job->pg, "running");
    return pg_job_work(job, start_backup);
}

static const pg_step_fn start_steps[] = {start_check,  pg_job_read_control, start_files,
                                         start_launch, start_wait,          start_finish};
static const struct pg_plan start_plan = {
    .name = "start",
    .state = "starting",
    .failed_state = "start failed",
    .steps = start_steps,
    .count = sizeof(start_steps) / sizeof(start_steps[0]),
};

static void source_set(struct pg_job *job, const struct pg_source *source)
{
    if (source != NULL) {
        job->has_source = true;
        job->source = *source;
    }
}

void pg_start_primary(struct pg *pg, pg_done_cb cb, void *arg)
{
    struct pg_job *job = pg_job_new(pg, &start_plan, cb, arg);
    job->as_primary = true;
    pg_job_submit(job);
}

void pg_start_replica(struct pg *pg, const struct pg_source *upstream_or_null, pg_done_cb cb,
                      void *arg)
{
    struct pg_job *job = pg_job_new(pg, &start_plan, cb, arg);
    source_set(job, upstream_or_null);
    pg_job_submit(job);
}

/* ---- a connection of the action's own ---- */

static void session_open(struct pg_job *job, pg_session_cb cb)
{
    struct pg_target target;
    pg_local_target(job->pg, &target);
    pg_session_close(job->session);
    job->session = pg_session_open(job->pg->loop, &target, PG_CONNECT_TIMEOUT_MS, cb, NULL, job);
}

static bool out_of_time(struct pg_job *job)
{
    return !mono_before(mono_now(), job->deadline);
}

static void ended_meanwhile(struct pg_job *job)
{
    job->exited_fn = NULL;
    (void)uv_timer_stop(&job->timer); /* always 0 */
    pg_job_fail(job, ERR_REFUSED, "the server ended during the %s", job->plan->name);
}

/* ---- promote ---- */

static void promote_path(const struct pg *pg, char out[PATH_SIZE])
{
    (void)snprintf(out, PATH_SIZE, "%s/promote", pg->config.data_dir); /* length checked before */
}

static void promote_signal(struct pg_job *job)
{
    struct pg *pg = job->pg;
    char path[PATH_SIZE];
    promote_path(pg, path);
    /* PostgreSQL removes the file when it acts on it; a second request needs it again */
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        log_warn("postgres_promote_file", "path=%s errno=%d", path, errno);
    }
    job->asked_again_at = mono_add(mono_now(), PG_RETRY_MS);
    (void)pg_proc_signal(pg->pid, pg->start_ticks, SIGUSR1); /* its end is told otherwise */
}

static void promote_ask(struct pg_job *job);

static void promote_answered(enum err err, const PGresult *result, const struct err_detail *detail,
                             void *arg)
{
    struct pg_job *job = arg;
    (void)detail;
    if (err == ERR_OK && str_equal(PQgetvalue(result, 0, 0), "f")) {
        char path[PATH_SIZE];
        promote_path(job->pg, path);
        (void)unlink(path); /* usually removed by the server */
        job->exited_fn = NULL;
        job->pg->promoted = true;
        pg_changed(job->pg);
        pg_job_next(job);
        return;
    }
    if (out_of_time(job)) {
        job->exited_fn = NULL;
        pg_job_fail(job, ERR_IN_DOUBT, "still in recovery");
        return;
    }
    if (err == ERR_OK && !mono_before(mono_now(), job->asked_again_at)) {
        promote_signal(job);
    }
    (void)pg_job_wait(job, err == ERR_OK ? PROMOTE_ASK_MS : PG_RETRY_MS, promote_ask);
}

static void promote_connected(enum err err, const PGresult *result, const struct err_detail *detail,
                              void *arg)
{
    struct pg_job *job = arg;
    if (err != ERR_OK) {
        promote_answered(err, result, detail, arg);
        return;
    }
    promote_ask(job);
}

static void promote_ask(struct pg_job *job)
{
    if (!pg_session_idle(job->session)) {
        session_open(job, promote_connected);
        return;
    }
    pg_session_query(job->session, "SELECT pg_is_in_recovery()", PG_SQL_TIMEOUT_MS,
                     promote_answered, job);
}

static enum pg_step promote_begin(struct pg_job *job)
{
    struct pg *pg = job->pg;
    pg_look_now(pg);
    if (pg->look.process != TRI_YES || pg->look.orphan || pg->pid == 0) {
        pg_job_fail(job, ERR_INVALID, "no server runs");
        return PG_STEP_WAIT;
    }
    int64_t timeout_ms = pg->config.pg_ctl_timeout_ms;
    job->deadline = mono_add(mono_now(), timeout_ms > 0 ? timeout_ms : 60000);
    job->exited_fn = ended_meanwhile;
    job->in_doubt = true;
    if (pg->look.standby_signal) {
        promote_signal(job);
    } else {
        job->asked_again_at = MONO_NEVER; /* it is no standby: only asked whether it writes */
    }
    promote_ask(job);
    return PG_STEP_WAIT;
}

static const pg_step_fn promote_steps[] = {promote_begin};
static const struct pg_plan promote_plan = {.name = "promote", .steps = promote_steps, .count = 1};

void pg_promote(struct pg *pg, pg_done_cb cb, void *arg)
{
    pg_job_submit(pg_job_new(pg, &promote_plan, cb, arg));
}

/* ---- follow ---- */

static enum pg_step follow_check(struct pg_job *job)
{
    struct pg *pg = job->pg;
    pg_look_now(pg);
    if (pg->look.process != TRI_YES || pg->look.orphan || pg->pid == 0) {
        pg_job_fail(job, ERR_INVALID, "no server runs");
        return PG_STEP_WAIT;
    }
    if (!pg->look.standby_signal) {
        pg_job_fail(job, ERR_INVALID, "the server is no standby");
        return PG_STEP_WAIT;
    }
    return PG_STEP_NEXT;
}

static enum err follow_write(struct pg_job *job)
{
    return pg_conf_apply(job->pg, &job->arena, job->has_source ? &job->source : NULL, false,
                         &job->conninfo_written, &job->detail);
}

static enum pg_step follow_files(struct pg_job *job)
{
    return pg_job_work(job, follow_write);
}

static void follow_ask(struct pg_job *job);

static void follow_answered(enum err err, const PGresult *result, const struct err_detail *detail,
                            void *arg)
{
    struct pg_job *job = arg;
    if (err == ERR_OK && str_equal(PQgetvalue(result, 0, 0), job->conninfo_written)) {
        job->exited_fn = NULL;
        pg_changed(job->pg);
        pg_job_next(job);
        return;
    }
    if (out_of_time(job)) {
        job->exited_fn = NULL;
        if (err != ERR_OK) {
            pg_job_fail_detail(job, ERR_IN_DOUBT, detail);
        } else {
            pg_job_fail(job, ERR_REFUSED, "the server did not take primary_conninfo over");
        }
        return;
    }
    (void)pg_job_wait(job, PG_RETRY_MS, follow_ask);
}

static void follow_connected(enum err err, const PGresult *result, const struct err_detail *detail,
                             void *arg)
{
    if (err != ERR_OK) {
        follow_answered(err, result, detail, arg);
        return;
    }
    follow_ask(arg);
}

/* Replay that paused by itself (too small parameters) goes on with the new upstream. */
static void follow_ask(struct pg_job *job)
{
    if (!pg_session_idle(job->session)) {
        session_open(job, follow_connected);
        return;
    }
    pg_session_query(
        job->session,
        "SELECT current_setting('primary_conninfo'), CASE WHEN pg_is_in_recovery() AND "
        "pg_is_wal_replay_paused() THEN pg_wal_replay_resume()::text END",
        PG_SQL_TIMEOUT_MS, follow_answered, job);
}

static enum pg_step follow_reload(struct pg_job *job)
{
    struct pg *pg = job->pg;
    job->in_doubt = true;
    if (!pg_proc_signal(pg->pid, pg->start_ticks, SIGHUP)) {
        pg_job_fail(job, ERR_REFUSED, "the server ended during the follow");
        return PG_STEP_WAIT;
    }
    if (pg->look.status != PGCONF_PID_READY) {
        return PG_STEP_NEXT; /* it cannot be asked; the file is read by the SIGHUP all the same */
    }
    job->exited_fn = ended_meanwhile;
    job->deadline = mono_add(mono_now(), FOLLOW_TIMEOUT_MS);
    follow_ask(job);
    return PG_STEP_WAIT;
}

static const pg_step_fn follow_steps[] = {follow_check, follow_files, follow_reload};
static const struct pg_plan follow_plan = {
    .name = "follow",
    .steps = follow_steps,
    .count = sizeof(follow_steps) / sizeof(follow_steps[0]),
};

void pg_follow(struct pg *pg, const struct pg_source *upstream_or_null, pg_done_cb cb, void *arg)
{
    struct pg_job *job = pg_job_new(pg, &follow_plan, cb, arg);
    source_set(job, upstream_or_null);
    pg_job_submit(job);
}

/* ---- checkpoint ---- */

static enum pg_step checkpoint_connect(struct pg_job *job)
{
    struct pg_target target;
    pg_local_target(job->pg, &target);
    target.options = "-c statement_timeout=0 -c search_path=pg_catalog";
    return pg_job_connect(job, &target);
}

static enum pg_step checkpoint_run(struct pg_job *job)
{
    job->in_doubt = true;
    return pg_job_query(job, "CHECKPOINT", CHECKPOINT_TIMEOUT_MS);
}

static const pg_step_fn checkpoint_steps[] = {checkpoint_connect, checkpoint_run};
static const struct pg_plan checkpoint_plan = {
    .name = "checkpoint", .steps = checkpoint_steps, .count = 2};

void pg_checkpoint(struct pg *pg, pg_done_cb cb, void *arg)
{
    pg_job_submit(pg_job_new(pg, &checkpoint_plan, cb, arg));
}

/* ---- stop ---- */

static void stop_signal(struct pg_job *job)
{
    struct pg *pg = job->pg;
    pg->ending = PG_END_ASKED;
    job->asked_again_at = mono_add(mono_now(), STOP_AGAIN_MS);
    pg->process.stop(pg->process.arg, job->hard);
}

/* Children of a postmaster that is dead serve nobody; the process interface does not know them. */
static void orphans_kill(struct pg *pg)
{
    int64_t last = 0;
    for (;;) {
        int64_t pid = pg_proc_find(pg->config.data_dir);
        struct pg_proc proc;
        if (pid <= 1 || pid == last || !pg_proc_stat(pid, &proc)) {
            return;
        }
        (void)pg_proc_signal(pid, proc.start_ticks, SIGKILL); /* gone is as good */
        last = pid;
    }
}

static void stop_look(struct pg_job *job)
{
    struct pg *pg = job->pg;
    if (pg->start_pending) { /* what is just being started is stopped as soon as it is known */
        (void)pg_job_wait(job, PG_RETRY_MS, stop_look);
        return;
    }
    pg_look_now(pg);
    if (pg->look.single_user) {
        pg_job_fail(job, ERR_REFUSED, "a single-user server cannot be stopped");
        return;
    }
    if (pg->look.process == TRI_NO && pg->pid == 0) {
        job->exited_fn = NULL;
        pg_job_next(job);
        return;
    }
    if (!job->signaled) {
        job->signaled = true;
        stop_signal(job);
    } else if (pg->pid != 0 && !mono_before(mono_now(), job->asked_again_at)) {
        /* Whom we told may have died or been replaced before it heard of it, or of the server. */
        pg->process.adopt(pg->process.arg, pg->pid, pg->start_ticks);
        stop_signal(job);
    }
    if (pg->look.orphan && pg->pid == 0) {
        orphans_kill(pg);
    }
    /* the end is told by pg_postmaster_exited; only orphans of an unknown server have to be seen */
    (void)pg_job_wait(job, pg->pid != 0 ? STOP_AGAIN_MS : PG_RETRY_MS, stop_look);
}

static void stop_exited(struct pg_job *job)
{
    (void)uv_timer_stop(&job->timer); /* always 0 */
    stop_look(job);
}

static enum pg_step stop_begin(struct pg_job *job)
{
    job->exited_fn = stop_exited;
    stop_look(job);
    return PG_STEP_WAIT;
}

static enum pg_step stop_finish(struct pg_job *job)
{
    pg_heartbeat_drop(job->pg);
    pg_probe_resume(job->pg);
    pg_state_set(job->pg, "stopped");
    return PG_STEP_NEXT;
}

static const pg_step_fn stop_steps[] = {stop_begin, pg_job_read_control, stop_finish};
static const struct pg_plan stop_plan = {
    .name = "stop",
    .state = "stopping",
    .failed_state = "stop failed",
    .steps = stop_steps,
    .count = sizeof(stop_steps) / sizeof(stop_steps[0]),
};

void pg_stop(struct pg *pg, enum pg_stop_mode mode, pg_done_cb cb, void *arg)
{
    struct pg_job *job = pg_job_new(pg, &stop_plan, cb, arg);
    job->hard = mode == PG_STOP_HARD;
    if (pg->pid != 0) {
        job->signaled = true; /* at once: what is canceled first may have files to finish */
        stop_signal(job);
    }
    pg_job_override(job);
}
