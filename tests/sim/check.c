/* The observers. They know true time, every process and every request, and never ask the core what
 * it believes: each computes for itself what would be allowed, and names the INV when it is not. */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define CONFIRM_US (45 * SECOND_US) /* a person, and the TTL of the leader key */
#define RESTORED_US                                                                                \
    (60 * SECOND_US) /* a list put back from a backup is not known to a holder cut off */
#define AWAY_US (2 * SECOND_US)
#define BUSY_STEPS_MAX 6000 /* in one virtual second of one node */

_Noreturn void check_fail(struct sim *sim, int node, const char *inv, const char *why)
{
    if (!sim->quiet) {
        trace_dump(sim);
    }
    printf("VIOLATED %s: %s\n", inv, why);
    printf("seed %" PRIu64 " at %" PRId64 ".%03d ms, node %s, %d nodes, ttl %" PRId64 " ms\n",
           sim->seed, sim->now_us / 1000, (int)(sim->now_us % 1000),
           node == NOBODY ? "-" : sim->node[node].name, sim->nodes, sim->settings.ttl_ms);
    printf("again: sim --seed %" PRIu64 " --trace\n", sim->seed);
    exit(1);
}

static int64_t margin_ms(int64_t ttl_ms)
{
    int64_t percent = (ttl_ms + 49) / 50;
    return percent > 20 ? percent : 20;
}

/* ---- after every event: INV-1, INV-4 ---- */

static void check_acking(struct sim *sim, int node)
{
    const struct witness *w = &sim->node[node].witness;
    if (!w->unarmed && node_ms(sim, node) > w->lease_end_ms) {
        check_fail(sim, node, "INV-4", "a primary acknowledges writes after its lease's end");
    }
    if (sim->last_acker != node) {
        sim->last_acker = node;
        sim->stats->failovers++;
    }
}

/* L7: a person gave the lease away over the head of a paused primary. It may only run on until it
 * reads that another one holds. */
static void check_away(struct sim *sim, int node)
{
    struct witness *w = &sim->node[node].witness;
    bool ending = sim->node[node].pg.state != PG_UP;
    struct core_postgres facts;
    postgres_facts(sim, node, &facts);
    if (w->away_seen_us != 0 && facts.primary == TRI_UNKNOWN) {
        w->away_seen_us = sim->now_us; /* it cannot know yet what it runs */
    }
    if (w->away_seen_us != 0 && sim->now_us > w->away_seen_us + AWAY_US && !ending &&
        agent_runs(sim, node)) {
        check_fail(sim, node, "INV-1", "another holds by a person's order, and this one runs on");
    }
}

void check_world(struct sim *sim)
{
    int acking = 0;
    for (int i = 0; i < sim->nodes; i++) {
        const struct witness *w = &sim->node[i].witness;
        if (!postgres_acking(sim, i) || w->grace_until_us > sim->now_us) {
            continue;
        }
        if (w->ordered_away) {
            check_away(sim, i);
            continue;
        }
        check_acking(sim, i);
        if (acking++ > 0) {
            check_fail(sim, i, "INV-1", "two primaries acknowledge writes");
        }
    }
}

/* ---- what a node was told ---- */

static void see_cluster(struct sim *sim, int node, const struct core_cluster *cluster)
{
    struct witness *w = &sim->node[node].witness;
    int64_t now_ms = node_ms(sim, node);
    w->cluster_ms = now_ms;
    if (cluster->reachable != TRI_YES) {
        return;
    }
    bool other = !w->seen || cluster->store_id != w->seen_store;
    if (!other && cluster->revision < w->seen_revision &&
        (!cluster->linearizable || cluster->asked_at.ms <= w->seen_revision_ms)) {
        return; /* an old push or answer that comes late */
    }
    if (other || cluster->revision != w->seen_revision) {
        w->seen_revision_ms = now_ms;
    }
    bool same_number = !other && cluster->lease.version == w->seen_lease.version;
    bool again = same_number && (cluster->lease.epoch != w->seen_lease.epoch ||
                                 cluster->lease.seq != w->seen_lease.seq);
    if (again) {
        mark(sim, MARK_VERSION_AGAIN);
    }
    if (!same_number || again || cluster->revision < w->seen_revision) {
        w->seen_ms = now_ms;
    }
    if (other || cluster->failsafe.version != w->seen_failsafe.version) {
        w->seen_failsafe_ms = now_ms;
    }
    w->seen = true;
    w->seen_store = cluster->store_id;
    w->seen_revision = cluster->revision;
    w->seen_lease = cluster->lease;
    bool other_holds = cluster->lease.present && cluster->lease.state == CORE_LEASE_HELD &&
                       strcmp(cluster->lease.holder, sim->node[node].name) != 0;
    if (!w->ordered_away) {
        w->away_seen_us = 0;
    } else if (other_holds && w->away_seen_us == 0) {
        w->away_seen_us = sim->now_us;
    }
    w->seen_failsafe = cluster->failsafe;
    if (cluster->linearizable && cluster->asked_at.ms > w->read_asked_ms) {
        w->read_asked_ms = cluster->asked_at.ms;
    }
}

/* A node knows what it wrote itself, once it knows that it was applied. */
void check_lease_answered(struct sim *sim, int node, const struct call *call)
{
    struct witness *w = &sim->node[node].witness;
    if (call->done.outcome != CORE_OUTCOME_APPLIED || call->done.version <= w->seen_revision) {
        return;
    }
    w->seen_lease = call->action.u.lease.record;
    w->seen_lease.version = call->done.version;
    w->seen_revision = call->done.version;
    w->seen_revision_ms = node_ms(sim, node);
    w->seen_ms = w->seen_revision_ms;
}

void check_event(struct sim *sim, int node, const struct core_event *event)
{
    struct witness *w = &sim->node[node].witness;
    int64_t now_ms = event->now.ms;
    if (now_ms - w->last_step_ms > sim->node[node].agent.settings.ttl_ms / 4) {
        w->stall_ms = now_ms;
    }
    w->last_step_ms = now_ms;
    if (w->busy_second != now_ms / 1000) {
        w->busy_second = now_ms / 1000;
        w->busy_steps = 0;
    }
    if (++w->busy_steps > BUSY_STEPS_MAX) {
        check_fail(sim, node, "contract", "steps without end");
    }
    if (event->type == CORE_EVENT_CLUSTER) {
        see_cluster(sim, node, &event->u.cluster);
    } else if (event->type == CORE_EVENT_POSTGRES &&
               event->u.postgres.asked_at.ms > w->postgres_ms) {
        w->postgres_ms = event->u.postgres.asked_at.ms;
    }
}

/* ---- the page: INV-4, L1, L9 ---- */

void check_page(struct sim *sim, int node, const struct core_plan *plan)
{
    const struct witness *w = &sim->node[node].witness;
    int64_t deadline_ms = plan->page.deadline.ms;
    if (deadline_ms != 0 && deadline_ms > w->lease_end_ms && deadline_ms > node_ms(sim, node)) {
        trace_add(sim, node, "page", "deadline, proven end", deadline_ms, w->lease_end_ms);
        check_fail(sim, node, "INV-4", "the page has more time than was proven (L1, L9)");
    }
}

/* ---- actions ---- */

static bool listed(const struct core_name_list *names, const char *name)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (strcmp(names->name[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void check_observed(struct sim *sim, int node)
{
    const struct witness *w = &sim->node[node].witness;
    if (w->cluster_ms < w->stall_ms || w->postgres_ms < w->stall_ms) {
        check_fail(sim, node, "INV-8", "acts after a stall without having observed (L12)");
    }
}

static void check_rise(struct sim *sim, int node, const struct core_plan *plan)
{
    const struct node *n = &sim->node[node];
    const struct guard *guard = &n->guard;
    int64_t left_ms = plan->page.deadline.ms - node_ms(sim, node);
    if (!guard->alive || !guard->armed || guard->epoch != plan->page.epoch) {
        check_fail(sim, node, "INV-3", "a primary is to rise and the guard is not armed for it");
    }
    if (left_ms < plan->page.ttl_ms / 4) {
        check_fail(sim, node, "INV-3", "a primary is to rise with less than ttl/4 left");
    }
    check_observed(sim, node);
}

static void check_start_primary(struct sim *sim, int node)
{
    const struct postgres *pg = &sim->node[node].pg;
    if (pg->control == CORE_CONTROL_IN_ARCHIVE_RECOVERY ||
        pg->control == CORE_CONTROL_SHUT_DOWN_IN_RECOVERY) {
        check_fail(sim, node, "INV-5", "a standby's data is started as primary of its timeline");
    }
}

static void check_promise_kept(struct sim *sim, int node)
{
    const struct node *n = &sim->node[node];
    const struct witness *w = &n->witness;
    const struct core_lease_record *seen = &w->seen_lease;
    if (w->promised_to[0] == '\0' || sim->now_us >= w->promised_until_us) {
        return;
    }
    bool gave_up = seen->present && seen->state != CORE_LEASE_HELD &&
                   strcmp(seen->holder, w->promised_to) == 0 && seen->epoch >= w->promised_epoch;
    if (!gave_up) {
        trace_add(sim, node, "promised", "until, to", w->promised_until_us / 1000,
                  (int64_t)w->promised_epoch);
        check_fail(sim, node, "INV-1", "takes the lease against its own promise (L9)");
    }
}

/* L3, by the node's own clock: what a read begun after the wait may do. */
static void check_waited(struct sim *sim, int node, const struct core_lease_write *write)
{
    const struct witness *w = &sim->node[node].witness;
    const struct core_lease_record *seen = &w->seen_lease;
    bool mine = seen->present && strcmp(seen->to, sim->node[node].name) == 0;
    if (write->lease_version == 0 || (seen->present && seen->state == CORE_LEASE_RELEASED) ||
        (seen->present && seen->state == CORE_LEASE_HANDING_TO && mine)) {
        return;
    }
    if (seen->version != write->lease_version) {
        check_fail(sim, node, "INV-8", "takes over another version than the one it saw");
    }
    if (seen->present && !seen->armed) {
        return; /* an order's: judged when it is applied (L7) */
    }
    int64_t wait_ms = seen->ttl_ms + margin_ms(seen->ttl_ms);
    if (seen->state == CORE_LEASE_HANDING_TO && strcmp(seen->holder, sim->node[node].name) == 0) {
        wait_ms = seen->ttl_ms / 2;
    }
    int64_t since_ms = w->seen_ms > w->seen_failsafe_ms ? w->seen_ms : w->seen_failsafe_ms;
    if (w->read_asked_ms < since_ms + wait_ms) {
        trace_add(sim, node, "waited", "since, read", since_ms, w->read_asked_ms);
        check_fail(sim, node, "INV-8", "takes over without a read begun after the wait (L3)");
    }
}

static void check_takeover(struct sim *sim, int node, const struct core_plan *plan,
                           const struct core_lease_write *write)
{
    const struct node *n = &sim->node[node];
    const struct witness *w = &n->witness;
    int64_t now_ms = node_ms(sim, node);
    bool rewrites = plan->page.deadline.ms > now_ms ||
                    (w->lease_end_ms > now_ms && plan->page.epoch == w->lease_epoch);
    check_observed(sim, node);
    if (rewrites) {
        return; /* L5: the holder writes a rolled-back store anew */
    }
    if (!w->seen) {
        check_fail(sim, node, "INV-8", "takes over what it never saw");
    }
    check_waited(sim, node, write);
    check_promise_kept(sim, node);
    if (!write->check_failsafe) {
        check_fail(sim, node, "INV-1", "takes over without checking the failsafe list (L9)");
    }
    if (w->seen_failsafe.names.count > 0 && !listed(&w->seen_failsafe.names, n->name)) {
        check_fail(sim, node, "INV-1", "takes over although it is not in the failsafe list (L9)");
    }
}

static void check_lease_write(struct sim *sim, int node, const struct core_plan *plan,
                              const struct core_lease_write *write)
{
    const struct node *n = &sim->node[node];
    if (write->record.state == CORE_LEASE_HELD) {
        if (write->record.epoch != n->witness.lease_epoch) {
            check_takeover(sim, node, plan, write);
        }
        return;
    }
    if (n->pg.primary && n->pg.state != PG_DOWN) {
        check_fail(sim, node, "INV-1", "gives the lease away while its primary runs (L4)");
    }
    if (plan->page.deadline.ms != 0) {
        check_fail(sim, node, "INV-1", "gives the lease away with time left in the page (L4)");
    }
}

static void check_copy(struct sim *sim, int node, const struct core_action *action)
{
    const struct node *n = &sim->node[node];
    const struct postgres *pg = &n->pg;
    const struct core_settings *settings = &n->agent.settings;
    if (pg->datadir != CORE_DATADIR_USABLE) {
        return;
    }
    int source = node_find(sim, action->u.postgres.upstream);
    if (source == NOBODY || source == node) {
        check_fail(sim, node, "INV-5", "would copy from nobody, or from itself");
    }
    bool diverged = pg->torn || !wal_contains(sim, sim->node[source].pg.pos, pg->pos);
    bool allowed = action->type == CORE_ACTION_REWIND
                       ? settings->use_pg_rewind
                       : settings->clone_on_diverged ||
                             (settings->clone_on_rewind_failed && pg->rewind_failed);
    if (!diverged) {
        check_fail(sim, node, "INV-5", "destroys a data directory that had not diverged");
    }
    if (!allowed) {
        check_fail(sim, node, "INV-5", "destroys a data directory against the configuration");
    }
}

static void check_disarm(struct sim *sim, int node, const struct core_action *action)
{
    const struct node *n = &sim->node[node];
    if (action->u.guard.for_pause) {
        if (!n->witness.unarmed && n->pg.primary && n->pg.state != PG_DOWN) {
            check_fail(sim, node, "INV-4", "disarms for a pause that is not written (L7)");
        }
    } else if (n->pg.primary && n->pg.state != PG_DOWN) {
        check_fail(sim, node, "INV-4", "disarms while the primary runs");
    }
}

static bool needs_observation(enum core_action_type type)
{
    enum core_target target = core_action_target(type);
    return target == CORE_TARGET_KEYS || target == CORE_TARGET_CHECK ||
           (target == CORE_TARGET_POSTGRES && type != CORE_ACTION_STOP_FAST &&
            type != CORE_ACTION_STOP_HARD);
}

void check_action(struct sim *sim, int node, const struct core_plan *plan,
                  const struct core_action *action)
{
    if (needs_observation(action->type)) {
        check_observed(sim, node);
    }
    switch ((int)action->type) {
    case CORE_ACTION_START_PRIMARY:
        check_start_primary(sim, node);
        check_rise(sim, node, plan);
        break;
    case CORE_ACTION_PROMOTE:
        check_rise(sim, node, plan);
        break;
    case CORE_ACTION_LEASE_WRITE:
        check_lease_write(sim, node, plan, &action->u.lease);
        break;
    case CORE_ACTION_CLONE:
    case CORE_ACTION_REWIND:
        check_copy(sim, node, action);
        break;
    case CORE_ACTION_DISARM:
        check_disarm(sim, node, action);
        break;
    case CORE_ACTION_STOP_FAST:
    case CORE_ACTION_STOP_HARD:
        check_primary_stopped(sim, node, core_reason_name(plan->reason),
                              plan->reason == CORE_REASON_HANDOVER_STOP ||
                                  plan->reason == CORE_REASON_LEAVE_STOP);
        break;
    default:
        break;
    }
}

/* ---- the store's side ---- */

static void check_overlap(struct sim *sim, int node, const struct core_lease_record *before)
{
    for (int i = 0; i < sim->nodes; i++) {
        struct node *x = &sim->node[i];
        if (i == node || !x->up) {
            continue;
        }
        if (x->witness.unarmed && x->pg.primary && x->pg.state != PG_DOWN) {
            bool ordered = x->witness.ordered_away ||
                           strcmp(sim->store.data.failover.candidate, sim->node[node].name) == 0;
            if (!ordered && before->present && before->state == CORE_LEASE_HELD) {
                check_fail(sim, node, "INV-1", "takes over in pause without an order (L7)");
            }
            x->witness.ordered_away = true;
            continue;
        }
        bool page_lives = x->guard.alive || x->agent.alive;
        if (x->witness.unarmed) {
            continue; /* L7: its lease starts nothing in a pause, and a person gave it away */
        }
        if (page_lives && x->page.present && x->page.deadline.ms > node_ms(sim, i)) {
            trace_add(sim, i, "page", "runs until, now", x->page.deadline.ms, node_ms(sim, i));
            check_fail(sim, node, "INV-1", "takes the lease while another's still runs (L3)");
        }
    }
}

static bool young(const struct sim *sim, int node)
{
    return sim->node[node].agent.core.no_acquire_until.ms > node_ms(sim, node) - 500;
}

static void mark_giver(struct sim *sim, int giver)
{
    const struct node *n = &sim->node[giver];
    if (!n->up) {
        mark(sim, MARK_TAKEOVER_OLD_OFF);
    } else if (n->frozen_until_us > sim->now_us) {
        mark(sim, MARK_TAKEOVER_OLD_FROZEN);
    }
    if (n->agent.alive && mono_before(n->agent.core.own.written_at, n->agent.core.own.proven_at)) {
        mark(sim, MARK_PROMISES_THEN_LOST);
    }
}

static void mark_takeover(struct sim *sim, int node, const struct core_lease_record *before)
{
    const struct node *n = &sim->node[node];
    int giver = before->present ? node_find(sim, before->holder) : NOBODY;
    if (!before->present || (giver == node && before->state == CORE_LEASE_HELD)) {
        mark(sim, MARK_WRITTEN_ANEW);
        return;
    }
    switch (before->state) {
    case CORE_LEASE_RELEASED:
        mark(sim, MARK_TAKEOVER_RELEASED);
        break;
    case CORE_LEASE_HANDING_TO:
        mark(sim, strcmp(before->to, n->name) == 0 ? MARK_TAKEOVER_HANDED
                  : giver == node                  ? MARK_HANDED_TAKEN_BACK
                                                   : MARK_HANDED_TO_THIRD);
        break;
    case CORE_LEASE_HELD:
        mark(sim, before->armed ? MARK_TAKEOVER_AFTER_TTL : MARK_TAKEOVER_UNARMED);
        break;
    }
    if (giver != NOBODY && giver != node) {
        mark_giver(sim, giver);
    }
    if (n->witness.promised_until_us <= sim->now_us &&
        n->witness.promised_until_us > sim->now_us - SECOND_US) {
        mark(sim, MARK_TAKEOVER_AFTER_PROMISE);
    }
    if (young(sim, node)) {
        mark(sim, MARK_TAKEOVER_YOUNG_AGENT);
    }
    if (sim->list_changed_us > sim->now_us - 5 * SECOND_US) {
        mark(sim, MARK_TAKEOVER_NEW_LIST);
    }
    if (sim->nodes == 7) {
        mark(sim, MARK_TAKEOVER_OF_SEVEN);
    }
}

/* What kind of write it was, and whether anybody still waited for it. */
static void mark_write(struct sim *sim, int node, const struct call *call,
                       const struct core_lease_record *before)
{
    const struct witness *w = &sim->node[node].witness;
    const struct core_lease_write *write = &call->action.u.lease;
    bool late = node_ms(sim, node) > call->sent_ms + write->timeout_ms;
    bool held = write->record.state == CORE_LEASE_HELD;
    bool renewal = held && write->record.epoch == w->lease_epoch;
    if (late) {
        mark(sim, !held ? MARK_GIVE_LATE : renewal ? MARK_RENEW_LATE : MARK_ACQUIRE_LATE);
    }
    if (!renewal) {
        if (held && write->leader_version == 0) {
            mark(sim, MARK_TAKEOVER_NO_LEADER_KEY);
        }
        return;
    }
    if (w->lease_end_ms <= node_ms(sim, node)) {
        mark(sim, MARK_RENEW_NO_TIME_LEFT);
    }
    if (write->record.ttl_ms != before->ttl_ms) {
        mark(sim, write->record.ttl_ms < before->ttl_ms ? MARK_TTL_LOWERED : MARK_TTL_RAISED);
    }
    if (write->record.armed != before->armed) {
        mark(sim, write->record.armed ? MARK_RESUME_WRITTEN : MARK_PAUSE_WRITTEN);
    }
}

static void lease_taken(struct sim *sim, int node, const struct core_lease_record *record,
                        const struct core_lease_record *before)
{
    struct witness *w = &sim->node[node].witness;
    bool mine_before = before->present && strcmp(before->holder, sim->node[node].name) == 0;
    if (mine_before && before->epoch == record->epoch && before->state == CORE_LEASE_HELD) {
        return;
    }
    if (record->epoch <= sim->epoch_applied) {
        check_fail(sim, node, "INV-1", "an epoch is used again");
    }
    sim->stats->takeovers++;
    mark_takeover(sim, node, before);
    /* A person may order away what a crash left behind; by itself a handoff loses nothing. */
    bool ordered = strcmp(sim->store.data.failover.candidate, sim->node[node].name) == 0;
    int giver = before->present ? node_find(sim, before->holder) : NOBODY;
    bool clean = giver != NOBODY && sim->node[giver].pg.control == CORE_CONTROL_SHUT_DOWN;
    w->handed = before->present && before->state == CORE_LEASE_HANDING_TO &&
                strcmp(before->to, sim->node[node].name) == 0 && (clean || !ordered);
    check_overlap(sim, node, before);
}

void check_lease_applied(struct sim *sim, int node, const struct call *call,
                         const struct core_lease_record *before)
{
    struct node *n = &sim->node[node];
    struct witness *w = &n->witness;
    const struct core_lease_record *record = &call->action.u.lease.record;
    mark_write(sim, node, call, before);
    if (strcmp(record->holder, n->name) != 0) {
        check_fail(sim, node, "contract", "writes a lease for somebody else");
    }
    if (record->state != CORE_LEASE_HELD) {
        if (n->pg.primary && n->pg.state != PG_DOWN) {
            check_fail(sim, node, "INV-1", "a release lands while the primary runs (L4)");
        }
        w->lease_end_ms = 0;
    } else {
        lease_taken(sim, node, record, before);
        int64_t end_ms = call->boot == n->boot ? call->sent_ms + record->ttl_ms : 0;
        bool goes_on = call->boot == n->boot && n->page.deadline.ms > node_ms(sim, node);
        if ((record->epoch != w->lease_epoch && !goes_on) || end_ms > w->lease_end_ms) {
            w->lease_end_ms = end_ms;
        }
        w->unarmed = !record->armed;
        w->lease_epoch = record->epoch;
    }
    if (record->epoch > sim->epoch_applied) {
        sim->epoch_applied = record->epoch;
    }
    sim->holder = node;
}

/* ---- promises ---- */

/* Everybody in the list in force, but the node itself. */
static uint32_t list_in_force(const struct sim *sim, int node)
{
    const struct core_name_list *list = &sim->store.data.failsafe.names;
    uint32_t all = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        int peer = node_find(sim, list->name[i]);
        all |= peer == node ? 0 : 1u << peer;
    }
    return all;
}

void check_promises(struct sim *sim, int node, const struct ask *ask)
{
    struct witness *w = &sim->node[node].witness;
    bool restored =
        sim->store.restored_us > 0 && sim->now_us - sim->store.restored_us < RESTORED_US;
    bool covered = (list_in_force(sim, node) & ~ask->granted) == 0 ||
                   (restored && (ask->asked & ~ask->granted) == 0);
    if (!ask->promise || !covered || ask->epoch > w->lease_epoch ||
        w->lease_end_ms <= node_ms(sim, node)) {
        return;
    }
    int64_t end_ms = ask->asked_at.ms + ask->ttl_ms;
    if (end_ms > w->lease_end_ms) {
        w->lease_end_ms = end_ms;
        sim->stats->promise_leases++;
        mark(sim, MARK_LEASE_ON_PROMISES);
        if (sim->node[node].agent.core.memory.failsafe_doubt.count > 0) {
            mark(sim, MARK_PROMISES_LIST_IN_DOUBT);
        }
    }
}

void check_promise_given(struct sim *sim, int node, const struct promise_request *request)
{
    struct node *n = &sim->node[node];
    struct witness *w = &n->witness;
    if (n->pg.primary && n->pg.state != PG_DOWN) {
        check_fail(sim, node, "INV-1", "promises while it runs as primary (L9)");
    }
    if (n->agent.pending[CORE_TARGET_LEASE].active) {
        check_fail(sim, node, "INV-1", "promises while its own takeover is under way (L9)");
    }
    if (young(sim, node)) {
        mark(sim, MARK_PROMISE_YOUNG_AGENT);
    }
    /* What survives the agent is the promise itself, or a ttl that every new start waits for. */
    bool on_disk = n->has_memory && strcmp(n->memory.promised_to, request->body.holder) == 0 &&
                   n->memory.promised_epoch >= request->body.epoch;
    if (!on_disk && (!n->has_memory || n->memory.ttl_max_ms < request->body.ttl_ms)) {
        check_fail(sim, node, "INV-1", "a promise that would not survive the agent (L8, L9)");
    }
    int64_t ttl_ms = request->body.ttl_ms;
    int64_t until_us = node_true_us(sim, node, request->arrived_ms + ttl_ms + margin_ms(ttl_ms));
    if (until_us > w->promised_until_us || w->promised_to[0] == '\0') {
        w->promised_until_us = until_us;
    }
    w->promised_epoch = request->body.epoch;
    name_copy(w->promised_to, request->body.holder);
}

/* ---- INV-6, and what a failover costs ---- */

void check_primary_stopped(struct sim *sim, int node, const char *by, bool ordered)
{
    if (!postgres_acking(sim, node)) {
        return;
    }
    sim->stats->stops++;
    trace_add(sim, node, "stopped by", by, 0, 0);
    const struct core_failover *order = &sim->store.data.failover;
    if (ordered || order->leader[0] != '\0' || order->candidate[0] != '\0') {
        return;
    }
    if (sim->now_us > sim->hard_until_us) {
        check_fail(sim, node, "INV-6",
                   "a healthy primary is stopped for no reason but the agent, "
                   "the guard or the store");
    }
}

void check_promoted(struct sim *sim, int node, uint32_t parent, uint64_t fork_lsn)
{
    const struct witness *w = &sim->node[node].witness;
    uint64_t acked = sim->branch[parent].acked_lsn;
    uint64_t lost = acked > fork_lsn ? acked - fork_lsn : 0;
    sim->stats->lost_bytes += lost;
    if (lost > 0 && w->handed) {
        check_fail(sim, node, "L10", "acknowledged rows are missing after a handoff");
    }
}

/* ---- INV-7 ---- */

static int leader_now(const struct sim *sim)
{
    for (int i = 0; i < sim->nodes; i++) {
        if (postgres_acking(sim, i) && agent_runs(sim, i) &&
            core_is_leader(&sim->node[i].agent.core, (struct mono){node_ms(sim, i)})) {
            return i;
        }
    }
    return NOBODY;
}

static bool may_stay_away(const struct sim *sim, int node, int leader)
{
    const struct postgres *pg = &sim->node[node].pg;
    const struct core_settings *settings = &sim->settings;
    if (pg->datadir != CORE_DATADIR_USABLE ||
        (!pg->torn && wal_contains(sim, sim->node[leader].pg.pos, pg->pos))) {
        return false;
    }
    if (pg->torn || pg->rewind_failed) {
        return !settings->clone_on_diverged && !settings->clone_on_rewind_failed;
    }
    return !settings->use_pg_rewind && !settings->clone_on_diverged;
}

static void check_followers(struct sim *sim, int leader)
{
    for (int i = 0; i < sim->nodes; i++) {
        const struct postgres *pg = &sim->node[i].pg;
        bool follows = pg->state == PG_UP && !pg->primary && pg->streaming;
        bool joined = sim->node[i].join_us + 60 * SECOND_US < sim->now_us;
        if (i != leader && joined && !follows && !may_stay_away(sim, i, leader)) {
            check_fail(sim, i, "INV-7", "all is healed and a node does not follow the primary");
        }
    }
}

void check_demand(struct sim *sim)
{
    int leader = leader_now(sim);
    int64_t since_us = sim->now_us - sim->phase_start_us;
    if (sim->now_us >= sim->phase_end_us) {
        if (leader == NOBODY) {
            check_fail(sim, NOBODY, "INV-7", "all is healed and the primary is gone again");
        }
        check_followers(sim, leader);
        return;
    }
    bool first = sim->phase_start_us == 0; /* the bootstrap has no lease to wait for, but initdb */
    const struct core_lease_record *lease = &sim->store.data.lease;
    if (leader == NOBODY && lease->present && !lease->armed && since_us < CONFIRM_US) {
        sim->demand_from_us = sim->now_us;
        if (since_us > SECOND_US) {
            faults_confirm(sim);
        }
        return;
    }
    if (leader != NOBODY) {
        sim->demand_met = true;
        if (!first && sim->now_us - sim->demand_from_us > sim->stats->worst_heal_us) {
            sim->stats->worst_heal_us = sim->now_us - sim->demand_from_us;
        }
    } else if (sim->now_us - sim->demand_from_us > (3 * sim->ttl_max_ms + 5000) * 1000) {
        check_fail(sim, NOBODY, "INV-7", "all is healed for 3 ttl + 5 s and there is no primary");
    }
}
