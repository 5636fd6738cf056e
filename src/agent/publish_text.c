/* agent/publish_text.c - one JSON object after the other, fields in Patroni's order. */
#include "agent/publish_text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/str.h"

static char *dump(json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(root);
    return text;
}

/* States in which Patroni publishes positions. */
static bool has_positions(const char *state)
{
    return str_equal(state, "running") || str_equal(state, "restarting") ||
           str_equal(state, "starting");
}

void publish_member_info(const struct publish_member *member, struct member_info *out_info)
{
    const struct core_postgres *facts = member->facts;
    const struct pg_details *details = member->details;
    ASSERT(facts != NULL && details != NULL);
    *out_info = (struct member_info){.pause = member->pause, .timeline = details->timeline};
    str_copy_cut(out_info->conn_url, sizeof(out_info->conn_url), member->conn_url);
    str_copy_cut(out_info->api_url, sizeof(out_info->api_url), member->api_url);
    str_copy_cut(out_info->state, sizeof(out_info->state), details->state);
    str_copy_cut(out_info->role, sizeof(out_info->role), details->role);
    str_copy_cut(out_info->agent_version, sizeof(out_info->agent_version),
                 PUBLISH_COMPATIBLE_VERSION);
    out_info->checkpoint_pending = facts->primary == TRI_YES && !facts->timeline_checkpointed;
    if (facts->primary != TRI_YES) {
        str_copy_cut(out_info->replication_state, sizeof(out_info->replication_state),
                     details->replication_state);
    }
    if (!member->positions) {
        return;
    }
    if (has_positions(details->state)) {
        out_info->xlog_location = facts->lsn;
    }
    if (facts->primary != TRI_YES) {
        out_info->replay_lsn = details->replayed_lsn;
        out_info->receive_lsn = details->received_lsn;
    }
}

char *publish_status_text(uint64_t optime, uint32_t timeline)
{
    ASSERT(optime <= INT64_MAX);
    json_t *root =
        json_pack("{s:I, s:I}", "optime", (json_int_t)optime, "timeline", (json_int_t)timeline);
    ASSERT(root != NULL);
    return dump(root);
}

uint32_t publish_status_timeline(const char *value, size_t size)
{
    json_t *root = json_loadb(value, size, 0, NULL);
    json_int_t timeline = json_integer_value(json_object_get(root, "timeline"));
    json_decref(root);
    return timeline > 0 && timeline <= UINT32_MAX ? (uint32_t)timeline : 0;
}

/* ---- history ---- */

/* [timeline, lsn, reason] of one line of a history file; NULL for comments and blank lines. */
static json_t *row_from_line(const char *line, size_t length)
{
    char text[1024];
    if (length >= sizeof(text)) {
        return NULL;
    }
    memcpy(text, line, length);
    text[length] = '\0';
    char *tab = strchr(text, '\t');
    if (tab == NULL) {
        return NULL;
    }
    *tab = '\0';
    char *lsn_text = tab + 1;
    char *second = strchr(lsn_text, '\t');
    if (second != NULL) {
        *second = '\0';
    }
    uint64_t timeline;
    uint64_t lsn;
    if (!str_to_u64(text, &timeline) || timeline > UINT32_MAX || !str_to_lsn(lsn_text, &lsn) ||
        lsn > INT64_MAX) {
        return NULL;
    }
    return json_pack("[I,I,s]", (json_int_t)timeline, (json_int_t)lsn,
                     second != NULL ? second + 1 : "");
}

static json_int_t row_timeline(const json_t *row)
{
    return json_integer_value(json_array_get(row, 0));
}

bool publish_history_current(const char *stored, uint32_t timeline)
{
    json_t *rows = stored != NULL ? json_loads(stored, 0, NULL) : NULL;
    bool current = false;
    if (json_is_array(rows)) {
        size_t count = json_array_size(rows);
        json_t *last = count > 0 ? json_array_get(rows, count - 1) : NULL;
        current = timeline == 1 ? count == 0
                                : row_timeline(last) == (json_int_t)timeline - 1 &&
                                      json_array_size(last) >= 5;
    }
    json_decref(rows);
    return current;
}

/* Timestamp and new leader of an older row are only in the store. */
static void keep_extras(json_t *row, const json_t *stored)
{
    for (size_t i = 0; i < json_array_size(stored); i++) {
        json_t *old = json_array_get(stored, i);
        if (row_timeline(old) != row_timeline(row)) {
            continue;
        }
        for (size_t column = 3; column < json_array_size(old) && column < 5; column++) {
            (void)json_array_append(row, json_array_get(old, column));
        }
        return;
    }
}

static void add_extras(json_t *row, const struct publish_history *history)
{
    struct tm parts;
    char stamp[48] = "";
    if (gmtime_r(&history->changed_at, &parts) != NULL) {
        (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S+00:00", &parts);
    }
    (void)json_array_append_new(row, json_string(stamp));
    (void)json_array_append_new(row, json_string(history->name));
}

char *publish_history_text(const struct publish_history *history)
{
    ASSERT(history->timeline >= 1);
    json_t *rows = json_array();
    ASSERT(rows != NULL);
    if (history->timeline == 1) {
        return dump(rows);
    }
    json_t *stored = history->stored != NULL ? json_loads(history->stored, 0, NULL) : NULL;
    const char *line = history->file;
    while (line != NULL && line[0] != '\0') {
        size_t length = strcspn(line, "\n");
        json_t *row = row_from_line(line, length);
        if (row != NULL) {
            if (row_timeline(row) == (json_int_t)history->timeline - 1) {
                add_extras(row, history);
            } else {
                keep_extras(row, stored);
            }
            (void)json_array_append_new(rows, row);
        }
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    json_decref(stored);
    while (history->timelines_max > 0 && json_array_size(rows) > history->timelines_max) {
        (void)json_array_remove(rows, 0);
    }
    size_t count = json_array_size(rows);
    if (count == 0 ||
        row_timeline(json_array_get(rows, count - 1)) != (json_int_t)history->timeline - 1) {
        json_decref(rows);
        return NULL;
    }
    return dump(rows);
}
