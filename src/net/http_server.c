/* libmicrohttpd does the protocol; accepting, limits and time are ours. We accept ourselves, so
 * that a full house never means "no more health checks": the oldest connection that waits for
 * nothing of ours makes room. One list in order of deadlines and one timer bound every connection's
 * time. */
#include "net/http_server.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/time.h"
#include "net/http_listen.h"

#define CONNECTIONS_MAX_DEFAULT 256
#define IO_TIMEOUT_MS_DEFAULT 10000
#define CONNECTION_MEMORY 16384 /* request head and its parsed form */
#define ACCEPTS_PER_TURN 64

enum conn_state { CONN_READING, CONN_WAITING, CONN_WRITING };

struct conn {
    struct http_server *server;
    struct conn *next; /* the list of deadlines: READING and WRITING only */
    struct conn *prev;
    struct mono deadline;
    enum conn_state state;
    int fd;
    bool cut; /* shut down by us, about to go */
};

struct http_server {
    uv_loop_t *loop;
    struct http_server_options options;
    struct MHD_Daemon *daemon;
    uv_poll_t epoll;   /* libmicrohttpd's descriptor */
    uv_timer_t turn;   /* libmicrohttpd's timeout, and later turns */
    uv_timer_t expiry; /* the first deadline of the list */
    struct conn *first;
    struct conn *last;
    uint32_t conn_count;
    size_t bodies_bytes;
    struct http_exchange *held;
    struct http_listen *listening; /* NULL: none */
    int reserve_fd; /* given up for a moment to turn a client away when there are no descriptors */
    bool closing;
    unsigned handles;
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

struct http_exchange {
    struct http_server *server;
    struct conn *conn;
    struct MHD_Connection *mhd;
    const char *method;
    const char *path;
    char *body;
    size_t body_size;
    size_t body_room;
    struct MHD_Response *response; /* answered, not queued yet */
    int status;
    bool answered;
    bool suspended;
    void (*gone_cb)(struct http_exchange *exchange, void *arg);
    void *hold_arg;
    struct http_exchange *next; /* held */
    struct http_exchange *prev;
};

static void *must(void *pointer)
{
    ASSERT(pointer != NULL); /* heap exhaustion aborts */
    return pointer;
}

/* ---- driving libmicrohttpd ---- */

static void tear_down(struct http_server *server);

static void server_run(struct http_server *server);

static void turn_fired(uv_timer_t *timer)
{
    struct http_server *server = timer->data;
    if (server->closing) {
        tear_down(server);
        return;
    }
    server_run(server);
}

static void next_turn(struct http_server *server)
{
    (void)uv_timer_start(&server->turn, turn_fired, 0, 0); /* fails only on a closing handle */
}

static void server_run(struct http_server *server)
{
    (void)MHD_run(server->daemon); /* fails only for daemons with threads */
    if (server->closing) {
        return; /* the handler ended us; turn is set */
    }
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
    if (MHD_get_timeout(server->daemon, &timeout_ms) == MHD_YES) {
        (void)uv_timer_start(&server->turn, turn_fired, timeout_ms, 0);
    } else {
        (void)uv_timer_stop(&server->turn);
    }
}

static void epoll_ready(uv_poll_t *poll, int status, int events)
{
    (void)status; /* MHD_run looks itself */
    (void)events;
    struct http_server *server = poll->data;
    server_run(server);
}

/* ---- connections and their deadlines ---- */

static void expiry_arm(struct http_server *server);

static void conn_unlist(struct conn *conn)
{
    struct http_server *server = conn->server;
    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        ASSERT(server->first == conn);
        server->first = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    } else {
        server->last = conn->prev;
    }
    conn->next = NULL;
    conn->prev = NULL;
}

/* Puts it at the end, where the latest deadline belongs: all are equally far in the future. */
static void conn_list(struct conn *conn)
{
    struct http_server *server = conn->server;
    conn->deadline = mono_add(mono_now(), server->options.io_timeout_ms);
    conn->prev = server->last;
    if (server->last != NULL) {
        server->last->next = conn;
    } else {
        server->first = conn;
    }
    server->last = conn;
    expiry_arm(server);
}

static void conn_enter(struct conn *conn, enum conn_state state)
{
    if (conn->state != CONN_WAITING) {
        conn_unlist(conn);
    }
    conn->state = state;
    if (state != CONN_WAITING) {
        conn_list(conn);
    }
}

static void conn_cut(struct conn *conn)
{
    conn->cut = true;
    (void)shutdown(conn->fd, SHUT_RDWR); /* libmicrohttpd sees the end and closes */
}

static void expiry_fired(uv_timer_t *timer)
{
    struct http_server *server = timer->data;
    struct mono now = mono_now();
    for (struct conn *conn = server->first; conn != NULL; conn = conn->next) {
        if (mono_before(now, conn->deadline)) {
            break;
        }
        conn_cut(conn);
    }
    server_run(server);
    expiry_arm(server);
}

/* A timer that is set stays: it fires early at worst, and only while there was traffic. */
static void expiry_arm(struct http_server *server)
{
    struct conn *conn = server->first;
    while (conn != NULL && conn->cut) {
        conn = conn->next;
    }
    if (conn == NULL || server->closing || uv_is_active((uv_handle_t *)&server->expiry)) {
        return;
    }
    int64_t wait_ms = mono_sub(conn->deadline, mono_now());
    uv_update_time(server->loop);
    (void)uv_timer_start(&server->expiry, expiry_fired, wait_ms > 0 ? (uint64_t)wait_ms + 1 : 1, 0);
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        ASSERT(info != NULL);
        struct conn *conn = must(calloc(1, sizeof *conn));
        conn->server = server;
        conn->fd = info->connect_fd;
        *context = conn;
        server->conn_count++;
        conn->state = CONN_READING;
        conn_list(conn);
        return;
    }
    struct conn *conn = *context;
    ASSERT(conn != NULL);
    if (conn->state != CONN_WAITING) {
        conn_unlist(conn);
    }
    server->conn_count--;
    free(conn);
    *context = NULL;
}

/* ---- exchanges ---- */

static struct conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    ASSERT(info != NULL && info->socket_context != NULL);
    return info->socket_context;
}

static void held_remove(struct http_exchange *exchange)
{
    if (exchange->gone_cb == NULL) {
        return;
    }
    if (exchange->prev != NULL) {
        exchange->prev->next = exchange->next;
    } else {
        exchange->server->held = exchange->next;
    }
    if (exchange->next != NULL) {
        exchange->next->prev = exchange->prev;
    }
    exchange->gone_cb = NULL;
}

static enum MHD_Result queue_answer(struct http_exchange *exchange)
{
    ASSERT(exchange->response != NULL);
    conn_enter(exchange->conn, CONN_WRITING);
    enum MHD_Result queued =
        MHD_queue_response(exchange->mhd, (unsigned)exchange->status, exchange->response);
    MHD_destroy_response(exchange->response);
    exchange->response = NULL;
    return queued; /* MHD_NO closes the connection */
}

static void answer_status(struct http_exchange *exchange, int status)
{
    http_exchange_answer(exchange, &(struct http_answer){.status = status});
}

/* The head is complete. */
static enum MHD_Result exchange_begin(struct http_exchange *exchange)
{
    struct http_server *server = exchange->server;
    const char *length = http_exchange_header(exchange, "Content-Length");
    if (length != NULL && strtoull(length, NULL, 10) > server->options.body_max) {
        answer_status(exchange, 413);
    } else if (server->options.head_cb != NULL &&
               server->options.head_cb(exchange, server->options.arg)) {
        ASSERT(exchange->answered);
    }
    return exchange->response != NULL ? queue_answer(exchange) : MHD_YES;
}

static enum MHD_Result exchange_append(struct http_exchange *exchange, const char *data,
                                       size_t size)
{
    struct http_server *server = exchange->server;
    if (exchange->answered) {
        return MHD_YES; /* what follows a refusal is not read */
    }
    if (size > server->options.body_max - exchange->body_size) {
        return MHD_NO; /* only without Content-Length */
    }
    size_t need = exchange->body_size + size + 1;
    if (need > exchange->body_room) {
        size_t room = need < 4096 ? 4096 : need * 2;
        if (room - exchange->body_room > server->options.bodies_max - server->bodies_bytes) {
            return MHD_NO;
        }
        exchange->body = must(realloc(exchange->body, room));
        server->bodies_bytes += room - exchange->body_room;
        exchange->body_room = room;
    }
    memcpy(exchange->body + exchange->body_size, data, size);
    exchange->body_size += size;
    exchange->body[exchange->body_size] = '\0';
    return MHD_YES;
}

static enum MHD_Result exchange_complete(struct http_exchange *exchange)
{
    if (exchange->response == NULL) {
        if (exchange->answered) {
            return MHD_YES; /* queued at its head */
        }
        conn_enter(exchange->conn, CONN_WAITING);
        exchange->server->options.request_cb(exchange, exchange->server->options.arg);
        if (exchange->server->closing && exchange->response == NULL) {
            return MHD_NO; /* the handler ended the server */
        }
        if (!exchange->answered) {
            ASSERT(exchange->gone_cb != NULL); /* answered now, or held */
            exchange->suspended = true;
            MHD_suspend_connection(exchange->mhd);
            return MHD_YES;
        }
    }
    return queue_answer(exchange);
}

/* NOLINTNEXTLINE(readability-function-size): as below */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, /* house: MHD's own form */
                                  const char *url, const char *method, const char *version,
                                  const char *upload_data, size_t *upload_data_size, void **context)
{
    (void)version;
    struct http_server *server = arg;
    struct http_exchange *exchange = *context;
    if (exchange == NULL) {
        exchange = must(calloc(1, sizeof *exchange));
        exchange->server = server;
        exchange->conn = conn_of(mhd);
        exchange->mhd = mhd;
        exchange->method = method;
        exchange->path = url;
        *context = exchange;
        return exchange_begin(exchange);
    }
    if (*upload_data_size > 0) {
        size_t size = *upload_data_size;
        *upload_data_size = 0;
        return exchange_append(exchange, upload_data, size);
    }
    return exchange_complete(exchange);
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code)
{
    (void)mhd;
    (void)code;
    struct http_server *server = arg;
    struct http_exchange *exchange = *context;
    if (exchange == NULL) {
        return; /* refused by libmicrohttpd before it reached us */
    }
    if (exchange->response != NULL) {
        MHD_destroy_response(exchange->response);
    }
    held_remove(exchange);
    server->bodies_bytes -= exchange->body_room;
    free(exchange->body);
    conn_enter(exchange->conn, CONN_READING); /* the next request, or the end */
    free(exchange);
    *context = NULL;
}

const char *http_exchange_method(const struct http_exchange *exchange)
{
    return exchange->method;
}

const char *http_exchange_path(const struct http_exchange *exchange)
{
    return exchange->path;
}

const char *http_exchange_argument(struct http_exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->mhd, MHD_GET_ARGUMENT_KIND, name);
}

struct each_argument {
    bool (*each_cb)(const char *name, const char *value, void *arg);
    void *arg;
};

static enum MHD_Result on_argument(void *arg, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    (void)kind;
    struct each_argument *each = arg;
    return each->each_cb(name, value, each->arg) ? MHD_YES : MHD_NO;
}

void http_exchange_arguments(struct http_exchange *exchange,
                             bool (*each_cb)(const char *name, const char *value, void *arg),
                             void *arg)
{
    struct each_argument each = {each_cb, arg};
    (void)MHD_get_connection_values(exchange->mhd, MHD_GET_ARGUMENT_KIND, on_argument, &each);
}

const char *http_exchange_header(struct http_exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->mhd, MHD_HEADER_KIND, name);
}

const char *http_exchange_body(const struct http_exchange *exchange, size_t *out_size)
{
    if (out_size != NULL) {
        *out_size = exchange->body_size;
    }
    return exchange->body != NULL ? exchange->body : "";
}

const struct sockaddr *http_exchange_peer(struct http_exchange *exchange)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    ASSERT(info != NULL);
    return info->client_addr;
}

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name,
                                  value); /* one with control characters is left out */
}

void http_exchange_answer(struct http_exchange *exchange, const struct http_answer *answer)
{
    ASSERT(!exchange->answered);
    ASSERT(answer->header_count <= HTTP_ANSWER_HEADERS_MAX);
    char none[1] = "";
    bool bare = answer->content_type == NULL;
    struct MHD_Response *response =
        bare || answer->body == NULL
            ? MHD_create_response_from_buffer(0, none, MHD_RESPMEM_PERSISTENT)
            : MHD_create_response_from_buffer(answer->body_size, (void *)(uintptr_t)answer->body,
                                              MHD_RESPMEM_MUST_COPY);
    must(response);
    (void)MHD_set_response_options(response, MHD_RF_HTTP_1_0_SERVER, MHD_RO_END);
    for (uint32_t i = 0; i < answer->header_count; i++) {
        add_header(response, answer->headers[i].name, answer->headers[i].value);
    }
    if (!bare) {
        char date[64];
        struct tm tm;
        time_t now = time(NULL);
        if (strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm)) > 0) {
            add_header(response, "Date", date);
        }
        add_header(response, "Content-Type", answer->content_type);
    }
    exchange->answered = true;
    exchange->response = response;
    exchange->status = answer->status;
    held_remove(exchange);
    if (exchange->suspended) {
        exchange->suspended = false;
        MHD_resume_connection(exchange->mhd);
        next_turn(exchange->server);
    }
}

void http_exchange_hold(struct http_exchange *exchange,
                        void (*gone_cb)(struct http_exchange *exchange, void *arg), void *arg)
{
    ASSERT(!exchange->answered);
    ASSERT(exchange->gone_cb == NULL);
    ASSERT(gone_cb != NULL);
    exchange->gone_cb = gone_cb;
    exchange->hold_arg = arg;
    exchange->prev = NULL;
    exchange->next = exchange->server->held;
    if (exchange->next != NULL) {
        exchange->next->prev = exchange;
    }
    exchange->server->held = exchange;
}

const char *http_status_phrase(int status)
{
    const char *phrase = MHD_get_reason_phrase_for((unsigned)status);
    return phrase != NULL ? phrase : "Unknown";
}

/* ---- accepting ---- */

/* The oldest connection that waits for nothing of ours goes; false: there is none. */
static bool make_room(struct http_server *server)
{
    struct conn *conn = server->first;
    while (conn != NULL && conn->cut) {
        conn = conn->next;
    }
    if (conn == NULL) {
        return false;
    }
    conn_cut(conn);
    server_run(server);
    return true;
}

static void turn_away(struct http_server *server, int listen_fd)
{
    if (server->reserve_fd >= 0) {
        (void)close(server->reserve_fd);
    }
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        (void)close(fd);
    }
    server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_acceptable(int listen_fd, void *arg)
{
    struct http_server *server = arg;
    for (int i = 0; i < ACCEPTS_PER_TURN && !server->closing; i++) {
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        int fd =
            accept4(listen_fd, (struct sockaddr *)&address, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
            if (!make_room(server)) {
                turn_away(server, listen_fd);
            }
            continue;
        }
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) {
            continue;
        }
        if (fd < 0) {
            break; /* none left */
        }
        if (server->conn_count >= server->options.connections_max && !make_room(server)) {
            (void)close(fd);
            continue;
        }
        if (server->closing) { /* by a handler that make_room ran */
            (void)close(fd);
            return;
        }
        http_listen_tune(fd);
        /* On failure libmicrohttpd has closed it. */
        (void)MHD_add_connection(server->daemon, fd, (struct sockaddr *)&address, length);
    }
    if (!server->closing) {
        server_run(server);
    }
}

enum err http_server_listen(struct http_server *server, const char *host, uint16_t port,
                            struct err_detail *detail)
{
    ASSERT(!server->closing);
    return http_listen_replace(server->loop, &server->listening, host, port,
                               &(struct http_listen_cb){on_acceptable, server}, detail);
}

uint16_t http_server_port(const struct http_server *server)
{
    return http_listen_port(server->listening);
}

uint32_t http_server_connection_count(const struct http_server *server)
{
    return server->conn_count;
}

/* ---- beginning and end ---- */

static struct MHD_Daemon *start_daemon(struct http_server *server)
{
    unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_SUPPRESS_DATE_NO_CLOCK;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_CONNECTION_LIMIT,
        server->options.connections_max + ACCEPTS_PER_TURN, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, 0U, MHD_OPTION_END);
}

enum err http_server_create(uv_loop_t *loop, const struct http_server_options *options,
                            struct http_server **out_server, struct err_detail *detail)
{
    ASSERT(options->request_cb != NULL);
    struct http_server *server = must(calloc(1, sizeof *server));
    server->loop = loop;
    server->options = *options;
    struct http_server_options *own = &server->options;
    own->connections_max = own->connections_max ? own->connections_max : CONNECTIONS_MAX_DEFAULT;
    own->io_timeout_ms = own->io_timeout_ms ? own->io_timeout_ms : IO_TIMEOUT_MS_DEFAULT;
    own->body_max = own->body_max ? own->body_max : HTTP_BODY_MAX;
    own->bodies_max = own->bodies_max ? own->bodies_max : 8 * (size_t)HTTP_BODY_MAX;
    server->daemon = start_daemon(server);
    const union MHD_DaemonInfo *info =
        server->daemon == NULL ? NULL
                               : MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || uv_poll_init(loop, &server->epoll, info->epoll_fd) != 0) {
        if (server->daemon != NULL) {
            MHD_stop_daemon(server->daemon);
        }
        free(server);
        return err_set(detail, ERR_REFUSED, "cannot start the HTTP server: no descriptors");
    }
    server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)uv_timer_init(loop, &server->turn); /* these cannot fail */
    (void)uv_timer_init(loop, &server->expiry);
    server->epoll.data = server;
    server->turn.data = server;
    server->expiry.data = server;
    server->handles = 3;
    (void)uv_poll_start(&server->epoll, UV_READABLE, epoll_ready);
    *out_server = server;
    return ERR_OK;
}

static void tell_gone(struct http_server *server)
{
    while (server->held != NULL) {
        struct http_exchange *exchange = server->held;
        void (*gone_cb)(struct http_exchange *, void *) = exchange->gone_cb;
        held_remove(exchange);
        gone_cb(exchange, exchange->hold_arg);
        exchange->answered = true; /* with nothing: the connection ends */
        if (exchange->suspended) {
            exchange->suspended = false;
            MHD_resume_connection(exchange->mhd); /* one still suspended must not be stopped */
        }
    }
}

static void handle_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;
    ASSERT(server->handles > 0);
    server->handles--;
    if (server->handles > 0) {
        return;
    }
    void (*closed_cb)(void *) = server->closed_cb;
    void *arg = server->closed_arg;
    free(server);
    if (closed_cb != NULL) {
        closed_cb(arg);
    }
}

static void tear_down(struct http_server *server)
{
    tell_gone(server); /* held since http_server_destroy was called from a handler */
    MHD_stop_daemon(server->daemon);
    ASSERT(server->conn_count == 0);
    if (server->reserve_fd >= 0) {
        (void)close(server->reserve_fd);
    }
    uv_close((uv_handle_t *)&server->epoll, handle_closed);
    uv_close((uv_handle_t *)&server->turn, handle_closed);
    uv_close((uv_handle_t *)&server->expiry, handle_closed);
}

void http_server_destroy(struct http_server *server, void (*closed_cb)(void *arg), void *arg)
{
    if (server == NULL) {
        return;
    }
    ASSERT(!server->closing);
    server->closing = true;
    server->closed_cb = closed_cb;
    server->closed_arg = arg;
    http_listen_close(&server->listening);
    (void)uv_poll_stop(&server->epoll); /* before libmicrohttpd closes the descriptor */
    (void)uv_timer_stop(&server->expiry);
    tell_gone(server);
    next_turn(server);
}
