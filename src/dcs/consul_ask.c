/* Every question is a request of its own on the heap, so that an owner whose deadline is over can go:
 * what comes late finds nobody. Writes go over fresh connections, for on a kept one the client library
 * would repeat by itself what had no answer, and a repeated compare-and-set tells a lie.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"
#include "dcs/consul_internal.h"

#define RETRY_FIRST_MS 20
#define RETRY_MAX_MS 200
#define RETRY_STEPS_MAX 5

struct exchange {
    struct http_request http;
    struct consul *consul;
    consul_answer_cb cb;
    uint64_t id;
};

uint64_t consul_backoff_ms(unsigned failures)
{
    if (failures == 0) {
        return 0;
    }
    uint64_t wait_ms = (uint64_t)RETRY_FIRST_MS
                       << ((failures < RETRY_STEPS_MAX ? failures : RETRY_STEPS_MAX) - 1);
    ASSERT(wait_ms >= RETRY_FIRST_MS);
    return wait_ms < RETRY_MAX_MS ? wait_ms : RETRY_MAX_MS;
}

static bool words_denied(const char *body)
{
    return strstr(body, "ACL not found") != NULL || strstr(body, "Permission denied") != NULL;
}

bool consul_reply_denied(const struct consul_reply *reply)
{
    return reply->err == ERR_OK && reply->reply->status == 403 && words_denied(reply->reply->body);
}

/* One line of what Consul said. */
static void why_of(const struct exchange *exchange, const struct http_reply *reply,
                   struct err_detail *out)
{
    const struct consul *consul = exchange->consul;
    char said[96];
    str_copy_cut(said, sizeof(said), reply->body);
    said[strcspn(said, "\r\n")] = '\0';
    for (char *at = said; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at == 0x7F) {
            *at = '?';
        }
    }
    if (reply->status == 403 && words_denied(reply->body)) {
        (void)err_set(out, ERR_REFUSED,
                      "Consul refuses consul.token: %s; remedy: a token that may write key_prefix "
                      "\"%s\" and sessions",
                      said, consul->prefix);
    } else {
        (void)err_set(out, ERR_UNREACHABLE, "Consul at %s answers %d%s%s", consul->url,
                      reply->status, said[0] == '\0' ? "" : ": ", said);
    }
}

static void answered(struct http_request *request, enum err err, const struct http_reply *reply,
                     void *arg)
{
    struct exchange *exchange = arg;
    struct consul *consul = exchange->consul;
    ASSERT(request == &exchange->http);
    if (consul->closing) {
        free(exchange);
        return;
    }
    struct err_detail why = {0};
    struct consul_reply answer = {.err = err, .reply = reply, .why = why.text};
    if (err == ERR_OK) {
        why_of(exchange, reply, &why);
        if (reply->header == NULL || !str_to_u64(reply->header, &answer.index)) {
            answer.index = 0;
        }
    } else {
        (void)err_set(&why, err, "Consul at %s: %s", consul->url, request->detail.text);
    }
    exchange->cb(consul, exchange->id, &answer);
    free(exchange);
}

/* dc is part of every question. */
static void query_make(const struct consul *consul, const char *query, char *out, size_t out_size)
{
    bool dc = consul->dc[0] != '\0';
    bool fits = str_format(out, out_size, "%s%s%s%s%s", query[0] != '\0' || dc ? "?" : "", query,
                           query[0] != '\0' && dc ? "&" : "", dc ? "dc=" : "", consul->dc);
    ASSERT(fits); /* dc is checked where it comes in */
}

const struct http_request *consul_ask(struct consul *consul, const struct consul_question *question,
                                      consul_answer_cb cb, uint64_t id)
{
    ASSERT(!consul->closing);
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    ASSERT(exchange != NULL);
    exchange->consul = consul;
    exchange->cb = cb;
    exchange->id = id;
    char query[256];
    query_make(consul, question->query, query, sizeof(query));
    char url[URL_SIZE + sizeof(consul->path) + sizeof(query)];
    bool fits = str_format(url, sizeof(url), "%s%s%s", consul->url, question->path, query);
    ASSERT(fits);
    char token[512] = "";
    if (consul->token[0] != '\0') {
        fits = str_format(token, sizeof(token), "X-Consul-Token: %s", consul->token);
        ASSERT(fits); /* checked where it comes in */
    }
    const char *const headers[] = {token[0] != '\0' ? token : NULL, NULL};
    struct http_call call = {.method = question->method,
                             .url = url,
                             .body = question->body,
                             .headers = headers,
                             .header = "X-Consul-Index",
                             .timeout_ms = question->timeout_ms > 0 ? question->timeout_ms : 1,
                             .body_max = question->body_max};
    http_request_start(consul->http, &exchange->http, &call, answered, exchange);
    return &exchange->http;
}
