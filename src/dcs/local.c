/* One connection, one mirror. The connection is made anew whenever it is gone, and everything that
 * belonged to it (ids under way, the watch, the silence count) starts afresh; what belongs to the
 * client (requests not sent, the session, the mirror) stays. Local sockets connect even to a store
 * that does not run, so nothing is sent before its welcome, and nothing waits without a deadline.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/localproto.h"
#include "dcs/dcs.h"
#include "dcs/frames.h"
#include "dcs/mirror.h"
#include "dcs/pending.h"

#define READ_CHUNK 65536
#define RETRY_FIRST_MS 20
#define RETRY_MAX_MS 200
#define RETRY_STEPS_MAX 4 /* 20, 40, 80, 160, then 200 */
#define SILENCE_TICK_MS 1000
#define SILENCE_TICKS 2 /* without a byte while an answer is owed: the connection is given up */
#define SESSION_TTL_DEFAULT_MS 30000

struct local;

struct local_conn {
    uv_pipe_t pipe;
    uv_connect_t connect;
    struct local *local; /* NULL once given up; freed when the pipe is closed */
    struct local *owner;
    struct frames frames;
};

/* One frame on its way out. */
struct outgoing {
    uv_write_t write;
    char *data;
};

struct local {
    struct dcs dcs;
    uv_loop_t *loop;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    char base[STORE_KEY_SIZE];
    struct dcs_pending pending;
    uv_timer_t retry;
    uv_timer_t keepalive;
    uv_timer_t silence;
    unsigned handles_open; /* what must be closed before the memory may go */
    bool closing;
    void (*closed_cb)(void *arg);
    void *closed_arg;

    struct local_conn *conn; /* NULL: none, the retry timer runs */
    unsigned failures;       /* attempts since the last welcome */
    char trouble[192];       /* why there is no connection */
    bool ready;              /* welcomed */
    uint64_t hello_call;     /* ids of our own requests under way, 0: none */
    uint64_t watch_call;
    uint64_t session_call;
    uint64_t keepalive_call;
    unsigned unanswered; /* frames sent on this connection that are owed an answer */
    unsigned silent_ticks;

    uint64_t store_id;
    char session[SESSION_SIZE];
    int64_t ttl_ms;
    dcs_watch_cb watch_cb;
    void *watch_arg;
    bool watch_up;
    bool watch_dirty; /* the mirror has changes that the watcher was not told */
    uint64_t mirror_revision;
    struct dcs_mirror mirror;
};

static void conn_start(struct local *local);
static void send_waiting(struct local *local);

static struct local *local_of(const struct dcs *dcs)
{
    ASSERT(dcs != NULL);
    return (struct local *)(uintptr_t)dcs; /* its first member */
}

/* ---- the connection's end ---- */

static void handle_closed(struct local *local)
{
    ASSERT(local->handles_open > 0);
    if (--local->handles_open > 0) {
        return;
    }
    void (*closed_cb)(void *) = local->closed_cb;
    void *closed_arg = local->closed_arg;
    dcs_mirror_clear(&local->mirror);
    free(local);
    if (closed_cb != NULL) {
        closed_cb(closed_arg);
    }
}

static void conn_closed_cb(uv_handle_t *handle)
{
    struct local_conn *conn = handle->data;
    struct local *local = conn->owner;
    ASSERT(conn->local == NULL);
    frames_fini(&conn->frames);
    free(conn);
    handle_closed(local);
}

static void conn_drop(struct local *local)
{
    struct local_conn *conn = local->conn;
    if (conn == NULL) {
        return;
    }
    ASSERT(conn->local == local);
    conn->local = NULL;
    local->conn = NULL;
    local->ready = false;
    local->hello_call = 0;
    local->watch_call = 0;
    local->session_call = 0;
    local->keepalive_call = 0;
    local->unanswered = 0;
    uv_close((uv_handle_t *)&conn->pipe, conn_closed_cb);
}

static void retry_cb(uv_timer_t *timer)
{
    struct local *local = timer->data;
    ASSERT(local->conn == NULL && !local->closing);
    conn_start(local);
}

/* Only from the loop: it tells the watcher. */
static void conn_cut(struct local *local, const char *why)
{
    ASSERT(!local->closing);
    log_debug("local_store_cut", "path=%s why=\"%s\"", local->path, why);
    conn_drop(local);
    if (local->trouble[0] == '\0') {
        str_copy_cut(local->trouble, sizeof(local->trouble), why);
    }
    dcs_pending_cut(&local->pending);
    unsigned step = local->failures < RETRY_STEPS_MAX ? local->failures : RETRY_STEPS_MAX;
    uint64_t wait_ms = step == 0 ? 0 : (uint64_t)RETRY_FIRST_MS << (step - 1);
    wait_ms = step == RETRY_STEPS_MAX ? RETRY_MAX_MS : wait_ms;
    local->failures++;
    int rc = uv_timer_start(&local->retry, retry_cb, wait_ms, 0);
    ASSERT(rc == 0);
    if (local->watch_up) {
        local->watch_up = false;
        local->watch_dirty = false;
        local->watch_cb(&local->dcs, DCS_WATCH_DOWN, NULL, local->watch_arg);
    }
}

/* ---- sending ---- */

static void written_cb(uv_write_t *write, int status)
{
    struct outgoing *outgoing = write->data;
    ASSERT(outgoing != NULL);
    (void)status; /* a broken connection is told by its reading side */
    free(outgoing->data);
    free(outgoing);
}

static void silence_cb(uv_timer_t *timer)
{
    struct local *local = timer->data;
    ASSERT(!local->closing);
    if (local->unanswered == 0) {
        (void)uv_timer_stop(timer); /* cannot fail */
    } else if (++local->silent_ticks >= SILENCE_TICKS) {
        (void)uv_timer_stop(timer); /* cannot fail */
        conn_cut(local, "the store does not answer");
    }
}

static void answer_owed(struct local *local)
{
    if (local->unanswered++ == 0 && !uv_is_active((const uv_handle_t *)&local->silence)) {
        local->silent_ticks = 0;
        int rc = uv_timer_start(&local->silence, silence_cb, SILENCE_TICK_MS, SILENCE_TICK_MS);
        ASSERT(rc == 0);
    }
}

/* Takes data over. False: not a byte of it has left. */
static bool conn_send(struct local *local, char *data, size_t size)
{
    ASSERT(local->conn != NULL && size > 0);
    uv_stream_t *stream = (uv_stream_t *)&local->conn->pipe;
    uv_buf_t buf = uv_buf_init(data, (unsigned)size);
    int sent = uv_try_write(stream, &buf, 1);
    if (sent == (int)size) {
        free(data);
        answer_owed(local);
        return true;
    }
    if (sent < 0 && sent != UV_EAGAIN) {
        free(data);
        return false; /* the reading side is about to hear of it */
    }
    struct outgoing *outgoing = malloc(sizeof(*outgoing));
    ASSERT(outgoing != NULL);
    outgoing->data = data;
    outgoing->write.data = outgoing;
    if (sent > 0) {
        buf = uv_buf_init(data + sent, (unsigned)(size - (size_t)sent));
    }
    int rc = uv_write(&outgoing->write, stream, &buf, 1, written_cb);
    ASSERT(rc == 0); /* only bad handles are refused here */
    answer_owed(local);
    return true;
}

/* Answers the id, 0 when it could not be sent. */
static uint64_t send_own(struct local *local, struct localproto_request request)
{
    ASSERT(local->conn != NULL);
    struct localproto_buf buf = {.grow = realloc};
    request.id = dcs_pending_next_id(&local->pending);
    localproto_put_request(&buf, &request);
    return conn_send(local, buf.data, buf.used) ? request.id : 0;
}

static void send_call(struct local *local, struct dcs_request *request)
{
    const struct dcs_call *call = dcs_call_of(request);
    ASSERT(!request->sent && !call->done);
    struct localproto_buf buf = {.grow = realloc};
    if (request->txn_cb != NULL) {
        localproto_put_txn(&buf, request->id, call->attach ? local->session : "", call->frame,
                           call->frame_size);
    } else {
        struct localproto_request read = {.type = LOCALPROTO_READ, .id = request->id};
        localproto_put_request(&buf, &read);
    }
    request->sent = conn_send(local, buf.data, buf.used);
    if (request->sent) {
        request->detail = (struct err_detail){0}; /* what was wrong before is past */
    }
}

static void session_keep(struct local *local)
{
    if (local->ready && local->session[0] != '\0' && local->keepalive_call == 0) {
        ASSERT(local->ttl_ms > 0);
        local->keepalive_call =
            send_own(local, (struct localproto_request){.type = LOCALPROTO_KEEPALIVE,
                                                        .session = local->session,
                                                        .ttl_ms = local->ttl_ms});
    }
}

static void keepalive_cb(uv_timer_t *timer)
{
    struct local *local = timer->data;
    ASSERT(!local->closing);
    session_keep(local);
}

static void keepalive_start(struct local *local)
{
    uint64_t every_ms = (uint64_t)(local->ttl_ms / 3 > 0 ? local->ttl_ms / 3 : 1);
    int rc = uv_timer_start(&local->keepalive, keepalive_cb, every_ms, every_ms);
    ASSERT(rc == 0);
}

static void session_lost(struct local *local)
{
    ASSERT(local != NULL);
    local->session[0] = '\0';
    (void)uv_timer_stop(&local->keepalive); /* cannot fail */
}

static void send_waiting(struct local *local)
{
    ASSERT(!local->closing);
    if (!local->ready) {
        return;
    }
    for (struct dcs_request *request = local->pending.first; request != NULL;
         request = request->next) {
        const struct dcs_call *call = dcs_call_of(request);
        if (request->sent || call->done) {
            continue;
        }
        if (!call->attach || local->session[0] != '\0') {
            send_call(local, request);
        } else if (local->session_call == 0) {
            local->session_call =
                send_own(local, (struct localproto_request){.type = LOCALPROTO_SESSION,
                                                            .ttl_ms = local->ttl_ms});
        }
    }
}

static void watch_start(struct local *local)
{
    if (local->ready && local->watch_cb != NULL && local->watch_call == 0) {
        ASSERT(!local->watch_up);
        local->watch_call = send_own(local, (struct localproto_request){.type = LOCALPROTO_WATCH});
    }
}

/* ---- answers ---- */

static void item_copy(const struct localproto_item *from, struct dcs_item *to)
{
    ASSERT(from->value != NULL);
    *to = (struct dcs_item){.key = from->key,
                            .value = from->value,
                            .value_size = from->value_size,
                            .version = from->version,
                            .attached = from->attached};
}

static void watch_tell(struct local *local, enum dcs_watch_event event)
{
    ASSERT(local->watch_up);
    local->watch_dirty = false;
    struct dcs_snapshot snapshot = {.revision = local->mirror_revision,
                                    .store_id = local->store_id,
                                    .count = local->mirror.count,
                                    .items = local->mirror.items};
    local->watch_cb(&local->dcs, event, &snapshot, local->watch_arg);
}

static void mirror_apply(struct local *local, const struct localproto_answer *answer)
{
    for (size_t i = 0; i < answer->item_count; i++) {
        struct localproto_item item;
        localproto_answer_item(answer, i, &item);
        if (item.value == NULL) {
            (void)dcs_mirror_delete(&local->mirror, item.key); /* gone already is as good */
        } else {
            struct dcs_item copy;
            item_copy(&item, &copy);
            dcs_mirror_put(&local->mirror, &copy);
        }
    }
    ASSERT(local->mirror.count <= local->mirror.size);
    local->mirror_revision = answer->revision;
}

static bool on_watch(struct local *local, const struct localproto_answer *answer)
{
    ASSERT(!local->watch_up);
    local->watch_call = 0;
    if (answer->type != LOCALPROTO_SNAPSHOT) {
        local->failures = RETRY_STEPS_MAX; /* no use in coming back at once */
        return false;
    }
    dcs_mirror_clear(&local->mirror);
    mirror_apply(local, answer);
    local->watch_up = true;
    watch_tell(local, DCS_WATCH_UP);
    return true;
}

static bool on_hello(struct local *local, const struct localproto_answer *answer)
{
    ASSERT(!local->ready);
    local->hello_call = 0;
    if (answer->type != LOCALPROTO_WELCOME) {
        return false;
    }
    if (local->store_id != answer->store_id) {
        session_lost(local); /* another store knows nothing of it */
        local->store_id = answer->store_id;
    }
    local->ready = true;
    local->failures = 0;
    local->trouble[0] = '\0';
    session_keep(local);
    watch_start(local);
    send_waiting(local);
    return true;
}

static void fail_unsent(struct local *local, bool attach_only, const char *text)
{
    ASSERT(text != NULL);
    for (struct dcs_request *request = local->pending.first; request != NULL;
         request = request->next) {
        const struct dcs_call *call = dcs_call_of(request);
        if (!request->sent && !call->done && (call->attach || !attach_only)) {
            (void)err_set(&request->detail, ERR_REFUSED, "%s", text); /* told by the callback */
            dcs_pending_fail(&local->pending, request, ERR_REFUSED);
        }
    }
}

static bool on_session(struct local *local, const struct localproto_answer *answer)
{
    local->session_call = 0;
    if (answer->type == LOCALPROTO_GRANTED) {
        bool fits = str_copy(local->session, sizeof(local->session), answer->session);
        ASSERT(fits); /* the codec's check */
        keepalive_start(local);
        send_waiting(local);
        return true;
    }
    if (answer->type == LOCALPROTO_FAILED) {
        fail_unsent(local, true, answer->text);
        return true;
    }
    return false;
}

static bool on_keepalive(struct local *local, const struct localproto_answer *answer)
{
    ASSERT(local->ready);
    local->keepalive_call = 0;
    if (answer->type == LOCALPROTO_FAILED && answer->error == LOCALPROTO_NO_SESSION) {
        session_lost(local);
        send_waiting(local);
    }
    return answer->type == LOCALPROTO_DONE || answer->type == LOCALPROTO_FAILED;
}

static enum err failed_err(const struct localproto_answer *answer, bool is_read)
{
    ASSERT(answer->type == LOCALPROTO_FAILED);
    switch (answer->error) {
    case LOCALPROTO_CONFLICT:
        return ERR_CONFLICT;
    case LOCALPROTO_REFUSED:
        return ERR_REFUSED;
    case LOCALPROTO_INVALID:
        return ERR_INVALID;
    case LOCALPROTO_UNAVAILABLE:
        return ERR_UNREACHABLE; /* it says that nothing changed */
    case LOCALPROTO_NO_SESSION:
    case LOCALPROTO_ERROR_COUNT:
        break;
    }
    return is_read ? ERR_UNREACHABLE : ERR_REFUSED;
}

static bool finish_read(struct local *local, struct dcs_request *request,
                        const struct localproto_answer *answer)
{
    if (answer->type != LOCALPROTO_SNAPSHOT) {
        return false;
    }
    ASSERT(request->read_cb != NULL);
    struct dcs_item *items = calloc(answer->item_count + 1, sizeof(*items));
    ASSERT(items != NULL);
    for (size_t i = 0; i < answer->item_count; i++) {
        struct localproto_item item;
        localproto_answer_item(answer, i, &item);
        item_copy(&item, &items[i]);
    }
    struct dcs_snapshot snapshot = {.revision = answer->revision,
                                    .store_id = answer->store_id,
                                    .count = answer->item_count,
                                    .items = items};
    dcs_pending_finish(&local->pending, request, ERR_OK, &snapshot, NULL);
    free(items);
    return true;
}

static bool on_call(struct local *local, struct dcs_request *request,
                    const struct localproto_answer *answer)
{
    ASSERT(request->sent);
    bool failed = answer->type == LOCALPROTO_FAILED;
    if (failed && answer->error == LOCALPROTO_NO_SESSION && dcs_call_of(request)->attach) {
        /* Nothing changed, and the owner asked for a session, whichever: a new one, within the same
         * deadline. */
        session_lost(local);
        request->sent = false;
        send_waiting(local);
        return true;
    }
    if (failed) {
        enum err err = failed_err(answer, request->read_cb != NULL);
        (void)err_set(&request->detail, err, "%s", answer->text); /* told by the callback */
        dcs_pending_finish(&local->pending, request, err, NULL, NULL);
        return true;
    }
    if (request->read_cb != NULL) {
        return finish_read(local, request, answer);
    }
    if (answer->type != LOCALPROTO_DONE) {
        return false;
    }
    struct dcs_txn_result result = {.revision = answer->revision};
    dcs_pending_finish(&local->pending, request, ERR_OK, NULL, &result);
    return true;
}

/* False: the connection is of no more use. */
static bool on_answer(struct local *local, const struct localproto_answer *answer)
{
    if (answer->type == LOCALPROTO_CHANGES) {
        if (local->watch_up) {
            mirror_apply(local, answer);
            local->watch_dirty = true;
        }
        return true;
    }
    if (local->unanswered > 0) {
        local->unanswered--;
    }
    if (answer->id == 0 || (answer->id == local->hello_call && answer->type == LOCALPROTO_FAILED)) {
        ASSERT(answer->type == LOCALPROTO_FAILED); /* the codec's check */
        str_copy_cut(local->trouble, sizeof(local->trouble), answer->text);
        if (answer->error == LOCALPROTO_REFUSED) {
            fail_unsent(local, false, answer->text);
        }
        return false;
    }
    if (answer->id == local->hello_call) {
        return on_hello(local, answer);
    }
    if (answer->id == local->watch_call) {
        return on_watch(local, answer);
    }
    if (answer->id == local->session_call) {
        return on_session(local, answer);
    }
    if (answer->id == local->keepalive_call) {
        return on_keepalive(local, answer);
    }
    struct dcs_request *request = dcs_pending_find(&local->pending, answer->id);
    return request == NULL || on_call(local, request, answer); /* NULL: it came too late */
}

/* ---- input ---- */

static void on_line(struct local_conn *conn, const char *line, size_t size)
{
    struct local *local = conn->local;
    ASSERT(local != NULL);
    struct localproto_answer answer;
    struct err_detail detail = {0};
    if (localproto_get_answer(line, size, &answer, &detail) != ERR_OK) {
        local->failures = RETRY_STEPS_MAX; /* not our store: no use in coming back at once */
        conn_cut(local, detail.text);
        return;
    }
    bool ok = on_answer(local, &answer);
    localproto_answer_fini(&answer);
    if (!ok && conn->local != NULL) { /* unless a callback has closed the client */
        conn_cut(local, "unexpected answer");
    }
}

static void on_input(struct local_conn *conn, const char *data, size_t size)
{
    ASSERT(data != NULL);
    conn->local->silent_ticks = 0;
    const char *line = NULL;
    size_t length = 0;
    enum frames_step step = FRAMES_MORE;
    while (conn->local != NULL &&
           (step = frames_next(&conn->frames, &data, &size, &line, &length)) == FRAMES_LINE) {
        on_line(conn, line, length);
    }
    if (conn->local != NULL && step == FRAMES_TOO_LONG) {
        conn_cut(conn->local, "oversized frame");
    }
    if (conn->local != NULL && conn->local->watch_dirty) { /* once for all that came together */
        watch_tell(conn->local, DCS_WATCH_CHANGES);
    }
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    (void)suggested; /* one for all connections: a read is worked off before the next one */
    static char chunk[READ_CHUNK];
    *buf = uv_buf_init(chunk, sizeof(chunk));
}

static void read_cb(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct local_conn *conn = stream->data;
    ASSERT(conn->local != NULL);
    if (size > 0) {
        on_input(conn, buf->base, (size_t)size);
    } else if (size < 0) {
        conn_cut(conn->local,
                 size == UV_EOF ? "the store closed the connection" : uv_strerror((int)size));
    }
}

/* ---- connecting ---- */

static void connect_cb(uv_connect_t *connect, int status)
{
    struct local_conn *conn = (struct local_conn *)connect->handle->data;
    struct local *local = conn->local;
    if (local == NULL) {
        return; /* given up meanwhile */
    }
    ASSERT(!local->closing && !local->ready);
    if (status < 0) {
        local->trouble[0] = '\0';
        char why[192];
        str_copy_cut(why, sizeof(why), uv_strerror(status));
        conn_cut(local, why);
        return;
    }
    int rc = uv_read_start((uv_stream_t *)&conn->pipe, alloc_cb, read_cb);
    ASSERT(rc == 0);
    local->hello_call =
        send_own(local, (struct localproto_request){.type = LOCALPROTO_HELLO, .base = local->base});
    /* A store that is frozen owes the welcome: no use in leaving the queue of those who wait. */
    local->unanswered = 0;
}

static void conn_start(struct local *local)
{
    ASSERT(local->conn == NULL);
    struct local_conn *conn = calloc(1, sizeof(*conn));
    ASSERT(conn != NULL);
    int rc = uv_pipe_init(local->loop, &conn->pipe, 0);
    ASSERT(rc == 0);
    conn->pipe.data = conn;
    conn->owner = local;
    conn->local = local;
    local->conn = conn;
    local->handles_open++;
    /* Never blocks: a full backlog is an error, told by the callback as all others. */
    uv_pipe_connect(&conn->connect, &conn->pipe, local->path, connect_cb);
}

/* ---- the contract's functions ---- */

static void trouble_note(const struct local *local, struct dcs_request *request)
{
    ASSERT(request->active);
    if (!local->ready) { /* what a deadline will tell */
        (void)err_set(&request->detail, ERR_UNREACHABLE, "no local store at %s%s%s", local->path,
                      local->trouble[0] == '\0' ? "" : ": ", local->trouble);
    }
}

static void local_read(struct dcs *dcs, struct dcs_request *request, int64_t timeout_ms)
{
    struct local *local = local_of(dcs);
    struct dcs_call *call = dcs_pending_add(&local->pending, request, timeout_ms, 0);
    ASSERT(!call->attach);
    trouble_note(local, request);
    send_waiting(local);
}

static enum localproto_op_type op_type(enum dcs_op_type type)
{
    switch (type) {
    case DCS_OP_CHECK:
        return LOCALPROTO_CHECK;
    case DCS_OP_PUT:
        return LOCALPROTO_PUT;
    case DCS_OP_ATTACH:
        return LOCALPROTO_ATTACH;
    case DCS_OP_DELETE:
        return LOCALPROTO_DELETE;
    }
    UNREACHABLE();
}

static void local_txn(struct dcs *dcs, struct dcs_request *request, const struct dcs_op *ops,
                      size_t count, int64_t timeout_ms)
{
    struct local *local = local_of(dcs);
    struct localproto_op copies[STORE_TXN_OPS_MAX];
    bool attach = false;
    ASSERT(count <= STORE_TXN_OPS_MAX);
    for (size_t i = 0; i < count; i++) {
        copies[i] = (struct localproto_op){.type = op_type(ops[i].type),
                                           .key = ops[i].key,
                                           .value = ops[i].value,
                                           .version = ops[i].version};
        if (ops[i].type == DCS_OP_PUT || ops[i].type == DCS_OP_ATTACH) {
            copies[i].value_size = strlen(ops[i].value);
        }
        attach = attach || ops[i].type == DCS_OP_ATTACH;
    }
    struct err_detail detail = {0};
    if (localproto_ops_check(copies, count, strlen(local->base), &detail) != ERR_OK) {
        (void)dcs_pending_add(&local->pending, request, timeout_ms, 0); /* nothing to send */
        request->detail = detail;
        dcs_pending_fail(&local->pending, request, ERR_INVALID);
        return;
    }
    struct localproto_buf buf = {.grow = realloc};
    localproto_put_ops(&buf, copies, count);
    struct dcs_call *call = dcs_pending_add(&local->pending, request, timeout_ms, buf.used);
    memcpy(call->frame, buf.data, buf.used);
    free(buf.data);
    call->attach = attach;
    trouble_note(local, request);
    send_waiting(local);
}

static void local_watch(struct dcs *dcs, dcs_watch_cb cb, void *arg)
{
    struct local *local = local_of(dcs);
    ASSERT(local->watch_cb == NULL && !local->closing);
    local->watch_cb = cb;
    local->watch_arg = arg;
    watch_start(local);
}

static void local_session_set_ttl(struct dcs *dcs, int64_t ttl_ms)
{
    struct local *local = local_of(dcs);
    ASSERT(!local->closing);
    if (ttl_ms == local->ttl_ms) {
        return;
    }
    local->ttl_ms = ttl_ms;
    if (local->session[0] != '\0') {
        keepalive_start(local);
        session_keep(local);
    }
}

static const char *local_session_id(const struct dcs *dcs)
{
    const struct local *local = local_of(dcs);
    ASSERT(!local->closing);
    return local->session;
}

static void pending_closed_cb(void *arg)
{
    ASSERT(arg != NULL);
    handle_closed(arg);
}

static void timer_closed_cb(uv_handle_t *handle)
{
    ASSERT(handle->data != NULL);
    handle_closed(handle->data);
}

static void local_close(struct dcs *dcs, void (*closed_cb)(void *), void *arg)
{
    struct local *local = local_of(dcs);
    ASSERT(!local->closing);
    local->closing = true;
    local->closed_cb = closed_cb;
    local->closed_arg = arg;
    conn_drop(local);
    dcs_pending_close(&local->pending, pending_closed_cb, local);
    uv_close((uv_handle_t *)&local->retry, timer_closed_cb);
    uv_close((uv_handle_t *)&local->keepalive, timer_closed_cb);
    uv_close((uv_handle_t *)&local->silence, timer_closed_cb);
}

static const struct dcs_ops local_ops = {
    .read = local_read,
    .txn = local_txn,
    .watch = local_watch,
    .session_set_ttl = local_session_set_ttl,
    .session_id = local_session_id,
    .close = local_close,
};

enum err dcs_local_open(uv_loop_t *loop, const char *socket_path, const char *base,
                        struct dcs **out_dcs, struct err_detail *detail)
{
    ASSERT(loop != NULL && out_dcs != NULL);
    struct local *local = calloc(1, sizeof(*local));
    ASSERT(local != NULL);
    if (!str_copy(local->path, sizeof(local->path), socket_path) || socket_path[0] == '\0') {
        free(local);
        return err_set(detail, ERR_INVALID,
                       "the name of the local store's socket is not 1..%zu "
                       "bytes long",
                       sizeof(local->path) - 1);
    }
    if (!localproto_base_ok(base) || !str_copy(local->base, sizeof(local->base), base)) {
        free(local);
        return err_set(detail, ERR_INVALID, "bad prefix in the store: \"%.64s\"", base);
    }
    struct sigaction before;
    if (sigaction(SIGPIPE, NULL, &before) == 0 && before.sa_handler == SIG_DFL) {
        (void)signal(SIGPIPE, SIG_IGN); /* a store's death is an error code, not ours as well */
    }
    local->dcs.ops = &local_ops;
    local->loop = loop;
    local->ttl_ms = SESSION_TTL_DEFAULT_MS;
    dcs_pending_init(&local->pending, loop);
    int rc = uv_timer_init(loop, &local->retry);
    rc |= uv_timer_init(loop, &local->keepalive);
    rc |= uv_timer_init(loop, &local->silence);
    ASSERT(rc == 0);
    local->retry.data = local;
    local->keepalive.data = local;
    local->silence.data = local;
    local->handles_open = 4; /* the three and that of pending */
    conn_start(local);
    *out_dcs = &local->dcs;
    return ERR_OK;
}
