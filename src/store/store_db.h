/* store/store_db.h - the local store's database: keys with versions, sessions, one revision.
 *
 * Purpose    transactions on an SQLite file that survive kill -9 and power loss once answered.
 * Ownership  struct store_db belongs to store_db_open's caller; change lists borrow the texts of
 *            the request, except deleted keys of sessions, which store_changes_fini frees.
 * Errors     ERR_IN_DOUBT means that a commit's outcome is not known: the process must end without
 *            answering, and what the file holds is found out at the next start.
 * Units      versions are revisions: +1 at each transaction that writes, never reused.
 * Threads    one; calls block for as long as the disk takes.
 */
#ifndef HOLDFAST_STORE_STORE_DB_H
#define HOLDFAST_STORE_STORE_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/localproto.h"

struct store_db;

/* What a transaction did to one key. */
struct store_change {
    char key[STORE_KEY_SIZE]; /* with its base */
    const char *value;        /* NULL: deleted */
    size_t value_size;
    bool attached;
};

/* Zeroed before first use; sorted by key. */
struct store_changes {
    struct store_change *items;
    size_t count;
    size_t size;
};
void store_changes_fini(struct store_changes *changes);

/* Opens or creates DIR and what is in it; one process at a time (ERR_CONFLICT otherwise). */
enum err store_db_open(const char *dir, bool no_sync, struct store_db **out_db,
                       struct err_detail *detail) MUST_CHECK;

/* NULL is fine. */
void store_db_close(struct store_db *db);

/* Whether the files that are open are still those which DIR names: false once DIR was removed or
 * replaced, when nothing written would be found again. */
bool store_db_intact(const struct store_db *db);

/* Made at random when the database was created. */
uint64_t store_db_id(const struct store_db *db);
uint64_t store_db_revision(const struct store_db *db);

/* Appends the items below base, sorted. */
enum err store_db_read(struct store_db *db, const char *base, struct localproto_buf *buf,
                       struct err_detail *detail) MUST_CHECK;

/* ERR_CONFLICT: a check failed. ERR_REFUSED: too large, disk full. Both changed nothing. Sizes and
 * keys were checked before; the session exists. */
enum err store_db_txn(struct store_db *db, const char *base,
                      const struct localproto_request *request, struct store_changes *changes,
                      struct err_detail *detail) MUST_CHECK;

enum err store_db_session_put(struct store_db *db, const char *id, int64_t ttl_ms,
                              struct err_detail *detail) MUST_CHECK;

/* Ends the session and deletes the keys attached to it. */
enum err store_db_session_delete(struct store_db *db, const char *id, struct store_changes *changes,
                                 struct err_detail *detail) MUST_CHECK;

typedef void (*store_session_cb)(const char *id, int64_t ttl_ms, void *arg);
enum err store_db_sessions(struct store_db *db, store_session_cb cb, void *arg,
                           struct err_detail *detail) MUST_CHECK;

#endif
