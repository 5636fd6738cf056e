/* guard/proc.h - what /proc says about processes.
 *
 * Purpose    identities safe against recycled pids, children, and all processes of one server.
 * Ownership  nothing is allocated; descriptors are the caller's.
 * Errors     false: gone, or not ours to see.
 * Units      start_ticks: field 22 of /proc/PID/stat.
 * Threads    one (proc_each keeps its buffer in static memory).
 */
#ifndef HOLDFAST_GUARD_PROC_H
#define HOLDFAST_GUARD_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "guard/page.h"

struct proc_stat {
    pid_t ppid;
    char state; /* 'Z': a zombie */
    uint64_t start_ticks;
};

/* Parses the text of /proc/PID/stat; the command in it may hold blanks and parentheses. */
bool proc_parse_stat(const char *text, size_t length, struct proc_stat *out_stat);

/* Parses "12 34 " (/proc/PID/task/TID/children): the pids, at most pids_max of them; what is no
 * number ends it. */
size_t proc_parse_children(const char *text, size_t length, pid_t *out_pids, size_t pids_max);

/* Reads and parses /proc/PID/stat. */
bool proc_stat_read(pid_t pid, struct proc_stat *out_stat);

/* True when pid lives (or is a zombie) and started at start_ticks. */
bool proc_is(pid_t pid, uint64_t start_ticks);

/* Fills pid and start_ticks of this process. */
void proc_self(struct page_process *out_process);

/* The executable of a process and the directory it stands in; false leaves out untouched. */
bool proc_exe(pid_t pid, struct page_inode *out_exe);
bool proc_cwd(pid_t pid, struct page_inode *out_cwd);

/* Calls see for every process with its pid and a descriptor of its /proc directory, which is valid
 * during the call and stands for that very process (pidfd_send_signal takes it). */
typedef void proc_see(pid_t pid, int proc_fd, void *arg);
void proc_each(proc_see *see, void *arg);

/* True when the process behind proc_fd runs exe and stands in cwd. */
bool proc_fd_matches(int proc_fd, const struct page_inode *exe, const struct page_inode *cwd);

/* Sends SIGKILL to the children of a (stopped) process; answers to how many. */
uint32_t proc_kill_children(pid_t pid);

/* Small wrappers, for libcs that lack them. */
int proc_pidfd_open(pid_t pid);
int proc_pidfd_signal(int pidfd, int signal_number);

/* True when the process behind the pidfd has ended. */
bool proc_pidfd_ended(int pidfd);

#endif
