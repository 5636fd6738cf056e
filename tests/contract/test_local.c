/* What only the real store process can get wrong: its files, its socket, its clients, its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "contract/calls.h"
#include "contract/fixture.h"

#define PUT(k, v) ((struct dcs_op){.type = DCS_OP_PUT, .key = (k), .value = (v)})
#define ATTACH(k, v) ((struct dcs_op){.type = DCS_OP_ATTACH, .key = (k), .value = (v)})
#define CHECK(k, n) ((struct dcs_op){.type = DCS_OP_CHECK, .key = (k), .version = (n)})
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture_init(fixture, FIXTURE_LOCAL);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_fini(*state);
    free(*state);
    return 0;
}

/* ---- raw connections ---- */

static int raw_connect(const struct fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    fixture_socket(fixture, address.sun_path, sizeof(address.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* What comes until the store closes the connection, or a while after the last byte has come. */
static size_t raw_read(int fd, char *out, size_t out_size, bool *out_closed)
{
    size_t used = 0;
    *out_closed = false;
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    while (used < out_size - 1 && poll(&poll_fd, 1, 5000) == 1) {
        ssize_t size = read(fd, out + used, out_size - 1 - used);
        if (size <= 0) {
            *out_closed = true;
            break;
        }
        used += (size_t)size;
    }
    out[used] = '\0';
    return used;
}

static void raw_write(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

#define HELLO "{\"do\":\"hello\",\"id\":1,\"version\":1,\"base\":\"" FIXTURE_BASE "\"}\n"

/* ---- durability ---- */

/* Two keys are always written together. Whenever the store is killed, both must be there, equal, and
 * not older than the last acknowledged write. */
static void test_kill_9_loses_nothing_and_splits_nothing(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    uint64_t sent = 0;
    uint64_t acknowledged = 0;
    unsigned seed = 12345;
    for (int round = 0; round < 25; round++) {
        seed = seed * 1103515245U + 12345U;
        int writes = 1 + (int)(seed >> 16) % 20;
        struct call call = {.calls = 0};
        char value[24];
        for (int i = 0; i < writes; i++) {
            assert_true(str_format(value, sizeof(value), "%" PRIu64, ++sent));
            struct dcs_op ops[] = {PUT("x", value), PUT("y", value)};
            call_txn(fx, a, &call, ops, COUNT(ops), TIMEOUT_MS);
            if (i < writes - 1) {
                UNTIL(fx, call.calls == 1);
                assert_int_equal(call.err, ERR_OK);
                acknowledged = sent;
            }
        }
        if (round % 2 == 0) { /* in the middle of the last one; else right as it was sent */
            fixture_turn(fx);
        }
        fixture_restart(fx);
        UNTIL(fx, call.calls == 1);
        if (call.err == ERR_OK) {
            acknowledged = sent;
        } else {
            assert_int_equal(call.err, ERR_IN_DOUBT);
        }
        assert_int_equal(read_now(fx, a, &call), ERR_OK);
        assert_true(call.items.count == 2 || (call.items.count == 0 && acknowledged == 0));
        if (call.items.count == 2) {
            uint64_t x = 0;
            assert_string_equal(call.items.items[0].value, call.items.items[1].value);
            assert_int_equal(call.items.items[0].version, call.items.items[1].version);
            assert_true(str_to_u64(call.items.items[0].value, &x));
            assert_in_range(x, acknowledged, sent);
            acknowledged = x;
        }
        call_fini(&call);
    }
}

static void test_sessions_have_their_full_ttl_after_a_restart(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct dcs *b = fixture_open(fx, 1, FIXTURE_BASE);
    dcs_session_set_ttl(a, 1500);
    struct call call = {.calls = 0};
    struct dcs_op op = ATTACH("leader", "a");
    assert_int_equal(txn_now(fx, a, &call, &op, 1), ERR_OK);
    fixture_away(fx, 0, true);
    fixture_run(fx, 900);
    fixture_restart(fx);
    struct mono from = mono_now();
    UNTIL(fx, version_now(fx, b, "leader", NULL) == 0);
    assert_true(mono_sub(mono_now(), from) >= 1200);
}

/* ---- directory and socket ---- */

static void test_a_removed_directory_ends_the_store(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct watch watch = {.ups = 0};
    watch_on(a, &watch);
    (void)put_now(fx, a, "lease", "one");
    UNTIL(fx, watch.ups == 1);
    char from[96];
    char to[96];
    assert_true(str_format(from, sizeof(from), "%s/db", fx->dir));
    assert_true(str_format(to, sizeof(to), "%s/gone", fx->dir));
    assert_int_equal(rename(from, to), 0);
    struct call call = {.calls = 0};
    struct dcs_op op = PUT("lease", "two");
    call_txn(fx, a, &call, &op, 1, 1000);
    UNTIL(fx, call.calls == 1);
    assert_true(call.err == ERR_UNREACHABLE || call.err == ERR_IN_DOUBT);
    UNTIL(fx, watch.downs == 1);
    int status = fixture_store_wait(fx);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    fixture_store_start(fx);
    UNTIL(fx, watch.ups == 2);
    assert_int_equal(watch.items.count, 0);
    fixture_close(fx, 0);
    watch_fini(&watch);
}

static int other_store(const char *dir, const char *socket_path)
{
    const char *program = getenv("HOLDFAST_STORE_TEST");
    if (program == NULL) {
        fail_msg("HOLDFAST_STORE_TEST does not name the store's program");
        return -1;
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl(program, program, dir, socket_path, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_a_second_store_is_refused(void **state)
{
    struct fixture *fx = *state;
    char dir[96];
    char path[96];
    assert_true(str_format(dir, sizeof(dir), "%s/db", fx->dir));
    fixture_socket(fx, path, sizeof(path));
    assert_int_equal(other_store(dir, NULL), 1);
    assert_true(str_format(dir, sizeof(dir), "%s/other", fx->dir));
    assert_int_equal(other_store(dir, path), 1); /* another's socket */
    assert_int_equal(other_store("/proc/nowhere", NULL), 1);
    char longest[200];
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(other_store(dir, longest), 1);
    assert_int_equal(other_store(NULL, NULL), 2);
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    (void)put_now(fx, a, "lease", "one"); /* the first one serves on */
}

static void test_sigterm_ends_it_in_order(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    uint64_t version = put_now(fx, a, "lease", "one");
    char path[96];
    fixture_socket(fx, path, sizeof(path));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    fixture_kill(fx, SIGTERM);
    int status = fixture_store_wait(fx);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(stat(path, &st), -1);
    fixture_store_start(fx);
    assert_int_equal(version_now(fx, a, "lease", "one"), version);
}

static void other_user(const struct fixture *fixture)
{
    char text[1024];
    bool closed = false;
    if (setgid(65534) != 0 || setuid(65534) != 0) {
        _exit(3);
    }
    int fd = raw_connect(fixture);
    if (fd < 0) {
        _exit(4);
    }
    (void)raw_read(fd, text, sizeof(text), &closed);
    _exit(closed && strstr(text, "\"refused\"") != NULL ? 0 : 5);
}

static void test_other_users_are_refused(void **state)
{
    struct fixture *fx = *state;
    if (geteuid() != 0) {
        skip(); /* only root can become somebody else */
    }
    /* Modes alone would keep him out: opened here, so that the store itself has to. */
    char path[96];
    fixture_socket(fx, path, sizeof(path));
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(chmod(fx->dir, 0755), 0);
    assert_true(str_format(path, sizeof(path), "%s/db", fx->dir));
    assert_int_equal(chmod(path, 0755), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        other_user(fx);
    }
    int status = 0;
    UNTIL(fx, waitpid(pid, &status, WNOHANG) == pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- clients ---- */

static void test_bad_frames_end_only_their_connection(void **state)
{
    struct fixture *fx = *state;
    static const char *const talks[] = {
        "\n",
        "hello\n",
        "{\"do\":\"read\",\"id\":1}\n", /* no hello */
        HELLO HELLO,
        "{\"do\":\"hello\",\"id\":1,\"version\":2,\"base\":\"/a\"}\n",
        HELLO "{\"do\":\"txn\",\"id\":2,\"session\":\"\",\"ops\":[[\"put\",\"a\"]]}\n",
    };
    for (size_t i = 0; i < COUNT(talks); i++) {
        int fd = raw_connect(fx);
        assert_true(fd >= 0);
        raw_write(fd, talks[i]);
        char text[2048];
        bool closed = false;
        (void)raw_read(fd, text, sizeof(text), &closed);
        assert_true(closed);
        assert_non_null(strstr(text, "\"failed\""));
        close(fd);
    }
    int fd = raw_connect(fx);
    raw_write(fd,
              HELLO "{\"do\":\"txn\",\"id\":2,\"session\":\"\",\"ops\":[[\"put\","); /* cut off */
    close(fd);
    fd = raw_connect(fx);
    raw_write(fd, HELLO "{\"do\":\"txn\",\"id\":2,\"session\":\"none\",\"ops\":"
                        "[[\"attach\",\"a\",\"b\"]]}\n"
                        "{\"do\":\"txn\",\"id\":3,\"session\":\"\",\"ops\":"
                        "[[\"put\",\"/a\",\"b\"]]}\n"
                        "{\"do\":\"keepalive\",\"id\":4,\"session\":\"none\",\"ttl_ms\":5}\n");
    char text[2048];
    size_t used = 0;
    text[0] = '\0';
    while (strstr(text, "\"id\":4") == NULL) {
        ssize_t size = read(fd, text + used, sizeof(text) - 1 - used);
        assert_true(size > 0);
        used += (size_t)size;
        text[used] = '\0';
    }
    assert_non_null(strstr(text, "\"id\":2,\"error\":\"no_session\""));
    assert_non_null(strstr(text, "\"id\":3,\"error\":\"invalid\""));
    assert_non_null(strstr(text, "\"id\":4,\"error\":\"no_session\""));
    close(fd);
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    assert_int_equal(version_now(fx, a, "a", NULL), 0);
}

static void test_a_client_that_does_not_read_is_dropped(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    int fd = raw_connect(fx);
    assert_true(fd >= 0);
    raw_write(fd, HELLO "{\"do\":\"watch\",\"id\":2}\n");
    char *value = malloc(STORE_VALUE_MAX + 1);
    assert_non_null(value);
    memset(value, 'v', STORE_VALUE_MAX);
    value[STORE_VALUE_MAX] = '\0';
    for (int i = 0; i < 40; i++) { /* 20 MiB: more than may wait for one client */
        (void)put_now(fx, a, "history", value);
    }
    size_t size = (size_t)40 * STORE_VALUE_MAX;
    char *text = malloc(size);
    assert_non_null(text);
    bool closed = false;
    size_t got = raw_read(fd, text, size, &closed);
    assert_true(closed);
    assert_true(got < size / 2);
    free(text);
    free(value);
    close(fd);
}

static void test_a_cluster_has_a_largest_size(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    char *value = malloc(STORE_VALUE_MAX + 1);
    assert_non_null(value);
    memset(value, 'v', STORE_VALUE_MAX);
    value[STORE_VALUE_MAX] = '\0';
    char key[16];
    struct call call = {.calls = 0};
    enum err err = ERR_OK;
    int fitting = 0;
    while (err == ERR_OK && fitting < 100) {
        assert_true(str_format(key, sizeof(key), "k%d", fitting));
        struct dcs_op op = PUT(key, value);
        err = txn_now(fx, a, &call, &op, 1);
        fitting += err == ERR_OK ? 1 : 0;
    }
    assert_int_equal(err, ERR_REFUSED);
    assert_int_equal(fitting, 7); /* of 4 MiB; the eighth and the keys are too much */
    assert_int_equal(version_now(fx, a, key, NULL), 0);
    free(value);
}

/* The kernel connects clients to a frozen process: only silence tells. */
static void test_silence_of_a_frozen_store_is_a_cut(void **state)
{
    struct fixture *fx = *state;
    struct dcs *a = fixture_open(fx, 0, FIXTURE_BASE);
    struct watch watch = {.ups = 0};
    watch_on(a, &watch);
    (void)put_now(fx, a, "lease", "one");
    UNTIL(fx, watch.ups == 1);
    fixture_freeze(fx);
    struct call call = {.calls = 0};
    struct dcs_op op = PUT("lease", "two");
    call_txn(fx, a, &call, &op, 1, 100);
    UNTIL(fx, call.calls == 1);
    assert_int_equal(call.err, ERR_IN_DOUBT);
    UNTIL(fx, watch.downs == 1);
    call_txn(fx, a, &call, &op, 1, 100);
    UNTIL(fx, call.calls == 1);
    assert_int_equal(call.err, ERR_UNREACHABLE); /* no welcome, so nothing was sent */
    fixture_thaw(fx);
    UNTIL(fx, watch.ups == 2);
    fixture_close(fx, 0);
    watch_fini(&watch);
}

static int compare_ms(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now_ms(void)
{
    return (double)uv_hrtime() / 1e6;
}

static void test_latency_with_full_sync(void **state)
{
    struct fixture *fx = *state;
    char path[96];
    fixture_socket(fx, path, sizeof(path));
    struct err_detail detail;
    assert_int_equal(dcs_local_open(&fx->loop, path, FIXTURE_BASE, &fx->clients[0], &detail),
                     ERR_OK);
    uint64_t version = put_now(fx, fx->clients[0], "lease", "start");
    static double took[1000];
    for (size_t i = 0; i < COUNT(took); i++) {
        struct call call = {.calls = 0};
        struct dcs_op ops[] = {CHECK("lease", version),
                               PUT("lease", "{\"holder\":\"n1\",\"epoch\":7,\"ttl_ms\":5000}")};
        double from = now_ms();
        call_txn(fx, fx->clients[0], &call, ops, COUNT(ops), TIMEOUT_MS);
        UNTIL(fx, call.calls == 1);
        took[i] = now_ms() - from;
        assert_int_equal(call.err, ERR_OK);
        version = call.revision;
    }
    qsort(took, COUNT(took), sizeof(took[0]), compare_ms);
    print_message("# transaction: p50 %.2f ms, p99 %.2f ms, worst %.2f ms\n", took[COUNT(took) / 2],
                  took[COUNT(took) * 99 / 100], took[COUNT(took) - 1]);
    assert_true(took[COUNT(took) / 2] < 1000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_kill_9_loses_nothing_and_splits_nothing),
        T(test_sessions_have_their_full_ttl_after_a_restart),
        T(test_a_removed_directory_ends_the_store),
        T(test_a_second_store_is_refused),
        T(test_sigterm_ends_it_in_order),
        T(test_other_users_are_refused),
        T(test_bad_frames_end_only_their_connection),
        T(test_a_client_that_does_not_read_is_dropped),
        T(test_a_cluster_has_a_largest_size),
        T(test_silence_of_a_frozen_store_is_a_cut),
        T(test_latency_with_full_sync),
    };
    return cmocka_run_group_tests_name("local process", tests, NULL, NULL);
}
