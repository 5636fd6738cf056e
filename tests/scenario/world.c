/* A shell as small as core.h allows, and a store, a server, a guard and peers that do at once what
 * they are asked: an answer comes a millisecond after the question. What takes its time (the server,
 * the look at histories) is answered by the script. */
#include "world.h"

#include "base/assert.h"
#include "base/str.h"

#define STEPS_MAX 200 /* after one event: more is a loop without end */

static void step(struct world *world, struct core_event *event)
{
    event->now = world->now;
    event->wall = (struct wall){world->wall.ms + mono_sub(world->now, world->start)};
    core_step(&world->core, event, &world->plan);
    world->page = world->plan.page;
    for (uint32_t i = 0; i < world->plan.count; i++) {
        const struct core_action *action = &world->plan.action[i];
        enum core_target target = core_action_target(action->type);
        world->asked[target] = *action;
        world->open[target] = target != CORE_TARGET_NONE;
        world->ended = world->ended || action->type == CORE_ACTION_EXIT;
    }
    print_plan(world);
}

/* One event, and ticks as long as there are plans. */
static void step_on(struct world *world, struct core_event *event)
{
    if (!world->ended) {
        step(world, event);
    }
    for (int i = 0; world->plan.count > 0 && !world->ended; i++) {
        ASSERT(i < STEPS_MAX);
        struct core_event tick = {.type = CORE_EVENT_TICK};
        step(world, &tick);
    }
}

void world_step(struct world *world, struct core_event *event)
{
    step_on(world, event);
    world_settle(world);
}

static void see_store(struct world *world, bool linearizable)
{
    struct core_event event = {.type = CORE_EVENT_CLUSTER, .u.cluster = world->cluster};
    event.u.cluster.asked_at = world->now;
    event.u.cluster.linearizable = linearizable;
    step_on(world, &event);
}

static void see_postgres(struct world *world)
{
    struct core_event event = {.type = CORE_EVENT_POSTGRES, .u.postgres = world->postgres};
    event.u.postgres.asked_at = world->now;
    step_on(world, &event);
}

static void see_guard(struct world *world)
{
    struct core_event event = {.type = CORE_EVENT_GUARD, .u.guard = world->guard};
    event.u.guard.asked_at = world->now;
    step_on(world, &event);
}

void world_see_store(struct world *world, bool linearizable)
{
    see_store(world, linearizable);
    world_settle(world);
}

void world_see_postgres(struct world *world)
{
    see_postgres(world);
    world_settle(world);
}

void world_see_guard(struct world *world)
{
    see_guard(world);
    world_settle(world);
}

/* ---- what becomes of an action ---- */

/* The transaction's checks and writes, as a store does them. */
static bool apply_lease(struct world *world, const struct core_lease_write *write)
{
    struct core_cluster *cluster = &world->cluster;
    bool checks =
        cluster->lease.version == write->lease_version &&
        (!write->check_failsafe || cluster->failsafe.version == write->failsafe_version) &&
        (write->leader_op != CORE_LEADER_ATTACH ||
         cluster->leader.version == write->leader_version);
    if (!checks) {
        return false;
    }
    cluster->revision++;
    cluster->lease = write->record;
    cluster->lease.version = cluster->revision;
    if (write->leader_op == CORE_LEADER_ATTACH) {
        cluster->leader.version = cluster->revision;
        str_set(cluster->leader.name, NAME_SIZE, world->config.name);
    } else if (write->leader_op == CORE_LEADER_DELETE) {
        cluster->leader = (struct core_leader_key){0};
    }
    return true;
}

static void apply_keys(struct world *world, const struct core_action *action)
{
    struct core_cluster *cluster = &world->cluster;
    cluster->revision++;
    if (action->type == CORE_ACTION_CLAIM_INITIALIZE ||
        action->type == CORE_ACTION_FINISH_INITIALIZE) {
        bool done = action->type == CORE_ACTION_FINISH_INITIALIZE;
        cluster->initialize = done ? CORE_INITIALIZE_DONE : CORE_INITIALIZE_RUNNING;
        cluster->initialize_version = cluster->revision;
        cluster->sysid = done ? world->postgres.sysid : 0;
    } else if (action->type == CORE_ACTION_CANCEL_INITIALIZE) {
        cluster->initialize = CORE_INITIALIZE_ABSENT;
        cluster->initialize_version = 0;
    } else if (action->type == CORE_ACTION_WRITE_CONFIG) {
        cluster->settings.version = cluster->revision;
        cluster->config_version = cluster->revision;
    } else if (action->type == CORE_ACTION_WRITE_FAILSAFE) {
        cluster->failsafe =
            (struct core_failsafe){.version = cluster->revision, .names = action->u.keys.names};
    } else if (action->type == CORE_ACTION_CLEAR_FAILOVER) {
        cluster->failover = (struct core_failover){.version = cluster->revision};
    }
}

static void apply_start(struct core_postgres *postgres, bool primary)
{
    postgres->process = TRI_YES;
    postgres->accepting = TRI_YES;
    postgres->primary = primary ? TRI_YES : TRI_NO;
    postgres->control = primary ? CORE_CONTROL_IN_PRODUCTION : CORE_CONTROL_IN_ARCHIVE_RECOVERY;
    postgres->shutdown_lsn = 0;
    postgres->incarnation++;
}

static void apply_stop(struct core_postgres *postgres, bool clean)
{
    bool primary = postgres->primary == TRI_YES;
    if (primary && clean && postgres->process == TRI_YES) {
        postgres->control = CORE_CONTROL_SHUT_DOWN;
        postgres->shutdown_lsn = postgres->lsn;
    }
    postgres->process = TRI_NO;
    postgres->accepting = TRI_NO;
    postgres->primary = TRI_UNKNOWN;
    postgres->streaming = false;
}

static void apply_postgres(struct world *world, const struct core_action *action)
{
    struct core_postgres *postgres = &world->postgres;
    enum core_action_type type = action->type;
    bool copy = type == CORE_ACTION_CLONE || type == CORE_ACTION_REWIND;
    bool upstream = type == CORE_ACTION_START_REPLICA || type == CORE_ACTION_FOLLOW;
    if (type == CORE_ACTION_START_PRIMARY || type == CORE_ACTION_START_REPLICA) {
        apply_start(postgres, type == CORE_ACTION_START_PRIMARY);
    } else if (type == CORE_ACTION_STOP_FAST || type == CORE_ACTION_STOP_HARD) {
        apply_stop(postgres, type == CORE_ACTION_STOP_FAST);
    } else if (type == CORE_ACTION_PROMOTE) {
        postgres->primary = TRI_YES;
        postgres->control = CORE_CONTROL_IN_PRODUCTION;
        postgres->timeline++;
        postgres->timeline_checkpointed = false;
        postgres->streaming = false;
        postgres->upstream[0] = '\0';
    } else if (type == CORE_ACTION_CHECKPOINT) {
        postgres->timeline_checkpointed = true;
    } else if (copy || type == CORE_ACTION_INITDB) {
        postgres->datadir = CORE_DATADIR_USABLE;
        postgres->sysid = copy ? world->cluster.sysid : 7;
        postgres->control = copy ? CORE_CONTROL_IN_ARCHIVE_RECOVERY : CORE_CONTROL_SHUT_DOWN;
        postgres->setup_pending = !copy;
    } else if (type == CORE_ACTION_SETUP) {
        postgres->setup_pending = false;
    } else if (type == CORE_ACTION_SET_ASIDE) {
        *postgres = (struct core_postgres){
            .process = TRI_NO, .accepting = TRI_NO, .datadir = CORE_DATADIR_EMPTY};
    }
    if (upstream) {
        str_set(postgres->upstream, NAME_SIZE, action->u.postgres.upstream);
        postgres->streaming = action->u.postgres.upstream[0] != '\0';
    }
}

static void apply_guard(struct world *world, const struct core_action *action)
{
    if (action->type == CORE_ACTION_REPLACE_GUARD) {
        world->guard.alive = TRI_YES;
    } else {
        world->guard.armed = action->type == CORE_ACTION_ARM;
        world->guard.armed_epoch = world->guard.armed ? action->u.guard.epoch : 0;
        world->guard.fenced = world->guard.fenced && world->guard.armed;
    }
}

/* True unless a check of the store refused it. */
static bool apply(struct world *world, enum core_target target)
{
    const struct core_action *action = &world->asked[target];
    if (target == CORE_TARGET_LEASE) {
        return apply_lease(world, &action->u.lease);
    }
    if (target == CORE_TARGET_KEYS) {
        apply_keys(world, action);
    } else if (target == CORE_TARGET_POSTGRES) {
        apply_postgres(world, action);
    } else if (target == CORE_TARGET_GUARD) {
        apply_guard(world, action);
    } else if (target == CORE_TARGET_MEMORY) {
        world->memory = action->u.memory;
    }
    return true;
}

/* ---- answers ---- */

static void answer_peers(struct world *world, const struct core_action *action)
{
    bool status = action->type == CORE_ACTION_ASK_STATUS;
    const struct core_name_list *names = &action->u.ask.names;
    for (uint32_t n = 0; n < names->count; n++) {
        const struct peer *found = NULL;
        for (uint32_t i = 0; i < world->peer_count; i++) {
            found = str_equal(world->peer[i].status.name, names->name[n]) ? &world->peer[i] : found;
        }
        bool answers = found != NULL && !found->silent;
        struct core_event event = {.type = CORE_EVENT_PEER_STATUS};
        if (status) {
            if (answers) {
                event.u.peer_status = found->status;
            }
            str_set(event.u.peer_status.name, NAME_SIZE, names->name[n]);
            event.u.peer_status.asked_at = action->u.ask.asked_at;
            event.u.peer_status.reachable = answers ? TRI_YES : TRI_NO;
        } else {
            event.type = CORE_EVENT_PEER_PROMISE;
            str_set(event.u.peer_promise.name, NAME_SIZE, names->name[n]);
            event.u.peer_promise.round = action->u.ask.round;
            event.u.peer_promise.granted = answers && !found->refuses;
        }
        step_on(world, &event);
    }
}

/* What comes before the DONE (core.h). */
static void answer_facts(struct world *world, enum core_target target, bool applied)
{
    const struct core_action action = world->asked[target];
    if (target == CORE_TARGET_READ) {
        see_store(world, true);
    } else if (target == CORE_TARGET_PROBE && applied) {
        see_postgres(world);
    } else if ((target == CORE_TARGET_STATUS || target == CORE_TARGET_PROMISE) && applied) {
        answer_peers(world, &action);
    }
}

void world_done(struct world *world, enum core_target target, enum outcome outcome,
                enum core_divergence divergence)
{
    static const enum core_outcome outcomes[] = {CORE_OUTCOME_APPLIED, CORE_OUTCOME_NOT_APPLIED,
                                                 CORE_OUTCOME_NOT_APPLIED, CORE_OUTCOME_UNKNOWN,
                                                 CORE_OUTCOME_UNKNOWN};
    ASSERT(world->open[target]);
    const struct core_action action = world->asked[target];
    world->open[target] = false;
    bool lands = outcome == OUTCOME_APPLIED || outcome == OUTCOME_LOST;
    if (lands && !apply(world, target) && outcome == OUTCOME_APPLIED) {
        outcome = OUTCOME_CONFLICT;
    }
    world->now = mono_add(world->now, 1);
    answer_facts(world, target, outcome == OUTCOME_APPLIED);
    if (target == CORE_TARGET_POSTGRES) {
        see_postgres(world); /* the shell looks before it tells (exec_pg.c) */
    } else if (target == CORE_TARGET_GUARD) {
        see_guard(world);
    }
    struct core_event event = {.type = CORE_EVENT_DONE};
    event.u.done = (struct core_done){.type = action.type,
                                      .id = action.id,
                                      .outcome = outcomes[outcome],
                                      .version = world->cluster.revision,
                                      .divergence = divergence,
                                      .conflict = outcome == OUTCOME_CONFLICT};
    step_on(world, &event);
}

void world_settle(struct world *world)
{
    bool away = world->cluster.reachable != TRI_YES;
    for (int steps = 0, found = 1; found != 0; steps++) {
        ASSERT(steps < STEPS_MAX);
        found = 0;
        for (int t = 0; t < CORE_TARGET_NONE && found == 0; t++) {
            bool store = t == CORE_TARGET_LEASE || t == CORE_TARGET_READ || t == CORE_TARGET_KEYS;
            if (world->open[t] && !world->held[t] && !world->ended) {
                found = 1;
                world_done(world, (enum core_target)t,
                           store && away ? OUTCOME_UNKNOWN : OUTCOME_APPLIED,
                           CORE_DIVERGENCE_UNKNOWN);
            }
        }
    }
}
