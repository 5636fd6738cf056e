/* Everything answers on a later turn, as the contracts demand. */
#include "fakes.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/str.h"
#include "guard/control.h"
#include "pg/pg.h"

struct fake_pg fake_pg;
struct fake_store fake_store;
struct fake_rest fake_rest;
uv_loop_t *fake_loop;
void (*fake_begun)(uv_loop_t *loop);

/* ---- files ---- */

void fake_place_make(struct fake_place *place, unsigned api_port)
{
    str_copy_cut(place->directory, sizeof(place->directory), "/tmp/holdfast-shell-XXXXXX");
    ASSERT(mkdtemp(place->directory) != NULL);
    ASSERT(
        str_format(place->config_path, sizeof(place->config_path), "%s/n1.yml", place->directory));
    FILE *file = fopen(place->config_path, "we");
    ASSERT(file != NULL);
    (void)fprintf(file,
                  "scope: demo\nname: n1\nlocal: {path: %s/store.sock}\n"
                  "restapi: {listen: '127.0.0.1:%u', connect_address: '127.0.0.1:%u'}\n"
                  "bootstrap:\n  dcs: {ttl: 2, loop_wait: 0.2, retry_timeout: 0.5}\n"
                  "postgresql:\n  listen: 127.0.0.1:25432\n  connect_address: 127.0.0.1:25432\n"
                  "  data_dir: %s/data\n  bin_dir: /usr/lib/postgresql/15/bin\n"
                  "  authentication:\n    superuser: {username: postgres, password: x}\n"
                  "    replication: {username: replicator, password: x}\n",
                  place->directory, api_port, api_port, place->directory);
    ASSERT(fclose(file) == 0);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

void fake_place_remove(const struct fake_place *place)
{
    ASSERT(nftw(place->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

/* ---- guard ---- */

static pthread_t guard_thread;

static void answer(struct fake_guard *guard, enum control_type type, uint32_t id)
{
    static union control_packet packet;
    control_init(&packet, type, id);
    ssize_t sent = send(guard->fd, &packet, packet.head.size, MSG_NOSIGNAL);
    (void)sent; /* the agent may be gone */
}

static void obey(struct fake_guard *guard, const union control_packet *packet)
{
    uint32_t id = packet->head.id;
    if (packet->head.type == CONTROL_ARM) {
        guard->arms++;
        struct page_lease lease;
        page_lease_read(guard->page, &lease);
        bool good = lease.epoch == packet->arm.epoch && mono_before(mono_now(), lease.deadline);
        if (good) {
            page_armed_write(guard->page, packet->arm.epoch);
        }
        answer(guard, good ? CONTROL_DONE : CONTROL_REFUSED, id);
        return;
    }
    if (packet->head.type == CONTROL_DISARM) {
        page_armed_write(guard->page, 0);
    } else if (packet->head.type == CONTROL_LEAVING) {
        guard->leaving = packet->leaving.code;
    } else if (packet->head.type == CONTROL_PING) {
        guard->pings++;
    }
    answer(guard, CONTROL_DONE, id);
}

static void *guard_run(void *arg)
{
    struct fake_guard *guard = arg;
    static union control_packet packet;
    bool frozen = false;
    answer(guard, CONTROL_HELLO, 0);
    for (;;) {
        if (!frozen) {
            page_guard_beat(guard->page, mono_now());
        }
        struct timeval wait = {.tv_usec = 20000};
        (void)setsockopt(guard->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
        ssize_t got = recv(guard->fd, &packet, sizeof(packet), 0);
        if (got > 0 && control_check(&packet, (size_t)got, NULL) == ERR_OK) {
            if (guard->freezes_at_arm && packet.head.type == CONTROL_ARM) {
                guard->arms++;
                frozen = true;
            } else if (!frozen) {
                obey(guard, &packet);
            }
        } else if (got == 0) {
            return NULL; /* the agent closed its end */
        }
    }
}

void fake_guard_start(struct fake_guard *guard)
{
    int pair[2];
    int page_fd;
    *guard = (struct fake_guard){.leaving = -1, .freezes_at_arm = guard->freezes_at_arm};
    ASSERT(page_create(&guard->page, &page_fd, NULL) == ERR_OK);
    ASSERT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    guard->fd = pair[0];
    page_guard_beat(guard->page, mono_now());
    char text[16];
    (void)snprintf(text, sizeof(text), "%d", page_fd);
    (void)setenv(CONTROL_ENV_PAGE_FD, text, 1);
    (void)snprintf(text, sizeof(text), "%d", pair[1]);
    (void)setenv(CONTROL_ENV_CONTROL_FD, text, 1);
    (void)setenv(CONTROL_ENV_GUARD_BINARY, "/nonexistent/guard", 1);
    (void)setenv(CONTROL_ENV_AGENT_BINARY, "/nonexistent/agent", 1);
    ASSERT(pthread_create(&guard_thread, NULL, guard_run, guard) == 0);
}

void fake_guard_replacement(char **argv)
{
    static struct fake_guard guard = {.leaving = -1};
    guard.page = NULL;
    int page_fd = -1;
    guard.fd = -1;
    for (char **at = argv; at[0] != NULL && at[1] != NULL; at++) {
        if (str_equal(at[0], "--page-fd")) {
            page_fd = (int)strtol(at[1], NULL, 10);
        } else if (str_equal(at[0], "--control-fd")) {
            guard.fd = (int)strtol(at[1], NULL, 10);
        }
    }
    ASSERT(page_attach(page_fd, &guard.page, NULL) == ERR_OK);
    (void)guard_run(&guard);
}

void fake_guard_end(struct fake_guard *guard)
{
    ASSERT(pthread_join(guard_thread, NULL) == 0);
    (void)close(guard->fd);
    page_detach(guard->page);
}

/* ---- PostgreSQL ---- */

struct later {
    uv_timer_t timer;
    const char *action;
    pg_done_cb done;
    pg_probe_cb probe;
    void (*closed)(void *arg);
    void *arg;
};

static struct pg_details details;

static void free_handle(uv_handle_t *handle)
{
    free(handle); /* struct later begins with it */
}

static void action_effect(const char *action)
{
    struct core_postgres *facts = &fake_pg.facts;
    if (str_equal(action, "initdb")) {
        facts->datadir = CORE_DATADIR_USABLE;
        facts->control = CORE_CONTROL_SHUT_DOWN;
        facts->sysid = 7300000000000000001ULL;
        facts->setup_pending = true;
        facts->timeline = 1;
        facts->timeline_checkpointed = true;
    } else if (str_equal(action, "start_primary") || str_equal(action, "promote")) {
        facts->process = facts->accepting = facts->primary = TRI_YES;
        facts->control = CORE_CONTROL_IN_PRODUCTION;
        facts->lsn = 0x3000060;
        facts->incarnation++;
    } else if (str_equal(action, "start_replica")) {
        facts->process = facts->accepting = TRI_YES;
        facts->primary = TRI_NO;
        facts->lsn = 0x3000060;
        facts->incarnation++;
    } else if (str_equal(action, "setup")) {
        facts->setup_pending = false;
    } else if (str_equal(action, "stop")) {
        facts->process = facts->accepting = facts->primary = TRI_NO;
        facts->control = CORE_CONTROL_SHUT_DOWN;
        facts->shutdown_lsn = 0x3000060;
    }
}

static void later_fired(uv_timer_t *timer)
{
    struct later *later = (struct later *)timer;
    struct later copy = *later;
    uv_close((uv_handle_t *)timer, free_handle);
    if (copy.probe != NULL) {
        fake_pg.probes++;
        copy.probe(&fake_pg.facts, &details, copy.arg);
    } else if (copy.closed != NULL) {
        copy.closed(copy.arg);
    } else {
        action_effect(copy.action);
        bool running = fake_pg.facts.process == TRI_YES;
        str_copy_cut(details.state, sizeof(details.state), running ? "running" : "stopped");
        str_copy_cut(details.role, sizeof(details.role),
                     fake_pg.facts.primary == TRI_YES ? "primary" : "replica");
        details.timeline = fake_pg.facts.timeline;
        copy.done(ERR_OK, NULL, copy.arg);
        if (fake_pg.ended != NULL) {
            fake_pg.ended(copy.action);
        }
    }
}

static struct later *later_new(void *arg)
{
    struct later *later = calloc(1, sizeof(*later));
    ASSERT(later != NULL);
    (void)uv_timer_init(fake_pg.loop, &later->timer);
    later->arg = arg;
    (void)uv_timer_start(&later->timer, later_fired, 1, 0);
    return later;
}

static void act(const char *action, pg_done_cb cb, void *arg)
{
    struct later *later = later_new(arg);
    fake_pg.action_calls++;
    later->action = action;
    later->done = cb;
}

enum err pg_create(uv_loop_t *loop, const struct pg_config *config,
                   const struct pg_process *process, void (*changed_cb)(void *arg), void *arg,
                   struct pg **out_pg)
{
    (void)config;
    (void)process;
    (void)changed_cb;
    (void)arg;
    fake_pg.loop = loop;
    str_copy_cut(details.state, sizeof(details.state), "stopped");
    str_copy_cut(details.role, sizeof(details.role), "uninitialized");
    *out_pg = (struct pg *)&fake_pg; /* only handed back */
    return ERR_OK;
}

void pg_reconfigure(struct pg *pg, const struct pg_config *config)
{
    (void)pg;
    (void)config;
}

void pg_set_cluster(struct pg *pg, uint64_t sysid)
{
    (void)pg;
    (void)sysid;
}

void pg_set_members(struct pg *pg, const struct core_name_list *members)
{
    (void)pg;
    (void)members;
}

void pg_probe(struct pg *pg, int64_t timeout_ms, pg_probe_cb cb, void *arg)
{
    (void)pg;
    (void)timeout_ms;
    fake_pg.facts.asked_at = mono_now();
    later_new(arg)->probe = cb;
}

void pg_postmaster_started(struct pg *pg, enum err err, int64_t pid, uint64_t start_ticks,
                           const struct err_detail *detail)
{
    (void)pg;
    (void)err;
    (void)pid;
    (void)start_ticks;
    (void)detail;
}

void pg_postmaster_exited(struct pg *pg, int64_t pid)
{
    (void)pg;
    (void)pid;
}

const struct pg_details *pg_details(const struct pg *pg)
{
    (void)pg;
    return &details;
}

void pg_initdb(struct pg *pg, pg_done_cb cb, void *arg)
{
    (void)pg;
    act("initdb", cb, arg);
}

void pg_setup(struct pg *pg, pg_done_cb cb, void *arg)
{
    (void)pg;
    act("setup", cb, arg);
}

void pg_start_primary(struct pg *pg, pg_done_cb cb, void *arg)
{
    (void)pg;
    struct page_lease lease;
    uint64_t epoch = 0;
    page_lease_read(fake_pg.page, &lease);
    fake_pg.starts++;
    fake_pg.lease_at_start = mono_before(mono_now(), lease.deadline);
    fake_pg.armed_at_start = page_armed(fake_pg.page, &epoch) && epoch == lease.epoch;
    act("start_primary", cb, arg);
}

void pg_start_replica(struct pg *pg, const struct pg_source *upstream_or_null, pg_done_cb cb,
                      void *arg)
{
    (void)pg;
    (void)upstream_or_null;
    act("start_replica", cb, arg);
}

void pg_promote(struct pg *pg, pg_done_cb cb, void *arg)
{
    (void)pg;
    act("promote", cb, arg);
}

void pg_follow(struct pg *pg, const struct pg_source *upstream_or_null, pg_done_cb cb, void *arg)
{
    (void)pg;
    (void)upstream_or_null;
    act("follow", cb, arg);
}

void pg_checkpoint(struct pg *pg, pg_done_cb cb, void *arg)
{
    (void)pg;
    act("checkpoint", cb, arg);
}

void pg_check_divergence(struct pg *pg, const struct pg_source *source, pg_check_cb cb, void *arg)
{
    (void)pg;
    (void)source;
    (void)cb;
    (void)arg;
    UNREACHABLE(); /* no test has a second node */
}

void pg_rewind(struct pg *pg, const struct pg_source *source, pg_done_cb cb, void *arg)
{
    (void)pg;
    (void)source;
    act("rewind", cb, arg);
}

void pg_clone(struct pg *pg, const struct pg_source *source, pg_done_cb cb, void *arg)
{
    (void)pg;
    (void)source;
    act("clone", cb, arg);
}

void pg_set_aside(struct pg *pg, pg_done_cb cb, void *arg)
{
    (void)pg;
    act("set_aside", cb, arg);
}

void pg_stop(struct pg *pg, enum pg_stop_mode mode, pg_done_cb cb, void *arg)
{
    (void)pg;
    (void)mode;
    act("stop", cb, arg);
}

void pg_destroy(struct pg *pg, void (*closed_cb)(void *arg), void *arg)
{
    (void)pg;
    later_new(arg)->closed = closed_cb;
}

/* ---- store ---- */

enum err dcs_local_open(uv_loop_t *loop, const char *socket_path, const char *base,
                        struct dcs **out_dcs, struct err_detail *detail)
{
    (void)socket_path;
    (void)detail;
    fake_loop = loop;
    fake_store.memory = dcs_memory_create(loop);
    fake_store.other = dcs_memory_open(fake_store.memory, base);
    *out_dcs = dcs_memory_open(fake_store.memory, base);
    if (fake_begun != NULL) {
        fake_begun(loop);
    }
    return ERR_OK;
}

/* ---- REST ---- */

enum err rest_create(uv_loop_t *loop, const struct rest_options *options,
                     const struct rest_callbacks *callbacks, void *arg, struct rest **out_rest,
                     struct err_detail *detail)
{
    (void)loop;
    (void)options;
    (void)detail;
    fake_rest = (struct fake_rest){.callbacks = *callbacks, .arg = arg, .promise_answer = -1};
    *out_rest = (struct rest *)&fake_rest; /* only handed back */
    return ERR_OK;
}

enum err rest_reconfigure(struct rest *rest, const struct rest_options *options,
                          struct err_detail *detail)
{
    (void)rest;
    (void)options;
    (void)detail;
    return ERR_OK;
}

void rest_changed(struct rest *rest)
{
    (void)rest;
}

void rest_done(struct rest *rest, uint64_t request_id, enum err err, uint64_t revision)
{
    (void)rest;
    (void)request_id;
    (void)err;
    (void)revision;
}

void rest_answer_promise(struct rest *rest, uint64_t request_id, bool granted)
{
    (void)rest;
    ASSERT(request_id == 77);
    fake_rest.promise_answer = granted ? 1 : 0;
}

void rest_destroy(struct rest *rest, void (*closed_cb)(void *arg), void *arg)
{
    (void)rest;
    later_new(arg)->closed = closed_cb;
}
