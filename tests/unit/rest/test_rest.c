/* The whole API over real sockets: an agent of paper fills in the view and takes the orders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "net/http_server.h"
#include "rest/rest.h"

struct fixture {
    uv_loop_t loop;
    struct rest *rest;
    struct http_client *client;
    struct http_server *peers;
    struct rest_view view;
    struct core_cluster cluster;
    struct rest_member members[3];
    const char *peer_answer; /* of /n2; NULL: never answers */
    struct http_exchange *peer_held;
    uint64_t id; /* of the last order */
    unsigned promises;
    struct core_promise_request promise;
    unsigned failovers;
    struct core_failover failover;
    unsigned configs;
    char config[200];
    bool conditional;
    uint64_t version;
    unsigned heard;
    unsigned reloads;
    bool closed;
};

/* ---- the agent ---- */

static void on_view(void *arg, struct rest_view *out_view)
{
    *out_view = ((struct fixture *)arg)->view;
}

static uint32_t on_plans(void *arg, struct rest_plan out_plans[REST_PLANS_MAX])
{
    (void)arg;
    out_plans[0].at = (struct wall){1795435200000};
    (void)snprintf(out_plans[0].text, sizeof out_plans[0].text, "no action. I am \"n1\"");
    return 1;
}

static void on_promise(void *arg, const struct core_promise_request *request)
{
    struct fixture *f = arg;
    f->promises++;
    f->promise = *request;
    f->id = request->request_id;
}

static void on_failover(void *arg, uint64_t id, const struct core_failover *order)
{
    struct fixture *f = arg;
    f->failovers++;
    f->failover = *order;
    f->id = id;
}

static void on_config(void *arg, uint64_t id, const char *json, bool conditional, uint64_t version)
{
    struct fixture *f = arg;
    f->configs++;
    f->id = id;
    f->conditional = conditional;
    f->version = version;
    str_copy_cut(f->config, sizeof f->config, json);
}

static void on_heard(void *arg, const char *name, const char *conn_url, const char *api_url)
{
    struct fixture *f = arg;
    assert_string_equal(name, "n9");
    assert_string_equal(conn_url, "postgres://x/");
    assert_string_equal(api_url, "");
    f->heard++;
}

static void on_reload(void *arg)
{
    ((struct fixture *)arg)->reloads++;
}

static const struct rest_callbacks callbacks = {on_view,   on_plans, on_promise, on_failover,
                                                on_config, on_heard, on_reload};

/* ---- other nodes ---- */

static void peer_gone(struct http_exchange *exchange, void *arg)
{
    struct fixture *f = arg;
    assert_ptr_equal(f->peer_held, exchange);
    f->peer_held = NULL;
}

static void on_peer(struct http_exchange *exchange, void *arg)
{
    struct fixture *f = arg;
    const char *text = f->peer_answer;
    if (text == NULL) {
        f->peer_held = exchange;
        http_exchange_hold(exchange, peer_gone, f);
        return;
    }
    http_exchange_answer(exchange, &(struct http_answer){.status = 503, /* any status will do */
                                                         .content_type = "application/json",
                                                         .body = text,
                                                         .body_size = strlen(text)});
}

/* ---- fixture ---- */

static void fill_view(struct fixture *f)
{
    struct core_cluster *cluster = &f->cluster;
    cluster->reachable = TRI_YES;
    cluster->revision = 50;
    cluster->settings.ttl_ms = 3600000;
    cluster->settings.loop_wait_ms = 1000;
    cluster->settings.failsafe_mode = true;
    cluster->optime = 0x3000100;
    str_copy_cut(cluster->leader.name, NAME_SIZE, "n1");
    f->view.cluster = cluster;
    f->view.cluster_seen_at = mono_now();
    f->view.cluster_seen_wall_s = 1795435200;
    f->view.is_leader = true;
    f->view.next_step_at = mono_now();
    f->view.failover_priority = 1;
    struct status_postgres *postgres = &f->view.postgres;
    postgres->answered = true;
    postgres->process = true;
    str_copy_cut(postgres->state, sizeof postgres->state, "running");
    str_copy_cut(postgres->role, sizeof postgres->role, "primary");
    postgres->server_version = 150018;
    postgres->flush_lsn = 0x3000100;
    postgres->timeline = 1;
    f->view.config_text = "{\"ttl\":30,\"postgresql\":{\"parameters\":{\"work_mem\":\"4MB\"}}}";
    f->view.config_version = 7;
    f->view.history_text = "[[1,25623960,\"no recovery target specified\",\"t\",\"n1\"]]";
    f->view.failsafe_text = "{\"n1\":\"http://n1:8008/patroni\"}";
    static const char *const keys[] = {
        "{\"tags\":{\"clonefrom\":true},\"timeline\":1}",
        "{\"timeline\":1,\"pending_restart\":true,\"tags\":{\"nofailover\":false}}", NULL};
    for (int i = 0; i < 3; i++) {
        struct member_info *info = &f->members[i].info;
        (void)snprintf(info->name, sizeof info->name, "n%d", i + 1);
        (void)snprintf(info->api_url, sizeof info->api_url, "http://127.0.0.1:%u/n%d",
                       http_server_port(f->peers), i + 1);
        (void)snprintf(info->host, sizeof info->host, "10.0.0.%d", i + 1);
        (void)snprintf(info->state, sizeof info->state, "running");
        info->port = 5432;
        f->members[i].json = keys[i];
    }
    (void)snprintf(f->members[1].info.replication_state, 24, "streaming");
    f->members[1].info.receive_lsn = 0x3000100;
    f->members[1].info.replay_lsn = 0x3000000;
    f->members[1].info.xlog_location = 0x3000200;
    f->view.member_count = 3;
    f->view.members = f->members;
    f->peer_answer = "{\"role\": \"replica\", \"xlog\": {\"received_location\": 5}}";
}

static struct rest_options base_options(const struct fixture *f)
{
    return (struct rest_options){.scope = "demo",
                                 .name = "n1",
                                 .version = "4.1.4",
                                 .listen_host = "127.0.0.1",
                                 .client = f->client};
}

static void setup(struct fixture *f, const struct rest_options *extra)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->client = http_client_create(&f->loop, NULL);
    struct http_server_options peers = {.request_cb = on_peer, .arg = f};
    assert_int_equal(http_server_create(&f->loop, &peers, &f->peers, NULL), ERR_OK);
    assert_int_equal(http_server_listen(f->peers, "127.0.0.1", 0, NULL), ERR_OK);
    fill_view(f);
    struct rest_options options = base_options(f);
    if (extra != NULL) {
        struct http_client *client = options.client;
        options = *extra;
        options.client = client;
    }
    struct err_detail detail = {0};
    enum err err = rest_create(&f->loop, &options, &callbacks, f, &f->rest, &detail);
    assert_int_equal(err, ERR_OK);
}

static void set_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

static void teardown(struct fixture *f)
{
    rest_destroy(f->rest, set_closed, f);
    http_client_destroy(f->client, NULL, NULL);
    http_server_destroy(f->peers, NULL, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->closed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void nothing(uv_timer_t *timer)
{
    (void)timer;
}

/* Turns the loop until the condition holds or 10 s have passed. */
#define WAIT_FOR(f, condition)                                                                     \
    do {                                                                                           \
        uv_timer_t wait_timer;                                                                     \
        uv_timer_init(&(f)->loop, &wait_timer);                                                    \
        uv_timer_start(&wait_timer, nothing, 20, 20);                                              \
        struct mono wait_end = mono_add(mono_now(), 10000);                                        \
        while (!(condition) && mono_before(mono_now(), wait_end)) {                                \
            uv_run(&(f)->loop, UV_RUN_ONCE);                                                       \
        }                                                                                          \
        uv_close((uv_handle_t *)&wait_timer, NULL);                                                \
        uv_run(&(f)->loop, UV_RUN_NOWAIT);                                                         \
        assert_true(condition);                                                                    \
    } while (false)

/* ---- a client that shows every byte ---- */

struct raw {
    int fd;
    size_t used;
    char text[8192];
};

static void raw_ask(const struct fixture *f, struct raw *raw, const char *method_and_path,
                    const char *headers, const char *body)
{
    *raw = (struct raw){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(rest_port(f->rest))};
    assert_int_equal(connect(raw->fd, (struct sockaddr *)&address, sizeof address), 0);
    char length[64] = "";
    if (body != NULL) {
        (void)snprintf(length, sizeof length, "Content-Length: %zu\r\n", strlen(body));
    }
    char request[2048];
    int size = snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\n%s%s\r\n%s",
                        method_and_path, headers, length, body != NULL ? body : "");
    assert_int_equal(send(raw->fd, request, (size_t)size, MSG_NOSIGNAL), size);
}

static bool raw_ended(struct raw *raw)
{
    if (raw->fd < 0) {
        return true;
    }
    ssize_t got =
        recv(raw->fd, raw->text + raw->used, sizeof raw->text - raw->used - 1, MSG_DONTWAIT);
    if (got > 0) {
        raw->used += (size_t)got;
        raw->text[raw->used] = '\0';
        return false;
    }
    if (got == 0) {
        close(raw->fd);
        raw->fd = -1;
        return true;
    }
    return false;
}

static int raw_status(struct raw *raw)
{
    return raw->used > 12 ? (int)strtol(raw->text + 9, NULL, 10) : 0;
}

static const char *raw_body(struct raw *raw)
{
    const char *body = strstr(raw->text, "\r\n\r\n");
    return body != NULL ? body + 4 : "";
}

static void raw_get(struct fixture *f, struct raw *raw, const char *method_and_path)
{
    raw_ask(f, raw, method_and_path, "", NULL);
    WAIT_FOR(f, raw_ended(raw));
}

/* Whole exchange; body NULL: no Content-Length. */
static void expect(struct fixture *f, const char *method_and_path, const char *body, int status,
                   const char *text)
{
    struct raw raw;
    raw_ask(f, &raw, method_and_path, "", body);
    WAIT_FOR(f, raw_ended(&raw));
    if (raw_status(&raw) != status || (text != NULL && strstr(raw_body(&raw), text) == NULL)) {
        fail_msg("%s %s: %s", method_and_path, body != NULL ? body : "", raw.text);
    }
}

/* ---- documents ---- */

static void test_every_route(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        int leader;
        int other;
    } rows[] = {
        {"GET /", 200, 503},
        {"HEAD /", 200, 503},
        {"OPTIONS /", 200, 503},
        {"GET /primary", 200, 503},
        {"HEAD /master", 200, 503},
        {"GET /leader", 200, 503},
        {"GET /replica", 503, 200},
        {"GET /async", 503, 200},
        {"GET /health", 200, 200},
        {"GET /read-only", 200, 200},
        {"GET /patroni", 200, 200},
        {"GET //patroni/x", 200, 200},
        {"GET /liveness", 200, 200},
        {"GET /readiness", 200, 503},
        {"HEAD /patroni", 503, 503},
        {"GET /cluster", 200, 200},
        {"GET /history", 200, 200},
        {"GET /config", 200, 200},
        {"GET /failsafe", 200, 200},
        {"GET /metrics", 200, 200},
        {"GET /holdfast/plans", 200, 200},
        {"GET /holdfast/x", 404, 404},
        {"GET /nonsense", 503, 503},
        {"GET /replica?lag=0", 503, 503},
        {"GET /replica?tag_zone=a", 503, 200},
        {"GET /replica?tag_zone=a&tag_zone=b", 503, 200},
        {"GET /replica?tag_zone=b&tag_zone=a", 503, 503},
        {"GET /replica?tag_zone=&lag=&x", 503, 200},
        {"POST /nonsense", 501, 501},
        {"POST /", 501, 501},
        {"DELETE /config", 501, 501},
        {"PUT /switchover", 501, 501},
        {"BREW /primary", 501, 501},
        {"POST /restart", 501, 501},
        {"POST /sigterm", 202, 202},
    };
    static struct fixture f;
    setup(&f, NULL);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            expect(&f, rows[i].request, NULL, round == 0 ? rows[i].leader : rows[i].other, NULL);
        }
        f.view.is_leader = false;
        f.view.tags_json = "{\"zone\": \"a\"}";
        str_copy_cut(f.view.postgres.role, sizeof f.view.postgres.role, "replica");
        f.view.postgres.replayed_lsn = 0x3000000;
    }
    teardown(&f);
}

static void test_documents(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        const char *body;
    } rows[] = {
        {"GET /patroni",
         "{\"state\": \"running\", \"role\": \"primary\", \"server_version\": 150018, "
         "\"xlog\": {\"location\": 50331904}, \"timeline\": 1, \"dcs_last_seen\": "
         "1795435200, \"patroni\": {\"version\": \"4.1.4\", \"scope\": \"demo\", "
         "\"name\": \"n1\"}}"},
        {"GET /history", "[[1, 25623960, \"no recovery target specified\", \"t\", \"n1\"]]"},
        {"GET /config", "{\"ttl\": 30, \"postgresql\": {\"parameters\": {\"work_mem\": \"4MB\"}}}"},
        {"GET /failsafe", "{\"n1\": \"http://n1:8008/patroni\"}"},
        {"GET /holdfast/plans", "[{\"time\": \"2026-11-23T12:00:00+00:00\", \"reason\": "
                                "\"no action. I am \\\"n1\\\"\"}]"},
    };
    static struct fixture f;
    setup(&f, NULL);
    struct raw raw;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        raw_get(&f, &raw, rows[i].request);
        assert_string_equal(raw_body(&raw), rows[i].body);
        assert_non_null(strstr(raw.text, "\r\nContent-Type: application/json\r\n"));
        assert_non_null(strstr(raw.text, "\r\nServer: Holdfast/"));
    }
    raw_get(&f, &raw, "GET /primary");
    assert_string_equal(raw_body(&raw), rows[0].body);
    raw_get(&f, &raw, "GET /liveness");
    assert_string_equal(raw.text,
                        "HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    teardown(&f);
}

static void test_cluster(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    char expected[3000];
    unsigned port = http_server_port(f.peers);
    (void)snprintf(
        expected, sizeof expected,
        "{\"members\": [{\"name\": \"n1\", \"role\": \"leader\", \"state\": \"running\", "
        "\"api_url\": \"http://127.0.0.1:%u/n1\", \"host\": \"10.0.0.1\", \"port\": 5432, "
        "\"timeline\": 1, \"tags\": {\"clonefrom\": true}}, {\"name\": \"n2\", \"role\": "
        "\"replica\", "
        "\"state\": \"streaming\", \"api_url\": \"http://127.0.0.1:%u/n2\", \"host\": "
        "\"10.0.0.2\", "
        "\"port\": 5432, \"timeline\": 1, \"pending_restart\": true, \"tags\": {\"nofailover\": "
        "false}, \"receive_lag\": 0, \"receive_lsn\": \"0/3000100\", \"replay_lag\": 256, "
        "\"replay_lsn\": \"0/3000000\", \"lag\": 0, \"lsn\": \"0/3000200\"}, {\"name\": \"n3\", "
        "\"role\": \"replica\", \"state\": \"running\", \"api_url\": \"http://127.0.0.1:%u/n3\", "
        "\"host\": \"10.0.0.3\", \"port\": 5432, \"receive_lsn\": \"unknown\", \"receive_lag\": "
        "\"unknown\", \"replay_lsn\": \"unknown\", \"replay_lag\": \"unknown\", \"lsn\": "
        "\"unknown\", "
        "\"lag\": \"unknown\"}], \"scope\": \"demo\"}",
        port, port, port);
    struct raw raw;
    raw_get(&f, &raw, "GET /cluster");
    assert_string_equal(raw_body(&raw), expected);
    f.cluster.settings.pause = true;
    f.cluster.failover.scheduled_at = (struct wall){1795435200000};
    str_copy_cut(f.cluster.failover.leader, NAME_SIZE, "n1");
    f.view.synchronous_mode = true;
    f.view.sync.standbys.count = 1;
    str_copy_cut(f.view.sync.standbys.name[0], NAME_SIZE, "n2");
    raw_get(&f, &raw, "GET /cluster");
    assert_non_null(strstr(raw_body(&raw), "\"role\": \"sync_standby\""));
    assert_non_null(strstr(
        raw_body(&raw), "], \"pause\": true, \"scheduled_switchover\": {\"at\": "
                        "\"2026-11-23T12:00:00+00:00\", \"from\": \"n1\"}, \"scope\": \"demo\"}"));
    f.cluster.reachable = TRI_NO;
    expect(&f, "GET /cluster", NULL, 503, "store");
    teardown(&f);
}

static void test_what_is_absent(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    f.view.config_text = NULL;
    f.view.history_text = "{}";
    f.view.failsafe_text = "[]";
    f.view.cluster = NULL;
    f.view.member_count = 0;
    expect(&f, "GET /config", NULL, 502, NULL);
    expect(&f, "GET /history", NULL, 200, "[]");
    expect(&f, "GET /failsafe", NULL, 502, NULL);
    expect(&f, "GET /cluster", NULL, 503, NULL);
    expect(&f, "GET /patroni", NULL, 200, "\"cluster_unlocked\": true");
    expect(&f, "PATCH /config", "{\"ttl\": 5}", 503, NULL);
    expect(&f, "POST /switchover", "{\"leader\": \"n1\"}", 503, NULL);
    expect(&f, "POST /failsafe", "{\"name\": \"n9\"}", 502, NULL);
    expect(&f, "DELETE /switchover", NULL, 404, "no switchover is scheduled");
    teardown(&f);
}

static void test_metrics(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "patroni_version{scope=\"demo\",name=\"n1\"} 040104\n",
        "# TYPE patroni_xlog_location counter\n"
        "patroni_xlog_location{scope=\"demo\",name=\"n1\"} 50331904\n",
        "patroni_postmaster_start_time{scope=\"demo\",name=\"n1\"} 1795435200.500\n",
        "patroni_primary{scope=\"demo\",name=\"n1\"} 1\n",
        "patroni_failsafe_member{scope=\"demo\",name=\"n1\"} 1\n",
        "# TYPE patroni_postgres_state gauge\n"
        "patroni_postgres_state{scope=\"demo\",name=\"n1\"} 5\n",
        "patroni_failover_priority{scope=\"demo\",name=\"n1\"} 1\n",
    };
    static struct fixture f;
    setup(&f, NULL);
    str_copy_cut(f.view.postgres.postmaster_start_time, 48, "2026-11-23 12:00:00.500000+00:00");
    struct raw raw;
    raw_get(&f, &raw, "GET /metrics");
    assert_int_equal(raw_status(&raw), 200);
    const char *at = raw.text;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        at = strstr(raw.text, lines[i]);
        if (at == NULL) {
            fail_msg("%s not in %s", lines[i], raw.text);
        }
    }
    teardown(&f);
}

/* ---- access ---- */

static void test_authentication(void **state)
{
    (void)state;
    static struct fixture f;
    struct rest_options options = base_options(&f);
    options.user_pass = "admin:secret";
    setup(&f, &options);
    struct raw raw;
    expect(&f, "GET /patroni", NULL, 200, NULL);
    expect(&f, "POST /reload", "", 401, "no auth header received");
    static const char *const unsafe[] = {
        "PATCH /config",  "PUT /config",        "POST /switchover",      "POST /failover",
        "POST /failsafe", "DELETE /switchover", "POST /holdfast/promise"};
    for (size_t i = 0; i < sizeof unsafe / sizeof unsafe[0]; i++) {
        expect(&f, unsafe[i], "{\"a\": 1}", 401, NULL);
    }
    static const char *const wrong[] = {"Basic YWRtaW46c2VjcmV0eA==", "Basic YWRtaW46c2VjcmVu",
                                        "Basic ", "Bearer YWRtaW46c2VjcmV0"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char header[100];
        (void)snprintf(header, sizeof header, "Authorization: %s\r\n", wrong[i]);
        raw_ask(&f, &raw, "POST /reload", header, "");
        WAIT_FOR(&f, raw_ended(&raw));
        assert_int_equal(raw_status(&raw), 401);
        assert_string_equal(raw_body(&raw), "not authenticated");
        assert_non_null(strstr(raw.text, "\r\nWWW-Authenticate: Basic realm=\"Patroni\"\r\n"));
    }
    assert_int_equal(f.reloads, 0);
    raw_ask(&f, &raw, "POST /reload", "Authorization: Basic YWRtaW46c2VjcmV0\r\n", "");
    WAIT_FOR(&f, raw_ended(&raw));
    assert_int_equal(raw_status(&raw), 202);
    assert_string_equal(raw_body(&raw), "reload scheduled");
    assert_int_equal(f.reloads, 1);
    teardown(&f);
}

static void test_allowlist(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    struct err_detail detail = {0};
    struct rest_options options = base_options(&f);
    static const struct {
        const char *entry;
        int status;
    } rows[] = {{"127.0.0.1", 202},    {"127.0.0.0/8", 202},      {"127.0.0.2/31", 403},
                {"127.0.0.0/31", 202}, {"10.0.0.0/8", 403},       {"0.0.0.0/0", 202},
                {"::/0", 202},         {"::ffff:127.0.0.1", 202}, {"fe80::/10", 403}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        options.allowlist = &rows[i].entry;
        options.allowlist_count = 1;
        options.listen_port = rest_port(f.rest);
        assert_int_equal(rest_reconfigure(f.rest, &options, &detail), ERR_OK);
        expect(&f, "POST /reload", "", rows[i].status,
               rows[i].status == 403 ? "Access is denied" : NULL);
        expect(&f, "GET /patroni", NULL, 200, NULL);
    }
    static const char *const bad[] = {"", "localhost", "10.0.0.0/33", "10.0.0.0/x", "::/129"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        options.allowlist = &bad[i];
        assert_int_equal(rest_reconfigure(f.rest, &options, &detail), ERR_INVALID);
        assert_non_null(strstr(detail.text, "restapi.allowlist"));
    }
    /* Members: by the addresses of their api_url; not for what peers say without a store. */
    options.allowlist_count = 0;
    options.allowlist_include_members = true;
    assert_int_equal(rest_reconfigure(f.rest, &options, &detail), ERR_OK);
    expect(&f, "POST /reload", "", 202, NULL);
    for (int i = 0; i < 3; i++) {
        str_copy_cut(f.members[i].info.api_url, URL_SIZE,
                     i == 0 ? "http://[::1]:8008/" : "http://x/");
    }
    expect(&f, "POST /reload", "", 403, NULL);
    expect(&f, "POST /holdfast/promise", "{}", 400, NULL);
    teardown(&f);
}

static void test_bodies(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    expect(&f, "PATCH /config", NULL, 411, NULL);
    expect(&f, "PATCH /config", "", 400, NULL);
    expect(&f, "PATCH /config", "{}", 400, NULL);
    expect(&f, "PATCH /config", "[1]", 400, NULL);
    expect(&f, "PATCH /config", "{\"a\": ", 400, NULL);
    expect(&f, "PUT /config", "null", 400, NULL);
    expect(&f, "POST /switchover", "leader=n1", 400, NULL);
    expect(&f, "POST /holdfast/promise", "{\"holder\": \"n2\"}", 400, "epoch");
    assert_int_equal(f.configs + f.failovers + f.promises, 0);
    teardown(&f);
}

/* ---- promises ---- */

static void test_promise(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    for (unsigned granted = 0; granted < 2; granted++) {
        struct raw raw;
        raw_ask(&f, &raw, "POST /holdfast/promise", "",
                "{\"holder\": \"n2\", \"epoch\": 9, \"ttl_ms\": 5000}");
        WAIT_FOR(&f, f.promises == granted + 1);
        assert_string_equal(f.promise.holder, "n2");
        assert_int_equal(f.promise.epoch, 9);
        assert_int_equal(f.promise.ttl_ms, 5000);
        expect(&f, "GET /patroni", NULL, 200, NULL); /* nobody else waits */
        assert_false(raw_ended(&raw));
        rest_answer_promise(f.rest, f.id, granted == 1);
        rest_answer_promise(f.rest, f.id, true); /* over */
        WAIT_FOR(&f, raw_ended(&raw));
        assert_string_equal(raw_body(&raw), granted == 1
                                                ? "{\"granted\": true, \"name\": \"n1\"}"
                                                : "{\"granted\": false, \"name\": \"n1\"}");
    }
    struct raw late;
    raw_ask(&f, &late, "POST /holdfast/promise", "",
            "{\"holder\": \"n2\", \"epoch\": 9, \"ttl_ms\": 50}");
    WAIT_FOR(&f, raw_ended(&late));
    assert_int_equal(raw_status(&late), 503);
    rest_answer_promise(f.rest, f.id, true); /* given up: nothing happens */
    teardown(&f);
}

static void test_orders_are_bounded(void **state)
{
    (void)state;
    enum { COUNT = 70 };
    static struct fixture f;
    setup(&f, NULL);
    struct raw *raws = calloc(COUNT, sizeof *raws);
    assert_non_null(raws);
    for (int i = 0; i < COUNT; i++) {
        raw_ask(&f, &raws[i], "POST /holdfast/promise", "",
                "{\"holder\": \"n2\", \"epoch\": 9, \"ttl_ms\": 60000}");
    }
    WAIT_FOR(&f, raw_ended(&raws[COUNT - 1]));
    assert_int_equal(raw_status(&raws[COUNT - 1]), 503);
    assert_int_equal(f.promises, 64);
    teardown(&f); /* with 64 under way */
    for (int i = 0; i < COUNT; i++) {
        if (raws[i].fd >= 0) {
            close(raws[i].fd);
        }
    }
    free(raws);
}

static void test_failsafe(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    const char *body = "{\"name\": \"n9\", \"conn_url\": \"postgres://x/\"}";
    expect(&f, "POST /failsafe", body, 500, "Running as a leader");
    str_copy_cut(f.view.postgres.role, sizeof f.view.postgres.role, "replica");
    struct raw raw;
    raw_ask(&f, &raw, "POST /failsafe", "", body);
    WAIT_FOR(&f, raw_ended(&raw));
    assert_string_equal(raw_body(&raw), "Accepted");
    assert_null(strstr(raw.text, "lsn"));
    f.view.postgres.received_lsn = 77;
    raw_ask(&f, &raw, "POST /failsafe", "", body);
    WAIT_FOR(&f, raw_ended(&raw));
    assert_int_equal(raw_status(&raw), 200);
    assert_non_null(strstr(raw.text, "\r\nlsn: 77\r\n"));
    assert_int_equal(f.heard, 2);
    f.cluster.settings.failsafe_mode = false;
    expect(&f, "POST /failsafe", body, 502, NULL);
    teardown(&f);
}

/* ---- /config ---- */

static void config_case(struct fixture *f, const char *request, const char *body, enum err err,
                        struct raw *out)
{
    unsigned before = f->configs;
    raw_ask(f, out, request, "", body);
    WAIT_FOR(f, f->configs == before + 1);
    rest_done(f->rest, f->id, err, 51);
    WAIT_FOR(f, raw_ended(out));
}

static void test_config(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    struct raw raw;
    const char *patch = "{\"ttl\": 20, \"postgresql\": {\"parameters\": {\"work_mem\": null, "
                        "\"jit\": \"off\"}}, \"gone\": null}";
    config_case(&f, "PATCH /config", patch, ERR_OK, &raw);
    assert_int_equal(raw_status(&raw), 200);
    assert_string_equal(raw_body(&raw),
                        "{\"ttl\": 20, \"postgresql\": {\"parameters\": {\"jit\": \"off\"}}}");
    assert_string_equal(f.config, "{\"ttl\":20,\"postgresql\":{\"parameters\":{\"jit\":\"off\"}}}");
    assert_true(f.conditional);
    assert_int_equal(f.version, 7);
    config_case(&f, "PATCH /config", patch, ERR_CONFLICT, &raw);
    assert_int_equal(raw_status(&raw), 409);
    config_case(&f, "PATCH /config", patch, ERR_UNREACHABLE, &raw);
    assert_int_equal(raw_status(&raw), 503);
    unsigned before = f.configs;
    expect(&f, "PATCH /config", "{\"ttl\": \"30\", \"no\": null}", 200,
           "{\"ttl\": 30, \"postgresql");
    assert_int_equal(f.configs, before); /* nothing to write */
    config_case(&f, "PUT /config", "{\"ttl\":  5}", ERR_OK, &raw);
    assert_int_equal(raw_status(&raw), 200);
    assert_string_equal(raw_body(&raw), "{\"ttl\": 5}");
    assert_false(f.conditional);
    config_case(&f, "PUT /config", "{\"ttl\": 5}", ERR_IN_DOUBT, &raw);
    assert_int_equal(raw_status(&raw), 502);
    before = f.configs;
    expect(&f, "PUT /config", f.view.config_text, 200, NULL);
    assert_int_equal(f.configs, before);
    teardown(&f);
}

/* ---- switchover ---- */

static void test_switchover_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        const char *body;
        int status;
        const char *text;
        char mode; /* p paused, s synchronous with n3 in it, e synchronous with nobody, a alone */
    } rows[] = {
        {"POST /failover", "{\"leader\": \"n1\"}", 400,
         "Failover could be performed only to a specific candidate", ' '},
        {"POST /switchover", "{\"candidate\": \"n2\"}", 400,
         "Switchover could be performed only from a specific leader", ' '},
        {"POST /failover", "{\"candidate\": \"n2\", \"scheduled_at\": \"2099-01-01T00:00:00Z\"}",
         400, "Failover can't be scheduled", ' '},
        {"POST /switchover", "{\"leader\": \"n1\", \"scheduled_at\": \"2099-01-01T00:00:00Z\"}",
         400, "Can't schedule switchover in the paused state", 'p'},
        {"POST /switchover", "{\"leader\": \"n1\", \"scheduled_at\": \"2099-01-01T00:00:00\"}", 400,
         "Timezone information is mandatory for the scheduled switchover", ' '},
        {"POST /switchover", "{\"leader\": \"n1\", \"scheduled_at\": \"2001-01-01T00:00:00Z\"}",
         422, "Cannot schedule switchover in the past", ' '},
        {"POST /switchover", "{\"leader\": \"n1\", \"scheduled_at\": \"tomorrow\"}", 422,
         "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO "
         "8601",
         ' '},
        {"POST /switchover", "{\"leader\": \"n1\"}", 400,
         "Switchover is possible only to a specific candidate in a paused state", 'p'},
        {"POST /switchover", "{\"leader\": \"n1\", \"candidate\": \"n1\"}", 400,
         "Switchover target and source are the same", ' '},
        {"POST /switchover", "{\"leader\": \"n2\"}", 412, "leader name does not match", ' '},
        {"POST /failover", "{\"leader\": \"n2\", \"candidate\": \"n3\"}", 412,
         "leader name does not match", ' '},
        {"POST /switchover", "{\"leader\": \"n1\", \"candidate\": \"n2\"}", 412,
         "candidate name does not match with sync_standby", 's'},
        {"POST /switchover", "{\"leader\": \"n1\", \"member\": \"n7\"}", 412,
         "candidate does not exists", ' '},
        {"POST /switchover", "{\"leader\": \"n1\"}", 412,
         "switchover is not possible: can not find sync_standby", 'e'},
        {"POST /switchover", "{\"leader\": \"n1\"}", 412,
         "switchover is not possible: cluster does not have members except leader", 'a'},
    };
    static struct fixture f;
    setup(&f, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char mode = rows[i].mode;
        f.cluster.settings.pause = mode == 'p';
        f.view.synchronous_mode = mode == 's' || mode == 'e';
        f.view.sync.standbys.count = mode == 's';
        str_copy_cut(f.view.sync.standbys.name[0], NAME_SIZE, "n3");
        f.view.member_count = mode == 'a' ? 1 : 3;
        expect(&f, rows[i].request, rows[i].body, rows[i].status, rows[i].text);
    }
    assert_int_equal(f.failovers, 0);
    teardown(&f);
}

static void test_no_good_candidate(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "", "{\"role\": \"replica\"}",
        "{\"xlog\": {\"received_location\": 5}, \"tags\": {\"nofailover\": true}}",
        "{\"xlog\": {\"received_location\": 5}, \"watchdog_failed\": true}"};
    static struct fixture f;
    setup(&f, NULL);
    for (size_t i = 0; i < 4; i++) {
        f.peer_answer = answers[i];
        expect(&f, "POST /switchover", "{\"leader\": \"n1\"}", 412,
               "switchover is not possible: no good candidates have been found");
        expect(&f, "POST /failover", "{\"candidate\": \"n2\"}", 412,
               "failover is not possible: no good candidates have been found");
    }
    assert_int_equal(f.failovers, 0);
    teardown(&f);
}

/* In a pause only the leader itself can carry a switchover out, and no lease of a dead one ends. */
static void test_a_dead_leader_in_a_pause(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    f.cluster.settings.pause = true;
    str_copy_cut(f.cluster.leader.name, NAME_SIZE, "n3");
    static const char body[] = "{\"leader\": \"n3\", \"candidate\": \"n2\"}";
    static const char text[] =
        "switchover is not possible: leader n3 does not answer, and the cluster is paused, so "
        "nobody would carry it out; make n2 the leader without it: holdfast ctl failover "
        "--candidate n2";
    str_copy_cut(f.members[2].info.api_url, URL_SIZE, "http://127.0.0.1:1/"); /* nobody there */
    expect(&f, "POST /switchover", body, 412, text);
    expect(&f, "POST /failover", body, 412, text); /* with a leader it is a switchover */
    f.members[2].info.api_url[0] = '\0';
    expect(&f, "POST /switchover", body, 412, text);
    f.view.member_count = 2; /* its member key is gone */
    expect(&f, "POST /switchover", body, 412, text);
    assert_int_equal(f.failovers, 0);
    /* What the text advises is taken. */
    struct raw raw;
    raw_ask(&f, &raw, "POST /failover", "", "{\"candidate\": \"n2\"}");
    WAIT_FOR(&f, f.failovers == 1);
    rest_done(f.rest, f.id, ERR_REFUSED, 0);
    WAIT_FOR(&f, raw_ended(&raw));
    /* A leader that answers is given the order. */
    f.view.member_count = 3;
    str_copy_cut(f.members[2].info.api_url, URL_SIZE, f.members[1].info.api_url);
    raw_ask(&f, &raw, "POST /switchover", "", body);
    WAIT_FOR(&f, f.failovers == 2);
    rest_done(f.rest, f.id, ERR_REFUSED, 0);
    WAIT_FOR(&f, raw_ended(&raw));
    teardown(&f);
}

static void begin_switchover(struct fixture *f, struct raw *raw, const char *request,
                             const char *body)
{
    unsigned before = f->failovers;
    raw_ask(f, raw, request, "", body);
    WAIT_FOR(f, f->failovers == before + 1);
}

static void order_in_store(struct fixture *f)
{
    f->cluster.failover = f->failover;
    f->cluster.revision++;
}

static void test_switchover_succeeds(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        const char *body;
        const char *text;
    } rows[] = {
        {"POST /switchover", "{\"leader\": \"n1\"}", "Successfully switched over to \"n2\""},
        {"POST /switchover", "{\"leader\": \"n1\", \"candidate\": \"n2\"}",
         "Successfully switched over to \"n2\""},
        {"POST /switchover", "{\"leader\": \"n1\", \"candidate\": \"n3\"}",
         "Switched over to \"n2\" instead of \"n3\""},
        {"POST /failover", "{\"leader\": \"n1\", \"candidate\": \"n2\"}",
         "Successfully switched over to \"n2\""},
        {"POST /failover", "{\"candidate\": \"n2\"}", "Successfully failed over to \"n2\""},
        {"POST /failover", "{\"candidate\": \"n3\"}", "Failed over to \"n2\" instead of \"n3\""},
    };
    static struct fixture f;
    setup(&f, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct raw raw;
        begin_switchover(&f, &raw, rows[i].request, rows[i].body);
        assert_int_equal(f.failover.scheduled_at.ms, 0);
        rest_changed(f.rest); /* not written yet: means nothing */
        rest_done(f.rest, f.id, i % 2 == 0 ? ERR_OK : ERR_IN_DOUBT,
                  i % 2 == 0 ? f.cluster.revision + 1 : 0);
        order_in_store(&f);
        rest_changed(f.rest);
        f.cluster.leader.name[0] = '\0'; /* between the leaders, the order is gone already */
        memset(&f.cluster.failover, 0, sizeof f.cluster.failover);
        rest_changed(f.rest);
        assert_false(raw_ended(&raw));
        str_copy_cut(f.cluster.leader.name, NAME_SIZE, "n2");
        rest_changed(f.rest);
        WAIT_FOR(&f, raw_ended(&raw));
        assert_int_equal(raw_status(&raw), 200);
        assert_string_equal(raw_body(&raw), rows[i].text);
        str_copy_cut(f.cluster.leader.name, NAME_SIZE, "n1");
    }
    teardown(&f);
}

static void test_switchover_fails(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    struct raw raw;
    const char *body = "{\"leader\": \"n1\", \"candidate\": \"n2\"}";
    begin_switchover(&f, &raw, "POST /switchover", body);
    rest_done(f.rest, f.id, ERR_REFUSED, 0);
    WAIT_FOR(&f, raw_ended(&raw));
    assert_int_equal(raw_status(&raw), 503);
    assert_string_equal(raw_body(&raw), "failed to write failover key into DCS");

    begin_switchover(&f, &raw, "POST /switchover", body);
    rest_done(f.rest, f.id, ERR_OK, 60);
    rest_changed(f.rest); /* the view is older than the write */
    assert_false(raw_ended(&raw));
    order_in_store(&f);
    rest_changed(f.rest);
    memset(&f.cluster.failover, 0, sizeof f.cluster.failover);
    rest_changed(f.rest);
    WAIT_FOR(&f, raw_ended(&raw));
    assert_int_equal(raw_status(&raw), 503);
    assert_string_equal(raw_body(&raw), "Switchover failed");

    /* Written and emptied between two views. */
    begin_switchover(&f, &raw, "POST /failover", "{\"candidate\": \"n2\"}");
    rest_done(f.rest, f.id, ERR_OK, 70);
    f.cluster.revision = 71;
    rest_changed(f.rest);
    WAIT_FOR(&f, raw_ended(&raw));
    assert_string_equal(raw_body(&raw), "Failover failed");
    teardown(&f);
}

static void test_one_good_candidate_is_enough(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    str_copy_cut(f.members[2].info.api_url, URL_SIZE, "http://127.0.0.1:1/"); /* nobody there */
    struct raw raw;
    begin_switchover(&f, &raw, "POST /switchover", "{\"leader\": \"n1\"}");
    assert_string_equal(f.failover.leader, "n1");
    assert_string_equal(f.failover.candidate, "");
    rest_done(f.rest, f.id, ERR_UNREACHABLE, 0);
    WAIT_FOR(&f, raw_ended(&raw));
    assert_int_equal(raw_status(&raw), 503);
    /* A silent one, and the end while it is asked. */
    f.peer_answer = NULL;
    raw_ask(&f, &raw, "POST /failover", "", "{\"candidate\": \"n2\"}");
    WAIT_FOR(&f, f.peer_held != NULL);
    teardown(&f);
    close(raw.fd);
}

static void test_schedule_and_withdraw(void **state)
{
    (void)state;
    static struct fixture f;
    setup(&f, NULL);
    struct raw raw;
    begin_switchover(&f, &raw, "POST /switchover",
                     "{\"leader\": \"n1\", \"scheduled_at\": \"2099-01-01T01:00:00+01:00\"}");
    assert_int_equal(f.failover.scheduled_at.ms, 4070908800000);
    rest_done(f.rest, f.id, ERR_OK, 51);
    WAIT_FOR(&f, raw_ended(&raw));
    assert_int_equal(raw_status(&raw), 202);
    assert_string_equal(raw_body(&raw), "Switchover scheduled");
    f.failover.version = 33;
    order_in_store(&f);
    static const struct {
        enum err err;
        int status;
    } rows[] = {{ERR_CONFLICT, 409}, {ERR_UNREACHABLE, 503}, {ERR_OK, 200}};
    for (size_t i = 0; i < 3; i++) {
        begin_switchover(&f, &raw, "DELETE /switchover", NULL);
        assert_string_equal(f.failover.leader, "");
        assert_int_equal(f.failover.version, 33);
        rest_done(f.rest, f.id, rows[i].err, 0);
        WAIT_FOR(&f, raw_ended(&raw));
        assert_int_equal(raw_status(&raw), rows[i].status);
    }
    assert_string_equal(raw_body(&raw), "scheduled switchover deleted");
    memset(&f.cluster.failover, 0, sizeof f.cluster.failover);
    expect(&f, "DELETE /switchover", NULL, 404, "no switchover is scheduled");
    teardown(&f);
}

/* ---- options ---- */

static void test_options(void **state)
{
    (void)state;
    static struct fixture f;
    static const char *const names[] = {"X-Frame-Options"};
    static const char *const values[] = {"DENY"};
    struct rest_options options = base_options(&f);
    options.server_header = "Patroni/4.1.4";
    options.header_names = names;
    options.header_values = values;
    options.header_count = 1;
    setup(&f, &options);
    struct raw raw;
    raw_get(&f, &raw, "GET /patroni");
    assert_non_null(strstr(raw.text, "\r\nServer: Patroni/4.1.4\r\n"));
    assert_non_null(strstr(raw.text, "\r\nX-Frame-Options: DENY\r\n"));
    struct err_detail detail = {0};
    struct rest *second = NULL;
    options = base_options(&f);
    options.listen_port = rest_port(f.rest);
    assert_int_equal(rest_create(&f.loop, &options, &callbacks, &f, &second, &detail), ERR_REFUSED);
    assert_non_null(strstr(detail.text, "restapi.listen"));
    assert_null(second);
    options.header_count = 9;
    assert_int_equal(rest_reconfigure(f.rest, &options, &detail), ERR_INVALID);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_route),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_cluster),
        cmocka_unit_test(test_what_is_absent),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_authentication),
        cmocka_unit_test(test_allowlist),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_promise),
        cmocka_unit_test(test_orders_are_bounded),
        cmocka_unit_test(test_failsafe),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_switchover_refusals),
        cmocka_unit_test(test_no_good_candidate),
        cmocka_unit_test(test_a_dead_leader_in_a_pause),
        cmocka_unit_test(test_switchover_succeeds),
        cmocka_unit_test(test_switchover_fails),
        cmocka_unit_test(test_one_good_candidate_is_enough),
        cmocka_unit_test(test_schedule_and_withdraw),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
