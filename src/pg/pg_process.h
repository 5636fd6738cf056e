/* pg/pg_process.h - who starts, watches and ends the postmaster for the PostgreSQL layer.
 *
 * Purpose    the few calls that the guard does for us (design section 2), behind function pointers,
 *            so that the layer does not know the guard; tests bring an implementation of their own.
 * Ownership  struct pg_process is copied by pg_create; arg belongs to the implementation and has to
 *            outlive the struct pg.
 * Callbacks  answers come through pg_postmaster_started and pg_postmaster_exited, never inside the
 *            call.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_PG_PG_PROCESS_H
#define HOLDFAST_PG_PG_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct pg_process_start {
    const char *const *argv; /* NULL-terminated; argv[0] is the executable */
    const char *log_path;    /* gets stdout and stderr, appended */
    const char *data_dir;
    bool as_primary; /* it comes up accepting writes: INV-3 is checked for it */
};

struct pg_process {
    void *arg;
    /* The request is copied. Answered once by pg_postmaster_started. */
    void (*start)(void *arg, const struct pg_process_start *request);
    /* Watch a postmaster that runs already; its end is told by pg_postmaster_exited. */
    void (*adopt)(void *arg, int64_t pid, uint64_t start_ticks);
    /* fast: SIGINT. hard: the postmaster, its children and its orphans die now. No answer but the
     * end; nothing happens when there is no postmaster. */
    void (*stop)(void *arg, bool hard);
};

#endif
