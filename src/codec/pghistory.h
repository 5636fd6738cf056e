/* codec/pghistory.h - timelines: history files, fork points, where a WAL record ends.
 *
 * Purpose    read the text of a timeline history file; find where two histories part; say whether a
 *            server at a given position may stream from a given source (the divergence rule).
 * Ownership  the caller owns every text; nothing is kept.
 * Errors     ERR_INVALID for text that is no history.
 * Units      lsn in bytes; timelines count from 1.
 * Threads    any; pure.
 * Source     compat/ha.md section 12.2; PostgreSQL's rule that a history line is
 *            "parentTLI <tab> switchpoint <tab> reason".
 */
#ifndef HOLDFAST_CODEC_PGHISTORY_H
#define HOLDFAST_CODEC_PGHISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct pghistory_entry {
    uint32_t timeline;    /* the parent */
    uint64_t switchpoint; /* where it was left */
    const char *reason;   /* inside the text, not terminated */
    size_t reason_length;
};

/* Reads the next entry at *cursor and moves it on. *out_end: there was none left (entry untouched).
 * Comments and empty lines are skipped. That timelines grow is for the callers to see: the two
 * functions below refuse text in which they do not. */
enum err pghistory_next(const char **cursor, struct pghistory_entry *out_entry, bool *out_end,
                        struct err_detail *detail) MUST_CHECK;

/* The switchpoint at which `timeline` was left. *out_found false: it is not in this history. */
enum err pghistory_switchpoint(const char *text, uint32_t timeline, bool *out_found,
                               uint64_t *out_lsn, struct err_detail *detail) MUST_CHECK;

struct pghistory_fork {
    uint32_t timeline; /* the last common one; 0: no common ancestor */
    uint64_t lsn;      /* where the two part; UINT64_MAX: they do not (same timeline) */
};

/* Where the histories of two timelines part. Text of timeline 1 is "". */
enum err pghistory_find_fork(uint32_t a, const char *a_text, uint32_t b, const char *b_text,
                             struct pghistory_fork *out_fork, struct err_detail *detail) MUST_CHECK;

enum pghistory_kind {
    PGHISTORY_REPLICA,   /* lsn: what was replayed, or the minimum recovery end when stopped */
    PGHISTORY_SHUT_DOWN, /* a former primary: lsn of the shutdown checkpoint */
    PGHISTORY_CRASHED,   /* a former primary: lsn of the last valid record */
};

struct pghistory_local {
    enum pghistory_kind kind;
    uint32_t timeline;
    uint64_t lsn;
    uint64_t record_end; /* former primaries: where the record at lsn ends; 0: unknown */
};

enum pghistory_verdict { PGHISTORY_CANNOT_TELL, PGHISTORY_SAME, PGHISTORY_DIVERGED };

/* The divergence rule. local_history: of the local timeline, NULL when it cannot be read; two servers
 * promoted apart from each other may both call their timeline by the same number, and only the
 * histories tell them apart. source_history: of source_timeline, "" for timeline 1. */
enum pghistory_verdict pghistory_judge(const struct pghistory_local *local,
                                       const char *local_history, uint32_t source_timeline,
                                       const char *source_history);

/* One line of pg_waldump: where its record starts, its whole length, whether it switches the
 * segment. False: not such a line. */
struct pghistory_record {
    uint64_t lsn;
    uint32_t total_bytes;
    bool segment_switch;
};
bool pghistory_record_parse(const char *line, struct pghistory_record *out_record) MUST_CHECK;

/* The byte after the record, alignment and page headers counted. */
uint64_t pghistory_record_end(const struct pghistory_record *record, uint64_t segment_bytes);

/* "TTTTTTTTXXXXXXXXYYYYYYYY" (24 hexadecimal digits, perhaps ".partial" after): its timeline and
 * first byte. False: not the name of a segment. */
bool pghistory_segment_parse(const char *name, uint64_t segment_bytes, uint32_t *out_timeline,
                             uint64_t *out_start) MUST_CHECK;

#endif
