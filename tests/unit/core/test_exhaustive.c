/* Every abstract view through core_decide: each dimension is a list of small changes of a healthy
 * node, and every combination of them is looked at. What must hold for all of them is written as a
 * property that cites its INV. A rule that no view reaches fails the test. */
#include "fixture.h"

#include <stdlib.h>

typedef void (*change)(struct core *core);

struct dimension {
    const char *name;
    const change *changes;
    uint32_t count;
};

static void nothing(struct core *core)
{
    (void)core;
}

/* ---- the server ---- */
static void set_server(struct core *core, enum tri process, enum tri accepting, enum tri primary)
{
    core->postgres.process = process;
    core->postgres.accepting = accepting;
    core->postgres.primary = primary;
}
static void pg_primary(struct core *core)
{
    set_server(core, TRI_YES, TRI_YES, TRI_YES);
    core->postgres.timeline_checkpointed = true;
}
static void pg_fresh_primary(struct core *core)
{
    set_server(core, TRI_YES, TRI_YES, TRI_YES);
    core->postgres.timeline_checkpointed = false;
}
static void pg_replica(struct core *core)
{
    set_server(core, TRI_YES, TRI_YES, TRI_NO);
}
static void pg_starting(struct core *core)
{
    set_server(core, TRI_YES, TRI_NO, TRI_UNKNOWN);
}
static void pg_stopped(struct core *core)
{
    set_server(core, TRI_NO, TRI_NO, TRI_UNKNOWN);
}
static void pg_unknown(struct core *core)
{
    set_server(core, TRI_UNKNOWN, TRI_UNKNOWN, TRI_UNKNOWN);
}
static void pg_old_fact(struct core *core)
{
    set_server(core, TRI_YES, TRI_YES, TRI_YES);
    core->trusted_from.ms = FX_NOW + 1;
}

/* ---- the lease ---- */
static void own_held(struct core *core, int64_t left_ms, int64_t proven_ago_ms)
{
    core->own = (struct core_own_lease){.holding = true,
                                        .epoch = 3,
                                        .seq = 5,
                                        .version = 20,
                                        .ttl_ms = FX_TTL,
                                        .deadline = {FX_NOW + left_ms},
                                        .proven_at = {FX_NOW - proven_ago_ms},
                                        .written_at = {FX_NOW - proven_ago_ms},
                                        .armed_written = true};
    (void)snprintf(core->cluster.lease.holder, NAME_SIZE, "%s", core->config.name);
    (void)snprintf(core->cluster.leader.name, NAME_SIZE, "%s", core->config.name);
}
static void lease_mine(struct core *core)
{
    own_held(core, FX_TTL, 0);
}
static void lease_mine_late(struct core *core)
{
    own_held(core, FX_TTL / 4 - 1, FX_TTL * 3 / 4 + 1);
}
static void lease_mine_ended(struct core *core)
{
    own_held(core, 0, FX_TTL);
}
static void lease_mine_doubt(struct core *core)
{
    own_held(core, FX_TTL / 2, FX_TTL / 2);
    core->own.unresolved = true;
}
static void lease_mine_given(struct core *core)
{
    own_held(core, 0, 0);
    core->own.deadline = MONO_ZERO;
    core->own.surrendered = true;
    core->own.surrender_state = CORE_LEASE_RELEASED;
}
static void lease_mine_unarmed(struct core *core)
{
    own_held(core, FX_TTL, 0);
    core->own.armed_written = false;
    core->own.unarmed_proven = true;
    core->cluster.lease.armed = false;
}
static void lease_other_over(struct core *core)
{
    core->challenge.since.ms = FX_NOW - FX_TTL - 40;
}
static void lease_other_almost_over(struct core *core)
{
    core->challenge.since.ms = FX_NOW - FX_TTL - 39;
}
static void lease_released_by_other(struct core *core)
{
    core->cluster.lease.state = CORE_LEASE_RELEASED;
    core->cluster.leader = (struct core_leader_key){0};
}
static void lease_to_me(struct core *core)
{
    core->cluster.lease.state = CORE_LEASE_HANDING_TO;
    (void)snprintf(core->cluster.lease.to, NAME_SIZE, "%s", core->config.name);
}
static void lease_to_other(struct core *core)
{
    core->cluster.lease.state = CORE_LEASE_HANDING_TO;
    (void)snprintf(core->cluster.lease.to, NAME_SIZE, "n3");
}
static void lease_unarmed(struct core *core)
{
    core->cluster.lease.armed = false;
    lease_other_over(core);
}
static void lease_unarmed_mine(struct core *core)
{
    core->cluster.lease.armed = false;
    (void)snprintf(core->cluster.lease.holder, NAME_SIZE, "%s", core->config.name);
}
static void lease_absent(struct core *core)
{
    core->cluster.lease = (struct core_lease_record){0};
    core->cluster.leader = (struct core_leader_key){0};
}
static void lease_garbled(struct core *core)
{
    core->cluster.lease = (struct core_lease_record){.version = 20};
    core->challenge.since.ms = 0;
}

/* ---- the guard ---- */
static void guard_armed_now(struct core *core)
{
    core->guard.armed = true;
    core->guard.armed_epoch = 3;
}
static void guard_armed_before(struct core *core)
{
    core->guard.armed = true;
    core->guard.armed_epoch = 2;
}
static void guard_dead(struct core *core)
{
    core->guard.alive = TRI_NO;
}
static void guard_unknown(struct core *core)
{
    core->guard.alive = TRI_UNKNOWN;
}

/* ---- the rest ---- */
static void store_away(struct core *core)
{
    core->cluster.reachable = TRI_NO;
}
static void store_unseen(struct core *core)
{
    core->store_seen_at.ms = -1;
    core->read_from = core->now;
}
static void paused(struct core *core)
{
    core->cluster.settings.pause = true;
}
static void order_from_me(struct core *core)
{
    core->cluster.failover.version = 21;
    (void)snprintf(core->cluster.failover.leader, NAME_SIZE, "%s", core->config.name);
}
static void order_to_me(struct core *core)
{
    core->cluster.failover.version = 21;
    (void)snprintf(core->cluster.failover.candidate, NAME_SIZE, "%s", core->config.name);
}
static void leaving(struct core *core)
{
    core->leaving = true;
}
static void dir_empty(struct core *core)
{
    core->postgres.datadir = CORE_DATADIR_EMPTY;
    core->postgres.sysid = 0;
}
static void dir_foreign(struct core *core)
{
    core->postgres.datadir = CORE_DATADIR_FOREIGN;
}
static void dir_new(struct core *core)
{
    core->postgres.setup_pending = true;
    core->postgres.control = CORE_CONTROL_SHUT_DOWN;
}
static void dir_primary(struct core *core)
{
    core->postgres.control = CORE_CONTROL_IN_PRODUCTION;
}
static void dir_shut_down(struct core *core)
{
    core->postgres.control = CORE_CONTROL_SHUT_DOWN;
    core->postgres.shutdown_lsn = 950;
}
static void init_absent(struct core *core)
{
    core->cluster.initialize = CORE_INITIALIZE_ABSENT;
}
static void init_mine(struct core *core)
{
    core->cluster.initialize = CORE_INITIALIZE_RUNNING;
    core->claimed_version = core->cluster.initialize_version;
}
static void init_foreign(struct core *core)
{
    core->cluster.sysid = 8;
}
static void pending_set(struct core *core, enum core_target target, enum core_action_type type)
{
    core->pending[target] = (struct core_pending){
        .active = true, .type = (uint32_t)type, .id = 1, .started_at = {FX_NOW - 400000}};
}
static void pending_start(struct core *core)
{
    pending_set(core, CORE_TARGET_POSTGRES, CORE_ACTION_START_PRIMARY);
}
static void pending_stop(struct core *core)
{
    pending_set(core, CORE_TARGET_POSTGRES, CORE_ACTION_STOP_FAST);
}
static void pending_follow(struct core *core)
{
    pending_set(core, CORE_TARGET_POSTGRES, CORE_ACTION_FOLLOW);
}
static void pending_lease(struct core *core)
{
    pending_set(core, CORE_TARGET_LEASE, CORE_ACTION_LEASE_WRITE);
}
static void peers_answered(struct core *core)
{
    const char *names[] = {"n1", "n3"};
    core->peer_count = 2;
    for (uint32_t i = 0; i < 2; i++) {
        core->peer[i] = (struct core_peer_status){
            .asked_at = core->now, .reachable = TRI_YES, .timeline = 1, .lsn = 960};
        (void)snprintf(core->peer[i].name, NAME_SIZE, "%s", names[i]);
    }
    core->peer[0].reachable = TRI_NO;
    core->handover.checkpointed = true;
    core->handover.order_version = core->cluster.failover.version;
}
static void peers_ahead(struct core *core)
{
    peers_answered(core);
    core->peer[1].lsn = 2000;
    core->handover.checkpointed = false;
}
static void handed(struct core *core)
{
    peers_answered(core);
    core->handover.active = true;
    core->handover.timeline = 1;
    core->handover.stopped_at = (struct mono){FX_NOW - 1};
}
static void handed_late(struct core *core)
{
    handed(core);
    core->handover.stopped_at = (struct mono){FX_NOW - FX_TTL};
    core->peer[1].lsn = 10;
}
static void diverged(struct core *core)
{
    core->divergence = CORE_DIVERGENCE_DIVERGED;
}
static void diverged_clone(struct core *core)
{
    core->divergence = CORE_DIVERGENCE_DIVERGED;
    core->rewind_failed = true;
    core->cluster.settings.clone_on_rewind_failed = true;
}
static void diverged_forbidden(struct core *core)
{
    core->divergence = CORE_DIVERGENCE_DIVERGED;
    core->cluster.settings.use_pg_rewind = false;
}
static void unchecked(struct core *core)
{
    core->checked_epoch = 1;
    core->postgres.upstream[0] = '\0';
}
static void other_upstream(struct core *core)
{
    core->postgres.upstream[0] = '\0';
}
static void promise_given(struct core *core)
{
    (void)snprintf(core->memory.promised_to, NAME_SIZE, "n9");
    core->memory.promised_epoch = 3;
    core->memory.promised_until.ms = FX_NOW + 1;
}
static void promise_asked(struct core *core)
{
    core->request[0].phase = CORE_REQUEST_NEW;
    core->request[0].request =
        (struct core_promise_request){.request_id = 1, .epoch = 3, .ttl_ms = FX_TTL};
    (void)snprintf(core->request[0].request.holder, NAME_SIZE, "n1");
}
static void promise_larger(struct core *core)
{
    promise_asked(core);
    core->request[0].request.ttl_ms = 2 * FX_TTL;
}
static void guard_lost(struct core *core)
{
    core->guard.alive = TRI_NO;
    core->guard_lost_at.ms = FX_NOW - FX_TTL;
}
static void probe_pending(struct core *core)
{
    core->trusted_from.ms = FX_NOW + 1;
    pending_set(core, CORE_TARGET_PROBE, CORE_ACTION_PROBE);
}
static void stale_probe(struct core *core)
{
    core->postgres.asked_at.ms = FX_NOW - FX_TTL;
}
static void stale_read(struct core *core)
{
    core->linear_at.ms = FX_NOW - FX_TTL;
}
static void members_changed(struct core *core)
{
    core->cluster.member_count = 2;
}
static void config_lost(struct core *core)
{
    core->cluster.settings.version = 0;
}
static void memory_dirty(struct core *core)
{
    core->memory_dirty = true;
}
static void start_failed(struct core *core)
{
    core->primary_failed = true;
}
static void initdb_failed(struct core *core)
{
    core->initdb_failed = true;
}

#define DIMENSION(name, ...)                                                                       \
    static const change name##_changes[] = {__VA_ARGS__};                                          \
    static const struct dimension name##_dimension = {                                             \
        #name, name##_changes, sizeof(name##_changes) / sizeof(name##_changes[0])}

DIMENSION(server, pg_primary, pg_fresh_primary, pg_replica, pg_starting, pg_stopped, pg_unknown);
DIMENSION(lease, lease_mine, lease_mine_late, lease_mine_ended, lease_mine_doubt, lease_mine_given,
          lease_mine_unarmed, nothing, lease_other_over, lease_other_almost_over,
          lease_released_by_other, lease_to_me, lease_to_other, lease_unarmed, lease_unarmed_mine,
          lease_absent, lease_garbled);
DIMENSION(guard, nothing, guard_armed_now, guard_armed_before, guard_dead, guard_unknown);
DIMENSION(store, nothing, store_away);
DIMENSION(person, nothing, paused, order_from_me, order_to_me, leaving);
DIMENSION(directory, nothing, dir_empty, dir_foreign, dir_new, dir_primary, dir_shut_down);
DIMENSION(pending, nothing, pending_start, pending_stop, pending_follow, pending_lease);
DIMENSION(peers, nothing, peers_answered, peers_ahead, handed, handed_late);
DIMENSION(extra, nothing, init_absent, init_mine, init_foreign, pg_old_fact, probe_pending,
          store_unseen, diverged, diverged_clone, diverged_forbidden, unchecked, other_upstream,
          promise_given, promise_asked, promise_larger, guard_lost, stale_probe, stale_read,
          members_changed, config_lost, memory_dirty, start_failed, initdb_failed);

static const struct dimension *const dimensions[] = {
    &server_dimension,    &lease_dimension,   &guard_dimension, &store_dimension, &person_dimension,
    &directory_dimension, &pending_dimension, &peers_dimension, &extra_dimension};
#define DIMENSIONS (sizeof(dimensions) / sizeof(dimensions[0]))

static uint64_t reached[CORE_REASON_COUNT];
static uint32_t at[DIMENSIONS];

#define PROPERTY(inv, cond)                                                                        \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            property_failed(inv, #cond, plan);                                                     \
        }                                                                                          \
    } while (0)

static void property_failed(const char *inv, const char *text, const struct core_plan *plan)
{
    (void)fprintf(stderr, "%s: %s\n  reason %s\n  view", inv, text, core_reason_name(plan->reason));
    for (size_t d = 0; d < DIMENSIONS; d++) {
        (void)fprintf(stderr, " %s=%u", dimensions[d]->name, at[d]);
    }
    fail_msg("%s", "\na property does not hold");
}

static bool own_valid(const struct core *core)
{
    return core->own.holding && core->now.ms < core->own.deadline.ms;
}

static bool maybe_primary(const struct core *core)
{
    bool rising = core->pending[CORE_TARGET_POSTGRES].active &&
                  core->pending[CORE_TARGET_POSTGRES].type == CORE_ACTION_START_PRIMARY;
    return rising || (core->postgres.process != TRI_NO && core->postgres.primary != TRI_NO);
}

static void check_rise(const struct core *core, const struct core_action *action,
                       const struct core_plan *plan)
{
    if (action->type != CORE_ACTION_PROMOTE && action->type != CORE_ACTION_START_PRIMARY) {
        return;
    }
    PROPERTY("INV-3", own_valid(core) && !core->own.surrendered);
    PROPERTY("INV-3", core->own.deadline.ms - core->now.ms >= core->own.ttl_ms / 4);
    PROPERTY("INV-3", core->guard.armed && core->guard.armed_epoch == core->own.epoch);
    PROPERTY("INV-3", core->guard.alive == TRI_YES);
    PROPERTY("INV-8", core->postgres.asked_at.ms >= core->trusted_from.ms);
    PROPERTY("L7", !core->cluster.settings.pause || core->cluster.failover.version != 0 ||
                       core->own.holding);
}

static void check_acquisition(const struct core *core, const struct core_action *action,
                              const struct core_plan *plan)
{
    if (action->type != CORE_ACTION_LEASE_WRITE || core->own.holding) {
        return;
    }
    const struct core_lease_record *record = &core->cluster.lease;
    bool given =
        record->present &&
        (record->state == CORE_LEASE_RELEASED ||
         (record->state == CORE_LEASE_HANDING_TO && strcmp(record->to, core->config.name) == 0));
    bool over = core->challenge.since.ms + core->challenge.ttl_ms + 40 <= core->now.ms;
    bool ordered = record->present && !record->armed && core->cluster.failover.version != 0;
    bool left = record->present && !record->armed && strcmp(record->holder, core->config.name) == 0;
    ordered = ordered || left;
    PROPERTY("L3", given || over || record->version == 0 || ordered);
    PROPERTY("INV-8", record->version == 0 || record->present);
    PROPERTY("INV-8", core->cluster.reachable == TRI_YES);
    PROPERTY("L3",
             given || record->version == 0 || ordered ||
                 core->linear_at.ms >= core->challenge.since.ms + core->challenge.ttl_ms + 40);
    PROPERTY("L9", core->memory.promised_until.ms <= core->now.ms || record->version == 0 || left);
    PROPERTY("L7", !left || !action->u.lease.record.armed);
    PROPERTY("L9", action->u.lease.check_failsafe);
    PROPERTY("L1", action->u.lease.record.epoch > core->memory.epoch_max);
    PROPERTY("INV-1", !maybe_primary(core) || plan->reason == CORE_REASON_ADOPT || left);
    bool other_history = core->divergence == CORE_DIVERGENCE_DIVERGED && core->checked_epoch == 3 &&
                         strcmp(record->holder, core->checked_leader) == 0;
    PROPERTY("INV-7 fit", plan->reason != CORE_REASON_RACE_TAKE || !other_history ||
                              core->cluster.failover.version != 0);
}

static void check_destroying(const struct core *core, const struct core_action *action,
                             const struct core_plan *plan)
{
    bool clone = action->type == CORE_ACTION_CLONE;
    bool rewind = action->type == CORE_ACTION_REWIND;
    if (!clone && !rewind) {
        return;
    }
    const struct core_settings *settings = &core->cluster.settings;
    PROPERTY("INV-5", core->postgres.process == TRI_NO);
    PROPERTY("INV-5", !rewind || settings->use_pg_rewind);
    PROPERTY("INV-5", !clone || core->postgres.datadir == CORE_DATADIR_EMPTY ||
                          settings->clone_on_diverged || settings->clone_on_rewind_failed);
    PROPERTY("INV-5", core->divergence == CORE_DIVERGENCE_DIVERGED ||
                          core->postgres.datadir == CORE_DATADIR_EMPTY);
}

/* A primary whose lease runs and was proven in time is stopped only at a person's order. */
static void check_stop(const struct core *core, const struct core_action *action,
                       const struct core_plan *plan)
{
    if (action->type != CORE_ACTION_STOP_FAST && action->type != CORE_ACTION_STOP_HARD) {
        return;
    }
    bool healthy = core->guard_lost_at.ms == INT64_MAX && own_valid(core) && core->guard.armed &&
                   core->postgres.primary == TRI_YES && core->postgres.accepting == TRI_YES &&
                   core->now.ms - core->own.proven_at.ms < core->own.ttl_ms * 7 / 10;
    bool person = core->leaving || core->cluster.failover.version != 0;
    PROPERTY("INV-6", !healthy || person ||
                          core->pending[CORE_TARGET_POSTGRES].type == CORE_ACTION_START_PRIMARY);
}

static void check_action(const struct core *core, const struct core_action *action,
                         const struct core_plan *plan)
{
    check_rise(core, action, plan);
    check_acquisition(core, action, plan);
    check_destroying(core, action, plan);
    check_stop(core, action, plan);
    if (action->type == CORE_ACTION_DISARM && !action->u.guard.for_pause) {
        PROPERTY("INV-4", core->postgres.process == TRI_NO || core->postgres.primary == TRI_NO);
    }
    if (action->type == CORE_ACTION_DISARM && action->u.guard.for_pause) {
        PROPERTY("L7", core->own.unarmed_proven && core->cluster.settings.pause);
    }
    enum core_target target = core_action_target(action->type);
    bool stop = action->type == CORE_ACTION_STOP_FAST || action->type == CORE_ACTION_STOP_HARD;
    PROPERTY("house 1.3", target == CORE_TARGET_NONE || stop || !core->pending[target].active);
}

static void check_view(const struct core *core, const struct core_plan *plan)
{
    reached[plan->reason]++;
    bool lost = core->guard.armed && !own_valid(core) && maybe_primary(core);
    PROPERTY("INV-4", !lost || plan->reason == CORE_REASON_STOP_LEASE_ENDED);
    PROPERTY("house 1", plan->wake_at.ms > core->now.ms);
    for (uint32_t i = 0; i < plan->count; i++) {
        check_action(core, &plan->action[i], plan);
    }
}

static uint64_t walk(const struct core *core, size_t depth)
{
    if (depth == DIMENSIONS) {
        struct core_plan plan;
        core_decide(core, &plan);
        check_view(core, &plan);
        return 1;
    }
    uint64_t views = 0;
    for (uint32_t i = 0; i < dimensions[depth]->count; i++) {
        struct core changed = *core;
        at[depth] = i;
        dimensions[depth]->changes[i](&changed);
        views += walk(&changed, depth + 1);
    }
    return views;
}

static void all_views(void **state)
{
    (void)state;
    static struct core core;
    fx_replica(&core);
    uint64_t views = walk(&core, 0);
    size_t rules = 0;
    for (int r = 0; r < CORE_REASON_COUNT; r++) {
        rules += reached[r] > 0;
        if (reached[r] == 0) {
            (void)fprintf(stderr, "rule never reached: %s\n",
                          core_reason_name((enum core_reason)r));
        }
    }
    (void)printf("exhaustive: %zu dimensions (", DIMENSIONS);
    for (size_t d = 0; d < DIMENSIONS; d++) {
        (void)printf("%s%s %u", d > 0 ? ", " : "", dimensions[d]->name, dimensions[d]->count);
    }
    (void)printf("), %llu views, %zu of %d rules reached\n", (unsigned long long)views, rules,
                 CORE_REASON_COUNT);
    assert_int_equal(rules, CORE_REASON_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_views)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
