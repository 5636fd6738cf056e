/* The code of every health check over combinations of role, state, leadership, pause, sync mode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "rest/health.h"

#define NOW ((struct mono){100000})

static struct core_cluster cluster;

static struct rest_view make_view(const char *role, const char *state, bool is_leader)
{
    memset(&cluster, 0, sizeof cluster);
    cluster.settings.ttl_ms = 5000;
    cluster.settings.maximum_lag_on_failover = 1000;
    cluster.optime = 10000;
    struct rest_view view = {.cluster = &cluster, .cluster_seen_at = {99000}};
    view.postgres.answered = true;
    view.postgres.process = true;
    view.postgres.replayed_lsn = 9000;
    view.postgres.received_lsn = 9500;
    str_copy_cut(view.postgres.role, sizeof view.postgres.role, role);
    str_copy_cut(view.postgres.state, sizeof view.postgres.state, state);
    view.is_leader = is_leader;
    view.next_step_at = (struct mono){100500};
    return view;
}

static int code(const struct rest_view *view, const char *path)
{
    return health_code(view, "n1", &(struct health_query){.path = path}, NOW);
}

enum kind {
    LEADER,
    FOLLOWER,
    SYNC,
    QUORUM,
    STANDBY_LEADER,
    SILENT_LEADER,
    STARTING,
    PAUSED_STALE,
    STALE,
    KINDS
};

static struct rest_view view_of(enum kind kind)
{
    bool leads = kind == LEADER || kind == STANDBY_LEADER || kind == SILENT_LEADER;
    struct rest_view view = make_view(
        kind == LEADER || kind == SILENT_LEADER || kind == PAUSED_STALE ? "primary" : "replica",
        kind == STARTING ? "starting" : "running", leads);
    if (kind == SYNC || kind == QUORUM) {
        view.synchronous_mode = true;
        view.quorum_mode = kind == QUORUM;
        view.sync.standbys.count = 1;
        (void)snprintf(view.sync.standbys.name[0], sizeof view.sync.standbys.name[0], "%s", "N1");
    }
    view.standby_cluster = kind == STANDBY_LEADER;
    view.postgres.answered = kind != SILENT_LEADER && kind != STARTING;
    if (kind == PAUSED_STALE || kind == STALE) {
        view.cluster_seen_at = (struct mono){95000};
        cluster.settings.pause = kind == PAUSED_STALE;
    }
    return view;
}

static void test_every_path_for_every_kind(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *healthy; /* one letter for each kind: y or n */
    } rows[] = {
        /*                        L F S Q B U I P T : leader, follower, sync, quorum, standby leader, */
        /*                                            silent leader, starting, paused stale, stale   */
        {"/", "ynnnnynyn"},
        {"/primary", "ynnnnynyn"},
        {"/master", "ynnnnynyn"},
        {"/read-write", "ynnnnynyn"},
        {"/leader", "ynnnyynyn"},
        {"/standby-leader", "nnnnynnnn"},
        {"/standby_leader", "nnnnynnnn"},
        {"/replica", "nyyynnnny"},
        {"/read-only", "yyyyyynyy"},
        {"/health", "yyyyynnyy"},
        {"/sync", "nnynnnnnn"},
        {"/synchronous", "nnynnnnnn"},
        {"/quorum", "nnnynnnnn"},
        {"/async", "nynnnnnnn"},
        {"/asynchronous", "nynnnnnnn"},
        {"/read-only-sync", "ynynyynnn"},
        {"/read-only-synchronous", "ynynyynnn"},
        {"/read-only-quorum", "ynnyyynnn"},
        {"/unknown", "nnnnnnnnn"},
        {"/liveness", "nnnnnnnnn"}, /* HEAD and OPTIONS of paths with a handler of their own */
        {"/patroni", "nnnnnnnnn"},
        {"/some/primary/else", "ynnnnynyn"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(strlen(rows[i].healthy), KINDS);
        for (int kind = 0; kind < KINDS; kind++) {
            struct rest_view view = view_of((enum kind)kind);
            int expected = rows[i].healthy[kind] == 'y' ? 200 : 503;
            if (code(&view, rows[i].path) != expected) {
                fail_msg("%s kind %d: not %d", rows[i].path, kind, expected);
            }
        }
    }
}

static void test_lag(void **state)
{
    (void)state;
    struct rest_view view = view_of(FOLLOWER); /* 1000 bytes behind */
    static const struct {
        const char *lag;
        int code;
    } rows[] = {{NULL, 200}, {"1000", 200}, {"999", 503},   {"1kB", 200},
                {"0", 503},  {"1MB", 200},  {"999B", 503},  {"soon", 200},
                {"", 200},   {"-5", 503},   {"0x3e8", 200}, {"0x3e7", 503}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct health_query query = {.path = "/replica", .lag = rows[i].lag};
        if (health_code(&view, "n1", &query, NOW) != rows[i].code) {
            fail_msg("lag %s", rows[i].lag);
        }
    }
    struct health_query strict = {.path = "/async", .lag = "0"};
    cluster.optime = 0; /* unknown: nobody lags */
    assert_int_equal(health_code(&view, "n1", &strict, NOW), 200);
    view.postgres.latest_end_lsn = 9001; /* heard from the primary itself */
    assert_int_equal(health_code(&view, "n1", &strict, NOW), 503);
    struct health_query negative = {.path = "/async", .lag = "-9223372036854775808"};
    assert_int_equal(health_code(&view, "n1", &negative, NOW), 503);
}

static void test_replication_state_and_noloadbalance(void **state)
{
    (void)state;
    struct rest_view view = view_of(FOLLOWER);
    (void)snprintf(view.postgres.replication_state, sizeof view.postgres.replication_state, "%s",
                   "streaming");
    struct health_query query = {.path = "/replica", .replication_state = "streaming"};
    assert_int_equal(health_code(&view, "n1", &query, NOW), 200);
    query.replication_state = "in archive recovery";
    assert_int_equal(health_code(&view, "n1", &query, NOW), 503);
    view.noloadbalance = true;
    assert_int_equal(code(&view, "/replica"), 503);
    assert_int_equal(code(&view, "/async"), 503);
    assert_int_equal(code(&view, "/health"), 200);
}

static int tagged(const struct rest_view *view, const char *path, const char *name,
                  const char *value)
{
    struct health_query query = {.path = path, .tag_count = 1, .tags = {{name, value}}};
    return health_code(view, "n1", &query, NOW);
}

static void test_tags(void **state)
{
    (void)state;
    struct rest_view view = view_of(FOLLOWER);
    assert_int_equal(tagged(&view, "/replica", "zone", "a"), 503); /* none at all */
    view.tags_json = "{\"zone\": \"a\", \"nosync\": true, \"weight\": 1.4, \"n\": 5}";
    assert_int_equal(tagged(&view, "/replica", "zone", "a"), 200);
    assert_int_equal(tagged(&view, "/replica", "zone", "A"), 503);
    assert_int_equal(tagged(&view, "/replica", "nosync", "true"), 200);
    assert_int_equal(tagged(&view, "/replica", "nosync", "True"), 200);
    assert_int_equal(tagged(&view, "/replica", "nosync", "false"), 503);
    assert_int_equal(tagged(&view, "/replica", "weight", "1.4"), 200);
    assert_int_equal(tagged(&view, "/replica", "n", "5"), 200);
    assert_int_equal(tagged(&view, "/replica", "unknown", "5"), 503);
    assert_int_equal(tagged(&view, "/health", "zone", "b"), 503);
    struct health_query two = {
        .path = "/async", .tag_count = 2, .tags = {{"zone", "a"}, {"n", "6"}}};
    assert_int_equal(health_code(&view, "n1", &two, NOW), 503);
    view = view_of(LEADER);
    assert_int_equal(tagged(&view, "/primary", "zone", "b"), 200); /* leaders have no tags here */
    assert_int_equal(tagged(&view, "/leader", "zone", "b"), 200);
    assert_int_equal(tagged(&view, "/read-only", "zone", "b"), 503);
}

static void test_liveness(void **state)
{
    (void)state;
    struct rest_view view = view_of(LEADER); /* next step at 100500, ttl 5000 */
    assert_int_equal(health_liveness(&view, (struct mono){105499}), 200);
    assert_int_equal(health_liveness(&view, (struct mono){105500}), 503);
    cluster.settings.pause = true;
    assert_int_equal(health_liveness(&view, (struct mono){999999}), 200);
    view = view_of(FOLLOWER);
    assert_int_equal(health_liveness(&view, (struct mono){110499}), 200);
    assert_int_equal(health_liveness(&view, (struct mono){110500}), 503);
    view.cluster = NULL;
    assert_int_equal(health_liveness(&view, (struct mono){110499}), 200);
    view = view_of(LEADER);
    view.postgres.process = false;
    assert_int_equal(health_liveness(&view, (struct mono){110499}), 200);
}

static void test_readiness(void **state)
{
    (void)state;
    struct rest_view view = view_of(LEADER);
    struct health_query query = {.path = "/readiness"};
    assert_int_equal(health_readiness(&view, &query, NOW), 200);
    view = view_of(FOLLOWER);
    assert_int_equal(health_readiness(&view, &query, NOW), 503); /* does not stream */
    (void)snprintf(view.postgres.replication_state, sizeof view.postgres.replication_state, "%s",
                   "streaming");
    assert_int_equal(health_readiness(&view, &query, NOW), 200); /* 1000 behind, 1000 allowed */
    query.lag = "999";
    assert_int_equal(health_readiness(&view, &query, NOW), 503);
    query.mode = "write";
    assert_int_equal(health_readiness(&view, &query, NOW), 200); /* received: 500 behind */
    query.mode = "apply";
    assert_int_equal(health_readiness(&view, &query, NOW), 503);
    query.lag = "rubbish";
    assert_int_equal(health_readiness(&view, &query, NOW), 200);
    view.postgres.answered = false;
    assert_int_equal(health_readiness(&view, &query, NOW), 503);
    view.postgres.answered = true;
    view.cluster_seen_at = (struct mono){0};
    assert_int_equal(health_readiness(&view, &query, NOW), 503);
    view.failsafe_active = true;
    assert_int_equal(health_readiness(&view, &query, NOW), 200);
    view.postgres.latest_end_lsn = 20000;
    assert_int_equal(health_readiness(&view, &query, NOW), 503);
}

static void test_never_seen_cluster(void **state)
{
    (void)state;
    struct rest_view view = view_of(LEADER);
    view.cluster = NULL;
    assert_int_equal(code(&view, "/primary"), 200); /* the lease decides */
    view.is_leader = false;
    assert_int_equal(code(&view, "/primary"), 503);
    assert_int_equal(code(&view, "/async"), 503);
    assert_false(health_paused(&view));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_path_for_every_kind),
        cmocka_unit_test(test_lag),
        cmocka_unit_test(test_replication_state_and_noloadbalance),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_liveness),
        cmocka_unit_test(test_readiness),
        cmocka_unit_test(test_never_seen_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
