/* Interleavings that once broke an INV or an L rule, each as a test named after what must hold: found
 * by a review of the core against the design. control_* see that the harness leads a healthy race to
 * its end, so that the others cannot pass for a wrong reason. Linked with -Wl,--wrap=core_step: every
 * plan counts, also those of steps inside helpers. */
#include "fixture.h"
#include "core/internal.h"

static struct core core;
static struct core_plan plan;

/* every plan is seen, also those of steps inside helpers: link with -Wl,--wrap=core_step */
static uint32_t seen[CORE_ACTION_COUNT];
static struct core_action last_of[CORE_ACTION_COUNT];
static uint32_t releases;
/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
void __real_core_step(struct core *c, const struct core_event *e, struct core_plan *p);
void __wrap_core_step(struct core *c, const struct core_event *e, struct core_plan *p);
void __wrap_core_step(struct core *c, const struct core_event *e, struct core_plan *p)
{
    __real_core_step(c, e, p);
    for (uint32_t i = 0; i < p->count; i++) {
        seen[p->action[i].type]++;
        last_of[p->action[i].type] = p->action[i];
        releases += p->action[i].type == CORE_ACTION_LEASE_WRITE &&
                    p->action[i].u.lease.record.state == CORE_LEASE_RELEASED;
    }
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
static void reset(void (*fixture)(struct core *))
{
    fixture(&core);
    plan = (struct core_plan){0};
    memset(seen, 0, sizeof(seen));
    memset(last_of, 0, sizeof(last_of));
    releases = 0;
}

static bool planned(enum core_action_type type)
{
    for (uint32_t i = 0; i < plan.count; i++)
        if (plan.action[i].type == type)
            return true;
    return false;
}
static const struct core_action *until(enum core_action_type type, int64_t limit_ms)
{
    for (int64_t ms = 0; ms <= limit_ms + 1; ms++) {
        for (uint32_t i = 0; i < plan.count; i++)
            if (plan.action[i].type == type)
                return &plan.action[i];
        fx_tick(&core, ms == 0 ? 0 : 1, &plan);
    }
    fail_msg("%s was not planned within %d ms (reason %s)", core_action_name(type), (int)limit_ms,
             core_reason_name(plan.reason));
    return NULL;
}
static struct core_event snap(uint64_t revision, bool linear)
{
    struct core_event e = {.type = CORE_EVENT_CLUSTER};
    e.u.cluster = core.cluster;
    e.u.cluster.reachable = TRI_YES;
    e.u.cluster.asked_at = core.now;
    e.u.cluster.linearizable = linear;
    e.u.cluster.revision = revision;
    return e;
}
static void away(void)
{
    struct core_event e = snap(core.cluster.revision, false);
    e.u.cluster.reachable = TRI_NO;
    fx_step(&core, &e, 1, &plan);
}
/* answers whatever READ/PROBE/STATUS/MEMORY/CHECK/GUARD is pending as a healthy shell would */
static struct core_postgres truth; /* what the server really is */
static void look(void)
{
    struct core_event e = {.type = CORE_EVENT_POSTGRES, .u.postgres = truth};
    e.u.postgres.asked_at.ms = core.now.ms + 1;
    fx_step(&core, &e, 1, &plan);
}
static bool no_status_answers;
static void serve(void)
{
    if (core.pending[CORE_TARGET_READ].active) {
        struct core_event e = snap(core.cluster.revision, true);
        e.u.cluster.asked_at = core.pending[CORE_TARGET_READ].started_at;
        fx_step(&core, &e, 0, &plan);
        fx_done(&core, CORE_TARGET_READ, CORE_OUTCOME_APPLIED, 0, &plan);
    }
    if (core.pending[CORE_TARGET_PROBE].active) {
        look();
        fx_done(&core, CORE_TARGET_PROBE, CORE_OUTCOME_APPLIED, 0, &plan);
    }
    if (core.pending[CORE_TARGET_STATUS].active && !no_status_answers) {
        struct mono at = core.pending[CORE_TARGET_STATUS].started_at;
        for (uint32_t i = 0; i < core.peer_count; i++) {
            struct core_event e = {.type = CORE_EVENT_PEER_STATUS, .u.peer_status = core.peer[i]};
            e.u.peer_status.asked_at = at;
            fx_step(&core, &e, 0, &plan);
        }
        if (core.pending[CORE_TARGET_STATUS].active)
            fx_done(&core, CORE_TARGET_STATUS, CORE_OUTCOME_APPLIED, 0, &plan);
    }
    if (core.pending[CORE_TARGET_MEMORY].active)
        fx_done(&core, CORE_TARGET_MEMORY, CORE_OUTCOME_APPLIED, 0, &plan);
}
/* ms of healthy life; true when the action is planned meanwhile */
static bool lives(int64_t ms, enum core_action_type type)
{
    uint32_t before = planned(type) ? seen[type] - 1 : seen[type];
    truth = core.postgres;
    for (int64_t i = 0; i < ms && seen[type] == before; i++) {
        fx_tick(&core, 1, &plan);
        for (int k = 0; k < 20 && seen[type] == before; k++) {
            serve();
            if (plan.count == 0)
                break;
            fx_tick(&core, 0, &plan);
        }
    }
    return seen[type] > before;
}

static void control_race(void **s)
{
    (void)s;
    reset(fx_race);
    bool ok = lives(3 * FX_TTL + 5000, CORE_ACTION_LEASE_WRITE);
    assert_true(ok);
}
static void control_race2(void **s)
{
    (void)s;
    reset(fx_race);
    core.challenge.since.ms = FX_NOW;
    bool ok = lives(3 * FX_TTL + 5000, CORE_ACTION_LEASE_WRITE);
    assert_true(ok);
}
/* whether the lease is asked for before the moment */
static bool takes_before(struct mono end)
{
    while (core.now.ms < end.ms - 30) {
        if (lives(10, CORE_ACTION_LEASE_WRITE))
            return true;
    }
    return false;
}
static void a1_lowering_is_not_undone_by_the_same_record(void **s)
{
    (void)s;
    reset(fx_holder);
    const int64_t low = FX_TTL / 2;
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, 21, &plan);
    struct core_lease_record r = core.cluster.lease;
    r.seq = 6;
    r.version = 21;
    int64_t proven = core.own.proven_at.ms;
    core.cluster.settings.ttl_ms = low;
    (void)until(CORE_ACTION_LEASE_WRITE, FX_TTL); /* seq 7, ttl 1000, in flight */
    assert_int_equal(core.own.deadline.ms, proven + low);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_UNKNOWN, 0, &plan); /* may land any time */
    struct core_event e = snap(21, true);
    e.u.cluster.lease = r;
    e.u.cluster.settings.ttl_ms = low;
    fx_step(&core, &e, 1, &plan); /* L6: read again: still seq 6 */
    assert_true(core.own.deadline.ms <= proven + low);
}
static void a2_rolled_back_to_a_release_waits(void **s)
{
    (void)s;
    reset(fx_replica);
    core.memory.epoch_max = 5;
    struct core_event e = snap(12, true);
    fx_tick(&core, 5, &plan);
    e.u.cluster.asked_at = core.now;
    e.u.cluster.lease.version = 12;
    e.u.cluster.lease.state = CORE_LEASE_HANDING_TO;
    str_set(e.u.cluster.lease.to, NAME_SIZE, "n2");
    e.u.cluster.leader = (struct core_leader_key){0};
    fx_step(&core, &e, 1, &plan);
    assert_true(core.rollback_until.ms >= core.now.ms + FX_TTL);
    assert_false(takes_before(core.rollback_until));
}
static void a2b_released_as_well(void **s)
{
    (void)s;
    reset(fx_race);
    core.challenge.since = core.now;
    fx_tick(&core, 5, &plan);
    struct core_event e = snap(12, true);
    e.u.cluster.lease.version = 12;
    e.u.cluster.lease.state = CORE_LEASE_RELEASED;
    e.u.cluster.leader = (struct core_leader_key){0};
    fx_step(&core, &e, 1, &plan);
    assert_true(core.rollback_until.ms >= core.now.ms + FX_TTL);
    assert_false(takes_before(core.rollback_until));
}
static void a2c_an_epoch_below_the_highest_seen_is_a_rollback(void **s)
{
    (void)s;
    reset(fx_replica); /* restarted: it knows epochs, no revision */
    struct core_config config = core.config;
    struct core_memory memory = core.memory;
    struct core_postgres pg = core.postgres;
    struct core_event e = snap(12, true);
    memory.epoch_max = 5;
    struct core_page page = {.present = false};
    core_init(&core, &config, &memory, &page, (struct mono){FX_NOW});
    struct core_event p = {.type = CORE_EVENT_POSTGRES, .u.postgres = pg};
    p.u.postgres.asked_at = core.now;
    fx_step(&core, &p, 1, &plan);
    e.u.cluster.asked_at = core.now;
    e.u.cluster.lease.version = 12;
    e.u.cluster.lease.state = CORE_LEASE_HANDING_TO;
    str_set(e.u.cluster.lease.to, NAME_SIZE, "n2");
    fx_step(&core, &e, 1, &plan);
    assert_true(core.rollback_until.ms >= core.now.ms + FX_TTL);
    assert_false(takes_before(core.rollback_until));
}
static void a3_union_of_lists_is_never_cut(void **s)
{
    (void)s;
    reset(fx_holder);
    struct core_name_list full = {.count = MEMBERS_MAX};
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        (void)snprintf(full.name[i], NAME_SIZE, "n%u", i + 1);
    core.cluster.failsafe.names = core.memory.failsafe = full;
    core.memory.failsafe_doubt = full; /* n16 leaves, n17 comes: in doubt */
    str_set(core.memory.failsafe_doubt.name[MEMBERS_MAX - 1], NAME_SIZE, "n17");
    core.pending[CORE_TARGET_LEASE].active = true;
    core.pending[CORE_TARGET_KEYS].active = true;
    assert_false(lives(FX_TTL / 2, CORE_ACTION_ASK_PROMISE)); /* not all could be asked: none is */
}
static void b1_pause_outlives_the_store(void **s)
{
    (void)s;
    reset(fx_holder);
    core.cluster.settings.pause = true;
    core.cluster.lease.armed = false;
    core.own.armed_written = false;
    core.guard.armed = false;
    away();
    for (int i = 0; i < 3 * FX_TTL; i++) {
        fx_tick(&core, 1, &plan);
        if (planned(CORE_ACTION_STOP_FAST) || planned(CORE_ACTION_STOP_HARD))
            fail_msg("stopped after %d ms: %s", i, core_reason_name(plan.reason));
    }
}
static void b1b_restart_in_a_pause_arms_nothing_before_it_looked(void **s)
{
    (void)s;
    reset(fx_holder);
    struct core_config config = core.config;
    struct core_memory memory = core.memory;
    struct core_postgres pg = core.postgres;
    struct core_page page = {
        .present = true, .deadline = {FX_NOW + 1900}, .ttl_ms = FX_TTL, .epoch = 3, .seq = 9};
    core_init(&core, &config, &memory, &page, (struct mono){FX_NOW});
    struct core_event g = {.type = CORE_EVENT_GUARD,
                           .u.guard = {.asked_at = {FX_NOW}, .alive = TRI_YES}};
    fx_step(&core, &g, 0, &plan);
    struct core_event p = {.type = CORE_EVENT_POSTGRES, .u.postgres = pg};
    fx_step(&core, &p, 0, &plan);
    for (int i = 0; i < 20; i++) {
        if (planned(CORE_ACTION_ARM))
            fail_msg("arms although the store was not read: the cluster is paused");
        fx_tick(&core, 1, &plan);
    }
}
static void b2_restart_of_postgres_in_a_pause_keeps_or_regains_the_lease(void **s)
{
    (void)s;
    reset(fx_holder);
    core.cluster.settings.pause = true;
    core.cluster.lease.armed = false;
    core.own.armed_written = false;
    core.guard.armed = false;
    struct core_postgres up = core.postgres;
    struct core_event p = {.type = CORE_EVENT_POSTGRES, .u.postgres = up};
    p.u.postgres.process = TRI_NO;
    p.u.postgres.accepting = TRI_NO;
    p.u.postgres.asked_at = core.now;
    p.u.postgres.control = CORE_CONTROL_SHUT_DOWN;
    fx_step(&core, &p, 1, &plan);
    for (int i = 0; i < 4 && !core.own.surrendered; i++)
        fx_tick(&core, 1, &plan);
    if (core.own.surrendered) { /* it is released: as Patroni */
        struct core_event e = snap(21, false);
        e.u.cluster.lease.version = 21;
        e.u.cluster.lease.state = CORE_LEASE_RELEASED;
        e.u.cluster.lease.seq++;
        e.u.cluster.lease.armed = true;
        e.u.cluster.leader = (struct core_leader_key){0};
        fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, 21, &plan);
        fx_step(&core, &e, 1, &plan);
    }
    p.u.postgres = up;
    p.u.postgres.asked_at = core.now; /* pg_ctl restart is done */
    fx_step(&core, &p, 1, &plan);
    bool again = core.own.holding || lives(2 * FX_TTL, CORE_ACTION_LEASE_WRITE);
    struct core_event e = snap(22, true);
    e.u.cluster.settings.pause = false;
    fx_step(&core, &e, 1, &plan);
    bool stopped = lives(20, CORE_ACTION_STOP_FAST);
    if (!again || stopped)
        fail_msg("leads again: %d, stopped at resume: %d (%s)", again, stopped,
                 core_reason_name(plan.reason));
}
static void b3_deleted_keys_do_not_end_a_healthy_primary(void **s)
{
    (void)s;
    reset(fx_holder);
    struct core_event e = snap(30, true);
    e.u.cluster.lease = (struct core_lease_record){0};
    e.u.cluster.leader = (struct core_leader_key){0};
    e.u.cluster.initialize = CORE_INITIALIZE_ABSENT;
    e.u.cluster.initialize_version = 0;
    e.u.cluster.failsafe = (struct core_failsafe){0};
    e.u.cluster.settings.version = 0;
    fx_step(&core, &e, 1, &plan);
    if (planned(CORE_ACTION_STOP_HARD))
        fail_msg("hard stop of a healthy primary: %s", core_reason_name(plan.reason));
}
static void c1_a_guard_that_dies_with_an_order_is_replaced(void **s)
{
    (void)s;
    reset(fx_holder);
    core.guard.armed = false;
    core.postgres.primary = TRI_NO;
    (void)until(CORE_ACTION_ARM, 1); /* sent; the guard freezes or dies */
    struct core_event g = {.type = CORE_EVENT_GUARD,
                           .u.guard = {.asked_at = core.now, .alive = TRI_NO}};
    fx_step(&core, &g, 1, &plan);
    assert_true(lives(3 * FX_TTL + 5000, CORE_ACTION_REPLACE_GUARD));
}
static void c2_no_promotion_beside_a_dead_guard(void **s)
{
    (void)s;
    reset(fx_holder);
    core.postgres.primary = TRI_NO;
    core.postgres.control = CORE_CONTROL_IN_ARCHIVE_RECOVERY;
    struct core_event g = {
        .type = CORE_EVENT_GUARD,
        .u.guard = {.asked_at = core.now, .alive = TRI_NO, .armed = true, .armed_epoch = 3}};
    fx_step(&core, &g, 1, &plan);
    assert_true(planned(CORE_ACTION_REPLACE_GUARD));
    fx_done(&core, CORE_TARGET_GUARD, CORE_OUTCOME_NOT_APPLIED, 0,
            &plan); /* no memory, no binary */
    if (planned(CORE_ACTION_PROMOTE))
        fail_msg("PROMOTE with guard.alive == NO");
}
static void c2b_a_primary_without_a_guard_steps_down(void **s)
{
    (void)s;
    reset(fx_holder);
    struct core_event g = {
        .type = CORE_EVENT_GUARD,
        .u.guard = {.asked_at = core.now, .alive = TRI_NO, .armed = true, .armed_epoch = 3}};
    fx_step(&core, &g, 1, &plan);
    uint64_t version = 21;
    bool stop = false;
    for (int i = 0; i < 20 * FX_TTL && !stop; i++) {
        if (core.pending[CORE_TARGET_GUARD].active)
            fx_done(&core, CORE_TARGET_GUARD, CORE_OUTCOME_NOT_APPLIED, 0, &plan);
        if (core.pending[CORE_TARGET_LEASE].active)
            fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, version++, &plan);
        fx_tick(&core, 1, &plan);
        stop = seen[CORE_ACTION_STOP_FAST] > 0 || seen[CORE_ACTION_STOP_HARD] > 0;
    }
    assert_true(stop);
}
static void d1(enum core_action_type type)
{
    uint64_t version = 21;
    int64_t end = core.now.ms + 60 * FX_TTL;
    truth = core.postgres;
    while (core.now.ms < end && releases == 0) {
        fx_tick(&core, 1, &plan);
        if (core.pending[CORE_TARGET_POSTGRES].active) {
            look();
            fx_done(&core, CORE_TARGET_POSTGRES, CORE_OUTCOME_NOT_APPLIED, 0, &plan);
        }
        if (core.pending[CORE_TARGET_LEASE].active)
            fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, version++, &plan);
        serve();
    }
    if (releases == 0)
        fail_msg("the lease was kept for %d ttl while %s was refused %u times", 60,
                 core_action_name(type), seen[type]);
}
static void d1_a_holder_that_cannot_promote_lets_go(void **s)
{
    (void)s;
    reset(fx_holder);
    core.postgres.primary = TRI_NO;
    core.postgres.control = CORE_CONTROL_IN_ARCHIVE_RECOVERY;
    d1(CORE_ACTION_PROMOTE);
}
static void d1b_a_holder_whose_replica_does_not_start_lets_go(void **s)
{
    (void)s;
    reset(fx_holder);
    core.postgres.process = core.postgres.accepting = core.postgres.primary = TRI_NO;
    core.postgres.control = CORE_CONTROL_IN_ARCHIVE_RECOVERY;
    d1(CORE_ACTION_START_REPLICA);
}
static void d2_a_peer_that_cannot_take_over_blocks_nobody_for_ever(void **s)
{
    (void)s;
    reset(fx_race);
    core.peer[1].lsn = 1001; /* one byte ahead; cut off from the store */
    core.cluster.member[0] = core.cluster.member[1];
    core.cluster.member_count = 1;
    core.cluster.leader = (struct core_leader_key){0};
    assert_true(lives(3 * FX_TTL + 5000, CORE_ACTION_LEASE_WRITE));
}
static void d3b_or_the_holder_keeps_it_right(void **s)
{
    (void)s;
    reset(fx_holder);
    core.cluster.settings.failsafe_mode = false;
    core.cluster.failsafe.names = (struct core_name_list){.count = 2, .name = {"n1", "n9"}};
    assert_true(lives(FX_TTL / 8, CORE_ACTION_REMEMBER) || planned(CORE_ACTION_WRITE_FAILSAFE));
}
static void d4_a_larger_ttl_of_long_ago_is_forgotten(void **s)
{
    (void)s;
    reset(fx_replica);
    core.memory.ttl_max_ms = 300000;
    /* an hour of renewals with ttl 2 s */
    uint64_t v = 21;
    for (int i = 0; i < 3600; i++, v++) {
        struct core_event e = snap(v, false);
        e.u.cluster.lease.version = v;
        e.u.cluster.lease.seq = v;
        fx_step(&core, &e, 400, &plan);
        fx_tick(&core, 0, &plan);
        serve();
        serve();
        fx_step(&core, &e, 400, &plan);
    }
    struct core_config config = core.config;
    struct core_memory memory = core.memory;
    config.same_boot = false;
    struct core_page page = {0};
    core_init(&core, &config, &memory, &page, (struct mono){20000});
    assert_true(core.no_acquire_until.ms - 20000 < 3 * FX_TTL + 5000);
}
static void e1_no_disarm_while_armed_true_may_land(void **s)
{
    (void)s;
    reset(fx_holder);
    core.cluster.settings.pause = true;
    assert_false(until(CORE_ACTION_LEASE_WRITE, 1)->u.lease.record.armed); /* seq 6, armed: false */
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, 21, &plan);
    struct core_lease_record six = core.cluster.lease;
    six.present = true;
    six.seq = 6;
    six.armed = false;
    six.version = 21;
    (void)until(CORE_ACTION_DISARM, 1);
    core.guard.armed = false;
    fx_done(&core, CORE_TARGET_GUARD, CORE_OUTCOME_APPLIED, 0, &plan);
    core.cluster.settings.pause = false; /* resume */
    (void)until(CORE_ACTION_ARM, 1);
    core.guard.armed = true;
    core.guard.armed_epoch = 3;
    fx_done(&core, CORE_TARGET_GUARD, CORE_OUTCOME_APPLIED, 0, &plan);
    assert_true(until(CORE_ACTION_LEASE_WRITE, 1)->u.lease.record.armed); /* seq 7, armed: true */
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_UNKNOWN, 0, &plan);    /* may still land */
    struct core_event e = snap(21, true);
    e.u.cluster.lease = six;
    e.u.cluster.settings.pause = true;
    fx_step(&core, &e, 1, &plan); /* read again: still seq 6; paused again */
    for (int i = 0; i < 200; i++) {
        if (planned(CORE_ACTION_DISARM))
            fail_msg("disarmed while `armed: true` (seq %d) is in doubt", (int)core.own.seq);
        if (planned(CORE_ACTION_LEASE_WRITE))
            return; /* writes armed: false anew first: fine */
        fx_tick(&core, 1, &plan);
    }
}
static void e2_armed_true_is_not_written_while_a_disarm_is_under_way(void **s)
{
    (void)s;
    reset(fx_holder);
    core.cluster.settings.pause = true;
    (void)until(CORE_ACTION_LEASE_WRITE, 1);
    fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, 21, &plan);
    (void)until(CORE_ACTION_DISARM, 1);  /* sent */
    core.cluster.settings.pause = false; /* resume before its answer */
    fx_tick(&core, 1, &plan);
    if (planned(CORE_ACTION_LEASE_WRITE))
        assert_false(plan.action[0].u.lease.record.armed);
}
static void e3_an_order_for_tomorrow_is_no_order_today(void **s)
{
    (void)s;
    reset(fx_race);
    core.cluster.settings.pause = true;
    core.cluster.lease.armed = false;                  /* n1: primary, unguarded, cut off */
    core.cluster.leader = (struct core_leader_key){0}; /* its session expired */
    core.wall.ms = 1000000;
    core.cluster.failover = (struct core_failover){
        .version = 21, .leader = "n1", .candidate = "n2", .scheduled_at = {1000000 + 86400000}};
    core_decide(&core, &plan);
    if (planned(CORE_ACTION_LEASE_WRITE))
        fail_msg("takes over in a pause, a day before the order is due: %s",
                 core_reason_name(plan.reason));
}
static void e3b_nor_does_it_excuse_a_node_that_is_behind(void **s)
{
    (void)s;
    reset(fx_race);
    core.peer[1].lsn = 900000; /* n3 has far more */
    core.wall.ms = 1000000;
    core.cluster.failover = (struct core_failover){
        .version = 21, .leader = "n1", .candidate = "n2", .scheduled_at = {1000000 + 86400000}};
    bool took = lives(10, CORE_ACTION_LEASE_WRITE);
    if (took)
        fail_msg("takes over although n3 is ahead: the order is for tomorrow");
}
static void f1_a_pushed_list_before_the_done_is_kept(void **s)
{
    (void)s;
    reset(fx_holder);
    struct core_name_list four = {.count = 4, .name = {"n1", "n2", "n3", "n4"}};
    core.cluster.member[3] = core.cluster.member[2];
    str_set(core.cluster.member[3].name, NAME_SIZE, "n4");
    core.cluster.member_count = 4;
    (void)until(CORE_ACTION_REMEMBER, 1);
    fx_done(&core, CORE_TARGET_MEMORY, CORE_OUTCOME_APPLIED, 0, &plan);
    (void)until(CORE_ACTION_WRITE_FAILSAFE, 1);
    struct core_event e = snap(21, false);
    e.u.cluster.failsafe = (struct core_failsafe){.version = 21, .names = four};
    fx_step(&core, &e, 1, &plan); /* the push comes first */
    fx_done(&core, CORE_TARGET_KEYS, CORE_OUTCOME_APPLIED, 21, &plan);
    assert_int_equal(core.memory.failsafe.count, 4);
}
static void g1_a_repeated_handoff_is_armed(void **s)
{
    (void)s;
    reset(fx_holder);
    core.own.armed_written = false;
    core.guard.armed = false; /* a switchover in a pause, given with armed: true */
    core.own.surrendered = true;
    core.own.surrender_state = CORE_LEASE_HANDING_TO;
    core.own.deadline = MONO_ZERO;
    str_set(core.own.surrender_to, NAME_SIZE, "n2");
    core.postgres.process = core.postgres.accepting = core.postgres.primary = TRI_NO;
    const struct core_action *w = until(CORE_ACTION_LEASE_WRITE, 1);
    assert_int_equal(plan.reason, CORE_REASON_SURRENDER_AGAIN);
    assert_true(w->u.lease.record.armed);
}
static void g3_the_page_knows_the_rolled_back_write(void **s)
{
    (void)s;
    reset(fx_holder);
    fx_tick(&core, 5, &plan);
    struct core_event e = snap(12, true);
    e.u.cluster.lease.version = 12;
    e.u.cluster.lease.seq = 2;
    fx_step(&core, &e, 1, &plan);
    const struct core_action *w = until(CORE_ACTION_LEASE_WRITE, 10);
    struct core_lease_record sent = w->u.lease.record;
    struct core_page page = plan.page;
    struct core_config config = core.config;
    struct core_memory memory = core.memory;
    struct core_postgres pg = core.postgres;
    core_init(&core, &config, &memory, &page, (struct mono){core.now.ms + 50});
    struct core_event g = {
        .type = CORE_EVENT_GUARD,
        .u.guard = {.asked_at = core.now, .alive = TRI_YES, .armed = true, .armed_epoch = 3}};
    fx_step(&core, &g, 0, &plan);
    struct core_event p = {.type = CORE_EVENT_POSTGRES, .u.postgres = pg};
    p.u.postgres.asked_at = core.now;
    fx_step(&core, &p, 0, &plan);
    e.u.cluster.revision = 13;
    e.u.cluster.lease = sent;
    e.u.cluster.lease.version = 13;
    e.u.cluster.asked_at = core.now;
    fx_step(&core, &e, 1, &plan);
    if (planned(CORE_ACTION_STOP_HARD))
        fail_msg("hard stop with %d ms of lease left in the page: %s",
                 (int)(page.deadline.ms - core.now.ms), core_reason_name(plan.reason));
}
static void g4_leaving_ends_without_the_store(void **s)
{
    (void)s;
    reset(fx_holder);
    core.cluster.settings.failsafe_mode = false;
    struct core_event c = {.type = CORE_EVENT_COMMAND, .u.command = CORE_COMMAND_LEAVE};
    away();
    fx_step(&core, &c, 1, &plan);
    (void)until(CORE_ACTION_STOP_FAST, 1);
    truth = core.postgres;
    truth.process = truth.accepting = truth.primary = TRI_NO;
    truth.control = CORE_CONTROL_SHUT_DOWN;
    look();
    fx_done(&core, CORE_TARGET_POSTGRES, CORE_OUTCOME_APPLIED, 0, &plan);
    for (int i = 0; i < 10 * FX_TTL; i++) {
        if (planned(CORE_ACTION_EXIT))
            return;
        if (core.pending[CORE_TARGET_GUARD].active) {
            core.guard.armed = false;
            fx_done(&core, CORE_TARGET_GUARD, CORE_OUTCOME_APPLIED, 0, &plan);
            continue;
        }
        if (core.pending[CORE_TARGET_READ].active) {
            away();
            fx_done(&core, CORE_TARGET_READ, CORE_OUTCOME_NOT_APPLIED, 0, &plan);
            continue;
        }
        fx_tick(&core, 1, &plan);
    }
    fail_msg("never exits");
}
static void g5_a_switchover_that_loses_the_store_starts_again(void **s)
{
    (void)s;
    reset(fx_holder);
    core.cluster.failover =
        (struct core_failover){.version = 22, .leader = "n1", .candidate = "n2"};
    core.handover = (struct core_handover){
        .active = true, .checkpointed = true, .order_version = 22, .stopped_at = {FX_NOW}};
    core.postgres.process = core.postgres.accepting = core.postgres.primary = TRI_NO;
    core.postgres.control = CORE_CONTROL_SHUT_DOWN;
    core.postgres.shutdown_lsn = 5000;
    away();
    for (int i = 0; i < 10 * FX_TTL; i++) {
        fx_tick(&core, 1, &plan);
        if (planned(CORE_ACTION_START_PRIMARY))
            return;
        if (core.pending[CORE_TARGET_PROMISE].active) { /* all members promise, again and again */
            for (int k = 0; k < 2; k++) {
                struct core_event e = {.type = CORE_EVENT_PEER_PROMISE};
                e.u.peer_promise =
                    (struct core_peer_promise){.round = core.round.number, .granted = true};
                str_set(e.u.peer_promise.name, NAME_SIZE, k == 0 ? "n2" : "n3");
                fx_step(&core, &e, 0, &plan);
            }
            fx_done(&core, CORE_TARGET_PROMISE, CORE_OUTCOME_APPLIED, 0, &plan);
        }
        if (core.pending[CORE_TARGET_STATUS].active)
            serve();
    }
    fail_msg("stopped by our own order for 10 ttl, lease left %d ms", (int)lease_left_ms(&core));
}
static void g6_bootstrap_keeps_promises(void **s)
{
    (void)s;
    reset(fx_replica);
    str_set(core.memory.promised_to, NAME_SIZE, "n1");
    core.memory.promised_epoch = 3;
    core.memory.promised_until = (struct mono){FX_NOW + 2000};
    core.cluster.lease = (struct core_lease_record){0};
    core.cluster.leader = (struct core_leader_key){0};
    core.cluster.initialize = CORE_INITIALIZE_RUNNING;
    core.cluster.initialize_version = 25;
    core.claimed_version = 25;
    core.postgres.process = core.postgres.accepting = core.postgres.primary = TRI_NO;
    core.postgres.setup_pending = true;
    core.postgres.sysid = 0;
    core_decide(&core, &plan);
    if (plan.reason == CORE_REASON_BOOTSTRAP_ACQUIRE)
        fail_msg("takes the lease %d ms before its promise ends", 2000);
}
static void g7_two_requests_two_lengths(void **s)
{
    (void)s;
    reset(fx_replica);
    core.pending[CORE_TARGET_MEMORY].active = true;
    core.pending[CORE_TARGET_MEMORY].type = CORE_ACTION_REMEMBER;
    core.pending[CORE_TARGET_MEMORY].id = core.next_id++; /* a slow fsync */
    for (int i = 0; i < 2; i++) {
        struct core_event e = {.type = CORE_EVENT_PROMISE_REQUEST};
        e.u.promise_request = (struct core_promise_request){.request_id = (uint64_t)i + 1,
                                                            .holder = "n1",
                                                            .epoch = 3,
                                                            .ttl_ms = i == 0 ? FX_TTL : 30000};
        fx_step(&core, &e, 1, &plan);
    }
    int64_t asked = core.now.ms;
    bool long_granted = false;
    fx_done(&core, CORE_TARGET_MEMORY, CORE_OUTCOME_APPLIED, 0, &plan);
    for (int i = 0; i < 20; i++) {
        for (uint32_t a = 0; a < plan.count; a++)
            if (plan.action[a].type == CORE_ACTION_ANSWER &&
                plan.action[a].u.answer.request_id == 2)
                long_granted = plan.action[a].u.answer.granted;
        if (core.pending[CORE_TARGET_MEMORY].active)
            fx_done(&core, CORE_TARGET_MEMORY, CORE_OUTCOME_APPLIED, 0, &plan);
        else
            fx_tick(&core, 0, &plan);
    }
    assert_true(!long_granted || core.memory.promised_until.ms >= asked + 30000);
}

static void h1_a_config_that_cannot_be_read_blocks_no_other_key(void **s)
{
    (void)s;
    reset(fx_holder);
    core.cluster.settings.version = 0; /* present, no JSON object: codec/dynconfig.c */
    core.cluster.member_count = 2;     /* n3 is gone: a new list is due */
    uint64_t v = 21;
    for (int i = 0; i < 5 * FX_TTL; i++) {
        if (core.pending[CORE_TARGET_KEYS].active) { /* CHECK config version 0: conflict */
            struct core_event e = {
                .type = CORE_EVENT_DONE,
                .u.done = {.type = (enum core_action_type)core.pending[CORE_TARGET_KEYS].type,
                           .id = core.pending[CORE_TARGET_KEYS].id,
                           .outcome = CORE_OUTCOME_NOT_APPLIED,
                           .conflict = true}};
            fx_step(&core, &e, 0, &plan);
        }
        if (core.pending[CORE_TARGET_LEASE].active)
            fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, v++, &plan);
        truth = core.postgres;
        serve();
        fx_tick(&core, 1, &plan);
        if (core.memory.failsafe_doubt.count > 0)
            return;
    }
    fail_msg("write_config was tried %u times, the failsafe list never",
             seen[CORE_ACTION_WRITE_CONFIG]);
}
static void d2_control(void **s)
{
    (void)s;
    reset(fx_race);
    core.peer[1].lsn = 999;
    core.cluster.member[0] = core.cluster.member[1];
    core.cluster.member_count = 1;
    core.cluster.leader = (struct core_leader_key){0};
    assert_true(lives(3 * FX_TTL + 5000, CORE_ACTION_LEASE_WRITE));
}
static void d3b_control(void **s)
{
    (void)s;
    reset(fx_holder);
    core.cluster.failsafe.names = (struct core_name_list){.count = 2, .name = {"n1", "n9"}};
    assert_true(lives(FX_TTL / 8, CORE_ACTION_REMEMBER));
}

static void b0_a_lowered_ttl_stops_nobody(void **s)
{
    (void)s;
    reset(fx_holder);
    core.cluster.settings.ttl_ms = core.own.ttl_ms = core.cluster.lease.ttl_ms =
        30000; /* Patroni's default */
    core.own.deadline.ms = FX_NOW + 30000;
    uint64_t v = 21;
    for (int i = 0; i < 20000; i++) {
        if (i == 1000)
            core.cluster.settings.ttl_ms = 5000; /* ours */
        if (core.pending[CORE_TARGET_LEASE].active)
            fx_done(&core, CORE_TARGET_LEASE, CORE_OUTCOME_APPLIED, v++, &plan);
        fx_tick(&core, 1, &plan);
        for (int k = 0; k < 10 && plan.count > 0; k++)
            fx_tick(&core, 0, &plan); /* core.h (3): before any answer */
        truth = core.postgres;
        serve();
        if (seen[CORE_ACTION_STOP_FAST] + seen[CORE_ACTION_STOP_HARD] > 0)
            fail_msg("stopped %d ms after the change of /config, in a healthy cluster: %s, "
                     "deadline %d ms ago",
                     i - 1000, core_reason_name(plan.reason),
                     (int)(core.now.ms - core.own.deadline.ms));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test(f)
        T(control_race),
        T(control_race2),
        T(d2_control),
        T(b0_a_lowered_ttl_stops_nobody),
        T(d3b_control),
        T(e3_an_order_for_tomorrow_is_no_order_today),
        T(e3b_nor_does_it_excuse_a_node_that_is_behind),
        T(h1_a_config_that_cannot_be_read_blocks_no_other_key),
        T(a1_lowering_is_not_undone_by_the_same_record),
        T(a2_rolled_back_to_a_release_waits),
        T(a2b_released_as_well),
        T(a2c_an_epoch_below_the_highest_seen_is_a_rollback),
        T(a3_union_of_lists_is_never_cut),
        T(b1_pause_outlives_the_store),
        T(b1b_restart_in_a_pause_arms_nothing_before_it_looked),
        T(b2_restart_of_postgres_in_a_pause_keeps_or_regains_the_lease),
        T(b3_deleted_keys_do_not_end_a_healthy_primary),
        T(c1_a_guard_that_dies_with_an_order_is_replaced),
        T(c2_no_promotion_beside_a_dead_guard),
        T(c2b_a_primary_without_a_guard_steps_down),
        T(d1_a_holder_that_cannot_promote_lets_go),
        T(d1b_a_holder_whose_replica_does_not_start_lets_go),
        T(d2_a_peer_that_cannot_take_over_blocks_nobody_for_ever),
        T(d3b_or_the_holder_keeps_it_right),
        T(d4_a_larger_ttl_of_long_ago_is_forgotten),
        T(e1_no_disarm_while_armed_true_may_land),
        T(e2_armed_true_is_not_written_while_a_disarm_is_under_way),
        T(f1_a_pushed_list_before_the_done_is_kept),
        T(g1_a_repeated_handoff_is_armed),
        T(g3_the_page_knows_the_rolled_back_write),
        T(g4_leaving_ends_without_the_store),
        T(g5_a_switchover_that_loses_the_store_starts_again),
        T(g6_bootstrap_keeps_promises),
        T(g7_two_requests_two_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
