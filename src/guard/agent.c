/* The agent is crash-safe by design, so one that does not beat is killed for good and a new one is
 * started over the same page: PostgreSQL never notices. It is judged by the time in which the guard
 * itself was running, so that a machine that slept does not cost it its life. */
#include "guard/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "guard/proc.h"
#include "guard/spawn.h"

int64_t guard_ttl_ms(const struct guard *guard)
{
    struct page_lease lease;
    page_lease_read(guard->page, &lease);
    return lease.ttl_ms > 0 ? lease.ttl_ms : GUARD_TTL_DEFAULT_MS;
}

static void watch(struct guard *guard, pid_t pid, int pidfd, bool child)
{
    struct guard_agent *agent = &guard->agent;
    agent->phase = GUARD_AGENT_RUNNING;
    agent->pid = pid;
    agent->pidfd = pidfd;
    agent->child = child;
    agent->reaped = false;
    agent->status = -1;
    agent->announced_code = -1;
    agent->started_at = mono_now();
    agent->spared_until = agent->started_at;
    agent->mute_from = MONO_NEVER;
}

enum err guard_agent_adopt(struct guard *guard, const struct page_process *process, bool child,
                           struct err_detail *detail)
{
    int pidfd = proc_pidfd_open((pid_t)process->pid);
    if (pidfd < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "agent %lld", (long long)process->pid);
    }
    if (!proc_is((pid_t)process->pid, process->start_ticks)) {
        (void)close(pidfd);
        return err_set(detail, ERR_REFUSED, "agent %lld is gone", (long long)process->pid);
    }
    watch(guard, (pid_t)process->pid, pidfd, child);
    guard->agent.started_at = MONO_ZERO; /* its heartbeats so far are its own */
    page_agent_write(guard->page, process);
    return ERR_OK;
}

static enum err start(struct guard *guard, struct err_detail *detail)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot make a socket");
    }
    AUTO_CLOSE int mine = ends[0];
    AUTO_CLOSE int its = ends[1];
    pid_t pid = -1;
    const struct spawn_inheritance inheritance = {.page_fd = guard->page_fd,
                                                  .control_fd = its,
                                                  .oom_score = guard->priority.oom_score_before};
    enum err err = spawn_agent(guard->agent_binary, guard->agent_argv, &inheritance, &pid, detail);
    if (err != ERR_OK) {
        return err;
    }
    int pidfd = proc_pidfd_open(pid);
    if (pidfd < 0) {
        err = err_set_errno(detail, ERR_REFUSED, errno, "cannot watch the agent");
        (void)kill(pid, SIGKILL); /* our unreaped child */
        return err;
    }
    watch(guard, pid, pidfd, true);
    struct proc_stat stat = {.start_ticks = 0};
    (void)proc_stat_read(pid, &stat); /* our unreaped child: is there */
    const struct page_process process = {.pid = pid, .start_ticks = stat.start_ticks};
    page_agent_write(guard->page, &process);
    guard_control_close(guard);
    guard->control_fd = mine;
    mine = -1;
    guard->agent.term_pending = guard->agent.leaving;
    guard_control_hello(guard);
    return ERR_OK;
}

void guard_agent_kill(struct guard *guard, const char *why)
{
    struct guard_agent *agent = &guard->agent;
    if (agent->phase != GUARD_AGENT_RUNNING) {
        return;
    }
    log_warn("agent_killed", "pid=%d why=\"%s\"", agent->pid, why);
    (void)proc_pidfd_signal(agent->pidfd, SIGKILL); /* fails when it has just ended: the same */
    agent->phase = GUARD_AGENT_KILLED;
}

static bool has_beaten(const struct guard *guard)
{
    return !mono_before(page_agent_beat_read(guard->page), guard->agent.started_at) &&
           page_agent_beat_read(guard->page).ms > 0;
}

/* When the agent counts as frozen if nothing new comes. */
static struct mono frozen_at(const struct guard *guard, struct mono now)
{
    const struct guard_agent *agent = &guard->agent;
    int64_t age_ms = guard_ttl_ms(guard) / 3;
    age_ms = age_ms < GUARD_AGENT_AGE_MS_MIN ? GUARD_AGENT_AGE_MS_MIN : age_ms;
    struct mono since = agent->spared_until;
    if (has_beaten(guard)) {
        since = mono_max(since, mono_min(page_agent_beat_read(guard->page), now));
    } else if (age_ms < GUARD_AGENT_START_MS) {
        age_ms = GUARD_AGENT_START_MS;
    }
    return mono_min(mono_add(since, age_ms), mono_add(agent->mute_from, GUARD_AGENT_MUTE_MS));
}

void guard_agent_spare(struct guard *guard, struct mono now)
{
    guard->agent.spared_until = now;
}

struct mono guard_agent_due(const struct guard *guard, struct mono now)
{
    switch (guard->agent.phase) {
    case GUARD_AGENT_WAITING:
        return guard->agent.restart_at;
    case GUARD_AGENT_RUNNING:
        return frozen_at(guard, now);
    case GUARD_AGENT_KILLED:
        return MONO_NEVER;
    }
    UNREACHABLE();
}

static void restart_later(struct guard *guard, struct mono now)
{
    struct guard_agent *agent = &guard->agent;
    agent->phase = GUARD_AGENT_WAITING;
    agent->restart_at = mono_add(now, agent->backoff_ms);
    agent->backoff_ms = agent->backoff_ms == 0 ? GUARD_AGENT_BACKOFF_MS : agent->backoff_ms * 2;
    if (agent->backoff_ms > GUARD_AGENT_BACKOFF_MS_MAX) {
        agent->backoff_ms = GUARD_AGENT_BACKOFF_MS_MAX;
    }
}

static void pass_signals(struct guard *guard)
{
    struct guard_agent *agent = &guard->agent;
    if ((!agent->hup_pending && !agent->term_pending) || !has_beaten(guard)) {
        return;
    }
    if (agent->hup_pending) {
        (void)proc_pidfd_signal(agent->pidfd, SIGHUP); /* fails when it has just ended */
    }
    if (agent->term_pending) {
        (void)proc_pidfd_signal(agent->pidfd, SIGTERM);
    }
    agent->hup_pending = false;
    agent->term_pending = false;
}

void guard_agent_work(struct guard *guard, struct mono now)
{
    struct guard_agent *agent = &guard->agent;
    if (agent->phase == GUARD_AGENT_RUNNING) {
        if (mono_before(now, frozen_at(guard, now))) {
            pass_signals(guard);
        } else {
            guard_agent_kill(guard, "no sign of life");
        }
    }
    if (agent->phase == GUARD_AGENT_WAITING && !mono_before(now, agent->restart_at) &&
        guard->exit_code < 0) {
        struct err_detail detail;
        if (start(guard, &detail) != ERR_OK) {
            log_error("agent_not_started", "%s", detail.text);
            restart_later(guard, now);
        }
    }
}

/* Whether the guard may leave PostgreSQL alone: nothing runs, or nothing has to be ended. */
static bool may_leave(const struct guard *guard)
{
    return guard->postmaster.id.pid == 0 || !page_armed(guard->page, NULL);
}

/* The exit code the agent left with; -1: it did not leave, it broke. */
static int exit_code_of(const struct guard_agent *agent)
{
    if (agent->child && agent->reaped && WIFEXITED(agent->status)) {
        return WEXITSTATUS(agent->status);
    }
    return agent->announced_code; /* also of one that hung after it had said so */
}

static bool leaves(const struct guard *guard, int code)
{
    if (guard->upgrade.phase == GUARD_UPGRADE_RENEW_AGENT) {
        return false; /* it was asked to make room for its successor */
    }
    if (code == 0) {
        return may_leave(guard);
    }
    if (code >= CONTROL_EXIT_CONFIG_MIN && code <= CONTROL_EXIT_CONFIG_MAX) {
        return guard->postmaster.id.pid == 0;
    }
    return guard->agent.leaving && guard->postmaster.id.pid == 0;
}

void guard_agent_ended(struct guard *guard, struct mono now)
{
    struct guard_agent *agent = &guard->agent;
    if (agent->child && !agent->reaped &&
        waitpid(agent->pid, &agent->status, WNOHANG) == agent->pid) {
        agent->reaped = true;
    }
    (void)close(agent->pidfd); /* a pidfd: nothing to lose */
    agent->pidfd = -1;
    int code = exit_code_of(agent);
    const struct page_process none = {.pid = 0};
    page_agent_write(guard->page, &none);
    if (leaves(guard, code)) {
        log_info("guard_leaves", "agent_code=%d", code);
        guard->exit_code = code > 0 ? code : 0;
        return;
    }
    bool upgrade = guard->upgrade.phase == GUARD_UPGRADE_RENEW_AGENT;
    if (upgrade) {
        guard->upgrade.phase = GUARD_UPGRADE_NONE;
    }
    if (upgrade || mono_sub(now, agent->started_at) > GUARD_AGENT_STEADY_MS) {
        agent->backoff_ms = 0;
    }
    agent->restarts++;
    log_warn("agent_ended", "pid=%d status=%d code=%d restart_in_ms=%lld", agent->pid,
             agent->status, code, (long long)agent->backoff_ms);
    restart_later(guard, now);
}
