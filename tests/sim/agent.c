/* The shell around one core: it does what core.h's Contract says and decides nothing. All that it
 * knows dies with it, except the memory file and (while a guard lives) the page. */
#include "sim.h"

#include <string.h>

#include "base/assert.h"

#define STEPS_PER_EVENT_MAX 64
#define FAULT_MEMORY_US (10 * SECOND_US)

bool agent_runs(const struct sim *sim, int node)
{
    const struct agent *agent = &sim->node[node].agent;
    return node_runs(sim, node) && agent->alive && agent->frozen_until_us <= sim->now_us;
}

bool agent_is(const struct sim *sim, int node, uint32_t gen)
{
    const struct node *n = &sim->node[node];
    return n->up && n->agent.alive && n->agent.gen == gen;
}

/* ---- actions ---- */

static void exit_agent(struct sim *sim, int node, int code)
{
    struct node *n = &sim->node[node];
    trace_add(sim, node, "exits", "", code, 0);
    n->agent.alive = false;
    n->agent.gen++;
    n->guard.alive = false;
    n->guard.timer_gen++;
    n->memory_slot = NOBODY;
    int64_t at_us = code == 0 ? us_between(sim, 2 * SECOND_US, 20 * SECOND_US)
                              : us_between(sim, SECOND_US, 3 * SECOND_US);
    if (sim->phase == PHASE_HEAL) {
        at_us = us_between(sim, 100000, SECOND_US); /* a person starts what is down */
        sim->demand_from_us = sim->now_us;
    }
    world_push(sim, EV_GUARD_FRESH, at_us, node);
}

static void remember(struct sim *sim, int node, const struct core_action *action)
{
    struct node *n = &sim->node[node];
    int slot = slot_take(sim);
    sim->slot[slot].u.memory = action->u.memory;
    n->memory_slot = slot;
    int64_t slow_us = sim->memory_slow_until_us > sim->now_us ? 4 * SECOND_US : 8000;
    struct ev *ev = world_push(sim, EV_MEMORY_DONE, us_between(sim, 1000, slow_us), node);
    ev->gen = n->agent.gen;
    ev->id = action->id;
    ev->slot = slot;
}

static void probe(struct sim *sim, int node, int64_t at_us, uint32_t id, bool periodic)
{
    struct ev *ev = world_push(sim, EV_PROBE, at_us, node);
    ev->gen = sim->node[node].agent.gen;
    ev->id = id;
    ev->peer = periodic ? 1 : 0;
}

static void start_action(struct sim *sim, int node, const struct core_action *action)
{
    switch (core_action_target(action->type)) {
    case CORE_TARGET_LEASE:
    case CORE_TARGET_READ:
    case CORE_TARGET_KEYS:
        store_call_send(sim, node, action);
        break;
    case CORE_TARGET_POSTGRES:
        postgres_job(sim, node, action);
        break;
    case CORE_TARGET_CHECK:
        postgres_check(sim, node, action);
        break;
    case CORE_TARGET_PROBE:
        probe(sim, node, us_between(sim, 100, 2000), action->id, false);
        break;
    case CORE_TARGET_GUARD:
        guard_order(sim, node, action);
        break;
    case CORE_TARGET_STATUS:
    case CORE_TARGET_PROMISE:
        peers_ask(sim, node, action);
        break;
    case CORE_TARGET_MEMORY:
        remember(sim, node, action);
        break;
    case CORE_TARGET_NONE:
        if (action->type == CORE_ACTION_ANSWER) {
            peers_answer(sim, node, action);
        } else {
            exit_agent(sim, node, action->u.exit.code);
        }
        break;
    case CORE_TARGET_COUNT:
        UNREACHABLE();
    }
}

static bool overrides(enum core_action_type type)
{
    return type == CORE_ACTION_REPLACE_GUARD || type == CORE_ACTION_STOP_FAST ||
           type == CORE_ACTION_STOP_HARD;
}

static void carry_out(struct sim *sim, int node, const struct core_plan *plan)
{
    struct node *n = &sim->node[node];
    check_page(sim, node, plan);
    bool moved =
        n->page.deadline.ms != plan->page.deadline.ms || n->page.ttl_ms != plan->page.ttl_ms;
    n->page = plan->page;
    if (moved) {
        guard_reschedule(sim, node);
    }
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct core_action *action = &plan->action[i];
        struct pending *pending = &n->agent.pending[core_action_target(action->type)];
        check_action(sim, node, plan, action);
        if (core_action_target(action->type) != CORE_TARGET_NONE) {
            if (pending->active && !overrides(action->type)) {
                check_fail(sim, node, "contract", "two unfinished actions on one target");
            }
            *pending = (struct pending){.active = true, .type = action->type, .id = action->id};
        }
        trace_add2(sim, node, "does", core_action_name(action->type),
                   core_reason_name(plan->reason), action->id);
        start_action(sim, node, action);
    }
}

/* ---- the step ---- */

static void count_reason(struct sim *sim, int node, const struct core_plan *plan)
{
    struct agent *agent = &sim->node[node].agent;
    struct stats *stats = sim->stats;
    bool recent = sim->now_us - sim->last_fault_us < FAULT_MEMORY_US;
    stats->reason[plan->reason]++;
    stats->matrix[plan->reason][recent ? sim->last_fault : FAULT_COUNT]++;
    if (plan->count == 0 && plan->reason != agent->reason) {
        trace_add(sim, node, "is", core_reason_name(plan->reason), 0, 0);
    }
    agent->reason = plan->reason;
}

static void schedule_wake(struct sim *sim, int node, struct mono at)
{
    struct agent *agent = &sim->node[node].agent;
    int64_t at_us = node_true_us(sim, node, at.ms);
    if (at_us < sim->now_us + 500) {
        at_us = sim->now_us + 500;
    }
    if (agent->wake_us == at_us && agent->wake_us > sim->now_us) {
        return;
    }
    agent->wake_us = at_us;
    agent->wake_gen++;
    struct ev *ev = world_push(sim, EV_AGENT_WAKE, at_us + rng_range(&sim->rng, 0, 1000), node);
    ev->gen = agent->gen;
    ev->id = agent->wake_gen;
}

void agent_event(struct sim *sim, int node, struct core_event *event)
{
    struct node *n = &sim->node[node];
    struct agent *agent = &n->agent;
    if (!agent->alive) {
        return; /* it ended while this event was being handled */
    }
    ASSERT(agent_runs(sim, node));
    static struct core_plan plan; /* large; one thread */
    for (int steps = 0;; steps++) {
        event->now.ms = node_ms(sim, node);
        event->wall.ms = sim->now_us / 1000;
        check_event(sim, node, event);
        core_step(&agent->core, event, &plan);
        sim->stats->steps++;
        count_reason(sim, node, &plan);
        carry_out(sim, node, &plan);
        if (!agent->alive) {
            return;
        }
        if (plan.count == 0) {
            break;
        }
        if (steps > STEPS_PER_EVENT_MAX) {
            check_fail(sim, node, "contract", "acts without end");
        }
        *event = (struct core_event){.type = CORE_EVENT_TICK};
    }
    schedule_wake(sim, node, plan.wake_at);
}

static void tick(struct sim *sim, int node)
{
    struct core_event event = {.type = CORE_EVENT_TICK};
    agent_event(sim, node, &event);
}

void agent_done(struct sim *sim, int node, const struct core_done *done)
{
    struct pending *pending = &sim->node[node].agent.pending[core_action_target(done->type)];
    if (pending->active && pending->id == done->id) {
        pending->active = false;
    }
    struct core_event event = {.type = CORE_EVENT_DONE, .u.done = *done};
    agent_event(sim, node, &event);
}

void agent_command(struct sim *sim, int node, enum core_command command)
{
    struct core_event event = {.type = CORE_EVENT_COMMAND, .u.command = command};
    agent_event(sim, node, &event);
}

void agent_on_cluster(struct sim *sim, int node, struct core_cluster *cluster)
{
    struct agent *agent = &sim->node[node].agent;
    if (!agent->alive) {
        return;
    }
    static struct core_event event;
    memset(&event, 0, sizeof(event));
    event.type = CORE_EVENT_CLUSTER;
    event.u.cluster = *cluster;
    agent_event(sim, node, &event);
    if (cluster->reachable == TRI_YES && cluster->settings.version != 0) {
        agent->settings = cluster->settings;
    }
}

void agent_tell_postgres(struct sim *sim, int node)
{
    probe(sim, node, us_between(sim, 1000, 10000), 0, false);
}

void agent_tell_guard(struct sim *sim, int node)
{
    struct ev *ev = world_push(sim, EV_GUARD_FACT, us_between(sim, 500, 5000), node);
    ev->gen = sim->node[node].agent.gen;
}

/* ---- life and death ---- */

void agent_start(struct sim *sim, int node)
{
    struct node *n = &sim->node[node];
    struct agent *agent = &n->agent;
    static struct core_config config;
    memset(&config, 0, sizeof(config));
    memcpy(config.name, n->name, NAME_SIZE);
    config.nofailover = n->nofailover;
    config.failover_priority = 1;
    config.may_bootstrap = true;
    config.same_boot = n->memory_boot == n->boot;
    config.settings = sim->settings;
    config.settings.version = 0;
    config.settings.pause = false;
    static const struct core_memory none;
    uint32_t gen = agent->gen + 1;
    uint32_t watch_gen = agent->watch_gen + 1;
    uint32_t wake_gen = agent->wake_gen;
    uint64_t request_next = agent->request_next;
    memset(agent, 0, sizeof(*agent));
    agent->alive = true;
    agent->gen = gen;
    agent->watch_gen = watch_gen;
    agent->wake_gen = wake_gen;
    agent->request_next = request_next;
    agent->settings = config.settings;
    agent->reason = CORE_REASON_IDLE;
    sim->store.push_pending[node] = false;
    n->witness.seen = false;
    n->witness.read_asked_ms = -1;
    n->witness.cluster_ms = -1;
    n->witness.postgres_ms = -1;
    n->witness.stall_ms = node_ms(sim, node);
    n->witness.last_step_ms = node_ms(sim, node);
    trace_add(sim, node, "agent", "starts", n->page.present, (int64_t)n->page.epoch);
    core_init(&agent->core, &config, n->has_memory ? &n->memory : &none, &n->page,
              (struct mono){node_ms(sim, node)});
    world_push(sim, EV_WATCH_TRY, sim->now_us + 500, node)->gen = watch_gen;
    world_push(sim, EV_SESSION, sim->now_us + 1000, node)->gen = gen;
    probe(sim, node, sim->now_us + 300, 0, true);
    agent_tell_guard(sim, node);
    struct ev *beat = world_push(sim, EV_GUARD_FACT, sim->now_us + 2000, node);
    beat->gen = gen;
    beat->id = 1;
    tick(sim, node);
}

void agent_kill(struct sim *sim, int node)
{
    struct node *n = &sim->node[node];
    struct agent *agent = &n->agent;
    if (!agent->alive) {
        return;
    }
    if (n->pg.job.active && n->pg.job.type == CORE_ACTION_PROMOTE) {
        mark(sim, MARK_AGENT_LOST_RISING);
    }
    agent->alive = false;
    agent->gen++;
    if (n->memory_slot != NOBODY && rng_chance(&sim->rng, 500)) {
        n->memory = sim->slot[n->memory_slot].u.memory; /* the rename had happened */
        n->has_memory = true;
        n->memory_boot = n->boot;
    }
    n->memory_slot = NOBODY;
    postgres_agent_died(sim, node);
    if (n->guard.alive) {
        int64_t at_us = us_between(sim, 20000, 50000);
        if (n->guard.frozen_until_us > at_us) {
            at_us = n->guard.frozen_until_us;
        }
        world_push(sim, EV_AGENT_START, at_us, node)->gen = agent->gen;
    } else {
        world_push(sim, EV_GUARD_FRESH, us_between(sim, 100000, 250000), node);
    }
}

void agent_freeze(struct sim *sim, int node, int64_t until_us)
{
    struct agent *agent = &sim->node[node].agent;
    agent->frozen_until_us = until_us;
    int64_t kill_us = sim->now_us + sim->settings.ttl_ms * 1000 / 3;
    if (kill_us < until_us) {
        world_push(sim, EV_AGENT_KILLED, kill_us, node)->gen = agent->gen;
    }
}

void node_restart(struct sim *sim, int node)
{
    struct node *n = &sim->node[node];
    if (!n->up || n->agent.alive) {
        return;
    }
    if (!n->guard.alive) {
        guard_fresh(sim, node);
    }
    world_push(sim, EV_AGENT_START, us_between(sim, 20000, 60000), node)->gen = n->agent.gen;
}

/* ---- events ---- */

static void on_probe(struct sim *sim, const struct ev *ev)
{
    if (!agent_is(sim, ev->node, ev->gen)) {
        return;
    }
    int slot = slot_take(sim);
    postgres_facts(sim, ev->node, &sim->slot[slot].u.postgres);
    bool hung = sim->node[ev->node].pg.hung_until_us > sim->now_us;
    struct ev *done =
        world_push(sim, EV_PROBE_DONE,
                   hung ? us_between(sim, 50000, 500000) : us_between(sim, 300, 3000), ev->node);
    done->gen = ev->gen;
    done->id = ev->id;
    done->slot = slot;
    done->arg = node_ms(sim, ev->node);
    if (ev->peer == 1) {
        probe(sim, ev->node, us_between(sim, 800000, 1200000), 0, true);
    }
}

static void on_probe_done(struct sim *sim, const struct ev *ev)
{
    struct core_event event = {.type = CORE_EVENT_POSTGRES};
    event.u.postgres = sim->slot[ev->slot].u.postgres;
    event.u.postgres.asked_at.ms = ev->arg;
    slot_give(sim, ev->slot);
    if (!agent_is(sim, ev->node, ev->gen)) {
        return;
    }
    agent_event(sim, ev->node, &event);
    if (ev->id != 0) {
        agent_done(sim, ev->node,
                   &(struct core_done){
                       .type = CORE_ACTION_PROBE, .id = ev->id, .outcome = CORE_OUTCOME_APPLIED});
    }
}

/* The heartbeat is looked at often and told when it says something new. */
static void on_guard_fact(struct sim *sim, const struct ev *ev)
{
    if (!agent_is(sim, ev->node, ev->gen)) {
        return;
    }
    struct agent *agent = &sim->node[ev->node].agent;
    struct core_event event = {.type = CORE_EVENT_GUARD};
    struct core_guard *facts = &event.u.guard;
    guard_facts(sim, ev->node, facts);
    bool same = facts->alive == agent->told.alive && facts->armed == agent->told.armed &&
                facts->armed_epoch == agent->told.armed_epoch &&
                facts->fenced == agent->told.fenced;
    if (ev->id == 1) {
        struct ev *next = world_push(sim, EV_GUARD_FACT,
                                     sim->now_us + sim->settings.ttl_ms * 1000 / 20, ev->node);
        next->gen = ev->gen;
        next->id = 1;
    }
    if (same && sim->now_us - agent->told_us < SECOND_US) {
        return;
    }
    agent->told = *facts;
    agent->told_us = sim->now_us;
    facts->asked_at.ms = node_ms(sim, ev->node);
    agent_event(sim, ev->node, &event);
}

static void on_memory_done(struct sim *sim, const struct ev *ev)
{
    struct node *n = &sim->node[ev->node];
    bool mine = agent_is(sim, ev->node, ev->gen);
    if (mine) {
        n->memory = sim->slot[ev->slot].u.memory;
        n->has_memory = true;
        n->memory_boot = n->boot;
        n->memory_slot = NOBODY;
    }
    slot_give(sim, ev->slot);
    if (mine) {
        agent_done(sim, ev->node,
                   &(struct core_done){.type = CORE_ACTION_REMEMBER,
                                       .id = ev->id,
                                       .outcome = CORE_OUTCOME_APPLIED});
    }
}

static void on_store_reply(struct sim *sim, const struct ev *ev)
{
    struct call *call = &sim->slot[ev->slot].u.call;
    struct core_done done = call->done;
    static struct core_cluster cluster;
    bool has_cluster = call->has_cluster;
    cluster = call->cluster;
    cluster.asked_at.ms = call->sent_ms;
    cluster.linearizable = true;
    if (done.type == CORE_ACTION_LEASE_WRITE && agent_is(sim, ev->node, ev->gen)) {
        check_lease_answered(sim, ev->node, call);
    }
    slot_give(sim, ev->slot);
    if (!agent_is(sim, ev->node, ev->gen)) {
        return;
    }
    struct agent *agent = &sim->node[ev->node].agent;
    const struct pending *pending = &agent->pending[core_action_target(done.type)];
    if (!pending->active || pending->id != ev->id) {
        return; /* given up */
    }
    if (done.type == CORE_ACTION_READ) {
        if (!has_cluster) {
            memset(&cluster, 0, sizeof(cluster));
            cluster.reachable = TRI_NO;
            cluster.asked_at.ms = node_ms(sim, ev->node);
        }
        agent_on_cluster(sim, ev->node, &cluster);
    }
    if (agent->alive) {
        agent_done(sim, ev->node, &done);
    }
}

static void on_call_timeout(struct sim *sim, const struct ev *ev)
{
    if (!agent_is(sim, ev->node, ev->gen)) {
        return;
    }
    enum core_action_type type = (enum core_action_type)ev->peer;
    struct agent *agent = &sim->node[ev->node].agent;
    const struct pending *pending = &agent->pending[core_action_target(type)];
    if (!pending->active || pending->id != ev->id) {
        return;
    }
    struct core_done done = {.type = type, .id = ev->id, .outcome = CORE_OUTCOME_UNKNOWN};
    trace_add(sim, ev->node, "no answer", core_action_name(type), ev->id, 0);
    if (type == CORE_ACTION_READ) {
        done.outcome = CORE_OUTCOME_NOT_APPLIED;
        static struct core_cluster cluster;
        memset(&cluster, 0, sizeof(cluster));
        cluster.reachable = TRI_NO;
        cluster.asked_at.ms = node_ms(sim, ev->node);
        agent_on_cluster(sim, ev->node, &cluster);
    } else {
        sim->stats->in_doubt++;
    }
    if (agent->alive) {
        agent_done(sim, ev->node, &done);
    }
}

static void on_push(struct sim *sim, const struct ev *ev)
{
    static struct core_cluster cluster;
    cluster = sim->slot[ev->slot].u.cluster;
    slot_give(sim, ev->slot);
    const struct agent *agent = &sim->node[ev->node].agent;
    if (!sim->node[ev->node].up || !agent->alive || agent->watch_gen != ev->gen) {
        return;
    }
    cluster.asked_at.ms = node_ms(sim, ev->node);
    cluster.linearizable = false;
    agent_on_cluster(sim, ev->node, &cluster);
}

static void on_action_done(struct sim *sim, const struct ev *ev)
{
    if (!agent_is(sim, ev->node, ev->gen)) {
        return;
    }
    struct core_done done = {.type = (enum core_action_type)ev->peer,
                             .id = ev->id,
                             .outcome = (enum core_outcome)ev->arg};
    if (ev->slot != NOBODY) {
        done.divergence = (enum core_divergence)ev->slot;
    }
    /* The facts come before the end of the action that changed them. */
    struct core_event event = {.type = CORE_EVENT_POSTGRES};
    postgres_facts(sim, ev->node, &event.u.postgres);
    event.u.postgres.asked_at.ms = node_ms(sim, ev->node);
    agent_event(sim, ev->node, &event);
    if (sim->node[ev->node].agent.alive) {
        agent_done(sim, ev->node, &done);
    }
}

static void on_agent_start(struct sim *sim, const struct ev *ev)
{
    struct node *n = &sim->node[ev->node];
    if (n->up && !n->agent.alive && n->agent.gen == ev->gen && n->guard.alive) {
        agent_start(sim, ev->node);
    }
}

static void on_killed(struct sim *sim, const struct ev *ev)
{
    if (agent_is(sim, ev->node, ev->gen) && guard_runs(sim, ev->node) &&
        sim->node[ev->node].agent.frozen_until_us > sim->now_us) {
        trace_add(sim, ev->node, "guard", "ends the frozen agent", 0, 0);
        agent_kill(sim, ev->node);
    }
}

void agent_on_ev(struct sim *sim, const struct ev *ev)
{
    switch ((int)ev->type) {
    case EV_STORE_REPLY:
        on_store_reply(sim, ev);
        break;
    case EV_CALL_TIMEOUT:
        on_call_timeout(sim, ev);
        break;
    case EV_PUSH_ARRIVE:
        on_push(sim, ev);
        break;
    case EV_WATCH_TRY:
        store_on_watch_try(sim, ev);
        break;
    case EV_SESSION:
        store_on_session(sim, ev);
        break;
    case EV_AGENT_START:
        on_agent_start(sim, ev);
        break;
    case EV_AGENT_WAKE:
        if (agent_is(sim, ev->node, ev->gen) && ev->id == sim->node[ev->node].agent.wake_gen) {
            tick(sim, ev->node);
        }
        break;
    case EV_AGENT_KILLED:
        on_killed(sim, ev);
        break;
    case EV_PROBE:
        on_probe(sim, ev);
        break;
    case EV_PROBE_DONE:
        on_probe_done(sim, ev);
        break;
    case EV_GUARD_FACT:
        on_guard_fact(sim, ev);
        break;
    case EV_MEMORY_DONE:
        on_memory_done(sim, ev);
        break;
    case EV_ACTION_DONE:
        on_action_done(sim, ev);
        break;
    case EV_ASK_ARRIVE:
        peers_on_arrive(sim, ev);
        break;
    case EV_ASK_REPLY:
        peers_on_reply(sim, ev);
        break;
    case EV_ASK_TIMEOUT:
        peers_on_timeout(sim, ev);
        break;
    default:
        UNREACHABLE();
    }
}
