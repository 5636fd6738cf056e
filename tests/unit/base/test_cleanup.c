/* What a scope owns is released at its end, and what was handed on is not. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"

static int fd_open(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static bool fd_is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int close_at_the_end(void)
{
    AUTO_CLOSE int fd = fd_open();
    return fd; /* the number only: it is closed when the caller sees it */
}

static int hand_on(void)
{
    AUTO_CLOSE int fd = fd_open();
    int handed = fd;
    fd = -1;
    return handed;
}

static void test_descriptor_is_closed(void **state)
{
    (void)state;
    assert_false(fd_is_open(close_at_the_end()));
}

static void test_descriptor_handed_on_stays_open(void **state)
{
    (void)state;
    AUTO_CLOSE int fd = hand_on();
    assert_true(fd_is_open(fd));
}

static void test_heap_memory_of_any_type(void **state)
{
    (void)state;
    AUTO_FREE char *text = strdup("freed by scope"); /* leak checkers watch this test */
    AUTO_FREE int *number = malloc(sizeof(*number));
    AUTO_FREE char *nothing = NULL;
    assert_non_null(text);
    assert_non_null(number);
    assert_null(nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptor_is_closed),
        cmocka_unit_test(test_descriptor_handed_on_stays_open),
        cmocka_unit_test(test_heap_memory_of_any_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
