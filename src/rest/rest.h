/* rest/rest.h - the REST API of one node.
 *
 * Purpose    health checks, documents and orders over HTTP, as the outside knows them from Patroni,
 *            and Holdfast's own questions between agents. Decides nothing: it shows a view that the
 *            agent fills in and hands orders to callbacks.
 * Ownership  options are copied. What a view points to stays the agent's and must be good until the
 *            next turn of the loop. Texts given to callbacks live until they return.
 * Errors     creating and listening: as http_server_listen. Outcomes of orders: as base/err.h.
 * Callbacks  run on the loop, never inside rest_create; they may answer (rest_done,
 *            rest_answer_promise) at once or later, each request_id once; an id that has been given up
 *            (timeout, end) is ignored.
 * Units      milliseconds; LSNs in bytes.
 * Threads    loop thread only.
 * Source     compat/rest.md; design L9 (promises), section 8.
 */
#ifndef HOLDFAST_REST_REST_H
#define HOLDFAST_REST_REST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/time.h"
#include "codec/members.h"
#include "codec/records.h"
#include "codec/status.h"
#include "core/view.h"
#include "net/http_client.h"

struct rest;

struct rest_member {
    struct member_info info;
    const char *json; /* the member key's value; NULL: none */
};

/* What is known now; pointers are borrowed. */
struct rest_view {
    struct status_postgres postgres;
    const struct core_cluster *cluster; /* as last seen, however old; NULL: never seen */
    struct mono cluster_seen_at;        /* when the store last told its content (or confirmed it) */
    int64_t cluster_seen_wall_s;        /* the same since 1970; 0: never */
    struct records_sync sync;           /* /sync */
    bool synchronous_mode;
    bool quorum_mode; /* synchronous_mode: quorum */
    bool standby_cluster;
    uint32_t member_count;
    const struct rest_member *members; /* sorted by name */
    const char *config_text;           /* /config, /history, /failsafe as stored; NULL: absent */
    const char *history_text;
    const char *failsafe_text;
    uint64_t config_version;
    bool is_leader; /* core_is_leader */
    bool failsafe_active;
    bool watchdog_failed;
    bool noloadbalance;
    int32_t failover_priority; /* 0 with nofailover */
    const char *tags_json;     /* own effective tags; NULL: none */
    struct mono next_step_at;  /* when the core is to be stepped next (plan.wake_at) */
};

struct rest_plan {
    struct wall at;
    char text[200];
};

#define REST_PLANS_MAX 64

struct rest_callbacks {
    /* Fills in a zeroed view. */
    void (*view)(void *arg, struct rest_view *out_view);
    /* The last plans, oldest first; returns how many. NULL: none are shown. */
    uint32_t (*plans)(void *arg, struct rest_plan out_plans[REST_PLANS_MAX]);
    /* A peer asks for a promise: rest_answer_promise(request->request_id). */
    void (*promise_request)(void *arg, const struct core_promise_request *request);
    /* Write /failover whatever stands there, or, when leader and candidate are both "", withdraw the
     * order whose version is order->version: rest_done with the store's revision. */
    void (*write_failover)(void *arg, uint64_t request_id, const struct core_failover *order);
    /* Write /config, conditional on the version when asked: rest_done. */
    void (*write_config)(void *arg, uint64_t request_id, const char *json, bool conditional,
                         uint64_t version);
    /* A primary without a store (Patroni's form of the question) says that it lives; to be remembered
     * for ttl. NULL: ignored. */
    void (*failsafe_heard)(void *arg, const char *name, const char *conn_url, const char *api_url);
    /* As SIGHUP. */
    void (*reload)(void *arg);
};

#define REST_ALLOWLIST_MAX 64
#define REST_HEADERS_MAX 8

struct rest_options {
    const char *scope;
    const char *name;
    const char *version;     /* "4.1.4": dotted numbers, shown as patroni.version */
    const char *listen_host; /* "*" all */
    uint16_t listen_port;
    const char *user_pass; /* "user:password" that unsafe requests must show; NULL or "": none */
    const char *const *allowlist; /* addresses and networks "10.0.0.0/8"; may be NULL */
    uint32_t allowlist_count;
    bool allowlist_include_members;
    const char *server_header;       /* NULL: "Holdfast/<version of this program>" */
    const char *const *header_names; /* added to every answer that has a body */
    const char *const *header_values;
    uint32_t header_count;
    /* For the look at candidates before a switchover. */
    struct http_client *client;
    const char *client_user_pass;
};

/* Listens at once. Rejects an allowlist entry that is no address (ERR_INVALID). */
enum err rest_create(uv_loop_t *loop, const struct rest_options *options,
                     const struct rest_callbacks *callbacks, void *arg, struct rest **out_rest,
                     struct err_detail *detail) MUST_CHECK;

/* New options (scope, name and client stay); on error the old ones stay in force. */
enum err rest_reconfigure(struct rest *rest, const struct rest_options *options,
                          struct err_detail *detail) MUST_CHECK;

/* The port listened on. */
uint16_t rest_port(const struct rest *rest);

/* The view may have changed: orders that wait look again. Costs nothing when none waits. */
void rest_changed(struct rest *rest);

/* The outcome of write_failover or write_config; revision: the store's after an applied write, else
 * 0. */
void rest_done(struct rest *rest, uint64_t request_id, enum err err, uint64_t revision);

void rest_answer_promise(struct rest *rest, uint64_t request_id, bool granted);

/* closed_cb (may be NULL) comes on a later turn, then the memory is gone. NULL is accepted: closed_cb
 * is not called then. Callbacks are not called any more. */
void rest_destroy(struct rest *rest, void (*closed_cb)(void *arg), void *arg);

#endif
