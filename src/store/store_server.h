/* store/store_server.h - the local store's clients: frames in, answers and pushed changes out.
 *
 * Purpose    the inside of store_main: one loop, one database, many clients.
 * Ownership  struct store_server lives in store_main; clients are freed when their pipe is closed.
 * Errors     a client that breaks the protocol or does not read is dropped; what breaks the store
 *            ends it through store_server_stop.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_STORE_STORE_SERVER_H
#define HOLDFAST_STORE_STORE_SERVER_H

#include <stdbool.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/limits.h"
#include "store/store_db.h"
#include "store/store_session.h"

#define STORE_CLIENTS_MAX 256
/* A client with more than this unsent does not read: it is dropped, and may come again. */
#define STORE_QUEUE_MAX ((size_t)8 * 1024 * 1024)

struct store_client;

struct store_server {
    uv_loop_t loop;
    uv_pipe_t listener;
    uv_timer_t tick;
    uv_signal_t signals[2];
    struct store_db *db;
    struct store_sessions sessions;
    struct store_client *clients;
    size_t client_count;
    bool group_access;
    bool stopping;
    int exit_status;
    char socket_path[PATH_SIZE];
    struct stat socket_stat; /* so that another's socket of the same name is not removed */
};

/* Binds and listens, and starts the timers; the loop must be initialised, the rest zeroed, db open.
 */
enum err store_server_start(struct store_server *server, struct err_detail *detail) MUST_CHECK;

/* Closes every handle, after which the loop runs out. */
void store_server_stop(struct store_server *server, int exit_status);

#endif
