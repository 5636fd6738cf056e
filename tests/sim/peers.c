/* Questions between agents: where are you (status), and do you promise (L9). */
#include "sim.h"

#include <string.h>

#include "base/assert.h"

static struct ask *ask_of(struct sim *sim, int node, uint32_t id)
{
    struct agent *agent = &sim->node[node].agent;
    if (agent->status_ask.id == id) {
        return &agent->status_ask;
    }
    return agent->promise_ask.id == id ? &agent->promise_ask : NULL;
}

static void ask_end(struct sim *sim, int node, struct ask *ask)
{
    uint32_t id = ask->id;
    bool promise = ask->promise;
    check_promises(sim, node, ask);
    ask->id = 0;
    agent_done(
        sim, node,
        &(struct core_done){.type = promise ? CORE_ACTION_ASK_PROMISE : CORE_ACTION_ASK_STATUS,
                            .id = id,
                            .outcome = CORE_OUTCOME_APPLIED});
}

static void tell_promise(struct sim *sim, int node, const struct ask *ask, const char *name,
                         bool granted)
{
    struct core_event event = {.type = CORE_EVENT_PEER_PROMISE};
    name_copy(event.u.peer_promise.name, name);
    event.u.peer_promise.round = ask->round;
    event.u.peer_promise.granted = granted;
    agent_event(sim, node, &event);
}

static void tell_silence(struct sim *sim, int node, const struct ask *ask, int peer)
{
    if (ask->promise) {
        tell_promise(sim, node, ask, sim->node[peer].name, false);
        return;
    }
    struct core_event event = {.type = CORE_EVENT_PEER_STATUS};
    name_copy(event.u.peer_status.name, sim->node[peer].name);
    event.u.peer_status.asked_at = ask->asked_at;
    event.u.peer_status.reachable = TRI_NO;
    agent_event(sim, node, &event);
}

static void send_ask(struct sim *sim, int node, const struct ask *ask, int peer)
{
    int copies = sim->loss_until_us > sim->now_us && rng_chance(&sim->rng, 100) ? 2 : 1;
    for (int i = 0; i < copies; i++) {
        if (link_loses(sim, node, peer)) {
            continue;
        }
        int64_t at_us = sim->now_us + link_latency_us(sim);
        if (sim->late_until_us > sim->now_us && rng_chance(&sim->rng, sim->late_permille)) {
            at_us = us_between(sim, 10000, 15 * SECOND_US);
        }
        struct ev *ev = world_push(sim, EV_ASK_ARRIVE, at_us, peer);
        ev->peer = node;
        ev->id = ask->id;
        ev->gen = sim->node[node].agent.gen;
        if (ask->promise) {
            ev->slot = slot_take(sim);
            struct core_promise_request *body = &sim->slot[ev->slot].u.promise.body;
            memset(body, 0, sizeof(*body));
            memcpy(body->holder, sim->node[node].name, NAME_SIZE);
            body->epoch = ask->epoch;
            body->ttl_ms = ask->ttl_ms;
            sim->slot[ev->slot].u.promise.round = ask->round;
        }
    }
}

void peers_ask(struct sim *sim, int node, const struct core_action *action)
{
    struct agent *agent = &sim->node[node].agent;
    bool promise = action->type == CORE_ACTION_ASK_PROMISE;
    struct ask *ask = promise ? &agent->promise_ask : &agent->status_ask;
    *ask = (struct ask){.id = action->id,
                        .promise = promise,
                        .asked_at = action->u.ask.asked_at,
                        .round = action->u.ask.round,
                        .epoch = action->u.ask.epoch,
                        .ttl_ms = action->u.ask.ttl_ms};
    const struct core_name_list *names = &action->u.ask.names;
    for (uint32_t i = 0; i < names->count; i++) {
        int peer = node_find(sim, names->name[i]);
        if (peer == NOBODY || peer == node) {
            check_fail(sim, node, "contract", "asks nobody, or itself");
        }
        ask->asked |= 1u << peer;
        ask->waiting |= 1u << peer;
        send_ask(sim, node, ask, peer);
    }
    int64_t end_us = node_true_us(sim, node, node_ms(sim, node) + action->u.ask.timeout_ms);
    if (ask->asked == 0) {
        end_us = sim->now_us + 100; /* nobody to wait for */
        check_promises(sim, node, ask);
    }
    struct ev *timeout = world_push(sim, EV_ASK_TIMEOUT, end_us, node);
    timeout->id = ask->id;
    timeout->gen = agent->gen;
}

/* At the peer: it answers from its own server, or asks its core. */
void peers_on_arrive(struct sim *sim, const struct ev *ev)
{
    struct node *n = &sim->node[ev->node];
    struct agent *agent = &n->agent;
    if (!n->up || !agent->alive) {
        if (ev->slot != NOBODY) {
            slot_give(sim, ev->slot);
        }
        return;
    }
    if (ev->slot != NOBODY) {
        struct promise_request *request = &agent->request[agent->request_next % ASKS_MAX];
        *request = sim->slot[ev->slot].u.promise;
        slot_give(sim, ev->slot);
        request->request_id = ++agent->request_next;
        request->body.request_id = request->request_id;
        request->asker = ev->peer;
        request->asker_gen = ev->gen;
        request->ask_id = ev->id;
        request->arrived_ms = node_ms(sim, ev->node);
        agent->request[(request->request_id - 1) % ASKS_MAX] = *request;
        struct core_event event = {.type = CORE_EVENT_PROMISE_REQUEST};
        event.u.promise_request = request->body;
        agent_event(sim, ev->node, &event);
        return;
    }
    struct core_postgres facts;
    postgres_facts(sim, ev->node, &facts);
    if (link_loses(sim, ev->node, ev->peer)) {
        return;
    }
    int slot = slot_take(sim);
    struct core_peer_status *status = &sim->slot[slot].u.status;
    memset(status, 0, sizeof(*status));
    memcpy(status->name, n->name, NAME_SIZE);
    status->reachable = facts.accepting == TRI_YES && facts.lsn > 0 ? TRI_YES : TRI_NO;
    status->primary = facts.primary == TRI_YES;
    status->nofailover = n->nofailover;
    status->failover_priority = 1;
    status->timeline = facts.timeline;
    status->lsn = facts.lsn;
    struct ev *reply = world_push(sim, EV_ASK_REPLY, sim->now_us + link_latency_us(sim), ev->peer);
    reply->peer = ev->node;
    reply->id = ev->id;
    reply->gen = ev->gen;
    reply->slot = slot;
}

/* Our core has answered somebody's request for a promise. */
void peers_answer(struct sim *sim, int node, const struct core_action *action)
{
    struct agent *agent = &sim->node[node].agent;
    uint64_t id = action->u.answer.request_id;
    if (id == 0 || id > agent->request_next || id + ASKS_MAX <= agent->request_next) {
        check_fail(sim, node, "contract", "answers a request that nobody sent");
    }
    const struct promise_request *request = &agent->request[(id - 1) % ASKS_MAX];
    ASSERT(request->request_id == id);
    trace_add2(sim, node, action->u.answer.granted ? "promises to" : "refuses",
               sim->node[request->asker].name, "", (int64_t)request->body.epoch);
    if (action->u.answer.granted) {
        check_promise_given(sim, node, request);
    } else {
        mark(sim, MARK_PROMISE_REFUSED);
    }
    if (link_loses(sim, node, request->asker)) {
        return;
    }
    struct ev *reply =
        world_push(sim, EV_ASK_REPLY, sim->now_us + link_latency_us(sim), request->asker);
    reply->peer = node;
    reply->id = request->ask_id;
    reply->gen = request->asker_gen;
    reply->arg = action->u.answer.granted ? 1 : 0;
}

void peers_on_reply(struct sim *sim, const struct ev *ev)
{
    struct ask *ask = agent_is(sim, ev->node, ev->gen) ? ask_of(sim, ev->node, ev->id) : NULL;
    if (ask == NULL || (ask->waiting & (1u << ev->peer)) == 0) {
        if (ev->slot != NOBODY) {
            slot_give(sim, ev->slot);
        }
        return;
    }
    ask->waiting &= ~(1u << ev->peer);
    if (ev->slot == NOBODY) {
        if (ev->arg == 1) {
            ask->granted |= 1u << ev->peer;
            check_promises(sim, ev->node, ask);
        }
        tell_promise(sim, ev->node, ask, sim->node[ev->peer].name, ev->arg == 1);
    } else {
        struct core_event event = {.type = CORE_EVENT_PEER_STATUS};
        event.u.peer_status = sim->slot[ev->slot].u.status;
        event.u.peer_status.asked_at = ask->asked_at;
        slot_give(sim, ev->slot);
        agent_event(sim, ev->node, &event);
    }
    if (ask->id == ev->id && ask->waiting == 0) {
        ask_end(sim, ev->node, ask);
    }
}

void peers_on_timeout(struct sim *sim, const struct ev *ev)
{
    struct ask *ask = agent_is(sim, ev->node, ev->gen) ? ask_of(sim, ev->node, ev->id) : NULL;
    if (ask == NULL) {
        return;
    }
    for (int i = 0; i < sim->nodes; i++) {
        if ((ask->waiting & (1u << i)) != 0) {
            ask->waiting &= ~(1u << i);
            tell_silence(sim, ev->node, ask, i);
        }
    }
    if (ask->id == ev->id) {
        ask_end(sim, ev->node, ask);
    }
}
