/* All of a lab is below one directory that only its user can enter, so that two users' labs never
 * meet, and what is found in it was put there by us. */
#include "lab/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <jansson.h>
#include <libgen.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

#define SERVER_USER "postgres"
#define STATE_FILE "lab.json"
#define LAYOUT 1

void lab_path(const struct lab *lab, char out[PATH_SIZE], const char *format, ...)
{
    va_list args;
    ASSERT(str_format(out, PATH_SIZE, "%s/", lab->dir));
    size_t used = strlen(out);
    va_start(args, format);
    int length = vsnprintf(out + used, PATH_SIZE - used, format, args);
    va_end(args);
    ASSERT(length >= 0 && (size_t)length < PATH_SIZE - used);
}

/* The name that /proc uses: with no link on the way. The last part may not exist yet. */
static enum err canonical(char dir[LAB_DIR_MAX], struct err_detail *detail)
{
    char parent[PATH_SIZE];
    char *slash = strrchr(dir, '/');
    if (slash == NULL || slash[1] == '\0') {
        return err_set(detail, ERR_INVALID, "--dir: a directory of its own is needed");
    }
    char name[LAB_DIR_MAX];
    str_set(name, sizeof(name), slash + 1);
    slash[slash == dir ? 1 : 0] = '\0';
    if (realpath(dir, parent) == NULL) {
        return err_set_errno(detail, ERR_INVALID, errno, "%s", dir);
    }
    if (!str_format(dir, LAB_DIR_MAX, "%s/%s", str_equal(parent, "/") ? "" : parent, name)) {
        return err_set(detail, ERR_INVALID, "--dir: at most %d bytes, unix sockets live below it",
                       LAB_DIR_MAX - 1);
    }
    return ERR_OK;
}

static enum err default_dir(uid_t uid, char out[LAB_DIR_MAX], struct err_detail *detail)
{
    /* Not $XDG_RUNTIME_DIR: it is memory, a tenth of the machine's at most, and three servers with
     * their WAL need more than that of a small machine. */
    const struct passwd *user = getpwuid(uid);
    bool fits = user != NULL ? str_format(out, LAB_DIR_MAX, "/tmp/holdfast-lab-%s", user->pw_name)
                             : str_format(out, LAB_DIR_MAX, "/tmp/holdfast-lab-%u", uid);
    return fits ? canonical(out, detail)
                : err_set(detail, ERR_INVALID, "user name too long; give --dir DIR");
}

static enum err set_dir(char out[LAB_DIR_MAX], const char *dir, uid_t uid,
                        struct err_detail *detail)
{
    char cwd[LAB_DIR_MAX] = "";
    if (dir == NULL) {
        return default_dir(uid, out, detail);
    }
    if (dir[0] != '/' && getcwd(cwd, sizeof(cwd)) == NULL) {
        return err_set(detail, ERR_INVALID, "--dir: give an absolute path of at most %d bytes",
                       LAB_DIR_MAX - 1);
    }
    bool fits = dir[0] == '/' ? str_copy(out, LAB_DIR_MAX, dir)
                              : str_format(out, LAB_DIR_MAX, "%s/%s", cwd, dir);
    if (!fits) {
        return err_set(detail, ERR_INVALID, "--dir: at most %d bytes, unix sockets live below it",
                       LAB_DIR_MAX - 1);
    }
    for (size_t length = strlen(out); length > 1 && out[length - 1] == '/'; length--) {
        out[length - 1] = '\0';
    }
    return canonical(out, detail);
}

static enum err own_programs(char out[PATH_SIZE], struct err_detail *detail)
{
    char path[PATH_SIZE];
    char guard[PATH_SIZE];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (length <= 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot tell which program this is");
    }
    path[length] = '\0';
    str_set(out, PATH_SIZE, path);
    if (!str_format(guard, sizeof(guard), "%s/holdfast-guard", dirname(path)) ||
        access(guard, X_OK) != 0) {
        return err_set(detail, ERR_REFUSED, "%s is missing: build it with make", guard);
    }
    return ERR_OK;
}

static enum err copy_file(const char *from, const char *to, struct err_detail *detail)
{
    AUTO_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC);
    (void)unlink(to); /* one that is running stays as it is, under no name */
    AUTO_CLOSE int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    struct stat stat;
    if (in < 0 || out < 0 || fstat(in, &stat) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot copy %s to %s", from, to);
    }
    for (off_t left = stat.st_size; left > 0;) {
        ssize_t sent = sendfile(out, in, NULL, (size_t)left);
        if (sent <= 0) {
            return err_set_errno(detail, ERR_REFUSED, errno, "cannot copy %s to %s", from, to);
        }
        left -= sent;
    }
    return fchmod(out, 0755) == 0 ? ERR_OK : err_set_errno(detail, ERR_REFUSED, errno, "%s", to);
}

static bool become(const struct passwd *user)
{
    return initgroups(user->pw_name, user->pw_gid) == 0 &&
           setresgid(user->pw_gid, user->pw_gid, user->pw_gid) == 0 &&
           setresuid(user->pw_uid, user->pw_uid, user->pw_uid) == 0;
}

/* Asked of the kernel by somebody who is that user: folders on the way count too. */
static bool can_run(const struct passwd *user, const char *program)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(become(user) && access(program, X_OK) == 0 ? 0 : 1);
    }
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        /* again */
    }
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* DIR as root makes it: private to the server's user. Never follows what somebody else put there. */
static enum err make_dir_for(const char *dir, const struct passwd *user, struct err_detail *detail)
{
    struct stat stat;
    if (mkdir(dir, 0700) == 0) {
        if (lchown(dir, user->pw_uid, user->pw_gid) != 0) {
            return err_set_errno(detail, ERR_REFUSED, errno, "cannot give %s to %s", dir,
                                 user->pw_name);
        }
        return ERR_OK;
    }
    if (errno != EEXIST || lstat(dir, &stat) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot make %s", dir);
    }
    if (!S_ISDIR(stat.st_mode) || stat.st_uid != user->pw_uid) {
        return err_set(detail, ERR_REFUSED, "%s exists and is not a directory of %s", dir,
                       user->pw_name);
    }
    return ERR_OK;
}

static enum err copy_programs(const char *dir, const char *program, const struct passwd *user,
                              struct err_detail *detail)
{
    char from[PATH_SIZE];
    char to[PATH_SIZE];
    char copy[PATH_SIZE];
    enum err err = make_dir_for(dir, user, detail);
    if (err != ERR_OK) {
        return err;
    }
    str_set(copy, sizeof(copy), program);
    const char *const names[] = {"holdfast-guard", "holdfast"};
    const char *beside = dirname(copy);
    ASSERT(str_format(to, sizeof(to), "%s/bin", dir));
    err = make_dir_for(to, user, detail);
    for (size_t i = 0; err == ERR_OK && i < sizeof(names) / sizeof(names[0]); i++) {
        bool fits = str_format(to, sizeof(to), "%s/bin/%s", dir, names[i]) &&
                    str_format(from, sizeof(from), "%s/%s", beside, names[i]);
        err = fits ? copy_file(i == 1 ? program : from, to, detail)
                   : err_set(detail, ERR_INVALID, "path too long");
    }
    return err;
}

/* setresuid leaves a process whose /proc entries are root's and whose program may be out of its
 * reach; an exec makes it an ordinary process of that user. */
static enum err exec_again(const char *program, struct err_detail *detail)
{
    static char text[65536];
    static char *argv[256];
    size_t count = 0;
    AUTO_CLOSE int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    for (char *at = text; length > 0 && at < text + length && count < 255; at += strlen(at) + 1) {
        argv[count++] = at;
    }
    if (count > 0) {
        (void)execv(program, argv); /* returns only when it failed */
    }
    return err_set_errno(detail, ERR_REFUSED, errno, "cannot run %s", program);
}

enum err lab_leave_root(const char *dir, bool make, struct err_detail *detail)
{
    char program[PATH_SIZE];
    char place[LAB_DIR_MAX];
    if (geteuid() != 0) {
        return ERR_OK;
    }
    const struct passwd *user = getpwnam(SERVER_USER);
    if (user == NULL) {
        return err_set(detail, ERR_REFUSED,
                       "PostgreSQL refuses to run as root, and there is no user " SERVER_USER);
    }
    enum err err = own_programs(program, detail);
    if (err == ERR_OK) {
        err = set_dir(place, dir, user->pw_uid, detail);
    }
    if (err == ERR_OK && !can_run(user, program)) {
        char copy[PATH_SIZE];
        ASSERT(str_format(copy, sizeof(copy), "%s/bin/holdfast", place));
        if (make) {
            err = copy_programs(place, program, user, detail);
        } else if (access(copy, X_OK) != 0) {
            err = err_set(detail, ERR_REFUSED, "no lab in %s: start one with `holdfast lab up`",
                          place);
        }
        str_set(program, sizeof(program), copy);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (!become(user) || setenv("HOME", user->pw_dir, 1) != 0 || unsetenv("XDG_RUNTIME_DIR") != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot become " SERVER_USER);
    }
    if (access(".", X_OK) != 0 && chdir("/") != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot leave this directory");
    }
    return exec_again(program, detail);
}

enum err lab_place(struct lab *out_lab, const char *dir, struct err_detail *detail)
{
    struct lab lab = {.lock_fd = -1};
    enum err err = set_dir(lab.dir, dir, geteuid(), detail);
    if (err == ERR_OK) {
        err = own_programs(lab.program, detail);
    }
    if (err == ERR_OK) {
        *out_lab = lab;
    }
    return err;
}

static bool has_postgres(const char *dir)
{
    char path[PATH_SIZE];
    return str_format(path, sizeof(path), "%s/postgres", dir) && access(path, X_OK) == 0 &&
           str_format(path, sizeof(path), "%s/initdb", dir) && access(path, X_OK) == 0;
}

static bool search_path(char out[PATH_SIZE])
{
    const char *at = getenv("PATH");
    while (at != NULL && *at != '\0') {
        size_t length = strcspn(at, ":");
        if (length > 0 && length < PATH_SIZE) {
            memcpy(out, at, length);
            out[length] = '\0';
            if (has_postgres(out)) {
                return true;
            }
        }
        at += length + (at[length] == ':');
    }
    return false;
}

enum err lab_find_postgres(struct lab *lab, const char *wanted, struct err_detail *detail)
{
    const int versions[] = {15, 18, 17, 16, 14, 13}; /* the one that is tested first */
    if (wanted != NULL) {
        return has_postgres(wanted) && str_copy(lab->pg_bin, sizeof(lab->pg_bin), wanted)
                   ? ERR_OK
                   : err_set(detail, ERR_INVALID, "--pg-bin %s: no postgres and initdb there",
                             wanted);
    }
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        if (str_format(lab->pg_bin, sizeof(lab->pg_bin), "/usr/lib/postgresql/%d/bin",
                       versions[i]) &&
            has_postgres(lab->pg_bin)) {
            return ERR_OK;
        }
    }
    if (search_path(lab->pg_bin)) {
        return ERR_OK;
    }
    return err_set(detail, ERR_REFUSED,
                   "no PostgreSQL server programs found: install postgresql-15, or give --pg-bin");
}

bool lab_exists(const struct lab *lab)
{
    char path[PATH_SIZE];
    lab_path(lab, path, STATE_FILE);
    return access(path, F_OK) == 0;
}

/* "." and "..", the copied programs, the lock: nothing that somebody could miss. */
static bool is_ours_always(const char *name)
{
    return str_equal(name, ".") || str_equal(name, "..") || str_equal(name, "bin") ||
           str_equal(name, "lock");
}

static bool is_empty(const char *dir)
{
    DIR *open_dir = opendir(dir);
    bool empty = open_dir != NULL;
    for (struct dirent *entry = empty ? readdir(open_dir) : NULL; entry != NULL;
         entry = readdir(open_dir)) {
        empty = empty && is_ours_always(entry->d_name);
    }
    if (open_dir != NULL) {
        (void)closedir(open_dir); /* was only read */
    }
    return empty;
}

enum err lab_make_dir(struct lab *lab, struct err_detail *detail)
{
    struct passwd self = {.pw_uid = geteuid(), .pw_gid = getegid(), .pw_name = "this user"};
    char path[PATH_SIZE];
    enum err err = make_dir_for(lab->dir, &self, detail);
    if (err != ERR_OK) {
        return err;
    }
    if (!lab_exists(lab) && !is_empty(lab->dir)) {
        return err_set(detail, ERR_REFUSED, "%s exists, is not empty, and is no lab", lab->dir);
    }
    if (chmod(lab->dir, 0700) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "%s", lab->dir);
    }
    lab_path(lab, path, "log");
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot make %s", path);
    }
    return ERR_OK;
}

enum err lab_lock(struct lab *lab, struct err_detail *detail)
{
    char path[PATH_SIZE];
    lab_path(lab, path, "lock");
    lab->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lab->lock_fd < 0 || flock(lab->lock_fd, LOCK_EX) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot lock %s", path);
    }
    return ERR_OK;
}

void lab_unlock(struct lab *lab)
{
    cleanup_close(&lab->lock_fd);
    lab->lock_fd = -1;
}

static json_t *id_to_json(const struct process_id *id)
{
    return json_pack("{s:i, s:I}", "pid", (int)id->pid, "start_ticks", (json_int_t)id->start_ticks);
}

enum err lab_save(const struct lab *lab, struct err_detail *detail)
{
    char path[PATH_SIZE];
    char temporary[PATH_SIZE];
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < lab->node_count; i++) {
        const struct lab_node *node = &lab->node[i];
        (void)json_array_append_new(
            nodes, json_pack("{s:s, s:i, s:i, s:o}", "name", node->name, "pg_port", node->pg_port,
                             "rest_port", node->rest_port, "guard", id_to_json(&node->guard)));
    }
    json_t *root =
        json_pack("{s:i, s:s, s:s, s:s, s:I, s:o, s:o}", "layout", LAYOUT, "program", lab->program,
                  "pg_bin", lab->pg_bin, "password", lab->password, "ttl_ms",
                  (json_int_t)lab->ttl_ms, "store", id_to_json(&lab->store), "nodes", nodes);
    lab_path(lab, path, STATE_FILE);
    lab_path(lab, temporary, STATE_FILE ".new");
    bool written = root != NULL && json_dump_file(root, temporary, JSON_INDENT(1)) == 0 &&
                   chmod(temporary, 0600) == 0 && rename(temporary, path) == 0;
    json_decref(root);
    return written ? ERR_OK : err_set_errno(detail, ERR_REFUSED, errno, "cannot write %s", path);
}

static bool id_from_json(const json_t *json, struct process_id *out)
{
    json_int_t pid = json_integer_value(json_object_get(json, "pid"));
    json_int_t ticks = json_integer_value(json_object_get(json, "start_ticks"));
    *out = (struct process_id){.pid = (pid_t)pid, .start_ticks = (uint64_t)ticks};
    return json_is_object(json);
}

static bool text_from_json(const json_t *root, const char *key, char *out, size_t out_size)
{
    const char *text = json_string_value(json_object_get(root, key));
    return text != NULL && str_copy(out, out_size, text);
}

static bool node_from_json(const json_t *json, struct lab_node *out)
{
    json_int_t pg_port = json_integer_value(json_object_get(json, "pg_port"));
    json_int_t rest_port = json_integer_value(json_object_get(json, "rest_port"));
    out->pg_port = (uint16_t)pg_port;
    out->rest_port = (uint16_t)rest_port;
    return pg_port > 0 && pg_port <= UINT16_MAX && rest_port > 0 && rest_port <= UINT16_MAX &&
           text_from_json(json, "name", out->name, sizeof(out->name)) &&
           id_from_json(json_object_get(json, "guard"), &out->guard);
}

enum err lab_load(struct lab *lab, struct err_detail *detail)
{
    char path[PATH_SIZE];
    struct lab found = *lab;
    lab_path(lab, path, STATE_FILE);
    json_t *root = json_load_file(path, 0, NULL);
    const json_t *nodes = json_object_get(root, "nodes");
    size_t count = json_array_size(nodes);
    bool good = json_integer_value(json_object_get(root, "layout")) == LAYOUT &&
                text_from_json(root, "program", found.program, sizeof(found.program)) &&
                text_from_json(root, "pg_bin", found.pg_bin, sizeof(found.pg_bin)) &&
                text_from_json(root, "password", found.password, sizeof(found.password)) &&
                id_from_json(json_object_get(root, "store"), &found.store) && count > 0 &&
                count <= LAB_NODES_MAX;
    for (size_t i = 0; good && i < count; i++) {
        good = node_from_json(json_array_get(nodes, i), &found.node[i]);
    }
    found.ttl_ms = json_integer_value(json_object_get(root, "ttl_ms"));
    found.node_count = (uint32_t)count;
    json_decref(root);
    if (!good) {
        return err_set(detail, ERR_INVALID, "%s cannot be read: remove its directory by hand",
                       path);
    }
    *lab = found;
    return ERR_OK;
}

/* A port that the kernel gives to no outgoing connection: with one of those a client that knocks at
 * a server which is down can end up connected to itself, and then the server cannot bind. */
static void port_range(uint16_t *out_low, uint16_t *out_high)
{
    long low = 32768;
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    char line[64] = "";
    if (file != NULL) {
        if (fgets(line, sizeof(line), file) != NULL) {
            low = strtol(line, NULL, 10);
        }
        (void)fclose(file); /* was only read */
    }
    *out_high = low > 12000 ? (uint16_t)(low > 32768 ? 32768 : low) : 32768;
    *out_low = 10240;
}

/* Binds a free one and keeps it bound, so that the next search finds another. */
static int bind_free_port(uint16_t *out_port)
{
    uint16_t low;
    uint16_t high;
    port_range(&low, &high);
    for (int tries = 0; tries < 1000; tries++) {
        uint32_t random;
        if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
            return -1;
        }
        uint16_t port = (uint16_t)(low + random % (uint32_t)(high - low));
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        address.sin_addr.s_addr = htonl(INADDR_ANY); /* free on every address */
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
            *out_port = port;
            return fd;
        }
        cleanup_close(&fd);
    }
    return -1;
}

enum err lab_choose(struct lab *lab, uint32_t nodes, int64_t ttl_ms, struct err_detail *detail)
{
    int fds[2 * LAB_NODES_MAX];
    uint8_t random[16];
    bool good = getrandom(random, sizeof(random), 0) == (ssize_t)sizeof(random);
    ASSERT(nodes > 0 && nodes <= LAB_NODES_MAX);
    lab->node_count = nodes;
    lab->ttl_ms = ttl_ms;
    for (size_t i = 0; i < sizeof(random); i++) {
        ASSERT(str_format(lab->password + 2 * i, 3, "%02x", random[i]));
    }
    for (uint32_t i = 0; i < nodes; i++) {
        struct lab_node *node = &lab->node[i];
        *node = (struct lab_node){.pg_port = 0};
        ASSERT(str_format(node->name, sizeof(node->name), "n%u", i + 1));
        fds[2 * i] = bind_free_port(&node->pg_port);
        fds[2 * i + 1] = bind_free_port(&node->rest_port);
        good = good && fds[2 * i] >= 0 && fds[2 * i + 1] >= 0;
    }
    for (uint32_t i = 0; i < 2 * nodes; i++) {
        cleanup_close(&fds[i]);
    }
    return good ? ERR_OK : err_set(detail, ERR_REFUSED, "no free ports found");
}

int lab_node_find(const struct lab *lab, const char *name)
{
    for (uint32_t i = 0; i < lab->node_count; i++) {
        if (str_equal(lab->node[i].name, name)) {
            return (int)i;
        }
    }
    return -1;
}

void lab_conninfo(const struct lab *lab, const char *session_attrs, char *out, size_t out_size)
{
    char hosts[LAB_NODES_MAX * 16] = "";
    char ports[LAB_NODES_MAX * 8] = "";
    for (uint32_t i = 0; i < lab->node_count; i++) {
        size_t used = strlen(hosts);
        str_copy_cut(hosts + used, sizeof(hosts) - used, i > 0 ? ",127.0.0.1" : "127.0.0.1");
        used = strlen(ports);
        ASSERT(str_format(ports + used, sizeof(ports) - used, i > 0 ? ",%u" : "%u",
                          lab->node[i].pg_port));
    }
    ASSERT(str_format(out, out_size,
                      "host=%s port=%s user=" LAB_USER " dbname=postgres passfile=%s/pgpass "
                      "target_session_attrs=%s connect_timeout=2 tcp_user_timeout=2000 "
                      "keepalives_idle=1 keepalives_interval=1",
                      hosts, ports, lab->dir, session_attrs));
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *where)
{
    (void)stat;
    (void)flag;
    (void)where;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

void lab_remove_unused(const struct lab *lab)
{
    struct stat stat;
    if (!lab_exists(lab) && lstat(lab->dir, &stat) == 0 && S_ISDIR(stat.st_mode) &&
        stat.st_uid == geteuid() && is_empty(lab->dir)) {
        (void)nftw(lab->dir, remove_one, 16,
                   FTW_DEPTH | FTW_PHYS | FTW_MOUNT); /* as far as it goes */
    }
}

enum err lab_remove_tree(const char *path, struct err_detail *detail)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 && errno != ENOENT) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot remove %s", path);
    }
    return ERR_OK;
}

enum err lab_clear(const struct lab *lab, struct err_detail *detail)
{
    char path[PATH_SIZE];
    DIR *dir = opendir(lab->dir);
    enum err err = dir != NULL ? ERR_OK : err_set_errno(detail, ERR_REFUSED, errno, "%s", lab->dir);
    for (struct dirent *entry = dir != NULL ? readdir(dir) : NULL; entry != NULL && err == ERR_OK;
         entry = readdir(dir)) {
        if (!is_ours_always(entry->d_name) && !str_equal(entry->d_name, STATE_FILE)) {
            lab_path(lab, path, "%s", entry->d_name);
            err = lab_remove_tree(path, detail);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir); /* was only read */
    }
    if (err == ERR_OK) { /* last: until then it is a lab's directory */
        lab_path(lab, path, STATE_FILE);
        err = lab_remove_tree(path, detail);
    }
    return err;
}
