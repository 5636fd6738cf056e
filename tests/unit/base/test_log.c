/* Lines go into a file in memory and are read back. The burst limit counts by the second of the
 * wall clock, so its tests begin at the clock's next second and see that they end within it. */
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "base/time.h"

static int log_file = -1;
static char text[1 << 17];

static int setup(void **state)
{
    (void)state;
    log_file = memfd_create("log", MFD_CLOEXEC);
    log_set_fd(log_file);
    log_set_level(LOG_LEVEL_INFO);
    return log_file < 0;
}

static int teardown(void **state)
{
    (void)state;
    log_set_fd(STDERR_FILENO);
    return close(log_file);
}

/* All that was logged since the test began. */
static const char *logged(void)
{
    ssize_t length = pread(log_file, text, sizeof(text) - 1, 0);
    assert_true(length >= 0);
    text[length] = '\0';
    return text;
}

static size_t lines_with(const char *needle)
{
    size_t count = 0;
    for (const char *at = strstr(logged(), needle); at != NULL; at = strstr(at + 1, needle)) {
        count++;
    }
    return count;
}

static bool matches(const char *line, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int rc = regexec(&regex, line, 0, NULL, 0);
    regfree(&regex);
    return rc == 0;
}

static void wait_for_next_second(void)
{
    int64_t second = wall_now().ms / 1000;
    struct mono deadline = mono_add(mono_now(), 10000);
    while (wall_now().ms / 1000 == second) {
        assert_true(mono_before(mono_now(), deadline));
        const struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL);
    }
}

static void test_line_format(void **state)
{
    (void)state;
    log_info("lease_lost", "term=%d age_ms=%d", 7, 120);
    const char *const pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3} "
                                "INFO: lease_lost term=7 age_ms=120\n$";
    assert_true(matches(logged(), pattern));
}

static void test_levels(void **state)
{
    (void)state;
    log_error("level_test_e", "x=1");
    log_warn("level_test_w", "x=1");
    log_debug("level_test_d", "x=1");
    assert_non_null(strstr(logged(), " ERROR: level_test_e x=1\n"));
    assert_non_null(strstr(logged(), " WARNING: level_test_w x=1\n"));
    assert_null(strstr(logged(), "level_test_d"));
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("level_test_d", "x=2");
    assert_non_null(strstr(logged(), " DEBUG: level_test_d x=2\n"));
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("level_test_w", "x=3");
    assert_null(strstr(logged(), "x=3"));
}

static void test_foreign_text_stays_one_line(void **state)
{
    (void)state;
    log_info("foreign", "text=%s", "one\ntwo\r\t\x1b[31mred\x7f");
    assert_non_null(strstr(logged(), "text=one two   [31mred \n"));
    assert_int_equal(lines_with("\n"), 1);
}

static void test_long_line_is_cut_and_ends(void **state)
{
    (void)state;
    static char huge[5000];
    memset(huge, 'x', sizeof(huge) - 1);
    log_info("long", "%s", huge);
    const char *line = logged();
    size_t length = strlen(line);
    assert_true(length > 1900 && length <= 2048);
    assert_int_equal(line[length - 1], '\n');
    assert_int_equal(line[length - 2], 'x');
}

static void test_errno_survives(void **state)
{
    (void)state;
    AUTO_CLOSE int read_only = open("/dev/null", O_RDONLY | O_CLOEXEC);
    log_set_fd(read_only); /* the write fails with EBADF */
    uint64_t lost = log_lost_count();
    errno = ENOSPC;
    log_info("errno_test", "x=1");
    assert_int_equal(errno, ENOSPC);
    assert_true(log_lost_count() == lost + 1);
}

/* Logs count lines under each of the two names, all within one second: begun again when the machine
 * was too slow for that. */
static void log_within_one_second(const char *name, const char *other_name, int count)
{
    for (int tries = 0; tries < 20; tries++) {
        assert_int_equal(ftruncate(log_file, 0), 0);
        assert_int_equal(lseek(log_file, 0, SEEK_SET), 0);
        wait_for_next_second();
        int64_t second = wall_now().ms / 1000;
        for (int i = 0; i < count; i++) {
            log_info(name, "i=%d", i);
            log_info(other_name, "i=%d", i);
        }
        if (wall_now().ms / 1000 == second) {
            return;
        }
    }
    fail_msg("%d lines never fitted into one second", 2 * count);
}

static void test_burst_is_held_back_and_told_later(void **state)
{
    (void)state;
    static char huge[5000];
    memset(huge, 'x', sizeof(huge) - 1);
    log_within_one_second("burst", "other", LOG_BURST_PER_SECOND + 5);
    assert_int_equal(lines_with("INFO: burst"), LOG_BURST_PER_SECOND);
    assert_int_equal(lines_with("INFO: other"), LOG_BURST_PER_SECOND); /* its own count */
    wait_for_next_second();
    log_info("burst", "%s", huge); /* a cut line still has room for the count */
    assert_non_null(strstr(logged(), "xxx held_back=5\n"));
    log_info("burst", "last=%d", 1);
    assert_non_null(strstr(logged(), " INFO: burst last=1\n"));
}

static void test_burst_goes_by_the_name_not_the_address(void **state)
{
    (void)state;
    static const char first[] = "same_name";
    static const char second[] = "same_name";
    log_within_one_second(first, second, LOG_BURST_PER_SECOND);
    assert_int_equal(lines_with("INFO: same_name"), LOG_BURST_PER_SECOND);
}

/* More events in one second than the limiter remembers: none may be lost by that. */
static void test_many_events_in_one_second(void **state)
{
    (void)state;
    static char names[500][16];
    wait_for_next_second();
    for (int i = 0; i < 500; i++) {
        assert_true(str_format(names[i], sizeof(names[i]), "event_%03d", i));
        log_info(names[i], "x=1");
    }
    assert_int_equal(lines_with("INFO: event_"), 500);
}

#define LOG_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(test_line_format),
        LOG_TEST(test_levels),
        LOG_TEST(test_foreign_text_stays_one_line),
        LOG_TEST(test_long_line_is_cut_and_ends),
        LOG_TEST(test_errno_survives),
        LOG_TEST(test_burst_is_held_back_and_told_later),
        LOG_TEST(test_burst_goes_by_the_name_not_the_address),
        LOG_TEST(test_many_events_in_one_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
