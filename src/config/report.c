/* Complaints are kept, not thrown: a person mends a file once, not once per error. */
#include "config/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"

#define REPORT_CAP (256U * 1024)

void config_report_init(struct config_report *report)
{
    ASSERT(report != NULL);
    *report = (struct config_report){.count = 0};
    arena_init(&report->arena, REPORT_CAP);
}

void config_report_fini(struct config_report *report)
{
    ASSERT(report != NULL);
    arena_fini(&report->arena);
    report->count = 0;
}

static void keep(struct config_report *report, enum config_severity severity, const char *text)
{
    report->error_count += severity == CONFIG_ERROR ? 1 : 0;
    if (report->count == CONFIG_MESSAGES_MAX || text == NULL) {
        report->lost++;
        return;
    }
    report->message[report->count++] = (struct config_message){severity, text};
}

void config_report_add(struct config_report *report, enum config_severity severity,
                       const char *format, ...)
{
    if (report == NULL) {
        return;
    }
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args); /* cut is fine */
    va_end(args);
    keep(report, severity, arena_strdup(&report->arena, text));
}

void config_report_at(struct config_report *report, enum config_severity severity,
                      const struct yaml_mark *where, const char *key, const char *format, ...)
{
    if (report == NULL) {
        return;
    }
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args); /* cut is fine */
    va_end(args);
    char *line;
    if (where == NULL) {
        line = arena_printf(&report->arena, "%s: %s", key, text);
    } else if (where->line == 0) {
        line = arena_printf(&report->arena, "%s: %s: %s", where->file, key, text);
    } else {
        line = arena_printf(&report->arena, "%s:%d: %s: %s", where->file, where->line, key, text);
    }
    keep(report, severity, line);
}
