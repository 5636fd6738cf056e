/* Copies instead of looks inside callbacks, so that tests read from top to bottom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contract/calls.h"

#include <string.h>

#include "base/str.h"

static void items_copy(struct dcs_mirror *to, const struct dcs_snapshot *snapshot)
{
    dcs_mirror_clear(to);
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct dcs_item *item = &snapshot->items[i];
        if (i > 0) {
            assert_true(strcmp(snapshot->items[i - 1].key, item->key) < 0);
        }
        assert_true(item->version > 0 && item->version <= snapshot->revision);
        dcs_mirror_put(to, item);
    }
}

static void call_ended(struct call *call, enum err err)
{
    call->calls++;
    uv_stop(&call->fixture->loop); /* a turn that ran its timers would go on to wait for more */
    call->err = err;
    call->order = call->fixture->closed;
    call->took_ms = mono_sub(mono_now(), call->started);
    str_copy_cut(call->text, sizeof(call->text), call->request.detail.text);
    if (err != ERR_OK && err != ERR_CANCELED) {
        assert_true(call->text[0] != '\0');
    }
}

static void read_cb(struct dcs_request *request, enum err err, const struct dcs_snapshot *snapshot,
                    void *arg)
{
    struct call *call = arg;
    assert_ptr_equal(request, &call->request);
    assert_true((err == ERR_OK) == (snapshot != NULL));
    call_ended(call, err);
    if (snapshot != NULL) {
        call->revision = snapshot->revision;
        call->store_id = snapshot->store_id;
        items_copy(&call->items, snapshot);
    }
}

static void txn_cb(struct dcs_request *request, enum err err, const struct dcs_txn_result *result,
                   void *arg)
{
    struct call *call = arg;
    assert_ptr_equal(request, &call->request);
    assert_true((err == ERR_OK) == (result != NULL));
    call_ended(call, err);
    if (result != NULL) {
        call->revision = result->revision;
    }
}

static void call_start(struct fixture *fixture, struct call *call)
{
    struct dcs_mirror items = call->items;
    *call = (struct call){.fixture = fixture, .items = items, .started = mono_now()};
}

void call_read(struct fixture *fixture, struct dcs *dcs, struct call *call, int64_t timeout_ms)
{
    call_start(fixture, call);
    dcs_read(dcs, &call->request, timeout_ms, read_cb, call);
    assert_int_equal(call->calls, 0);
}

void call_txn(struct fixture *fixture, struct dcs *dcs, struct call *call, const struct dcs_op *ops,
              size_t count, int64_t timeout_ms)
{
    call_start(fixture, call);
    dcs_txn(dcs, &call->request, ops, count, timeout_ms, txn_cb, call);
    assert_int_equal(call->calls, 0);
}

void call_fini(struct call *call)
{
    dcs_mirror_clear(&call->items);
}

enum err read_now(struct fixture *fixture, struct dcs *dcs, struct call *call)
{
    call_read(fixture, dcs, call, TIMEOUT_MS);
    UNTIL(fixture, call->calls > 0);
    assert_int_equal(call->calls, 1);
    return call->err;
}

enum err txn_now(struct fixture *fixture, struct dcs *dcs, struct call *call,
                 const struct dcs_op *ops, size_t count)
{
    call_txn(fixture, dcs, call, ops, count, TIMEOUT_MS);
    UNTIL(fixture, call->calls > 0);
    assert_int_equal(call->calls, 1);
    return call->err;
}

uint64_t put_now(struct fixture *fixture, struct dcs *dcs, const char *key, const char *value)
{
    struct call call = {.calls = 0};
    struct dcs_op op = {.type = DCS_OP_PUT, .key = key, .value = value};
    assert_int_equal(txn_now(fixture, dcs, &call, &op, 1), ERR_OK);
    return call.revision;
}

uint64_t version_now(struct fixture *fixture, struct dcs *dcs, const char *key, const char *value)
{
    struct call call = {.calls = 0};
    assert_int_equal(read_now(fixture, dcs, &call), ERR_OK);
    struct dcs_snapshot snapshot = {.count = call.items.count, .items = call.items.items};
    const struct dcs_item *item = dcs_snapshot_find(&snapshot, key);
    uint64_t version = item == NULL ? 0 : item->version;
    if (value != NULL) {
        assert_string_equal(item == NULL ? "absent" : item->value, value);
        assert_int_equal(item == NULL ? SIZE_MAX : item->value_size, strlen(value));
    }
    call_fini(&call);
    return version;
}

static void watch_cb(struct dcs *dcs, enum dcs_watch_event event,
                     const struct dcs_snapshot *snapshot, void *arg)
{
    struct watch *watch = arg;
    assert_non_null(dcs);
    assert_true((event == DCS_WATCH_DOWN) == (snapshot == NULL));
    bool up = watch->ups > watch->downs;
    assert_true((event == DCS_WATCH_UP) != up); /* UP and DOWN take turns, CHANGES in between */
    watch->ups += event == DCS_WATCH_UP ? 1 : 0;
    watch->changes += event == DCS_WATCH_CHANGES ? 1 : 0;
    watch->downs += event == DCS_WATCH_DOWN ? 1 : 0;
    if (snapshot != NULL) {
        watch->revision = snapshot->revision;
        watch->store_id = snapshot->store_id;
        items_copy(&watch->items, snapshot);
    }
}

void watch_on(struct dcs *dcs, struct watch *watch)
{
    dcs_watch(dcs, watch_cb, watch);
    assert_int_equal(watch->ups, 0);
}

const struct dcs_item *watch_find(const struct watch *watch, const char *key)
{
    struct dcs_snapshot snapshot = {.count = watch->items.count, .items = watch->items.items};
    return dcs_snapshot_find(&snapshot, key);
}

void watch_fini(struct watch *watch)
{
    dcs_mirror_clear(&watch->items);
}
