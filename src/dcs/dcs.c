/* The contract's front: what holds for every store is checked here once, the rest is dispatched. */
#include "dcs/dcs.h"

#include "base/assert.h"
#include "dcs/mirror.h"

const struct dcs_item *dcs_snapshot_find(const struct dcs_snapshot *snapshot, const char *key)
{
    ASSERT(snapshot != NULL);
    bool found = false;
    size_t index = dcs_items_find(snapshot->items, snapshot->count, key, &found);
    return found ? &snapshot->items[index] : NULL;
}

void dcs_read(struct dcs *dcs, struct dcs_request *request, int64_t timeout_ms, dcs_read_cb cb,
              void *arg)
{
    ASSERT(cb != NULL);
    ASSERT(!request->active);
    request->dcs = dcs;
    request->read_cb = cb;
    request->txn_cb = NULL;
    request->arg = arg;
    dcs->ops->read(dcs, request, timeout_ms);
}

void dcs_txn(/* house: seven, as a list is two. NOLINT(readability-function-size) */
             struct dcs *dcs, struct dcs_request *request, const struct dcs_op *ops, size_t count,
             int64_t timeout_ms, dcs_txn_cb cb, void *arg)
{
    ASSERT(cb != NULL);
    ASSERT(!request->active);
    ASSERT(count > 0 && count <= STORE_TXN_OPS_MAX);
    request->dcs = dcs;
    request->read_cb = NULL;
    request->txn_cb = cb;
    request->arg = arg;
    dcs->ops->txn(dcs, request, ops, count, timeout_ms);
}

void dcs_watch(struct dcs *dcs, dcs_watch_cb cb, void *arg)
{
    ASSERT(cb != NULL);
    dcs->ops->watch(dcs, cb, arg);
}

void dcs_session_set_ttl(struct dcs *dcs, int64_t ttl_ms)
{
    ASSERT(ttl_ms > 0);
    dcs->ops->session_set_ttl(dcs, ttl_ms);
}

const char *dcs_session_id(const struct dcs *dcs)
{
    const char *id = dcs->ops->session_id(dcs);
    ASSERT(id != NULL);
    return id;
}

void dcs_announce(struct dcs *dcs, const struct dcs_announcement *announcement)
{
    ASSERT(announcement->role != NULL);
    if (dcs->ops->announce != NULL) {
        dcs->ops->announce(dcs, announcement);
    }
}

void dcs_close(struct dcs *dcs, void (*closed_cb)(void *arg), void *arg)
{
    ASSERT(dcs != NULL);
    dcs->ops->close(dcs, closed_cb, arg);
}
