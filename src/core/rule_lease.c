/* Duties on the lease: promises to others (L9), what must be on disk, reading after doubt (L6),
 * renewing (L2), asking for promises (L9), repeating a release that did not arrive. */
#include "core/internal.h"

/* L9: it refuses while it runs as primary, holds a lease or believes itself holder, has a takeover
 * of its own outstanding or in doubt, or knows a newer epoch. Unknown counts against giving. */
static bool promise_possible(const struct core *core, const struct core_promise_request *request)
{
    ASSERT(core != NULL);
    const struct core_lease_record *record = &core->cluster.lease;
    bool asker_ok = !view_me(core, request->holder) && request->holder[0] != '\0' &&
                    request->epoch != 0 && request->ttl_ms > 0;
    const struct core_pending *job = &core->pending[CORE_TARGET_POSTGRES];
    bool recovering = job->active && job->type == CORE_ACTION_REWIND; /* serves nobody */
    bool leading =
        (view_maybe_primary(core) && !recovering) || core->own.holding || core->own.epoch != 0;
    bool taking = core->pending[CORE_TARGET_LEASE].active || core->own.unresolved ||
                  core->own.tried_epoch != 0;
    bool newer =
        request->epoch < core->memory.epoch_max || request->epoch < core->memory.promised_epoch;
    bool other = record->present && record->epoch == request->epoch &&
                 !str_equal(record->holder, request->holder);
    return asker_ok && !leading && !taking && !newer && !other;
}

static const struct core_request_slot *request_new(const struct core *core)
{
    ASSERT(core != NULL);
    for (uint32_t i = 0; i < CORE_REQUESTS_MAX; i++) {
        if (core->request[i].phase == CORE_REQUEST_NEW) {
            return &core->request[i];
        }
    }
    return NULL;
}

static void answer(struct core_plan *plan, const struct core_request_slot *slot, bool granted)
{
    ASSERT(slot != NULL);
    struct core_action *action = plan_add(plan, CORE_ACTION_ANSWER);
    action->u.answer.request_id = slot->request.request_id;
    action->u.answer.granted = granted;
}

bool core_rule_answer_refuse(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    for (uint32_t i = 0; i < CORE_REQUESTS_MAX; i++) {
        const struct core_request_slot *slot = &core->request[i];
        bool refuse = slot->phase == CORE_REQUEST_FAILED ||
                      (slot->phase == CORE_REQUEST_NEW && !promise_possible(core, &slot->request));
        if (refuse) {
            answer(plan, slot, false);
            return true;
        }
    }
    return false;
}

/* What it lasts is covered by the wait of a new start (L8) only if that ttl is on disk. */
bool core_rule_answer_grant(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_request_slot *slot = request_new(core);
    if (slot == NULL || slot->request.ttl_ms > core->ttl_durable_ms) {
        return false;
    }
    answer(plan, slot, true);
    return true;
}

bool core_rule_remember_promise(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_request_slot *slot = request_new(core);
    if (slot == NULL || !view_free(core, CORE_TARGET_MEMORY)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_REMEMBER);
    action->u.memory = core->memory;
    if (action->u.memory.ttl_max_ms < slot->request.ttl_ms) {
        action->u.memory.ttl_max_ms = slot->request.ttl_ms;
    }
    return true;
}

bool core_rule_remember(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!core->memory_dirty || !view_free(core, CORE_TARGET_MEMORY)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_REMEMBER);
    action->u.memory = core->memory;
    return true;
}

bool core_rule_read_store(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (mono_before(core->now, core->read_from) || !view_free(core, CORE_TARGET_READ)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_READ);
    action->u.read.timeout_ms = core->cluster.settings.ttl_ms / 4;
    return true;
}

bool core_rule_renew(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_own_lease *own = &core->own;
    bool possible = own->holding && !own->surrendered && !own->unresolved &&
                    (own->version != 0 || core->rolled_back) &&
                    !mono_before(core->store_seen_at, core->trusted_from) &&
                    view_free(core, CORE_TARGET_LEASE);
    if (!possible) {
        return false;
    }
    bool paused = view_paused(core);
    bool armed = own->armed_written;
    bool resumed = core->guard.armed && core->guard.armed_epoch == own->epoch &&
                   !core->pending[CORE_TARGET_GUARD].active;
    bool rising = view_chosen(core) && !view_primary(core);
    if (paused) {
        armed = rising; /* L7: written before the guard is disarmed */
    } else if (resumed) {
        armed = true; /* L7: armed first, then written */
    }
    bool due = !mono_before(core->now, mono_add(own->written_at, own->ttl_ms / 4));
    bool lowering = core->cluster.settings.ttl_ms < own->ttl_ms;
    if (!due && armed == own->armed_written && !core->rolled_back && !lowering) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_LEASE_WRITE);
    action->u.lease = lease_renewal(core);
    action->u.lease.record.armed = armed;
    return true;
}

/* L9: from 0.4 ttl on the members are asked for promises as well. */
bool core_rule_ask_promises(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_own_lease *own = &core->own;
    struct mono from = mono_add(own->proven_at, own->ttl_ms * 4 / 10);
    bool on_promises = mono_before(own->written_at, own->proven_at);
    bool due = !mono_before(core->now, on_promises ? core->round.next_at
                                                   : mono_max(from, core->round.next_at));
    if (!lease_valid(core) || own->surrendered || !due || !core->cluster.settings.failsafe_mode ||
        !view_free(core, CORE_TARGET_PROMISE) || !own->armed_written) {
        return false;
    }
    struct core_name_list names;
    if (!lease_promise_names(core, &names) || !names_have(&names, core->config.name)) {
        return false; /* no list, one without us, or one that cannot be told: nothing to stand on */
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_ASK_PROMISE);
    action->u.ask.asked_at = core->now;
    action->u.ask.timeout_ms = own->ttl_ms / 8; /* two tries before 0.7 ttl */
    action->u.ask.round = core->round.number + 1;
    action->u.ask.epoch = own->epoch;
    action->u.ask.ttl_ms = own->ttl_ms;
    for (uint32_t i = 0; i < names.count; i++) {
        if (!view_me(core, names.name[i])) {
            (void)!names_add(&action->u.ask.names, names.name[i]); /* a subset fits */
        }
    }
    return true;
}

bool core_rule_surrender_again(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_own_lease *own = &core->own;
    if (!own->surrendered || own->unresolved || own->version == 0 || !view_store_usable(core) ||
        !view_free(core, CORE_TARGET_LEASE)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_LEASE_WRITE);
    action->u.lease = lease_renewal(core);
    action->u.lease.record.armed = true; /* whoever comes next is guarded */
    action->u.lease.record.state = own->surrender_state;
    str_set(action->u.lease.record.to, NAME_SIZE, own->surrender_to);
    action->u.lease.leader_op = CORE_LEADER_DELETE;
    return true;
}
