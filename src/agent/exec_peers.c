/* agent/exec_peers.c - questions to the other members, all at once. Every name gets exactly one
 * answer event, be it "none in time"; the DONE follows the last of them.
 */
#include "agent/shell.h"

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/status.h"

#define ANSWER_BYTES_MAX 65536

static void call_over(struct agent *agent, struct exec_peers_round *round)
{
    ASSERT(round->open > 0);
    round->open--;
    if (round->open == 0) {
        round->active = false;
        struct core_done done = round->done;
        agent_done(agent, &done);
    }
}

/* ---- GET /patroni ---- */

static void status_event(struct exec_peers_call *call, const struct http_reply *reply)
{
    struct core_event event = {.type = CORE_EVENT_PEER_STATUS};
    struct core_peer_status *status = &event.u.peer_status;
    status->reachable = TRI_NO;
    if (reply != NULL) {
        status_parse(reply->body, reply->body_size, status);
    }
    str_copy_cut(status->name, sizeof(status->name), call->name);
    status->asked_at = call->round->asked_at;
    agent_deliver(call->agent, &event);
}

static void status_answered(struct http_request *request, enum err err,
                            const struct http_reply *reply, void *arg)
{
    struct exec_peers_call *call = arg;
    ASSERT(request == &call->request && call->round->active);
    status_event(call, err == ERR_OK ? reply : NULL);
    call_over(call->agent, call->round);
}

/* ---- POST /holdfast/promise ---- */

static void promise_event(struct exec_peers_call *call, bool granted)
{
    struct core_event event = {.type = CORE_EVENT_PEER_PROMISE};
    struct core_peer_promise *promise = &event.u.peer_promise;
    str_copy_cut(promise->name, sizeof(promise->name), call->name);
    promise->round = call->round->number;
    promise->granted = granted;
    agent_deliver(call->agent, &event);
}

static void promise_answered(struct http_request *request, enum err err,
                             const struct http_reply *reply, void *arg)
{
    struct exec_peers_call *call = arg;
    ASSERT(request == &call->request && call->round->active);
    struct status_promise_answer answer = {0};
    /* The giver's name: an address that belongs to somebody else by now is no promise of this one. */
    bool granted = err == ERR_OK && reply->status == 200 &&
                   status_promise_read_answer(reply->body, reply->body_size, &answer) == ERR_OK &&
                   answer.granted && str_equal(answer.name, call->name);
    if (!granted) {
        log_info("promise", "peer=%s granted=no detail=\"%s\"", call->name,
                 err == ERR_OK ? "refused" : request->detail.text);
    }
    promise_event(call, granted);
    call_over(call->agent, call->round);
}

/* ---- asking ---- */

static bool call_url(const struct agent *agent, const char *name, bool promise, char *out_url,
                     size_t out_size)
{
    const struct address_entry *entry = address_book_find(&agent->book, name);
    if (entry == NULL || entry->api_url[0] == '\0') {
        return false;
    }
    return promise ? address_api_path(entry->api_url, "/holdfast/promise", out_url, out_size)
                   : str_copy(out_url, out_size, entry->api_url);
}

static void call_start(struct exec_peers_call *call, const struct core_action *action,
                       const char *url)
{
    struct agent *agent = call->agent;
    bool promise = action->type == CORE_ACTION_ASK_PROMISE;
    AUTO_FREE char *body = NULL;
    if (promise) {
        struct core_promise_request ask = {.epoch = action->u.ask.epoch,
                                           .ttl_ms = action->u.ask.ttl_ms};
        str_copy_cut(ask.holder, sizeof(ask.holder), agent->core_config.name);
        body = status_promise_ask(&ask);
        ASSERT(body != NULL);
    }
    struct http_call request = {
        .method = promise ? HTTP_POST : HTTP_GET,
        .url = url,
        .body = body,
        .user_pass = agent_peer_credentials(agent),
        .timeout_ms = action->u.ask.timeout_ms,
        .body_max = ANSWER_BYTES_MAX,
        .repeatable = true, /* a promise given twice is one promise */
    };
    http_request_start(agent->peers.client, &call->request, &request,
                       promise ? promise_answered : status_answered, call);
}

void exec_peers_start(struct agent *agent, const struct core_action *action)
{
    bool promise = action->type == CORE_ACTION_ASK_PROMISE;
    ASSERT(promise || action->type == CORE_ACTION_ASK_STATUS);
    struct exec_peers_round *round = promise ? &agent->peers.promise : &agent->peers.status;
    const struct core_name_list *names = &action->u.ask.names;
    ASSERT(!round->active && names->count <= MEMBERS_MAX);
    round->active = true;
    round->asked_at = mono_now();
    round->number = action->u.ask.round;
    round->done =
        (struct core_done){.type = action->type, .id = action->id, .outcome = CORE_OUTCOME_APPLIED};
    round->open =
        names->count + 1; /* one for this function: the DONE comes last whatever happens */
    for (uint32_t i = 0; i < names->count; i++) {
        struct exec_peers_call *call = &round->call[i];
        call->agent = agent;
        call->round = round;
        str_copy_cut(call->name, sizeof(call->name), names->name[i]);
        char url[URL_SIZE + 32];
        if (call_url(agent, call->name, promise, url, sizeof(url))) {
            call_start(call, action, url);
            continue;
        }
        log_warn("peer", "name=%s message=\"its address is not known\"", call->name);
        if (promise) {
            promise_event(call, false);
        } else {
            status_event(call, NULL);
        }
        call_over(agent, round);
    }
    call_over(agent, round);
}
