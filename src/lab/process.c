/* A pid is a number that may be given to a stranger tomorrow. Everything that is signalled here is
 * first pinned by a pidfd and then checked to be the one that was meant. */
#include "lab/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

#define CMDLINE_SIZE 8192
#define AWAIT_MS 50

struct stat_fields {
    pid_t ppid;
    char state;
    uint64_t start_ticks;
};

static ssize_t read_proc(pid_t pid, const char *name, char *out, size_t out_size)
{
    char path[64];
    if (!str_format(path, sizeof(path), "/proc/%d/%s", pid, name)) {
        return -1;
    }
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t length = read(fd, out, out_size - 1);
    out[length > 0 ? length : 0] = '\0';
    return length;
}

static bool read_stat(pid_t pid, struct stat_fields *out)
{
    char text[1024];
    if (read_proc(pid, "stat", text, sizeof(text)) <= 0) {
        return false;
    }
    char *at = strrchr(text, ')'); /* the command before it may hold anything */
    int field = 2;
    struct stat_fields found = {.state = '\0'};
    while (at != NULL && (at = strchr(at, ' ')) != NULL) {
        at++;
        field++;
        if (field == 3) {
            found.state = *at;
        } else if (field == 4) {
            found.ppid = (pid_t)strtol(at, NULL, 10);
        } else if (field == 22) {
            found.start_ticks = strtoull(at, NULL, 10);
            *out = found;
            return true;
        }
    }
    return false;
}

static bool is_running(const struct stat_fields *fields)
{
    return fields->state != 'Z' && fields->state != 'X';
}

bool process_identify(pid_t pid, struct process_id *out_id)
{
    struct stat_fields fields;
    if (pid <= 0 || !read_stat(pid, &fields)) {
        return false;
    }
    *out_id = (struct process_id){.pid = pid, .start_ticks = fields.start_ticks};
    return true;
}

bool process_runs(const struct process_id *id)
{
    struct stat_fields fields;
    return id->pid > 0 && read_stat(id->pid, &fields) && fields.start_ticks == id->start_ticks &&
           is_running(&fields);
}

static int pidfd_open_checked(const struct process_id *id)
{
    if (id->pid <= 0) {
        return -1;
    }
    int fd = (int)syscall(SYS_pidfd_open, id->pid, 0);
    struct stat_fields fields;
    if (fd >= 0 && (!read_stat(id->pid, &fields) || fields.start_ticks != id->start_ticks)) {
        (void)close(fd); /* somebody else's pid by now */
        return -1;
    }
    return fd;
}

bool process_signal(const struct process_id *id, int signal_number)
{
    AUTO_CLOSE int fd = pidfd_open_checked(id);
    return fd >= 0 && syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, 0) == 0;
}

bool process_await_end(const struct process_id *id, struct mono deadline)
{
    for (;;) {
        AUTO_CLOSE int fd = pidfd_open_checked(id);
        if (fd < 0) {
            return true;
        }
        (void)waitpid(id->pid, NULL, WNOHANG); /* not our child: somebody else reaps it */
        int64_t left_ms = mono_sub(deadline, mono_now());
        if (left_ms <= 0) {
            return false;
        }
        struct pollfd gone = {.fd = fd, .events = POLLIN};
        if (poll(&gone, 1, (int)(left_ms < AWAIT_MS ? left_ms : AWAIT_MS)) == 1) {
            process_pause_ms(1); /* ended; its zombie is about to be reaped */
        }
    }
}

/* Does one of the arguments equal wanted? */
static bool has_argument(const char *cmdline, size_t length, const char *wanted)
{
    for (const char *at = cmdline; at < cmdline + length; at += strlen(at) + 1) {
        if (str_equal(at, wanted)) {
            return true;
        }
    }
    return false;
}

static bool read_link(pid_t pid, const char *name, char out[PATH_SIZE])
{
    char path[64];
    if (!str_format(path, sizeof(path), "/proc/%d/%s", pid, name)) {
        return false;
    }
    ssize_t length = readlink(path, out, PATH_SIZE - 1);
    out[length > 0 ? length : 0] = '\0';
    return length > 0;
}

static pid_t postmaster_pid(const char *data_dir)
{
    char path[PATH_SIZE];
    char text[32] = "";
    if (!str_format(path, sizeof(path), "%s/postmaster.pid", data_dir)) {
        return 0;
    }
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0) {
        return 0;
    }
    return (pid_t)strtol(text, NULL, 10);
}

static const struct process *find_pid(const struct process_list *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->at[i].id.pid == pid) {
            return &list->at[i];
        }
    }
    return NULL;
}

/* What the process is for the node, by its own words: PROCESS_KIND_COUNT when nothing tells. */
static enum process_kind kind_of(pid_t pid, const char *config, const char *data_dir)
{
    char link[PATH_SIZE];
    char cmdline[CMDLINE_SIZE];
    if (!read_link(pid, "exe", link)) {
        return PROCESS_KIND_COUNT;
    }
    const char *slash = strrchr(link, '/');
    const char *name = slash == NULL ? link : slash + 1;
    if (strncmp(name, "postgres", strlen("postgres")) == 0) {
        bool here = read_link(pid, "cwd", link) && str_equal(link, data_dir);
        return here ? PROCESS_BACKEND : PROCESS_KIND_COUNT;
    }
    ssize_t length = read_proc(pid, "cmdline", cmdline, sizeof(cmdline));
    if (length <= 0 || !has_argument(cmdline, (size_t)length, config)) {
        return PROCESS_KIND_COUNT;
    }
    if (strncmp(name, "holdfast-guard", strlen("holdfast-guard")) == 0) {
        return PROCESS_GUARD;
    }
    bool agent = has_argument(cmdline, (size_t)length, "agent") ||
                 has_argument(cmdline, (size_t)length, "agent-proper");
    return agent ? PROCESS_AGENT : PROCESS_KIND_COUNT;
}

static void add(struct process_list *list, pid_t pid, const struct stat_fields *fields,
                enum process_kind kind)
{
    if (list->count < PROCESS_LIST_MAX) {
        list->at[list->count++] = (struct process){
            .id = {.pid = pid, .start_ticks = fields->start_ticks},
            .ppid = fields->ppid,
            .kind = kind,
            .stopped = fields->state == 'T',
        };
    }
}

/* One pass over /proc. descendants: take what the list's processes started, instead of what names
 * the node by itself. True: something was added. */
static bool scan(const char *config, const char *data_dir, bool descendants,
                 struct process_list *list)
{
    size_t before = list->count;
    DIR *dir = opendir("/proc");
    if (dir == NULL) {
        return false;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        struct stat_fields fields;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (isdigit((unsigned char)entry->d_name[0]) == 0 || pid == getpid() ||
            find_pid(list, pid) != NULL || !read_stat(pid, &fields) || !is_running(&fields)) {
            continue;
        }
        if (descendants) {
            if (find_pid(list, fields.ppid) != NULL) {
                add(list, pid, &fields, PROCESS_OTHER);
            }
            continue;
        }
        enum process_kind kind = kind_of(pid, config, data_dir);
        if (kind != PROCESS_KIND_COUNT) {
            add(list, pid, &fields, kind);
        }
    }
    (void)closedir(dir); /* was only read */
    return list->count > before;
}

void process_list_node(const char *config, const char *data_dir, struct process_list *out_list)
{
    out_list->count = 0;
    (void)scan(config, data_dir, false, out_list); /* what is added is counted in the list */
    while (scan(config, data_dir, true, out_list)) {
        /* a generation more each time */
    }
    pid_t postmaster = postmaster_pid(data_dir);
    for (size_t i = 0; i < out_list->count; i++) {
        struct process *one = &out_list->at[i];
        const struct process *parent = find_pid(out_list, one->ppid);
        if (one->kind == PROCESS_BACKEND && one->id.pid == postmaster) {
            one->kind = PROCESS_POSTMASTER;
        } else if (one->kind == PROCESS_GUARD && parent != NULL && parent->kind == PROCESS_GUARD) {
            one->kind = PROCESS_LOG;
        }
    }
}

const struct process *process_first(const struct process_list *list, enum process_kind kind)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->at[i].kind == kind) {
            return &list->at[i];
        }
    }
    return NULL;
}

_Noreturn static void exec_daemon(char *const *argv, int log_fd)
{
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)setsid(); /* a fresh child is no group's leader: cannot fail */
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    if (null_fd >= 0 && dup2(null_fd, STDIN_FILENO) >= 0 && dup2(log_fd, STDOUT_FILENO) >= 0 &&
        dup2(log_fd, STDERR_FILENO) >= 0) {
        (void)close_range(STDERR_FILENO + 1, ~0U, 0);
        (void)execv(argv[0], argv); /* returns only when it failed */
    }
    (void)dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

enum err process_launch(char *const *argv, const char *log_path, struct process_id *out_id,
                        struct err_detail *detail)
{
    AUTO_CLOSE int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot write %s", log_path);
    }
    pid_t pid = fork();
    if (pid < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot start %s", argv[0]);
    }
    if (pid == 0) {
        exec_daemon(argv, log_fd);
    }
    if (!process_identify(pid, out_id)) {
        return err_set(detail, ERR_REFUSED, "%s ended at once: see %s", argv[0], log_path);
    }
    return ERR_OK;
}

_Noreturn static void exec_captured(char *const *argv, char *const *environment, int out_fd)
{
    bool fits = true;
    for (char *const *pair = environment; pair != NULL && *pair != NULL; pair++) {
        fits = fits && putenv(*pair) == 0;
    }
    if (fits && dup2(out_fd, STDOUT_FILENO) >= 0 && dup2(out_fd, STDERR_FILENO) >= 0) {
        (void)execv(argv[0], argv); /* returns only when it failed */
    }
    (void)dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void read_all(int fd, char *out, size_t out_size)
{
    char rest[1024];
    size_t used = 0;
    for (;;) {
        bool room = used + 1 < out_size;
        /* cppcheck-suppress legacyUninitvar; read writes it */
        ssize_t got = read(fd, room ? out + used : rest, room ? out_size - 1 - used : sizeof(rest));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        used += room ? (size_t)got : 0;
    }
    out[used] = '\0';
}

enum err process_capture(char *const *argv, char *const *environment, char *out, size_t out_size,
                         struct err_detail *detail)
{
    int ends[2];
    ASSERT(out_size > 0);
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot make a pipe");
    }
    AUTO_CLOSE int from = ends[0];
    int into = ends[1];
    pid_t pid = fork();
    if (pid == 0) {
        exec_captured(argv, environment, into);
    }
    (void)close(into); /* the child has its own */
    if (pid < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot start %s", argv[0]);
    }
    read_all(from, out, out_size);
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        /* again */
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return err_set(detail, ERR_REFUSED, "%s: %s", argv[0], out);
    }
    return ERR_OK;
}

void process_pause_ms(int64_t ms)
{
    (void)poll(NULL, 0, (int)ms); /* a signal ends it early: callers look at their condition */
}
