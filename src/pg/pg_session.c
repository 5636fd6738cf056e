/* A state machine around one PGconn: resolve, connect, idle, busy, broken. libpq may change its
 * socket between two polls of a connection attempt, so the loop's handle follows PQsocket. */
#include "pg/pg_session.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/str.h"

#define SESSION_ARENA_BYTES 65536
#define ITEMS_MAX 32
#define ADDRESSES_MAX 4
#define PROBE_NAME "holdfast_probe"

enum state {
    STATE_RESOLVING,
    STATE_CONNECTING,
    STATE_IDLE,
    STATE_BUSY,
    STATE_BROKEN,
    STATE_CLOSED,
};

struct pg_session {
    uv_loop_t *loop;
    struct arena arena;
    PGconn *conn;
    enum state state;
    uv_poll_t *poll; /* on the heap: a new one for each socket */
    int poll_fd;
    int poll_wanted; /* UV_READABLE | UV_WRITABLE */
    uv_timer_t timer;
    uv_getaddrinfo_t resolve;
    bool resolve_pending;
    bool timer_closed;
    const char *keys[ITEMS_MAX + 1];
    const char *values[ITEMS_MAX + 1];
    size_t item_count;
    const char *host;
    const char *port;
    pg_session_cb cb; /* of what is under way; NULL: nothing */
    void *cb_arg;
    void (*lost_cb)(void *arg);
    void *lost_arg;
    PGresult *result;
    const char *probe_sql; /* the statement to be executed after its preparation */
    bool probe_prepared;
    char sqlstate[6]; /* of the last refusal */
    enum err early;   /* an error found before the loop ran */
    struct err_detail early_detail;
};

/* ---- handles ---- */

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

static void poll_drop(struct pg_session *session)
{
    if (session->poll != NULL) {
        (void)uv_poll_stop(session->poll); /* always 0 */
        uv_close((uv_handle_t *)session->poll, free_handle);
        session->poll = NULL;
    }
    session->poll_fd = -1;
}

static void session_step(struct pg_session *session);

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status; /* libpq finds out itself when it reads */
    (void)events;
    session_step(poll->data);
}

/* Follows libpq's socket and watches it for `wanted`. */
static void poll_watch(struct pg_session *session, int wanted)
{
    int fd = PQsocket(session->conn);
    if (fd < 0) {
        poll_drop(session);
        return;
    }
    if (session->poll == NULL || session->poll_fd != fd) {
        poll_drop(session);
        session->poll = malloc(sizeof(*session->poll));
        ASSERT(session->poll != NULL);
        int rc = uv_poll_init(session->loop, session->poll, fd);
        ASSERT(rc == 0);
        session->poll->data = session;
        session->poll_fd = fd;
    } else if (session->poll_wanted == wanted && uv_is_active((uv_handle_t *)session->poll) != 0) {
        return; /* libuv would take it out of epoll and put it back */
    }
    session->poll_wanted = wanted;
    int rc = uv_poll_start(session->poll, wanted, on_poll);
    ASSERT(rc == 0);
}

/* ---- ends ---- */

static void maybe_free(struct pg_session *session)
{
    if (session->timer_closed && !session->resolve_pending) {
        arena_fini(&session->arena);
        free(session);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct pg_session *session = handle->data;
    session->timer_closed = true;
    maybe_free(session);
}

/* The socket's handle goes before the socket. */
static void connection_drop(struct pg_session *session)
{
    poll_drop(session);
    PQclear(session->result);
    session->result = NULL;
    PQfinish(session->conn); /* sends a Terminate without waiting; accepts NULL */
    session->conn = NULL;
}

void pg_session_close(struct pg_session *session)
{
    if (session == NULL || session->state == STATE_CLOSED) {
        return;
    }
    session->state = STATE_CLOSED;
    connection_drop(session);
    if (session->resolve_pending) {
        (void)uv_cancel((uv_req_t *)&session->resolve); /* running already: its end is awaited */
    }
    uv_close((uv_handle_t *)&session->timer, on_timer_closed);
}

/* Ends what is under way; the session may be closed by the callback. */
static void answer(struct pg_session *session, enum err err, const struct err_detail *detail)
{
    (void)uv_timer_stop(&session->timer); /* always 0 */
    pg_session_cb cb = session->cb;
    session->cb = NULL;
    PGresult *result = session->result;
    session->result = NULL;
    if (cb != NULL) {
        cb(err, err == ERR_OK ? result : NULL, detail, session->cb_arg);
    }
    PQclear(result);
}

/* libpq's messages are of several lines and end with one. */
static void message_copy(char *out, size_t out_size, const char *message)
{
    str_copy_cut(out, out_size, message);
    size_t length = strlen(out);
    while (length > 0 && (out[length - 1] == '\n' || out[length - 1] == ' ')) {
        out[--length] = '\0';
    }
    for (size_t i = 0; i < length; i++) {
        if (out[i] == '\n' || out[i] == '\t') {
            out[i] = ' ';
        }
    }
}

static void break_session(struct pg_session *session, enum err err, const char *why)
{
    struct err_detail detail = {0};
    if (why == NULL && session->conn != NULL) {
        message_copy(detail.text, sizeof(detail.text), PQerrorMessage(session->conn));
    } else {
        str_copy_cut(detail.text, sizeof(detail.text), why != NULL ? why : "connection lost");
    }
    bool idle = session->state == STATE_IDLE;
    session->state = STATE_BROKEN;
    connection_drop(session);
    if (idle && session->lost_cb != NULL) {
        session->lost_cb(session->lost_arg);
        return;
    }
    answer(session, err, &detail);
}

static void on_timer(uv_timer_t *timer)
{
    struct pg_session *session = timer->data;
    if (session->early != ERR_OK) {
        struct err_detail detail = session->early_detail;
        break_session(session, session->early, detail.text);
        return;
    }
    break_session(session, session->state == STATE_BUSY ? ERR_IN_DOUBT : ERR_UNREACHABLE,
                  session->state == STATE_BUSY ? "no answer in time" : "no connection in time");
}

/* ---- connecting ---- */

static void item_add(struct pg_session *session, const char *key, const char *value)
{
    if (value == NULL || value[0] == '\0') {
        return;
    }
    ASSERT(session->item_count < ITEMS_MAX);
    char *copy = arena_strdup(&session->arena, value);
    char *name = arena_strdup(&session->arena, key);
    ASSERT(copy != NULL && name != NULL);
    session->keys[session->item_count] = name;
    session->values[session->item_count++] = copy;
}

static void early_fail(struct pg_session *session, enum err err, const char *text)
{
    session->early = err;
    str_copy_cut(session->early_detail.text, sizeof(session->early_detail.text), text);
    (void)uv_timer_start(&session->timer, on_timer, 0, 0); /* the handle is not closing */
}

static void connect_start(struct pg_session *session)
{
    session->state = STATE_CONNECTING;
    session->conn = PQconnectStartParams(session->keys, session->values, 0);
    if (session->conn == NULL) {
        early_fail(session, ERR_UNREACHABLE, "out of memory");
        return;
    }
    if (PQstatus(session->conn) == CONNECTION_BAD) {
        early_fail(session, ERR_UNREACHABLE, PQerrorMessage(session->conn));
        return;
    }
    poll_watch(session, UV_WRITABLE);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct pg_session *session = request->data;
    session->resolve_pending = false;
    if (session->state == STATE_CLOSED) {
        uv_freeaddrinfo(list);
        maybe_free(session);
        return;
    }
    if (session->state != STATE_RESOLVING) { /* timed out meanwhile */
        uv_freeaddrinfo(list);
        return;
    }
    char hosts[ADDRESSES_MAX * 260] = "";
    char addresses[ADDRESSES_MAX * (INET6_ADDRSTRLEN + 1)] = "";
    char ports[ADDRESSES_MAX * 8] = "";
    size_t count = 0;
    for (struct addrinfo *at = list; at != NULL && count < ADDRESSES_MAX; at = at->ai_next) {
        char text[INET6_ADDRSTRLEN];
        if (getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) !=
            0) {
            continue;
        }
        const char *comma = count > 0 ? "," : "";
        size_t used = strlen(hosts);
        (void)snprintf(hosts + used, sizeof(hosts) - used, "%s%.255s", comma, session->host);
        used = strlen(addresses);
        (void)snprintf(addresses + used, sizeof(addresses) - used, "%s%s", comma, text);
        used = strlen(ports);
        (void)snprintf(ports + used, sizeof(ports) - used, "%s%s", comma, session->port);
        count++;
    }
    uv_freeaddrinfo(list);
    if (status != 0 || count == 0) {
        struct err_detail detail;
        (void)err_set(&detail, ERR_UNREACHABLE, "cannot resolve %s: %s", session->host,
                      status != 0 ? uv_strerror(status) : "no address");
        break_session(session, ERR_UNREACHABLE, detail.text);
        return;
    }
    item_add(session, "host", hosts);
    item_add(session, "hostaddr", addresses);
    item_add(session, "port", ports);
    connect_start(session);
}

static bool needs_resolving(const char *host)
{
    struct in_addr four;
    struct in6_addr six;
    return host != NULL && host[0] != '/' && host[0] != '\0' &&
           inet_pton(AF_INET, host, &four) != 1 && inet_pton(AF_INET6, host, &six) != 1;
}

static void items_fill(struct pg_session *session, const struct pg_target *target)
{
    item_add(session, "dbname", target->dbname);
    const struct pg_credentials *credentials = target->credentials;
    if (credentials != NULL) {
        item_add(session, "user", credentials->username);
        item_add(session, "password", credentials->password);
        item_add(session, "sslmode", credentials->sslmode);
        for (size_t i = 0; i < credentials->option_count && i < 12; i++) {
            item_add(session, credentials->options[i].name, credentials->options[i].value);
        }
    }
    item_add(session, "application_name", target->application_name);
    item_add(session, "fallback_application_name", "holdfast");
    item_add(session, "options", target->options);
    item_add(session, "client_encoding", "UTF8");
    item_add(session, "connect_timeout", "3");
    if (target->replication) {
        item_add(session, "replication", "true");
    }
}

struct pg_session *pg_session_open(uv_loop_t *loop, const struct pg_target *target,
                                   int64_t timeout_ms, pg_session_cb ready_cb,
                                   void (*lost_cb)(void *arg), void *arg)
{
    ASSERT(ready_cb != NULL);
    ASSERT(timeout_ms >= 0);
    struct pg_session *session = calloc(1, sizeof(*session));
    ASSERT(session != NULL);
    session->loop = loop;
    session->poll_fd = -1;
    session->cb = ready_cb;
    session->cb_arg = arg;
    session->lost_cb = lost_cb;
    session->lost_arg = arg;
    arena_init(&session->arena, SESSION_ARENA_BYTES);
    int rc = uv_timer_init(loop, &session->timer);
    ASSERT(rc == 0);
    session->timer.data = session;
    rc = uv_timer_start(&session->timer, on_timer, (uint64_t)timeout_ms, 0);
    ASSERT(rc == 0);
    items_fill(session, target);
    session->port = arena_printf(&session->arena, "%u", target->port);
    ASSERT(session->port != NULL);
    if (needs_resolving(target->host)) {
        session->host = arena_strdup(&session->arena, target->host);
        ASSERT(session->host != NULL);
        session->resolve.data = session;
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
        if (uv_getaddrinfo(loop, &session->resolve, on_resolved, session->host, NULL, &hints) ==
            0) {
            session->resolve_pending = true;
        } else {
            early_fail(session, ERR_UNREACHABLE, "cannot resolve the host's name");
        }
        return session;
    }
    item_add(session, "host", target->host);
    item_add(session, "port", session->port);
    connect_start(session);
    return session;
}

static void connect_step(struct pg_session *session)
{
    /* libpq may close this socket and open another one under the same number: out of epoll first */
    (void)uv_poll_stop(session->poll); /* always 0 */
    switch (PQconnectPoll(session->conn)) {
    case PGRES_POLLING_READING:
        poll_watch(session, UV_READABLE);
        return;
    case PGRES_POLLING_WRITING:
    case PGRES_POLLING_ACTIVE:
        poll_watch(session, UV_WRITABLE);
        return;
    case PGRES_POLLING_FAILED:
        break_session(session, ERR_UNREACHABLE, NULL);
        return;
    case PGRES_POLLING_OK:
        break;
    }
    (void)PQsetnonblocking(session->conn, 1); /* fails only without a connection */
    session->state = STATE_IDLE;
    poll_watch(session, UV_READABLE);
    answer(session, ERR_OK, NULL);
}

/* ---- statements ---- */

static bool result_good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_SINGLE_TUPLE;
}

static void send_failed(struct pg_session *session)
{
    early_fail(session, ERR_UNREACHABLE, PQerrorMessage(session->conn));
}

static void busy(struct pg_session *session, int64_t timeout_ms, pg_session_cb cb, void *arg)
{
    ASSERT(session->state == STATE_IDLE);
    ASSERT(session->cb == NULL);
    session->state = STATE_BUSY;
    session->cb = cb;
    session->cb_arg = arg;
    session->early = ERR_OK;
    int rc = uv_timer_start(&session->timer, on_timer, (uint64_t)timeout_ms, 0);
    ASSERT(rc == 0);
}

static void flush(struct pg_session *session)
{
    int rc = PQflush(session->conn);
    poll_watch(session, rc > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

void pg_session_query(struct pg_session *session, const char *sql, int64_t timeout_ms,
                      pg_session_cb cb, void *arg)
{
    ASSERT(sql != NULL);
    busy(session, timeout_ms, cb, arg);
    if (PQsendQuery(session->conn, sql) != 1) {
        send_failed(session);
        return;
    }
    flush(session);
}

void pg_session_probe(struct pg_session *session, const char *sql, int64_t timeout_ms,
                      pg_session_cb cb, void *arg)
{
    ASSERT(sql != NULL);
    busy(session, timeout_ms, cb, arg);
    int rc;
    if (session->probe_prepared) {
        rc = PQsendQueryPrepared(session->conn, PROBE_NAME, 0, NULL, NULL, NULL, 0);
    } else {
        session->probe_sql = sql;
        rc = PQsendPrepare(session->conn, PROBE_NAME, sql, 0, NULL);
    }
    if (rc != 1) {
        send_failed(session);
        return;
    }
    flush(session);
}

/* All results of the statement are in; a preparation is followed by its execution. */
static void statement_done(struct pg_session *session)
{
    struct err_detail detail = {0};
    if (session->result == NULL) {
        break_session(session, ERR_IN_DOUBT, "no result");
        return;
    }
    if (!result_good(session->result)) {
        /* the primary message alone: CONTEXT may quote a statement with a password in it */
        const char *message = PQresultErrorField(session->result, PG_DIAG_MESSAGE_PRIMARY);
        message_copy(detail.text, sizeof(detail.text),
                     message != NULL ? message : PQresultErrorMessage(session->result));
        const char *code = PQresultErrorField(session->result, PG_DIAG_SQLSTATE);
        str_copy_cut(session->sqlstate, sizeof(session->sqlstate), code != NULL ? code : "");
        if (PQstatus(session->conn) == CONNECTION_BAD) {
            struct err_detail kept = detail;
            break_session(session, ERR_IN_DOUBT, kept.text);
            return;
        }
        session->probe_sql = NULL;
        session->state = STATE_IDLE;
        answer(session, ERR_REFUSED, &detail);
        return;
    }
    if (session->probe_sql != NULL) {
        session->probe_sql = NULL;
        session->probe_prepared = true;
        PQclear(session->result);
        session->result = NULL;
        if (PQsendQueryPrepared(session->conn, PROBE_NAME, 0, NULL, NULL, NULL, 0) != 1) {
            break_session(session, ERR_UNREACHABLE, NULL);
            return;
        }
        flush(session);
        return;
    }
    session->state = STATE_IDLE;
    answer(session, ERR_OK, NULL);
}

static void busy_step(struct pg_session *session)
{
    if (session->early != ERR_OK) {
        return; /* the timer tells it */
    }
    if (PQflush(session->conn) == 0 && (session->poll_wanted & UV_WRITABLE) != 0) {
        poll_watch(session, UV_READABLE);
    }
    if (PQconsumeInput(session->conn) != 1) {
        break_session(session, ERR_IN_DOUBT, NULL);
        return;
    }
    while (PQisBusy(session->conn) == 0) {
        PGresult *result = PQgetResult(session->conn);
        if (result == NULL) {
            statement_done(session);
            return;
        }
        /* the first error counts, else the last result */
        if (session->result != NULL && !result_good(session->result)) {
            PQclear(result);
            continue;
        }
        PQclear(session->result);
        session->result = result;
        ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
            break_session(session, ERR_IN_DOUBT, "unexpected copy");
            return;
        }
    }
}

static void session_step(struct pg_session *session)
{
    switch (session->state) {
    case STATE_CONNECTING:
        connect_step(session);
        return;
    case STATE_BUSY:
        busy_step(session);
        return;
    case STATE_IDLE:
        if (PQconsumeInput(session->conn) != 1 || PQstatus(session->conn) == CONNECTION_BAD) {
            break_session(session, ERR_UNREACHABLE, NULL);
        } else {
            (void)PQisBusy(session->conn); /* takes notices and parameter changes off the buffer */
        }
        return;
    case STATE_RESOLVING:
    case STATE_BROKEN:
    case STATE_CLOSED:
        return;
    }
}

bool pg_session_idle(const struct pg_session *session)
{
    return session != NULL && session->state == STATE_IDLE && session->cb == NULL;
}

bool pg_session_broken(const struct pg_session *session)
{
    return session == NULL || session->state == STATE_BROKEN || session->state == STATE_CLOSED;
}

int pg_session_server_version(const struct pg_session *session)
{
    return session->conn != NULL ? PQserverVersion(session->conn) : 0;
}

const char *pg_session_sqlstate(const struct pg_session *session)
{
    return session->sqlstate;
}

bool pg_session_in_hot_standby(const struct pg_session *session)
{
    const char *value =
        session->conn != NULL ? PQparameterStatus(session->conn, "in_hot_standby") : NULL;
    return value != NULL && str_equal(value, "on");
}
