/* The guard is armed before a primary may rise and disarmed only when it is gone (design section 2,
 * INV-3), or when the record says that the cluster is paused (L7). */
#include "core/internal.h"

static bool armed_now(const struct core *core)
{
    ASSERT(core != NULL);
    return core->guard.armed && core->guard.armed_epoch == core->own.epoch;
}

bool core_rule_arm(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool rising = view_chosen(core) && !view_maybe_primary(core); /* a person's order in a pause */
    bool looked = core->revision_max != 0 || core->armed_seen == core->own.epoch; /* no pause */
    bool armed_record = core->own.armed_written && view_maybe_primary(core); /* until L7's write */
    bool wanted = !view_paused(core) || rising || armed_record;
    bool needed = lease_valid(core) && !core->own.surrendered && wanted && !armed_now(core) &&
                  core->guard.alive == TRI_YES && looked && !core->leaving;
    if (!needed || !view_free(core, CORE_TARGET_GUARD)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_ARM);
    action->u.guard.epoch = core->own.epoch;
    return true;
}

bool core_rule_disarm_for_pause(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool settled = !core->pending[CORE_TARGET_LEASE].active && !core->own.unresolved;
    bool written = core->own.holding && core->own.unarmed_proven && settled;
    if (!core->guard.armed || !view_paused(core) || !written ||
        !view_free(core, CORE_TARGET_GUARD)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_DISARM);
    action->u.guard.epoch = core->guard.armed_epoch;
    action->u.guard.for_pause = true;
    return true;
}

/* A server that is being stopped is gone when it has ended: one that was told to rise before may still
 * do so. Not while we hold the lease: a restart in place follows; but a fence that has begun is ended by it
 * even then, for a guard that fences starts nothing. */
bool core_rule_disarm(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool holder = lease_valid(core) && !core->own.surrendered && !core->leaving &&
                  !(core->guard.fenced && view_stopped(core));
    const struct core_pending *postgres = &core->pending[CORE_TARGET_POSTGRES];
    bool stopping = postgres->active && (postgres->type == CORE_ACTION_STOP_FAST ||
                                         postgres->type == CORE_ACTION_STOP_HARD);
    bool gone = view_stopped(core) || (view_replica(core) && !stopping);
    bool rising = postgres->active && (postgres->type == CORE_ACTION_START_PRIMARY ||
                                       postgres->type == CORE_ACTION_PROMOTE);
    if (!core->guard.armed || holder || !gone || rising || !view_free(core, CORE_TARGET_GUARD)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_DISARM);
    action->u.guard.epoch = core->guard.armed_epoch;
    return true;
}

/* After a gap, and after an action that changed it, every fact about PostgreSQL is old (L12, INV-8).
 */
bool core_rule_probe(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (view_postgres_known(core) || !view_free(core, CORE_TARGET_PROBE)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_PROBE);
    return true;
}

/* L12: nothing below this rule acts before store and PostgreSQL were looked at. */
bool core_rule_observe(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    return !view_observed(core);
}
