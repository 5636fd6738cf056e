/* Connection strings, password lines, slot names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "codec/conninfo.h"

static void test_order(void **state)
{
    (void)state;
    static const struct conninfo_item items[] = {
        {"application_name", "n 1"},
        {"host", "db'1"},
        {"zz_new", "x"},
        {"port", "5432"},
        {"user", "re\\pl"},
        {"sslmode", "require"},
        {"sslmode", "prefer"},
        {"password", ""},
        {"passfile", NULL},
        {"dbname", "postgres"},
        {"zz_new", "twice"},
    };
    char out[256];
    assert_true(conninfo_format(items, sizeof(items) / sizeof(items[0]), out, sizeof(out)));
    assert_string_equal(out, "dbname=postgres user=re\\\\pl host=db\\'1 port=5432 sslmode=require "
                             "application_name=n\\ 1 zz_new=x");
}

static void test_order_empty_first(void **state)
{
    (void)state;
    static const struct conninfo_item items[] = {{"sslmode", ""}, {"sslmode", "prefer"}};
    char out[64];
    assert_true(conninfo_format(items, 2, out, sizeof(out)));
    assert_string_equal(out, "sslmode=prefer");
}

static void test_too_long(void **state)
{
    (void)state;
    static const struct conninfo_item items[] = {{"password", "secret"}};
    char out[16];
    memset(out, 'x', sizeof(out));
    assert_false(conninfo_format(items, 1, out, 15)); /* needs 16 with its end */
    assert_string_equal(out, "");
    for (size_t i = 0; i < 15; i++) {
        assert_int_equal(out[i], 0); /* nothing of the secret is left behind */
    }
    assert_true(conninfo_format(items, 1, out, 16));
    assert_string_equal(out, "password=secret");
}

static void test_pgpass(void **state)
{
    (void)state;
    char out[128];
    assert_true(conninfo_pgpass("h", 5432, "u:ser", "p:a\\ss", out, sizeof(out)));
    assert_string_equal(out, "h:5432:*:u\\:ser:p\\:a\\\\ss\n");
    assert_true(conninfo_pgpass(NULL, 0, "", "p", out, sizeof(out)));
    assert_string_equal(out, "*:*:*:*:p\n");
    assert_true(conninfo_pgpass("/run/pg", 1, "u", "p", out, sizeof(out)));
    assert_string_equal(out, "/run/pg:1:*:u:p\nlocalhost:1:*:u:p\n");
    assert_false(conninfo_pgpass("host", 5432, "u", "p", out, 8));
    assert_string_equal(out, "");
}

static void test_slot_name(void **state)
{
    (void)state;
    static const struct {
        const char *member;
        const char *slot;
    } cases[] = {
        {"node-1", "node_1"},
        {"Node.A_9", "node_a_9"},
        {"a b", "au0032b"},
        {"\xc3\xa9", "u0233"},
        {"\xe2\x82\xac", "u8364"},
        {"\xf0\x9f\x90\x98", "u128024"},
        {"\xff", "u0255"},
        {"\xc3", "u0195"}, /* cut short */
        {"", ""},
    };
    char out[NAME_SIZE];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        conninfo_slot_name(cases[i].member, out);
        assert_string_equal(out, cases[i].slot);
    }
    char longest[200];
    memset(longest, '!', sizeof(longest));
    longest[199] = '\0';
    conninfo_slot_name(longest, out);
    assert_int_equal(strlen(out), NAME_SIZE - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),     cmocka_unit_test(test_order_empty_first),
        cmocka_unit_test(test_too_long),  cmocka_unit_test(test_pgpass),
        cmocka_unit_test(test_slot_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
