/* pg_controldata's text: what is needed is found, what is missing is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "codec/pgcontrol.h"

static const char sample[] =
    "pg_control version number:            1300\n"
    "Database system identifier:           7711368141952469049\n"
    "Database cluster state:               in archive recovery\n"
    "pg_control last modified:             Mon 23 Nov 2026 02:09:31 PM UTC\n"
    "Latest checkpoint location:           0/500D2C8\n"
    "Latest checkpoint's REDO location:    0/500D290\n"
    "Latest checkpoint's REDO WAL file:    000000030000000000000005\n"
    "Latest checkpoint's TimeLineID:       3\n"
    "Latest checkpoint's PrevTimeLineID:   3\n"
    "Minimum recovery ending location:     1/A\n"
    "Min recovery ending loc's timeline:   4\n"
    "wal_log_hints setting:                on\n"
    "max_connections setting:              50\n"
    "max_worker_processes setting:         8\n"
    "max_wal_senders setting:              10\n"
    "max_prepared_xacts setting:           2\n"
    "max_locks_per_xact setting:           64\n"
    "Bytes per WAL segment:                67108864\n"
    "Data page checksum version:           1\n";

static void test_full(void **state)
{
    (void)state;
    struct pgcontrol control;
    assert_int_equal(pgcontrol_parse(sample, &control, NULL), ERR_OK);
    assert_int_equal(control.state, PGCONTROL_IN_ARCHIVE_RECOVERY);
    assert_true(control.sysid == UINT64_C(7711368141952469049));
    assert_true(control.checkpoint_lsn == 0x500D2C8 && control.redo_lsn == 0x500D290);
    assert_int_equal(control.checkpoint_timeline, 3);
    assert_true(control.min_recovery_lsn == UINT64_C(0x10000000A));
    assert_int_equal(control.min_recovery_timeline, 4);
    assert_true(control.checksums && control.wal_log_hints);
    assert_int_equal(control.wal_segment_bytes, 67108864);
    assert_int_equal(control.max_connections, 50);
    assert_int_equal(control.max_worker_processes, 8);
    assert_int_equal(control.max_wal_senders, 10);
    assert_int_equal(control.max_prepared_transactions, 2);
    assert_int_equal(control.max_locks_per_transaction, 64);
}

static void test_states(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum pgcontrol_state state;
    } cases[] = {
        {"starting up", PGCONTROL_STARTING_UP},
        {"shut down", PGCONTROL_SHUT_DOWN},
        {"shut down in recovery", PGCONTROL_SHUT_DOWN_IN_RECOVERY},
        {"shutting down", PGCONTROL_SHUTTING_DOWN},
        {"in crash recovery", PGCONTROL_IN_CRASH_RECOVERY},
        {"in archive recovery", PGCONTROL_IN_ARCHIVE_RECOVERY},
        {"in production", PGCONTROL_IN_PRODUCTION},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "Database system identifier: 1\nCurrent Database cluster state:  %s \r\n",
                       cases[i].text);
        struct pgcontrol control;
        assert_int_equal(pgcontrol_parse(text, &control, NULL), ERR_OK);
        assert_int_equal(control.state, cases[i].state);
        assert_int_equal(control.wal_segment_bytes, 16 * 1024 * 1024);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "no colon here\n",
        "Database cluster state: in production\n",
        "Database system identifier: 5\n",
        "Database system identifier: 5\nDatabase cluster state: on holiday\n",
        "Database system identifier: x5\nDatabase cluster state: shut down\n",
        "Database system identifier: 5\nDatabase cluster state: shut down\n"
        "Bytes per WAL segment: 12345678\n",
        "Database system identifier: 5\nDatabase cluster state: shut down\n"
        "Bytes per WAL segment: 8192\n",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pgcontrol control = {.sysid = 42};
        struct err_detail detail = {0};
        assert_int_equal(pgcontrol_parse(cases[i], &control, &detail), ERR_INVALID);
        assert_true(control.sysid == 42 && detail.text[0] != '\0');
    }
}

static void test_odd_values(void **state)
{
    (void)state;
    struct pgcontrol control;
    char text[512] = "Database system identifier: 5\nDatabase cluster state: shut down\n"
                     "Latest checkpoint's TimeLineID: 99999999999\n"
                     "Data page checksum version: 0\nwal_log_hints setting: off\n"
                     "max_connections setting: ";
    memset(text + strlen(text), '7', 150); /* longer than any value */
    assert_int_equal(pgcontrol_parse(text, &control, NULL), ERR_OK);
    assert_int_equal(control.checkpoint_timeline, 0);
    assert_true(!control.checksums && !control.wal_log_hints && control.max_connections == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_odd_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
