/* agent/file_replace.h - a small file is replaced whole, and durably.
 *
 * Purpose    write beside it, fsync, rename, fsync the directory: whatever dies in between leaves
 *            either the old complete file or the new one.
 * Ownership  a writer is embedded in its owner, zeroed before its first use, and stays untouched
 *            until its callback; path and text are copied.
 * Errors     ERR_OK only when the file and its directory were synced; else ERR_INVALID.
 * Callbacks  exactly once, on a later loop turn.
 * Threads    loop thread; the writing and both syncs run in libuv's pool.
 */
#ifndef HOLDFAST_AGENT_FILE_REPLACE_H
#define HOLDFAST_AGENT_FILE_REPLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "base/err.h"
#include "base/limits.h"

#define FILE_LOAD_MAX 65536 /* larger ones are ERR_INVALID */

typedef void (*file_replace_cb)(enum err err, const struct err_detail *detail, void *arg);

struct file_writer {
    uv_work_t work;
    bool active;
    char path[PATH_SIZE];
    char *text; /* malloc'd */
    enum err err;
    struct err_detail detail;
    file_replace_cb cb;
    void *arg;
};

/* path is absolute. One write of a writer at a time (ASSERT). */
void file_replace_start(uv_loop_t *loop, struct file_writer *writer, const char *path,
                        const char *text, file_replace_cb cb, void *arg);

/* Reads now, blocking: for the start. The text is malloc'd and NUL-terminated; no file: ERR_OK and
 * NULL. */
enum err file_load(const char *path, char **out_text, size_t *out_size,
                   struct err_detail *detail) MUST_CHECK;

#endif
