/* codec/pgcontrol.h - what pg_controldata prints, as a struct.
 *
 * Purpose    parse the text of pg_controldata (run with LC_ALL=C) of versions 13 to 18.
 * Ownership  the caller owns text and result.
 * Errors     ERR_INVALID when the state or the system identifier is missing; unknown lines are
 *            skipped, since every version adds some.
 * Units      lsn in bytes.
 * Threads    any; pure.
 * Source     compat/ha.md appendix D.
 */
#ifndef HOLDFAST_CODEC_PGCONTROL_H
#define HOLDFAST_CODEC_PGCONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum pgcontrol_state {
    PGCONTROL_UNKNOWN,
    PGCONTROL_STARTING_UP,
    PGCONTROL_SHUT_DOWN,
    PGCONTROL_SHUT_DOWN_IN_RECOVERY,
    PGCONTROL_SHUTTING_DOWN,
    PGCONTROL_IN_CRASH_RECOVERY,
    PGCONTROL_IN_ARCHIVE_RECOVERY,
    PGCONTROL_IN_PRODUCTION,
};

struct pgcontrol {
    enum pgcontrol_state state;
    uint64_t sysid;
    uint64_t checkpoint_lsn;
    uint64_t redo_lsn;
    uint32_t checkpoint_timeline;
    uint64_t min_recovery_lsn; /* 0: none */
    uint32_t min_recovery_timeline;
    uint64_t wal_segment_bytes; /* 16 MiB when not told */
    bool checksums;
    bool wal_log_hints;
    int64_t max_connections; /* 0: not told; so the others */
    int64_t max_worker_processes;
    int64_t max_wal_senders;
    int64_t max_prepared_transactions;
    int64_t max_locks_per_transaction;
};

/* text: NUL-terminated. */
enum err pgcontrol_parse(const char *text, struct pgcontrol *out_control,
                         struct err_detail *detail) MUST_CHECK;

#endif
