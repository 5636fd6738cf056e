/* pg/pg_internal.h - what the files of this layer share; nobody else includes it.
 *
 * Purpose    struct pg and the machinery of its actions.
 * Ownership  one struct pg owns everything here; jobs live on the heap from their call to their
 *            callback.
 * Jobs       an action is a plan: a list of steps run in order. A step returns PG_STEP_NEXT, or
 *            PG_STEP_WAIT after it started something whose end calls pg_job_next or pg_job_fail.
 *            At most one job runs; pg_stop cancels it and runs after it.
 * Threads    loop thread only, except the functions given to pg_job_work: these may touch the job's
 *            own fields and pg->config (which does not change while a job runs), nothing else.
 */
#ifndef HOLDFAST_PG_PG_INTERNAL_H
#define HOLDFAST_PG_PG_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "base/time.h"
#include "codec/pgconf.h"
#include "codec/pgcontrol.h"
#include "codec/pghistory.h"
#include "pg/pg.h"
#include "pg/pg_child.h"
#include "pg/pg_files.h"
#include "pg/pg_session.h"

#define PG_CONFIG_ARENA_BYTES (4 * 1024 * 1024)
#define PG_JOB_ARENA_BYTES (8 * 1024 * 1024)
#define PG_FILE_TEXT_SIZE (1024 * 1024) /* the largest configuration file read or written */
#define PG_CONNINFO_SIZE 4096
#define PG_SQL_TIMEOUT_MS 3000
#define PG_CONNECT_TIMEOUT_MS 3000
#define PG_RETRY_MS 20 /* between attempts while an action waits for the server; never in idle */

struct pg_job;
enum pg_step { PG_STEP_NEXT, PG_STEP_WAIT };
typedef enum pg_step (*pg_step_fn)(struct pg_job *job);

struct pg_plan {
    const char *name;
    const char *state;        /* details.state while it runs; NULL: unchanged */
    const char *failed_state; /* details.state after a failure; NULL: by the next probe */
    const pg_step_fn *steps;
    size_t count;
    enum err (*cleanup)(struct pg_job *job); /* in the pool, after a failure or cancellation */
};

struct pg_job {
    struct pg *pg;
    const struct pg_plan *plan;
    struct pg_job *next; /* waits for the running one */
    size_t step;
    pg_done_cb done_cb;
    pg_check_cb check_cb;
    void *arg;
    enum err err;
    struct err_detail detail;
    atomic_bool canceled; /* read by pool functions too */
    bool ending;
    bool cleaning;
    bool in_doubt; /* a cancellation now leaves it unknown what was done */
    uv_timer_t timer;
    void (*timer_fn)(struct pg_job *job);
    uv_work_t work;
    bool working;
    enum err (*work_fn)(struct pg_job *job);
    struct pg_child child;
    pg_child_done_cb child_cb;
    struct pg_session *session; /* closed with the job */
    struct arena arena;
    struct mono deadline; /* of the current wait */
    struct mono started_at;
    /* what actions keep between their steps */
    bool has_source;
    struct pg_source source;
    bool as_primary;
    bool hard;
    bool created;   /* the clone has begun to write into the directory */
    bool set_aside; /* the directory was renamed: told when the job ends */
    bool local_running;
    bool with_slot;                        /* the clone's slot exists on the source */
    bool any_source;                       /* the source may be a standby */
    bool skip_check;                       /* nothing local to compare */
    bool awaits_start;                     /* pg_postmaster_started goes on with it */
    void (*exited_fn)(struct pg_job *job); /* hears of the postmaster's end */
    void (*poke_fn)(struct pg_job *job);   /* hears of changes in the data directory */
    bool signaled;
    struct mono waiting_since;
    struct pgcontrol control;
    bool has_control;
    int64_t log_offset;
    struct pghistory_local local;
    struct pghistory_record last_record;
    bool has_record;
    uint32_t source_timeline;
    char *source_history; /* in the arena */
    struct pghistory_fork fork;
    enum pghistory_verdict verdict;
    char wal_copy_dir[PATH_SIZE];
    uint64_t wal_copy_bytes;
    uint32_t wal_copy_files;
    bool wal_copy_cut; /* the bound was reached */
    uint64_t transactions;
    char *conninfo_written; /* in the arena */
    struct mono progress_logged_at;
    struct mono asked_again_at;
};

struct pg_waiter {
    struct pg_waiter *next;
    int64_t timeout_ms;
    pg_probe_cb cb;
    void *arg;
};

/* What the last look at files and /proc said. */
struct pg_look {
    enum tri process;
    int64_t pid; /* of the postmaster; 0: none, or only orphans of it */
    uint64_t start_ticks;
    bool orphan;
    bool single_user;
    enum pgconf_pid_status status;
    enum core_datadir datadir;
    bool standby_signal;
};

enum pg_end { PG_END_NONE, PG_END_ASKED, PG_END_CRASHED };

struct pg_slots {
    struct core_name_list members;
    uint64_t position[MEMBERS_MAX];
    bool wanted;
    bool busy;
    struct mono next_at;
    char dropping[MEMBERS_MAX * 2][NAME_SIZE]; /* slots of members that went away */
    struct mono gone_at[MEMBERS_MAX * 2];
    char step[512]; /* the statement under way */
};

struct pg {
    uv_loop_t *loop;
    struct arena config_arena;
    struct pg_config config;
    struct arena next_arena; /* a configuration that waits for the running job's end */
    struct pg_config next_config;
    bool has_next_config;
    bool live_due; /* the files wait until the server is known to be the cluster's */
    uint64_t cluster_sysid;
    struct pg_process process;
    void (*changed_cb)(void *arg);
    void *arg;
    char slot_name[NAME_SIZE];
    char postgres_path[PATH_SIZE];

    struct core_postgres facts;
    struct pg_details details;
    struct pg_look look;
    struct pgcontrol control; /* the last reading of pg_controldata */
    bool has_control;
    uint64_t control_stamp; /* of the file it was read from */
    uint64_t conf_stamp;    /* of the postgresql.conf that conf_upstream was read from */
    char conf_upstream[NAME_SIZE];
    int binaries_major; /* of `postgres -V`; 0: not asked yet */

    /* the postmaster as told by the process interface */
    int64_t pid; /* 0: none */
    uint64_t start_ticks;
    bool start_pending;
    bool promoted; /* we promoted this incarnation */
    enum pg_end ending;
    uint64_t last_incarnation;
    uint32_t received_timeline; /* the highest seen in this incarnation */

    struct pg_session *heartbeat;
    bool heartbeat_connecting;
    uv_poll_t *receiver; /* pidfd of the walreceiver */
    int receiver_fd;
    int64_t receiver_pid;
    struct mono receiver_seen_at;
    uv_fs_event_t watch;
    bool watching;
    bool changed_pending;
    uv_timer_t changed_timer;

    /* the probe */
    struct pg_waiter *now;
    struct pg_waiter *later;
    bool probing;
    bool probe_sent;
    bool probe_waits;      /* for the heartbeat to be free */
    bool probe_on_session; /* an answer of the heartbeat is awaited */
    struct mono probe_at;
    struct mono probe_deadline;
    struct core_postgres probe_facts;
    uv_timer_t probe_timer;
    struct pg_child probe_child;

    struct pg_slots slots;
    struct pg_job *job;   /* running */
    struct pg_job *queue; /* waiting */

    bool closing;
    int open_handles; /* and running jobs' timers */
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

/* ---- pg.c ---- */

/* The running server is not known to be the cluster's. */
bool pg_is_stranger(const struct pg *pg);

/* After new facts: the files that had to wait for them. */
void pg_config_apply_due(struct pg *pg);

/* Soon (the next loop turn, once) changed_cb. */
void pg_changed(struct pg *pg);
void pg_changed_after(struct pg *pg, int64_t ms);
/* The absolute path of one of PostgreSQL's programs. */
void pg_binary(const struct pg *pg, const char *name, char out[PATH_SIZE]);
/* The connection to the own server as the superuser. */
void pg_local_target(const struct pg *pg, struct pg_target *out_target);
void pg_source_target(const struct pg *pg, const struct pg_source *source,
                      const struct pg_credentials *credentials, struct pg_target *out_target);
const struct pg_credentials *pg_rewind_credentials(const struct pg *pg);
void pg_state_set(struct pg *pg, const char *state);
void pg_heartbeat_drop(struct pg *pg);
void pg_config_swap(struct pg *pg); /* takes a waiting configuration over */
/* Starts watching the data directory when it exists. */
void pg_watch(struct pg *pg);
void pg_maybe_closed(struct pg *pg);
int pg_major(const struct pg *pg); /* of the data directory or server; 0: unknown */

/* ---- pg_probe.c ---- */

/* Files and /proc; cheap. Adopts a postmaster that was not known. */
void pg_look_now(struct pg *pg);
void pg_probe_resume(struct pg *pg);  /* the heartbeat is free again */
void pg_probe_abandon(struct pg *pg); /* answers all waiters: the struct goes away */

/* ---- pg_job.c ---- */

struct pg_job *pg_job_new(struct pg *pg, const struct pg_plan *plan, pg_done_cb cb, void *arg);
void pg_job_submit(struct pg_job *job);   /* refused (by callback) when another one runs */
void pg_job_flush_queue(struct pg *pg);   /* what waits is canceled */
void pg_job_override(struct pg_job *job); /* cancels the others */
void pg_job_next(struct pg_job *job);
void pg_job_again(struct pg_job *job); /* runs the current step once more */
void pg_job_fail(struct pg_job *job, enum err err, const char *format, ...) PRINTF_LIKE(3, 4);
void pg_job_fail_detail(struct pg_job *job, enum err err, const struct err_detail *detail);
void pg_job_done(struct pg_job *job); /* leaves out the steps that are left */
enum pg_step pg_job_work(struct pg_job *job, enum err (*fn)(struct pg_job *job));
enum pg_step pg_job_wait(struct pg_job *job, int64_t ms, void (*fn)(struct pg_job *job));
/* cb NULL: exit status 0 is success, anything else a failure with the last lines of stderr. */
enum pg_step pg_job_spawn(struct pg_job *job, const struct pg_child_spawn *spawn,
                          pg_child_done_cb cb);
void pg_job_cancel(struct pg_job *job);
/* Makes the target the job's session; a failure is ERR_REFUSED. */
enum pg_step pg_job_connect(struct pg_job *job, const struct pg_target *target);
/* Runs the session's statement; success goes on, a refusal fails the job. cb NULL: that. */
enum pg_step pg_job_query(struct pg_job *job, const char *sql, int64_t timeout_ms);
/* Step: pg_controldata into job->control (has_control false when it cannot be read). */
enum pg_step pg_job_read_control(struct pg_job *job);
/* Step: fails unless nothing runs in the data directory. */
enum pg_step pg_job_need_stopped(struct pg_job *job);
/* Ends leftovers of an agent that died while a child ran. */
void pg_job_kill_leftover(struct pg *pg);

/* ---- pg_conf.c: blocking, pool ---- */

enum err pg_conf_write_passfile(const struct pg *pg, const char *path,
                                const struct pg_source *source,
                                const struct pg_credentials *credentials,
                                struct err_detail *detail);
/* Writes all files of a server that is to start, or to follow somebody else. */
enum err pg_conf_apply(const struct pg *pg, struct arena *arena, const struct pg_source *upstream,
                       bool as_primary, char **out_conninfo, struct err_detail *detail);
/* As they are meant to be for the server that runs: role and upstream stay what the files say. */
enum err pg_conf_rewrite(const struct pg *pg, struct arena *arena, bool *out_changed,
                         struct err_detail *detail);
void pg_conf_backup(const struct pg *pg);
void pg_conf_restore(const struct pg *pg);
/* Builds the source's conninfo without the password; false: does not fit. */
bool pg_conf_conninfo(const struct pg *pg, const struct pg_source *source,
                      const struct pg_credentials *credentials, const char *passfile,
                      const char *dbname, char out[PG_CONNINFO_SIZE]);
bool pg_conf_config_dir_apart(const struct pg *pg);

/* ---- pg_check.c: steps shared by check, rewind and clone ---- */
enum pg_step pg_check_local(struct pg_job *job);
enum pg_step pg_check_dump(struct pg_job *job);
enum pg_step pg_check_connect(struct pg_job *job);
enum pg_step pg_check_identify(struct pg_job *job);
enum pg_step pg_check_history(struct pg_job *job);
enum pg_step pg_check_judge(struct pg_job *job);

/* ---- pg_boot.c: directories that initdb or pg_basebackup left half made (a file beside the directory
 * says so, until the work is done); pool, but for the first and the last ---- */

/* Counts as empty: nothing in it is anybody's. So it does while its job runs. */
bool pg_boot_half_made(const struct pg *pg);
enum err pg_boot_unfinished_begin(struct pg_job *job, bool is_clone) MUST_CHECK;
enum err pg_boot_unfinished_end(struct pg_job *job) MUST_CHECK;
/* Out of the way, before the directory is made anew; job->set_aside tells whether it was renamed. */
enum err pg_boot_discard_half_made(struct pg_job *job) MUST_CHECK;
/* Loop thread: the line of a directory that was set aside. */
void pg_boot_aside_tell(struct pg *pg);

/* ---- pg_clone.c: our slot on the source; its lack is logged, not an error ---- */
enum pg_step pg_clone_slot_connect(struct pg_job *job);
enum pg_step pg_clone_slot_create(struct pg_job *job);

/* ---- pg_wal.c: the steps of INV-5 ---- */
enum pg_step pg_wal_copy(struct pg_job *job);
enum pg_step pg_wal_count(struct pg_job *job);
enum pg_step pg_wal_report(struct pg_job *job);

/* ---- pg_slots.c ---- */
void pg_slots_step(struct pg *pg); /* after a good probe */

#endif
