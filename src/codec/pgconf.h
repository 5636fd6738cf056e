/* codec/pgconf.h - the files in a data directory that we write or read.
 *
 * Purpose    render postgresql.conf lines, clean postgresql.auto.conf, read postmaster.pid, read
 *            pg_basebackup's progress.
 * Ownership  struct pgconf_text writes into the caller's buffer.
 * Errors     an overflow is remembered in `full`; readers answer false for text that is not theirs.
 * Threads    any; pure.
 * Source     compat/config.md sections 5.1 to 5.3.
 */
#ifndef HOLDFAST_CODEC_PGCONF_H
#define HOLDFAST_CODEC_PGCONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

struct pgconf_text {
    char *data; /* always NUL-terminated */
    size_t size;
    size_t used;
    bool full;
};

void pgconf_text_init(struct pgconf_text *text, char *buffer, size_t size);
void pgconf_text_add(struct pgconf_text *text, const char *format, ...) PRINTF_LIKE(2, 3);

/* name = 'value' and a newline; `'` and `\` are doubled. */
void pgconf_text_setting(struct pgconf_text *text, const char *name, const char *value);

/* GUC names are case-insensitive. */
bool pgconf_same_name(const char *a, const char *b);

/* Names that belong into the recovery section (restore_command, recovery_target ...). */
bool pgconf_is_recovery(const char *name);

/* Names that recovery_conf may not set: the upstream and the target are decided elsewhere. */
bool pgconf_is_recovery_forbidden(const char *name);

/* Names that the agent puts on the command line: never in the file. */
bool pgconf_is_command_line(const char *name);

/* Copies `in` without the lines that set a recovery parameter. *out_changed: some were dropped. */
void pgconf_auto_clean(const char *in, struct pgconf_text *out, bool *out_changed);

/* The value of `# holdfast_upstream = 'NAME'` in a postgresql.conf of ours; "" when absent. */
void pgconf_upstream(const char *conf, char out_name[NAME_SIZE]);
#define PGCONF_UPSTREAM_FORMAT "# holdfast_upstream = '%s'\n"

enum pgconf_pid_status {
    PGCONF_PID_UNKNOWN,
    PGCONF_PID_STARTING,
    PGCONF_PID_STOPPING,
    PGCONF_PID_READY,
    PGCONF_PID_STANDBY, /* up, but accepts no queries (hot_standby off) */
};

struct pgconf_pidfile {
    int64_t pid;        /* negative: a single-user server */
    int64_t start_time; /* seconds since 1970 */
    enum pgconf_pid_status status;
};

/* postmaster.pid; a file still being written (one line) is accepted as far as it goes. */
bool pgconf_pidfile_parse(const char *text, struct pgconf_pidfile *out_pidfile) MUST_CHECK;

/* "  1234/5678 kB (21%), 0/1 tablespace": bytes done and in all. */
bool pgconf_progress_parse(const char *line, int64_t *out_done, int64_t *out_total) MUST_CHECK;

#endif
