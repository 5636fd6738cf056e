/* The step: fold the event, try the rules in order, commit the one that fires. */
#include "core/core.h"

#include "core/internal.h"

const char *core_reason_text(enum core_reason reason)
{
    static const char *const texts[] = {
#define X(function, name, text) [CORE_REASON_##name] = (text),
        CORE_RULE_LIST(X)
#undef X
    };
    _Static_assert(sizeof(texts) / sizeof(texts[0]) == CORE_REASON_COUNT, "a text a rule");
    ASSERT(reason < CORE_REASON_COUNT);
    return texts[reason];
}

const char *core_reason_name(enum core_reason reason)
{
    static const char *const names[] = {
#define X(function, name, text) [CORE_REASON_##name] = #name,
        CORE_RULE_LIST(X)
#undef X
    };
    _Static_assert(sizeof(names) / sizeof(names[0]) == CORE_REASON_COUNT, "a name a rule");
    ASSERT(reason < CORE_REASON_COUNT);
    return names[reason];
}

const char *core_action_name(enum core_action_type type)
{
    static const char *const names[] = {
#define X(name, target, text) [CORE_ACTION_##name] = (text),
        CORE_ACTION_LIST(X)
#undef X
    };
    ASSERT(type < CORE_ACTION_COUNT);
    return names[type];
}

enum core_target core_action_target(enum core_action_type type)
{
    static const enum core_target targets[] = {
#define X(name, target, text) [CORE_ACTION_##name] = CORE_TARGET_##target,
        CORE_ACTION_LIST(X)
#undef X
    };
    ASSERT(type < CORE_ACTION_COUNT);
    return targets[type];
}

void core_init(struct core *core, const struct core_config *config,
               const struct core_memory *memory, const struct core_page *page, struct mono now)
{
    ASSERT(config->name[0] != '\0' && config->settings.ttl_ms > 0);
    const struct mono never_seen = {-1};
    *core = (struct core){
        .config = *config,
        .now = now,
        .trusted_from = now,
        .store_seen_at = never_seen,
        .read_from = now,
        .linear_at = never_seen,
        .memory = *memory,
        .next_id = 1,
    };
    core->cluster.settings = config->settings;
    core->postgres.asked_at = never_seen;
    core->guard.asked_at = never_seen;
    core->mute_since = MONO_NEVER;
    core->idle_since = MONO_NEVER;
    core->guard_lost_at = MONO_NEVER;
    core->ttl_low_since = MONO_NEVER;
    core->ttl_durable_ms = memory->ttl_max_ms;
    if (!config->same_boot && memory->promised_to[0] != '\0') {
        core->memory.promised_until = mono_add(now, memory->promised_ms); /* old counts as fresh */
        core->memory_dirty = true;
    }
    if (page->present) {
        core->own.epoch = page->epoch;
        core->own.seq = page->seq;
        core->own.tried_epoch = page->epoch;
        core->own.tried_seq = page->seq;
        core->own.ttl_ms = page->ttl_ms > 0 ? page->ttl_ms : config->settings.ttl_ms;
        core->own.deadline = page->deadline;
        core->own.holding = page->epoch != 0 && mono_before(now, page->deadline);
        core->own.armed_written = true;
        core->own.proven_at = mono_add(page->deadline, -core->own.ttl_ms);
        core->own.written_at = core->own.proven_at;
    }
    if (memory->ttl_max_ms > 0) { /* L8: a lease, or a promise of this node, may still run */
        core->no_acquire_until =
            mono_add(now, memory->ttl_max_ms + lease_margin_ms(memory->ttl_max_ms));
    }
}

void core_reconfigure(struct core *core, const struct core_config *config)
{
    ASSERT(str_equal(core->config.name, config->name));
    bool same_boot = core->config.same_boot;
    core->config = *config;
    core->config.same_boot = same_boot;
    core->start_failures = 0; /* what ended the server may be mended */
}

struct core_action *plan_add(struct core_plan *plan, enum core_action_type type)
{
    ASSERT(plan->count < CORE_ACTIONS_MAX);
    struct core_action *action = &plan->action[plan->count++];
    *action = (struct core_action){.type = type};
    return action;
}

static void wake(const struct core *core, struct core_plan *plan, struct mono at)
{
    ASSERT(core != NULL);
    if (mono_before(core->now, at)) {
        plan->wake_at = mono_min(plan->wake_at, at);
    }
}

/* Every moment at which some rule may come to match without any event. */
static void plan_wake(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_own_lease *own = &core->own;
    int64_t ttl_ms = core->cluster.settings.ttl_ms;
    plan->wake_at =
        mono_add(core->now, ttl_ms > 8 ? ttl_ms / 8 : 1); /* keeps gaps tellable (L12) */
    for (uint32_t t = 0; t < CORE_TARGET_NONE; t++) {
        if (!core->pending[t].active) {
            wake(core, plan, core->pending[t].retry_at);
        }
    }
    wake(core, plan, view_start_at(core));
    if (own->holding) {
        wake(core, plan, mono_add(own->written_at, own->ttl_ms / 4));
        wake(core, plan, mono_add(own->proven_at, own->ttl_ms * 4 / 10));
        wake(core, plan, mono_add(own->proven_at, own->ttl_ms * 7 / 10));
        wake(core, plan, mono_add(own->deadline, -(own->ttl_ms / 20)));
        wake(core, plan, core->round.next_at);
    }
    if (core->handover.active && core->handover.stopped_at.ms != 0) {
        wake(core, plan, mono_add(core->handover.stopped_at, ttl_ms / 4));
    }
    struct mono end = lease_wait_end(core);
    if (end.ms != INT64_MAX) {
        wake(core, plan, mono_add(end, -(ttl_ms / 4)));
        wake(core, plan, end);
    }
}

void core_decide(const struct core *core, struct core_plan *plan)
{
    static bool (*const rules[])(const struct core *, struct core_plan *) = {
#define X(function, name, text) [CORE_REASON_##name] = core_rule_##function,
        CORE_RULE_LIST(X)
#undef X
    };
    _Static_assert(sizeof(rules) / sizeof(rules[0]) == CORE_REASON_COUNT, "a function a rule");
    ASSERT(core != NULL && plan != NULL);
    *plan = (struct core_plan){0};
    plan_wake(core, plan);
    for (int i = 0; i < CORE_REASON_COUNT; i++) {
        if (rules[i](core, plan)) {
            plan->reason = (enum core_reason)i;
            return;
        }
        ASSERT(plan->count == 0); /* a rule that does not fire leaves no trace */
    }
    UNREACHABLE(); /* the last rule always matches */
}

/* What the guard is to know: time only while the lease is ours, and every (epoch, seq) ever sent.
 */
static void plan_page(const struct core *core, struct core_plan *plan)
{
    ASSERT(core != NULL);
    const struct core_own_lease *own = &core->own;
    bool trying = own->tried_epoch > own->epoch;
    plan->page = (struct core_page){
        .present = true,
        .deadline = own->holding && !own->surrendered ? own->deadline : MONO_ZERO,
        .ttl_ms = own->ttl_ms > 0 ? own->ttl_ms : core->cluster.settings.ttl_ms,
        .epoch = trying ? own->tried_epoch : own->epoch,
        .seq = trying ? own->tried_seq : own->seq,
    };
}

void core_step(struct core *core, const struct core_event *event, struct core_plan *plan)
{
    ASSERT(core != NULL && event != NULL && plan != NULL);
    ASSERT(!mono_before(event->now, core->now));
    fold_event(core, event);
    core_decide(core, plan);
    fold_commit(core, plan);
    plan_page(core, plan);
}

bool core_is_leader(const struct core *core, struct mono now)
{
    ASSERT(core != NULL);
    return core->own.holding && !core->own.surrendered && mono_before(now, core->own.deadline);
}

struct mono core_lease_deadline(const struct core *core)
{
    ASSERT(core != NULL);
    return core->own.holding && !core->own.surrendered ? core->own.deadline : MONO_ZERO;
}

bool core_on_promises(const struct core *core, struct mono now)
{
    ASSERT(core != NULL);
    return core_is_leader(core, now) && mono_before(core->own.written_at, core->own.proven_at);
}
