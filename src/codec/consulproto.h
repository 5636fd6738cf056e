/* codec/consulproto.h - the bodies that go to Consul's HTTP API and come back from it.
 *
 * Purpose    transactions, the content of a prefix, sessions: bytes to structs and back.
 * Ownership  texts made here are on the heap (free); a tree owns its items until consulproto_tree_fini.
 * Errors     ERR_INVALID for an answer that is not exactly as Consul documents it: it proves nothing.
 * Units      ttl_ms.
 * Threads    any.
 * Source     Consul's HTTP API, /v1/txn, /v1/kv and /v1/session; tried with Consul 1.8.
 */
#ifndef HOLDFAST_CODEC_CONSULPROTO_H
#define HOLDFAST_CODEC_CONSULPROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

/* Operations of one transaction as Consul counts them: a write of ours is two of its. Its limit is 64.
 */
#define CONSULPROTO_OPS_MAX (2 * STORE_TXN_OPS_MAX)
#define CONSULPROTO_ID_MAX 36 /* a session's */

enum consulproto_op_type {
    CONSULPROTO_CHECK,  /* the key's index is `version`, 0: the key is absent */
    CONSULPROTO_PUT,    /* written, tied to no session */
    CONSULPROTO_ATTACH, /* written, tied to the session, whoever held it before */
    CONSULPROTO_DELETE,
};

struct consulproto_op {
    enum consulproto_op_type type;
    const char *key;   /* below the prefix */
    const char *value; /* PUT, ATTACH; NUL-terminated */
    uint64_t version;  /* CHECK */
};

struct consulproto_txn {
    const char *prefix;  /* "service/demo/" */
    const char *session; /* ATTACH */
    /* Goes into the keys' flags: another number with every transaction makes a write of the same
     * value a change, which Consul would leave out otherwise. At most 2^53. */
    uint64_t nonce;
    const struct consulproto_op *ops;
    size_t count;
};

/* The body for PUT /v1/txn. Every write is two operations in one atomic step: what was there goes,
 * whatever it was tied to, then the new one comes. A deletion writes first, for an answer tells no
 * index of a deletion. */
char *consulproto_txn_text(const struct consulproto_txn *txn);

enum consulproto_verdict {
    CONSULPROTO_APPLIED,
    CONSULPROTO_CONFLICT,   /* a check failed */
    CONSULPROTO_NO_SESSION, /* the session is gone; else it might have been applied */
    CONSULPROTO_DENIED,     /* by the token's rules */
    CONSULPROTO_LATER,      /* a lock-delay runs: the same may do in a moment */
    CONSULPROTO_REFUSED,    /* anything else that Consul said no to */
};

struct consulproto_answer {
    enum consulproto_verdict verdict;
    uint64_t index; /* APPLIED: of every key written; else 0 */
    char what[160]; /* Consul's own words when it was not applied */
};

/* What Consul says to txn in a body of status 200 (applied) or 409 (not applied). */
enum err consulproto_txn_answer(const struct consulproto_txn *txn, int status, const char *body,
                                size_t size, struct consulproto_answer *out_answer,
                                struct err_detail *detail) MUST_CHECK;

struct consulproto_item {
    char *key; /* below the prefix */
    char *value;
    size_t value_size;
    uint64_t index;
    bool attached;
};

struct consulproto_tree {
    size_t count;
    struct consulproto_item *items; /* sorted by key */
};

/* The body of GET /v1/kv/PREFIX?recurse. Keys that dcs.h would not accept (and directories, which end
 * with a slash) are left out. */
enum err consulproto_tree_read(const char *prefix, const char *body, size_t size,
                               struct consulproto_tree *out_tree,
                               struct err_detail *detail) MUST_CHECK;

void consulproto_tree_fini(struct consulproto_tree *tree);

struct consulproto_session {
    const char *name;
    int64_t ttl_ms;
    const char *const *checks; /* may be NULL; an empty list is sent as such */
    size_t check_count;
};

/* The body for PUT /v1/session/create: behaviour delete, no lock-delay. */
char *consulproto_session_text(const struct consulproto_session *session);

/* {"ID": ...} */
bool consulproto_session_id(const char *body, size_t size, char *out_id,
                            size_t out_size) MUST_CHECK;

/* "Invalid Session TTL '500000000', must be between [10s=24h0m0s]": the smallest, false when it is
 * some other message. */
bool consulproto_session_ttl_min(const char *message, int64_t *out_ttl_ms) MUST_CHECK;

/* Standard base64 with padding; out has room for consulproto_base64_size(size). */
#define CONSULPROTO_BASE64_SIZE(size) (((size) + 2) / 3 * 4 + 1)
void consulproto_base64_encode(const char *data, size_t size, char *out);

/* Decodes in place into out (room for size / 4 * 3 + 1); false for anything else. */
bool consulproto_base64_decode(const char *text, size_t size, char *out,
                               size_t *out_size) MUST_CHECK;

#endif
