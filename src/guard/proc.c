/* Pids are recycled, /proc directories are not: a descriptor of /proc/PID stays with its process,
 * so looking and then killing through it can never hit a stranger. Directories are read with
 * getdents64 into static memory, because the guard must not allocate. */
#include "guard/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

#define CHILDREN_TEXT_SIZE 16384
#define CHILDREN_MAX 2048
#define PROC_NAME_SIZE 64

static const char *skip_field(const char *at, const char *end)
{
    while (at < end && *at != ' ') {
        at++;
    }
    while (at < end && *at == ' ') {
        at++;
    }
    return at;
}

/* The digits at `at`; false when there is none or it is too large. */
static bool digits(const char *at, const char *end, uint64_t *out_value)
{
    uint64_t value = 0;
    const char *start = at;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    if (at == start) {
        return false;
    }
    *out_value = value;
    return true;
}

bool proc_parse_stat(const char *text, size_t length, struct proc_stat *out_stat)
{
    /* The command is the only field that may hold anything: what counts is its last parenthesis. */
    const char *end = text + length;
    const char *close_paren = memrchr(text, ')', length);
    if (close_paren == NULL || end - close_paren < 4 || close_paren[1] != ' ') {
        return false;
    }
    const char *at = close_paren + 2; /* field 3 */
    struct proc_stat stat = {.state = *at};
    at = skip_field(at, end); /* 4 */
    uint64_t ppid;
    if (!digits(at, end, &ppid) || ppid > INT32_MAX) {
        return false;
    }
    stat.ppid = (pid_t)ppid;
    for (int field = 4; field < 22; field++) {
        at = skip_field(at, end);
    }
    if (!digits(at, end, &stat.start_ticks)) {
        return false;
    }
    *out_stat = stat;
    return true;
}

size_t proc_parse_children(const char *text, size_t length, pid_t *out_pids, size_t pids_max)
{
    const char *end = text + length;
    size_t count = 0;
    for (const char *at = text; at < end && count < pids_max; at = skip_field(at, end)) {
        uint64_t pid;
        if (!digits(at, end, &pid) || pid == 0 || pid > INT32_MAX) {
            break;
        }
        out_pids[count++] = (pid_t)pid;
    }
    return count;
}

/* Answers the bytes read, -1 on error; what exceeds size is left out. */
static ssize_t read_file(const char *path, char *buffer, size_t size)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    size_t used = 0;
    while (used < size) {
        ssize_t got = read(fd, buffer + used, size - used);
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        used += (size_t)got;
    }
    return (ssize_t)used;
}

bool proc_stat_read(pid_t pid, struct proc_stat *out_stat)
{
    char path[PROC_NAME_SIZE];
    char text[1024];
    if (!str_format(path, sizeof(path), "/proc/%d/stat", pid)) {
        return false;
    }
    ssize_t length = read_file(path, text, sizeof(text));
    return length > 0 && proc_parse_stat(text, (size_t)length, out_stat);
}

bool proc_is(pid_t pid, uint64_t start_ticks)
{
    struct proc_stat stat;
    return pid > 0 && proc_stat_read(pid, &stat) && stat.start_ticks == start_ticks;
}

void proc_self(struct page_process *out_process)
{
    struct proc_stat stat = {.start_ticks = 0};
    bool known = proc_stat_read(getpid(), &stat);
    *out_process =
        (struct page_process){.pid = getpid(), .start_ticks = known ? stat.start_ticks : 0};
}

/* Follows the magic link to the inode itself: right also for a file that was replaced since. */
static bool inode_at(int dir_fd, const char *path, struct page_inode *out_inode)
{
    struct stat st;
    if (fstatat(dir_fd, path, &st, 0) != 0) {
        return false;
    }
    *out_inode = (struct page_inode){.dev = st.st_dev, .ino = st.st_ino};
    return true;
}

bool proc_exe(pid_t pid, struct page_inode *out_exe)
{
    char path[PROC_NAME_SIZE];
    return str_format(path, sizeof(path), "/proc/%d/exe", pid) && inode_at(AT_FDCWD, path, out_exe);
}

bool proc_cwd(pid_t pid, struct page_inode *out_cwd)
{
    char path[PROC_NAME_SIZE];
    return str_format(path, sizeof(path), "/proc/%d/cwd", pid) && inode_at(AT_FDCWD, path, out_cwd);
}

static bool inode_equal(const struct page_inode *a, const struct page_inode *b)
{
    return a->ino != 0 && a->ino == b->ino && a->dev == b->dev;
}

bool proc_fd_matches(int proc_fd, const struct page_inode *exe, const struct page_inode *cwd)
{
    struct page_inode found;
    return inode_at(proc_fd, "exe", &found) && inode_equal(&found, exe) &&
           inode_at(proc_fd, "cwd", &found) && inode_equal(&found, cwd);
}

static void see_name(int proc_dir, const char *name, proc_see *see, void *arg)
{
    uint64_t pid;
    if (!str_to_u64(name, &pid) || pid == 0 || pid > INT32_MAX) {
        return;
    }
    AUTO_CLOSE int proc_fd = openat(proc_dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc_fd >= 0) {
        see((pid_t)pid, proc_fd, arg);
    }
}

void proc_each(proc_see *see, void *arg)
{
    static _Alignas(struct dirent64) char buffer[8192];
    AUTO_CLOSE int proc_dir = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc_dir < 0) {
        return;
    }
    for (;;) {
        long got = syscall(SYS_getdents64, proc_dir, buffer, sizeof(buffer));
        if (got <= 0) {
            return;
        }
        for (long at = 0; at < got;) {
            const struct dirent64 *entry = (const void *)(buffer + at);
            ASSERT(entry->d_reclen > 0);
            see_name(proc_dir, entry->d_name, see, arg);
            at += entry->d_reclen;
        }
    }
}

struct by_parent {
    pid_t ppid;
    uint32_t killed;
};

static void kill_by_parent(pid_t pid, int proc_fd, void *arg)
{
    struct by_parent *by = arg;
    struct proc_stat stat;
    if (proc_stat_read(pid, &stat) && stat.ppid == by->ppid &&
        proc_pidfd_signal(proc_fd, SIGKILL) == 0) {
        by->killed++;
    }
}

uint32_t proc_kill_children(pid_t pid)
{
    static char text[CHILDREN_TEXT_SIZE];
    static pid_t pids[CHILDREN_MAX];
    char path[PROC_NAME_SIZE];
    ASSERT(pid > 1);
    ssize_t length = -1;
    if (str_format(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid)) {
        length = read_file(path, text, sizeof(text));
    }
    if (length < 0) { /* a kernel without CONFIG_PROC_CHILDREN */
        struct by_parent by = {.ppid = pid};
        proc_each(kill_by_parent, &by);
        return by.killed;
    }
    size_t used = (size_t)length;
    while (used == sizeof(text) && used > 0 && text[used - 1] != ' ') {
        used--; /* a number cut by the buffer would name a stranger */
    }
    size_t count = proc_parse_children(text, used, pids, CHILDREN_MAX);
    uint32_t killed = 0;
    for (size_t i = 0; i < count; i++) {
        killed += kill(pids[i], SIGKILL) == 0; /* not recycled: its parent is stopped */
    }
    return killed;
}

int proc_pidfd_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */
}

int proc_pidfd_signal(int pidfd, int signal_number)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal_number, NULL, 0);
}

bool proc_pidfd_ended(int pidfd)
{
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN) != 0;
}
