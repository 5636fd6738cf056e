/* Requests are carried out one after the other on one thread, each whole before the next is looked
 * at: that alone makes reads linearizable and transactions atomic for every client. */
#include "store/store_server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "dcs/frames.h"

#define READ_CHUNK 65536

struct store_client {
    uv_pipe_t pipe;
    struct store_server *server;
    struct store_client *next;
    char base[STORE_KEY_SIZE]; /* "" before HELLO */
    struct frames frames;
    bool watching;
    bool closing;
};

/* One frame on its way out; data follows the write request into the kernel's hands. */
struct outgoing {
    uv_write_t write;
    char *data;
};

/* ---- clients ---- */

static void client_closed_cb(uv_handle_t *handle)
{
    struct store_client *client = handle->data;
    ASSERT(client->closing);
    frames_fini(&client->frames);
    free(client);
}

static void client_drop(struct store_client *client, const char *why)
{
    if (client->closing) {
        return;
    }
    log_debug("store_client_gone", "base=%s why=\"%s\"", client->base, why);
    client->closing = true;
    struct store_server *server = client->server;
    struct store_client **link = &server->clients;
    while (*link != client) {
        ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = client->next;
    server->client_count--;
    uv_close((uv_handle_t *)&client->pipe, client_closed_cb);
}

static void written_cb(uv_write_t *write, int status)
{
    struct outgoing *outgoing = write->data;
    ASSERT(outgoing != NULL);
    struct store_client *client = write->handle->data;
    free(outgoing->data);
    free(outgoing);
    if (status < 0) {
        client_drop(client, uv_strerror(status));
    }
}

/* Takes data over. */
static void client_send_owned(struct store_client *client, char *data, size_t size)
{
    ASSERT(data != NULL && size > 0);
    uv_stream_t *stream = (uv_stream_t *)&client->pipe;
    if (client->closing || uv_stream_get_write_queue_size(stream) > STORE_QUEUE_MAX) {
        free(data);
        client_drop(client, "does not read");
        return;
    }
    uv_buf_t buf = uv_buf_init(data, (unsigned)size);
    int sent = uv_try_write(stream, &buf, 1);
    if (sent == (int)size) {
        free(data);
        return;
    }
    struct outgoing *outgoing = malloc(sizeof(*outgoing));
    ASSERT(outgoing != NULL);
    outgoing->data = data;
    outgoing->write.data = outgoing;
    if (sent > 0) {
        buf = uv_buf_init(data + sent, (unsigned)(size - (size_t)sent));
    }
    if (uv_write(&outgoing->write, stream, &buf, 1, written_cb) != 0) {
        free(data);
        free(outgoing);
        client_drop(client, "cannot write");
    }
}

static void client_answer(struct store_client *client, const struct localproto_answer *answer)
{
    ASSERT(client != NULL);
    struct localproto_buf buf = {.grow = realloc};
    localproto_put_answer(&buf, answer);
    client_send_owned(client, buf.data, buf.used);
}

static void client_fail(struct store_client *client, uint64_t id, enum localproto_error error,
                        const char *text)
{
    ASSERT(text != NULL);
    /* The text may hold parts of what a client sent: only what is surely UTF-8 goes back. */
    bool ok = localproto_text_ok(text, strlen(text));
    struct localproto_answer answer = {.type = LOCALPROTO_FAILED,
                                       .id = id,
                                       .error = error,
                                       .text = ok ? text : localproto_error_name(error)};
    client_answer(client, &answer);
}

/* ---- pushed changes ---- */

/* Whether the key lies below the base; the part of the key below it then. */
static const char *key_below(const char *key, const char *base)
{
    size_t size = strlen(base);
    ASSERT(size > 0);
    return strncmp(key, base, size) == 0 && key[size] == '/' ? key + size + 1 : NULL;
}

/* The frame for one base, or false when nothing below it changed. */
static bool push_encode(const struct store_server *server, const struct store_changes *changes,
                        const char *base, struct localproto_buf *buf)
{
    ASSERT(buf->used == 0);
    uint64_t revision = store_db_revision(server->db);
    bool any = false;
    struct localproto_answer head = {.type = LOCALPROTO_CHANGES, .revision = revision};
    localproto_items_begin(buf, &head);
    for (size_t i = 0; i < changes->count; i++) {
        const struct store_change *change = &changes->items[i];
        const char *key = key_below(change->key, base);
        if (key != NULL) {
            struct localproto_item item = {.key = key,
                                           .value = change->value,
                                           .value_size = change->value_size,
                                           .version = revision,
                                           .attached = change->attached};
            localproto_put_item(buf, &item);
            any = true;
        }
    }
    localproto_items_end(buf);
    return any;
}

static void push(struct store_server *server, const struct store_changes *changes)
{
    if (changes->count == 0) {
        return;
    }
    struct localproto_buf buf = {.grow = realloc};
    const char *encoded = NULL; /* the base that buf is for */
    bool any = false;
    struct store_client *next;
    for (struct store_client *client = server->clients; client != NULL; client = next) {
        next = client->next;
        ASSERT(!client->closing);
        if (!client->watching) {
            continue;
        }
        if (encoded == NULL || !str_equal(encoded, client->base)) {
            buf.used = 0;
            any = push_encode(server, changes, client->base, &buf);
            encoded = client->base;
        }
        if (any) {
            char *copy = malloc(buf.used);
            ASSERT(copy != NULL);
            memcpy(copy, buf.data, buf.used);
            client_send_owned(client, copy, buf.used); /* may drop it: base lives until closed */
        }
    }
    free(buf.data);
}

/* ---- requests ---- */

/* What was not, or may not have been, written must be answered by nobody from here on. */
static void store_failed(struct store_server *server, const char *what)
{
    ASSERT(what != NULL);
    log_error("store_failed", "%s", what);
    store_server_stop(server, 1);
}

static bool intact(struct store_server *server)
{
    ASSERT(server->db != NULL);
    if (server->stopping) {
        return false;
    }
    if (!store_db_intact(server->db)) {
        store_failed(server, "the directory was removed or replaced while the store was running");
        return false;
    }
    return true;
}

static void serve_snapshot(struct store_client *client, uint64_t id)
{
    ASSERT(client->base[0] != '\0');
    struct store_db *db = client->server->db;
    struct localproto_buf buf = {.grow = realloc};
    struct localproto_answer head = {.type = LOCALPROTO_SNAPSHOT,
                                     .id = id,
                                     .store_id = store_db_id(db),
                                     .revision = store_db_revision(db)};
    struct err_detail detail = {0};
    localproto_items_begin(&buf, &head);
    enum err err = store_db_read(db, client->base, &buf, &detail);
    localproto_items_end(&buf);
    if (err == ERR_OK && buf.used > LOCALPROTO_FRAME_MAX) { /* a base with clusters below it */
        err = err_set(&detail, ERR_REFUSED, "%s holds too much", client->base);
    }
    if (err != ERR_OK) {
        free(buf.data);
        client_fail(client, id, LOCALPROTO_REFUSED, detail.text);
        return;
    }
    client_send_owned(client, buf.data, buf.used);
}

static void serve_txn_checked(struct store_client *client, const struct localproto_request *request)
{
    struct store_server *server = client->server;
    struct store_changes changes = {0};
    struct err_detail detail = {0};
    enum err err = store_db_txn(server->db, client->base, request, &changes, &detail);
    ASSERT_IMPLIES(err != ERR_OK, changes.count == 0);
    if (err == ERR_IN_DOUBT) {
        store_failed(server, detail.text);
    } else if (err != ERR_OK) {
        client_fail(client, request->id,
                    err == ERR_CONFLICT ? LOCALPROTO_CONFLICT : LOCALPROTO_REFUSED, detail.text);
    } else if (intact(server)) { /* written into removed files is not written */
        struct localproto_answer answer = {
            .type = LOCALPROTO_DONE, .id = request->id, .revision = store_db_revision(server->db)};
        client_answer(client, &answer);
        push(server, &changes);
    }
    store_changes_fini(&changes);
}

static void serve_txn(struct store_client *client, const struct localproto_request *request)
{
    ASSERT(request->type == LOCALPROTO_TXN);
    struct err_detail detail = {0};
    bool attach = false;
    for (size_t i = 0; i < request->op_count; i++) {
        attach = attach || request->ops[i].type == LOCALPROTO_ATTACH;
    }
    if (localproto_ops_check(request->ops, request->op_count, strlen(client->base), &detail) !=
        ERR_OK) {
        client_fail(client, request->id, LOCALPROTO_INVALID, detail.text);
    } else if (attach && !store_session_exists(&client->server->sessions, request->session)) {
        client_fail(client, request->id, LOCALPROTO_NO_SESSION, "there is no such session");
    } else {
        serve_txn_checked(client, request);
    }
}

static void serve_session(struct store_client *client, const struct localproto_request *request)
{
    ASSERT(request->type == LOCALPROTO_SESSION);
    char id[SESSION_SIZE];
    struct err_detail detail = {0};
    struct store_sessions *sessions = &client->server->sessions;
    if (store_session_create(sessions, request->ttl_ms, mono_now(), id, &detail) != ERR_OK) {
        client_fail(client, request->id, LOCALPROTO_REFUSED, detail.text);
        return;
    }
    struct localproto_answer answer = {
        .type = LOCALPROTO_GRANTED, .id = request->id, .session = id};
    client_answer(client, &answer);
}

static void serve_keepalive(struct store_client *client, const struct localproto_request *request)
{
    ASSERT(request->type == LOCALPROTO_KEEPALIVE);
    struct store_server *server = client->server;
    if (!store_session_keep(&server->sessions, request->session, request->ttl_ms, mono_now())) {
        client_fail(client, request->id, LOCALPROTO_NO_SESSION, "there is no such session");
        return;
    }
    struct localproto_answer answer = {
        .type = LOCALPROTO_DONE, .id = request->id, .revision = store_db_revision(server->db)};
    client_answer(client, &answer);
}

static void serve_hello(struct store_client *client, const struct localproto_request *request)
{
    ASSERT(request->type == LOCALPROTO_HELLO);
    struct store_db *db = client->server->db;
    bool fits = str_copy(client->base, sizeof(client->base), request->base);
    ASSERT(fits); /* localproto_base_ok */
    struct localproto_answer answer = {.type = LOCALPROTO_WELCOME,
                                       .id = request->id,
                                       .store_id = store_db_id(db),
                                       .revision = store_db_revision(db)};
    client_answer(client, &answer);
}

static void serve_request(struct store_client *client, const struct localproto_request *request)
{
    ASSERT(!client->closing);
    if (!store_db_intact(client->server->db)) {
        client_fail(client, request->id, LOCALPROTO_UNAVAILABLE, "the store's directory is gone");
        (void)intact(client->server); /* ends the store */
        return;
    }
    if ((client->base[0] == '\0') != (request->type == LOCALPROTO_HELLO)) {
        client_fail(client, request->id, LOCALPROTO_INVALID, "one hello, and first");
        client_drop(client, "hello out of order");
        return;
    }
    switch (request->type) {
    case LOCALPROTO_HELLO:
        serve_hello(client, request);
        break;
    case LOCALPROTO_WATCH:
        client->watching = true;
        serve_snapshot(client, request->id);
        break;
    case LOCALPROTO_READ:
        serve_snapshot(client, request->id);
        break;
    case LOCALPROTO_TXN:
        serve_txn(client, request);
        break;
    case LOCALPROTO_SESSION:
        serve_session(client, request);
        break;
    case LOCALPROTO_KEEPALIVE:
        serve_keepalive(client, request);
        break;
    case LOCALPROTO_REQUEST_COUNT:
        UNREACHABLE();
    }
}

static void serve_line(struct store_client *client, const char *line, size_t size)
{
    ASSERT(line != NULL);
    struct localproto_request request;
    struct err_detail detail = {0};
    if (localproto_get_request(line, size, &request, &detail) != ERR_OK) {
        log_debug("store_bad_frame", "base=%s error=\"%s\"", client->base, detail.text);
        client_fail(client, 0, LOCALPROTO_INVALID, detail.text);
        client_drop(client, "bad frame");
        return;
    }
    serve_request(client, &request);
    localproto_request_fini(&request);
}

/* ---- input ---- */

static void client_input(struct store_client *client, const char *data, size_t size)
{
    ASSERT(data != NULL);
    const char *line = NULL;
    size_t length = 0;
    enum frames_step step = FRAMES_MORE;
    while (!client->closing &&
           (step = frames_next(&client->frames, &data, &size, &line, &length)) == FRAMES_LINE) {
        serve_line(client, line, length);
    }
    if (!client->closing && step == FRAMES_TOO_LONG) {
        client_fail(client, 0, LOCALPROTO_INVALID, "the frame is too long");
        client_drop(client, "oversized frame");
    }
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested; /* ours serves every client: a read is worked off before the next one */
    (void)handle;
    static char chunk[READ_CHUNK];
    *buf = uv_buf_init(chunk, sizeof(chunk));
}

static void read_cb(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct store_client *client = stream->data;
    ASSERT(client != NULL);
    if (size > 0) {
        client_input(client, buf->base, (size_t)size);
    } else if (size < 0) {
        client_drop(client, uv_strerror((int)size));
    }
}

/* ---- connections ---- */

static bool peer_ok(const struct store_server *server, const struct store_client *client)
{
    int fd = -1;
    int rc = uv_fileno((const uv_handle_t *)&client->pipe, &fd);
    ASSERT(rc == 0);
    struct ucred peer = {.pid = 0};
    socklen_t size = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        return false;
    }
    return peer.uid == 0 || peer.uid == geteuid() ||
           (server->group_access && peer.gid == getegid());
}

static void connection_cb(uv_stream_t *listener, int status)
{
    struct store_server *server = listener->data;
    ASSERT(server != NULL);
    if (status < 0) {
        log_warn("store_accept_failed", "error=\"%s\"", uv_strerror(status));
        return;
    }
    struct store_client *client = calloc(1, sizeof(*client));
    ASSERT(client != NULL);
    int rc = uv_pipe_init(&server->loop, &client->pipe, 0);
    ASSERT(rc == 0);
    client->pipe.data = client;
    client->server = server;
    client->next = server->clients;
    server->clients = client;
    server->client_count++;
    if (uv_accept(listener, (uv_stream_t *)&client->pipe) != 0) {
        client_drop(client, "cannot accept");
    } else if (!peer_ok(server, client)) {
        client_fail(client, 0, LOCALPROTO_REFUSED,
                    "the local store serves its own user and root only");
        client_drop(client, "wrong user");
    } else if (server->client_count > STORE_CLIENTS_MAX) {
        client_fail(client, 0, LOCALPROTO_REFUSED, "too many clients");
        client_drop(client, "too many clients");
    } else if (uv_read_start((uv_stream_t *)&client->pipe, alloc_cb, read_cb) != 0) {
        client_drop(client, "cannot read");
    }
}

/* ---- start and end ---- */

/* Answers whether there may be more to do now. */
static bool session_end(struct store_server *server, const char *id)
{
    char ended[SESSION_SIZE];
    str_copy_cut(ended, sizeof(ended), id);
    struct store_changes changes = {0};
    struct err_detail detail = {0};
    enum err err = store_db_session_delete(server->db, ended, &changes, &detail);
    ASSERT_IMPLIES(err != ERR_OK, changes.count == 0);
    if (err == ERR_OK) {
        log_info("store_session_expired", "session=%s keys=%zu", ended, changes.count);
        store_session_forget(&server->sessions, ended);
        push(server, &changes);
    } else if (err == ERR_IN_DOUBT) {
        store_failed(server, detail.text);
    } else {
        log_warn("store_session_not_ended", "session=%s error=\"%s\"", ended, detail.text);
    }
    store_changes_fini(&changes);
    return err == ERR_OK;
}

static void tick_cb(uv_timer_t *timer)
{
    struct store_server *server = timer->data;
    ASSERT(server != NULL);
    if (!intact(server)) {
        return;
    }
    const char *id;
    do {
        id = store_sessions_tick(&server->sessions, mono_now());
    } while (id != NULL && session_end(server, id));
}

static void signal_cb(uv_signal_t *handle, int signum)
{
    struct store_server *server = handle->data;
    ASSERT(server != NULL);
    log_info("store_stopping", "signal=%d", signum);
    store_server_stop(server, 0);
}

/* A socket that somebody listens on is not taken away from him. DIR is ours by its lock, but the
 * socket may have been put elsewhere. */
static enum err socket_free(const char *path, const struct sockaddr_un *address,
                            struct err_detail *detail)
{
    ASSERT(path[0] != '\0');
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "no socket");
    }
    int rc = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    int error = rc == 0 ? 0 : errno;
    (void)close(fd); /* nothing was written to it */
    if (error == 0 || error == EAGAIN) {
        return err_set(detail, ERR_CONFLICT, "another store is listening on %s", path);
    }
    if (error != ENOENT && error != ECONNREFUSED) {
        return err_set_errno(detail, ERR_REFUSED, error, "cannot use %s", path);
    }
    if (error == ECONNREFUSED && unlink(path) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot replace %s", path);
    }
    return ERR_OK;
}

static enum err socket_bind(struct store_server *server, struct err_detail *detail)
{
    const char *path = server->socket_path;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!str_copy(address.sun_path, sizeof(address.sun_path), path)) {
        return err_set(detail, ERR_INVALID, "socket name longer than %zu bytes: %s",
                       sizeof(address.sun_path) - 1, path);
    }
    enum err err = socket_free(path, &address, detail);
    if (err != ERR_OK) {
        return err;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "no socket");
    }
    mode_t before = umask(server->group_access ? 0117 : 0177);
    int rc = bind(fd, (const struct sockaddr *)&address, sizeof(address));
    int error = errno;
    (void)umask(before); /* cannot fail */
    if (rc != 0 || stat(path, &server->socket_stat) != 0) {
        (void)close(fd); /* nothing was written to it */
        return err_set_errno(detail, ERR_REFUSED, rc != 0 ? error : errno, "cannot bind %s", path);
    }
    /* By descriptor: libuv would remove a socket that it bound by name, whoever owns it by then. */
    rc = uv_pipe_open(&server->listener, fd);
    ASSERT(rc == 0);
    rc = uv_listen((uv_stream_t *)&server->listener, 128, connection_cb);
    return rc == 0 ? ERR_OK
                   : err_set(detail, ERR_REFUSED, "cannot listen on %s: %s", path, uv_strerror(rc));
}

enum err store_server_start(struct store_server *server, struct err_detail *detail)
{
    static const int signums[2] = {SIGTERM, SIGINT};
    ASSERT(server->db != NULL);
    int rc = uv_pipe_init(&server->loop, &server->listener, 0);
    rc |= uv_timer_init(&server->loop, &server->tick);
    for (int i = 0; i < 2; i++) {
        rc |= uv_signal_init(&server->loop, &server->signals[i]);
        server->signals[i].data = server;
    }
    ASSERT(rc == 0);
    server->listener.data = server;
    server->tick.data = server;
    enum err err = socket_bind(server, detail);
    if (err != ERR_OK) {
        return err;
    }
    rc = uv_timer_start(&server->tick, tick_cb, STORE_TICK_MS, STORE_TICK_MS);
    for (int i = 0; i < 2; i++) {
        rc |= uv_signal_start(&server->signals[i], signal_cb, signums[i]);
    }
    ASSERT(rc == 0);
    return ERR_OK;
}

void store_server_stop(struct store_server *server, int exit_status)
{
    if (server->stopping) {
        return;
    }
    server->stopping = true;
    server->exit_status = exit_status;
    while (server->clients != NULL) {
        client_drop(server->clients, "the store ends");
    }
    if (server->listener.data != NULL) { /* store_server_start was called */
        uv_close((uv_handle_t *)&server->listener, NULL);
        uv_close((uv_handle_t *)&server->tick, NULL);
        for (int i = 0; i < 2; i++) {
            uv_close((uv_handle_t *)&server->signals[i], NULL);
        }
    }
    ASSERT(server->clients == NULL);
}
