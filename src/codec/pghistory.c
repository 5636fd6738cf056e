/* A timeline's history is the list of its ancestors with the position where each was left; two
 * servers may stream from each other exactly as long as neither wrote past where they part. */
#include "codec/pghistory.h"

#include <string.h>

#include "base/assert.h"
#include "base/str.h"

#define PAGE_BYTES 8192U
#define PAGE_HEADER_BYTES 24U    /* SizeOfXLogShortPHD */
#define SEGMENT_HEADER_BYTES 40U /* SizeOfXLogLongPHD: first page of a segment */
#define RECORD_HEADER_MIN_BYTES 24U

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Copies the word at *cursor (up to the next blank, newline or end) when it fits. */
static bool word_take(const char **cursor, char *out, size_t out_size)
{
    size_t length = strcspn(*cursor, " \t\r\n");
    if (length == 0 || length >= out_size) {
        return false;
    }
    memcpy(out, *cursor, length);
    out[length] = '\0';
    *cursor += length;
    while (is_blank(**cursor)) {
        (*cursor)++;
    }
    return true;
}

enum err pghistory_next(const char **cursor, struct pghistory_entry *out_entry, bool *out_end,
                        struct err_detail *detail)
{
    ASSERT(cursor != NULL && *cursor != NULL);
    const char *at = *cursor;
    for (;;) {
        at += strspn(at, " \t\r\n");
        if (*at != '#') {
            break;
        }
        at += strcspn(at, "\n");
    }
    if (*at == '\0') {
        *cursor = at;
        *out_end = true;
        return ERR_OK;
    }
    char word[32];
    uint64_t timeline = 0;
    struct pghistory_entry entry = {0};
    if (!word_take(&at, word, sizeof(word)) || !str_to_u64(word, &timeline) || timeline == 0 ||
        timeline > UINT32_MAX) {
        return err_set(detail, ERR_INVALID, "timeline history: no timeline number");
    }
    if (!word_take(&at, word, sizeof(word)) || !str_to_lsn(word, &entry.switchpoint)) {
        return err_set(detail, ERR_INVALID, "timeline history: no switchpoint");
    }
    entry.timeline = (uint32_t)timeline;
    entry.reason = at;
    entry.reason_length = strcspn(at, "\r\n");
    at += strcspn(at, "\n");
    *cursor = at;
    *out_entry = entry;
    *out_end = false;
    return ERR_OK;
}

enum err pghistory_switchpoint(const char *text, uint32_t timeline, bool *out_found,
                               uint64_t *out_lsn, struct err_detail *detail)
{
    ASSERT(text != NULL);
    uint32_t last = 0;
    bool found = false;
    uint64_t lsn = 0;
    for (const char *cursor = text;;) {
        struct pghistory_entry entry = {0};
        bool end = false;
        enum err err = pghistory_next(&cursor, &entry, &end, detail);
        if (err != ERR_OK) {
            return err;
        }
        if (end) {
            break;
        }
        if (entry.timeline <= last) {
            return err_set(detail, ERR_INVALID, "timeline history: timelines do not grow");
        }
        last = entry.timeline;
        if (entry.timeline == timeline) {
            found = true;
            lsn = entry.switchpoint;
        }
    }
    *out_found = found;
    if (found) {
        *out_lsn = lsn;
    }
    return ERR_OK;
}

/* The next stretch of a history: its entries, then the timeline itself, open-ended. *out holds the one
 * before (zeroed at first). */
struct stretch {
    uint32_t timeline;
    uint64_t end;
};

static enum err stretch_next(const char **cursor, uint32_t own, bool *done, struct stretch *out,
                             struct err_detail *detail)
{
    if (*done) {
        *out = (struct stretch){0};
        return ERR_OK;
    }
    struct pghistory_entry entry = {0};
    bool end = false;
    enum err err = pghistory_next(cursor, &entry, &end, detail);
    if (err != ERR_OK) {
        return err;
    }
    if ((end ? own : entry.timeline) <= out->timeline) {
        return err_set(detail, ERR_INVALID, "timeline history: timelines do not grow");
    }
    *done = end;
    *out = end ? (struct stretch){own, UINT64_MAX}
               : (struct stretch){entry.timeline, entry.switchpoint};
    return ERR_OK;
}

enum err pghistory_find_fork(uint32_t a, const char *a_text, uint32_t b, const char *b_text,
                             struct pghistory_fork *out_fork, struct err_detail *detail)
{
    ASSERT(a != 0 && b != 0);
    struct pghistory_fork fork = {0};
    bool a_done = false;
    bool b_done = false;
    struct stretch x = {0};
    struct stretch y = {0};
    for (;;) {
        enum err err = stretch_next(&a_text, a, &a_done, &x, detail);
        if (err == ERR_OK) {
            err = stretch_next(&b_text, b, &b_done, &y, detail);
        }
        if (err != ERR_OK) {
            return err;
        }
        if (x.timeline == 0 || x.timeline != y.timeline) {
            break;
        }
        fork.timeline = x.timeline;
        fork.lsn = x.end < y.end ? x.end : y.end;
        if (x.end != y.end) {
            break;
        }
    }
    *out_fork = fork;
    return ERR_OK;
}

/* Whether the source's history contains ours. Without our history only the numbers can be compared. */
static enum pghistory_verdict ancestry(const struct pghistory_local *local,
                                       const char *local_history, uint32_t source_timeline,
                                       const char *source_history)
{
    if (local_history == NULL) {
        return PGHISTORY_SAME;
    }
    struct pghistory_fork fork;
    if (pghistory_find_fork(local->timeline, local_history, source_timeline, source_history, &fork,
                            NULL) != ERR_OK) {
        return PGHISTORY_CANNOT_TELL;
    }
    if (fork.timeline != local->timeline) {
        return PGHISTORY_DIVERGED;
    }
    return PGHISTORY_SAME;
}

enum pghistory_verdict pghistory_judge(const struct pghistory_local *local,
                                       const char *local_history, uint32_t source_timeline,
                                       const char *source_history)
{
    ASSERT(local != NULL);
    if (local->timeline == 0 || source_timeline == 0) {
        return PGHISTORY_CANNOT_TELL;
    }
    if (local->timeline > source_timeline) {
        return PGHISTORY_DIVERGED;
    }
    enum pghistory_verdict related =
        ancestry(local, local_history, source_timeline, source_history);
    if (related != PGHISTORY_SAME || local->timeline == source_timeline) {
        return related;
    }
    bool found = false;
    uint64_t switchpoint = 0;
    if (pghistory_switchpoint(source_history, local->timeline, &found, &switchpoint, NULL) !=
        ERR_OK) {
        return PGHISTORY_CANNOT_TELL;
    }
    if (!found) {
        return PGHISTORY_DIVERGED; /* the source does not descend from our timeline */
    }
    if (local->kind == PGHISTORY_REPLICA) {
        return local->lsn > switchpoint ? PGHISTORY_DIVERGED : PGHISTORY_SAME;
    }
    /* A former primary: its last record must be the last one before the source left. Where a record
     * begins before the switchpoint it is the source's record too. */
    if (local->lsn >= switchpoint) {
        return PGHISTORY_DIVERGED;
    }
    if (local->record_end == 0) {
        return local->kind == PGHISTORY_CRASHED ? PGHISTORY_SAME : PGHISTORY_CANNOT_TELL;
    }
    return local->record_end != switchpoint ? PGHISTORY_DIVERGED : PGHISTORY_SAME;
}

bool pghistory_record_parse(const char *line, struct pghistory_record *out_record)
{
    ASSERT(line != NULL);
    static const char length_mark[] = "len (rec/tot):";
    static const char lsn_mark[] = ", lsn: ";
    if (strncmp(line, "rmgr: ", 6) != 0) {
        return false;
    }
    const char *length = strstr(line, length_mark);
    const char *lsn = strstr(line, lsn_mark);
    if (length == NULL || lsn == NULL) {
        return false;
    }
    const char *slash = strchr(length + sizeof(length_mark) - 1, '/');
    if (slash == NULL) {
        return false;
    }
    const char *number = slash + 1 + strspn(slash + 1, " ");
    char word[32];
    size_t digits = strspn(number, "0123456789");
    uint64_t total = 0;
    if (digits == 0 || digits >= sizeof(word)) {
        return false;
    }
    memcpy(word, number, digits);
    word[digits] = '\0';
    if (!str_to_u64(word, &total) || total < RECORD_HEADER_MIN_BYTES || total > UINT32_MAX) {
        return false;
    }
    lsn += sizeof(lsn_mark) - 1;
    size_t lsn_length = strcspn(lsn, ", \n");
    struct pghistory_record record = {.total_bytes = (uint32_t)total};
    if (lsn_length == 0 || lsn_length >= sizeof(word)) {
        return false;
    }
    memcpy(word, lsn, lsn_length);
    word[lsn_length] = '\0';
    if (!str_to_lsn(word, &record.lsn)) {
        return false;
    }
    record.segment_switch =
        strncmp(line, "rmgr: XLOG ", 11) == 0 && strstr(lsn, "desc: SWITCH") != NULL;
    *out_record = record;
    return true;
}

uint64_t pghistory_record_end(const struct pghistory_record *record, uint64_t segment_bytes)
{
    ASSERT(record != NULL);
    ASSERT(segment_bytes >= PAGE_BYTES);
    if (record->segment_switch) {
        return (record->lsn / segment_bytes + 1) * segment_bytes;
    }
    uint64_t at = record->lsn;
    uint64_t left = ((uint64_t)record->total_bytes + 7) & ~(uint64_t)7;
    for (;;) {
        uint64_t room = PAGE_BYTES - at % PAGE_BYTES;
        if (left <= room) {
            return at + left;
        }
        left -= room;
        at += room;
        at += at % segment_bytes == 0 ? SEGMENT_HEADER_BYTES : PAGE_HEADER_BYTES;
    }
}

static bool hex8(const char *text, uint32_t *out_value)
{
    uint32_t value = 0;
    for (size_t i = 0; i < 8; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9') {
            value = value << 4 | (uint32_t)(c - '0');
        } else if (c >= 'A' && c <= 'F') {
            value = value << 4 | (uint32_t)(c - 'A' + 10);
        } else {
            return false; /* also the end of the text */
        }
    }
    *out_value = value;
    return true;
}

bool pghistory_segment_parse(const char *name, uint64_t segment_bytes, uint32_t *out_timeline,
                             uint64_t *out_start)
{
    ASSERT(segment_bytes >= PAGE_BYTES);
    uint32_t timeline;
    uint32_t high;
    uint32_t low;
    if (!hex8(name, &timeline) || !hex8(name + 8, &high) || !hex8(name + 16, &low)) {
        return false;
    }
    if (name[24] != '\0' && !str_equal(name + 24, ".partial")) {
        return false;
    }
    if (timeline == 0 || low >= (UINT64_C(1) << 32) / segment_bytes) {
        return false;
    }
    *out_timeline = timeline;
    *out_start = ((uint64_t)high << 32) + low * segment_bytes;
    return true;
}
