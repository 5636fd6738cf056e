/* agent/publish_text.h - the texts of the keys that every agent, or the holder, keeps up to date.
 *
 * Purpose    members/NAME, status and history as Patroni's readers expect them.
 * Ownership  results are malloc'd text for the caller to free; inputs are only read.
 * Errors     NULL: a value is no valid text.
 * Threads    any.
 * Source     compat/dcs.md section 2, ha.md section 19.
 */
#ifndef HOLDFAST_AGENT_PUBLISH_TEXT_H
#define HOLDFAST_AGENT_PUBLISH_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "codec/members.h"
#include "core/view.h"
#include "pg/pg.h"

/* What readers of the member key compare with Patroni's versions (dcs.md section 2). */
#define PUBLISH_COMPATIBLE_VERSION "4.1.4"

struct publish_member {
    const char *conn_url;
    const char *api_url;
    bool pause;
    bool positions; /* false: leave everything out that moves with the WAL */
    const struct core_postgres *facts;
    const struct pg_details *details;
};

/* What member_format (codec/members.h) is to write for members/NAME. */
void publish_member_info(const struct publish_member *member, struct member_info *out_info);

/* {"optime":N,"timeline":N}: Patroni's readers skip the second, ours compare positions only within
 * one timeline. To be freed. */
char *publish_status_text(uint64_t optime, uint32_t timeline);
/* 0: unknown, also for other agents' values. */
uint32_t publish_status_timeline(const char *value, size_t size);

struct publish_history {
    uint32_t timeline;    /* the primary's */
    const char *file;     /* the text of its history file; NULL for timeline 1 */
    const char *stored;   /* what the key holds; NULL: absent */
    const char *name;     /* own */
    time_t changed_at;    /* of the file */
    size_t timelines_max; /* 0: all */
};

/* Whether the key already ends with this timeline. */
bool publish_history_current(const char *stored, uint32_t timeline);

/* NULL also when the file is not one of history. */
char *publish_history_text(const struct publish_history *history);

#endif
