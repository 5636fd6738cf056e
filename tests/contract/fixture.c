/* The relay sits where the network would: it is part of the test's own loop, so a fault is in force
 * from the very next byte on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contract/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "dcs/consul.h"

/* ---- the relay ---- */

/* A unix socket before the local store, TCP before Consul. */
union endpoint {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_pipe_t pipe;
    uv_tcp_t tcp;
};

struct link {
    struct relay *relay;
    struct link *next;
    union endpoint ends[2]; /* 0: the client, 1: the store */
    uv_connect_t connect;
    int open;
    bool closing;
};

struct relay {
    struct fixture *fixture;
    union endpoint *listener; /* NULL: away, as nobody listens any more */
    int port;
    struct link *links;
    bool away;
    bool drop_answers;
    bool cut_answer;
    int64_t delay_ms;
    unsigned passed; /* pieces of what the client says */
};

/* Bytes on their way, or (none) the end of them: they wait in the timer, then in the write. */
struct parcel {
    uv_timer_t timer;
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct link *link;
    int to;
    size_t size;
    char data[];
};

static void link_closed_cb(uv_handle_t *handle)
{
    struct link *link = handle->data;
    if (--link->open > 0) {
        return;
    }
    struct link **at = &link->relay->links;
    while (*at != link) {
        at = &(*at)->next;
    }
    *at = link->next;
    free(link);
}

static void link_close(struct link *link)
{
    if (!link->closing) {
        link->closing = true;
        uv_close(&link->ends[0].handle, link_closed_cb);
        uv_close(&link->ends[1].handle, link_closed_cb);
    }
}

static void parcel_closed_cb(uv_handle_t *handle)
{
    struct parcel *parcel = handle->data;
    struct link *link = parcel->link;
    free(parcel);
    if (--link->open == 0) {
        link->open = 1;
        link_closed_cb(&(uv_handle_t){.data = link});
    }
}

static void parcel_written_cb(uv_write_t *write, int status)
{
    struct parcel *parcel = write->data;
    if (status < 0) {
        link_close(parcel->link);
    }
    uv_close((uv_handle_t *)&parcel->timer, parcel_closed_cb);
}

static void parcel_shut_cb(uv_shutdown_t *shutdown, int status)
{
    struct parcel *parcel = shutdown->data;
    (void)status;
    link_close(parcel->link);
    uv_close((uv_handle_t *)&parcel->timer, parcel_closed_cb);
}

static void parcel_due_cb(uv_timer_t *timer)
{
    struct parcel *parcel = timer->data;
    parcel->shutdown.data = parcel;
    if (parcel->size == 0 && !parcel->link->closing &&
        uv_shutdown(&parcel->shutdown, &parcel->link->ends[parcel->to].stream, parcel_shut_cb) ==
            0) {
        return;
    }
    uv_buf_t buf = uv_buf_init(parcel->data, (unsigned)parcel->size);
    parcel->write.data = parcel;
    if (parcel->link->closing || uv_write(&parcel->write, &parcel->link->ends[parcel->to].stream,
                                          &buf, 1, parcel_written_cb) != 0) {
        uv_close((uv_handle_t *)timer, parcel_closed_cb);
    }
}

static void parcel_send(struct link *link, int to, const char *data, size_t size)
{
    struct relay *relay = link->relay;
    struct parcel *parcel = calloc(1, sizeof(*parcel) + size);
    assert_non_null(parcel);
    parcel->link = link;
    parcel->to = to;
    parcel->size = size;
    memcpy(parcel->data, data, size);
    link->open++;
    assert_int_equal(uv_timer_init(&relay->fixture->loop, &parcel->timer), 0);
    parcel->timer.data = parcel;
    if (relay->delay_ms == 0) {
        parcel_due_cb(&parcel->timer);
    } else {
        assert_int_equal(
            uv_timer_start(&parcel->timer, parcel_due_cb, (uint64_t)relay->delay_ms, 0), 0);
    }
}

static void relay_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char chunk[65536];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(chunk, sizeof(chunk));
}

static void relay_read_cb(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct link *link = stream->data;
    struct relay *relay = link->relay;
    int from = stream == &link->ends[0].stream ? 0 : 1;
    if (from == 1 && size != 0 && relay->drop_answers) {
        return; /* nor does the client hear that the connection has ended */
    }
    if (size == UV_EOF && !link->closing) {
        parcel_send(link, 1 - from, "", 0);
    } else if (size < 0) {
        link_close(link);
    } else if (size > 0 && from == 1 && relay->cut_answer) {
        relay->cut_answer = false;
        link_close(link);
    } else if (size > 0) {
        relay->passed += from == 0 ? 1 : 0;
        parcel_send(link, 1 - from, buf->base, (size_t)size);
    }
}

static void relay_connected_cb(uv_connect_t *connect, int status)
{
    struct link *link = connect->data;
    if (status < 0 || link->closing) {
        link_close(link);
        return;
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(uv_read_start(&link->ends[i].stream, relay_alloc_cb, relay_read_cb), 0);
    }
}

static void endpoint_init(struct fixture *fixture, union endpoint *endpoint)
{
    int rc = fixture->store == FIXTURE_CONSUL ? uv_tcp_init(&fixture->loop, &endpoint->tcp)
                                              : uv_pipe_init(&fixture->loop, &endpoint->pipe, 0);
    assert_int_equal(rc, 0);
}

static void store_connect(struct link *link)
{
    struct fixture *fixture = link->relay->fixture;
    link->connect.data = link;
    if (fixture->store == FIXTURE_CONSUL) {
        struct sockaddr_in address;
        assert_int_equal(uv_ip4_addr("127.0.0.1", fixture->consul.http_port, &address), 0);
        assert_int_equal(uv_tcp_connect(&link->connect, &link->ends[1].tcp,
                                        (struct sockaddr *)&address, relay_connected_cb),
                         0);
        return;
    }
    char path[96];
    fixture_socket(fixture, path, sizeof(path));
    uv_pipe_connect(&link->connect, &link->ends[1].pipe, path, relay_connected_cb);
}

static void relay_accept_cb(uv_stream_t *listener, int status)
{
    struct relay *relay = listener->data;
    assert_int_equal(status, 0);
    struct link *link = calloc(1, sizeof(*link));
    assert_non_null(link);
    link->relay = relay;
    link->open = 2;
    link->next = relay->links;
    relay->links = link;
    for (int i = 0; i < 2; i++) {
        endpoint_init(relay->fixture, &link->ends[i]);
        link->ends[i].handle.data = link;
    }
    assert_int_equal(uv_accept(listener, &link->ends[0].stream), 0);
    if (relay->away) {
        link_close(link);
        return;
    }
    store_connect(link);
}

static void relay_path(const struct fixture *fixture, int index, char *out, size_t out_size)
{
    assert_true(str_format(out, out_size, "%s/relay%d", fixture->dir, index));
}

static void relay_bind_tcp(struct relay *relay)
{
    struct sockaddr_in address;
    int size = sizeof(address);
    assert_int_equal(uv_ip4_addr("127.0.0.1", relay->port, &address), 0);
    assert_int_equal(uv_tcp_bind(&relay->listener->tcp, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_tcp_getsockname(&relay->listener->tcp, (struct sockaddr *)&address, &size),
                     0);
    relay->port = ntohs(address.sin_port); /* the same when it comes back */
}

static void relay_listen(struct relay *relay, const char *path)
{
    relay->listener = calloc(1, sizeof(*relay->listener));
    assert_non_null(relay->listener);
    endpoint_init(relay->fixture, relay->listener);
    relay->listener->handle.data = relay;
    if (relay->fixture->store == FIXTURE_CONSUL) {
        relay_bind_tcp(relay);
    } else {
        assert_int_equal(uv_pipe_bind(&relay->listener->pipe, path), 0);
    }
    assert_int_equal(uv_listen(&relay->listener->stream, 16, relay_accept_cb), 0);
}

static void relay_start(struct fixture *fixture, int index)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    assert_non_null(relay);
    relay->fixture = fixture;
    char path[96];
    relay_path(fixture, index, path, sizeof(path));
    relay_listen(relay, path);
    fixture->relays[index] = relay;
}

static void listener_closed_cb(uv_handle_t *handle)
{
    free(handle); /* the union begins with it */
}

static void relay_deaf(struct relay *relay)
{
    if (relay->listener != NULL) {
        uv_close(&relay->listener->handle, listener_closed_cb);
        relay->listener = NULL;
    }
}

static void relay_cut(struct relay *relay)
{
    for (struct link *link = relay->links; link != NULL; link = link->next) {
        link_close(link);
    }
}

/* ---- the store's process ---- */

void fixture_socket(const struct fixture *fixture, char *out, size_t out_size)
{
    assert_true(str_format(out, out_size, "%s/db/store.sock", fixture->dir));
}

static bool store_answers(const struct fixture *fixture)
{
    if (fixture->store == FIXTURE_CONSUL) {
        return consul_server_ready(&fixture->consul);
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    fixture_socket(fixture, address.sun_path, sizeof(address.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    bool ok = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return ok;
}

static void consul_start(struct fixture *fixture)
{
    consul_server_start(&fixture->consul);
    fixture->store_pid = fixture->consul.pid;
    UNTIL(fixture, store_answers(fixture));
}

void fixture_store_start(struct fixture *fixture)
{
    if (fixture->store == FIXTURE_CONSUL) {
        consul_start(fixture);
        return;
    }
    const char *program = getenv("HOLDFAST_STORE_TEST");
    if (program == NULL) {
        fail_msg("HOLDFAST_STORE_TEST does not name the store's program");
        return;
    }
    char dir[96];
    assert_true(str_format(dir, sizeof(dir), "%s/db", fixture->dir));
    pid_t parent = getpid();
    fixture->store_pid = fork();
    assert_true(fixture->store_pid >= 0);
    if (fixture->store_pid == 0) {
        /* A test that dies takes its store along. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent) {
            execl(program, program, dir, (char *)NULL);
        }
        _exit(127);
    }
    UNTIL(fixture, store_answers(fixture) || waitpid(fixture->store_pid, NULL, WNOHANG) != 0);
}

int fixture_store_wait(struct fixture *fixture)
{
    int status = 0;
    UNTIL(fixture, waitpid(fixture->store_pid, &status, WNOHANG) == fixture->store_pid);
    fixture->store_pid = 0;
    return status;
}

void fixture_kill(struct fixture *fixture, int signum)
{
    assert_true(fixture->store_pid > 0);
    assert_int_equal(kill(fixture->store_pid, signum), 0);
}

static void store_kill(struct fixture *fixture)
{
    fixture_kill(fixture, SIGKILL);
    int status = fixture_store_wait(fixture);
    assert_true(WIFSIGNALED(status));
}

static int remove_cb(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void tree_remove(const char *path)
{
    assert_int_equal(nftw(path, remove_cb, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* What the store keeps on disk. */
static void data_path(const struct fixture *fixture, const char *kept, char *out, size_t out_size)
{
    bool consul = fixture->store == FIXTURE_CONSUL;
    assert_true(str_format(out, out_size, "%s/%s", fixture->dir,
                           kept != NULL ? kept : (consul ? "s0/data" : "db")));
}

static void tree_copy(const char *from, const char *to)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execlp("cp", "cp", "-a", from, to, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- the fixture ---- */

static void beat_cb(uv_timer_t *timer)
{
    (void)timer; /* its firing is all that is wanted */
}

void fixture_turn(struct fixture *fixture)
{
    (void)uv_run(&fixture->loop, UV_RUN_ONCE);
}

void fixture_run(struct fixture *fixture, int64_t ms)
{
    struct mono until = mono_add(mono_now(), ms);
    while (mono_before(mono_now(), until)) {
        fixture_turn(fixture);
    }
}

void fixture_init(struct fixture *fixture, enum fixture_store store)
{
    *fixture = (struct fixture){.store = store};
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    assert_int_equal(uv_timer_init(&fixture->loop, &fixture->beat), 0);
    assert_int_equal(uv_timer_start(&fixture->beat, beat_cb, 5, 5), 0);
    if (store == FIXTURE_MEMORY) {
        fixture->memory = dcs_memory_create(&fixture->loop);
        return;
    }
    assert_true(str_copy(fixture->dir, sizeof(fixture->dir), "/tmp/holdfast-contract-XXXXXX"));
    assert_non_null(mkdtemp(fixture->dir));
    if (store == FIXTURE_CONSUL) {
        consul_servers_prepare(&fixture->consul, 1, fixture->dir);
    }
    fixture_store_start(fixture);
}

static void consul_open(struct fixture *fixture, int index, const char *base)
{
    char url[64];
    assert_true(str_format(url, sizeof(url), "http://127.0.0.1:%d", fixture->relays[index]->port));
    struct dcs_consul_config config = {.url = url, .token = "", .dc = "", .verify = true};
    struct dcs_consul_options options = {.config = &config,
                                         .base = base,
                                         .session_name = "test",
                                         .session_ttl_min_ms = CONSUL_SERVER_TTL_MIN_MS};
    struct err_detail detail;
    assert_int_equal(dcs_consul_open(&fixture->loop, &options, &fixture->clients[index], &detail),
                     ERR_OK);
}

struct dcs *fixture_open(struct fixture *fixture, int index, const char *base)
{
    assert_null(fixture->clients[index]);
    if (fixture->store == FIXTURE_MEMORY) {
        fixture->clients[index] = dcs_memory_open(fixture->memory, base);
        return fixture->clients[index];
    }
    if (fixture->relays[index] == NULL) {
        relay_start(fixture, index);
    }
    if (fixture->store == FIXTURE_CONSUL) {
        consul_open(fixture, index, base);
        return fixture->clients[index];
    }
    char path[96];
    relay_path(fixture, index, path, sizeof(path));
    struct err_detail detail;
    assert_int_equal(dcs_local_open(&fixture->loop, path, base, &fixture->clients[index], &detail),
                     ERR_OK);
    return fixture->clients[index];
}

static void closed_cb(void *arg)
{
    ((struct fixture *)arg)->closed++;
}

void fixture_close(struct fixture *fixture, int index)
{
    int before = fixture->closed;
    dcs_close(fixture->clients[index], closed_cb, fixture);
    assert_int_equal(fixture->closed, before);
    fixture->clients[index] = NULL;
    UNTIL(fixture, fixture->closed == before + 1);
}

void fixture_fini(struct fixture *fixture)
{
    for (int i = 0; i < FIXTURE_CLIENTS; i++) {
        if (fixture->clients[i] != NULL) {
            fixture_close(fixture, i);
        }
        if (fixture->relays[i] != NULL) {
            relay_deaf(fixture->relays[i]);
            relay_cut(fixture->relays[i]);
        }
    }
    if (fixture->store_pid > 0) {
        store_kill(fixture);
    }
    dcs_memory_destroy(fixture->memory);
    uv_close((uv_handle_t *)&fixture->beat, NULL);
    assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    for (int i = 0; i < FIXTURE_CLIENTS; i++) {
        free(fixture->relays[i]);
    }
    if (fixture->dir[0] != '\0') {
        tree_remove(fixture->dir);
    }
}

/* ---- faults ---- */

void fixture_cut_answer(struct fixture *fixture, int index)
{
    if (fixture->store != FIXTURE_MEMORY) {
        fixture->relays[index]->cut_answer = true;
    } else {
        dcs_memory_set_fault(fixture->clients[index], DCS_MEMORY_CUT_ANSWER, 1);
    }
}

void fixture_drop_answers(struct fixture *fixture, int index, bool on)
{
    if (fixture->store != FIXTURE_MEMORY) {
        fixture->relays[index]->drop_answers = on;
    } else {
        dcs_memory_set_fault(fixture->clients[index],
                             on ? DCS_MEMORY_DROP_ANSWER : DCS_MEMORY_NO_FAULT, on ? 1000 : 0);
    }
}

unsigned fixture_passed(const struct fixture *fixture, int index)
{
    static unsigned calls;
    /* The fake in memory takes what is sent at once. */
    return fixture->store == FIXTURE_MEMORY ? ++calls : fixture->relays[index]->passed;
}

void fixture_delay(struct fixture *fixture, int index, int64_t delay_ms)
{
    if (fixture->store != FIXTURE_MEMORY) {
        fixture->relays[index]->delay_ms = delay_ms;
    } else {
        dcs_memory_set_delay(fixture->clients[index], delay_ms);
    }
}

void fixture_away(struct fixture *fixture, int index, bool on)
{
    if (fixture->store == FIXTURE_MEMORY) {
        dcs_memory_set_away(fixture->clients[index], on);
        return;
    }
    struct relay *relay = fixture->relays[index];
    if (fixture->store == FIXTURE_LOCAL) {
        relay->away = on; /* its socket stays, as that of a store that is being started does */
    } else if (on) {
        relay_deaf(relay);
    } else {
        relay_listen(relay, NULL);
    }
    if (on) {
        relay_cut(relay);
    }
}

void fixture_freeze(struct fixture *fixture)
{
    if (fixture->store == FIXTURE_MEMORY) {
        dcs_memory_set_frozen(fixture->memory, true);
        return;
    }
    fixture_kill(fixture, SIGSTOP);
    int status = 0;
    UNTIL(fixture, waitpid(fixture->store_pid, &status, WUNTRACED | WNOHANG) != 0);
    assert_true(WIFSTOPPED(status));
}

void fixture_thaw(struct fixture *fixture)
{
    if (fixture->store != FIXTURE_MEMORY) {
        fixture_kill(fixture, SIGCONT);
    } else {
        dcs_memory_set_frozen(fixture->memory, false);
    }
}

void fixture_restart(struct fixture *fixture)
{
    if (fixture->store != FIXTURE_MEMORY) {
        store_kill(fixture);
        fixture_store_start(fixture);
        return;
    }
    for (int i = 0; i < FIXTURE_CLIENTS; i++) {
        if (fixture->clients[i] != NULL) {
            dcs_memory_set_away(fixture->clients[i], true);
            dcs_memory_set_away(fixture->clients[i], false);
        }
    }
}

void fixture_wipe(struct fixture *fixture)
{
    if (fixture->store == FIXTURE_MEMORY) {
        dcs_memory_wipe(fixture->memory);
        return;
    }
    char dir[128];
    data_path(fixture, NULL, dir, sizeof(dir));
    store_kill(fixture);
    tree_remove(dir);
    fixture_store_start(fixture);
}

void fixture_save(struct fixture *fixture)
{
    if (fixture->store == FIXTURE_MEMORY) {
        dcs_memory_save(fixture->memory);
        return;
    }
    char dir[128];
    char saved[128];
    data_path(fixture, NULL, dir, sizeof(dir));
    data_path(fixture, "saved", saved, sizeof(saved));
    store_kill(fixture);
    tree_copy(dir, saved);
    fixture_store_start(fixture);
}

void fixture_roll_back(struct fixture *fixture)
{
    if (fixture->store == FIXTURE_MEMORY) {
        dcs_memory_roll_back(fixture->memory);
        return;
    }
    char dir[128];
    char saved[128];
    data_path(fixture, NULL, dir, sizeof(dir));
    data_path(fixture, "saved", saved, sizeof(saved));
    store_kill(fixture);
    tree_remove(dir);
    tree_copy(saved, dir);
    fixture_store_start(fixture);
}
