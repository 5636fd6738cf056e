/* Plain blocking calls; symbolic links are followed in the two places where PostgreSQL itself puts
 * them (pg_wal and pg_tblspc) and nowhere else. */
#include "pg/pg_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

#define COPY_CHUNK (1024 * 1024)

bool pg_file_read(const char *path, char *out, size_t out_size)
{
    ASSERT(out_size > 1);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    size_t used = 0;
    for (;;) {
        ssize_t got = read(fd, out + used, out_size - used);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return false;
        }
        used += (size_t)got;
        if (used >= out_size) {
            return false;
        }
        if (got == 0) {
            out[used] = '\0';
            return true;
        }
    }
}

static enum err write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return ERR_INVALID;
        }
        data += done;
        size -= (size_t)done;
    }
    return ERR_OK;
}

enum err pg_dir_fsync(const char *path, struct err_detail *detail)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot fsync directory %s", path);
    }
    return ERR_OK;
}

enum err pg_file_write(const char *path, const char *text, mode_t mode, bool durable,
                       struct err_detail *detail)
{
    char temporary[PATH_SIZE];
    if (!str_format(temporary, sizeof(temporary), "%s.holdfast.tmp", path)) {
        return err_set(detail, ERR_INVALID, "path too long: %s", path);
    }
    (void)unlink(temporary); /* of an earlier attempt; it may have another mode */
    AUTO_CLOSE int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot create %s", temporary);
    }
    if (fchmod(fd, mode) != 0 || write_all(fd, text, strlen(text)) != ERR_OK ||
        (durable && fsync(fd) != 0) || rename(temporary, path) != 0) {
        int sys_errno = errno;
        (void)unlink(temporary); /* the first error is the one to tell */
        return err_set_errno(detail, ERR_INVALID, sys_errno, "cannot write %s", path);
    }
    if (durable) {
        char directory[PATH_SIZE];
        str_copy_cut(directory, sizeof(directory), path);
        return pg_dir_fsync(dirname(directory), detail);
    }
    return ERR_OK;
}

enum err pg_file_copy(const char *from, const char *to, struct err_detail *detail)
{
    AUTO_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot open %s", from);
    }
    AUTO_CLOSE int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    AUTO_FREE char *chunk = malloc(COPY_CHUNK);
    ASSERT(chunk != NULL);
    if (out < 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot create %s", to);
    }
    for (;;) {
        ssize_t got = read(in, chunk, COPY_CHUNK);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_set_errno(detail, ERR_INVALID, errno, "cannot read %s", from);
        }
        if (got == 0) {
            break;
        }
        if (write_all(out, chunk, (size_t)got) != ERR_OK) {
            return err_set_errno(detail, ERR_INVALID, errno, "cannot write %s", to);
        }
    }
    if (fsync(out) != 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot fsync %s", to);
    }
    return ERR_OK;
}

enum err pg_dir_make(const char *path, mode_t mode, struct err_detail *detail)
{
    struct stat st;
    if (mkdir(path, mode) == 0 ||
        (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))) {
        return ERR_OK;
    }
    return err_set_errno(detail, ERR_INVALID, errno, "cannot make directory %s", path);
}

bool pg_dir_empty(const char *path, int *out_errno)
{
    *out_errno = 0;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        *out_errno = errno == ENOENT ? 0 : errno;
        return errno == ENOENT;
    }
    bool empty = true;
    const struct dirent *entry;
    while (empty && (entry = readdir(dir)) != NULL) {
        empty = entry->d_name[0] == '.' || str_equal(entry->d_name, "lost+found");
    }
    (void)closedir(dir); /* was only read */
    return empty;
}

enum err pg_dir_clear(const char *path, struct err_detail *detail)
{
    AUTO_FREE char *root = strdup(path);
    ASSERT(root != NULL);
    char *roots[2] = {root, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (tree == NULL) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot walk %s", path);
    }
    enum err err = ERR_OK;
    FTSENT *entry;
    while ((entry = fts_read(tree)) != NULL) {
        if (entry->fts_level == 0 || entry->fts_info == FTS_D) {
            continue;
        }
        bool directory = entry->fts_info == FTS_DP;
        if (directory && entry->fts_level == 1 && str_equal(entry->fts_name, "lost+found")) {
            continue; /* the file system's own */
        }
        int rc = directory ? rmdir(entry->fts_path) : unlink(entry->fts_path);
        if (rc != 0 && errno != ENOENT && err == ERR_OK) {
            err = err_set_errno(detail, ERR_INVALID, errno, "cannot remove %s", entry->fts_path);
        }
    }
    (void)fts_close(tree); /* was only read */
    return err;
}

/* Clears what a symbolic link to a directory points at; anything else is left to the caller. */
static enum err link_clear(const char *link, struct err_detail *detail)
{
    struct stat st;
    if (lstat(link, &st) != 0 || !S_ISLNK(st.st_mode)) {
        return ERR_OK;
    }
    if (stat(link, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return ERR_OK; /* dangling */
    }
    char target[PATH_SIZE];
    if (!str_format(target, sizeof(target), "%s/", link)) {
        return err_set(detail, ERR_INVALID, "path too long: %s", link);
    }
    return pg_dir_clear(target, detail);
}

enum err pg_datadir_clear(const char *data_dir, struct err_detail *detail)
{
    char path[PATH_SIZE];
    if (!str_format(path, sizeof(path), "%s/pg_tblspc", data_dir)) {
        return err_set(detail, ERR_INVALID, "path too long: %s", data_dir);
    }
    DIR *dir = opendir(path);
    enum err err = ERR_OK;
    const struct dirent *entry;
    while (dir != NULL && err == ERR_OK && (entry = readdir(dir)) != NULL) {
        char link[PATH_SIZE];
        if (str_format(link, sizeof(link), "%s/pg_tblspc/%s", data_dir, entry->d_name)) {
            err = link_clear(link, detail);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir); /* was only read */
    }
    if (err == ERR_OK && str_format(path, sizeof(path), "%s/pg_wal", data_dir)) {
        err = link_clear(path, detail);
    }
    return err == ERR_OK ? pg_dir_clear(data_dir, detail) : err;
}

void pg_file_tail(const char *path, int64_t offset, char *out, size_t out_size)
{
    ASSERT(out_size > 1);
    out[0] = '\0';
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size <= offset) {
        return;
    }
    off_t start = st.st_size - (off_t)(out_size - 1);
    bool cut = start > offset;
    if (!cut) {
        start = offset;
    }
    ssize_t got = pread(fd, out, out_size - 1, start);
    if (got <= 0) {
        out[0] = '\0';
        return;
    }
    out[got] = '\0';
    if (cut) {
        const char *newline = strchr(out, '\n');
        if (newline != NULL && newline[1] != '\0') {
            memmove(out, newline + 1, strlen(newline + 1) + 1);
        }
    }
}

const char *pg_log_reason(const char *text)
{
    static const char *const words[] = {"PANIC:  ", "FATAL:  "};
    static const char to_client[] = "the database system is ";
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const char *found = NULL;
        const size_t length = strlen(words[i]);
        for (const char *at = strstr(text, words[i]); at != NULL; at = strstr(at + 1, words[i])) {
            if (strncmp(at + length, to_client, sizeof(to_client) - 1) != 0) {
                found = at;
            }
        }
        if (found != NULL) {
            return found;
        }
    }
    return NULL;
}

const char *pg_log_shown(const char *text, size_t room)
{
    const char *reason = pg_log_reason(text);
    size_t length = strlen(text);
    const char *shown = length > room ? text + (length - room) : text;
    const char *newline = shown > text && shown[-1] != '\n' ? strchr(shown, '\n') : NULL;
    if (newline != NULL && newline[1] != '\0') {
        shown = newline + 1;
    }
    return reason != NULL && reason < shown ? reason : shown;
}

/* ---- /proc ---- */

bool pg_proc_stat(int64_t pid, struct pg_proc *out_proc)
{
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)pid); /* fits */
    if (!pg_file_read(path, text, sizeof(text))) {
        return false;
    }
    const char *close_mark = strrchr(text, ')'); /* a name may hold anything, also `)` */
    struct pg_proc proc = {0};
    unsigned long long ticks = 0;
    long long ppid = 0;
    if (close_mark == NULL ||
        sscanf(close_mark + 1, /* NOLINT(cert-err34-c): the kernel's own numbers fit */
               " %c %lld %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &proc.state, &ppid, &ticks) != 3) {
        return false;
    }
    proc.ppid = ppid;
    proc.start_ticks = ticks;
    *out_proc = proc;
    return true;
}

/* True when the link could be read. */
static bool proc_link(int64_t pid, const char *name, char out[PATH_SIZE])
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%lld/%s", (long long)pid, name); /* fits */
    ssize_t length = readlink(path, out, PATH_SIZE - 1);
    if (length < 0) {
        return false;
    }
    out[length] = '\0';
    return true;
}

int pg_proc_is_postgres(int64_t pid, const char *data_dir)
{
    char cwd[PATH_SIZE];
    char exe[PATH_SIZE];
    char real[PATH_SIZE];
    struct pg_proc proc;
    if (!pg_proc_stat(pid, &proc)) {
        return 0;
    }
    bool has_cwd = proc_link(pid, "cwd", cwd);
    bool has_exe = proc_link(pid, "exe", exe);
    if (has_cwd) {
        struct stat theirs;
        struct stat ours;
        char path[64];
        (void)snprintf(path, sizeof(path), "/proc/%lld/cwd", (long long)pid); /* fits */
        if (stat(path, &theirs) == 0 && stat(data_dir, &ours) == 0) {
            if (theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino) {
                return 0;
            }
        } else if (!str_equal(cwd, data_dir)) {
            /* the directory was removed below it: the kernel appends " (deleted)" */
            size_t length = strlen(data_dir);
            if (realpath(data_dir, real) != NULL || strncmp(cwd, data_dir, length) != 0) {
                return 0;
            }
        }
    }
    if (has_exe) {
        char *deleted = strstr(exe, " (deleted)"); /* an upgraded package */
        if (deleted != NULL) {
            *deleted = '\0';
        }
        const char *base = strrchr(exe, '/');
        base = base != NULL ? base + 1 : exe;
        if (!str_equal(base, "postgres") && !str_equal(base, "postmaster")) {
            return 0;
        }
    }
    return has_exe && has_cwd ? 1 : -1;
}

int64_t pg_proc_find(const char *data_dir)
{
    DIR *dir = opendir("/proc");
    if (dir == NULL) {
        return -1;
    }
    int64_t found = 0;
    const struct dirent *entry;
    while (found == 0 && (entry = readdir(dir)) != NULL) {
        int64_t pid = 0;
        if (str_to_i64(entry->d_name, &pid) && pid != getpid() &&
            pg_proc_is_postgres(pid, data_dir) == 1) {
            found = pid;
        }
    }
    (void)closedir(dir); /* was only read */
    return found;
}

int64_t pg_proc_boot_time(void)
{
    AUTO_FREE char *text = malloc(262144);
    ASSERT(text != NULL);
    if (!pg_file_read("/proc/stat", text, 262144)) {
        return 0;
    }
    const char *line = strstr(text, "\nbtime ");
    return line != NULL ? strtoll(line + strlen("\nbtime "), NULL, 10) : 0; /* the kernel's own */
}

bool pg_proc_signal(int64_t pid, uint64_t start_ticks, int signal_number)
{
    ASSERT(pid > 1);
    AUTO_CLOSE int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    struct pg_proc proc;
    if (fd < 0 || !pg_proc_stat(pid, &proc) || proc.start_ticks != start_ticks) {
        return false;
    }
    return syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, 0) == 0;
}
