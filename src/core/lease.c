/* The lease: what our own writes prove, what promises add, and how long a challenger waits.
 *
 * The essence: time is only ever counted from the moment a request was sent, so both sides err
 * toward a shorter lease and a longer wait, and clocks need to agree on rates alone (L1, L3). */
#include "core/internal.h"

int64_t lease_margin_ms(int64_t ttl_ms)
{
    ASSERT(ttl_ms >= 0);
    int64_t percent = (ttl_ms + 49) / 50;
    return percent > 20 ? percent : 20;
}

bool lease_valid(const struct core *core)
{
    ASSERT(core != NULL);
    return core->own.holding && mono_before(core->now, core->own.deadline);
}

int64_t lease_left_ms(const struct core *core)
{
    ASSERT(core != NULL);
    return lease_valid(core) ? mono_sub(core->own.deadline, core->now) : 0;
}

int64_t lease_ttl_known(const struct core *core)
{
    ASSERT(core != NULL);
    int64_t ttl_ms = core->cluster.settings.ttl_ms;
    if (core->memory.ttl_max_ms > ttl_ms) {
        ttl_ms = core->memory.ttl_max_ms;
    }
    if (core->cluster.lease.present && core->cluster.lease.ttl_ms > ttl_ms) {
        ttl_ms = core->cluster.lease.ttl_ms;
    }
    return ttl_ms;
}

void lease_revision(struct core *core, uint64_t revision)
{
    ASSERT(core != NULL);
    if (revision > core->revision_max) {
        core->revision_max = revision;
        core->revision_at = core->now;
    }
}

void lease_lose(struct core *core)
{
    ASSERT(core != NULL);
    struct core_own_lease old = core->own;
    core->own = (struct core_own_lease){
        .sent_next = old.sent_next,
        .tried_epoch = old.tried_epoch,
        .tried_seq = old.tried_seq,
        .tried_version = old.tried_version,
        .wrote = old.wrote,
        .wrote_leader = old.wrote_leader,
    };
    for (uint32_t i = 0; i < CORE_SENT_MAX; i++) {
        if (old.sent[i].epoch > old.epoch) { /* an acquisition under way is another term */
            core->own.sent[i] = old.sent[i];
        }
    }
    core->primary_failed = false;
    core->handover = (struct core_handover){0};
}

static const struct core_sent *sent_find(const struct core *core, uint64_t epoch, uint64_t seq)
{
    ASSERT(epoch != 0);
    for (uint32_t i = 0; i < CORE_SENT_MAX; i++) {
        if (core->own.sent[i].epoch == epoch && core->own.sent[i].seq == seq) {
            return &core->own.sent[i];
        }
    }
    return NULL;
}

/* A later write of ours with armed: true was sent and may still land. */
static bool armed_later(const struct core *core, const struct core_sent *sent)
{
    ASSERT(sent->epoch != 0);
    for (uint32_t i = 0; i < CORE_SENT_MAX; i++) {
        const struct core_sent *other = &core->own.sent[i];
        if (other->epoch == sent->epoch && other->seq > sent->seq && other->armed) {
            return true;
        }
    }
    return false;
}

/* A write of ours is known applied: the lease runs from when it was sent (L1, L6). */
static void lease_prove(struct core *core, const struct core_sent *sent, uint64_t version)
{
    ASSERT(sent->epoch != 0 && version != 0);
    struct core_own_lease *own = &core->own;
    if (own->epoch != sent->epoch) {
        own->epoch = sent->epoch;
        own->seq = sent->seq;
        own->deadline = MONO_ZERO;
        own->proven_at = MONO_ZERO;
        own->written_at = MONO_ZERO;
        core->primary_failed = false;
    }
    own->holding = true;
    own->version = version;
    own->armed_written = sent->armed;
    own->unarmed_proven = !sent->armed && !armed_later(core, sent); /* L7: none may land after it */
    own->ttl_ms = sent->ttl_ms;
    own->written_at = mono_max(own->written_at, sent->sent_at);
    own->proven_at = mono_max(own->proven_at, sent->sent_at);
    own->deadline = mono_max(own->deadline, mono_add(sent->sent_at, sent->ttl_ms));
    core->rolled_back = false;
    if (sent->epoch > core->memory.epoch_max) {
        core->memory.epoch_max = sent->epoch;
        core->memory_dirty = true;
    }
}

/* The record names us, held. */
static void fold_mine(struct core *core, const struct core_lease_record *record)
{
    ASSERT(core != NULL);
    struct core_own_lease *own = &core->own;
    const struct core_sent *sent =
        record->epoch != 0 ? sent_find(core, record->epoch, record->seq) : NULL;
    if (own->surrendered) {
        own->version = record->version; /* not applied so far: to be sent again */
        return;
    }
    if (sent != NULL) {
        lease_prove(core, sent, record->version);
        return;
    }
    if (own->epoch != 0 && record->epoch == own->epoch) { /* the page's epoch: ours, but no time */
        own->holding = true;
        own->version = record->version;
        own->armed_written = record->armed;
        if (record->seq > own->seq) {
            own->seq = record->seq;
        }
        return;
    }
    if (!core->rolled_back) {
        lease_lose(core); /* our name, not our term: finding it gives nothing (L2) */
    }
}

/* Our record is gone or cannot be read while our lease runs: the keys were deleted (L5). */
static bool wiped_under_us(const struct core *core, const struct core_lease_record *record)
{
    ASSERT(core != NULL);
    return !record->present && lease_valid(core) && !core->own.surrendered &&
           view_maybe_primary(core);
}

static void fold_challenge(struct core *core)
{
    ASSERT(core != NULL);
    struct core_challenge *challenge = &core->challenge;
    const struct core_cluster *cluster = &core->cluster;
    bool leader_counts = cluster->lease.version == 0; /* L11: only its TTL says anything then */
    if (challenge->seen && challenge->lease_version == cluster->lease.version &&
        challenge->lease_epoch == cluster->lease.epoch &&
        challenge->lease_seq == cluster->lease.seq &&
        challenge->failsafe_version == cluster->failsafe.version &&
        (!leader_counts || challenge->leader_version == cluster->leader.version)) {
        return; /* the same version again neither restarts nor shortens the wait (L3) */
    }
    *challenge = (struct core_challenge){
        .seen = true,
        .lease_version = cluster->lease.version,
        .lease_epoch = cluster->lease.epoch,
        .lease_seq = cluster->lease.seq,
        .failsafe_version = cluster->failsafe.version,
        .leader_version = cluster->leader.version,
        .ttl_ms = cluster->lease.present ? cluster->lease.ttl_ms : lease_ttl_known(core),
        .since = core->now,
    };
}

/* A larger ttl of long ago is forgotten when a smaller one has been in force for longer than it. */
static void fold_ttl_low(struct core *core)
{
    ASSERT(core != NULL);
    struct core_memory *memory = &core->memory;
    const struct core_cluster *cluster = &core->cluster;
    int64_t ttl_ms = cluster->settings.ttl_ms;
    if (cluster->lease.present && cluster->lease.ttl_ms > ttl_ms) {
        ttl_ms = cluster->lease.ttl_ms;
    }
    if (!cluster->lease.present || ttl_ms >= memory->ttl_max_ms) {
        core->ttl_low_since = MONO_NEVER;
    } else if (core->ttl_low_since.ms == INT64_MAX) {
        core->ttl_low_since = core->now;
    } else if (mono_sub(core->now, core->ttl_low_since) >
               memory->ttl_max_ms + lease_margin_ms(memory->ttl_max_ms)) {
        memory->ttl_max_ms = ttl_ms;
        core->memory_dirty = true;
    }
}

void lease_fold_record(struct core *core)
{
    ASSERT(core != NULL);
    const struct core_lease_record *record = &core->cluster.lease;
    struct core_own_lease *own = &core->own;
    bool mine = record->present && view_me(core, record->holder);
    if (mine && record->state == CORE_LEASE_HELD) {
        fold_mine(core, record);
    } else if (wiped_under_us(core, record)) {
        core->rolled_back = true;
    } else if (!core->rolled_back && (own->holding || own->epoch != 0)) {
        lease_lose(core); /* taken by another, or given away as we asked */
    }
    if (!mine && record->version != own->tried_version) {
        own->tried_epoch = 0; /* it was conditional on a version that is gone */
        own->tried_seq = 0;
    }
    if (core->cluster.linearizable && !mono_before(core->cluster.asked_at, own->doubt_at)) {
        own->unresolved = false;
    }
    if (record->present && record->epoch > core->memory.epoch_max) {
        core->memory.epoch_max = record->epoch;
        core->memory_dirty = true;
    }
    fold_ttl_low(core);
    if (record->present && record->ttl_ms > core->memory.ttl_max_ms) {
        core->memory.ttl_max_ms = record->ttl_ms;
        core->memory_dirty = true;
    }
    fold_challenge(core);
}

/* A write of ours is the newest thing known of `lease`: the push that tells it comes later. */
static void fold_own_write(struct core *core, uint64_t version)
{
    ASSERT(core != NULL);
    struct core_cluster *cluster = &core->cluster;
    const struct core_own_lease *own = &core->own;
    if (version <= cluster->lease.version) {
        return; /* the push was faster */
    }
    cluster->lease = own->wrote;
    cluster->lease.version = version;
    if (own->wrote_leader == CORE_LEADER_ATTACH) {
        cluster->leader.version = version;
        str_set(cluster->leader.name, NAME_SIZE, core->config.name);
    } else if (own->wrote_leader == CORE_LEADER_DELETE) {
        cluster->leader = (struct core_leader_key){0};
    }
    fold_challenge(core);
}

void lease_fold_done(struct core *core, const struct core_done *done)
{
    ASSERT(done->type == CORE_ACTION_LEASE_WRITE);
    struct core_own_lease *own = &core->own;
    if (done->outcome == CORE_OUTCOME_APPLIED) {
        bool newer = core->cluster.lease.version > done->version &&
                     !(core->cluster.lease.present && view_me(core, core->cluster.lease.holder));
        fold_own_write(core, done->version);
        uint32_t last = (own->sent_next + CORE_SENT_MAX - 1) % CORE_SENT_MAX;
        if (newer || own->surrendered) {
            lease_lose(core); /* taken by another since, or given away as we asked */
        } else if (own->sent[last].epoch != 0) {
            lease_prove(core, &own->sent[last], done->version);
        }
        lease_revision(core, done->version);
        return;
    }
    if (done->outcome == CORE_OUTCOME_NOT_APPLIED && !done->conflict) {
        own->attach_at =
            mono_add(core->now, lease_ttl_known(core) / 4); /* the lease is what counts */
    }
    if (done->outcome == CORE_OUTCOME_UNKNOWN || done->conflict) {
        own->unresolved = true; /* L6: read before anything else is written */
        own->doubt_at = core->now;
        core->read_from = core->now;
    }
}

void lease_fold_promise(struct core *core, const struct core_peer_promise *promise)
{
    ASSERT(promise != NULL);
    struct core_round *round = &core->round;
    if (!promise->granted || promise->round != round->number) {
        return;
    }
    for (uint32_t i = 0; i < round->names.count; i++) {
        if (str_equal(round->names.name[i], promise->name)) {
            round->granted[i] = true;
        }
    }
}

void lease_fold_round_done(struct core *core, const struct core_done *done)
{
    ASSERT(done->type == CORE_ACTION_ASK_PROMISE);
    struct core_round *round = &core->round;
    struct core_own_lease *own = &core->own;
    struct core_name_list names;
    bool all = lease_promise_names(core, &names) && /* it may have grown since they were asked */
               round->epoch == own->epoch;
    for (uint32_t i = 0; i < names.count && all; i++) {
        bool granted = view_me(core, names.name[i]);
        for (uint32_t j = 0; j < round->names.count && !granted; j++) {
            granted = round->granted[j] && str_equal(round->names.name[j], names.name[i]);
        }
        all = granted;
    }
    if (!all || !lease_valid(core)) { /* promises extend a lease that runs; they revive none (L9) */
        round->next_at = mono_add(core->now, own->ttl_ms / 20);
        return;
    }
    own->proven_at = mono_max(own->proven_at, round->asked_at);
    own->deadline = mono_max(own->deadline, mono_add(round->asked_at, round->ttl_ms));
    round->next_at = mono_add(round->asked_at, own->ttl_ms / 4);
}

void lease_commit(struct core *core, const struct core_lease_write *write)
{
    ASSERT(write->record.epoch != 0);
    struct core_own_lease *own = &core->own;
    own->wrote = write->record;
    own->unarmed_proven = own->unarmed_proven && !write->record.armed;
    own->wrote_leader = (uint32_t)write->leader_op;
    if (write->record.epoch == own->epoch) {
        ASSERT(write->record.seq > own->seq);
        own->seq = write->record.seq;
    } else {
        ASSERT(write->record.epoch != own->tried_epoch || write->record.seq > own->tried_seq);
        own->tried_epoch = write->record.epoch;
        own->tried_seq = write->record.seq;
        own->tried_version = write->lease_version;
    }
    if (write->record.state != CORE_LEASE_HELD) { /* L4: no time from here on, whatever arrives */
        own->deadline = MONO_ZERO;
        own->surrendered = true;
        own->surrender_state = write->record.state;
        str_set(own->surrender_to, sizeof(own->surrender_to), write->record.to);
        for (uint32_t i = 0; i < CORE_SENT_MAX; i++) {
            own->sent[i] = (struct core_sent){0};
        }
        return;
    }
    if (own->holding && write->record.ttl_ms < own->ttl_ms) { /* a lowering counts at once (L1) */
        own->ttl_ms = write->record.ttl_ms;
        for (uint32_t i = 0; i < CORE_SENT_MAX; i++) { /* a proof of an older write gives no more */
            if (own->sent[i].ttl_ms > own->ttl_ms) {
                own->sent[i].ttl_ms = own->ttl_ms;
            }
        }
        own->deadline = mono_min(own->deadline, mono_add(own->proven_at, write->record.ttl_ms));
    }
    own->sent[own->sent_next] = (struct core_sent){
        .epoch = write->record.epoch,
        .seq = write->record.seq,
        .ttl_ms = write->record.ttl_ms,
        .armed = write->record.armed,
        .sent_at = core->now,
    };
    own->sent_next = (own->sent_next + 1) % CORE_SENT_MAX;
}

bool lease_handed_to_me(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_lease_record *record = &core->cluster.lease;
    return record->present && record->state == CORE_LEASE_HANDING_TO && view_me(core, record->to);
}

bool lease_released(const struct core *core)
{
    ASSERT(core != NULL);
    return core->cluster.lease.present && core->cluster.lease.state == CORE_LEASE_RELEASED;
}

/* A promise lapses early only when its receiver's own record shows that it gave the lease up: it
 * did so with PostgreSQL stopped and its deadline zeroed (L4). */
bool lease_promise_binds(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_memory *memory = &core->memory;
    const struct core_lease_record *record = &core->cluster.lease;
    if (memory->promised_to[0] == '\0' || !mono_before(core->now, memory->promised_until)) {
        return false;
    }
    bool gave_up = record->present && record->state != CORE_LEASE_HELD &&
                   str_equal(record->holder, memory->promised_to) &&
                   record->epoch >= memory->promised_epoch;
    return !gave_up;
}

bool lease_left_unarmed(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_lease_record *record = &core->cluster.lease;
    return record->present && !record->armed && record->state == CORE_LEASE_HELD &&
           view_me(core, record->holder);
}

struct mono lease_wait_end(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_lease_record *record = &core->cluster.lease;
    if (!core->challenge.seen || (record->version != 0 && !record->present)) {
        return MONO_NEVER; /* nothing seen, or a record that cannot be read */
    }
    struct mono end = mono_add(core->challenge.since, core->challenge.ttl_ms);
    end = mono_add(end, lease_margin_ms(core->challenge.ttl_ms));
    if (lease_released(core) || lease_handed_to_me(core)) {
        end = core->challenge.since;
    } else {
        if (record->present && record->state == CORE_LEASE_HANDING_TO &&
            view_me(core, record->holder)) {
            end = mono_add(core->challenge.since, core->challenge.ttl_ms / 2); /* L10 */
        }
        end = mono_max(end, core->no_acquire_until); /* L8 */
        if (record->present && !record->armed) {
            return MONO_NEVER; /* L7: only a person's order takes over */
        }
    }
    if (lease_promise_binds(core)) {
        end = mono_max(end, core->memory.promised_until);
    }
    end = mono_max(end, core->rollback_until);
    return mono_max(end, core->stand_back_until);
}

static uint64_t next_seq(const struct core *core, uint64_t epoch)
{
    ASSERT(epoch != core->own.epoch);
    return epoch == core->own.tried_epoch ? core->own.tried_seq + 1 : 1;
}

/* A lower ttl counts from the last proof at once (L1), so it is written only right after one. */
static int64_t renewal_ttl_ms(const struct core *core)
{
    ASSERT(core != NULL);
    int64_t wanted_ms = core->cluster.settings.ttl_ms;
    bool lowering = wanted_ms < core->own.ttl_ms;
    bool fresh = mono_sub(core->now, core->own.proven_at) <= wanted_ms / 8;
    return lowering && !fresh ? core->own.ttl_ms : wanted_ms;
}

struct core_lease_write lease_renewal(const struct core *core)
{
    ASSERT(core->own.holding);
    const struct core_cluster *cluster = &core->cluster;
    struct core_lease_write write = {
        .record = {.present = true,
                   .epoch = core->own.epoch,
                   .seq = core->own.seq + 1,
                   .ttl_ms = renewal_ttl_ms(core),
                   .armed = core->own.armed_written,
                   .state = CORE_LEASE_HELD},
        .lease_version = core->own.version,
        .leader_op = CORE_LEADER_KEEP,
        .timeout_ms = core->own.ttl_ms / 4,
    };
    str_set(write.record.holder, sizeof(write.record.holder), core->config.name);
    if (core->rolled_back) { /* L5: written anew, above every epoch ever seen */
        write.record.epoch = core->memory.epoch_max + 1;
        write.record.seq = next_seq(core, write.record.epoch);
        write.lease_version = cluster->lease.version;
    }
    bool named = cluster->leader.version != 0 && view_me(core, cluster->leader.name);
    if (!named && !mono_before(core->now, core->own.attach_at)) {
        write.leader_op = CORE_LEADER_ATTACH;
        write.leader_version = cluster->leader.version;
    }
    return write;
}

struct core_lease_write lease_acquisition(const struct core *core)
{
    ASSERT(!lease_valid(core));
    const struct core_cluster *cluster = &core->cluster;
    uint64_t epoch = core->memory.epoch_max + 1;
    struct core_lease_write write = {
        .record = {.present = true,
                   .epoch = epoch,
                   .seq = next_seq(core, epoch),
                   .ttl_ms = cluster->settings.ttl_ms,
                   .armed = !lease_left_unarmed(core), /* L7: the guard is armed first */
                   .state = CORE_LEASE_HELD},
        .lease_version = cluster->lease.version,
        .check_failsafe = true,
        .failsafe_version = cluster->failsafe.version,
        .leader_op = CORE_LEADER_ATTACH,
        .leader_version = cluster->leader.version,
        .timeout_ms = cluster->settings.ttl_ms / 4,
    };
    str_set(write.record.holder, sizeof(write.record.holder), core->config.name);
    return write;
}

bool lease_promise_names(const struct core *core, struct core_name_list *out_names)
{
    ASSERT(out_names != NULL);
    const struct core_name_list *lists[] = {&core->cluster.failsafe.names, &core->memory.failsafe,
                                            &core->memory.failsafe_doubt};
    *out_names = (struct core_name_list){0};
    bool whole = !core->cluster.failsafe.cut;
    for (uint32_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
        for (uint32_t i = 0; i < lists[l]->count; i++) {
            whole = names_add(out_names, lists[l]->name[i]) && whole;
        }
    }
    return whole;
}
