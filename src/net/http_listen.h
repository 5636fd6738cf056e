/* net/http_listen.h - listening sockets of the HTTP server.
 *
 * Purpose    turn host and port into listening sockets on the loop, and exchange them for others
 *            while the server runs.
 * Ownership  struct http_listen is made and freed here; *listening is NULL when nothing listens.
 * Errors     ERR_REFUSED (taken, not permitted), ERR_INVALID (no such address).
 * Callbacks  acceptable: accept from that descriptor until it has no more.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_NET_HTTP_LISTEN_H
#define HOLDFAST_NET_HTTP_LISTEN_H

#include <stdint.h>
#include <uv.h>

#include "base/err.h"

struct http_listen;

struct http_listen_cb {
    void (*acceptable)(int listen_fd, void *arg);
    void *arg;
};

/* As http_server_listen. */
enum err http_listen_replace(uv_loop_t *loop, struct http_listen **listening, const char *host,
                             uint16_t port, const struct http_listen_cb *cb,
                             struct err_detail *detail) MUST_CHECK;

/* The first socket's port; 0 for NULL. */
uint16_t http_listen_port(const struct http_listen *listening);

/* Closes the sockets at once (the memory follows on a later turn) and sets *listening to NULL. */
void http_listen_close(struct http_listen **listening);

/* Keepalive and user timeout of an accepted connection: a peer that vanished is noticed. */
void http_listen_tune(int fd);

#endif
