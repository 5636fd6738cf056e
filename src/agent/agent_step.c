/* agent/agent_step.c - the one place where the core is stepped: event in, page written, actions
 * started, again while the core still orders something. What executors report during a step waits
 * in a small queue, so steps never nest.
 */
#include "agent/shell.h"

#include <string.h>

#include "base/assert.h"

#define WAKE_MS_MAX 60000 /* so that a suspended machine is noticed */
#define STEPS_MAX 100     /* more in one turn is a bug: a rule that fires on its own effect */

static void page_write(struct agent *agent, const struct core_page *page)
{
    const struct core_page *last = &agent->page_written;
    if (agent->page == NULL ||
        (agent->page_known && page->deadline.ms == last->deadline.ms &&
         page->ttl_ms == last->ttl_ms && page->epoch == last->epoch && page->seq == last->seq)) {
        return;
    }
    struct page_lease lease = {
        .deadline = page->deadline, .ttl_ms = page->ttl_ms, .epoch = page->epoch, .seq = page->seq};
    page_lease_write(agent->page, &lease);
    bool lowered = agent->page_known && mono_before(page->deadline, last->deadline);
    agent->page_written = *page;
    agent->page_known = true;
    if (lowered) {
        exec_guard_ping(agent); /* its timer stands at the old deadline */
    }
}

static void action_start(struct agent *agent, const struct core_action *action)
{
    ASSERT(action->type < CORE_ACTION_COUNT);
    switch (core_action_target(action->type)) {
    case CORE_TARGET_LEASE:
        exec_lease_write(agent, action);
        break;
    case CORE_TARGET_READ:
        store_view_read(agent, action);
        break;
    case CORE_TARGET_KEYS:
        exec_keys_start(agent, action);
        break;
    case CORE_TARGET_POSTGRES:
    case CORE_TARGET_CHECK:
        exec_pg_start(agent, action);
        break;
    case CORE_TARGET_PROBE:
        exec_pg_probe_action(agent, action);
        break;
    case CORE_TARGET_GUARD:
        exec_guard_start(agent, action);
        break;
    case CORE_TARGET_STATUS:
    case CORE_TARGET_PROMISE:
        exec_peers_start(agent, action);
        break;
    case CORE_TARGET_MEMORY:
        exec_memory_start(agent, action);
        break;
    case CORE_TARGET_NONE:
        if (action->type == CORE_ACTION_ANSWER) {
            rest_bridge_answer(agent, action);
        } else {
            ASSERT(action->type == CORE_ACTION_EXIT);
            agent_exit(agent, action->u.exit.code);
        }
        break;
    case CORE_TARGET_COUNT:
        UNREACHABLE();
    }
}

static void step_once(struct agent *agent, struct core_event *event)
{
    event->now = mono_now();
    event->wall = wall_now();
    agent->steps++;
    core_step(&agent->core, event, &agent->plan);
    page_write(agent, &agent->plan.page);
    plan_log(agent, event->wall);
    /* A copy: an executor may report at once, and the queue is only drained after this loop, but
     * nothing may depend on that. */
    struct core_plan plan = agent->plan;
    ASSERT(plan.count <= CORE_ACTIONS_MAX);
    for (uint32_t i = 0; i < plan.count; i++) {
        action_start(agent, &plan.action[i]);
    }
}

static void wake_fired(uv_timer_t *timer)
{
    agent_tick(timer->data);
}

static void wake_arm(struct agent *agent)
{
    uv_update_time(&agent->loop);
    int64_t wait_ms = mono_sub(agent->plan.wake_at, mono_now());
    wait_ms = wait_ms < 1 ? 1 : wait_ms > WAKE_MS_MAX ? WAKE_MS_MAX : wait_ms;
    int started = uv_timer_start(&agent->wake_timer, wake_fired, (uint64_t)wait_ms, 0);
    ASSERT(started == 0);
    exec_guard_beat(agent);
}

void agent_deliver(struct agent *agent, const struct core_event *event)
{
    ASSERT(event->type < CORE_EVENT_COUNT);
    if (agent->exiting) {
        return; /* the last word was EXIT */
    }
    if (agent->stepping) {
        ASSERT(agent->queue_count < AGENT_QUEUE_MAX);
        agent->queue[agent->queue_count++] = *event;
        return;
    }
    agent->stepping = true;
    agent->scratch = *event;
    uint32_t steps = 0;
    for (;;) {
        step_once(agent, &agent->scratch);
        steps++;
        ASSERT(steps <= STEPS_MAX);
        if (agent->queue_count > 0) {
            agent->scratch = agent->queue[0];
            agent->queue_count--;
            memmove(&agent->queue[0], &agent->queue[1],
                    agent->queue_count * sizeof(agent->queue[0]));
        } else if (agent->plan.count > 0 && !agent->exiting) {
            agent->scratch = (struct core_event){.type = CORE_EVENT_TICK};
        } else {
            break;
        }
    }
    agent->stepping = false;
    if (!agent->exiting) {
        wake_arm(agent);
        agent_after_step(agent);
    }
}

void agent_tick(struct agent *agent)
{
    struct core_event event = {.type = CORE_EVENT_TICK};
    agent_deliver(agent, &event);
}

void agent_done(struct agent *agent, const struct core_done *done)
{
    struct core_event event = {.type = CORE_EVENT_DONE, .u.done = *done};
    agent_deliver(agent, &event);
}
