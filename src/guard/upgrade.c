/* The guard keeps its pid over the exec, so its children stay its children, and everything it knows
 * is in the page: a lease about to end does not get longer. A binary that cannot do the job is
 * found out before, by running it aside, since there is no way back. */
#include "guard/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "guard/proc.h"
#include "guard/spawn.h"

#define ARGV_MAX 1024
#define NUMBER_SIZE 24

void guard_upgrade_ask(struct guard *guard)
{
    if (guard->upgrade.phase == GUARD_UPGRADE_NONE && !guard->agent.leaving) {
        guard->upgrade.phase = GUARD_UPGRADE_WANTED;
    }
}

static void give_up(struct guard *guard, const char *why)
{
    log_error("upgrade_refused", "%s", why);
    guard->upgrade.phase = GUARD_UPGRADE_NONE;
}

static void probe(struct guard *guard, enum guard_upgrade_phase phase, struct mono now)
{
    char layout[NUMBER_SIZE];
    char guard_name[] = "holdfast-guard";
    char agent_name[] = "holdfast";
    char probe_option[] = "--probe";
    char version_option[] = "--version";
    char *guard_argv[] = {guard_name, probe_option, layout, NULL};
    char *agent_argv[] = {agent_name, version_option, NULL};
    bool is_guard = phase == GUARD_UPGRADE_PROBING_GUARD;
    struct err_detail detail;
    if (!str_format(layout, sizeof(layout), "%d", PAGE_LAYOUT) ||
        spawn_probe(is_guard ? guard->guard_binary : guard->agent_binary,
                    is_guard ? guard_argv : agent_argv, &guard->upgrade.probe_pid,
                    &detail) != ERR_OK) {
        give_up(guard, "cannot run the new binary");
        return;
    }
    guard->upgrade.phase = phase;
    guard->upgrade.probe_status = -1;
    guard->upgrade.probe_pidfd = proc_pidfd_open(guard->upgrade.probe_pid);
    guard->upgrade.due = mono_add(now, GUARD_PROBE_MS);
}

/* True once the probe has ended well; gives up when it ended badly or takes too long. */
static bool probe_passed(struct guard *guard, struct mono now)
{
    struct guard_upgrade *upgrade = &guard->upgrade;
    bool late = !mono_before(now, upgrade->due);
    if (upgrade->probe_status == -1 && !late) {
        return false;
    }
    if (upgrade->probe_status == -1 && upgrade->probe_pidfd >= 0) {
        (void)proc_pidfd_signal(upgrade->probe_pidfd, SIGKILL); /* reaped as any child */
    }
    if (upgrade->probe_pidfd >= 0) {
        (void)close(upgrade->probe_pidfd); /* a pidfd: nothing to lose */
    }
    upgrade->probe_pidfd = -1;
    upgrade->probe_pid = 0;
    if (upgrade->probe_status == 0) {
        return true;
    }
    give_up(guard, upgrade->phase == GUARD_UPGRADE_PROBING_GUARD
                       ? "the new guard does not run here or has another page layout"
                       : "the new agent does not run here");
    return false;
}

static void inherit(int fd, bool inherited)
{
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC); /* cannot fail for an open one */
    }
}

static void inherit_all(struct guard *guard, bool inherited)
{
    inherit(guard->page_fd, inherited);
    inherit(guard->control_fd, inherited);
    inherit(guard->log_fd, inherited);
}

static void exec_new(struct guard *guard)
{
    static char binary[PATH_SIZE];
    static char agent_binary[PATH_SIZE];
    static char texts[4][NUMBER_SIZE];
    static char options[][16] = {"--resume",  "--page-fd", "--control-fd",  "--log-fd",
                                 "--log-pid", "--",        "--agent-binary"};
    static char *argv[ARGV_MAX];
    const long long numbers[4] = {guard->page_fd, guard->control_fd, guard->log_fd, guard->log_pid};
    size_t count = 0;
    if (!str_copy(binary, sizeof(binary), guard->guard_binary) ||
        !str_copy(agent_binary, sizeof(agent_binary), guard->agent_binary)) {
        give_up(guard, "path too long");
        return;
    }
    argv[count++] = binary;
    argv[count++] = options[0];
    for (size_t i = 0; i < 4; i++) {
        argv[count++] = options[i + 1];
        bool fits = str_format(texts[i], NUMBER_SIZE, "%lld", numbers[i]);
        ASSERT(fits);
        argv[count++] = texts[i];
    }
    argv[count++] = options[6];
    argv[count++] = agent_binary;
    argv[count++] = options[5];
    for (size_t i = 0; guard->agent_argv[i] != NULL; i++) {
        if (count == ARGV_MAX - 1) {
            give_up(guard, "too many arguments");
            return;
        }
        argv[count++] = guard->agent_argv[i];
    }
    argv[count] = NULL;
    inherit_all(guard, true);
    (void)execve(binary, argv, environ);
    inherit_all(guard, false);
    give_up(guard, strerror(errno));
}

static bool half_done(const struct guard *guard)
{
    return guard->postmaster.start_pipe >= 0 || guard->postmaster.ending ||
           guard->agent.phase == GUARD_AGENT_KILLED;
}

void guard_upgrade_work(struct guard *guard, struct mono now)
{
    switch (guard->upgrade.phase) {
    case GUARD_UPGRADE_NONE:
        break;
    case GUARD_UPGRADE_WANTED:
        probe(guard, GUARD_UPGRADE_PROBING_GUARD, now);
        break;
    case GUARD_UPGRADE_PROBING_GUARD:
        if (probe_passed(guard, now)) {
            probe(guard, GUARD_UPGRADE_PROBING_AGENT, now);
        }
        break;
    case GUARD_UPGRADE_PROBING_AGENT:
        if (probe_passed(guard, now)) {
            guard->upgrade.phase = GUARD_UPGRADE_READY;
            guard->upgrade.due = now;
        }
        break;
    case GUARD_UPGRADE_READY:
        if (!half_done(guard)) {
            exec_new(guard);
        } else {
            guard->upgrade.due = mono_add(now, 1);
        }
        break;
    case GUARD_UPGRADE_RENEW_AGENT:
        if (!mono_before(now, guard->upgrade.due)) {
            guard_agent_kill(guard, "upgrade");
            guard->upgrade.due = MONO_NEVER; /* its end comes by its pidfd */
        }
        break;
    }
}

struct mono guard_upgrade_due(const struct guard *guard)
{
    return guard->upgrade.phase == GUARD_UPGRADE_NONE ? MONO_NEVER : guard->upgrade.due;
}
