/* Looks, and changes nothing: a port is tried by binding it for a moment. */
#include "cli/check.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"

/* ---- ports ---- */

/* True: somebody listens there now. Names that cannot be resolved are told elsewhere. */
static bool port_is_taken(const char *host, uint16_t port)
{
    char service[8];
    (void)snprintf(service, sizeof(service), "%u", port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    bool taken = false;
    bool any = *host == '\0' || str_equal(host, "*");
    if (getaddrinfo(any ? NULL : host, service, &hints, &list) != 0) {
        return false;
    }
    for (const struct addrinfo *at = list; at != NULL && !taken; at = at->ai_next) {
        AUTO_CLOSE int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int on = 1;
        if (fd < 0) {
            continue;
        }
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* as the server would */
        if (at->ai_family == AF_INET6) {
            (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
        }
        taken = bind(fd, at->ai_addr, at->ai_addrlen) != 0 && errno == EADDRINUSE;
    }
    freeaddrinfo(list);
    return taken;
}

/* The third line of postmaster.pid is the start time, the fourth the port. */
static bool pidfile_has_port(const char *directory, uint16_t port, long *out_pid)
{
    char path[PATH_SIZE];
    char line[256];
    if (!str_format(path, sizeof(path), "%s/postmaster.pid", directory)) {
        return false;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    long number[4] = {0};
    for (int i = 0; i < 4 && fgets(line, sizeof(line), file) != NULL; i++) {
        number[i] = strtol(line, NULL, 10);
    }
    (void)fclose(file); /* only read */
    *out_pid = number[0];
    return number[3] == (long)port && number[0] > 0;
}

struct debian_cluster {
    char version[16];
    char name[NAME_SIZE];
    char port[8];
};

/* The port in /etc/postgresql/VERSION/NAME/postgresql.conf, which anybody may read. */
static bool debian_conf_port(const char *version, const char *name, uint16_t port)
{
    char path[PATH_SIZE];
    char line[512];
    unsigned found = 5432;
    if (!str_format(path, sizeof(path), "/etc/postgresql/%s/%s/postgresql.conf", version, name)) {
        return false;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        int at = 0;
        (void)sscanf(line, " port = %n", &at); /* at stays 0 elsewhere; comments begin with '#' */
        if (at > 0) {
            const char *value = line + at + (line[at] == '\'' ? 1 : 0);
            unsigned long number = strtoul(value, NULL, 10);
            found = number > 0 && number <= UINT16_MAX ? (unsigned)number : found;
        }
    }
    (void)fclose(file); /* only read */
    return found == port;
}

static bool find_debian_cluster(uint16_t port, struct debian_cluster *out_cluster)
{
    DIR *versions = opendir("/etc/postgresql");
    bool found = false;
    for (struct dirent *v = versions == NULL ? NULL : readdir(versions); v != NULL && !found;
         v = readdir(versions)) {
        char path[PATH_SIZE];
        if (v->d_name[0] == '.' ||
            !str_format(path, sizeof(path), "/etc/postgresql/%s", v->d_name)) {
            continue;
        }
        DIR *names = opendir(path);
        for (struct dirent *n = names == NULL ? NULL : readdir(names); n != NULL && !found;
             n = readdir(names)) {
            found = n->d_name[0] != '.' && debian_conf_port(v->d_name, n->d_name, port) &&
                    str_copy(out_cluster->version, sizeof(out_cluster->version), v->d_name) &&
                    str_copy(out_cluster->name, sizeof(out_cluster->name), n->d_name);
        }
        if (names != NULL) {
            (void)closedir(names); /* only read */
        }
    }
    if (versions != NULL) {
        (void)closedir(versions); /* only read */
    }
    return found;
}

static void check_postgres_port(const struct config *config, const struct pg_config *pg,
                                struct config_report *report)
{
    char host[URL_SIZE];
    long pid = 0;
    str_copy_cut(host, sizeof(host), pg->listen_addresses);
    host[strcspn(host, ",")] = '\0';
    if (!port_is_taken(host, pg->port)) {
        return;
    }
    if (pidfile_has_port(config->data_dir, pg->port, &pid)) {
        config_report_add(
            report, CONFIG_NOTE,
            "port %u belongs to the server (pid %ld) that runs in %s: it will be adopted "
            "without a restart",
            pg->port, pid, config->data_dir);
        return;
    }
    const struct yaml_mark *where = yaml_mark_key(config->marks, config->postgresql, "listen");
    struct debian_cluster other = {.version = ""};
    char its_data[PATH_SIZE];
    bool debian = find_debian_cluster(pg->port, &other) &&
                  str_format(its_data, sizeof(its_data), "/var/lib/postgresql/%s/%s", other.version,
                             other.name);
    if (debian && str_equal(its_data, config->data_dir)) {
        config_report_add(
            report, CONFIG_NOTE,
            "port %u belongs to Debian's %s/%s, whose data directory is configured here: "
            "it will be adopted without a restart; take it out of systemd's hands first: "
            "\"systemctl disable postgresql@%s-%s\"",
            pg->port, other.version, other.name, other.version, other.name);
        return;
    }
    if (debian) {
        config_report_at(
            report, CONFIG_ERROR, where, "postgresql.listen",
            "port %u is taken by Debian's own %s/%s; remedy: adopt it with \"data_dir: "
            "/var/lib/postgresql/%s/%s\" and \"config_dir: /etc/postgresql/%s/%s\" after "
            "\"systemctl disable postgresql@%s-%s\", or drop it with \"pg_dropcluster "
            "--stop %s %s\" (its data is deleted), or choose another port",
            pg->port, other.version, other.name, other.version, other.name, other.version,
            other.name, other.version, other.name, other.version, other.name);
        return;
    }
    config_report_at(report, CONFIG_ERROR, where, "postgresql.listen",
                     "port %u is taken; remedy: see who listens with \"ss -ltnp sport = :%u\", or "
                     "choose another port",
                     pg->port, pg->port);
}

/* ---- programs and directories ---- */

static void check_programs(const struct config *config, const struct pg_config *pg,
                           struct config_report *report)
{
    static const char *const names[] = {"postgres", "initdb", "pg_basebackup", "pg_controldata",
                                        "pg_rewind"};
    if (*pg->bin_dir == '\0') {
        return; /* found by $PATH of the agent, which need not be ours */
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[PATH_SIZE];
        if (!str_format(path, sizeof(path), "%s/%s", pg->bin_dir, names[i]) ||
            access(path, X_OK) != 0) {
            config_report_at(report, CONFIG_ERROR,
                             yaml_mark_key(config->marks, config->postgresql, "bin_dir"),
                             "postgresql.bin_dir",
                             "there is no program %s in %s; remedy: the directory of the server's "
                             "programs, such as /usr/lib/postgresql/15/bin",
                             names[i], pg->bin_dir);
            return; /* a wrong directory is one fault, not five */
        }
    }
}

static void check_data_dir(const struct config *config, struct config_report *report)
{
    struct stat info;
    const struct yaml_mark *where = yaml_mark_key(config->marks, config->postgresql, "data_dir");
    if (stat(config->data_dir, &info) != 0) {
        if (errno == EACCES) {
            config_report_at(report, CONFIG_NOTE, where, "postgresql.data_dir",
                             "cannot be looked at as this user; remedy: run this check as the "
                             "agent's user");
        }
        return;
    }
    if (!S_ISDIR(info.st_mode)) {
        config_report_at(report, CONFIG_ERROR, where, "postgresql.data_dir",
                         "%s is not a directory; remedy: name one that does not exist yet",
                         config->data_dir);
    } else if (info.st_uid == 0 && geteuid() == 0) {
        config_report_at(report, CONFIG_ERROR, where, "postgresql.data_dir",
                         "belongs to root, and PostgreSQL refuses to run as root; remedy: chown "
                         "postgres %s",
                         config->data_dir);
    }
}

static void check_secrets(const struct config *config, struct config_report *report)
{
    struct stat info;
    if (stat(config->file, &info) == 0 && (info.st_mode & S_IROTH) != 0) {
        config_report_add(report, CONFIG_WARNING,
                          "%s can be read by everybody, passwords with it; remedy: chmod o-rwx %s",
                          config->file, config->file);
    }
}

/* ---- the guard's rights ---- */

static void check_guard(struct config_report *report)
{
    struct rlimit rtprio;
    struct rlimit memlock;
    if (getrlimit(RLIMIT_RTPRIO, &rtprio) != 0 || getrlimit(RLIMIT_MEMLOCK, &memlock) != 0) {
        return;
    }
    bool root = geteuid() == 0;
    if (!root && rtprio.rlim_cur == 0) {
        config_report_add(
            report, CONFIG_WARNING,
            "started by this user the guard has no real-time priority, so a machine "
            "under load may delay it; remedy: LimitRTPRIO=50 in the systemd unit, or a "
            "line \"USER - rtprio 50\" in /etc/security/limits.conf");
    }
    if (!root && memlock.rlim_cur != RLIM_INFINITY && memlock.rlim_cur < 8 * 1024 * 1024) {
        config_report_add(report, CONFIG_WARNING,
                          "started by this user the guard may lock only %llu kB of memory; remedy: "
                          "LimitMEMLOCK=16M in the systemd unit",
                          (unsigned long long)memlock.rlim_cur / 1024);
    }
}

void check_host(const struct config *config, struct config_report *report)
{
    ASSERT(config != NULL && report != NULL);
    AUTO_ARENA struct arena arena;
    arena_init(&arena, 4U * 1024 * 1024);
    struct pg_config pg;
    if (config_effective(config, config->bootstrap_dcs, &arena, &pg, NULL) != ERR_OK) {
        return; /* loading has told why */
    }
    check_postgres_port(config, &pg, report);
    if (port_is_taken(config->restapi_host, config->restapi_port)) {
        const json_t *rest = json_object_get(config->root, "restapi");
        config_report_at(report, CONFIG_WARNING, yaml_mark_key(config->marks, rest, "listen"),
                         "restapi.listen",
                         "port %u is taken (by this node's own agent, if it runs); remedy: another "
                         "port, or stop who listens there",
                         config->restapi_port);
    }
    check_programs(config, &pg, report);
    check_data_dir(config, report);
    check_secrets(config, report);
    check_guard(report);
}
