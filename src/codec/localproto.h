/* codec/localproto.h - the frames between the local store and its clients.
 *
 * Purpose    one JSON object a line, both ways; docs/local-store.md shows every frame.
 * Ownership  a decoded frame owns its texts: they die with localproto_*_fini. An encoder appends to
 *            the caller's buffer, which grows by the caller's own function (realloc).
 * Errors     a frame that is not exactly as described is ERR_INVALID, with the reason in detail;
 *            the peer that sent it is not to be talked to any more.
 * Units      ttl_ms; sizes in bytes.
 * Threads    any.
 */
#ifndef HOLDFAST_CODEC_LOCALPROTO_H
#define HOLDFAST_CODEC_LOCALPROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define LOCALPROTO_VERSION 1
/* All keys and values of one cluster, or of one transaction, unescaped. */
#define LOCALPROTO_CONTENT_MAX ((size_t)4 * 1024 * 1024)
/* Escaping makes six bytes of one at the worst; the rest is for keys, versions and commas. */
#define LOCALPROTO_FRAME_MAX (8 * LOCALPROTO_CONTENT_MAX)

struct json_t;

struct localproto_buf {
    char *data;
    size_t used;
    size_t size;
    void *(*grow)(void *data, size_t size); /* realloc */
};

enum localproto_op_type {
    LOCALPROTO_CHECK,
    LOCALPROTO_PUT,
    LOCALPROTO_ATTACH,
    LOCALPROTO_DELETE,
    LOCALPROTO_OP_COUNT
};

struct localproto_op {
    enum localproto_op_type type;
    const char *key;
    const char *value; /* PUT, ATTACH */
    size_t value_size;
    uint64_t version; /* CHECK */
};

enum localproto_request_type {
    LOCALPROTO_HELLO, /* the first frame of a connection */
    LOCALPROTO_READ,
    LOCALPROTO_TXN,
    LOCALPROTO_WATCH,
    LOCALPROTO_SESSION,
    LOCALPROTO_KEEPALIVE,
    LOCALPROTO_REQUEST_COUNT
};

struct localproto_request {
    enum localproto_request_type type;
    uint64_t id;         /* the answer carries it; not 0 */
    const char *base;    /* HELLO */
    const char *session; /* TXN ("" without ATTACH), KEEPALIVE */
    int64_t ttl_ms;      /* SESSION, KEEPALIVE */
    size_t op_count;     /* TXN */
    struct localproto_op ops[STORE_TXN_OPS_MAX];
    struct json_t *root; /* owns the texts */
};

enum localproto_answer_type {
    LOCALPROTO_WELCOME,  /* to HELLO: store_id, revision */
    LOCALPROTO_SNAPSHOT, /* to READ and WATCH: store_id, revision, items */
    LOCALPROTO_CHANGES,  /* pushed, id 0: revision, items (deleted ones too) */
    LOCALPROTO_DONE,     /* to TXN and KEEPALIVE: revision */
    LOCALPROTO_GRANTED,  /* to SESSION: session */
    LOCALPROTO_FAILED,   /* to anything: error, text; nothing was changed. id 0: the store is about
                          * to close the connection */
    LOCALPROTO_ANSWER_COUNT
};

enum localproto_error {
    LOCALPROTO_CONFLICT,
    LOCALPROTO_REFUSED,
    LOCALPROTO_INVALID,
    LOCALPROTO_NO_SESSION,
    LOCALPROTO_UNAVAILABLE, /* the store itself is broken or ending */
    LOCALPROTO_ERROR_COUNT
};

struct localproto_item {
    const char *key;
    const char *value; /* NULL: the key was deleted (CHANGES only) */
    size_t value_size;
    uint64_t version;
    bool attached;
};

struct localproto_answer {
    enum localproto_answer_type type;
    enum localproto_error error;
    uint64_t id;
    uint64_t store_id;
    uint64_t revision;
    const char *session;
    const char *text;
    size_t item_count;
    struct json_t *items; /* localproto_answer_item */
    struct json_t *root;  /* owns the texts */
};

/* "conflict", "refused", ... as in the frames. */
const char *localproto_error_name(enum localproto_error error);

/* ---- checks of what comes from outside ---- */

/* UTF-8 as JSON needs it, without NUL. */
bool localproto_text_ok(const char *text, size_t size);

/* "/a/b": starts with a slash, does not end with one, no empty part, no control characters; shorter
 * than STORE_KEY_SIZE. */
bool localproto_base_ok(const char *base);

/* "a/b": as a base, without the slash in front. */
bool localproto_key_ok(const char *key);

/* The operations are ones that a store accepts: 1..STORE_TXN_OPS_MAX of them, keys and sizes right,
 * no key written twice. base_size: of the base in front of each key. */
enum err localproto_ops_check(const struct localproto_op *ops, size_t count, size_t base_size,
                              struct err_detail *detail) MUST_CHECK;

/* ---- encoding: each appends; a whole frame ends with its newline ---- */

/* Requests other than TXN. */
void localproto_put_request(struct localproto_buf *buf, const struct localproto_request *request);

/* The "[...]" of a transaction, made once and sent with whichever id and session are right then. */
void localproto_put_ops(struct localproto_buf *buf, const struct localproto_op *ops, size_t count);
void localproto_put_txn(struct localproto_buf *buf, uint64_t id, const char *session,
                        const char *ops, size_t ops_size);

/* Answers without items. */
void localproto_put_answer(struct localproto_buf *buf, const struct localproto_answer *answer);

/* Answers with items: begin (SNAPSHOT or CHANGES), any number of items, end. */
void localproto_items_begin(struct localproto_buf *buf, const struct localproto_answer *answer);
void localproto_put_item(struct localproto_buf *buf, const struct localproto_item *item);
void localproto_items_end(struct localproto_buf *buf);

/* ---- decoding: one line without its newline ---- */

enum err localproto_get_request(const char *line, size_t size,
                                struct localproto_request *out_request,
                                struct err_detail *detail) MUST_CHECK;
void localproto_request_fini(struct localproto_request *request);

/* Items are checked and known to be sorted by key, each once. */
enum err localproto_get_answer(const char *line, size_t size, struct localproto_answer *out_answer,
                               struct err_detail *detail) MUST_CHECK;
void localproto_answer_item(const struct localproto_answer *answer, size_t index,
                            struct localproto_item *out_item);
void localproto_answer_fini(struct localproto_answer *answer);

#endif
