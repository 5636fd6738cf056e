/* Facts: one prepared statement when the server answers; files, /proc and pg_controldata otherwise.
 * What was not answered stays unknown, except where files prove it (INV-8). */
#include "pg/pg_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"

#define RECEIVER_PROVEN_MS 200
#define WALSENDERS_SHOWN_MAX "32"

enum column {
    COLUMN_IN_RECOVERY,
    COLUMN_WAL_FILE,
    COLUMN_FLUSH_LSN,
    COLUMN_REPLAY_LSN,
    COLUMN_RECEIVE_LSN,
    COLUMN_PAUSED,
    COLUMN_REPLAY_TIME,
    COLUMN_START_TIME,
    COLUMN_CONTROL_TIMELINE,
    COLUMN_MIN_RECOVERY_TIMELINE,
    COLUMN_SYSID,
    COLUMN_RECEIVER_PID,
    COLUMN_RECEIVER_STATUS,
    COLUMN_RECEIVER_TIMELINE,
    COLUMN_WRITTEN_LSN,
    COLUMN_LATEST_END_LSN,
    COLUMN_HAS_RESTORE,
    COLUMN_HEARD,
    COLUMN_WALSENDERS,
    COLUMN_COUNT
};

/* The subquery is not flattened, its function being volatile: all columns see one answer to "in
 * recovery?". */
static const char probe_sql[] =
    "SELECT s.r,"
    " CASE WHEN NOT s.r THEN pg_walfile_name(pg_current_wal_lsn()) END,"
    " CASE WHEN NOT s.r THEN pg_current_wal_flush_lsn() END,"
    " pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn(),"
    " CASE WHEN s.r THEN pg_is_wal_replay_paused() END,"
    " pg_last_xact_replay_timestamp(), pg_postmaster_start_time(),"
    " c.timeline_id, m.min_recovery_end_timeline, i.system_identifier,"
    " w.pid, w.status, w.received_tli, w.written_lsn, w.latest_end_lsn,"
    " coalesce(current_setting('restore_command', true), '') <> '',"
    " w.last_msg_send_time IS DISTINCT FROM w.last_msg_receipt_time,"
    " (SELECT json_agg(p) FROM (SELECT usename, application_name, client_addr, state,"
    " sync_state, sync_priority FROM pg_stat_replication"
    " LIMIT " WALSENDERS_SHOWN_MAX ") p)"
    " FROM (SELECT pg_is_in_recovery() AS r) s"
    " CROSS JOIN pg_control_checkpoint() c CROSS JOIN pg_control_recovery() m"
    " CROSS JOIN pg_control_system() i LEFT JOIN pg_stat_wal_receiver w ON true";

/* ---- files and /proc ---- */

static enum core_datadir datadir_look(const struct pg *pg)
{
    const char *dir = pg->config.data_dir;
    char path[PATH_SIZE];
    char text[32];
    int sys_errno = 0;
    if (pg_dir_empty(dir, &sys_errno) || (sys_errno == 0 && pg_boot_half_made(pg))) {
        return CORE_DATADIR_EMPTY;
    }
    if (sys_errno != 0) {
        return CORE_DATADIR_INACCESSIBLE;
    }
    struct stat st;
    if (!str_format(path, sizeof(path), "%s/global/pg_control", dir) || stat(path, &st) != 0 ||
        !str_format(path, sizeof(path), "%s/PG_VERSION", dir) ||
        !pg_file_read(path, text, sizeof(text))) {
        return CORE_DATADIR_FOREIGN;
    }
    int major = (int)strtol(text, NULL, 10);
    return pg->binaries_major != 0 && major != pg->binaries_major ? CORE_DATADIR_FOREIGN
                                                                  : CORE_DATADIR_USABLE;
}

/* ha.md section 3: the process in postmaster.pid, told from a recycled pid. */
static enum tri postmaster_look(const struct pg *pg, const struct pgconf_pidfile *file,
                                struct pg_look *look)
{
    int64_t pid = file->pid < 0 ? -file->pid : file->pid;
    struct pg_proc proc;
    if (pid == getpid() || pid == getppid() || !pg_proc_stat(pid, &proc)) {
        return TRI_NO;
    }
    if (proc.state == 'Z') {
        look->pid = pid;
        look->start_ticks = proc.start_ticks;
        /* nothing of it writes any more; postmaster.pid is removed before a start */
        return TRI_NO;
    }
    int is = pg_proc_is_postgres(pid, pg->config.data_dir);
    if (is == 0) {
        return TRI_NO;
    }
    if (is < 0) {
        int64_t started =
            pg_proc_boot_time() + (int64_t)(proc.start_ticks / (uint64_t)sysconf(_SC_CLK_TCK));
        int64_t apart =
            started > file->start_time ? started - file->start_time : file->start_time - started;
        if (apart > 3) {
            return TRI_NO;
        }
    }
    look->pid = pid;
    look->start_ticks = proc.start_ticks;
    look->single_user = file->pid < 0;
    look->status = file->status;
    return TRI_YES;
}

static void adopt_found(struct pg *pg)
{
    if (pg->pid != 0 || pg->start_pending || pg->look.single_user || pg->closing) {
        return;
    }
    pg->pid = pg->look.pid;
    pg->start_ticks = pg->look.start_ticks;
    pg->ending = PG_END_NONE;
    pg->promoted = false;
    pg->received_timeline = 0;
    log_info("postgres_adopted", "pid=%" PRId64, pg->pid);
    pg->process.adopt(pg->process.arg, pg->pid, pg->start_ticks);
}

void pg_look_now(struct pg *pg)
{
    struct pg_look look = {.process = TRI_NO};
    char path[PATH_SIZE];
    char text[1024];
    struct pgconf_pidfile file;
    struct stat st;
    look.datadir = datadir_look(pg);
    if (str_format(path, sizeof(path), "%s/postmaster.pid", pg->config.data_dir) &&
        pg_file_read(path, text, sizeof(text)) && pgconf_pidfile_parse(text, &file)) {
        look.process = postmaster_look(pg, &file, &look);
    }
    if (look.process == TRI_NO) {
        /* the file may be gone while the server is not: wiped directory, orphans of a killed one */
        int64_t found = pg->pid != 0 ? pg->pid : pg_proc_find(pg->config.data_dir);
        struct pg_proc proc;
        if (found > 0 && pg_proc_stat(found, &proc) && proc.state != 'Z' &&
            (pg->pid == 0 || proc.start_ticks == pg->start_ticks)) {
            look.process = TRI_YES;
            look.pid = found;
            look.start_ticks = proc.start_ticks;
            look.orphan = found != pg->pid;
        } else if (found < 0) {
            look.process = TRI_UNKNOWN;
        }
    }
    if (pg->start_pending && look.process == TRI_NO) {
        look.process = TRI_UNKNOWN;
    }
    (void)snprintf(path, sizeof(path), "%s/standby.signal", pg->config.data_dir); /* checked */
    look.standby_signal = stat(path, &st) == 0;
    pg->look = look;
    if (look.process == TRI_YES && !look.orphan) {
        adopt_found(pg);
    }
}

/* ---- the round's end ---- */

static void round_start(struct pg *pg);

static void round_finish(struct pg *pg)
{
    ASSERT(pg->probing);
    (void)uv_timer_stop(&pg->probe_timer); /* always 0 */
    pg->probing = false;
    pg->probe_sent = false;
    pg->probe_waits = false;
    pg->probe_on_session = false;
    pg->facts = pg->probe_facts;
    pg_config_apply_due(pg);
    struct pg_waiter *waiters = pg->now;
    pg->now = pg->later;
    pg->later = NULL;
    while (waiters != NULL) {
        struct pg_waiter *waiter = waiters;
        waiters = waiter->next;
        waiter->cb(&pg->facts, &pg->details, waiter->arg);
        free(waiter);
    }
    if (pg->now != NULL && !pg->probing && !pg->closing) {
        round_start(pg);
    }
}

void pg_probe_abandon(struct pg *pg)
{
    /* unknown, and dated before everything: nobody will act on it */
    struct core_postgres nothing = {.asked_at = MONO_ZERO};
    for (;;) {
        struct pg_waiter *waiter = pg->now != NULL ? pg->now : pg->later;
        if (waiter == NULL) {
            return;
        }
        if (pg->now != NULL) {
            pg->now = waiter->next;
        } else {
            pg->later = waiter->next;
        }
        waiter->cb(&nothing, &pg->details, waiter->arg);
        free(waiter);
    }
}

static int64_t time_left(const struct pg *pg)
{
    int64_t left = mono_sub(pg->probe_deadline, mono_now());
    return left > 1 ? left : 1;
}

/* ---- without an answer: files ---- */

static uint64_t control_stamp(const struct pg *pg)
{
    char path[PATH_SIZE];
    struct stat st;
    if (!str_format(path, sizeof(path), "%s/global/pg_control", pg->config.data_dir) ||
        stat(path, &st) != 0) {
        return 0;
    }
    return (uint64_t)st.st_mtim.tv_sec * 1000000007U + (uint64_t)st.st_mtim.tv_nsec +
           (uint64_t)st.st_ino * 31U + 1U;
}

static enum core_control control_state(enum pgcontrol_state state)
{
    static const enum core_control map[] = {
        [PGCONTROL_UNKNOWN] = CORE_CONTROL_UNKNOWN,
        [PGCONTROL_STARTING_UP] = CORE_CONTROL_STARTING_UP,
        [PGCONTROL_SHUT_DOWN] = CORE_CONTROL_SHUT_DOWN,
        [PGCONTROL_SHUT_DOWN_IN_RECOVERY] = CORE_CONTROL_SHUT_DOWN_IN_RECOVERY,
        [PGCONTROL_SHUTTING_DOWN] = CORE_CONTROL_SHUTTING_DOWN,
        [PGCONTROL_IN_CRASH_RECOVERY] = CORE_CONTROL_IN_CRASH_RECOVERY,
        [PGCONTROL_IN_ARCHIVE_RECOVERY] = CORE_CONTROL_IN_ARCHIVE_RECOVERY,
        [PGCONTROL_IN_PRODUCTION] = CORE_CONTROL_IN_PRODUCTION,
    };
    return map[state];
}

static void facts_from_control(struct pg *pg)
{
    struct core_postgres *facts = &pg->probe_facts;
    const struct pgcontrol *control = &pg->control;
    facts->sysid = control->sysid;
    facts->timeline = control->checkpoint_timeline;
    facts->lsn = control->checkpoint_lsn;
    bool recovering = control->state == PGCONTROL_IN_ARCHIVE_RECOVERY ||
                      control->state == PGCONTROL_SHUT_DOWN_IN_RECOVERY;
    if (recovering && control->min_recovery_lsn != 0) {
        facts->lsn =
            control->min_recovery_lsn > facts->lsn ? control->min_recovery_lsn : facts->lsn;
        if (control->min_recovery_timeline > facts->timeline) {
            facts->timeline = control->min_recovery_timeline;
        }
    }
    if (facts->process == TRI_NO) {
        facts->control = control_state(control->state);
        facts->shutdown_lsn = control->state == PGCONTROL_SHUT_DOWN ? control->checkpoint_lsn : 0;
    }
}

static void details_offline(struct pg *pg)
{
    struct pg_details *details = &pg->details;
    const struct core_postgres *facts = &pg->probe_facts;
    details->sysid = facts->sysid;
    details->timeline = facts->timeline;
    details->replication_state[0] = '\0';
    if (pg->job != NULL && pg->job->plan->state != NULL) {
        return; /* the action's own state stands */
    }
    if (facts->process == TRI_NO) {
        bool failed = strstr(details->state, "failed") != NULL;
        if (!failed && pg->ending != PG_END_CRASHED) {
            pg_state_set(pg, "stopped");
        }
        const char *role = "demoted";
        if (facts->datadir != CORE_DATADIR_USABLE) {
            role = "uninitialized";
        } else if (pg->look.standby_signal) {
            role = "replica";
        }
        str_copy_cut(details->role, sizeof(details->role), role);
    } else if (facts->process == TRI_YES && facts->accepting == TRI_NO) {
        pg_state_set(pg, pg->look.status == PGCONF_PID_STOPPING ? "stopping" : "starting");
    }
}

static void offline_finish(struct pg *pg)
{
    if (pg->has_control && pg->probe_facts.datadir == CORE_DATADIR_USABLE) {
        facts_from_control(pg);
    }
    details_offline(pg);
    round_finish(pg);
}

static void on_control(const struct pg_child_result *result, void *arg)
{
    struct pg *pg = arg;
    if (pg->closing) {
        pg_maybe_closed(pg);
        return;
    }
    struct pgcontrol control;
    pg->has_control =
        result->exit_status == 0 && pgcontrol_parse(result->output, &control, NULL) == ERR_OK;
    if (pg->has_control) {
        pg->control = control;
    } else {
        pg->control_stamp = 0;
    }
    offline_finish(pg);
}

static void control_read(struct pg *pg)
{
    uint64_t stamp = control_stamp(pg);
    if (stamp == 0 || pg->probe_facts.datadir != CORE_DATADIR_USABLE) {
        pg->has_control = false;
        offline_finish(pg);
        return;
    }
    if (stamp == pg->control_stamp && pg->has_control) {
        offline_finish(pg);
        return;
    }
    char path[PATH_SIZE];
    pg_binary(pg, "pg_controldata", path);
    const char *argv[] = {path, "-D", pg->config.data_dir, NULL};
    struct pg_child_spawn spawn = {.argv = argv};
    pg->control_stamp = stamp;
    if (pg_child_start(&pg->probe_child, pg->loop, &spawn, on_control, pg, NULL) != ERR_OK) {
        pg->control_stamp = 0;
        offline_finish(pg);
    }
}

static void on_version(const struct pg_child_result *result, void *arg)
{
    struct pg *pg = arg;
    if (pg->closing) {
        pg_maybe_closed(pg);
        return;
    }
    const char *number = strstr(result->output, ") "); /* "postgres (PostgreSQL) 15.18" */
    pg->binaries_major = number != NULL ? (int)strtol(number + 2, NULL, 10) : 0;
    if (pg->binaries_major == 0) {
        pg->binaries_major = -1; /* asked in vain: not again, and it refuses nothing */
    }
    control_read(pg);
}

/* No answer to be had now: what files say. */
static void offline(struct pg *pg)
{
    pg->probe_waits = false;
    pg->probe_on_session = false;
    pg_look_now(pg);
    struct core_postgres *facts = &pg->probe_facts;
    const struct core_postgres *before = &pg->facts;
    facts->process = pg->look.process;
    facts->datadir = pg->look.datadir;
    facts->control = before->control;
    facts->incarnation = before->incarnation;
    facts->accepting = TRI_UNKNOWN;
    facts->primary = TRI_UNKNOWN;
    if (facts->process == TRI_NO) {
        facts->accepting = TRI_NO;
        facts->primary = TRI_NO;
    } else if (facts->process == TRI_YES) {
        if (pg->look.status != PGCONF_PID_READY && !pg->look.orphan) {
            facts->accepting = TRI_NO;
        }
        if (pg->look.single_user) {
            facts->accepting = TRI_NO; /* it serves nobody but who started it */
            facts->primary = TRI_UNKNOWN;
        } else if (pg->look.standby_signal) {
            facts->primary = TRI_NO; /* removed before the first write after recovery */
        } else if (facts->datadir == CORE_DATADIR_USABLE || facts->accepting == TRI_NO) {
            facts->primary = TRI_YES; /* a standby has that file as long as it is one */
        }
    }
    if (pg_child_running(&pg->probe_child)) {
        offline_finish(pg); /* an earlier round's is still at it */
        return;
    }
    if (pg->binaries_major == 0) {
        const char *argv[] = {pg->postgres_path, "-V", NULL};
        struct pg_child_spawn spawn = {.argv = argv};
        if (pg_child_start(&pg->probe_child, pg->loop, &spawn, on_version, pg, NULL) == ERR_OK) {
            return;
        }
    }
    control_read(pg);
}

/* ---- with an answer ---- */

static const char *value(const PGresult *result, enum column column)
{
    return PQgetisnull(result, 0, (int)column) ? "" : PQgetvalue(result, 0, (int)column);
}

static uint64_t value_lsn(const PGresult *result, enum column column)
{
    uint64_t lsn = 0;
    return str_to_lsn(value(result, column), &lsn) ? lsn : 0;
}

static uint64_t value_number(const PGresult *result, enum column column)
{
    uint64_t number = 0;
    return str_to_u64(value(result, column), &number) ? number : 0;
}

static void receiver_closed(uv_handle_t *handle)
{
    free(handle);
}

static void on_receiver_exit(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct pg *pg = poll->data;
    (void)uv_poll_stop(poll); /* always 0 */
    uv_close((uv_handle_t *)poll, receiver_closed);
    (void)close(pg->receiver_fd); /* nothing was written */
    pg->receiver = NULL;
    pg->receiver_pid = 0;
    log_debug("postgres_walreceiver_gone", "member=%s", pg->config.name);
    pg_changed(pg);
}

/* The loss of the primary is told by the walreceiver's end, through its pidfd. */
static void receiver_watch(struct pg *pg, int64_t pid)
{
    if (pid == pg->receiver_pid || pid <= 1) {
        return;
    }
    if (pg->receiver != NULL) {
        (void)uv_poll_stop(pg->receiver); /* always 0 */
        uv_close((uv_handle_t *)pg->receiver, receiver_closed);
        (void)close(pg->receiver_fd); /* nothing was written */
        pg->receiver = NULL;
    }
    pg->receiver_pid = 0;
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    if (fd < 0) {
        pg_changed(pg); /* gone since the query */
        return;
    }
    pg->receiver = malloc(sizeof(*pg->receiver));
    ASSERT(pg->receiver != NULL);
    pg->receiver->data = pg;
    pg->receiver_fd = fd;
    pg->receiver_pid = pid;
    pg->receiver_seen_at = mono_now();
    int rc = uv_poll_init(pg->loop, pg->receiver, fd);
    ASSERT(rc == 0);
    rc = uv_poll_start(pg->receiver, UV_READABLE, on_receiver_exit);
    ASSERT(rc == 0);
}

static uint64_t max_lsn(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void details_online(struct pg *pg, const PGresult *result, bool in_recovery)
{
    struct pg_details *details = &pg->details;
    const struct core_postgres *facts = &pg->probe_facts;
    if (pg->job == NULL || pg->job->plan->state == NULL) {
        pg_state_set(pg, "running");
    }
    const char *role = in_recovery ? "replica" : "primary";
    str_copy_cut(details->role, sizeof(details->role), role);
    details->server_version = pg_session_server_version(pg->heartbeat);
    str_copy_cut(details->postmaster_start_time, sizeof(details->postmaster_start_time),
                 value(result, COLUMN_START_TIME));
    details->flush_lsn = value_lsn(result, COLUMN_FLUSH_LSN);
    details->replayed_lsn = value_lsn(result, COLUMN_REPLAY_LSN);
    details->received_lsn =
        max_lsn(value_lsn(result, COLUMN_WRITTEN_LSN), value_lsn(result, COLUMN_RECEIVE_LSN));
    details->latest_end_lsn = value_lsn(result, COLUMN_LATEST_END_LSN);
    str_copy_cut(details->replayed_timestamp, sizeof(details->replayed_timestamp),
                 value(result, COLUMN_REPLAY_TIME));
    details->replay_paused = str_equal(value(result, COLUMN_PAUSED), "t");
    const char *replication = "";
    if (facts->streaming) {
        replication = "streaming";
    } else if (in_recovery && str_equal(value(result, COLUMN_HAS_RESTORE), "t")) {
        replication = "in archive recovery";
    }
    str_copy_cut(details->replication_state, sizeof(details->replication_state), replication);
    if (!str_copy(details->replication_json, sizeof(details->replication_json),
                  value(result, COLUMN_WALSENDERS))) {
        details->replication_json[0] = '\0'; /* half a list would be none */
    }
    details->timeline = facts->timeline;
    details->sysid = facts->sysid;
}

/* A walreceiver calls itself streaming before the sender has agreed, and received_tli is what was
 * asked for. Both of its times are set to one value when it starts and differ from the first message
 * on; where there is nothing to send that takes long, so one that lives on is believed too. */
static bool receiver_streams(struct pg *pg, const PGresult *result)
{
    if (!str_equal(value(result, COLUMN_RECEIVER_STATUS), "streaming") || pg->receiver_pid == 0) {
        return false;
    }
    if (str_equal(value(result, COLUMN_HEARD), "t")) {
        return true;
    }
    int64_t age_ms = mono_sub(mono_now(), pg->receiver_seen_at);
    if (age_ms < RECEIVER_PROVEN_MS) {
        pg_changed_after(pg, RECEIVER_PROVEN_MS - age_ms);
        return false;
    }
    return true;
}

static void facts_online(struct pg *pg, const PGresult *result)
{
    struct core_postgres *facts = &pg->probe_facts;
    bool in_recovery = str_equal(value(result, COLUMN_IN_RECOVERY), "t");
    facts->process = TRI_YES;
    facts->accepting = TRI_YES;
    facts->primary = in_recovery ? TRI_NO : TRI_YES;
    facts->datadir = pg->look.datadir;
    facts->control = pg->facts.control;
    facts->sysid = value_number(result, COLUMN_SYSID);
    uint32_t control_timeline = (uint32_t)value_number(result, COLUMN_CONTROL_TIMELINE);
    if (!in_recovery) {
        char hex[9] = "";
        str_copy_cut(hex, sizeof(hex), value(result, COLUMN_WAL_FILE));
        facts->timeline = (uint32_t)strtoul(hex, NULL, 16);
        facts->lsn = value_lsn(result, COLUMN_FLUSH_LSN);
        facts->timeline_checkpointed = control_timeline == facts->timeline;
    } else {
        uint64_t received =
            max_lsn(value_lsn(result, COLUMN_RECEIVE_LSN), value_lsn(result, COLUMN_WRITTEN_LSN));
        facts->lsn = max_lsn(received, value_lsn(result, COLUMN_REPLAY_LSN));
        receiver_watch(pg, (int64_t)value_number(result, COLUMN_RECEIVER_PID));
        facts->streaming = receiver_streams(pg, result);
        if (facts->streaming && value_lsn(result, COLUMN_LATEST_END_LSN) != 0) {
            uint32_t seen = (uint32_t)value_number(result, COLUMN_RECEIVER_TIMELINE);
            pg->received_timeline = seen > pg->received_timeline ? seen : pg->received_timeline;
        }
        uint32_t timeline = (uint32_t)value_number(result, COLUMN_MIN_RECOVERY_TIMELINE);
        timeline = timeline > control_timeline ? timeline : control_timeline;
        facts->timeline = timeline > pg->received_timeline ? timeline : pg->received_timeline;
    }
    details_online(pg, result, in_recovery);
}

static void on_answer(enum err err, const PGresult *result, const struct err_detail *detail,
                      void *arg)
{
    struct pg *pg = arg;
    if (err != ERR_OK || PQntuples(result) != 1 || PQnfields(result) != COLUMN_COUNT) {
        log_debug("postgres_probe_failed", "detail=\"%s\"",
                  err != ERR_OK ? detail->text : "unexpected answer");
        if (pg_session_broken(pg->heartbeat)) {
            pg_heartbeat_drop(pg);
        }
        offline(pg);
        return;
    }
    facts_online(pg, result);
    round_finish(pg);
    pg_slots_step(pg);
}

static void ask(struct pg *pg)
{
    (void)uv_timer_stop(&pg->probe_timer); /* always 0 */
    pg->probe_waits = false;
    pg->probe_on_session = true;
    pg->probe_sent = true;
    pg->probe_at = mono_now();
    pg->probe_facts.asked_at = pg->probe_at;
    pg_session_probe(pg->heartbeat, probe_sql, time_left(pg), on_answer, pg);
}

static void on_connected(enum err err, const PGresult *result, const struct err_detail *detail,
                         void *arg)
{
    (void)result;
    struct pg *pg = arg;
    pg->heartbeat_connecting = false;
    if (err != ERR_OK) {
        if (!str_equal(pg->details.last_error, detail->text)) { /* once, not at every probe */
            log_warn("postgres_connect_failed", "detail=\"%s\"", detail->text);
        }
        str_copy_cut(pg->details.last_error, sizeof(pg->details.last_error), detail->text);
        pg_heartbeat_drop(pg);
        if (pg->probing) {
            offline(pg);
        }
        return;
    }
    if (pg->probing) {
        ask(pg);
    }
}

static void on_lost(void *arg)
{
    struct pg *pg = arg;
    pg_heartbeat_drop(pg);
    pg_changed(pg);
    if (pg->probing && pg->probe_waits) {
        offline(pg);
    }
}

/* ---- the round ---- */

static void incarnation_set(struct pg *pg)
{
    struct core_postgres *facts = &pg->probe_facts;
    facts->incarnation = pg->facts.incarnation;
    if (pg->pid != 0) {
        facts->incarnation = pg->start_ticks << 22 ^ (uint64_t)pg->pid;
    }
}

/* The file is read again only when it was replaced. */
static void upstream_set(struct pg *pg)
{
    char path[PATH_SIZE];
    struct stat st;
    const char *dir = pg->config.config_dir != NULL ? pg->config.config_dir : pg->config.data_dir;
    if (!str_format(path, sizeof(path), "%s/postgresql.conf", dir) || stat(path, &st) != 0) {
        pg->conf_stamp = 0;
        pg->conf_upstream[0] = '\0';
    } else {
        uint64_t stamp = (uint64_t)st.st_mtim.tv_sec * 1000000007U + (uint64_t)st.st_mtim.tv_nsec +
                         (uint64_t)st.st_ino * 31U + 1U;
        char *text = stamp != pg->conf_stamp ? malloc(PG_FILE_TEXT_SIZE) : NULL;
        if (text != NULL) {
            pg->conf_stamp = stamp;
            pg->conf_upstream[0] = '\0';
            if (pg_file_read(path, text, PG_FILE_TEXT_SIZE)) {
                pgconf_upstream(text, pg->conf_upstream);
            }
            free(text);
        }
    }
    str_copy_cut(pg->probe_facts.upstream, NAME_SIZE, pg->conf_upstream);
    (void)snprintf(path, sizeof(path), "%s/setup_pending", pg->config.state_dir); /* checked */
    pg->probe_facts.setup_pending = access(path, F_OK) == 0;
}

static void waited_enough(uv_timer_t *timer)
{
    struct pg *pg = timer->data;
    if (pg->probing && pg->probe_waits) {
        offline(pg);
    }
}

static void round_run(uv_timer_t *timer)
{
    struct pg *pg = timer->data;
    pg->probe_at = mono_now();
    pg->probe_facts = (struct core_postgres){.asked_at = pg->probe_at};
    pg_watch(pg);
    upstream_set(pg);
    if (pg_session_idle(pg->heartbeat)) {
        incarnation_set(pg);
        ask(pg);
        return;
    }
    pg_look_now(pg);
    incarnation_set(pg);
    if (pg->heartbeat != NULL && !pg_session_broken(pg->heartbeat)) {
        pg->probe_waits = true; /* its connection or a slot's statement ends first */
        int rc = uv_timer_start(timer, waited_enough, (uint64_t)time_left(pg), 0);
        ASSERT(rc == 0);
        return;
    }
    pg_heartbeat_drop(pg);
    bool worth_it = pg->look.process == TRI_YES && !pg->look.orphan && !pg->look.single_user &&
                    pg->look.status == PGCONF_PID_READY;
    if (!worth_it) {
        offline(pg);
        return;
    }
    struct pg_target target;
    pg_local_target(pg, &target);
    pg->heartbeat_connecting = true;
    pg->probe_on_session = true;
    pg->heartbeat = pg_session_open(pg->loop, &target, time_left(pg), on_connected, on_lost, pg);
}

static void round_start(struct pg *pg)
{
    int64_t timeout_ms = pg->now->timeout_ms;
    for (const struct pg_waiter *waiter = pg->now; waiter != NULL; waiter = waiter->next) {
        timeout_ms = waiter->timeout_ms < timeout_ms ? waiter->timeout_ms : timeout_ms;
    }
    pg->probing = true;
    pg->probe_deadline = mono_add(mono_now(), timeout_ms);
    int rc = uv_timer_start(&pg->probe_timer, round_run, 0, 0);
    ASSERT(rc == 0);
}

void pg_probe_resume(struct pg *pg)
{
    if (!pg->probing || !pg->probe_waits) {
        return;
    }
    if (pg_session_idle(pg->heartbeat)) {
        ask(pg);
    } else if (pg->heartbeat == NULL || pg_session_broken(pg->heartbeat)) {
        offline(pg);
    }
}

void pg_probe(struct pg *pg, int64_t timeout_ms, pg_probe_cb cb, void *arg)
{
    ASSERT(timeout_ms > 0);
    ASSERT(!pg->closing);
    struct pg_waiter *waiter = malloc(sizeof(*waiter));
    ASSERT(waiter != NULL);
    *waiter = (struct pg_waiter){.timeout_ms = timeout_ms, .cb = cb, .arg = arg};
    struct pg_waiter **list = pg->probing && pg->probe_sent ? &pg->later : &pg->now;
    while (*list != NULL) {
        list = &(*list)->next;
    }
    *list = waiter;
    if (!pg->probing) {
        round_start(pg);
    }
}
