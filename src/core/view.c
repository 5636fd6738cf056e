/* Questions to the view, each with one answer for "unknown": the safe one (INV-8). */
#include "core/internal.h"

bool view_me(const struct core *core, const char *name)
{
    ASSERT(core->config.name[0] != '\0');
    return str_equal(core->config.name, name);
}

bool view_postgres_known(const struct core *core)
{
    ASSERT(core != NULL);
    bool changing = core->pending[CORE_TARGET_POSTGRES].active;
    return !mono_before(core->postgres.asked_at, core->trusted_from) &&
           (changing || !mono_before(core->postgres.asked_at, core->postgres_from));
}

bool view_observed(const struct core *core)
{
    ASSERT(core != NULL);
    return !mono_before(core->store_seen_at, core->trusted_from) && view_postgres_known(core);
}

bool view_store_usable(const struct core *core)
{
    ASSERT(core != NULL);
    return core->cluster.reachable == TRI_YES &&
           !mono_before(core->store_seen_at, core->trusted_from);
}

bool view_maybe_primary(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_pending *pending = &core->pending[CORE_TARGET_POSTGRES];
    bool rising = pending->active && (pending->type == CORE_ACTION_START_PRIMARY ||
                                      pending->type == CORE_ACTION_PROMOTE);
    return rising || (core->postgres.process != TRI_NO && core->postgres.primary != TRI_NO);
}

bool view_primary(const struct core *core)
{
    ASSERT(core != NULL);
    return core->postgres.process == TRI_YES && core->postgres.accepting == TRI_YES &&
           core->postgres.primary == TRI_YES;
}

bool view_replica(const struct core *core)
{
    ASSERT(core != NULL);
    return core->postgres.process == TRI_YES && core->postgres.accepting == TRI_YES &&
           core->postgres.primary == TRI_NO && view_postgres_known(core);
}

bool view_stopped(const struct core *core)
{
    ASSERT(core != NULL);
    return core->postgres.process == TRI_NO && view_postgres_known(core);
}

bool view_paused(const struct core *core)
{
    ASSERT(core != NULL);
    return core->cluster.settings.pause;
}

bool view_free(const struct core *core, enum core_target target)
{
    ASSERT(target < CORE_TARGET_NONE);
    const struct core_pending *pending = &core->pending[target];
    return !pending->active && !mono_before(core->now, pending->retry_at);
}

/* What ended at each of the last starts mostly ends at the next one too, and each try fills the log
 * and reads the whole WAL again: so the pause grows. Where this node may be the one that is needed,
 * because it holds the lease or nobody else does, it stays within a ttl (INV-7). */
struct mono view_start_at(const struct core *core)
{
    ASSERT(core != NULL);
    const char *leader = NULL;
    if (core->start_failures < 2 || view_chosen(core)) {
        return core->start_failed_at;
    }
    int64_t pause_ms = CORE_START_PAUSE_MS;
    for (uint32_t i = 2; i < core->start_failures && pause_ms < CORE_START_PAUSE_MS_MAX; i++) {
        pause_ms *= 2;
    }
    int64_t most_ms = CORE_START_PAUSE_MS_MAX;
    if (core->cluster.settings.ttl_ms < most_ms && !view_leads(core, &leader)) {
        most_ms = core->cluster.settings.ttl_ms;
    }
    return mono_add(core->start_failed_at, pause_ms < most_ms ? pause_ms : most_ms);
}

bool view_start_due(const struct core *core)
{
    ASSERT(core != NULL);
    return !mono_before(core->now, view_start_at(core));
}

bool view_leads(const struct core *core, const char **out_leader)
{
    ASSERT(out_leader != NULL);
    const struct core_lease_record *record = &core->cluster.lease;
    if (record->present) {
        if (record->state != CORE_LEASE_HELD || view_me(core, record->holder)) {
            return false;
        }
        *out_leader = record->holder;
        return true;
    }
    if (core->cluster.leader.version == 0 || view_me(core, core->cluster.leader.name)) {
        return false;
    }
    *out_leader = core->cluster.leader.name;
    return true;
}

const struct core_member *view_member(const struct core *core, const char *name)
{
    ASSERT(core->cluster.member_count <= MEMBERS_MAX);
    for (uint32_t i = 0; i < core->cluster.member_count; i++) {
        if (str_equal(core->cluster.member[i].name, name)) {
            return &core->cluster.member[i];
        }
    }
    return NULL;
}

static bool order_due(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_failover *order = &core->cluster.failover;
    return order->version != 0 &&
           (order->scheduled_at.ms == 0 || order->scheduled_at.ms <= core->wall.ms);
}

bool view_chosen(const struct core *core)
{
    ASSERT(core != NULL);
    return order_due(core) && view_me(core, core->cluster.failover.candidate);
}

bool view_ordered(const struct core *core)
{
    ASSERT(core != NULL);
    return view_chosen(core) && core->cluster.failover.leader[0] == '\0';
}

bool view_order_for_me(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_failover *order = &core->cluster.failover;
    bool present = order->leader[0] != '\0' || order->candidate[0] != '\0';
    bool from_me = order->leader[0] == '\0' || view_me(core, order->leader);
    return present && order_due(core) && from_me && !view_me(core, order->candidate);
}

bool names_have(const struct core_name_list *names, const char *name)
{
    ASSERT(names->count <= MEMBERS_MAX);
    for (uint32_t i = 0; i < names->count; i++) {
        if (str_equal(names->name[i], name)) {
            return true;
        }
    }
    return false;
}

bool names_add(struct core_name_list *names, const char *name)
{
    ASSERT(names->count <= MEMBERS_MAX);
    if (names_have(names, name)) {
        return true;
    }
    if (names->count == MEMBERS_MAX || !str_copy(names->name[names->count], NAME_SIZE, name)) {
        return false;
    }
    names->count++;
    return true;
}

bool names_equal(const struct core_name_list *a, const struct core_name_list *b)
{
    ASSERT(a->count <= MEMBERS_MAX && b->count <= MEMBERS_MAX);
    if (a->count != b->count) {
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (!names_have(b, a->name[i])) {
            return false;
        }
    }
    return true;
}

void names_wanted_failsafe(const struct core *core, struct core_name_list *out_names)
{
    ASSERT(out_names != NULL);
    *out_names = (struct core_name_list){0};
    (void)!names_add(out_names, core->config.name); /* the first fits */
    for (uint32_t i = 0; i < core->cluster.member_count; i++) {
        if (core->cluster.member[i].has_api_url) {
            (void)!names_add(out_names,
                             core->cluster.member[i].name); /* no more than members fit */
        }
    }
}
