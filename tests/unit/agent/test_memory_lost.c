/* A damaged memory.json: the agent goes on, with the file set aside, and takes no lease for as long
 * as a promise that it no longer knows of may bind it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/agent.h"
#include "base/str.h"
#include "fakes.h"

#define RUN_MS 2000 /* a bootstrap takes 0.1 s */

static struct fake_guard guard;
static struct fake_place place;
static uv_timer_t over;
static bool lease_seen;
static bool member_seen;
static struct dcs_request request;

static void note(struct dcs_request *done, enum err err, const struct dcs_snapshot *snapshot,
                 void *arg)
{
    (void)done;
    (void)arg;
    assert_int_equal(err, ERR_OK);
    for (size_t i = 0; i < snapshot->count; i++) {
        lease_seen = lease_seen || str_equal(snapshot->items[i].key, "lease");
        member_seen = member_seen || str_equal(snapshot->items[i].key, "members/n1");
    }
    (void)kill(getpid(), SIGTERM);
}

static void run_over(uv_timer_t *timer)
{
    (void)timer;
    dcs_read(fake_store.other, &request, 1000, note, NULL);
}

static void begun(uv_loop_t *loop)
{
    (void)uv_timer_init(loop, &over);
    (void)uv_timer_start(&over, run_over, RUN_MS, 0);
}

static void test_a_damaged_memory(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    char aside[PATH_SIZE];
    fake_place_make(&place, 28010);
    assert_true(str_format(path, sizeof(path), "%s/data.holdfast", place.directory));
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(str_format(path, sizeof(path), "%s/data.holdfast/memory.json", place.directory));
    assert_true(str_format(aside, sizeof(aside), "%s.corrupt", path));
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fputs("{\"format\": 1, \"promised_to\": \"n2\", \"prom", file);
    assert_int_equal(fclose(file), 0);
    fake_guard_start(&guard);
    fake_pg = (struct fake_pg){.page = guard.page,
                               .facts = {.process = TRI_NO,
                                         .accepting = TRI_NO,
                                         .primary = TRI_NO,
                                         .datadir = CORE_DATADIR_EMPTY}};
    fake_begun = begun;
    assert_int_equal(agent_main(place.config_path), 0); /* and not 78 */
    fake_guard_end(&guard);
    assert_true(member_seen); /* it took part, ... */
    assert_false(lease_seen); /* ... took nothing, ... */
    assert_int_equal(fake_pg.starts, 0);
    char text[128] = "";
    file = fopen(aside, "re"); /* ... and kept what it could not read */
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    assert_int_equal(fclose(file), 0);
    assert_non_null(strstr(text, "promised_to"));
    fake_place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_damaged_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
