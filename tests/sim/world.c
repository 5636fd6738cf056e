/* The world is one heap of events ordered by (true time, order of arrival): nothing else happens, so
 * one seed is one run. What is meant for a frozen process waits, in order, for its thaw. */
#include "sim.h"

#include <string.h>

#include "base/assert.h"
#include "base/str.h"

static bool ev_before(const struct ev *a, const struct ev *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

struct ev *world_push(struct sim *sim, enum ev_type type, int64_t at_us, int node)
{
    ASSERT(sim->heap_count < EVENTS_MAX);
    struct ev ev = {.at_us = at_us > sim->now_us ? at_us : sim->now_us,
                    .seq = sim->seq++,
                    .type = type,
                    .node = node,
                    .peer = NOBODY,
                    .slot = NOBODY};
    size_t i = sim->heap_count++;
    while (i > 0 && ev_before(&ev, &sim->heap[(i - 1) / 2])) {
        sim->heap[i] = sim->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sim->heap[i] = ev;
    return &sim->heap[i]; /* the order of the heap does not depend on what the caller fills in */
}

static struct ev heap_pop(struct sim *sim)
{
    struct ev top = sim->heap[0];
    struct ev last = sim->heap[--sim->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim->heap_count) {
            break;
        }
        if (child + 1 < sim->heap_count && ev_before(&sim->heap[child + 1], &sim->heap[child])) {
            child++;
        }
        if (!ev_before(&sim->heap[child], &last)) {
            break;
        }
        sim->heap[i] = sim->heap[child];
        i = child;
    }
    sim->heap[i] = last;
    return top;
}

int slot_take(struct sim *sim)
{
    ASSERT(sim->slot_free_count > 0);
    int slot = sim->slot_free[--sim->slot_free_count];
    ASSERT(!sim->slot[slot].used);
    sim->slot[slot].used = true;
    return slot;
}

void slot_give(struct sim *sim, int slot)
{
    ASSERT(slot >= 0 && sim->slot[slot].used);
    sim->slot[slot].used = false;
    sim->slot_free[sim->slot_free_count++] = slot;
}

/* ---- clocks ---- */

int64_t node_ms(const struct sim *sim, int node)
{
    const struct node *n = &sim->node[node];
    int64_t us = sim->now_us - n->boot_us;
    return n->boot_ms + us / 1000 * n->rate_ppm / 1000000;
}

/* The first moment of true time at which the node's clock shows at least local_ms. */
int64_t node_true_us(const struct sim *sim, int node, int64_t local_ms)
{
    const struct node *n = &sim->node[node];
    if (local_ms >= INT64_MAX / 4000000) {
        return INT64_MAX;
    }
    int64_t local = local_ms - n->boot_ms;
    if (local <= 0) {
        return sim->now_us;
    }
    int64_t ms = (local * 1000000 + n->rate_ppm - 1) / n->rate_ppm;
    return n->boot_us + ms * 1000;
}

bool node_runs(const struct sim *sim, int node)
{
    return sim->node[node].up && sim->node[node].frozen_until_us <= sim->now_us;
}

int node_find(const struct sim *sim, const char *name)
{
    for (int i = 0; i < sim->nodes; i++) {
        if (strcmp(sim->node[i].name, name) == 0) {
            return i;
        }
    }
    return NOBODY;
}

void name_copy(char *to, const char *from)
{
    memset(to, 0, NAME_SIZE); /* what stands behind a name is compared too */
    bool fits = str_copy(to, NAME_SIZE, from);
    ASSERT(fits);
}

/* ---- network ---- */

bool link_up(const struct sim *sim, int from, int to)
{
    return sim->link_down_until_us[from][to] <= sim->now_us;
}

bool link_loses(struct sim *sim, int from, int to)
{
    if (!link_up(sim, from, to)) {
        return true;
    }
    return sim->loss_until_us > sim->now_us && rng_chance(&sim->rng, sim->loss_permille);
}

int64_t us_between(struct sim *sim, int64_t lo_us, int64_t hi_us)
{
    return sim->now_us + rng_range(&sim->rng, lo_us, hi_us);
}

int64_t link_latency_us(struct sim *sim)
{
    if (sim->slow_until_us > sim->now_us) {
        return rng_range(&sim->rng, 1000, sim->slow_max_us);
    }
    return rng_range(&sim->rng, 200, 2000);
}

/* ---- dispatch ---- */

static bool is_for_agent(enum ev_type type)
{
    return type == EV_STORE_REPLY || type == EV_CALL_TIMEOUT || type == EV_PUSH_ARRIVE ||
           type == EV_WATCH_TRY || type == EV_SESSION || type == EV_AGENT_WAKE ||
           type == EV_PROBE || type == EV_PROBE_DONE || type == EV_GUARD_FACT ||
           type == EV_GUARD_DONE || type == EV_MEMORY_DONE || type == EV_ACTION_DONE ||
           type == EV_ASK_ARRIVE || type == EV_ASK_REPLY || type == EV_ASK_TIMEOUT;
}

static bool is_for_store(enum ev_type type)
{
    return type == EV_STORE_TXN || type == EV_PUSH_SEND;
}

static bool is_for_world(enum ev_type type)
{
    return type == EV_WRITE || type == EV_FAULT || type == EV_PHASE || type == EV_STORE_SAVE ||
           type == EV_SESSION_EXPIRY || type == EV_BOOT || type == EV_THAW;
}

/* When the receiver of the event thaws; 0: it is not frozen. */
static int64_t receiver_thaws_us(const struct sim *sim, const struct ev *ev)
{
    if (is_for_world(ev->type)) {
        return 0;
    }
    if (is_for_store(ev->type)) {
        return sim->store.frozen_until_us > sim->now_us ? sim->store.frozen_until_us : 0;
    }
    const struct node *n = &sim->node[ev->node];
    int64_t thaw = 0;
    if (n->frozen_until_us > sim->now_us) {
        thaw = n->frozen_until_us;
    }
    if (is_for_agent(ev->type) && n->agent.alive && n->agent.frozen_until_us > sim->now_us &&
        n->agent.frozen_until_us > thaw) {
        thaw = n->agent.frozen_until_us;
    }
    if (ev->type == EV_GUARD_TIMER && n->guard.frozen_until_us > sim->now_us &&
        n->guard.frozen_until_us > thaw) {
        thaw = n->guard.frozen_until_us;
    }
    return thaw;
}

static void defer(struct sim *sim, const struct ev *ev, int64_t thaw_us)
{
    struct ev *again = world_push(sim, ev->type, thaw_us, ev->node);
    again->peer = ev->peer;
    again->gen = ev->gen;
    again->id = ev->id;
    again->slot = ev->slot;
    again->arg = ev->arg;
}

static void phase_next(struct sim *sim)
{
    struct stats *stats = sim->stats;
    if (sim->phase == PHASE_HEAL) {
        check_demand(sim);
        stats->rounds++;
        sim->phase = PHASE_STEADY;
        sim->phase_end_us = us_between(sim, 5 * SECOND_US, 20 * SECOND_US);
    } else if (sim->phase == PHASE_STEADY) {
        sim->phase = PHASE_CHAOS;
        faults_choose_profile(sim);
        sim->phase_end_us = us_between(sim, 60 * SECOND_US, 300 * SECOND_US);
        world_push(sim, EV_FAULT, us_between(sim, 0, 5 * SECOND_US), NOBODY);
    } else {
        sim->phase = PHASE_HEAL;
        faults_heal(sim);
        sim->demand_met = false;
        sim->demand_from_us = sim->now_us;
        sim->phase_end_us = sim->now_us + (3 * sim->ttl_max_ms + 5000) * 1000 + 90 * SECOND_US;
    }
    sim->phase_start_us = sim->now_us;
    trace_add(sim, NOBODY, "phase",
              sim->phase == PHASE_CHAOS  ? "chaos"
              : sim->phase == PHASE_HEAL ? "heal"
                                         : "steady",
              sim->phase_end_us / 1000, 0);
    world_push(sim, EV_PHASE, sim->phase_end_us, NOBODY);
}

static void on_boot(struct sim *sim, int node)
{
    struct node *n = &sim->node[node];
    if (n->up) {
        return;
    }
    n->up = true;
    n->boot++;
    n->boot_us = sim->now_us;
    n->boot_ms = rng_range(&sim->rng, 5000, 60000);
    trace_add(sim, node, "boot", "", n->boot, 0);
    guard_fresh(sim, node);
    world_push(sim, EV_AGENT_START, us_between(sim, 20000, 400000), node)->gen = n->agent.gen;
}

/* A machine thawed: who runs first is chance. Its clients and its guard compete for an instant. */
static void on_thaw(struct sim *sim, int node)
{
    trace_add(sim, node, "thaw", "", 0, 0);
    guard_reschedule(sim, node);
}

static void dispatch_world(struct sim *sim, const struct ev *ev)
{
    switch ((int)ev->type) {
    case EV_WRITE:
        postgres_on_write(sim);
        world_push(sim, EV_WRITE, sim->now_us + 50000, NOBODY);
        break;
    case EV_FAULT:
        if (sim->phase == PHASE_CHAOS) {
            faults_inject(sim);
            world_push(sim, EV_FAULT, us_between(sim, 500000, 16 * SECOND_US), NOBODY);
        }
        break;
    case EV_PHASE:
        phase_next(sim);
        break;
    case EV_STORE_SAVE:
        if (store_usable(sim)) {
            sim->store.saved = sim->store.data;
        }
        world_push(sim, EV_STORE_SAVE, us_between(sim, 5 * SECOND_US, 60 * SECOND_US), NOBODY);
        break;
    case EV_SESSION_EXPIRY:
        store_on_expiry(sim, ev);
        break;
    case EV_BOOT:
        on_boot(sim, ev->node);
        break;
    case EV_THAW:
        on_thaw(sim, ev->node);
        break;
    default:
        UNREACHABLE();
    }
}

static void dispatch_node(struct sim *sim, const struct ev *ev)
{
    switch ((int)ev->type) {
    case EV_STORE_TXN:
        store_on_txn(sim, ev);
        break;
    case EV_PUSH_SEND:
        store_on_push_send(sim, ev);
        break;
    case EV_GUARD_TIMER:
        guard_on_timer(sim, ev);
        break;
    case EV_GUARD_DONE:
        guard_on_done(sim, ev);
        break;
    case EV_GUARD_FRESH:
        node_restart(sim, ev->node);
        break;
    case EV_PG_READY:
        postgres_on_ready(sim, ev);
        break;
    case EV_PG_PROMOTED:
        postgres_on_promoted(sim, ev);
        break;
    case EV_JOB_DONE:
        postgres_on_job_done(sim, ev);
        break;
    case EV_STOP_WRITES:
        postgres_on_stop_writes(sim, ev);
        break;
    case EV_PG_GONE:
        postgres_on_gone(sim, ev);
        break;
    default:
        agent_on_ev(sim, ev);
    }
}

static void dispatch(struct sim *sim, const struct ev *ev)
{
    int64_t thaw_us = receiver_thaws_us(sim, ev);
    if (thaw_us > 0) {
        defer(sim, ev, thaw_us);
        return;
    }
    if (is_for_world(ev->type)) {
        dispatch_world(sim, ev);
    } else {
        dispatch_node(sim, ev);
    }
}

void world_run(struct sim *sim)
{
    while (sim->now_us < sim->end_us || sim->phase == PHASE_HEAL) {
        struct ev ev = heap_pop(sim);
        ASSERT(ev.at_us >= sim->now_us);
        sim->now_us = ev.at_us;
        sim->stats->events++;
        dispatch(sim, &ev);
        check_world(sim);
        if (sim->phase == PHASE_HEAL && !sim->demand_met) {
            check_demand(sim);
        }
    }
    sim->stats->virtual_us += sim->now_us;
}

/* ---- the start of a run ---- */

static void choose_settings(struct sim *sim)
{
    static const int64_t ttls[] = {1000, 1000, 1500, 2000, 2000, 3000, 5000, 5000, 5000, 10000};
    struct rng *rng = &sim->rng;
    int64_t ttl = ttls[rng_range(rng, 0, (int64_t)(sizeof(ttls) / sizeof(ttls[0])) - 1)];
    static const int64_t start_timeouts[] = {0, 2000, 10000, 300000};
    sim->settings = (struct core_settings){
        .version = 0,
        .ttl_ms = ttl,
        .loop_wait_ms = ttl / 5,
        .retry_timeout_ms = ttl * 2 / 5,
        .maximum_lag_on_failover = 1048576,
        .primary_start_timeout_ms = start_timeouts[rng_range(rng, 0, 3)],
        .check_timeline = rng_chance(rng, 500),
        .failsafe_mode = rng_chance(rng, 850),
        .use_pg_rewind = rng_chance(rng, 800),
        .clone_on_diverged = rng_chance(rng, 400),
        .clone_on_rewind_failed = rng_chance(rng, 500),
    };
    sim->ttl_max_ms = ttl;
}

static void node_reset(struct sim *sim, int node)
{
    struct node *n = &sim->node[node];
    memset(n, 0, sizeof(*n));
    char name[3] = {'n', (char)('1' + node), '\0'};
    name_copy(n->name, name);
    n->rate_ppm = 1000000 + rng_range(&sim->rng, -9000, 9000);
    n->boot_ms = rng_range(&sim->rng, 5000, 100000000);
    n->boot = 1;
    n->up = true;
    n->nofailover = node > 1 && rng_chance(&sim->rng, 100);
    n->memory_slot = NOBODY;
    n->pg.datadir = CORE_DATADIR_EMPTY;
    n->pg.upstream = NOBODY;
    n->pg.job.source = NOBODY;
    n->guard.alive = true;
}

/* Most clusters start from nothing; some adopt a server, some fail at the first attempt. */
static void choose_start(struct sim *sim)
{
    bool adopts = rng_chance(&sim->rng, 100);
    for (int i = 0; i < sim->nodes; i++) {
        int64_t at_us = rng_range(&sim->rng, 0, SECOND_US);
        if (adopts && i > 0) {
            at_us += 5 * SECOND_US; /* first the agent of the running server, then the others */
        }
        if (sim->wide && i > 2 && rng_chance(&sim->rng, 500)) {
            at_us += rng_range(&sim->rng, 60, 900) * SECOND_US; /* it joins later */
        }
        sim->node[i].join_us = at_us;
        world_push(sim, EV_AGENT_START, at_us, i);
    }
    if (adopts) {
        postgres_standalone(sim, 0);
        sim->node[0].witness.unarmed = true; /* nobody leads it yet */
    } else if (rng_chance(&sim->rng, 100)) {
        sim->jobs_fail_until_us = 4 * SECOND_US;
        sim->demand_from_us = 10 * SECOND_US;
    }
}

void world_reset(struct sim *sim, uint64_t seed)
{
    struct stats *stats = sim->stats;
    bool tracing = sim->tracing;
    bool quiet = sim->quiet;
    int64_t end_us = sim->end_us;
    bool skip[FAULTS_DRAWN_MAX];
    memcpy(skip, sim->skip, sizeof(skip));
    memset(sim, 0, sizeof(*sim));
    sim->stats = stats;
    sim->tracing = tracing;
    sim->quiet = quiet;
    sim->end_us = end_us;
    sim->seed = seed;
    rng_seed(&sim->rng, seed);
    for (int i = 0; i < SLOTS_MAX; i++) {
        sim->slot_free[i] = SLOTS_MAX - 1 - i;
    }
    sim->slot_free_count = SLOTS_MAX;
    static const int counts[] = {3, 3, 3, 3, 3, 5, 4, 2, 1, 3, 6, 7, 7, 5};
    sim->wide = seed > WIDE_FROM;
    sim->nodes = counts[rng_range(&sim->rng, 0, sim->wide ? 13 : 9)];
    memcpy(sim->skip, skip, sizeof(skip));
    sim->hash = UINT64_C(0xcbf29ce484222325);
    sim->last_fault = FAULT_COUNT;
    sim->holder = NOBODY;
    sim->branches = 1; /* 0: no branch */
    sim->write_rate = (uint64_t)rng_range(&sim->rng, 100, 5000);
    choose_settings(sim);
    store_reset(sim);
    for (int i = 0; i < sim->nodes; i++) {
        node_reset(sim, i);
    }
    choose_start(sim);
    world_push(sim, EV_WRITE, 50000, NOBODY);
    world_push(sim, EV_STORE_SAVE, 10 * SECOND_US, NOBODY);
    /* The first phase is a heal: the cluster has to come up from nothing. */
    sim->phase = PHASE_HEAL;
    sim->phase_end_us = (3 * sim->ttl_max_ms + 5000) * 1000 + 120 * SECOND_US;
    world_push(sim, EV_PHASE, sim->phase_end_us, NOBODY);
}
