/* agent/exec_guard.c - orders to the guard, what it reports, and the two heartbeats. The guard's
 * answer to an order is told to the core after a fresh GUARD event, so the core sees the page as the
 * order left it.
 */
#include "agent/shell.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"

#define REPLACEMENT_MS_MAX 1000 /* no HELLO within this: tried again */
#define BELIEVED_AFTER_MS 500   /* two beats of a guard: see guard_alive */

/* ---- facts ---- */

static enum tri guard_alive(const struct exec_guard *guard, struct mono now)
{
    if (guard->gone) {
        return TRI_NO;
    }
    if (!guard_client_stale(&guard->client, now)) {
        return TRI_YES;
    }
    /* After a gap of our own an old beat is no proof: the guard may have stood still with us. */
    return mono_sub(now, guard->running_since) < BELIEVED_AFTER_MS ? TRI_UNKNOWN : TRI_NO;
}

static void order_ended(struct agent *agent, enum core_outcome outcome);

static void news_fired(uv_timer_t *timer)
{
    exec_guard_report(timer->data, true);
}

/* On a turn of its own: who notices is in the midst of something. */
static void report_soon(struct exec_guard *guard)
{
    if (!uv_is_closing((uv_handle_t *)&guard->news_timer)) {
        int started = uv_timer_start(&guard->news_timer, news_fired, 0, 0);
        ASSERT(started == 0);
    }
}

static void guard_gone(struct exec_guard *guard)
{
    guard->gone = true;
    if (guard->poll != NULL) {
        (void)uv_poll_stop(&guard->poll->handle); /* an ended socket stays readable */
    }
    report_soon(guard);
}

/* An order to a guard that is no more has no answer; only the next guard can tell what came of it.
 * (A replacement is that next guard: it has a time of its own.) */
static bool order_orphaned(const struct exec_guard *guard)
{
    return guard->active && guard->facts.alive == TRI_NO &&
           guard->done.type != CORE_ACTION_REPLACE_GUARD;
}

static struct core_guard facts_now(const struct agent *agent, struct mono now)
{
    struct core_guard facts = {.asked_at = now, .alive = guard_alive(&agent->guard, now)};
    facts.armed = page_armed(agent->page, &facts.armed_epoch);
    struct mono hard_at;
    facts.fenced = page_fence_read(agent->page, &hard_at) != PAGE_FENCE_NONE;
    return facts;
}

/* Others than the core was told last. */
static bool facts_differ(const struct exec_guard *guard, const struct core_guard *facts)
{
    return facts->alive != guard->facts.alive || facts->armed != guard->facts.armed ||
           facts->armed_epoch != guard->facts.armed_epoch || facts->fenced != guard->facts.fenced;
}

void exec_guard_report(struct agent *agent, bool only_changes)
{
    struct exec_guard *guard = &agent->guard;
    struct core_guard facts = facts_now(agent, mono_now());
    bool changed = facts_differ(guard, &facts);
    if (changed || !only_changes) {
        if (facts.alive == TRI_NO && guard->facts.alive != TRI_NO) {
            log_error("guard_lost", "message=\"the guard does not beat\"");
        }
        guard->facts = facts;
        struct core_event event = {.type = CORE_EVENT_GUARD, .u.guard = facts};
        agent_deliver(agent, &event);
    }
    if (order_orphaned(guard)) {
        log_warn("guard_order", "action=%s result=unknown detail=\"the guard is gone\"",
                 core_action_name(guard->done.type));
        order_ended(agent, CORE_OUTCOME_UNKNOWN);
    }
}

/* ---- answers ---- */

static void order_ended(struct agent *agent, enum core_outcome outcome)
{
    struct exec_guard *guard = &agent->guard;
    ASSERT(guard->active);
    guard->active = false;
    (void)uv_timer_stop(&guard->replace_timer); /* always 0 */
    guard->done.outcome = outcome;
    struct core_done done = guard->done;
    exec_guard_report(agent, false);
    agent_done(agent, &done);
}

static void process_stop(void *arg, bool hard);

static void start_ended(struct agent *agent, enum err err, int64_t pid, uint64_t start_ticks,
                        const struct err_detail *detail)
{
    agent->guard.start_id = 0;
    pg_postmaster_started(agent->pg, err, pid, start_ticks, detail);
}

static void refused(struct agent *agent, const struct control_refused *packet)
{
    struct exec_guard *guard = &agent->guard;
    log_warn("guard_refused", "id=%u message=\"%s\"", packet->head.id, packet->text);
    if (guard->active && packet->head.id == guard->order_id) {
        order_ended(agent, CORE_OUTCOME_NOT_APPLIED);
    } else if (guard->start_id != 0 && packet->head.id == guard->start_id) {
        struct err_detail detail = {.sys_errno = packet->sys_errno};
        str_copy_cut(detail.text, sizeof(detail.text), packet->text);
        start_ended(agent, (enum err)packet->err, 0, 0, &detail);
    }
}

static void hello(struct agent *agent, const struct control_hello *packet)
{
    struct exec_guard *guard = &agent->guard;
    log_info("guard",
             "pid=%" PRId64 " version=%s armed_epoch=%" PRIu64 " postmaster=%" PRId64
             " agent_restarts=%u",
             packet->guard_pid, packet->guard_version, packet->armed_epoch, packet->postmaster_pid,
             packet->agent_restarts);
    guard->gone = false;
    if (guard->start_id != 0 && packet->postmaster_pid != 0) {
        start_ended(agent, ERR_OK, packet->postmaster_pid, packet->postmaster_start_ticks, NULL);
    } else if (guard->start_id != 0) {
        struct err_detail detail = {.text = "the guard was replaced meanwhile"};
        start_ended(agent, ERR_IN_DOUBT, 0, 0, &detail);
    }
    if (packet->postmaster_pid == 0) {
        guard->stop_asked = false;
        if (packet->exit_pid != 0 && agent->pg != NULL) {
            pg_postmaster_exited(agent->pg, packet->exit_pid);
        }
    } else if (guard->stop_asked) { /* the guard before may not have heard it */
        process_stop(agent, guard->stop_hard);
    }
    if (guard->active) {
        /* A replacement is in charge now; any other order of before is in doubt. */
        order_ended(agent, guard->done.type == CORE_ACTION_REPLACE_GUARD ? CORE_OUTCOME_APPLIED
                                                                         : CORE_OUTCOME_UNKNOWN);
    }
}

static void packet_handle(struct agent *agent, const union control_packet *packet)
{
    struct exec_guard *guard = &agent->guard;
    switch ((enum control_type)packet->head.type) {
    case CONTROL_HELLO:
        hello(agent, &packet->hello);
        break;
    case CONTROL_DONE:
        if (guard->active && packet->head.id == guard->order_id) {
            order_ended(agent, CORE_OUTCOME_APPLIED);
        }
        break;
    case CONTROL_REFUSED:
        refused(agent, &packet->refused);
        break;
    case CONTROL_STARTED:
        if (guard->start_id != 0 && packet->head.id == guard->start_id) {
            start_ended(agent, ERR_OK, packet->started.pid, packet->started.start_ticks, NULL);
        }
        break;
    case CONTROL_EXITED:
        log_debug("postmaster_exited", "pid=%" PRId64, packet->exited.pid); /* the guard's line */
        guard->stop_asked = false;
        pg_postmaster_exited(agent->pg, packet->exited.pid);
        break;
    case CONTROL_FENCED:
        log_error("fenced",
                  "epoch=%" PRIu64 " stage=%u message=\"the guard ended PostgreSQL: the lease was "
                  "not renewed\"",
                  packet->fenced.epoch, packet->fenced.stage);
        break;
    case CONTROL_UPGRADE:
        agent_leave_for_upgrade(agent);
        break;
    case CONTROL_NONE:
    case CONTROL_PING:
    case CONTROL_START:
    case CONTROL_ADOPT:
    case CONTROL_ARM:
    case CONTROL_DISARM:
    case CONTROL_STOP:
    case CONTROL_LEAVING:
    case CONTROL_TYPE_COUNT:
        log_warn("guard_packet", "type=%u message=\"not for an agent\"", packet->head.type);
        break;
    }
}

static void guard_readable(uv_poll_t *handle, int status, int events)
{
    struct agent *agent = handle->data;
    (void)status; /* an error shows in the next read too */
    (void)events;
    for (;;) {
        const union control_packet *packet;
        struct err_detail detail;
        enum err err = guard_client_next(&agent->guard.client, &packet, &detail);
        if (err != ERR_OK) {
            log_warn("guard_lost", "message=\"%s\"", detail.text);
            guard_gone(&agent->guard);
            break;
        }
        if (packet->head.type == CONTROL_NONE) {
            break;
        }
        packet_handle(agent, packet);
        if (agent->guard.poll == NULL || &agent->guard.poll->handle != handle) {
            return; /* replaced by what the packet caused */
        }
    }
    exec_guard_report(agent, true);
}

static void poll_closed(uv_handle_t *handle)
{
    free(handle); /* the handle is the first member of what was allocated */
}

static void poll_drop(struct exec_guard *guard)
{
    if (guard->poll != NULL) {
        uv_close((uv_handle_t *)&guard->poll->handle, poll_closed);
        guard->poll = NULL;
    }
}

static void poll_begin(struct agent *agent)
{
    struct exec_guard *guard = &agent->guard;
    ASSERT(guard->poll == NULL && guard->client.fd >= 0);
    guard->poll = calloc(1, sizeof(*guard->poll));
    ASSERT(guard->poll != NULL);
    int made = uv_poll_init(&agent->loop, &guard->poll->handle, guard->client.fd);
    ASSERT(made == 0);
    guard->poll->handle.data = agent;
    int started = uv_poll_start(&guard->poll->handle, UV_READABLE, guard_readable);
    ASSERT(started == 0);
}

/* ---- orders of the core ---- */

static void replacement_late(uv_timer_t *timer)
{
    struct agent *agent = timer->data;
    ASSERT(agent->guard.active && agent->guard.done.type == CORE_ACTION_REPLACE_GUARD);
    log_warn("guard_order", "action=replace_guard result=\"no word from it\"");
    order_ended(agent, CORE_OUTCOME_NOT_APPLIED);
}

static enum err replace_guard(struct agent *agent, struct err_detail *detail)
{
    struct exec_guard *guard = &agent->guard;
    poll_drop(guard); /* before its descriptor may be closed */
    enum err err = guard_client_spawn_replacement(&guard->client, agent->argv, detail);
    if (guard->client.fd >= 0) {
        poll_begin(agent);
    }
    if (err == ERR_OK) {
        int started =
            uv_timer_start(&guard->replace_timer, replacement_late, REPLACEMENT_MS_MAX, 0);
        ASSERT(started == 0);
    }
    return err;
}

void exec_guard_start(struct agent *agent, const struct core_action *action)
{
    struct exec_guard *guard = &agent->guard;
    ASSERT(core_action_target(action->type) == CORE_TARGET_GUARD);
    ASSERT(!guard->active || action->type == CORE_ACTION_REPLACE_GUARD);
    if (guard->active) { /* an order to the one that is given up */
        order_ended(agent, CORE_OUTCOME_UNKNOWN);
    }
    guard->active = true;
    guard->done = (struct core_done){.type = action->type, .id = action->id};
    struct err_detail detail = {0};
    enum err err;
    if (action->type == CORE_ACTION_ARM) {
        err = guard_client_arm(&guard->client, action->u.guard.epoch, &guard->order_id, &detail);
    } else if (action->type == CORE_ACTION_DISARM) {
        err = guard_client_disarm(&guard->client, action->u.guard.epoch, action->u.guard.for_pause,
                                  &guard->order_id, &detail);
    } else {
        ASSERT(action->type == CORE_ACTION_REPLACE_GUARD);
        guard->order_id = 0;
        err = replace_guard(agent, &detail);
    }
    if (err != ERR_OK) {
        log_warn("guard_order", "action=%s result=\"%s\" detail=\"%s\"",
                 core_action_name(action->type), err_name(err), detail.text);
        if (err == ERR_UNREACHABLE) {
            guard_gone(guard);
        }
        order_ended(agent, CORE_OUTCOME_NOT_APPLIED);
    } else if (order_orphaned(guard)) {
        report_soon(guard);
    }
}

void exec_guard_ping(struct agent *agent)
{
    if (guard_client_ping(&agent->guard.client, NULL, NULL) != ERR_OK) {
        guard_gone(&agent->guard);
    }
}

void exec_guard_leaving(struct agent *agent, int code)
{
    struct err_detail detail;
    bool stranger = agent->plan.reason == CORE_REASON_EXIT_FOREIGN_CLUSTER;
    if (guard_client_leaving(&agent->guard.client, code, stranger, NULL, &detail) != ERR_OK) {
        log_warn("guard_leaving", "code=%d detail=\"%s\"", code, detail.text);
    }
}

/* ---- the PostgreSQL layer's orders (pg/pg_process.h) ---- */

static void start_failed(uv_timer_t *timer)
{
    struct agent *agent = timer->data;
    start_ended(agent, agent->guard.start_err, 0, 0, &agent->guard.start_detail);
}

static void process_start(void *arg, const struct pg_process_start *request)
{
    struct agent *agent = arg;
    struct exec_guard *guard = &agent->guard;
    guard->stop_asked = false;
    uint64_t epoch = 0;
    if (request->as_primary && !page_armed(agent->page, &epoch)) {
        epoch = agent->plan.page.epoch; /* the guard refuses, and says why */
    }
    struct guard_client_start start = {.argv = request->argv,
                                       .data_dir = request->data_dir,
                                       .log_path = request->log_path,
                                       .armed_epoch = epoch};
    guard->start_err =
        request->as_primary && epoch == 0
            ? err_set(&guard->start_detail, ERR_CONFLICT, "there is no lease")
            : guard_client_start(&guard->client, &start, &guard->start_id, &guard->start_detail);
    if (guard->start_err != ERR_OK) {
        if (guard->start_err == ERR_UNREACHABLE) {
            guard_gone(guard);
        }
        int started = uv_timer_start(&guard->start_timer, start_failed, 0, 0);
        ASSERT(started == 0);
    }
}

static void process_adopt(void *arg, int64_t pid, uint64_t start_ticks)
{
    struct agent *agent = arg;
    struct page_postmaster known;
    page_postmaster_read(agent->page, &known);
    if (known.pid == pid && known.start_ticks == start_ticks) {
        return; /* an agent before us had it adopted or started */
    }
    struct err_detail detail;
    if (guard_client_adopt(&agent->guard.client, (pid_t)pid, start_ticks, NULL, &detail) !=
        ERR_OK) {
        log_warn("guard_order", "action=adopt detail=\"%s\"", detail.text);
        guard_gone(&agent->guard);
    }
}

static void process_stop(void *arg, bool hard)
{
    struct agent *agent = arg;
    struct exec_guard *guard = &agent->guard;
    guard->stop_hard = hard || (guard->stop_asked && guard->stop_hard);
    guard->stop_asked = true;
    struct err_detail detail;
    if (guard_client_stop(&guard->client, guard->stop_hard ? CONTROL_STOP_HARD : CONTROL_STOP_FAST,
                          NULL, &detail) != ERR_OK) {
        log_warn("guard_order", "action=stop detail=\"%s\"", detail.text);
        guard_gone(guard);
    }
}

struct pg_process exec_guard_process(struct agent *agent)
{
    return (struct pg_process){
        .arg = agent, .start = process_start, .adopt = process_adopt, .stop = process_stop};
}

/* ---- heartbeats ---- */

static void beat_fired(uv_timer_t *timer)
{
    exec_guard_beat(timer->data);
}

/* Every step beats, so in the normal run of things this timer never fires. Every beat of ours looks
 * for the guard's. */
void exec_guard_beat(struct agent *agent)
{
    struct exec_guard *guard = &agent->guard;
    if (guard->beat_ms == 0) {
        return; /* not yet begun */
    }
    struct mono now = mono_now();
    page_agent_beat(agent->page, now);
    if (mono_sub(now, guard->beat_at) > 2 * guard->beat_ms) {
        guard->running_since = now;
    }
    guard->beat_at = now;
    struct core_guard facts = facts_now(agent, now);
    if (facts_differ(guard, &facts)) {
        report_soon(guard);
    }
    int started = uv_timer_start(&guard->beat_timer, beat_fired, (uint64_t)guard->beat_ms, 0);
    ASSERT(started == 0);
}

/* The guard takes us for frozen after ttl / 3. */
void exec_guard_set_ttl(struct agent *agent, int64_t ttl_ms)
{
    int64_t beat_ms = ttl_ms / 7; /* just beyond the core's longest pause, ttl / 8 */
    agent->guard.beat_ms = beat_ms < 50 ? 50 : beat_ms;
}

void exec_guard_init(struct agent *agent)
{
    struct exec_guard *guard = &agent->guard;
    ASSERT(guard->client.page != NULL);
    int made = uv_timer_init(&agent->loop, &guard->beat_timer);
    ASSERT(made == 0);
    made = uv_timer_init(&agent->loop, &guard->start_timer);
    ASSERT(made == 0);
    made = uv_timer_init(&agent->loop, &guard->news_timer);
    ASSERT(made == 0);
    made = uv_timer_init(&agent->loop, &guard->replace_timer);
    ASSERT(made == 0);
    guard->beat_timer.data = agent;
    guard->start_timer.data = agent;
    guard->news_timer.data = agent;
    guard->replace_timer.data = agent;
    poll_begin(agent);
}

void exec_guard_close(struct agent *agent)
{
    poll_drop(&agent->guard);
    uv_close((uv_handle_t *)&agent->guard.beat_timer, NULL);
    uv_close((uv_handle_t *)&agent->guard.start_timer, NULL);
    uv_close((uv_handle_t *)&agent->guard.news_timer, NULL);
    uv_close((uv_handle_t *)&agent->guard.replace_timer, NULL);
}
