/* Complaints are kept, not thrown: a person mends a file once, not once per error. */
#include "config/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

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

static void keep(struct config_report *report, const struct config_message *message)
{
    report->error_count += message->severity == CONFIG_ERROR ? 1 : 0;
    if (report->count == CONFIG_MESSAGES_MAX || message->text == NULL) {
        report->lost++;
        return;
    }
    report->message[report->count++] = *message;
}

static bool is_at_or_below(const char *key, const char *above)
{
    size_t length = strlen(above);
    return strncmp(key, above, length) == 0 && (key[length] == '\0' || key[length] == '.');
}

static bool told(const struct config_report *report, const struct config_message *message)
{
    for (uint32_t i = 0; i < report->count; i++) {
        const struct config_message *before = &report->message[i];
        bool follows = before->settled && message->severity == CONFIG_ERROR &&
                       is_at_or_below(message->key, before->key);
        if (follows ||
            (before->severity == message->severity && str_equal(before->text, message->text))) {
            return true;
        }
    }
    return false;
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
    const struct config_message message = {.severity = severity,
                                           .text = arena_strdup(&report->arena, text)};
    keep(report, &message);
}

static void keep_at(struct config_report *report, struct config_message *message,
                    const struct yaml_mark *where, const char *key, const char *text)
{
    struct arena *arena = &report->arena;
    if (where == NULL) {
        message->text = arena_printf(arena, "%s: %s", key, text);
    } else if (where->line == 0) {
        message->text = arena_printf(arena, "%s: %s: %s", where->file, key, text);
    } else {
        message->text = arena_printf(arena, "%s:%d: %s: %s", where->file, where->line, key, text);
    }
    message->key = arena_strdup(arena, key);
    message->settled = message->settled && message->key != NULL;
    if (message->text == NULL || message->key == NULL || !told(report, message)) {
        keep(report, message);
    }
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
    struct config_message message = {.severity = severity};
    keep_at(report, &message, where, key, text);
}

void config_report_settle(struct config_report *report, const struct yaml_mark *where,
                          const char *key, const char *text)
{
    if (report == NULL) {
        return;
    }
    struct config_message message = {.severity = CONFIG_ERROR, .settled = true};
    keep_at(report, &message, where, key, text);
}
