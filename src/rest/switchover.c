/* POST /switchover and /failover: the checks of compat/rest.md section 7 in its order, a look at the
 * candidates, the order into the store, and then the wait for its effect, which the view tells. */
#include "rest/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/json.h"
#include "rest/health.h"

#define PROBE_MS 2000
#define WRITE_MS 10000

struct order_text {
    const char *leader;
    const char *candidate;
    const char *scheduled_at;
    bool manual; /* failover */
};

static const char *action_of(bool manual)
{
    return manual ? "failover" : "switchover";
}

static void refuse(struct rest *rest, struct http_exchange *exchange, int status,
                   const char *format, const char *word)
{
    char text[256];
    size_t size = sizeof text;
    const char *at = strstr(format, "%s");
    ASSERT(at != NULL);
    bool fits = str_format(text, size, "%.*s%s%s", (int)(at - format), format, word, at + 2);
    ASSERT(fits);
    rest_send_text(rest, exchange, status, text);
}

/* ---- the time of a scheduled order ---- */

/* Answers and returns false when the time is no good. */
static bool read_schedule(struct rest *rest, struct http_exchange *exchange, const char *text,
                          struct wall *out_at)
{
    struct wall utc;
    struct wall other;
    if (!records_parse_time(text, 0, &utc) || !records_parse_time(text, 3600, &other)) {
        rest_send_text(
            rest, exchange, 422,
            "Unable to parse scheduled timestamp. It should be in an unambiguous format, "
            "e.g. ISO 8601");
        return false;
    }
    if (utc.ms != other.ms) { /* it depends on where one stands */
        rest_send_text(rest, exchange, 400,
                       "Timezone information is mandatory for the scheduled switchover");
        return false;
    }
    if (utc.ms < wall_now().ms) {
        rest_send_text(rest, exchange, 422, "Cannot schedule switchover in the past");
        return false;
    }
    *out_at = utc;
    return true;
}

/* ---- checks ---- */

/* Steps 1 to 6; false: answered. */
static bool check_form(struct rest *rest, struct http_exchange *exchange,
                       const struct rest_view *view, struct order_text *order, struct wall *out_at)
{
    const char *problem = NULL;
    if (order->manual && order->candidate[0] == '\0') {
        problem = "Failover could be performed only to a specific candidate";
    } else if (!order->manual && order->leader[0] == '\0') {
        problem = "Switchover could be performed only from a specific leader";
    } else if (order->scheduled_at[0] != '\0' && order->manual) {
        problem = "Failover can't be scheduled";
    } else if (order->scheduled_at[0] != '\0' && health_paused(view)) {
        problem = "Can't schedule switchover in the paused state";
    }
    if (problem == NULL && order->scheduled_at[0] != '\0' &&
        !read_schedule(rest, exchange, order->scheduled_at, out_at)) {
        return false;
    }
    if (problem == NULL && health_paused(view) && order->candidate[0] == '\0') {
        problem = "Switchover is possible only to a specific candidate in a paused state";
    }
    if (problem == NULL) {
        order->manual = order->manual && order->leader[0] == '\0';
        if (str_equal(order->leader, order->candidate)) {
            problem = "Switchover target and source are the same";
        } else if (strlen(order->leader) >= NAME_SIZE || strlen(order->candidate) >= NAME_SIZE) {
            problem = "a member's name is too long";
        }
    }
    if (problem != NULL) {
        rest_send_text(rest, exchange, 400, problem);
    }
    return problem == NULL;
}

/* Who is looked at; the count, with the problem's text when there is nobody. */
static uint32_t find_candidates(const struct rest_view *view, const struct order_text *order,
                                const struct rest_member **out, const char **out_problem)
{
    const char *leader = view->cluster->leader.name;
    bool named = order->candidate[0] != '\0';
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->member_count && count < MEMBERS_MAX; i++) {
        const struct rest_member *member = &view->members[i];
        const char *name = member->info.name;
        bool wanted = named ? str_equal(name, order->candidate)
                      : view->synchronous_mode
                          ? records_sync_has(&view->sync, name)
                          : !str_equal(name, leader) && member->info.api_url[0] != '\0';
        if (wanted) {
            out[count++] = member;
        }
    }
    *out_problem = named ? "candidate does not exists"
                   : view->synchronous_mode
                       ? "%s is not possible: can not find sync_standby"
                       : "%s is not possible: cluster does not have members except leader";
    return count;
}

/* Step 7 without the look at them; 0: answered. */
static uint32_t check_cluster(struct rest *rest, struct http_exchange *exchange,
                              const struct rest_view *view, const struct order_text *order,
                              const struct rest_member **out)
{
    if (order->leader[0] != '\0' && !str_equal(order->leader, view->cluster->leader.name)) {
        rest_send_text(rest, exchange, 412, "leader name does not match");
        return 0;
    }
    if (!order->manual && order->candidate[0] != '\0' && view->synchronous_mode &&
        !view->quorum_mode && !records_sync_has(&view->sync, order->candidate)) {
        rest_send_text(rest, exchange, 412, "candidate name does not match with sync_standby");
        return 0;
    }
    const char *problem;
    uint32_t count = find_candidates(view, order, out, &problem);
    if (count == 0 && strstr(problem, "%s") != NULL) {
        refuse(rest, exchange, 412, problem, action_of(order->manual));
    } else if (count == 0) {
        rest_send_text(rest, exchange, 412, problem);
    }
    return count;
}

/* ---- a look at the candidates ---- */

static void write_order(struct rest_order *order)
{
    struct rest *rest = order->rest;
    order->written = true;
    uv_update_time(rest->loop);
    (void)uv_timer_start(&order->timer, order->timer.timer_cb, WRITE_MS, 0);
    rest->callbacks.write_failover(rest->arg, order->id, &order->failover);
}

/* Nothing times out in a pause: an order to a leader that is gone would stand there for ever. */
static void refuse_without_leader(struct rest_order *order)
{
    char text[2 * NAME_SIZE + 256];
    bool fits = str_format(
        text, sizeof text,
        "switchover is not possible: leader %s does not answer, and the cluster is paused, so "
        "nobody would carry it out; make %s the leader without it: holdfast ctl failover "
        "--candidate %s",
        order->failover.leader, order->failover.candidate, order->failover.candidate);
    ASSERT(fits);
    order_finish(order, 412, text);
}

static void probe_done(struct http_request *request, enum err err, const struct http_reply *reply,
                       void *arg)
{
    (void)request;
    struct order_probe *probe = arg;
    struct rest_order *order = probe->order;
    struct core_peer_status status = {0};
    ASSERT(order->probes_left > 0);
    order->probes_left--;
    if (order->closing) {
        order_end(order);
        return;
    }
    if (probe->leader && err != ERR_OK) {
        refuse_without_leader(order);
        return;
    }
    if (probe->leader) {
        order->leader_awaited = false;
    } else if (err == ERR_OK) {
        status_parse(reply->body, reply->body_size, &status);
        order->candidate_good =
            order->candidate_good || (status.reachable == TRI_YES && !status.nofailover);
    }
    if (order->written) {
        return; /* another one was good */
    }
    if (order->candidate_good && !order->leader_awaited) {
        write_order(order);
    } else if (order->probes_left == 0 && !order->candidate_good) {
        char text[100];
        bool fits =
            str_format(text, sizeof text, "%s is not possible: no good candidates have been found",
                       action_of(order->manual));
        ASSERT(fits);
        order_finish(order, 412, text);
    }
}

static void probe_one(struct rest_order *order, const struct rest_member *member,
                      struct order_probe *probe)
{
    struct rest *rest = order->rest;
    ASSERT(rest->client != NULL);
    struct http_call call = {.url = member->info.api_url,
                             .user_pass = rest->settings->client_user_pass,
                             .timeout_ms = PROBE_MS};
    probe->order = order;
    order->probes_left++;
    http_request_start(rest->client, &probe->request, &call, probe_done, probe);
}

/* members: at most MEMBERS_MAX candidates. leader: asked as well; NULL: not. */
static void probe(struct rest_order *order, const struct rest_member *const *members,
                  uint32_t count, const struct rest_member *leader)
{
    if (leader != NULL) {
        order->leader_awaited = true;
        order->probes[count].leader = true;
        probe_one(order, leader, &order->probes[count]);
    }
    for (uint32_t i = 0; i < count; i++) {
        probe_one(order, members[i], &order->probes[i]);
    }
}

/* ---- beginning ---- */

static const char *text_or_empty(const json_t *body, const char *key)
{
    const char *text = json_text(body, key);
    return text != NULL ? text : "";
}

/* Looks at those who have a part in it; the order follows, or a refusal. */
static void look_first(struct rest_order *order, const struct rest_view *view,
                       const struct rest_member *const *members, uint32_t count)
{
    const char *name = order->failover.leader;
    const struct rest_member *leader = NULL;
    bool ask = !order->manual && health_paused(view) && !str_equal(name, order->rest->name);
    for (uint32_t i = 0; ask && i < view->member_count; i++) {
        if (str_equal(view->members[i].info.name, name) &&
            view->members[i].info.api_url[0] != '\0') {
            leader = &view->members[i];
        }
    }
    if (ask && leader == NULL) {
        refuse_without_leader(order);
        return;
    }
    probe(order, members, count, leader);
}

static void begin(struct rest *rest, struct http_exchange *exchange, struct order_text *text)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    struct wall at = {0};
    if (!check_form(rest, exchange, &view, text, &at)) {
        return;
    }
    if (view.cluster == NULL || view.cluster->reachable != TRI_YES) {
        rest_send_error(rest, exchange, 503, "The store does not answer");
        return;
    }
    const struct rest_member *members[MEMBERS_MAX];
    uint32_t count = 0;
    if (at.ms == 0 && (count = check_cluster(rest, exchange, &view, text, members)) == 0) {
        return;
    }
    struct rest_order *order = order_begin(rest, exchange, ORDER_SWITCHOVER, 2 * PROBE_MS);
    if (order == NULL) {
        return;
    }
    int64_t wait_s = view.cluster->settings.loop_wait_ms / 1000;
    order->wait_ms = 2000 * (wait_s > 10 ? wait_s : 10);
    order->manual = text->manual;
    order->failover.scheduled_at = at;
    str_copy_cut(order->failover.leader, NAME_SIZE, text->leader);
    str_copy_cut(order->failover.candidate, NAME_SIZE, text->candidate);
    str_copy_cut(order->from, sizeof order->from, view.cluster->leader.name);
    if (at.ms != 0) {
        write_order(order);
    } else {
        look_first(order, &view, members, count);
    }
}

static void start(struct rest *rest, struct http_exchange *exchange, bool manual)
{
    json_t *body = order_body(rest, exchange);
    if (body == NULL) {
        return;
    }
    struct order_text text = {
        .leader = text_or_empty(body, "leader"),
        .candidate = text_or_empty(body, "candidate"),
        .scheduled_at = text_or_empty(body, "scheduled_at"),
        .manual = manual,
    };
    if (text.candidate[0] == '\0') {
        text.candidate = text_or_empty(body, "member");
    }
    begin(rest, exchange, &text);
    json_decref(body);
}

void order_switchover(struct rest *rest, struct http_exchange *exchange)
{
    start(rest, exchange, false);
}

void order_failover(struct rest *rest, struct http_exchange *exchange)
{
    start(rest, exchange, true);
}

void order_withdraw_switchover(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    if (view.cluster == NULL || view.cluster->failover.scheduled_at.ms == 0) {
        rest_send_text(rest, exchange, 404, "no switchover is scheduled");
        return;
    }
    struct core_failover none = {.version = view.cluster->failover.version};
    struct rest_order *order = order_begin(rest, exchange, ORDER_WITHDRAW, WRITE_MS);
    if (order != NULL) {
        rest->callbacks.write_failover(rest->arg, order->id, &none);
    }
}

/* ---- the wait for the effect ---- */

void switchover_written(struct rest_order *order, enum err err, uint64_t revision)
{
    /* In doubt: it may stand there, so its effect may come. */
    if (err != ERR_OK && err != ERR_IN_DOUBT) {
        order_finish(order, 503, "failed to write failover key into DCS");
        return;
    }
    if (order->failover.scheduled_at.ms != 0) {
        bool sure = err == ERR_OK;
        order_finish(order, sure ? 202 : 503,
                     sure ? "Switchover scheduled" : "failed to write failover key into DCS");
        return;
    }
    order->confirmed = true;
    order->revision = revision;
    uv_update_time(order->rest->loop);
    (void)uv_timer_start(&order->timer, order->timer.timer_cb, (uint64_t)order->wait_ms, 0);
    switchover_look(order);
}

static void succeed(struct rest_order *order, const char *leader)
{
    char text[256];
    const char *candidate = order->failover.candidate;
    bool fits;
    if (candidate[0] == '\0' || str_equal(candidate, leader)) {
        fits = str_format(text, sizeof text, "Successfully %s over to \"%s\"",
                          order->manual ? "failed" : "switched", leader);
    } else {
        fits = str_format(text, sizeof text, "%s over to \"%s\" instead of \"%s\"",
                          order->manual ? "Failed" : "Switched", leader, candidate);
    }
    ASSERT(fits);
    order_finish(order, 200, text);
}

void switchover_look(struct rest_order *order)
{
    if (!order->confirmed) {
        return;
    }
    struct rest_view view;
    rest_get_view(order->rest, &view);
    const struct core_cluster *cluster = view.cluster;
    if (cluster == NULL) {
        return;
    }
    if (cluster->leader.name[0] != '\0' && !str_equal(cluster->leader.name, order->from)) {
        succeed(order, cluster->leader.name);
        return;
    }
    bool ordered = cluster->failover.leader[0] != '\0' || cluster->failover.candidate[0] != '\0';
    order->seen =
        order->seen || ordered || (order->revision != 0 && cluster->revision >= order->revision);
    /* Without a leader the change is under way. */
    if (order->seen && !ordered && cluster->leader.name[0] != '\0') {
        order_finish(order, 503, order->manual ? "Failover failed" : "Switchover failed");
    }
}

void switchover_timeout(struct rest_order *order)
{
    if (!order->confirmed) {
        order_finish(order, 503, "failed to write failover key into DCS");
        return;
    }
    char text[160];
    bool fits =
        str_format(text, sizeof text,
                   "%s status unknown after %lld seconds; operation may still be in progress",
                   order->manual ? "Failover" : "Switchover", (long long)(order->wait_ms / 1000));
    ASSERT(fits);
    order_finish(order, 503, text);
}
