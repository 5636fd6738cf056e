/* lab/process.h - processes by identity, not by number.
 *
 * Purpose    find, signal and await exactly the processes of a lab.
 * Ownership  nothing is allocated.
 * Errors     false: gone, or not ours to see.
 * Units      start_ticks: field 22 of /proc/PID/stat, which tells a recycled pid from the process.
 * Threads    any.
 */
#ifndef HOLDFAST_LAB_PROCESS_H
#define HOLDFAST_LAB_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/time.h"

#define PROCESS_LIST_MAX 512

struct process_id {
    pid_t pid; /* 0: none */
    uint64_t start_ticks;
};

enum process_kind {
    PROCESS_GUARD,
    PROCESS_LOG, /* carries the guard's lines */
    PROCESS_AGENT,
    PROCESS_POSTMASTER,
    PROCESS_BACKEND, /* any other PostgreSQL of the node */
    PROCESS_OTHER,   /* started by one of these: pg_basebackup, pg_rewind */
    PROCESS_STORE,
    PROCESS_KIND_COUNT
};

struct process {
    struct process_id id;
    pid_t ppid;
    enum process_kind kind;
    bool stopped;
};

struct process_list {
    size_t count;
    struct process at[PROCESS_LIST_MAX];
};

/* The identity of a running pid. */
bool process_identify(pid_t pid, struct process_id *out_id);

/* Runs (a zombie does not). */
bool process_runs(const struct process_id *id);

/* Sends the signal to that very process; false: it is gone. */
bool process_signal(const struct process_id *id, int signal_number);

/* True once it is gone, its zombie too where somebody else has to reap it. */
bool process_await_end(const struct process_id *id, struct mono deadline);

/* All that belongs to the node whose agent was given config and whose server lives in data_dir:
 * guard and agent are known by that argument, servers by program and directory, the rest by
 * descent. */
void process_list_node(const char *config, const char *data_dir, struct process_list *out_list);

/* The first of a kind; NULL: none. */
const struct process *process_first(const struct process_list *list, enum process_kind kind);

/* Starts a program in a session of its own with its output appended to a file; it outlives us. */
enum err process_launch(char *const *argv, const char *log_path, struct process_id *out_id,
                        struct err_detail *detail) MUST_CHECK;

/* Runs a program to its end and keeps what it printed (cut to fit). ERR_REFUSED: it failed; the
 * detail has its last words. environment: NULL-terminated NAME=VALUE pairs to add, or NULL. */
enum err process_capture(char *const *argv, char *const *environment, char *out, size_t out_size,
                         struct err_detail *detail) MUST_CHECK;

/* Waits that long or until one of our signal handlers ran. */
void process_pause_ms(int64_t ms);

#endif
