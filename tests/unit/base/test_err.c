/* Names for every error, and details that are cut rather than lost. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static void test_every_error_has_its_own_name(void **state)
{
    (void)state;
    assert_int_equal(ERR_OK, 0);
    assert_string_equal(err_name(ERR_OK), "ok");
    assert_string_equal(err_name(ERR_IN_DOUBT), "in doubt");
    for (unsigned a = 0; a < ERR_COUNT; a++) {
        assert_non_null(err_name((enum err)a));
        for (unsigned b = 0; b < a; b++) {
            assert_string_not_equal(err_name((enum err)a), err_name((enum err)b));
        }
    }
}

static void test_set_returns_the_error_and_keeps_the_text(void **state)
{
    (void)state;
    struct err_detail detail = {.sys_errno = ENOENT};
    assert_int_equal(err_set(&detail, ERR_REFUSED, "token %d refused", 7), ERR_REFUSED);
    assert_string_equal(detail.text, "token 7 refused");
    assert_int_equal(detail.sys_errno, 0);
}

static void test_set_errno_adds_the_reason(void **state)
{
    (void)state;
    struct err_detail detail = {0};
    assert_int_equal(err_set_errno(&detail, ERR_UNREACHABLE, ECONNREFUSED, "connect %s", "n1"),
                     ERR_UNREACHABLE);
    assert_string_equal(detail.text, "connect n1: Connection refused");
    assert_int_equal(detail.sys_errno, ECONNREFUSED);
}

static void test_detail_may_be_absent(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_INVALID, "x"), ERR_INVALID);
    assert_int_equal(err_set_errno(NULL, ERR_CONFLICT, EIO, "x"), ERR_CONFLICT);
}

static void test_long_text_is_cut_and_terminated(void **state)
{
    (void)state;
    struct {
        struct err_detail detail;
        char canary[8];
    } box = {.canary = "canary!"};
    char text[1000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    (void)err_set(&box.detail, ERR_INVALID, "%s", text);
    assert_int_equal(strlen(box.detail.text), sizeof(box.detail.text) - 1);
    (void)err_set_errno(&box.detail, ERR_INVALID, EIO, "%s", text);
    assert_int_equal(strlen(box.detail.text), sizeof(box.detail.text) - 1);
    assert_int_equal(box.detail.sys_errno, EIO);
    assert_string_equal(box.canary, "canary!");
}

static void test_a_caller_may_wrap_the_text_below(void **state)
{
    (void)state;
    struct err_detail detail;
    (void)err_set(&detail, ERR_REFUSED, "role exists");
    (void)err_set(&detail, ERR_REFUSED, "set-up of n1: %s", detail.text);
    assert_string_equal(detail.text, "set-up of n1: role exists");
    (void)err_set_errno(&detail, ERR_REFUSED, EACCES, "again: %s", detail.text);
    assert_string_equal(detail.text, "again: set-up of n1: role exists: Permission denied");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_error_has_its_own_name),
        cmocka_unit_test(test_set_returns_the_error_and_keeps_the_text),
        cmocka_unit_test(test_set_errno_adds_the_reason),
        cmocka_unit_test(test_detail_may_be_absent),
        cmocka_unit_test(test_long_text_is_cut_and_terminated),
        cmocka_unit_test(test_a_caller_may_wrap_the_text_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
