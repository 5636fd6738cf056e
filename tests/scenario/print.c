/* What a script's output looks like: one line a step of the core, with the time, the rule that
 * fired and what it does. Steps that do nothing are printed where their reason differs from that of
 * the last such step; what a rule says more than three times within one command is counted. */
#include "scenario.h"

#include "base/str.h"

#define LINES_MAX 3 /* of one rule in one command */

static void print_names(FILE *out, const struct core_name_list *names)
{
    for (uint32_t i = 0; i < names->count; i++) {
        (void)fprintf(out, "%s%s", i > 0 ? "," : " ", names->name[i]);
    }
}

static void print_lease(FILE *out, const struct core_lease_write *write)
{
    static const char *const ops[] = {"", ", leader key written", ", leader key removed"};
    const struct core_lease_record *record = &write->record;
    (void)fprintf(out, " %s%s%s epoch %llu seq %llu ttl %lld %s", lease_states[record->state],
                  record->state == CORE_LEASE_HANDING_TO ? " " : "", record->to,
                  (unsigned long long)record->epoch, (unsigned long long)record->seq,
                  (long long)record->ttl_ms, record->armed ? "armed" : "unarmed");
    (void)fprintf(out, ", if lease is at %llu", (unsigned long long)write->lease_version);
    if (write->check_failsafe) {
        (void)fprintf(out, " and failsafe at %llu", (unsigned long long)write->failsafe_version);
    }
    if (write->leader_op == CORE_LEADER_ATTACH) {
        (void)fprintf(out, " and leader at %llu", (unsigned long long)write->leader_version);
    }
    (void)fprintf(out, "%s", ops[write->leader_op]);
}

static void print_memory(FILE *out, const struct core_memory *memory)
{
    (void)fprintf(out, " epoch_max %llu ttl_max %lld", (unsigned long long)memory->epoch_max,
                  (long long)memory->ttl_max_ms);
    if (memory->promised_to[0] != '\0') {
        (void)fprintf(out, " promised %s epoch %llu for %lld", memory->promised_to,
                      (unsigned long long)memory->promised_epoch, (long long)memory->promised_ms);
    }
    if (memory->failsafe_doubt.count > 0) {
        (void)fprintf(out, " in doubt");
        print_names(out, &memory->failsafe_doubt);
    }
}

static void print_action(FILE *out, const struct core_action *action)
{
    (void)fprintf(out, " %s", core_action_name(action->type));
    enum core_target target = core_action_target(action->type);
    if (target == CORE_TARGET_LEASE) {
        print_lease(out, &action->u.lease);
    } else if (target == CORE_TARGET_POSTGRES || target == CORE_TARGET_CHECK) {
        if (action->u.postgres.upstream[0] != '\0') {
            (void)fprintf(out, " from %s", action->u.postgres.upstream);
        }
    } else if (target == CORE_TARGET_STATUS || target == CORE_TARGET_PROMISE) {
        print_names(out, &action->u.ask.names);
    } else if (target == CORE_TARGET_MEMORY) {
        print_memory(out, &action->u.memory);
    } else if (target == CORE_TARGET_GUARD && action->type != CORE_ACTION_REPLACE_GUARD) {
        (void)fprintf(out, " epoch %llu%s", (unsigned long long)action->u.guard.epoch,
                      action->u.guard.for_pause ? " under a running primary" : "");
    } else if (action->type == CORE_ACTION_WRITE_FAILSAFE) {
        print_names(out, &action->u.keys.names);
    } else if (action->type == CORE_ACTION_ANSWER) {
        (void)fprintf(out, " %llu %s", (unsigned long long)action->u.answer.request_id,
                      action->u.answer.granted ? "granted" : "refused");
    } else if (action->type == CORE_ACTION_EXIT) {
        (void)fprintf(out, " %d", action->u.exit.code);
    }
}

void print_plan(struct world *world)
{
    const struct core_plan *plan = &world->plan;
    world->reached[plan->reason] = true;
    for (uint32_t i = 0; i < plan->count; i++) {
        world->acted[plan->action[i].type] = true;
    }
    if (plan->count == 0 && world->shown_reason == (int)plan->reason) {
        return;
    }
    if (plan->count == 0) {
        world->shown_reason = (int)plan->reason;
    }
    if (++world->lines[plan->reason] > LINES_MAX) {
        return;
    }
    (void)fprintf(world->out, "  %+lld %s", (long long)mono_sub(world->now, world->start),
                  core_reason_name(plan->reason));
    for (uint32_t i = 0; i < plan->count; i++) {
        (void)fprintf(world->out, "%s", i == 0 ? ":" : ";");
        print_action(world->out, &plan->action[i]);
    }
    (void)fprintf(world->out, "\n");
}

void print_end(struct world *world)
{
    for (int r = 0; r < CORE_REASON_COUNT; r++) {
        if (world->lines[r] > LINES_MAX) {
            (void)fprintf(world->out, "  ... %s %u times more\n",
                          core_reason_name((enum core_reason)r), world->lines[r] - LINES_MAX);
        }
        world->lines[r] = 0;
    }
    struct mono deadline = core_lease_deadline(&world->core);
    bool leader = core_is_leader(&world->core, world->now);
    deadline = leader ? deadline : MONO_ZERO;
    bool promises = core_on_promises(&world->core, world->now);
    if (deadline.ms != world->shown_deadline.ms || promises != world->shown_promises) {
        if (leader) {
            (void)fprintf(world->out, "  = leader until %+lld%s\n",
                          (long long)mono_sub(deadline, world->start),
                          promises ? " on promises" : "");
        } else {
            (void)fprintf(world->out, "  = not leader\n");
        }
    }
    world->shown_deadline = deadline;
    world->shown_promises = promises;
}
