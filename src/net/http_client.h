/* net/http_client.h - asynchronous HTTP requests on the loop.
 *
 * Purpose    ask peers, stores and services over HTTP without ever blocking the loop.
 * Ownership  struct http_request is embedded in its owner, zeroed before its first use, and stays
 *            untouched until the callback; url, body and the rest of http_call are copied or used
 *            only inside http_request_start. The answer lives until the callback returns.
 * Errors     ERR_OK: a whole answer came, whatever its status; ERR_UNREACHABLE: provably not sent,
 *            or a GET that failed in any way but the next; ERR_INVALID: the URL is bad, or a GET's
 *            answer is larger than the cap; ERR_IN_DOUBT: another method was sent and no whole
 *            answer came; ERR_CANCELED: canceled before sending.
 * Callbacks  exactly once, never inside the call that started it, also at http_client_destroy.
 * Units      timeout_ms bounds the whole request: names, connecting, sending, the whole answer.
 * Threads    loop thread only; names are resolved in libcurl's own short-lived thread.
 */
#ifndef HOLDFAST_NET_HTTP_CLIENT_H
#define HOLDFAST_NET_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"

struct http_client;

enum http_method { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_METHOD_COUNT };

struct http_reply {
    int status;
    const char *body; /* NUL-terminated, never NULL */
    size_t body_size;
    const char *header; /* the value of the header that was wanted; NULL: not there */
};

struct http_request;

/* reply is NULL unless err is ERR_OK; why it failed is in request->detail. */
typedef void (*http_request_cb)(struct http_request *request, enum err err,
                                const struct http_reply *reply, void *arg);

/* Fields are the implementation's, but for detail. */
struct http_request {
    struct http_client *client;
    struct http_request *next;
    struct http_request *prev;
    void *easy;
    void *headers;
    enum http_method method;
    http_request_cb cb;
    void *arg;
    char *body; /* the answer so far */
    size_t body_size;
    size_t body_room;
    size_t body_max;
    bool too_large;
    const char *header;
    char header_value[64];
    enum err early; /* the outcome, when it is known without libcurl's help */
    struct err_detail detail;
};

struct http_call {
    enum http_method method;
    const char *url;
    const char *body;           /* NULL: none; sent as application/json */
    const char *user_pass;      /* "user:password" for basic auth; NULL or "": none */
    const char *unix_socket;    /* path to connect to instead of the URL's host; NULL: none */
    const char *const *headers; /* "Name: value", ends with NULL; may be NULL */
    const char *header;         /* the answer's header that is wanted, a literal; NULL: none */
    int64_t timeout_ms;         /* > 0 */
    size_t body_max;            /* largest answer; 0: HTTP_BODY_MAX */
    bool repeatable; /* may be sent again over a new connection when a kept one turns out dead; GETs
                        always are */
};

/* TLS of all requests of a client; NULL members: system's authorities, no certificate. */
struct http_client_options {
    const char *ca_file;
    const char *cert_file;
    const char *key_file;
    const char *user_agent; /* NULL: "holdfast/<version>" */
    bool insecure;          /* do not verify certificates */
};

/* Takes no time: libcurl is set up at the first request. options may be NULL; copied. */
struct http_client *http_client_create(uv_loop_t *loop, const struct http_client_options *options);

void http_request_start(struct http_client *client, struct http_request *request,
                        const struct http_call *call, http_request_cb cb, void *arg);

/* The callback comes on a later turn with ERR_CANCELED, or ERR_IN_DOUBT when something other than a
 * GET was sent. Nothing happens when no request is under way. */
void http_request_cancel(struct http_request *request);

/* Whether something of the request may have left. Only while it is active. */
bool http_request_was_sent(const struct http_request *request);

static inline bool http_request_is_active(const struct http_request *request)
{
    return request->client != NULL;
}

/* Cancels what is under way; after all callbacks closed_cb (may be NULL), then the memory is gone.
 * NULL is accepted: closed_cb is not called then. */
void http_client_destroy(struct http_client *client, void (*closed_cb)(void *arg), void *arg);

#endif
