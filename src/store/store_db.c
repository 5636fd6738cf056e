/* The version of a key is the revision of the transaction that wrote it last, and the revision is
 * written in that same SQLite transaction: so neither can go back without the other, and a key that
 * comes again never carries a version it had before. */
#include "store/store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

#define SCHEMA_VERSION 1

/* The files by which an intact database is known. */
enum { FILE_LOCK, FILE_DB, FILE_WAL, FILE_COUNT };
static const char *const file_names[FILE_COUNT] = {"lock", "store.db", "store.db-wal"};

enum statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_VERSION,
    SQL_PUT,
    SQL_DELETE,
    SQL_BUMP,
    SQL_READ,
    SQL_CONTENT,
    SQL_SESSION_PUT,
    SQL_SESSION_KEYS,
    SQL_SESSION_KEYS_DELETE,
    SQL_SESSION_DELETE,
    SQL_SESSIONS,
    SQL_COUNT
};

static const char *const sql[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_VERSION] = "SELECT version FROM kv WHERE key = ?1",
    [SQL_PUT] = "INSERT INTO kv (key, value, version, session) VALUES (?1, ?2, ?3, ?4) "
                "ON CONFLICT (key) DO UPDATE SET value = ?2, version = ?3, session = ?4",
    [SQL_DELETE] = "DELETE FROM kv WHERE key = ?1",
    [SQL_BUMP] = "UPDATE meta SET revision = ?1",
    [SQL_READ] = "SELECT key, value, version, session IS NOT NULL FROM kv "
                 "WHERE key > ?1 || '/' AND key < ?1 || '0' ORDER BY key",
    [SQL_CONTENT] = "SELECT total(length(CAST(key AS BLOB)) + length(value)) FROM kv "
                    "WHERE key > ?1 || '/' AND key < ?1 || '0'",
    [SQL_SESSION_PUT] = "INSERT INTO session (id, ttl_ms) VALUES (?1, ?2) "
                        "ON CONFLICT (id) DO UPDATE SET ttl_ms = ?2",
    [SQL_SESSION_KEYS] = "SELECT key FROM kv WHERE session = ?1 ORDER BY key",
    [SQL_SESSION_KEYS_DELETE] = "DELETE FROM kv WHERE session = ?1",
    [SQL_SESSION_DELETE] = "DELETE FROM session WHERE id = ?1",
    [SQL_SESSIONS] = "SELECT id, ttl_ms FROM session",
};

static const char schema[] =
    "CREATE TABLE meta (store_id INTEGER NOT NULL, revision INTEGER NOT NULL);"
    "CREATE TABLE kv (key TEXT NOT NULL UNIQUE, value BLOB NOT NULL, version INTEGER NOT NULL,"
    " session TEXT);"
    "CREATE TABLE session (id TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL);"
    "INSERT INTO meta VALUES (random() & 9223372036854775807 | 1, 0);"
    "PRAGMA user_version = 1;";

struct store_db {
    char dir[PATH_SIZE];
    int lock_fd;
    sqlite3 *sqlite;
    sqlite3_stmt *statements[SQL_COUNT];
    struct stat files[FILE_COUNT];
    uint64_t store_id;
    uint64_t revision;
};

void store_changes_fini(struct store_changes *changes)
{
    ASSERT(changes != NULL);
    free(changes->items);
    *changes = (struct store_changes){0};
}

static struct store_change *changes_add(struct store_changes *changes)
{
    if (changes->count == changes->size) {
        size_t size = changes->size == 0 ? STORE_TXN_OPS_MAX : changes->size * 2;
        changes->items = realloc(changes->items, size * sizeof(*changes->items));
        ASSERT(changes->items != NULL);
        changes->size = size;
    }
    struct store_change *change = &changes->items[changes->count++];
    *change = (struct store_change){0};
    return change;
}

static int change_compare(const void *a, const void *b)
{
    return strcmp(((const struct store_change *)a)->key, ((const struct store_change *)b)->key);
}

/* ---- opening ---- */

static enum err db_error(struct store_db *db, struct err_detail *detail, enum err err,
                         const char *what)
{
    ASSERT(err != ERR_OK);
    return err_set(detail, err, "%s: %s (%s)", what, sqlite3_errmsg(db->sqlite),
                   sqlite3_errstr(sqlite3_extended_errcode(db->sqlite)));
}

static bool file_path(const struct store_db *db, int file, char out[PATH_SIZE])
{
    ASSERT(file < FILE_COUNT);
    return str_format(out, PATH_SIZE, "%s/%s", db->dir, file_names[file]);
}

/* A new name in a directory lasts only once the directory is on disk. */
static enum err dir_sync(const char *dir, struct err_detail *detail)
{
    ASSERT(dir != NULL);
    AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot sync %s", dir);
    }
    return ERR_OK;
}

static enum err dir_lock(struct store_db *db, struct err_detail *detail)
{
    char path[PATH_SIZE];
    if (mkdir(db->dir, 0700) == 0) {
        char parent[PATH_SIZE + 4];
        ASSERT(str_format(parent, sizeof(parent), "%s/..", db->dir));
        enum err err = dir_sync(parent, detail);
        if (err != ERR_OK) {
            return err;
        }
    } else if (errno != EEXIST) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot create %s", db->dir);
    }
    if (!file_path(db, FILE_LOCK, path)) {
        return err_set(detail, ERR_INVALID, "directory name too long");
    }
    db->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (db->lock_fd < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot open %s", path);
    }
    if (flock(db->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK
                   ? err_set(detail, ERR_CONFLICT, "another store is running in %s", db->dir)
                   : err_set_errno(detail, ERR_REFUSED, errno, "cannot lock %s", path);
    }
    return ERR_OK;
}

static int exec(struct store_db *db, const char *text)
{
    ASSERT(db->sqlite != NULL);
    return sqlite3_exec(db->sqlite, text, NULL, NULL, NULL);
}

static int query_i64(struct store_db *db, const char *text, int64_t *out)
{
    ASSERT(out != NULL);
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db->sqlite, text, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW) {
            *out = sqlite3_column_int64(stmt, 0);
        }
    }
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    return rc;
}

static enum err schema_make(struct store_db *db, struct err_detail *detail)
{
    int64_t version = 0;
    if (query_i64(db, "PRAGMA user_version", &version) != SQLITE_ROW) {
        return db_error(db, detail, ERR_REFUSED, "cannot read the database");
    }
    if (version == 0) {
        if (exec(db, sql[SQL_BEGIN]) != SQLITE_OK || exec(db, schema) != SQLITE_OK ||
            exec(db, sql[SQL_COMMIT]) != SQLITE_OK) {
            return db_error(db, detail, ERR_REFUSED, "cannot create the database");
        }
        version = SCHEMA_VERSION;
    }
    if (version != SCHEMA_VERSION) {
        return err_set(detail, ERR_REFUSED, "%s has format %lld, this program knows %d", db->dir,
                       (long long)version, SCHEMA_VERSION);
    }
    int64_t store_id = 0;
    int64_t revision = 0;
    if (query_i64(db, "SELECT store_id FROM meta", &store_id) != SQLITE_ROW ||
        query_i64(db, "SELECT revision FROM meta", &revision) != SQLITE_ROW || store_id <= 0 ||
        revision < 0) {
        return db_error(db, detail, ERR_REFUSED, "the database has no identity");
    }
    db->store_id = (uint64_t)store_id;
    db->revision = (uint64_t)revision;
    return ERR_OK;
}

static enum err sqlite_open(struct store_db *db, bool no_sync, struct err_detail *detail)
{
    char path[PATH_SIZE];
    ASSERT(file_path(db, FILE_DB, path)); /* shorter than what follows it */
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &db->sqlite, flags, NULL) != SQLITE_OK) {
        return db_error(db, detail, ERR_REFUSED, path);
    }
    /* Exclusive: nobody else may write behind the counter's back, and no shared memory is needed.
     */
    if (exec(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL") != SQLITE_OK ||
        exec(db, no_sync ? "PRAGMA synchronous = OFF" : "PRAGMA synchronous = FULL") != SQLITE_OK) {
        return db_error(db, detail, ERR_REFUSED, "cannot open the database");
    }
    enum err err = schema_make(db, detail);
    if (err != ERR_OK) {
        return err;
    }
    for (int i = 0; i < SQL_COUNT; i++) {
        if (sqlite3_prepare_v3(db->sqlite, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &db->statements[i], NULL) != SQLITE_OK) {
            return db_error(db, detail, ERR_REFUSED, sql[i]);
        }
    }
    return ERR_OK;
}

static int run(struct store_db *db, enum statement which)
{
    sqlite3_stmt *stmt = db->statements[which];
    ASSERT(stmt != NULL);
    int rc = sqlite3_step(stmt);
    (void)sqlite3_reset(stmt); /* repeats the error of the step */
    return rc;
}

/* The WAL exists only after a first write; and a disk that takes none is better found out now. */
static enum err files_remember(struct store_db *db, struct err_detail *detail)
{
    (void)sqlite3_bind_int64(db->statements[SQL_BUMP], 1, (int64_t)db->revision); /* in memory */
    if (run(db, SQL_BUMP) != SQLITE_DONE) {
        return db_error(db, detail, ERR_REFUSED, "cannot write the database");
    }
    for (int i = 0; i < FILE_COUNT; i++) {
        char path[PATH_SIZE];
        ASSERT(file_path(db, i, path));
        if (stat(path, &db->files[i]) != 0) {
            return err_set_errno(detail, ERR_REFUSED, errno, "cannot stat %s", path);
        }
    }
    return dir_sync(db->dir, detail);
}

enum err store_db_open(const char *dir, bool no_sync, struct store_db **out_db,
                       struct err_detail *detail)
{
    ASSERT(dir != NULL && out_db != NULL);
    struct store_db *db = calloc(1, sizeof(*db));
    ASSERT(db != NULL);
    db->lock_fd = -1;
    enum err err = ERR_OK;
    if (strlen(dir) > sizeof(db->dir) - 32 || !str_copy(db->dir, sizeof(db->dir), dir)) {
        err = err_set(detail, ERR_INVALID, "directory name too long");
    }
    if (err == ERR_OK) {
        err = dir_lock(db, detail);
    }
    if (err == ERR_OK) {
        err = sqlite_open(db, no_sync, detail);
    }
    if (err == ERR_OK) {
        err = files_remember(db, detail);
    }
    if (err != ERR_OK) {
        store_db_close(db);
        return err;
    }
    *out_db = db;
    return ERR_OK;
}

void store_db_close(struct store_db *db)
{
    if (db == NULL) {
        return;
    }
    for (int i = 0; i < SQL_COUNT; i++) {
        (void)sqlite3_finalize(db->statements[i]); /* repeats old errors */
    }
    int rc = sqlite3_close(db->sqlite);
    ASSERT(rc == SQLITE_OK); /* every statement is finalized */
    if (db->lock_fd >= 0) {
        (void)close(db->lock_fd); /* nothing was written to it */
    }
    free(db);
}

bool store_db_intact(const struct store_db *db)
{
    ASSERT(db != NULL);
    for (int i = 0; i < FILE_COUNT; i++) {
        char path[PATH_SIZE];
        struct stat now;
        ASSERT(file_path(db, i, path));
        if (stat(path, &now) != 0 || now.st_ino != db->files[i].st_ino ||
            now.st_dev != db->files[i].st_dev) {
            return false;
        }
    }
    return true;
}

uint64_t store_db_id(const struct store_db *db)
{
    ASSERT(db->store_id != 0);
    return db->store_id;
}

uint64_t store_db_revision(const struct store_db *db)
{
    ASSERT(db != NULL);
    return db->revision;
}

/* ---- statements ---- */

static void bind_text(struct store_db *db, enum statement which, int index, const char *text)
{
    int rc = text == NULL
                 ? sqlite3_bind_null(db->statements[which], index)
                 : sqlite3_bind_text(db->statements[which], index, text, -1, SQLITE_STATIC);
    ASSERT(rc == SQLITE_OK);
}

static void bind_u64(struct store_db *db, enum statement which, int index, uint64_t value)
{
    ASSERT(value <= INT64_MAX);
    int rc = sqlite3_bind_int64(db->statements[which], index, (int64_t)value);
    ASSERT(rc == SQLITE_OK);
}

static enum err begin(struct store_db *db, struct err_detail *detail)
{
    ASSERT(sqlite3_get_autocommit(db->sqlite));
    if (run(db, SQL_BEGIN) != SQLITE_DONE) {
        return db_error(db, detail, ERR_REFUSED, "cannot begin");
    }
    return ERR_OK;
}

static enum err rollback(struct store_db *db, enum err err, struct err_detail *detail)
{
    ASSERT(err != ERR_OK);
    if (!sqlite3_get_autocommit(db->sqlite) && run(db, SQL_ROLLBACK) != SQLITE_DONE) {
        return db_error(db, detail, ERR_IN_DOUBT, "cannot roll back");
    }
    return err;
}

/* After a failed sync nobody knows what a crash would leave of the commit: then, and in any case
 * that is not understood, it is in doubt. A full disk is understood: the frame that says "commit"
 * was not written. */
static enum err commit(struct store_db *db, uint64_t revision, struct err_detail *detail)
{
    bind_u64(db, SQL_BUMP, 1, revision);
    if (run(db, SQL_BUMP) != SQLITE_DONE) {
        return rollback(db, db_error(db, detail, ERR_REFUSED, "cannot write"), detail);
    }
    int rc = run(db, SQL_COMMIT);
    if (rc == SQLITE_FULL) {
        return rollback(db, db_error(db, detail, ERR_REFUSED, "the disk is full"), detail);
    }
    if (rc != SQLITE_DONE) {
        return db_error(db, detail, ERR_IN_DOUBT, "cannot commit");
    }
    ASSERT(sqlite3_get_autocommit(db->sqlite));
    db->revision = revision;
    return ERR_OK;
}

enum err store_db_read(struct store_db *db, const char *base, struct localproto_buf *buf,
                       struct err_detail *detail)
{
    ASSERT(localproto_base_ok(base));
    sqlite3_stmt *stmt = db->statements[SQL_READ];
    bind_text(db, SQL_READ, 1, base);
    size_t skip = strlen(base) + 1;
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *value = sqlite3_column_blob(stmt, 1);
        struct localproto_item item = {
            .key = (const char *)sqlite3_column_text(stmt, 0) + skip,
            .value = value == NULL ? "" : value, /* an empty blob is a NULL pointer */
            .value_size = (size_t)sqlite3_column_bytes(stmt, 1),
            .version = (uint64_t)sqlite3_column_int64(stmt, 2),
            .attached = sqlite3_column_int(stmt, 3) != 0,
        };
        localproto_put_item(buf, &item);
    }
    (void)sqlite3_reset(stmt); /* repeats the error of the step */
    return rc == SQLITE_DONE ? ERR_OK : db_error(db, detail, ERR_REFUSED, "cannot read");
}

static enum err check(struct store_db *db, const char *key, uint64_t version,
                      struct err_detail *detail)
{
    sqlite3_stmt *stmt = db->statements[SQL_VERSION];
    bind_text(db, SQL_VERSION, 1, key);
    int rc = sqlite3_step(stmt);
    uint64_t found = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
    (void)sqlite3_reset(stmt); /* repeats the error of the step */
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return db_error(db, detail, ERR_REFUSED, "cannot read");
    }
    ASSERT_IMPLIES(rc == SQLITE_ROW, found != 0);
    if (found != version) {
        return err_set(detail, ERR_CONFLICT, "%s has version %llu, not %llu", key,
                       (unsigned long long)found, (unsigned long long)version);
    }
    return ERR_OK;
}

static enum err write_one(struct store_db *db, const char *key, const struct localproto_op *op,
                          const char *session, struct store_changes *changes)
{
    ASSERT(op->type != LOCALPROTO_CHECK);
    enum statement which = op->type == LOCALPROTO_DELETE ? SQL_DELETE : SQL_PUT;
    bind_text(db, which, 1, key);
    if (which == SQL_PUT) {
        int rc = sqlite3_bind_blob(db->statements[which], 2, op->value, (int)op->value_size,
                                   SQLITE_STATIC);
        ASSERT(rc == SQLITE_OK);
        bind_u64(db, which, 3, db->revision + 1);
        bind_text(db, which, 4, op->type == LOCALPROTO_ATTACH ? session : NULL);
    }
    if (run(db, which) != SQLITE_DONE) {
        return ERR_REFUSED;
    }
    if (which == SQL_PUT || sqlite3_changes(db->sqlite) > 0) {
        struct store_change *change = changes_add(changes);
        ASSERT(str_copy(change->key, sizeof(change->key), key));
        change->value = which == SQL_PUT ? op->value : NULL;
        change->value_size = op->value_size;
        change->attached = op->type == LOCALPROTO_ATTACH;
    }
    return ERR_OK;
}

static enum err content_check(struct store_db *db, const char *base, struct err_detail *detail)
{
    sqlite3_stmt *stmt = db->statements[SQL_CONTENT];
    bind_text(db, SQL_CONTENT, 1, base);
    int rc = sqlite3_step(stmt);
    double content = rc == SQLITE_ROW ? sqlite3_column_double(stmt, 0) : 0;
    (void)sqlite3_reset(stmt); /* repeats the error of the step */
    ASSERT(content >= 0);
    if (rc != SQLITE_ROW) {
        return db_error(db, detail, ERR_REFUSED, "cannot read");
    }
    if (content > (double)LOCALPROTO_CONTENT_MAX) {
        return err_set(detail, ERR_REFUSED, "%s would hold more than %zu bytes", base,
                       LOCALPROTO_CONTENT_MAX);
    }
    return ERR_OK;
}

static enum err apply(struct store_db *db, const char *base,
                      const struct localproto_request *request, struct store_changes *changes,
                      struct err_detail *detail)
{
    ASSERT(!sqlite3_get_autocommit(db->sqlite));
    char key[STORE_KEY_SIZE];
    for (size_t i = 0; i < request->op_count; i++) { /* checks see what was before any write */
        const struct localproto_op *op = &request->ops[i];
        if (op->type == LOCALPROTO_CHECK) {
            ASSERT(str_format(key, sizeof(key), "%s/%s", base, op->key));
            enum err err = check(db, key, op->version, detail);
            if (err != ERR_OK) {
                return err;
            }
        }
    }
    for (size_t i = 0; i < request->op_count; i++) {
        const struct localproto_op *op = &request->ops[i];
        if (op->type != LOCALPROTO_CHECK) {
            ASSERT(str_format(key, sizeof(key), "%s/%s", base, op->key));
            if (write_one(db, key, op, request->session, changes) != ERR_OK) {
                return db_error(db, detail, ERR_REFUSED, "cannot write");
            }
        }
    }
    return content_check(db, base, detail);
}

static bool writes(const struct localproto_request *request)
{
    ASSERT(request->op_count > 0);
    for (size_t i = 0; i < request->op_count; i++) {
        if (request->ops[i].type != LOCALPROTO_CHECK) {
            return true;
        }
    }
    return false;
}

enum err store_db_txn(struct store_db *db, const char *base,
                      const struct localproto_request *request, struct store_changes *changes,
                      struct err_detail *detail)
{
    ASSERT(changes->count == 0);
    enum err err = begin(db, detail);
    if (err != ERR_OK) {
        return err;
    }
    err = apply(db, base, request, changes, detail);
    if (err == ERR_OK && writes(request)) {
        err = commit(db, db->revision + 1, detail);
    } else if (err == ERR_OK) {
        /* only checks: nothing was written, the rollback merely ends the transaction */
        return run(db, SQL_ROLLBACK) == SQLITE_DONE
                   ? ERR_OK
                   : db_error(db, detail, ERR_IN_DOUBT, "cannot roll back");
    } else {
        err = rollback(db, err, detail);
    }
    if (err != ERR_OK) {
        store_changes_fini(changes);
        return err;
    }
    if (changes->count > 1) {
        qsort(changes->items, changes->count, sizeof(*changes->items), change_compare);
    }
    return ERR_OK;
}

/* ---- sessions ---- */

enum err store_db_session_put(struct store_db *db, const char *id, int64_t ttl_ms,
                              struct err_detail *detail)
{
    ASSERT(ttl_ms > 0);
    bind_text(db, SQL_SESSION_PUT, 1, id);
    bind_u64(db, SQL_SESSION_PUT, 2, (uint64_t)ttl_ms);
    /* Whatever the outcome, a session nobody knows of only expires: refused says enough. */
    return run(db, SQL_SESSION_PUT) == SQLITE_DONE
               ? ERR_OK
               : db_error(db, detail, ERR_REFUSED, "cannot write the session");
}

static enum err session_keys(struct store_db *db, const char *id, struct store_changes *changes,
                             struct err_detail *detail)
{
    sqlite3_stmt *stmt = db->statements[SQL_SESSION_KEYS];
    ASSERT(changes->count == 0);
    bind_text(db, SQL_SESSION_KEYS, 1, id);
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct store_change *change = changes_add(changes);
        ASSERT(
            str_copy(change->key, sizeof(change->key), (const char *)sqlite3_column_text(stmt, 0)));
    }
    (void)sqlite3_reset(stmt); /* repeats the error of the step */
    return rc == SQLITE_DONE ? ERR_OK : db_error(db, detail, ERR_REFUSED, "cannot read");
}

enum err store_db_session_delete(struct store_db *db, const char *id, struct store_changes *changes,
                                 struct err_detail *detail)
{
    ASSERT(id[0] != '\0');
    enum err err = begin(db, detail);
    if (err != ERR_OK) {
        return err;
    }
    err = session_keys(db, id, changes, detail);
    bind_text(db, SQL_SESSION_KEYS_DELETE, 1, id);
    bind_text(db, SQL_SESSION_DELETE, 1, id);
    if (err == ERR_OK && (run(db, SQL_SESSION_KEYS_DELETE) != SQLITE_DONE ||
                          run(db, SQL_SESSION_DELETE) != SQLITE_DONE)) {
        err = db_error(db, detail, ERR_REFUSED, "cannot delete");
    }
    if (err == ERR_OK) {
        err = commit(db, changes->count > 0 ? db->revision + 1 : db->revision, detail);
    } else {
        err = rollback(db, err, detail);
    }
    if (err != ERR_OK) {
        store_changes_fini(changes);
    }
    return err;
}

enum err store_db_sessions(struct store_db *db, store_session_cb cb, void *arg,
                           struct err_detail *detail)
{
    sqlite3_stmt *stmt = db->statements[SQL_SESSIONS];
    ASSERT(cb != NULL);
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        cb((const char *)sqlite3_column_text(stmt, 0), sqlite3_column_int64(stmt, 1), arg);
    }
    (void)sqlite3_reset(stmt); /* repeats the error of the step */
    return rc == SQLITE_DONE ? ERR_OK : db_error(db, detail, ERR_REFUSED, "cannot read");
}
