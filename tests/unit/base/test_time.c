/* Time arithmetic ends at its bounds instead of wrapping: a deadline never jumps into the past. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "base/time.h"

static struct mono at(int64_t ms)
{
    return (struct mono){ms};
}

static void test_add(void **state)
{
    (void)state;
    assert_true(mono_add(at(1000), 250).ms == 1250);
    assert_true(mono_add(at(1000), -250).ms == 750);
    assert_true(mono_add(at(1000), -2000).ms == -1000);
    assert_true(mono_add(at(0), INT64_MIN).ms == INT64_MIN);
}

static void test_add_ends_at_the_bounds(void **state)
{
    (void)state;
    assert_true(mono_add(at(INT64_MAX - 5), 5).ms == INT64_MAX);
    assert_true(mono_add(at(INT64_MAX - 5), 6).ms == INT64_MAX);
    assert_true(mono_add(at(1), INT64_MAX).ms == INT64_MAX);
    assert_true(mono_add(at(-10), INT64_MIN).ms == INT64_MIN);
}

static void test_never_stays_never(void **state)
{
    (void)state;
    assert_true(mono_add(MONO_NEVER, 1).ms == MONO_NEVER.ms);
    assert_true(mono_add(MONO_NEVER, -1).ms == MONO_NEVER.ms);
    assert_true(mono_add(MONO_NEVER, INT64_MIN).ms == MONO_NEVER.ms);
}

static void test_sub(void **state)
{
    (void)state;
    assert_true(mono_sub(at(1250), at(1000)) == 250);
    assert_true(mono_sub(at(1000), at(1250)) == -250);
    assert_true(mono_sub(MONO_NEVER, at(-1)) == INT64_MAX);
    assert_true(mono_sub(at(-2), MONO_NEVER) == INT64_MIN);
    assert_true(mono_sub(MONO_NEVER, MONO_NEVER) == 0);
}

static void test_order(void **state)
{
    (void)state;
    assert_true(mono_before(at(1), at(2)));
    assert_false(mono_before(at(2), at(2)));
    assert_false(mono_before(at(3), at(2)));
    assert_true(mono_before(at(INT64_MAX - 1), MONO_NEVER));
    assert_true(mono_min(at(1), at(2)).ms == 1);
    assert_true(mono_min(MONO_NEVER, at(2)).ms == 2);
    assert_true(mono_max(at(1), at(2)).ms == 2);
    assert_true(mono_max(MONO_ZERO, at(-2)).ms == 0);
}

static void test_clocks_are_the_ones_promised(void **state)
{
    (void)state;
    struct timespec low;
    struct timespec high;
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &low), 0);
    struct mono now = mono_now();
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &high), 0);
    assert_true(now.ms >= (int64_t)low.tv_sec * 1000 + low.tv_nsec / 1000000);
    assert_true(now.ms <= (int64_t)high.tv_sec * 1000 + high.tv_nsec / 1000000);
    assert_false(mono_before(mono_now(), now));
    assert_true(wall_now().ms >
                (int64_t)1600000000 * 1000); /* later than 2020: since 1970, in ms */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_add_ends_at_the_bounds),
        cmocka_unit_test(test_never_stays_never),
        cmocka_unit_test(test_sub),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_clocks_are_the_ones_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
