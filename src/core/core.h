/* core/core.h - what should this node do: a pure step function.
 *
 * Purpose    core_step folds one event into the view, then decides from the view and `now` alone
 *            which one rule fires. Everything that decides is in this folder; executors are dumb.
 * Purity     no I/O, clock, allocation, randomness, global, logging.
 * Ownership  the caller owns struct core; events are copied; plans are values.
 * Contract   level-triggered: a repeated event changes nothing, a lost one delays until the next
 *            snapshot. The shell, after every step: (1) writes plan.page into the guard's page,
 *            (2) starts the actions, (3) steps again with a TICK while plan.count > 0, (4) steps no
 *            later than plan.wake_at. Step (1) before (2): the page knows every seq that was sent.
 *            At most one unfinished action per target; what must follow waits for DONE. Only STOP
 *            overrides what is unfinished on the local PostgreSQL, and REPLACE_GUARD an order to a
 *            guard that is gone (the DONE of what was overridden never counts).
 * Units      milliseconds; struct mono is CLOCK_BOOTTIME.
 * Source     design sections 1-5 (INV-n, L-n), ha.md.
 */
#ifndef HOLDFAST_CORE_CORE_H
#define HOLDFAST_CORE_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/time.h"
#include "core/reason.h"
#include "core/view.h"

/* ---- actions ---- */

enum core_target {
    CORE_TARGET_LEASE,    /* transactions on `lease` (and `leader` with it) */
    CORE_TARGET_READ,     /* linearizable reads */
    CORE_TARGET_KEYS,     /* other keys */
    CORE_TARGET_POSTGRES, /* the local server */
    CORE_TARGET_CHECK,    /* a look at the leader's history */
    CORE_TARGET_PROBE,    /* a fresh look at it */
    CORE_TARGET_GUARD,
    CORE_TARGET_STATUS,  /* GET /patroni of the peers */
    CORE_TARGET_PROMISE, /* promises of the peers */
    CORE_TARGET_MEMORY,  /* the fsynced file */
    CORE_TARGET_NONE,    /* fire and forget: ANSWER, EXIT */
    CORE_TARGET_COUNT
};

#define CORE_ACTION_LIST(X)                                                                        \
    /* LEASE: one transaction: u.lease */                                                          \
    X(LEASE_WRITE, LEASE, "lease_write")                                                           \
    /* READ: a linearizable read begun now; its CLUSTER event comes before its DONE */             \
    X(READ, READ, "read")                                                                          \
    /* KEYS: each conditional on u.keys */                                                         \
    X(CLAIM_INITIALIZE, KEYS, "claim_initialize")   /* "" tied to our session, if absent */        \
    X(FINISH_INITIALIZE, KEYS, "finish_initialize") /* the sysid, and /config if absent */         \
    X(CANCEL_INITIALIZE, KEYS, "cancel_initialize")                                                \
    X(WRITE_CONFIG, KEYS, "write_config") /* restore a lost /config from the last known */         \
    X(WRITE_FAILSAFE, KEYS, "write_failsafe")                                                      \
    X(CLEAR_FAILOVER, KEYS, "clear_failover")                                                      \
    /* POSTGRES */                                                                                 \
    X(INITDB, POSTGRES, "initdb")                                                                  \
    X(SETUP, POSTGRES, "setup") /* roles after bootstrap */                                        \
    X(START_PRIMARY, POSTGRES, "start_primary")                                                    \
    X(START_REPLICA, POSTGRES, "start_replica") /* u.postgres.upstream, "" nobody */               \
    X(PROMOTE, POSTGRES, "promote")                                                                \
    X(FOLLOW, POSTGRES, "follow") /* u.postgres.upstream, while running */                         \
    X(CHECKPOINT, POSTGRES, "checkpoint")                                                          \
    X(CHECK_DIVERGENCE, CHECK, "check_divergence") /* reads only, may run beside the others */     \
    X(REWIND, POSTGRES, "rewind")                                                                  \
    X(CLONE, POSTGRES, "clone")                                                                    \
    X(SET_ASIDE, POSTGRES, "set_aside") /* rename a failed bootstrap's directory */                \
    X(STOP_FAST, POSTGRES, "stop_fast")                                                            \
    X(STOP_HARD, POSTGRES, "stop_hard")                                                            \
    /* PROBE: its POSTGRES event comes before its DONE */                                          \
    X(PROBE, PROBE, "probe")                                                                       \
    /* GUARD */                                                                                    \
    X(ARM, GUARD, "arm")                                                                           \
    X(DISARM, GUARD, "disarm")                                                                     \
    X(REPLACE_GUARD, GUARD, "replace_guard")                                                       \
    /* peers */                                                                                    \
    X(ASK_STATUS, STATUS, "ask_status")                                                            \
    X(ASK_PROMISE, PROMISE, "ask_promise")                                                         \
    /* memory, answers, end */                                                                     \
    X(REMEMBER, MEMORY, "remember")                                                                \
    X(ANSWER, NONE, "answer")                                                                      \
    X(EXIT, NONE, "exit")

enum core_action_type {
#define X(name, target, text) CORE_ACTION_##name,
    CORE_ACTION_LIST(X)
#undef X
        CORE_ACTION_COUNT
};

enum core_leader_op {
    CORE_LEADER_KEEP,   /* do not touch `leader` */
    CORE_LEADER_ATTACH, /* write our name, tied to our session, checking leader_version */
    CORE_LEADER_DELETE, /* remove it */
};

/* All checks and writes of one lease transaction. */
struct core_lease_write {
    struct core_lease_record record; /* version is not used; session is filled in by the shell */
    uint64_t lease_version;          /* must still be this (0: absent) */
    bool check_failsafe;
    uint64_t failsafe_version;
    enum core_leader_op leader_op;
    uint64_t leader_version; /* ATTACH: must still be this (0: absent) */
    int64_t timeout_ms;
};

struct core_action {
    enum core_action_type type;
    uint32_t id; /* given back in DONE; 0 for target NONE */
    union {
        struct core_lease_write lease;
        struct {
            int64_t timeout_ms;
        } read;
        struct {
            uint64_t version;            /* the key's version that must still stand */
            uint64_t lease_version;      /* `lease` must still be this; 0: not checked */
            struct core_name_list names; /* WRITE_FAILSAFE: the list to write */
        } keys;
        struct {
            char upstream[NAME_SIZE];
        } postgres;
        struct {
            uint64_t epoch;
            bool for_pause; /* DISARM under a running primary (L7) */
        } guard;
        struct {
            struct mono asked_at;
            int64_t timeout_ms;
            uint64_t round;
            uint64_t epoch;
            int64_t ttl_ms;
            struct core_name_list names; /* whom to ask */
        } ask;
        struct core_memory memory; /* REMEMBER */
        struct {
            uint64_t request_id;
            bool granted;
        } answer;
        struct {
            int code;
        } exit;
    } u;
};

#define CORE_ACTIONS_MAX 2

struct core_plan {
    enum core_reason reason; /* the rule that fired */
    struct mono wake_at;     /* step again no later than this */
    struct core_page page;   /* to be written before the actions start */
    uint32_t count;
    struct core_action action[CORE_ACTIONS_MAX];
};

/* ---- events ---- */

enum core_event_type {
    CORE_EVENT_TICK,
    CORE_EVENT_CLUSTER,
    CORE_EVENT_POSTGRES,
    CORE_EVENT_GUARD,
    CORE_EVENT_PEER_STATUS,
    CORE_EVENT_PEER_PROMISE,
    CORE_EVENT_PROMISE_REQUEST,
    CORE_EVENT_DONE,
    CORE_EVENT_COMMAND,
    CORE_EVENT_COUNT
};

/* UNKNOWN: sent, no answer; it may have been applied. Handled by reading again, never by hoping. */
enum core_outcome { CORE_OUTCOME_APPLIED, CORE_OUTCOME_NOT_APPLIED, CORE_OUTCOME_UNKNOWN };

struct core_done {
    enum core_action_type type;
    uint32_t id;
    enum core_outcome outcome;
    uint64_t version;                /* LEASE_WRITE, KEYS applied: the new version */
    enum core_divergence divergence; /* CHECK_DIVERGENCE applied */
    bool conflict;                   /* NOT_APPLIED: because a check failed */
};

enum core_command {
    CORE_COMMAND_LEAVE, /* SIGTERM: leave for good (handoff, then stop; in pause leave it running)
                         */
};

struct core_event {
    struct mono now;  /* the only clock the core has; never before the last step's */
    struct wall wall; /* for scheduled orders only */
    enum core_event_type type;
    union {
        struct core_cluster cluster;
        struct core_postgres postgres;
        struct core_guard guard;
        struct core_peer_status peer_status;
        struct core_peer_promise peer_promise;
        struct core_promise_request promise_request;
        struct core_done done;
        enum core_command command;
    } u;
};

/* ---- the core ---- */

/* What one node is; fixed while it runs, except through core_reconfigure. */
struct core_config {
    char name[NAME_SIZE];
    bool nofailover;
    int32_t failover_priority;
    bool may_bootstrap; /* has a `bootstrap` section */
    bool clonefrom;
    bool same_boot;                /* memory was written in this boot */
    struct core_settings settings; /* until /config is seen */
};

#include "core/state.h"

/* memory: zeroed when there was none. */
void core_init(struct core *core, const struct core_config *config,
               const struct core_memory *memory, const struct core_page *page, struct mono now);

void core_reconfigure(struct core *core, const struct core_config *config);

/* Rejects (ASSERT) time that goes back and a DONE for an action never asked for. */
void core_step(struct core *core, const struct core_event *event, struct core_plan *plan);

/* The decision alone, from the view as it is: for the exhaustive test and for explain. */
void core_decide(const struct core *core, struct core_plan *plan);

const char *core_action_name(enum core_action_type type);
enum core_target core_action_target(enum core_action_type type);

/* Whether this node may answer health checks as leader (ha.md section 3 of rest.md): it holds a
 * proven lease that has not ended. */
bool core_is_leader(const struct core *core, struct mono now);

/* When the own lease ends; MONO_ZERO: no lease. */
struct mono core_lease_deadline(const struct core *core);

/* True when the lease stands on promises while the store is away. */
bool core_on_promises(const struct core *core, struct mono now);

#endif
