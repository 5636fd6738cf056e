/* May this server stream from that one? The own position from the running standby or from
 * pg_controldata and pg_waldump; the source's timeline and its history over a replication
 * connection; the rule itself is codec/pghistory's. Rewind and clone use the same steps to learn
 * where the two part. */
#include "pg/pg_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"

/* ---- the own position ---- */

static void local_from_control(struct pg_job *job)
{
    const struct pgcontrol *control = &job->control;
    struct pghistory_local *local = &job->local;
    uint32_t timeline = control->checkpoint_timeline;
    bool recovering = control->state == PGCONTROL_IN_ARCHIVE_RECOVERY ||
                      control->state == PGCONTROL_SHUT_DOWN_IN_RECOVERY;
    if (recovering && control->min_recovery_lsn != 0) {
        uint32_t min_timeline = control->min_recovery_timeline;
        *local = (struct pghistory_local){
            .kind = PGHISTORY_REPLICA,
            .timeline = min_timeline > timeline ? min_timeline : timeline,
            .lsn = control->min_recovery_lsn > control->checkpoint_lsn ? control->min_recovery_lsn
                                                                       : control->checkpoint_lsn,
        };
        return;
    }
    if (control->state == PGCONTROL_SHUT_DOWN ||
        control->state == PGCONTROL_SHUT_DOWN_IN_RECOVERY) {
        *local = (struct pghistory_local){
            .kind = PGHISTORY_SHUT_DOWN, .timeline = timeline, .lsn = control->checkpoint_lsn};
        return;
    }
    *local = (struct pghistory_local){
        .kind = PGHISTORY_CRASHED, .timeline = timeline, .lsn = control->redo_lsn};
    /* promoted, and crashed before the first checkpoint of its timeline: the end-of-recovery record
     * left its mark in the minimum recovery point */
    if (control->min_recovery_timeline > timeline) {
        local->timeline = control->min_recovery_timeline;
        local->lsn = control->min_recovery_lsn;
    }
}

static void local_identified(enum err err, const PGresult *result, const struct err_detail *detail,
                             void *arg)
{
    struct pg_job *job = arg;
    uint64_t timeline = 0;
    (void)detail;
    if (err == ERR_OK && PQntuples(result) == 1 &&
        str_to_u64(PQgetvalue(result, 0, 1), &timeline) && timeline <= UINT32_MAX) {
        job->local.timeline = (uint32_t)timeline; /* the replayed one */
    }
    pg_session_close(job->session);
    job->session = NULL;
    pg_job_next(job);
}

static void local_replication(enum err err, const PGresult *result, const struct err_detail *detail,
                              void *arg)
{
    struct pg_job *job = arg;
    if (err != ERR_OK) { /* pg_hba.conf need not allow it: the probe's timeline stands */
        local_identified(err, result, detail, arg);
        return;
    }
    pg_session_query(job->session, "IDENTIFY_SYSTEM", PG_SQL_TIMEOUT_MS, local_identified, job);
}

static void local_answered(enum err err, const PGresult *result, const struct err_detail *detail,
                           void *arg)
{
    struct pg_job *job = arg;
    if (err != ERR_OK) {
        pg_job_fail_detail(job, ERR_REFUSED, detail);
        return;
    }
    if (!str_equal(PQgetvalue(result, 0, 0), "t")) {
        pg_job_fail(job, ERR_INVALID, "the local server is no standby");
        return;
    }
    uint64_t lsn = 0;
    (void)!str_to_lsn(PQgetvalue(result, 0, 1), &lsn); /* NULL before the first record: 0 */
    job->local = (struct pghistory_local){
        .kind = PGHISTORY_REPLICA, .timeline = job->pg->facts.timeline, .lsn = lsn};
    job->control.sysid = job->pg->facts.sysid;
    pg_session_close(job->session);
    struct pg_target target;
    pg_local_target(job->pg, &target);
    target.replication = true;
    target.options = NULL;
    job->session = pg_session_open(job->pg->loop, &target, PG_CONNECT_TIMEOUT_MS, local_replication,
                                   NULL, job);
}

static void local_connected(enum err err, const PGresult *result, const struct err_detail *detail,
                            void *arg)
{
    struct pg_job *job = arg;
    (void)result;
    if (err != ERR_OK) {
        pg_job_fail_detail(job, ERR_REFUSED, detail);
        return;
    }
    pg_session_query(job->session, "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()",
                     PG_SQL_TIMEOUT_MS, local_answered, job);
}

/* A copy that was never started: it has nothing that its source has not. */
static bool fresh_copy(const struct pg_job *job)
{
    char path[PATH_SIZE];
    return str_format(path, sizeof(path), "%s/backup_label", job->pg->config.data_dir) &&
           access(path, F_OK) == 0;
}

/* Step, after pg_job_read_control. */
enum pg_step pg_check_local(struct pg_job *job)
{
    if (job->skip_check) {
        return PG_STEP_NEXT;
    }
    struct pg *pg = job->pg;
    pg_look_now(pg);
    bool running = pg->look.process == TRI_YES && !pg->look.orphan;
    if (running && pg->look.status == PGCONF_PID_READY) {
        job->local_running = true;
        struct pg_target target;
        pg_local_target(pg, &target);
        job->session =
            pg_session_open(pg->loop, &target, PG_CONNECT_TIMEOUT_MS, local_connected, NULL, job);
        return PG_STEP_WAIT;
    }
    if (!job->has_control) {
        pg_job_fail(job, ERR_INVALID, "pg_controldata cannot be read");
        return PG_STEP_WAIT;
    }
    local_from_control(job);
    if (fresh_copy(job)) {
        job->local.kind = PGHISTORY_REPLICA;
        job->local.lsn = job->control.checkpoint_lsn;
    }
    if (running) { /* on its way up: what is on disk counts as a standby's */
        job->local_running = true;
        job->local.kind = PGHISTORY_REPLICA;
    }
    return PG_STEP_NEXT;
}

static void dump_line(const char *line, bool from_stderr, void *arg)
{
    struct pg_job *job = arg;
    struct pghistory_record record;
    if (!from_stderr && pghistory_record_parse(line, &record)) {
        job->last_record = record;
        job->has_record = true;
    }
}

static void dump_done(const struct pg_child_result *result, void *arg)
{
    struct pg_job *job = arg;
    (void)result; /* it ends with an error at the end of WAL: that is where we want it to end */
    struct pghistory_local *local = &job->local;
    if (job->has_record) {
        ASSERT(local->kind != PGHISTORY_REPLICA);
        local->lsn = job->last_record.lsn;
        local->record_end = pghistory_record_end(&job->last_record, job->control.wal_segment_bytes);
    }
    pg_job_next(job);
}

/* The end of the last segment that follows `lsn` without a hole; 0: there is none. pg_waldump waits
 * five seconds for a segment that does not exist. */
static uint64_t wal_files_end(const struct pg_job *job, uint32_t timeline, uint64_t lsn)
{
    const uint64_t bytes = job->control.wal_segment_bytes;
    ASSERT(bytes > 0);
    const uint64_t per_name = UINT64_C(0x100000000) / bytes;
    uint64_t segment = lsn / bytes;
    const uint64_t first = segment;
    char path[PATH_SIZE];
    while (str_format(path, sizeof(path), "%s/pg_wal/%08X%08" PRIX64 "%08" PRIX64,
                      job->pg->config.data_dir, timeline, segment / per_name, segment % per_name) &&
           access(path, F_OK) == 0) {
        segment++;
    }
    return segment == first ? 0 : segment * bytes;
}

/* Step: a former primary's last record. Of a clean shutdown it is the checkpoint; of a crash it is
 * the last one that can be read from the checkpoint's redo position on. */
enum pg_step pg_check_dump(struct pg_job *job)
{
    if (job->skip_check) {
        return PG_STEP_NEXT;
    }
    const struct pghistory_local *local = &job->local;
    if (job->local_running || local->kind == PGHISTORY_REPLICA) {
        return PG_STEP_NEXT;
    }
    char binary[PATH_SIZE];
    char lsn[LSN_TEXT_SIZE];
    pg_binary(job->pg, "pg_waldump", binary);
    str_from_lsn(lsn, local->lsn);
    const uint64_t end = wal_files_end(job, local->timeline, local->lsn);
    if (end == 0) {
        return PG_STEP_NEXT; /* nothing to dump: the position of pg_controldata stands */
    }
    char end_lsn[LSN_TEXT_SIZE];
    str_from_lsn(end_lsn, end);
    const char *argv[] = {
        binary,
        "-p",
        arena_printf(&job->arena, "%s/pg_wal", job->pg->config.data_dir),
        "-t",
        arena_printf(&job->arena, "%u", local->timeline),
        "-s",
        lsn,
        "-e",
        end_lsn,
        local->kind == PGHISTORY_SHUT_DOWN ? "-n" : NULL,
        "1",
        NULL,
    };
    struct pg_child_spawn spawn = {.argv = argv, .line_cb = dump_line};
    return pg_job_spawn(job, &spawn, dump_done);
}

/* ---- the source ---- */

enum pg_step pg_check_connect(struct pg_job *job)
{
    if (job->skip_check) {
        return PG_STEP_NEXT;
    }
    struct pg_target target;
    pg_source_target(job->pg, &job->source, &job->pg->config.replication, &target);
    target.replication = true;
    return pg_job_connect(job, &target);
}

static void identified(enum err err, const PGresult *result, const struct err_detail *detail,
                       void *arg)
{
    struct pg_job *job = arg;
    uint64_t sysid = 0;
    uint64_t timeline = 0;
    if (err != ERR_OK) {
        pg_job_fail_detail(job, ERR_REFUSED, detail);
        return;
    }
    if (PQntuples(result) != 1 || !str_to_u64(PQgetvalue(result, 0, 0), &sysid) ||
        !str_to_u64(PQgetvalue(result, 0, 1), &timeline) || timeline == 0 ||
        timeline > UINT32_MAX) {
        pg_job_fail(job, ERR_REFUSED, "IDENTIFY_SYSTEM: unexpected answer");
        return;
    }
    if (job->control.sysid != 0 && sysid != job->control.sysid) {
        pg_job_fail(job, ERR_REFUSED, "%s belongs to another cluster (system identifier)",
                    job->source.name);
        return;
    }
    job->source_timeline = (uint32_t)timeline;
    pg_job_next(job);
}

enum pg_step pg_check_identify(struct pg_job *job)
{
    if (job->skip_check) {
        return PG_STEP_NEXT;
    }
    /* PostgreSQL 13 does not tell; there the comparison of timelines has to do */
    if (!job->any_source && pg_session_in_hot_standby(job->session)) {
        pg_job_fail(job, ERR_REFUSED, "%s is in recovery itself", job->source.name);
        return PG_STEP_WAIT;
    }
    pg_session_query(job->session, "IDENTIFY_SYSTEM", PG_SQL_TIMEOUT_MS, identified, job);
    return PG_STEP_WAIT;
}

static void history_answered(enum err err, const PGresult *result, const struct err_detail *detail,
                             void *arg)
{
    struct pg_job *job = arg;
    if (err != ERR_OK) {
        pg_job_fail_detail(job, ERR_REFUSED, detail);
        return;
    }
    if (PQntuples(result) != 1 || PQnfields(result) != 2) {
        pg_job_fail(job, ERR_REFUSED, "TIMELINE_HISTORY: unexpected answer");
        return;
    }
    job->source_history =
        arena_strndup(&job->arena, PQgetvalue(result, 0, 1), (size_t)PQgetlength(result, 0, 1));
    if (job->source_history == NULL) {
        pg_job_fail(job, ERR_NO_MEMORY, "timeline history: too large");
        return;
    }
    pg_job_next(job);
}

enum pg_step pg_check_history(struct pg_job *job)
{
    if (job->skip_check) {
        return PG_STEP_NEXT;
    }
    job->source_history = arena_strdup(&job->arena, "");
    ASSERT(job->source_history != NULL);
    if (job->source_timeline == 1) {
        return PG_STEP_NEXT;
    }
    char sql[64];
    (void)snprintf(sql, sizeof(sql), "TIMELINE_HISTORY %u", job->source_timeline); /* fits */
    pg_session_query(job->session, sql, PG_SQL_TIMEOUT_MS, history_answered, job);
    return PG_STEP_WAIT;
}

/* Step: the verdict, and where the two part (for WAL that is set aside). */
enum pg_step pg_check_judge(struct pg_job *job)
{
    if (job->skip_check) {
        return PG_STEP_NEXT;
    }
    pg_session_close(job->session);
    job->session = NULL;
    char path[PATH_SIZE];
    char *own = malloc(PG_FILE_TEXT_SIZE);
    ASSERT(own != NULL);
    own[0] = '\0';
    bool known =
        job->local.timeline == 1 || (str_format(path, sizeof(path), "%s/pg_wal/%08X.history",
                                                job->pg->config.data_dir, job->local.timeline) &&
                                     pg_file_read(path, own, PG_FILE_TEXT_SIZE));
    if (!known) {
        own[0] =
            '\0'; /* then no ancestor is known to be common: all WAL counts as from the fork on */
    }
    job->verdict =
        pghistory_judge(&job->local, known ? own : NULL, job->source_timeline, job->source_history);
    if (job->local.timeline == 0 ||
        pghistory_find_fork(job->local.timeline, own, job->source_timeline, job->source_history,
                            &job->fork, NULL) != ERR_OK) {
        job->fork = (struct pghistory_fork){0};
    }
    free(own);
    char local_lsn[LSN_TEXT_SIZE];
    char fork_lsn[LSN_TEXT_SIZE];
    str_from_lsn(local_lsn, job->local.lsn);
    str_from_lsn(fork_lsn, job->fork.lsn == UINT64_MAX ? 0 : job->fork.lsn);
    log_info("postgres_divergence",
             "source=%s local_timeline=%u local_lsn=%s source_timeline=%u fork_timeline=%u "
             "fork_lsn=%s verdict=%s",
             job->source.name, job->local.timeline, local_lsn, job->source_timeline,
             job->fork.timeline, fork_lsn,
             job->verdict == PGHISTORY_SAME       ? "none"
             : job->verdict == PGHISTORY_DIVERGED ? "diverged"
                                                  : "unknown");
    return PG_STEP_NEXT;
}

static const pg_step_fn check_steps[] = {pg_job_read_control, pg_check_local,    pg_check_dump,
                                         pg_check_connect,    pg_check_identify, pg_check_history,
                                         pg_check_judge};
static const struct pg_plan check_plan = {
    .name = "divergence check",
    .steps = check_steps,
    .count = sizeof(check_steps) / sizeof(check_steps[0]),
};

void pg_check_divergence(struct pg *pg, const struct pg_source *source, pg_check_cb cb, void *arg)
{
    struct pg_job *job = pg_job_new(pg, &check_plan, NULL, arg);
    job->check_cb = cb;
    job->source = *source;
    job->has_source = true;
    pg_job_submit(job);
}
