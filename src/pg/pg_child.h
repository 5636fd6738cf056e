/* pg/pg_child.h - PostgreSQL's own programs, run and watched by the loop.
 *
 * Purpose    spawn initdb, pg_basebackup, pg_rewind, pg_controldata ... in a session (so: a process
 *            group) of their own, with stdin closed; collect what they print; kill all of them.
 * Ownership  struct pg_child is embedded and reused; strings need live only for the call.
 * Callbacks  done_cb exactly once after a successful start, when the process is reaped and both pipes
 *            are at their end; line_cb before it, a line at a time.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_PG_PG_CHILD_H
#define HOLDFAST_PG_PG_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"

#define PG_CHILD_OUTPUT_SIZE 16384
#define PG_CHILD_TAIL_SIZE 1024
#define PG_CHILD_LINE_SIZE 1024

struct pg_child_line {
    char text[PG_CHILD_LINE_SIZE];
    size_t used;
};

struct pg_child_result {
    int exit_status; /* -1: ended by a signal */
    int signal;
    const char *output; /* stdout from its start, as far as kept */
    const char *tail;   /* the last lines of stderr */
};

typedef void (*pg_child_done_cb)(const struct pg_child_result *result, void *arg);
/* from_stderr: which of the two it came from. */
typedef void (*pg_child_line_cb)(const char *line, bool from_stderr, void *arg);

struct pg_child {
    uv_process_t process;
    uv_pipe_t out;
    uv_pipe_t err;
    int open_handles; /* the callback fires when it falls to 0 */
    pid_t group;      /* 0: nothing runs */
    int exit_status;
    int signal;
    char output[PG_CHILD_OUTPUT_SIZE];
    size_t output_used;
    char tail[PG_CHILD_TAIL_SIZE];
    size_t tail_used;
    struct pg_child_line out_line;
    struct pg_child_line err_line;
    char buffer[4096];
    pg_child_line_cb line_cb;
    pg_child_done_cb done_cb;
    void *arg;
};

struct pg_child_spawn {
    const char *const *argv;        /* NULL-terminated; argv[0] is looked up in PATH without '/' */
    const char *const *environment; /* NULL-terminated NAME=value, over the own environment */
    pg_child_line_cb line_cb;       /* NULL: none */
};

bool pg_child_running(const struct pg_child *child);

/* ERR_REFUSED: no process could be made; done_cb does not fire then. */
enum err pg_child_start(struct pg_child *child, uv_loop_t *loop, const struct pg_child_spawn *spawn,
                        pg_child_done_cb done_cb, void *arg, struct err_detail *detail) MUST_CHECK;

/* SIGKILL to the whole group; done_cb follows. Nothing when nothing runs. */
void pg_child_kill(struct pg_child *child);

#endif
