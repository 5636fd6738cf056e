/* net/http_server.h - a small HTTP server on the loop.
 *
 * Purpose    accept, read whole requests, hand each to one handler, send its answer whenever it
 *            comes. Nothing that a client does or fails to do holds up the loop or the other
 *            clients.
 * Ownership  a struct http_exchange is the server's; the handler owns the duty to answer it exactly
 *            once, now or later. Its request's texts live until then. Answers are copied.
 * Errors     listening fails with ERR_REFUSED (taken, not permitted) or ERR_INVALID (no such
 *            address); the text names host and port.
 * Bounds     connections, bytes and time: past the connection limit the oldest one that is not
 *            waiting for our answer goes; a request must be complete, and its answer taken, in
 *            io_timeout_ms.
 * Protocol   answers are HTTP/1.0; the connection closes unless the client asked to keep it by
 *            name.
 * Threads    loop thread only. Takes no time and no wakeups while nobody asks.
 */
#ifndef HOLDFAST_NET_HTTP_SERVER_H
#define HOLDFAST_NET_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/err.h"

struct http_server;
struct http_exchange;

struct http_server_options {
    uint32_t connections_max; /* 0: 256 */
    int64_t io_timeout_ms;    /* 0: 10000 */
    size_t body_max;          /* one request; 0: HTTP_BODY_MAX */
    size_t bodies_max;        /* all requests together; 0: 8 * HTTP_BODY_MAX */
    /* The head is complete, the body is not read yet: may answer now (refusal), returning true.
     * NULL: never. */
    bool (*head_cb)(struct http_exchange *exchange, void *arg);
    void (*request_cb)(struct http_exchange *exchange, void *arg);
    void *arg;
};

/* Fails with ERR_REFUSED when the kernel gives no descriptors. */
enum err http_server_create(uv_loop_t *loop, const struct http_server_options *options,
                            struct http_server **out_server, struct err_detail *detail) MUST_CHECK;

/* Listens there ("*" or "": all addresses of both families; "[::1]" or "::1"; names are resolved by
 * the system, so give numbers where that must not block). On success the addresses listened on
 * before are closed, established connections go on; on error everything stays as it was. The same
 * address again succeeds. */
enum err http_server_listen(struct http_server *server, const char *host, uint16_t port,
                            struct err_detail *detail) MUST_CHECK;

/* The port in fact listened on (port 0 takes any); 0: none. */
uint16_t http_server_port(const struct http_server *server);

/* Connections that are open now. */
uint32_t http_server_connection_count(const struct http_server *server);

/* Every exchange not answered yet hears its gone_cb first. closed_cb (may be NULL) comes on a later
 * turn, then the memory is gone. NULL is accepted: closed_cb is not called then. */
void http_server_destroy(struct http_server *server, void (*closed_cb)(void *arg), void *arg);

/* ---- one request ---- */

const char *http_exchange_method(const struct http_exchange *exchange);
const char *http_exchange_path(const struct http_exchange *exchange); /* without the query */

/* The first value of a query argument; NULL: absent. */
const char *http_exchange_argument(struct http_exchange *exchange, const char *name);

/* All arguments in order, value NULL for one without '='. Stops when each_cb returns false. */
void http_exchange_arguments(struct http_exchange *exchange,
                             bool (*each_cb)(const char *name, const char *value, void *arg),
                             void *arg);

/* A header by name, case-insensitive; NULL: absent. */
const char *http_exchange_header(struct http_exchange *exchange, const char *name);

/* NUL-terminated, never NULL. */
const char *http_exchange_body(const struct http_exchange *exchange, size_t *out_size);

/* Who asks. */
const struct sockaddr *http_exchange_peer(struct http_exchange *exchange);

struct http_header {
    const char *name;
    const char *value;
};

#define HTTP_ANSWER_HEADERS_MAX 16

struct http_answer {
    int status;
    const char *content_type; /* NULL: status only: no body, no Date */
    const char *body;         /* NULL: empty */
    size_t body_size;
    uint32_t header_count;
    struct http_header headers[HTTP_ANSWER_HEADERS_MAX];
};

/* Exactly once per exchange, which is invalid afterwards. */
void http_exchange_answer(struct http_exchange *exchange, const struct http_answer *answer);

/* What the handler keeps with an exchange that it answers later; gone_cb fires when the server is
 * destroyed before that: the exchange must not be answered any more. */
void http_exchange_hold(struct http_exchange *exchange,
                        void (*gone_cb)(struct http_exchange *exchange, void *arg), void *arg);

/* The standard phrase of a status, "Unknown" when there is none. */
const char *http_status_phrase(int status);

#endif
