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

/* ---- the relay ---- */

struct link {
    struct relay *relay;
    struct link *next;
    uv_pipe_t ends[2]; /* 0: the client, 1: the store */
    uv_connect_t connect;
    int open;
    bool closing;
};

struct relay {
    struct fixture *fixture;
    uv_pipe_t listener;
    struct link *links;
    bool away;
    bool drop_answers;
    bool cut_answer;
    int64_t delay_ms;
};

/* Bytes on their way: they wait in the timer, then in the write. */
struct parcel {
    uv_timer_t timer;
    uv_write_t write;
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
        uv_close((uv_handle_t *)&link->ends[0], link_closed_cb);
        uv_close((uv_handle_t *)&link->ends[1], link_closed_cb);
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

static void parcel_due_cb(uv_timer_t *timer)
{
    struct parcel *parcel = timer->data;
    uv_buf_t buf = uv_buf_init(parcel->data, (unsigned)parcel->size);
    parcel->write.data = parcel;
    if (parcel->link->closing ||
        uv_write(&parcel->write, (uv_stream_t *)&parcel->link->ends[parcel->to], &buf, 1,
                 parcel_written_cb) != 0) {
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
    int from = stream == (uv_stream_t *)&link->ends[0] ? 0 : 1;
    if (size < 0) {
        link_close(link);
    } else if (size > 0 && from == 1 && relay->cut_answer) {
        relay->cut_answer = false;
        link_close(link);
    } else if (size > 0 && !(from == 1 && relay->drop_answers)) {
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
        assert_int_equal(
            uv_read_start((uv_stream_t *)&link->ends[i], relay_alloc_cb, relay_read_cb), 0);
    }
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
        assert_int_equal(uv_pipe_init(&relay->fixture->loop, &link->ends[i], 0), 0);
        link->ends[i].data = link;
    }
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&link->ends[0]), 0);
    if (relay->away) {
        link_close(link);
        return;
    }
    char path[96];
    fixture_socket(relay->fixture, path, sizeof(path));
    link->connect.data = link;
    uv_pipe_connect(&link->connect, &link->ends[1], path, relay_connected_cb);
}

static void relay_path(const struct fixture *fixture, int index, char *out, size_t out_size)
{
    assert_true(str_format(out, out_size, "%s/relay%d", fixture->dir, index));
}

static void relay_start(struct fixture *fixture, int index)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    assert_non_null(relay);
    relay->fixture = fixture;
    char path[96];
    relay_path(fixture, index, path, sizeof(path));
    assert_int_equal(uv_pipe_init(&fixture->loop, &relay->listener, 0), 0);
    relay->listener.data = relay;
    assert_int_equal(uv_pipe_bind(&relay->listener, path), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&relay->listener, 16, relay_accept_cb), 0);
    fixture->relays[index] = relay;
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
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    fixture_socket(fixture, address.sun_path, sizeof(address.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    bool ok = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return ok;
}

void fixture_store_start(struct fixture *fixture)
{
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

static void file_copy(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) {
        assert_int_equal(errno, ENOENT);
        (void)unlink(to); /* as absent as what it is a copy of */
        return;
    }
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(out >= 0);
    char chunk[8192];
    ssize_t size;
    while ((size = read(in, chunk, sizeof(chunk))) > 0) {
        assert_int_equal(write(out, chunk, (size_t)size), size);
    }
    assert_int_equal(size, 0);
    close(in);
    close(out);
}

static void files_copy(const struct fixture *fixture, const char *from, const char *to)
{
    static const char *const names[] = {"store.db", "store.db-wal"};
    for (size_t i = 0; i < 2; i++) {
        char a[128];
        char b[128];
        assert_true(str_format(a, sizeof(a), "%s/%s/%s", fixture->dir, from, names[i]));
        assert_true(str_format(b, sizeof(b), "%s/%s/%s", fixture->dir, to, names[i]));
        file_copy(a, b);
    }
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

void fixture_init(struct fixture *fixture, bool local)
{
    *fixture = (struct fixture){.local = local};
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    assert_int_equal(uv_timer_init(&fixture->loop, &fixture->beat), 0);
    assert_int_equal(uv_timer_start(&fixture->beat, beat_cb, 5, 5), 0);
    if (!local) {
        fixture->memory = dcs_memory_create(&fixture->loop);
        return;
    }
    assert_true(str_copy(fixture->dir, sizeof(fixture->dir), "/tmp/holdfast-contract-XXXXXX"));
    assert_non_null(mkdtemp(fixture->dir));
    fixture_store_start(fixture);
}

struct dcs *fixture_open(struct fixture *fixture, int index, const char *base)
{
    assert_null(fixture->clients[index]);
    if (!fixture->local) {
        fixture->clients[index] = dcs_memory_open(fixture->memory, base);
        return fixture->clients[index];
    }
    if (fixture->relays[index] == NULL) {
        relay_start(fixture, index);
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
            uv_close((uv_handle_t *)&fixture->relays[i]->listener, NULL);
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
    if (fixture->local) {
        fixture->relays[index]->cut_answer = true;
    } else {
        dcs_memory_set_fault(fixture->clients[index], DCS_MEMORY_CUT_ANSWER, 1);
    }
}

void fixture_drop_answers(struct fixture *fixture, int index, bool on)
{
    if (fixture->local) {
        fixture->relays[index]->drop_answers = on;
    } else {
        dcs_memory_set_fault(fixture->clients[index],
                             on ? DCS_MEMORY_DROP_ANSWER : DCS_MEMORY_NO_FAULT, on ? 1000 : 0);
    }
}

void fixture_delay(struct fixture *fixture, int index, int64_t delay_ms)
{
    if (fixture->local) {
        fixture->relays[index]->delay_ms = delay_ms;
    } else {
        dcs_memory_set_delay(fixture->clients[index], delay_ms);
    }
}

void fixture_away(struct fixture *fixture, int index, bool on)
{
    if (fixture->local) {
        fixture->relays[index]->away = on;
        if (on) {
            relay_cut(fixture->relays[index]);
        }
    } else {
        dcs_memory_set_away(fixture->clients[index], on);
    }
}

void fixture_freeze(struct fixture *fixture)
{
    if (!fixture->local) {
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
    if (fixture->local) {
        fixture_kill(fixture, SIGCONT);
    } else {
        dcs_memory_set_frozen(fixture->memory, false);
    }
}

void fixture_restart(struct fixture *fixture)
{
    if (fixture->local) {
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
    if (!fixture->local) {
        dcs_memory_wipe(fixture->memory);
        return;
    }
    char dir[96];
    assert_true(str_format(dir, sizeof(dir), "%s/db", fixture->dir));
    store_kill(fixture);
    tree_remove(dir);
    fixture_store_start(fixture);
}

void fixture_save(struct fixture *fixture)
{
    if (!fixture->local) {
        dcs_memory_save(fixture->memory);
        return;
    }
    char dir[96];
    assert_true(str_format(dir, sizeof(dir), "%s/saved", fixture->dir));
    assert_int_equal(mkdir(dir, 0700), 0);
    store_kill(fixture);
    files_copy(fixture, "db", "saved");
    fixture_store_start(fixture);
}

void fixture_roll_back(struct fixture *fixture)
{
    if (!fixture->local) {
        dcs_memory_roll_back(fixture->memory);
        return;
    }
    store_kill(fixture);
    files_copy(fixture, "saved", "db");
    fixture_store_start(fixture);
}
