/* The lease rules L1 to L12, each a test named after it, through core_step as the shell calls it. */
#include "fixture.h"

static struct core core;
static struct core_plan plan;

static void reset(void (*fixture)(struct core *))
{
    fixture(&core);
    plan = (struct core_plan){0};
}

/* The last step's plan, or ticks until one has the action; fails when it is not within limit_ms. */
static const struct core_action *until(enum core_action_type type, int64_t limit_ms)
{
    for (int64_t ms = 0; ms <= limit_ms + 1; ms++) {
        for (uint32_t i = 0; i < plan.count; i++) {
            if (plan.action[i].type == type) {
                return &plan.action[i];
            }
        }
        fx_tick(&core, ms == 0 ? 0 : 1, &plan);
    }
    fail_msg("%s was not planned within %d ms", core_action_name(type), (int)limit_ms);
    return NULL;
}

static void push(uint64_t revision, const struct core_lease_record *record, bool linearizable)
{
    struct core_event event = {.type = CORE_EVENT_CLUSTER};
    event.u.cluster = core.cluster;
    event.u.cluster.reachable = TRI_YES;
    event.u.cluster.asked_at = core.now;
    event.u.cluster.linearizable = linearizable;
    event.u.cluster.revision = revision;
    event.u.cluster.lease = *record;
    event.u.cluster.lease.version = revision;
    fx_step(&core, &event, 1, &plan);
}

static void away(void)
{
    struct core_event event = {.type = CORE_EVENT_CLUSTER};
    event.u.cluster = core.cluster;
    event.u.cluster.reachable = TRI_NO;
    event.u.cluster.asked_at = core.now;
    fx_step(&core, &event, 1, &plan);
}

static void l1_dated_from_the_sending(void **state)
{
    (void)state;
    reset(fx_holder);
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL / 4);
    int64_t sent_ms = core.now.ms;
    fx_tick(&core, 300, &plan);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, 21, &plan);
    assert_int_equal(core.own.deadline.ms, sent_ms + FX_TTL);
    assert_int_equal(plan.page.deadline.ms, sent_ms + FX_TTL);
}

static void l1_raise_counts_when_applied_lowering_at_once(void **state)
{
    (void)state;
    reset(fx_holder);
    core.cluster.settings.ttl_ms = 2 * FX_TTL;
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL);
    assert_int_equal(core.own.ttl_ms, FX_TTL);
    int64_t sent_ms = core.now.ms;
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, 21, &plan);
    assert_int_equal(core.own.deadline.ms, sent_ms + 2 * FX_TTL);
    core.cluster.settings.ttl_ms = FX_TTL;
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL);
    assert_int_equal(core.own.deadline.ms, sent_ms + FX_TTL);
}

static void l2_renews_at_a_quarter_and_stops_at_seven_tenths(void **state)
{
    (void)state;
    reset(fx_holder);
    core.cluster.settings.failsafe_mode = false;
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL);
    assert_int_equal(core.now.ms, FX_NOW + FX_TTL / 4);
    (void)until(CORE_ACTION_STOP_FAST, FX_TTL);
    assert_int_equal(core.now.ms, FX_NOW + FX_TTL * 7 / 10);
}

static void l2_retries_every_twentieth(void **state)
{
    (void)state;
    reset(fx_holder);
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL);
    int64_t first_ms = core.now.ms;
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_NOT_APPLIED, 0, &plan);
    const struct core_action *again = until(CORE_ACTION_LEASE_WRITE, FX_TTL / 10);
    assert_in_range(core.now.ms - first_ms, FX_TTL / 20, FX_TTL / 20 + 2);
    assert_int_equal(again->u.lease.record.seq, 7); /* no (epoch, seq) is ever sent twice */
}

static void l2_own_name_in_the_store_gives_no_time(void **state)
{
    (void)state;
    reset(fx_replica);
    struct core_lease_record record = core.cluster.lease;
    str_set(record.holder, NAME_SIZE, "n2"); /* an earlier life's, and no page */
    push(21, &record, true);
    assert_false(core.own.holding);
    assert_false(core_is_leader(&core, core.now));
    for (int i = 0; i < FX_TTL; i++) {
        fx_tick(&core, 1, &plan);
        for (uint32_t a = 0; a < plan.count; a++) {
            assert_int_not_equal(plan.action[a].type, CORE_ACTION_LEASE_WRITE);
        }
    }
}

static void l2_restarted_agent_goes_on_from_the_page(void **state)
{
    (void)state;
    reset(fx_holder);
    struct core_lease_record record = core.cluster.lease;
    struct core_cluster cluster = core.cluster;
    struct core_page page = {
        .present = true, .deadline = {FX_NOW + 900}, .ttl_ms = FX_TTL, .epoch = 3, .seq = 9};
    struct core_config config = core.config;
    struct core_memory memory = core.memory;
    core_init(&core, &config, &memory, &page, (struct mono){FX_NOW});
    core.cluster = cluster;
    assert_true(core_is_leader(&core, core.now));
    core.postgres.asked_at = core.now;
    (void)until(CORE_ACTION_READ, 1);
    push(21, &record, true);
    const struct core_action *write = until(CORE_ACTION_LEASE_WRITE, 1000);
    assert_int_equal(write->u.lease.record.seq, 10); /* above every one ever sent */
    assert_int_equal(write->u.lease.record.epoch, 3);
    assert_int_equal(core.own.deadline.ms, FX_NOW + 900);
}

static void l3_same_version_neither_restarts_nor_shortens(void **state)
{
    (void)state;
    reset(fx_replica);
    struct core_lease_record record = core.cluster.lease;
    push(21, &record, false);
    int64_t since_ms = core.challenge.since.ms;
    record.version = 21;
    for (int i = 0; i < 10; i++) {
        struct core_event event = {.type = CORE_EVENT_CLUSTER};
        event.u.cluster = core.cluster;
        event.u.cluster.asked_at = core.now;
        fx_step(&core, &event, 100, &plan);
    }
    away();
    assert_int_equal(core.challenge.since.ms, since_ms);
    struct core_lease_record newer = record;
    newer.seq++;
    push(22, &newer, false);
    assert_int_equal(core.challenge.since.ms, core.now.ms);
}

static void l3_margin(void **state)
{
    (void)state;
    reset(fx_race);
    core.challenge.since.ms = FX_NOW;
    core.challenge.ttl_ms = 30000;
    core.cluster.lease.ttl_ms = 30000;
    core.peer_count = 0;
    const struct core_action *read = until(CORE_ACTION_READ, 40000);
    assert_non_null(read);
    assert_int_equal(core.now.ms, FX_NOW + 30000 + 600); /* 2 % */
}

static void l4_missing_leader_key_is_no_release(void **state)
{
    (void)state;
    reset(fx_replica);
    struct core_lease_record record = core.cluster.lease;
    core.cluster.leader = (struct core_leader_key){0};
    push(21, &record, true);
    for (int i = 0; i < FX_TTL; i++) {
        fx_tick(&core, 1, &plan);
        for (uint32_t a = 0; a < plan.count; a++) {
            assert_int_not_equal(plan.action[a].type, CORE_ACTION_LEASE_WRITE);
        }
    }
}

static void l4_deadline_is_zero_before_a_release_is_sent(void **state)
{
    (void)state;
    reset(fx_holder);
    core.postgres.process = TRI_NO;
    core.leaving = true;
    const struct core_action *write = until(CORE_ACTION_LEASE_WRITE, 10);
    assert_int_equal(write->u.lease.record.state, CORE_LEASE_RELEASED);
    assert_int_equal(plan.page.deadline.ms, 0);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_UNKNOWN, 0, &plan);
    assert_int_equal(plan.page.deadline.ms, 0); /* it may land late: nothing may run */
    assert_false(core_is_leader(&core, core.now));
}

static void l5_rolled_back_store(void **state)
{
    (void)state;
    reset(fx_replica);
    struct core_lease_record record = core.cluster.lease;
    core.challenge.since.ms = FX_NOW - 10 * FX_TTL;
    fx_tick(&core, 5, &plan);
    push(12, &record, true); /* the revision went back */
    assert_int_equal(core.challenge.since.ms, core.now.ms);
    assert_true(core.rollback_until.ms >= core.now.ms + FX_TTL);
    reset(fx_holder);
    record.epoch = 2;
    str_set(record.holder, NAME_SIZE, "n3");
    fx_tick(&core, 5, &plan);
    push(12, &record, true);
    assert_true(core_is_leader(&core, core.now)); /* by its own page */
    const struct core_action *write = until(CORE_ACTION_LEASE_WRITE, 10);
    assert_int_equal(write->u.lease.record.epoch, 4); /* above every one it ever saw */
    assert_int_equal(write->u.lease.lease_version, 12);
}

/* The store was put back while we did not see it, and has come to the same number again. */
static void l5_a_version_that_came_again_is_another_record(void **state)
{
    (void)state;
    reset(fx_race);
    struct core_event event = {.type = CORE_EVENT_CLUSTER};
    event.u.cluster = core.cluster;
    event.u.cluster.lease.epoch = 4;
    event.u.cluster.lease.seq = 1;
    event.u.cluster.asked_at = core.now;
    fx_step(&core, &event, 1, &plan);
    assert_int_equal(core.challenge.since.ms, core.now.ms);
    for (int i = 0; i < FX_TTL; i++) {
        for (uint32_t a = 0; a < plan.count; a++) {
            assert_int_not_equal(plan.action[a].type, CORE_ACTION_LEASE_WRITE);
        }
        fx_tick(&core, 1, &plan);
    }
}

static void l5_late_answers_are_no_rollback(void **state)
{
    (void)state;
    reset(fx_holder);
    core.read_from = core.now;
    (void)until(CORE_ACTION_READ, 1);
    struct core_event event = {.type = CORE_EVENT_CLUSTER};
    event.u.cluster = core.cluster;
    event.u.cluster.asked_at = core.now;
    event.u.cluster.linearizable = true;
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, 21, &plan);
    fx_step(&core, &event, 1, &plan); /* begun before revision 21 was known */
    assert_false(core.rolled_back);
    assert_int_equal(core.own.version, 21);
}

static void l6_in_doubt_is_read_again(void **state)
{
    (void)state;
    reset(fx_holder);
    struct core_lease_record record = core.cluster.lease;
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL);
    int64_t sent_ms = core.now.ms;
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_UNKNOWN, 0, &plan);
    assert_int_equal(plan.reason, CORE_REASON_READ_STORE);
    assert_int_equal(core.own.deadline.ms, FX_NOW + FX_TTL); /* hope gives no time */
    record.seq = 6;
    push(21, &record, true);
    assert_int_equal(core.own.deadline.ms, sent_ms + FX_TTL);
    assert_int_equal(core.own.version, 21);
}

static void l6_another_seq_is_no_proof(void **state)
{
    (void)state;
    reset(fx_holder);
    struct core_lease_record record = core.cluster.lease;
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_UNKNOWN, 0, &plan);
    push(21, &record, true); /* still seq 5 */
    assert_int_equal(core.own.deadline.ms, FX_NOW + FX_TTL);
}

static void l6_conflict_with_another_holder_ends_it(void **state)
{
    (void)state;
    reset(fx_holder);
    struct core_lease_record record = core.cluster.lease;
    record.epoch = 4;
    str_set(record.holder, NAME_SIZE, "n2");
    push(21, &record, false);
    assert_int_equal(plan.page.deadline.ms, 0);
    assert_int_equal(plan.reason, CORE_REASON_STOP_LEASE_ENDED);
}

static void l7_pause_writes_before_it_disarms_and_arms_before_it_writes(void **state)
{
    (void)state;
    reset(fx_holder);
    core.cluster.settings.pause = true;
    const struct core_action *write = until(CORE_ACTION_LEASE_WRITE, 1);
    assert_false(write->u.lease.record.armed);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, 21, &plan);
    (void)until(CORE_ACTION_DISARM, 1);
    core.guard.armed = false;
    fx_done(&core, CORE_TARGET_GUARD, CORE_OUTCOME_APPLIED, 0, &plan);
    core.cluster.settings.pause = false;
    (void)until(CORE_ACTION_ARM, 1);
    core.guard.armed = true;
    core.guard.armed_epoch = 3;
    fx_done(&core, CORE_TARGET_GUARD, CORE_OUTCOME_APPLIED, 0, &plan);
    write = until(CORE_ACTION_LEASE_WRITE, 1);
    assert_true(write->u.lease.record.armed);
}

static void l7_a_pause_outlives_an_old_answer(void **state)
{
    (void)state;
    reset(fx_holder);
    struct core_lease_record record = core.cluster.lease;
    struct core_event guard = {.type = CORE_EVENT_GUARD, .u.guard = core.guard};
    fx_step(&core, &guard, 0, &plan); /* the guard was seen armed in this term */
    core.cluster.settings.pause = true;
    (void)until(CORE_ACTION_LEASE_WRITE, 1);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, 21, &plan);
    core.guard.armed = false;
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_UNKNOWN, 0, &plan); /* the store freezes */
    fx_tick(&core, 2 * FX_TTL, &plan);
    record.seq = 6;
    record.armed = false;
    push(21, &record, true); /* and comes back: the record of before */
    for (int i = 0; i < FX_TTL; i++) {
        assert_int_not_equal(plan.reason, CORE_REASON_STOP_LEASE_ENDED);
        assert_int_not_equal(plan.reason, CORE_REASON_STOP_LEASE_ENDING);
        fx_tick(&core, 1, &plan);
    }
}

static void l7_unarmed_record_is_taken_by_order_only(void **state)
{
    (void)state;
    reset(fx_race);
    core.cluster.lease.armed = false;
    core_decide(&core, &plan);
    assert_int_equal(plan.reason, CORE_REASON_FOLLOWS);
    core.cluster.failover.version = 21;
    str_set(core.cluster.failover.candidate, NAME_SIZE, "n2");
    core.cluster.leader = (struct core_leader_key){0};
    core_decide(&core, &plan);
    assert_int_equal(plan.reason, CORE_REASON_RACE_TAKE);
}

static void l8_first_wait_after_a_lost_page(void **state)
{
    (void)state;
    reset(fx_replica);
    struct core_config config = core.config;
    struct core_memory memory = core.memory;
    struct core_page page = {0};
    memory.ttl_max_ms = 30000;
    core_init(&core, &config, &memory, &page, (struct mono){FX_NOW});
    assert_int_equal(core.no_acquire_until.ms, FX_NOW + 30000 + 600);
}

static void l9_all_promises_extend_from_before_the_question(void **state)
{
    (void)state;
    reset(fx_holder);
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL / 4);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_UNKNOWN, 0, &plan);
    const struct core_action *ask = until(CORE_ACTION_ASK_PROMISE, FX_TTL);
    assert_int_equal(core.now.ms, FX_NOW + FX_TTL * 4 / 10);
    int64_t asked_ms = ask->u.ask.asked_at.ms;
    uint64_t round = ask->u.ask.round;
    const char *names[] = {"n2", "n3"};
    for (int i = 0; i < 2; i++) {
        struct core_event event = {.type = CORE_EVENT_PEER_PROMISE};
        event.u.peer_promise = (struct core_peer_promise){.round = round, .granted = true};
        str_set(event.u.peer_promise.name, NAME_SIZE, names[i]);
        fx_step(&core, &event, 1, &plan);
        assert_int_equal(core.own.deadline.ms, FX_NOW + FX_TTL); /* all, and only at the end */
    }
    fx_done(&core, CORE_TARGET_PROMISE, CORE_OUTCOME_APPLIED, 0, &plan);
    assert_int_equal(core.own.deadline.ms, asked_ms + FX_TTL);
    assert_true(core_on_promises(&core, core.now));
}

static void l9_one_refusal_is_enough(void **state)
{
    (void)state;
    reset(fx_holder);
    core.pending[CORE_TARGET_LEASE].active = true;
    const struct core_action *ask = until(CORE_ACTION_ASK_PROMISE, FX_TTL);
    struct core_event event = {.type = CORE_EVENT_PEER_PROMISE};
    event.u.peer_promise =
        (struct core_peer_promise){.name = "n2", .round = ask->u.ask.round, .granted = true};
    fx_step(&core, &event, 1, &plan);
    fx_done(&core, CORE_TARGET_PROMISE, CORE_OUTCOME_APPLIED, 0, &plan);
    assert_int_equal(core.own.deadline.ms, FX_NOW + FX_TTL);
}

static void l9_promises_revive_nothing(void **state)
{
    (void)state;
    reset(fx_holder);
    core.pending[CORE_TARGET_LEASE].active = true;
    const struct core_action *ask = until(CORE_ACTION_ASK_PROMISE, FX_TTL);
    uint64_t round = ask->u.ask.round;
    fx_tick(&core, FX_TTL, &plan);
    for (int i = 0; i < 2; i++) {
        struct core_event event = {.type = CORE_EVENT_PEER_PROMISE};
        event.u.peer_promise = (struct core_peer_promise){.round = round, .granted = true};
        str_set(event.u.peer_promise.name, NAME_SIZE, i == 0 ? "n2" : "n3");
        fx_step(&core, &event, 1, &plan);
    }
    fx_done(&core, CORE_TARGET_PROMISE, CORE_OUTCOME_APPLIED, 0, &plan);
    assert_false(core_is_leader(&core, core.now));
}

static void l9_giver_takes_nothing_for_ttl_and_margin(void **state)
{
    (void)state;
    reset(fx_race);
    struct core_event event = {.type = CORE_EVENT_PROMISE_REQUEST};
    event.u.promise_request = (struct core_promise_request){
        .request_id = 1, .holder = "n1", .epoch = 3, .ttl_ms = FX_TTL};
    fx_step(&core, &event, 0, &plan);
    assert_int_equal(plan.reason, CORE_REASON_ANSWER_GRANT);
    assert_int_equal(core.memory.promised_until.ms, FX_NOW + FX_TTL + 40); /* never exactly ttl */
    (void)until(CORE_ACTION_REMEMBER, 1); /* the second line; L8 is the first */
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_RACE_TAKE);
    core.now.ms = core.memory.promised_until.ms - 1;
    core.postgres.asked_at = core.linear_at = core.now;
    core.peer[0].asked_at = core.peer[1].asked_at = core.now;
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_RACE_TAKE);
    core.now.ms++;
    core.linear_at = core.now;
    core_decide(&core, &plan);
    assert_int_equal(plan.reason, CORE_REASON_RACE_TAKE);
}

static void l9_a_larger_ttl_is_on_disk_before_it_is_promised(void **state)
{
    (void)state;
    reset(fx_replica);
    struct core_event event = {.type = CORE_EVENT_PROMISE_REQUEST};
    event.u.promise_request = (struct core_promise_request){
        .request_id = 1, .holder = "n1", .epoch = 3, .ttl_ms = 2 * FX_TTL};
    fx_step(&core, &event, 0, &plan);
    assert_int_equal(plan.reason, CORE_REASON_REMEMBER_PROMISE);
    fx_done(&core, CORE_TARGET_MEMORY, CORE_OUTCOME_APPLIED, 0, &plan);
    assert_int_equal(plan.reason, CORE_REASON_ANSWER_GRANT);
    struct core_config config = core.config;
    struct core_memory memory = core.memory;
    str_set(memory.promised_to, NAME_SIZE, ""); /* the promise itself did not get to disk */
    memory.promised_until = MONO_ZERO;
    struct core_page page = {.present = true};
    core_init(&core, &config, &memory, &page, core.now);
    assert_true(core.no_acquire_until.ms >= core.now.ms + 2 * FX_TTL + 80); /* L8 covers it */
}

static void l9_reboot_renews_a_promise(void **state)
{
    (void)state;
    reset(fx_replica);
    struct core_config config = core.config;
    config.same_boot = false;
    struct core_memory memory = core.memory;
    str_set(memory.promised_to, NAME_SIZE, "n1");
    memory.promised_until.ms = 5;
    memory.promised_ms = 2040;
    struct core_page page = {0};
    core_init(&core, &config, &memory, &page, (struct mono){100});
    assert_int_equal(core.memory.promised_until.ms, 2140);
}

static void l9_list_change_restarts_the_wait(void **state)
{
    (void)state;
    reset(fx_race);
    struct core_event event = {.type = CORE_EVENT_CLUSTER};
    event.u.cluster = core.cluster;
    event.u.cluster.revision = 25;
    event.u.cluster.failsafe.version = 25;
    event.u.cluster.asked_at = core.now;
    fx_step(&core, &event, 1, &plan);
    assert_int_equal(core.challenge.since.ms, core.now.ms);
}

static void l9_only_a_listed_member_takes_over(void **state)
{
    (void)state;
    reset(fx_race);
    core.cluster.failsafe.names = (struct core_name_list){.count = 2, .name = {"n1", "n3"}};
    core_decide(&core, &plan);
    assert_int_equal(plan.reason, CORE_REASON_FOLLOWS);
}

static void l10_the_giver_may_take_back_after_half_a_ttl(void **state)
{
    (void)state;
    reset(fx_race);
    core.cluster.lease.state = CORE_LEASE_HANDING_TO;
    str_set(core.cluster.lease.holder, NAME_SIZE, "n2");
    str_set(core.cluster.lease.to, NAME_SIZE, "n3");
    core.challenge.since.ms = FX_NOW - FX_TTL / 2;
    core_decide(&core, &plan);
    assert_int_equal(plan.reason, CORE_REASON_RACE_TAKE);
    core.challenge.since.ms++;
    core_decide(&core, &plan);
    assert_int_equal(plan.reason, CORE_REASON_RACE_WAIT);
}

static void l11_a_patroni_is_not_taken_over(void **state)
{
    (void)state;
    reset(fx_race);
    core.cluster.leader.version = 30; /* changed after `lease` */
    core_decide(&core, &plan);
    assert_int_not_equal(plan.reason, CORE_REASON_RACE_TAKE);
}

static void l12_observes_after_a_stall(void **state)
{
    (void)state;
    reset(fx_holder);
    fx_tick(&core, FX_TTL / 4 + 1, &plan);
    assert_int_equal(plan.reason, CORE_REASON_READ_STORE);
    fx_tick(&core, 0, &plan);
    assert_int_equal(plan.reason, CORE_REASON_PROBE);
    fx_tick(&core, 0, &plan);
    assert_int_equal(plan.reason, CORE_REASON_OBSERVE);
    fx_tick(&core, FX_TTL, &plan); /* demotion needs no observation */
    assert_int_equal(plan.reason, CORE_REASON_STOP_LEASE_ENDED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(l1_dated_from_the_sending),
        cmocka_unit_test(l1_raise_counts_when_applied_lowering_at_once),
        cmocka_unit_test(l2_renews_at_a_quarter_and_stops_at_seven_tenths),
        cmocka_unit_test(l2_retries_every_twentieth),
        cmocka_unit_test(l2_own_name_in_the_store_gives_no_time),
        cmocka_unit_test(l2_restarted_agent_goes_on_from_the_page),
        cmocka_unit_test(l3_same_version_neither_restarts_nor_shortens),
        cmocka_unit_test(l3_margin),
        cmocka_unit_test(l4_missing_leader_key_is_no_release),
        cmocka_unit_test(l4_deadline_is_zero_before_a_release_is_sent),
        cmocka_unit_test(l5_rolled_back_store),
        cmocka_unit_test(l5_a_version_that_came_again_is_another_record),
        cmocka_unit_test(l5_late_answers_are_no_rollback),
        cmocka_unit_test(l6_in_doubt_is_read_again),
        cmocka_unit_test(l6_another_seq_is_no_proof),
        cmocka_unit_test(l6_conflict_with_another_holder_ends_it),
        cmocka_unit_test(l7_pause_writes_before_it_disarms_and_arms_before_it_writes),
        cmocka_unit_test(l7_a_pause_outlives_an_old_answer),
        cmocka_unit_test(l7_unarmed_record_is_taken_by_order_only),
        cmocka_unit_test(l8_first_wait_after_a_lost_page),
        cmocka_unit_test(l9_all_promises_extend_from_before_the_question),
        cmocka_unit_test(l9_one_refusal_is_enough),
        cmocka_unit_test(l9_promises_revive_nothing),
        cmocka_unit_test(l9_giver_takes_nothing_for_ttl_and_margin),
        cmocka_unit_test(l9_a_larger_ttl_is_on_disk_before_it_is_promised),
        cmocka_unit_test(l9_reboot_renews_a_promise),
        cmocka_unit_test(l9_list_change_restarts_the_wait),
        cmocka_unit_test(l9_only_a_listed_member_takes_over),
        cmocka_unit_test(l10_the_giver_may_take_back_after_half_a_ttl),
        cmocka_unit_test(l11_a_patroni_is_not_taken_over),
        cmocka_unit_test(l12_observes_after_a_stall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
