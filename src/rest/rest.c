/* One table names the handlers by method and first path component; what is not in it is a health check
 * for GET, HEAD and OPTIONS, and not supported else. Access is checked at a request's head, before its
 * body is read. */
#include "rest/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/json.h"
#include "rest/health.h"

#define SETTINGS_MAX_BYTES 65536

/* ---- answers ---- */

void rest_get_view(struct rest *rest, struct rest_view *out_view)
{
    memset(out_view, 0, sizeof *out_view);
    rest->callbacks.view(rest->arg, out_view);
}

void rest_send_status(struct http_exchange *exchange, int status)
{
    http_exchange_answer(exchange, &(struct http_answer){.status = status});
}

void rest_send(struct rest *rest, struct http_exchange *exchange, const struct http_answer *answer)
{
    const struct rest_settings *settings = rest->settings;
    struct http_answer full = *answer;
    ASSERT(full.header_count + 1 + settings->header_count <= HTTP_ANSWER_HEADERS_MAX);
    full.headers[full.header_count++] = (struct http_header){"Server", settings->server_header};
    for (uint32_t i = 0; i < settings->header_count; i++) {
        full.headers[full.header_count++] = settings->headers[i];
    }
    http_exchange_answer(exchange, &full);
}

static void send_typed(struct rest *rest, struct http_exchange *exchange, int status,
                       const char *type, const char *text)
{
    rest_send(rest, exchange,
              &(struct http_answer){
                  .status = status, .content_type = type, .body = text, .body_size = strlen(text)});
}

void rest_send_text(struct rest *rest, struct http_exchange *exchange, int status, const char *text)
{
    send_typed(rest, exchange, status, "text/html", text);
}

void rest_send_json(struct rest *rest, struct http_exchange *exchange, int status, json_t *json)
{
    char *text = json_dumps(json, STATUS_JSON_FLAGS);
    ASSERT(text != NULL); /* only exhaustion of the heap */
    json_decref(json);
    send_typed(rest, exchange, status, "application/json", text);
    free(text);
}

void rest_send_error(struct rest *rest, struct http_exchange *exchange, int status,
                     const char *explanation)
{
    char page[1024];
    const char *phrase = http_status_phrase(status);
    bool fits = str_format(page, sizeof page,
                           "<!DOCTYPE HTML>\n<html>\n<head><title>Error response</title></head>\n"
                           "<body>\n<h1>Error response</h1>\n<p>Error code: %d</p>\n"
                           "<p>Message: %s.</p>\n<p>Explanation: %s.</p>\n</body>\n</html>\n",
                           status, phrase, explanation);
    ASSERT(fits); /* explanations are ours */
    send_typed(rest, exchange, status, "text/html;charset=utf-8", page);
}

/* ---- questions ---- */

static bool keep_tag(const char *name, const char *value, void *arg)
{
    struct health_query *query = arg;
    if (strncmp(name, "tag_", 4) != 0 || value == NULL || value[0] == '\0') {
        return true;
    }
    for (uint32_t i = 0; i < query->tag_count; i++) {
        if (str_equal(query->tags[i].name, name + 4)) {
            return true; /* only the first value counts */
        }
    }
    query->tags[query->tag_count++] = (struct health_tag){name + 4, value};
    return query->tag_count < HEALTH_TAGS_MAX;
}

static const char *argument(struct http_exchange *exchange, const char *name)
{
    const char *value = http_exchange_argument(exchange, name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static void read_query(struct http_exchange *exchange, struct health_query *out_query)
{
    *out_query = (struct health_query){
        .path = http_exchange_path(exchange),
        .lag = argument(exchange, "lag"),
        .replication_state = argument(exchange, "replication_state"),
        .mode = argument(exchange, "mode"),
    };
    http_exchange_arguments(exchange, keep_tag, out_query);
}

static void get_health(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    struct health_query query;
    rest_get_view(rest, &view);
    read_query(exchange, &query);
    int code = health_code(&view, rest->name, &query, mono_now());
    if (str_equal(http_exchange_method(exchange), "GET")) {
        rest_send_json(rest, exchange, code, document_patroni(rest, &view));
    } else {
        rest_send_status(exchange, code);
    }
}

static void get_liveness(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    rest_send_status(exchange, health_liveness(&view, mono_now()));
}

static void get_readiness(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    struct health_query query;
    rest_get_view(rest, &view);
    read_query(exchange, &query);
    rest_send_status(exchange, health_readiness(&view, &query, mono_now()));
}

static void get_patroni(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    rest_send_json(rest, exchange, 200, document_patroni(rest, &view));
}

static void get_cluster(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    if (view.cluster == NULL || view.cluster->reachable != TRI_YES) {
        rest_send_error(rest, exchange, 503, "The store does not answer");
        return;
    }
    rest_send_json(rest, exchange, 200, document_cluster(rest, &view));
}

static json_t *read_text(const char *text)
{
    return text != NULL ? json_read(text, strlen(text)) : NULL;
}

static void get_history(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    json_t *history = read_text(view.history_text);
    if (!json_is_array(history)) {
        json_decref(history);
        history = json_array();
    }
    rest_send_json(rest, exchange, 200, history);
}

static void send_object_or_502(struct rest *rest, struct http_exchange *exchange, const char *text,
                               const char *explanation)
{
    json_t *object = read_text(text);
    if (!json_is_object(object)) {
        json_decref(object);
        rest_send_error(rest, exchange, 502, explanation);
        return;
    }
    rest_send_json(rest, exchange, 200, object);
}

static void get_config(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    send_object_or_502(rest, exchange, view.config_text, "There is no usable /config");
}

static void get_failsafe(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    send_object_or_502(rest, exchange, view.failsafe_text, "There is no failsafe topology");
}

static void get_metrics(struct rest *rest, struct http_exchange *exchange)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    char *text = document_metrics(rest, &view);
    send_typed(rest, exchange, 200, "text/plain", text);
    free(text);
}

static void send_sigterm(struct rest *rest, struct http_exchange *exchange)
{
    rest_send_text(rest, exchange, 202, "shutdown scheduled"); /* which on Unix does nothing */
}

static void holdfast_get(struct rest *rest, struct http_exchange *exchange)
{
    if (!str_equal(http_exchange_path(exchange), "/holdfast/plans")) {
        rest_send_error(rest, exchange, 404, "There is no such document");
        return;
    }
    rest_send_json(rest, exchange, 200, document_plans(rest));
}

static void holdfast_post(struct rest *rest, struct http_exchange *exchange)
{
    if (!str_equal(http_exchange_path(exchange), "/holdfast/promise")) {
        rest_send_error(rest, exchange, 404, "There is no such order");
        return;
    }
    order_promise(rest, exchange);
}

/* ---- dispatch ---- */

enum access { OPEN, UNSAFE, PEERS }; /* PEERS: the members' part of the allowlist does not count */

struct route {
    const char *method;
    const char *component;
    enum access access;
    rest_handler handler;
};

static const struct route routes[] = {
    {"GET", "patroni", OPEN, get_patroni},
    {"GET", "liveness", OPEN, get_liveness},
    {"GET", "readiness", OPEN, get_readiness},
    {"GET", "cluster", OPEN, get_cluster},
    {"GET", "history", OPEN, get_history},
    {"GET", "config", OPEN, get_config},
    {"GET", "failsafe", OPEN, get_failsafe},
    {"GET", "metrics", OPEN, get_metrics},
    {"GET", "holdfast", OPEN, holdfast_get},
    {"POST", "failsafe", PEERS, order_failsafe},
    {"POST", "holdfast", PEERS, holdfast_post},
    {"PATCH", "config", UNSAFE, order_patch_config},
    {"PUT", "config", UNSAFE, order_put_config},
    {"POST", "reload", UNSAFE, order_reload},
    {"POST", "sigterm", UNSAFE, send_sigterm},
    {"POST", "switchover", UNSAFE, order_switchover},
    {"POST", "failover", UNSAFE, order_failover},
    {"DELETE", "switchover", UNSAFE, order_withdraw_switchover},
    /* Everything else of these methods. */
    {"GET", NULL, OPEN, get_health},
    {"HEAD", NULL, OPEN, get_health},
    {"OPTIONS", NULL, OPEN, get_health},
};

static const struct route *find_route(const struct http_exchange *exchange)
{
    const char *method = http_exchange_method(exchange);
    const char *path = http_exchange_path(exchange);
    path += strspn(path, "/");
    size_t length = strcspn(path, "/");
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        const char *component = routes[i].component;
        bool fits = component == NULL ||
                    (strlen(component) == length && strncmp(component, path, length) == 0);
        if (fits && str_equal(routes[i].method, method)) {
            return &routes[i];
        }
    }
    return NULL;
}

/* At the head: refuses what has no handler and who has no right. */
static bool on_head(struct http_exchange *exchange, void *arg)
{
    struct rest *rest = arg;
    const struct route *route = find_route(exchange);
    if (route == NULL) {
        rest_send_error(rest, exchange, 501, "Server does not support this operation");
        return true;
    }
    return route->access != OPEN && access_refuse(rest, exchange, route->access == UNSAFE);
}

static void on_request(struct http_exchange *exchange, void *arg)
{
    const struct route *route = find_route(exchange);
    ASSERT(route != NULL); /* refused at its head */
    route->handler(arg, exchange);
}

/* ---- settings ---- */

static void settings_free(struct rest_settings *settings)
{
    if (settings != NULL) {
        explicit_bzero(settings->auth, sizeof settings->auth);
        arena_fini(&settings->arena);
        free(settings);
    }
}

/* The header that a client with these credentials sends. */
static bool write_auth(const char *user_pass, char *out, size_t out_size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = strlen(user_pass);
    if (sizeof "Basic " + (size + 2) / 3 * 4 > out_size) {
        return false;
    }
    char *to = stpncpy(out, "Basic ", out_size);
    for (size_t i = 0; i < size; i += 3) {
        unsigned char in[3] = {0, 0, 0};
        size_t have = size - i < 3 ? size - i : 3;
        memcpy(in, user_pass + i, have);
        unsigned bits = (unsigned)in[0] << 16 | (unsigned)in[1] << 8 | in[2];
        *to++ = digits[bits >> 18];
        *to++ = digits[bits >> 12 & 63];
        *to++ = have > 1 ? digits[bits >> 6 & 63] : '=';
        *to++ = have > 2 ? digits[bits & 63] : '=';
    }
    *to = '\0';
    return true;
}

static const char *keep(struct rest_settings *settings, const char *text)
{
    return arena_strdup(&settings->arena, text != NULL ? text : "");
}

static enum err fill_settings(const struct rest_options *options, struct rest_settings *settings,
                              struct err_detail *detail)
{
    const char *server = options->server_header;
    settings->version = keep(settings, options->version);
    settings->server_header = keep(settings, server ? server : "Holdfast/" HOLDFAST_VERSION);
    settings->client_user_pass = keep(settings, options->client_user_pass);
    bool kept = settings->version && settings->server_header && settings->client_user_pass;
    if (options->header_count > REST_HEADERS_MAX) {
        return err_set(detail, ERR_INVALID, "restapi: more than %d headers", REST_HEADERS_MAX);
    }
    for (uint32_t i = 0; i < options->header_count; i++) {
        struct http_header *header = &settings->headers[i];
        header->name = keep(settings, options->header_names[i]);
        header->value = keep(settings, options->header_values[i]);
        kept = kept && header->name && header->value;
    }
    settings->header_count = options->header_count;
    const char *secret = options->user_pass;
    if (secret != NULL && secret[0] != '\0' &&
        !write_auth(secret, settings->auth, sizeof settings->auth)) {
        return err_set(detail, ERR_INVALID, "restapi.authentication is too long");
    }
    if (!kept) {
        return err_set(detail, ERR_NO_MEMORY, "restapi: texts of more than %d bytes",
                       SETTINGS_MAX_BYTES);
    }
    return access_read_networks(options, settings, detail);
}

static enum err settings_make(const struct rest_options *options, struct rest_settings **out,
                              struct err_detail *detail)
{
    struct rest_settings *settings = calloc(1, sizeof *settings);
    ASSERT(settings != NULL); /* heap exhaustion aborts */
    arena_init(&settings->arena, SETTINGS_MAX_BYTES);
    enum err err = fill_settings(options, settings, detail);
    if (err != ERR_OK) {
        settings_free(settings);
        return err;
    }
    *out = settings;
    return ERR_OK;
}

/* ---- life ---- */

static void server_gone(void *arg)
{
    (void)arg;
}

enum err rest_create(uv_loop_t *loop, const struct rest_options *options,
                     const struct rest_callbacks *callbacks, void *arg, struct rest **out_rest,
                     struct err_detail *detail)
{
    ASSERT(options->scope != NULL && options->name != NULL && options->version != NULL);
    ASSERT(callbacks->view != NULL && callbacks->promise_request != NULL);
    ASSERT(callbacks->write_failover != NULL && callbacks->write_config != NULL);
    ASSERT(callbacks->reload != NULL);
    struct rest *rest = calloc(1, sizeof *rest);
    ASSERT(rest != NULL); /* heap exhaustion aborts */
    rest->loop = loop;
    rest->client = options->client;
    rest->callbacks = *callbacks;
    rest->arg = arg;
    str_copy_cut(rest->scope, sizeof rest->scope, options->scope);
    str_copy_cut(rest->name, sizeof rest->name, options->name);
    enum err err = settings_make(options, &rest->settings, detail);
    if (err == ERR_OK) {
        struct http_server_options server = {
            .head_cb = on_head, .request_cb = on_request, .arg = rest};
        err = http_server_create(loop, &server, &rest->server, detail);
    }
    if (err == ERR_OK) {
        err = http_server_listen(rest->server, options->listen_host, options->listen_port, detail);
    }
    if (err != ERR_OK) {
        http_server_destroy(rest->server, server_gone, NULL);
        settings_free(rest->settings);
        free(rest);
        return err;
    }
    *out_rest = rest;
    return ERR_OK;
}

enum err rest_reconfigure(struct rest *rest, const struct rest_options *options,
                          struct err_detail *detail)
{
    struct rest_settings *settings = NULL;
    enum err err = settings_make(options, &settings, detail);
    if (err == ERR_OK) {
        err = http_server_listen(rest->server, options->listen_host, options->listen_port, detail);
    }
    if (err != ERR_OK) {
        settings_free(settings);
        return err;
    }
    settings_free(rest->settings);
    rest->settings = settings;
    return ERR_OK;
}

uint16_t rest_port(const struct rest *rest)
{
    return http_server_port(rest->server);
}

void rest_end_if_idle(struct rest *rest)
{
    if (!rest->closing || !rest->server_closed || rest->orders != NULL) {
        return;
    }
    void (*closed_cb)(void *) = rest->closed_cb;
    void *arg = rest->closed_arg;
    settings_free(rest->settings);
    free(rest);
    if (closed_cb != NULL) {
        closed_cb(arg);
    }
}

static void server_closed(void *arg)
{
    struct rest *rest = arg;
    rest->server_closed = true;
    rest_end_if_idle(rest);
}

void rest_destroy(struct rest *rest, void (*closed_cb)(void *arg), void *arg)
{
    if (rest == NULL) {
        return;
    }
    ASSERT(!rest->closing);
    rest->closing = true;
    rest->closed_cb = closed_cb;
    rest->closed_arg = arg;
    struct http_server *server = rest->server;
    http_server_destroy(server, server_closed, rest); /* orders hear that their exchange is gone */
}
