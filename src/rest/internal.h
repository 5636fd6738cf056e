/* rest/internal.h - what the files of this folder share.
 *
 * Purpose    struct rest, answers in the forms of compat/rest.md section 1, orders under way.
 * Ownership  struct rest owns its orders; an order ends when it was answered (or its client's
 *            connection is gone) and nothing of it is on the loop any more.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_REST_INTERNAL_H
#define HOLDFAST_REST_INTERNAL_H

#include <jansson.h>
#include <netinet/in.h>

#include "base/arena.h"
#include "net/http_server.h"
#include "rest/rest.h"

#define REST_ORDERS_MAX 64
#define REST_AUTH_SIZE 1024

struct rest_network {
    struct in6_addr address; /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;
};

/* What may change while it runs. */
struct rest_settings {
    struct arena arena;
    const char *version;
    const char *server_header;
    const char *client_user_pass;
    char auth[REST_AUTH_SIZE]; /* the Authorization header expected; "" none */
    uint32_t network_count;
    struct rest_network networks[REST_ALLOWLIST_MAX];
    bool include_members;
    uint32_t header_count;
    struct http_header headers[REST_HEADERS_MAX];
};

struct rest_order;

struct rest {
    uv_loop_t *loop;
    struct http_server *server;
    struct http_client *client;
    struct rest_callbacks callbacks;
    void *arg;
    char scope[NAME_SIZE];
    char name[NAME_SIZE];
    struct rest_settings *settings;
    struct rest_order *orders;
    uint32_t order_count;
    uint64_t last_id;
    bool closing;
    bool server_closed;
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

/* ---- answers: rest.c ---- */

void rest_get_view(struct rest *rest, struct rest_view *out_view);
void rest_send_status(struct http_exchange *exchange, int status);
void rest_send_text(struct rest *rest, struct http_exchange *exchange, int status,
                    const char *text);
/* Takes the reference. */
void rest_send_json(struct rest *rest, struct http_exchange *exchange, int status, json_t *json);
/* A small HTML page. */
void rest_send_error(struct rest *rest, struct http_exchange *exchange, int status,
                     const char *explanation);
/* The text of type text/plain, text/html ... with one header more (NULL: none). */
void rest_send(struct rest *rest, struct http_exchange *exchange, const struct http_answer *answer);
/* The last part of destroying, when nothing is left. */
void rest_end_if_idle(struct rest *rest);

/* ---- access.c ---- */

enum err access_read_networks(const struct rest_options *options, struct rest_settings *settings,
                              struct err_detail *detail) MUST_CHECK;
/* True: refused, and answered. members: whether allowlist_include_members counts here. */
bool access_refuse(struct rest *rest, struct http_exchange *exchange, bool members);

/* ---- documents.c ---- */

json_t *document_patroni(struct rest *rest, const struct rest_view *view);
json_t *document_cluster(struct rest *rest, const struct rest_view *view);
json_t *document_plans(struct rest *rest);
/* To be freed. */
char *document_metrics(struct rest *rest, const struct rest_view *view);

/* ---- orders.c, switchover.c ---- */

typedef void (*rest_handler)(struct rest *rest, struct http_exchange *exchange);

void order_promise(struct rest *rest, struct http_exchange *exchange);
void order_failsafe(struct rest *rest, struct http_exchange *exchange);
void order_patch_config(struct rest *rest, struct http_exchange *exchange);
void order_put_config(struct rest *rest, struct http_exchange *exchange);
void order_reload(struct rest *rest, struct http_exchange *exchange);
void order_switchover(struct rest *rest, struct http_exchange *exchange);
void order_failover(struct rest *rest, struct http_exchange *exchange);
void order_withdraw_switchover(struct rest *rest, struct http_exchange *exchange);

enum order_kind { ORDER_PROMISE, ORDER_CONFIG, ORDER_SWITCHOVER, ORDER_WITHDRAW };

struct order_probe {
    struct rest_order *order;
    bool leader; /* asks the leader, not a candidate */
    struct http_request request;
};

#define ORDER_PROBES_MAX (MEMBERS_MAX + 1) /* candidates, and the leader */

/* A request that waits for something. */
struct rest_order {
    struct rest *rest;
    struct rest_order *next;
    struct rest_order *prev;
    uint64_t id;
    enum order_kind kind;
    struct http_exchange *exchange; /* NULL: answered, or gone */
    uv_timer_t timer;
    bool closing;
    /* ORDER_CONFIG */
    json_t *config;
    bool replace;
    /* ORDER_SWITCHOVER */
    struct core_failover failover;
    bool manual;          /* a failover in its texts */
    bool written;         /* handed to the agent */
    bool confirmed;       /* and the agent has told its outcome */
    bool seen;            /* /failover was in a view since it was written */
    uint64_t revision;    /* of the write; 0: unknown */
    char from[NAME_SIZE]; /* leader at the time of the order */
    int64_t wait_ms;
    uint32_t probes_left;
    bool candidate_good;
    bool leader_awaited; /* paused: the leader itself has to carry it out */
    struct order_probe probes[ORDER_PROBES_MAX];
};

/* NULL, and the exchange answered with 503, when too many are under way. Held, and ended after
 * timeout_ms by order_timeout. */
struct rest_order *order_begin(struct rest *rest, struct http_exchange *exchange,
                               enum order_kind kind, int64_t timeout_ms);
/* Before or after answering. Frees it once nothing of it is under way. */
void order_end(struct rest_order *order);
/* Answers with text and ends it. */
void order_finish(struct rest_order *order, int status, const char *text);
/* The JSON object of the body, or NULL and answered. */
json_t *order_body(struct rest *rest, struct http_exchange *exchange);

void switchover_written(struct rest_order *order, enum err err, uint64_t revision);
void switchover_look(struct rest_order *order);
void switchover_timeout(struct rest_order *order);

#endif
