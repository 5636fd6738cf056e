/* Who may lead: this node by itself, this node among the others, and the best heir of a leader that
 * gives the lease away. Positions compare as (timeline, LSN): WAL of a newer timeline is worth more
 * than any amount of WAL that a newer primary never had. */
#include "core/internal.h"

bool candidate_self_fit(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_cluster *cluster = &core->cluster;
    bool listed = cluster->failsafe.names.count == 0 ||
                  names_have(&cluster->failsafe.names, core->config.name);
    bool foreign = cluster->initialize == CORE_INITIALIZE_DONE && core->postgres.sysid != 0 &&
                   core->postgres.sysid != cluster->sysid;
    const struct core_pending *pending = &core->pending[CORE_TARGET_POSTGRES];
    bool steady = !pending->active || pending->type == CORE_ACTION_FOLLOW ||
                  pending->type == CORE_ACTION_START_REPLICA;
    return !core->config.nofailover && !core->leaving && view_replica(core) && steady && listed &&
           !foreign;
}

static const struct core_peer_status *peer_find(const struct core *core, const char *name)
{
    ASSERT(core->peer_count <= MEMBERS_MAX);
    for (uint32_t i = 0; i < core->peer_count; i++) {
        if (str_equal(core->peer[i].name, name)) {
            return &core->peer[i];
        }
    }
    return NULL;
}

void candidate_peers(const struct core *core, struct core_name_list *out_names)
{
    ASSERT(out_names != NULL);
    struct core_name_list all = {0};
    for (uint32_t i = 0; i < core->cluster.member_count; i++) {
        if (core->cluster.member[i].has_api_url) {
            (void)!names_add(&all, core->cluster.member[i].name); /* the first MEMBERS_MAX do */
        }
    }
    for (uint32_t i = 0; i < core->cluster.failsafe.names.count; i++) {
        (void)!names_add(&all, core->cluster.failsafe.names.name[i]); /* as above */
    }
    *out_names = (struct core_name_list){0};
    for (uint32_t i = 0; i < all.count; i++) {
        if (!view_me(core, all.name[i])) {
            (void)!names_add(out_names, all.name[i]); /* a subset fits */
        }
    }
}

/* Behind what a primary published by more than maximum_lag_on_failover, or on an old timeline where
 * that is checked. A position published on an older timeline says nothing about a newer one; one
 * that was published on a newer timeline lies above the fork, so what is beyond it on an older
 * timeline is WAL that the primary never had, and how much is missing cannot be told. */
static bool too_old(const struct core *core, uint32_t timeline, uint64_t lsn)
{
    ASSERT(core != NULL);
    const struct core_cluster *cluster = &core->cluster;
    uint64_t allowed = lsn + (uint64_t)cluster->settings.maximum_lag_on_failover;
    bool counts = cluster->optime_timeline == 0 || timeline <= cluster->optime_timeline;
    bool behind = cluster->optime != 0 && counts && cluster->optime > allowed;
    bool old = cluster->settings.check_timeline && timeline < cluster->history_timeline;
    bool beyond = cluster->optime != 0 && timeline != 0 && timeline < cluster->optime_timeline &&
                  lsn > cluster->optime;
    return behind || old || beyond;
}

/* Compared with the last leader in its last term, and not a part of what that leader has. */
static bool known_diverged(const struct core *core)
{
    ASSERT(core != NULL);
    const struct core_lease_record *record = &core->cluster.lease;
    return core->divergence == CORE_DIVERGENCE_DIVERGED && record->present &&
           core->checked_epoch == record->epoch && str_equal(core->checked_leader, record->holder);
}

/* The peer stands in this node's way. */
static bool peer_beats(const struct core *core, const struct core_peer_status *peer)
{
    ASSERT(peer->reachable == TRI_YES);
    if (peer->primary) {
        return true; /* still alive: whoever it is, not beside it */
    }
    bool may = core->cluster.failsafe.names.count == 0 ||
               names_have(&core->cluster.failsafe.names, peer->name);
    if (peer->nofailover || !may || too_old(core, peer->timeline, peer->lsn)) {
        return false; /* it could not lead itself */
    }
    const struct core_postgres *own = &core->postgres;
    if (peer->timeline != own->timeline) {
        return peer->timeline > own->timeline;
    }
    if (peer->lsn != own->lsn) {
        return peer->lsn > own->lsn;
    }
    bool former = core->cluster.lease.present && str_equal(peer->name, core->cluster.lease.holder);
    return !former && peer->failover_priority > core->config.failover_priority;
}

enum candidate candidate_race(const struct core *core, struct mono from, bool patient)
{
    ASSERT(core != NULL);
    bool ordered = view_ordered(core);
    if (!ordered &&
        (too_old(core, core->postgres.timeline, core->postgres.lsn) || known_diverged(core))) {
        return CANDIDATE_NOT_FIT;
    }
    struct core_name_list peers;
    candidate_peers(core, &peers);
    enum candidate result = CANDIDATE_FIT;
    for (uint32_t i = 0; i < peers.count; i++) {
        const struct core_peer_status *peer = peer_find(core, peers.name[i]);
        if (peer == NULL || mono_before(peer->asked_at, from) || peer->reachable == TRI_UNKNOWN) {
            result = CANDIDATE_ASK;
        } else if (peer->reachable == TRI_YES && (peer->primary || (patient && !ordered)) &&
                   peer_beats(core, peer)) {
            return CANDIDATE_NOT_FIT;
        }
    }
    return result;
}

static bool successor_fit(const struct core *core, const struct core_peer_status *peer,
                          uint64_t min_lsn)
{
    ASSERT(core != NULL);
    const struct core_member *member = view_member(core, peer->name);
    bool may = core->cluster.failsafe.names.count == 0 ||
               names_have(&core->cluster.failsafe.names, peer->name);
    uint32_t timeline = core->handover.active ? core->handover.timeline : core->postgres.timeline;
    may = may && peer->timeline == timeline; /* a position on another history says nothing */
    return peer->reachable == TRI_YES && !peer->primary && !peer->nofailover && may &&
           member != NULL && !member->nofailover && peer->lsn >= min_lsn;
}

enum candidate candidate_successor(const struct core *core, struct mono from, uint64_t min_lsn,
                                   char out_name[NAME_SIZE])
{
    ASSERT(out_name != NULL);
    const char *wanted = core->leaving ? "" : core->cluster.failover.candidate;
    struct core_name_list peers;
    candidate_peers(core, &peers);
    const struct core_peer_status *best = NULL;
    bool asking = false;
    for (uint32_t i = 0; i < peers.count; i++) {
        if (wanted[0] != '\0' && !str_equal(wanted, peers.name[i])) {
            continue;
        }
        const struct core_peer_status *peer = peer_find(core, peers.name[i]);
        if (peer == NULL || mono_before(peer->asked_at, from) || peer->reachable == TRI_UNKNOWN) {
            asking = true;
            continue;
        }
        bool better = best == NULL || peer->lsn > best->lsn ||
                      (peer->lsn == best->lsn && peer->failover_priority > best->failover_priority);
        if (successor_fit(core, peer, min_lsn) && better) {
            best = peer;
        }
    }
    if (asking) {
        return CANDIDATE_ASK;
    }
    if (best == NULL) {
        return CANDIDATE_NOT_FIT;
    }
    return str_copy(out_name, NAME_SIZE, best->name) ? CANDIDATE_FIT : CANDIDATE_NOT_FIT;
}
