/* dcs/pending.h - the calls under way of one client: ids, deadlines, callbacks exactly once.
 *
 * Purpose    what every implementation of dcs.h needs to keep its promises about callbacks.
 * Ownership  embedded in the client; it owns request->impl (struct dcs_call) from add to callback.
 * Errors     a deadline ends a transaction that was sent with ERR_IN_DOUBT, all else with
 *            ERR_UNREACHABLE.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_DCS_PENDING_H
#define HOLDFAST_DCS_PENDING_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "dcs/dcs.h"

/* What an implementation keeps with a request: freed by dcs_pending. */
struct dcs_call {
    bool done; /* err is known, the callback is to come */
    enum err err;
    bool attach;            /* needs a session */
    struct mono not_before; /* for a fake that takes its time */
    size_t frame_size;
    char frame[]; /* what will be sent, in the implementation's form */
};

struct dcs_pending {
    uv_timer_t timer;
    struct dcs_request *first; /* in the order in which they were added */
    struct mono armed;         /* when the timer fires, MONO_NEVER: it does not */
    uint64_t last_id;
    bool closing;
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

void dcs_pending_init(struct dcs_pending *pending, uv_loop_t *loop);

/* A new id, from the same sequence as those of requests. */
uint64_t dcs_pending_next_id(struct dcs_pending *pending);

/* Takes the request in; room for frame_size bytes is in the answered call. */
struct dcs_call *dcs_pending_add(struct dcs_pending *pending, struct dcs_request *request,
                                 int64_t timeout_ms, size_t frame_size);

/* NULL when there is none, or its outcome is decided already. */
struct dcs_request *dcs_pending_find(const struct dcs_pending *pending, uint64_t id);

static inline struct dcs_call *dcs_call_of(const struct dcs_request *request)
{
    return request->impl;
}

/* The outcome is err, told on a later loop turn. Nothing when an outcome is decided already. */
void dcs_pending_fail(struct dcs_pending *pending, struct dcs_request *request, enum err err);

/* Calls back now: only from the loop, never inside a call of the owner. Either of snapshot and
 * result, as the request is; both NULL unless err is ERR_OK. */
void dcs_pending_finish(struct dcs_pending *pending, struct dcs_request *request, enum err err,
                        const struct dcs_snapshot *snapshot, const struct dcs_txn_result *result);

/* The connection was cut: transactions that were sent are in doubt, reads are to be sent again. */
void dcs_pending_cut(struct dcs_pending *pending);

/* Ends all calls under way, then calls closed_cb, on later loop turns. */
void dcs_pending_close(struct dcs_pending *pending, void (*closed_cb)(void *arg), void *arg);

#endif
