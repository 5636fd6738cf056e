/* pg/pg.h - the local PostgreSQL server: facts about it, and the long actions on it.
 *
 * Purpose    probe the server; initdb, clone, start, promote, follow, stop, rewind. Dumb executors:
 *            whether and when is the core's decision.
 * Ownership  struct pg is created once; sources and names are copied by the call that gets them.
 * Errors     an action ends with ERR_OK (done), ERR_REFUSED or ERR_INVALID (not done, detail says
 *            why), ERR_IN_DOUBT (it may have been done: probe).
 * Callbacks  exactly once, never inside the call that started them. One action at a time; pg_stop may
 *            be called at any moment: it cancels what runs (whose callback then fires with
 *            ERR_CANCELED or ERR_IN_DOUBT before the stop's own).
 * Units      *_ms; lsn in bytes.
 * Threads    loop thread only; deleting trees, fsync and file copies run in libuv's pool.
 * Source     compat/ha.md sections 7, 12; compat/config.md sections 4, 5; INV-5.
 */
#ifndef HOLDFAST_PG_PG_H
#define HOLDFAST_PG_PG_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/time.h"
#include "core/view.h"
#include "pg/pg_config.h"
#include "pg/pg_process.h"

struct pg;

/* Where another member's server is reached. */
struct pg_source {
    char name[NAME_SIZE];
    char host[URL_SIZE];
    uint16_t port;
    char dbname[NAME_SIZE];
};

/* What REST and the member key show beside struct core_postgres. */
struct pg_details {
    char state[40];     /* rest.md section 4: "running", "starting", "creating replica" ... */
    char role[24];      /* "primary" "replica" "promoted" "demoted" "uninitialized" */
    int server_version; /* 150018; 0 unknown */
    char postmaster_start_time[48];
    uint64_t flush_lsn;    /* primary */
    uint64_t received_lsn; /* replica, 0 unknown */
    uint64_t replayed_lsn;
    uint64_t latest_end_lsn;
    char replayed_timestamp[48]; /* "" null */
    bool replay_paused;
    char replication_state[24];  /* "streaming", "in archive recovery", "" */
    char replication_json[8192]; /* its walsenders, a list of objects; "" none */
    uint32_t timeline;
    uint64_t sysid;
    int64_t progress_done_bytes; /* of a clone; -1 when none runs */
    int64_t progress_total_bytes;
    char last_error[512]; /* of the last failed action, with the last lines of the server's log */
};

typedef void (*pg_probe_cb)(const struct core_postgres *facts, const struct pg_details *details,
                            void *arg);
typedef void (*pg_done_cb)(enum err err, const struct err_detail *detail, void *arg);
typedef void (*pg_check_cb)(enum err err, enum core_divergence divergence,
                            const struct err_detail *detail, void *arg);

/* Copies config. Adopts a running server (ha.md section 3) without touching it: the first probe tells
 * its facts. changed_cb: something happened that a probe would show (exit, end of recovery, ready,
 * walreceiver lost ...): event-driven, never a poll in a failover path. */
enum err pg_create(uv_loop_t *loop, const struct pg_config *config,
                   const struct pg_process *process, void (*changed_cb)(void *arg), void *arg,
                   struct pg **out_pg) MUST_CHECK;

/* New configuration: rewrites files and reloads the server when something differs. */
void pg_reconfigure(struct pg *pg, const struct pg_config *config);

/* The system identifier of the cluster as the store has it; 0, as at the beginning: there is none
 * yet. A running server that is not known to have it keeps its files, slots and settings: it may be
 * somebody else's. */
void pg_set_cluster(struct pg *pg, uint64_t sysid);

/* Members that may need a slot here (their names; the own one is skipped), and the leader's. Applied
 * in small steps after the probes. */
void pg_set_members(struct pg *pg, const struct core_name_list *members);

/* How far a member's slot may be advanced on a replica (status.slots); unknown members are ignored.
 * Without it slots of a replica follow its own replay at a distance. */
void pg_set_slot_position(struct pg *pg, const char *member, uint64_t lsn);

/* Facts as of now: one query when the server answers, files and /proc otherwise; at most
 * timeout_ms. A second call while one is under way joins it if that one was not sent yet. */
void pg_probe(struct pg *pg, int64_t timeout_ms, pg_probe_cb cb, void *arg);

/* The answer to pg_process.start. err other than ERR_OK: no postmaster runs because of it. */
void pg_postmaster_started(struct pg *pg, enum err err, int64_t pid, uint64_t start_ticks,
                           const struct err_detail *detail);

/* The guard reported the end of the postmaster (nothing of it runs any more). */
void pg_postmaster_exited(struct pg *pg, int64_t pid);

/* The facts of the last probe. */
const struct pg_details *pg_details(const struct pg *pg);

/* ---- actions ---- */
void pg_initdb(struct pg *pg, pg_done_cb cb, void *arg);
void pg_setup(struct pg *pg, pg_done_cb cb, void *arg); /* roles, passwords, pg_hba: idempotent */
void pg_start_primary(struct pg *pg, pg_done_cb cb, void *arg); /* done: accepts connections */
void pg_start_replica(struct pg *pg, const struct pg_source *upstream_or_null, pg_done_cb cb,
                      void *arg); /* done: accepts connections, or recovery is under way */
void pg_promote(struct pg *pg, pg_done_cb cb, void *arg); /* done: accepts writes */
void pg_follow(struct pg *pg, const struct pg_source *upstream_or_null, pg_done_cb cb, void *arg);
void pg_checkpoint(struct pg *pg, pg_done_cb cb, void *arg);
void pg_check_divergence(struct pg *pg, const struct pg_source *source, pg_check_cb cb, void *arg);
void pg_rewind(struct pg *pg, const struct pg_source *source, pg_done_cb cb, void *arg);
void pg_clone(struct pg *pg, const struct pg_source *source, pg_done_cb cb, void *arg);
void pg_set_aside(struct pg *pg, pg_done_cb cb, void *arg); /* rename the directory to .failed */
enum pg_stop_mode { PG_STOP_FAST, PG_STOP_HARD };
void pg_stop(struct pg *pg, enum pg_stop_mode mode, pg_done_cb cb, void *arg);

/* Closes connections; the server runs on. closed_cb: the memory is gone. */
void pg_destroy(struct pg *pg, void (*closed_cb)(void *arg), void *arg);

#endif
