/* guard/spawn.h - the guard's children are born here.
 *
 * Purpose    fork and exec the agent, the postmaster, a probe of a new binary, the log's writer.
 * Ownership  descriptors given stay the caller's; spawn_init's environment is kept by pointer.
 * Errors     ERR_REFUSED with errno when no process could be made. What happens in the child is
 *            told through its exit code, for the postmaster through a pipe of struct spawn_report.
 * Threads    one.
 */
#ifndef HOLDFAST_GUARD_SPAWN_H
#define HOLDFAST_GUARD_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "guard/control.h"
#include "guard/page.h"

/* What the postmaster-to-be tells on its pipe before the exec, or instead of it. */
enum spawn_step { SPAWN_DATA_DIR, SPAWN_LOG, SPAWN_EXEC, SPAWN_READY, SPAWN_STEP_COUNT };

struct spawn_report {
    uint32_t step;
    int32_t sys_errno; /* 0: SPAWN_READY, the exec comes next; the pipe's end means it was done */
    struct page_inode datadir;
    struct page_inode exe;
};

/* The text for people of a failed step. */
const char *spawn_step_name(uint32_t step);

/* Once at the start: splits the environment into what agents and servers get. */
enum err spawn_init(const char *guard_binary, const char *agent_binary,
                    struct err_detail *detail) MUST_CHECK;

/* True for what a server must not inherit: HOLDFAST_*, PATRONI_*, systemd's own. */
bool spawn_hides(const char *variable);

/* What an agent inherits from the guard. */
struct spawn_inheritance {
    int page_fd;
    int control_fd;
    int64_t oom_score;
};

enum err spawn_agent(const char *binary, char *const *argv,
                     const struct spawn_inheritance *inheritance, pid_t *out_pid,
                     struct err_detail *detail) MUST_CHECK;

/* out_pipe (non-blocking, close-on-exec) becomes the caller's. zombie: a pid that has to be gone
 * before the exec, 0 for none. */
enum err spawn_postmaster(struct control_start *start, pid_t zombie, int64_t oom_score,
                          pid_t *out_pid, int *out_pipe, struct err_detail *detail) MUST_CHECK;

/* Runs `binary arguments...` with nothing to read and nowhere to write. */
enum err spawn_probe(const char *binary, char *const *argv, pid_t *out_pid,
                     struct err_detail *detail) MUST_CHECK;

/* The log's writer: the guard's lines go into a pipe that never blocks it, and a process of its own
 * carries them on. out_fd: the pipe's writing end. */
enum err spawn_log_writer(int64_t oom_score, pid_t *out_pid, int *out_fd,
                          struct err_detail *detail) MUST_CHECK;

#endif
