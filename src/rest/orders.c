/* What changes something: an order is handed to the agent with a number and waits, held by its
 * exchange, until the agent gives the number back or the order's time is over. */
#include "rest/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "codec/json.h"
#include "rest/health.h"

#define CONFIG_WAIT_MS 10000
#define PROMISE_WAIT_MS_MAX 30000 /* longer than anybody asks for one */

/* ---- life of an order ---- */

static void order_closed(uv_handle_t *handle)
{
    struct rest_order *order = handle->data;
    struct rest *rest = order->rest;
    if (order->prev != NULL) {
        order->prev->next = order->next;
    } else {
        rest->orders = order->next;
    }
    if (order->next != NULL) {
        order->next->prev = order->prev;
    }
    rest->order_count--;
    json_decref(order->config);
    free(order);
    rest_end_if_idle(rest);
}

void order_end(struct rest_order *order)
{
    if (!order->closing) {
        order->closing = true;
        (void)uv_timer_stop(&order->timer); /* an initialised timer can always be stopped */
        for (uint32_t i = 0; i < ORDER_PROBES_MAX; i++) {
            http_request_cancel(&order->probes[i].request);
        }
    }
    if (order->probes_left == 0 && !uv_is_closing((uv_handle_t *)&order->timer)) {
        uv_close((uv_handle_t *)&order->timer, order_closed);
    }
}

void order_finish(struct rest_order *order, int status, const char *text)
{
    if (order->exchange != NULL) {
        rest_send_text(order->rest, order->exchange, status, text);
        order->exchange = NULL;
    }
    order_end(order);
}

static void exchange_gone(struct http_exchange *exchange, void *arg)
{
    struct rest_order *order = arg;
    ASSERT(order->exchange == exchange);
    order->exchange = NULL;
    order_end(order);
}

static void order_timeout(uv_timer_t *timer)
{
    struct rest_order *order = timer->data;
    switch (order->kind) {
    case ORDER_PROMISE:
        order_finish(order, 503, "no answer in time");
        return;
    case ORDER_CONFIG:
        order_finish(order, order->replace ? 502 : 503, "the store does not answer");
        return;
    case ORDER_WITHDRAW:
        order_finish(order, 503, "the store does not answer");
        return;
    case ORDER_SWITCHOVER:
        switchover_timeout(order);
        return;
    }
    UNREACHABLE();
}

struct rest_order *order_begin(struct rest *rest, struct http_exchange *exchange,
                               enum order_kind kind, int64_t timeout_ms)
{
    if (rest->order_count >= REST_ORDERS_MAX) {
        rest_send_text(rest, exchange, 503, "too many orders under way");
        return NULL;
    }
    struct rest_order *order = calloc(1, sizeof *order);
    ASSERT(order != NULL); /* heap exhaustion aborts */
    order->rest = rest;
    order->kind = kind;
    order->exchange = exchange;
    order->id = ++rest->last_id;
    order->next = rest->orders;
    if (order->next != NULL) {
        order->next->prev = order;
    }
    rest->orders = order;
    rest->order_count++;
    (void)uv_timer_init(rest->loop, &order->timer); /* cannot fail */
    order->timer.data = order;
    uv_update_time(rest->loop);
    (void)uv_timer_start(&order->timer, order_timeout, (uint64_t)timeout_ms, 0);
    http_exchange_hold(exchange, exchange_gone, order);
    return order;
}

static struct rest_order *order_find(struct rest *rest, uint64_t id)
{
    for (struct rest_order *order = rest->orders; order != NULL; order = order->next) {
        if (order->id == id && !order->closing) {
            return order;
        }
    }
    return NULL;
}

void rest_changed(struct rest *rest)
{
    struct rest_order *next;
    for (struct rest_order *order = rest->orders; order != NULL; order = next) {
        next = order->next;
        if (order->kind == ORDER_SWITCHOVER && !order->closing) {
            switchover_look(order);
        }
    }
}

json_t *order_body(struct rest *rest, struct http_exchange *exchange)
{
    if (http_exchange_header(exchange, "Content-Length") == NULL &&
        http_exchange_header(exchange, "Transfer-Encoding") == NULL) {
        rest_send_error(rest, exchange, 411, "Content-Length is missing");
        return NULL;
    }
    size_t size;
    const char *body = http_exchange_body(exchange, &size);
    json_t *object = json_read_object(body, size);
    if (object == NULL || json_object_size(object) == 0) {
        json_decref(object);
        rest_send_error(rest, exchange, 400, "The body is not a JSON object with something in it");
        return NULL;
    }
    return object;
}

/* ---- promises ---- */

void order_promise(struct rest *rest, struct http_exchange *exchange)
{
    size_t size;
    const char *body = http_exchange_body(exchange, &size);
    struct core_promise_request request = {0};
    struct err_detail detail;
    if (status_promise_read_ask(body, size, &request, &detail) != ERR_OK) {
        rest_send_error(rest, exchange, 400, detail.text);
        return;
    }
    int64_t wait_ms = request.ttl_ms;
    wait_ms = wait_ms < PROMISE_WAIT_MS_MAX ? wait_ms : PROMISE_WAIT_MS_MAX;
    struct rest_order *order = order_begin(rest, exchange, ORDER_PROMISE, wait_ms);
    if (order != NULL) {
        request.request_id = order->id;
        rest->callbacks.promise_request(rest->arg, &request);
    }
}

void rest_answer_promise(struct rest *rest, uint64_t request_id, bool granted)
{
    struct rest_order *order = order_find(rest, request_id);
    if (order == NULL || order->exchange == NULL) {
        return; /* given up */
    }
    ASSERT(order->kind == ORDER_PROMISE);
    struct status_promise_answer answer = {.granted = granted};
    str_copy_cut(answer.name, sizeof answer.name, rest->name);
    char *text = status_promise_answer(&answer);
    rest_send(rest, order->exchange,
              &(struct http_answer){.status = 200,
                                    .content_type = "application/json",
                                    .body = text,
                                    .body_size = strlen(text)});
    free(text);
    order->exchange = NULL;
    order_end(order);
}

/* Patroni's form: a primary without a store tells its members that it lives. */
void order_failsafe(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    if (view.cluster == NULL || !view.cluster->settings.failsafe_mode) {
        rest_send_error(rest, exchange, 502, "failsafe_mode is off");
        return;
    }
    json_t *body = order_body(rest, exchange);
    if (body == NULL) {
        return;
    }
    const struct status_postgres *postgres = &view.postgres;
    const char *name = json_text(body, "name");
    const char *conn_url = json_text(body, "conn_url");
    const char *api_url = json_text(body, "api_url");
    if (str_equal(postgres->role, "primary") && postgres->process) {
        rest_send_text(rest, exchange, 500, "Running as a leader");
    } else if (name == NULL || name[0] == '\0') {
        rest_send_error(rest, exchange, 400, "name is missing");
    } else {
        if (rest->callbacks.failsafe_heard != NULL) {
            rest->callbacks.failsafe_heard(rest->arg, name, conn_url != NULL ? conn_url : "",
                                           api_url != NULL ? api_url : "");
        }
        uint64_t lsn = postgres->received_lsn > postgres->replayed_lsn ? postgres->received_lsn
                                                                       : postgres->replayed_lsn;
        char text[24];
        bool fits = str_format(text, sizeof text, "%llu", (unsigned long long)lsn);
        ASSERT(fits);
        rest_send(rest, exchange,
                  &(struct http_answer){.status = 200,
                                        .content_type = "text/html",
                                        .body = "Accepted",
                                        .body_size = strlen("Accepted"),
                                        .header_count = lsn != 0 ? 1 : 0,
                                        .headers = {{"lsn", text}}});
    }
    json_decref(body);
}

void order_reload(struct rest *rest, struct http_exchange *exchange)
{
    rest_send_text(rest, exchange, 202, "reload scheduled");
    rest->callbacks.reload(rest->arg);
}

/* ---- /config ---- */

/* Scalars whose text is the same: 5 and "5". */
static bool same_value(const json_t *a, const json_t *b)
{
    if (json_equal(a, b)) {
        return true;
    }
    AUTO_ARENA struct arena arena;
    arena_init(&arena, (size_t)HTTP_BODY_MAX * 2);
    const char *text_a = json_scalar_text(a, &arena);
    const char *text_b = json_scalar_text(b, &arena);
    return text_a != NULL && text_b != NULL && str_equal(text_a, text_b);
}

/* True: config changed. */
static bool patch_object(json_t *config, json_t *patch)
{
    bool changed = false;
    const char *key;
    json_t *value;
    json_object_foreach(patch, key, value)
    {
        json_t *old = json_object_get(config, key);
        if (json_is_null(value)) {
            changed |= json_object_del(config, key) == 0;
        } else if (json_is_object(old) && json_is_object(value)) {
            changed |= patch_object(old, value);
        } else if (old == NULL || !same_value(old, value)) {
            int rc = json_object_set_new(config, key, json_deep_copy(value));
            ASSERT(rc == 0);
            changed = true;
        }
    }
    return changed;
}

static void write_config(struct rest *rest, struct http_exchange *exchange, json_t *config,
                         bool replace, uint64_t version)
{
    struct rest_order *order = order_begin(rest, exchange, ORDER_CONFIG, CONFIG_WAIT_MS);
    if (order == NULL) {
        json_decref(config);
        return;
    }
    order->config = config;
    order->replace = replace;
    char *text = json_dumps(config, STATUS_JSON_FLAGS | JSON_COMPACT);
    ASSERT(text != NULL);
    rest->callbacks.write_config(rest->arg, order->id, text, !replace, version);
    free(text);
}

static json_t *current_config(const struct rest_view *view)
{
    const char *text = view->config_text;
    return text != NULL ? json_read_object(text, strlen(text)) : NULL;
}

void order_patch_config(struct rest *rest, struct http_exchange *exchange)
{
    json_t *patch = order_body(rest, exchange);
    if (patch == NULL) {
        return;
    }
    struct rest_view view;
    rest_get_view(rest, &view);
    json_t *config = current_config(&view);
    if (config == NULL || view.cluster == NULL || view.cluster->reachable != TRI_YES) {
        rest_send_error(rest, exchange, 503, "There is no usable /config");
        json_decref(config);
    } else if (patch_object(config, patch)) {
        write_config(rest, exchange, config, false, view.config_version);
    } else {
        rest_send_json(rest, exchange, 200, config);
    }
    json_decref(patch);
}

void order_put_config(struct rest *rest, struct http_exchange *exchange)
{
    json_t *wanted = order_body(rest, exchange);
    if (wanted == NULL) {
        return;
    }
    struct rest_view view;
    rest_get_view(rest, &view);
    json_t *config = current_config(&view);
    bool same = config != NULL && json_equal(config, wanted);
    json_decref(config);
    if (same) {
        rest_send_json(rest, exchange, 200, wanted);
    } else {
        write_config(rest, exchange, wanted, true, 0);
    }
}

static void config_written(struct rest_order *order, enum err err)
{
    if (err != ERR_OK) {
        bool conflict = err == ERR_CONFLICT && !order->replace;
        int status = order->replace ? 502 : conflict ? 409 : 503;
        order_finish(order, status,
                     conflict ? "the configuration was changed meanwhile"
                              : "the configuration could not be written");
        return;
    }
    json_t *config = order->config;
    order->config = NULL;
    rest_send_json(order->rest, order->exchange, 200, config);
    order->exchange = NULL;
    order_end(order);
}

void rest_done(struct rest *rest, uint64_t request_id, enum err err, uint64_t revision)
{
    struct rest_order *order = order_find(rest, request_id);
    if (order == NULL || order->exchange == NULL) {
        return; /* given up */
    }
    switch (order->kind) {
    case ORDER_CONFIG:
        config_written(order, err);
        return;
    case ORDER_SWITCHOVER:
        switchover_written(order, err, revision);
        return;
    case ORDER_WITHDRAW:
        if (err == ERR_OK) {
            order_finish(order, 200, "scheduled switchover deleted");
        } else if (err == ERR_CONFLICT) {
            order_finish(order, 409, "the scheduled switchover was changed meanwhile");
        } else {
            order_finish(order, 503, "the store does not answer");
        }
        return;
    case ORDER_PROMISE:
        break;
    }
    UNREACHABLE(); /* promises are answered with rest_answer_promise */
}
