/* Timers on CLOCK_BOOTTIME and the ends of processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/loop.h"

static void count_fire(struct loop_timer *timer, void *arg)
{
    (void)timer;
    ++*(unsigned *)arg;
}

static void test_timer(void **state)
{
    (void)state;
    uv_loop_t loop;
    uv_loop_init(&loop);
    unsigned fired = 0;
    struct loop_timer timer;
    assert_int_equal(loop_timer_init(&loop, &timer, count_fire, &fired, NULL), ERR_OK);
    struct mono at = mono_add(mono_now(), 50);
    loop_timer_set(&timer, mono_add(at, 100000));
    loop_timer_set(&timer, at); /* replaces */
    assert_int_equal(fired, 0);
    uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(fired, 1);
    assert_true(mono_now().ms >= at.ms);
    loop_timer_set(&timer, mono_add(mono_now(), -1000)); /* has passed */
    assert_int_equal(fired, 1);
    uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(fired, 2);
    loop_timer_set(&timer, MONO_ZERO);
    loop_timer_set(&timer, MONO_NEVER); /* disarms */
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(fired, 2);
    loop_timer_close(&timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void count_exit(struct loop_pidfd *watch, void *arg)
{
    (void)watch;
    ++*(unsigned *)arg;
}

static void count_closed(void *arg)
{
    *(unsigned *)arg += 100;
}

static void test_pidfd(void **state)
{
    (void)state;
    uv_loop_t loop;
    uv_loop_init(&loop);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* not left behind when an assertion fails */
        pause();
        _exit(0);
    }
    unsigned count = 0;
    struct loop_pidfd watch;
    struct err_detail detail = {0};
    enum err err = loop_pidfd_init(&loop, &watch, pid, count_exit, &count, &detail);
    if (detail.sys_errno == ENOSYS) { /* valgrind 3.19 has no pidfd_open */
        kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        uv_loop_close(&loop);
        skip();
    }
    assert_int_equal(err, ERR_OK);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(count, 0);
    kill(pid, SIGKILL);
    uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(count, 1);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(count, 1); /* once */
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    loop_pidfd_close(&watch, count_closed);
    assert_int_equal(count, 1);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(count, 101);
    assert_int_equal(loop_pidfd_init(&loop, &watch, pid, count_exit, &count, &detail), ERR_INVALID);
    assert_int_equal(loop_pidfd_init(&loop, &watch, 0, count_exit, &count, &detail), ERR_INVALID);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_timer), cmocka_unit_test(test_pidfd)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
