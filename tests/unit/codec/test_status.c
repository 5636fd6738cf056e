/* The document of GET /patroni, letter by letter, and what a peer makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/status.h"

static void assert_document(const struct status_document *document, const char *expected)
{
    json_t *json = status_write(document);
    char *text = json_dumps(json, STATUS_JSON_FLAGS);
    assert_string_equal(text, expected);
    free(text);
    json_decref(json);
}

static struct status_postgres primary(void)
{
    return (struct status_postgres){
        .answered = true,
        .process = true,
        .state = "running",
        .role = "primary",
        .server_version = 150018,
        .postmaster_start_time = "2026-11-23 12:00:00.123456+00:00",
        .flush_lsn = 83886080,
        .timeline = 3,
        .sysid = 7300000000000000001,
    };
}

static struct status_postgres replica(void)
{
    return (struct status_postgres){
        .answered = true,
        .process = true,
        .state = "running",
        .role = "replica",
        .server_version = 150018,
        .postmaster_start_time = "2026-11-23 12:00:00.123456+00:00",
        .received_lsn = 200,
        .replayed_lsn = 100,
        .replication_state = "streaming",
        .timeline = 3,
        .sysid = 7300000000000000001,
    };
}

static void test_primary(void **state)
{
    (void)state;
    struct status_postgres postgres = primary();
    postgres.replication_json =
        "[{\"usename\":\"rep\",\"application_name\":\"n2\",\"client_addr\":\"10.0.0.2\","
        "\"state\":\"streaming\",\"sync_state\":\"sync\",\"sync_priority\":1}, \n "
        "{\"usename\":\"rep\",\"application_name\":\"n3\",\"client_addr\":null,"
        "\"state\":\"catchup\",\"sync_state\":\"async\",\"sync_priority\":0}]";
    postgres.pending_restart_json = "{\"max_connections\": {\"old_value\": \"100\", "
                                    "\"new_value\": \"200\"}}";
    struct status_document document = {
        .postgres = &postgres,
        .scope = "demo",
        .name = "n1",
        .version = "4.1.4",
        .tags_json = "{\"nofailover\":true,\"weight\":1.4,\"ort\":\"K\303\266ln\"}",
        .sync_standby = true, /* not shown for a primary */
        .pause = true,
        .dcs_last_seen_s = 1795435200,
    };
    assert_document(
        &document,
        "{\"state\": \"running\", \"postmaster_start_time\": \"2026-11-23 12:00:00.123456+00:00\", "
        "\"role\": \"primary\", \"server_version\": 150018, \"xlog\": {\"location\": 83886080}, "
        "\"timeline\": 3, \"replication\": [{\"usename\": \"rep\", \"application_name\": \"n2\", "
        "\"client_addr\": \"10.0.0.2\", \"state\": \"streaming\", \"sync_state\": \"sync\", "
        "\"sync_priority\": 1}, {\"usename\": \"rep\", \"application_name\": \"n3\", "
        "\"client_addr\": null, \"state\": \"catchup\", \"sync_state\": \"async\", "
        "\"sync_priority\": 0}], \"pause\": true, \"dcs_last_seen\": 1795435200, \"tags\": "
        "{\"nofailover\": true, \"weight\": 1.4, \"ort\": \"K\\u00F6ln\"}, "
        "\"database_system_identifier\": \"7300000000000000001\", "
        "\"pending_restart\": true, \"pending_restart_reason\": {\"max_connections\": "
        "{\"old_value\": \"100\", \"new_value\": \"200\"}}, "
        "\"patroni\": {\"version\": \"4.1.4\", \"scope\": \"demo\", \"name\": \"n1\"}}");
}

static void test_replica(void **state)
{
    (void)state;
    struct status_postgres postgres = replica();
    struct status_document document = {
        .postgres = &postgres,
        .scope = "demo",
        .name = "n2",
        .version = "4.1.4",
        .sync_standby = true,
        .cluster_unlocked = true,
        .failsafe_active = true,
        .watchdog_failed = true,
    };
    assert_document(
        &document,
        "{\"state\": \"running\", \"postmaster_start_time\": \"2026-11-23 12:00:00.123456+00:00\", "
        "\"role\": \"replica\", \"server_version\": 150018, \"xlog\": {\"received_location\": 200, "
        "\"replayed_location\": 100, \"replayed_timestamp\": null, \"paused\": false}, "
        "\"sync_standby\": true, \"timeline\": 3, \"replication_state\": \"streaming\", "
        "\"cluster_unlocked\": true, \"failsafe_mode_is_active\": true, \"dcs_last_seen\": 0, "
        "\"database_system_identifier\": \"7300000000000000001\", "
        "\"patroni\": {\"version\": \"4.1.4\", \"scope\": \"demo\", \"name\": \"n2\"}, "
        "\"watchdog_failed\": true}");
    postgres.received_lsn = 0; /* then what was replayed counts as received */
    (void)snprintf(postgres.replayed_timestamp, sizeof postgres.replayed_timestamp,
                   "2026-11-23 12:00:01+00:00");
    postgres.replay_paused = true;
    json_t *json = status_write(&document);
    const json_t *xlog = json_object_get(json, "xlog");
    assert_int_equal(json_integer_value(json_object_get(xlog, "received_location")), 100);
    assert_string_equal(json_string_value(json_object_get(xlog, "replayed_timestamp")),
                        "2026-11-23 12:00:01+00:00");
    assert_true(json_is_true(json_object_get(xlog, "paused")));
    json_decref(json);
}

static void test_server_that_does_not_answer(void **state)
{
    (void)state;
    struct status_postgres postgres = primary();
    postgres.answered = false;
    postgres.sysid = 0;
    struct status_document document = {.postgres = &postgres,
                                       .scope = "demo",
                                       .name = "n1",
                                       .version = "4.1.4",
                                       .tags_json = "{}",
                                       .show_role = "standby_leader"};
    assert_document(
        &document, "{\"state\": \"unknown\", \"role\": \"standby_leader\", \"dcs_last_seen\": 0, "
                   "\"patroni\": {\"version\": \"4.1.4\", \"scope\": \"demo\", \"name\": \"n1\"}}");
    (void)snprintf(postgres.state, sizeof postgres.state, "starting");
    assert_string_equal(status_state(&postgres), "starting");
}

static void test_text_that_is_not_utf8(void **state)
{
    (void)state;
    struct status_postgres postgres = primary();
    (void)snprintf(postgres.state, sizeof postgres.state, "lot \xe9t\xe9");
    struct status_document document = {
        .postgres = &postgres, .scope = "demo", .name = "n1", .version = "1", .tags_json = "[1"};
    json_t *json = status_write(&document);
    assert_string_equal(json_string_value(json_object_get(json, "state")), "lot ?t?");
    assert_null(json_object_get(json, "tags"));
    json_decref(json);
}

static struct core_peer_status parsed(const char *text)
{
    struct core_peer_status status = {.name = "n7", .asked_at = {5}, .lsn = 99, .timeline = 99};
    status_parse(text, strlen(text), &status);
    assert_string_equal(status.name, "n7"); /* the caller's */
    assert_int_equal(status.asked_at.ms, 5);
    return status;
}

static void test_own_documents_are_understood(void **state)
{
    (void)state;
    struct status_postgres servers[] = {primary(), replica()};
    for (int i = 0; i < 2; i++) {
        struct status_document document = {.postgres = &servers[i],
                                           .scope = "demo",
                                           .name = "n7",
                                           .version = "4.1.4",
                                           .tags_json = "{\"failover_priority\": 3}"};
        json_t *json = status_write(&document);
        char *text = json_dumps(json, STATUS_JSON_FLAGS);
        struct core_peer_status status = parsed(text);
        assert_int_equal(status.reachable, TRI_YES);
        assert_int_equal(status.primary, i == 0);
        assert_int_equal(status.lsn, i == 0 ? 83886080 : 200);
        assert_int_equal(status.timeline, 3);
        assert_int_equal(status.failover_priority, 3);
        assert_false(status.nofailover);
        free(text);
        json_decref(json);
    }
}

static void test_peers_answers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum tri reachable;
        bool primary;
        bool nofailover;
        int priority;
        uint64_t lsn;
        uint32_t timeline;
    } rows[] = {
        {"", TRI_NO, false, false, 1, 0, 0},
        {"[]", TRI_NO, false, false, 1, 0, 0},
        {"{\"role\": \"primary\"}", TRI_NO, false, false, 1, 0, 0}, /* no position */
        {"{\"role\": \"primary\", \"xlog\": 5}", TRI_NO, false, false, 1, 0, 0},
        {"{\"role\": \"master\", \"xlog\": {\"location\": 0}}", TRI_YES, true, false, 1, 0, 0},
        {"{\"role\": \"replica\", \"wal\": {\"location\": 7}, \"timeline\": 2}", TRI_YES, true,
         false, 1, 7, 2},
        {"{\"xlog\": {\"received_location\": 5, \"replayed_location\": 9}}", TRI_YES, false, false,
         1, 9, 0},
        {"{\"xlog\": {\"received_location\": -5}, \"timeline\": -1}", TRI_YES, false, false, 1, 0,
         0},
        {"{\"xlog\": {\"received_location\": \"5\"}, \"timeline\": 5000000000}", TRI_YES, false,
         false, 1, 0, 0},
        {"{\"xlog\": {}, \"tags\": {\"nofailover\": true, \"failover_priority\": 9}}", TRI_YES,
         false, true, 0, 0, 0},
        {"{\"xlog\": {}, \"tags\": {\"nofailover\": false, \"failover_priority\": 0}}", TRI_YES,
         false, false, 0, 0, 0},
        {"{\"xlog\": {}, \"tags\": {\"nofailover\": \"false\"}}", TRI_YES, false, false, 1, 0, 0},
        {"{\"xlog\": {}, \"tags\": {\"nofailover\": \"yes\"}}", TRI_YES, false, true, 0, 0, 0},
        {"{\"xlog\": {}, \"tags\": {\"nofailover\": 1}}", TRI_YES, false, true, 0, 0, 0},
        {"{\"xlog\": {}, \"tags\": {\"nofailover\": null, \"failover_priority\": \"2\"}}", TRI_YES,
         false, false, 2, 0, 0},
        {"{\"xlog\": {}, \"tags\": {\"failover_priority\": -1}}", TRI_YES, false, true, 0, 0, 0},
        {"{\"xlog\": {}, \"tags\": {\"failover_priority\": 9999999999}}", TRI_YES, false, false,
         INT32_MAX, 0, 0},
        {"{\"xlog\": {}, \"tags\": \"nofailover\"}", TRI_YES, false, false, 1, 0, 0},
        {"{\"xlog\": {}, \"watchdog_failed\": true}", TRI_YES, false, true, 1, 0, 0},
        {"{\"xlog\": {}} rubbish", TRI_NO, false, false, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct core_peer_status status = parsed(rows[i].text);
        assert_int_equal(status.reachable, rows[i].reachable);
        assert_int_equal(status.primary, rows[i].primary);
        assert_int_equal(status.nofailover, rows[i].nofailover);
        assert_int_equal(status.failover_priority, rows[i].priority);
        assert_int_equal(status.lsn, rows[i].lsn);
        assert_int_equal(status.timeline, rows[i].timeline);
    }
}

static void test_promise_request(void **state)
{
    (void)state;
    struct core_promise_request request = {
        .request_id = 4, .holder = "n1", .epoch = 12, .ttl_ms = 5000};
    char *text = status_promise_ask(&request);
    assert_string_equal(text, "{\"holder\": \"n1\", \"epoch\": 12, \"ttl_ms\": 5000}");
    struct core_promise_request back = {.request_id = 77};
    assert_int_equal(status_promise_read_ask(text, strlen(text), &back, NULL), ERR_OK);
    assert_int_equal(back.request_id, 77);
    assert_string_equal(back.holder, "n1");
    assert_int_equal(back.epoch, 12);
    assert_int_equal(back.ttl_ms, 5000);
    free(text);
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"holder\": \"\", \"epoch\": 1, \"ttl_ms\": 1}",
        "{\"holder\": 5, \"epoch\": 1, \"ttl_ms\": 1}",
        ("{\"holder\": \"n123456789012345678901234567890123456789012345678901234567890123\", "
         "\"epoch\": 1, \"ttl_ms\": 1}"),
        "{\"holder\": \"n\", \"epoch\": 0, \"ttl_ms\": 1}",
        "{\"holder\": \"n\", \"epoch\": -1, \"ttl_ms\": 1}",
        "{\"holder\": \"n\", \"epoch\": \"1\", \"ttl_ms\": 1}",
        "{\"holder\": \"n\", \"epoch\": 1, \"ttl_ms\": 0}",
        "{\"holder\": \"n\", \"epoch\": 1, \"ttl_ms\": 86400001}",
        "{\"holder\": \"n\", \"epoch\": 1}",
        "{\"holder\": \"n\", \"epoch\": 1, \"epoch\": 2, \"ttl_ms\": 1}",
        "{\"holder\": \"n\", \"epoch\": 1, \"ttl_ms\": 1}x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err_detail detail = {0};
        assert_int_equal(status_promise_read_ask(bad[i], strlen(bad[i]), &back, &detail),
                         ERR_INVALID);
        assert_true(detail.text[0] != '\0');
    }
    assert_string_equal(back.holder, "n1"); /* untouched */
}

static void test_promise_answer(void **state)
{
    (void)state;
    struct status_promise_answer answer = {.granted = true, .name = "n2"};
    char *text = status_promise_answer(&answer);
    assert_string_equal(text, "{\"granted\": true, \"name\": \"n2\"}");
    struct status_promise_answer back = {0};
    assert_int_equal(status_promise_read_answer(text, strlen(text), &back), ERR_OK);
    assert_true(back.granted);
    assert_string_equal(back.name, "n2");
    free(text);
    const char *no = "{\"granted\": false, \"name\": \"n3\"}";
    assert_int_equal(status_promise_read_answer(no, strlen(no), &back), ERR_OK);
    assert_false(back.granted);
    static const char *const bad[] = {
        "",
        "Accepted", /* Patroni's answer to its own question is no promise */
        "true",
        "{\"granted\": true}",
        "{\"granted\": \"true\", \"name\": \"n2\"}",
        "{\"granted\": 1, \"name\": \"n2\"}",
        "{\"granted\": true, \"name\": \"\"}",
        "{\"granted\": true, \"granted\": false, \"name\": \"n2\"}",
        "{\"granted\": true, \"name\": \"n2\"",
        ("{\"granted\": true, \"name\": "
         "\"n123456789012345678901234567890123456789012345678901234567890123\"}"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(status_promise_read_answer(bad[i], strlen(bad[i]), &back), ERR_INVALID);
        assert_false(back.granted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_primary),
        cmocka_unit_test(test_replica),
        cmocka_unit_test(test_server_that_does_not_answer),
        cmocka_unit_test(test_text_that_is_not_utf8),
        cmocka_unit_test(test_own_documents_are_understood),
        cmocka_unit_test(test_peers_answers),
        cmocka_unit_test(test_promise_request),
        cmocka_unit_test(test_promise_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
