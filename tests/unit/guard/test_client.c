/* The client on a socket whose other end is the test: what is sent, what foreign packets do, what a
 * guard that is gone looks like. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "guard/client.h"

struct bench {
    struct guard_client client;
    int peer;
    struct page *page; /* the guard's view */
    union control_packet got;
};

static int setup(void **state)
{
    static struct bench bench;
    int ends[2];
    int page_fd;
    char text[32];
    struct err_detail detail;
    memset(&bench, 0, sizeof(bench));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends),
                     0);
    assert_int_equal(page_create(&bench.page, &page_fd, &detail), ERR_OK);
    bench.peer = ends[0];
    (void)snprintf(text, sizeof(text), "%d", page_fd);
    (void)setenv(CONTROL_ENV_PAGE_FD, text, 1);
    (void)snprintf(text, sizeof(text), "%d", ends[1]);
    (void)setenv(CONTROL_ENV_CONTROL_FD, text, 1);
    (void)setenv(CONTROL_ENV_GUARD_BINARY, "/nowhere/holdfast-guard", 1);
    (void)setenv(CONTROL_ENV_AGENT_BINARY, "/nowhere/holdfast", 1);
    assert_int_equal(guard_client_open(&bench.client, &detail), ERR_OK);
    *state = &bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    guard_client_fini(&bench->client);
    guard_client_fini(&bench->client); /* twice is fine */
    page_detach(bench->page);
    if (bench->peer >= 0) {
        (void)close(bench->peer);
    }
    return 0;
}

static void receive(struct bench *bench, enum control_type type, uint32_t id)
{
    ssize_t got = recv(bench->peer, &bench->got, sizeof(bench->got), 0);
    assert_true(got > 0);
    assert_int_equal(control_check(&bench->got, (size_t)got, NULL), ERR_OK);
    assert_int_equal(bench->got.head.type, type);
    assert_int_equal(bench->got.head.id, id);
}

static void test_open_takes_the_environment(void **state)
{
    struct bench *bench = *state;
    assert_null(getenv(CONTROL_ENV_PAGE_FD));
    assert_null(getenv(CONTROL_ENV_CONTROL_FD));
    assert_null(getenv(CONTROL_ENV_GUARD_BINARY));
    assert_null(getenv(CONTROL_ENV_AGENT_BINARY));
    assert_int_equal(fcntl(bench->client.fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(bench->client.page_fd, F_GETFD), FD_CLOEXEC);
    page_guard_beat(bench->page, (struct mono){5});
    assert_int_equal(page_guard_beat_read(bench->client.page).ms, 5);
    static struct guard_client other;
    struct err_detail detail;
    assert_int_equal(guard_client_open(&other, &detail), ERR_INVALID);
    assert_non_null(strstr(detail.text, CONTROL_ENV_PAGE_FD));
}

static void test_commands_arrive(void **state)
{
    struct bench *bench = *state;
    struct guard_client *client = &bench->client;
    uint32_t id = 0;
    assert_int_equal(guard_client_ping(client, &id, NULL), ERR_OK);
    receive(bench, CONTROL_PING, id);
    assert_int_not_equal(id, 0);
    client->last_id = UINT32_MAX; /* goes round, leaving out 0 */
    assert_int_equal(guard_client_arm(client, 9, &id, NULL), ERR_OK);
    receive(bench, CONTROL_ARM, 1);
    assert_int_equal(bench->got.arm.epoch, 9);
    assert_int_equal(guard_client_disarm(client, 9, true, &id, NULL), ERR_OK);
    receive(bench, CONTROL_DISARM, 2);
    assert_int_equal(bench->got.disarm.force_for_pause, 1);
    assert_int_equal(guard_client_adopt(client, 77, 88, &id, NULL), ERR_OK);
    receive(bench, CONTROL_ADOPT, 3);
    assert_int_equal(bench->got.adopt.start_ticks, 88);
    assert_int_equal(guard_client_stop(client, CONTROL_STOP_HARD, &id, NULL), ERR_OK);
    receive(bench, CONTROL_STOP, 4);
    assert_int_equal(bench->got.stop.mode, CONTROL_STOP_HARD);
    assert_int_equal(guard_client_leaving(client, 64, true, NULL, NULL), ERR_OK);
    receive(bench, CONTROL_LEAVING, 5);
    assert_int_equal(bench->got.leaving.code, 64);
    assert_int_equal(bench->got.leaving.stranger, 1);
    const char *const argv[] = {"/bin/postgres", "-D", "/data", NULL};
    const struct guard_client_start start = {.argv = argv, .data_dir = "/data", .armed_epoch = 4};
    assert_int_equal(guard_client_start(client, &start, &id, NULL), ERR_OK);
    receive(bench, CONTROL_START, 6);
    assert_string_equal(bench->got.start.data_dir, "/data");
    assert_string_equal(bench->got.start.log_path, "");
    assert_int_equal(bench->got.start.armed_epoch, 4);
    assert_int_equal(bench->got.start.args_count, 3);
}

static void test_malformed_orders_are_not_sent(void **state)
{
    struct bench *bench = *state;
    struct guard_client *client = &bench->client;
    static char long_path[PATH_SIZE + 1];
    memset(long_path, 'x', PATH_SIZE);
    const char *const argv[] = {"/bin/postgres", NULL};
    const char *const empty[] = {NULL};
    struct guard_client_start start = {.argv = argv, .data_dir = long_path};
    assert_int_equal(guard_client_start(client, &start, NULL, NULL), ERR_INVALID);
    start = (struct guard_client_start){.argv = argv, .data_dir = "/d", .log_path = long_path};
    assert_int_equal(guard_client_start(client, &start, NULL, NULL), ERR_INVALID);
    start = (struct guard_client_start){.argv = empty, .data_dir = "/d"};
    assert_int_equal(guard_client_start(client, &start, NULL, NULL), ERR_INVALID);
    assert_int_equal(guard_client_arm(client, 0, NULL, NULL), ERR_INVALID);
    assert_int_equal(guard_client_adopt(client, 1, 5, NULL, NULL), ERR_INVALID);
    assert_int_equal(recv(bench->peer, &bench->got, sizeof(bench->got), 0), -1);
}

static void test_answers_and_foreign_packets(void **state)
{
    struct bench *bench = *state;
    const union control_packet *packet = NULL;
    assert_int_equal(guard_client_next(&bench->client, &packet, NULL), ERR_OK);
    assert_int_equal(packet->head.type, CONTROL_NONE);
    union control_answer answer;
    control_init(&answer, CONTROL_EXITED, 0);
    answer.exited.pid = 12;
    assert_true(send(bench->peer, &answer, answer.head.size, 0) > 0);
    assert_int_equal(guard_client_next(&bench->client, &packet, NULL), ERR_OK);
    assert_int_equal(packet->head.type, CONTROL_EXITED);
    assert_int_equal(packet->exited.pid, 12);
    answer.head.version = 99;
    assert_true(send(bench->peer, &answer, answer.head.size, 0) > 0);
    assert_int_equal(guard_client_next(&bench->client, &packet, NULL), ERR_INVALID);
    assert_true(send(bench->peer, "x", 1, 0) > 0);
    assert_int_equal(guard_client_next(&bench->client, &packet, NULL), ERR_INVALID);
    static char huge[sizeof(union control_packet) + 100];
    assert_true(send(bench->peer, huge, sizeof(huge), 0) > 0);
    assert_int_equal(guard_client_next(&bench->client, &packet, NULL), ERR_INVALID);
}

static void test_a_guard_that_is_gone(void **state)
{
    struct bench *bench = *state;
    const union control_packet *packet = NULL;
    (void)close(bench->peer);
    bench->peer = -1;
    assert_int_equal(guard_client_ping(&bench->client, NULL, NULL), ERR_UNREACHABLE);
    assert_int_equal(guard_client_next(&bench->client, &packet, NULL), ERR_UNREACHABLE);
    assert_null(packet);
    char name[] = "agent";
    char *argv[] = {name, NULL};
    int before = bench->client.fd;
    assert_int_equal(guard_client_spawn_replacement(&bench->client, argv, NULL), ERR_REFUSED);
    assert_int_equal(bench->client.fd, before); /* no such binary: nothing changed */
}

static void test_a_guard_that_does_not_read_blocks_nobody(void **state)
{
    struct bench *bench = *state;
    enum err err = ERR_OK;
    for (int i = 0; i < 100000 && err == ERR_OK; i++) {
        err = guard_client_ping(&bench->client, NULL, NULL);
    }
    assert_int_equal(err, ERR_UNREACHABLE);
}

static void test_stale(void **state)
{
    struct bench *bench = *state;
    page_guard_beat(bench->page, (struct mono){100000});
    assert_false(guard_client_stale(&bench->client, (struct mono){100750}));
    assert_true(guard_client_stale(&bench->client, (struct mono){100751}));
    const struct page_lease lease = {.deadline = {1}, .ttl_ms = 30000, .epoch = 1};
    page_lease_write(bench->page, &lease);
    assert_false(guard_client_stale(&bench->client, (struct mono){110000}));
    assert_true(guard_client_stale(&bench->client, (struct mono){110001}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open_takes_the_environment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commands_arrive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed_orders_are_not_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_and_foreign_packets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_guard_that_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_guard_that_does_not_read_blocks_nobody, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_stale, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
