/* What a member tells of itself is read field by field; garbage leaves the name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/members.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct member_info parse(const char *value)
{
    struct member_info member;
    size_t size = strlen(value);
    char *copy = malloc(size > 0 ? size : 1); /* exactly as long as said */
    assert_non_null(copy);
    memcpy(copy, value, size); /* NOLINT(bugprone-not-null-terminated-result): on purpose */
    member_parse("n1", copy, size, 9, &member);
    free(copy);
    return member;
}

static void test_all_fields(void **state)
{
    (void)state;
    struct member_info m = parse(
        "{\"conn_url\":\"postgres://10.0.0.1:5433/postgres\",\"api_url\":\"http://10.0.0.1:8008/"
        "patroni\",\"proxy_url\":\"postgres://p:6432/postgres\",\"state\":\"running\",\"role\":"
        "\"replica\",\"version\":\"4.1.4\",\"xlog_location\":67108864,\"receive_lsn\":67108864,"
        "\"replay_lsn\":67108000,\"replication_state\":\"streaming\",\"timeline\":3,"
        "\"checkpoint_after_promote\":false,\"pending_restart\":true,\"pause\":true,\"tags\":{"
        "\"nofailover\":true,\"nosync\":\"on\",\"noloadbalance\":1,\"clonefrom\":true,"
        "\"nostream\":true,\"failover_priority\":\"7\",\"replicatefrom\":\"n2\"}}");
    assert_string_equal(m.name, "n1");
    assert_int_equal(m.key_version, 9);
    assert_string_equal(m.conn_url, "postgres://10.0.0.1:5433/postgres");
    assert_string_equal(m.api_url, "http://10.0.0.1:8008/patroni");
    assert_string_equal(m.proxy_url, "postgres://p:6432/postgres");
    assert_string_equal(m.host, "10.0.0.1");
    assert_int_equal(m.port, 5433);
    assert_string_equal(m.state, "running");
    assert_string_equal(m.role, "replica");
    assert_string_equal(m.agent_version, "4.1.4");
    assert_string_equal(m.replication_state, "streaming");
    assert_int_equal(m.xlog_location, 67108864);
    assert_int_equal(m.receive_lsn, 67108864);
    assert_int_equal(m.replay_lsn, 67108000);
    assert_int_equal(m.timeline, 3);
    assert_true(m.checkpoint_pending && m.pending_restart && m.pause);
    assert_true(m.nofailover && m.nosync && m.noloadbalance && m.clonefrom && m.nostream);
    assert_int_equal(m.failover_priority, 7);
    assert_string_equal(m.replicatefrom, "n2");
    struct core_member core;
    member_to_core(&m, &core);
    assert_string_equal(core.name, "n1");
    assert_true(core.has_api_url && core.has_conn_url && core.running && core.nofailover &&
                core.checkpoint_pending);
}

/* What a test changes of a member: each field by itself. */
static void test_same(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "{\"conn_url\":\"postgres://a:1/\"}",
        "{\"api_url\":\"http://a/\"}",
        "{\"proxy_url\":\"postgres://a/\"}",
        "{\"state\":\"running\"}",
        "{\"role\":\"replica\"}",
        "{\"version\":\"4\"}",
        "{\"xlog_location\":1}",
        "{\"receive_lsn\":1}",
        "{\"replay_lsn\":1}",
        "{\"replication_state\":\"streaming\"}",
        "{\"timeline\":3}",
        "{\"checkpoint_after_promote\":false}",
        "{\"pending_restart\":true}",
        "{\"pause\":true}",
        "{\"tags\":{\"nofailover\":true}}",
        "{\"tags\":{\"nosync\":true}}",
        "{\"tags\":{\"noloadbalance\":true}}",
        "{\"tags\":{\"clonefrom\":true}}",
        "{\"tags\":{\"nostream\":true}}",
        "{\"tags\":{\"failover_priority\":7}}",
        "{\"tags\":{\"replicatefrom\":\"n2\"}}",
    };
    struct member_info empty = parse("{}");
    assert_true(member_same(&empty, &empty));
    for (size_t i = 0; i < COUNT(changes); i++) {
        struct member_info changed = parse(changes[i]);
        struct member_info copy;
        memset(&copy, 0xff, sizeof(copy)); /* what stands between the fields is nobody's */
        copy = changed;
        assert_true(member_same(&changed, &copy));
        if (member_same(&empty, &changed)) {
            fail_msg("no difference: %s", changes[i]);
        }
    }
}

static void test_garbage(void **state)
{
    (void)state;
    static const char *const rows[] = {"",
                                       "{",
                                       "[]",
                                       "null",
                                       "5",
                                       "\"text\"",
                                       "{}",
                                       "\xFF\xFE",
                                       ("{\"conn_url\":5,\"state\":[],\"role\":null,\"tags\":7,"
                                        "\"timeline\":\"x\",\"xlog_location\":-4}")};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct member_info m = parse(rows[i]);
        struct member_info empty = {.key_version = 9, .failover_priority = 1};
        memcpy(empty.name, "n1", 3);
        assert_memory_equal(&m, &empty, sizeof(m));
        struct core_member core;
        member_to_core(&m, &core);
        assert_false(core.has_api_url || core.has_conn_url || core.running || core.nofailover);
    }
    struct member_info gone;
    member_parse("n1", NULL, 0, 0, &gone);
    assert_string_equal(gone.name, "n1");
    assert_int_equal(gone.key_version, 0);
}

static void test_what_does_not_fit_is_absent(void **state)
{
    (void)state;
    char value[1024];
    char longtext[600];
    memset(longtext, 'x', sizeof(longtext) - 1);
    longtext[sizeof(longtext) - 1] = '\0';
    (void)snprintf(value, sizeof(value),
                   "{\"state\":\"%.50s\",\"api_url\":\"%s\",\"role\":\"primary\"}", longtext,
                   longtext);
    struct member_info m = parse(value);
    assert_string_equal(m.state, "");
    assert_string_equal(m.api_url, "");
    assert_string_equal(m.role, "primary");
    m = parse("{\"timeline\":4294967296}");
    assert_int_equal(m.timeline, 0);
    m = parse("{\"tags\":{\"failover_priority\":99999999999}}");
    assert_int_equal(m.failover_priority, INT32_MAX);
    m = parse("{\"tags\":{\"failover_priority\":-99999999999}}");
    assert_int_equal(m.failover_priority, INT32_MIN);
    assert_true(m.nofailover);
    member_parse("a name that is much longer than the sixty-three characters it may have", "{}", 2,
                 1, &m);
    assert_int_equal(strlen(m.name), NAME_SIZE - 1);
}

static void test_old_forms(void **state)
{
    (void)state;
    struct member_info m = parse("{\"role\":\"master\",\"state\":\"streaming\"}");
    assert_string_equal(m.role, "primary");
    struct core_member core;
    member_to_core(&m, &core);
    assert_true(core.running);
    m = parse("postgres://u:p@h1:6000/db?application_name=http://h1:8008/patroni&x=y");
    assert_string_equal(m.conn_url, "postgres://u:p@h1:6000/db");
    assert_string_equal(m.api_url, "http://h1:8008/patroni");
    assert_string_equal(m.host, "h1");
    assert_int_equal(m.port, 6000);
    m = parse("postgres://h\xBA/db?application_name=http://h1:8008"); /* no UTF-8: garbage */
    assert_string_equal(m.conn_url, "");
    assert_string_equal(m.api_url, "");
    m = parse("postgres://h1/db");
    assert_string_equal(m.api_url, "");
    assert_int_equal(m.port, 5432);
    m = parse("postgres://h1/db?x=y");
    assert_string_equal(m.api_url, "");
    char huge[1200];
    memset(huge, 'h', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    memcpy(huge, "postgres://", 11);
    m = parse(huge);
    assert_string_equal(m.conn_url, "");
    huge[400] = '\0';
    m = parse(huge);
    assert_string_equal(m.conn_url, "");
    (void)snprintf(huge, sizeof(huge), "postgres://h/db?application_name=%0300d", 1);
    m = parse(huge);
    assert_string_equal(m.api_url, "");
    assert_string_equal(m.conn_url, "postgres://h/db");
}

static void test_url_host(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        const char *host;
        uint16_t port;
    } rows[] = {{"postgres://h:1/db", "h", 1},       {"postgresql://h/db", "h", 5432},
                {"postgres://h", "h", 5432},         {"postgres://h:65535", "h", 65535},
                {"postgres://u:p@h:7/db", "h", 7},   {"postgres://u@x@h:7/db", "h", 7},
                {"postgres://[::1]:8/db", "::1", 8}, {"postgres://[fe80::1]/db", "fe80::1", 5432},
                {"postgres://h:/db", "h", 5432},     {"postgres://h?x=y", "h", 5432}};
    char host[16];
    uint16_t port;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_true(member_url_host(rows[i].url, host, sizeof(host), &port));
        assert_string_equal(host, rows[i].host);
        assert_int_equal(port, rows[i].port);
    }
    static const char *const bad[] = {"",
                                      "h:5432",
                                      "http://h:1",
                                      "postgres://",
                                      "postgres:///db",
                                      "postgres://:5/db",
                                      "postgres://h:0/db",
                                      "postgres://h:65536/db",
                                      "postgres://h:x/db",
                                      "postgres://h:123456789/db",
                                      "postgres://[::1/db",
                                      "postgres://[]:5/db",
                                      "postgres://a-host-name-too-long:5/db"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(member_url_host(bad[i], host, sizeof(host), &port));
    }
}

static void test_format(void **state)
{
    (void)state;
    struct member_info m = {.conn_url = "postgres://h:1/db",
                            .api_url = "http://h:2/patroni",
                            .state = "running",
                            .role = "primary",
                            .agent_version = "4.1.4",
                            .xlog_location = 5,
                            .timeline = 2,
                            .checkpoint_pending = true};
    char *text = member_format(&m, NULL);
    assert_string_equal(text,
                        "{\"conn_url\":\"postgres://h:1/db\",\"api_url\":\"http://h:2/patroni\","
                        "\"state\":\"running\",\"role\":\"primary\",\"version\":\"4.1.4\","
                        "\"checkpoint_after_promote\":false,\"xlog_location\":5,\"timeline\":2}");
    free(text);
    m.proxy_url[0] = 'p';
    m.pending_restart = true;
    m.pause = true;
    m.replay_lsn = 3;
    m.receive_lsn = 4;
    memcpy(m.replication_state, "streaming", 10);
    m.checkpoint_pending = false;
    json_t *tags = json_pack("{s:b}", "nosync", 1);
    text = member_format(&m, tags);
    assert_string_equal(
        text,
        "{\"conn_url\":\"postgres://h:1/db\",\"api_url\":\"http://h:2/patroni\","
        "\"state\":\"running\",\"role\":\"primary\",\"version\":\"4.1.4\",\"proxy_url\":\"p\","
        "\"tags\":{\"nosync\":true},\"pending_restart\":true,\"xlog_location\":5,\"replay_lsn\":3,"
        "\"receive_lsn\":4,\"replication_state\":\"streaming\",\"timeline\":2,\"pause\":true}");
    struct member_info back = parse(text);
    assert_int_equal(back.receive_lsn, 4);
    assert_true(back.nosync && back.pause && back.pending_restart);
    free(text);
    json_decref(tags);
    tags = json_object();
    m = (struct member_info){.state = "\xFF"}; /* no UTF-8: left out, never a broken value */
    text = member_format(&m, tags);
    assert_string_equal(text, "{}");
    free(text);
    json_decref(tags);
}

static void test_json_is_never_null(void **state)
{
    (void)state;
    json_t *json = member_json(NULL, 0);
    assert_int_equal(json_object_size(json), 0);
    json_decref(json);
    json = member_json("[]", 2);
    assert_true(json_is_object(json));
    json_decref(json);
    json = member_json("{\"a\":1}", 7);
    assert_int_equal(json_object_size(json), 1);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_fields), cmocka_unit_test(test_same),
        cmocka_unit_test(test_garbage),    cmocka_unit_test(test_what_does_not_fit_is_absent),
        cmocka_unit_test(test_old_forms),  cmocka_unit_test(test_url_host),
        cmocka_unit_test(test_format),     cmocka_unit_test(test_json_is_never_null),
    };
    return cmocka_run_group_tests_name("codec_members", tests, NULL, NULL);
}
