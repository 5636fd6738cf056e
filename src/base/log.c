/* One write(2) a line, never failing the caller; a burst of one event is cut after
 * LOG_BURST_PER_SECOND lines of a second, and its size told with the next line of that event. */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/time.h"

#define LOG_LINE_SIZE 2048
#define LOG_TAIL_SIZE 32 /* room kept for held_back and the newline, however long the line */
#define LOG_BURST_SLOTS 64
#define LOG_BURST_PROBES 8

struct burst {
    const char *event; /* a string literal: it may be kept */
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

/* The event's own slot, or one whose second is over, or NULL: then the event goes unlimited. */
static struct burst *burst_find(const char *event, int64_t second)
{
    uint32_t hash = 5381;
    for (const char *c = event; *c != '\0'; c++) {
        hash = hash * 33 + (unsigned char)*c;
    }
    struct burst *free_slot = NULL;
    for (uint32_t i = 0; i < LOG_BURST_PROBES; i++) {
        struct burst *burst = &bursts[(hash + i) % LOG_BURST_SLOTS];
        if (burst->event != NULL && strcmp(burst->event, event) == 0) {
            return burst;
        }
        if (free_slot == NULL && (burst->event == NULL || burst->second != second)) {
            free_slot = burst;
        }
    }
    if (free_slot != NULL) {
        *free_slot = (struct burst){.event = event, .second = second};
    }
    return free_slot;
}

/* Answers how many lines of the event were held back before this one; -1: hold this one back. */
static int64_t burst_admit(const char *event, int64_t second)
{
    struct burst *burst = burst_find(event, second);
    if (burst == NULL) {
        return 0;
    }
    int64_t held = 0;
    if (burst->second != second) {
        held = burst->count > LOG_BURST_PER_SECOND ? burst->count - LOG_BURST_PER_SECOND : 0;
        burst->second = second;
        burst->count = 0;
    }
    burst->count++;
    return burst->count > LOG_BURST_PER_SECOND ? -1 : held;
}

/* One line stays one line: control characters of foreign text become blanks. */
static void flatten(char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = ' ';
        }
    }
}

static size_t clamp_used(int length, size_t size)
{
    ASSERT(length >= 0);
    return (size_t)length < size ? (size_t)length : size - 1;
}

/* "2026-11-23 12:00:00,123 INFO: event " */
static size_t head_format(char *line, size_t size, struct wall now, enum log_level level,
                          const char *event)
{
    time_t seconds = (time_t)(now.ms / 1000);
    struct tm tm;
    (void)localtime_r(&seconds, &tm); /* cannot fail for a clock's own time */
    size_t used = strftime(line, size, "%Y-%m-%d %H:%M:%S", &tm);
    return used + clamp_used(snprintf(line + used, size - used, ",%03d %s: %s ",
                                      (int)(now.ms % 1000), level_name(level), event),
                             size - used);
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
    ASSERT(event != NULL);
    if (level > log_level) {
        return;
    }
    int saved_errno = errno; /* callers log between a failed call and their use of its errno */
    struct wall now = wall_now();
    int64_t held = burst_admit(event, now.ms / 1000);
    if (held >= 0) {
        char line[LOG_LINE_SIZE];
        const size_t body_end = sizeof(line) - LOG_TAIL_SIZE;
        size_t used = head_format(line, body_end, now, level, event);
        va_list args;
        va_start(args, format);
        used += clamp_used(vsnprintf(line + used, body_end - used, format, args), body_end - used);
        va_end(args);
        if (held > 0) {
            used += clamp_used(
                snprintf(line + used, sizeof(line) - 1 - used, " held_back=%" PRId64, held),
                sizeof(line) - 1 - used);
        }
        flatten(line, used);
        line[used++] = '\n';
        if (write(log_fd, line, used) != (ssize_t)used) {
            log_lost++;
        }
    }
    errno = saved_errno;
}
