/* A session ends only when the store was able to hear its keepalives and heard none: time in which
 * the store itself did not run counts for nobody. */
#include "store/store_session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"

static int64_t ttl_clamp(int64_t ttl_ms)
{
    if (ttl_ms < STORE_SESSION_TTL_MIN_MS) {
        return STORE_SESSION_TTL_MIN_MS;
    }
    return ttl_ms > STORE_SESSION_TTL_MAX_MS ? STORE_SESSION_TTL_MAX_MS : ttl_ms;
}

static struct store_session *find(const struct store_sessions *sessions, const char *id)
{
    ASSERT(id != NULL);
    for (size_t i = 0; i < sessions->count; i++) {
        if (str_equal(sessions->items[i].id, id)) {
            return &sessions->items[i];
        }
    }
    return NULL;
}

static void add(struct store_sessions *sessions, const char *id, int64_t ttl_ms, struct mono now)
{
    if (sessions->count == sessions->size) {
        size_t size = sessions->size == 0 ? 16 : sessions->size * 2;
        sessions->items = realloc(sessions->items, size * sizeof(*sessions->items));
        ASSERT(sessions->items != NULL);
        sessions->size = size;
    }
    struct store_session *session = &sessions->items[sessions->count++];
    *session = (struct store_session){.ttl_ms = ttl_ms, .ends = mono_add(now, ttl_ms)};
    str_copy_cut(session->id, sizeof(session->id), id);
}

static void add_cb(const char *id, int64_t ttl_ms, void *arg)
{
    struct store_sessions *sessions = arg;
    ASSERT(id != NULL);
    add(sessions, id, ttl_clamp(ttl_ms), sessions->ticked);
}

enum err store_sessions_init(struct store_sessions *sessions, struct store_db *db, struct mono now,
                             struct err_detail *detail)
{
    ASSERT(db != NULL);
    *sessions = (struct store_sessions){.db = db, .ticked = now};
    enum err err = store_db_sessions(db, add_cb, sessions, detail);
    if (err != ERR_OK) {
        store_sessions_fini(sessions);
    }
    return err;
}

void store_sessions_fini(struct store_sessions *sessions)
{
    ASSERT(sessions != NULL);
    free(sessions->items);
    *sessions = (struct store_sessions){0};
}

enum err store_session_create(struct store_sessions *sessions, int64_t ttl_ms, struct mono now,
                              char out_id[SESSION_SIZE], struct err_detail *detail)
{
    ASSERT(out_id != NULL);
    if (sessions->count >= STORE_SESSIONS_MAX) {
        return err_set(detail, ERR_REFUSED, "there are %d sessions already", STORE_SESSIONS_MAX);
    }
    uint64_t random[2];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        return err_set(detail, ERR_REFUSED, "no randomness");
    }
    char id[SESSION_SIZE];
    ASSERT(str_format(id, sizeof(id), "%016" PRIx64 "%016" PRIx64, random[0], random[1]));
    enum err err = store_db_session_put(sessions->db, id, ttl_clamp(ttl_ms), detail);
    if (err != ERR_OK) {
        return err;
    }
    add(sessions, id, ttl_clamp(ttl_ms), now);
    str_copy_cut(out_id, SESSION_SIZE, id);
    return ERR_OK;
}

bool store_session_exists(const struct store_sessions *sessions, const char *id)
{
    ASSERT(sessions != NULL);
    return find(sessions, id) != NULL;
}

bool store_session_keep(struct store_sessions *sessions, const char *id, int64_t ttl_ms,
                        struct mono now)
{
    ASSERT(ttl_ms > 0);
    struct store_session *session = find(sessions, id);
    if (session == NULL) {
        return false;
    }
    ttl_ms = ttl_clamp(ttl_ms);
    if (session->ttl_ms != ttl_ms) {
        struct err_detail detail = {0};
        if (store_db_session_put(sessions->db, id, ttl_ms, &detail) != ERR_OK) {
            log_warn("store_session_ttl_not_saved", "session=%s error=\"%s\"", id, detail.text);
        }
    }
    session->ttl_ms = ttl_ms;
    session->ends = mono_add(now, ttl_ms);
    return true;
}

const char *store_sessions_tick(struct store_sessions *sessions, struct mono now)
{
    int64_t gap_ms = mono_sub(now, sessions->ticked);
    ASSERT(gap_ms >= 0);
    sessions->ticked = now;
    if (gap_ms > STORE_STALL_MS) {
        if (sessions->count > 0) {
            log_info("store_stalled", "ms=%" PRId64 " sessions=%zu", gap_ms, sessions->count);
        }
        for (size_t i = 0; i < sessions->count; i++) {
            sessions->items[i].ends = mono_add(now, sessions->items[i].ttl_ms);
        }
        return NULL;
    }
    for (size_t i = 0; i < sessions->count; i++) {
        if (!mono_before(now, sessions->items[i].ends)) {
            return sessions->items[i].id;
        }
    }
    return NULL;
}

void store_session_forget(struct store_sessions *sessions, const char *id)
{
    struct store_session *session = find(sessions, id);
    ASSERT(session != NULL);
    *session = sessions->items[--sessions->count];
}
