/* /proc: odd command names, cut texts, identities, and signals that cannot hit strangers. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

#include "guard/proc.h"
#include "guard/spawn.h"

#define TAIL " 17 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 424242 23 24\n"

static void test_stat_of_odd_commands(void **state)
{
    (void)state;
    static const char *const commands[] = {"(postgres)",   "(a b)",  "(:-) 1 Z 2)", "()",
                                           "(x) S 99 (y)", "(\n) )", "())"};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        char text[256];
        struct proc_stat stat;
        (void)snprintf(text, sizeof(text), "4711 %s R" TAIL, commands[i]);
        assert_true(proc_parse_stat(text, strlen(text), &stat));
        assert_int_equal(stat.state, 'R');
        assert_int_equal(stat.ppid, 17);
        assert_int_equal(stat.start_ticks, 424242);
    }
}

static void test_stat_cut_anywhere_is_refused_or_whole(void **state)
{
    (void)state;
    static const char text[] = "4711 (postgres) S" TAIL;
    const char *ticks_end = strstr(text, "424242") + 6;
    for (size_t length = 0; length < sizeof(text); length++) {
        struct proc_stat stat = {.ppid = -1};
        bool parsed = proc_parse_stat(text, length, &stat);
        if (text + length < ticks_end - 5) {
            assert_false(parsed);
            assert_int_equal(stat.ppid, -1);
        } else if (text + length >= ticks_end) {
            assert_true(parsed);
            assert_int_equal(stat.start_ticks, 424242);
        }
    }
}

static void test_stat_with_bad_numbers(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "1 (a) S x 2 3",
        "1 (a) S 99999999999 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22",
        "1 (a) S 1 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 99999999999999999999999",
        "1 (a)S 1 2",
        "no parenthesis",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct proc_stat stat;
        assert_false(proc_parse_stat(texts[i], strlen(texts[i]), &stat));
    }
}

static void test_children(void **state)
{
    (void)state;
    pid_t pids[4];
    assert_int_equal(proc_parse_children("", 0, pids, 4), 0);
    assert_int_equal(proc_parse_children("12 34 ", 6, pids, 4), 2);
    assert_int_equal(pids[0], 12);
    assert_int_equal(pids[1], 34);
    assert_int_equal(proc_parse_children("7", 1, pids, 4), 1);
    assert_int_equal(proc_parse_children("1 2 3 4 5 6 ", 12, pids, 4), 4);
    assert_int_equal(pids[3], 4);
    assert_int_equal(proc_parse_children("12 x 34 ", 8, pids, 4), 1);
    assert_int_equal(proc_parse_children("0 1 ", 4, pids, 4), 0);
    assert_int_equal(proc_parse_children("-1 ", 3, pids, 4), 0);
    assert_int_equal(proc_parse_children("99999999999 1 ", 14, pids, 4), 0);
}

static void test_this_process(void **state)
{
    (void)state;
    struct page_process self;
    proc_self(&self);
    assert_int_equal(self.pid, getpid());
    assert_true(proc_is(getpid(), self.start_ticks));
    assert_false(proc_is(getpid(), self.start_ticks + 1));
    assert_false(proc_is(0, 0));
    struct page_inode exe = {0, 0};
    assert_true(proc_exe(getpid(), &exe));
    assert_true(exe.ino != 0);
    struct proc_stat stat;
    assert_true(proc_stat_read(getpid(), &stat));
    assert_int_equal(stat.ppid, getppid());
}

/* A child of ours, waiting for the pipe's end. */
static pid_t start_child(int *out_pipe)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        (void)close(ends[1]);
        (void)!read(ends[0], &byte, 1);
        _exit(0);
    }
    assert_true(pid > 0);
    (void)close(ends[0]);
    *out_pipe = ends[1];
    return pid;
}

struct looked_for {
    pid_t pid;
    struct page_inode exe;
    struct page_inode cwd;
    int seen;
    int matched;
};

static void look(pid_t pid, int proc_fd, void *arg)
{
    struct looked_for *wanted = arg;
    if (pid == wanted->pid) {
        wanted->seen++;
        wanted->matched += proc_fd_matches(proc_fd, &wanted->exe, &wanted->cwd);
    }
}

static void test_a_child_is_found_by_what_it_runs_and_where(void **state)
{
    (void)state;
    int pipe_fd;
    struct looked_for wanted = {.pid = start_child(&pipe_fd)};
    assert_true(proc_exe(wanted.pid, &wanted.exe));
    assert_true(proc_cwd(wanted.pid, &wanted.cwd));
    proc_each(look, &wanted);
    assert_int_equal(wanted.seen, 1);
    assert_int_equal(wanted.matched, 1);
    struct looked_for other = wanted;
    other.matched = 0;
    other.cwd.ino++; /* the same program elsewhere */
    proc_each(look, &other);
    assert_int_equal(other.matched, 0);
    other = wanted;
    other.matched = 0;
    other.exe.ino++; /* a shell that stands there */
    proc_each(look, &other);
    assert_int_equal(other.matched, 0);
    other = wanted;
    other.matched = 0;
    other.exe = (struct page_inode){0, 0}; /* unknown equals nothing */
    proc_each(look, &other);
    assert_int_equal(other.matched, 0);
    (void)close(pipe_fd);
    assert_int_equal(waitpid(wanted.pid, NULL, 0), wanted.pid);
    wanted.seen = 0;
    proc_each(look, &wanted);
    assert_int_equal(wanted.seen, 0);
}

static void test_pidfd_tells_the_end(void **state)
{
    (void)state;
    int pipe_fd;
    pid_t pid = start_child(&pipe_fd);
    int pidfd = proc_pidfd_open(pid);
    if (pidfd < 0 && errno == ENOSYS) { /* valgrind 3.19 */
        (void)close(pipe_fd);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        skip();
    }
    assert_true(pidfd >= 0);
    assert_false(proc_pidfd_ended(pidfd));
    assert_int_equal(proc_pidfd_signal(pidfd, SIGKILL), 0);
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    assert_int_equal(poll(&ended, 1, 10000), 1);
    assert_true(proc_pidfd_ended(pidfd));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(proc_pidfd_signal(pidfd, SIGKILL), -1);
    (void)close(pidfd);
    (void)close(pipe_fd);
}

static void test_grandchildren_are_killed_and_counted(void **state)
{
    (void)state;
    int ready[2];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t parent = fork();
    if (parent == 0) {
        for (int i = 0; i < 3; i++) {
            if (fork() == 0) {
                for (;;) {
                    (void)pause();
                }
            }
        }
        (void)!write(ready[1], "x", 1);
        int status;
        int killed = 0;
        while (wait(&status) > 0) {
            killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        }
        _exit(killed);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(proc_kill_children(parent), 3);
    int status;
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_int_equal(WEXITSTATUS(status), 3);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void test_what_a_server_does_not_inherit(void **state)
{
    (void)state;
    static const char *const hidden[] = {"HOLDFAST_X=1", "PATRONI_SUPERUSER_PASSWORD=x",
                                         "NOTIFY_SOCKET=/run", "WATCHDOG_USEC=1", "LISTEN_FDS=1"};
    static const char *const kept[] = {"PATH=/bin", "HOLDFAST", "LC_ALL=C", "NOTIFY_SOCKETS=1"};
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        assert_true(spawn_hides(hidden[i]));
    }
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        assert_false(spawn_hides(kept[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stat_of_odd_commands),
        cmocka_unit_test(test_stat_cut_anywhere_is_refused_or_whole),
        cmocka_unit_test(test_stat_with_bad_numbers),
        cmocka_unit_test(test_children),
        cmocka_unit_test(test_this_process),
        cmocka_unit_test(test_a_child_is_found_by_what_it_runs_and_where),
        cmocka_unit_test(test_pidfd_tells_the_end),
        cmocka_unit_test(test_grandchildren_are_killed_and_counted),
        cmocka_unit_test(test_what_a_server_does_not_inherit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
