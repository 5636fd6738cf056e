/* The guard is a separate process that may be gone at any moment, so a command is a packet sent
 * without waiting, and everything that comes back is an event. */
#include "guard/client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

#define AGENT_ARGS_MAX 1000
#define GUARD_OPTIONS 10
#define NUMBER_SIZE 24
/* Beats come at least every 250 ms. */
#define STALE_MS_MIN 750

static enum err environment_fd(const char *name, int *out_fd, struct err_detail *detail)
{
    const char *text = getenv(name);
    uint64_t fd;
    if (text == NULL || !str_to_u64(text, &fd) || fd > INT32_MAX) {
        return err_set(detail, ERR_INVALID, "%s is not set: not started by holdfast-guard", name);
    }
    if (fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "%s", name);
    }
    *out_fd = (int)fd;
    return ERR_OK;
}

static enum err environment_path(const char *name, char out[PATH_SIZE], struct err_detail *detail)
{
    const char *text = getenv(name);
    if (text == NULL || !str_copy(out, PATH_SIZE, text)) {
        return err_set(detail, ERR_INVALID, "%s is not set or too long", name);
    }
    return ERR_OK;
}

enum err guard_client_open(struct guard_client *client, struct err_detail *detail)
{
    *client = (struct guard_client){.fd = -1, .page_fd = -1, .old_fd = -1};
    AUTO_CLOSE int page_fd = -1;
    AUTO_CLOSE int fd = -1;
    enum err err = environment_fd(CONTROL_ENV_PAGE_FD, &page_fd, detail);
    if (err == ERR_OK) {
        err = environment_fd(CONTROL_ENV_CONTROL_FD, &fd, detail);
    }
    if (err == ERR_OK) {
        err = environment_path(CONTROL_ENV_GUARD_BINARY, client->guard_binary, detail);
    }
    if (err == ERR_OK) {
        err = environment_path(CONTROL_ENV_AGENT_BINARY, client->agent_binary, detail);
    }
    if (err == ERR_OK) {
        err = page_attach(page_fd, &client->page, detail);
    }
    if (err != ERR_OK) {
        return err;
    }
    client->page_fd = page_fd;
    client->fd = fd;
    page_fd = -1;
    fd = -1;
    static const char *const names[] = {CONTROL_ENV_PAGE_FD, CONTROL_ENV_CONTROL_FD,
                                        CONTROL_ENV_GUARD_BINARY, CONTROL_ENV_AGENT_BINARY};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)unsetenv(names[i]); /* cannot fail for a good name */
    }
    return ERR_OK;
}

void guard_client_fini(struct guard_client *client)
{
    cleanup_close(&client->fd);
    cleanup_close(&client->old_fd);
    cleanup_close(&client->page_fd);
    page_detach(client->page);
    client->fd = client->old_fd = client->page_fd = -1;
    client->page = NULL;
}

static union control_packet *command_init(struct guard_client *client, enum control_type type)
{
    client->last_id = client->last_id == UINT32_MAX ? 1 : client->last_id + 1; /* 0 is no id */
    control_init(&client->packet, type, client->last_id);
    return &client->packet;
}

static enum err command_send(struct guard_client *client, uint32_t *out_id,
                             struct err_detail *detail)
{
    if (client->fd < 0) {
        return err_set(detail, ERR_UNREACHABLE, "no guard");
    }
    const union control_packet *packet = &client->packet;
    enum err err = control_check(packet, packet->head.size, detail);
    if (err != ERR_OK) {
        return err;
    }
    /* A packet is sent whole or not at all. */
    if (send(client->fd, packet, packet->head.size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        return err_set_errno(detail, ERR_UNREACHABLE, errno, "guard, %s",
                             control_name(packet->head.type));
    }
    if (out_id != NULL) {
        *out_id = packet->head.id;
    }
    return ERR_OK;
}

enum err guard_client_ping(struct guard_client *client, uint32_t *out_id, struct err_detail *detail)
{
    (void)command_init(client, CONTROL_PING); /* has no body */
    return command_send(client, out_id, detail);
}

enum err guard_client_arm(struct guard_client *client, uint64_t epoch, uint32_t *out_id,
                          struct err_detail *detail)
{
    command_init(client, CONTROL_ARM)->arm.epoch = epoch;
    return command_send(client, out_id, detail);
}

enum err guard_client_disarm(struct guard_client *client, uint64_t epoch, bool force_for_pause,
                             uint32_t *out_id, struct err_detail *detail)
{
    struct control_disarm *disarm = &command_init(client, CONTROL_DISARM)->disarm;
    disarm->epoch = epoch;
    disarm->force_for_pause = force_for_pause;
    return command_send(client, out_id, detail);
}

enum err guard_client_adopt(struct guard_client *client, pid_t pid, uint64_t start_ticks,
                            uint32_t *out_id, struct err_detail *detail)
{
    struct control_adopt *adopt = &command_init(client, CONTROL_ADOPT)->adopt;
    adopt->pid = pid;
    adopt->start_ticks = start_ticks;
    return command_send(client, out_id, detail);
}

enum err guard_client_stop(struct guard_client *client, enum control_stop_mode mode,
                           uint32_t *out_id, struct err_detail *detail)
{
    command_init(client, CONTROL_STOP)->stop.mode = mode;
    return command_send(client, out_id, detail);
}

enum err guard_client_leaving(struct guard_client *client, int code, bool stranger,
                              uint32_t *out_id, struct err_detail *detail)
{
    struct control_leaving *leaving = &command_init(client, CONTROL_LEAVING)->leaving;
    leaving->code = code;
    leaving->stranger = stranger;
    return command_send(client, out_id, detail);
}

enum err guard_client_start(struct guard_client *client, const struct guard_client_start *start,
                            uint32_t *out_id, struct err_detail *detail)
{
    struct control_start *packet = &command_init(client, CONTROL_START)->start;
    packet->armed_epoch = start->armed_epoch;
    if (!str_copy(packet->data_dir, sizeof(packet->data_dir), start->data_dir) ||
        !str_copy(packet->log_path, sizeof(packet->log_path),
                  start->log_path != NULL ? start->log_path : "")) {
        return err_set(detail, ERR_INVALID, "path too long");
    }
    enum err err = control_args_pack(packet, start->argv, detail);
    if (err != ERR_OK) {
        return err;
    }
    return command_send(client, out_id, detail);
}

enum err guard_client_next(struct guard_client *client, const union control_packet **out_packet,
                           struct err_detail *detail)
{
    if (client->fd < 0) {
        return err_set(detail, ERR_UNREACHABLE, "no guard");
    }
    ssize_t got =
        recv(client->fd, &client->packet, sizeof(client->packet), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        client->packet.head = (struct control_head){.type = CONTROL_NONE};
        *out_packet = &client->packet;
        return ERR_OK;
    }
    if (got <= 0) {
        return got < 0 ? err_set_errno(detail, ERR_UNREACHABLE, errno, "guard")
                       : err_set(detail, ERR_UNREACHABLE, "the guard ended");
    }
    enum err err = control_check(&client->packet, (size_t)got, detail);
    if (err != ERR_OK) {
        return err;
    }
    if (client->old_fd >= 0 && client->packet.head.type == CONTROL_HELLO) {
        /* Not before: a guard that was merely slow would take the closing for our death. */
        cleanup_close(&client->old_fd);
        client->old_fd = -1;
    }
    *out_packet = &client->packet;
    return ERR_OK;
}

bool guard_client_stale(const struct guard_client *client, struct mono now)
{
    struct page_lease lease;
    page_lease_read(client->page, &lease);
    int64_t age_ms = lease.ttl_ms / 3 < STALE_MS_MIN ? STALE_MS_MIN : lease.ttl_ms / 3;
    return mono_sub(now, page_guard_beat_read(client->page)) > age_ms;
}

/* posix_spawn and not fork: the agent has threads. */
static enum err spawn_guard(struct guard_client *client, int control_fd, char **argv,
                            struct err_detail *detail)
{
    if (access(client->guard_binary, X_OK) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "%s", client->guard_binary);
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return err_set_errno(detail, ERR_REFUSED, rc, "cannot spawn a guard");
    }
    rc = posix_spawnattr_init(&attributes);
    if (rc != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return err_set_errno(detail, ERR_REFUSED, rc, "cannot spawn a guard");
    }
    /* A descriptor duplicated onto itself loses close-on-exec. */
    (void)posix_spawn_file_actions_adddup2(&actions, client->page_fd, client->page_fd);
    (void)posix_spawn_file_actions_adddup2(&actions, control_fd, control_fd);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    pid_t pid;
    rc = posix_spawn(&pid, client->guard_binary, &actions, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        return err_set_errno(detail, ERR_REFUSED, rc, "cannot spawn %s", client->guard_binary);
    }
    client->replacement = pid;
    return ERR_OK;
}

static enum err replacement_argv(struct guard_client *client, int control_fd,
                                 char *const *agent_argv,
                                 char *out_argv[GUARD_OPTIONS + AGENT_ARGS_MAX + 1],
                                 struct err_detail *detail)
{
    static char texts[3][NUMBER_SIZE];
    static char options[][16] = {"--adopt-agent", "--page-fd", "--control-fd", "--agent-binary",
                                 "--"};
    const int numbers[] = {(int)getpid(), client->page_fd, control_fd};
    size_t count = 0;
    out_argv[count++] = client->guard_binary;
    for (size_t i = 0; i < 3; i++) {
        bool fits = str_format(texts[i], NUMBER_SIZE, "%d", numbers[i]);
        ASSERT(fits);
        out_argv[count++] = options[i];
        out_argv[count++] = texts[i];
    }
    out_argv[count++] = options[3];
    out_argv[count++] = client->agent_binary;
    out_argv[count++] = options[4];
    ASSERT(count == GUARD_OPTIONS);
    for (size_t i = 0; agent_argv[i] != NULL; i++) {
        if (i == AGENT_ARGS_MAX) {
            return err_set(detail, ERR_INVALID, "too many arguments");
        }
        out_argv[count++] = agent_argv[i];
    }
    out_argv[count] = NULL;
    return ERR_OK;
}

enum err guard_client_spawn_replacement(struct guard_client *client, char *const *agent_argv,
                                        struct err_detail *detail)
{
    static char *argv[GUARD_OPTIONS + AGENT_ARGS_MAX + 1];
    ASSERT(agent_argv != NULL && agent_argv[0] != NULL);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot make a socket");
    }
    AUTO_CLOSE int mine = ends[0];
    AUTO_CLOSE int its = ends[1];
    enum err err = replacement_argv(client, its, agent_argv, argv, detail);
    if (err != ERR_OK) {
        return err;
    }
    pid_t before = client->replacement;
    err = spawn_guard(client, its, argv, detail);
    if (err != ERR_OK) {
        return err;
    }
    if (before > 0) {
        (void)waitpid(before, NULL,
                      WNOHANG); /* not dead yet: stays a zombie until the agent ends */
    }
    cleanup_close(&client->old_fd);
    client->old_fd = client->fd;
    client->fd = mine;
    mine = -1;
    return ERR_OK;
}
