/* The two stages: at 0.7 and 0.95 of the ttl, never late, never taken back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard/lease.h"

static struct lease_verdict judge(struct page_lease lease, struct lease_state state, int64_t now)
{
    return lease_judge(&lease, &state, (struct mono){now});
}

static const struct page_lease running = {.deadline = {10000}, .ttl_ms = 1000, .epoch = 3};
static const struct lease_state armed = {.armed_epoch = 3};

static void test_unarmed_nothing_ends(void **state)
{
    (void)state;
    struct lease_verdict verdict =
        judge((struct page_lease){.ttl_ms = 0}, (struct lease_state){0}, 5);
    assert_int_equal(verdict.fence, PAGE_FENCE_NONE);
    assert_int_equal(verdict.wake_at.ms, INT64_MAX);
    verdict = judge(running, (struct lease_state){0}, 20000);
    assert_int_equal(verdict.fence, PAGE_FENCE_NONE);
}

static void test_stages_at_their_times(void **state)
{
    (void)state;
    struct lease_verdict verdict = judge(running, armed, 9699);
    assert_int_equal(verdict.fence, PAGE_FENCE_NONE);
    assert_int_equal(verdict.wake_at.ms, 9700);
    verdict = judge(running, armed, 9700);
    assert_int_equal(verdict.fence, PAGE_FENCE_FAST);
    assert_int_equal(verdict.hard_at.ms, 9950);
    assert_int_equal(verdict.wake_at.ms, 9950);
    assert_int_equal(judge(running, armed, 9949).fence, PAGE_FENCE_FAST);
    assert_int_equal(judge(running, armed, 9950).fence, PAGE_FENCE_HARD);
    assert_int_equal(judge(running, armed, 99999).fence, PAGE_FENCE_HARD);
}

static void test_odd_ttls_come_early(void **state)
{
    (void)state;
    for (int64_t ttl = 1; ttl < 3000; ttl++) {
        const struct page_lease lease = {.deadline = {10000}, .ttl_ms = ttl, .epoch = 3};
        struct lease_verdict verdict = judge(lease, armed, 1);
        assert_int_equal(verdict.fence, PAGE_FENCE_NONE);
        assert_true(verdict.wake_at.ms * 10 <= 100000 - 3 * ttl);
        assert_true(verdict.wake_at.ms * 10 > 100000 - 3 * ttl - 10);
        verdict = judge(lease, armed, verdict.wake_at.ms);
        assert_true(verdict.fence != PAGE_FENCE_NONE);
        assert_true(verdict.hard_at.ms < 10000);
    }
}

static void test_no_lease_while_armed_is_an_ended_one(void **state)
{
    (void)state;
    const struct page_lease bad[] = {
        {.deadline = {0}, .ttl_ms = 1000, .epoch = 3},
        {.deadline = {-1}, .ttl_ms = 1000, .epoch = 3},
        {.deadline = {INT64_MAX}, .ttl_ms = 1000, .epoch = 3},
        {.deadline = {10000}, .ttl_ms = 0, .epoch = 3},
        {.deadline = {10000}, .ttl_ms = -5, .epoch = 3},
        {.deadline = {10000}, .ttl_ms = INT64_MAX, .epoch = 3},
        {.deadline = {10000}, .ttl_ms = 1000, .epoch = 2}, /* an older term's */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(judge(bad[i], armed, 5).fence, PAGE_FENCE_HARD);
        assert_false(lease_runs(&bad[i], 3, (struct mono){5}));
    }
    /* a newer term of the same holder proves as much */
    const struct page_lease newer = {.deadline = {10000}, .ttl_ms = 1000, .epoch = 4};
    assert_int_equal(judge(newer, armed, 5).fence, PAGE_FENCE_NONE);
}

static void test_fenced_stays_fenced(void **state)
{
    (void)state;
    const struct page_lease renewed = {.deadline = {90000}, .ttl_ms = 1000, .epoch = 3};
    const struct lease_state fast = {.armed_epoch = 3, .fence = PAGE_FENCE_FAST, .hard_at = {9950}};
    struct lease_verdict verdict = judge(renewed, fast, 9800);
    assert_int_equal(verdict.fence, PAGE_FENCE_FAST);
    assert_int_equal(verdict.hard_at.ms, 9950); /* not later */
    assert_int_equal(judge(renewed, fast, 9950).fence, PAGE_FENCE_HARD);
    const struct page_lease shorter = {.deadline = {9900}, .ttl_ms = 1000, .epoch = 3};
    assert_int_equal(judge(shorter, fast, 9800).hard_at.ms, 9850); /* but earlier */
    const struct page_lease none = {.deadline = {0}, .ttl_ms = 1000, .epoch = 3};
    assert_int_equal(judge(none, fast, 9800).fence, PAGE_FENCE_HARD);
    const struct lease_state hard = {.armed_epoch = 3, .fence = PAGE_FENCE_HARD};
    verdict = judge(renewed, hard, 9800);
    assert_int_equal(verdict.fence, PAGE_FENCE_HARD);
    assert_int_equal(verdict.wake_at.ms, INT64_MAX);
}

static void test_arming_needs_this_epoch_before_stage_one(void **state)
{
    (void)state;
    assert_true(lease_runs(&running, 3, (struct mono){9699}));
    assert_false(lease_runs(&running, 3, (struct mono){9700}));
    assert_false(lease_runs(&running, 2, (struct mono){5}));
    assert_false(lease_runs(&running, 4, (struct mono){5}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unarmed_nothing_ends),
        cmocka_unit_test(test_stages_at_their_times),
        cmocka_unit_test(test_odd_ttls_come_early),
        cmocka_unit_test(test_no_lease_while_armed_is_an_ended_one),
        cmocka_unit_test(test_fenced_stays_fenced),
        cmocka_unit_test(test_arming_needs_this_epoch_before_stage_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
