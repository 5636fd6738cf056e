/* The guard takes an order and is never heard of again; the first replacement is no better. The agent
 * has to come to a primary all the same, and only under a guard that is armed. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/agent.h"
#include "base/str.h"
#include "fakes.h"
#include "guard/control.h"

#define DEADLINE_MS 20000
#define FIRST_MARK "HOLDFAST_TEST_FIRST_REPLACEMENT" /* a file: made by the first one */

static struct fake_guard guard;
static struct fake_place place;
static uv_timer_t deadline;
static uv_timer_t poll_timer;

static void overdue(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("not done within %d ms", DEADLINE_MS);
}

static void look(uv_timer_t *timer)
{
    if (fake_pg.facts.primary == TRI_YES && !fake_pg.facts.setup_pending) {
        (void)uv_timer_stop(timer);
        (void)kill(getpid(), SIGTERM);
    }
}

static void begun(uv_loop_t *loop)
{
    (void)uv_timer_init(loop, &deadline);
    (void)uv_timer_start(&deadline, overdue, DEADLINE_MS, 0);
    (void)uv_timer_init(loop, &poll_timer);
    (void)uv_timer_start(&poll_timer, look, 20, 20);
}

static void test_an_order_without_an_answer(void **state)
{
    (void)state;
    char mark[PATH_SIZE];
    fake_place_make(&place, 28009);
    assert_true(str_format(mark, sizeof(mark), "%s/first", place.directory));
    assert_int_equal(setenv(FIRST_MARK, mark, 1), 0);
    guard.freezes_at_arm = true;
    fake_guard_start(&guard);
    assert_int_equal(setenv(CONTROL_ENV_GUARD_BINARY, "/proc/self/exe", 1), 0);
    fake_pg = (struct fake_pg){.page = guard.page,
                               .facts = {.process = TRI_NO,
                                         .accepting = TRI_NO,
                                         .primary = TRI_NO,
                                         .datadir = CORE_DATADIR_EMPTY}};
    fake_begun = begun;
    assert_int_equal(agent_main(place.config_path), 0);
    fake_guard_end(&guard);

    assert_int_equal(guard.arms, 1);         /* it heard the order, ... */
    assert_int_equal(access(mark, F_OK), 0); /* ... the first replacement came, ... */
    assert_int_equal(fake_pg.starts, 1);     /* ... and another one armed (INV-3) */
    assert_true(fake_pg.lease_at_start);
    assert_true(fake_pg.armed_at_start);
    fake_place_remove(&place);
}

/* As the replacement: the first one is started and does nothing. */
static int replace(char **argv)
{
    const char *mark = getenv(FIRST_MARK);
    FILE *file = mark != NULL ? fopen(mark, "wxe") : NULL;
    if (file != NULL) {
        return fclose(file);
    }
    fake_guard_replacement(argv);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && str_equal(argv[1], "--adopt-agent")) {
        return replace(argv);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_an_order_without_an_answer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
