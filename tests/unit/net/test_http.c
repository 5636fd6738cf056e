/* Server and client on one loop, over real sockets; raw sockets where a client misbehaves. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/str.h"
#include "base/time.h"
#include "net/http_client.h"
#include "net/http_server.h"

struct held {
    struct http_exchange *exchange;
    unsigned gone;
};

struct fixture {
    uv_loop_t loop;
    struct http_server *server;
    struct http_client *client;
    struct held held;
    unsigned requests;
    bool closed;
};

static void on_gone(struct http_exchange *exchange, void *arg)
{
    struct fixture *f = arg;
    assert_ptr_equal(exchange, f->held.exchange);
    f->held.exchange = NULL;
    f->held.gone++;
}

static bool on_head(struct http_exchange *exchange, void *arg)
{
    (void)arg;
    if (!str_equal(http_exchange_path(exchange), "/forbidden")) {
        return false;
    }
    http_exchange_answer(exchange, &(struct http_answer){.status = 403});
    return true;
}

static void on_request(struct http_exchange *exchange, void *arg)
{
    struct fixture *f = arg;
    f->requests++;
    const char *path = http_exchange_path(exchange);
    if (str_equal(path, "/later")) {
        f->held.exchange = exchange;
        http_exchange_hold(exchange, on_gone, f);
        return;
    }
    if (str_equal(path, "/bare")) {
        http_exchange_answer(exchange, &(struct http_answer){.status = 503});
        return;
    }
    if (str_equal(path, "/big")) {
        char *big = calloc(1, 300000);
        assert_non_null(big);
        memset(big, 'x', 300000);
        http_exchange_answer(exchange, &(struct http_answer){.status = 200,
                                                             .content_type = "text/html",
                                                             .body = big,
                                                             .body_size = 300000});
        free(big);
        return;
    }
    size_t size = 0;
    const char *body = http_exchange_body(exchange, &size);
    const char *a = http_exchange_argument(exchange, "a");
    const char *auth = http_exchange_header(exchange, "authorization");
    char text[512];
    (void)snprintf(text, sizeof text, "%s %s %s %.40s %zu %s", http_exchange_method(exchange), path,
                   a != NULL ? a : "-", body, size, auth != NULL ? auth : "-");
    http_exchange_answer(exchange, &(struct http_answer){.status = 200,
                                                         .content_type = "text/html",
                                                         .body = text,
                                                         .body_size = strlen(text),
                                                         .header_count = 1,
                                                         .headers = {{"Server", "test"}}});
}

/* ---- fixture ---- */

static void set_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

static void setup(struct fixture *f, uint32_t connections_max, int64_t io_timeout_ms)
{
    *f = (struct fixture){0};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    struct http_server_options options = {.connections_max = connections_max,
                                          .io_timeout_ms = io_timeout_ms,
                                          .body_max = 100000,
                                          .head_cb = on_head,
                                          .request_cb = on_request,
                                          .arg = f};
    struct err_detail detail;
    assert_int_equal(http_server_create(&f->loop, &options, &f->server, &detail), ERR_OK);
    assert_int_equal(http_server_listen(f->server, "127.0.0.1", 0, &detail), ERR_OK);
    f->client = http_client_create(&f->loop, NULL);
}

static void nothing(uv_timer_t *timer)
{
    (void)timer;
}

static void turn(struct fixture *f, uv_timer_t *timer)
{
    /* Only so that a turn cannot block for ever; repeated, since on a slow machine it is due before the
     * turn gets to its poll. */
    (void)uv_timer_start(timer, nothing, 20, 20);
    uv_run(&f->loop, UV_RUN_ONCE);
    (void)uv_timer_stop(timer);
}

/* Turns the loop until the condition holds or 10 s have passed. */
#define WAIT_FOR(f, condition)                                                                     \
    do {                                                                                           \
        uv_timer_t wait_timer;                                                                     \
        uv_timer_init(&(f)->loop, &wait_timer);                                                    \
        struct mono wait_end = mono_add(mono_now(), 10000);                                        \
        while (!(condition) && mono_before(mono_now(), wait_end)) {                                \
            turn((f), &wait_timer);                                                                \
        }                                                                                          \
        uv_close((uv_handle_t *)&wait_timer, NULL);                                                \
        uv_run(&(f)->loop, UV_RUN_NOWAIT);                                                         \
        assert_true(condition);                                                                    \
    } while (false)

static void teardown(struct fixture *f)
{
    if (f->client != NULL) {
        http_client_destroy(f->client, NULL, NULL);
    }
    http_server_destroy(f->server, set_closed, f);
    uv_run(&f->loop, UV_RUN_DEFAULT); /* ends only when nothing is left on the loop */
    assert_true(f->closed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

/* ---- client side ---- */

struct outcome {
    struct http_request request;
    unsigned count;
    enum err err;
    int status;
    char body[512];
    size_t size;
};

static void on_done(struct http_request *request, enum err err, const struct http_reply *reply,
                    void *arg)
{
    struct outcome *out = arg;
    assert_ptr_equal(request, &out->request);
    assert_false(http_request_is_active(request));
    out->count++;
    out->err = err;
    if (err == ERR_OK) {
        out->status = reply->status;
        out->size = reply->body_size;
        str_copy_cut(out->body, sizeof out->body, reply->body);
    } else {
        assert_null(reply);
        assert_true(request->detail.text[0] != '\0');
    }
}

static void ask(struct fixture *f, struct outcome *out, struct http_call call, const char *path)
{
    char url[URL_SIZE];
    assert_true(
        str_format(url, sizeof url, "http://127.0.0.1:%u%s", http_server_port(f->server), path));
    call.url = url;
    call.timeout_ms = call.timeout_ms != 0 ? call.timeout_ms : 5000;
    http_request_start(f->client, &out->request, &call, on_done, out);
    assert_int_equal(out->count, 0); /* never inside the call */
}

static void test_get(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    struct outcome out = {0};
    ask(&f, &out, (struct http_call){0}, "/x/y?a=1%202&a=3");
    WAIT_FOR(&f, out.count == 1);
    assert_int_equal(out.err, ERR_OK);
    assert_int_equal(out.status, 200);
    assert_string_equal(out.body, "GET /x/y 1 2  0 -");
    teardown(&f);
}

static void test_methods_body_and_auth(void **state)
{
    (void)state;
    static const char *const names[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    struct fixture f;
    setup(&f, 0, 0);
    for (int m = HTTP_POST; m < HTTP_METHOD_COUNT; m++) {
        struct outcome out = {0};
        ask(&f, &out,
            (struct http_call){
                .method = (enum http_method)m, .body = "{\"k\": 1}", .user_pass = "u:p"},
            "/z");
        WAIT_FOR(&f, out.count == 1);
        assert_int_equal(out.status, 200);
        char expected[100];
        (void)snprintf(expected, sizeof expected, "%s /z - {\"k\": 1} 8 Basic dTpw", names[m]);
        assert_string_equal(out.body, expected);
    }
    teardown(&f);
}

static void test_kept_connection_is_used_again(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    for (int i = 0; i < 5; i++) {
        struct outcome out = {0};
        ask(&f, &out, (struct http_call){.method = HTTP_POST, .body = "{}", .repeatable = true},
            "/r");
        WAIT_FOR(&f, out.count == 1);
        assert_int_equal(out.err, ERR_OK);
        assert_int_equal(http_server_connection_count(f.server), 1);
    }
    /* Not for what must not be sent twice. */
    struct outcome once = {0};
    ask(&f, &once, (struct http_call){.method = HTTP_POST, .body = "{}"}, "/later");
    WAIT_FOR(&f, f.held.exchange != NULL);
    assert_int_equal(http_server_connection_count(f.server), 2);
    http_exchange_answer(f.held.exchange, &(struct http_answer){.status = 200});
    f.held.exchange = NULL;
    WAIT_FOR(&f, once.count == 1);
    teardown(&f);
}

static void test_answer_that_comes_later(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    struct outcome out = {0};
    struct outcome other = {0};
    ask(&f, &out, (struct http_call){.method = HTTP_POST}, "/later");
    WAIT_FOR(&f, f.held.exchange != NULL);
    ask(&f, &other, (struct http_call){0}, "/meanwhile");
    WAIT_FOR(&f, other.count == 1);
    assert_int_equal(out.count, 0);
    http_exchange_answer(f.held.exchange, &(struct http_answer){.status = 202,
                                                                .content_type = "text/html",
                                                                .body = "now",
                                                                .body_size = 3});
    WAIT_FOR(&f, out.count == 1);
    assert_int_equal(out.status, 202);
    assert_string_equal(out.body, "now");
    assert_int_equal(f.held.gone, 0);
    teardown(&f);
}

static void test_timeout_is_in_doubt_but_for_get(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    struct outcome out[2] = {0};
    ask(&f, &out[0], (struct http_call){.method = HTTP_PATCH, .body = "{}", .timeout_ms = 100},
        "/later");
    WAIT_FOR(&f, out[0].count == 1);
    assert_int_equal(out[0].err, ERR_IN_DOUBT);
    http_exchange_answer(f.held.exchange, &(struct http_answer){.status = 200});
    ask(&f, &out[1], (struct http_call){.timeout_ms = 100}, "/later");
    WAIT_FOR(&f, out[1].count == 1);
    assert_int_equal(out[1].err, ERR_UNREACHABLE);
    http_exchange_answer(f.held.exchange, &(struct http_answer){.status = 200});
    teardown(&f);
}

static void test_not_sent_is_unreachable(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", ntohs(address.sin_port));
    struct outcome out = {0};
    struct http_call call = {.method = HTTP_POST, .url = url, .timeout_ms = 2000};
    http_request_start(f.client, &out.request, &call, on_done, &out);
    WAIT_FOR(&f, out.count == 1);
    assert_int_equal(out.err, ERR_UNREACHABLE); /* bound, but nobody listens */
    close(fd);

    struct outcome bad = {0};
    call.url = "ftp://127.0.0.1/";
    http_request_start(f.client, &bad.request, &call, on_done, &bad);
    WAIT_FOR(&f, bad.count == 1);
    assert_int_equal(bad.err, ERR_INVALID);
    teardown(&f);
}

/* A listener that accepts and closes at once, or never accepts. */
static void test_connection_lost_after_sending_is_in_doubt(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    struct outcome out = {0};
    ask(&f, &out, (struct http_call){.method = HTTP_POST, .body = "{}"}, "/later");
    WAIT_FOR(&f, f.held.exchange != NULL);
    http_server_destroy(f.server, set_closed, &f);
    WAIT_FOR(&f, f.closed);
    assert_int_equal(f.held.gone, 1);
    WAIT_FOR(&f, out.count == 1);
    assert_int_equal(out.err, ERR_IN_DOUBT);
    f.server = NULL;
    http_client_destroy(f.client, NULL, NULL);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f.loop), 0);
}

static void test_answer_past_the_cap(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    struct outcome out[3] = {0};
    ask(&f, &out[0], (struct http_call){0}, "/big");
    ask(&f, &out[1], (struct http_call){.body_max = 299999}, "/big");
    ask(&f, &out[2], (struct http_call){.method = HTTP_POST, .body_max = 299999}, "/big");
    WAIT_FOR(&f, out[0].count + out[1].count + out[2].count == 3);
    assert_int_equal(out[0].err, ERR_OK);
    assert_int_equal(out[0].size, 300000);
    assert_int_equal(out[1].err, ERR_INVALID);
    assert_int_equal(out[2].err, ERR_IN_DOUBT);
    teardown(&f);
}

static void test_cancel(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    struct outcome unsent = {0};
    ask(&f, &unsent, (struct http_call){.method = HTTP_POST}, "/x");
    http_request_cancel(&unsent.request);
    http_request_cancel(&unsent.request); /* again changes nothing */
    assert_int_equal(unsent.count, 0);
    WAIT_FOR(&f, unsent.count == 1);
    assert_int_equal(unsent.err, ERR_CANCELED);
    struct outcome sent = {0};
    ask(&f, &sent, (struct http_call){.method = HTTP_POST}, "/later");
    WAIT_FOR(&f, f.held.exchange != NULL);
    http_request_cancel(&sent.request);
    WAIT_FOR(&f, sent.count == 1);
    assert_int_equal(sent.err, ERR_IN_DOUBT);
    http_exchange_answer(f.held.exchange, &(struct http_answer){.status = 200});
    http_request_cancel(&sent.request); /* over: nothing */
    teardown(&f);
    assert_int_equal(unsent.count, 1);
    assert_int_equal(sent.count, 1);
}

static void test_destroy_ends_what_is_under_way(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    struct outcome out = {0};
    ask(&f, &out, (struct http_call){.method = HTTP_POST}, "/later");
    WAIT_FOR(&f, f.held.exchange != NULL);
    teardown(&f);
    assert_int_equal(out.count, 1);
    assert_int_equal(out.err, ERR_IN_DOUBT);
    assert_int_equal(f.held.gone, 1);
}

/* ---- raw sockets ---- */

static int raw_connect(const struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(http_server_port(f->server))};
    int rc = connect(fd, (struct sockaddr *)&address, sizeof address);
    assert_true(rc == 0 || errno == EINPROGRESS);
    return fd;
}

static void raw_send(int fd, const char *text)
{
    size_t size = strlen(text);
    assert_int_equal(send(fd, text, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* Reads what is there; true once the other side has closed. */
static bool raw_read(int fd, char *buffer, size_t room, size_t *used)
{
    ssize_t got = recv(fd, buffer + *used, room - *used - 1, 0);
    if (got > 0) {
        *used += (size_t)got;
        buffer[*used] = '\0';
        return false;
    }
    return got == 0 || errno != EAGAIN;
}

static void raw_ask(struct fixture *f, const char *text, char *answer, size_t room)
{
    int fd = raw_connect(f);
    size_t used = 0;
    answer[0] = '\0';
    raw_send(fd, text);
    WAIT_FOR(f, raw_read(fd, answer, room, &used));
    close(fd);
}

static void test_status_only_answers(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    static const char *const requests[] = {
        "GET /bare HTTP/1.0\r\n\r\n", "GET /bare HTTP/1.1\r\nHost: x\r\n\r\n",
        "HEAD /bare HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS /bare HTTP/1.0\r\n\r\n"};
    for (size_t i = 0; i < 4; i++) {
        char answer[1000];
        raw_ask(&f, requests[i], answer, sizeof answer);
        assert_string_equal(answer, "HTTP/1.0 503 Service Unavailable\r\n"
                                    "Connection: close\r\nContent-Length: 0\r\n\r\n");
    }
    teardown(&f);
}

static void test_answer_with_body(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    char answer[1000];
    raw_ask(&f, "GET /b HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, "HTTP/1.0 200 OK\r\n"));
    assert_non_null(strstr(answer, "\r\nServer: test\r\n"));
    assert_non_null(strstr(answer, "\r\nDate: "));
    assert_non_null(strstr(answer, "\r\nContent-Type: text/html\r\n"));
    assert_non_null(strstr(answer, "\r\n\r\nGET /b -  0 -"));
    teardown(&f);
}

static void test_malformed_requests(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "\x16\x03\x01\x02\r\n\r\n",
        "GET\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: banana\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    };
    struct fixture f;
    setup(&f, 0, 0);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        char answer[2000];
        raw_ask(&f, requests[i], answer, sizeof answer);
        assert_null(strstr(answer, "200 OK"));
    }
    assert_int_equal(f.requests, 0);
    /* A head larger than a connection's memory. */
    char *huge = calloc(1, 70000);
    assert_non_null(huge);
    int at = snprintf(huge, 70000, "GET / HTTP/1.1\r\nX: ");
    memset(huge + at, 'y', 60000);
    int fd = raw_connect(&f);
    (void)send(fd, huge, strlen(huge), MSG_NOSIGNAL); /* may be refused halfway */
    char answer[2000] = "";
    size_t used = 0;
    WAIT_FOR(&f, raw_read(fd, answer, sizeof answer, &used));
    assert_null(strstr(answer, "200 OK"));
    close(fd);
    free(huge);
    teardown(&f);
}

static void test_bodies_past_the_cap(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    char answer[2000];
    raw_ask(&f, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n", answer,
            sizeof answer);
    assert_non_null(strstr(answer, "HTTP/1.0 413 "));
    raw_ask(&f, "POST /forbidden HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n", answer,
            sizeof answer);
    assert_non_null(strstr(answer, "HTTP/1.0 403 "));
    /* Without a length the cap counts while reading. */
    int fd = raw_connect(&f);
    raw_send(fd, "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    char chunk[4200];
    int head = snprintf(chunk, sizeof chunk, "1000\r\n");
    memset(chunk + head, 'z', 0x1000);
    memcpy(chunk + head + 0x1000, "\r\n", 3);
    size_t used = 0;
    for (int i = 0; i < 30; i++) {
        (void)send(fd, chunk, strlen(chunk), MSG_NOSIGNAL); /* fails once the server has closed */
        uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    answer[0] = '\0';
    WAIT_FOR(&f, raw_read(fd, answer, sizeof answer, &used));
    assert_null(strstr(answer, "200 OK"));
    close(fd);
    assert_int_equal(f.requests, 0);
    teardown(&f);
}

/* A client that sends a byte now and then does not live longer than one that sends nothing. */
static void test_slow_client_is_cut(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 300);
    int slow = raw_connect(&f);
    int silent = raw_connect(&f);
    struct mono begin = mono_now();
    uv_timer_t timer;
    uv_timer_init(&f.loop, &timer);
    const char *head = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 99000\r\n\r\n";
    size_t sent = 0;
    char answer[100];
    size_t used = 0;
    while (!raw_read(slow, answer, sizeof answer, &used) && mono_sub(mono_now(), begin) < 5000) {
        /* A byte a millisecond at most: a fast machine must not get the whole body through. */
        if ((int64_t)sent <= mono_sub(mono_now(), begin) &&
            send(slow, sent < strlen(head) ? head + sent : "b", 1, MSG_NOSIGNAL) == 1) {
            sent++;
        }
        turn(&f, &timer);
    }
    int64_t took_ms = mono_sub(mono_now(), begin);
    uv_close((uv_handle_t *)&timer, NULL);
    assert_true(took_ms >= 290);
    assert_true(took_ms < 3000);
    WAIT_FOR(&f, raw_read(silent, answer, sizeof answer, &used));
    WAIT_FOR(&f, http_server_connection_count(f.server) == 0);
    assert_int_equal(f.requests, 0);
    close(slow);
    close(silent);
    teardown(&f);
}

/* One that does not take its answer is cut as well. */
static void test_answer_never_read(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 300);
    int small = 4096;
    int fd = raw_connect(&f);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (int i = 0; i < 20; i++) {
        uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    /* Many answers on a kept connection, more than both sockets' buffers take. */
    const char *request = "GET /big HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n";
    for (int i = 0; i < 100; i++) {
        raw_send(fd, request);
    }
    struct mono begin = mono_now();
    WAIT_FOR(&f, http_server_connection_count(f.server) == 0);
    assert_true(mono_sub(mono_now(), begin) >= 250);
    assert_in_range(f.requests, 1, 99); /* it ended in the middle of an answer */
    close(fd);
    teardown(&f);
}

static void test_thousands_of_idle_connections(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < 8192 ? limit.rlim_max : 8192;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int count = limit.rlim_cur < 4096 ? (int)limit.rlim_cur / 2 : COUNT;
    struct fixture f;
    setup(&f, 100, 60000);
    int *fds = calloc((size_t)count, sizeof *fds);
    assert_non_null(fds);
    for (int i = 0; i < count; i++) {
        fds[i] = raw_connect(&f);
        uv_run(&f.loop, UV_RUN_NOWAIT);
        if (i % 500 == 499) {
            struct outcome out = {0};
            ask(&f, &out, (struct http_call){.method = HTTP_POST}, "/primary");
            WAIT_FOR(&f, out.count == 1);
            assert_int_equal(out.err, ERR_OK);
            assert_true(http_server_connection_count(f.server) <= 100);
        }
    }
    for (int i = 0; i < count; i++) {
        close(fds[i]);
    }
    free(fds);
    teardown(&f);
}

/* Those that wait for our answer are not the ones to go. */
static void test_waiting_connection_is_not_pushed_out(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 4, 60000);
    struct outcome out = {0};
    ask(&f, &out, (struct http_call){.method = HTTP_POST}, "/later");
    WAIT_FOR(&f, f.held.exchange != NULL);
    int fds[12];
    for (int i = 0; i < 12; i++) {
        fds[i] = raw_connect(&f);
        uv_run(&f.loop, UV_RUN_NOWAIT);
    }
    WAIT_FOR(&f, http_server_connection_count(f.server) == 4);
    assert_int_equal(out.count, 0);
    http_exchange_answer(f.held.exchange, &(struct http_answer){.status = 200});
    WAIT_FOR(&f, out.count == 1);
    assert_int_equal(out.err, ERR_OK);
    for (int i = 0; i < 12; i++) {
        close(fds[i]);
    }
    teardown(&f);
}

static void test_listening(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f, 0, 0);
    struct err_detail detail = {0};
    uint16_t first = http_server_port(f.server);
    int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    assert_int_equal(bind(taken, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(taken, 1), 0);
    assert_int_equal(getsockname(taken, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(http_server_listen(f.server, "127.0.0.1", ntohs(address.sin_port), &detail),
                     ERR_REFUSED);
    char expected[100];
    (void)snprintf(expected, sizeof expected, "127.0.0.1:%u (restapi.listen): Address already",
                   ntohs(address.sin_port));
    assert_non_null(strstr(detail.text, expected));
    assert_int_equal(http_server_port(f.server), first); /* the old one still listens */
    struct outcome out = {0};
    ask(&f, &out, (struct http_call){0}, "/");
    WAIT_FOR(&f, out.count == 1);
    assert_int_equal(out.err, ERR_OK);
    close(taken);
    assert_int_equal(http_server_listen(f.server, "192.0.2.1", 0, &detail), ERR_INVALID);
    assert_int_equal(http_server_listen(f.server, "no such host.", 0, &detail), ERR_INVALID);
    assert_non_null(strstr(detail.text, "restapi.listen"));
    /* Our own port on all addresses, and back. */
    assert_int_equal(http_server_listen(f.server, "*", first, &detail), ERR_OK);
    assert_int_equal(http_server_port(f.server), first);
    struct outcome again = {0};
    ask(&f, &again, (struct http_call){.method = HTTP_POST}, "/");
    WAIT_FOR(&f, again.count == 1);
    assert_int_equal(again.err, ERR_OK);
    assert_int_equal(http_server_listen(f.server, "127.0.0.1", first, &detail), ERR_OK);
    assert_int_equal(http_server_listen(f.server, "127.0.0.1", first, &detail), ERR_OK);
    enum err v6 = http_server_listen(f.server, "[::1]", 0, &detail);
    assert_true(v6 == ERR_OK || v6 == ERR_INVALID); /* there may be no IPv6 here */
    assert_true(v6 != ERR_OK || http_server_port(f.server) != 0);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_methods_body_and_auth),
        cmocka_unit_test(test_kept_connection_is_used_again),
        cmocka_unit_test(test_answer_that_comes_later),
        cmocka_unit_test(test_timeout_is_in_doubt_but_for_get),
        cmocka_unit_test(test_not_sent_is_unreachable),
        cmocka_unit_test(test_connection_lost_after_sending_is_in_doubt),
        cmocka_unit_test(test_answer_past_the_cap),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_destroy_ends_what_is_under_way),
        cmocka_unit_test(test_status_only_answers),
        cmocka_unit_test(test_answer_with_body),
        cmocka_unit_test(test_malformed_requests),
        cmocka_unit_test(test_bodies_past_the_cap),
        cmocka_unit_test(test_slow_client_is_cut),
        cmocka_unit_test(test_answer_never_read),
        cmocka_unit_test(test_thousands_of_idle_connections),
        cmocka_unit_test(test_waiting_connection_is_not_pushed_out),
        cmocka_unit_test(test_listening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
