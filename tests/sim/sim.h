/* sim/sim.h - the simulated world: types and the functions of its parts.
 *
 * Purpose    real cores (src/core) on models of store, PostgreSQL, guard, agent shell, network,
 *            clocks and people. One process, one thread, virtual time, one seed.
 * Ownership  one struct sim, created once and reset for each seed; nothing is allocated while it runs.
 * Errors     a violated invariant prints seed, time and trace, and ends the process with 1.
 * Units      *_us: microseconds of true (virtual) time; *_ms: milliseconds of a node's own clock
 *            where a node is named, of true time else; lsn: bytes.
 * Source     design sections 1-5 and 10.
 */
#ifndef HOLDFAST_SIM_SIM_H
#define HOLDFAST_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"
#include "rng.h"

#define NODES_MAX 7
#define NODES_NARROW 5 /* of the seeds up to WIDE_FROM, which stay what they were */
#define WIDE_FROM 10000
#define STORE_NODE NODES_MAX /* the store's place in the link matrix */
#define BRANCHES_MAX 8192
#define EVENTS_MAX 32768
#define SLOTS_MAX 1024
#define TRACE_MAX 80
#define ASKS_MAX 64
#define FAULTS_DRAWN_MAX 8192
#define SECOND_US INT64_C(1000000)
#define NOBODY (-1)

/* ---- faults ---- */

#define FAULT_LIST(X)                                                                              \
    X(AGENT_KILL, "agent_kill")                                                                    \
    X(AGENT_FREEZE, "agent_freeze")                                                                \
    X(UPGRADE, "upgrade")                                                                          \
    X(GUARD_KILL, "guard_kill")                                                                    \
    X(GUARD_FREEZE, "guard_freeze")                                                                \
    X(GUARD_GONE, "guard_gone")                                                                    \
    X(BOTH_KILL, "both_kill")                                                                      \
    X(NODE_CRASH, "node_crash")                                                                    \
    X(NODE_FREEZE, "node_freeze")                                                                  \
    X(POSTGRES_CRASH, "postgres_crash")                                                            \
    X(POSTGRES_ORPHAN, "postgres_orphan")                                                          \
    X(POSTGRES_HANG, "postgres_hang")                                                              \
    X(POSTGRES_SLOW, "postgres_slow")                                                              \
    X(JOBS_FAIL, "jobs_fail")                                                                      \
    X(REPLICA_LAG, "replica_lag")                                                                  \
    X(DISK_LOST, "disk_lost")                                                                      \
    X(DISK_FOREIGN, "disk_foreign")                                                                \
    X(DISK_AWAY, "disk_away")                                                                      \
    X(DISK_SLOW, "disk_slow")                                                                      \
    X(STORE_DOWN, "store_down")                                                                    \
    X(STORE_FREEZE, "store_freeze")                                                                \
    X(STORE_ROLLBACK, "store_rollback")                                                            \
    X(STORE_WIPE, "store_wipe")                                                                    \
    X(STORE_REFUSE, "store_refuse")                                                                \
    X(SESSION_EXPIRE, "session_expire")                                                            \
    X(LEADER_DELETE, "leader_delete")                                                              \
    X(LIST_DOUBT, "list_doubt")                                                                    \
    X(WATCH_CUT, "watch_cut")                                                                      \
    X(WATCH_SLOW, "watch_slow")                                                                    \
    X(NET_ISOLATE, "net_isolate")                                                                  \
    X(NET_STORE, "net_store")                                                                      \
    X(NET_ONE_WAY, "net_one_way")                                                                  \
    X(NET_PARTIAL, "net_partial")                                                                  \
    X(NET_LOSS, "net_loss")                                                                        \
    X(NET_SLOW, "net_slow")                                                                        \
    X(NET_LATE, "net_late")                                                                        \
    X(SWITCHOVER, "switchover")                                                                    \
    X(FAILOVER, "failover")                                                                        \
    X(PAUSE, "pause")                                                                              \
    X(RESUME, "resume")                                                                            \
    X(TTL_CHANGE, "ttl_change")                                                                    \
    X(CONFIG_EDIT, "config_edit")                                                                  \
    X(LEAVE, "leave")

enum fault {
#define X(name, text) FAULT_##name,
    FAULT_LIST(X)
#undef X
        FAULT_COUNT
};

/* ---- coverage marks: situations that the runs together have to have been in ---- */

#define MARK_LIST(X)                                                                               \
    X(TAKEOVER_AFTER_TTL, "takeover when the wait was over")                                       \
    X(TAKEOVER_RELEASED, "takeover of a released lease")                                           \
    X(TAKEOVER_HANDED, "takeover by the one named")                                                \
    X(HANDED_TAKEN_BACK, "handed to another and taken back")                                       \
    X(HANDED_TO_THIRD, "handed to one and taken by a third")                                       \
    X(TAKEOVER_UNARMED, "takeover of a paused cluster by order")                                   \
    X(TAKEOVER_NO_LEADER_KEY, "takeover without a leader key")                                     \
    X(TAKEOVER_OLD_FROZEN, "takeover while the old holder's machine stands still")                 \
    X(TAKEOVER_OLD_OFF, "takeover after the old holder's machine was lost")                        \
    X(TAKEOVER_AFTER_PROMISE, "takeover by one whose promise has just ended")                      \
    X(TAKEOVER_YOUNG_AGENT, "takeover by an agent that has just started")                          \
    X(TAKEOVER_NEW_LIST, "takeover soon after the list of members changed")                        \
    X(TAKEOVER_OF_SEVEN, "takeover among seven")                                                   \
    X(ACQUIRE_LATE, "an acquisition that landed after its deadline")                               \
    X(ACQUIRE_UNANSWERED, "an acquisition that was applied and not answered")                      \
    X(RENEW_LATE, "a renewal that landed after its deadline")                                      \
    X(RENEW_UNANSWERED, "a renewal that was applied and not answered")                             \
    X(GIVE_LATE, "a release or handoff that landed after its deadline")                            \
    X(RENEW_NO_TIME_LEFT, "a renewal applied when the lease had ended")                            \
    X(TTL_LOWERED, "a lower ttl written")                                                          \
    X(TTL_RAISED, "a higher ttl written")                                                          \
    X(PAUSE_WRITTEN, "armed: false written")                                                       \
    X(RESUME_WRITTEN, "armed: true written after it")                                              \
    X(WRITTEN_ANEW, "a rolled back or wiped store written anew by its holder")                     \
    X(ROLLBACK_UNDER_PROMISES, "a rollback while the lease stands on promises")                    \
    X(ROLLBACK_LONGER_LIST, "a rollback to a longer list of members")                              \
    X(ROLLBACK_SHORTER_LIST, "a rollback to a shorter list of members")                            \
    X(VERSION_AGAIN, "a version that came again with another record")                              \
    X(WIPE_WITH_HOLDER, "a wiped store with a sound holder")                                       \
    X(LEASE_ON_PROMISES, "a lease that stands on promises")                                        \
    X(PROMISES_THEN_LOST, "a lease of promises that another then took")                            \
    X(PROMISES_LIST_IN_DOUBT, "promises while a list is in doubt")                                 \
    X(PROMISE_REFUSED, "a promise refused")                                                        \
    X(PROMISE_YOUNG_AGENT, "a promise of an agent that has just started")                          \
    X(FENCED_FAST, "the guard's first stage")                                                      \
    X(FENCED_HARD, "the guard's second stage")                                                     \
    X(FENCED_AGENT_AWAY, "the guard ended a primary whose agent was gone or frozen")               \
    X(GUARD_REPLACED, "a guard replaced under a running primary")                                  \
    X(AGENT_LOST_RISING, "the agent lost while its server was being promoted")                     \
    X(REWIND_LEADER_GONE, "the leader lost during somebody's rewind or clone")                     \
    X(ORDER_IN_PAUSE, "an order given in a pause")                                                 \
    X(HOLDER_CUT_OFF, "the holder cut off from everybody")

enum mark {
#define X(name, text) MARK_##name,
    MARK_LIST(X)
#undef X
        MARK_COUNT
};

/* ---- events of the world ---- */

enum ev_type {
    EV_WRITE,          /* clients write, replicas receive */
    EV_FAULT,          /* a fault is due */
    EV_PHASE,          /* chaos, heal, demand */
    EV_STORE_TXN,      /* a request reaches the store */
    EV_STORE_REPLY,    /* its answer reaches the agent */
    EV_CALL_TIMEOUT,   /* the agent gives up waiting */
    EV_PUSH_SEND,      /* the store tells a watcher */
    EV_PUSH_ARRIVE,    /* ... and the agent hears it */
    EV_WATCH_TRY,      /* the agent (re)connects its watch */
    EV_SESSION,        /* the agent keeps its session alive and its member key true */
    EV_SESSION_EXPIRY, /* the store looks at its sessions */
    EV_STORE_SAVE,     /* the store's backup is taken */
    EV_AGENT_START,
    EV_AGENT_WAKE,
    EV_AGENT_KILLED, /* a frozen agent, by the guard */
    EV_PROBE,
    EV_PROBE_DONE,
    EV_GUARD_FACT,
    EV_GUARD_TIMER,
    EV_GUARD_DONE,  /* an order to the guard is finished */
    EV_GUARD_FRESH, /* both were dead: systemd's fresh guard */
    EV_MEMORY_DONE,
    EV_PG_READY,    /* it accepts connections */
    EV_PG_PROMOTED, /* it accepts writes */
    EV_JOB_DONE,    /* a job without a process of its own */
    EV_ACTION_DONE, /* the agent hears how its job ended */
    EV_STOP_WRITES, /* backends of a killed server end */
    EV_PG_GONE,     /* the last process is gone */
    EV_ASK_ARRIVE,
    EV_ASK_REPLY,
    EV_ASK_TIMEOUT,
    EV_BOOT,
    EV_THAW,
};

struct ev {
    int64_t at_us;
    uint64_t seq;
    enum ev_type type;
    int node;
    int peer;
    uint32_t gen;
    uint32_t id;
    int slot;
    int64_t arg;
};

/* ---- the store ---- */

struct store_member {
    bool present;
    bool running;
    bool checkpoint_pending;
    uint64_t session;
};

struct store_data {
    uint64_t store_id;
    uint64_t revision;
    struct core_lease_record lease;
    struct core_leader_key leader;
    uint64_t leader_session;
    enum core_initialize initialize;
    uint64_t initialize_version;
    uint64_t initialize_session;
    uint64_t sysid;
    struct core_settings settings; /* version 0: /config is absent */
    struct core_failsafe failsafe;
    struct core_failover failover;
    uint64_t optime;
    uint32_t optime_timeline;
    uint32_t history_timeline;
    struct store_member member[NODES_MAX];
};

struct store {
    struct store_data data;
    struct store_data saved;     /* the backup */
    uint64_t session[NODES_MAX]; /* 0: none lives */
    int64_t session_expires_us[NODES_MAX];
    int64_t leader_orphan_us; /* since when `leader` hangs on a session that nobody renews */
    uint64_t sessions;
    int64_t restored_us; /* when it was last put back or wiped */
    uint32_t life; /* grows when it is put back from a backup: what was on its way to it is lost */
    int64_t down_until_us;
    int64_t frozen_until_us;
    int64_t refuse_until_us;          /* every call is refused: a token that may not */
    int64_t push_after_us[NODES_MAX]; /* pushes of one stream arrive in order */
    bool push_pending[NODES_MAX];
};

/* ---- messages on their way ---- */

struct call {
    struct core_action action;
    struct core_name_list names;   /* WRITE_FAILSAFE */
    struct core_settings settings; /* FINISH_INITIALIZE, WRITE_CONFIG */
    uint64_t session;
    uint64_t sysid;
    uint64_t optime;
    uint32_t history_timeline;
    int64_t sent_ms;
    uint32_t boot;
    uint32_t life;
    struct core_done done;
    bool has_cluster; /* READ: answered */
    struct core_cluster cluster;
};

struct promise_request {
    uint64_t request_id;
    int asker;
    uint32_t asker_gen;
    uint32_t ask_id;
    uint64_t round;
    int64_t arrived_ms;
    struct core_promise_request body;
};

struct slot {
    bool used;
    union {
        struct call call;
        struct core_cluster cluster;
        struct core_postgres postgres;
        struct core_memory memory;
        struct core_peer_status status;
        struct promise_request promise;
    } u;
};

/* ---- a node ---- */

struct pos {
    uint32_t branch;
    uint64_t lsn;
};

enum pg_state { PG_DOWN, PG_STARTING, PG_UP, PG_STOPPING, PG_ORPHAN };

struct job {
    bool active;
    enum core_action_type type;
    uint32_t id; /* the action's; agent_gen says whose */
    uint32_t agent_gen;
    uint32_t gen;
    int source;
    bool will_fail;
};

struct postgres {
    enum core_datadir datadir;
    bool torn;   /* a broken rewind: cannot start */
    bool set_up; /* clients know of it: bootstrap is over */
    uint64_t sysid;
    struct pos pos;
    uint64_t acked_lsn; /* on pos.branch, acknowledged by this server */
    enum pg_state state;
    bool primary;
    bool killed;    /* hard: it is only a matter of ms */
    bool writes_on; /* backends go on while it stops */
    bool streaming;
    bool checkpointed;
    bool fresh; /* initdb done, cluster not initialised */
    int upstream;
    uint64_t incarnation;
    uint32_t gen; /* of the processes */
    enum core_control control;
    uint64_t shutdown_lsn;
    uint64_t sent_lsn; /* what replicas may have by now */
    int64_t hung_until_us;
    int64_t away_until_us; /* the data directory cannot be read */
    int64_t lagging_until_us;
    struct job job;
    bool rewind_failed;
};

struct guard {
    bool alive;
    int64_t gone_until_us; /* no other one can be started */
    int64_t frozen_since_us;
    int64_t frozen_until_us;
    bool armed;
    uint64_t epoch;
    bool fenced;
    uint32_t timer_gen;
    uint32_t gen;
};

struct pending {
    bool active;
    enum core_action_type type;
    uint32_t id;
};

struct ask {
    uint32_t id;
    bool promise;
    struct mono asked_at;
    uint64_t round;
    uint64_t epoch;
    int64_t ttl_ms;
    uint32_t asked; /* bit a node */
    uint32_t waiting;
    uint32_t granted;
};

/* What the checkers know of a node, independent of its core. */
struct witness {
    int64_t lease_end_ms; /* t0 + ttl of the last write known to the world as applied */
    uint64_t lease_epoch;
    bool unarmed;           /* that write said armed: false */
    bool ordered_away;      /* a person gave the lease to another in pause */
    int64_t away_seen_us;   /* ... and it has read so; 0: not yet */
    int64_t grace_until_us; /* just thawed as a whole machine */
    bool seen;              /* a snapshot, since the agent runs */
    uint64_t seen_store;
    uint64_t seen_revision;
    int64_t seen_revision_ms; /* when it first heard of that revision */
    struct core_lease_record seen_lease;
    int64_t seen_ms; /* when it received that version of `lease` */
    struct core_failsafe seen_failsafe;
    int64_t seen_failsafe_ms;
    int64_t read_asked_ms; /* the last linearizable snapshot */
    int64_t cluster_ms;    /* any word of the store, also that it does not answer */
    int64_t postgres_ms;   /* asked_at of the last facts of PostgreSQL */
    int64_t stall_ms;      /* when the last stall ended */
    int64_t last_step_ms;
    uint64_t promised_epoch;
    char promised_to[NAME_SIZE];
    int64_t promised_until_us; /* true time: it outlives agent and machine */
    int64_t busy_second;
    int busy_steps;
    bool handed;           /* the lease came by handing_to */
    int64_t soft_fault_us; /* its agent or guard was last hurt */
};

struct agent {
    bool alive;
    uint32_t gen;
    int64_t frozen_until_us;
    struct core core;
    struct pending pending[CORE_TARGET_COUNT];
    struct ask status_ask;
    struct ask promise_ask;
    struct promise_request request[ASKS_MAX];
    uint64_t request_next;
    int64_t wake_us;
    uint32_t wake_gen;
    bool watching;
    uint32_t watch_gen;
    uint64_t session;
    bool member_written;
    struct store_member member;
    struct core_settings settings; /* the last /config seen */
    enum core_reason reason;
    struct core_guard told; /* the guard's facts as last delivered */
    int64_t told_us;
};

struct node {
    char name[NAME_SIZE];
    bool up; /* has power */
    int64_t frozen_until_us;
    uint32_t boot;
    int64_t boot_us;
    int64_t join_us; /* when its first agent starts */
    int64_t boot_ms;
    int64_t rate_ppm;
    bool nofailover;
    struct core_page page; /* lives as long as guard or agent */
    bool has_memory;
    struct core_memory memory;
    uint32_t memory_boot;
    int memory_slot; /* being written; NOBODY: none */
    struct postgres pg;
    struct guard guard;
    struct agent agent;
    struct witness witness;
};

/* ---- the run ---- */

struct trace_entry {
    int64_t at_us;
    int node;
    const char *what;
    const char *text;
    const char *text2;
    int64_t a;
    int64_t b;
};

struct branch {
    uint32_t parent;
    uint32_t timeline;
    uint64_t fork_lsn;
    uint64_t acked_lsn; /* the highest acknowledged on it */
};

struct profile {
    uint8_t weight[FAULT_COUNT];
};

enum phase { PHASE_CHAOS, PHASE_HEAL, PHASE_STEADY };

struct stats {
    int64_t virtual_us;
    uint64_t events;
    uint64_t steps;
    uint64_t faults[FAULT_COUNT];
    uint64_t failovers;
    uint64_t promotions;
    uint64_t takeovers;
    uint64_t in_doubt;
    uint64_t in_doubt_applied;
    uint64_t late_writes;
    uint64_t promise_leases;
    uint64_t fences;
    uint64_t lost_bytes;
    uint64_t stops;
    uint64_t rounds;
    int64_t worst_heal_us;
    uint64_t clones;
    uint64_t rewinds;
    uint64_t reason[CORE_REASON_COUNT];
    uint64_t matrix[CORE_REASON_COUNT][FAULT_COUNT + 1];
    uint64_t mark[MARK_COUNT];
};

struct sim {
    struct rng rng;
    uint64_t seed;
    bool tracing;
    bool quiet;    /* plants: say only what was caught */
    bool wide;     /* up to seven nodes, and every kind of fault */
    uint64_t hash; /* of everything that was traced: one seed, one number */
    int faults_drawn;
    bool skip[FAULTS_DRAWN_MAX]; /* faults that are drawn and not done: what shrinking leaves out */
    int64_t now_us;
    uint64_t seq;
    size_t heap_count;
    struct ev heap[EVENTS_MAX];
    struct slot slot[SLOTS_MAX];
    int slot_free[SLOTS_MAX];
    int slot_free_count;
    int nodes;
    struct node node[NODES_MAX];
    struct store store;
    int64_t link_down_until_us[NODES_MAX + 1][NODES_MAX + 1];
    int64_t loss_until_us;
    int loss_permille;
    int64_t slow_until_us;
    int64_t slow_max_us;
    int64_t late_until_us;
    int late_permille;
    int64_t watch_slow_until_us;
    int64_t jobs_fail_until_us;
    int64_t jobs_slow_until_us;
    int64_t memory_slow_until_us;
    int64_t list_changed_us;       /* when /failsafe last changed */
    struct core_settings settings; /* as the people want them */
    int64_t ttl_max_ms;            /* ever, in this seed */
    uint64_t write_rate;
    uint32_t branches;
    struct branch branch[BRANCHES_MAX];
    uint64_t sysid;
    uint64_t sysids;
    uint64_t incarnations;
    uint64_t epoch_applied; /* the highest ever, since the last rollback or wipe */
    int holder;             /* of the last applied lease write */
    enum phase phase;
    int64_t phase_start_us;
    int64_t phase_end_us;
    int64_t end_us;
    struct profile profile;
    bool demand_met;
    int64_t demand_from_us; /* 3 ttl + 5 s are counted from here */
    int last_fault;
    int64_t last_fault_us;
    int64_t hard_until_us;  /* effects of faults that may stop a primary end here */
    int64_t store_fault_us; /* until then the store is away */
    int list_doubt; /* so many writes of /failsafe from now one is applied and never answered */
    int64_t agent_fault_us; /* an agent or guard was last hurt */
    int64_t quiet_until_us; /* no faults until then */
    int last_acker;
    struct stats *stats;
    struct trace_entry trace[TRACE_MAX];
    uint64_t traces;
};

/* ---- world.c ---- */
void world_reset(struct sim *sim, uint64_t seed);
void world_run(struct sim *sim);
struct ev *world_push(struct sim *sim, enum ev_type type, int64_t at_us, int node);
int slot_take(struct sim *sim);
void slot_give(struct sim *sim, int slot);
int64_t node_ms(const struct sim *sim, int node);
int64_t node_true_us(const struct sim *sim, int node, int64_t local_ms);
bool node_runs(const struct sim *sim, int node); /* powered and not frozen as a whole */
int node_find(const struct sim *sim, const char *name);
bool link_up(const struct sim *sim, int from, int to);
bool link_loses(struct sim *sim, int from, int to);
int64_t link_latency_us(struct sim *sim);
int64_t us_between(struct sim *sim, int64_t lo_us, int64_t hi_us);
void name_copy(char *to, const char *from);

/* ---- trace.c ---- */
static inline void mark(struct sim *sim, enum mark name)
{
    sim->stats->mark[name]++;
}
const char *mark_text(enum mark name);
void trace_add(struct sim *sim, int node, const char *what, const char *text, int64_t a, int64_t b);
void trace_add2(struct sim *sim, int node, const char *what, const char *text, const char *text2,
                int64_t a);
void trace_dump(const struct sim *sim);
const char *fault_name(enum fault fault);

/* ---- store.c ---- */
void store_reset(struct sim *sim);
void store_doubt_list(struct sim *sim, int node);
bool store_usable(const struct sim *sim);
void store_snapshot(const struct sim *sim, struct core_cluster *out_cluster);
void store_changed(struct sim *sim);
void store_delete_leader(struct sim *sim);
void store_end_session(struct sim *sim, int node);
void store_rollback(struct sim *sim);
void store_wipe(struct sim *sim);
void store_cut_watch(struct sim *sim, int node);
void store_call_send(struct sim *sim, int node, const struct core_action *action);
void store_on_txn(struct sim *sim, const struct ev *ev);
void store_on_push_send(struct sim *sim, const struct ev *ev);
void store_on_watch_try(struct sim *sim, const struct ev *ev);
void store_on_session(struct sim *sim, const struct ev *ev);
void store_on_expiry(struct sim *sim, const struct ev *ev);

/* ---- postgres.c ---- */
void postgres_facts(const struct sim *sim, int node, struct core_postgres *out_facts);
bool postgres_acking(const struct sim *sim, int node);
void postgres_job(struct sim *sim, int node, const struct core_action *action);
void postgres_check(struct sim *sim, int node, const struct core_action *action);
void postgres_kill(struct sim *sim, int node, int64_t writes_end_us); /* hard, all of it */
void postgres_interrupt(struct sim *sim, int node);                   /* fast shutdown begins */
void postgres_power_off(struct sim *sim, int node);
void postgres_lose_disk(struct sim *sim, int node, enum core_datadir datadir);
void postgres_foreign(struct sim *sim, int node);    /* the data directory of another cluster */
void postgres_standalone(struct sim *sim, int node); /* a primary from before Holdfast */
void postgres_orphan(struct sim *sim, int node);
void postgres_agent_died(struct sim *sim, int node);
void postgres_on_ready(struct sim *sim, const struct ev *ev);
void postgres_on_promoted(struct sim *sim, const struct ev *ev);
void postgres_on_job_done(struct sim *sim, const struct ev *ev);
void postgres_on_stop_writes(struct sim *sim, const struct ev *ev);
void postgres_on_gone(struct sim *sim, const struct ev *ev);
void postgres_on_write(struct sim *sim);
bool wal_contains(const struct sim *sim, struct pos leaf, struct pos pos);
struct pos wal_meet(const struct sim *sim, struct pos a, struct pos b);

/* ---- guard.c ---- */
void guard_reschedule(struct sim *sim, int node);
bool guard_runs(const struct sim *sim, int node);
void guard_facts(const struct sim *sim, int node, struct core_guard *out_facts);
void guard_order(struct sim *sim, int node, const struct core_action *action);
void guard_kill(struct sim *sim, int node);
void guard_freeze(struct sim *sim, int node, int64_t until_us);
void guard_fresh(struct sim *sim, int node);
void guard_on_timer(struct sim *sim, const struct ev *ev);
void guard_on_done(struct sim *sim, const struct ev *ev);

/* ---- agent.c ---- */
void agent_start(struct sim *sim, int node);
void agent_kill(struct sim *sim, int node);
void agent_freeze(struct sim *sim, int node, int64_t until_us);
bool agent_runs(const struct sim *sim, int node);
bool agent_is(const struct sim *sim, int node, uint32_t gen);
void agent_event(struct sim *sim, int node, struct core_event *event);
void agent_done(struct sim *sim, int node, const struct core_done *done);
void agent_tell_postgres(struct sim *sim, int node); /* at once: pidfd, readiness */
void agent_tell_guard(struct sim *sim, int node);
void agent_command(struct sim *sim, int node, enum core_command command);
void agent_on_cluster(struct sim *sim, int node, struct core_cluster *cluster);
void agent_on_ev(struct sim *sim, const struct ev *ev);
void node_restart(struct sim *sim, int node); /* systemd, or a person: guard and agent anew */

/* ---- peers.c ---- */
void peers_ask(struct sim *sim, int node, const struct core_action *action);
void peers_answer(struct sim *sim, int node, const struct core_action *action);
void peers_on_arrive(struct sim *sim, const struct ev *ev);
void peers_on_reply(struct sim *sim, const struct ev *ev);
void peers_on_timeout(struct sim *sim, const struct ev *ev);

/* ---- faults.c ---- */
void faults_choose_profile(struct sim *sim);
void faults_inject(struct sim *sim);
void faults_heal(struct sim *sim);
void faults_confirm(struct sim *sim); /* L7: a person names the successor of a dead paused holder */

/* ---- check.c ---- */
_Noreturn void check_fail(struct sim *sim, int node, const char *inv, const char *why);
void check_world(struct sim *sim);
void check_event(struct sim *sim, int node, const struct core_event *event);
void check_lease_answered(struct sim *sim, int node, const struct call *call);
void check_page(struct sim *sim, int node, const struct core_plan *plan);
void check_action(struct sim *sim, int node, const struct core_plan *plan,
                  const struct core_action *action);
void check_lease_applied(struct sim *sim, int node, const struct call *call,
                         const struct core_lease_record *before);
void check_promises(struct sim *sim, int node, const struct ask *ask);
void check_promise_given(struct sim *sim, int node, const struct promise_request *request);
void check_primary_stopped(struct sim *sim, int node, const char *by, bool ordered);
void check_promoted(struct sim *sim, int node, uint32_t parent, uint64_t fork_lsn);
void check_demand(struct sim *sim);

#endif
