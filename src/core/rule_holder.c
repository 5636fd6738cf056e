/* What the holder of the lease does with its server: start it again, promote it, finish a
 * bootstrap, keep the keys of the cluster right. */
#include "core/internal.h"

static bool holds(const struct core *core)
{
    ASSERT(core != NULL);
    return core->own.holding && !core->own.surrendered;
}

/* INV-3: time enough, and the guard armed for this very term. */
static bool may_rise(const struct core *core)
{
    ASSERT(core != NULL);
    return lease_valid(core) && lease_left_ms(core) >= CORE_PROMOTE_LEFT(core->own.ttl_ms) &&
           core->guard.alive == TRI_YES && !core->guard.fenced && core->guard.armed &&
           core->guard.armed_epoch == core->own.epoch && !core->pending[CORE_TARGET_GUARD].active &&
           !core->rolled_back && !core->leaving && !core->handover.active &&
           (!view_paused(core) || view_chosen(core));
}

/* The data of a primary: it may start as one again on its own timeline. Anything else goes through
 * recovery and a promotion. */
static bool primary_data(const struct core *core)
{
    ASSERT(core != NULL);
    switch (core->postgres.control) {
    case CORE_CONTROL_IN_PRODUCTION:
    case CORE_CONTROL_IN_CRASH_RECOVERY:
    case CORE_CONTROL_SHUTTING_DOWN:
    case CORE_CONTROL_SHUT_DOWN:
    case CORE_CONTROL_STARTING_UP:
        return true;
    case CORE_CONTROL_UNKNOWN:
    case CORE_CONTROL_SHUT_DOWN_IN_RECOVERY:
    case CORE_CONTROL_IN_ARCHIVE_RECOVERY:
        return false;
    }
    UNREACHABLE();
}

/* Somebody else who could lead, in a cluster whose identity is in the store: while that is to be
 * written anew, only this node can do it (L5). */
static bool heirs(const struct core *core)
{
    ASSERT(core != NULL);
    if (core->cluster.initialize != CORE_INITIALIZE_DONE) {
        return false;
    }
    for (uint32_t i = 0; i < core->cluster.member_count; i++) {
        const struct core_member *member = &core->cluster.member[i];
        if (!view_me(core, member->name) && member->running && !member->nofailover &&
            member->has_api_url) {
            return true;
        }
    }
    return false;
}

/* A release can be written now. */
static bool can_release(const struct core *core)
{
    ASSERT(core != NULL);
    return core->own.version != 0 && !core->own.unresolved && view_store_usable(core);
}

/* ha.md section 7: a start that takes longer than primary_start_timeout, while another could lead.
 */
bool core_rule_holder_start_timeout(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_pending *pending = &core->pending[CORE_TARGET_POSTGRES];
    int64_t limit_ms = core->cluster.settings.primary_start_timeout_ms;
    if (!holds(core) || !pending->active || pending->type != CORE_ACTION_START_PRIMARY ||
        mono_sub(core->now, pending->started_at) < limit_ms || !heirs(core) || !can_release(core)) {
        return false; /* without an heir, or a store to name one, the start goes on */
    }
    (void)plan_add(plan, CORE_ACTION_STOP_HARD);
    return true;
}

bool core_rule_holder_release(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool replica = view_replica(core) && core->primary_failed; /* it can write nothing either */
    bool unguarded = core->guard_lost_at.ms != INT64_MAX &&
                     mono_sub(core->now, core->guard_lost_at) >= core->own.ttl_ms / 2;
    bool unable = heirs(core) && (core->primary_failed || unguarded ||
                                  core->cluster.settings.primary_start_timeout_ms == 0);
    bool unusable = core->postgres.datadir != CORE_DATADIR_USABLE &&
                    core->postgres.datadir != CORE_DATADIR_UNKNOWN;
    if (!holds(core) || core->handover.active || !(view_stopped(core) || replica) ||
        view_paused(core) || !(unable || unusable) || !can_release(core) ||
        core->pending[CORE_TARGET_POSTGRES].active) {
        return false;
    }
    if (!view_free(core, CORE_TARGET_LEASE)) {
        return true; /* a renewal is under way: the release follows it, and nothing starts before */
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_LEASE_WRITE);
    action->u.lease = lease_renewal(core);
    action->u.lease.record.state = CORE_LEASE_RELEASED;
    action->u.lease.leader_op = CORE_LEADER_DELETE;
    return true;
}

/* Restart in place: the disk has the tail of the WAL that no replica may have. */
bool core_rule_holder_restart(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!holds(core) || !may_rise(core) || !view_stopped(core) || !primary_data(core) ||
        core->postgres.datadir != CORE_DATADIR_USABLE || !view_free(core, CORE_TARGET_POSTGRES) ||
        !view_start_due(core)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_START_PRIMARY);
    return true;
}

bool core_rule_holder_start_replica(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!holds(core) || !may_rise(core) || !view_stopped(core) || primary_data(core) ||
        core->postgres.datadir != CORE_DATADIR_USABLE || !view_free(core, CORE_TARGET_POSTGRES) ||
        !view_start_due(core)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_START_REPLICA);
    return true;
}

bool core_rule_holder_promote(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!holds(core) || !may_rise(core) || !view_replica(core) ||
        !view_free(core, CORE_TARGET_POSTGRES)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_PROMOTE);
    return true;
}

static bool leads(const struct core *core)
{
    ASSERT(core != NULL);
    return holds(core) && lease_valid(core) && view_primary(core);
}

bool core_rule_holder_setup(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!leads(core) || !core->postgres.setup_pending || core->setup_done ||
        !view_free(core, CORE_TARGET_POSTGRES)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_SETUP);
    return true;
}

static bool keys_ready(const struct core *core)
{
    ASSERT(core != NULL);
    bool up_to_date = core->read_from.ms == INT64_MAX && !core->pending[CORE_TARGET_READ].active;
    return leads(core) && view_store_usable(core) && core->own.version != 0 && up_to_date &&
           view_free(core, CORE_TARGET_KEYS) && !core->pending[CORE_TARGET_LEASE].active;
}

/* A key that is refused again and again does not keep the others from being written. */
static bool keys_turn(const struct core *core, enum core_action_type type)
{
    ASSERT(core != NULL);
    const struct core_pending *keys = &core->pending[CORE_TARGET_KEYS];
    return keys->failures == 0 || keys->type != (uint32_t)type ||
           mono_sub(core->now, keys->started_at) >= core->cluster.settings.loop_wait_ms;
}

bool core_rule_holder_finish_initialize(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool set_up = !core->postgres.setup_pending || core->setup_done;
    if (!keys_ready(core) || core->cluster.initialize == CORE_INITIALIZE_DONE || !set_up ||
        core->postgres.sysid == 0) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_FINISH_INITIALIZE);
    action->u.keys.version = core->cluster.initialize_version;
    return true;
}

bool core_rule_holder_write_config(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!keys_ready(core) || core->cluster.settings.version != 0 ||
        !keys_turn(core, CORE_ACTION_WRITE_CONFIG)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_WRITE_CONFIG);
    action->u.keys.version = core->cluster.config_version;
    return true;
}

/* Also where failsafe_mode is off: candidates obey the list whatever the mode, for whoever holds the
 * lease may know of another mode. L9: a list is written down as in doubt before it is sent, and until a write is confirmed only the
 * same list is sent again; promises are asked of both until then. */
bool core_rule_holder_failsafe(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    struct core_name_list wanted;
    names_wanted_failsafe(core, &wanted);
    const struct core_memory *memory = &core->memory;
    bool doubt = memory->failsafe_doubt.count > 0;
    if (!keys_ready(core) || core->pending[CORE_TARGET_MEMORY].active || core->memory_dirty ||
        (!doubt && names_equal(&wanted, &core->cluster.failsafe.names))) {
        return false;
    }
    if (!doubt) {
        if (!view_free(core, CORE_TARGET_MEMORY)) {
            return false;
        }
        struct core_action *action = plan_add(plan, CORE_ACTION_REMEMBER);
        action->u.memory = core->memory;
        action->u.memory.failsafe_doubt = wanted;
        return true;
    }
    if (!keys_turn(core, CORE_ACTION_WRITE_FAILSAFE)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_WRITE_FAILSAFE);
    action->u.keys.version = core->cluster.failsafe.version;
    action->u.keys.lease_version = core->own.version;
    action->u.keys.names = memory->failsafe_doubt;
    return true;
}

/* The order was carried out, or it is addressed to nobody who leads. */
bool core_rule_holder_clear_failover(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_failover *order = &core->cluster.failover;
    bool present = order->version != 0 && (order->leader[0] != '\0' || order->candidate[0] != '\0');
    bool to_me = view_me(core, order->candidate);
    bool from_other = order->leader[0] != '\0' && !view_me(core, order->leader);
    if (!keys_ready(core) || !present || !(to_me || from_other)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_CLEAR_FAILOVER);
    action->u.keys.version = order->version;
    return true;
}

/* ha.md section 4.1: until then pg_rewind of others would see the old timeline. */
bool core_rule_holder_checkpoint(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!leads(core) || core->postgres.timeline_checkpointed || core->handover.active ||
        !view_free(core, CORE_TARGET_POSTGRES)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_CHECKPOINT);
    return true;
}

bool core_rule_holder_leads(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    return leads(core);
}
