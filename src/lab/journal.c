/* Every acknowledged row knows the timeline of the server that wrote it. A promotion always begins a
 * new one, so two servers were writable at once exactly if one timeline was acknowledged by two
 * servers, or if a write on an older timeline began after one on a newer timeline had ended: no
 * window, no clock of another machine, no chance. */
#include "lab/journal.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define CAPACITY_FIRST 1024
#define TIMELINES_MAX 256

struct timeline {
    uint32_t number;
    int8_t node; /* first seen */
    int8_t other_node;
    int64_t first_end_us;
    int64_t other_first_us; /* of the second server on it */
    int64_t last_begin_us;
};

struct timelines {
    size_t count;
    struct timeline at[TIMELINES_MAX];
};

void journal_fini(struct journal *journal)
{
    free(journal->entries);
    *journal = (struct journal){.entries = NULL};
}

size_t journal_open(struct journal *journal, int64_t begin_us, int64_t connected_us, int8_t node)
{
    if (journal->count == journal->capacity) {
        size_t capacity = journal->capacity == 0 ? CAPACITY_FIRST : journal->capacity * 2;
        void *entries = realloc(journal->entries, capacity * sizeof(*journal->entries));
        ASSERT(entries != NULL); /* a client without memory cannot account for its rows */
        journal->entries = entries;
        journal->capacity = capacity;
    }
    journal->entries[journal->count] = (struct journal_entry){
        .begin_us = begin_us,
        .end_us = begin_us,
        .connected_us = connected_us,
        .node = node,
        .outcome = JOURNAL_OPEN,
    };
    return journal->count++;
}

static int compare_times(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left;
    int64_t b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static void note_gap(struct journal_report *report, int64_t from_us, int64_t to_us)
{
    if (to_us - from_us > report->gap_us) {
        report->gap_us = to_us - from_us;
        report->gap_from_us = from_us;
    }
}

static void count_one(const struct journal_entry *entry, int64_t since_us,
                      struct journal_report *report)
{
    if (entry->end_us < since_us || entry->outcome == JOURNAL_OPEN) {
        return;
    }
    if (entry->outcome == JOURNAL_ACKED) {
        report->acked++;
        return;
    }
    report->refused += entry->outcome == JOURNAL_REFUSED ? 1 : 0;
    report->unknown += entry->outcome == JOURNAL_UNKNOWN ? 1 : 0;
    report->failed_old += entry->connected_us < since_us ? 1 : 0;
}

static struct timeline *timeline_of(struct timelines *timelines, const struct journal_entry *entry)
{
    for (size_t i = 0; i < timelines->count; i++) {
        if (timelines->at[i].number == entry->timeline) {
            return &timelines->at[i];
        }
    }
    if (timelines->count == TIMELINES_MAX) {
        return NULL;
    }
    struct timeline *added = &timelines->at[timelines->count++];
    *added = (struct timeline){
        .number = entry->timeline,
        .node = entry->node,
        .other_node = -1,
        .first_end_us = INT64_MAX,
        .other_first_us = INT64_MAX,
        .last_begin_us = INT64_MIN,
    };
    return added;
}

static void note_timeline(struct timelines *timelines, const struct journal_entry *entry)
{
    if (entry->outcome != JOURNAL_ACKED || entry->timeline == 0 || entry->node < 0) {
        return;
    }
    struct timeline *one = timeline_of(timelines, entry);
    if (one == NULL) {
        return;
    }
    if (entry->end_us < one->first_end_us) {
        one->first_end_us = entry->end_us;
    }
    if (entry->begin_us > one->last_begin_us) {
        one->last_begin_us = entry->begin_us;
    }
    if (entry->node != one->node && entry->end_us < one->other_first_us) {
        one->other_node = entry->node;
        one->other_first_us = entry->end_us;
    }
}

static void note_two(struct journal_report *report, int8_t a, int8_t b, int64_t us)
{
    if (!report->two_writable || us > report->two_writable_us) {
        report->two_writable_us = us;
        report->two_node[0] = a;
        report->two_node[1] = b;
    }
    report->two_writable = true;
}

static void judge_timelines(const struct timelines *timelines, struct journal_report *report)
{
    for (size_t i = 0; i < timelines->count; i++) {
        const struct timeline *old = &timelines->at[i];
        if (old->other_node >= 0) {
            note_two(report, old->node, old->other_node, old->last_begin_us - old->first_end_us);
        }
        for (size_t j = 0; j < timelines->count; j++) {
            const struct timeline *newer = &timelines->at[j];
            if (newer->number > old->number && old->last_begin_us > newer->first_end_us) {
                note_two(report, old->node, newer->node, old->last_begin_us - newer->first_end_us);
            }
        }
    }
}

void journal_report(const struct journal *journals, size_t count, int64_t since_us,
                    int64_t until_us, struct journal_report *out_report)
{
    static struct timelines timelines;
    struct journal_report report = {.two_node = {-1, -1}};
    size_t total = 0;
    size_t used = 0;
    int64_t last_before_us = since_us;
    bool any_before = false;
    timelines.count = 0;
    for (size_t i = 0; i < count; i++) {
        total += journals[i].count;
    }
    int64_t *ends = calloc(total + 1, sizeof(*ends));
    ASSERT(ends != NULL);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < journals[i].count; k++) {
            const struct journal_entry *entry = &journals[i].entries[k];
            count_one(entry, since_us, &report);
            note_timeline(&timelines, entry);
            if (entry->outcome != JOURNAL_ACKED) {
                continue;
            }
            if (entry->end_us >= since_us) {
                ends[used++] = entry->end_us;
            } else if (!any_before || entry->end_us > last_before_us) {
                last_before_us = entry->end_us;
                any_before = true;
            }
        }
    }
    qsort(ends, used, sizeof(*ends), compare_times);
    for (size_t i = 0; i < used; i++) {
        note_gap(&report, i == 0 ? last_before_us : ends[i - 1], ends[i]);
    }
    note_gap(&report, used == 0 ? last_before_us : ends[used - 1], until_us);
    free(ends);
    judge_timelines(&timelines, &report);
    *out_report = report;
}
