/* Time as the store counts it for its sessions, with a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "store/store_session.h"

struct test {
    char dir[64];
    struct store_db *db;
    struct store_sessions sessions;
    struct mono now;
};

static int remove_cb(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void open_all(struct test *test)
{
    struct err_detail detail;
    assert_int_equal(store_db_open(test->dir, true, &test->db, &detail), ERR_OK);
    assert_int_equal(store_sessions_init(&test->sessions, test->db, test->now, &detail), ERR_OK);
}

static void close_all(struct test *test)
{
    store_sessions_fini(&test->sessions);
    store_db_close(test->db);
}

static int setup(void **state)
{
    struct test *test = calloc(1, sizeof(*test));
    assert_non_null(test);
    assert_true(str_copy(test->dir, sizeof(test->dir), "/tmp/holdfast-session-XXXXXX"));
    assert_non_null(mkdtemp(test->dir));
    test->now = (struct mono){1000000};
    open_all(test);
    *state = test;
    return 0;
}

static int teardown(void **state)
{
    struct test *test = *state;
    close_all(test);
    assert_int_equal(nftw(test->dir, remove_cb, 4, FTW_DEPTH | FTW_PHYS), 0);
    free(test);
    return 0;
}

static void create(struct test *test, int64_t ttl_ms, char id[SESSION_SIZE])
{
    struct err_detail detail;
    assert_int_equal(store_session_create(&test->sessions, ttl_ms, test->now, id, &detail), ERR_OK);
    assert_true(store_session_exists(&test->sessions, id));
}

/* Tick by tick; answers how long until a session ended, -1 when none did. */
static int64_t ticks(struct test *test, int64_t ms)
{
    for (int64_t passed = 0; passed < ms; passed += STORE_TICK_MS) {
        test->now = mono_add(test->now, STORE_TICK_MS);
        if (store_sessions_tick(&test->sessions, test->now) != NULL) {
            return passed + STORE_TICK_MS;
        }
    }
    return -1;
}

static void test_a_session_ends_one_ttl_after_its_last_keepalive(void **state)
{
    struct test *test = *state;
    char id[SESSION_SIZE];
    create(test, 5000, id);
    assert_int_equal(ticks(test, 4000), -1);
    assert_true(store_session_keep(&test->sessions, id, 5000, test->now));
    assert_int_equal(ticks(test, 10000), 5000);
    assert_string_equal(store_sessions_tick(&test->sessions, test->now), id);
    store_session_forget(&test->sessions, id);
    assert_null(store_sessions_tick(&test->sessions, test->now));
    assert_false(store_session_keep(&test->sessions, id, 5000, test->now));
    assert_false(store_session_exists(&test->sessions, id));
}

static void test_time_in_which_the_store_stood_counts_for_nobody(void **state)
{
    struct test *test = *state;
    char id[SESSION_SIZE];
    create(test, 5000, id);
    assert_int_equal(ticks(test, 4000), -1);
    test->now = mono_add(test->now, 60000);
    assert_null(store_sessions_tick(&test->sessions, test->now));
    assert_int_equal(ticks(test, 10000), 5000);
}

static void test_a_restart_gives_the_full_ttl(void **state)
{
    struct test *test = *state;
    char id[SESSION_SIZE];
    create(test, 5000, id);
    assert_true(store_session_keep(&test->sessions, id, 8000, test->now)); /* saved as well */
    assert_int_equal(ticks(test, 7000), -1);
    close_all(test);
    test->now = mono_add(test->now, 100000);
    open_all(test);
    assert_true(store_session_exists(&test->sessions, id));
    assert_int_equal(ticks(test, 20000), 8000);
}

static void test_limits(void **state)
{
    struct test *test = *state;
    char first[SESSION_SIZE];
    char id[SESSION_SIZE];
    create(test, 1, first); /* raised to the least */
    assert_int_equal(ticks(test, 5000), STORE_SESSION_TTL_MIN_MS);
    for (int i = 1; i < STORE_SESSIONS_MAX; i++) {
        create(test, INT64_MAX, id);
    }
    struct err_detail detail;
    assert_int_equal(store_session_create(&test->sessions, 5000, test->now, id, &detail),
                     ERR_REFUSED);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_session_ends_one_ttl_after_its_last_keepalive),
        T(test_time_in_which_the_store_stood_counts_for_nobody),
        T(test_a_restart_gives_the_full_ttl),
        T(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
