/* New sockets are bound before the old ones are closed, unless they stand in each other's way: then
 * the old ones are closed first and taken again when the new ones cannot be had. */
#include "net/http_listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"

#define SOCKETS_MAX 4
#define BACKLOG 1024

struct listen_socket {
    uv_poll_t poll;
    struct http_listen *owner;
    int fd;
};

struct http_listen {
    char host[URL_SIZE];
    uint16_t asked_port;
    uint16_t port;
    struct http_listen_cb cb;
    unsigned count;
    unsigned open; /* handles of the loop */
    bool closed;
    struct listen_socket sockets[SOCKETS_MAX];
};

void http_listen_tune(int fd)
{
    int one = 1;
    int idle_s = 3;
    int interval_s = 2;
    int count = 3;
    unsigned user_timeout_ms = 10000;
    /* Not supported on every socket; without them only our own deadlines count. */
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof user_timeout_ms);
}

static enum err fail(struct err_detail *detail, const struct http_listen *listening, int error)
{
    return err_set_errno(detail, error == EADDRNOTAVAIL ? ERR_INVALID : ERR_REFUSED, error,
                         "cannot listen on %s:%u (restapi.listen)",
                         listening->host[0] != '\0' ? listening->host : "*", listening->asked_port);
}

/* A bound and listening socket, or -errno. */
static int open_socket(const struct sockaddr *address, socklen_t length, bool both_families)
{
    AUTO_CLOSE int fd =
        socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (fd < 0) {
        return -errno;
    }
    int one = 1;
    int only_v6 = both_families ? 0 : 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        (address->sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof only_v6) != 0) ||
        bind(fd, address, length) != 0 || listen(fd, BACKLOG) != 0) {
        return -errno;
    }
    int result = fd;
    fd = -1;
    return result;
}

static uint16_t port_of(int fd)
{
    union {
        struct sockaddr_in6 v6;
        struct sockaddr_in v4;
        struct sockaddr any;
    } address = {.v6 = {.sin6_family = AF_UNSPEC}};
    socklen_t length = sizeof address;
    if (getsockname(fd, &address.any, &length) != 0) {
        return 0;
    }
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

static void keep_socket(struct http_listen *listening, int fd)
{
    ASSERT(listening->count < SOCKETS_MAX);
    listening->sockets[listening->count].fd = fd;
    listening->sockets[listening->count].owner = listening;
    listening->count++;
    if (listening->port == 0) {
        listening->port = port_of(fd);
    }
}

static void drop_sockets(struct http_listen *listening)
{
    for (unsigned i = 0; i < listening->count; i++) {
        (void)close(listening->sockets[i].fd);
    }
    listening->count = 0;
    listening->port = 0;
}

/* 0 or an errno. */
static int bind_all_addresses(struct http_listen *listening)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                              .sin6_addr = IN6ADDR_ANY_INIT,
                              .sin6_port = htons(listening->asked_port)};
    int fd = open_socket((struct sockaddr *)&v6, sizeof v6, true);
    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) { /* a machine without IPv6 */
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(listening->asked_port)};
        fd = open_socket((struct sockaddr *)&v4, sizeof v4, false);
    }
    if (fd < 0) {
        return -fd;
    }
    keep_socket(listening, fd);
    return 0;
}

/* 0 or an errno. A name may have addresses that this machine lacks: one that works is enough, one
 * that is taken is an error. */
static int bind_addresses(struct http_listen *listening, const struct addrinfo *list)
{
    int error = EADDRNOTAVAIL;
    for (const struct addrinfo *ai = list; ai != NULL && listening->count < SOCKETS_MAX;
         ai = ai->ai_next) {
        struct sockaddr_storage address = {0};
        memcpy(&address, ai->ai_addr, ai->ai_addrlen);
        uint16_t port = listening->port != 0 ? listening->port : listening->asked_port;
        if (address.ss_family == AF_INET6) {
            ((struct sockaddr_in6 *)&address)->sin6_port = htons(port);
        } else {
            ((struct sockaddr_in *)&address)->sin_port = htons(port);
        }
        int fd = open_socket((struct sockaddr *)&address, ai->ai_addrlen, false);
        if (fd >= 0) {
            keep_socket(listening, fd);
        } else {
            error = -fd;
            if (error != EADDRNOTAVAIL && error != EAFNOSUPPORT) {
                drop_sockets(listening);
                return error;
            }
        }
    }
    return listening->count > 0 ? 0 : error;
}

/* 0, an errno, or -1 with the detail set: the name has no address. */
static int bind_sockets(struct http_listen *listening, struct err_detail *detail)
{
    const char *host = listening->host;
    size_t length = strlen(host);
    if (length == 0 || str_equal(host, "*")) {
        return bind_all_addresses(listening);
    }
    char bare[URL_SIZE];
    str_copy_cut(bare, sizeof bare, host);
    if (host[0] == '[' && host[length - 1] == ']') {
        str_copy_cut(bare, sizeof bare, host + 1);
        bare[length - 2] = '\0';
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(bare, "0", &hints, &list);
    if (rc != 0) {
        (void)err_set(detail, ERR_INVALID, "cannot listen on %s:%u (restapi.listen): %s", host,
                      listening->asked_port, gai_strerror(rc));
        return -1;
    }
    int error = bind_addresses(listening, list);
    freeaddrinfo(list);
    return error;
}

static void socket_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct listen_socket *sock = poll->data;
    sock->owner->cb.acceptable(sock->fd, sock->owner->cb.arg);
}

static void start(uv_loop_t *loop, struct http_listen *listening)
{
    for (unsigned i = 0; i < listening->count; i++) {
        struct listen_socket *sock = &listening->sockets[i];
        int rc = uv_poll_init(loop, &sock->poll, sock->fd);
        ASSERT(rc == 0); /* a fresh socket can be polled */
        sock->poll.data = sock;
        (void)uv_poll_start(&sock->poll, UV_READABLE, socket_ready);
        listening->open++;
    }
}

static struct http_listen *make(const char *host, uint16_t port, const struct http_listen_cb *cb)
{
    struct http_listen *listening = calloc(1, sizeof *listening);
    ASSERT(listening != NULL); /* heap exhaustion aborts */
    str_copy_cut(listening->host, sizeof listening->host, host);
    listening->asked_port = port;
    listening->cb = *cb;
    return listening;
}

enum err http_listen_replace(uv_loop_t *loop, struct http_listen **listening, const char *host,
                             uint16_t port, const struct http_listen_cb *cb,
                             struct err_detail *detail)
{
    struct http_listen *old = *listening;
    if (strlen(host) >= URL_SIZE) {
        return err_set(detail, ERR_INVALID, "restapi.listen: the host is too long");
    }
    if (old != NULL && str_equal(old->host, host) && old->asked_port == port) {
        return ERR_OK;
    }
    struct http_listen *fresh = make(host, port, cb);
    int error = bind_sockets(fresh, detail);
    if (error == EADDRINUSE && old != NULL && port == old->port) {
        struct http_listen *again = make(old->host, old->port, cb);
        http_listen_close(listening);
        error = bind_sockets(fresh, detail);
        if (error == 0 || bind_sockets(again, NULL) != 0) {
            free(again);
        } else {
            start(loop, again);
            *listening = again;
        }
    }
    if (error != 0) {
        enum err err = error > 0 ? fail(detail, fresh, error) : ERR_INVALID;
        free(fresh);
        return err;
    }
    http_listen_close(listening);
    start(loop, fresh);
    *listening = fresh;
    return ERR_OK;
}

uint16_t http_listen_port(const struct http_listen *listening)
{
    return listening != NULL ? listening->port : 0;
}

static void socket_closed(uv_handle_t *handle)
{
    struct listen_socket *sock = handle->data;
    struct http_listen *listening = sock->owner;
    listening->open--;
    if (listening->open == 0) {
        free(listening);
    }
}

void http_listen_close(struct http_listen **listening)
{
    struct http_listen *old = *listening;
    if (old == NULL) {
        return;
    }
    *listening = NULL;
    ASSERT(!old->closed && old->open > 0);
    old->closed = true;
    for (unsigned i = 0; i < old->count; i++) {
        (void)uv_poll_stop(&old->sockets[i].poll);
        (void)close(old->sockets[i].fd);
        uv_close((uv_handle_t *)&old->sockets[i].poll, socket_closed);
    }
}
