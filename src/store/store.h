/* store/store.h - the local store as a process (docs/local-store.md).
 *
 * Purpose    `holdfast store`: serve one directory on one unix socket until SIGTERM or SIGINT.
 * Ownership  options are the caller's and must last as long as the call.
 * Errors     told by log lines and the exit status: 0 stopped in order, 1 could not start or had to
 *            end (directory removed, disk failed), 2 bad options.
 * Threads    takes over the calling thread, its signals and a loop of its own.
 */
#ifndef HOLDFAST_STORE_STORE_H
#define HOLDFAST_STORE_STORE_H

#include <stdbool.h>

struct store_options {
    const char *dir;         /* made when missing; the process needs it for itself alone */
    const char *socket_path; /* NULL: DIR/store.sock */
    bool no_sync;            /* survives kill -9 but not a power loss: tests only */
    bool group_access;       /* socket 0660, and peers of our group may speak; else 0600 and only
                              * our own user and root */
};

int store_main(const struct store_options *options);

#endif
