/* What dcs.h promises, asked of every store. The argument names the store: memory, local or consul. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "contract/calls.h"
#include "contract/fixture.h"

#define PUT(k, v) ((struct dcs_op){.type = DCS_OP_PUT, .key = (k), .value = (v)})
#define ATTACH(k, v) ((struct dcs_op){.type = DCS_OP_ATTACH, .key = (k), .value = (v)})
#define DELETE(k) ((struct dcs_op){.type = DCS_OP_DELETE, .key = (k)})
#define CHECK(k, n) ((struct dcs_op){.type = DCS_OP_CHECK, .key = (k), .version = (n)})
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static enum fixture_store store;

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture_init(fixture, store);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_fini(*state);
    free(*state);
    return 0;
}

static void test_an_empty_prefix_reads_as_nothing(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct call call = {.calls = 0};
    assert_int_equal(read_now(fx, a, &call), ERR_OK);
    assert_int_equal(call.items.count, 0);
    assert_true(call.store_id != 0);
    call_fini(&call);
}

static void test_versions_grow_and_never_come_again(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    uint64_t first = put_now(fx, a, "lease", "one");
    assert_true(first > 0);
    assert_int_equal(version_now(fx, a, "lease", "one"), first);
    uint64_t again = put_now(fx, a, "lease", "one"); /* the same value is a change as well */
    assert_true(again > first);
    struct call call = {.calls = 0};
    struct dcs_op gone = DELETE("lease");
    assert_int_equal(txn_now(fx, a, &call, &gone, 1), ERR_OK);
    assert_true(call.revision > again);
    assert_int_equal(version_now(fx, a, "lease", NULL), 0);
    assert_true(put_now(fx, a, "lease", "one") > call.revision);
    assert_int_equal(txn_now(fx, a, &call, &gone, 1), ERR_OK);
    assert_int_equal(txn_now(fx, a, &call, &gone, 1), ERR_OK); /* absent already */
}

static void test_text_of_every_kind_comes_back_as_it_was(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    static const char odd[] = "\"\\/\b\f\n\r\t\x01\x1f\x7f h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x98";
    (void)put_now(fx, a, "config", odd);
    assert_true(version_now(fx, a, "config", odd) > 0);
    (void)put_now(fx, a, "empty", "");
    assert_true(version_now(fx, a, "empty", "") > 0);
    char *large = malloc(STORE_VALUE_MAX + 1);
    assert_non_null(large);
    memset(large, '\n', STORE_VALUE_MAX);
    large[STORE_VALUE_MAX] = '\0';
    (void)put_now(fx, a, "history", large);
    assert_true(version_now(fx, a, "history", large) > 0);
    free(large);
}

static void test_a_failed_check_changes_nothing(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    uint64_t lease = put_now(fx, a, "lease", "one");
    struct call call = {.calls = 0};
    struct dcs_op wrong[] = {PUT("leader", "a"), CHECK("lease", lease + 1), PUT("lease", "two")};
    assert_int_equal(txn_now(fx, a, &call, wrong, COUNT(wrong)), ERR_CONFLICT);
    assert_int_equal(version_now(fx, a, "leader", NULL), 0);
    assert_int_equal(version_now(fx, a, "lease", "one"), lease);
    struct dcs_op absent[] = {CHECK("lease", 0), PUT("lease", "two")};
    assert_int_equal(txn_now(fx, a, &call, absent, COUNT(absent)), ERR_CONFLICT);
    struct dcs_op missing[] = {CHECK("leader", lease), PUT("lease", "two")};
    assert_int_equal(txn_now(fx, a, &call, missing, COUNT(missing)), ERR_CONFLICT);
    struct dcs_op right[] = {PUT("leader", "a"), CHECK("lease", lease), PUT("lease", "two"),
                             CHECK("leader", 0), DELETE("sync")};
    assert_int_equal(txn_now(fx, a, &call, right, COUNT(right)), ERR_OK);
    assert_int_equal(version_now(fx, a, "leader", "a"), call.revision);
    assert_int_equal(version_now(fx, a, "lease", "two"), call.revision);
    struct dcs_op only_check = CHECK("lease", call.revision);
    assert_int_equal(txn_now(fx, a, &call, &only_check, 1), ERR_OK);
}

static void test_malformed_operations_are_invalid(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct call call = {.calls = 0};
    struct dcs_op bad[] = {PUT("", "x"),     PUT("/lease", "x"), PUT("lease/", "x"),
                           PUT("a//b", "x"), PUT("a\nb", "x"),   PUT("lease", "\xff"),
                           PUT("\xc0", "x"), DELETE(""),         CHECK("/", 0)};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(txn_now(fx, a, &call, &bad[i], 1), ERR_INVALID);
    }
    struct dcs_op twice[] = {PUT("lease", "x"), DELETE("lease")};
    assert_int_equal(txn_now(fx, a, &call, twice, COUNT(twice)), ERR_INVALID);
    assert_int_equal(version_now(fx, a, "lease", NULL), 0);
}

static void test_clusters_do_not_see_each_other(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct dcs *b = fixture_open(fx, 1, FIXTURE_BASE "2");
    struct watch watch = {.ups = 0};
    watch_on(b, &watch);
    UNTIL(fx, watch.ups == 1);
    (void)put_now(fx, a, "lease", "a");
    assert_int_equal(version_now(fx, b, "lease", NULL), 0);
    (void)put_now(fx, b, "lease", "b");
    assert_true(version_now(fx, a, "lease", "a") > 0);
    UNTIL(fx, watch.changes == 1);
    assert_string_equal(watch_find(&watch, "lease")->value, "b");
    fixture_close(fx, 1);
    watch_fini(&watch);
}

static void test_a_watch_tells_of_changes_at_once(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct dcs *b = fixture_open(fx, 1, FIXTURE_BASE);
    uint64_t first = put_now(fx, a, "members/n1", "{}");
    struct watch watch = {.ups = 0};
    watch_on(b, &watch);
    UNTIL(fx, watch.ups == 1);
    assert_int_equal(watch_find(&watch, "members/n1")->version, first);
    int64_t worst_ms = 0;
    for (int i = 0; i < 50; i++) {
        struct call call = {.calls = 0};
        char value[16];
        assert_true(str_format(value, sizeof(value), "%d", i));
        struct dcs_op op = PUT("lease", value);
        call_txn(fx, a, &call, &op, 1, TIMEOUT_MS);
        UNTIL(fx, watch_find(&watch, "lease") != NULL &&
                      str_equal(watch_find(&watch, "lease")->value, value));
        int64_t took_ms = mono_sub(mono_now(), call.started);
        worst_ms = took_ms > worst_ms ? took_ms : worst_ms;
        UNTIL(fx, call.calls == 1);
        assert_int_equal(watch_find(&watch, "lease")->version, call.revision);
        assert_int_equal(watch_find(&watch, "members/n1")->version, first);
    }
    print_message("# write to watch event, worst of 50: %" PRId64 " ms\n", worst_ms);
    assert_true(worst_ms < 1000);
    struct call call = {.calls = 0};
    struct dcs_op gone = DELETE("members/n1");
    assert_int_equal(txn_now(fx, a, &call, &gone, 1), ERR_OK);
    UNTIL(fx, watch_find(&watch, "members/n1") == NULL);
    assert_int_equal(watch.revision, call.revision);
    assert_int_equal(watch.downs, 0);
    fixture_close(fx, 1);
    watch_fini(&watch);
}

static const struct dcs_item *item_of(const struct call *call, const char *key)
{
    struct dcs_snapshot snapshot = {.count = call->items.count, .items = call->items.items};
    return dcs_snapshot_find(&snapshot, key);
}

static void test_attached_keys_vanish_with_their_session(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct dcs *b = fixture_open(fx, 1, FIXTURE_BASE);
    dcs_session_set_ttl(a, 1000);
    assert_string_equal(dcs_session_id(a), "");
    struct call call = {.calls = 0};
    struct dcs_op ops[] = {ATTACH("leader", "a"), PUT("lease", "a"), ATTACH("members/a", "{}")};
    assert_int_equal(txn_now(fx, a, &call, ops, COUNT(ops)), ERR_OK);
    assert_true(dcs_session_id(a)[0] != '\0');
    assert_int_equal(read_now(fx, b, &call), ERR_OK);
    assert_true(item_of(&call, "leader")->attached);
    assert_false(item_of(&call, "lease")->attached);
    fixture_run(fx, 2000); /* kept alive */
    uint64_t leader = version_now(fx, b, "leader", "a");
    assert_true(leader > 0);
    (void)put_now(fx, a, "members/a", "{}"); /* PUT ends the attachment */
    struct watch watch = {.ups = 0};
    watch_on(b, &watch);
    UNTIL(fx, watch.ups == 1);
    struct mono from = mono_now();
    fixture_away(fx, 0, true);
    UNTIL(fx, watch_find(&watch, "leader") == NULL);
    int64_t took_ms = mono_sub(mono_now(), from);
    assert_true(took_ms >= 500); /* the ttl, less the time since the last keepalive */
    assert_non_null(watch_find(&watch, "lease"));
    assert_non_null(watch_find(&watch, "members/a"));
    assert_int_equal(watch.downs, 0);
    fixture_away(fx, 0, false);
    assert_int_equal(txn_now(fx, a, &call, ops, 1), ERR_OK); /* a new session, unasked */
    assert_true(version_now(fx, b, "leader", "a") > leader);
    call_fini(&call);
    fixture_close(fx, 1);
    watch_fini(&watch);
}

static void test_an_attached_key_can_be_taken_over(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct dcs *b = fixture_open(fx, 1, FIXTURE_BASE);
    dcs_session_set_ttl(a, 1000);
    dcs_session_set_ttl(b, 1000);
    struct call call = {.calls = 0};
    struct dcs_op by_a[] = {ATTACH("leader", "a"), ATTACH("members/a", "{}")};
    assert_int_equal(txn_now(fx, a, &call, by_a, COUNT(by_a)), ERR_OK);
    struct dcs_op by_b = ATTACH("leader", "b");
    assert_int_equal(txn_now(fx, b, &call, &by_b, 1), ERR_OK);
    uint64_t leader = call.revision;
    assert_string_not_equal(dcs_session_id(a), dcs_session_id(b));
    fixture_close(fx, 0);
    UNTIL(fx, version_now(fx, b, "members/a", NULL) == 0); /* the session of a is over */
    assert_int_equal(version_now(fx, b, "leader", "b"), leader);
    struct dcs *c = fixture_open(fx, 2, FIXTURE_BASE);
    fixture_close(fx, 1);
    UNTIL(fx, version_now(fx, c, "leader", NULL) == 0);
}

static void test_a_lost_answer_leaves_doubt_and_a_read_ends_it(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    uint64_t first = put_now(fx, a, "lease", "one");
    struct call call = {.calls = 0};
    struct dcs_op ops[] = {CHECK("lease", first), PUT("lease", "two")};
    fixture_cut_answer(fx, 0);
    assert_int_equal(txn_now(fx, a, &call, ops, COUNT(ops)), ERR_IN_DOUBT);
    assert_true(call.took_ms < TIMEOUT_MS / 2); /* known by the cut, not by the deadline */
    uint64_t second = version_now(fx, a, "lease", "two");
    assert_true(second > first);
    fixture_cut_answer(fx, 0);
    assert_int_equal(read_now(fx, a, &call), ERR_OK); /* reads are asked again */
    fixture_run(fx, 50);
    assert_int_equal(call.calls, 1);
    call_fini(&call);
}

static void test_deadlines_hold_when_no_answer_comes(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct dcs *b = fixture_open(fx, 1, FIXTURE_BASE);
    (void)put_now(fx, a, "lease", "one");
    fixture_drop_answers(fx, 0, true);
    struct call txn = {.calls = 0};
    struct call read = {.calls = 0};
    struct dcs_op op = PUT("lease", "two");
    call_txn(fx, a, &txn, &op, 1, 200);
    call_read(fx, a, &read, 300);
    UNTIL(fx, txn.calls == 1 && read.calls == 1);
    assert_int_equal(txn.err, ERR_IN_DOUBT);
    assert_int_equal(read.err, ERR_UNREACHABLE);
    assert_in_range(txn.took_ms, 200, 1200);
    assert_in_range(read.took_ms, 300, 1300);
    assert_true(version_now(fx, b, "lease", "two") > 0); /* it was applied */
    fixture_drop_answers(fx, 0, false);
    assert_int_equal(read_now(fx, a, &read), ERR_OK);
    call_fini(&read);
}

static void test_a_delay_is_only_a_delay(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    (void)put_now(fx, a, "lease", "one");
    fixture_delay(fx, 0, 50);
    struct call calls[5] = {{.calls = 0}};
    for (size_t i = 0; i < COUNT(calls); i++) {
        struct dcs_op op = PUT("lease", "two");
        call_txn(fx, a, &calls[i], &op, 1, TIMEOUT_MS);
    }
    for (size_t i = 0; i < COUNT(calls); i++) {
        UNTIL(fx, calls[i].calls == 1);
        assert_int_equal(calls[i].err, ERR_OK);
        assert_true(calls[i].took_ms >= 50);
        assert_true(i == 0 || calls[i].revision != calls[i - 1].revision);
    }
    /* An answer that comes after the deadline is nobody's. */
    struct call late = {.calls = 0};
    struct dcs_op op = PUT("lease", "three");
    call_txn(fx, a, &late, &op, 1, 20);
    UNTIL(fx, late.calls == 1);
    assert_int_equal(late.err, ERR_IN_DOUBT);
    fixture_run(fx, 200);
    assert_int_equal(late.calls, 1);
}

static void test_what_was_not_sent_is_unreachable(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    (void)put_now(fx, a, "lease", "one");
    fixture_away(fx, 0, true);
    fixture_run(fx, 50);
    struct call txn = {.calls = 0};
    struct call read = {.calls = 0};
    struct dcs_op op = PUT("lease", "two");
    call_txn(fx, a, &txn, &op, 1, 300);
    call_read(fx, a, &read, 300);
    UNTIL(fx, txn.calls == 1 && read.calls == 1);
    assert_int_equal(txn.err, ERR_UNREACHABLE);
    assert_int_equal(read.err, ERR_UNREACHABLE);
    assert_in_range(txn.took_ms, 300, 1300);
    call_txn(fx, a, &txn, &op, 1, TIMEOUT_MS); /* waits for the store to come back */
    fixture_run(fx, 50);
    assert_int_equal(txn.calls, 0);
    fixture_away(fx, 0, false);
    UNTIL(fx, txn.calls == 1);
    assert_int_equal(txn.err, ERR_OK);
    assert_true(txn.took_ms < 1500); /* by reconnecting every 200 ms at the latest */
}

static void test_a_frozen_store_neither_answers_nor_ends_sessions(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct dcs *b = fixture_open(fx, 1, FIXTURE_BASE);
    dcs_session_set_ttl(a, 1000);
    struct call txn = {.calls = 0};
    struct dcs_op attach = ATTACH("leader", "a");
    assert_int_equal(txn_now(fx, a, &txn, &attach, 1), ERR_OK);
    uint64_t leader = txn.revision;
    assert_int_equal(version_now(fx, b, "leader", "a"), leader);
    fixture_freeze(fx);
    struct call read = {.calls = 0};
    struct dcs_op op = PUT("lease", "two");
    call_txn(fx, a, &txn, &op, 1, 250);
    call_read(fx, b, &read, 250);
    UNTIL(fx, txn.calls == 1 && read.calls == 1);
    assert_int_equal(txn.err, ERR_IN_DOUBT);
    assert_int_equal(read.err, ERR_UNREACHABLE);
    assert_in_range(txn.took_ms, 250, 1250);
    fixture_run(fx, 1500); /* longer than the session's ttl */
    fixture_thaw(fx);
    assert_int_equal(version_now(fx, b, "leader", "a"), leader);
    fixture_run(fx, 1500);
    assert_int_equal(version_now(fx, a, "leader", "a"), leader);
    assert_int_equal(read.calls, 1);
    assert_int_equal(txn.calls, 1);
    call_fini(&read);
}

static void test_what_was_acknowledged_survives_a_restart(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct dcs *b = fixture_open(fx, 1, FIXTURE_BASE);
    struct watch watch = {.ups = 0};
    watch_on(b, &watch);
    UNTIL(fx, watch.ups == 1);
    uint64_t store_id = watch.store_id;
    struct call call = {.calls = 0};
    struct dcs_op ops[] = {ATTACH("leader", "a"), PUT("lease", "one")};
    assert_int_equal(txn_now(fx, a, &call, ops, COUNT(ops)), ERR_OK);
    uint64_t revision = call.revision;
    fixture_restart(fx);
    UNTIL(fx, watch.downs == 1 && watch.ups == 2);
    assert_int_equal(watch.store_id, store_id);
    assert_int_equal(watch.revision, revision);
    assert_int_equal(watch_find(&watch, "leader")->version, revision);
    assert_int_equal(version_now(fx, a, "lease", "one"), revision);
    assert_true(put_now(fx, a, "lease", "two") > revision);
    fixture_close(fx, 1);
    watch_fini(&watch);
}

static void test_a_wiped_store_is_another_store(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct watch watch = {.ups = 0};
    watch_on(a, &watch);
    struct call call = {.calls = 0};
    struct dcs_op attach = ATTACH("leader", "a");
    assert_int_equal(txn_now(fx, a, &call, &attach, 1), ERR_OK);
    UNTIL(fx, watch_find(&watch, "leader") != NULL);
    uint64_t store_id = watch.store_id;
    fixture_wipe(fx);
    UNTIL(fx, watch.ups == 2);
    assert_int_equal(watch.downs, 1);
    assert_true(watch.store_id != store_id);
    assert_int_equal(watch.items.count, 0);
    if (store != FIXTURE_CONSUL) { /* which begins to count before the first key */
        assert_int_equal(watch.revision, 0);
    }
    assert_int_equal(txn_now(fx, a, &call, &attach, 1), ERR_OK); /* with a new session */
    fixture_close(fx, 0);
    watch_fini(&watch);
}

static void test_a_store_that_went_back_shows_it(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    assert_int_equal(version_now(fx, a, "lease", NULL), 0);
    uint64_t old = put_now(fx, a, "lease", "old");
    fixture_save(fx);
    assert_true(put_now(fx, a, "lease", "new") > old);
    struct watch watch = {.ups = 0};
    watch_on(a, &watch);
    UNTIL(fx, watch.ups == 1);
    uint64_t store_id = watch.store_id;
    fixture_roll_back(fx);
    UNTIL(fx, watch.ups == 2);
    assert_int_equal(watch.revision, old);
    assert_int_equal(watch.store_id, store_id);
    assert_string_equal(watch_find(&watch, "lease")->value, "old");
    fixture_close(fx, 0);
    watch_fini(&watch);
}

static void test_close_ends_every_call_once(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct watch watch = {.ups = 0};
    watch_on(a, &watch);
    UNTIL(fx, watch.ups == 1);
    (void)put_now(fx, a, "lease", "one");
    fixture_drop_answers(fx, 0, true);
    struct call sent = {.calls = 0};
    struct call read = {.calls = 0};
    struct dcs_op op = PUT("lease", "two");
    unsigned passed = fixture_passed(fx, 0);
    call_txn(fx, a, &sent, &op, 1, TIMEOUT_MS);
    UNTIL(fx, sent.request.sent && fixture_passed(fx, 0) > passed);
    fixture_away(fx, 0, true);
    UNTIL(fx, watch.downs == 1); /* sent, and ends in doubt at the cut */
    UNTIL(fx, sent.calls == 1);
    assert_int_equal(sent.err, ERR_IN_DOUBT);
    struct call unsent = {.calls = 0};
    call_txn(fx, a, &unsent, &op, 1, TIMEOUT_MS);
    call_read(fx, a, &read, TIMEOUT_MS);
    fixture_close(fx, 0);
    assert_int_equal(unsent.calls, 1);
    assert_int_equal(unsent.err, ERR_CANCELED);
    assert_int_equal(unsent.order, 0); /* before closed_cb */
    assert_int_equal(read.calls, 1);
    assert_int_equal(read.err, ERR_CANCELED);
    assert_int_equal(watch.downs, 1);
    watch_fini(&watch);
}

static void test_close_leaves_what_was_sent_in_doubt(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    (void)put_now(fx, a, "lease", "one");
    fixture_drop_answers(fx, 0, true);
    struct call sent = {.calls = 0};
    struct dcs_op op = PUT("lease", "two");
    unsigned passed = fixture_passed(fx, 0);
    call_txn(fx, a, &sent, &op, 1, TIMEOUT_MS);
    UNTIL(fx, sent.request.sent && fixture_passed(fx, 0) > passed);
    fixture_close(fx, 0);
    assert_int_equal(sent.calls, 1);
    assert_int_equal(sent.err, ERR_IN_DOUBT);
    assert_int_equal(sent.order, 0);
}

struct closer {
    struct fixture *fixture;
    struct dcs_request request;
    int calls;
    bool closed;
};

static void closer_closed_cb(void *arg)
{
    ((struct closer *)arg)->closed = true;
}

static void closer_end(struct closer *closer)
{
    closer->calls++;
    assert_false(closer->closed);
    dcs_close(closer->fixture->clients[0], closer_closed_cb, closer);
    closer->fixture->clients[0] = NULL;
}

static void closer_read_cb(struct dcs_request *request, enum err err,
                           const struct dcs_snapshot *snapshot, void *arg)
{
    (void)request;
    (void)snapshot;
    assert_int_equal(err, ERR_OK);
    closer_end(arg);
}

static void closer_watch_cb(struct dcs *dcs, enum dcs_watch_event event,
                            const struct dcs_snapshot *snapshot, void *arg)
{
    (void)dcs;
    (void)event;
    (void)snapshot;
    closer_end(arg);
}

static void test_close_inside_a_callback(void **state)
{
    struct fixture *fx = *state;
    struct closer by_read = {.fixture = fx};
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    dcs_read(a, &by_read.request, TIMEOUT_MS, closer_read_cb, &by_read);
    struct call other = {.calls = 0};
    call_read(fx, a, &other, TIMEOUT_MS);
    UNTIL(fx, by_read.closed);
    assert_int_equal(by_read.calls, 1);
    assert_int_equal(other.calls, 1);
    struct closer by_watch = {.fixture = fx};
    a = fixture_open(fx, 0, FIXTURE_BASE);
    dcs_watch(a, closer_watch_cb, &by_watch);
    UNTIL(fx, by_watch.closed);
    assert_int_equal(by_watch.calls, 1);
    call_fini(&other);
}

/* Three clients, one version: whoever comes first wins, and only he. */
static void test_races_have_exactly_one_winner(void **state)
{
    struct fixture *fx = *state;
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        (void)fixture_open(fx, i, FIXTURE_BASE);
    }
    uint64_t version = put_now(fx, fx->clients[0], "lease", "start");
    int wins[3] = {0};
    int rounds = store == FIXTURE_CONSUL ? 500 : 5000; /* test_consul.c has the long one */
    for (int round = 0; round < rounds; round++) {
        struct call calls[3] = {{.calls = 0}};
        for (int n = 0; n < 3; n++) {
            int i = (n + round) % 3;
            struct dcs_op ops[] = {CHECK("lease", version), PUT("lease", names[i])};
            call_txn(fx, fx->clients[i], &calls[i], ops, COUNT(ops), TIMEOUT_MS);
        }
        UNTIL(fx, calls[0].calls == 1 && calls[1].calls == 1 && calls[2].calls == 1);
        int winner = -1;
        for (int i = 0; i < 3; i++) {
            assert_true(calls[i].err == ERR_OK || calls[i].err == ERR_CONFLICT);
            if (calls[i].err == ERR_OK) {
                assert_int_equal(winner, -1);
                winner = i;
                assert_true(calls[i].revision > version);
            }
        }
        if (winner < 0) {
            fail_msg("nobody won round %d", round);
            return;
        }
        version = calls[winner].revision;
        wins[winner]++;
        if (round % 500 == 0) {
            assert_int_equal(version_now(fx, fx->clients[round % 3], "lease", names[winner]),
                             version);
        }
    }
    print_message("# %d rounds, won by %d, %d, %d\n", rounds, wins[0], wins[1], wins[2]);
}

int main(int argc, char **argv)
{
    assert_true(argc == 2);
    static const char *const names[] = {"memory", "local", "consul"};
    size_t at = 0;
    while (at < COUNT(names) && !str_equal(argv[1], names[at])) {
        at++;
    }
    assert_true(at < COUNT(names));
    store = (enum fixture_store)at;
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_an_empty_prefix_reads_as_nothing),
        T(test_versions_grow_and_never_come_again),
        T(test_text_of_every_kind_comes_back_as_it_was),
        T(test_a_failed_check_changes_nothing),
        T(test_malformed_operations_are_invalid),
        T(test_clusters_do_not_see_each_other),
        T(test_a_watch_tells_of_changes_at_once),
        T(test_attached_keys_vanish_with_their_session),
        T(test_an_attached_key_can_be_taken_over),
        T(test_a_lost_answer_leaves_doubt_and_a_read_ends_it),
        T(test_deadlines_hold_when_no_answer_comes),
        T(test_a_delay_is_only_a_delay),
        T(test_what_was_not_sent_is_unreachable),
        T(test_a_frozen_store_neither_answers_nor_ends_sessions),
        T(test_what_was_acknowledged_survives_a_restart),
        T(test_a_wiped_store_is_another_store),
        T(test_a_store_that_went_back_shows_it),
        T(test_close_ends_every_call_once),
        T(test_close_leaves_what_was_sent_in_doubt),
        T(test_close_inside_a_callback),
        T(test_races_have_exactly_one_winner),
    };
    return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
