/* Configuration lines, postgresql.auto.conf, postmaster.pid, pg_basebackup's progress. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "codec/pgconf.h"

static void test_setting(void **state)
{
    (void)state;
    char buffer[128];
    struct pgconf_text text;
    pgconf_text_init(&text, buffer, sizeof(buffer));
    pgconf_text_add(&text, "include '%s'\n", "x");
    pgconf_text_setting(&text, "archive_command", "cp '%p' \\tmp\nport = 1\r");
    assert_string_equal(buffer, "include 'x'\narchive_command = 'cp ''%p'' \\\\tmp port = 1 '\n");
    assert_false(text.full);
}

static void test_full(void **state)
{
    (void)state;
    char buffer[16];
    struct pgconf_text text;
    pgconf_text_init(&text, buffer, sizeof(buffer));
    pgconf_text_add(&text, "%s", "0123456789abcdef");
    assert_true(text.full);
    assert_string_equal(buffer, "");
    pgconf_text_init(&text, buffer, sizeof(buffer));
    pgconf_text_setting(&text, "abc", "a long value");
    assert_true(text.full && strlen(buffer) < sizeof(buffer));
}

static void test_names(void **state)
{
    (void)state;
    assert_true(pgconf_same_name("Work_Mem", "work_mem"));
    assert_false(pgconf_same_name("work_mem", "work_mems"));
    assert_true(pgconf_is_recovery("RESTORE_command") && pgconf_is_recovery("primary_conninfo"));
    assert_false(pgconf_is_recovery("work_mem"));
    assert_true(pgconf_is_recovery_forbidden("recovery_target_time"));
    assert_false(pgconf_is_recovery_forbidden("restore_command"));
    assert_true(pgconf_is_command_line("port") && pgconf_is_command_line("Wal_Level"));
    assert_false(pgconf_is_command_line("wal_keep_size"));
}

static void test_auto_clean(void **state)
{
    (void)state;
    char buffer[256];
    struct pgconf_text text;
    bool changed = false;
    pgconf_text_init(&text, buffer, sizeof(buffer));
    pgconf_auto_clean("# comment\nwork_mem = '1MB'\n  primary_conninfo = 'x'\n"
                      "restore_command='y'\n\n#primary_conninfo = 'z'\nlast = 1",
                      &text, &changed);
    assert_true(changed);
    assert_string_equal(buffer, "# comment\nwork_mem = '1MB'\n\n#primary_conninfo = 'z'\nlast = 1");
    pgconf_text_init(&text, buffer, sizeof(buffer));
    pgconf_auto_clean("work_mem = '1MB'\n", &text, &changed);
    assert_false(changed);
}

static void test_upstream(void **state)
{
    (void)state;
    char name[NAME_SIZE];
    char conf[128];
    struct pgconf_text text;
    pgconf_text_init(&text, conf, sizeof(conf));
    pgconf_text_add(&text, "a = 'b'\n");
    pgconf_text_add(&text, PGCONF_UPSTREAM_FORMAT, "it's me");
    pgconf_upstream(conf, name);
    assert_string_equal(name, "it's me");
    pgconf_upstream("primary_conninfo = 'host=x'\n", name);
    assert_string_equal(name, "");
    pgconf_upstream("# holdfast_upstream = 'cut", name);
    assert_string_equal(name, "");
    pgconf_upstream("# holdfast_upstream = '", name);
    assert_string_equal(name, "");
}

static void test_pidfile(void **state)
{
    (void)state;
    static const struct {
        const char *status;
        enum pgconf_pid_status parsed;
    } cases[] = {
        {"starting", PGCONF_PID_STARTING}, {"stopping", PGCONF_PID_STOPPING},
        {"ready   ", PGCONF_PID_READY},    {"standby ", PGCONF_PID_STANDBY},
        {"dancing", PGCONF_PID_UNKNOWN},
    };
    struct pgconf_pidfile file;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "123\n/data\n1700000000\n5432\n/tmp\nlocalhost\n  5432001    17\n%s\n",
                       cases[i].status);
        assert_true(pgconf_pidfile_parse(text, &file));
        assert_true(file.pid == 123 && file.start_time == 1700000000);
        assert_int_equal(file.status, cases[i].parsed);
    }
    assert_true(pgconf_pidfile_parse("-77\n", &file));
    assert_true(file.pid == -77 && file.status == PGCONF_PID_UNKNOWN);
    file.pid = 5;
    assert_false(pgconf_pidfile_parse("", &file));
    assert_false(pgconf_pidfile_parse("0\n", &file));
    assert_false(pgconf_pidfile_parse("x\n", &file));
    assert_false(pgconf_pidfile_parse("1\n/data\nsoon\n", &file));
    assert_false(pgconf_pidfile_parse("11111111111111111111111111111111111111\n", &file));
    assert_true(file.pid == 5);
}

static void test_progress(void **state)
{
    (void)state;
    int64_t done = 0;
    int64_t total = 0;
    assert_true(pgconf_progress_parse("  1024/23232 kB (4%), 0/1 tablespace", &done, &total));
    assert_true(done == 1024 * 1024 && total == INT64_C(23232) * 1024);
    static const char *const bad[] = {
        "",
        "waiting for checkpoint",
        "12 kB",
        "12/x kB",
        "12/13 MB",
        "1111111111111111111111111111/2 kB",
        "9223372036854775807/2 kB",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(pgconf_progress_parse(bad[i], &done, &total));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_setting),  cmocka_unit_test(test_full),
        cmocka_unit_test(test_names),    cmocka_unit_test(test_auto_clean),
        cmocka_unit_test(test_upstream), cmocka_unit_test(test_pidfile),
        cmocka_unit_test(test_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
