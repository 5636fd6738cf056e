/* config/report.h - what is wrong with a configuration, for people.
 *
 * Purpose    collect every complaint, so that one run tells all of them.
 * Ownership  config_report_init, then config_report_fini; texts live until then.
 * Errors     none; what has no room is counted.
 * Rule       each text names file and line, key, what is wrong and the remedy; never a password.
 * Threads    any.
 */
#ifndef HOLDFAST_CONFIG_REPORT_H
#define HOLDFAST_CONFIG_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "codec/yaml.h"

enum config_severity { CONFIG_ERROR, CONFIG_WARNING, CONFIG_NOTE };

struct config_message {
    enum config_severity severity;
    const char *text;
    const char *key; /* NULL: about none */
    bool settled;    /* the value is of a wrong kind: what follows from that is not told as well */
};

#define CONFIG_MESSAGES_MAX 128

struct config_report {
    struct arena arena;
    uint32_t count;
    uint32_t error_count;
    uint32_t lost; /* those that found no room */
    struct config_message message[CONFIG_MESSAGES_MAX];
};

void config_report_init(struct config_report *report);
void config_report_fini(struct config_report *report);

/* A complaint as it is. */
void config_report_add(struct config_report *report, enum config_severity severity,
                       const char *format, ...) PRINTF_LIKE(3, 4);

/* "FILE:LINE: KEY: text". where NULL: only "KEY: text". report may be NULL. What has been told
 * already is not told again. */
void config_report_at(struct config_report *report, enum config_severity severity,
                      const struct yaml_mark *where, const char *key, const char *format, ...)
    PRINTF_LIKE(5, 6);

/* The same, of a value of the wrong kind: no other error is told of that key, nor of what would be
 * below it. */
void config_report_settle(struct config_report *report, const struct yaml_mark *where,
                          const char *key, const char *text);

#endif
