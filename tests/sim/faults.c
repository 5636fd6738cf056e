/* Faults, and which of them excuse what. A "hard" fault may cost the cluster its primary; a soft one
 * (agent or guard alone, store alone) may not: INV-6. */
#include "sim.h"

#include <string.h>

#include "base/assert.h"

static void hard(struct sim *sim, int64_t until_us)
{
    int64_t end_us = until_us + 10 * SECOND_US + 4 * sim->ttl_max_ms * 1000;
    if (end_us > sim->hard_until_us) {
        sim->hard_until_us = end_us;
    }
}

static bool everybody_can_agree(const struct sim *sim)
{
    const struct core_name_list *list = &sim->store.data.failsafe.names;
    if (!sim->settings.failsafe_mode || list->count != (uint32_t)sim->nodes) {
        return false;
    }
    for (int i = 0; i < sim->nodes; i++) {
        if (!agent_runs(sim, i) || !guard_runs(sim, i)) {
            return false;
        }
    }
    return true;
}

/* The store alone is away: soft, unless somebody could not promise. */
static void soft_store(struct sim *sim, int64_t until_us)
{
    int64_t near_us = 3 * sim->ttl_max_ms * 1000;
    if (!everybody_can_agree(sim) || sim->now_us - sim->agent_fault_us < near_us ||
        sim->settings.pause) {
        hard(sim, until_us);
    }
    if (until_us > sim->store_fault_us) {
        sim->store_fault_us = until_us;
    }
}

/* One agent or guard is hurt: soft, unless the store is away or it is the second one soon. */
static void soft_agent(struct sim *sim, int64_t until_us)
{
    int64_t near_us = 3 * sim->ttl_max_ms * 1000;
    if (sim->now_us < sim->store_fault_us + near_us ||
        sim->now_us - sim->agent_fault_us < near_us) {
        hard(sim, until_us);
    }
    sim->agent_fault_us = sim->now_us;
}

static int64_t until(struct sim *sim, int64_t lo_ms, int64_t hi_ms)
{
    int64_t end_us = us_between(sim, lo_ms * 1000, hi_ms * 1000);
    return end_us < sim->phase_end_us ? end_us : sim->phase_end_us;
}

static int any_node(struct sim *sim)
{
    if (rng_chance(&sim->rng, 500)) {
        for (int i = 0; i < sim->nodes; i++) {
            if (postgres_acking(sim, i)) {
                return i;
            }
        }
    }
    return (int)rng_range(&sim->rng, 0, sim->nodes - 1);
}

static bool whole(const struct sim *sim, int node)
{
    return node_runs(sim, node) && agent_runs(sim, node) && guard_runs(sim, node);
}

/* ---- processes ---- */

static bool hurt_agent(struct sim *sim, enum fault fault, int node)
{
    struct node *n = &sim->node[node];
    if (!whole(sim, node)) {
        return false;
    }
    int64_t end_us = sim->now_us;
    if (fault == FAULT_AGENT_KILL || fault == FAULT_UPGRADE) {
        agent_kill(sim, node);
    } else if (fault == FAULT_AGENT_FREEZE) {
        end_us = until(sim, 10, 3 * sim->settings.ttl_ms);
        agent_freeze(sim, node, end_us);
    } else if (fault == FAULT_GUARD_KILL) {
        guard_kill(sim, node);
    } else if (fault == FAULT_GUARD_GONE) {
        end_us = until(sim, 100, 4 * sim->settings.ttl_ms);
        n->guard.gone_until_us = end_us;
        hard(sim, end_us);
        guard_kill(sim, node);
    } else if (fault == FAULT_GUARD_FREEZE) {
        end_us = until(sim, 10, 30000);
        guard_freeze(sim, node, end_us);
        /* It is replaced long before; the agent must not be hurt until then. */
    } else {
        ASSERT(fault == FAULT_BOTH_KILL);
        hard(sim, end_us);
        n->guard.alive = false;
        n->guard.timer_gen++;
        agent_kill(sim, node);
        return true;
    }
    soft_agent(sim, end_us);
    return true;
}

static bool crash_node(struct sim *sim, int node)
{
    struct node *n = &sim->node[node];
    if (!n->up || n->frozen_until_us > sim->now_us) {
        return false;
    }
    int64_t end_us = until(sim, 2000, 60000);
    hard(sim, end_us);
    for (int i = 0; i < sim->nodes; i++) {
        const struct job *job = &sim->node[i].pg.job;
        if (job->active && job->source == node &&
            (job->type == CORE_ACTION_REWIND || job->type == CORE_ACTION_CLONE)) {
            mark(sim, MARK_REWIND_LEADER_GONE);
        }
    }
    if (n->agent.alive) {
        if (n->memory_slot != NOBODY && rng_chance(&sim->rng, 500)) {
            n->memory = sim->slot[n->memory_slot].u.memory;
            n->has_memory = true;
            n->memory_boot = n->boot;
        }
    }
    n->memory_slot = NOBODY;
    n->agent.alive = false;
    n->agent.gen++;
    n->agent.frozen_until_us = 0;
    n->guard = (struct guard){.gen = n->guard.gen + 1, .timer_gen = n->guard.timer_gen + 1};
    n->page = (struct core_page){0};
    postgres_power_off(sim, node);
    n->up = false;
    n->witness.lease_end_ms = 0;
    n->witness.unarmed = false;
    world_push(sim, EV_BOOT, end_us, node);
    return true;
}

static bool freeze_node(struct sim *sim, int node)
{
    struct node *n = &sim->node[node];
    if (!whole(sim, node)) {
        return false;
    }
    int64_t end_us = until(sim, 50, 5 * sim->settings.ttl_ms);
    hard(sim, end_us);
    n->frozen_until_us = end_us;
    n->witness.grace_until_us = end_us + 30000;
    world_push(sim, EV_THAW, end_us, node);
    return true;
}

static bool hurt_postgres(struct sim *sim, enum fault fault, int node)
{
    struct node *n = &sim->node[node];
    if (!node_runs(sim, node) || n->pg.state != PG_UP) {
        return false;
    }
    int64_t end_us = until(sim, 200, 20000);
    hard(sim, end_us);
    if (fault == FAULT_POSTGRES_CRASH) {
        postgres_kill(sim, node, sim->now_us);
    } else if (fault == FAULT_POSTGRES_ORPHAN) {
        postgres_orphan(sim, node);
    } else if (fault == FAULT_POSTGRES_HANG) {
        n->pg.hung_until_us = end_us;
    } else {
        ASSERT(fault == FAULT_REPLICA_LAG);
        n->pg.lagging_until_us = end_us;
    }
    return true;
}

static bool hide_disk(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    if (!node_runs(sim, node) || pg->datadir != CORE_DATADIR_USABLE || pg->job.active) {
        return false;
    }
    pg->away_until_us = until(sim, 500, 20000);
    hard(sim, pg->away_until_us);
    postgres_lose_disk(sim, node, pg->datadir);
    return true;
}

/* Only what others have as well: no fault may take away the last copy. */
static bool lose_disk(struct sim *sim, enum fault fault, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    if (pg->primary || !node_runs(sim, node) || pg->datadir != CORE_DATADIR_USABLE) {
        return false;
    }
    for (int i = 0; i < sim->nodes; i++) {
        if (i != node && postgres_acking(sim, i) &&
            wal_contains(sim, sim->node[i].pg.pos, pg->pos)) {
            hard(sim, sim->now_us);
            if (fault == FAULT_DISK_FOREIGN) {
                postgres_foreign(sim, node);
            } else {
                postgres_lose_disk(sim, node, CORE_DATADIR_EMPTY);
            }
            return true;
        }
    }
    return false;
}

/* ---- the store ---- */

static bool wipe_store(struct sim *sim)
{
    int holder = sim->holder;
    /* A wiped store that nobody can write anew is for a person (L5): only with a sound holder. */
    if (!store_usable(sim) || holder == NOBODY || sim->settings.pause || !whole(sim, holder) ||
        !postgres_acking(sim, holder) || sim->loss_until_us > sim->now_us ||
        sim->late_until_us > sim->now_us || sim->slow_until_us > sim->now_us ||
        !link_up(sim, holder, STORE_NODE) || !link_up(sim, STORE_NODE, holder) ||
        sim->node[holder].page.deadline.ms < node_ms(sim, holder) + sim->settings.ttl_ms / 2) {
        return false;
    }
    hard(sim, sim->now_us);
    mark(sim, MARK_WIPE_WITH_HOLDER);
    store_wipe(sim);
    sim->quiet_until_us = sim->now_us + 3 * sim->ttl_max_ms * 1000;
    return true;
}

/* Nobody can know of it once the record that says so (L7) is lost with the store. */
static bool unguarded_primary(const struct sim *sim)
{
    for (int i = 0; i < sim->nodes; i++) {
        const struct node *n = &sim->node[i];
        if (n->witness.unarmed && n->pg.primary && n->pg.state != PG_DOWN) {
            return true;
        }
    }
    return sim->settings.pause;
}

static void mark_rollback(struct sim *sim)
{
    const struct store *store = &sim->store;
    uint32_t now = store->data.failsafe.names.count;
    uint32_t then = store->saved.failsafe.names.count;
    int holder = sim->holder;
    if (then > now) {
        mark(sim, MARK_ROLLBACK_LONGER_LIST);
    } else if (then < now) {
        mark(sim, MARK_ROLLBACK_SHORTER_LIST);
    }
    if (holder != NOBODY && sim->node[holder].agent.alive &&
        core_on_promises(&sim->node[holder].agent.core, (struct mono){node_ms(sim, holder)})) {
        mark(sim, MARK_ROLLBACK_UNDER_PROMISES);
    }
}

static bool hurt_store(struct sim *sim, enum fault fault, int node)
{
    struct store *store = &sim->store;
    int64_t end_us = until(sim, 50, rng_chance(&sim->rng, 300) ? 90000 : 8000);
    switch ((int)fault) {
    case FAULT_STORE_DOWN:
        store->down_until_us = end_us;
        for (int i = 0; i < sim->nodes; i++) {
            store_cut_watch(sim, i);
        }
        soft_store(sim, end_us);
        return true;
    case FAULT_STORE_FREEZE:
        store->frozen_until_us = end_us;
        soft_store(sim, end_us);
        return true;
    case FAULT_STORE_ROLLBACK:
        if (!store_usable(sim) || store->saved.revision >= store->data.revision ||
            store->saved.store_id != store->data.store_id || store->saved.lease.version == 0 ||
            unguarded_primary(sim)) {
            return false;
        }
        hard(sim, sim->now_us);
        mark_rollback(sim);
        store_rollback(sim);
        return true;
    case FAULT_STORE_WIPE:
        return wipe_store(sim);
    case FAULT_STORE_REFUSE:
        store->refuse_until_us = end_us;
        soft_store(sim, end_us);
        return true;
    case FAULT_SESSION_EXPIRE:
        store_end_session(sim, node);
        return true;
    case FAULT_LEADER_DELETE:
        store_delete_leader(sim);
        return true;
    case FAULT_LIST_DOUBT:
        hard(sim, sim->now_us + 60 * SECOND_US);
        sim->list_doubt = (int)rng_range(&sim->rng, 1, 2);
        store_end_session(sim, node);
        return true;
    case FAULT_WATCH_CUT:
        store_cut_watch(sim, node);
        return true;
    case FAULT_WATCH_SLOW:
        sim->watch_slow_until_us = end_us;
        return true;
    default:
        UNREACHABLE();
    }
}

/* ---- network ---- */

static void cut(struct sim *sim, int from, int to, int64_t end_us)
{
    if (from != to) {
        sim->link_down_until_us[from][to] = end_us;
    }
}

/* Nodes and, last, the store. */
static int places(const struct sim *sim)
{
    return (sim->wide ? NODES_MAX : NODES_NARROW) + 1;
}

static int place(const struct sim *sim, int number)
{
    return number == places(sim) - 1 ? STORE_NODE : number;
}

static bool hurt_network(struct sim *sim, enum fault fault, int node)
{
    int64_t end_us = until(sim, 100, rng_chance(&sim->rng, 300) ? 60000 : 10000);
    bool everybody = rng_chance(&sim->rng, 300);
    if (fault == FAULT_NET_STORE && everybody) {
        for (int i = 0; i < sim->nodes; i++) {
            cut(sim, i, STORE_NODE, end_us);
            cut(sim, STORE_NODE, i, end_us);
        }
        soft_store(sim, end_us);
        return true;
    }
    hard(sim, end_us);
    switch ((int)fault) {
    case FAULT_NET_ISOLATE:
        for (int i = 0; i <= STORE_NODE; i++) {
            cut(sim, node, i, end_us);
            cut(sim, i, node, end_us);
        }
        if (node == sim->holder) {
            mark(sim, MARK_HOLDER_CUT_OFF);
        }
        return true;
    case FAULT_NET_STORE:
        cut(sim, node, STORE_NODE, end_us);
        cut(sim, STORE_NODE, node, end_us);
        return true;
    case FAULT_NET_ONE_WAY:
        for (int k = 0; k < places(sim); k++) {
            int i = place(sim, k);
            if (rng_chance(&sim->rng, 500)) {
                cut(sim, node, i, end_us);
            } else {
                cut(sim, i, node, end_us);
            }
        }
        return true;
    case FAULT_NET_PARTIAL:
        for (int k = 0; k < places(sim); k++) {
            for (int l = 0; l < places(sim); l++) {
                if (rng_chance(&sim->rng, 250)) {
                    cut(sim, place(sim, k), place(sim, l), end_us);
                }
            }
        }
        return true;
    case FAULT_NET_LOSS:
        sim->loss_until_us = end_us;
        sim->loss_permille = (int)rng_range(&sim->rng, 20, 500);
        return true;
    case FAULT_NET_SLOW:
        sim->slow_until_us = end_us;
        sim->slow_max_us = rng_range(&sim->rng, 5000, sim->settings.ttl_ms * 1000);
        return true;
    case FAULT_NET_LATE:
        sim->late_until_us = end_us;
        sim->late_permille = (int)rng_range(&sim->rng, 50, 400);
        hard(sim, end_us + 15 * SECOND_US);
        return true;
    default:
        UNREACHABLE();
    }
}

/* ---- people ---- */

static void write_settings(struct sim *sim)
{
    struct store_data *data = &sim->store.data;
    data->settings = sim->settings;
    data->settings.version = ++data->revision;
    store_changed(sim);
}

static bool write_order(struct sim *sim, bool switchover, int candidate)
{
    struct store_data *data = &sim->store.data;
    if (!data->lease.present || (!switchover && candidate == NOBODY) ||
        (candidate != NOBODY && strcmp(data->lease.holder, sim->node[candidate].name) == 0)) {
        return false;
    }
    memset(&data->failover, 0, sizeof(data->failover));
    if (switchover) {
        memcpy(data->failover.leader, data->lease.holder, NAME_SIZE);
    }
    if (candidate != NOBODY) {
        memcpy(data->failover.candidate, sim->node[candidate].name, NAME_SIZE);
    }
    if (rng_chance(&sim->rng, 100)) {
        data->failover.scheduled_at.ms = sim->now_us / 1000 + rng_range(&sim->rng, 100, 5000);
    }
    data->failover.version = ++data->revision;
    if (sim->settings.pause) {
        mark(sim, MARK_ORDER_IN_PAUSE);
    }
    store_changed(sim);
    return true;
}

static void change_ttl(struct sim *sim)
{
    static const int percents[] = {200, 200, 50, 50, 150, 25, 10};
    int64_t ttl_ms = sim->settings.ttl_ms * percents[rng_range(&sim->rng, 0, 6)] / 100;
    ttl_ms = ttl_ms < 1000 ? 1000 : ttl_ms > 12000 ? 12000 : ttl_ms;
    sim->settings.ttl_ms = ttl_ms;
    sim->settings.loop_wait_ms = ttl_ms / 5;
    sim->settings.retry_timeout_ms = ttl_ms * 2 / 5;
    if (ttl_ms > sim->ttl_max_ms) {
        sim->ttl_max_ms = ttl_ms;
    }
    write_settings(sim);
}

static void edit_config(struct sim *sim)
{
    struct core_settings *settings = &sim->settings;
    switch ((int)rng_range(&sim->rng, 0, 4)) {
    case 0:
        settings->failsafe_mode = !settings->failsafe_mode;
        break;
    case 1:
        settings->maximum_lag_on_failover = rng_range(&sim->rng, 0, 1) * 1048576;
        break;
    case 2:
        settings->check_timeline = !settings->check_timeline;
        break;
    case 3:
        settings->primary_start_timeout_ms = rng_range(&sim->rng, 0, 1) * 10000;
        break;
    default:
        settings->use_pg_rewind = !settings->use_pg_rewind;
    }
    write_settings(sim);
}

static bool person(struct sim *sim, enum fault fault, int node)
{
    if (!store_usable(sim) || sim->store.data.settings.version == 0) {
        return false;
    }
    if (fault != FAULT_TTL_CHANGE) {
        hard(sim, sim->now_us + 20 * SECOND_US);
    }
    switch ((int)fault) {
    case FAULT_SWITCHOVER:
        return write_order(sim, true, rng_chance(&sim->rng, 500) ? node : NOBODY);
    case FAULT_FAILOVER:
        return write_order(sim, false, node);
    case FAULT_PAUSE:
    case FAULT_RESUME:
        if (sim->settings.pause == (fault == FAULT_PAUSE)) {
            return false;
        }
        sim->settings.pause = fault == FAULT_PAUSE;
        write_settings(sim);
        return true;
    case FAULT_TTL_CHANGE:
        change_ttl(sim);
        return true;
    case FAULT_CONFIG_EDIT:
        edit_config(sim);
        return true;
    case FAULT_LEAVE:
        if (!agent_runs(sim, node)) {
            return false;
        }
        agent_command(sim, node, CORE_COMMAND_LEAVE);
        return true;
    default:
        UNREACHABLE();
    }
}

/* ---- one fault ---- */

static bool apply(struct sim *sim, enum fault fault, int node)
{
    if (fault <= FAULT_BOTH_KILL) {
        return hurt_agent(sim, fault, node);
    }
    if (fault >= FAULT_SWITCHOVER) {
        return person(sim, fault, node);
    }
    if (fault >= FAULT_NET_ISOLATE) {
        return hurt_network(sim, fault, node);
    }
    if (fault >= FAULT_STORE_DOWN) {
        return hurt_store(sim, fault, node);
    }
    switch ((int)fault) {
    case FAULT_NODE_CRASH:
        return crash_node(sim, node);
    case FAULT_NODE_FREEZE:
        return freeze_node(sim, node);
    case FAULT_POSTGRES_SLOW:
        sim->jobs_slow_until_us = until(sim, 1000, 30000);
        hard(sim, sim->jobs_slow_until_us);
        return true;
    case FAULT_JOBS_FAIL:
        sim->jobs_fail_until_us = until(sim, 1000, 30000);
        hard(sim, sim->jobs_fail_until_us);
        return true;
    case FAULT_DISK_LOST:
    case FAULT_DISK_FOREIGN:
        return lose_disk(sim, fault, node);
    case FAULT_DISK_AWAY:
        return hide_disk(sim, node);
    case FAULT_DISK_SLOW:
        sim->memory_slow_until_us = until(sim, 1000, 30000);
        return true;
    default:
        return hurt_postgres(sim, fault, node);
    }
}

void faults_inject(struct sim *sim)
{
    if (sim->now_us < sim->quiet_until_us) {
        return;
    }
    int total = 0;
    for (int i = 0; i < FAULT_COUNT; i++) {
        total += sim->profile.weight[i];
    }
    int64_t pick = rng_range(&sim->rng, 0, total - 1);
    int fault = 0;
    while (pick >= sim->profile.weight[fault]) {
        pick -= sim->profile.weight[fault++];
    }
    int node = any_node(sim);
    ASSERT(sim->faults_drawn < FAULTS_DRAWN_MAX);
    if (sim->skip[sim->faults_drawn++]) {
        return;
    }
    trace_add(sim, node, "FAULT", fault_name((enum fault)fault), 0, 0);
    if (apply(sim, (enum fault)fault, node)) {
        sim->stats->faults[fault]++;
        sim->last_fault = fault;
        sim->last_fault_us = sim->now_us;
    } else {
        trace_add(sim, node, "FAULT", "does not apply", 0, 0);
    }
}

static void weigh(struct sim *sim, int from, int to, uint8_t weight)
{
    for (int i = from; i <= to; i++) {
        sim->profile.weight[i] = weight;
    }
}

void faults_choose_profile(struct sim *sim)
{
    memset(&sim->profile, 0, sizeof(sim->profile));
    uint8_t *weight = sim->profile.weight;
    int64_t kind = rng_range(&sim->rng, 0, 9);
    if (kind == 0) { /* soft: INV-6 */
        weigh(sim, FAULT_AGENT_KILL, FAULT_GUARD_FREEZE, 4);
        weigh(sim, FAULT_SESSION_EXPIRE, FAULT_WATCH_SLOW, 1);
        weight[FAULT_LIST_DOUBT] = 0;
        weight[FAULT_GUARD_GONE] = 0;
    } else if (kind == 1) { /* soft: INV-6 */
        weigh(sim, FAULT_STORE_DOWN, FAULT_STORE_FREEZE, 4);
        weight[FAULT_TTL_CHANGE] = 2;
        weigh(sim, FAULT_SESSION_EXPIRE, FAULT_WATCH_SLOW, 1);
        weight[FAULT_LIST_DOUBT] = 0;
    } else if (kind == 2) {
        weigh(sim, FAULT_NET_ISOLATE, FAULT_NET_LATE, 4);
        weigh(sim, FAULT_AGENT_KILL, FAULT_AGENT_FREEZE, 2);
    } else if (kind == 3) {
        weigh(sim, FAULT_NODE_CRASH, FAULT_DISK_AWAY, 4);
        weight[FAULT_DISK_FOREIGN] = 1;
    } else if (kind == 4) {
        weigh(sim, FAULT_SWITCHOVER, FAULT_LEAVE, 4);
        weigh(sim, FAULT_LIST_DOUBT, FAULT_LIST_DOUBT, 4);
        weigh(sim, FAULT_NODE_CRASH, FAULT_POSTGRES_CRASH, 2);
        weigh(sim, FAULT_NET_ISOLATE, FAULT_NET_STORE, 2);
    } else {
        weigh(sim, 0, FAULT_COUNT - 1, 3);
        weight[FAULT_DISK_FOREIGN] = 1;
        weight[FAULT_GUARD_GONE] = 2;
        weight[FAULT_BOTH_KILL] = 2;
        weight[FAULT_STORE_WIPE] = 1;
        weight[FAULT_STORE_ROLLBACK] = 1;
        weight[FAULT_PAUSE] = 1;
    }
    if (sim->settings.pause) {
        weight[FAULT_RESUME] = 6;
    }
    if (sim->wide) {
        weight[FAULT_STORE_REFUSE] = kind == 1 ? 4 : kind > 4 ? 2 : 0;
        weight[FAULT_DISK_SLOW] = kind == 1 ? 2 : kind > 4 ? 2 : 0;
    } else {
        weight[FAULT_STORE_REFUSE] = 0;
        weight[FAULT_DISK_SLOW] = 0;
        weight[FAULT_CONFIG_EDIT] = 0;
    }
}

/* After a pause whose holder died nothing times out: a person names who takes over (L7). */
void faults_confirm(struct sim *sim)
{
    int ordered = node_find(sim, sim->store.data.failover.candidate);
    if (ordered != NOBODY && sim->node[ordered].pg.state == PG_UP &&
        !sim->node[ordered].nofailover) {
        return;
    }
    int best = NOBODY;
    for (int i = 0; i < sim->nodes; i++) {
        const struct postgres *pg = &sim->node[i].pg;
        bool could = pg->state == PG_UP && !pg->primary && !sim->node[i].nofailover;
        if (could && (best == NOBODY || pg->pos.branch > sim->node[best].pg.pos.branch ||
                      (pg->pos.branch == sim->node[best].pg.pos.branch &&
                       pg->pos.lsn > sim->node[best].pg.pos.lsn))) {
            best = i;
        }
    }
    if (best != NOBODY) {
        struct store_data *mine = &sim->store.data;
        memset(&mine->failover, 0, sizeof(mine->failover));
        memcpy(mine->failover.candidate, sim->node[best].name, NAME_SIZE);
        mine->failover.version = ++mine->revision;
        trace_add(sim, best, "person", "confirms the takeover", 0, 0);
        store_changed(sim);
    }
}

/* Every fault ends by itself with the phase; what needs a hand gets it here. */
void faults_heal(struct sim *sim)
{
    sim->settings.pause = false;
    sim->list_doubt = 0;
    write_settings(sim);
    hard(sim, sim->now_us);
    for (int i = 0; i < sim->nodes; i++) {
        struct node *n = &sim->node[i];
        n->pg.hung_until_us = 0;
        n->pg.lagging_until_us = 0;
        n->pg.away_until_us = 0;
        if (n->pg.datadir == CORE_DATADIR_USABLE && sim->store.data.sysid != 0 &&
            n->pg.sysid != sim->store.data.sysid) {
            postgres_lose_disk(sim, i, CORE_DATADIR_EMPTY);
        }
        if (!n->up) {
            world_push(sim, EV_BOOT, sim->now_us, i);
        } else if (!n->agent.alive && !n->guard.alive) {
            world_push(sim, EV_GUARD_FRESH, sim->now_us, i);
        }
    }
}
