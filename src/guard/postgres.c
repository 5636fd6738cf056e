/* The hard kill: a postmaster killed alone leaves backends that go on committing, and one that runs
 * on forks new ones. So it is stopped first, its children are killed, then it, and then everything
 * that still runs that executable in that data directory, looked for again until nothing is found.
 * "Ended" is told only then, whoever ended it. No step waits: the loop comes back for the next. */
#include "guard/guard.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "guard/proc.h"
#include "guard/spawn.h"

static void watch(struct guard *guard, pid_t pid, int pidfd, bool child)
{
    struct guard_postmaster *pm = &guard->postmaster;
    struct proc_stat stat = {.start_ticks = 0};
    (void)proc_stat_read(pid, &stat); /* unreaped child or checked by the caller */
    *pm = (struct guard_postmaster){
        .id = {.pid = pid, .start_ticks = stat.start_ticks},
        .pidfd = pidfd,
        .child = child,
        .status = -1,
        .start_pipe = -1,
    };
}

enum err guard_postgres_start(struct guard *guard, struct control_start *start,
                              struct err_detail *detail)
{
    if (guard->postmaster.id.pid != 0) {
        return err_set(detail, ERR_CONFLICT, "postmaster %lld runs",
                       (long long)guard->postmaster.id.pid);
    }
    pid_t pid = -1;
    int pipe_fd = -1;
    enum err err = spawn_postmaster(start, guard->zombie, guard->priority.oom_score_before, &pid,
                                    &pipe_fd, detail);
    if (err != ERR_OK) {
        return err;
    }
    int pidfd = proc_pidfd_open(pid);
    if (pidfd < 0) { /* out of descriptors or memory: what cannot be watched must not run */
        err = err_set_errno(detail, ERR_REFUSED, errno, "cannot watch the postmaster");
        (void)kill(pid, SIGKILL); /* our unreaped child */
        (void)close(pipe_fd);
        return err;
    }
    watch(guard, pid, pidfd, true);
    guard->zombie = 0;
    guard->postmaster.start_pipe = pipe_fd;
    guard->postmaster.start_id = start->head.id;
    page_postmaster_write(guard->page, &guard->postmaster.id);
    return ERR_OK;
}

static enum err adopt(struct guard *guard, const struct page_postmaster *id, bool child,
                      struct err_detail *detail)
{
    int pidfd = proc_pidfd_open((pid_t)id->pid);
    if (pidfd < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "process %lld", (long long)id->pid);
    }
    if (!proc_is((pid_t)id->pid, id->start_ticks)) {
        (void)close(pidfd);
        return err_set(detail, ERR_REFUSED, "process %lld is another one", (long long)id->pid);
    }
    watch(guard, (pid_t)id->pid, pidfd, child);
    guard->postmaster.id = *id;
    guard->postmaster.start_told = true;
    if (id->datadir.ino == 0) { /* a guard died in the middle of its start */
        (void)proc_cwd((pid_t)id->pid, &guard->postmaster.id.datadir);
    }
    guard_postgres_refresh(guard);
    page_postmaster_write(guard->page, &guard->postmaster.id);
    return ERR_OK;
}

enum err guard_postgres_adopt(struct guard *guard, pid_t pid, uint64_t start_ticks,
                              struct err_detail *detail)
{
    const struct page_postmaster *now = &guard->postmaster.id;
    if (now->pid != 0) {
        return now->pid == pid && now->start_ticks == start_ticks
                   ? ERR_OK
                   : err_set(detail, ERR_REFUSED, "postmaster %lld runs", (long long)now->pid);
    }
    struct page_postmaster id = {.pid = pid, .start_ticks = start_ticks};
    if (!proc_exe(pid, &id.exe) || !proc_cwd(pid, &id.datadir)) {
        return err_set(detail, ERR_REFUSED, "process %d is gone or not ours", pid);
    }
    struct proc_stat stat;
    bool child = proc_stat_read(pid, &stat) && stat.ppid == getpid();
    return adopt(guard, &id, child, detail);
}

void guard_postgres_resume(struct guard *guard)
{
    struct page_postmaster id;
    page_postmaster_read(guard->page, &id);
    guard->postmaster = (struct guard_postmaster){.pidfd = -1, .start_pipe = -1};
    if (id.pid == 0) {
        return;
    }
    struct proc_stat stat;
    bool child = proc_stat_read((pid_t)id.pid, &stat) && stat.ppid == getpid();
    struct err_detail detail;
    if (adopt(guard, &id, child, &detail) != ERR_OK) {
        /* It ended while no guard looked: its orphans may live on, so its end is gone through. */
        log_warn("postmaster_missed", "pid=%lld %s", (long long)id.pid, detail.text);
        guard->postmaster.id = id;
        guard->postmaster.status = -1;
        guard->postmaster.start_told = true;
        guard_postgres_ended(guard, mono_now());
    }
}

/* A start through a wrapper shows the wrapper's executable until that execs the server. */
void guard_postgres_refresh(struct guard *guard)
{
    struct guard_postmaster *pm = &guard->postmaster;
    struct page_inode exe;
    if (pm->id.pid == 0 || pm->dead || pm->start_pipe >= 0 || !proc_exe((pid_t)pm->id.pid, &exe) ||
        (exe.dev == pm->id.exe.dev && exe.ino == pm->id.exe.ino)) {
        return;
    }
    pm->id.exe = exe;
    page_postmaster_write(guard->page, &pm->id);
}

void guard_postgres_fast(struct guard *guard)
{
    const struct guard_postmaster *pm = &guard->postmaster;
    if (pm->id.pid != 0 && !pm->dead) {
        (void)proc_pidfd_signal(pm->pidfd,
                                SIGINT); /* fails when it has just ended: then all is well */
    }
}

void guard_postgres_hard(struct guard *guard, struct mono now)
{
    struct guard_postmaster *pm = &guard->postmaster;
    if (pm->id.pid == 0) {
        return;
    }
    if (!pm->dead) {
        guard_postgres_refresh(guard);
        (void)proc_pidfd_signal(pm->pidfd, SIGSTOP); /* each fails only when it is dead already */
        pm->killed = proc_kill_children((pid_t)pm->id.pid);
        (void)proc_pidfd_signal(pm->pidfd, SIGKILL);
    }
    pm->ending = true;
    pm->kill_from = now;
    pm->scan_at = now;
    pm->scan_pause_ms = 1;
}

/* The start's pipe: a report before the exec, its end after it, or a failure instead. */
void guard_postgres_started(struct guard *guard)
{
    struct guard_postmaster *pm = &guard->postmaster;
    struct spawn_report report;
    ssize_t got = read(pm->start_pipe, &report, sizeof(report));
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got == sizeof(report)) {
        if (report.step == SPAWN_READY) {
            pm->id.datadir = report.datadir;
            pm->id.exe = report.exe;
            page_postmaster_write(guard->page, &pm->id);
        } else {
            pm->start_step = report.step;
            pm->start_errno = report.sys_errno != 0 ? report.sys_errno : EIO;
        }
        return;
    }
    (void)close(pm->start_pipe); /* a pipe: nothing to lose */
    pm->start_pipe = -1;
    if (pm->start_errno != 0 || pm->id.datadir.ino == 0) {
        return; /* told when it has ended */
    }
    (void)proc_exe((pid_t)pm->id.pid, &pm->id.exe); /* ended already: the file's inode stands */
    page_postmaster_write(guard->page, &pm->id);
    pm->start_told = true;
    union control_answer packet;
    control_init(&packet, CONTROL_STARTED, pm->start_id);
    packet.started.pid = pm->id.pid;
    packet.started.start_ticks = pm->id.start_ticks;
    guard_control_send(guard, &packet);
    log_info("postgres_started", "pid=%lld", (long long)pm->id.pid);
}

void guard_postgres_ended(struct guard *guard, struct mono now)
{
    struct guard_postmaster *pm = &guard->postmaster;
    if (pm->start_pipe >= 0) {
        /* What it still had to say; twice, since a report and the end may both be waiting. */
        guard_postgres_started(guard);
        if (pm->start_pipe >= 0) {
            guard_postgres_started(guard);
        }
    }
    pm->dead = true;
    if (pm->pidfd >= 0) {
        (void)close(pm->pidfd);
        pm->pidfd = -1;
    }
    if (pm->child && !pm->reaped &&
        waitpid((pid_t)pm->id.pid, &pm->status, WNOHANG) == (pid_t)pm->id.pid) {
        pm->reaped = true;
    }
    if (!pm->ending) {
        /* A postmaster that ends with 0 waited for all that can write; only its log collector
         * may be left, with the last lines in its hands. */
        bool clean = pm->reaped && WIFEXITED(pm->status) && WEXITSTATUS(pm->status) == 0;
        pm->kill_from = clean ? mono_add(now, GUARD_DRAIN_MS) : now;
        pm->ending = true;
    }
    pm->scan_at = now;
    pm->scan_pause_ms = 1;
}

void guard_postgres_forget(struct guard *guard)
{
    struct guard_postmaster *pm = &guard->postmaster;
    ASSERT(!page_armed(guard->page, NULL));
    if (pm->id.pid == 0 || pm->ending || pm->start_pipe >= 0) {
        return; /* nothing is left half done */
    }
    log_warn("postgres_forgotten", "pid=%lld why=\"another cluster's\"", (long long)pm->id.pid);
    (void)close(pm->pidfd); /* a pidfd: nothing to lose */
    *pm = (struct guard_postmaster){.pidfd = -1, .start_pipe = -1};
    const struct page_postmaster none = {.pid = 0};
    page_postmaster_write(guard->page, &none);
}

struct scan {
    const struct guard_postmaster *pm;
    bool kill;
    uint32_t found;
};

static void scan_one(pid_t pid, int proc_fd, void *arg)
{
    struct scan *scan = arg;
    if (pid == scan->pm->id.pid || pid == getpid() ||
        !proc_fd_matches(proc_fd, &scan->pm->id.exe, &scan->pm->id.datadir)) {
        return;
    }
    scan->found++;
    if (scan->kill) {
        (void)proc_pidfd_signal(proc_fd, SIGKILL); /* fails when it has just ended */
    }
}

static void tell_end(struct guard *guard)
{
    struct guard_postmaster *pm = &guard->postmaster;
    bool reaped = pm->child && pm->reaped;
    if (!pm->start_told) {
        struct err_detail detail;
        (void)err_set_errno(&detail, ERR_REFUSED, pm->start_errno != 0 ? pm->start_errno : ECHILD,
                            "start failed at its %s", spawn_step_name(pm->start_step));
        guard_control_refuse(guard, pm->start_id, ERR_REFUSED, &detail);
        return;
    }
    const struct page_exit end = {
        .pid = pm->id.pid, .status = pm->status, .orphans_killed = pm->killed, .reaped = reaped};
    page_exit_write(guard->page, &end);
    union control_answer packet;
    control_init(&packet, CONTROL_EXITED, 0);
    packet.exited.pid = pm->id.pid;
    packet.exited.status = pm->status;
    packet.exited.orphans_killed = pm->killed;
    packet.exited.reaped = reaped;
    guard_control_send(guard, &packet);
    log_info("postgres_ended", "pid=%lld status=%d killed=%llu reaped=%d", (long long)pm->id.pid,
             pm->status, (unsigned long long)pm->killed, reaped);
}

void guard_postgres_work(struct guard *guard, struct mono now)
{
    struct guard_postmaster *pm = &guard->postmaster;
    if (!pm->ending || mono_before(now, pm->scan_at)) {
        return;
    }
    if (!pm->dead && proc_pidfd_ended(pm->pidfd)) {
        guard_postgres_ended(guard, now);
    }
    struct scan scan = {.pm = pm, .kill = !mono_before(now, pm->kill_from)};
    bool dead = pm->dead; /* before the scan: only what was looked for after its death counts */
    proc_each(scan_one, &scan);
    if (scan.kill && scan.found > pm->killed) {
        pm->killed = scan.found; /* a process may be seen by several scans before it is gone */
    }
    if (!dead || scan.found > 0) {
        pm->scan_at = mono_add(now, pm->scan_pause_ms);
        pm->scan_pause_ms =
            pm->scan_pause_ms * 2 > GUARD_SCAN_MS_MAX ? GUARD_SCAN_MS_MAX : pm->scan_pause_ms * 2;
        return;
    }
    const struct page_postmaster none = {.pid = 0};
    page_postmaster_write(guard->page, &none);
    tell_end(guard);
    struct proc_stat stat;
    bool lingers = !(pm->child && pm->reaped) && proc_stat_read((pid_t)pm->id.pid, &stat) &&
                   stat.start_ticks == pm->id.start_ticks;
    guard->zombie = lingers ? (pid_t)pm->id.pid : 0;
    if (pm->start_pipe >= 0) {
        (void)close(pm->start_pipe); /* a pipe: nothing to lose */
    }
    *pm = (struct guard_postmaster){.pidfd = -1, .start_pipe = -1};
}
