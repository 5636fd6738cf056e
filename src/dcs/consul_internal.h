/* dcs/consul_internal.h - one client of Consul, between its files.
 *
 * Purpose    consul.c has the contract, consul_ask.c the way to Consul and what a status means,
 *            consul_read.c what a prefix holds, consul_watch.c the blocking queries,
 *            consul_session.c the session, consul_service.c the catalogue.
 * Ownership  struct consul is freed when all of its handles are closed.
 * Callbacks  a consul_answer_cb comes on a later turn, and not at all after dcs_close.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_DCS_CONSUL_INTERNAL_H
#define HOLDFAST_DCS_CONSUL_INTERNAL_H

#include "codec/consulproto.h"
#include "dcs/consul.h"
#include "dcs/pending.h"
#include "net/http_client.h"

#define CONSUL_MARK                                                                                \
    "store_id" /* the key whose value tells this store from another or a wiped one */
#define CONSUL_OWN_TIMEOUT_MS 5000 /* of questions that nobody's deadline bounds */

struct consul_watch {
    dcs_watch_cb cb;
    void *arg;
    bool asking;
    bool up;
    uint64_t index; /* changes after it are wanted; 0: all, by a linearizable read */
    unsigned failures;
    uv_timer_t retry;
};

struct consul_session {
    char id[SESSION_SIZE]; /* "": none */
    int64_t ttl_ms;        /* as the owner wants it */
    int64_t floor_ms;      /* nothing below it is asked for */
    bool creating;
    bool renewing;
    bool told; /* that none can be had */
    uv_timer_t keepalive;
};

struct consul_service {
    bool on;        /* register_service */
    char name[256]; /* "": the scope gives none */
    char id[2 * NAME_SIZE + 2];
    char **tags;
    size_t tag_count;
    char *check_interval;
    char *check_tls_server_name;
    char *wanted;      /* the body as it should be registered; NULL: not at all */
    char role_tag[32]; /* of wanted */
    uint64_t leader_version;
    char *sending;    /* the body of the registration under way */
    char *registered; /* the body that Consul's agent took last; NULL: none that we know of */
    bool asking;
    bool watching;
    bool correcting;
    bool told;
    uint64_t index; /* of the catalogue's last answer; 0: all is wanted */
    unsigned failures;
    uv_timer_t retry;
};

struct consul {
    struct dcs dcs;
    uv_loop_t *loop;
    struct http_client *http;
    char *url;
    char *token;
    char *dc;
    char *session_name;
    char **checks;
    size_t check_count;
    bool consistent;
    bool observer;
    char base[STORE_KEY_SIZE];          /* "/service/demo" */
    char prefix[STORE_KEY_SIZE];        /* "service/demo/" */
    char path[3 * STORE_KEY_SIZE + 16]; /* "/v1/kv/service/demo/", escaped */

    struct dcs_pending pending;
    uv_timer_t retry; /* for calls that could not be sent */
    unsigned failures;
    unsigned handles_open;
    bool closing;
    void (*closed_cb)(void *arg);
    void *closed_arg;

    uint64_t nonce;
    bool marking;              /* the mark is being written */
    uint64_t told_revision;    /* of the last snapshot that was read */
    uint64_t told_fingerprint; /* of its keys, versions and values */
    struct consul_watch watch;
    struct consul_session session;
    struct consul_service service;
};

static inline struct consul *consul_of(const struct dcs *dcs)
{
    return (struct consul *)(uintptr_t)dcs; /* its first member */
}

/* ---- consul_ask.c ---- */

struct consul_question {
    enum http_method method;
    const char *path;  /* "/v1/txn" */
    const char *query; /* "consistent", without dc; "" none */
    const char *body;  /* NULL: none */
    int64_t timeout_ms;
    size_t body_max;
};

struct consul_reply {
    enum err err;                   /* ERR_OK: an answer of whatever status came */
    const struct http_reply *reply; /* NULL unless ERR_OK */
    uint64_t index;                 /* the prefix's; 0: none was told */
    const char *why;                /* for people, when it is no plain success */
};

/* id is the owner's own. */
typedef void (*consul_answer_cb)(struct consul *consul, uint64_t id,
                                 const struct consul_reply *reply);

/* The answer is good until the callback. */
const struct http_request *consul_ask(struct consul *consul, const struct consul_question *question,
                                      consul_answer_cb cb, uint64_t id);

/* The token may not do this: 403 in Consul's own words. */
bool consul_reply_denied(const struct consul_reply *reply);

/* 0 at once, then 20, 40, 80, 160, 200 ms. */
uint64_t consul_backoff_ms(unsigned failures);

/* ---- consul_read.c ---- */

enum consul_read_verdict {
    CONSUL_READ_OK,
    CONSUL_READ_MARKING, /* the store has no mark yet: it is being written, ask again after it */
    CONSUL_READ_REFUSED, /* why is set */
    CONSUL_READ_FAILED,  /* why is set; ask again */
};

struct consul_snapshot {
    struct dcs_snapshot snapshot; /* items are owned */
    struct consulproto_tree tree;
};

/* What an answer to GET on the prefix says. On CONSUL_READ_OK the snapshot is to be finished. */
enum consul_read_verdict consul_read_reply(struct consul *consul, const struct consul_reply *reply,
                                           struct consul_snapshot *out, struct err_detail *why);

void consul_snapshot_fini(struct consul_snapshot *snapshot);

/* ---- consul_watch.c ---- */

void consul_watch_start(struct consul *consul);

/* ---- consul_session.c ---- */

/* Makes one unless one is in force or being made. */
void consul_session_need(struct consul *consul);
void consul_session_lost(struct consul *consul);
void consul_session_set_ttl(struct consul *consul, int64_t ttl_ms);

/* ---- consul_service.c ---- */

/* Before configure; scope and name make the service's name and id. */
void consul_service_init(struct consul *consul, const char *scope, const char *name);
void consul_service_configure(struct consul *consul, const struct dcs_consul_config *config);
void consul_service_announce(struct dcs *dcs, const struct dcs_announcement *announcement);
void consul_service_retry(uv_timer_t *timer);
void consul_service_fini(struct consul *consul);

/* ---- consul.c ---- */

/* Sends what waits: a session or a mark has come. */
void consul_send_waiting(struct consul *consul);
/* As that, after the backoff. */
void consul_send_later(struct consul *consul);
/* Ends all reads, or all calls that need a session, that are not sent. */
void consul_fail_unsent(struct consul *consul, bool reads, const char *why);

#endif
