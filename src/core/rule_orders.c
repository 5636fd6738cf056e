/* A person's orders: switchover and leaving (ha.md section 8), pause (L7).
 *
 * A handover is: ask the candidates, CHECKPOINT, fast stop, ask whether the chosen one has received
 * all, give the lease by name (L10). Nothing is given away before PostgreSQL is known to be stopped
 * and its end of WAL is known to have arrived (lessons 40). */
#include "core/internal.h"

static bool holding(const struct core *core)
{
    ASSERT(core != NULL);
    return core->own.holding && !core->own.surrendered;
}

static bool handover_wanted(const struct core *core)
{
    ASSERT(core != NULL);
    return holding(core) && (core->leaving || view_order_for_me(core) || core->handover.active);
}

static uint64_t order_version(const struct core *core)
{
    ASSERT(core != NULL);
    return core->leaving ? 0 : core->cluster.failover.version;
}

/* From when on the answers of the candidates count, and the position they must have reached. */
static struct mono handover_asked_from(const struct core *core, uint64_t *out_min_lsn)
{
    ASSERT(core != NULL);
    const struct core_handover *handover = &core->handover;
    if (handover->active && handover->stopped_at.ms != 0) {
        *out_min_lsn = core->postgres.shutdown_lsn + 1; /* the record itself, not only up to it */
        return handover->stopped_at;
    }
    uint64_t lag = (uint64_t)core->cluster.settings.maximum_lag_on_failover;
    *out_min_lsn = core->postgres.lsn > lag ? core->postgres.lsn - lag : 0;
    return mono_add(core->now, -(core->cluster.settings.ttl_ms / 2));
}

static bool handover_stopped(const struct core *core)
{
    ASSERT(core != NULL);
    return core->handover.active && view_stopped(core) && core->handover.stopped_at.ms != 0;
}

/* The stop wrote its checkpoint: what an heir must have received is known. */
static bool handover_clean(const struct core *core)
{
    ASSERT(core != NULL);
    return core->postgres.control == CORE_CONTROL_SHUT_DOWN && core->postgres.shutdown_lsn != 0;
}

/* After the stop the chosen one has this long to have received all. */
static bool handover_late(const struct core *core)
{
    ASSERT(core != NULL);
    int64_t limit_ms = core->cluster.settings.ttl_ms / 4;
    return handover_stopped(core) &&
           !mono_before(core->now, mono_add(core->handover.stopped_at, limit_ms));
}

/* A standby that has just changed its upstream shows its new timeline a moment later. */
static bool order_young(const struct core *core)
{
    ASSERT(core != NULL);
    return !core->leaving &&
           mono_before(core->now, mono_add(core->order_since, core->cluster.settings.ttl_ms / 2));
}

static enum candidate handover_successor(const struct core *core, char out_name[NAME_SIZE])
{
    ASSERT(core != NULL);
    uint64_t min_lsn = 0;
    struct mono from = handover_asked_from(core, &min_lsn);
    return candidate_successor(core, from, min_lsn, out_name);
}

bool core_rule_leave_exit(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool idle = !core->own.holding && !core->pending[CORE_TARGET_LEASE].active &&
                !core->pending[CORE_TARGET_POSTGRES].active;
    bool stopped = view_stopped(core) && !core->guard.armed && idle;
    bool store_gone = core->cluster.reachable == TRI_NO && view_stopped(core) &&
                      !lease_valid(core) && !core->guard.armed;
    bool left_running = view_paused(core) && !core->guard.armed;
    if (!core->leaving || !(stopped || left_running || store_gone)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_EXIT);
    action->u.exit.code = 0;
    return true;
}

bool core_rule_handover_ask(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool running = view_primary(core) && !core->handover.active;
    if (!handover_wanted(core) || !(running || handover_stopped(core)) ||
        !view_free(core, CORE_TARGET_STATUS)) {
        return false;
    }
    char name[NAME_SIZE];
    enum candidate found = handover_successor(core, name);
    bool hoping = handover_stopped(core) ? !handover_late(core) : order_young(core);
    bool again = found == CANDIDATE_NOT_FIT && hoping;
    if (found != CANDIDATE_ASK && !again) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_ASK_STATUS);
    action->u.ask.asked_at = core->now;
    action->u.ask.timeout_ms = core->cluster.settings.ttl_ms / 8;
    candidate_peers(core, &action->u.ask.names);
    return true;
}

/* No candidate is fit: before the stop the order is dropped; after it the server starts again. */
bool core_rule_handover_abort(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool running = view_primary(core) && !core->handover.active;
    bool crashed = handover_stopped(core) && !handover_clean(core);
    if (core->leaving || !handover_wanted(core) || !(running || crashed || handover_late(core))) {
        return false;
    }
    if (!view_store_usable(core)) {
        return core->handover
            .active; /* given up here; the order is cleared when the store is back */
    }
    if (!view_free(core, CORE_TARGET_KEYS)) {
        return false;
    }
    char name[NAME_SIZE];
    enum candidate found = handover_successor(core, name);
    if ((found == CANDIDATE_FIT && !crashed) ||
        (running && (found == CANDIDATE_ASK || order_young(core)))) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_CLEAR_FAILOVER);
    action->u.keys.version = core->cluster.failover.version;
    return true;
}

bool core_rule_handover_checkpoint(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_handover *handover = &core->handover;
    bool done = handover->checkpointed && handover->order_version == order_version(core);
    char name[NAME_SIZE];
    if (!handover_wanted(core) || handover->active || done || !view_primary(core) ||
        !view_free(core, CORE_TARGET_POSTGRES) || handover_successor(core, name) != CANDIDATE_FIT) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_CHECKPOINT);
    return true;
}

bool core_rule_handover_stop(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_handover *handover = &core->handover;
    bool done = handover->checkpointed && handover->order_version == order_version(core);
    char name[NAME_SIZE];
    if (!handover_wanted(core) || handover->active || !done || !view_primary(core) ||
        !view_free(core, CORE_TARGET_POSTGRES) || !view_store_usable(core) ||
        handover_successor(core, name) != CANDIDATE_FIT) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_STOP_FAST);
    return true;
}

static bool surrender(const struct core *core, struct core_plan *plan, enum core_lease_state state,
                      const char *to)
{
    ASSERT(core != NULL);
    if (core->own.version == 0 || core->own.unresolved || !view_store_usable(core) ||
        !view_free(core, CORE_TARGET_LEASE)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_LEASE_WRITE);
    action->u.lease = lease_renewal(core);
    action->u.lease.record.armed = true; /* whoever comes next is guarded */
    action->u.lease.record.state = state;
    str_set(action->u.lease.record.to, NAME_SIZE, to);
    action->u.lease.leader_op = CORE_LEADER_DELETE;
    return true;
}

bool core_rule_handover_give(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    char name[NAME_SIZE];
    if (!handover_wanted(core) || !handover_stopped(core) || !handover_clean(core) ||
        handover_successor(core, name) != CANDIDATE_FIT) {
        return false;
    }
    return surrender(core, plan, CORE_LEASE_HANDING_TO, name);
}

/* The lease without a server to use it, and no heir by name: whoever is fit may come. */
bool core_rule_handover_release(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool late = !core->handover.active || handover_late(core) ||
                (handover_stopped(core) && !handover_clean(core));
    bool leaving = core->leaving && late;
    if (!holding(core) || !view_stopped(core) || core->pending[CORE_TARGET_POSTGRES].active ||
        !leaving) {
        return false;
    }
    return surrender(core, plan, CORE_LEASE_RELEASED, "");
}

bool core_rule_leave_stop(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_pending *pending = &core->pending[CORE_TARGET_POSTGRES];
    bool stop = pending->active &&
                (pending->type == CORE_ACTION_STOP_FAST || pending->type == CORE_ACTION_STOP_HARD);
    if (!core->leaving || view_paused(core) || stop ||
        (core->postgres.process == TRI_NO && !pending->active)) {
        return false;
    }
    char name[NAME_SIZE];
    bool heir = holding(core) && view_primary(core) && view_store_usable(core) &&
                handover_successor(core, name) != CANDIDATE_NOT_FIT;
    if (heir) {
        return false; /* the handover rules bring it down */
    }
    (void)plan_add(plan, CORE_ACTION_STOP_FAST);
    return true;
}

/* Maintenance: no start, stop, promotion or demotion of ours. A manual failover to this node by
 * name goes on to the race. */
bool core_rule_paused(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    bool ordered = view_chosen(core);
    bool handover = handover_wanted(core);
    bool taken = core->own.holding && !view_maybe_primary(core);
    return view_paused(core) && !ordered && !handover && !taken;
}
