/* Defaults, units, ranges, aliases, what is kept of the last good settings, and the rule on times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "codec/dynconfig.h"

static struct dynconfig_warnings warnings;

static struct core_settings settings_of(const char *text, const char *local_text,
                                        const struct core_settings *last)
{
    struct core_settings out;
    json_t *config = text == NULL ? NULL : json_loads(text, JSON_DECODE_ANY, NULL);
    json_t *local = local_text == NULL ? NULL : json_loads(local_text, 0, NULL);
    assert_true(text == NULL || config != NULL);
    assert_true(local_text == NULL || local != NULL);
    warnings.count = 0;
    dynconfig_settings(config, 77, local, last, &out, &warnings);
    json_decref(config);
    json_decref(local);
    return out;
}

static void test_defaults(void **state)
{
    (void)state;
    struct core_settings plain;
    dynconfig_defaults(&plain);
    assert_int_equal(plain.version, 0);
    struct core_settings s = settings_of("{}", NULL, NULL);
    assert_int_equal(s.version, 77);
    assert_int_equal(s.ttl_ms, 5000);
    assert_int_equal(s.loop_wait_ms, 1000);
    assert_int_equal(s.retry_timeout_ms, 2000);
    assert_int_equal(s.maximum_lag_on_failover, 1048576);
    assert_int_equal(s.primary_start_timeout_ms, 300000);
    assert_true(s.failsafe_mode);
    assert_false(s.check_timeline);
    assert_false(s.pause);
    assert_false(s.use_pg_rewind);
    assert_false(s.clone_on_diverged);
    assert_false(s.clone_on_rewind_failed);
    assert_int_equal(warnings.count, 0);
    s.version = 0;
    assert_memory_equal(&s, &plain, sizeof(s));
}

static void test_values(void **state)
{
    (void)state;
    struct core_settings s =
        settings_of("{\"ttl\":30,\"loop_wait\":\"10\",\"retry_timeout\":\"10s\",\"maximum_lag_on_"
                    "failover\":\"2MB\","
                    "\"primary_start_timeout\":0,\"check_timeline\":\"on\",\"failsafe_mode\":false,"
                    "\"pause\":true,"
                    "\"postgresql\":{\"use_pg_rewind\":true,\"remove_data_directory_on_diverged_"
                    "timelines\":\"yes\","
                    "\"remove_data_directory_on_rewind_failure\":1},\"unknown\":{}}",
                    NULL, NULL);
    assert_int_equal(s.ttl_ms, 30000);
    assert_int_equal(s.loop_wait_ms, 10000);
    assert_int_equal(s.retry_timeout_ms, 10000);
    assert_int_equal(s.maximum_lag_on_failover, 2097152);
    assert_int_equal(s.primary_start_timeout_ms, 0);
    assert_true(s.check_timeline);
    assert_false(s.failsafe_mode);
    assert_true(s.pause);
    assert_true(s.use_pg_rewind);
    assert_true(s.clone_on_diverged);
    assert_true(s.clone_on_rewind_failed);
    assert_int_equal(warnings.count, 0);
    s = settings_of("{\"ttl\":\"1500ms\",\"loop_wait\":0.25,\"retry_timeout\":\"500ms\"}", NULL,
                    NULL);
    assert_int_equal(s.ttl_ms, 1500);
    assert_int_equal(s.loop_wait_ms, 250);
    assert_int_equal(s.retry_timeout_ms, 500);
    s = settings_of("{\"master_start_timeout\":60}", NULL, NULL);
    assert_int_equal(s.primary_start_timeout_ms, 60000);
    s = settings_of("{\"master_start_timeout\":60,\"primary_start_timeout\":\"2min\"}", NULL, NULL);
    assert_int_equal(s.primary_start_timeout_ms, 120000);
    s = settings_of("{\"pause\":null,\"ttl\":null,\"maximum_lag_on_failover\":null}", NULL, NULL);
    assert_false(s.pause);
    assert_int_equal(s.ttl_ms, 5000);
    assert_int_equal(s.maximum_lag_on_failover, 1048576);
}

static void test_local_wins_below_postgresql(void **state)
{
    (void)state;
    struct core_settings s = settings_of("{\"postgresql\":{\"use_pg_rewind\":true}}",
                                         "{\"use_pg_rewind\":\"off\"}", NULL);
    assert_false(s.use_pg_rewind);
    s = settings_of("{}", "{\"use_pg_rewind\":true}", NULL);
    assert_true(s.use_pg_rewind);
    s = settings_of("{\"postgresql\":{\"use_pg_rewind\":true}}", "{\"use_pg_rewind\":\"what\"}",
                    NULL);
    assert_true(s.use_pg_rewind);
    s = settings_of(NULL, "{\"use_pg_rewind\":true}", NULL);
    assert_true(s.use_pg_rewind);
    s = settings_of("{\"postgresql\":5}", NULL, NULL);
    assert_false(s.use_pg_rewind);
}

static void test_bad_values_keep_the_last_good(void **state)
{
    (void)state;
    struct core_settings last = settings_of(
        "{\"ttl\":8,\"maximum_lag_on_failover\":5,\"pause\":true,\"failsafe_mode\":false}", NULL,
        NULL);
    struct core_settings s =
        settings_of("{\"ttl\":\"soon\",\"maximum_lag_on_failover\":-1,\"pause\":[],"
                    "\"failsafe_mode\":\"perhaps\",\"loop_wait\":{}}",
                    NULL, &last);
    assert_int_equal(s.ttl_ms, 8000);
    assert_int_equal(s.maximum_lag_on_failover, 5);
    assert_true(s.pause);
    assert_false(s.failsafe_mode);
    assert_int_equal(s.loop_wait_ms, last.loop_wait_ms);
    assert_int_equal(s.version, 77);
    assert_int_equal(warnings.count, 5);
    assert_non_null(strstr(warnings.text[0], "ttl: \"soon\" is not a time"));
    assert_non_null(strstr(warnings.text[0], "last good value is kept"));
    s = settings_of("{\"ttl\":true}", NULL, NULL); /* no last: the default */
    assert_int_equal(s.ttl_ms, 5000);
    s = settings_of(
        "{\"ttl\":\"a value much too long to be shown in a warning, so that only its kind is "
        "told to the reader\"}",
        NULL, NULL);
    assert_non_null(strstr(warnings.text[0], "ttl: (long) is not"));
}

static void test_absent_config_keeps_everything(void **state)
{
    (void)state;
    struct core_settings last = settings_of("{\"ttl\":9,\"pause\":true}", NULL, NULL);
    struct core_settings s = settings_of(NULL, NULL, &last);
    assert_int_equal(s.version, 0);
    assert_int_equal(s.ttl_ms, 9000);
    assert_true(s.pause);
    s = settings_of("[1]", NULL, &last); /* garbage is absent */
    assert_int_equal(s.version, 0);
    assert_true(s.pause);
    s = settings_of(NULL, NULL, NULL);
    assert_int_equal(s.ttl_ms, 5000);
}

static void test_ranges(void **state)
{
    (void)state;
    struct core_settings s =
        settings_of("{\"ttl\":0.2,\"loop_wait\":0.01,\"retry_timeout\":0}", NULL, NULL);
    assert_int_equal(s.ttl_ms, 1000);
    assert_int_equal(s.loop_wait_ms, 100);
    assert_int_equal(s.retry_timeout_ms, 100);
    assert_int_equal(warnings.count, 3);
    assert_non_null(strstr(warnings.text[0], "outside 1000..86400000 ms; 1000 ms is used"));
    s = settings_of("{\"ttl\":-5}", NULL, NULL);
    assert_int_equal(s.ttl_ms, 1000);
    s = settings_of("{\"ttl\":\"3000d\"}", NULL, NULL);
    assert_int_equal(s.ttl_ms, 86400000);
    s = settings_of("{\"primary_start_timeout\":-1}", NULL, NULL);
    assert_int_equal(s.primary_start_timeout_ms, 0);
}

static void fits(int64_t ttl, int64_t loop_wait, int64_t retry, int64_t loop_out, int64_t retry_out)
{
    struct core_settings s = {.ttl_ms = ttl, .loop_wait_ms = loop_wait, .retry_timeout_ms = retry};
    bool changed = dynconfig_fit(&s);
    assert_int_equal(s.loop_wait_ms, loop_out);
    assert_int_equal(s.retry_timeout_ms, retry_out);
    assert_int_equal(changed, loop_wait != loop_out || retry != retry_out);
    assert_true(s.loop_wait_ms + 2 * s.retry_timeout_ms <= ttl);
    assert_true(s.loop_wait_ms > 0 && s.retry_timeout_ms > 0);
}

static void test_rule_on_times(void **state)
{
    (void)state;
    fits(30000, 10000, 10000, 10000, 10000);
    fits(5000, 1000, 2000, 1000, 2000);
    fits(20000, 10000, 8000, 4000, 8000);  /* loop_wait shrinks first */
    fits(20000, 10000, 10000, 1000, 9500); /* then both, as Patroni in whole seconds */
    fits(2000, 1000, 2000, 500, 750);
    fits(2000, 1000, 700, 600, 700);
    fits(1000, 1000, 2000, 250, 375);
    fits(1000, 100, 2000, 100, 450); /* never lengthened */
    for (int64_t ttl = 1000; ttl < 8000; ttl += 137) {
        for (int64_t step = 100; step < 9000; step += 211) {
            struct core_settings s = {
                .ttl_ms = ttl, .loop_wait_ms = step, .retry_timeout_ms = 9000 - step};
            (void)dynconfig_fit(&s);
            assert_true(s.loop_wait_ms + 2 * s.retry_timeout_ms <= ttl);
            assert_true(s.loop_wait_ms >= 100 && s.loop_wait_ms <= step);
            assert_true(s.retry_timeout_ms > 0 && s.retry_timeout_ms <= 9000 - step);
        }
    }
}

static void test_rule_warns_when_times_were_given(void **state)
{
    (void)state;
    (void)settings_of("{\"ttl\":2}", NULL, NULL); /* only defaults were shrunk: nobody is told */
    assert_int_equal(warnings.count, 0);
    (void)settings_of("{\"ttl\":20,\"loop_wait\":10}", NULL, NULL);
    assert_int_equal(warnings.count, 0);
    (void)settings_of("{\"ttl\":20,\"loop_wait\":10,\"retry_timeout\":10}", NULL, NULL);
    assert_int_equal(warnings.count, 1);
    assert_non_null(
        strstr(warnings.text[0], "loop_wait + 2 * retry_timeout must not be more than ttl"));
}

static void test_warnings_are_bounded_and_optional(void **state)
{
    (void)state;
    struct dynconfig_warnings full = {.count = DYNCONFIG_WARNINGS_MAX};
    struct core_settings out;
    json_t *config = json_loads("{\"ttl\":\"x\"}", 0, NULL);
    dynconfig_settings(config, 1, NULL, NULL, &out, &full);
    assert_int_equal(full.count, DYNCONFIG_WARNINGS_MAX);
    dynconfig_settings(config, 1, NULL, NULL, &out, NULL);
    assert_int_equal(out.ttl_ms, 5000);
    json_decref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_local_wins_below_postgresql),
        cmocka_unit_test(test_bad_values_keep_the_last_good),
        cmocka_unit_test(test_absent_config_keeps_everything),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_rule_on_times),
        cmocka_unit_test(test_rule_warns_when_times_were_given),
        cmocka_unit_test(test_warnings_are_bounded_and_optional),
    };
    return cmocka_run_group_tests_name("codec_dynconfig", tests, NULL, NULL);
}
