/* Text fits whole or is refused whole; numbers and LSNs parse in full or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"

static void test_copy_fits_or_is_refused(void **state)
{
    (void)state;
    char out[5] = "old";
    assert_true(str_copy(out, sizeof(out), "four"));
    assert_string_equal(out, "four");
    assert_false(str_copy(out, sizeof(out), "fives"));
    assert_string_equal(out, "four");
    assert_true(str_copy(out, sizeof(out), ""));
    assert_string_equal(out, "");
    assert_false(str_copy(out, 1, "a"));
    assert_true(str_copy(out, 1, ""));
}

static void test_copy_cut_keeps_what_fits(void **state)
{
    (void)state;
    char out[5] = "old";
    str_copy_cut(out, sizeof(out), "fives");
    assert_string_equal(out, "five");
    str_copy_cut(out, sizeof(out), "ab");
    assert_string_equal(out, "ab");
    str_copy_cut(out, 1, "ab");
    assert_string_equal(out, "");
}

static void test_format_tells_of_a_cut(void **state)
{
    (void)state;
    char out[8];
    assert_true(str_format(out, sizeof(out), "n%d:%d", 12, 345));
    assert_string_equal(out, "n12:345");
    assert_false(str_format(out, sizeof(out), "n%d:%d", 12, 3456));
    assert_string_equal(out, "n12:345");
}

static void test_equal(void **state)
{
    (void)state;
    assert_true(str_equal("", ""));
    assert_true(str_equal("n1", "n1"));
    assert_false(str_equal("n1", "n10"));
    assert_false(str_equal("n1", "N1"));
}

static void test_u64(void **state)
{
    (void)state;
    uint64_t value = 99;
    assert_true(str_to_u64("0", &value));
    assert_true(value == 0);
    assert_true(str_to_u64("007", &value));
    assert_true(value == 7);
    assert_true(str_to_u64("18446744073709551615", &value));
    assert_true(value == UINT64_MAX);
    value = 99;
    static const char *const refused[] = {"",   " 1",   "1 ",  "+1",  "-1",
                                          "1x", "0x10", "1.0", "1e3", "18446744073709551616"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_false(str_to_u64(refused[i], &value));
        assert_true(value == 99);
    }
}

static void test_i64(void **state)
{
    (void)state;
    int64_t value = 99;
    assert_true(str_to_i64("-9223372036854775808", &value));
    assert_true(value == INT64_MIN);
    assert_true(str_to_i64("9223372036854775807", &value));
    assert_true(value == INT64_MAX);
    assert_true(str_to_i64("-0", &value));
    assert_true(value == 0);
    value = 99;
    static const char *const refused[] = {
        "",    "-",   "--1", "+1", " 1", "- 1", "1-", "9223372036854775808", "-9223372036854775809",
        "1.5", "0x1",
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_false(str_to_i64(refused[i], &value));
        assert_true(value == 99);
    }
}

static void test_lsn(void **state)
{
    (void)state;
    uint64_t lsn = 99;
    assert_true(str_to_lsn("0/0", &lsn));
    assert_true(lsn == 0);
    assert_true(str_to_lsn("16/B374D848", &lsn));
    assert_true(lsn == 0x16B374D848);
    assert_true(str_to_lsn("ffffffff/FFFFFFFF", &lsn));
    assert_true(lsn == UINT64_MAX);
    assert_true(str_to_lsn("00000001/00000002", &lsn));
    assert_true(lsn == 0x100000002);
    lsn = 99;
    static const char *const refused[] = {"",     "/",    "0",     "0/",          "/0",
                                          "1/g",  "1/2/", "1/2/3", "123456789/0", "0/123456789",
                                          "1 /2", "-1/2", "1/2 ",  "0x1/2"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_false(str_to_lsn(refused[i], &lsn));
        assert_true(lsn == 99);
    }
}

static void test_lsn_text_and_back(void **state)
{
    (void)state;
    static const struct {
        uint64_t lsn;
        const char *text;
    } rows[] = {
        {0, "0/0"},
        {0x16B374D848, "16/B374D848"},
        {0x100000000, "1/0"},
        {0xFFFFFFFF, "0/FFFFFFFF"},
        {UINT64_MAX, "FFFFFFFF/FFFFFFFF"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[LSN_TEXT_SIZE];
        uint64_t back = 0;
        str_from_lsn(text, rows[i].lsn);
        assert_string_equal(text, rows[i].text);
        assert_true(str_to_lsn(text, &back));
        assert_true(back == rows[i].lsn);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy_fits_or_is_refused),
        cmocka_unit_test(test_copy_cut_keeps_what_fits),
        cmocka_unit_test(test_format_tells_of_a_cut),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_u64),
        cmocka_unit_test(test_i64),
        cmocka_unit_test(test_lsn),
        cmocka_unit_test(test_lsn_text_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
