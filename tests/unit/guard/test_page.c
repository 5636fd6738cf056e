/* The page: facts are never mixed, a writer that dies half-way leaves the older one, strangers are
 * refused. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "guard/page.h"

#define ROUNDS 200000

static int setup(void **state)
{
    struct page *page = NULL;
    int fd = -1;
    struct err_detail detail;
    if (page_create(&page, &fd, &detail) != ERR_OK) {
        return -1;
    }
    (void)close(fd); /* the mapping stays */
    *state = page;
    return 0;
}

static int teardown(void **state)
{
    page_detach(*state);
    return 0;
}

static void test_a_new_page_holds_nothing(void **state)
{
    const struct page *page = *state;
    struct page_lease lease;
    page_lease_read(page, &lease);
    assert_int_equal(lease.deadline.ms, 0);
    assert_int_equal(lease.ttl_ms, 0);
    assert_int_equal(lease.epoch, 0);
    uint64_t epoch = 7;
    assert_false(page_armed(page, &epoch));
    assert_int_equal(epoch, 0);
    struct mono hard_at;
    assert_int_equal(page_fence_read(page, &hard_at), PAGE_FENCE_NONE);
    struct page_postmaster postmaster;
    page_postmaster_read(page, &postmaster);
    assert_int_equal(postmaster.pid, 0);
    assert_int_equal(page_agent_beat_read(page).ms, 0);
    assert_int_equal(page_guard_beat_read(page).ms, 0);
}

static void test_every_fact_reads_back(void **state)
{
    struct page *page = *state;
    const struct page_lease lease = {.deadline = {11}, .ttl_ms = 12, .epoch = 13, .seq = 14};
    const struct page_postmaster postmaster = {
        .pid = 21, .start_ticks = 22, .exe = {23, 24}, .datadir = {25, 26}};
    const struct page_exit end = {.pid = 31, .status = -1, .orphans_killed = 33, .reaped = true};
    const struct page_process guard = {.pid = 41, .start_ticks = 42};
    const struct page_process agent = {.pid = 51, .start_ticks = 52};
    page_lease_write(page, &lease);
    page_postmaster_write(page, &postmaster);
    page_exit_write(page, &end);
    page_guard_write(page, &guard);
    page_agent_write(page, &agent);
    page_fence_write(page, PAGE_FENCE_FAST, (struct mono){61});
    page_armed_write(page, 71);
    page_oom_write(page, -17);
    page_agent_beat(page, (struct mono){81});
    page_guard_beat(page, (struct mono){82});

    struct page_lease lease_read;
    page_lease_read(page, &lease_read);
    assert_memory_equal(&lease_read, &lease, sizeof(lease));
    struct page_postmaster postmaster_read;
    page_postmaster_read(page, &postmaster_read);
    assert_memory_equal(&postmaster_read, &postmaster, sizeof(postmaster));
    struct page_exit end_read;
    page_exit_read(page, &end_read);
    assert_int_equal(end_read.pid, 31);
    assert_int_equal(end_read.status, -1);
    assert_int_equal(end_read.orphans_killed, 33);
    assert_true(end_read.reaped);
    struct page_process process;
    page_guard_read(page, &process);
    assert_memory_equal(&process, &guard, sizeof(guard));
    page_agent_read(page, &process);
    assert_memory_equal(&process, &agent, sizeof(agent));
    struct mono hard_at;
    assert_int_equal(page_fence_read(page, &hard_at), PAGE_FENCE_FAST);
    assert_int_equal(hard_at.ms, 61);
    uint64_t epoch;
    assert_true(page_armed(page, &epoch));
    assert_int_equal(epoch, 71);
    assert_int_equal(page_oom_read(page), -17);
    assert_int_equal(page_agent_beat_read(page).ms, 81);
    assert_int_equal(page_guard_beat_read(page).ms, 82);
}

/* A writer that died in the middle has filled words of the slot that is not in use, and no more. The
 * test finds those words by their value: the layout is page.c's own. */
static void test_a_torn_writer_leaves_the_older_fact(void **state)
{
    struct page *page = *state;
    const int64_t mark = 0x1122334455667788LL;
    const struct page_lease old = {.deadline = {mark}, .ttl_ms = 2, .epoch = 3, .seq = 4};
    const struct page_lease newer = {.deadline = {mark + 1}, .ttl_ms = 20, .epoch = 30, .seq = 40};
    page_lease_write(page, &old);
    page_lease_write(page, &newer);
    uint64_t *words = (uint64_t *)page;
    size_t found = 0;
    for (size_t i = 0; i < PAGE_FD_SIZE / sizeof(*words); i++) {
        if (words[i] == (uint64_t)mark) { /* the slot that the next writer fills */
            words[i] = 99;                /* its first word of ... */
            words[i + 1] = 98;            /* ... and its second; then it dies */
            found++;
        }
    }
    assert_int_equal(found, 1);
    struct page_lease lease;
    page_lease_read(page, &lease);
    assert_memory_equal(&lease, &newer, sizeof(newer));
    page_lease_write(page, &old); /* its successor */
    page_lease_read(page, &lease);
    assert_memory_equal(&lease, &old, sizeof(old));
}

static void *write_leases(void *arg)
{
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        const struct page_lease lease = {
            .deadline = {(int64_t)i}, .ttl_ms = (int64_t)i, .epoch = i, .seq = i};
        page_lease_write(arg, &lease);
    }
    return NULL;
}

static void test_a_reader_beside_a_writer_sees_no_mixture(void **state)
{
    struct page *page = *state;
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_leases, page), 0);
    uint64_t last = 0;
    while (last < ROUNDS) {
        struct page_lease lease;
        page_lease_read(page, &lease);
        assert_true(lease.seq >= last); /* nor does it go back */
        last = lease.seq;
        assert_int_equal(lease.deadline.ms, (int64_t)last);
        assert_int_equal(lease.ttl_ms, (int64_t)last);
        assert_int_equal(lease.epoch, last);
    }
    assert_int_equal(pthread_join(writer, NULL), 0);
}

static void test_attach_shares_and_refuses(void **state)
{
    (void)state;
    struct page *page = NULL;
    struct page *other = NULL;
    int fd = -1;
    struct err_detail detail;
    assert_int_equal(page_create(&page, &fd, &detail), ERR_OK);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(page_attach(fd, &other, &detail), ERR_OK);
    page_agent_beat(page, (struct mono){5});
    assert_int_equal(page_agent_beat_read(other).ms, 5);
    assert_int_equal(ftruncate(fd, 0), -1); /* sealed */
    page_detach(other);

    other = NULL;
    *(uint64_t *)page = 1; /* no page any more */
    assert_int_equal(page_attach(fd, &other, &detail), ERR_INVALID);
    assert_null(other);
    page_detach(page);
    (void)close(fd);
    assert_int_equal(page_attach(fd, &other, &detail), ERR_INVALID); /* closed */
    int small = memfd_create("small", MFD_CLOEXEC);
    assert_int_equal(ftruncate(small, 17), 0);
    assert_int_equal(page_attach(small, &other, NULL), ERR_INVALID);
    assert_null(other);
    (void)close(small);
    page_detach(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_new_page_holds_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_fact_reads_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_torn_writer_leaves_the_older_fact, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_reader_beside_a_writer_sees_no_mixture, setup,
                                        teardown),
        cmocka_unit_test(test_attach_shares_and_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
