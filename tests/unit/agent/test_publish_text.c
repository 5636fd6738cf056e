/* agent/publish_text: exact texts of the keys that an agent keeps up to date. */
#include "agent/publish_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/str.h"

static struct core_postgres facts;
static struct pg_details details;
static struct publish_member member;

#define TAGS "{\"nofailover\":true}"

static int setup(void **state)
{
    (void)state;
    facts =
        (struct core_postgres){.primary = TRI_YES, .lsn = 83886080, .timeline_checkpointed = true};
    details = (struct pg_details){.state = "running", .role = "primary", .timeline = 2};
    member = (struct publish_member){.conn_url = "postgres://127.0.0.1:5432/postgres",
                                     .api_url = "http://127.0.0.1:8008/patroni",
                                     .positions = true,
                                     .facts = &facts,
                                     .details = &details};
    return 0;
}

static void expect_member(const char *tags_text, const char *middle)
{
    char want[1024];
    struct member_info info;
    json_t *tags = json_loads(tags_text, 0, NULL);
    publish_member_info(&member, &info);
    assert_true(str_format(want, sizeof(want),
                           "{\"conn_url\":\"postgres://127.0.0.1:5432/postgres\",\"api_url\":"
                           "\"http://127.0.0.1:8008/patroni\",%s}",
                           middle));
    char *text = member_format(&info, tags);
    json_decref(tags);
    assert_non_null(text);
    assert_string_equal(text, want);
    free(text);
}

static void test_primary(void **state)
{
    (void)state;
    expect_member("{}", "\"state\":\"running\",\"role\":\"primary\",\"version\":\"4.1.4\","
                        "\"xlog_location\":83886080,\"timeline\":2");
}

static void test_primary_before_its_checkpoint(void **state)
{
    (void)state;
    facts.timeline_checkpointed = false;
    member.pause = true;
    expect_member("{}",
                  "\"state\":\"running\",\"role\":\"primary\",\"version\":\"4.1.4\","
                  "\"checkpoint_after_promote\":false,\"xlog_location\":83886080,\"timeline\":2,"
                  "\"pause\":true");
}

static void test_replica_with_tags(void **state)
{
    (void)state;
    facts.primary = TRI_NO;
    str_copy_cut(details.role, sizeof(details.role), "replica");
    str_copy_cut(details.replication_state, sizeof(details.replication_state), "streaming");
    details.received_lsn = 83886080;
    details.replayed_lsn = 83886000;
    expect_member(TAGS, "\"state\":\"running\",\"role\":\"replica\",\"version\":\"4.1.4\","
                        "\"tags\":{\"nofailover\":true},\"xlog_location\":83886080,"
                        "\"replay_lsn\":83886000,\"receive_lsn\":83886080,"
                        "\"replication_state\":\"streaming\",\"timeline\":2");
    member.positions = false;
    expect_member(TAGS, "\"state\":\"running\",\"role\":\"replica\",\"version\":\"4.1.4\","
                        "\"tags\":{\"nofailover\":true},\"replication_state\":\"streaming\","
                        "\"timeline\":2");
}

static void test_clone_has_no_position(void **state)
{
    (void)state;
    facts.primary = TRI_UNKNOWN;
    str_copy_cut(details.state, sizeof(details.state), "creating replica");
    str_copy_cut(details.role, sizeof(details.role), "uninitialized");
    details.timeline = 0;
    expect_member("{}", "\"state\":\"creating replica\",\"role\":\"uninitialized\","
                        "\"version\":\"4.1.4\"");
}

static void test_status(void **state)
{
    (void)state;
    char *text = publish_status_text(67108864, 3);
    assert_string_equal(text, "{\"optime\":67108864,\"timeline\":3}");
    assert_int_equal(publish_status_timeline(text, strlen(text)), 3);
    free(text);
    static const char *const OTHERS[] = {"", "67108864", "{\"optime\":1}",
                                         "{\"optime\":1,\"timeline\":-1}",
                                         "{\"optime\":1,\"timeline\":4294967296}"};
    for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++) {
        assert_int_equal(publish_status_timeline(OTHERS[i], strlen(OTHERS[i])), 0);
    }
}

static void test_history(void **state)
{
    (void)state;
    struct publish_history history = {
        .timeline = 3,
        .file = "1\t0/3000000\tno recovery target specified\n\n# note\n2\t0/4000060\tno recovery",
        .stored = "[[1,50331648,\"old reason\",\"2026-01-01T00:00:00+00:00\",\"n1\"]]",
        .name = "n2",
        .changed_at = 1767225600,
    };
    char *text = publish_history_text(&history);
    assert_string_equal(text, "[[1,50331648,\"no recovery target specified\","
                              "\"2026-01-01T00:00:00+00:00\",\"n1\"],"
                              "[2,67108960,\"no recovery\",\"2026-01-01T00:00:00+00:00\",\"n2\"]]");
    assert_true(publish_history_current(text, 3));
    assert_false(publish_history_current(text, 4));
    assert_false(publish_history_current(history.stored, 3));
    free(text);

    history.timelines_max = 1;
    text = publish_history_text(&history);
    assert_string_equal(text,
                        "[[2,67108960,\"no recovery\",\"2026-01-01T00:00:00+00:00\",\"n2\"]]");
    free(text);

    history.timeline = 4; /* the file does not lead to this timeline */
    assert_null(publish_history_text(&history));
}

static void test_history_of_the_first_timeline(void **state)
{
    (void)state;
    struct publish_history history = {.timeline = 1, .name = "n1"};
    char *text = publish_history_text(&history);
    assert_string_equal(text, "[]");
    assert_true(publish_history_current(text, 1));
    assert_false(publish_history_current(NULL, 1));
    assert_false(publish_history_current("garbage", 2));
    assert_false(publish_history_current("[[1,5,\"three fields\"]]", 2));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_primary, setup),
        cmocka_unit_test_setup(test_primary_before_its_checkpoint, setup),
        cmocka_unit_test_setup(test_replica_with_tags, setup),
        cmocka_unit_test_setup(test_clone_has_no_position, setup),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_history_of_the_first_timeline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
