/* The order of a start: directory locked, database open, sessions loaded, socket bound; only then
 * can a client see anything. The order of an end is the reverse. */
#include "store/store.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "store/store_server.h"

static void socket_unlink(const struct store_server *server)
{
    struct stat now;
    ASSERT(server->socket_path[0] != '\0');
    if (stat(server->socket_path, &now) == 0 && now.st_ino == server->socket_stat.st_ino &&
        now.st_dev == server->socket_stat.st_dev) {
        (void)unlink(server->socket_path); /* a stale one is replaced at the next start */
    }
}

static bool options_ok(const struct store_options *options, struct store_server *server)
{
    ASSERT(options != NULL);
    bool fits = options->dir != NULL && options->dir[0] != '\0';
    if (fits && options->socket_path != NULL) {
        fits = str_copy(server->socket_path, sizeof(server->socket_path), options->socket_path);
    } else if (fits) {
        fits = str_format(server->socket_path, sizeof(server->socket_path), "%s/store.sock",
                          options->dir);
    }
    server->group_access = options->group_access;
    return fits;
}

static enum err serve(struct store_server *server, const struct store_options *options,
                      struct err_detail *detail)
{
    enum err err = store_db_open(options->dir, options->no_sync, &server->db, detail);
    if (err != ERR_OK) {
        return err;
    }
    int rc = uv_loop_init(&server->loop);
    ASSERT(rc == 0); /* out of memory or descriptors at the start */
    err = store_sessions_init(&server->sessions, server->db, mono_now(), detail);
    if (err == ERR_OK) {
        err = store_server_start(server, detail);
    }
    if (err == ERR_OK) {
        log_info("store_ready", "dir=%s socket=%s revision=%llu sync=%s", options->dir,
                 server->socket_path, (unsigned long long)store_db_revision(server->db),
                 options->no_sync ? "off" : "full");
    } else {
        store_server_stop(server, 1);
    }
    rc = uv_run(&server->loop, UV_RUN_DEFAULT);
    ASSERT(rc == 0); /* ended because nothing is left in it */
    if (server->socket_stat.st_ino != 0) {
        socket_unlink(server);
    }
    rc = uv_loop_close(&server->loop);
    ASSERT(rc == 0);
    store_sessions_fini(&server->sessions);
    store_db_close(server->db);
    return err;
}

int store_main(const struct store_options *options)
{
    struct store_server server = {.db = NULL};
    if (!options_ok(options, &server)) {
        log_error("store_bad_options", "a directory is needed, and short enough names");
        return 2;
    }
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    int rc = sigaction(SIGPIPE, &ignore, NULL);
    ASSERT(rc == 0);
    struct err_detail detail = {0};
    enum err err = serve(&server, options, &detail);
    if (err != ERR_OK) {
        log_error("store_cannot_start", "%s", detail.text);
        return 1;
    }
    log_info("store_stopped", "status=%d", server.exit_status);
    return server.exit_status;
}
