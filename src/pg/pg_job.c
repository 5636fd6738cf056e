/* An action is a list of steps; everything that waits ends in pg_job_next, pg_job_fail or, after a
 * cancellation, in the job's end. The callback always comes from a turn of the loop of its own. */
#include "pg/pg_internal.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"

static void run(struct pg_job *job);
static void start_next(struct pg *pg);

static void on_timer(uv_timer_t *timer)
{
    struct pg_job *job = timer->data;
    void (*fn)(struct pg_job *) = job->timer_fn;
    job->timer_fn = NULL;
    ASSERT(fn != NULL);
    fn(job);
}

static void timer_set(struct pg_job *job, int64_t ms, void (*fn)(struct pg_job *job))
{
    job->timer_fn = fn;
    int rc = uv_timer_start(&job->timer, on_timer, (uint64_t)ms, 0);
    ASSERT(rc == 0);
}

struct pg_job *pg_job_new(struct pg *pg, const struct pg_plan *plan, pg_done_cb cb, void *arg)
{
    ASSERT(plan->count > 0);
    ASSERT(!pg->closing);
    struct pg_job *job = calloc(1, sizeof(*job));
    ASSERT(job != NULL);
    job->pg = pg;
    job->plan = plan;
    job->done_cb = cb;
    job->arg = arg;
    arena_init(&job->arena, PG_JOB_ARENA_BYTES);
    int rc = uv_timer_init(pg->loop, &job->timer);
    ASSERT(rc == 0);
    job->timer.data = job;
    pg->open_handles++;
    return job;
}

/* ---- ends ---- */

static void on_closed(uv_handle_t *handle)
{
    struct pg_job *job = handle->data;
    struct pg *pg = job->pg;
    arena_fini(&job->arena);
    free(job);
    pg->open_handles--;
    pg_maybe_closed(pg);
}

static void finish(struct pg_job *job)
{
    struct pg *pg = job->pg;
    if (pg_child_running(&job->child)) { /* handles of a spawn that failed are still closing */
        timer_set(job, 1, finish);
        return;
    }
    bool was_current = pg->job == job;
    if (was_current) {
        pg->job = NULL;
        if (job->err != ERR_OK) {
            str_copy_cut(pg->details.last_error, sizeof(pg->details.last_error), job->detail.text);
            if (job->plan->failed_state != NULL && job->err != ERR_CANCELED) {
                pg_state_set(pg, job->plan->failed_state);
            }
        }
        pg->details.progress_done_bytes = -1;
        pg->details.progress_total_bytes = -1;
    }
    if (job->set_aside) {
        pg_boot_aside_tell(pg);
    }
    log_debug("postgres_action", "name=%s result=\"%s\" ms=%" PRId64 " detail=\"%s\"",
              job->plan->name, err_name(job->err), mono_sub(mono_now(), job->started_at),
              job->err != ERR_OK ? job->detail.text : "");
    if (job->done_cb != NULL) {
        job->done_cb(job->err, &job->detail, job->arg);
    } else if (job->check_cb != NULL) {
        enum core_divergence found = CORE_DIVERGENCE_UNKNOWN;
        if (job->err == ERR_OK && job->verdict == PGHISTORY_SAME) {
            found = CORE_DIVERGENCE_NONE;
        } else if (job->err == ERR_OK && job->verdict == PGHISTORY_DIVERGED) {
            found = CORE_DIVERGENCE_DIVERGED;
        }
        job->check_cb(job->err, found, &job->detail, job->arg);
    }
    uv_close((uv_handle_t *)&job->timer, on_closed);
    if (was_current) {
        pg_config_swap(pg);
        start_next(pg);
    }
}

static void end_work(struct pg_job *job);

/* All that runs for the job has ended; after a failure the plan's cleanup comes first. */
static void end(struct pg_job *job)
{
    ASSERT(!job->working);
    job->ending = true;
    pg_session_close(job->session);
    job->session = NULL;
    if (job->err != ERR_OK && job->plan->cleanup != NULL && !job->cleaning) {
        job->cleaning = true;
        end_work(job);
        return;
    }
    timer_set(job, 0, finish);
}

static void cancel_end(struct pg_job *job)
{
    job->err = job->in_doubt ? ERR_IN_DOUBT : ERR_CANCELED;
    (void)err_set(&job->detail, job->err, "%s was interrupted", job->plan->name);
    end(job);
}

void pg_job_fail_detail(struct pg_job *job, enum err err, const struct err_detail *detail)
{
    ASSERT(err != ERR_OK);
    if (job->ending) {
        return;
    }
    struct err_detail copy = detail != NULL ? *detail : (struct err_detail){0};
    job->err = err;
    job->detail = copy;
    end(job);
}

void pg_job_fail(struct pg_job *job, enum err err, const char *format, ...)
{
    struct err_detail detail = {0};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail.text, sizeof(detail.text), format, args); /* cut is fine */
    va_end(args);
    pg_job_fail_detail(job, err, &detail);
}

void pg_job_done(struct pg_job *job)
{
    job->err = ERR_OK;
    end(job);
}

/* ---- going on ---- */

static void run(struct pg_job *job)
{
    while (!job->ending) {
        if (job->step >= job->plan->count) {
            pg_job_done(job);
            return;
        }
        if (job->plan->steps[job->step](job) == PG_STEP_WAIT) {
            return;
        }
        job->step++;
    }
}

void pg_job_next(struct pg_job *job)
{
    if (job->ending) {
        return;
    }
    job->step++;
    run(job);
}

void pg_job_again(struct pg_job *job)
{
    if (!job->ending) {
        run(job);
    }
}

static void begin(struct pg_job *job)
{
    if (job->plan->state != NULL) {
        pg_state_set(job->pg, job->plan->state);
    }
    run(job);
}

static void start_next(struct pg *pg)
{
    if (pg->job != NULL || pg->queue == NULL) {
        return;
    }
    struct pg_job *job = pg->queue;
    pg->queue = job->next;
    job->next = NULL;
    pg->job = job;
    job->started_at = mono_now();
    timer_set(job, 0, begin);
}

void pg_job_submit(struct pg_job *job)
{
    struct pg *pg = job->pg;
    job->started_at = mono_now();
    if (pg->job != NULL || pg->queue != NULL) {
        job->err = ERR_REFUSED;
        job->ending = true;
        (void)err_set(&job->detail, ERR_REFUSED, "%s already in progress",
                      pg->job != NULL ? pg->job->plan->name : pg->queue->plan->name);
        timer_set(job, 0, finish);
        return;
    }
    pg->queue = job;
    start_next(pg);
}

void pg_job_flush_queue(struct pg *pg)
{
    while (pg->queue != NULL) {
        struct pg_job *waiting = pg->queue;
        pg->queue = waiting->next;
        waiting->ending = true;
        waiting->err = ERR_CANCELED;
        (void)err_set(&waiting->detail, ERR_CANCELED, "%s was not begun", waiting->plan->name);
        timer_set(waiting, 0, finish);
    }
}

void pg_job_override(struct pg_job *job)
{
    struct pg *pg = job->pg;
    pg_job_flush_queue(pg);
    pg->queue = job;
    if (pg->job != NULL) {
        pg_job_cancel(pg->job);
    }
    start_next(pg);
}

void pg_job_cancel(struct pg_job *job)
{
    if (job->ending || atomic_exchange(&job->canceled, true)) {
        return;
    }
    (void)uv_timer_stop(&job->timer); /* always 0 */
    pg_session_close(job->session);
    job->session = NULL;
    if (pg_child_running(&job->child)) {
        pg_child_kill(&job->child);
    } else if (!job->working) {
        cancel_end(job);
    }
}

/* ---- the pool ---- */

static void work_run(uv_work_t *work)
{
    struct pg_job *job = work->data;
    enum err err = job->work_fn(job);
    if (!job->cleaning) {
        job->err = err;
    }
}

static void work_done(uv_work_t *work, int status)
{
    struct pg_job *job = work->data;
    ASSERT(status == 0); /* never canceled */
    job->working = false;
    if (job->cleaning) {
        timer_set(job, 0, finish);
        return;
    }
    enum err err = job->err;
    job->err = ERR_OK;
    if (atomic_load(&job->canceled)) {
        cancel_end(job);
    } else if (err != ERR_OK) {
        pg_job_fail_detail(job, err, &job->detail);
    } else {
        pg_job_next(job);
    }
}

static void work_queue(struct pg_job *job)
{
    job->working = true;
    job->work.data = job;
    int rc = uv_queue_work(job->pg->loop, &job->work, work_run, work_done);
    ASSERT(rc == 0);
}

static void end_work(struct pg_job *job)
{
    job->work_fn = job->plan->cleanup;
    work_queue(job);
}

enum pg_step pg_job_work(struct pg_job *job, enum err (*fn)(struct pg_job *job))
{
    ASSERT(!job->working);
    job->work_fn = fn;
    work_queue(job);
    return PG_STEP_WAIT;
}

enum pg_step pg_job_wait(struct pg_job *job, int64_t ms, void (*fn)(struct pg_job *job))
{
    timer_set(job, ms, fn);
    return PG_STEP_WAIT;
}

/* ---- children ---- */

static void leftover_path(const struct pg *pg, char out[PATH_SIZE])
{
    if (!str_format(out, PATH_SIZE, "%s/child.pid", pg->config.state_dir)) {
        out[0] = '\0';
    }
}

/* "PID TICKS\n", taken apart in place. */
static bool leftover_parse(char *text, int64_t *out_pid, uint64_t *out_ticks)
{
    char *blank = strchr(text, ' ');
    if (blank == NULL) {
        return false;
    }
    *blank = '\0';
    blank[1 + strcspn(blank + 1, "\n")] = '\0';
    return str_to_i64(text, out_pid) && str_to_u64(blank + 1, out_ticks) && *out_pid > 1 &&
           *out_pid <= INT32_MAX;
}

void pg_job_kill_leftover(struct pg *pg)
{
    char path[PATH_SIZE];
    char text[64];
    leftover_path(pg, path);
    int64_t pid = 0;
    uint64_t ticks = 0;
    struct pg_proc proc;
    if (pg_file_read(path, text, sizeof(text)) && leftover_parse(text, &pid, &ticks) &&
        pg_proc_stat(pid, &proc) && proc.start_ticks == ticks) {
        log_warn("postgres_leftover_child", "pid=%" PRId64 " what=\"killed: its agent is gone\"",
                 pid);
        (void)kill((pid_t)-pid, SIGKILL); /* it led a group; who is gone is gone */
        (void)kill((pid_t)pid, SIGKILL);
    }
    (void)unlink(path); /* absent is as good */
}

static void leftover_remember(struct pg_job *job)
{
    char path[PATH_SIZE];
    char text[64];
    struct pg_proc proc;
    leftover_path(job->pg, path);
    if (pg_proc_stat(job->child.group, &proc)) {
        (void)snprintf(text, sizeof(text), "%lld %llu\n", (long long)job->child.group,
                       (unsigned long long)proc.start_ticks); /* fits */
        /* without the file a dead agent's child is only found by its successor's checks */
        (void)!pg_file_write(path, text, 0600, false, NULL);
    }
}

static void child_default_done(const struct pg_child_result *result, void *arg)
{
    struct pg_job *job = arg;
    if (result->exit_status == 0) {
        pg_job_next(job);
        return;
    }
    const char *what = result->tail[0] != '\0' ? result->tail : "no message";
    size_t length = strlen(what);
    const size_t room = sizeof(job->detail.text) - 64;
    if (length > room) { /* the end of what it said tells more than the beginning */
        what += length - room;
    }
    pg_job_fail(job, ERR_REFUSED, "%s failed (%s %d): %s", job->plan->name,
                result->signal != 0 ? "signal" : "status",
                result->signal != 0 ? result->signal : result->exit_status, what);
}

static void child_done(const struct pg_child_result *result, void *arg)
{
    struct pg_job *job = arg;
    char path[PATH_SIZE];
    leftover_path(job->pg, path);
    (void)unlink(path); /* absent is as good */
    if (atomic_load(&job->canceled)) {
        cancel_end(job);
        return;
    }
    (job->child_cb != NULL ? job->child_cb : child_default_done)(result, job);
}

enum pg_step pg_job_spawn(struct pg_job *job, const struct pg_child_spawn *spawn,
                          pg_child_done_cb cb)
{
    struct err_detail detail;
    ASSERT(!job->working);
    job->child_cb = cb;
    enum err err = pg_child_start(&job->child, job->pg->loop, spawn, child_done, job, &detail);
    if (err != ERR_OK) {
        pg_job_fail_detail(job, err, &detail);
        return PG_STEP_WAIT;
    }
    leftover_remember(job);
    return PG_STEP_WAIT;
}

static void connected(enum err err, const PGresult *result, const struct err_detail *detail,
                      void *arg)
{
    (void)result;
    if (err == ERR_OK) {
        pg_job_next(arg);
    } else {
        pg_job_fail_detail(arg, ERR_REFUSED, detail); /* nothing was asked of the server yet */
    }
}

enum pg_step pg_job_connect(struct pg_job *job, const struct pg_target *target)
{
    pg_session_close(job->session);
    job->session =
        pg_session_open(job->pg->loop, target, PG_CONNECT_TIMEOUT_MS, connected, NULL, job);
    return PG_STEP_WAIT;
}

static void query_done(enum err err, const PGresult *result, const struct err_detail *detail,
                       void *arg)
{
    (void)result;
    struct pg_job *job = arg;
    if (err == ERR_OK) {
        pg_job_next(job);
    } else {
        pg_job_fail_detail(job, err, detail);
    }
}

enum pg_step pg_job_query(struct pg_job *job, const char *sql, int64_t timeout_ms)
{
    pg_session_query(job->session, sql, timeout_ms, query_done, job);
    return PG_STEP_WAIT;
}

/* ---- common steps ---- */

static void control_done(const struct pg_child_result *result, void *arg)
{
    struct pg_job *job = arg;
    job->has_control =
        result->exit_status == 0 && pgcontrol_parse(result->output, &job->control, NULL) == ERR_OK;
    if (job->has_control) {
        job->pg->control = job->control;
        job->pg->has_control = true;
        job->pg->control_stamp = 0; /* the next probe reads its own */
    }
    pg_job_next(job);
}

enum pg_step pg_job_read_control(struct pg_job *job)
{
    char path[PATH_SIZE];
    pg_binary(job->pg, "pg_controldata", path);
    const char *argv[] = {path, "-D", job->pg->config.data_dir, NULL};
    struct pg_child_spawn spawn = {.argv = argv};
    return pg_job_spawn(job, &spawn, control_done);
}

enum pg_step pg_job_need_stopped(struct pg_job *job)
{
    pg_look_now(job->pg);
    if (job->pg->start_pending || job->pg->look.process != TRI_NO) {
        pg_job_fail(job, ERR_INVALID, "%s: a server runs in %s", job->plan->name,
                    job->pg->config.data_dir);
        return PG_STEP_WAIT;
    }
    return PG_STEP_NEXT;
}
