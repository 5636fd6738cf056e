/* core/view.h - the facts that the core decides from.
 *
 * Purpose    whole snapshots of the store, the own PostgreSQL, the guard and the peers. Shell and
 *            simulator fill them in; the core folds them into its view.
 * Ownership  plain values, copied; nothing points anywhere.
 * Units      *_ms milliseconds; lsn: bytes; struct mono: CLOCK_BOOTTIME.
 * Rule       a fact is dated when its request was sent (asked_at); what was not answered is
 * unknown, never "no" (INV-8).
 */
#ifndef HOLDFAST_CORE_VIEW_H
#define HOLDFAST_CORE_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/time.h"
#include "base/tri.h"

/* ---- the store ---- */

enum core_lease_state { CORE_LEASE_HELD, CORE_LEASE_RELEASED, CORE_LEASE_HANDING_TO };

/* The permanent key `lease` (design section 3). */
struct core_lease_record {
    bool present;     /* false also when it cannot be parsed, then version is not 0 */
    uint64_t version; /* 0: the key is absent */
    char holder[NAME_SIZE];
    uint64_t epoch;
    uint64_t seq;
    int64_t ttl_ms;
    bool armed;
    enum core_lease_state state;
    char to[NAME_SIZE]; /* HANDING_TO only, else "" */
    char session[SESSION_SIZE];
};

struct core_leader_key {
    uint64_t version; /* 0: absent */
    char name[NAME_SIZE];
};

enum core_initialize { CORE_INITIALIZE_ABSENT, CORE_INITIALIZE_RUNNING, CORE_INITIALIZE_DONE };

struct core_member {
    char name[NAME_SIZE];
    bool has_api_url;
    bool has_conn_url;
    bool running; /* its key says state running (or streaming) */
    bool nofailover;
    bool checkpoint_pending; /* checkpoint_after_promote: false */
};

struct core_name_list {
    uint32_t count;
    char name[MEMBERS_MAX][NAME_SIZE];
};

struct core_failsafe {
    uint64_t version; /* 0: absent */
    bool cut;         /* names were dropped: it had more than MEMBERS_MAX */
    struct core_name_list names;
};

/* /failover: a person's order. Present when leader or candidate is not "". */
struct core_failover {
    uint64_t version;
    char leader[NAME_SIZE];    /* "" for a manual failover */
    char candidate[NAME_SIZE]; /* "" for any */
    struct wall scheduled_at;  /* 0: now */
};

/* What the core needs of /config, defaults and clamping already applied (codec/dynconfig.h). */
struct core_settings {
    uint64_t version; /* of /config; 0: it is absent, these are defaults or remembered ones */
    int64_t ttl_ms;
    int64_t loop_wait_ms;
    int64_t retry_timeout_ms;
    int64_t maximum_lag_on_failover; /* bytes */
    int64_t primary_start_timeout_ms;
    bool check_timeline;
    bool failsafe_mode;
    bool pause;
    bool use_pg_rewind;
    bool clone_on_diverged;      /* remove_data_directory_on_diverged_timelines */
    bool clone_on_rewind_failed; /* remove_data_directory_on_rewind_failure */
};

/* One point of the store's history. */
struct core_cluster {
    enum tri reachable;   /* NO: the last request failed, everything below is as it was before */
    struct mono asked_at; /* when the read was sent; for a pushed change when it arrived */
    bool linearizable;    /* a read of ours, not a pushed change */
    uint64_t store_id;
    uint64_t revision;
    struct core_lease_record lease;
    struct core_leader_key leader;
    enum core_initialize initialize;
    uint64_t initialize_version;
    uint64_t sysid;          /* DONE only */
    uint64_t config_version; /* of /config itself, also when it cannot be used; 0: absent */
    struct core_settings settings;
    struct core_failsafe failsafe;
    struct core_failover failover;
    uint64_t optime;           /* /status: the primary's last published position; 0: unknown */
    uint32_t optime_timeline;  /* the timeline it was published on; 0: unknown */
    uint32_t history_timeline; /* last entry's timeline + 1; 1 for []; 0: unknown */
    uint32_t member_count;
    struct core_member member[MEMBERS_MAX];
};

/* ---- the own PostgreSQL ---- */

enum core_datadir {
    CORE_DATADIR_UNKNOWN,
    CORE_DATADIR_EMPTY, /* no global/pg_control and nothing but dotfiles and lost+found */
    CORE_DATADIR_USABLE,
    CORE_DATADIR_INACCESSIBLE, /* cannot be read: mount or permission */
    CORE_DATADIR_FOREIGN,      /* not empty and not PostgreSQL's, or of another version */
};

/* Database cluster state of pg_controldata. */
enum core_control {
    CORE_CONTROL_UNKNOWN,
    CORE_CONTROL_STARTING_UP,
    CORE_CONTROL_SHUT_DOWN,
    CORE_CONTROL_SHUT_DOWN_IN_RECOVERY,
    CORE_CONTROL_SHUTTING_DOWN,
    CORE_CONTROL_IN_CRASH_RECOVERY,
    CORE_CONTROL_IN_ARCHIVE_RECOVERY,
    CORE_CONTROL_IN_PRODUCTION,
};

struct core_postgres {
    struct mono asked_at;
    enum tri process;   /* a postmaster (or an orphan of it) runs in the data directory */
    enum tri accepting; /* it answers queries */
    enum tri
        primary; /* NO: in recovery; from the query, or from how we started it while starting */
    enum core_datadir datadir;
    enum core_control control;  /* read when no process runs; of the last such reading else */
    uint64_t sysid;             /* 0: unknown */
    uint32_t timeline;          /* current (primary) or last received; 0: unknown */
    uint64_t lsn;               /* primary: flush; replica: max(received, replayed); 0: unknown */
    uint64_t shutdown_lsn;      /* SHUT_DOWN: the shutdown checkpoint's location; else 0 */
    bool streaming;             /* walreceiver streams */
    bool timeline_checkpointed; /* primary: pg_control is on the current timeline */
    char upstream[NAME_SIZE];   /* whom the written configuration follows; "" nobody */
    bool setup_pending;         /* initdb was done here and pg_setup was not yet (marker file) */
    uint64_t incarnation;       /* a number that changes with every start of a postmaster */
};

/* What a divergence check found, for the source and timeline named. */
enum core_divergence {
    CORE_DIVERGENCE_UNKNOWN,
    CORE_DIVERGENCE_NONE,     /* may stream from the source */
    CORE_DIVERGENCE_DIVERGED, /* has WAL that the source has not */
};

/* ---- guard and peers ---- */

struct core_guard {
    struct mono asked_at;
    enum tri alive; /* its heartbeat is fresh */
    bool armed;
    uint64_t armed_epoch; /* armed only */
    bool fenced;          /* it has begun to end this primary */
};

/* The answer to GET /patroni of one peer, or its absence. */
struct core_peer_status {
    char name[NAME_SIZE];
    struct mono asked_at;
    enum tri reachable; /* NO: no answer with a position in time */
    bool primary;
    bool nofailover;
    int32_t failover_priority;
    uint32_t timeline;
    uint64_t lsn;
};

/* The answer to a request for a promise. */
struct core_peer_promise {
    char name[NAME_SIZE];
    uint64_t round; /* of the CORE_ACTION_ASK_PROMISE answered */
    bool granted;   /* false: refused, or no answer in time */
};

/* A peer that holds the lease asks for our promise (L9). */
struct core_promise_request {
    uint64_t request_id; /* the shell's, given back in CORE_ACTION_ANSWER */
    char holder[NAME_SIZE];
    uint64_t epoch;
    int64_t ttl_ms;
};

/* What must survive the agent (and a reboot), written and fsynced by CORE_ACTION_REMEMBER. A promise
 * need not be in it when it is given: an agent that starts acquires nothing for ttl_max_ms and a
 * margin (L8), which no promise given before can outlast; so ttl_max_ms comes first. */
struct core_memory {
    char promised_to[NAME_SIZE]; /* "" none */
    uint64_t promised_epoch;
    struct mono promised_until;           /* of this boot */
    int64_t promised_ms;                  /* its length, for after a reboot */
    uint64_t epoch_max;                   /* the highest epoch ever seen */
    int64_t ttl_max_ms;                   /* the largest ttl known of */
    struct core_name_list failsafe;       /* last known written list */
    struct core_name_list failsafe_doubt; /* lists that may have been written */
};

/* What the guard's page held when the agent started. */
struct core_page {
    bool present; /* false: no page (first start, reboot, guard and agent both lost) */
    struct mono deadline;
    int64_t ttl_ms;
    uint64_t epoch;
    uint64_t seq;
};

#endif
