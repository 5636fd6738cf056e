/* A child gets back everything the guard has of its own (signal mask, priorities, OOM score) and
 * nothing else; descriptors are close-on-exec, so only what is named is inherited. Nothing here
 * waits: even opening a log file happens in the child. */
#include "guard/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "guard/priority.h"

#define ENVIRONMENT_MAX 1024
#define VARIABLE_SIZE (PATH_SIZE + 64)
#define EXIT_NO_EXEC 127
#define ZOMBIE_WAIT_MS 5000
#define ZOMBIE_LOOK_MS 2

static char *agent_environment[ENVIRONMENT_MAX + 5];
static char *server_environment[ENVIRONMENT_MAX + 1];
static char page_variable[64];
static char control_variable[64];
static char guard_variable[VARIABLE_SIZE];
static char agent_variable[VARIABLE_SIZE];

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool own_variable(const char *variable)
{
    return starts_with(variable, CONTROL_ENV_PAGE_FD "=") ||
           starts_with(variable, CONTROL_ENV_CONTROL_FD "=") ||
           starts_with(variable, CONTROL_ENV_GUARD_BINARY "=") ||
           starts_with(variable, CONTROL_ENV_AGENT_BINARY "=");
}

bool spawn_hides(const char *variable)
{
    static const char *const prefixes[] = {
        "HOLDFAST_",      "PATRONI_",        "NOTIFY_SOCKET=", "WATCHDOG_USEC=",
        "WATCHDOG_PID=",  "LISTEN_FDS=",     "LISTEN_PID=",    "LISTEN_FDNAMES=",
        "INVOCATION_ID=", "JOURNAL_STREAM=", "MAINPID=",
    };
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (starts_with(variable, prefixes[i])) {
            return true;
        }
    }
    return false;
}

const char *spawn_step_name(uint32_t step)
{
    switch (step) {
    case SPAWN_DATA_DIR:
        return "data directory";
    case SPAWN_LOG:
        return "log file";
    case SPAWN_EXEC:
        return "executable";
    default:
        return "start";
    }
}

enum err spawn_init(const char *guard_binary, const char *agent_binary, struct err_detail *detail)
{
    size_t agent_count = 0;
    size_t server_count = 0;
    for (char **at = environ; *at != NULL; at++) {
        if (agent_count == ENVIRONMENT_MAX) {
            return err_set(detail, ERR_INVALID, "more than %d environment variables",
                           ENVIRONMENT_MAX);
        }
        if (!own_variable(*at)) {
            agent_environment[agent_count++] = *at;
        }
        if (!spawn_hides(*at)) {
            server_environment[server_count++] = *at;
        }
    }
    if (!str_format(guard_variable, sizeof(guard_variable), "%s=%s", CONTROL_ENV_GUARD_BINARY,
                    guard_binary) ||
        !str_format(agent_variable, sizeof(agent_variable), "%s=%s", CONTROL_ENV_AGENT_BINARY,
                    agent_binary)) {
        return err_set(detail, ERR_INVALID, "a binary's path is too long");
    }
    agent_environment[agent_count++] = page_variable;
    agent_environment[agent_count++] = control_variable;
    agent_environment[agent_count++] = guard_variable;
    agent_environment[agent_count++] = agent_variable;
    agent_environment[agent_count] = NULL;
    server_environment[server_count] = NULL;
    return ERR_OK;
}

/* In the child: default signals, nothing blocked. Dispositions first, so that what was pending
 * meets the defaults a new program expects. */
static void reset_signals(void)
{
    for (int number = 1; number < NSIG; number++) {
        (void)signal(number, SIG_DFL); /* some cannot be set; those are default anyway */
    }
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static enum err fork_child(pid_t *out_pid, struct err_detail *detail)
{
    pid_t pid = fork();
    if (pid < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot fork");
    }
    if (pid > 0) {
        (void)priority_lock_image(); /* not allowed to lock: was told at the start */
    }
    *out_pid = pid;
    return ERR_OK;
}

enum err spawn_agent(const char *binary, char *const *argv,
                     const struct spawn_inheritance *inheritance, pid_t *out_pid,
                     struct err_detail *detail)
{
    if (!str_format(page_variable, sizeof(page_variable), "%s=%d", CONTROL_ENV_PAGE_FD,
                    inheritance->page_fd) ||
        !str_format(control_variable, sizeof(control_variable), "%s=%d", CONTROL_ENV_CONTROL_FD,
                    inheritance->control_fd)) {
        return err_set(detail, ERR_INVALID, "environment");
    }
    pid_t pid = -1;
    enum err err = fork_child(&pid, detail);
    if (err != ERR_OK) {
        return err;
    }
    if (pid == 0) {
        reset_signals();
        priority_reset_child(inheritance->oom_score, false); /* it may start a new guard */
        (void)fcntl(inheritance->page_fd, F_SETFD, 0);
        (void)fcntl(inheritance->control_fd, F_SETFD, 0);
        (void)execve(binary, argv, agent_environment);
        _exit(EXIT_NO_EXEC);
    }
    *out_pid = pid;
    return ERR_OK;
}

static _Noreturn void report_failure(int pipe_fd, enum spawn_step step)
{
    const struct spawn_report report = {.step = step, .sys_errno = errno};
    (void)!write(pipe_fd, &report, sizeof(report)); /* the exit code tells as well */
    _exit(EXIT_NO_EXEC);
}

/* A zombie of the last postmaster still owns postmaster.pid. Its parent is not us, so nothing but
 * looking tells when it is gone; past the limit PostgreSQL's own error says what is wrong. */
static void await_reaped(pid_t zombie)
{
    const struct timespec pause = {.tv_nsec = ZOMBIE_LOOK_MS * 1000000L};
    for (int waited_ms = 0; waited_ms < ZOMBIE_WAIT_MS && kill(zombie, 0) == 0;
         waited_ms += ZOMBIE_LOOK_MS) {
        (void)nanosleep(&pause, NULL);
    }
}

static _Noreturn void become_postmaster(struct control_start *start, pid_t zombie, int pipe_fd)
{
    char *argv[PG_ARGS_MAX + 1];
    control_args_borrow(start, argv);
    (void)setsid(); /* a fresh child leads no group: cannot fail */
    struct stat dir;
    struct stat exe;
    if (stat(start->data_dir, &dir) != 0) {
        report_failure(pipe_fd, SPAWN_DATA_DIR);
    }
    if (stat(argv[0], &exe) != 0) {
        report_failure(pipe_fd, SPAWN_EXEC);
    }
    const char *log_path = start->log_path[0] != '\0' ? start->log_path : "/dev/null";
    int in_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_CLOEXEC, 0600);
    if (in_fd < 0 || out_fd < 0 || dup2(in_fd, STDIN_FILENO) < 0 ||
        dup2(out_fd, STDOUT_FILENO) < 0 || dup2(out_fd, STDERR_FILENO) < 0) {
        report_failure(pipe_fd, SPAWN_LOG);
    }
    if (zombie > 0) {
        await_reaped(zombie);
    }
    const struct spawn_report ready = {
        .step = SPAWN_READY, .datadir = {dir.st_dev, dir.st_ino}, .exe = {exe.st_dev, exe.st_ino}};
    if (write(pipe_fd, &ready, sizeof(ready)) != sizeof(ready)) {
        _exit(EXIT_NO_EXEC);
    }
    /* Also what was open before the guard was: a server keeps no stranger's descriptor. */
    (void)close_range((unsigned)STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    (void)execve(argv[0], argv, server_environment);
    report_failure(pipe_fd, SPAWN_EXEC);
}

enum err spawn_postmaster(struct control_start *start, pid_t zombie, int64_t oom_score,
                          pid_t *out_pid, int *out_pipe, struct err_detail *detail)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot make a pipe");
    }
    pid_t pid = -1;
    enum err err = fork_child(&pid, detail);
    if (err == ERR_OK && pid == 0) {
        reset_signals();
        priority_reset_child(oom_score, true);
        become_postmaster(start, zombie, ends[1]);
    }
    (void)close(ends[1]); /* a pipe: nothing to lose */
    if (err != ERR_OK) {
        (void)close(ends[0]);
        return err;
    }
    *out_pid = pid;
    *out_pipe = ends[0];
    return ERR_OK;
}

enum err spawn_probe(const char *binary, char *const *argv, pid_t *out_pid,
                     struct err_detail *detail)
{
    pid_t pid = -1;
    enum err err = fork_child(&pid, detail);
    if (err != ERR_OK) {
        return err;
    }
    if (pid == 0) {
        reset_signals();
        priority_reset_child(0, true);
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0) {
            _exit(EXIT_NO_EXEC);
        }
        (void)execve(binary, argv, server_environment);
        _exit(EXIT_NO_EXEC);
    }
    *out_pid = pid;
    return ERR_OK;
}

static _Noreturn void carry_lines(int from)
{
    static char buffer[4096];
    for (;;) {
        ssize_t got = read(from, buffer, sizeof(buffer));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            _exit(0);
        }
        for (ssize_t done = 0; done < got;) {
            ssize_t put = write(STDERR_FILENO, buffer + done, (size_t)(got - done));
            if (put < 0 && errno == EAGAIN) { /* somebody else's descriptor flags: wait for room */
                struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
                (void)poll(&room, 1, -1);
            } else if (put < 0 && errno != EINTR) {
                break; /* nobody reads standard error: these lines are lost, later ones may not be
                        */
            }
            done += put > 0 ? put : 0;
        }
    }
}

enum err spawn_log_writer(int64_t oom_score, pid_t *out_pid, int *out_fd, struct err_detail *detail)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot make a pipe");
    }
    pid_t pid = -1;
    enum err err = fork_child(&pid, detail);
    if (err == ERR_OK && pid == 0) {
        reset_signals();
        /* Ends when the last line is written, not by the signal that ends the guard. */
        (void)signal(SIGINT, SIG_IGN);
        (void)signal(SIGTERM, SIG_IGN);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGHUP, SIG_IGN);
        priority_reset_child(oom_score, true);
        int from = ends[0];
        if (from != STDERR_FILENO + 1 && dup2(from, STDERR_FILENO + 1) >= 0) {
            from = STDERR_FILENO + 1;
        }
        (void)close_range((unsigned)STDERR_FILENO + 2, ~0U, 0);
        carry_lines(from);
    }
    (void)close(ends[0]);
    if (err != ERR_OK || fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0) {
        (void)close(ends[1]);
        return err != ERR_OK ? err : err_set_errno(detail, ERR_REFUSED, errno, "log pipe");
    }
    *out_pid = pid;
    *out_fd = ends[1];
    return ERR_OK;
}
