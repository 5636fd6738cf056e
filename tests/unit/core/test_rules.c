/* One test a rule, named after it: the smallest change of a healthy node that makes it fire. The
 * last test sees that the list of rules and the list of tests are the same. */
#include "fixture.h"

#define EXPECT(core, REASON) fx_expect((core), CORE_REASON_##REASON, &plan)
#define EXPECT_ACTION(core, REASON, ACTION)                                                        \
    do {                                                                                           \
        const struct core_action *found = EXPECT(core, REASON);                                    \
        assert_non_null(found);                                                                    \
        assert_int_equal(found->type, CORE_ACTION_##ACTION);                                       \
    } while (0)

static struct core core;
static struct core_plan plan;

static void stopped(void)
{
    core.postgres.process = TRI_NO;
    core.postgres.accepting = TRI_NO;
}

/* The server that was started ends at once: what is seen of it, and how the start ended. */
static void start_fails(enum core_outcome outcome)
{
    struct core_event event = {.type = CORE_EVENT_POSTGRES, .u.postgres = core.postgres};
    event.u.postgres.process = TRI_NO;
    event.u.postgres.accepting = TRI_NO;
    event.u.postgres.asked_at = mono_add(core.now, 1);
    fx_tick(&core, 0, &plan);
    assert_true(core.pending[CORE_TARGET_POSTGRES].active);
    fx_step(&core, &event, 1, &plan);
    fx_done(&core, CORE_TARGET_POSTGRES, outcome, 0, &plan);
}

/* How long it stands still before the rule fires again; the rest of the world stands still too. */
static int64_t pause_before(enum core_reason reason)
{
    for (int64_t ms = 0; ms <= 120000; ms++) {
        static struct core later;
        later = core;
        later.now.ms += ms;
        later.own.deadline.ms += ms;
        later.own.proven_at.ms += ms;
        later.own.written_at.ms += ms;
        core_decide(&later, &plan);
        if (plan.reason == reason) {
            return ms;
        }
    }
    return -1;
}

/* Goes on to that moment. */
static void wait_for(int64_t ms)
{
    core.now.ms += ms;
    core.own.deadline.ms += ms;
    core.own.proven_at.ms += ms;
    core.own.written_at.ms += ms;
}

static void rule_stop_lease_ended(void **state)
{
    (void)state;
    fx_holder(&core);
    core.own.deadline = core.now;
    EXPECT_ACTION(&core, STOP_LEASE_ENDED, STOP_HARD);
    core.postgres.process = TRI_UNKNOWN; /* no answer is never no (INV-8) */
    core.postgres.primary = TRI_UNKNOWN;
    EXPECT_ACTION(&core, STOP_LEASE_ENDED, STOP_HARD);
}

static void rule_stop_lease_ending(void **state)
{
    (void)state;
    fx_holder(&core);
    core.own.proven_at.ms = FX_NOW - FX_TTL * 7 / 10;
    EXPECT_ACTION(&core, STOP_LEASE_ENDING, STOP_FAST);
    core.own.proven_at.ms += 1;
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_STOP_LEASE_ENDING);
}

static void rule_stop_unleased_primary(void **state)
{
    (void)state;
    fx_replica(&core);
    core.postgres.primary = TRI_YES;
    EXPECT_ACTION(&core, STOP_UNLEASED_PRIMARY, STOP_FAST);
    core.cluster.lease.armed = false; /* paused, but another one leads: still one too many */
    EXPECT_ACTION(&core, STOP_UNLEASED_PRIMARY, STOP_FAST);
    str_set(core.cluster.lease.holder, NAME_SIZE, "n2"); /* its own: left alone (L7) */
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_STOP_UNLEASED_PRIMARY);
    str_set(core.cluster.lease.holder, NAME_SIZE, "n1");
    core.cluster.lease.armed = true;
    core.pending[CORE_TARGET_POSTGRES].active = true; /* single-user recovery looks like one */
    core.pending[CORE_TARGET_POSTGRES].type = CORE_ACTION_REWIND;
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_STOP_UNLEASED_PRIMARY);
}

static void rule_replace_guard(void **state)
{
    (void)state;
    fx_holder(&core);
    core.guard.alive = TRI_NO;
    EXPECT_ACTION(&core, REPLACE_GUARD, REPLACE_GUARD);
}

static void rule_exit_foreign_cluster(void **state)
{
    (void)state;
    fx_replica(&core);
    core.postgres.sysid = 8;
    EXPECT_ACTION(&core, EXIT_FOREIGN_CLUSTER, EXIT);
    core.postgres.primary = TRI_YES; /* a stranger's primary is not ours to stop */
    EXPECT_ACTION(&core, EXIT_FOREIGN_CLUSTER, EXIT);
}

static void request(uint64_t epoch, const char *holder)
{
    core.request[0] = (struct core_request_slot){
        .phase = CORE_REQUEST_NEW, .request = {.request_id = 11, .epoch = epoch, .ttl_ms = FX_TTL}};
    (void)snprintf(core.request[0].request.holder, NAME_SIZE, "%s", holder);
}

static void expect_refused(void)
{
    const struct core_action *action = EXPECT(&core, ANSWER_REFUSE);
    assert_non_null(action);
    assert_false(action->u.answer.granted);
    assert_int_equal(action->u.answer.request_id, 11);
}

static void rule_answer_refuse(void **state)
{
    (void)state;
    fx_replica(&core);
    request(2, "n1"); /* knows a newer epoch */
    expect_refused();
    fx_replica(&core);
    request(3, "n3"); /* the epoch is another's */
    expect_refused();
    fx_replica(&core);
    request(3, "n1");
    core.postgres.primary = TRI_UNKNOWN; /* might be a primary */
    expect_refused();
    fx_replica(&core);
    request(3, "n1");
    core.pending[CORE_TARGET_LEASE].active = true; /* a takeover of its own outstanding */
    expect_refused();
    fx_replica(&core);
    request(3, "n1");
    core.own.unresolved = true; /* or in doubt */
    expect_refused();
    fx_holder(&core);
    request(9, "n2"); /* believes itself holder */
    expect_refused();
}

static void rule_remember_promise(void **state)
{
    (void)state;
    fx_replica(&core);
    request(3, "n1");
    core.request[0].request.ttl_ms = 2 * FX_TTL; /* more than the wait of a new start covers */
    const struct core_action *action = EXPECT(&core, REMEMBER_PROMISE);
    assert_int_equal(action->type, CORE_ACTION_REMEMBER);
    assert_int_equal(action->u.memory.ttl_max_ms, 2 * FX_TTL);
}

static void rule_answer_grant(void **state)
{
    (void)state;
    fx_replica(&core);
    request(3, "n1");
    const struct core_action *action = EXPECT(&core, ANSWER_GRANT);
    assert_true(action->u.answer.granted);
}

static void rule_stop_unguarded(void **state)
{
    (void)state;
    fx_holder(&core);
    core.guard.alive = TRI_NO;
    core.guard_lost_at.ms = FX_NOW - FX_TTL / 2;
    EXPECT_ACTION(&core, STOP_UNGUARDED, STOP_FAST);
    core.guard_lost_at.ms++;
    (void)EXPECT(&core, REPLACE_GUARD);
}

static void rule_remember(void **state)
{
    (void)state;
    fx_replica(&core);
    core.memory_dirty = true;
    EXPECT_ACTION(&core, REMEMBER, REMEMBER);
}

static void rule_read_store(void **state)
{
    (void)state;
    fx_replica(&core);
    core.read_from = core.now;
    EXPECT_ACTION(&core, READ_STORE, READ);
}

static void rule_renew(void **state)
{
    (void)state;
    fx_holder(&core);
    core.own.written_at.ms = FX_NOW - FX_TTL / 4;
    const struct core_action *action = EXPECT(&core, RENEW);
    assert_int_equal(action->u.lease.record.seq, 6);
    assert_int_equal(action->u.lease.record.epoch, 3);
    assert_int_equal(action->u.lease.lease_version, 20);
    assert_int_equal(action->u.lease.leader_op, CORE_LEADER_KEEP);
    assert_true(action->u.lease.timeout_ms <= FX_TTL / 4); /* L2 */
    core.cluster.leader.version = 0; /* the key vanished: a holder may re-create it (L4) */
    action = EXPECT(&core, RENEW);
    assert_int_equal(action->u.lease.leader_op, CORE_LEADER_ATTACH);
    core.own.unresolved = true; /* L6: read first */
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_RENEW);
}

static void rule_ask_promises(void **state)
{
    (void)state;
    fx_holder(&core);
    core.own.written_at.ms = core.own.proven_at.ms = FX_NOW - FX_TTL * 4 / 10;
    core.pending[CORE_TARGET_LEASE].active = true; /* the renewal hangs */
    const struct core_action *action = EXPECT(&core, ASK_PROMISES);
    assert_int_equal(action->u.ask.names.count, 2);
    assert_int_equal(action->u.ask.asked_at.ms, FX_NOW);
    core.memory.failsafe_doubt = (struct core_name_list){.count = 1, .name = {"n4"}};
    action = EXPECT(&core, ASK_PROMISES); /* lists in doubt are asked as well */
    assert_int_equal(action->u.ask.names.count, 3);
}

static void rule_surrender_again(void **state)
{
    (void)state;
    fx_holder(&core);
    stopped();
    core.own.surrendered = true;
    core.own.surrender_state = CORE_LEASE_RELEASED;
    core.own.deadline = MONO_ZERO;
    core.guard.armed = false;
    const struct core_action *action = EXPECT(&core, SURRENDER_AGAIN);
    assert_int_equal(action->u.lease.record.state, CORE_LEASE_RELEASED);
    assert_int_equal(action->u.lease.record.seq, 6);
}

static void rule_arm(void **state)
{
    (void)state;
    fx_holder(&core);
    core.guard.armed_epoch = 2;
    const struct core_action *action = EXPECT(&core, ARM);
    assert_int_equal(action->u.guard.epoch, 3);
}

static void rule_disarm_for_pause(void **state)
{
    (void)state;
    fx_holder(&core);
    core.cluster.settings.pause = true;
    const struct core_action *action = EXPECT(&core, RENEW); /* armed:false is written first (L7) */
    assert_false(action->u.lease.record.armed);
    core.own.armed_written = false; /* read is not proven: a write in doubt may still land */
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_DISARM_FOR_PAUSE);
    core.own.unarmed_proven = true;
    action = EXPECT(&core, DISARM_FOR_PAUSE);
    assert_true(action->u.guard.for_pause);
}

static void rule_disarm(void **state)
{
    (void)state;
    fx_old_primary(&core);
    core.guard.armed = true;
    core.guard.armed_epoch = 2;
    EXPECT_ACTION(&core, DISARM, DISARM);
    core.postgres.process = TRI_UNKNOWN; /* not known to be gone */
    core.postgres.primary = TRI_UNKNOWN;
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_DISARM);
    fx_replica(&core); /* it was being promoted when the stop came */
    core.guard.armed = true;
    core.guard.armed_epoch = 2;
    core.leaving = true;
    EXPECT_ACTION(&core, DISARM, DISARM);
    core.pending[CORE_TARGET_POSTGRES] =
        (struct core_pending){.active = true, .type = CORE_ACTION_STOP_FAST};
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_DISARM);
}

static void rule_probe(void **state)
{
    (void)state;
    fx_replica(&core);
    core.trusted_from.ms = FX_NOW + 1;
    EXPECT_ACTION(&core, PROBE, PROBE);
}

static void rule_observe(void **state)
{
    (void)state;
    fx_replica(&core);
    core.trusted_from.ms = FX_NOW + 1;
    core.pending[CORE_TARGET_PROBE].active = true;
    assert_null(EXPECT(&core, OBSERVE));
}

static void rule_leave_exit(void **state)
{
    (void)state;
    fx_replica(&core);
    stopped();
    core.leaving = true;
    const struct core_action *action = EXPECT(&core, LEAVE_EXIT);
    assert_int_equal(action->u.exit.code, 0);
}

static void order(const char *leader, const char *candidate)
{
    core.cluster.failover.version = 21;
    (void)snprintf(core.cluster.failover.leader, NAME_SIZE, "%s", leader);
    (void)snprintf(core.cluster.failover.candidate, NAME_SIZE, "%s", candidate);
}

static void answers(uint64_t lsn2, uint64_t lsn3)
{
    core.peer_count = 2;
    core.peer[0] = (struct core_peer_status){
        .name = "n2", .asked_at = core.now, .reachable = TRI_YES, .timeline = 1, .lsn = lsn2};
    core.peer[1] = (struct core_peer_status){
        .name = "n3", .asked_at = core.now, .reachable = TRI_YES, .timeline = 1, .lsn = lsn3};
}

static void rule_handover_ask(void **state)
{
    (void)state;
    fx_holder(&core);
    order("n1", "n2");
    const struct core_action *action = EXPECT(&core, HANDOVER_ASK);
    assert_int_equal(action->u.ask.names.count, 2);
}

static void rule_handover_abort(void **state)
{
    (void)state;
    fx_holder(&core);
    order("n1", "n2");
    answers(1000, 1000);
    core.peer[0].nofailover = true;
    EXPECT_ACTION(&core, HANDOVER_ABORT, CLEAR_FAILOVER);
}

static void rule_handover_checkpoint(void **state)
{
    (void)state;
    fx_holder(&core);
    order("n1", "");
    answers(900, 1000);
    EXPECT_ACTION(&core, HANDOVER_CHECKPOINT, CHECKPOINT);
}

static void rule_handover_stop(void **state)
{
    (void)state;
    fx_holder(&core);
    order("n1", "");
    answers(900, 1000);
    core.handover.checkpointed = true;
    core.handover.order_version = 21;
    EXPECT_ACTION(&core, HANDOVER_STOP, STOP_FAST);
}

static void handed_over(void)
{
    fx_holder(&core);
    order("n1", "");
    stopped();
    core.postgres.control = CORE_CONTROL_SHUT_DOWN;
    core.postgres.shutdown_lsn = 1000;
    core.handover = (struct core_handover){.active = true,
                                           .checkpointed = true,
                                           .order_version = 21,
                                           .timeline = 1,
                                           .stopped_at = core.now};
}

static void rule_handover_give(void **state)
{
    (void)state;
    handed_over();
    answers(900, 1001);
    const struct core_action *action = EXPECT(&core, HANDOVER_GIVE);
    assert_string_equal(action->u.lease.record.to, "n3");
    assert_int_equal(action->u.lease.record.state, CORE_LEASE_HANDING_TO);
    assert_int_equal(action->u.lease.leader_op, CORE_LEADER_DELETE);
    core.peer[1].timeline = 2; /* another history (lessons 40) */
    (void)EXPECT(&core, HANDOVER_ASK);
    answers(900, 1000); /* the shutdown checkpoint itself has not arrived (lessons 40) */
    (void)EXPECT(&core, HANDOVER_ASK);
}

static void rule_handover_release(void **state)
{
    (void)state;
    fx_holder(&core);
    stopped();
    core.leaving = true;
    core.guard.armed = false;
    const struct core_action *action = EXPECT(&core, HANDOVER_RELEASE);
    assert_int_equal(action->u.lease.record.state, CORE_LEASE_RELEASED);
}

static void rule_leave_stop(void **state)
{
    (void)state;
    fx_replica(&core);
    core.leaving = true;
    EXPECT_ACTION(&core, LEAVE_STOP, STOP_FAST);
}

static void rule_paused(void **state)
{
    (void)state;
    fx_replica(&core);
    core.cluster.settings.pause = true;
    stopped();
    assert_null(EXPECT(&core, PAUSED));
}

static void rule_holder_start_timeout(void **state)
{
    (void)state;
    fx_holder(&core);
    stopped();
    core.pending[CORE_TARGET_POSTGRES] = (struct core_pending){
        .active = true, .type = CORE_ACTION_START_PRIMARY, .started_at = {FX_NOW - 5000}};
    core.cluster.settings.primary_start_timeout_ms = 5000;
    EXPECT_ACTION(&core, HOLDER_START_TIMEOUT, STOP_HARD);
    core.cluster.initialize = CORE_INITIALIZE_ABSENT; /* a wiped store: no release would follow */
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_HOLDER_START_TIMEOUT);
}

static void rule_holder_release(void **state)
{
    (void)state;
    fx_holder(&core);
    stopped();
    core.primary_failed = true;
    const struct core_action *action = EXPECT(&core, HOLDER_RELEASE);
    assert_int_equal(action->u.lease.record.state, CORE_LEASE_RELEASED);
}

static void rule_holder_restart(void **state)
{
    (void)state;
    fx_holder(&core);
    stopped();
    EXPECT_ACTION(&core, HOLDER_RESTART, START_PRIMARY);
    core.rolled_back = true; /* the term is about to change: the guard is armed for the old one */
    core.own.unresolved = true;
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_HOLDER_RESTART);
    core.rolled_back = false;
    core.own.unresolved = false;
    core.guard.armed_epoch = 2; /* INV-3 */
    (void)EXPECT(&core, ARM);
    /* A start that fails again and again is tried more rarely, but at least once a ttl (INV-7). */
    fx_holder(&core);
    stopped();
    core.cluster.member_count = 1; /* no heir */
    const int64_t pauses[] = {FX_TTL / 20, 1000, 1000, FX_TTL, FX_TTL, FX_TTL};
    for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
        start_fails(CORE_OUTCOME_NOT_APPLIED);
        assert_int_equal(pause_before(CORE_REASON_HOLDER_RESTART), pauses[i]);
        wait_for(pauses[i]);
    }
}

static void rule_holder_start_replica(void **state)
{
    (void)state;
    fx_holder(&core);
    stopped();
    core.postgres.control = CORE_CONTROL_SHUT_DOWN_IN_RECOVERY;
    EXPECT_ACTION(&core, HOLDER_START_REPLICA, START_REPLICA);
}

static void rule_holder_promote(void **state)
{
    (void)state;
    fx_holder(&core);
    core.postgres.primary = TRI_NO;
    EXPECT_ACTION(&core, HOLDER_PROMOTE, PROMOTE);
    core.own.deadline.ms = FX_NOW + FX_TTL / 4; /* INV-3: too little is left */
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_HOLDER_PROMOTE);
}

static void rule_holder_setup(void **state)
{
    (void)state;
    fx_holder(&core);
    core.postgres.setup_pending = true;
    EXPECT_ACTION(&core, HOLDER_SETUP, SETUP);
}

static void rule_holder_finish_initialize(void **state)
{
    (void)state;
    fx_holder(&core);
    core.cluster.initialize = CORE_INITIALIZE_RUNNING;
    EXPECT_ACTION(&core, HOLDER_FINISH_INITIALIZE, FINISH_INITIALIZE);
}

static void rule_holder_write_config(void **state)
{
    (void)state;
    fx_holder(&core);
    core.cluster.settings.version = 0;
    EXPECT_ACTION(&core, HOLDER_WRITE_CONFIG, WRITE_CONFIG);
}

static void rule_holder_failsafe(void **state)
{
    (void)state;
    fx_holder(&core);
    core.cluster.member_count = 2;
    EXPECT_ACTION(&core, HOLDER_FAILSAFE, REMEMBER); /* in doubt before it is sent (L9) */
    core.memory.failsafe_doubt = (struct core_name_list){.count = 2, .name = {"n1", "n2"}};
    const struct core_action *action = EXPECT(&core, HOLDER_FAILSAFE);
    assert_int_equal(action->type, CORE_ACTION_WRITE_FAILSAFE);
    assert_int_equal(action->u.keys.version, 6);
    assert_int_equal(action->u.keys.lease_version, 20);
    assert_int_equal(action->u.keys.names.count, 2);
}

static void rule_holder_clear_failover(void **state)
{
    (void)state;
    fx_holder(&core);
    order("n2", "n1");
    EXPECT_ACTION(&core, HOLDER_CLEAR_FAILOVER, CLEAR_FAILOVER);
}

static void rule_holder_checkpoint(void **state)
{
    (void)state;
    fx_holder(&core);
    core.postgres.timeline_checkpointed = false;
    EXPECT_ACTION(&core, HOLDER_CHECKPOINT, CHECKPOINT);
}

static void rule_holder_leads(void **state)
{
    (void)state;
    fx_holder(&core);
    assert_null(EXPECT(&core, HOLDER_LEADS));
}

static void rule_wait_datadir(void **state)
{
    (void)state;
    fx_replica(&core);
    stopped();
    core.postgres.datadir = CORE_DATADIR_FOREIGN;
    assert_null(EXPECT(&core, WAIT_DATADIR));
}

static void rule_bootstrap_failed(void **state)
{
    (void)state;
    fx_replica(&core);
    stopped();
    core.initdb_failed = true;
    EXPECT_ACTION(&core, BOOTSTRAP_FAILED, SET_ASIDE);
    core.postgres.datadir = CORE_DATADIR_EMPTY;
    core.claimed_version = 3;
    EXPECT_ACTION(&core, BOOTSTRAP_FAILED, CANCEL_INITIALIZE);
    core.claimed_version = 0;
    EXPECT_ACTION(&core, BOOTSTRAP_FAILED, EXIT);
}

static void new_cluster(void)
{
    fx_replica(&core);
    stopped();
    core.postgres.datadir = CORE_DATADIR_EMPTY;
    core.postgres.sysid = 0;
    core.cluster.lease = (struct core_lease_record){0};
    core.cluster.leader = (struct core_leader_key){0};
    core.cluster.initialize = CORE_INITIALIZE_ABSENT;
    core.cluster.failsafe = (struct core_failsafe){0};
    core.cluster.settings.version = 0;
}

static void rule_bootstrap_claim(void **state)
{
    (void)state;
    new_cluster();
    EXPECT_ACTION(&core, BOOTSTRAP_CLAIM, CLAIM_INITIALIZE);
    core.no_acquire_until.ms = FX_NOW + 1; /* L8 */
    (void)EXPECT(&core, WAIT_BOOTSTRAP);
}

static void rule_bootstrap_initdb(void **state)
{
    (void)state;
    new_cluster();
    core.cluster.initialize = CORE_INITIALIZE_RUNNING;
    core.claimed_version = 22;
    EXPECT_ACTION(&core, BOOTSTRAP_INITDB, INITDB);
}

static void rule_bootstrap_acquire(void **state)
{
    (void)state;
    new_cluster();
    core.cluster.initialize = CORE_INITIALIZE_RUNNING;
    core.claimed_version = 22;
    core.postgres.datadir = CORE_DATADIR_USABLE;
    core.postgres.setup_pending = true;
    const struct core_action *action = EXPECT(&core, BOOTSTRAP_ACQUIRE);
    assert_int_equal(action->u.lease.lease_version, 0);
    assert_int_equal(action->u.lease.record.epoch, 4); /* above every one it ever saw */
}

static void rule_clone(void **state)
{
    (void)state;
    fx_replica(&core);
    stopped();
    core.postgres.datadir = CORE_DATADIR_EMPTY;
    const struct core_action *action = EXPECT(&core, CLONE);
    assert_string_equal(action->u.postgres.upstream, "n1");
}

static void rule_wait_bootstrap(void **state)
{
    (void)state;
    new_cluster();
    core.cluster.initialize = CORE_INITIALIZE_RUNNING;
    assert_null(EXPECT(&core, WAIT_BOOTSTRAP));
}

static void rule_check_divergence(void **state)
{
    (void)state;
    fx_replica(&core);
    core.checked_epoch = 2;
    const struct core_action *action = EXPECT(&core, CHECK_DIVERGENCE);
    assert_string_equal(action->u.postgres.upstream, "n1");
}

static void rule_stop_to_rejoin(void **state)
{
    (void)state;
    fx_replica(&core);
    core.divergence = CORE_DIVERGENCE_DIVERGED;
    EXPECT_ACTION(&core, STOP_TO_REJOIN, STOP_FAST);
}

static void rejoining(void)
{
    fx_old_primary(&core);
    (void)snprintf(core.checked_leader, NAME_SIZE, "n1");
    core.divergence = CORE_DIVERGENCE_DIVERGED;
}

static void rule_rewind(void **state)
{
    (void)state;
    rejoining();
    EXPECT_ACTION(&core, REWIND, REWIND);
    core.cluster.member[0].checkpoint_pending = true; /* lessons 65 */
    assert_null(EXPECT(&core, WAIT_REJOIN));
}

static void rule_clone_diverged(void **state)
{
    (void)state;
    rejoining();
    core.cluster.settings.use_pg_rewind = false;
    core.cluster.settings.clone_on_diverged = true;
    EXPECT_ACTION(&core, CLONE_DIVERGED, CLONE);
    core.cluster.settings.clone_on_diverged = false; /* not allowed: nothing is destroyed (INV-5) */
    EXPECT_ACTION(&core, START_REPLICA, START_REPLICA);
}

static void rule_wait_rejoin(void **state)
{
    (void)state;
    fx_old_primary(&core);
    core.cluster.member[0].running = false;
    assert_null(EXPECT(&core, WAIT_REJOIN));
}

static void rule_start_replica(void **state)
{
    (void)state;
    fx_replica(&core);
    stopped();
    const struct core_action *action = EXPECT(&core, START_REPLICA);
    assert_string_equal(action->u.postgres.upstream, "n1");
    const int64_t pauses[] = {FX_TTL / 20, 1000, 1000, 2000, 4000, 8000, 16000, 30000, 30000};
    for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
        start_fails(CORE_OUTCOME_NOT_APPLIED);
        assert_int_equal(pause_before(CORE_REASON_START_REPLICA), pauses[i]);
        wait_for(pauses[i]);
    }
    start_fails(CORE_OUTCOME_NOT_APPLIED);
    const struct core failing = core;
    core.cluster.lease.state = CORE_LEASE_RELEASED; /* nobody leads: this node may be needed */
    core.cluster.leader = (struct core_leader_key){0};
    assert_in_range(pause_before(CORE_REASON_START_REPLICA), FX_TTL - 1, FX_TTL);
    core = failing;
    core_reconfigure(&core, &core.config); /* a person was here */
    assert_true(pause_before(CORE_REASON_START_REPLICA) <= core.cluster.settings.loop_wait_ms);
    core = failing;
    struct core_event event = {.type = CORE_EVENT_CLUSTER, .u.cluster = core.cluster};
    event.u.cluster.config_version++;
    event.u.cluster.revision = core.revision_max + 1;
    event.u.cluster.asked_at = core.now;
    fx_step(&core, &event, 1, &plan);
    assert_true(pause_before(CORE_REASON_START_REPLICA) <= core.cluster.settings.loop_wait_ms);
    core = failing;
    str_set(core.cluster.failover.candidate, NAME_SIZE, "n2");
    core.cluster.failover.version = 99;
    assert_true(pause_before(CORE_REASON_START_REPLICA) <= core.cluster.settings.loop_wait_ms);
}

static void rule_follow(void **state)
{
    (void)state;
    fx_replica(&core);
    core.postgres.upstream[0] = '\0';
    const struct core_action *action = EXPECT(&core, FOLLOW);
    assert_string_equal(action->u.postgres.upstream, "n1");
}

static void rule_adopt(void **state)
{
    (void)state;
    new_cluster();
    core.postgres.process = TRI_YES;
    core.postgres.accepting = TRI_YES;
    core.postgres.primary = TRI_YES;
    core.postgres.sysid = 7;
    core.postgres.datadir = CORE_DATADIR_USABLE;
    EXPECT_ACTION(&core, ADOPT, LEASE_WRITE);
}

static void rule_take_handed(void **state)
{
    (void)state;
    fx_replica(&core);
    core.cluster.lease.state = CORE_LEASE_HANDING_TO;
    (void)snprintf(core.cluster.lease.to, NAME_SIZE, "n2");
    const struct core_action *action = EXPECT(&core, TAKE_HANDED);
    assert_int_equal(action->u.lease.lease_version, 20);
    assert_int_equal(action->u.lease.record.epoch, 4);
    assert_true(action->u.lease.check_failsafe);
    (void)snprintf(core.cluster.lease.to, NAME_SIZE, "n3"); /* not ours */
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_TAKE_HANDED);
}

static void rule_take_unarmed(void **state)
{
    (void)state;
    fx_replica(&core);
    str_set(core.cluster.lease.holder, NAME_SIZE, "n2");
    core.cluster.lease.armed = false;
    core.cluster.settings.pause = true;
    core.postgres.primary = TRI_YES;
    const struct core_action *action = EXPECT(&core, TAKE_UNARMED);
    assert_false(action->u.lease.record.armed); /* the guard is armed first (L7) */
}

static void rule_race_probe(void **state)
{
    (void)state;
    fx_race(&core);
    core.postgres.asked_at.ms = FX_NOW - FX_TTL;
    EXPECT_ACTION(&core, RACE_PROBE, PROBE);
}

static void rule_race_ask(void **state)
{
    (void)state;
    fx_race(&core);
    core.peer_count = 1;
    const struct core_action *action = EXPECT(&core, RACE_ASK);
    assert_int_equal(action->u.ask.names.count, 2);
}

static void rule_race_read(void **state)
{
    (void)state;
    fx_race(&core);
    core.linear_at.ms = FX_NOW - 1; /* begun before the wait was over (L3) */
    EXPECT_ACTION(&core, RACE_READ, READ);
}

static void rule_race_take(void **state)
{
    (void)state;
    fx_race(&core);
    const struct core_action *action = EXPECT(&core, RACE_TAKE);
    assert_int_equal(action->u.lease.lease_version, 20);
    assert_int_equal(action->u.lease.failsafe_version, 6);
    assert_true(action->u.lease.check_failsafe);
    assert_int_equal(action->u.lease.leader_op, CORE_LEADER_ATTACH);
    assert_int_equal(action->u.lease.leader_version, 5);
    core.challenge.since.ms += 1; /* a millisecond too early (L3) */
    (void)EXPECT(&core, RACE_WAIT);
}

/* Compared with the last leader and found to have another history. */
static void race_diverged(void)
{
    fx_race(&core);
    core.divergence = CORE_DIVERGENCE_DIVERGED;
    assert_null(EXPECT(&core, RACE_NOT_FIT));
    core.cluster.failover.version = 21; /* a person wants it so */
    str_set(core.cluster.failover.candidate, NAME_SIZE, "n2");
    (void)EXPECT(&core, RACE_TAKE);
    fx_race(&core);
    core.divergence = CORE_DIVERGENCE_DIVERGED;
    core.checked_epoch = 2; /* that was another term */
    (void)EXPECT(&core, RACE_TAKE);
}

static void rule_race_not_fit(void **state)
{
    (void)state;
    fx_race(&core);
    core.peer[1].lsn = 1001; /* ahead */
    assert_null(EXPECT(&core, RACE_NOT_FIT));
    core.peer[1].lsn = 10;
    core.peer[1].timeline = 2; /* a newer timeline is worth more */
    assert_null(EXPECT(&core, RACE_NOT_FIT));
    fx_race(&core);
    core.peer[0].reachable = TRI_YES;
    core.peer[0].primary = true; /* still alive */
    assert_null(EXPECT(&core, RACE_NOT_FIT));
    fx_race(&core);
    core.cluster.optime = 1000 + 1048577; /* too far behind */
    assert_null(EXPECT(&core, RACE_NOT_FIT));
    fx_race(&core);
    core.cluster.optime = 999; /* published on a newer timeline: the fork lies below */
    core.cluster.optime_timeline = 2;
    assert_null(EXPECT(&core, RACE_NOT_FIT));
    core.cluster.optime = 1000;
    (void)EXPECT(&core, RACE_TAKE);
    race_diverged();
}

static void rule_race_wait(void **state)
{
    (void)state;
    fx_race(&core);
    core.challenge.since.ms = FX_NOW - FX_TTL;
    assert_null(EXPECT(&core, RACE_WAIT));
}

static void rule_postgres_busy(void **state)
{
    (void)state;
    fx_replica(&core);
    core.pending[CORE_TARGET_POSTGRES].active = true;
    core.pending[CORE_TARGET_POSTGRES].type = CORE_ACTION_FOLLOW;
    assert_null(EXPECT(&core, POSTGRES_BUSY));
}

static void rule_stays_diverged(void **state)
{
    (void)state;
    fx_replica(&core);
    core.divergence = CORE_DIVERGENCE_DIVERGED;
    core.cluster.settings.use_pg_rewind = false;
    assert_null(EXPECT(&core, STAYS_DIVERGED));
}

static void rule_follows(void **state)
{
    (void)state;
    fx_replica(&core);
    assert_null(EXPECT(&core, FOLLOWS));
}

static void rule_idle(void **state)
{
    (void)state;
    fx_replica(&core);
    core.cluster.reachable = TRI_NO;
    assert_null(EXPECT(&core, IDLE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define X(function, name, text) [CORE_REASON_##name] = cmocka_unit_test(rule_##function),
        CORE_RULE_LIST(X)
#undef X
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
