/* core/reason.h - every rule of the core, in the order in which they are tried.
 *
 * Purpose    one list: the rule's function (core_rule_NAME), its reason code (CORE_REASON_NAME),
 * and the sentence that goes into the log. First match wins, one match per step: safety first, then
 * duty, then ambition. The last one always matches.
 */
#ifndef HOLDFAST_CORE_REASON_H
#define HOLDFAST_CORE_REASON_H

#define CORE_RULE_LIST(X)                                                                          \
    /* safety: rule_safety.c */                                                                    \
    X(stop_lease_ended, STOP_LEASE_ENDED, "stopping PostgreSQL: the lease has ended")              \
    X(stop_lease_ending, STOP_LEASE_ENDING,                                                        \
      "stopping PostgreSQL: the lease was not renewed for 0.7 ttl")                                \
    X(exit_foreign_cluster, EXIT_FOREIGN_CLUSTER,                                                  \
      "system ID mismatch: this node belongs to a different cluster")                              \
    X(stop_unleased_primary, STOP_UNLEASED_PRIMARY,                                                \
      "demoting self because I do not have the lock and I was a leader")                           \
    X(stop_unguarded, STOP_UNGUARDED,                                                              \
      "stopping PostgreSQL: the guard is gone and none could be put in its place")                 \
    X(replace_guard, REPLACE_GUARD, "the guard does not beat: starting another one")               \
    /* duty on the lease: rule_lease.c */                                                          \
    X(answer_refuse, ANSWER_REFUSE, "refused a promise")                                           \
    X(answer_grant, ANSWER_GRANT, "gave a promise")                                                \
    X(remember_promise, REMEMBER_PROMISE, "writing down a promise before giving it")               \
    X(remember, REMEMBER, "writing down what must survive")                                        \
    X(read_store, READ_STORE, "reading the store again")                                           \
    X(renew, RENEW, "renewing the lease")                                                          \
    X(ask_promises, ASK_PROMISES, "the store does not answer: asking all members for a promise")   \
    X(surrender_again, SURRENDER_AGAIN, "repeating the release of the lease")                      \
    /* the guard: rule_guard.c */                                                                  \
    X(arm, ARM, "arming the guard")                                                                \
    X(disarm_for_pause, DISARM_FOR_PAUSE, "disarming the guard: the cluster is paused")            \
    X(disarm, DISARM, "disarming the guard: no primary runs here")                                 \
    X(probe, PROBE, "looking at PostgreSQL")                                                       \
    X(observe, OBSERVE, "waiting for a first look at store and PostgreSQL")                        \
    /* a person's orders: rule_orders.c */                                                         \
    X(leave_exit, LEAVE_EXIT, "leaving")                                                           \
    X(handover_ask, HANDOVER_ASK, "switchover: asking the candidates")                             \
    X(handover_abort, HANDOVER_ABORT, "switchover is not possible: no fit candidate")              \
    X(handover_checkpoint, HANDOVER_CHECKPOINT, "switchover: checkpoint before the stop")          \
    X(handover_stop, HANDOVER_STOP, "switchover: stopping PostgreSQL")                             \
    X(handover_give, HANDOVER_GIVE, "switchover: handing the lease over")                          \
    X(handover_release, HANDOVER_RELEASE, "releasing the lease")                                   \
    X(leave_stop, LEAVE_STOP, "leaving: stopping PostgreSQL")                                      \
    X(take_unarmed, TAKE_UNARMED, "taking the lease of the paused cluster again")                  \
    X(paused, PAUSED, "PAUSE: no action")                                                          \
    /* the holder's duties: rule_holder.c */                                                       \
    X(holder_start_timeout, HOLDER_START_TIMEOUT, "stopped PostgreSQL to fail over after a crash") \
    X(holder_release, HOLDER_RELEASE, "released the lease: PostgreSQL does not start here")        \
    X(holder_restart, HOLDER_RESTART, "starting primary after failure")                            \
    X(holder_start_replica, HOLDER_START_REPLICA,                                                  \
      "starting as readonly because i had the session lock")                                       \
    X(holder_promote, HOLDER_PROMOTE, "promoted self to leader by acquiring session lock")         \
    X(holder_setup, HOLDER_SETUP, "creating the roles of a new cluster")                           \
    X(holder_finish_initialize, HOLDER_FINISH_INITIALIZE, "writing the initialize key")            \
    X(holder_write_config, HOLDER_WRITE_CONFIG, "restoring the config key")                        \
    X(holder_failsafe, HOLDER_FAILSAFE, "writing the failsafe list")                               \
    X(holder_clear_failover, HOLDER_CLEAR_FAILOVER,                                                \
      "Cleaning up failover key after acquiring leader lock...")                                   \
    X(holder_checkpoint, HOLDER_CHECKPOINT, "checkpoint after promotion")                          \
    X(holder_leads, HOLDER_LEADS, "no action. I am the leader with the lock")                      \
    /* a node without the lease: rule_follower.c */                                                \
    X(wait_datadir, WAIT_DATADIR, "the data directory cannot be used")                             \
    X(bootstrap_failed, BOOTSTRAP_FAILED, "Failed to bootstrap cluster")                           \
    X(bootstrap_claim, BOOTSTRAP_CLAIM, "trying to bootstrap a new cluster")                       \
    X(bootstrap_initdb, BOOTSTRAP_INITDB, "initializing a new cluster")                            \
    X(bootstrap_acquire, BOOTSTRAP_ACQUIRE, "taking the first lease of the cluster")               \
    X(clone, CLONE, "cloning from the leader")                                                     \
    X(wait_bootstrap, WAIT_BOOTSTRAP, "waiting for leader to bootstrap")                           \
    X(check_divergence, CHECK_DIVERGENCE, "comparing the own WAL with the leader's")               \
    X(stop_to_rejoin, STOP_TO_REJOIN, "stopping PostgreSQL to rejoin")                             \
    X(rewind, REWIND, "running pg_rewind")                                                         \
    X(clone_diverged, CLONE_DIVERGED, "reinitializing due to diverged timelines")                  \
    X(wait_rejoin, WAIT_REJOIN, "waiting until the leader can be rejoined")                        \
    X(start_replica, START_REPLICA, "starting as a secondary")                                     \
    X(follow, FOLLOW, "following a different leader")                                              \
    /* the race: rule_race.c */                                                                    \
    X(adopt, ADOPT, "acquired session lock as a leader")                                           \
    X(take_handed, TAKE_HANDED, "taking the lease that was handed to me")                          \
    X(race_probe, RACE_PROBE, "race: looking at the own position")                                 \
    X(race_ask, RACE_ASK, "race: asking the other members")                                        \
    X(race_read, RACE_READ, "race: reading the lease once more")                                   \
    X(race_take, RACE_TAKE, "race: taking the lease")                                              \
    X(race_not_fit, RACE_NOT_FIT,                                                                  \
      "following a different leader because i am not the healthiest node")                         \
    X(race_wait, RACE_WAIT, "waiting for the end of the old lease")                                \
    X(postgres_busy, POSTGRES_BUSY, "an action on PostgreSQL is in progress")                      \
    X(stays_diverged, STAYS_DIVERGED,                                                              \
      "own WAL has diverged from the leader's, and neither pg_rewind nor a new clone is allowed "  \
      "(use_pg_rewind, remove_data_directory_on_diverged_timelines)")                              \
    X(follows, FOLLOWS, "no action. I am a secondary, and following a leader")                     \
    X(idle, IDLE, "waiting")

enum core_reason {
#define X(function, name, text) CORE_REASON_##name,
    CORE_RULE_LIST(X)
#undef X
        CORE_REASON_COUNT
};

/* The sentence of the list, never NULL. */
const char *core_reason_text(enum core_reason reason);

/* The code's name, "STOP_LEASE_ENDED". */
const char *core_reason_name(enum core_reason reason);

#endif
