/* A node is found by what it runs and where, not by what was once started: guards replace each
 * other, agents are restarted, postmasters come and go. */
#include "lab/node.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

#define STORE_START_MS 10000
#define GONE_MS 10000
#define LEAVE_MS 20000
#define POLL_MS 20
#define PG_SHMEM_MAGIC 679834894 /* PGShmemMagic of PostgreSQL's storage/pg_shmem.h */

void node_config_path(const struct lab *lab, uint32_t index, char out[PATH_SIZE])
{
    lab_path(lab, out, "%s.yml", lab->node[index].name);
}

void node_data_dir(const struct lab *lab, uint32_t index, char out[PATH_SIZE])
{
    lab_path(lab, out, "%s/data", lab->node[index].name);
}

void node_log_path(const struct lab *lab, uint32_t index, char out[PATH_SIZE])
{
    lab_path(lab, out, "log/%s.log", lab->node[index].name);
}

void node_list(const struct lab *lab, uint32_t index, struct process_list *out_list)
{
    char config[PATH_SIZE];
    char data_dir[PATH_SIZE];
    node_config_path(lab, index, config);
    node_data_dir(lab, index, data_dir);
    process_list_node(config, data_dir, out_list);
}

static void write_config(FILE *file, const struct lab *lab, const struct lab_node *node)
{
    (void)fprintf(file,
                  "# Written by `holdfast lab up`; removed by `holdfast lab down`.\n"
                  "scope: " LAB_SCOPE "\n"
                  "name: %s\n"
                  "local:\n"
                  "  path: %s/store.sock\n"
                  "restapi:\n"
                  "  listen: 127.0.0.1:%u\n"
                  "  connect_address: 127.0.0.1:%u\n",
                  node->name, lab->dir, node->rest_port, node->rest_port);
    /* The defaults' proportions, 1 : 2 : 5. */
    (void)fprintf(file,
                  "bootstrap:\n"
                  "  dcs:\n"
                  "    ttl: %" PRId64 "ms\n"
                  "    loop_wait: %" PRId64 "ms\n"
                  "    retry_timeout: %" PRId64 "ms\n"
                  "    maximum_lag_on_failover: 1048576\n"
                  "    postgresql:\n"
                  "      use_pg_rewind: true\n"
                  "  initdb:\n"
                  "    - encoding: UTF8\n"
                  "    - locale: C.UTF-8\n"
                  "    - data-checksums\n",
                  lab->ttl_ms, lab->ttl_ms / 5, 2 * lab->ttl_ms / 5);
    (void)fprintf(file,
                  "postgresql:\n"
                  "  listen: 127.0.0.1:%u\n"
                  "  connect_address: 127.0.0.1:%u\n"
                  "  data_dir: %s/%s/data\n"
                  "  bin_dir: %s\n"
                  "  pgpass: %s/%s/pgpass\n"
                  "  remove_data_directory_on_rewind_failure: true\n"
                  "  remove_data_directory_on_diverged_timelines: true\n",
                  node->pg_port, node->pg_port, lab->dir, node->name, lab->pg_bin, lab->dir,
                  node->name);
    /* Shared memory as files in the data directory: a server that was killed leaves none behind. */
    (void)fprintf(file,
                  "  parameters:\n"
                  "    unix_socket_directories: %s/%s\n"
                  "    dynamic_shared_memory_type: mmap\n"
                  "    shared_buffers: 32MB\n"
                  "    max_wal_size: 256MB\n"
                  "  pg_hba:\n"
                  "    - local all all scram-sha-256\n"
                  "    - host all all 127.0.0.1/32 scram-sha-256\n"
                  "    - host replication all 127.0.0.1/32 scram-sha-256\n"
                  "  authentication:\n"
                  "    superuser: {username: " LAB_USER ", password: '%s'}\n"
                  "    replication: {username: replicator, password: '%s'}\n",
                  lab->dir, node->name, lab->password, lab->password);
}

static FILE *open_private(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 ? NULL : fdopen(fd, "we");
}

enum err node_write_files(const struct lab *lab, struct err_detail *detail)
{
    char path[PATH_SIZE];
    for (uint32_t i = 0; i < lab->node_count; i++) {
        lab_path(lab, path, "%s", lab->node[i].name);
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return err_set_errno(detail, ERR_REFUSED, errno, "cannot make %s", path);
        }
        node_config_path(lab, i, path);
        FILE *file = open_private(path);
        if (file == NULL) {
            return err_set_errno(detail, ERR_REFUSED, errno, "cannot write %s", path);
        }
        write_config(file, lab, &lab->node[i]);
        if (fclose(file) != 0) {
            return err_set_errno(detail, ERR_REFUSED, errno, "cannot write %s", path);
        }
    }
    lab_path(lab, path, "pgpass");
    FILE *file = open_private(path);
    if (file == NULL) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot write %s", path);
    }
    (void)fprintf(file, "*:*:*:" LAB_USER ":%s\n", lab->password);
    return fclose(file) == 0 ? ERR_OK
                             : err_set_errno(detail, ERR_REFUSED, errno, "cannot write %s", path);
}

bool store_answers(const struct lab *lab)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 &&
           str_format(address.sun_path, sizeof(address.sun_path), "%s/store.sock", lab->dir) &&
           connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

enum err store_start(struct lab *lab, struct err_detail *detail)
{
    char dir[PATH_SIZE];
    char socket_path[PATH_SIZE];
    char log[PATH_SIZE];
    lab_path(lab, dir, "store");
    lab_path(lab, socket_path, "store.sock");
    lab_path(lab, log, "log/store.log");
    char words[][10] = {"store", "--dir", "--socket"};
    char *argv[] = {lab->program, words[0], words[1], dir, words[2], socket_path, NULL};
    if (process_runs(&lab->store)) {
        return err_set(detail, ERR_REFUSED, "the store runs already, pid %d", lab->store.pid);
    }
    enum err err = process_launch(argv, log, &lab->store, detail);
    struct mono deadline = mono_add(mono_now(), STORE_START_MS);
    while (err == ERR_OK && !store_answers(lab)) {
        if (!process_runs(&lab->store) || mono_before(deadline, mono_now())) {
            err = err_set(detail, ERR_REFUSED, "the store does not start: see %s", log);
        }
        process_pause_ms(POLL_MS);
    }
    return err;
}

enum err node_start(struct lab *lab, uint32_t index, struct err_detail *detail)
{
    char config[PATH_SIZE];
    char log[PATH_SIZE];
    static struct process_list list;
    node_list(lab, index, &list);
    if (process_first(&list, PROCESS_GUARD) != NULL) {
        return err_set(detail, ERR_REFUSED, "%s runs already", lab->node[index].name);
    }
    node_config_path(lab, index, config);
    node_log_path(lab, index, log);
    char word[] = "agent";
    char *argv[] = {lab->program, word, config, NULL};
    return process_launch(argv, log, &lab->node[index].guard, detail);
}

static enum process_kind kind_of(enum node_part part)
{
    switch (part) {
    case NODE_POSTMASTER:
        return PROCESS_POSTMASTER;
    case NODE_AGENT:
        return PROCESS_AGENT;
    case NODE_ALL:
    case NODE_GUARD:
    case NODE_PART_COUNT:
        break;
    }
    return PROCESS_GUARD;
}

/* The server's small System V segment, which the kernel would have forgotten with the machine. */
static void forget_shared_memory(const char *data_dir)
{
    struct {
        int32_t magic;
        pid_t creator_pid;
        size_t total_size;
        size_t free_offset;
        uint32_t dsm_control;
        void *index;
        dev_t device;
        ino_t inode;
    } * header; /* PGShmemHeader */
    struct stat dir;
    struct shm_info info;
    int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);
    if (stat(data_dir, &dir) != 0) {
        return;
    }
    for (int i = 0; i <= last; i++) {
        struct shmid_ds segment;
        int id = shmctl(i, SHM_STAT, &segment);
        if (id < 0 || segment.shm_nattch != 0 || segment.shm_perm.uid != geteuid() ||
            segment.shm_segsz < sizeof(*header)) {
            continue;
        }
        header = shmat(id, NULL, SHM_RDONLY);
        if (header == (void *)-1) {
            continue;
        }
        bool ours = header->magic == PG_SHMEM_MAGIC && header->device == dir.st_dev &&
                    header->inode == dir.st_ino;
        (void)shmdt(header); /* attached just now: cannot fail */
        if (ours) {
            (void)shmctl(id, IPC_RMID, NULL); /* gone already: the same */
        }
    }
}

static void kill_all(struct lab *lab, uint32_t index)
{
    static struct process_list list;
    char data_dir[PATH_SIZE];
    struct mono deadline = mono_add(mono_now(), GONE_MS);
    for (node_list(lab, index, &list); list.count > 0 && mono_before(mono_now(), deadline);
         node_list(lab, index, &list)) {
        /* All stand still before the first one dies: none sees another one's end. */
        for (size_t i = 0; i < list.count; i++) {
            (void)process_signal(&list.at[i].id, SIGSTOP); /* gone: as wanted */
        }
        for (size_t i = 0; i < list.count; i++) {
            (void)process_signal(&list.at[i].id, SIGKILL);
        }
        for (size_t i = 0; i < list.count; i++) {
            (void)process_await_end(&list.at[i].id, deadline); /* the next list tells */
        }
    }
    node_data_dir(lab, index, data_dir);
    forget_shared_memory(data_dir);
}

static enum err find_part(const struct lab *lab, uint32_t index, enum node_part part,
                          struct process_id *out_id, struct err_detail *detail)
{
    static struct process_list list;
    node_list(lab, index, &list);
    const struct process *one = process_first(&list, kind_of(part));
    if (one == NULL) {
        const char *name = part == NODE_POSTMASTER ? "postmaster"
                           : part == NODE_AGENT    ? "agent"
                                                   : "guard";
        return err_set(detail, ERR_REFUSED, "no %s of %s runs", name, lab->node[index].name);
    }
    *out_id = one->id;
    return ERR_OK;
}

enum err node_kill(struct lab *lab, uint32_t index, enum node_part part, pid_t *out_pid,
                   struct err_detail *detail)
{
    struct process_id id = {.pid = 0};
    enum err err = find_part(lab, index, part, &id, detail);
    if (err != ERR_OK) {
        return err;
    }
    *out_pid = id.pid;
    if (part == NODE_ALL) {
        kill_all(lab, index);
        return ERR_OK;
    }
    return process_signal(&id, SIGKILL) ? ERR_OK : err_set(detail, ERR_REFUSED, "has just ended");
}

enum err node_signal(struct lab *lab, uint32_t index, enum node_part part, int signal_number,
                     pid_t *out_pid, struct err_detail *detail)
{
    static struct process_list list;
    struct process_id id = {.pid = 0};
    enum err err = find_part(lab, index, part, &id, detail);
    if (err != ERR_OK) {
        return err;
    }
    *out_pid = id.pid;
    if (part != NODE_ALL) {
        return process_signal(&id, signal_number) ? ERR_OK
                                                  : err_set(detail, ERR_REFUSED, "has just ended");
    }
    node_list(lab, index, &list);
    for (size_t i = 0; i < list.count; i++) {
        (void)process_signal(&list.at[i].id, signal_number); /* gone meanwhile: nothing to stop */
    }
    return ERR_OK;
}

pid_t node_postmaster(const struct lab *lab, uint32_t index)
{
    static struct process_list list;
    node_list(lab, index, &list);
    const struct process *one = process_first(&list, PROCESS_POSTMASTER);
    return one == NULL ? 0 : one->id.pid;
}

bool node_any_runs(const struct lab *lab)
{
    static struct process_list list;
    for (uint32_t i = 0; i < lab->node_count; i++) {
        node_list(lab, i, &list);
        if (list.count > 0) {
            return true;
        }
    }
    return process_runs(&lab->store);
}

/* Without the file standby.signal it is, or was to be, the primary. */
static bool is_standby(const struct lab *lab, uint32_t index)
{
    char path[PATH_SIZE];
    node_data_dir(lab, index, path);
    size_t used = strlen(path);
    return str_format(path + used, sizeof(path) - used, "/standby.signal") &&
           access(path, F_OK) == 0;
}

/* Asks the guard to leave for good, thawing what is frozen. */
static void ask_to_leave(const struct lab *lab, uint32_t index)
{
    static struct process_list list;
    node_list(lab, index, &list);
    for (size_t i = 0; i < list.count; i++) {
        if (list.at[i].stopped) {
            (void)process_signal(&list.at[i].id, SIGCONT); /* gone: nothing to thaw */
        }
        if (list.at[i].kind == PROCESS_GUARD) {
            (void)process_signal(&list.at[i].id, SIGTERM); /* gone: as wanted */
        }
    }
}

static bool await_node(const struct lab *lab, uint32_t index, struct mono deadline)
{
    static struct process_list list;
    for (;;) {
        node_list(lab, index, &list);
        if (list.count == 0 || process_first(&list, PROCESS_GUARD) == NULL) {
            return list.count == 0;
        }
        if (mono_before(deadline, mono_now())) {
            return false;
        }
        for (size_t i = 0; i < list.count; i++) {
            (void)process_await_end(&list.at[i].id, mono_add(mono_now(), POLL_MS)); /* list tells */
        }
    }
}

static void end_nodes(struct lab *lab, bool standbys, void (*tell)(const char *line))
{
    bool asked[LAB_NODES_MAX] = {false};
    char line[256];
    for (uint32_t i = 0; i < lab->node_count; i++) {
        asked[i] = is_standby(lab, i) == standbys;
        if (asked[i]) {
            ask_to_leave(lab, i);
        }
    }
    struct mono deadline = mono_add(mono_now(), LEAVE_MS);
    for (uint32_t i = 0; i < lab->node_count; i++) {
        if (!asked[i]) {
            continue;
        }
        bool gently = await_node(lab, i, deadline);
        kill_all(lab, i);
        ASSERT(str_format(line, sizeof(line), "%s %s", lab->node[i].name,
                          gently ? "stopped" : "did not stop by itself and was killed"));
        tell(line);
    }
}

bool node_end_all(struct lab *lab, void (*tell)(const char *line))
{
    if (process_runs(&lab->store)) {
        (void)process_signal(&lab->store, SIGCONT); /* leaving needs it; not frozen: nothing */
    }
    end_nodes(lab, true, tell);
    end_nodes(lab, false, tell);
    if (process_runs(&lab->store)) {
        (void)process_signal(&lab->store, SIGTERM); /* gone: as wanted */
        if (!process_await_end(&lab->store, mono_add(mono_now(), LEAVE_MS))) {
            (void)process_signal(&lab->store, SIGKILL);
            (void)process_await_end(&lab->store, mono_add(mono_now(), GONE_MS)); /* told below */
        }
        tell("store stopped");
    }
    return !node_any_runs(lab);
}
