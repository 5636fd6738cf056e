/* Each call is one question to Consul. What was provably not sent, and a read that failed, is asked
 * again until the deadline; a write that was sent is asked once, and is in doubt unless Consul says in
 * full what became of it.
 */
#include "dcs/consul.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/localproto.h"
#include "dcs/consul_internal.h"

/* A call's own deadline stands behind that of its question, which knows better what became of it. */
#define DEADLINE_SLACK_MS 20
#define ANSWER_MAX ((size_t)16 * 1024 * 1024)
#define SESSION_TTL_DEFAULT_MS 30000
#define SESSION_TTL_MIN_MS 15000
#define NONCE_MASK ((UINT64_C(1) << 53) - 1)

/* What is kept with a transaction: the texts stay the owner's. */
struct txn_frame {
    const struct http_request *http; /* while it is sent */
    char session[SESSION_SIZE];      /* that it was sent with */
    size_t count;
    struct consulproto_op ops[STORE_TXN_OPS_MAX];
};

_Static_assert(offsetof(struct dcs_call, frame) % _Alignof(struct txn_frame) == 0,
               "a call's frame is aligned");

static void call_send(struct consul *consul, struct dcs_request *request);

/* ---- calls that wait ---- */

void consul_send_waiting(struct consul *consul)
{
    ASSERT(!consul->closing);
    for (struct dcs_request *request = consul->pending.first; request != NULL;
         request = request->next) {
        if (!request->sent && !dcs_call_of(request)->done) {
            call_send(consul, request);
        }
    }
}

static void retry_cb(uv_timer_t *timer)
{
    ASSERT(timer->data != NULL);
    consul_send_waiting(timer->data);
}

void consul_send_later(struct consul *consul)
{
    ASSERT(!consul->closing);
    if (!uv_is_active((const uv_handle_t *)&consul->retry)) {
        int rc = uv_timer_start(&consul->retry, retry_cb, consul_backoff_ms(consul->failures), 0);
        ASSERT(rc == 0);
        consul->failures++;
    }
}

void consul_fail_unsent(struct consul *consul, bool reads, const char *why)
{
    ASSERT(why != NULL);
    for (struct dcs_request *request = consul->pending.first; request != NULL;
         request = request->next) {
        const struct dcs_call *call = dcs_call_of(request);
        bool meant = reads ? request->read_cb != NULL : call->attach;
        if (meant && !request->sent && !call->done) {
            (void)err_set(&request->detail, ERR_REFUSED, "%s", why); /* told by the callback */
            dcs_pending_fail(&consul->pending, request, ERR_REFUSED);
        }
    }
}

/* Nothing has changed: the same once more, while there is time. */
static void call_again(struct consul *consul, struct dcs_request *request, const char *why)
{
    ASSERT(request->sent);
    request->sent = false;
    (void)err_set(&request->detail, ERR_UNREACHABLE, "%s", why); /* what a deadline will tell */
    consul_send_later(consul);
}

static void call_fail(struct consul *consul, struct dcs_request *request, enum err err,
                      const char *why)
{
    ASSERT(err != ERR_OK);
    (void)err_set(&request->detail, err, "%s", why); /* told by the callback */
    dcs_pending_finish(&consul->pending, request, err, NULL, NULL);
}

/* ---- answers ---- */

static void read_answered(struct consul *consul, uint64_t id, const struct consul_reply *reply)
{
    struct dcs_request *request = dcs_pending_find(&consul->pending, id);
    if (request == NULL) {
        return; /* too late */
    }
    struct err_detail why = {0};
    struct consul_snapshot snapshot;
    switch (consul_read_reply(consul, reply, &snapshot, &why)) {
    case CONSUL_READ_MARKING: /* which sends it again */
        request->sent = false;
        (void)err_set(&request->detail, ERR_UNREACHABLE, "Consul has no %s" CONSUL_MARK,
                      consul->prefix);
        break;
    case CONSUL_READ_REFUSED:
        call_fail(consul, request, ERR_REFUSED, why.text);
        break;
    case CONSUL_READ_FAILED:
        call_again(consul, request, why.text);
        break;
    case CONSUL_READ_OK:
        consul->failures = 0;
        dcs_pending_finish(&consul->pending, request, ERR_OK, &snapshot.snapshot, NULL);
        consul_snapshot_fini(&snapshot);
        break;
    }
}

static struct txn_frame *frame_of(const struct dcs_request *request)
{
    ASSERT(request->txn_cb != NULL);
    return (void *)dcs_call_of(request)->frame;
}

static struct consulproto_txn txn_of(const struct consul *consul, const struct dcs_request *request)
{
    const struct txn_frame *frame = frame_of(request);
    ASSERT(frame->count > 0);
    return (struct consulproto_txn){.prefix = consul->prefix,
                                    .session = frame->session,
                                    .nonce = consul->nonce,
                                    .ops = frame->ops,
                                    .count = frame->count};
}

static void txn_said(struct consul *consul, struct dcs_request *request,
                     const struct consulproto_answer *answer)
{
    struct err_detail why = {0};
    switch (answer->verdict) {
    case CONSULPROTO_APPLIED: {
        struct dcs_txn_result result = {.revision = answer->index};
        consul->failures = 0;
        dcs_pending_finish(&consul->pending, request, ERR_OK, NULL, &result);
        break;
    }
    case CONSULPROTO_CONFLICT:
        call_fail(consul, request, ERR_CONFLICT, answer->what);
        break;
    case CONSULPROTO_NO_SESSION: /* whichever it was: a new one, within the same deadline */
        if (str_equal(frame_of(request)->session, consul->session.id)) {
            consul_session_lost(consul); /* unless there is another since */
        }
        call_again(consul, request, answer->what);
        break;
    case CONSULPROTO_LATER:
        call_again(consul, request, answer->what);
        break;
    case CONSULPROTO_DENIED:
        (void)err_set(&why, ERR_REFUSED,
                      "Consul refuses consul.token: %s; remedy: a token that may write key_prefix "
                      "\"%s\"",
                      answer->what, consul->prefix);
        call_fail(consul, request, ERR_REFUSED, why.text);
        break;
    case CONSULPROTO_REFUSED:
        call_fail(consul, request, ERR_REFUSED, answer->what);
        break;
    }
}

static bool refused_in_full(const struct http_reply *reply)
{
    return (reply->status == 413 && strstr(reply->body, "too large") != NULL) ||
           (reply->status == 400 && strstr(reply->body, "Failed to parse body") != NULL);
}

static void txn_answered(struct consul *consul, uint64_t id, const struct consul_reply *reply)
{
    struct dcs_request *request = dcs_pending_find(&consul->pending, id);
    if (request == NULL) {
        return; /* too late */
    }
    struct consulproto_txn txn = txn_of(consul, request);
    struct consulproto_answer answer;
    struct err_detail detail = {0};
    if (reply->err == ERR_UNREACHABLE) {
        call_again(consul, request, reply->why);
    } else if (reply->err != ERR_OK) {
        call_fail(consul, request, reply->err, reply->why);
    } else if (consul_reply_denied(reply) || refused_in_full(reply->reply)) {
        call_fail(consul, request, ERR_REFUSED, reply->why);
    } else if (reply->reply->status != 200 && reply->reply->status != 409) {
        call_fail(consul, request, ERR_IN_DOUBT, reply->why);
    } else if (consulproto_txn_answer(&txn, reply->reply->status, reply->reply->body,
                                      reply->reply->body_size, &answer, &detail) != ERR_OK) {
        call_fail(consul, request, ERR_IN_DOUBT, detail.text);
    } else {
        txn_said(consul, request, &answer);
    }
}

/* ---- sending ---- */

static void call_send(struct consul *consul, struct dcs_request *request)
{
    ASSERT(!request->sent);
    int64_t left_ms = mono_sub(request->deadline, mono_now()) - DEADLINE_SLACK_MS;
    if (left_ms <= 0) {
        return; /* the deadline is about to tell */
    }
    if (request->read_cb != NULL) {
        if (consul->marking) {
            return;
        }
        request->sent = true;
        struct consul_question question = {.method = HTTP_GET,
                                           .path = consul->path,
                                           .query = "recurse&consistent",
                                           .timeout_ms = left_ms,
                                           .body_max = ANSWER_MAX};
        (void)consul_ask(consul, &question, read_answered, request->id);
        return;
    }
    if (dcs_call_of(request)->attach && consul->session.id[0] == '\0') {
        consul_session_need(consul);
        return;
    }
    request->sent = true;
    consul->nonce = (consul->nonce + 1) & NONCE_MASK;
    str_set(frame_of(request)->session, SESSION_SIZE, consul->session.id);
    struct consulproto_txn txn = txn_of(consul, request);
    char *body = consulproto_txn_text(&txn);
    struct consul_question question = {.method = HTTP_PUT,
                                       .path = "/v1/txn",
                                       .query = "consistent", /* of checks alone */
                                       .body = body,
                                       .timeout_ms = left_ms};
    frame_of(request)->http = consul_ask(consul, &question, txn_answered, request->id);
    free(body);
}

/* ---- the contract's functions ---- */

static void consul_read(struct dcs *dcs, struct dcs_request *request, int64_t timeout_ms)
{
    struct consul *consul = consul_of(dcs);
    struct dcs_call *call =
        dcs_pending_add(&consul->pending, request, timeout_ms + DEADLINE_SLACK_MS, 0);
    ASSERT(!call->attach);
    call_send(consul, request);
}

static enum localproto_op_type checked_type(enum dcs_op_type type)
{
    static const enum localproto_op_type types[] = {[DCS_OP_CHECK] = LOCALPROTO_CHECK,
                                                    [DCS_OP_PUT] = LOCALPROTO_PUT,
                                                    [DCS_OP_ATTACH] = LOCALPROTO_ATTACH,
                                                    [DCS_OP_DELETE] = LOCALPROTO_DELETE};
    ASSERT(type <= DCS_OP_DELETE);
    return types[type];
}

static enum consulproto_op_type sent_type(enum dcs_op_type type)
{
    static const enum consulproto_op_type types[] = {[DCS_OP_CHECK] = CONSULPROTO_CHECK,
                                                     [DCS_OP_PUT] = CONSULPROTO_PUT,
                                                     [DCS_OP_ATTACH] = CONSULPROTO_ATTACH,
                                                     [DCS_OP_DELETE] = CONSULPROTO_DELETE};
    ASSERT(type <= DCS_OP_DELETE);
    return types[type];
}

/* The same operations are well formed in every store. */
static enum err ops_check(const struct consul *consul, const struct dcs_op *ops, size_t count,
                          struct err_detail *detail)
{
    struct localproto_op copies[STORE_TXN_OPS_MAX];
    ASSERT(count <= STORE_TXN_OPS_MAX);
    for (size_t i = 0; i < count; i++) {
        bool valued = ops[i].type == DCS_OP_PUT || ops[i].type == DCS_OP_ATTACH;
        copies[i] = (struct localproto_op){.type = checked_type(ops[i].type),
                                           .key = ops[i].key,
                                           .value = ops[i].value,
                                           .value_size = valued ? strlen(ops[i].value) : 0,
                                           .version = ops[i].version};
    }
    return localproto_ops_check(copies, count, strlen(consul->base), detail);
}

static void consul_txn(struct dcs *dcs, struct dcs_request *request, const struct dcs_op *ops,
                       size_t count, int64_t timeout_ms)
{
    struct consul *consul = consul_of(dcs);
    struct err_detail detail = {0};
    struct dcs_call *call = dcs_pending_add(
        &consul->pending, request, timeout_ms + DEADLINE_SLACK_MS, sizeof(struct txn_frame));
    if (ops_check(consul, ops, count, &detail) != ERR_OK) {
        request->detail = detail;
        dcs_pending_fail(&consul->pending, request, ERR_INVALID);
        return;
    }
    struct txn_frame *frame = (void *)call->frame;
    frame->count = count;
    for (size_t i = 0; i < count; i++) {
        frame->ops[i] = (struct consulproto_op){.type = sent_type(ops[i].type),
                                                .key = ops[i].key,
                                                .value = ops[i].value,
                                                .version = ops[i].version};
        call->attach = call->attach || ops[i].type == DCS_OP_ATTACH;
    }
    ASSERT(frame->count > 0);
    call_send(consul, request);
}

static void consul_watch(struct dcs *dcs, dcs_watch_cb cb, void *arg)
{
    struct consul *consul = consul_of(dcs);
    ASSERT(consul->watch.cb == NULL && !consul->closing);
    consul->watch.cb = cb;
    consul->watch.arg = arg;
    consul_watch_start(consul);
}

static void set_ttl(struct dcs *dcs, int64_t ttl_ms)
{
    ASSERT(!consul_of(dcs)->closing);
    consul_session_set_ttl(consul_of(dcs), ttl_ms);
}

static const char *session_id(const struct dcs *dcs)
{
    ASSERT(!consul_of(dcs)->closing);
    return consul_of(dcs)->session.id;
}

/* ---- the end ---- */

static void strings_free(struct consul *consul)
{
    for (size_t i = 0; i < consul->check_count; i++) {
        free(consul->checks[i]);
    }
    free(consul->checks);
    free(consul->url);
    free(consul->token);
    free(consul->dc);
    free(consul->session_name);
}

static void handle_closed(void *arg)
{
    struct consul *consul = arg;
    ASSERT(consul->handles_open > 0);
    if (--consul->handles_open > 0) {
        return;
    }
    void (*closed_cb)(void *) = consul->closed_cb;
    void *closed_arg = consul->closed_arg;
    strings_free(consul);
    consul_service_fini(consul);
    free(consul);
    if (closed_cb != NULL) {
        closed_cb(closed_arg);
    }
}

static void timer_closed(uv_handle_t *handle)
{
    ASSERT(handle->data != NULL);
    handle_closed(handle->data);
}

static void consul_close(struct dcs *dcs, void (*closed_cb)(void *), void *arg)
{
    struct consul *consul = consul_of(dcs);
    ASSERT(!consul->closing);
    consul->closing = true;
    consul->closed_cb = closed_cb;
    consul->closed_arg = arg;
    for (struct dcs_request *request = consul->pending.first; request != NULL;
         request = request->next) {
        bool is_txn = request->txn_cb != NULL && request->sent && !dcs_call_of(request)->done;
        if (is_txn && !http_request_was_sent(frame_of(request)->http)) {
            request->sent = false; /* it only tried to connect */
        }
    }
    dcs_pending_close(&consul->pending, handle_closed, consul);
    http_client_destroy(consul->http, handle_closed, consul);
    uv_close((uv_handle_t *)&consul->retry, timer_closed);
    uv_close((uv_handle_t *)&consul->watch.retry, timer_closed);
    uv_close((uv_handle_t *)&consul->session.keepalive, timer_closed);
    uv_close((uv_handle_t *)&consul->service.retry, timer_closed);
}

/* ---- opening ---- */

static const struct dcs_ops consul_ops = {
    .read = consul_read,
    .txn = consul_txn,
    .watch = consul_watch,
    .session_set_ttl = set_ttl,
    .session_id = session_id,
    .announce = consul_service_announce,
    .close = consul_close,
};

static char *copy(const char *text)
{
    char *made = strdup(text);
    ASSERT(made != NULL);
    return made;
}

static void path_make(struct consul *consul)
{
    static const char hex[] = "0123456789ABCDEF";
    bool fits = str_copy(consul->path, sizeof(consul->path), "/v1/kv/");
    ASSERT(fits);
    char *out = consul->path + strlen(consul->path);
    for (const char *in = consul->prefix; *in != '\0'; in++) {
        unsigned char c = (unsigned char)*in;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     strchr("-._~/", c) != NULL;
        if (plain) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = hex[c >> 4];
            *out++ = hex[c & 15];
        }
    }
    *out = '\0';
}

static void timer_begin(struct consul *consul, uv_timer_t *timer)
{
    int rc = uv_timer_init(consul->loop, timer);
    ASSERT(rc == 0);
    timer->data = consul;
    consul->handles_open++;
}

static enum err options_check(const struct dcs_consul_options *options, struct err_detail *detail)
{
    ASSERT(options->config != NULL && options->session_name != NULL);
    const struct dcs_consul_config *config = options->config;
    if (!localproto_base_ok(options->base) || strlen(options->base) + 2 > STORE_KEY_SIZE) {
        return err_set(detail, ERR_INVALID, "bad prefix in the store: \"%.64s\"", options->base);
    }
    if (strncmp(config->url, "http://", 7) != 0 && strncmp(config->url, "https://", 8) != 0) {
        return err_set(detail, ERR_INVALID, "Consul's url is not one: \"%.64s\"", config->url);
    }
    if (strlen(config->url) >= URL_SIZE || strlen(config->token) > 256 || strlen(config->dc) > 64 ||
        strpbrk(config->token, "\r\n") != NULL ||
        config->dc[strcspn(config->dc, "&#?%/ ")] != '\0') {
        return err_set(detail, ERR_INVALID, "Consul's url, token or dc cannot be used");
    }
    return ERR_OK;
}

static void options_copy(struct consul *consul, const struct dcs_consul_options *options)
{
    const struct dcs_consul_config *config = options->config;
    ASSERT(config->url != NULL);
    consul->url = copy(config->url);
    consul->token = copy(config->token);
    consul->dc = copy(config->dc);
    consul->session_name = copy(options->session_name);
    consul->consistent = config->consistent;
    consul->observer = options->observer;
    consul->check_count = config->check_count;
    consul->checks = calloc(config->check_count + 1, sizeof(consul->checks[0]));
    ASSERT(consul->checks != NULL);
    for (size_t i = 0; i < config->check_count; i++) {
        consul->checks[i] = copy(config->checks[i]);
    }
    consul->session.ttl_ms = SESSION_TTL_DEFAULT_MS;
    consul->session.floor_ms =
        options->session_ttl_min_ms > 0 ? options->session_ttl_min_ms : SESSION_TTL_MIN_MS;
    bool fits = str_copy(consul->base, sizeof(consul->base), options->base) &&
                str_format(consul->prefix, sizeof(consul->prefix), "%s/", options->base + 1);
    ASSERT(fits); /* options_check */
    path_make(consul);
}

enum err dcs_consul_open(uv_loop_t *loop, const struct dcs_consul_options *options,
                         struct dcs **out_dcs, struct err_detail *detail)
{
    ASSERT(loop != NULL && out_dcs != NULL);
    enum err err = options_check(options, detail);
    if (err != ERR_OK) {
        return err;
    }
    struct consul *consul = calloc(1, sizeof(*consul));
    ASSERT(consul != NULL);
    consul->dcs.ops = &consul_ops;
    consul->loop = loop;
    options_copy(consul, options);
    ssize_t got = getrandom(&consul->nonce, sizeof(consul->nonce), 0);
    ASSERT(got == (ssize_t)sizeof(consul->nonce));
    const struct http_client_options http = {.ca_file = options->config->cacert,
                                             .cert_file = options->config->cert,
                                             .key_file = options->config->key,
                                             .insecure = !options->config->verify &&
                                                         options->config->cacert == NULL};
    consul->http = http_client_create(loop, &http);
    consul->handles_open = 2; /* that and pending */
    dcs_pending_init(&consul->pending, loop);
    timer_begin(consul, &consul->retry);
    timer_begin(consul, &consul->watch.retry);
    timer_begin(consul, &consul->session.keepalive);
    timer_begin(consul, &consul->service.retry);
    consul_service_init(consul, options->scope, options->name);
    consul_service_configure(consul, options->config);
    *out_dcs = &consul->dcs;
    return ERR_OK;
}

void dcs_consul_reload(struct dcs *dcs, const struct dcs_consul_config *config)
{
    ASSERT(dcs->ops == &consul_ops);
    struct consul *consul = consul_of(dcs);
    if (strlen(config->token) <= 256 && strpbrk(config->token, "\r\n") == NULL) {
        free(consul->token);
        consul->token = copy(config->token);
    }
    if (strlen(config->dc) <= 64 && config->dc[strcspn(config->dc, "&#?%/ ")] == '\0') {
        free(consul->dc);
        consul->dc = copy(config->dc);
    }
    consul->consistent = config->consistent;
    consul_service_configure(consul, config);
}
