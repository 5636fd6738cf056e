/* A failed assertion is seen from outside: a child fails it, the parent reads its last words. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/cleanup.h"

static void hook_say(void)
{
    (void)!write(STDERR_FILENO, "last plan\n", 10);
}

static void hook_that_asserts(void)
{
    hook_say();
    ASSERT(1 == 2);
}

static void fail_plain(void)
{
    int epoch = 3;
    ASSERT(epoch == 4);
}

static void fail_implies(void)
{
    bool primary = true;
    bool lease = false;
    ASSERT_IMPLIES(primary, lease);
}

static void fail_unreachable(void)
{
    UNREACHABLE();
}

/* Runs the function in a child that must die of SIGABRT; its standard error goes to text. */
static void die_of(void (*function)(void), void (*hook)(void), char *text, size_t text_size)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGABRT, SIG_DFL); /* not the test library's handler */
        (void)dup2(ends[1], STDERR_FILENO);
        assert_set_hook(hook);
        function();
        _exit(0);
    }
    (void)close(ends[1]);
    AUTO_CLOSE int reader = ends[0];
    size_t used = 0;
    ssize_t got;
    while (used < text_size - 1 && (got = read(reader, text + used, text_size - 1 - used)) > 0) {
        used += (size_t)got;
    }
    text[used] = '\0';
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void test_failure_names_file_line_and_condition(void **state)
{
    (void)state;
    char text[512];
    die_of(fail_plain, NULL, text, sizeof(text));
    assert_non_null(strstr(text, "test_assert.c:"));
    assert_non_null(strstr(text, ": assertion failed: epoch == 4\n"));
    die_of(fail_implies, NULL, text, sizeof(text));
    assert_non_null(strstr(text, "assertion failed: "));
    die_of(fail_unreachable, NULL, text, sizeof(text));
    assert_non_null(strstr(text, "assertion failed: unreachable\n"));
}

static void test_hook_runs_after_the_line(void **state)
{
    (void)state;
    char text[512];
    die_of(fail_plain, hook_say, text, sizeof(text));
    const char *line = strstr(text, "assertion failed");
    const char *hook = strstr(text, "last plan\n");
    assert_non_null(line);
    assert_non_null(hook);
    assert_true(line < hook);
}

static void test_hook_that_asserts_does_not_recurse(void **state)
{
    (void)state;
    char text[512];
    die_of(fail_plain, hook_that_asserts, text, sizeof(text));
    const char *first = strstr(text, "last plan\n");
    assert_non_null(first);
    assert_null(strstr(first + 1, "last plan\n"));
}

static void test_true_conditions_pass(void **state)
{
    (void)state;
    int evaluated = 0;
    ASSERT(++evaluated == 1);
    assert_int_equal(evaluated, 1); /* once, and compiled in */
    ASSERT_IMPLIES(false, false);
    ASSERT_IMPLIES(false, true);
    ASSERT_IMPLIES(true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failure_names_file_line_and_condition),
        cmocka_unit_test(test_hook_runs_after_the_line),
        cmocka_unit_test(test_hook_that_asserts_does_not_recurse),
        cmocka_unit_test(test_true_conditions_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
