/* lab/journal.h - what became of every write of one client, and what that says of the cluster.
 *
 * Purpose    write gap, failed writes, and proof that two servers acknowledged at the same time.
 * Ownership  a journal owns its entries; journal_fini frees them.
 * Errors     none; running out of memory aborts.
 * Units      *_us: microseconds of CLOCK_MONOTONIC.
 * Threads    the caller locks.
 */
#ifndef HOLDFAST_LAB_JOURNAL_H
#define HOLDFAST_LAB_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum journal_outcome {
    JOURNAL_OPEN,    /* sent, no answer yet */
    JOURNAL_ACKED,   /* COMMIT returned without a warning */
    JOURNAL_REFUSED, /* the server said no: certainly not there */
    JOURNAL_UNKNOWN, /* the connection ended first, or a warning came: may be there or not */
    JOURNAL_OUTCOME_COUNT
};

struct journal_entry {
    int64_t begin_us;
    int64_t end_us;
    int64_t connected_us; /* when its connection was made */
    uint32_t timeline;    /* of the server that acknowledged */
    int8_t node;          /* that server; -1: not known */
    uint8_t outcome;      /* enum journal_outcome */
};

/* The index of an entry is the row's sequence number. */
struct journal {
    struct journal_entry *entries;
    size_t count;
    size_t capacity;
};

void journal_fini(struct journal *journal);

/* Adds an entry that is open; its index. */
size_t journal_open(struct journal *journal, int64_t begin_us, int64_t connected_us, int8_t node);

/* For many journals of one cluster, from since_us on (a fault), until until_us. */
struct journal_report {
    int64_t gap_us; /* the longest time without any acknowledged write ... */
    int64_t
        gap_from_us; /* ... and when it began; the last acknowledgement before since_us counts */
    uint64_t acked;
    uint64_t refused;
    uint64_t unknown;
    uint64_t failed_old;     /* refused or unknown on a connection from before since_us */
    bool two_writable;       /* at any time, not only from since_us on */
    int64_t two_writable_us; /* how long, as far as acknowledged writes show */
    int8_t two_node[2];
};

void journal_report(const struct journal *journals, size_t count, int64_t since_us,
                    int64_t until_us, struct journal_report *out_report);

#endif
