/* A node without the lease: bootstrap a cluster, clone, rejoin an old primary, follow the leader.
 * Nothing here destroys WAL: REWIND and CLONE set it aside first (INV-5), and are planned only
 * where the configuration allows them. */
#include "core/internal.h"

static bool follower(const struct core *core)
{
    ASSERT(core != NULL);
    return !core->own.holding && !core->pending[CORE_TARGET_LEASE].active &&
           view_store_usable(core) && !core->leaving;
}

static bool can_act(const struct core *core)
{
    ASSERT(core != NULL);
    return follower(core) && view_free(core, CORE_TARGET_POSTGRES) && !core->guard.armed;
}

bool core_rule_wait_datadir(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    return view_stopped(core) && !core->own.holding &&
           !core->pending[CORE_TARGET_POSTGRES].active &&
           (core->postgres.datadir == CORE_DATADIR_INACCESSIBLE ||
            core->postgres.datadir == CORE_DATADIR_FOREIGN ||
            core->postgres.datadir == CORE_DATADIR_UNKNOWN);
}

/* initdb failed, or another node was first: what we made is set aside, the claim given back. */
bool core_rule_bootstrap_failed(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool second = core->postgres.setup_pending && core->postgres.sysid != 0 &&
                  core->cluster.initialize == CORE_INITIALIZE_DONE &&
                  core->cluster.sysid != core->postgres.sysid && view_stopped(core);
    if (!(core->initdb_failed || second) || !can_act(core)) {
        return false;
    }
    if (core->postgres.datadir != CORE_DATADIR_EMPTY) {
        (void)plan_add(plan, CORE_ACTION_SET_ASIDE);
        return true;
    }
    if (core->claimed_version != 0) {
        if (!view_free(core, CORE_TARGET_KEYS)) {
            return false;
        }
        struct core_action *action = plan_add(plan, CORE_ACTION_CANCEL_INITIALIZE);
        action->u.keys.version = core->claimed_version;
        return true;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_EXIT);
    action->u.exit.code = CORE_EXIT_BOOTSTRAP;
    return true;
}

static bool nobody_yet(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_cluster *cluster = &core->cluster;
    return cluster->lease.version == 0 && cluster->leader.version == 0 &&
           !mono_before(core->now, core->no_acquire_until) &&
           !mono_before(core->now, core->rollback_until) && !lease_promise_binds(core);
}

bool core_rule_bootstrap_claim(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    bool open = core->cluster.initialize == CORE_INITIALIZE_ABSENT && nobody_yet(core);
    bool mine = core->config.may_bootstrap && !core->config.nofailover && view_stopped(core) &&
                (core->postgres.datadir == CORE_DATADIR_EMPTY || core->postgres.setup_pending);
    if (!can_act(core) || !open || !mine || !view_free(core, CORE_TARGET_KEYS)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_CLAIM_INITIALIZE);
    return true;
}

bool core_rule_bootstrap_initdb(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!can_act(core) || core->claimed_version == 0 || core->initdb_failed ||
        !view_stopped(core) || core->postgres.datadir != CORE_DATADIR_EMPTY) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_INITDB);
    return true;
}

bool core_rule_bootstrap_acquire(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!can_act(core) || core->claimed_version == 0 || !nobody_yet(core) || !view_stopped(core) ||
        core->postgres.datadir != CORE_DATADIR_USABLE || !core->postgres.setup_pending ||
        !view_free(core, CORE_TARGET_LEASE)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_LEASE_WRITE);
    action->u.lease = lease_acquisition(core);
    return true;
}

static void source(struct core_action *action, const char *leader)
{
    ASSERT(action != NULL);
    str_set(action->u.postgres.upstream, NAME_SIZE, leader);
}

bool core_rule_clone(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const char *leader = NULL;
    if (!can_act(core) || !view_stopped(core) || core->postgres.datadir != CORE_DATADIR_EMPTY ||
        core->cluster.initialize != CORE_INITIALIZE_DONE || !view_leads(core, &leader)) {
        return false;
    }
    const struct core_member *member = view_member(core, leader);
    if (member == NULL || !member->has_conn_url || !member->running) {
        return false;
    }
    source(plan_add(plan, CORE_ACTION_CLONE), leader);
    return true;
}

bool core_rule_wait_bootstrap(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    return follower(core) && view_stopped(core) && core->postgres.datadir == CORE_DATADIR_EMPTY;
}

/* The leader's term whose history ours was compared with. */
static bool checked(const struct core *core, const char *leader)
{
    ASSERT(core != NULL);
    return str_equal(core->checked_leader, leader) &&
           core->checked_epoch == core->cluster.lease.epoch &&
           core->divergence != CORE_DIVERGENCE_UNKNOWN;
}

/* Its lease is not known to be over. */
static bool leader_fresh(const struct core *core)
{
    ASSERT(core != NULL);
    return mono_before(core->now, lease_wait_end(core));
}

static bool leader_answers(const struct core *core, const char *leader)
{
    ASSERT(core != NULL);
    const struct core_member *member = view_member(core, leader);
    return member != NULL && member->has_conn_url && member->running && leader_fresh(core);
}

/* It follows the leader, the leader lives, and nothing comes: it may have received more of the old
 * leader's WAL after it was compared. */
static bool mute(const struct core *core, const char *leader)
{
    ASSERT(core != NULL);
    int64_t patience_ms = 2 * core->cluster.settings.loop_wait_ms;
    struct mono last = core->pending[CORE_TARGET_CHECK].started_at;
    return str_equal(core->postgres.upstream, leader) && core->mute_since.ms != INT64_MAX &&
           mono_sub(core->now, core->mute_since) >= patience_ms &&
           mono_sub(core->now, last) >= patience_ms;
}

/* Before a node streams from a new leader (or a new term of the old one) it asks whether its own
 * WAL is a part of the leader's (ha.md section 12.2, lessons 69). */
bool core_rule_check_divergence(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const char *leader = NULL;
    if (!can_act(core) || !view_leads(core, &leader) ||
        (checked(core, leader) && !mute(core, leader)) || !leader_answers(core, leader) ||
        core->postgres.datadir != CORE_DATADIR_USABLE ||
        !(view_stopped(core) || view_replica(core)) || view_paused(core) ||
        !view_free(core, CORE_TARGET_CHECK)) {
        return false;
    }
    source(plan_add(plan, CORE_ACTION_CHECK_DIVERGENCE), leader);
    return true;
}

static bool diverged(const struct core *core, const char **out_leader)
{
    ASSERT(core != NULL);
    return view_leads(core, out_leader) && checked(core, *out_leader) &&
           core->divergence == CORE_DIVERGENCE_DIVERGED;
}

static bool may_rewind(const struct core *core)
{
    ASSERT(core != NULL);
    return core->cluster.settings.use_pg_rewind && !core->rewind_failed;
}

static bool may_clone(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_settings *settings = &core->cluster.settings;
    return settings->clone_on_diverged || (core->rewind_failed && settings->clone_on_rewind_failed);
}

bool core_rule_stop_to_rejoin(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const char *leader = NULL;
    if (!can_act(core) || !diverged(core, &leader) || !(may_rewind(core) || may_clone(core)) ||
        core->postgres.process != TRI_YES || !leader_answers(core, leader)) {
        return false;
    }
    (void)plan_add(plan, CORE_ACTION_STOP_FAST);
    return true;
}

bool core_rule_rewind(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const char *leader = NULL;
    if (!can_act(core) || !diverged(core, &leader) || !may_rewind(core) || !view_stopped(core) ||
        !leader_answers(core, leader)) {
        return false;
    }
    const struct core_member *member = view_member(core, leader);
    if (member->checkpoint_pending) {
        return false; /* lessons 65 */
    }
    source(plan_add(plan, CORE_ACTION_REWIND), leader);
    return true;
}

bool core_rule_clone_diverged(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const char *leader = NULL;
    if (!can_act(core) || !diverged(core, &leader) || may_rewind(core) || !may_clone(core) ||
        !view_stopped(core) || !leader_answers(core, leader)) {
        return false;
    }
    source(plan_add(plan, CORE_ACTION_CLONE), leader);
    return true;
}

/* A stopped node with a live leader whose history is not compared yet, or whose rewind has to wait.
 */
bool core_rule_wait_rejoin(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    const char *leader = NULL;
    if (!follower(core) || !view_stopped(core) || !view_leads(core, &leader) ||
        !leader_fresh(core)) {
        return false;
    }
    bool can_rejoin = checked(core, leader) && (core->divergence == CORE_DIVERGENCE_NONE ||
                                                !(may_rewind(core) || may_clone(core)));
    return !can_rejoin;
}

/* The lease is on its way to somebody by name: a start without upstream would be undone at once. */
static bool successor_due(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_lease_record *record = &core->cluster.lease;
    return record->present && record->state == CORE_LEASE_HANDING_TO &&
           !view_me(core, record->to) &&
           mono_before(core->now, mono_add(core->challenge.since, core->challenge.ttl_ms / 2));
}

bool core_rule_start_replica(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    if (!can_act(core) || !view_stopped(core) || core->postgres.datadir != CORE_DATADIR_USABLE ||
        core->postgres.setup_pending || successor_due(core) || view_paused(core) ||
        !view_start_due(core)) {
        return false;
    }
    struct core_action *action = plan_add(plan, CORE_ACTION_START_REPLICA);
    const char *leader = NULL;
    if (view_leads(core, &leader)) {
        source(action, leader);
    }
    return true;
}

bool core_rule_follow(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const char *leader = NULL;
    if (!can_act(core) || !view_replica(core) || !view_leads(core, &leader) ||
        str_equal(core->postgres.upstream, leader) || !checked(core, leader) ||
        core->divergence != CORE_DIVERGENCE_NONE || view_paused(core)) {
        return false;
    }
    source(plan_add(plan, CORE_ACTION_FOLLOW), leader);
    return true;
}

bool core_rule_postgres_busy(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    return core->pending[CORE_TARGET_POSTGRES].active;
}

/* Nothing is done that was not allowed (INV-5); a person has to know. */
bool core_rule_stays_diverged(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    const char *leader = NULL;
    return follower(core) && diverged(core, &leader) && !may_rewind(core) && !may_clone(core) &&
           view_replica(core);
}

bool core_rule_follows(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    const char *leader = NULL;
    return follower(core) && view_replica(core) && view_leads(core, &leader);
}

bool core_rule_idle(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL && plan != NULL);
    return true;
}
