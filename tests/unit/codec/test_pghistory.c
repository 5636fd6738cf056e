/* Histories, forks, the divergence rule as a table, the ends of WAL records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "codec/pghistory.h"

#define SEGMENT (UINT64_C(16) * 1024 * 1024)

static const char two[] = "1\t0/5000000\tno recovery target specified\n";
static const char three[] = "1\t0/5000000\tno recovery target specified\n\n"
                            "# a comment\n2\t0/7000000\tno recovery target specified\n";
/* a third timeline that left the second one elsewhere */
static const char other_three[] = "1\t0/5000000\tx\n2\t0/6000000\tx\n";
/* a third timeline that never was on the second one */
static const char skipping[] = "1\t0/4000000\tx\n";

static void test_entries(void **state)
{
    (void)state;
    const char *cursor = three;
    struct pghistory_entry entry;
    bool end = true;
    assert_int_equal(pghistory_next(&cursor, &entry, &end, NULL), ERR_OK);
    assert_true(!end && entry.timeline == 1 && entry.switchpoint == 0x5000000);
    assert_memory_equal(entry.reason, "no recovery target specified", entry.reason_length);
    assert_int_equal(pghistory_next(&cursor, &entry, &end, NULL), ERR_OK);
    assert_true(!end && entry.timeline == 2 && entry.switchpoint == 0x7000000);
    assert_int_equal(pghistory_next(&cursor, &entry, &end, NULL), ERR_OK);
    assert_true(end);
}

static void test_bad_texts(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "x\t0/1\n",
        "0\t0/1\n",
        "4294967296\t0/1\n",
        "1\n",
        "1\tzz\n",
        "2\t0/2\tx\n1\t0/1\tx\n",
        "1\t0/2\tx\n1\t0/3\tx\n",
        "11111111111111111111111111111111111111111\t0/1\n",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool found = true;
        uint64_t lsn = 7;
        struct err_detail detail = {0};
        assert_int_equal(pghistory_switchpoint(cases[i], 1, &found, &lsn, &detail), ERR_INVALID);
        assert_true(found && lsn == 7 && detail.text[0] != '\0');
    }
}

static void test_switchpoint(void **state)
{
    (void)state;
    bool found = false;
    uint64_t lsn = 0;
    assert_int_equal(pghistory_switchpoint(three, 2, &found, &lsn, NULL), ERR_OK);
    assert_true(found && lsn == 0x7000000);
    assert_int_equal(pghistory_switchpoint(three, 3, &found, &lsn, NULL), ERR_OK);
    assert_true(!found && lsn == 0x7000000);
}

static void test_fork(void **state)
{
    (void)state;
    static const struct {
        uint32_t a;
        const char *a_text;
        uint32_t b;
        const char *b_text;
        uint32_t timeline;
        uint64_t lsn;
    } cases[] = {
        {1, "", 1, "", 1, UINT64_MAX},
        {1, "", 2, two, 1, 0x5000000},
        {2, two, 1, "", 1, 0x5000000},
        {2, two, 3, three, 2, 0x7000000},
        {3, three, 3, other_three, 2, 0x6000000},
        {3, three, 3, three, 3, UINT64_MAX},
        {2, two, 3, skipping, 1, 0x4000000},
        {2, "", 3, three, 0, 0}, /* the own history is lost */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pghistory_fork fork = {0};
        assert_int_equal(pghistory_find_fork(cases[i].a, cases[i].a_text, cases[i].b,
                                             cases[i].b_text, &fork, NULL),
                         ERR_OK);
        assert_int_equal(fork.timeline, cases[i].timeline);
        assert_true(fork.lsn == cases[i].lsn);
    }
    struct pghistory_fork fork = {.timeline = 9};
    assert_int_equal(pghistory_find_fork(2, "rubbish", 1, "", &fork, NULL), ERR_INVALID);
    assert_int_equal(pghistory_find_fork(1, "", 2, "rubbish", &fork, NULL), ERR_INVALID);
    assert_int_equal(fork.timeline, 9);
}

static void test_judge(void **state)
{
    (void)state;
    static const struct {
        struct pghistory_local local;
        const char *own;
        uint32_t source;
        const char *history;
        enum pghistory_verdict verdict;
    } cases[] = {
        /* nothing known */
        {{PGHISTORY_REPLICA, 0, 5, 0}, "", 2, two, PGHISTORY_CANNOT_TELL},
        {{PGHISTORY_REPLICA, 1, 5, 0}, "", 0, "", PGHISTORY_CANNOT_TELL},
        {{PGHISTORY_REPLICA, 1, 5, 0}, "", 2, "rubbish", PGHISTORY_CANNOT_TELL},
        {{PGHISTORY_REPLICA, 1, 5, 0}, NULL, 2, "rubbish", PGHISTORY_CANNOT_TELL},
        /* the same timeline, by number and by history */
        {{PGHISTORY_REPLICA, 1, 0x9000000, 0}, "", 1, "", PGHISTORY_SAME},
        {{PGHISTORY_CRASHED, 3, 0x9000000, 0}, three, 3, three, PGHISTORY_SAME},
        {{PGHISTORY_CRASHED, 3, 0x9000000, 0}, three, 3, other_three, PGHISTORY_DIVERGED},
        {{PGHISTORY_CRASHED, 3, 0x9000000, 0}, NULL, 3, other_three, PGHISTORY_SAME},
        /* ours is newer */
        {{PGHISTORY_REPLICA, 2, 0x1, 0}, two, 1, "", PGHISTORY_DIVERGED},
        /* the source does not descend from us */
        {{PGHISTORY_REPLICA, 2, 0x1, 0}, two, 3, skipping, PGHISTORY_DIVERGED},
        {{PGHISTORY_REPLICA, 2, 0x1, 0}, NULL, 3, skipping, PGHISTORY_DIVERGED},
        /* a replica: up to the switchpoint */
        {{PGHISTORY_REPLICA, 1, 0x4FFFFFF, 0}, "", 2, two, PGHISTORY_SAME},
        {{PGHISTORY_REPLICA, 1, 0x5000000, 0}, "", 2, two, PGHISTORY_SAME},
        {{PGHISTORY_REPLICA, 1, 0x5000001, 0}, "", 2, two, PGHISTORY_DIVERGED},
        /* a primary shut down: its checkpoint ends exactly where the source left */
        {{PGHISTORY_SHUT_DOWN, 1, 0x4FFFF88, 0x5000000}, "", 2, two, PGHISTORY_SAME},
        {{PGHISTORY_SHUT_DOWN, 1, 0x4FFFF00, 0x4FFFF78}, "", 2, two, PGHISTORY_DIVERGED},
        {{PGHISTORY_SHUT_DOWN, 1, 0x5000000, 0x5000078}, "", 2, two, PGHISTORY_DIVERGED},
        {{PGHISTORY_SHUT_DOWN, 1, 0x4FFFF88, 0}, "", 2, two, PGHISTORY_CANNOT_TELL},
        /* a primary that crashed: the last record it has */
        {{PGHISTORY_CRASHED, 1, 0x4FFFF88, 0x5000000}, "", 2, two, PGHISTORY_SAME},
        {{PGHISTORY_CRASHED, 1, 0x4FFFF88, 0}, "", 2, two, PGHISTORY_SAME},
        {{PGHISTORY_CRASHED, 1, 0x5000000, 0}, "", 2, two, PGHISTORY_DIVERGED},
        {{PGHISTORY_CRASHED, 1, 0x5000000, 0x5000030}, "", 2, two, PGHISTORY_DIVERGED},
        /* over two switches */
        {{PGHISTORY_REPLICA, 1, 0x5000000, 0}, "", 3, three, PGHISTORY_SAME},
        {{PGHISTORY_REPLICA, 2, 0x7000001, 0}, two, 3, three, PGHISTORY_DIVERGED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum pghistory_verdict verdict =
            pghistory_judge(&cases[i].local, cases[i].own, cases[i].source, cases[i].history);
        if (verdict != cases[i].verdict) {
            fail_msg("case %zu: %d, not %d", i, (int)verdict, (int)cases[i].verdict);
        }
    }
}

static void test_record(void **state)
{
    (void)state;
    struct pghistory_record record;
    assert_true(pghistory_record_parse(
        "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/05000028, prev "
        "0/04000100, desc: CHECKPOINT_SHUTDOWN redo 0/5000028; tli 1",
        &record));
    assert_true(record.lsn == 0x5000028 && record.total_bytes == 114 && !record.segment_switch);
    assert_true(pghistory_record_end(&record, SEGMENT) == 0x50000A0);
    assert_true(pghistory_record_parse(
        "rmgr: XLOG        len (rec/tot):     24/    24, tx:          0, lsn: 0/030001A8, prev "
        "0/03000170, desc: SWITCH",
        &record));
    assert_true(record.segment_switch);
    assert_true(pghistory_record_end(&record, SEGMENT) == 0x4000000);
    static const char *const bad[] = {
        "",
        "pg_waldump: error: error in WAL record at 0/3000060",
        "rmgr: XLOG len (rec/tot): 24/ 24, tx: 0",
        "rmgr: XLOG len (rec/tot): 24, lsn: 0/3, prev",
        "rmgr: XLOG len (rec/tot): 24/ x, lsn: 0/3, prev",
        "rmgr: XLOG len (rec/tot): 24/ 23, lsn: 0/3, prev",
        "rmgr: XLOG len (rec/tot): 24/ 24, lsn: , prev",
        "rmgr: XLOG len (rec/tot): 24/ 24, lsn: zz, prev",
        ("rmgr: XLOG len (rec/tot): 24/ 24, lsn: "
         "00000000000000000000000000000000000000000000, prev"),
        "rmgr: XLOG len (rec/tot): 24/ 11111111111111111111111111111111111111111, lsn: 0/3",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(pghistory_record_parse(bad[i], &record));
    }
}

static void test_record_end(void **state)
{
    (void)state;
    static const struct {
        struct pghistory_record record;
        uint64_t end;
    } cases[] = {
        {{0x5000028, 25, false}, 0x5000048},                     /* rounded up to eight */
        {{0x5001FE0, 32, false}, 0x5002000},                     /* ends with its page */
        {{0x5001FE0, 40, false}, 0x5002000 + 24 + 8},            /* over into the next page */
        {{0x5FFFFE0, 40, false}, 0x6000000 + 40 + 8},            /* over into the next segment */
        {{0x5001FE0, 32 + 8168 + 8, false}, 0x5004000 + 24 + 8}, /* over two pages */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(pghistory_record_end(&cases[i].record, SEGMENT) == cases[i].end);
    }
}

static void test_segment(void **state)
{
    (void)state;
    uint32_t timeline = 0;
    uint64_t start = 0;
    assert_true(pghistory_segment_parse("0000000A00000002000000FF", SEGMENT, &timeline, &start));
    assert_true(timeline == 10 && start == UINT64_C(0x2FF000000));
    assert_true(
        pghistory_segment_parse("000000010000000000000001.partial", SEGMENT, &timeline, &start));
    static const char *const bad[] = {
        "",
        "00000002.history",
        "00000000000000000000000A", /* timeline 0 */
        "000000010000000000000100", /* more than 256 segments of 16 MiB in 4 GiB */
        "0000000100000000000000g1",
        "0000000100000000000000011",
        "archive_status",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(pghistory_segment_parse(bad[i], SEGMENT, &timeline, &start));
    }
}

/* Where two histories part is not told from text that is no history. */
static void test_fork_of_no_history(void **state)
{
    (void)state;
    static const char *const bad[] = {"1\t0/2\tx\n1\t0/3\tx\n", "2\t0/2\tx\n1\t0/3\tx\n",
                                      "1\t0/2\tx\n5\t0/3\tx\n", "6\t0/2\tx\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct pghistory_fork fork = {42, 42};
        struct err_detail detail = {0};
        assert_int_equal(pghistory_find_fork(5, bad[i], 5, bad[i], &fork, &detail), ERR_INVALID);
        assert_true(fork.timeline == 42 && detail.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),     cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_switchpoint), cmocka_unit_test(test_fork),
        cmocka_unit_test(test_judge),       cmocka_unit_test(test_record),
        cmocka_unit_test(test_record_end),  cmocka_unit_test(test_fork_of_no_history),
        cmocka_unit_test(test_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
