/* Questions go to standard output and answers come from standard input, as scripts that drive
 * patronictl expect. */
#include "cli/ctl.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/str.h"

/* One line without its end; false at the end of input. */
static bool read_line(char *out, size_t out_size)
{
    (void)fflush(stdout); /* the question must be seen */
    if (fgets(out, (int)out_size, stdin) == NULL) {
        fputs("\nAborted!\n", stderr);
        return false;
    }
    out[strcspn(out, "\r\n")] = '\0';
    return true;
}

bool ctl_prompt(const char *text, const char *fallback, char *out, size_t out_size)
{
    ASSERT(text != NULL && fallback != NULL);
    printf("%s [%s]: ", text, fallback);
    char line[256];
    if (!read_line(line, sizeof(line))) {
        return false;
    }
    str_copy_cut(out, out_size, line[0] != '\0' ? line : fallback);
    return true;
}

bool ctl_confirm(const char *text, bool *out_aborted)
{
    ASSERT(text != NULL && out_aborted != NULL);
    char line[64];
    *out_aborted = false;
    for (;;) {
        printf("%s [y/N]: ", text);
        if (!read_line(line, sizeof(line))) {
            *out_aborted = true;
            return false;
        }
        if (strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0) {
            return true;
        }
        if (line[0] == '\0' || strcasecmp(line, "n") == 0 || strcasecmp(line, "no") == 0) {
            return false;
        }
        puts("Error: invalid input");
    }
}

void ctl_time(char out[CTL_TIME_SIZE])
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    struct tm local;
    (void)localtime_r(&now.tv_sec, &local);
    char text[32];
    size_t used = strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &local);
    ASSERT(used > 0);
    (void)snprintf(out, CTL_TIME_SIZE, "%s.%05ld", text, now.tv_nsec / 10000);
}

void ctl_pause_ms(int64_t ms)
{
    (void)poll(NULL, 0, ms > INT32_MAX ? INT32_MAX : (int)ms); /* a signal may end it early */
}
