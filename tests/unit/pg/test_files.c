/* Files, trees, /proc, and whose child is left over. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "fixture.h"

static struct fixture fixture;

static int setup(void **state)
{
    (void)state;
    fixture_prepare(&fixture);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static void path_in(char out[PATH_SIZE], const char *name)
{
    assert_true(str_format(out, PATH_SIZE, "%s/%s", fixture.root, name));
}

static void test_a_file_is_read_whole_or_not_at_all(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    char out[8];
    path_in(path, "f");
    assert_false(pg_file_read(path, out, sizeof(out)));
    fixture_write(&fixture, "f", "1234567");
    assert_true(pg_file_read(path, out, sizeof(out)));
    assert_string_equal(out, "1234567");
    fixture_write(&fixture, "f", "12345678");
    assert_false(pg_file_read(path, out, sizeof(out)));
    fixture_write(&fixture, "f", "");
    assert_true(pg_file_read(path, out, sizeof(out)));
    assert_string_equal(out, "");
}

static void test_a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    fixture_make_dir(&fixture, "d");
    fixture_write(&fixture, "d/inside", "x");
    path_in(path, "d");
    struct err_detail detail = {.text = ""};
    assert_int_equal(pg_file_write(path, "y", 0600, true, &detail), ERR_INVALID);
    assert_non_null(strstr(detail.text, "cannot write"));
    assert_false(fixture_exists(&fixture, "d.holdfast.tmp"));
    assert_string_equal(fixture_read(&fixture, "d/inside"), "x");
}

static void test_the_tail_starts_with_a_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t offset;
        const char *tail; /* of at most 9 bytes */
    } table[] = {
        {"", 0, ""},
        {"short\n", 0, "short\n"},
        {"a\nshort\n", 2, "short\n"},
        {"first line\nlast\n", 0, "last\n"},
        {"one line that is long", 0, "t is long"},
        {"first\nsecond line\n", 0, "ond line\n"},
        {"x\n", 2, ""},
        {"x\n", 99, ""},
    };
    char path[PATH_SIZE];
    char out[10];
    path_in(path, "log");
    pg_file_tail(path, 0, out, sizeof(out));
    assert_string_equal(out, "");
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        fixture_write(&fixture, "log", table[i].text);
        pg_file_tail(path, table[i].offset, out, sizeof(out));
        assert_string_equal(out, table[i].tail);
    }
}

static void test_the_reason_of_an_end_is_found_among_its_consequences(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *reason;
    } table[] = {
        {"", NULL},
        {"12:00 LOG:  starting\n", NULL},
        {"12:00 [7] LOG:  starting\n12:00 [8] FATAL:  out of disk\n12:00 [7] LOG:  aborting\n",
         "FATAL:  out of disk\n12:00 [7] LOG:  aborting\n"},
        {"PANIC:  no checkpoint\nLOG:  startup died\n",
         "PANIC:  no checkpoint\nLOG:  startup died\n"},
        /* a client that came too early, before or after it */
        {"FATAL:  the database system is starting up\n1 FATAL:  the reason\n"
         "FATAL:  the database system is shutting down\n",
         "FATAL:  the reason\nFATAL:  the database system is shutting down\n"},
        {"FATAL:  the database system is starting up\n", NULL},
        {"FATAL:  first\nPANIC:  graver\nFATAL:  last\n", "PANIC:  graver\nFATAL:  last\n"},
        {"FATAL:  a\nFATAL:  b", "FATAL:  b"},
        {"LOG:  query was FATAL by name\n", NULL},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *reason = pg_log_reason(table[i].text);
        if (table[i].reason == NULL) {
            assert_null(reason);
        } else {
            assert_non_null(reason);
            assert_string_equal(reason, table[i].reason);
        }
    }
}

static void test_what_is_shown_of_a_log_has_the_reason(void **state)
{
    (void)state;
    static const char text[] = "LOG:  in use\nFATAL:  no socket\nLOG:  down\n";
    assert_string_equal(pg_log_shown(text, 100), text);
    assert_string_equal(pg_log_shown(text, sizeof(text) - 1), text);
    assert_string_equal(pg_log_shown(text, 30), "FATAL:  no socket\nLOG:  down\n");
    assert_string_equal(pg_log_shown(text, 29), "FATAL:  no socket\nLOG:  down\n");
    assert_string_equal(pg_log_shown(text, 12), "FATAL:  no socket\nLOG:  down\n");
    assert_string_equal(pg_log_shown("LOG:  one\nLOG:  two\n", 12), "LOG:  two\n");
    assert_string_equal(pg_log_shown("one line", 4), "line");
}

static void test_clearing_follows_only_postgresqls_links(void **state)
{
    (void)state;
    char target[PATH_SIZE];
    char link[PATH_SIZE];
    fixture_make_dir(&fixture, "space");
    fixture_make_dir(&fixture, "wal");
    fixture_make_dir(&fixture, "others");
    fixture_write(&fixture, "space/t", "");
    fixture_write(&fixture, "wal/w", "");
    fixture_write(&fixture, "others/o", "");
    fixture_make_dir(&fixture, "data/pg_tblspc");
    fixture_make_dir(&fixture, "data/base");
    fixture_write(&fixture, "data/base/1", "");
    static const char *const links[][2] = {{"space", "data/pg_tblspc/1"},
                                           {"wal", "data/pg_wal"},
                                           {"others", "data/base/x"},
                                           {"nowhere", "data/pg_tblspc/2"}};
    for (size_t i = 0; i < 4; i++) {
        path_in(target, links[i][0]);
        path_in(link, links[i][1]);
        assert_int_equal(symlink(target, link), 0);
    }
    assert_int_equal(pg_datadir_clear(fixture.data, NULL), ERR_OK);
    int sys_errno = -1;
    assert_true(pg_dir_empty(fixture.data, &sys_errno));
    assert_int_equal(sys_errno, 0);
    assert_true(fixture_exists(&fixture, "data"));
    assert_true(fixture_exists(&fixture, "space"));
    assert_false(fixture_exists(&fixture, "space/t"));
    assert_false(fixture_exists(&fixture, "wal/w"));
    assert_true(fixture_exists(&fixture, "others/o"));
}

static void test_empty_directories(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    int sys_errno = -1;
    path_in(path, "absent");
    assert_true(pg_dir_empty(path, &sys_errno));
    assert_int_equal(sys_errno, 0);
    fixture_make_dir(&fixture, "data/lost+found");
    fixture_write(&fixture, "data/.snapshot", "");
    assert_true(pg_dir_empty(fixture.data, &sys_errno));
    fixture_write(&fixture, "data/PG_VERSION", "15\n");
    assert_false(pg_dir_empty(fixture.data, &sys_errno));
    assert_int_equal(sys_errno, 0);
    path_in(path, "data/PG_VERSION");
    assert_false(pg_dir_empty(path, &sys_errno));
    assert_int_equal(sys_errno, ENOTDIR);
}

static void test_proc(void **state)
{
    (void)state;
    struct pg_proc proc;
    assert_true(pg_proc_stat(getpid(), &proc));
    assert_int_equal(proc.ppid, getppid());
    assert_true(proc.start_ticks > 0);
    assert_false(pg_proc_stat(INT64_MAX, &proc));
    assert_int_equal(pg_proc_is_postgres(getpid(), fixture.data), 0);
    assert_int_equal(pg_proc_find(fixture.data), 0);
    assert_true(pg_proc_boot_time() > 1000000000);
    assert_false(pg_proc_signal(getpid(), proc.start_ticks + 1, SIGKILL)); /* another process */
}

/* A process that waits for its pipe's end, in a group of its own. */
static pid_t child_start(int *out_fd)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        (void)close(ends[1]);
        (void)setpgid(0, 0);
        (void)!read(ends[0], &byte, 1);
        _exit(0);
    }
    assert_true(pid > 0);
    (void)setpgid(pid, pid); /* whoever of the two is first */
    (void)close(ends[0]);
    *out_fd = ends[1];
    return pid;
}

/* child.pid is written by ourselves, but a crash may have left anything in it. */
static void test_a_leftover_child_is_killed_and_nobody_else(void **state)
{
    (void)state;
    AUTO_CLOSE int fd = -1;
    pid_t pid = child_start(&fd);
    struct pg_proc proc;
    assert_true(pg_proc_stat(pid, &proc));
    char text[64];
    fixture_make_dir(&fixture, "state");
    static const struct {
        const char *before, *between, *after;
        int64_t more_ticks;
    } table[] = {
        {"", " ", "\n", 1},   {"", "\n", "\n", 0},  {"-", " ", "\n", 0},
        {"x", " ", "\n", 0},  {"", " x", "\n", 0},  {"", " -", "\n", 0},
        {"", " ", " 1\n", 0}, {"", " ", "x\n", 0},  {"4294967296", " ", "\n", 0},
        {"", "  ", "\n", 0},  {"\n", " ", "\n", 0}, {" ", " ", "\n", 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_true(str_format(text, sizeof(text), "%s%d%s%" PRIu64 "%s", table[i].before, pid,
                               table[i].between, proc.start_ticks + (uint64_t)table[i].more_ticks,
                               table[i].after));
        fixture_write(&fixture, "state/child.pid", text);
        fixture_start(&fixture);
        fixture_stop(&fixture);
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
        assert_false(fixture_exists(&fixture, "state/child.pid"));
    }
    fixture_write(&fixture, "state/child.pid", "1 1\n"); /* init, at another time */
    fixture_start(&fixture);
    fixture_stop(&fixture);
    assert_true(str_format(text, sizeof(text), "%d %" PRIu64 "\n", pid, proc.start_ticks));
    fixture_write(&fixture, "state/child.pid", text);
    fixture_start(&fixture);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_file_is_read_whole_or_not_at_all),
        T(test_a_failed_write_leaves_the_old_file),
        T(test_the_tail_starts_with_a_line),
        T(test_the_reason_of_an_end_is_found_among_its_consequences),
        T(test_what_is_shown_of_a_log_has_the_reason),
        T(test_clearing_follows_only_postgresqls_links),
        T(test_empty_directories),
        T(test_proc),
        T(test_a_leftover_child_is_killed_and_nobody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
