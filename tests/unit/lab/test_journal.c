/* The judge is judged: gaps at both ends and between clients, what counts as failed, and two writable
 * servers told from a failover there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lab/journal.h"

#define CLIENTS 2

static struct journal journals[CLIENTS];

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < CLIENTS; i++) {
        journal_fini(&journals[i]);
    }
    return 0;
}

static void add(size_t client, int64_t begin_us, int64_t end_us, enum journal_outcome outcome)
{
    size_t index = journal_open(&journals[client], begin_us, 0, 0);
    journals[client].entries[index].end_us = end_us;
    journals[client].entries[index].outcome = (uint8_t)outcome;
}

static void add_on(int8_t node, uint32_t timeline, int64_t begin_us, int64_t end_us)
{
    add(0, begin_us, end_us, JOURNAL_ACKED);
    struct journal_entry *entry = &journals[0].entries[journals[0].count - 1];
    entry->node = node;
    entry->timeline = timeline;
}

static struct journal_report report_of(int64_t since_us, int64_t until_us)
{
    struct journal_report report;
    journal_report(journals, CLIENTS, since_us, until_us, &report);
    return report;
}

static void test_gap_is_between_any_clients(void **state)
{
    (void)state;
    add(0, 10, 20, JOURNAL_ACKED);
    add(0, 30, 900, JOURNAL_ACKED);
    add(1, 100, 400, JOURNAL_ACKED);
    struct journal_report report = report_of(15, 1000);
    assert_int_equal(report.gap_us, 500);
    assert_int_equal(report.gap_from_us, 400);
    assert_int_equal(report.acked, 3);
}

static void test_gap_counts_from_the_last_write_before_the_fault(void **state)
{
    (void)state;
    add(0, 10, 20, JOURNAL_ACKED);
    add(1, 10, 80, JOURNAL_ACKED);
    add(0, 90, 700, JOURNAL_ACKED);
    struct journal_report report = report_of(100, 710);
    assert_int_equal(report.gap_us, 620);
    assert_int_equal(report.gap_from_us, 80);
    assert_int_equal(report.acked, 1);
}

static void test_gap_that_has_not_ended(void **state)
{
    (void)state;
    add(0, 10, 20, JOURNAL_ACKED);
    add(0, 30, 40, JOURNAL_UNKNOWN);
    assert_int_equal(report_of(25, 5000).gap_us, 4980);
    tear_down(NULL);
    assert_int_equal(report_of(100, 300).gap_us, 200);
}

static void test_failed_writes_by_kind_and_age_of_connection(void **state)
{
    (void)state;
    add(0, 10, 20, JOURNAL_REFUSED); /* before the fault */
    add(0, 90, 120, JOURNAL_UNKNOWN);
    add(1, 130, 140, JOURNAL_REFUSED);
    journals[1].entries[0].connected_us = 125;
    add(1, 150, 150, JOURNAL_OPEN);
    struct journal_report report = report_of(100, 200);
    assert_int_equal(report.refused, 1);
    assert_int_equal(report.unknown, 1);
    assert_int_equal(report.failed_old, 1);
    assert_int_equal(report.acked, 0);
}

static void test_failover_there_and_back_is_not_two_writable(void **state)
{
    (void)state;
    add_on(0, 1, 10, 20);
    add_on(1, 2, 30, 40);
    add_on(0, 3, 50, 60);
    add_on(0, 3, 70, 80);
    assert_false(report_of(0, 100).two_writable);
}

static void test_old_timeline_after_a_newer_one_is_two_writable(void **state)
{
    (void)state;
    add_on(0, 1, 10, 20);
    add_on(1, 2, 30, 40);
    add_on(0, 1, 90, 95);
    add_on(1, 2, 100, 110);
    struct journal_report report = report_of(0, 200);
    assert_true(report.two_writable);
    assert_int_equal(report.two_writable_us, 50);
    assert_int_equal(report.two_node[0], 0);
    assert_int_equal(report.two_node[1], 1);
}

static void test_a_write_under_way_during_the_change_proves_nothing(void **state)
{
    (void)state;
    add_on(1, 2, 30, 40);
    add_on(0, 1, 35, 60); /* may have been done before the other began */
    assert_false(report_of(0, 100).two_writable);
}

static void test_one_timeline_of_two_servers_is_two_writable(void **state)
{
    (void)state;
    add_on(0, 1, 1, 5);
    add_on(0, 2, 10, 20);
    add_on(1, 2, 30, 40);
    struct journal_report report = report_of(0, 100);
    assert_true(report.two_writable);
    assert_int_equal(report.two_node[0], 0);
    assert_int_equal(report.two_node[1], 1);
}

static void test_what_was_not_acknowledged_proves_nothing(void **state)
{
    (void)state;
    add_on(1, 2, 30, 40);
    add_on(0, 1, 90, 95);
    journals[0].entries[1].outcome = JOURNAL_UNKNOWN;
    assert_false(report_of(0, 200).two_writable);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_gap_is_between_any_clients),
        TEST(test_gap_counts_from_the_last_write_before_the_fault),
        TEST(test_gap_that_has_not_ended),
        TEST(test_failed_writes_by_kind_and_age_of_connection),
        TEST(test_failover_there_and_back_is_not_two_writable),
        TEST(test_old_timeline_after_a_newer_one_is_two_writable),
        TEST(test_a_write_under_way_during_the_change_proves_nothing),
        TEST(test_one_timeline_of_two_servers_is_two_writable),
        TEST(test_what_was_not_acknowledged_proves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
