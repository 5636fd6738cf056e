/* The store is linearizable: a request takes effect in the instant in which it arrives. All that goes
 * wrong goes wrong on the way: lost before, lost after, late, refused; and the store itself may be
 * away, frozen, rolled back, wiped. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

#define SESSION_US (20 * SECOND_US)

void store_reset(struct sim *sim)
{
    struct store *store = &sim->store;
    store->data.store_id = 1000 + (uint64_t)rng_range(&sim->rng, 0, 1000000);
    store->data.revision = 10;
    store->saved = store->data;
    world_push(sim, EV_SESSION_EXPIRY, SECOND_US, NOBODY);
}

bool store_usable(const struct sim *sim)
{
    return sim->store.down_until_us <= sim->now_us && sim->store.frozen_until_us <= sim->now_us &&
           sim->store.refuse_until_us <= sim->now_us;
}

void store_snapshot(const struct sim *sim, struct core_cluster *out_cluster)
{
    const struct store_data *data = &sim->store.data;
    memset(out_cluster, 0, sizeof(*out_cluster));
    out_cluster->reachable = TRI_YES;
    out_cluster->store_id = data->store_id;
    out_cluster->revision = data->revision;
    out_cluster->lease = data->lease;
    out_cluster->leader = data->leader;
    out_cluster->initialize = data->initialize;
    out_cluster->initialize_version = data->initialize_version;
    out_cluster->sysid = data->initialize == CORE_INITIALIZE_DONE ? data->sysid : 0;
    out_cluster->settings = data->settings;
    if (data->settings.version == 0) {
        out_cluster->settings = sim->settings; /* what the YAML says */
        out_cluster->settings.version = 0;
        out_cluster->settings.pause = false;
    }
    out_cluster->failsafe = data->failsafe;
    out_cluster->failover = data->failover;
    out_cluster->optime = data->optime;
    out_cluster->optime_timeline = data->optime_timeline;
    out_cluster->history_timeline = data->history_timeline;
    for (int i = 0; i < sim->nodes; i++) {
        const struct store_member *from = &data->member[i];
        if (!from->present) {
            continue;
        }
        struct core_member *member = &out_cluster->member[out_cluster->member_count++];
        memcpy(member->name, sim->node[i].name, NAME_SIZE);
        member->has_api_url = true;
        member->has_conn_url = true;
        member->running = from->running;
        member->nofailover = sim->node[i].nofailover;
        member->checkpoint_pending = from->checkpoint_pending;
    }
}

/* ---- watches ---- */

void store_changed(struct sim *sim)
{
    for (int i = 0; i < sim->nodes; i++) {
        struct agent *agent = &sim->node[i].agent;
        if (!agent->alive || !agent->watching || sim->store.push_pending[i]) {
            continue;
        }
        sim->store.push_pending[i] = true;
        int64_t at_us = us_between(sim, 50, 2000);
        if (sim->watch_slow_until_us > sim->now_us) {
            at_us = us_between(sim, 1000, 3 * SECOND_US);
        }
        world_push(sim, EV_PUSH_SEND, at_us, i)->gen = agent->watch_gen;
    }
}

void store_cut_watch(struct sim *sim, int node)
{
    struct agent *agent = &sim->node[node].agent;
    if (!agent->alive || !agent->watching) {
        return;
    }
    agent->watching = false;
    agent->watch_gen++;
    sim->store.push_pending[node] = false;
    world_push(sim, EV_WATCH_TRY, us_between(sim, 1000, 200000), node)->gen = agent->watch_gen;
}

void store_on_push_send(struct sim *sim, const struct ev *ev)
{
    const struct agent *agent = &sim->node[ev->node].agent;
    if (!agent->alive || ev->gen != agent->watch_gen) {
        return;
    }
    if (!link_up(sim, STORE_NODE, ev->node) || !store_usable(sim)) {
        store_cut_watch(sim, ev->node);
        return;
    }
    sim->store.push_pending[ev->node] = false;
    int slot = slot_take(sim);
    store_snapshot(sim, &sim->slot[slot].u.cluster);
    int64_t at_us = sim->now_us + link_latency_us(sim);
    if (at_us < sim->store.push_after_us[ev->node]) {
        at_us = sim->store.push_after_us[ev->node];
    }
    sim->store.push_after_us[ev->node] = at_us;
    struct ev *arrive = world_push(sim, EV_PUSH_ARRIVE, at_us, ev->node);
    arrive->gen = agent->watch_gen;
    arrive->slot = slot;
}

void store_on_watch_try(struct sim *sim, const struct ev *ev)
{
    struct agent *agent = &sim->node[ev->node].agent;
    if (!agent->alive || ev->gen != agent->watch_gen || agent->watching) {
        return;
    }
    if (store_usable(sim) && link_up(sim, ev->node, STORE_NODE) &&
        link_up(sim, STORE_NODE, ev->node)) {
        agent->watching = true;
        sim->store.push_pending[ev->node] = true;
        world_push(sim, EV_PUSH_SEND, sim->now_us + link_latency_us(sim), ev->node)->gen =
            agent->watch_gen;
        return;
    }
    world_push(sim, EV_WATCH_TRY, us_between(sim, 20000, 200000), ev->node)->gen = agent->watch_gen;
}

/* ---- sessions and members ---- */

void store_delete_leader(struct sim *sim)
{
    struct store_data *data = &sim->store.data;
    if (data->leader.version == 0) {
        return;
    }
    data->leader = (struct core_leader_key){0};
    data->leader_session = 0;
    data->revision++;
    store_changed(sim);
}

static void end_keys_of(struct sim *sim, uint64_t session)
{
    struct store_data *data = &sim->store.data;
    data->revision++;
    if (data->leader.version != 0 && data->leader_session == session) {
        data->leader = (struct core_leader_key){0};
        data->leader_session = 0;
        trace_add(sim, NOBODY, "store", "leader key expires", (int64_t)data->revision, 0);
    }
    if (data->initialize == CORE_INITIALIZE_RUNNING && data->initialize_session == session) {
        data->initialize = CORE_INITIALIZE_ABSENT;
        data->initialize_version = 0;
    }
    for (int i = 0; i < sim->nodes; i++) {
        if (data->member[i].present && data->member[i].session == session) {
            data->member[i] = (struct store_member){0};
        }
    }
    store_changed(sim);
}

void store_end_session(struct sim *sim, int node)
{
    uint64_t session = sim->store.session[node];
    if (session == 0) {
        return;
    }
    sim->store.session[node] = 0;
    end_keys_of(sim, session);
}

/* A leader key of a session whose agent is gone: the store keeps it for the session's TTL. */
static void expire_leader(struct sim *sim)
{
    struct store *store = &sim->store;
    bool orphan = store->data.leader.version != 0;
    for (int i = 0; i < sim->nodes && orphan; i++) {
        orphan = store->session[i] != store->data.leader_session;
    }
    if (!orphan || !store_usable(sim)) {
        store->leader_orphan_us = 0;
    } else if (store->leader_orphan_us == 0) {
        store->leader_orphan_us = sim->now_us;
    } else if (sim->now_us - store->leader_orphan_us > SESSION_US) {
        end_keys_of(sim, store->data.leader_session);
    }
}

void store_on_expiry(struct sim *sim, const struct ev *ev)
{
    ASSERT(ev->type == EV_SESSION_EXPIRY);
    for (int i = 0; i < sim->nodes; i++) {
        if (!store_usable(sim)) {
            sim->store.session_expires_us[i] = sim->now_us + SESSION_US;
        } else if (sim->store.session[i] != 0 && sim->store.session_expires_us[i] <= sim->now_us) {
            trace_add(sim, i, "store", "session expires", (int64_t)sim->store.session[i], 0);
            store_end_session(sim, i);
        }
    }
    expire_leader(sim);
    world_push(sim, EV_SESSION_EXPIRY, sim->now_us + SECOND_US, NOBODY);
}

/* The agent's housekeeping off the lease's path: session and member key. */
void store_on_session(struct sim *sim, const struct ev *ev)
{
    struct node *n = &sim->node[ev->node];
    struct agent *agent = &n->agent;
    if (!agent_is(sim, ev->node, ev->gen)) {
        return;
    }
    if (store_usable(sim) && !link_loses(sim, ev->node, STORE_NODE) &&
        !link_loses(sim, STORE_NODE, ev->node)) {
        struct store *store = &sim->store;
        if (store->session[ev->node] == 0 || store->session[ev->node] != agent->session) {
            agent->session = ++store->sessions;
            uint64_t old = store->session[ev->node];
            store->session[ev->node] = agent->session;
            agent->member_written = false;
            if (old != 0 && rng_chance(&sim->rng, 300)) {
                end_keys_of(sim, old); /* else the old one's keys stay as they are */
            }
        }
        store->session_expires_us[ev->node] = sim->now_us + SESSION_US;
        struct store_member want = {.present = true,
                                    .running = n->pg.state == PG_UP,
                                    .checkpoint_pending = n->pg.state == PG_UP && n->pg.primary &&
                                                          !n->pg.checkpointed,
                                    .session = agent->session};
        struct store_member *is = &store->data.member[ev->node];
        if (!is->present || is->running != want.running || is->session != want.session ||
            is->checkpoint_pending != want.checkpoint_pending) {
            *is = want;
            store->data.revision++;
            store_changed(sim);
        }
        agent->member_written = true;
    }
    if (ev->id == 1) {
        return; /* beside the regular round */
    }
    world_push(sim, EV_SESSION, sim->now_us + (agent->member_written ? SECOND_US : 200000),
               ev->node)
        ->gen = ev->gen;
}

/* ---- disasters ---- */

void store_rollback(struct sim *sim)
{
    sim->store.data = sim->store.saved;
    sim->store.life++;
    sim->store.restored_us = sim->now_us;
    sim->epoch_applied = 0;
    store_changed(sim);
}

void store_wipe(struct sim *sim)
{
    uint64_t id = sim->store.data.store_id + 1;
    memset(&sim->store.data, 0, sizeof(sim->store.data));
    sim->store.data.store_id = id;
    sim->store.data.revision = 1;
    sim->store.saved = sim->store.data;
    sim->store.life++;
    sim->store.restored_us = sim->now_us;
    memset(sim->store.session, 0, sizeof(sim->store.session));
    sim->epoch_applied = 0;
    store_changed(sim);
}

/* ---- requests ---- */

static int64_t call_timeout_ms(const struct sim *sim, const struct core_action *action)
{
    if (action->type == CORE_ACTION_LEASE_WRITE) {
        return action->u.lease.timeout_ms;
    }
    if (action->type == CORE_ACTION_READ) {
        return action->u.read.timeout_ms;
    }
    return sim->settings.retry_timeout_ms;
}

static void call_fill(struct sim *sim, int node, const struct core_action *action,
                      struct call *call)
{
    const struct node *n = &sim->node[node];
    memset(call, 0, sizeof(*call));
    call->action = *action;
    call->session = n->agent.session;
    call->sysid = n->pg.sysid;
    call->optime = n->pg.pos.lsn;
    call->history_timeline = sim->branch[n->pg.pos.branch].timeline;
    call->sent_ms = node_ms(sim, node);
    call->boot = n->boot;
    call->life = sim->store.life;
    call->settings = n->agent.settings;
    call->done.type = action->type;
    call->done.id = action->id;
    if (action->type == CORE_ACTION_LEASE_WRITE) {
        (void)snprintf(call->action.u.lease.record.session, SESSION_SIZE, "s%u",
                       (unsigned)n->agent.session);
    }
}

void store_call_send(struct sim *sim, int node, const struct core_action *action)
{
    struct agent *agent = &sim->node[node].agent;
    int64_t timeout_ms = call_timeout_ms(sim, action);
    if (timeout_ms < 1) {
        check_fail(sim, node, "contract", "a request without a timeout");
    }
    struct ev *timeout = world_push(sim, EV_CALL_TIMEOUT,
                                    node_true_us(sim, node, node_ms(sim, node) + timeout_ms), node);
    timeout->gen = agent->gen;
    timeout->id = action->id;
    timeout->peer = (int)action->type;
    bool down = sim->store.down_until_us > sim->now_us || sim->store.refuse_until_us > sim->now_us;
    if (!down && link_loses(sim, node, STORE_NODE)) {
        return;
    }
    int slot = slot_take(sim);
    struct call *call = &sim->slot[slot].u.call;
    call_fill(sim, node, action, call);
    int64_t at_us = sim->now_us + link_latency_us(sim);
    enum ev_type type = EV_STORE_TXN;
    if (down) {
        if (!link_up(sim, node, STORE_NODE)) {
            slot_give(sim, slot);
            return;
        }
        call->done.outcome = CORE_OUTCOME_NOT_APPLIED;
        type = EV_STORE_REPLY; /* the connection is refused, or the call */
    } else if (sim->late_until_us > sim->now_us && rng_chance(&sim->rng, sim->late_permille)) {
        at_us = us_between(sim, timeout_ms * 500, timeout_ms * 1000 + 15 * SECOND_US);
        sim->stats->late_writes++;
    }
    struct ev *arrive = world_push(sim, type, at_us, node);
    arrive->gen = agent->gen;
    arrive->id = action->id;
    arrive->slot = slot;
}

/* False: a check failed or the session is gone, and nothing changed. */
static bool apply_lease(struct sim *sim, int node, struct call *call)
{
    struct store_data *data = &sim->store.data;
    const struct core_lease_write *write = &call->action.u.lease;
    if (write->lease_version != data->lease.version ||
        (write->check_failsafe && write->failsafe_version != data->failsafe.version) ||
        (write->leader_op == CORE_LEADER_ATTACH && write->leader_version != data->leader.version)) {
        call->done.conflict = true;
        return false;
    }
    if (write->leader_op == CORE_LEADER_ATTACH &&
        (call->session == 0 || call->session != sim->store.session[node])) {
        struct ev *renew = world_push(sim, EV_SESSION, us_between(sim, 2000, 50000), node);
        renew->gen = sim->node[node].agent.gen; /* the store's client makes another session */
        renew->id = 1;
        return false;
    }
    struct core_lease_record before = data->lease;
    data->revision++;
    data->lease = write->record;
    data->lease.present = true;
    data->lease.version = data->revision;
    call->done.version = data->revision;
    if (write->leader_op == CORE_LEADER_ATTACH) {
        memcpy(data->leader.name, sim->node[node].name, NAME_SIZE);
        data->leader.version = data->revision;
        data->leader_session = call->session;
    } else if (write->leader_op == CORE_LEADER_DELETE) {
        data->leader = (struct core_leader_key){0};
        data->leader_session = 0;
    }
    if (write->record.state == CORE_LEASE_HELD) {
        data->optime = call->optime;
        data->optime_timeline = call->history_timeline;
        data->history_timeline = call->history_timeline;
    }
    check_lease_applied(sim, node, call, &before);
    return true;
}

static bool apply_initialize(struct sim *sim, struct call *call)
{
    struct store_data *data = &sim->store.data;
    if (call->action.u.keys.version != data->initialize_version) {
        return false;
    }
    data->revision++;
    data->initialize_version = data->revision;
    if (call->action.type == CORE_ACTION_CLAIM_INITIALIZE) {
        data->initialize = CORE_INITIALIZE_RUNNING;
        data->initialize_session = call->session;
    } else if (call->action.type == CORE_ACTION_CANCEL_INITIALIZE) {
        data->initialize = CORE_INITIALIZE_ABSENT;
        data->initialize_version = 0;
    } else {
        data->initialize = CORE_INITIALIZE_DONE;
        data->sysid = call->sysid;
        sim->sysid = call->sysid;
        if (data->settings.version == 0) {
            data->settings = call->settings;
            data->settings.version = data->revision;
        }
    }
    return true;
}

static bool apply_key(struct sim *sim, int node, struct call *call)
{
    struct store_data *data = &sim->store.data;
    uint64_t lease_version = call->action.u.keys.lease_version;
    call->done.conflict = true;
    if (lease_version != 0 && lease_version != data->lease.version) {
        return false;
    }
    uint64_t version = call->action.u.keys.version;
    switch ((int)call->action.type) {
    case CORE_ACTION_CLAIM_INITIALIZE:
        if (call->session == 0 || call->session != sim->store.session[node]) {
            return false;
        }
        return apply_initialize(sim, call);
    case CORE_ACTION_FINISH_INITIALIZE:
    case CORE_ACTION_CANCEL_INITIALIZE:
        return apply_initialize(sim, call);
    case CORE_ACTION_WRITE_CONFIG:
        if (version != data->settings.version) {
            return false;
        }
        data->settings = call->settings;
        data->settings.version = ++data->revision;
        return true;
    case CORE_ACTION_WRITE_FAILSAFE:
        if (version != data->failsafe.version) {
            return false;
        }
        data->failsafe.names = call->action.u.keys.names;
        data->failsafe.version = ++data->revision;
        sim->list_changed_us = sim->now_us;
        return true;
    case CORE_ACTION_CLEAR_FAILOVER:
        if (version != data->failover.version) {
            return false;
        }
        data->failover = (struct core_failover){0};
        data->revision++;
        return true;
    default:
        UNREACHABLE();
    }
}

/* The writer of a new list hears nothing more of the store: who is in force is in doubt (L9). */
void store_doubt_list(struct sim *sim, int node)
{
    int64_t end_us = us_between(sim, SECOND_US, 4 * sim->settings.ttl_ms * 1000 + SECOND_US);
    end_us = end_us < sim->phase_end_us ? end_us : sim->phase_end_us;
    sim->link_down_until_us[node][STORE_NODE] = end_us;
    sim->link_down_until_us[STORE_NODE][node] = end_us;
    trace_add(sim, node, "FAULT", "the answer to a new list is lost", 0, 0);
}

void store_on_txn(struct sim *sim, const struct ev *ev)
{
    struct call *call = &sim->slot[ev->slot].u.call;
    if (sim->store.down_until_us > sim->now_us || call->life != sim->store.life) {
        slot_give(sim, ev->slot);
        return;
    }
    bool applied = true;
    if (call->action.type == CORE_ACTION_READ) {
        store_snapshot(sim, &call->cluster);
        call->has_cluster = true;
    } else if (call->action.type == CORE_ACTION_LEASE_WRITE) {
        applied = apply_lease(sim, ev->node, call);
    } else {
        applied = apply_key(sim, ev->node, call);
    }
    if (call->action.type != CORE_ACTION_READ) {
        trace_add2(sim, ev->node, "store", core_action_name(call->action.type),
                   applied ? "applied" : "refused", (int64_t)sim->store.data.revision);
        if (applied) {
            store_changed(sim);
        }
    }
    call->done.outcome = applied ? CORE_OUTCOME_APPLIED : CORE_OUTCOME_NOT_APPLIED;
    if (applied) {
        call->done.conflict = false;
        call->done.version = sim->store.data.revision;
    }
    bool doubt = applied && call->action.type == CORE_ACTION_WRITE_FAILSAFE &&
                 sim->list_doubt > 0 && --sim->list_doubt == 0;
    if (doubt) {
        store_doubt_list(sim, ev->node);
    }
    if (doubt || link_loses(sim, STORE_NODE, ev->node)) {
        if (applied && call->action.type != CORE_ACTION_READ) {
            sim->stats->in_doubt_applied++;
            if (call->action.type == CORE_ACTION_LEASE_WRITE) {
                bool renewal =
                    call->action.u.lease.record.epoch == sim->node[ev->node].agent.core.own.epoch;
                mark(sim, renewal ? MARK_RENEW_UNANSWERED : MARK_ACQUIRE_UNANSWERED);
            }
        }
        slot_give(sim, ev->slot);
        return;
    }
    struct ev *reply =
        world_push(sim, EV_STORE_REPLY, sim->now_us + link_latency_us(sim), ev->node);
    reply->gen = ev->gen;
    reply->id = ev->id;
    reply->slot = ev->slot;
}
