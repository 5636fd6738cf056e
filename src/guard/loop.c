/* One poll loop. The lease comes first after every wake, and its end is a timer of its own; nothing
 * in the loop waits for anything else than poll (children open files, a process of its own writes
 * the log), so nothing can stand between the lease's end and what it demands (INV-4). */
#include "guard/guard.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/notify.h"
#include "guard/lease.h"
#include "guard/spawn.h"

/* Later than this after the time asked for, the guard itself was not running. */
#define STALL_MS 50

static void tell_fence(struct guard *guard, enum page_fence fence, uint64_t epoch, struct mono now)
{
    union control_answer packet;
    control_init(&packet, CONTROL_FENCED, 0);
    packet.fenced.stage = fence;
    packet.fenced.epoch = epoch;
    packet.fenced.at_ms = now.ms;
    guard_control_send(guard, &packet);
    log_error("fenced", "stage=%d epoch=%llu pid=%lld", (int)fence, (unsigned long long)epoch,
              (long long)guard->postmaster.id.pid);
}

void guard_lease_enforce(struct guard *guard, struct mono now)
{
    struct lease_state state;
    if (!page_armed(guard->page, &state.armed_epoch)) {
        guard->lease_wake = MONO_NEVER;
        return;
    }
    state.fence = page_fence_read(guard->page, &state.hard_at);
    struct page_lease lease;
    page_lease_read(guard->page, &lease);
    const struct lease_verdict verdict = lease_judge(&lease, &state, now);
    ASSERT(verdict.fence >= state.fence);
    guard->lease_wake = verdict.wake_at;
    if (verdict.fence == state.fence) {
        if (verdict.fence == PAGE_FENCE_FAST && mono_before(verdict.hard_at, state.hard_at)) {
            page_fence_write(guard->page, PAGE_FENCE_FAST, verdict.hard_at);
        }
        return;
    }
    /* The deed before the record: a successor that finds no record does it again, which is
     * harmless. */
    if (verdict.fence == PAGE_FENCE_FAST) {
        guard_postgres_fast(guard);
    } else {
        guard_postgres_hard(guard, now);
    }
    page_fence_write(guard->page, verdict.fence, verdict.hard_at);
    if (guard->postmaster.id.pid != 0) { /* a lease given away has no server left to end */
        tell_fence(guard, verdict.fence, state.armed_epoch, now);
    }
}

enum page_fence guard_fence(const struct guard *guard)
{
    return page_armed(guard->page, NULL) ? page_fence_read(guard->page, NULL) : PAGE_FENCE_NONE;
}

void guard_fence_again(struct guard *guard, struct mono now)
{
    switch (guard_fence(guard)) {
    case PAGE_FENCE_FAST:
        guard_postgres_fast(guard);
        break;
    case PAGE_FENCE_HARD:
        guard_postgres_hard(guard, now);
        break;
    case PAGE_FENCE_NONE:
    case PAGE_FENCE_COUNT:
        break;
    }
}

enum err guard_loop_init(struct guard *guard, struct err_detail *detail)
{
    sigset_t mask;
    (void)sigemptyset(&mask);
    const int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR2};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        (void)sigaddset(&mask, numbers[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &mask, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    guard->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    guard->lease_timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    guard->work_timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (guard->signal_fd < 0 || guard->lease_timer_fd < 0 || guard->work_timer_fd < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot make timers");
    }
    guard->exit_code = -1;
    guard->lease_timer = MONO_NEVER; /* new timers are not set */
    return ERR_OK;
}

/* Setting a timer also clears its readiness, so none has to be read. A time that has passed fires
 * at once; the loop is never blind to it. */
static void timer_set(int timer_fd, struct mono at)
{
    struct itimerspec spec = {.it_value = {0, 0}}; /* zero disarms */
    if (at.ms != MONO_NEVER.ms) {
        int64_t ms = at.ms > 0 ? at.ms : 1;
        spec.it_value.tv_sec = ms / 1000;
        spec.it_value.tv_nsec = (ms % 1000) * 1000000;
    }
    int rc = timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
    ASSERT(rc == 0);
}

static void start_log_writer(struct guard *guard)
{
    struct err_detail detail;
    int fd;
    pid_t pid = -1;
    if (spawn_log_writer(guard->priority.oom_score_before, &pid, &fd, &detail) != ERR_OK) {
        return; /* lines stay in the old pipe or are dropped and counted */
    }
    log_set_fd(fd);
    if (guard->log_fd >= 0) {
        (void)close(guard->log_fd); /* its reader is dead */
    }
    guard->log_fd = fd;
    guard->log_pid = pid;
}

/* Everything that ends below us: our own children, and orphans of theirs (we are the subreaper). */
static void reap(struct guard *guard)
{
    int status;
    pid_t pid = -1;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == guard->postmaster.id.pid) {
            guard->postmaster.reaped = true;
            guard->postmaster.status = status;
        } else if (guard->agent.pidfd >= 0 && pid == guard->agent.pid) {
            guard->agent.reaped = true;
            guard->agent.status = status;
        } else if (pid == guard->upgrade.probe_pid) {
            guard->upgrade.probe_status = status;
        } else if (pid == guard->log_pid) {
            guard->log_pid = 0;
            start_log_writer(guard);
        }
    }
}

static void read_signals(struct guard *guard)
{
    struct signalfd_siginfo info;
    while (read(guard->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        switch ((int)info.ssi_signo) {
        case SIGCHLD:
            reap(guard);
            break;
        case SIGTERM:
        case SIGINT:
            guard->agent.leaving = true;
            guard->agent.term_pending = true;
            break;
        case SIGHUP:
            guard->agent.hup_pending = true;
            break;
        case SIGUSR2:
            guard_upgrade_ask(guard);
            break;
        default:
            UNREACHABLE();
        }
    }
}

static void work(struct guard *guard, struct mono now)
{
    guard_postgres_work(guard, now);
    guard_agent_work(guard, now);
    guard_upgrade_work(guard, now);
    page_guard_beat(guard->page, now);
    if (!mono_before(now, guard->beat_at)) {
        guard->beat_at = mono_add(now, GUARD_TICK_MS);
    }
    if (guard->watchdog_ms != 0 && !mono_before(now, guard->watchdog_at)) {
        guard->watchdog_at = mono_add(now, guard->watchdog_ms);
        notify_send("WATCHDOG=1");
    }
    if (!mono_before(now, guard->refresh_at)) { /* never a reason to wake up */
        guard->refresh_at = mono_add(now, GUARD_REFRESH_MS);
        guard_postgres_refresh(guard);
    }
    struct mono due = mono_min(guard->beat_at, guard_agent_due(guard, now));
    due = mono_min(due, guard_upgrade_due(guard));
    if (guard->watchdog_ms != 0) {
        due = mono_min(due, guard->watchdog_at);
    }
    if (guard->postmaster.ending) {
        due = mono_min(due, guard->postmaster.scan_at);
    }
    guard->work_wake = due;
}

enum source {
    SOURCE_SIGNAL,
    SOURCE_LEASE,
    SOURCE_WORK,
    SOURCE_POSTMASTER,
    SOURCE_START,
    SOURCE_AGENT,
    SOURCE_CONTROL,
    SOURCE_PROBE,
    SOURCE_COUNT
};

static void handle(struct guard *guard, const struct pollfd fds[SOURCE_COUNT], struct mono now)
{
    if (fds[SOURCE_SIGNAL].revents != 0) {
        read_signals(guard);
    }
    if (fds[SOURCE_START].revents != 0 && guard->postmaster.start_pipe >= 0) {
        guard_postgres_started(guard);
    }
    if (fds[SOURCE_POSTMASTER].revents != 0 && guard->postmaster.pidfd >= 0) {
        guard_postgres_ended(guard, now);
    }
    /* The agent's last words before its end: LEAVING may still be in the socket. */
    if (fds[SOURCE_CONTROL].revents != 0 && guard->control_fd >= 0) {
        guard_control_read(guard, now);
    } else if (fds[SOURCE_AGENT].revents != 0 && guard->agent.pidfd >= 0) {
        guard_agent_ended(guard, now);
    }
    if (fds[SOURCE_PROBE].revents != 0) {
        reap(guard);
    }
}

int guard_loop_run(struct guard *guard)
{
    guard->beat_at = mono_now();
    guard->watchdog_at = guard->beat_at;
    guard->watchdog_ms = notify_watchdog_ms() / 4;
    while (guard->exit_code < 0) {
        struct mono now = mono_now();
        guard_lease_enforce(guard, now);
        work(guard, now);
        if (guard->exit_code >= 0) {
            break;
        }
        if (guard->lease_timer.ms != guard->lease_wake.ms || !mono_before(now, guard->lease_wake)) {
            timer_set(guard->lease_timer_fd, guard->lease_wake);
            guard->lease_timer = guard->lease_wake;
        }
        timer_set(guard->work_timer_fd, guard->work_wake);
        struct pollfd fds[SOURCE_COUNT] = {
            [SOURCE_SIGNAL] = {.fd = guard->signal_fd, .events = POLLIN},
            [SOURCE_LEASE] = {.fd = guard->lease_timer_fd, .events = POLLIN},
            [SOURCE_WORK] = {.fd = guard->work_timer_fd, .events = POLLIN},
            [SOURCE_POSTMASTER] = {.fd = guard->postmaster.pidfd, .events = POLLIN},
            [SOURCE_START] = {.fd = guard->postmaster.start_pipe, .events = POLLIN},
            [SOURCE_AGENT] = {.fd = guard->agent.pidfd, .events = POLLIN},
            [SOURCE_CONTROL] = {.fd = guard->control_fd, .events = POLLIN},
            [SOURCE_PROBE] = {.fd = guard->upgrade.probe_pidfd, .events = POLLIN},
        };
        if (poll(fds, SOURCE_COUNT, -1) < 0) {
            ASSERT(errno == EINTR); /* nothing else can go wrong with good descriptors */
            continue;
        }
        now = mono_now();
        guard_lease_enforce(guard, now);
        if (mono_sub(now, guard->work_wake) > STALL_MS) {
            guard_agent_spare(guard, now); /* stopped with the whole machine: see agent.c */
        }
        handle(guard, fds, now);
    }
    return guard->exit_code;
}
