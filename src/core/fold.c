/* Events into the view, plans into what is pending. Whole snapshots replace what was known; nothing
 * here decides. A fact keeps the date at which it was asked for. */
#include "core/internal.h"

/* L5: everybody but a holder whose lease runs waits for whatever lease may still run. */
static void wait_out_rollback(struct core *core)
{
    ASSERT(core != NULL);
    core->rolled_back = false;
    lease_lose(core);
    int64_t ttl_ms = lease_ttl_known(core);
    core->rollback_until =
        mono_max(core->rollback_until, mono_add(core->now, ttl_ms + lease_margin_ms(ttl_ms)));
}

/* The store is another one, or older than it was: nobody may count on what was seen (L5). */
static void fold_rollback(struct core *core)
{
    ASSERT(core != NULL);
    for (uint32_t i = 0; i < CORE_SENT_MAX; i++) {
        core->own.sent[i] = (struct core_sent){0};
    }
    core->challenge.seen = false; /* everybody waits anew */
    core->revision_max = 0;
    core->claimed_version = 0;
    if (lease_valid(core) && view_maybe_primary(core)) { /* unknown is not no (INV-8) */
        core->rolled_back = true;
    } else {
        wait_out_rollback(core);
    }
}

/* A list that is in force is known as such; what was in doubt is settled by a later confirmed one.
 */
static void fold_failsafe(struct core *core)
{
    ASSERT(core != NULL);
    const struct core_failsafe *failsafe = &core->cluster.failsafe;
    struct core_memory *memory = &core->memory;
    if (failsafe->version != 0 && !names_equal(&failsafe->names, &memory->failsafe)) {
        memory->failsafe = failsafe->names;
        core->memory_dirty = true;
    }
    if (failsafe->version != 0 && memory->failsafe_doubt.count > 0 &&
        names_equal(&failsafe->names, &memory->failsafe_doubt)) {
        memory->failsafe_doubt.count = 0;
        core->memory_dirty = true;
    }
}

static void fold_settings(struct core *core, const struct core_settings *before)
{
    ASSERT(core != NULL);
    struct core_settings *settings = &core->cluster.settings;
    if (settings->version == 0 && before->ttl_ms > 0) {
        *settings = *before; /* a wiped /config changes nothing, pause least of all */
        settings->version = 0;
    }
    if (settings->ttl_ms > core->memory.ttl_max_ms) {
        core->memory.ttl_max_ms = settings->ttl_ms;
        core->memory_dirty = true;
    }
}

static bool snapshot_is_old(struct core *core, const struct core_cluster *cluster)
{
    ASSERT(core != NULL);
    if (core->store_id == 0 || cluster->store_id != core->store_id ||
        cluster->revision >= core->revision_max) {
        return false;
    }
    if (cluster->linearizable && mono_before(core->revision_at, cluster->asked_at)) {
        return false; /* a read begun after we knew of more: the store went back */
    }
    core->read_from = core->now; /* a late push, or a store that went back: a read tells */
    return true;
}

static void fold_cluster(struct core *core, const struct core_cluster *cluster)
{
    ASSERT(core != NULL);
    if (cluster->linearizable ||
        cluster->reachable != TRI_YES) { /* a push may be an old one (L12) */
        core->store_seen_at = mono_max(core->store_seen_at, cluster->asked_at);
    }
    if (cluster->reachable != TRI_YES) {
        core->cluster.reachable = TRI_NO;
        return;
    }
    if (snapshot_is_old(core, cluster)) {
        return;
    }
    bool older = cluster->lease.present && cluster->lease.epoch < core->memory.epoch_max &&
                 !(core->challenge.seen && core->challenge.lease_version == cluster->lease.version);
    bool back = core->store_id != 0 &&
                (cluster->store_id != core->store_id || cluster->revision < core->revision_max);
    if (back || older) { /* a lower epoch than one that was read or proven: an old record (L5) */
        fold_rollback(core);
        core->own.tried_version = cluster->lease.version;
    }
    struct core_settings before = core->cluster.settings;
    if (cluster->config_version != core->cluster.config_version) {
        core->start_failures = 0; /* what ended the server may be mended */
    }
    if (core->cluster.reachable != TRI_YES) {
        core->store_back_at = core->now;
    }
    core->cluster = *cluster;
    core->store_id = cluster->store_id;
    lease_revision(core, cluster->revision);
    if (cluster->linearizable) {
        core->linear_at = mono_max(core->linear_at, cluster->asked_at);
        if (!mono_before(cluster->asked_at, core->read_from)) {
            core->read_from = MONO_NEVER;
        }
    }
    if (core->order_version != cluster->failover.version) {
        core->order_version = cluster->failover.version;
        core->order_since = core->now;
    }
    fold_settings(core, &before);
    fold_failsafe(core);
    lease_fold_record(core);
    if (cluster->initialize != CORE_INITIALIZE_RUNNING ||
        cluster->initialize_version != core->claimed_version) {
        core->claimed_version = 0; /* finished, expired, or another's */
    }
}

static void fold_postgres(struct core *core, const struct core_postgres *postgres)
{
    ASSERT(core != NULL);
    if (mono_before(postgres->asked_at, core->postgres.asked_at) ||
        mono_before(postgres->asked_at, core->postgres_from)) {
        return; /* answered late: newer facts are here, or the server was changed since */
    }
    core->postgres = *postgres;
    if (!view_replica(core) || postgres->streaming) {
        core->mute_since = MONO_NEVER;
    } else if (core->mute_since.ms == INT64_MAX) {
        core->mute_since = core->now;
    }
    struct core_handover *handover = &core->handover;
    if (handover->active && handover->stopped_at.ms == 0 && postgres->process == TRI_NO) {
        handover->stopped_at = core->now;
    }
}

static void fold_peer_status(struct core *core, const struct core_peer_status *status)
{
    ASSERT(core->peer_count <= MEMBERS_MAX);
    uint32_t slot = core->peer_count;
    uint32_t oldest = 0;
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (str_equal(core->peer[i].name, status->name)) {
            slot = i;
        }
        if (mono_before(core->peer[i].asked_at, core->peer[oldest].asked_at)) {
            oldest = i;
        }
    }
    if (slot == MEMBERS_MAX) {
        slot = oldest;
    } else if (slot == core->peer_count) {
        core->peer_count++;
    } else if (mono_before(status->asked_at, core->peer[slot].asked_at)) {
        return;
    }
    core->peer[slot] = *status;
}

static void fold_request(struct core *core, const struct core_promise_request *request)
{
    ASSERT(core != NULL);
    for (uint32_t i = 0; i < CORE_REQUESTS_MAX; i++) {
        if (core->request[i].phase == CORE_REQUEST_NONE) {
            core->request[i] =
                (struct core_request_slot){.phase = CORE_REQUEST_NEW, .request = *request};
            return;
        }
    }
    /* all slots taken: the asker hears nothing in time, which is a refusal */
}

static void fold_done_keys(struct core *core, const struct core_done *done)
{
    ASSERT(core != NULL);
    bool applied = done->outcome == CORE_OUTCOME_APPLIED;
    core->read_from = core->now; /* what stands now is to be seen, whatever became of the write */
    if (applied) {
        lease_revision(core, done->version);
    }
    if (done->type == CORE_ACTION_CLAIM_INITIALIZE && applied) {
        core->claimed_version = done->version;
        core->cluster.initialize = CORE_INITIALIZE_RUNNING;
        core->cluster.initialize_version = done->version;
    } else if (done->type == CORE_ACTION_CANCEL_INITIALIZE) {
        core->claimed_version = 0;
    } else if (done->type == CORE_ACTION_WRITE_FAILSAFE && applied &&
               core->memory.failsafe_doubt.count > 0) { /* else a push has settled it already */
        core->memory.failsafe = core->memory.failsafe_doubt; /* what the confirmed write carried */
        core->memory.failsafe_doubt.count = 0;
        core->memory_dirty = true;
    } else if (done->type == CORE_ACTION_CLEAR_FAILOVER && applied) {
        core->cluster.failover = (struct core_failover){.version = done->version};
        core->handover = (struct core_handover){0};
    }
}

/* A start that the guard put off, or that is in doubt, says nothing about the server. */
static void fold_done_start(struct core *core, const struct core_done *done)
{
    ASSERT(core != NULL);
    if (done->outcome == CORE_OUTCOME_APPLIED) {
        core->start_failures = 0;
    } else if (done->outcome == CORE_OUTCOME_NOT_APPLIED) {
        core->start_failures++;
        core->start_failed_at = core->now;
    }
}

static void fold_done_postgres(struct core *core, const struct core_done *done)
{
    ASSERT(core != NULL);
    bool applied = done->outcome == CORE_OUTCOME_APPLIED;
    if (done->type == CORE_ACTION_START_PRIMARY || done->type == CORE_ACTION_START_REPLICA) {
        fold_done_start(core, done);
    }
    if (done->type == CORE_ACTION_INITDB) {
        core->initdb_failed = !applied;
    } else if (done->type == CORE_ACTION_SETUP) {
        core->setup_done = applied;
    } else if (done->type == CORE_ACTION_START_PRIMARY) {
        core->primary_failed = core->primary_failed || done->outcome == CORE_OUTCOME_NOT_APPLIED;
    } else if ((done->type == CORE_ACTION_PROMOTE || done->type == CORE_ACTION_START_REPLICA) &&
               core->own.holding && core->pending[CORE_TARGET_POSTGRES].failures >= 3) {
        core->primary_failed = true;
    } else if (done->type == CORE_ACTION_CHECKPOINT) {
        core->handover.checkpointed = true; /* also when refused: the stop does its own */
    } else if (done->type == CORE_ACTION_REWIND) {
        core->rewind_failed = !applied;
        core->divergence = applied ? CORE_DIVERGENCE_NONE : CORE_DIVERGENCE_DIVERGED;
    } else if (done->type == CORE_ACTION_CLONE && applied) {
        core->divergence = CORE_DIVERGENCE_NONE;
        core->rewind_failed = false;
    }
    /* the others leave their traces in the next POSTGRES event */
}

static void fold_done_memory(struct core *core, bool applied)
{
    ASSERT(core != NULL);
    core->memory_dirty = core->memory_dirty || !applied;
    core->ttl_durable_ms = applied ? core->ttl_writing_ms : core->ttl_durable_ms;
    for (uint32_t i = 0; i < CORE_REQUESTS_MAX; i++) {
        if (core->request[i].phase == CORE_REQUEST_REMEMBERING) {
            core->request[i].phase = applied ? CORE_REQUEST_NEW : CORE_REQUEST_FAILED;
        }
    }
}

/* When the target may be used again. */
static struct mono fold_done_retry(const struct core *core, enum core_target target, bool applied)
{
    ASSERT(target < CORE_TARGET_NONE);
    const struct core_settings *settings = &core->cluster.settings;
    if (target == CORE_TARGET_STATUS) {
        return mono_add(core->now, CORE_STATUS_PACE_MS);
    }
    if (applied) {
        return core->now;
    }
    bool again = target == CORE_TARGET_POSTGRES && core->pending[target].failures > 1;
    int64_t wait_ms = again ? settings->loop_wait_ms : settings->ttl_ms / 20;
    return mono_add(core->now, wait_ms > 1 ? wait_ms : 1);
}

static void fold_done(struct core *core, const struct core_done *done)
{
    enum core_target target = core_action_target(done->type);
    ASSERT(target < CORE_TARGET_NONE);
    struct core_pending *pending = &core->pending[target];
    ASSERT(done->id != 0 && done->id < core->next_id);
    if (!pending->active || pending->id != done->id) {
        return; /* overridden by a STOP */
    }
    pending->active = false;
    bool applied = done->outcome == CORE_OUTCOME_APPLIED;
    pending->failures = applied ? 0 : pending->failures + 1;
    pending->retry_at = fold_done_retry(core, target, applied);
    if (target == CORE_TARGET_LEASE) {
        lease_fold_done(core, done);
    } else if (target == CORE_TARGET_KEYS) {
        fold_done_keys(core, done);
    } else if (target == CORE_TARGET_POSTGRES) {
        fold_done_postgres(core, done);
    } else if (target == CORE_TARGET_CHECK) {
        core->divergence = applied ? done->divergence : CORE_DIVERGENCE_UNKNOWN;
    } else if (target == CORE_TARGET_PROMISE) {
        lease_fold_round_done(core, done);
    } else if (target == CORE_TARGET_MEMORY) {
        fold_done_memory(core, applied);
    }
}

/* A frozen machine or process: what was known before the gap is old (L12). */
static void fold_stall(struct core *core, struct mono now)
{
    ASSERT(!mono_before(now, core->now));
    int64_t ttl_ms = core->cluster.settings.ttl_ms;
    if (core->now.ms != 0 && mono_sub(now, core->now) > ttl_ms / 4) {
        core->trusted_from = now;
        core->read_from = now;
    }
}

void fold_event(struct core *core, const struct core_event *event)
{
    ASSERT(event->type < CORE_EVENT_COUNT);
    fold_stall(core, event->now);
    core->now = event->now;
    core->wall = event->wall;
    if (core->rolled_back && !lease_valid(core)) {
        wait_out_rollback(core);
    }
    switch (event->type) {
    case CORE_EVENT_CLUSTER:
        fold_cluster(core, &event->u.cluster);
        break;
    case CORE_EVENT_POSTGRES:
        fold_postgres(core, &event->u.postgres);
        break;
    case CORE_EVENT_GUARD:
        core->guard = event->u.guard;
        core->armed_seen = core->guard.armed ? core->guard.armed_epoch : core->armed_seen;
        if (core->guard.alive != TRI_NO) {
            core->guard_lost_at = MONO_NEVER;
        } else if (core->guard_lost_at.ms == INT64_MAX) {
            core->guard_lost_at = core->now;
        }
        break;
    case CORE_EVENT_PEER_STATUS:
        fold_peer_status(core, &event->u.peer_status);
        break;
    case CORE_EVENT_PEER_PROMISE:
        lease_fold_promise(core, &event->u.peer_promise);
        break;
    case CORE_EVENT_PROMISE_REQUEST:
        fold_request(core, &event->u.promise_request);
        break;
    case CORE_EVENT_DONE:
        fold_done(core, &event->u.done);
        break;
    case CORE_EVENT_COMMAND:
        core->leaving = core->leaving || event->u.command == CORE_COMMAND_LEAVE;
        break;
    case CORE_EVENT_TICK:
    case CORE_EVENT_COUNT:
        break;
    }
}

/* ---- what a plan leaves behind ---- */

/* An action that changes the server makes what was known of it unknown: a fact asked for before it
 * must not be taken for one of after it (INV-8). */
static void commit_postgres(struct core *core, const struct core_action *action)
{
    ASSERT(core != NULL);
    struct core_postgres *postgres = &core->postgres;
    bool stop = action->type == CORE_ACTION_STOP_FAST || action->type == CORE_ACTION_STOP_HARD;
    bool start =
        action->type == CORE_ACTION_START_PRIMARY || action->type == CORE_ACTION_START_REPLICA;
    bool promote = action->type == CORE_ACTION_PROMOTE;
    if (stop) {
        core->setup_done = false;
    }
    if (start || promote) {
        postgres->accepting = TRI_UNKNOWN;
        postgres->process = start ? TRI_UNKNOWN : postgres->process;
        bool replica = action->type == CORE_ACTION_START_REPLICA;
        postgres->primary = replica ? TRI_NO : TRI_UNKNOWN;
    }
    bool harmless = action->type == CORE_ACTION_CHECKPOINT || action->type == CORE_ACTION_SETUP ||
                    action->type == CORE_ACTION_FOLLOW;
    if (!harmless) {
        core->postgres_from = mono_add(core->now, 1);
    }
}

static void commit_check(struct core *core)
{
    ASSERT(core != NULL);
    const char *leader = "";
    if (view_leads(core, &leader)) {
        if (!str_equal(leader, core->checked_leader) ||
            core->checked_epoch != core->cluster.lease.epoch) {
            core->rewind_failed = false;
        }
        str_set(core->checked_leader, NAME_SIZE, leader);
        core->checked_epoch = core->cluster.lease.epoch;
        core->divergence = CORE_DIVERGENCE_UNKNOWN;
    }
}

static void commit_promise(struct core *core, const struct core_action *action)
{
    ASSERT(core != NULL);
    core->round = (struct core_round){
        .number = action->u.ask.round,
        .asked_at = action->u.ask.asked_at,
        .ttl_ms = action->u.ask.ttl_ms,
        .epoch = action->u.ask.epoch,
        .names = action->u.ask.names,
        .next_at = mono_add(core->now, action->u.ask.ttl_ms / 20),
    };
}

/* A promise is in force from here on; that it gets to disk is a second line (L8 is the first). */
static void commit_answer(struct core *core, const struct core_action *action)
{
    ASSERT(core != NULL);
    for (uint32_t i = 0; i < CORE_REQUESTS_MAX; i++) {
        struct core_request_slot *slot = &core->request[i];
        if (slot->phase == CORE_REQUEST_NONE ||
            slot->request.request_id != action->u.answer.request_id) {
            continue;
        }
        if (action->u.answer.granted) {
            struct core_memory *memory = &core->memory;
            int64_t ttl_ms = slot->request.ttl_ms;
            int64_t length_ms = ttl_ms + lease_margin_ms(ttl_ms); /* never exactly ttl (L9) */
            str_set(memory->promised_to, NAME_SIZE, slot->request.holder);
            memory->promised_epoch = slot->request.epoch;
            memory->promised_ms = length_ms;
            memory->promised_until =
                mono_max(memory->promised_until, mono_add(core->now, length_ms));
            core->memory_dirty = true;
        }
        *slot = (struct core_request_slot){0};
    }
}

static void commit_remember(struct core *core, const struct core_action *action)
{
    ASSERT(core != NULL);
    for (uint32_t i = 0; i < CORE_REQUESTS_MAX; i++) {
        if (core->request[i].phase == CORE_REQUEST_NEW &&
            core->request[i].request.ttl_ms <= action->u.memory.ttl_max_ms) {
            core->request[i].phase = CORE_REQUEST_REMEMBERING;
        }
    }
    core->memory = action->u.memory; /* in force before it is on disk: both sides err safely */
    core->memory_dirty = false;
    core->ttl_writing_ms = action->u.memory.ttl_max_ms;
}

static void commit_handover(struct core *core, enum core_reason reason)
{
    ASSERT(core != NULL);
    struct core_handover *handover = &core->handover;
    uint64_t order = core->leaving ? 0 : core->cluster.failover.version;
    if (reason == CORE_REASON_HANDOVER_CHECKPOINT) {
        *handover = (struct core_handover){.order_version = order};
    } else if (reason == CORE_REASON_HANDOVER_STOP) {
        handover->active = true;
        handover->timeline = core->postgres.timeline;
        handover->stopped_at = MONO_ZERO;
    } else if (reason == CORE_REASON_HANDOVER_ABORT) {
        *handover = (struct core_handover){0}; /* also where the order itself cannot be cleared */
    } else if (reason == CORE_REASON_HOLDER_CHECKPOINT) {
        handover->order_version = UINT64_MAX; /* its DONE is not the one of a handover */
    }
}

void fold_commit(struct core *core, struct core_plan *plan)
{
    ASSERT(plan->count <= CORE_ACTIONS_MAX);
    for (uint32_t i = 0; i < plan->count; i++) {
        struct core_action *action = &plan->action[i];
        enum core_target target = core_action_target(action->type);
        if (target == CORE_TARGET_NONE) {
            if (action->type == CORE_ACTION_ANSWER) {
                commit_answer(core, action);
            }
            continue;
        }
        struct core_pending *pending = &core->pending[target];
        bool overrides = action->type == CORE_ACTION_STOP_FAST ||
                         action->type == CORE_ACTION_STOP_HARD ||
                         action->type == CORE_ACTION_REPLACE_GUARD;
        ASSERT(!pending->active || overrides);
        action->id = core->next_id++;
        pending->active = true;
        pending->type = action->type;
        pending->id = action->id;
        pending->started_at = core->now;
        if (action->type == CORE_ACTION_LEASE_WRITE) {
            lease_commit(core, &action->u.lease);
        } else if (target == CORE_TARGET_POSTGRES) {
            commit_postgres(core, action);
        } else if (target == CORE_TARGET_CHECK) {
            commit_check(core);
        } else if (target == CORE_TARGET_PROMISE) {
            commit_promise(core, action);
        } else if (target == CORE_TARGET_MEMORY) {
            commit_remember(core, action);
        }
    }
    commit_handover(core, plan->reason);
    if (plan->reason == CORE_REASON_HOLDER_START_TIMEOUT) {
        core->primary_failed = true;
    } else if (plan->reason == CORE_REASON_HOLDER_RELEASE && plan->count > 0) {
        int64_t ttl_ms = lease_ttl_known(core);
        core->stand_back_until = mono_add(core->now, ttl_ms); /* others first */
    }
}
