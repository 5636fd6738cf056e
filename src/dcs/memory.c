/* Each client works its requests off in a timer of its own, in order, as a connection would; what
 * it writes marks the watchers, whose own timers tell them. Nothing happens inside a caller's call.
 */
#include "dcs/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/localproto.h"
#include "dcs/mirror.h"
#include "dcs/pending.h"

#define SESSIONS_MAX 64
#define TIES_MAX 256

struct session {
    char id[SESSION_SIZE]; /* "": the place is free */
    int64_t ttl_ms;
    struct mono ends; /* MONO_NEVER while its client can reach the store */
};

struct tie {
    char key[STORE_KEY_SIZE]; /* "": the place is free */
    char session[SESSION_SIZE];
};

struct client {
    struct dcs dcs;
    struct dcs_memory *store;
    struct client *next;
    char base[STORE_KEY_SIZE];
    struct dcs_pending pending;
    uv_timer_t pump;
    unsigned handles_open;
    bool closing;
    void (*closed_cb)(void *arg);
    void *closed_arg;
    enum dcs_memory_fault fault;
    unsigned fault_count;
    int64_t delay_ms;
    bool away;
    bool cut; /* the watcher is to hear of a lost connection */
    char session[SESSION_SIZE];
    int64_t ttl_ms;
    dcs_watch_cb watch_cb;
    void *watch_arg;
    bool watch_up;
    bool watch_dirty;
};

struct dcs_memory {
    uv_loop_t *loop;
    uv_timer_t expiry;
    struct client *clients;
    struct dcs_mirror content; /* keys with their base */
    uint64_t revision;
    struct dcs_mirror saved;
    uint64_t saved_revision;
    uint64_t store_id;
    uint64_t sessions_made;
    bool frozen;
    struct session sessions[SESSIONS_MAX];
    struct tie ties[TIES_MAX];
};

static void pump_cb(uv_timer_t *timer);

static struct client *client_of(const struct dcs *dcs)
{
    ASSERT(dcs != NULL);
    return (struct client *)(uintptr_t)dcs; /* its first member */
}

static void wake(struct client *client, int64_t after_ms)
{
    if (client->closing) {
        return;
    }
    int rc = uv_timer_start(&client->pump, pump_cb, (uint64_t)after_ms, 0);
    ASSERT(rc == 0);
}

/* ---- content ---- */

static void tie(struct dcs_memory *store, const char *key, const char *session)
{
    struct tie *place = NULL;
    for (size_t i = 0; i < TIES_MAX; i++) {
        struct tie *it = &store->ties[i];
        if (str_equal(it->key, key)) {
            it->key[0] = '\0';
        }
        if (it->key[0] == '\0' && place == NULL) {
            place = it;
        }
    }
    if (session != NULL) {
        ASSERT(place != NULL); /* a test with more attached keys needs a larger TIES_MAX */
        str_copy_cut(place->key, sizeof(place->key), key);
        str_copy_cut(place->session, sizeof(place->session), session);
    }
}

static bool below(const char *key, const char *base)
{
    size_t size = strlen(base);
    ASSERT(size > 0);
    return strncmp(key, base, size) == 0 && key[size] == '/';
}

static void mark_watchers(struct dcs_memory *store, const char *key)
{
    ASSERT(key[0] == '/');
    for (struct client *client = store->clients; client != NULL; client = client->next) {
        if (client->watch_up && !client->watch_dirty && below(key, client->base)) {
            client->watch_dirty = true;
            wake(client, 0);
        }
    }
}

static void write_key(struct dcs_memory *store, const char *key, const struct localproto_op *op,
                      const char *session)
{
    bool attached = op != NULL && op->type == LOCALPROTO_ATTACH;
    bool changed = true;
    tie(store, key, attached ? session : NULL);
    if (op == NULL || op->type == LOCALPROTO_DELETE) {
        changed = dcs_mirror_delete(&store->content, key);
    } else {
        ASSERT(op->type != LOCALPROTO_CHECK);
        struct dcs_item item = {.key = key,
                                .value = op->value,
                                .value_size = op->value_size,
                                .version = store->revision,
                                .attached = attached};
        dcs_mirror_put(&store->content, &item);
    }
    if (changed) {
        mark_watchers(store, key);
    }
}

static uint64_t version_of(const struct dcs_memory *store, const char *key)
{
    ASSERT(key[0] == '/');
    bool found = false;
    size_t index = dcs_items_find(store->content.items, store->content.count, key, &found);
    return found ? store->content.items[index].version : 0;
}

/* The items below the client's base; the caller frees items. */
static void snapshot_make(const struct client *client, struct dcs_snapshot *out)
{
    const struct dcs_memory *store = client->store;
    struct dcs_item *items = calloc(store->content.count + 1, sizeof(*items));
    ASSERT(items != NULL);
    size_t count = 0;
    for (size_t i = 0; i < store->content.count; i++) {
        if (below(store->content.items[i].key, client->base)) {
            items[count] = store->content.items[i];
            items[count++].key += strlen(client->base) + 1;
        }
    }
    *out = (struct dcs_snapshot){
        .revision = store->revision, .store_id = store->store_id, .count = count, .items = items};
}

static void snapshot_free(struct dcs_snapshot *snapshot)
{
    ASSERT(snapshot->items != NULL);
    free((void *)(uintptr_t)snapshot->items); /* const for those who look at it only */
}

/* ---- sessions ---- */

static struct session *session_find(struct dcs_memory *store, const char *id)
{
    ASSERT(id != NULL);
    for (size_t i = 0; i < SESSIONS_MAX && id[0] != '\0'; i++) {
        if (str_equal(store->sessions[i].id, id)) {
            return &store->sessions[i];
        }
    }
    return NULL;
}

static void session_need(struct client *client)
{
    struct dcs_memory *store = client->store;
    if (session_find(store, client->session) != NULL) {
        return;
    }
    size_t i = 0;
    while (i < SESSIONS_MAX && store->sessions[i].id[0] != '\0') {
        i++;
    }
    ASSERT(i < SESSIONS_MAX); /* a test with more clients needs more */
    bool fits = str_format(client->session, sizeof(client->session), "memory-%llu",
                           (unsigned long long)++store->sessions_made);
    ASSERT(fits);
    store->sessions[i] = (struct session){.ttl_ms = client->ttl_ms, .ends = MONO_NEVER};
    str_copy_cut(store->sessions[i].id, SESSION_SIZE, client->session);
}

static void session_end(struct dcs_memory *store, struct session *session)
{
    ASSERT(session->id[0] != '\0');
    bool any = false;
    for (size_t i = 0; i < TIES_MAX; i++) {
        if (store->ties[i].key[0] != '\0' && str_equal(store->ties[i].session, session->id)) {
            char key[STORE_KEY_SIZE];
            str_copy_cut(key, sizeof(key), store->ties[i].key);
            store->revision += any ? 0 : 1;
            any = true;
            write_key(store, key, NULL, NULL);
        }
    }
    *session = (struct session){0};
}

static void expiry_cb(uv_timer_t *timer)
{
    struct dcs_memory *store = timer->data;
    struct mono now = mono_now();
    struct mono next = MONO_NEVER;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &store->sessions[i];
        if (session->id[0] != '\0' && !store->frozen && !mono_before(now, session->ends)) {
            session_end(store, session);
        } else if (session->id[0] != '\0') {
            next = mono_min(next, session->ends);
        }
    }
    if (next.ms != MONO_NEVER.ms && !store->frozen) {
        int rc = uv_timer_start(timer, expiry_cb, (uint64_t)mono_sub(next, now), 0);
        ASSERT(rc == 0);
    }
}

/* Whether its client can be heard decides whether a session's time runs. */
static void session_heard(struct client *client, bool heard)
{
    struct dcs_memory *store = client->store;
    struct session *session = session_find(store, client->session);
    if (session != NULL) {
        session->ends = heard ? MONO_NEVER : mono_add(mono_now(), session->ttl_ms);
        int rc = uv_timer_start(&store->expiry, expiry_cb, 0, 0);
        ASSERT(rc == 0);
    }
}

/* ---- requests ---- */

static enum err apply(struct client *client, const struct localproto_request *txn,
                      struct err_detail *detail)
{
    struct dcs_memory *store = client->store;
    char key[STORE_KEY_SIZE];
    bool writes = false;
    for (size_t i = 0; i < txn->op_count; i++) {
        const struct localproto_op *op = &txn->ops[i];
        bool fits = str_format(key, sizeof(key), "%s/%s", client->base, op->key);
        ASSERT(fits); /* localproto_ops_check */
        if (op->type != LOCALPROTO_CHECK) {
            writes = true;
        } else if (version_of(store, key) != op->version) {
            return err_set(detail, ERR_CONFLICT, "%s has another version", op->key);
        }
    }
    store->revision += writes ? 1 : 0;
    for (size_t i = 0; i < txn->op_count; i++) {
        const struct localproto_op *op = &txn->ops[i];
        if (op->type != LOCALPROTO_CHECK) {
            bool fits = str_format(key, sizeof(key), "%s/%s", client->base, op->key);
            ASSERT(fits);
            if (op->type == LOCALPROTO_ATTACH) {
                session_need(client);
            }
            write_key(store, key, op, client->session);
        }
    }
    return ERR_OK;
}

/* The operations were kept as the local store's frame: written and read by its tested codec. */
static enum err apply_call(struct client *client, struct dcs_request *request)
{
    const struct dcs_call *call = dcs_call_of(request);
    ASSERT(call->frame_size > 0);
    struct localproto_buf buf = {.grow = realloc};
    localproto_put_txn(&buf, request->id, "", call->frame, call->frame_size);
    struct localproto_request txn;
    enum err err = localproto_get_request(buf.data, buf.used, &txn, &request->detail);
    ASSERT(err == ERR_OK);
    err = apply(client, &txn, &request->detail);
    localproto_request_fini(&txn);
    free(buf.data);
    return err;
}

/* What was sent is in doubt; reads are carried out once more. */
static void ask_again(struct client *client)
{
    ASSERT(!client->closing);
    dcs_pending_cut(&client->pending);
    for (struct dcs_request *request = client->pending.first; request != NULL;
         request = request->next) {
        if (request->read_cb != NULL) {
            dcs_call_of(request)->not_before = MONO_ZERO;
        }
    }
}

static void cut(struct client *client)
{
    ASSERT(!client->closing);
    ask_again(client);
    client->cut = client->watch_up;
    wake(client, 0);
}

static enum dcs_memory_fault fault_take(struct client *client)
{
    if (client->fault_count == 0) {
        return DCS_MEMORY_NO_FAULT;
    }
    ASSERT(client->fault != DCS_MEMORY_NO_FAULT);
    client->fault_count--;
    return client->fault;
}

static void carry_out(struct client *client, struct dcs_request *request)
{
    enum dcs_memory_fault fault = fault_take(client);
    ASSERT(request->sent);
    dcs_call_of(request)->not_before = MONO_NEVER; /* not twice */
    if (fault == DCS_MEMORY_DROP_REQUEST) {
        return;
    }
    if (fault == DCS_MEMORY_REFUSE) {
        (void)err_set(&request->detail, ERR_REFUSED, "asked for by the test"); /* told later */
        dcs_pending_finish(&client->pending, request, ERR_REFUSED, NULL, NULL);
        return;
    }
    enum err err = request->txn_cb != NULL ? apply_call(client, request) : ERR_OK;
    if (fault == DCS_MEMORY_CUT_ANSWER) {
        cut(client);
    } else if (fault == DCS_MEMORY_DROP_ANSWER) {
        return;
    } else if (request->txn_cb != NULL) {
        struct dcs_txn_result result = {.revision = client->store->revision};
        dcs_pending_finish(&client->pending, request, err, NULL, err == ERR_OK ? &result : NULL);
    } else {
        struct dcs_snapshot snapshot;
        snapshot_make(client, &snapshot);
        dcs_pending_finish(&client->pending, request, ERR_OK, &snapshot, NULL);
        snapshot_free(&snapshot);
    }
}

static void watch_tell(struct client *client)
{
    if (client->watch_cb != NULL && client->watch_up && client->cut) {
        client->cut = false;
        client->watch_up = false;
        client->watch_cb(&client->dcs, DCS_WATCH_DOWN, NULL, client->watch_arg);
    }
    if (client->closing || client->watch_cb == NULL || client->away || client->store->frozen ||
        (client->watch_up && !client->watch_dirty)) {
        return;
    }
    enum dcs_watch_event event = client->watch_up ? DCS_WATCH_CHANGES : DCS_WATCH_UP;
    client->watch_up = true;
    client->watch_dirty = false;
    struct dcs_snapshot snapshot;
    snapshot_make(client, &snapshot);
    ASSERT(snapshot.store_id != 0);
    client->watch_cb(&client->dcs, event, &snapshot, client->watch_arg);
    snapshot_free(&snapshot);
}

static struct dcs_request *next_waiting(const struct client *client)
{
    ASSERT(client != NULL);
    struct dcs_request *request = client->pending.first;
    while (request != NULL &&
           (dcs_call_of(request)->not_before.ms == MONO_NEVER.ms || dcs_call_of(request)->done)) {
        request = request->next;
    }
    return request;
}

static void pump_cb(uv_timer_t *timer)
{
    struct client *client = timer->data;
    ASSERT(!client->closing);
    while (!client->closing && !client->away) {
        struct dcs_request *request = next_waiting(client);
        if (request == NULL) {
            break;
        }
        request->sent = true;
        if (client->store->frozen) { /* in the socket of a store that does not read */
            dcs_call_of(request)->not_before = MONO_NEVER;
            continue;
        }
        int64_t wait_ms = mono_sub(dcs_call_of(request)->not_before, mono_now());
        if (wait_ms > 0) {
            wake(client, wait_ms);
            break;
        }
        carry_out(client, request);
    }
    if (!client->closing) {
        watch_tell(client);
    }
}

/* ---- the contract's functions ---- */

static void memory_read(struct dcs *dcs, struct dcs_request *request, int64_t timeout_ms)
{
    struct client *client = client_of(dcs);
    struct dcs_call *call = dcs_pending_add(&client->pending, request, timeout_ms, 0);
    ASSERT(!call->done);
    call->not_before = mono_add(mono_now(), client->delay_ms);
    wake(client, 0);
}

static void memory_txn(struct dcs *dcs, struct dcs_request *request, const struct dcs_op *ops,
                       size_t count, int64_t timeout_ms)
{
    static const enum localproto_op_type types[] = {
        [DCS_OP_CHECK] = LOCALPROTO_CHECK,
        [DCS_OP_PUT] = LOCALPROTO_PUT,
        [DCS_OP_ATTACH] = LOCALPROTO_ATTACH,
        [DCS_OP_DELETE] = LOCALPROTO_DELETE,
    };
    struct client *client = client_of(dcs);
    struct localproto_op copies[STORE_TXN_OPS_MAX];
    ASSERT(count <= STORE_TXN_OPS_MAX);
    for (size_t i = 0; i < count; i++) {
        bool value = ops[i].type == DCS_OP_PUT || ops[i].type == DCS_OP_ATTACH;
        copies[i] = (struct localproto_op){.type = types[ops[i].type],
                                           .key = ops[i].key,
                                           .value = ops[i].value,
                                           .value_size = value ? strlen(ops[i].value) : 0,
                                           .version = ops[i].version};
    }
    struct err_detail detail = {0};
    if (localproto_ops_check(copies, count, strlen(client->base), &detail) != ERR_OK) {
        (void)dcs_pending_add(&client->pending, request, timeout_ms, 0); /* nothing to send */
        request->detail = detail;
        dcs_pending_fail(&client->pending, request, ERR_INVALID);
        return;
    }
    struct localproto_buf buf = {.grow = realloc};
    localproto_put_ops(&buf, copies, count);
    struct dcs_call *call = dcs_pending_add(&client->pending, request, timeout_ms, buf.used);
    memcpy(call->frame, buf.data, buf.used);
    free(buf.data);
    call->not_before = mono_add(mono_now(), client->delay_ms);
    wake(client, 0);
}

static void memory_watch(struct dcs *dcs, dcs_watch_cb cb, void *arg)
{
    struct client *client = client_of(dcs);
    ASSERT(client->watch_cb == NULL);
    client->watch_cb = cb;
    client->watch_arg = arg;
    wake(client, 0);
}

static void memory_session_set_ttl(struct dcs *dcs, int64_t ttl_ms)
{
    struct client *client = client_of(dcs);
    ASSERT(ttl_ms > 0);
    client->ttl_ms = ttl_ms;
    struct session *session = session_find(client->store, client->session);
    if (session != NULL) {
        session->ttl_ms = ttl_ms;
    }
}

static const char *memory_session_id(const struct dcs *dcs)
{
    struct client *client = client_of(dcs);
    ASSERT(!client->closing);
    return session_find(client->store, client->session) != NULL ? client->session : "";
}

static void handle_closed(struct client *client)
{
    ASSERT(client->handles_open > 0);
    if (--client->handles_open > 0) {
        return;
    }
    void (*closed_cb)(void *) = client->closed_cb;
    void *closed_arg = client->closed_arg;
    struct client **link = &client->store->clients;
    while (*link != client) {
        link = &(*link)->next;
    }
    *link = client->next;
    free(client);
    if (closed_cb != NULL) {
        closed_cb(closed_arg);
    }
}

static void pending_closed_cb(void *arg)
{
    ASSERT(arg != NULL);
    handle_closed(arg);
}

static void pump_closed_cb(uv_handle_t *handle)
{
    ASSERT(handle->data != NULL);
    handle_closed(handle->data);
}

static void memory_close(struct dcs *dcs, void (*closed_cb)(void *), void *arg)
{
    struct client *client = client_of(dcs);
    ASSERT(!client->closing);
    session_heard(client, false);
    client->closing = true;
    client->watch_up = false;
    client->closed_cb = closed_cb;
    client->closed_arg = arg;
    dcs_pending_close(&client->pending, pending_closed_cb, client);
    uv_close((uv_handle_t *)&client->pump, pump_closed_cb);
}

static const struct dcs_ops memory_ops = {
    .read = memory_read,
    .txn = memory_txn,
    .watch = memory_watch,
    .session_set_ttl = memory_session_set_ttl,
    .session_id = memory_session_id,
    .close = memory_close,
};

/* ---- opening ---- */

struct dcs_memory *dcs_memory_create(uv_loop_t *loop)
{
    struct dcs_memory *store = calloc(1, sizeof(*store));
    ASSERT(store != NULL);
    store->loop = loop;
    store->store_id = 1;
    int rc = uv_timer_init(loop, &store->expiry);
    ASSERT(rc == 0);
    store->expiry.data = store;
    uv_unref((uv_handle_t *)&store->expiry); /* a session's end alone does not keep a loop going */
    return store;
}

static void expiry_closed_cb(uv_handle_t *handle)
{
    struct dcs_memory *store = handle->data;
    ASSERT(store->clients == NULL);
    dcs_mirror_clear(&store->content);
    dcs_mirror_clear(&store->saved);
    free(store);
}

void dcs_memory_destroy(struct dcs_memory *store)
{
    if (store == NULL) {
        return;
    }
    ASSERT(store->clients == NULL);
    uv_close((uv_handle_t *)&store->expiry, expiry_closed_cb);
}

struct dcs *dcs_memory_open(struct dcs_memory *store, const char *base)
{
    ASSERT(localproto_base_ok(base));
    struct client *client = calloc(1, sizeof(*client));
    ASSERT(client != NULL);
    client->dcs.ops = &memory_ops;
    client->store = store;
    client->ttl_ms = 30000;
    bool fits = str_copy(client->base, sizeof(client->base), base);
    ASSERT(fits);
    dcs_pending_init(&client->pending, store->loop);
    int rc = uv_timer_init(store->loop, &client->pump);
    ASSERT(rc == 0);
    client->pump.data = client;
    client->handles_open = 2;
    client->next = store->clients;
    store->clients = client;
    return &client->dcs;
}

/* ---- faults ---- */

void dcs_memory_set_fault(struct dcs *client, enum dcs_memory_fault fault, unsigned count)
{
    ASSERT(fault != DCS_MEMORY_NO_FAULT || count == 0);
    client_of(client)->fault = fault;
    client_of(client)->fault_count = count;
}

void dcs_memory_set_delay(struct dcs *client, int64_t delay_ms)
{
    ASSERT(delay_ms >= 0);
    client_of(client)->delay_ms = delay_ms;
}

void dcs_memory_set_away(struct dcs *dcs, bool away)
{
    struct client *client = client_of(dcs);
    ASSERT(!client->closing);
    client->away = away;
    session_heard(client, !away);
    if (away) {
        cut(client);
    } else {
        wake(client, 0);
    }
}

void dcs_memory_set_frozen(struct dcs_memory *store, bool frozen)
{
    ASSERT(store != NULL);
    store->frozen = frozen;
    if (!frozen) {
        for (size_t i = 0; i < SESSIONS_MAX;
             i++) { /* time that the store slept counts for nobody */
            struct session *session = &store->sessions[i];
            if (session->ends.ms != MONO_NEVER.ms) {
                session->ends = mono_add(mono_now(), session->ttl_ms);
            }
        }
        int rc = uv_timer_start(&store->expiry, expiry_cb, 0, 0);
        ASSERT(rc == 0);
    }
    for (struct client *client = store->clients; client != NULL; client = client->next) {
        if (!frozen && !client->closing) {
            ask_again(client);
        }
        wake(client, 0);
    }
}

static void cut_all(struct dcs_memory *store)
{
    for (struct client *client = store->clients; client != NULL; client = client->next) {
        ASSERT(client->store == store);
        if (!client->closing) {
            cut(client);
        }
    }
}

void dcs_memory_wipe(struct dcs_memory *store)
{
    ASSERT(store != NULL);
    dcs_mirror_clear(&store->content);
    memset(store->sessions, 0, sizeof(store->sessions));
    memset(store->ties, 0, sizeof(store->ties));
    store->revision = 0;
    store->store_id++;
    cut_all(store);
}

static void content_copy(struct dcs_mirror *to, const struct dcs_mirror *from)
{
    ASSERT(to != from);
    dcs_mirror_clear(to);
    for (size_t i = 0; i < from->count; i++) {
        dcs_mirror_put(to, &from->items[i]);
    }
}

void dcs_memory_save(struct dcs_memory *store)
{
    ASSERT(store != NULL);
    content_copy(&store->saved, &store->content);
    store->saved_revision = store->revision;
}

void dcs_memory_roll_back(struct dcs_memory *store)
{
    ASSERT(store->saved_revision <= store->revision);
    content_copy(&store->content, &store->saved);
    store->revision = store->saved_revision;
    cut_all(store);
}
