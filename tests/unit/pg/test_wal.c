/* INV-5: what is set aside, what goes when there is no room, and that nothing is passed over. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"

#define SEGMENT (INT64_C(1) << 20)
#define FILE_BYTES 1000
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct fixture fixture;

/* What the job knew at its end. */
static struct {
    bool done;
    enum err err;
    struct err_detail detail;
    char dir[PATH_SIZE];
    uint64_t bytes;
    uint32_t files;
    bool cut;
} result;

static int setup(void **state)
{
    (void)state;
    memset(&result, 0, sizeof(result));
    fixture_prepare(&fixture);
    fixture_make_dir(&fixture, "data/pg_wal");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_end(&fixture);
    return 0;
}

static enum pg_step keep(struct pg_job *job)
{
    str_copy_cut(result.dir, sizeof(result.dir), job->wal_copy_dir);
    result.bytes = job->wal_copy_bytes;
    result.files = job->wal_copy_files;
    result.cut = job->wal_copy_cut;
    return PG_STEP_NEXT;
}

static void on_done(enum err err, const struct err_detail *detail, void *arg)
{
    (void)arg;
    result.done = true;
    result.err = err;
    result.detail = *detail;
}

static const pg_step_fn steps[] = {pg_wal_copy, pg_wal_report, keep};
static const struct pg_plan plan = {.name = "test", .steps = steps, .count = COUNT(steps)};

/* A former primary of timeline 2 whose WAL ends in its segment 6; the fork is in segment 4. */
static struct pg_job *job_new(void)
{
    fixture_start(&fixture);
    struct pg_job *job = pg_job_new(fixture.pg, &plan, on_done, NULL);
    job->verdict = PGHISTORY_DIVERGED;
    job->has_control = true;
    job->control.wal_segment_bytes = SEGMENT;
    job->local = (struct pghistory_local){PGHISTORY_SHUT_DOWN, 2, 6 * SEGMENT, 6 * SEGMENT + 100};
    job->fork = (struct pghistory_fork){2, 4 * SEGMENT + 5};
    job->source_timeline = 3;
    return job;
}

static void run(struct pg_job *job)
{
    pg_job_submit(job);
    while (!result.done) {
        assert_int_not_equal(uv_run(&fixture.loop, UV_RUN_ONCE), 0);
    }
}

static void segment_write(unsigned timeline, unsigned number)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "data/pg_wal/%08X%08X%08X", timeline, 0U, number);
    fixture_write_bytes(&fixture, name, 'w', FILE_BYTES);
}

static bool set_has(const char *name)
{
    char path[PATH_SIZE];
    assert_true(str_format(path, sizeof(path), "%s/%s", result.dir, name));
    return access(path, F_OK) == 0;
}

static void test_from_the_fork_to_the_end(void **state)
{
    (void)state;
    for (unsigned number = 1; number < 9; number++) {
        segment_write(2, number);
    }
    segment_write(1, 4); /* before the fork's timeline */
    segment_write(3, 5); /* fetched from others */
    fixture_write(&fixture, "data/pg_wal/00000002.history", "1\t0/1\tx\n");
    fixture_write(&fixture, "data/pg_wal/0000000200000000.trash", "");
    run(job_new());
    assert_int_equal(result.err, ERR_OK);
    assert_int_equal(result.files, 3);
    assert_int_equal(result.bytes, 3 * FILE_BYTES);
    assert_false(result.cut);
    assert_false(set_has("000000020000000000000003"));
    assert_true(set_has("000000020000000000000004"));
    assert_true(set_has("000000020000000000000005"));
    assert_true(set_has("000000020000000000000006"));
    assert_false(set_has("000000020000000000000007")); /* recycled, never written */
    assert_false(set_has("000000010000000000000004"));
    assert_false(set_has("000000030000000000000005"));
    assert_true(set_has("00000002.history"));
    assert_true(set_has("report.txt"));
}

static void test_the_report(void **state)
{
    (void)state;
    segment_write(2, 4);
    struct pg_job *job = job_new();
    job->control.sysid = 7;
    str_set(job->source.name, sizeof(job->source.name), "n2");
    run(job);
    assert_int_equal(result.err, ERR_OK);
    char text[2048];
    char path[PATH_SIZE];
    assert_true(str_format(path, sizeof(path), "%s/report.txt", result.dir));
    assert_true(pg_file_read(path, text, sizeof(text)));
    assert_string_equal(text, "member: Node-1.x\nsystem_identifier: 7\nsource: n2\n"
                              "local_timeline: 2\nsource_timeline: 3\nfork_timeline: 2\n"
                              "fork_lsn: 0/400005\nend_lsn: 0/600064\nsegments: 1\nbytes: 1000\n"
                              "complete: yes\ntransactions: 0\n");
}

static void test_all_of_it_where_the_fork_is_unknown(void **state)
{
    (void)state;
    segment_write(1, 1);
    segment_write(2, 2);
    struct pg_job *job = job_new();
    job->fork = (struct pghistory_fork){0};
    run(job);
    assert_int_equal(result.err, ERR_OK);
    assert_int_equal(result.files, 2);
}

/* From the fork on what fits; where the fork is unknown the newest is worth most. */
static void test_the_bound(void **state)
{
    (void)state;
    for (unsigned number = 4; number < 7; number++) {
        segment_write(2, number);
    }
    fixture.config.set_aside_max_bytes = 2 * FILE_BYTES;
    run(job_new());
    assert_int_equal(result.err, ERR_OK);
    assert_true(result.cut);
    assert_int_equal(result.files, 2);
    assert_true(set_has("000000020000000000000004"));
    assert_false(set_has("000000020000000000000006"));
}

static void test_the_bound_where_the_fork_is_unknown(void **state)
{
    (void)state;
    for (unsigned number = 4; number < 7; number++) {
        segment_write(2, number);
    }
    fixture.config.set_aside_max_bytes = 2 * FILE_BYTES;
    struct pg_job *job = job_new();
    job->fork = (struct pghistory_fork){0};
    run(job);
    assert_true(result.cut);
    assert_false(set_has("000000020000000000000004"));
    assert_true(set_has("000000020000000000000006"));
}

static void earlier_set(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "state/wal-set-aside/%s", name);
    fixture_make_dir(&fixture, path);
    (void)snprintf(path, sizeof(path), "state/wal-set-aside/%s/w", name);
    fixture_write_bytes(&fixture, path, 'w', FILE_BYTES);
}

static void test_the_oldest_sets_make_room(void **state)
{
    (void)state;
    fixture_make_dir(&fixture, "state");
    fixture_make_dir(&fixture, "state/wal-set-aside");
    earlier_set("20240102T000000Z-tl1");
    earlier_set("20240101T000000Z-tl9");
    earlier_set("20240103T000000Z-tl1");
    segment_write(2, 4);
    segment_write(2, 5);
    fixture.config.set_aside_max_bytes = 4 * FILE_BYTES + 1;
    run(job_new());
    assert_int_equal(result.err, ERR_OK);
    assert_false(fixture_exists(&fixture, "state/wal-set-aside/20240101T000000Z-tl9"));
    assert_true(fixture_exists(&fixture, "state/wal-set-aside/20240102T000000Z-tl1"));
    assert_true(fixture_exists(&fixture, "state/wal-set-aside/20240103T000000Z-tl1"));
    assert_int_equal(result.files, 2);
}

static void test_nothing_diverged_nothing_copied(void **state)
{
    (void)state;
    segment_write(2, 4);
    struct pg_job *job = job_new();
    job->verdict = PGHISTORY_SAME;
    run(job);
    assert_int_equal(result.err, ERR_OK);
    assert_int_equal(result.files, 0);
    assert_false(fixture_exists(&fixture, "state/wal-set-aside"));
}

static void test_no_wal_is_nothing_to_copy(void **state)
{
    (void)state;
    run(job_new());
    assert_int_equal(result.err, ERR_OK);
    assert_int_equal(result.files, 0);
}

/* The action destroys the WAL after this step: what cannot be listed must end it. */
static void test_wal_that_cannot_be_listed_is_an_error(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    assert_true(str_format(path, sizeof(path), "%s/pg_wal", fixture.data));
    assert_int_equal(rmdir(path), 0);
    fixture_write(&fixture, "data/pg_wal", "");
    run(job_new());
    assert_int_equal(result.err, ERR_INVALID);
    assert_non_null(strstr(result.detail.text, "cannot read"));
}

static void test_a_copy_that_fails_is_an_error(void **state)
{
    (void)state;
    segment_write(2, 4);
    fixture_make_dir(&fixture, "data/pg_wal/000000020000000000000005");
    run(job_new());
    assert_int_equal(result.err, ERR_INVALID);
    assert_non_null(strstr(result.detail.text, "cannot read"));
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_from_the_fork_to_the_end),
        T(test_the_report),
        T(test_all_of_it_where_the_fork_is_unknown),
        T(test_the_bound),
        T(test_the_bound_where_the_fork_is_unknown),
        T(test_the_oldest_sets_make_room),
        T(test_nothing_diverged_nothing_copied),
        T(test_no_wal_is_nothing_to_copy),
        T(test_wal_that_cannot_be_listed_is_an_error),
        T(test_a_copy_that_fails_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
