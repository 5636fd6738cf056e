/* base/log.h - one line an event: a stable name, then key=value.
 *
 * Purpose    log_info("lease_lost", "term=%" PRIu64, term) prints
 *            "2026-11-23 12:00:00,123 INFO: lease_lost term=7".
 * Levels     error: a person must act; warn: we went on, and how; info: state changes, never
 *            states; debug: the rest.
 * Secrets    never in a line: the caller sees to it.
 * Errors     none reach the caller: a line that cannot be written is dropped and counted.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_BASE_LOG_H
#define HOLDFAST_BASE_LOG_H

#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* What is above the level is not printed. Default: LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/* Where lines go; the default is standard error (2). The descriptor stays the caller's. */
void log_set_fd(int fd);

/* Lines that could not be written since the start. */
uint64_t log_lost_count(void);

/* Same event name more than this often in a second: the rest is held back, counted, and told as
 * held_back=N with the event's next line, in whatever later second that comes. */
#define LOG_BURST_PER_SECOND 20

/* event must be a string literal (it is kept). Control characters become blanks, a line longer than
 * about 2000 bytes is cut, errno is left as it was. */
void log_line(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_error(event, ...) log_line(LOG_LEVEL_ERROR, (event), __VA_ARGS__)
#define log_warn(event, ...) log_line(LOG_LEVEL_WARN, (event), __VA_ARGS__)
#define log_info(event, ...) log_line(LOG_LEVEL_INFO, (event), __VA_ARGS__)
#define log_debug(event, ...) log_line(LOG_LEVEL_DEBUG, (event), __VA_ARGS__)

#endif
