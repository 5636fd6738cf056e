/* Safety: what ends a primary. These rules need no observation and nothing that can fail to be had
 * (L12, house rule 7); they come before everything else. */
#include "core/internal.h"

static bool stopping(const struct core *core, enum core_action_type at_least)
{
    ASSERT(at_least == CORE_ACTION_STOP_FAST || at_least == CORE_ACTION_STOP_HARD);
    const struct core_pending *pending = &core->pending[CORE_TARGET_POSTGRES];
    return pending->active && (pending->type == CORE_ACTION_STOP_HARD || pending->type == at_least);
}

/* The guard watches this primary, or it did and was lost: then this process has to. A primary that
 * was disarmed for a pause is not meant to end with its lease (L7). */
static bool watched(const struct core *core)
{
    ASSERT(core != NULL);
    bool ours =
        core->own.epoch != 0 && core->armed_seen == core->own.epoch && !core->own.unarmed_proven;
    return core->guard.armed || ours;
}

/* INV-4, L1: an armed primary whose lease is over, or will be before a kill is done: the guard's
 * second stage, for where there is no guard. */
bool core_rule_stop_lease_ended(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!watched(core) || lease_left_ms(core) > core->own.ttl_ms / 20 ||
        !view_maybe_primary(core) || stopping(core, CORE_ACTION_STOP_HARD)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_STOP_HARD);
    return true;
}

/* L2: a single error never demotes; 0.7 ttl without a proof does. */
bool core_rule_stop_lease_ending(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_own_lease *own = &core->own;
    struct mono stage = mono_add(own->proven_at, own->ttl_ms * 7 / 10);
    if (!watched(core) || !own->holding || mono_before(core->now, stage) ||
        !view_maybe_primary(core) || stopping(core, CORE_ACTION_STOP_FAST)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_STOP_FAST);
    return true;
}

/* A primary that no guard watches: somebody else's cluster key says that it must not be one. A
 * server that no lease was ever written for (adoption), and the holder of a paused cluster, are left
 * alone; one that a person's order replaced during a pause is not (INV-1). */
bool core_rule_stop_unleased_primary(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_lease_record *record = &core->cluster.lease;
    const struct core_pending *pending = &core->pending[CORE_TARGET_POSTGRES];
    if (pending->active && pending->type == CORE_ACTION_REWIND) {
        return false; /* its single-user crash recovery serves nobody */
    }
    if (core->guard.armed || lease_valid(core) || core->postgres.process != TRI_YES ||
        core->postgres.primary != TRI_YES || stopping(core, CORE_ACTION_STOP_FAST)) {
        return false;
    }
    bool seen = core->revision_max != 0; /* the last view stands while the store is away (L7) */
    bool other =
        record->present && record->state == CORE_LEASE_HELD && !view_me(core, record->holder);
    bool paused = !other && (view_paused(core) || (record->present && !record->armed));
    const char *leader = NULL;
    bool led = seen && (record->version != 0 || view_leads(core, &leader));
    bool unknown_term =
        !seen && core->memory.epoch_max != 0 && core->own.epoch == 0 && core->store_seen_at.ms >= 0;
    if (paused || !(led || unknown_term)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_STOP_FAST);
    return true;
}

/* Design section 2: the agent re-establishes a guard that is gone, or steps down. */
bool core_rule_stop_unguarded(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_own_lease *own = &core->own;
    if (!own->holding || !own->armed_written || core->guard_lost_at.ms == INT64_MAX ||
        mono_sub(core->now, core->guard_lost_at) < own->ttl_ms / 2 || !view_maybe_primary(core) ||
        stopping(core, CORE_ACTION_STOP_FAST)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_STOP_FAST);
    return true;
}

/* Design section 2: the guard dies or its heartbeat stops; the agent establishes another one. */
bool core_rule_replace_guard(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_pending *pending = &core->pending[CORE_TARGET_GUARD];
    bool lost = pending->active && pending->type != CORE_ACTION_REPLACE_GUARD;
    if (core->guard.alive != TRI_NO || !(lost || view_free(core, CORE_TARGET_GUARD))) {
        return false; /* an order to a dead guard is never answered: it does not hold this up */
    }
    (void)plan_add(plan, CORE_ACTION_REPLACE_GUARD);
    return true;
}

bool core_rule_exit_foreign_cluster(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_cluster *cluster = &core->cluster;
    bool foreign = cluster->reachable == TRI_YES && cluster->initialize == CORE_INITIALIZE_DONE &&
                   core->postgres.sysid != 0 && core->postgres.sysid != cluster->sysid;
    if (!foreign || view_paused(core) || core->guard.armed || core->postgres.setup_pending) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_EXIT);
    action->u.exit.code = CORE_EXIT_CONFIG;
    return true;
}
