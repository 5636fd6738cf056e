/* The whole agent over fakes: a cluster of one from nothing, SIGTERM, and what is left behind. */
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
#include "base/log.h"
#include "base/str.h"
#include "fakes.h"

#define DEADLINE_MS 20000

static struct fake_guard guard;
static struct fake_place place;

/* What the test's own client saw of the store in the end. */
static char seen[4096];
static struct dcs_request last_read;
static uv_timer_t deadline;
static uv_timer_t poll_timer;
static bool told;

static void overdue(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("not done within %d ms", DEADLINE_MS);
}

static void note(struct dcs_request *request, enum err err, const struct dcs_snapshot *snapshot,
                 void *arg)
{
    (void)request;
    (void)arg;
    assert_int_equal(err, ERR_OK);
    seen[0] = '\0';
    for (size_t i = 0; i < snapshot->count; i++) {
        size_t used = strlen(seen);
        (void)snprintf(seen + used, sizeof(seen) - used, "%s%s=%s\n", snapshot->items[i].key,
                       snapshot->items[i].attached ? "*" : "", snapshot->items[i].value);
    }
    if (!told && strstr(seen, "failsafe=") != NULL && strstr(seen, "history=[]") != NULL &&
        strstr(seen, "status=") != NULL && strstr(seen, "\"role\":\"primary\"") != NULL &&
        strstr(seen, "\"armed\":true") != NULL) {
        told = true;
        (void)kill(getpid(), SIGTERM);
    }
}

static void look(uv_timer_t *timer)
{
    (void)timer;
    if (!last_read.active) {
        dcs_read(fake_store.other, &last_read, 1000, note, NULL);
    }
}

static void begun(uv_loop_t *loop)
{
    (void)uv_timer_init(loop, &deadline);
    (void)uv_timer_start(&deadline, overdue, DEADLINE_MS, 0);
    (void)uv_timer_init(loop, &poll_timer);
    (void)uv_timer_start(&poll_timer, look, 20, 20);
}

static void test_a_cluster_of_one_comes_and_goes(void **state)
{
    (void)state;
    fake_place_make(&place, 28008);
    fake_guard_start(&guard);
    fake_pg = (struct fake_pg){.page = guard.page,
                               .facts = {.process = TRI_NO,
                                         .accepting = TRI_NO,
                                         .primary = TRI_NO,
                                         .datadir = CORE_DATADIR_EMPTY}};
    fake_begun = begun;
    assert_int_equal(agent_main(place.config_path), 0);
    assert_true(told);         /* everything that a leader keeps was there */
    while (last_read.active) { /* the agent's loop stands still now */
        (void)uv_run(fake_loop, UV_RUN_ONCE);
    }
    dcs_read(fake_store.other, &last_read, 1000, note, NULL);
    while (last_read.active) {
        (void)uv_run(fake_loop, UV_RUN_ONCE);
    }

    /* INV-3 at the moment of the start. */
    assert_int_equal(fake_pg.starts, 1);
    assert_true(fake_pg.lease_at_start);
    assert_true(fake_pg.armed_at_start);

    /* In the end: PostgreSQL stopped, the lease given back, no time left in the page. */
    assert_int_equal(fake_pg.facts.process, TRI_NO);
    struct page_lease lease;
    page_lease_read(guard.page, &lease);
    assert_int_equal(lease.deadline.ms, 0);
    assert_true(lease.epoch >= 1);
    assert_non_null(strstr(seen, "\"state\":\"released\""));
    assert_null(strstr(seen, "leader="));
    assert_null(strstr(seen, "leader*="));
    assert_non_null(strstr(seen, "initialize=7300000000000000001"));
    assert_non_null(strstr(seen, "config={\"ttl\":2"));
    assert_non_null(strstr(seen, "\"state\":\"stopped\"")); /* the last word of the member key */
    fake_guard_end(&guard);
    assert_int_equal(guard.leaving, 0);
    assert_true(guard.pings >= 1); /* its timer stood at the deadline that is no more */
    fake_place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_cluster_of_one_comes_and_goes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
