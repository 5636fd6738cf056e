/* dcs/dcs.h - one contract for every store.
 *
 * Purpose    read a prefix with versions; check-and-write transactions; keys attached to a session;
 *            pushed changes. Stores decide nothing.
 * Ownership  requests are structs embedded in their owner, which must stay alive and untouched until
 *            the callback; what a request points to (keys, values) must too. Answers live until the
 *            callback returns; copy what is kept.
 * Errors     per call: ERR_OK; ERR_CONFLICT (a check failed, nothing changed); ERR_REFUSED (the store
 *            said no: bad token, wrong machine; nothing changed); ERR_INVALID (a malformed key,
 *            value or list of operations; nothing was sent); ERR_UNREACHABLE (not sent by the
 *            deadline: without a connection a call waits for one);
 *            ERR_IN_DOUBT (sent, no full answer by the deadline); ERR_CANCELED (dcs_close before
 *            sending). A read that fails is never in doubt: ERR_UNREACHABLE.
 * Callbacks  fire exactly once, never inside the call that started them, also at dcs_close.
 * Units      timeout_ms, ttl_ms; versions grow with every change of the store and are never reused
 *            for another content of the same key; 0 = the key is absent.
 * Threads    loop thread only.
 * Source     design section 6 and appendix A.
 */
#ifndef HOLDFAST_DCS_DCS_H
#define HOLDFAST_DCS_DCS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/time.h"

struct dcs;         /* one client of one store */
struct dcs_request; /* one call under way */

struct dcs_item {
    const char *key; /* below the prefix, without it: "leader", "members/n1" */
    const char *value;
    size_t value_size; /* without the NUL that always follows */
    uint64_t version;  /* of the last change of this key */
    bool attached;     /* tied to somebody's session: vanishes with it */
};

/* All keys below the prefix at one point of the store's history, sorted by key. */
struct dcs_snapshot {
    uint64_t revision; /* the store's own counter at that point */
    uint64_t store_id; /* which store answered: another number is another (or wiped) store */
    size_t count;
    const struct dcs_item *items;
};

/* Binary search; NULL when absent. */
const struct dcs_item *dcs_snapshot_find(const struct dcs_snapshot *snapshot, const char *key);

enum dcs_op_type {
    DCS_OP_CHECK,  /* the key's version is `version` (0: absent), or ERR_CONFLICT */
    DCS_OP_PUT,    /* write value; never attached afterwards */
    DCS_OP_ATTACH, /* write value, tied to this client's session (taken over from any other) */
    DCS_OP_DELETE, /* absent already is fine */
};

struct dcs_op {
    enum dcs_op_type type;
    const char *key;
    const char *value; /* PUT and ATTACH; UTF-8, NUL-terminated, at most STORE_VALUE_MAX */
    uint64_t version;  /* CHECK only */
};

struct dcs_txn_result {
    uint64_t revision; /* all keys written by the transaction have this version */
};

typedef void (*dcs_read_cb)(struct dcs_request *request, enum err err,
                            const struct dcs_snapshot *snapshot, void *arg);
typedef void (*dcs_txn_cb)(struct dcs_request *request, enum err err,
                           const struct dcs_txn_result *result, void *arg);

/* Fields are the implementation's; the owner only embeds it, zeroed before its first use. */
struct dcs_request {
    struct dcs *dcs;
    struct dcs_request *next;
    uint64_t id;
    struct mono deadline;
    dcs_read_cb read_cb;
    dcs_txn_cb txn_cb;
    void *arg;
    bool sent;
    bool active;
    struct err_detail detail; /* why it failed, valid in the callback */
    void *impl;
};

/* A linearizable read of the whole prefix, begun after this call. */
void dcs_read(struct dcs *dcs, struct dcs_request *request, int64_t timeout_ms, dcs_read_cb cb,
              void *arg);

/* All checks hold and all writes are done, or nothing changed. count <= STORE_TXN_OPS_MAX, at least
 * one operation; a key appears in at most one write. */
void dcs_txn(struct dcs *dcs, struct dcs_request *request, const struct dcs_op *ops, size_t count,
             int64_t timeout_ms, dcs_txn_cb cb, void *arg);

/* What a watch tells. DCS_WATCH_CHANGES carries the whole prefix after the change (coalesced when
 * several came together), pushed by the store: fresh, but not a linearizable read. After a cut the
 * client reconnects by itself (first at once, then every 20..200 ms) and says UP with the whole
 * prefix as it is then, even when the store is another one or went back. DOWN comes only after UP,
 * and not at dcs_close. */
enum dcs_watch_event { DCS_WATCH_UP, DCS_WATCH_CHANGES, DCS_WATCH_DOWN };
typedef void (*dcs_watch_cb)(struct dcs *dcs, enum dcs_watch_event event,
                             const struct dcs_snapshot *snapshot, void *arg);

/* One watch a client, until dcs_close. */
void dcs_watch(struct dcs *dcs, dcs_watch_cb cb, void *arg);

/* The session that ATTACH uses: made on first need, kept alive by the client off every other path,
 * made anew when the store has lost it (keys attached to the old one are then gone). Deleting the
 * session deletes its keys; dcs_close leaves it to expire. ttl_ms: how long the store keeps it without
 * hearing from us. */
void dcs_session_set_ttl(struct dcs *dcs, int64_t ttl_ms);

/* The id of the session in force, "" when there is none now. */
const char *dcs_session_id(const struct dcs *dcs);

/* What this node is to those who look for it in the store's own catalogue of services. */
struct dcs_announcement {
    const char *role; /* "primary", "replica", "standby_leader"; "": it is not to be found there */
    const char *host; /* of PostgreSQL */
    uint16_t port;
    const char *api_url;
    uint64_t leader_version; /* the version of `leader` while this node holds the lease; else 0 */
};

/* Tells the catalogue, of a store that has one and where the configuration asks for it; nothing else
 * rests on it, and nobody hears of its failure but the log. Level-triggered: the last word counts, the
 * same again costs little. Whoever leads also sees to it that no other node is named as the leader. */
void dcs_announce(struct dcs *dcs, const struct dcs_announcement *announcement);

/* Ends everything; callbacks under way fire with ERR_CANCELED or ERR_IN_DOUBT on a later loop turn,
 * then closed_cb, after which the memory is gone. */
void dcs_close(struct dcs *dcs, void (*closed_cb)(void *arg), void *arg);

/* ---- opening ---- */

/* The local store of this machine (docs/local-store.md): path of its unix socket. base is the
 * cluster's prefix "/service/demo" without trailing slash. Fails only on bad arguments: a store that
 * is not there yet is retried for ever. */
enum err dcs_local_open(uv_loop_t *loop, const char *socket_path, const char *base,
                        struct dcs **out_dcs, struct err_detail *detail) MUST_CHECK;

/* ---- for implementations ---- */

struct dcs_ops {
    void (*read)(struct dcs *, struct dcs_request *, int64_t timeout_ms);
    void (*txn)(struct dcs *, struct dcs_request *, const struct dcs_op *, size_t count,
                int64_t timeout_ms);
    void (*watch)(struct dcs *, dcs_watch_cb, void *arg);
    void (*session_set_ttl)(struct dcs *, int64_t ttl_ms);
    const char *(*session_id)(const struct dcs *);
    void (*announce)(struct dcs *, const struct dcs_announcement *); /* NULL: no catalogue */
    void (*close)(struct dcs *, void (*closed_cb)(void *), void *arg);
};

/* First member of every implementation's struct. */
struct dcs {
    const struct dcs_ops *ops;
};

#endif
