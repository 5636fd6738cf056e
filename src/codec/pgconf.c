/* Small texts with small grammars; all of PostgreSQL's own making or for its eyes. */
#include "codec/pgconf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/str.h"

void pgconf_text_init(struct pgconf_text *text, char *buffer, size_t size)
{
    ASSERT(size > 0);
    *text = (struct pgconf_text){.data = buffer, .size = size};
    buffer[0] = '\0';
}

static void text_char(struct pgconf_text *text, char c)
{
    if (text->used + 1 >= text->size) {
        text->full = true;
        return;
    }
    text->data[text->used++] = c;
    text->data[text->used] = '\0';
}

void pgconf_text_add(struct pgconf_text *text, const char *format, ...)
{
    ASSERT(text != NULL);
    size_t room = text->size - text->used;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text->data + text->used, room, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= room) {
        text->full = true;
        text->data[text->used] = '\0';
        return;
    }
    text->used += (size_t)length;
}

void pgconf_text_setting(struct pgconf_text *text, const char *name, const char *value)
{
    ASSERT(name != NULL && value != NULL);
    pgconf_text_add(text, "%s = '", name);
    for (; *value != '\0'; value++) {
        if (*value == '\'' || *value == '\\') {
            text_char(text, *value);
        }
        /* a line break would start a new setting */
        text_char(text, *value == '\n' || *value == '\r' ? ' ' : *value);
    }
    pgconf_text_add(text, "'\n");
}

bool pgconf_same_name(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0;
}

static bool name_in(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (pgconf_same_name(name, list[i])) {
            return true;
        }
    }
    return false;
}
#define NAME_IN(name, list) name_in((name), (list), sizeof(list) / sizeof((list)[0]))

static const char *const forbidden_names[] = {
    "primary_conninfo",
    "primary_slot_name",
    "recovery_target",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
    "recovery_target_timeline",
    "recovery_target_inclusive",
    "recovery_target_action",
    "standby_mode",
};

bool pgconf_is_recovery_forbidden(const char *name)
{
    return NAME_IN(name, forbidden_names);
}

bool pgconf_is_recovery(const char *name)
{
    static const char *const names[] = {
        "restore_command",      "archive_cleanup_command",  "recovery_end_command",
        "promote_trigger_file", "recovery_min_apply_delay",
    };
    return NAME_IN(name, names) || pgconf_is_recovery_forbidden(name);
}

bool pgconf_is_command_line(const char *name)
{
    static const char *const names[] = {
        "listen_addresses",
        "port",
        "cluster_name",
        "hot_standby",
        "wal_level",
        "max_connections",
        "max_wal_senders",
        "max_prepared_transactions",
        "max_worker_processes",
        "max_locks_per_transaction",
        "max_replication_slots",
        "track_commit_timestamp",
        "wal_log_hints",
    };
    return NAME_IN(name, names);
}

/* The GUC that a line of a configuration file sets; false for comments and empty lines. */
static bool line_name(const char *line, size_t length, char *out, size_t out_size)
{
    size_t at = 0;
    while (at < length && (line[at] == ' ' || line[at] == '\t')) {
        at++;
    }
    size_t start = at;
    while (at < length && strchr(" \t=#'", line[at]) == NULL) {
        at++;
    }
    if (at == start || at - start >= out_size) {
        return false;
    }
    memcpy(out, line + start, at - start);
    out[at - start] = '\0';
    return true;
}

void pgconf_auto_clean(const char *in, struct pgconf_text *out, bool *out_changed)
{
    ASSERT(in != NULL);
    *out_changed = false;
    while (*in != '\0') {
        size_t length = strcspn(in, "\n");
        size_t whole = in[length] == '\n' ? length + 1 : length;
        char name[NAME_SIZE];
        if (line_name(in, length, name, sizeof(name)) && pgconf_is_recovery(name)) {
            *out_changed = true;
        } else {
            pgconf_text_add(out, "%.*s", (int)whole, in);
        }
        in += whole;
    }
}

void pgconf_upstream(const char *conf, char out_name[NAME_SIZE])
{
    static const char mark[] = "# holdfast_upstream = '";
    out_name[0] = '\0';
    const char *at = strstr(conf, mark);
    if (at == NULL) {
        return;
    }
    at += sizeof(mark) - 1;
    size_t length = strcspn(at, "\n");
    if (length < 1 || at[length - 1] != '\'' || length > NAME_SIZE) {
        return;
    }
    memcpy(out_name, at, length - 1);
    out_name[length - 1] = '\0';
}

static enum pgconf_pid_status status_parse(const char *word)
{
    if (str_equal(word, "starting")) {
        return PGCONF_PID_STARTING;
    }
    if (str_equal(word, "stopping")) {
        return PGCONF_PID_STOPPING;
    }
    if (str_equal(word, "ready")) {
        return PGCONF_PID_READY;
    }
    return str_equal(word, "standby") ? PGCONF_PID_STANDBY : PGCONF_PID_UNKNOWN;
}

#define PIDFILE_LINE_START_TIME 3
#define PIDFILE_LINE_STATUS 8

bool pgconf_pidfile_parse(const char *text, struct pgconf_pidfile *out_pidfile)
{
    ASSERT(out_pidfile != NULL);
    struct pgconf_pidfile file = {0};
    int line_number = 0;
    while (*text != '\0') {
        line_number++;
        size_t length = strcspn(text, "\n");
        char word[32] = "";
        size_t word_length = strcspn(text, " \n");
        if (word_length < sizeof(word)) {
            memcpy(word, text, word_length);
            word[word_length] = '\0';
        }
        if (line_number == 1 && (!str_to_i64(word, &file.pid) || file.pid == 0)) {
            return false;
        }
        if (line_number == PIDFILE_LINE_START_TIME && !str_to_i64(word, &file.start_time)) {
            return false;
        }
        if (line_number == PIDFILE_LINE_STATUS) {
            file.status = status_parse(word);
        }
        text += length + (text[length] == '\n' ? 1 : 0);
    }
    if (line_number == 0) {
        return false;
    }
    *out_pidfile = file;
    return true;
}

bool pgconf_progress_parse(const char *line, int64_t *out_done, int64_t *out_total)
{
    ASSERT(line != NULL);
    const char *at = line + strspn(line, " \r");
    char word[24];
    uint64_t numbers[2];
    for (size_t i = 0; i < 2; i++) {
        size_t digits = strspn(at, "0123456789");
        if (digits == 0 || digits >= sizeof(word)) {
            return false;
        }
        memcpy(word, at, digits);
        word[digits] = '\0';
        if (!str_to_u64(word, &numbers[i]) || numbers[i] > INT64_MAX / 1024) {
            return false;
        }
        at += digits;
        if (i == 0 && *at++ != '/') {
            return false;
        }
    }
    if (strncmp(at, " kB", 3) != 0) {
        return false;
    }
    *out_done = (int64_t)numbers[0] * 1024;
    *out_total = (int64_t)numbers[1] * 1024;
    return true;
}
