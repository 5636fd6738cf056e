/* core/state.h - what the core remembers between two steps.
 *
 * Purpose    struct core, for those who must know its size and for the rules. Everybody else uses
 *            core.h only.
 * Ownership  plain values; copying a struct core copies everything.
 * Units      milliseconds; struct mono is CLOCK_BOOTTIME.
 */
#ifndef HOLDFAST_CORE_STATE_H
#define HOLDFAST_CORE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/time.h"
#include "core/view.h"

/* One unfinished action of a target, and when the next may start. */
struct core_pending {
    bool active;
    uint32_t type; /* enum core_action_type */
    uint32_t id;
    struct mono started_at;
    struct mono retry_at; /* not before: set when the last one was not applied */
    uint32_t failures;    /* in a row */
};

/* A write of `lease` that was sent: what it proves once it is known applied (L1, L6). */
struct core_sent {
    uint64_t epoch; /* 0: the slot is empty */
    uint64_t seq;
    int64_t ttl_ms;
    bool armed;
    struct mono sent_at;
};

#define CORE_SENT_MAX 8

struct core_own_lease {
    bool holding;           /* the record names us with our epoch, as far as we know */
    uint64_t epoch;         /* of our latest term */
    uint64_t seq;           /* the largest ever sent in it */
    uint64_t version;       /* of `lease` as last proven ours; 0: not read since the start */
    int64_t ttl_ms;         /* what challengers count with, at the least */
    struct mono deadline;   /* the lease's end; MONO_ZERO: none */
    struct mono proven_at;  /* when the last proof was sent */
    struct mono written_at; /* when the last proven *write* was sent (renewals count from it) */
    bool armed_written;     /* the record says armed: true, as last read or proven */
    bool unarmed_proven;  /* a write of ours with armed: false is proven, and none after it sent */
    bool unresolved;      /* a write is in doubt: read before the next one (L6) */
    struct mono doubt_at; /* since when; a read has to be begun at or after it */
    bool surrendered;     /* a release or handoff was sent: no time until a new write is proven */
    enum core_lease_state surrender_state;
    char surrender_to[NAME_SIZE];
    struct core_sent sent[CORE_SENT_MAX]; /* a ring */
    uint32_t sent_next;
    struct core_lease_record wrote; /* the last write sent, and what it did with `leader` */
    uint32_t wrote_leader;          /* enum core_leader_op */
    struct mono attach_at;          /* `leader` is not written before: the last try was refused */
    uint64_t tried_epoch;   /* of an acquisition that was sent; 0: none that could still land */
    uint64_t tried_seq;     /* the largest seq sent in it: no (epoch, seq) is ever sent twice */
    uint64_t tried_version; /* the version of `lease` it was conditional on */
};

/* What a challenger has seen of the lease, and since when (L3). */
struct core_challenge {
    bool seen;
    uint64_t lease_version;
    uint64_t lease_epoch; /* a version may come again in a store that was put back: */
    uint64_t lease_seq;   /* these two never do */
    uint64_t failsafe_version;
    uint64_t leader_version;
    int64_t ttl_ms;
    struct mono since;
};

enum core_request_phase {
    CORE_REQUEST_NONE,
    CORE_REQUEST_NEW,
    CORE_REQUEST_REMEMBERING, /* its ttl is larger than any on disk: that is written first */
    CORE_REQUEST_FAILED,
};

struct core_request_slot {
    enum core_request_phase phase;
    struct core_promise_request request;
};

#define CORE_REQUESTS_MAX 4

/* The round of promises under way (L9). */
struct core_round {
    uint64_t number;
    struct mono asked_at;
    int64_t ttl_ms;
    uint64_t epoch;
    struct core_name_list names;
    bool granted[MEMBERS_MAX];
    struct mono next_at;
};

/* A switchover on its way (or the handover of a node that leaves). */
struct core_handover {
    bool active;            /* PostgreSQL was stopped for it */
    bool checkpointed;      /* for order_version */
    uint64_t order_version; /* of /failover; 0: leaving */
    uint32_t timeline;      /* that an heir has to be on */
    struct mono stopped_at; /* when the stop was known done; MONO_ZERO before */
};

struct core {
    struct core_config config;
    struct mono now;
    struct wall wall;
    struct mono trusted_from;  /* older facts are unknown (L12) */
    struct mono store_seen_at; /* last read or push that was answered or failed: an observation */
    struct mono store_back_at; /* since when it has answered without a failure between */
    struct mono no_acquire_until; /* L8 */
    struct mono read_from;   /* a linearizable read begun at or after this is wanted; NEVER: none */
    struct mono linear_at;   /* when the last successful linearizable read was begun */
    uint64_t revision_max;   /* the highest revision known of this store */
    struct mono revision_at; /* when that was learnt: a read begun later must not show less */
    uint64_t store_id;
    bool rolled_back;             /* L5: the keys are to be written anew by the holder */
    struct mono rollback_until;   /* L5: nothing is acquired before, whatever the record says */
    struct mono stand_back_until; /* we gave the lease up as unable: others first */
    struct mono idle_since;       /* we hold the lease and are no primary since then; NEVER: no */
    uint64_t order_version;       /* of the order in /failover that was seen last, and since when */
    struct mono order_since;
    uint64_t armed_seen;       /* the epoch the guard was last seen armed for since the start */
    struct mono guard_lost_at; /* since when the guard does not beat; MONO_NEVER: it does */
    struct mono ttl_low_since; /* since when every ttl seen is below memory.ttl_max_ms */
    int64_t ttl_durable_ms;    /* memory.ttl_max_ms as it is on disk */
    int64_t ttl_writing_ms;    /* as the write under way has it */
    bool leaving;
    uint32_t start_failures; /* servers that ended instead of starting, in a row */
    struct mono start_failed_at;
    bool primary_failed;      /* START_PRIMARY or PROMOTE was refused in this epoch */
    uint64_t claimed_version; /* of `initialize` that we claimed; 0: not claimed */
    bool initdb_failed;
    bool setup_done;

    struct core_cluster cluster;
    struct core_postgres postgres;
    struct core_guard guard;
    uint32_t peer_count;
    struct core_peer_status peer[MEMBERS_MAX];

    struct core_own_lease own;
    struct core_challenge challenge;
    struct core_memory memory; /* as it should be on disk */
    bool memory_dirty;
    struct core_request_slot request[CORE_REQUESTS_MAX];
    struct core_round round;
    struct core_handover handover;

    /* the last divergence check: for which leader and term, and what it found */
    char checked_leader[NAME_SIZE];
    uint64_t checked_epoch;
    enum core_divergence divergence;
    bool rewind_failed;
    struct mono postgres_from; /* older facts are from before an action that changed the server */
    struct mono mute_since;    /* the replica has not streamed since then; MONO_NEVER: it streams */

    struct core_pending pending[CORE_TARGET_COUNT];
    uint32_t next_id;
};

_Static_assert(sizeof(struct core) <= 64 * 1024, "the core stays small");

#endif
