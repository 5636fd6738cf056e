/* Numbers, units and booleans as PostgreSQL and people write them, and everything that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "codec/units.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define UNTOUCHED INT64_C(-987654321)

static void test_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *base;
        int64_t value;
    } rows[] = {
        {"0", NULL, 0},
        {" 42\t\n", NULL, 42},
        {"-5", NULL, -5},
        {"+5", NULL, 5},
        {"0x10", NULL, 16},
        {"0X1f", NULL, 31},
        {"017", NULL, 15},
        {"1.5", NULL, 2},
        {"2.5", NULL, 2}, /* half to even */
        {"-2.5", NULL, -2},
        {".7", NULL, 1},
        {"1e3", NULL, 1000},
        {"1E3", NULL, 1000},
        {"9223372036854775807", NULL, INT64_MAX},
        {"-9223372036854775808", NULL, INT64_MIN},
        {"089.5", NULL, 90},
        {"1MB", "B", 1048576},
        {"1 MB", "B", 1048576},
        {"1kB", "B", 1024},
        {"1GB", "MB", 1024},
        {"1TB", "GB", 1024},
        {"16MB", "8kB", 2048},
        {"48MB", "16MB", 3},
        {"1B", "kB", 0},
        {"30.1GB", "B", 32319209472}, /* 30822 MB, rounded to the next smaller unit */
        {"1min", "s", 60},
        {"1h", "min", 60},
        {"2d", "h", 48},
        {"1.5s", "ms", 1500},
        {"1500us", "ms", 2},
        {"0x10kB", "B", 16384},
        {"5", "kB", 5},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t value = UNTOUCHED;
        if (!units_to_int(rows[i].text, rows[i].base, &value)) {
            fail_msg("\"%s\" is refused", rows[i].text);
        }
        if (value != rows[i].value) {
            fail_msg("\"%s\": %ld is not %ld", rows[i].text, (long)value, (long)rows[i].value);
        }
    }
}

static void test_no_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *base;
    } rows[] = {
        {"", NULL},
        {"  ", NULL},
        {"x", NULL},
        {"-", NULL},
        {".", NULL},
        {"1x", NULL},
        {"1 2", NULL},
        {"inf", NULL},
        {"nan", NULL},
        {"-infinity", NULL},
        {"1e999", NULL},
        {"1e30", NULL},
        {"9223372036854775808e5", NULL},
        {"1MB", NULL}, /* no unit is legal here */
        {"1MB", "s"},  /* of another kind */
        {"1s", "kB"},
        {"1mb", "B"}, /* units are case-sensitive */
        {"1Min", "s"},
        {"1MBx", "B"},
        {"1 M B", "B"},
        {"1microseconds", "us"},
        {"9999999999TB", "B"},
        {"1kB", "bogus"},
        {"1kB", "0kB"},
        {"1kB", "12345678kBx"},
        {"1kB", "muchtoolong"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t value = UNTOUCHED;
        if (units_to_int(rows[i].text, rows[i].base, &value)) {
            fail_msg("\"%s\" is accepted", rows[i].text);
        }
        assert_true(value == UNTOUCHED);
    }
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {{"5", 5000},       {"2s", 2000},    {"1500ms", 1500}, {"0.25", 250},
                {"1.5min", 90000}, {"1h", 3600000}, {"0", 0},         {"-1", -1000},
                {"1d", 86400000},  {" 3 s ", 3000}, {"500us", 0},     {"1e-1", 100}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t ms = UNTOUCHED;
        assert_true(units_to_ms(rows[i].text, &ms));
        assert_true(ms == rows[i].ms);
    }
    static const char *const bad[] = {"",      "s",   "5 seconds", "5MB",
                                      "1e300", "two", "5s5",       "99999999999d"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t ms = UNTOUCHED;
        assert_false(units_to_ms(bad[i], &ms));
        assert_true(ms == UNTOUCHED);
    }
}

static void test_booleans(void **state)
{
    (void)state;
    static const char *const yes[] = {"on", "ON", "true", "True", "yes", "YES", "1"};
    static const char *const no[] = {"off", "Off", "false", "FALSE", "no", "No", "0"};
    static const char *const bad[] = {"", "2", "y", "tru", "onn", " on", "null"};
    for (size_t i = 0; i < COUNT(yes); i++) {
        bool value = false;
        assert_true(units_to_bool(yes[i], &value) && value);
        assert_true(units_to_bool(no[i], &value) && !value);
        value = true;
        assert_false(units_to_bool(bad[i], &value));
        assert_true(value);
    }
}

static json_t *json(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    return value;
}

static bool json_int(const char *text, const char *base, int64_t *out)
{
    json_t *value = json(text);
    bool good = units_json_int(value, base, out);
    json_decref(value);
    return good;
}

static bool json_ms(const char *text, int64_t *out)
{
    json_t *value = json(text);
    bool good = units_json_ms(value, out);
    json_decref(value);
    return good;
}

static bool json_bool(const char *text, bool *out)
{
    json_t *value = json(text);
    bool good = units_json_bool(value, out);
    json_decref(value);
    return good;
}

static void test_json(void **state)
{
    (void)state;
    int64_t value = UNTOUCHED;
    assert_true(json_int("7", NULL, &value) && value == 7);
    assert_true(json_int("7.5", NULL, &value) && value == 8);
    assert_true(json_int("\"7\"", NULL, &value) && value == 7);
    assert_true(json_int("\"1MB\"", "B", &value) && value == 1048576);
    value = UNTOUCHED;
    static const char *const no_int[] = {"true", "null", "[]", "{}", "\"x\"", "1e300"};
    for (size_t i = 0; i < COUNT(no_int); i++) {
        assert_false(json_int(no_int[i], "B", &value));
        assert_true(value == UNTOUCHED);
    }
    assert_false(units_json_int(NULL, NULL, &value));
    assert_true(json_ms("5", &value) && value == 5000);
    assert_true(json_ms("0.5", &value) && value == 500);
    assert_true(json_ms("\"1500ms\"", &value) && value == 1500);
    assert_false(json_ms("true", &value));
    assert_false(json_ms("1e300", &value));
    assert_false(units_json_ms(NULL, &value));
    bool yes = false;
    assert_true(json_bool("true", &yes) && yes);
    assert_true(json_bool("0", &yes) && !yes);
    assert_true(json_bool("1", &yes) && yes);
    assert_true(json_bool("\"off\"", &yes) && !yes);
    assert_false(json_bool("2", &yes));
    assert_false(json_bool("null", &yes));
    assert_false(json_bool("\"maybe\"", &yes));
    assert_false(units_json_bool(NULL, &yes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),  cmocka_unit_test(test_no_integers),
        cmocka_unit_test(test_durations), cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests_name("codec_units", tests, NULL, NULL);
}
