/* The race: who takes a lease that is free, given by name, or over.
 *
 * The essence (L3): wait until the record has not changed for its ttl and a margin; then look at
 * the own position, at the others', and once more at the record, each asked for after the wait;
 * then one transaction conditional on exactly that version. */
#include "core/internal.h"

static bool racer(const struct core *core)
{
    ASSERT(core != NULL);
    bool stand_back = mono_before(core->now, core->stand_back_until);
    return !core->own.holding && core->own.epoch == 0 && !core->own.unresolved && !stand_back &&
           view_store_usable(core) && view_free(core, CORE_TARGET_LEASE) && !core->leaving;
}

/* L11: a Patroni leads (its key changed without `lease`): nothing is ours to take. */
static bool patroni_leads(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_cluster *cluster = &core->cluster;
    return cluster->leader.version != 0 && cluster->leader.version > cluster->lease.version;
}

static bool acquire(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    struct core_action *action = plan_add(plan, CORE_ACTION_LEASE_WRITE);
    action->u.lease = lease_acquisition(core);
    return true;
}

/* A running primary that no lease was ever written for: a server that is being adopted. */
bool core_rule_adopt(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_cluster *cluster = &core->cluster;
    bool same =
        cluster->initialize == CORE_INITIALIZE_ABSENT ||
        (cluster->initialize == CORE_INITIALIZE_DONE && cluster->sysid == core->postgres.sysid);
    if (!racer(core) || !view_primary(core) || cluster->lease.version != 0 ||
        cluster->leader.version != 0 || !same || core->config.nofailover ||
        mono_before(core->now, core->no_acquire_until) ||
        mono_before(core->now, core->rollback_until) || lease_promise_binds(core)) {
        return false;
    }
    return acquire(core, plan);
}

bool core_rule_take_handed(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!racer(core) || !lease_handed_to_me(core) || !candidate_self_fit(core) ||
        mono_before(core->now, lease_wait_end(core))) {
        return false;
    }
    return acquire(core, plan);
}

/* L7: the holder of a paused cluster that lost its page goes on where it was. */
bool core_rule_take_unarmed(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!racer(core) || !lease_left_unarmed(core) || core->guard.armed ||
        lease_promise_binds(core) || mono_before(core->now, core->rollback_until) ||
        !(view_primary(core) || view_replica(core))) {
        return false;
    }
    return acquire(core, plan);
}

/* The wait that this node has to keep; a person's order in a paused cluster needs none (L7). */
static struct mono race_end(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_lease_record *record = &core->cluster.lease;
    bool unguarded = record->present && !record->armed;
    bool led = core->cluster.leader.version != 0 && !view_me(core, core->cluster.leader.name);
    if (unguarded && view_ordered(core) && !led) {
        struct mono end = mono_max(core->challenge.since, core->rollback_until);
        return lease_promise_binds(core) ? mono_max(end, core->memory.promised_until) : end;
    }
    return lease_wait_end(core);
}

/* From when on answers about positions count. Who was cut off from the store may have been cut off
 * from the others as well: their silence of then says nothing (INV-8). */
static struct mono race_from(const struct core *core)
{
    ASSERT(core != NULL);
    int64_t ttl_ms = core->cluster.settings.ttl_ms;
    struct mono end = race_end(core);
    struct mono start = lease_released(core) ? end : mono_add(end, -(ttl_ms / 4));
    start = mono_max(start, core->store_back_at);
    return mono_max(start, mono_add(core->now, -(ttl_ms / 2)));
}

/* How long better nodes may stand in the way: one that is ahead but cannot take the lease (cut off
 * from the store, bound by a promise) must not keep it from everybody for ever (INV-7). */
static bool race_patient(const struct core *core)
{
    ASSERT(core != NULL);
    struct mono end = mono_add(race_end(core), core->cluster.settings.ttl_ms);
    return mono_before(core->now, end);
}

static bool racing(const struct core *core)
{
    ASSERT(core != NULL);
    struct mono end = race_end(core);
    if (!racer(core) || end.ms == INT64_MAX || patroni_leads(core) || !candidate_self_fit(core) ||
        (core->cluster.lease.version == 0 && core->cluster.initialize != CORE_INITIALIZE_DONE) ||
        (view_paused(core) && !view_chosen(core))) {
        return false;
    }
    return !mono_before(core->now, mono_add(end, -(core->cluster.settings.ttl_ms / 4)));
}

bool core_rule_race_probe(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!racing(core) || !mono_before(core->postgres.asked_at, race_from(core)) ||
        !view_free(core, CORE_TARGET_PROBE)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_PROBE);
    return true;
}

bool core_rule_race_ask(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!racing(core) ||
        candidate_race(core, race_from(core), race_patient(core)) != CANDIDATE_ASK ||
        !view_free(core, CORE_TARGET_STATUS)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_ASK_STATUS);
    action->u.ask.asked_at = core->now;
    action->u.ask.timeout_ms = core->cluster.settings.ttl_ms / 4;
    candidate_peers(core, &action->u.ask.names);
    return true;
}

static bool race_over(const struct core *core)
{
    ASSERT(core != NULL);
    return racing(core) && !mono_before(core->now, race_end(core));
}

/* L3: a linearizable read begun after the wait must still show the version. */
static bool race_seen(const struct core *core)
{
    ASSERT(core != NULL);
    return lease_released(core) || !mono_before(core->linear_at, race_end(core));
}

bool core_rule_race_read(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!race_over(core) || race_seen(core) || !view_free(core, CORE_TARGET_READ)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_READ);
    action->u.read.timeout_ms = core->cluster.settings.ttl_ms / 4;
    return true;
}

bool core_rule_race_take(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    struct mono from = race_from(core);
    if (!race_over(core) || !race_seen(core) || mono_before(core->postgres.asked_at, from) ||
        core->guard.armed || candidate_race(core, from, race_patient(core)) != CANDIDATE_FIT) {
        return false;
    }
    return acquire(core, plan);
}

bool core_rule_race_not_fit(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    return race_over(core) &&
           candidate_race(core, race_from(core), race_patient(core)) == CANDIDATE_NOT_FIT;
}

bool core_rule_race_wait(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    return racing(core);
}
