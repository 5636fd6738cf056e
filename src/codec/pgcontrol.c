/* "Label:   value" lines; the first colon parts them, labels are looked up in a table. */
#include "codec/pgcontrol.h"

#include <string.h>

#include "base/assert.h"
#include "base/str.h"

#define VALUE_SIZE 128

enum kind { KIND_STATE, KIND_U64, KIND_U32, KIND_LSN, KIND_I64, KIND_NONZERO, KIND_ON };

struct label {
    const char *text;
    enum kind kind;
    size_t offset;
};

#define FIELD(name) offsetof(struct pgcontrol, name)

static const struct label labels[] = {
    {"Database cluster state", KIND_STATE, FIELD(state)},
    {"Database system identifier", KIND_U64, FIELD(sysid)},
    {"Latest checkpoint location", KIND_LSN, FIELD(checkpoint_lsn)},
    {"Latest checkpoint's REDO location", KIND_LSN, FIELD(redo_lsn)},
    {"Latest checkpoint's TimeLineID", KIND_U32, FIELD(checkpoint_timeline)},
    {"Minimum recovery ending location", KIND_LSN, FIELD(min_recovery_lsn)},
    {"Min recovery ending loc's timeline", KIND_U32, FIELD(min_recovery_timeline)},
    {"Bytes per WAL segment", KIND_U64, FIELD(wal_segment_bytes)},
    {"Data page checksum version", KIND_NONZERO, FIELD(checksums)},
    {"wal_log_hints setting", KIND_ON, FIELD(wal_log_hints)},
    {"max_connections setting", KIND_I64, FIELD(max_connections)},
    {"max_worker_processes setting", KIND_I64, FIELD(max_worker_processes)},
    {"max_wal_senders setting", KIND_I64, FIELD(max_wal_senders)},
    {"max_prepared_xacts setting", KIND_I64, FIELD(max_prepared_transactions)},
    {"max_locks_per_xact setting", KIND_I64, FIELD(max_locks_per_transaction)},
};

static enum pgcontrol_state state_parse(const char *text)
{
    static const struct {
        const char *text;
        enum pgcontrol_state state;
    } states[] = {
        {"starting up", PGCONTROL_STARTING_UP},
        {"shut down", PGCONTROL_SHUT_DOWN},
        {"shut down in recovery", PGCONTROL_SHUT_DOWN_IN_RECOVERY},
        {"shutting down", PGCONTROL_SHUTTING_DOWN},
        {"in crash recovery", PGCONTROL_IN_CRASH_RECOVERY},
        {"in archive recovery", PGCONTROL_IN_ARCHIVE_RECOVERY},
        {"in production", PGCONTROL_IN_PRODUCTION},
    };
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (str_equal(text, states[i].text)) {
            return states[i].state;
        }
    }
    return PGCONTROL_UNKNOWN;
}

/* A value that does not parse leaves its field as it is: the mandatory ones are checked after. */
static void field_set(struct pgcontrol *control, const struct label *label, const char *value)
{
    void *field = (char *)control + label->offset;
    uint64_t number = 0;
    switch (label->kind) {
    case KIND_STATE:
        *(enum pgcontrol_state *)field = state_parse(value);
        break;
    case KIND_U64:
        (void)!str_to_u64(value, field); /* see above */
        break;
    case KIND_U32:
        if (str_to_u64(value, &number) && number <= UINT32_MAX) {
            *(uint32_t *)field = (uint32_t)number;
        }
        break;
    case KIND_LSN:
        (void)!str_to_lsn(value, field); /* see above */
        break;
    case KIND_I64:
        (void)!str_to_i64(value, field); /* see above */
        break;
    case KIND_NONZERO:
        *(bool *)field = str_to_u64(value, &number) && number != 0;
        break;
    case KIND_ON:
        *(bool *)field = str_equal(value, "on");
        break;
    }
}

static void line_take(struct pgcontrol *control, const char *line, size_t length)
{
    static const char current[] = "Current ";
    if (length >= sizeof(current) - 1 && memcmp(line, current, sizeof(current) - 1) == 0) {
        line += sizeof(current) - 1;
        length -= sizeof(current) - 1;
    }
    const char *colon = memchr(line, ':', length);
    if (colon == NULL) {
        return;
    }
    size_t label_length = (size_t)(colon - line);
    const char *value = colon + 1;
    const char *end = line + length;
    while (value < end && *value == ' ') {
        value++;
    }
    while (end > value && (end[-1] == ' ' || end[-1] == '\r')) {
        end--;
    }
    size_t value_length = (size_t)(end - value);
    if (value_length >= VALUE_SIZE) {
        return;
    }
    char copy[VALUE_SIZE];
    memcpy(copy, value, value_length);
    copy[value_length] = '\0';
    for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
        if (strlen(labels[i].text) == label_length &&
            memcmp(labels[i].text, line, label_length) == 0) {
            field_set(control, &labels[i], copy);
        }
    }
}

enum err pgcontrol_parse(const char *text, struct pgcontrol *out_control, struct err_detail *detail)
{
    ASSERT(text != NULL);
    ASSERT(out_control != NULL);
    struct pgcontrol control = {.wal_segment_bytes = 16 * 1024 * 1024};
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        line_take(&control, line, length);
        line += length;
        if (*line == '\n') {
            line++;
        }
    }
    if (control.state == PGCONTROL_UNKNOWN) {
        return err_set(detail, ERR_INVALID, "pg_controldata: no known cluster state");
    }
    if (control.sysid == 0) {
        return err_set(detail, ERR_INVALID, "pg_controldata: no system identifier");
    }
    if (control.wal_segment_bytes < 1024 * 1024 ||
        (control.wal_segment_bytes & (control.wal_segment_bytes - 1)) != 0) {
        return err_set(detail, ERR_INVALID, "pg_controldata: impossible WAL segment size");
    }
    *out_control = control;
    return ERR_OK;
}
