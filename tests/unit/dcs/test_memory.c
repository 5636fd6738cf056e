/* The fake's own faults: what they do to the caller, and what to the content. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dcs/memory.h"

struct test {
    uv_loop_t loop;
    struct dcs_memory *store;
    struct dcs *client;
    int calls;
    enum err err;
    size_t items;
    bool closed;
};

static void read_cb(struct dcs_request *request, enum err err, const struct dcs_snapshot *snapshot,
                    void *arg)
{
    struct test *test = arg;
    (void)request;
    test->calls++;
    uv_stop(&test->loop); /* a turn that ran its timers would go on to wait for more */
    test->err = err;
    test->items = snapshot == NULL ? SIZE_MAX : snapshot->count;
}

static void txn_cb(struct dcs_request *request, enum err err, const struct dcs_txn_result *result,
                   void *arg)
{
    struct test *test = arg;
    (void)request;
    (void)result;
    test->calls++;
    uv_stop(&test->loop); /* a turn that ran its timers would go on to wait for more */
    test->err = err;
}

static void closed_cb(void *arg)
{
    ((struct test *)arg)->closed = true;
}

static enum err put(struct test *test, const char *key)
{
    struct dcs_request request = {.id = 0};
    struct dcs_op op = {.type = DCS_OP_PUT, .key = key, .value = "x"};
    test->calls = 0;
    dcs_txn(test->client, &request, &op, 1, 50, txn_cb, test);
    while (test->calls == 0) {
        (void)uv_run(&test->loop, UV_RUN_ONCE);
    }
    assert_int_equal(test->calls, 1);
    return test->err;
}

static size_t count(struct test *test)
{
    struct dcs_request request = {.id = 0};
    test->calls = 0;
    dcs_read(test->client, &request, 1000, read_cb, test);
    while (test->calls == 0) {
        (void)uv_run(&test->loop, UV_RUN_ONCE);
    }
    assert_int_equal(test->err, ERR_OK);
    return test->items;
}

static void test_faults(void **state)
{
    (void)state;
    struct test test = {.calls = 0};
    assert_int_equal(uv_loop_init(&test.loop), 0);
    test.store = dcs_memory_create(&test.loop);
    test.client = dcs_memory_open(test.store, "/service/demo");
    assert_int_equal(put(&test, "a"), ERR_OK);
    dcs_memory_set_fault(test.client, DCS_MEMORY_REFUSE, 1);
    assert_int_equal(put(&test, "b"), ERR_REFUSED);
    assert_int_equal(count(&test), 1);
    dcs_memory_set_fault(test.client, DCS_MEMORY_DROP_REQUEST, 1);
    assert_int_equal(put(&test, "b"), ERR_IN_DOUBT);
    assert_int_equal(count(&test), 1);
    dcs_memory_set_fault(test.client, DCS_MEMORY_DROP_ANSWER, 1);
    assert_int_equal(put(&test, "b"), ERR_IN_DOUBT);
    assert_int_equal(count(&test), 2);
    dcs_memory_set_fault(test.client, DCS_MEMORY_CUT_ANSWER, 2);
    assert_int_equal(put(&test, "c"), ERR_IN_DOUBT);
    assert_int_equal(put(&test, "d"), ERR_IN_DOUBT);
    assert_int_equal(put(&test, "e"), ERR_OK);
    assert_int_equal(count(&test), 5);
    dcs_memory_set_fault(test.client, DCS_MEMORY_REFUSE, 5);
    dcs_memory_set_fault(test.client, DCS_MEMORY_NO_FAULT, 0);
    assert_int_equal(put(&test, "f"), ERR_OK);
    dcs_memory_set_away(test.client, true);
    assert_int_equal(put(&test, "g"), ERR_UNREACHABLE);
    dcs_memory_set_away(test.client, false);
    assert_int_equal(count(&test), 6); /* what had no time left was not sent later */
    dcs_close(test.client, closed_cb, &test);
    while (!test.closed) {
        (void)uv_run(&test.loop, UV_RUN_ONCE);
    }
    dcs_memory_destroy(test.store);
    assert_int_equal(uv_run(&test.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&test.loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
