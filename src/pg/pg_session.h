/* pg/pg_session.h - one asynchronous libpq connection on the loop.
 *
 * Purpose    connect, run one statement at a time, hear of the connection's loss; each with its own
 *            deadline. No call of libpq that blocks is used; names are resolved in libuv's pool.
 * Ownership  sessions live on the heap from pg_session_open to pg_session_close, which frees them at
 *            the end of the loop turn. Everything given is copied. Results belong to the session and
 *            live during the callback.
 * Errors     ERR_UNREACHABLE: no connection. ERR_REFUSED: the server said no (detail has its words).
 *            ERR_IN_DOUBT: sent, and no answer; the session is broken then and can only be closed.
 * Callbacks  one for each call, never inside it; none after pg_session_close.
 * Units      *_ms.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_PG_PG_SESSION_H
#define HOLDFAST_PG_PG_SESSION_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "pg/pg_config.h"

struct pg_session;

struct pg_target {
    const char *host; /* NULL: libpq's default; a path: unix socket */
    uint16_t port;
    const char *dbname;
    const struct pg_credentials *credentials;
    const char *application_name;
    const char *options; /* NULL: none */
    bool replication;    /* a physical replication connection */
};

/* result: NULL unless err is ERR_OK (for a query). */
typedef void (*pg_session_cb)(enum err err, const PGresult *result, const struct err_detail *detail,
                              void *arg);

/* lost_cb (may be NULL): the connection ended while nothing was asked of it; once. */
struct pg_session *pg_session_open(uv_loop_t *loop, const struct pg_target *target,
                                   int64_t timeout_ms, pg_session_cb ready_cb,
                                   void (*lost_cb)(void *arg), void *arg);

/* Simple protocol. Only when ready and idle. */
void pg_session_query(struct pg_session *session, const char *sql, int64_t timeout_ms,
                      pg_session_cb cb, void *arg);

/* Runs a prepared statement without parameters; prepares it when it is used the first time. */
void pg_session_probe(struct pg_session *session, const char *sql, int64_t timeout_ms,
                      pg_session_cb cb, void *arg);

/* True when connected and nothing runs. */
bool pg_session_idle(const struct pg_session *session);

/* True after the connection was lost: only pg_session_close is of use. */
bool pg_session_broken(const struct pg_session *session);

int pg_session_server_version(const struct pg_session *session);
bool pg_session_in_hot_standby(const struct pg_session *session); /* PostgreSQL 14 and later */

/* Of the last statement that was refused; "" none. */
const char *pg_session_sqlstate(const struct pg_session *session);

/* Accepts NULL. */
void pg_session_close(struct pg_session *session);

#endif
