/* One list and one timer. An outcome that is known inside the owner's own call is only noted, and
 * told when the timer fires: so a callback never runs inside the call that started it. */
#include "dcs/pending.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static void timer_cb(uv_timer_t *timer);

static void arm(struct dcs_pending *pending, struct mono when)
{
    if (!mono_before(when, pending->armed)) {
        return; /* fires early enough, and looks again then */
    }
    int64_t wait_ms = mono_sub(when, mono_now());
    /* The loop's clock may be older than now, never younger: at worst it fires early. */
    int rc = uv_timer_start(&pending->timer, timer_cb, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
    ASSERT(rc == 0);
    pending->armed = when;
}

void dcs_pending_init(struct dcs_pending *pending, uv_loop_t *loop)
{
    ASSERT(loop != NULL);
    *pending = (struct dcs_pending){.armed = MONO_NEVER};
    int rc = uv_timer_init(loop, &pending->timer);
    ASSERT(rc == 0);
    pending->timer.data = pending;
}

uint64_t dcs_pending_next_id(struct dcs_pending *pending)
{
    ASSERT(pending->last_id < INT64_MAX);
    return ++pending->last_id;
}

struct dcs_call *dcs_pending_add(struct dcs_pending *pending, struct dcs_request *request,
                                 int64_t timeout_ms, size_t frame_size)
{
    ASSERT(!pending->closing); /* no call after dcs_close */
    ASSERT(!request->active);  /* nor twice with one request */
    ASSERT(timeout_ms >= 0);
    struct dcs_call *call = calloc(1, sizeof(*call) + frame_size);
    ASSERT(call != NULL);
    call->frame_size = frame_size;
    request->id = dcs_pending_next_id(pending);
    request->deadline = mono_add(mono_now(), timeout_ms);
    request->sent = false;
    request->active = true;
    request->detail = (struct err_detail){0};
    request->impl = call;
    request->next = NULL;
    struct dcs_request **link = &pending->first;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = request;
    arm(pending, request->deadline);
    return call;
}

struct dcs_request *dcs_pending_find(const struct dcs_pending *pending, uint64_t id)
{
    ASSERT(id != 0);
    struct dcs_request *request = pending->first;
    while (request != NULL && request->id != id) {
        request = request->next;
    }
    return request != NULL && !dcs_call_of(request)->done ? request : NULL;
}

void dcs_pending_fail(struct dcs_pending *pending, struct dcs_request *request, enum err err)
{
    ASSERT(err != ERR_OK && request->active);
    struct dcs_call *call = dcs_call_of(request);
    if (!call->done) {
        call->done = true;
        call->err = err;
        arm(pending, MONO_ZERO);
    }
}

void dcs_pending_finish(struct dcs_pending *pending, struct dcs_request *request, enum err err,
                        const struct dcs_snapshot *snapshot, const struct dcs_txn_result *result)
{
    ASSERT(request->active);
    struct dcs_request **link = &pending->first;
    while (*link != request) {
        ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = request->next;
    free(request->impl);
    request->impl = NULL;
    request->next = NULL;
    request->active = false; /* before the call: it may use the request anew, or free it */
    if (request->read_cb != NULL) {
        ASSERT((err == ERR_OK) == (snapshot != NULL));
        request->read_cb(request, err, snapshot, request->arg);
    } else {
        ASSERT((err == ERR_OK) == (result != NULL));
        request->txn_cb(request, err, result, request->arg);
    }
}

void dcs_pending_cut(struct dcs_pending *pending)
{
    for (struct dcs_request *request = pending->first; request != NULL; request = request->next) {
        ASSERT(request->active);
        if (!request->sent || dcs_call_of(request)->done) {
            continue;
        }
        if (request->read_cb != NULL) {
            request->sent = false;
        } else {
            (void)err_set(&request->detail, ERR_IN_DOUBT, "connection lost before the answer");
            dcs_pending_fail(pending, request, ERR_IN_DOUBT);
        }
    }
}

static bool in_doubt(const struct dcs_request *request)
{
    ASSERT(request->active);
    return request->sent && request->txn_cb != NULL;
}

static void expire(struct dcs_pending *pending, struct mono now)
{
    for (struct dcs_request *request = pending->first; request != NULL; request = request->next) {
        struct dcs_call *call = dcs_call_of(request);
        ASSERT(call != NULL);
        if (!call->done && !mono_before(now, request->deadline)) {
            if (request->detail.text[0] == '\0') {
                (void)err_set(&request->detail, ERR_UNREACHABLE, "no answer in time");
            }
            call->done = true;
            call->err = in_doubt(request) ? ERR_IN_DOUBT : ERR_UNREACHABLE;
        }
    }
}

static struct dcs_request *first_done(const struct dcs_pending *pending, uint64_t last_id)
{
    ASSERT(last_id <= pending->last_id);
    struct dcs_request *request = pending->first;
    while (request != NULL && !(dcs_call_of(request)->done && request->id <= last_id)) {
        request = request->next;
    }
    return request;
}

static void timer_closed_cb(uv_handle_t *handle)
{
    struct dcs_pending *pending = handle->data;
    ASSERT(pending->first == NULL);
    pending->closed_cb(pending->closed_arg);
}

static void timer_cb(uv_timer_t *timer)
{
    struct dcs_pending *pending = timer->data;
    ASSERT(pending != NULL);
    pending->armed = MONO_NEVER;
    expire(pending, mono_now());
    /* What the callbacks start waits for another turn: an owner that tries again at once cannot
     * hold the loop. */
    uint64_t last_id = pending->last_id;
    struct dcs_request *request;
    while ((request = first_done(pending, last_id)) != NULL) {
        dcs_pending_finish(pending, request, dcs_call_of(request)->err, NULL, NULL);
    }
    for (request = pending->first; request != NULL; request = request->next) {
        arm(pending, dcs_call_of(request)->done ? MONO_ZERO : request->deadline);
    }
    if (pending->closing && pending->first == NULL) {
        uv_close((uv_handle_t *)timer, timer_closed_cb);
    }
}

void dcs_pending_close(struct dcs_pending *pending, void (*closed_cb)(void *arg), void *arg)
{
    ASSERT(!pending->closing && closed_cb != NULL);
    pending->closing = true;
    pending->closed_cb = closed_cb;
    pending->closed_arg = arg;
    for (struct dcs_request *request = pending->first; request != NULL; request = request->next) {
        enum err err = in_doubt(request) ? ERR_IN_DOUBT : ERR_CANCELED;
        if (!dcs_call_of(request)->done) {
            (void)err_set(&request->detail, err, "closed before the answer");
        }
        dcs_pending_fail(pending, request, err);
    }
    pending->armed = MONO_NEVER; /* inside a callback of the timer it may stand at zero already */
    arm(pending, MONO_ZERO);
}
