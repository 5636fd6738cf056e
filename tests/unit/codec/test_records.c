/* Every key of the cluster, as it should be and as it must not hurt; versions survive all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/records.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct records_item item_of(const char *key, const char *value)
{
    return (struct records_item){key, value, value == NULL ? 0 : strlen(value),
                                 value == NULL ? 0 : 42};
}

static const char *const GARBAGE[] = {
    "", "{", "[]", "null", "-1", "\"\"", "\xFF", "{\"leader\":", "[[]]", "[{}]", "{\"a\":{}}"};

static void test_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        enum records_kind kind;
    } rows[] = {{"lease", RECORDS_LEASE},
                {"leader", RECORDS_LEADER},
                {"initialize", RECORDS_INITIALIZE},
                {"config", RECORDS_CONFIG},
                {"status", RECORDS_STATUS},
                {"history", RECORDS_HISTORY},
                {"failover", RECORDS_FAILOVER},
                {"failsafe", RECORDS_FAILSAFE},
                {"sync", RECORDS_SYNC},
                {"members/n1", RECORDS_MEMBER},
                {"members/", RECORDS_OTHER},
                {"members/a/b", RECORDS_OTHER},
                {"members", RECORDS_OTHER},
                {"optime/leader", RECORDS_OTHER},
                {"", RECORDS_OTHER},
                {"leaders", RECORDS_OTHER}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(records_kind(rows[i].key, NULL), rows[i].kind);
    }
    const char *name = NULL;
    assert_int_equal(records_kind("members/n 1", &name), RECORDS_MEMBER);
    assert_string_equal(name, "n 1");
}

static struct core_lease_record lease_of(const char *value)
{
    struct core_lease_record record;
    struct records_item item = item_of("lease", value);
    memset(&record, 0x5A, sizeof(record));
    records_parse_lease(&item, &record);
    return record;
}

static void test_lease(void **state)
{
    (void)state;
    struct core_lease_record r =
        lease_of("{\"holder\":\"n1\",\"epoch\":7,\"seq\":12,\"ttl_ms\":2000,"
                 "\"armed\":true,\"state\":\"held\",\"session\":\"s9\",\"x\":1}");
    assert_true(r.present && r.armed);
    assert_int_equal(r.version, 42);
    assert_string_equal(r.holder, "n1");
    assert_int_equal(r.epoch, 7);
    assert_int_equal(r.seq, 12);
    assert_int_equal(r.ttl_ms, 2000);
    assert_int_equal(r.state, CORE_LEASE_HELD);
    assert_string_equal(r.to, "");
    assert_string_equal(r.session, "s9");
    r = lease_of("{\"holder\":\"n1\",\"epoch\":7,\"seq\":12,\"ttl_ms\":2000,\"armed\":false,"
                 "\"state\":\"handing_to:n2\",\"session\":\"\"}");
    assert_int_equal(r.state, CORE_LEASE_HANDING_TO);
    assert_string_equal(r.to, "n2");
    assert_false(r.armed);
    r = lease_of("{\"holder\":\"n1\",\"epoch\":0,\"seq\":0,\"ttl_ms\":1,\"armed\":false,"
                 "\"state\":\"released\",\"session\":\"\"}");
    assert_int_equal(r.state, CORE_LEASE_RELEASED);
    r = lease_of(NULL);
    assert_false(r.present);
    assert_int_equal(r.version, 0);
}

static void test_lease_round_trip(void **state)
{
    (void)state;
    static const enum core_lease_state states[] = {CORE_LEASE_HELD, CORE_LEASE_RELEASED,
                                                   CORE_LEASE_HANDING_TO};
    for (size_t i = 0; i < COUNT(states); i++) {
        struct core_lease_record in = {.present = true,
                                       .version = 42,
                                       .holder = "a \"b\" \\ \xC3\xA9",
                                       .epoch = INT64_MAX,
                                       .seq = 3,
                                       .ttl_ms = 86400000,
                                       .armed = i == 0,
                                       .state = states[i],
                                       .session = "0123-\n"};
        if (states[i] == CORE_LEASE_HANDING_TO) {
            memset(in.to, 'z', NAME_SIZE - 1);
        }
        char value[RECORDS_LEASE_SIZE];
        assert_true(records_format_lease(&in, value, sizeof(value)));
        struct core_lease_record out = lease_of(value);
        assert_memory_equal(&out, &in, sizeof(in));
    }
    struct core_lease_record record = {.holder = "n1",
                                       .epoch = 1,
                                       .seq = 2,
                                       .ttl_ms = 5000,
                                       .armed = true,
                                       .state = CORE_LEASE_HELD,
                                       .session = "s"};
    char value[RECORDS_LEASE_SIZE];
    assert_true(records_format_lease(&record, value, sizeof(value)));
    assert_string_equal(value,
                        "{\"holder\":\"n1\",\"epoch\":1,\"seq\":2,\"ttl_ms\":5000,\"armed\":true,"
                        "\"state\":\"held\",\"session\":\"s\"}");
    assert_false(records_format_lease(&record, value, 20));
    assert_string_equal(value, "");
    memcpy(record.holder, "\xFF", 2);
    assert_false(records_format_lease(&record, value, sizeof(value)));
}

static void test_longest_lease_fits(void **state)
{
    (void)state;
    struct core_lease_record record = {
        .epoch = INT64_MAX, .seq = INT64_MAX, .ttl_ms = 86400000, .state = CORE_LEASE_HANDING_TO};
    memset(record.holder, 'h', NAME_SIZE - 1);
    memset(record.to, 't', NAME_SIZE - 1);
    memset(record.session, 's', SESSION_SIZE - 1);
    char value[RECORDS_LEASE_SIZE];
    assert_true(records_format_lease(&record, value, sizeof(value)));
}

/* One field at a time is wrong: nothing of the record may be believed. */
static void test_bad_leases(void **state)
{
    (void)state;
    static const char *const fields[][2] = {
        {"\"holder\":\"n1\"", "\"holder\":5"},
        {"\"epoch\":7", "\"epoch\":-7"},
        {"\"epoch\":7", "\"epoch\":\"7\""},
        {"\"epoch\":7", "\"epoch\":7.5"},
        {"\"epoch\":7", "\"epoch\":99999999999999999999"},
        {"\"seq\":1", "\"seq\":null"},
        {"\"ttl_ms\":2000", "\"ttl_ms\":0"},
        {"\"ttl_ms\":2000", "\"ttl_ms\":86400001"},
        {"\"armed\":true", "\"armed\":1"},
        {"\"state\":\"held\"", "\"state\":\"hold\""},
        {"\"state\":\"held\"", "\"state\":\"handing_to:\""},
        {"\"state\":\"held\"", "\"state\":[]"},
        {"\"session\":\"s\"", "\"session\":7"},
        {"\"state\":\"held\"", "\"state\":\"handing_to:0123456789012345678901234567890123456789"
                               "012345678901234567890123456789\""},
        {"\"holder\":\"n1\"", "\"holder\":\"0123456789012345678901234567890123456789"
                              "012345678901234567890123456789\""},
    };
    static const char whole[] = "{\"holder\":\"n1\",\"epoch\":7,\"seq\":1,\"ttl_ms\":2000,"
                                "\"armed\":true,\"state\":\"held\",\"session\":\"s\"}";
    assert_true(lease_of(whole).present);
    const struct core_lease_record none = {.version = 42};
    for (size_t i = 0; i < COUNT(fields); i++) {
        for (int absent = 0; absent < 2; absent++) {
            const char *at = strstr(whole, fields[i][0]);
            assert_non_null(at);
            char value[512];
            (void)snprintf(value, sizeof(value), "%.*s%s%s", (int)(at - whole), whole,
                           absent == 1 ? "\"other\":0" : fields[i][1], at + strlen(fields[i][0]));
            struct core_lease_record r = lease_of(value);
            assert_memory_equal(&r, &none, sizeof(r));
        }
    }
    for (size_t size = 0; size < strlen(whole); size++) {
        struct records_item item = {"lease", whole, size, 42};
        struct core_lease_record r;
        records_parse_lease(&item, &r);
        assert_memory_equal(&r, &none, sizeof(r));
    }
    for (size_t i = 0; i < COUNT(GARBAGE); i++) {
        struct core_lease_record r = lease_of(GARBAGE[i]);
        assert_memory_equal(&r, &none, sizeof(r));
    }
}

static void test_leader(void **state)
{
    (void)state;
    struct core_leader_key leader;
    struct records_item item = item_of("leader", "n1");
    records_parse_leader(&item, &leader);
    assert_string_equal(leader.name, "n1");
    assert_int_equal(leader.version, 42);
    item = item_of("leader", NULL);
    records_parse_leader(&item, &leader);
    assert_string_equal(leader.name, "");
    assert_int_equal(leader.version, 0);
    char name[200];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    item = item_of("leader", name);
    records_parse_leader(&item, &leader);
    assert_string_equal(leader.name, ""); /* somebody leads, nobody we could name */
    assert_int_equal(leader.version, 42);
    item = (struct records_item){"leader", "a\0b", 3, 42};
    records_parse_leader(&item, &leader);
    assert_string_equal(leader.name, "");
}

static void test_initialize(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum core_initialize state;
        uint64_t sysid;
    } rows[] = {{NULL, CORE_INITIALIZE_ABSENT, 0},
                {"", CORE_INITIALIZE_RUNNING, 0},
                {"7268616322854375442", CORE_INITIALIZE_DONE, UINT64_C(7268616322854375442)},
                {"18446744073709551615", CORE_INITIALIZE_DONE, UINT64_MAX},
                {"18446744073709551616", CORE_INITIALIZE_RUNNING, 0},
                {"1234567890", CORE_INITIALIZE_DONE, 1234567890},
                {"123456789", CORE_INITIALIZE_RUNNING, 0},
                {"123456789x", CORE_INITIALIZE_RUNNING, 0},
                {"-1234567890", CORE_INITIALIZE_RUNNING, 0},
                {"0000000000", CORE_INITIALIZE_RUNNING, 0}, /* no server's identifier */
                {"00000000000000000000000000001", CORE_INITIALIZE_RUNNING, 0}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        enum core_initialize found = CORE_INITIALIZE_DONE;
        uint64_t sysid = 5;
        struct records_item item = item_of("initialize", rows[i].value);
        records_parse_initialize(&item, &found, &sysid);
        assert_int_equal(found, rows[i].state);
        assert_true(sysid == rows[i].sysid);
    }
}

static void test_status(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint64_t optime;
    } rows[] = {{NULL, 0},
                {"{\"optime\":67108864,\"slots\":{\"n2\":5}}", 67108864},
                {"{\"optime\":\"67108864\"}", 67108864},
                {"67108864", 67108864},
                {"\"67108864\"", 67108864},
                {"{\"optime\":-5}", 0},
                {"{\"optime\":null}", 0},
                {"{}", 0}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct records_item item = item_of("status", rows[i].value);
        assert_true(records_parse_status(&item) == rows[i].optime);
    }
    for (size_t i = 0; i < COUNT(GARBAGE); i++) {
        struct records_item item = item_of("status", GARBAGE[i]);
        assert_true(records_parse_status(&item) == 0);
    }
    char *text = records_format_status(67108864);
    assert_string_equal(text, "{\"optime\":67108864}");
    free(text);
}

static void test_history(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint32_t timeline;
    } rows[] = {{NULL, 0},
                {"[]", 1},
                {"[[1,25623960,\"no recovery target specified\"]]", 2},
                {"[[1,2,\"x\"],[2,3,\"x\",\"2026-01-01T00:00:00+00:00\",\"n1\"]]", 3},
                {"[[4294967295,2]]", 0},
                {"[5]", 0},
                {"[[]]", 0},
                {"[[0,1]]", 0},
                {"{}", 0},
                {"[[\"x\"]]", 0},
                {"junk", 0}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct records_item item = item_of("history", rows[i].value);
        assert_int_equal(records_parse_history(&item), rows[i].timeline);
    }
}

static struct core_failover failover_of(const char *value)
{
    struct core_failover failover;
    struct records_item item = item_of("failover", value);
    records_parse_failover(&item, &failover);
    return failover;
}

static void test_failover(void **state)
{
    (void)state;
    struct core_failover f = failover_of("{\"leader\":\"n1\",\"member\":\"n2\",\"scheduled_at\":"
                                         "\"2026-11-23T12:00:00+00:00\"}");
    assert_string_equal(f.leader, "n1");
    assert_string_equal(f.candidate, "n2");
    assert_true(f.scheduled_at.ms == INT64_C(1795435200000));
    assert_int_equal(f.version, 42);
    f = failover_of("{\"member\":\"n2\",\"scheduled_at\":null}");
    assert_string_equal(f.leader, "");
    assert_string_equal(f.candidate, "n2");
    assert_true(f.scheduled_at.ms == 0);
    f = failover_of("n1:n2");
    assert_string_equal(f.leader, "n1");
    assert_string_equal(f.candidate, "n2");
    f = failover_of(":n2");
    assert_string_equal(f.leader, "");
    assert_string_equal(f.candidate, "n2");
    f = failover_of(NULL);
    assert_int_equal(f.version, 0);
    static const char *const none[] = {
        "{}",
        "",
        "n1",
        "{\"leader\":\"n1\",\"scheduled_at\":\"soon\"}",
        "{\"leader\":\"n1\",\"scheduled_at\":5}",
        "{\"member\":\"n2\"",
        "[\"a:b\"]",
        "\"a:b\"",
        "n1\xDE:n2", /* no UTF-8: it could not be written again */
        ("{\"leader\":\"n1\",\"member\":"
         "\"0123456789012345678901234567890123456789012345678901234567890123456789\"}"),
        "0123456789012345678901234567890123456789012345678901234567890123456789:x"};
    for (size_t i = 0; i < COUNT(none); i++) {
        f = failover_of(none[i]);
        assert_int_equal(f.version, 42);
        assert_string_equal(f.leader, "");
        assert_string_equal(f.candidate, "");
        assert_true(f.scheduled_at.ms == 0);
    }
}

static void test_failover_round_trip(void **state)
{
    (void)state;
    struct core_failover in = {
        .leader = "n1", .candidate = "n\"2", .scheduled_at = {1795435200123}};
    char *text = records_format_failover(&in);
    assert_string_equal(text, "{\"leader\":\"n1\",\"member\":\"n\\\"2\",\"scheduled_at\":"
                              "\"2026-11-23T12:00:00.123000+00:00\"}");
    struct core_failover out = failover_of(text);
    out.version = 0;
    assert_memory_equal(&in, &out, sizeof(in));
    free(text);
    in = (struct core_failover){.version = 3};
    text = records_format_failover(&in);
    assert_string_equal(text, "{}");
    free(text);
}

static void test_failsafe(void **state)
{
    (void)state;
    struct core_failsafe failsafe;
    char urls[MEMBERS_MAX][URL_SIZE];
    struct records_item item =
        item_of("failsafe", "{\"n1\":\"http://a:8008/patroni\",\"n2\":5,\"n3\":\"http://c\"}");
    assert_int_equal(records_parse_failsafe(&item, &failsafe, urls), 0);
    assert_int_equal(failsafe.version, 42);
    assert_false(failsafe.cut);
    assert_int_equal(failsafe.names.count, 3);
    assert_string_equal(failsafe.names.name[0], "n1");
    assert_string_equal(urls[0], "http://a:8008/patroni");
    assert_string_equal(urls[1], "");
    assert_string_equal(urls[2], "http://c");
    item = item_of("failsafe", NULL);
    assert_int_equal(records_parse_failsafe(&item, &failsafe, NULL), 0);
    assert_int_equal(failsafe.names.count, 0);
    char many[2048] = "{";
    for (int i = 0; i < MEMBERS_MAX + 3; i++) {
        size_t used = strlen(many);
        (void)snprintf(many + used, sizeof(many) - used, "%s\"m%02d\":\"u\"", i > 0 ? "," : "", i);
    }
    size_t end = strlen(many);
    memcpy(many + end, "}", 2);
    item = item_of("failsafe", many);
    assert_int_equal(records_parse_failsafe(&item, &failsafe, NULL), 3);
    assert_int_equal(failsafe.names.count, MEMBERS_MAX);
    assert_true(failsafe.cut);
    item = item_of("failsafe", "{\"\":\"u\",\"n\":\"u\"}");
    assert_int_equal(records_parse_failsafe(&item, &failsafe, NULL), 1);
    for (size_t i = 0; i < 8; i++) {
        item = item_of("failsafe", GARBAGE[i]);
        assert_int_equal(records_parse_failsafe(&item, &failsafe, urls), 0);
        assert_int_equal(failsafe.names.count, 0);
        assert_int_equal(failsafe.version, 42);
    }
}

static void test_sync(void **state)
{
    (void)state;
    struct records_sync sync;
    struct records_item item =
        item_of("sync", "{\"leader\":\"n1\",\"quorum\":1,\"sync_standby\":\"N2,n3,,n4\"}");
    records_parse_sync(&item, &sync);
    assert_string_equal(sync.leader, "n1");
    assert_int_equal(sync.quorum, 1);
    assert_int_equal(sync.standbys.count, 3);
    assert_int_equal(sync.version, 42);
    assert_true(records_sync_has(&sync, "n2"));
    assert_true(records_sync_has(&sync, "N4"));
    assert_false(records_sync_has(&sync, "n1"));
    item = item_of("sync", "{\"leader\":\"n1\",\"sync_standby\":null}");
    records_parse_sync(&item, &sync);
    assert_int_equal(sync.quorum, 0);
    assert_int_equal(sync.standbys.count, 0);
    static const char *const none[] = {"{}", "{\"leader\":null,\"sync_standby\":\"a\"}", "x", "[]"};
    for (size_t i = 0; i < COUNT(none); i++) {
        item = item_of("sync", none[i]);
        records_parse_sync(&item, &sync);
        assert_string_equal(sync.leader, "");
        assert_int_equal(sync.standbys.count, 0);
    }
    char many[4096] = "{\"leader\":\"n1\",\"sync_standby\":\"";
    for (int i = 0; i < 40; i++) {
        size_t used = strlen(many);
        (void)snprintf(many + used, sizeof(many) - used, "%0*d,", i % 2 == 0 ? 5 : 90, i);
    }
    size_t end = strlen(many);
    memcpy(many + end, "\"}", 3);
    item = item_of("sync", many);
    records_parse_sync(&item, &sync);
    assert_int_equal(sync.standbys.count, MEMBERS_MAX);
}

/* ---- the whole prefix ---- */

static struct core_cluster cluster;
static struct member_info members[MEMBERS_MAX];

static void test_snapshot(void **state)
{
    (void)state;
    static struct dynconfig_warnings warnings;
    const struct records_item items[] = {
        item_of("config", "{\"ttl\":7}"),
        item_of("failover", "{\"leader\":\"n1\"}"),
        item_of("failsafe", "{\"n1\":\"u\",\"n2\":\"u\"}"),
        item_of("history", "[[1,2,\"x\"]]"),
        item_of("initialize", "1234567890"),
        item_of("leader", "n1"),
        item_of("lease", "{\"holder\":\"n1\",\"epoch\":7,\"seq\":1,\"ttl_ms\":2000,\"armed\":true,"
                         "\"state\":\"held\",\"session\":\"s\"}"),
        item_of("members/n1", "{\"state\":\"running\",\"api_url\":\"u\"}"),
        item_of("members/n2", "garbage"),
        item_of("nothing", "x"),
        item_of("status", "{\"optime\":9}"),
        item_of("sync", "{}"),
    };
    struct records_context context = {.members = members, .warnings = &warnings};
    memset(&cluster, 0, sizeof(cluster));
    cluster.revision = 99;
    cluster.reachable = TRI_YES;
    records_cluster_from_snapshot(items, COUNT(items), &context, &cluster);
    assert_int_equal(cluster.revision, 99);
    assert_int_equal(cluster.reachable, TRI_YES);
    assert_int_equal(cluster.settings.ttl_ms, 7000);
    assert_int_equal(cluster.settings.version, 42);
    assert_int_equal(cluster.config_version, 42);
    assert_string_equal(cluster.failover.leader, "n1");
    assert_int_equal(cluster.failsafe.names.count, 2);
    assert_int_equal(cluster.history_timeline, 2);
    assert_int_equal(cluster.initialize, CORE_INITIALIZE_DONE);
    assert_int_equal(cluster.initialize_version, 42);
    assert_true(cluster.sysid == 1234567890);
    assert_string_equal(cluster.leader.name, "n1");
    assert_true(cluster.lease.present);
    assert_int_equal(cluster.optime, 9);
    assert_int_equal(cluster.member_count, 2);
    assert_int_equal(context.member_count, 2);
    assert_int_equal(context.dropped, 0);
    assert_true(cluster.member[0].running && !cluster.member[1].running);
    assert_string_equal(members[1].name, "n2");
    /* What is gone from the store is gone from the view; the settings stay. */
    context.last = &cluster.settings;
    struct core_settings last = cluster.settings;
    context.last = &last;
    records_cluster_from_snapshot(NULL, 0, &context, &cluster);
    assert_int_equal(cluster.settings.version, 0);
    assert_int_equal(cluster.config_version, 0);
    assert_int_equal(cluster.settings.ttl_ms, 7000);
    assert_int_equal(cluster.leader.version, 0);
    assert_false(cluster.lease.present);
    assert_int_equal(cluster.lease.version, 0);
    assert_int_equal(cluster.initialize, CORE_INITIALIZE_ABSENT);
    assert_int_equal(cluster.initialize_version, 0);
    assert_int_equal(cluster.failsafe.names.count, 0);
    assert_int_equal(cluster.member_count, 0);
    assert_int_equal(cluster.history_timeline, 0);
    assert_int_equal(cluster.optime, 0);
    assert_string_equal(cluster.failover.leader, "");
}

static void test_too_many_members(void **state)
{
    (void)state;
    char keys[MEMBERS_MAX + 4][100];
    struct records_item items[MEMBERS_MAX + 4];
    for (size_t i = 0; i < MEMBERS_MAX + 3; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "members/m%02zu", i);
        items[i] = item_of(keys[i], "{}");
    }
    (void)snprintf(keys[MEMBERS_MAX + 3], sizeof(keys[0]), "members/%070d", 5);
    items[MEMBERS_MAX + 3] = item_of(keys[MEMBERS_MAX + 3], "{}");
    struct records_context context = {.members = NULL};
    memset(&cluster, 0, sizeof(cluster));
    records_cluster_from_snapshot(items, MEMBERS_MAX + 4, &context, &cluster);
    assert_int_equal(cluster.member_count, MEMBERS_MAX);
    assert_int_equal(context.dropped, 4);
    records_cluster_from_snapshot(&items[MEMBERS_MAX + 3], 1, &context, &cluster);
    assert_int_equal(cluster.member_count, 0);
    assert_int_equal(context.dropped, 1);
}

static void test_single_keys_fold(void **state)
{
    (void)state;
    memset(&cluster, 0, sizeof(cluster));
    struct records_item item = item_of("leader", "n3");
    records_apply(&item, &cluster);
    assert_string_equal(cluster.leader.name, "n3");
    item = item_of("failsafe", "{\"a\":\"u\"}");
    records_apply(&item, &cluster);
    assert_int_equal(cluster.failsafe.names.count, 1);
    struct core_cluster before = cluster;
    static const char *const ignored[] = {"config", "members/n1", "sync", "other"};
    for (size_t i = 0; i < COUNT(ignored); i++) {
        item = item_of(ignored[i], "{}");
        records_apply(&item, &cluster);
        assert_memory_equal(&before, &cluster, sizeof(before));
    }
    struct records_context context = {.members = NULL};
    item = item_of("config", "{\"ttl\":3}");
    records_apply_config(&item, &context, &cluster);
    assert_int_equal(cluster.settings.ttl_ms, 3000);
}

/* ---- time ---- */

static void test_time(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {{"1970-01-01T00:00:00Z", 0},
                {"1970-01-01T00:00:00.5Z", 500},
                {"1970-01-01 00:00:01,123999+00:00", 1123},
                {"2000-02-29T12:34:56Z", INT64_C(951827696000)},
                {"2026-11-23T12:00:00+00:00", INT64_C(1795435200000)},
                {"2026-11-23T14:00:00+02:00", INT64_C(1795435200000)},
                {"2026-11-23T06:30:00-0530", INT64_C(1795435200000)},
                {"2026-11-23T13:00:00 +01", INT64_C(1795435200000)},
                {"2026-11-23T12:00z", INT64_C(1795435200000)},
                {"2026-11-23T13:00", INT64_C(1795435200000)}, /* in the default zone */
                {"1969-12-31T23:59:59Z", -1000},
                {"0001-01-01T00:00:00Z", INT64_C(-62135596800000)},
                {"9999-12-31T23:59:59Z", INT64_C(253402300799000)}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct wall at = {77};
        assert_true(records_parse_time(rows[i].text, 3600, &at));
        assert_true(at.ms == rows[i].ms);
    }
    static const char *const bad[] = {"",
                                      "now",
                                      "2026",
                                      "2026-11-23",
                                      "2026-11-23T",
                                      "2026-11-23T12",
                                      "2026-11-23T12:0",
                                      "2026-11-23T12:00:",
                                      "2026-11-23T12:00:00.",
                                      "2026-11-23T12:00:00.x",
                                      "2026-13-01T00:00:00Z",
                                      "2026-00-01T00:00:00Z",
                                      "2026-02-29T00:00:00Z",
                                      "2026-04-31T00:00:00Z",
                                      "2026-12-32T00:00:00Z",
                                      "2026-01-00T00:00:00Z",
                                      "2026-11-23T24:00:00Z",
                                      "2026-11-23T12:60:00Z",
                                      "2026-11-23T12:00:60Z",
                                      "2026-11-23T12:00:00+",
                                      "2026-11-23T12:00:00+1",
                                      "2026-11-23T12:00:00+24:00",
                                      "2026-11-23T12:00:00+01:60",
                                      "2026-11-23T12:00:00+01:0",
                                      "2026-11-23T12:00:00Zx",
                                      "2026-11-23x12:00:00Z",
                                      "20261123T120000Z",
                                      "2026-1-23T12:00:00Z"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct wall at = {77};
        assert_false(records_parse_time(bad[i], 0, &at));
        assert_true(at.ms == 77);
    }
}

static void test_time_round_trip(void **state)
{
    (void)state;
    char text[RECORDS_TIME_SIZE];
    records_format_time((struct wall){1795435200123}, text);
    assert_string_equal(text, "2026-11-23T12:00:00.123000+00:00");
    records_format_time((struct wall){-1}, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999000+00:00");
    for (int64_t ms = -INT64_C(62135596800000); ms < INT64_C(253402300800000);
         ms += INT64_C(86400000) * 97 + 12345) {
        struct wall back = {1};
        records_format_time((struct wall){ms}, text);
        assert_true(records_parse_time(text, 0, &back));
        assert_true(back.ms == ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_lease),
        cmocka_unit_test(test_lease_round_trip),
        cmocka_unit_test(test_longest_lease_fits),
        cmocka_unit_test(test_bad_leases),
        cmocka_unit_test(test_leader),
        cmocka_unit_test(test_initialize),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_failover),
        cmocka_unit_test(test_failover_round_trip),
        cmocka_unit_test(test_failsafe),
        cmocka_unit_test(test_sync),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_too_many_members),
        cmocka_unit_test(test_single_keys_fold),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_time_round_trip),
    };
    return cmocka_run_group_tests_name("codec_records", tests, NULL, NULL);
}
