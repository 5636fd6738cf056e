/* Three ways to become the guard: at a node's start (a new page), in place of a guard that died or
 * froze (page, socket and agent exist), and over an exec of a newer binary (children exist too).
 * All end in the same loop, with everything that had to be known read from the page. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/str.h"
#include "guard/guard.h"
#include "guard/proc.h"
#include "guard/spawn.h"

#define EXIT_USAGE 64    /* EX_USAGE */
#define EXIT_OS 71       /* EX_OSERR */
#define EXIT_NO_FIT 1    /* --probe */
#define OLD_GUARD_MS 500 /* for a killed guard to be gone */

struct options {
    bool resume;
    int64_t adopt_agent; /* 0: no */
    int64_t page_fd;
    int64_t control_fd;
    int64_t log_fd;
    int64_t log_pid;
    struct priority_user user;
};

static struct guard guard = {
    .page_fd = -1,
    .control_fd = -1,
    .log_fd = -1,
    .exit_code = -1,
    .agent = {.pidfd = -1},
    .postmaster = {.pidfd = -1, .start_pipe = -1},
    .upgrade = {.probe_pidfd = -1},
};

static bool parse_groups(const char *text, struct priority_user *user)
{
    char one[NAME_SIZE];
    while (*text != '\0') {
        size_t length = strcspn(text, ",");
        uint64_t gid;
        if (length >= sizeof(one) || user->groups_count == PRIORITY_GROUPS_MAX) {
            return false;
        }
        memcpy(one, text, length);
        one[length] = '\0';
        if (!str_to_u64(one, &gid) || gid > UINT32_MAX - 1) {
            return false;
        }
        user->groups[user->groups_count++] = (gid_t)gid;
        text += length + (text[length] == ',');
    }
    return true;
}

static bool parse_id(const char *text, uint32_t *out_id)
{
    uint64_t id;
    if (!str_to_u64(text, &id) || id > UINT32_MAX - 1) {
        return false;
    }
    *out_id = (uint32_t)id;
    return true;
}

static bool parse_value(const char *name, const char *value, struct options *options)
{
    if (str_equal(name, "--agent-binary")) {
        guard.agent_binary = value;
        return value[0] == '/';
    }
    if (str_equal(name, "--uid")) {
        options->user.set = true;
        return parse_id(value, &options->user.uid);
    }
    if (str_equal(name, "--gid")) {
        return parse_id(value, &options->user.gid);
    }
    if (str_equal(name, "--groups")) {
        return parse_groups(value, &options->user);
    }
    const struct {
        const char *name;
        int64_t *value;
    } numbers[] = {
        {"--adopt-agent", &options->adopt_agent}, {"--page-fd", &options->page_fd},
        {"--control-fd", &options->control_fd},   {"--log-fd", &options->log_fd},
        {"--log-pid", &options->log_pid},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (str_equal(name, numbers[i].name)) {
            return str_to_i64(value, numbers[i].value) && *numbers[i].value <= INT32_MAX &&
                   *numbers[i].value >= -1;
        }
    }
    return false;
}

static bool parse(char **argv, struct options *options)
{
    char **at = argv + 1;
    for (; *at != NULL && !str_equal(*at, "--"); at++) {
        if (str_equal(*at, "--resume")) {
            options->resume = true;
            continue;
        }
        if (at[1] == NULL || !parse_value(*at, at[1], options)) {
            return false;
        }
        at++;
    }
    if (*at == NULL || at[1] == NULL || guard.agent_binary == NULL) {
        return false;
    }
    guard.agent_argv = at + 1;
    bool inherits = options->resume || options->adopt_agent > 0;
    return inherits == (options->page_fd >= 0);
}

/* Descriptors 0 to 2 exist, so that nothing of ours becomes somebody's standard error. */
static void fill_standard_fds(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO && fcntl(fd, F_SETFD, 0) == 0);
    cleanup_close(&fd);
}

/* The name to exec at an upgrade: the one we were started by (a link to the current version stays
 * one), else what the kernel says. */
static const char *own_binary(void)
{
    static char path[PATH_SIZE];
    unsigned long at = getauxval(AT_EXECFN);
    const char *name =
        (const char *)at; /* NOLINT(performance-no-int-to-ptr): the kernel's pointer */
    if (name != NULL && name[0] == '/') {
        return name;
    }
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[length > 0 ? length : 0] = '\0';
    return path;
}

/* systemd follows the main process: it has to know before the old one is gone. */
static void notify_main_pid(void)
{
    char text[64];
    bool fits = str_format(text, sizeof(text), "MAINPID=%d\n", getpid());
    ASSERT(fits);
    notify_send(text);
}

/* A frozen guard that thaws later would act on an old view: it ends before we begin. */
static void end_old_guard(void)
{
    struct page_process old;
    page_guard_read(guard.page, &old);
    if (old.pid == 0 || old.pid == getpid()) {
        return;
    }
    AUTO_CLOSE int pidfd = proc_pidfd_open((pid_t)old.pid);
    if (pidfd < 0 || !proc_is((pid_t)old.pid, old.start_ticks)) {
        return;
    }
    (void)proc_pidfd_signal(pidfd, SIGKILL); /* fails when it has just ended */
    struct pollfd gone = {.fd = pidfd, .events = POLLIN};
    (void)poll(&gone, 1, OLD_GUARD_MS); /* killed, it runs no instruction more even if it lingers */
}

static void be_guard(void)
{
    struct page_process self;
    proc_self(&self);
    page_guard_write(guard.page, &self);
    page_guard_beat(guard.page, mono_now());
}

static void adopt_agent(const struct page_process *agent, bool child)
{
    struct err_detail detail;
    if (agent->pid == 0 || guard_agent_adopt(&guard, agent, child, &detail) != ERR_OK) {
        guard_control_close(&guard);
        guard.agent.phase = GUARD_AGENT_WAITING;
        guard.agent.restart_at = mono_now();
    }
}

/* In place of a guard that is dead or frozen, as a child of the agent. */
static void take_over(const struct options *options)
{
    notify_main_pid();
    end_old_guard();
    be_guard();
    guard_postgres_resume(&guard);
    struct page_process agent = {.pid = 0};
    struct proc_stat stat;
    if (getppid() == options->adopt_agent && proc_stat_read(getppid(), &stat)) {
        agent = (struct page_process){.pid = options->adopt_agent, .start_ticks = stat.start_ticks};
    }
    adopt_agent(&agent, false);
    guard_control_hello(&guard);
}

/* Over our own exec. */
static void resume(void)
{
    be_guard();
    guard_postgres_resume(&guard);
    struct page_process agent;
    page_agent_read(guard.page, &agent);
    struct proc_stat stat;
    bool child = proc_stat_read((pid_t)agent.pid, &stat) && stat.ppid == getpid();
    adopt_agent(&agent, child);
    if (guard.agent.phase == GUARD_AGENT_RUNNING) {
        guard.upgrade.phase = GUARD_UPGRADE_RENEW_AGENT;
        guard.upgrade.due = mono_add(mono_now(), CONTROL_UPGRADE_GRACE_MS);
        union control_answer packet;
        control_init(&packet, CONTROL_UPGRADE, 0);
        guard_control_send(&guard, &packet);
    }
    log_info("guard_upgraded", "version=%s", HOLDFAST_VERSION);
}

static enum err get_page(const struct options *options, struct err_detail *detail)
{
    if (options->page_fd < 0) {
        enum err err = page_create(&guard.page, &guard.page_fd, detail);
        if (err == ERR_OK) {
            page_oom_write(guard.page, guard.priority.oom_score_before);
        }
        return err;
    }
    guard.page_fd = (int)options->page_fd;
    guard.control_fd = (int)options->control_fd;
    guard.log_fd = (int)options->log_fd;
    guard.log_pid = (pid_t)options->log_pid;
    const int fds[] = {guard.page_fd, guard.control_fd, guard.log_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0 && fcntl(fds[i], F_SETFD, FD_CLOEXEC) != 0) {
            return err_set_errno(detail, ERR_INVALID, errno, "descriptor %d", fds[i]);
        }
    }
    enum err err = page_attach(guard.page_fd, &guard.page, detail);
    if (err == ERR_OK) {
        guard.priority.oom_score_before = page_oom_read(guard.page);
    }
    return err;
}

static enum err set_up(const struct options *options, struct err_detail *detail)
{
    guard.guard_binary = own_binary();
    priority_take(&guard.priority);
    enum err err = priority_drop_root(&options->user, detail);
    if (err != ERR_OK) {
        return err;
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot become subreaper");
    }
    err = get_page(options, detail);
    if (err == ERR_OK) {
        err = spawn_init(guard.guard_binary, guard.agent_binary, detail);
    }
    if (err == ERR_OK) {
        err = guard_loop_init(&guard, detail);
    }
    if (err == ERR_OK && guard.log_fd < 0) {
        err = spawn_log_writer(guard.priority.oom_score_before, &guard.log_pid, &guard.log_fd,
                               detail);
    }
    if (err == ERR_OK) {
        log_set_fd(guard.log_fd);
    }
    return err;
}

/* Answers an older guard that wants to become us: fits when we can read its page. */
static int probe(const char *layout)
{
    uint64_t wanted;
    return str_to_u64(layout, &wanted) && wanted == PAGE_LAYOUT ? 0 : EXIT_NO_FIT;
}

int main(int argc, char **argv)
{
    if (argc == 3 && str_equal(argv[1], "--probe")) {
        return probe(argv[2]);
    }
    if (argc == 2 && str_equal(argv[1], "--version")) {
        (void)dprintf(STDOUT_FILENO, "holdfast-guard %s\n", HOLDFAST_VERSION);
        return 0;
    }
    fill_standard_fds();
    struct options options = {.page_fd = -1, .control_fd = -1, .log_fd = -1};
    if (!parse(argv, &options)) {
        (void)dprintf(STDERR_FILENO, "usage: holdfast-guard [--uid N --gid N [--groups N,N]] "
                                     "--agent-binary /PATH -- AGENT-ARGV...\n");
        return EXIT_USAGE;
    }
    struct err_detail detail = {.sys_errno = 0};
    if (set_up(&options, &detail) != ERR_OK) {
        (void)dprintf(STDERR_FILENO, "holdfast-guard: %s\n", detail.text);
        return EXIT_OS;
    }
    log_info("guard_started", "pid=%d version=%s priority=%d/%d locked=%d", getpid(),
             HOLDFAST_VERSION, (int)guard.priority.kind, guard.priority.value,
             guard.priority.memory_locked);
    if (options.resume) {
        resume();
    } else if (options.adopt_agent > 0) {
        take_over(&options);
    } else {
        be_guard();
        guard.agent.restart_at = mono_now();
    }
    guard_fence_again(&guard, mono_now());
    return guard_loop_run(&guard);
}
