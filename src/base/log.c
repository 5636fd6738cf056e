/* One write(2) a line, never blocking the caller for long and never failing it; a burst of one
 * event is cut after LOG_BURST_PER_SECOND and its size told with the next line of that event. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/time.h"

#define LOG_LINE_SIZE 2048
#define LOG_BURST_SLOTS 64

struct burst {
    const char *event; /* event names are string literals, so the pointer is the identity */
    int64_t second;
    uint32_t count;
};

static enum log_level log_level = LOG_LEVEL_INFO;
static int log_fd = STDERR_FILENO;
static uint64_t log_lost;
static struct burst bursts[LOG_BURST_SLOTS];

void log_set_level(enum log_level level)
{
    log_level = level;
}

void log_set_fd(int fd)
{
    ASSERT(fd >= 0);
    log_fd = fd;
}

uint64_t log_lost_count(void)
{
    return log_lost;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "ERROR";
    case LOG_LEVEL_WARN:
        return "WARNING";
    case LOG_LEVEL_INFO:
        return "INFO";
    case LOG_LEVEL_DEBUG:
        return "DEBUG";
    }
    UNREACHABLE();
}

/* Answers how many lines of the event were held back before this one; -1: hold this one back. */
static int64_t burst_admit(const char *event, int64_t second)
{
    size_t slot = ((uintptr_t)event >> 3) % LOG_BURST_SLOTS;
    struct burst *burst = &bursts[slot];
    if (burst->event != event || burst->second != second) {
        uint32_t held = burst->event == event && burst->count > LOG_BURST_PER_SECOND
                            ? burst->count - LOG_BURST_PER_SECOND
                            : 0;
        *burst = (struct burst){.event = event, .second = second, .count = 1};
        return held;
    }
    burst->count++;
    return burst->count > LOG_BURST_PER_SECOND ? -1 : 0;
}

/* One line stays one line: control characters of foreign text become blanks. */
static void flatten(char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < 0x20) {
            line[i] = ' ';
        }
    }
}

static size_t clamp_used(int length, size_t size)
{
    ASSERT(length >= 0);
    return (size_t)length < size ? (size_t)length : size - 1;
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
    ASSERT(event != NULL);
    if (level > log_level) {
        return;
    }
    struct wall now = wall_now();
    int64_t held = burst_admit(event, now.ms / 1000);
    if (held < 0) {
        return;
    }
    char line[LOG_LINE_SIZE];
    time_t seconds = (time_t)(now.ms / 1000);
    struct tm tm;
    (void)localtime_r(&seconds, &tm); /* cannot fail for a clock's own time */
    size_t used = strftime(line, sizeof(line), "%Y-%m-%d %H:%M:%S", &tm);
    used += clamp_used(snprintf(line + used, sizeof(line) - used, ",%03d %s: %s ",
                                (int)(now.ms % 1000), level_name(level), event),
                       sizeof(line) - used);
    va_list args;
    va_start(args, format);
    used +=
        clamp_used(vsnprintf(line + used, sizeof(line) - used, format, args), sizeof(line) - used);
    va_end(args);
    if (held > 0) {
        used += clamp_used(
            snprintf(line + used, sizeof(line) - used, " held_back=%lld", (long long)held),
            sizeof(line) - used);
    }
    flatten(line, used);
    if (used > sizeof(line) - 2) {
        used = sizeof(line) - 2;
    }
    line[used++] = '\n';
    if (write(log_fd, line, used) != (ssize_t)used) {
        log_lost++;
    }
}
