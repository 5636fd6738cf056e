/* store/store_session.h - sessions of the local store, and when they end.
 *
 * Purpose    count each session's ttl on CLOCK_BOOTTIME from its last keepalive.
 * Ownership  struct store_sessions lives in its owner; the database keeps ids and ttls only, so
 *            that after a restart every session has its full ttl anew.
 * Errors     ERR_REFUSED when there are too many or the disk refuses.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_STORE_STORE_SESSION_H
#define HOLDFAST_STORE_STORE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/time.h"
#include "store/store_db.h"

#define STORE_SESSIONS_MAX 1024
#define STORE_SESSION_TTL_MIN_MS 1000
#define STORE_SESSION_TTL_MAX_MS ((int64_t)24 * 3600 * 1000)
#define STORE_TICK_MS 250
/* Ticks further apart than this: the process was frozen, and so could hear no keepalive. */
#define STORE_STALL_MS ((int64_t)2 * STORE_TICK_MS)

struct store_session {
    char id[SESSION_SIZE];
    int64_t ttl_ms;
    struct mono ends;
};

struct store_sessions {
    struct store_db *db;
    struct mono ticked;
    size_t count;
    size_t size;
    struct store_session *items;
};

/* Takes over what the database holds, each with its full ttl from now. */
enum err store_sessions_init(struct store_sessions *sessions, struct store_db *db, struct mono now,
                             struct err_detail *detail) MUST_CHECK;
void store_sessions_fini(struct store_sessions *sessions);

/* ttl_ms is brought within the limits. */
enum err store_session_create(struct store_sessions *sessions, int64_t ttl_ms, struct mono now,
                              char out_id[SESSION_SIZE], struct err_detail *detail) MUST_CHECK;

bool store_session_exists(const struct store_sessions *sessions, const char *id);

/* False when there is no such session. A new ttl holds from now on, and after a restart when it
 * could be written. */
bool store_session_keep(struct store_sessions *sessions, const char *id, int64_t ttl_ms,
                        struct mono now) MUST_CHECK;

/* Called every STORE_TICK_MS. After a stall gives every session its ttl anew. Else names one
 * session that has ended (the caller deletes it from the database, then forgets it); NULL when none
 * has. */
const char *store_sessions_tick(struct store_sessions *sessions, struct mono now);
void store_session_forget(struct store_sessions *sessions, const char *id);

#endif
