/* The two healthy nodes, filled in field by field as a running shell would have them. */
#include "fixture.h"

static void cluster_init(struct core_cluster *cluster)
{
    *cluster = (struct core_cluster){
        .reachable = TRI_YES,
        .asked_at = {FX_NOW},
        .linearizable = true,
        .store_id = 99,
        .revision = 20,
        .lease = {.present = true,
                  .version = 20,
                  .holder = "n1",
                  .epoch = 3,
                  .seq = 5,
                  .ttl_ms = FX_TTL,
                  .armed = true,
                  .state = CORE_LEASE_HELD},
        .leader = {.version = 5, .name = "n1"},
        .initialize = CORE_INITIALIZE_DONE,
        .initialize_version = 3,
        .sysid = 7,
        .settings = {.version = 4,
                     .ttl_ms = FX_TTL,
                     .loop_wait_ms = 1000,
                     .retry_timeout_ms = 500,
                     .maximum_lag_on_failover = 1048576,
                     .primary_start_timeout_ms = 300000,
                     .failsafe_mode = true,
                     .use_pg_rewind = true},
        .failsafe = {.version = 6, .names = {.count = 3, .name = {"n1", "n2", "n3"}}},
        .optime = 1000,
        .optime_timeline = 1,
        .history_timeline = 1,
        .member_count = 3,
    };
    const char *names[] = {"n1", "n2", "n3"};
    for (uint32_t i = 0; i < 3; i++) {
        cluster->member[i] =
            (struct core_member){.has_api_url = true, .has_conn_url = true, .running = true};
        (void)snprintf(cluster->member[i].name, NAME_SIZE, "%s", names[i]);
    }
}

static void core_common(struct core *core, const char *name)
{
    struct core_config config = {.failover_priority = 1, .may_bootstrap = true, .same_boot = true};
    (void)snprintf(config.name, NAME_SIZE, "%s", name);
    config.settings.ttl_ms = FX_TTL;
    config.settings.failsafe_mode = true;
    struct core_memory memory = {.epoch_max = 3, .ttl_max_ms = FX_TTL};
    struct core_page page = {.present = true};
    core_init(core, &config, &memory, &page, (struct mono){FX_NOW});
    core->trusted_from = (struct mono){0};
    core->no_acquire_until = MONO_ZERO; /* it has run for long */
    core->store_seen_at = (struct mono){FX_NOW};
    core->linear_at = (struct mono){FX_NOW};
    core->read_from = MONO_NEVER;
    core->store_id = 99;
    core->revision_max = 20;
    cluster_init(&core->cluster);
    core->memory.failsafe = core->cluster.failsafe.names;
    core->challenge = (struct core_challenge){.seen = true,
                                              .lease_version = 20,
                                              .lease_epoch = 3,
                                              .lease_seq = 5,
                                              .failsafe_version = 6,
                                              .leader_version = 5,
                                              .ttl_ms = FX_TTL,
                                              .since = {FX_NOW}};
    core->postgres = (struct core_postgres){.asked_at = {FX_NOW},
                                            .process = TRI_YES,
                                            .accepting = TRI_YES,
                                            .primary = TRI_NO,
                                            .datadir = CORE_DATADIR_USABLE,
                                            .control = CORE_CONTROL_IN_ARCHIVE_RECOVERY,
                                            .sysid = 7,
                                            .timeline = 1,
                                            .lsn = 1000,
                                            .streaming = true,
                                            .upstream = "n1",
                                            .incarnation = 1};
    core->guard = (struct core_guard){.asked_at = {FX_NOW}, .alive = TRI_YES};
    str_set(core->checked_leader, NAME_SIZE, "n1");
    core->checked_epoch = 3;
    core->divergence = CORE_DIVERGENCE_NONE;
}

void fx_replica(struct core *core)
{
    core_common(core, "n2");
}

void fx_holder(struct core *core)
{
    core_common(core, "n1");
    core->own = (struct core_own_lease){.holding = true,
                                        .epoch = 3,
                                        .seq = 5,
                                        .version = 20,
                                        .ttl_ms = FX_TTL,
                                        .deadline = {FX_NOW + FX_TTL},
                                        .proven_at = {FX_NOW},
                                        .written_at = {FX_NOW},
                                        .armed_written = true};
    core->guard.armed = true;
    core->guard.armed_epoch = 3;
    core->postgres.primary = TRI_YES;
    core->postgres.control = CORE_CONTROL_IN_PRODUCTION;
    core->postgres.timeline_checkpointed = true;
    core->postgres.upstream[0] = '\0';
}

void fx_old_primary(struct core *core)
{
    core_common(core, "n2");
    core->postgres.process = TRI_NO;
    core->postgres.accepting = TRI_NO;
    core->postgres.control = CORE_CONTROL_IN_PRODUCTION;
    core->checked_leader[0] = '\0';
    core->divergence = CORE_DIVERGENCE_UNKNOWN;
}

void fx_race(struct core *core)
{
    core_common(core, "n2");
    core->challenge.since = (struct mono){FX_NOW - FX_TTL - 40};
    core->peer_count = 2;
    core->peer[0] =
        (struct core_peer_status){.name = "n1", .asked_at = {FX_NOW}, .reachable = TRI_NO};
    core->peer[1] = (struct core_peer_status){.name = "n3",
                                              .asked_at = {FX_NOW},
                                              .reachable = TRI_YES,
                                              .failover_priority = 1,
                                              .timeline = 1,
                                              .lsn = 900};
}

const struct core_action *fx_expect(const struct core *core, enum core_reason reason,
                                    struct core_plan *plan)
{
    core_decide(core, plan);
    if (plan->reason != reason) {
        fail_msg("reason %s, expected %s", core_reason_name(plan->reason),
                 core_reason_name(reason));
    }
    return plan->count > 0 ? &plan->action[0] : NULL;
}

void fx_step(struct core *core, struct core_event *event, int64_t ms, struct core_plan *plan)
{
    event->now = (struct mono){core->now.ms + ms};
    core_step(core, event, plan);
}

void fx_tick(struct core *core, int64_t ms, struct core_plan *plan)
{
    struct core_event event = {.type = CORE_EVENT_TICK};
    fx_step(core, &event, ms, plan);
}

void fx_done(struct core *core, enum core_target target, enum core_outcome outcome,
             uint64_t version, struct core_plan *plan)
{
    assert_true(core->pending[target].active);
    struct core_event event = {.type = CORE_EVENT_DONE};
    event.u.done.type = (enum core_action_type)core->pending[target].type;
    event.u.done.id = core->pending[target].id;
    event.u.done.outcome = outcome;
    event.u.done.version = version;
    fx_step(core, &event, 1, plan);
}
