/* agent/plan_log.c - the core never logs: its reason code is the message. It is noted, for REST, and
 * a line is written when the reason changes; what comes and goes with every renewal is not a change worth a line.
 */
#include "agent/shell.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"

/* Rules that fire in passing while everything is as it was. */
static bool in_passing(enum core_reason reason)
{
    return reason == CORE_REASON_RENEW || reason == CORE_REASON_PROBE ||
           reason == CORE_REASON_READ_STORE || reason == CORE_REASON_REMEMBER ||
           reason == CORE_REASON_ASK_PROMISES || reason == CORE_REASON_REMEMBER_PROMISE ||
           reason == CORE_REASON_ANSWER_GRANT || /* twice a second while the store is away */
           reason == CORE_REASON_IDLE || reason == CORE_REASON_POSTGRES_BUSY;
}

/* The sentence for people: Patroni's heartbeat lines where it has one. */
void plan_message(const struct agent *agent, enum core_reason reason, char *out, size_t out_size)
{
    const char *me = agent->core_config.name;
    const char *leader = agent->core.cluster.leader.name;
    bool fits;
    if (reason == CORE_REASON_HOLDER_LEADS) {
        fits = str_format(out, out_size, "no action. I am (%s), the leader with the lock", me);
    } else if (reason == CORE_REASON_FOLLOWS && leader[0] != '\0') {
        fits = str_format(out, out_size,
                          "no action. I am (%s), a secondary, and following a leader (%s)", me,
                          leader);
    } else if (reason == CORE_REASON_PAUSED) {
        fits = str_format(out, out_size, "PAUSE: no action. I am (%s)", me);
    } else {
        fits = str_format(out, out_size, "%s", core_reason_text(reason));
    }
    ASSERT(fits);
}

static void actions_format(const struct core_plan *plan, char *out, size_t out_size)
{
    out[0] = '\0';
    for (uint32_t i = 0; i < plan->count; i++) {
        size_t used = strlen(out);
        str_copy_cut(out + used, out_size - used, i > 0 ? "," : " actions=");
        used = strlen(out);
        str_copy_cut(out + used, out_size - used, core_action_name(plan->action[i].type));
    }
}

void plan_log(struct agent *agent, struct wall wall)
{
    const struct core_plan *plan = &agent->plan;
    struct plan_log *log = &agent->log;
    ASSERT(plan->reason < CORE_REASON_COUNT);
    if (log->count > 0 && (plan->reason == log->logged || in_passing(plan->reason))) {
        return;
    }
    log->logged = plan->reason;
    struct plan_note *note = &log->note[log->next];
    *note = (struct plan_note){.at = wall, .reason = plan->reason, .action_count = plan->count};
    for (uint32_t i = 0; i < plan->count; i++) {
        note->action[i] = plan->action[i].type;
    }
    log->next = (log->next + 1) % PLAN_NOTES;
    log->count = log->count < PLAN_NOTES ? log->count + 1 : PLAN_NOTES;
    char message[256];
    char actions[128];
    plan_message(agent, plan->reason, message, sizeof(message));
    actions_format(plan, actions, sizeof(actions));
    log_info("plan", "reason=%s%s message=\"%s\"", core_reason_name(plan->reason), actions,
             message);
}

const struct plan_note *plan_log_get(const struct agent *agent, uint32_t index)
{
    const struct plan_log *log = &agent->log;
    ASSERT(index < log->count);
    return &log->note[(log->next + PLAN_NOTES - log->count + index) % PLAN_NOTES];
}

void plan_log_print_last(const struct agent *agent)
{
    char actions[128];
    actions_format(&agent->plan, actions, sizeof(actions));
    (void)fprintf(stderr,
                  "last plan: reason=%s%s epoch=%" PRIu64 " seq=%" PRIu64 " deadline_ms=%" PRId64
                  " steps=%" PRIu64 "\n",
                  core_reason_name(agent->plan.reason), actions, agent->plan.page.epoch,
                  agent->plan.page.seq, agent->plan.page.deadline.ms, agent->steps);
}
