/* The guard knows the page and the clock, nothing else: armed, it ends PostgreSQL in two stages
 * however the agent fares. */
#include "sim.h"

#include <string.h>

#include "base/assert.h"

bool guard_runs(const struct sim *sim, int node)
{
    const struct guard *guard = &sim->node[node].guard;
    return node_runs(sim, node) && guard->alive && guard->frozen_until_us <= sim->now_us;
}

void guard_facts(const struct sim *sim, int node, struct core_guard *out_facts)
{
    const struct guard *guard = &sim->node[node].guard;
    memset(out_facts, 0, sizeof(*out_facts));
    bool stale = guard->frozen_until_us > sim->now_us &&
                 sim->now_us - guard->frozen_since_us > sim->settings.ttl_ms * 1000 / 8;
    out_facts->alive = guard->alive && !stale ? TRI_YES : TRI_NO;
    out_facts->armed = guard->armed;
    out_facts->armed_epoch = guard->armed ? guard->epoch : 0;
    out_facts->fenced = guard->fenced;
}

static void mark_fence(struct sim *sim, int node, enum mark stage)
{
    mark(sim, stage);
    if (!agent_runs(sim, node)) {
        mark(sim, MARK_FENCED_AGENT_AWAY);
    }
}

static int64_t stage_ms(const struct core_page *page, bool hard)
{
    return page->deadline.ms - (hard ? page->ttl_ms / 20 : page->ttl_ms * 3 / 10);
}

void guard_reschedule(struct sim *sim, int node)
{
    struct node *n = &sim->node[node];
    struct guard *guard = &n->guard;
    guard->timer_gen++;
    if (!n->up || !guard->alive || !guard->armed || n->pg.state == PG_DOWN || n->pg.killed) {
        return;
    }
    int64_t at_us = sim->now_us;
    if (n->page.deadline.ms != 0) {
        at_us = node_true_us(sim, node, stage_ms(&n->page, guard->fenced));
    }
    if (at_us == INT64_MAX) {
        return;
    }
    if (at_us < sim->now_us) {
        at_us = sim->now_us;
    }
    world_push(sim, EV_GUARD_TIMER, at_us + rng_range(&sim->rng, 0, 3000), node)->gen =
        guard->timer_gen;
}

void guard_on_timer(struct sim *sim, const struct ev *ev)
{
    struct node *n = &sim->node[ev->node];
    struct guard *guard = &n->guard;
    if (!guard_runs(sim, ev->node) || ev->gen != guard->timer_gen || !guard->armed ||
        n->pg.state == PG_DOWN) {
        return;
    }
    int64_t now_ms = node_ms(sim, ev->node);
    if (n->page.deadline.ms == 0 || now_ms >= stage_ms(&n->page, true)) {
        if (!n->pg.killed) {
            guard->fenced = true;
            sim->stats->fences++;
            mark_fence(sim, ev->node, MARK_FENCED_HARD);
            trace_add(sim, ev->node, "guard", "deadline: kills PostgreSQL", n->page.deadline.ms,
                      now_ms);
            check_primary_stopped(sim, ev->node, "the guard (0.95 ttl)", n->page.deadline.ms == 0);
            postgres_kill(sim, ev->node, us_between(sim, 500, 10000));
        }
    } else if (!guard->fenced && now_ms >= stage_ms(&n->page, false)) {
        guard->fenced = true;
        sim->stats->fences++;
        mark_fence(sim, ev->node, MARK_FENCED_FAST);
        trace_add(sim, ev->node, "guard", "0.7 ttl: interrupts PostgreSQL", n->page.deadline.ms,
                  now_ms);
        check_primary_stopped(sim, ev->node, "the guard (0.7 ttl)", false);
        postgres_interrupt(sim, ev->node);
    }
    agent_tell_guard(sim, ev->node);
    guard_reschedule(sim, ev->node);
}

void guard_order(struct sim *sim, int node, const struct core_action *action)
{
    struct node *n = &sim->node[node];
    struct guard *guard = &n->guard;
    bool runs = guard_runs(sim, node);
    bool replaces = action->type == CORE_ACTION_REPLACE_GUARD;
    if (runs && action->type == CORE_ACTION_ARM) {
        guard->armed = true;
        guard->epoch = action->u.guard.epoch;
        guard->fenced = guard->fenced && n->pg.state == PG_STOPPING;
        guard_reschedule(sim, node);
    } else if (runs && action->type == CORE_ACTION_DISARM) {
        guard->armed = false;
        guard->epoch = 0;
        guard->fenced = false;
        guard_reschedule(sim, node);
    }
    int64_t at_us = replaces ? us_between(sim, 20000, 60000)
                    : runs   ? us_between(sim, 500, 5000)
                             : us_between(sim, 100000, 200000);
    struct ev *done = world_push(sim, EV_GUARD_DONE, at_us, node);
    done->gen = n->agent.gen;
    done->id = action->id;
    done->peer = (int)action->type;
    done->arg = runs || replaces ? CORE_OUTCOME_APPLIED : CORE_OUTCOME_UNKNOWN;
    if (replaces && guard->gone_until_us > sim->now_us) {
        done->arg = CORE_OUTCOME_NOT_APPLIED;
    }
}

void guard_on_done(struct sim *sim, const struct ev *ev)
{
    if (!agent_is(sim, ev->node, ev->gen)) {
        return;
    }
    struct guard *guard = &sim->node[ev->node].guard;
    if (ev->peer == CORE_ACTION_REPLACE_GUARD && ev->arg == CORE_OUTCOME_APPLIED) {
        *guard =
            (struct guard){.alive = true, .gen = guard->gen + 1, .timer_gen = guard->timer_gen + 1};
        trace_add(sim, ev->node, "guard", "replaced", 0, 0);
        if (postgres_acking(sim, ev->node)) {
            mark(sim, MARK_GUARD_REPLACED);
        }
    }
    struct core_event event = {.type = CORE_EVENT_GUARD};
    guard_facts(sim, ev->node, &event.u.guard);
    event.u.guard.asked_at.ms = node_ms(sim, ev->node);
    agent_event(sim, ev->node, &event);
    agent_done(sim, ev->node,
               &(struct core_done){.type = (enum core_action_type)ev->peer,
                                   .id = ev->id,
                                   .outcome = (enum core_outcome)ev->arg});
}

void guard_kill(struct sim *sim, int node)
{
    struct guard *guard = &sim->node[node].guard;
    guard->alive = false;
    guard->timer_gen++;
    agent_tell_guard(sim, node);
}

void guard_freeze(struct sim *sim, int node, int64_t until_us)
{
    struct guard *guard = &sim->node[node].guard;
    guard->frozen_since_us = sim->now_us;
    guard->frozen_until_us = until_us;
}

/* After both died: what a guard that was armed left running is ended, and nothing is known. */
void guard_fresh(struct sim *sim, int node)
{
    struct node *n = &sim->node[node];
    ASSERT(!n->agent.alive);
    bool fence = n->guard.armed && n->pg.primary && n->pg.state != PG_DOWN;
    n->guard =
        (struct guard){.alive = true, .gen = n->guard.gen + 1, .timer_gen = n->guard.timer_gen + 1};
    n->page = (struct core_page){0};
    trace_add(sim, node, "guard", fence ? "fresh, fences what it finds" : "fresh", 0, 0);
    if (fence) {
        sim->stats->fences++;
        postgres_kill(sim, node, us_between(sim, 500, 10000));
    }
}
