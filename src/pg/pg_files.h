/* pg/pg_files.h - files and directory trees; everything here blocks.
 *
 * Purpose    what the pool does for the layer: read, replace, copy, remove, look around in /proc.
 * Errors     ERR_INVALID with errno's text; a missing file is told apart where callers need it.
 * Threads    any: no global state. Small files may be read on the loop.
 */
#ifndef HOLDFAST_PG_PG_FILES_H
#define HOLDFAST_PG_PG_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/limits.h"

/* Reads a whole small file; out is NUL-terminated. False: absent, unreadable or larger than out. */
bool pg_file_read(const char *path, char *out, size_t out_size) MUST_CHECK;

/* Replaces a file whole (temporary file, rename). durable: the file and its directory are fsynced. */
enum err pg_file_write(const char *path, const char *text, mode_t mode, bool durable,
                       struct err_detail *detail) MUST_CHECK;

/* Copies one file and fsyncs the copy. */
enum err pg_file_copy(const char *from, const char *to, struct err_detail *detail) MUST_CHECK;

enum err pg_dir_fsync(const char *path, struct err_detail *detail) MUST_CHECK;

/* mkdir that accepts an existing directory. */
enum err pg_dir_make(const char *path, mode_t mode, struct err_detail *detail) MUST_CHECK;

/* Empty: nothing but dotfiles and lost+found. An absent directory is empty. errno in *out_errno when
 * it cannot be read (false then). */
bool pg_dir_empty(const char *path, int *out_errno) MUST_CHECK;

/* Removes everything in the directory, not itself; symbolic links are removed, not followed. */
enum err pg_dir_clear(const char *path, struct err_detail *detail) MUST_CHECK;

/* A data directory's content with what its links reach: pg_wal and the tablespaces. The directory
 * itself stays, since it may be a mount point or its parent may not be ours. */
enum err pg_datadir_clear(const char *data_dir, struct err_detail *detail) MUST_CHECK;

/* The last bytes of a file, from a line's start; "" when there are none. offset: not before this. */
void pg_file_tail(const char *path, int64_t offset, char *out, size_t out_size);

/* Where the reason of a server's end begins in its log: its last PANIC, else its last FATAL that was
 * not meant for a client that came too early or too late. NULL: there is none. */
const char *pg_log_reason(const char *text);

/* What to show of it in `room` bytes: where its last ones begin, so that the reason has what led to
 * it before it; or the reason, when that stands further ahead. */
const char *pg_log_shown(const char *text, size_t room);

/* ---- /proc ---- */

struct pg_proc {
    char state; /* 'Z': a zombie */
    int64_t ppid;
    uint64_t start_ticks;
};

/* False: no such process. */
bool pg_proc_stat(int64_t pid, struct pg_proc *out_proc) MUST_CHECK;

/* Whether the process is a postgres of this data directory, by executable and working directory.
 * 1 yes, 0 no, -1 cannot tell. */
int pg_proc_is_postgres(int64_t pid, const char *data_dir);

/* Any process for which pg_proc_is_postgres says yes; 0: none. -1: one of which it cannot be told. */
int64_t pg_proc_find(const char *data_dir);

/* The machine's boot, in seconds since 1970; 0: unknown. */
int64_t pg_proc_boot_time(void);

/* Sends a signal to exactly this process, never to a recycled pid. False: it is gone. */
bool pg_proc_signal(int64_t pid, uint64_t start_ticks, int signal_number);

#endif
