/* The table of `ctl list`, character by character, in all formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ctl.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct ctl_cluster *cluster;

static struct records_item item_of(const char *key, const char *value)
{
    return (struct records_item){key, value, strlen(value), 42};
}

static void make_cluster(const struct records_item *items, size_t count)
{
    ctl_cluster_free(cluster);
    cluster = calloc(1, sizeof(*cluster));
    assert_non_null(cluster);
    cluster->name = "demo";
    struct records_context context = {.members = cluster->members};
    records_cluster_from_snapshot(items, count, &context, &cluster->core);
    cluster->member_count = context.member_count;
    uint32_t member = 0;
    for (size_t i = 0; i < count; i++) {
        switch ((int)records_kind(items[i].key, NULL)) {
        case RECORDS_MEMBER:
            cluster->member_json[member++] = member_json(items[i].value, items[i].value_size);
            break;
        case RECORDS_SYNC:
            records_parse_sync(&items[i], &cluster->sync);
            break;
        case RECORDS_CONFIG:
            cluster->config = json_loads(items[i].value, 0, NULL);
            break;
        default:
            break;
        }
    }
}

static int drop_cluster(void **state)
{
    (void)state;
    ctl_cluster_free(cluster);
    cluster = NULL;
    return 0;
}

/* What is printed, to be freed. */
static char *printed(struct ctl_list_options options)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    ctl_list_print(cluster, &options, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void prints(struct ctl_list_options options, const char *wanted)
{
    char *text = printed(options);
    assert_string_equal(text, wanted);
    free(text);
}

#define N1                                                                                         \
    "{\"conn_url\":\"postgres://10.0.0.1:5432/postgres\",\"state\":\"running\",\"role\":"          \
    "\"primary\",\"timeline\":3}"
#define N2                                                                                         \
    "{\"conn_url\":\"postgres://10.0.0.2:5432/postgres\",\"state\":\"running\",\"role\":"          \
    "\"replica\",\"replication_state\":\"streaming\",\"timeline\":3,\"receive_lsn\":67110120,"     \
    "\"replay_lsn\":67110120}"

/* The sample of compat/ctl.md section 2. */
static void test_sample(void **state)
{
    (void)state;
    const struct records_item items[] = {
        item_of("initialize", "7268616322854375442"),
        item_of("leader", "n1"),
        item_of("members/n1", N1),
        item_of("members/n2", N2),
        item_of("status", "{\"optime\":67110120}"),
        item_of("sync", "{\"leader\":\"n1\",\"sync_standby\":\"n2\"}"),
    };
    make_cluster(items, COUNT(items));
    prints((struct ctl_list_options){.format = TABLE_PRETTY},
           "+ Cluster: demo (7268616322854375442) "
           "---------+----+-------------+-----+------------+-----+\n"
           "| Member | Host     | Role         | State     | TL | Receive LSN | Lag | Replay LSN | "
           "Lag |\n"
           "+--------+----------+--------------+-----------+----+-------------+-----+------------+-"
           "----+\n"
           "| n1     | 10.0.0.1 | Leader       | running   |  3 |             |     |            | "
           "    |\n"
           "| n2     | 10.0.0.2 | Sync Standby | streaming |  3 |   0/40004E8 |   0 |  0/40004E8 | "
           "  0 |\n"
           "+--------+----------+--------------+-----------+----+-------------+-----+------------+-"
           "----+\n");
    prints(
        (struct ctl_list_options){.format = TABLE_TSV},
        "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\n"
        "demo\tn1\t10.0.0.1\tLeader\trunning\t3\t\t\t\t\n"
        "demo\tn2\t10.0.0.2\tSync Standby\tstreaming\t3\t0/40004E8\t0\t0/40004E8\t0\n");
    prints(
        (struct ctl_list_options){.format = TABLE_JSON},
        "[{\"Cluster\": \"demo\", \"Member\": \"n1\", \"Host\": \"10.0.0.1\", \"Role\": "
        "\"Leader\", "
        "\"State\": \"running\", \"TL\": 3}, {\"Cluster\": \"demo\", \"Member\": \"n2\", \"Host\": "
        "\"10.0.0.2\", \"Role\": \"Sync Standby\", \"State\": \"streaming\", \"TL\": 3, \"Receive "
        "LSN\": \"0/40004E8\", \"Receive Lag\": 0, \"Replay LSN\": \"0/40004E8\", \"Replay Lag\": "
        "0}]\n");
    prints((struct ctl_list_options){.format = TABLE_YAML},
           "- Cluster: demo\n  Host: 10.0.0.1\n  Member: n1\n  Role: Leader\n  State: running\n  "
           "TL: 3\n"
           "- Cluster: demo\n  Host: 10.0.0.2\n  Member: n2\n  Receive LSN: 0/40004E8\n  Receive "
           "Lag: 0\n"
           "  Replay LSN: 0/40004E8\n  Replay Lag: 0\n  Role: Sync Standby\n  State: streaming\n  "
           "TL: 3\n");
}

static void test_nothing_there(void **state)
{
    (void)state;
    make_cluster(NULL, 0);
    prints((struct ctl_list_options){.format = TABLE_PRETTY},
           "+ Cluster: demo (uninitialized) ----+-------------+-----+------------+-----+\n"
           "| Member | Host | Role | State | TL | Receive LSN | Lag | Replay LSN | Lag |\n"
           "+--------+------+------+-------+----+-------------+-----+------------+-----+\n");
    prints((struct ctl_list_options){.format = TABLE_JSON}, "[]\n");
    prints((struct ctl_list_options){.format = TABLE_YAML}, "[]\n");
}

static void test_extras(void **state)
{
    (void)state;
    const struct records_item items[] = {
        item_of("config", "{\"pause\":true,\"synchronous_mode\":\"quorum\"}"),
        item_of("failover",
                "{\"leader\":\"n1\",\"member\":\"n2\",\"scheduled_at\":\"2026-11-23T12:00:00Z\"}"),
        item_of("initialize", ""),
        item_of("leader", "n1"),
        item_of("members/n1",
                "{\"conn_url\":\"postgres://h:5432/p\",\"role\":\"standby_leader\",\"state\":"
                "\"running\",\"pending_restart\":true,\"pending_restart_reason\":{\"a\":{"
                "\"old_value\":\"1\",\"new_value\":2}},\"scheduled_restart\":{\"schedule\":"
                "\"2026-01-01\",\"postgres_version\":\"15.2\"}}"),
        item_of("members/n2",
                "{\"conn_url\":\"postgres://h:5433/p\",\"state\":\"running\",\"receive_lsn\":1,"
                "\"replay_lsn\":1,\"tags\":{\"x\":\"yes\",\"nosync\":true}}"),
        item_of("members/n3", "{\"xlog_location\":3145729,\"replication_state\":\"streaming\"}"),
        item_of("members/n4", "{\"xlog_location\":3145729}"),
        item_of("status", "4194305"),
        item_of("sync", "{\"leader\":\"n1\",\"sync_standby\":\"N2\"}"),
    };
    make_cluster(items, COUNT(items));
    prints(
        (struct ctl_list_options){.format = TABLE_TSV},
        "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\t"
        "Pending restart\tPending restart reason\tScheduled restart\tTags\n"
        "demo\tn1\th:5432\tStandby Leader\trunning\t\t\t\t\t\t*\ta: 1->2\t2026-01-01 if version < "
        "15.2\t\n"
        "demo\tn2\th:5433\tQuorum Standby\trunning\t\t0/1\t4\t0/1\t4\t\t\t\t{nosync: true, x: "
        "'yes'}\n"
        "demo\tn3\t\tReplica\tstreaming\t\t0/300001\t1\tunknown\t\t\t\t\t\n"
        "demo\tn4\t\tReplica\t\t\tunknown\t\t0/300001\t1\t\t\t\t\n");
    char *text = printed((struct ctl_list_options){.format = TABLE_PRETTY});
    assert_non_null(strstr(text, "+ Cluster: demo (initializing) -"));
    assert_non_null(strstr(text, "| nosync: true |\n"));
    assert_non_null(strstr(text, "| x: 'yes'     |\n"));
    assert_non_null(strstr(text, "\n Maintenance mode: on\n"
                                 " Switchover scheduled at: 2026-11-23T12:00:00+00:00\n"
                                 "                    from: n1\n"
                                 "                      to: n2\n"));
    free(text);
}

static void test_extended_shows_empty_columns(void **state)
{
    (void)state;
    make_cluster(NULL, 0);
    prints(
        (struct ctl_list_options){.format = TABLE_TSV, .extended = true},
        "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\t"
        "Pending restart\tPending restart reason\tScheduled restart\tTags\n");
}

static void test_long_reason_is_hidden_in_the_box(void **state)
{
    (void)state;
    const struct records_item items[] = {
        item_of("members/n1",
                "{\"pending_restart\":true,\"pending_restart_reason\":{\"shared\":{\"old_value\":"
                "\"0123456789012345678901234\",\"new_value\":\"0123456789012345678901234\"}}}"),
    };
    make_cluster(items, COUNT(items));
    char *text = printed((struct ctl_list_options){.format = TABLE_PRETTY});
    assert_non_null(strstr(text, "shared: [hidden - too long]"));
    free(text);
}

/* ---- the table itself ---- */

static void table_prints(const struct table *table, enum table_format format, const char *title,
                         const char *wanted)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    table_print(table, format, title, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, wanted);
    free(text);
}

static void test_table(void **state)
{
    (void)state;
    const struct table_column columns[] = {{.name = "A"}, {.name = "B", .right = true}};
    struct table table;
    table_init(&table, columns, 2);
    table_prints(&table, TABLE_PRETTY, NULL, "+---+---+\n| A | B |\n+---+---+\n");
    table_prints(&table, TABLE_PRETTY, " much longer than the border ",
                 "+ much l+\n| A | B |\n+---+---+\n");
    size_t row = table_row(&table);
    table_set(&table, row, 0, "\xC3\xA9\xC3\xA9"); /* two characters, four bytes */
    table_set(&table, row, 1, "12345");
    table_prints(&table, TABLE_PRETTY, NULL,
                 "+----+-------+\n| A  |     B |\n+----+-------+\n| \xC3\xA9\xC3\xA9 | 12345 |\n"
                 "+----+-------+\n");
    row = table_row(&table);
    table_set(&table, row, 0, "x\ny");
    table_set_json(&table, row, 1, json_integer(5));
    table_set_json(&table, row, 1, json_integer(6));
    table_prints(&table, TABLE_PRETTY, NULL,
                 "+----+-------+\n| A  |     B |\n+----+-------+\n| \xC3\xA9\xC3\xA9 | 12345 |\n"
                 "+----+-------+\n| x  |       |\n| y  |       |\n+----+-------+\n");
    table_prints(&table, TABLE_JSON, NULL,
                 "[{\"A\": \"\\u00E9\\u00E9\", \"B\": \"12345\"}, {\"A\": \"x\\ny\", \"B\": 6}]\n");
    for (int i = 0; i < 100; i++) {
        table_set(&table, table_row(&table), 0, "more");
    }
    assert_int_equal(table.row_count, 102);
    table_fini(&table);
}

static void test_formats(void **state)
{
    (void)state;
    enum table_format format = TABLE_TSV;
    assert_true(table_format_parse("pretty", &format) && format == TABLE_PRETTY);
    assert_true(table_format_parse("yml", &format) && format == TABLE_YAML);
    assert_true(table_format_parse("yaml", &format) && format == TABLE_YAML);
    assert_true(table_format_parse("json", &format) && format == TABLE_JSON);
    assert_true(table_format_parse("tsv", &format) && format == TABLE_TSV);
    assert_false(table_format_parse("xml", &format));
    assert_false(table_format_parse("", &format));
}

static void test_yaml(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{\"b\":1,\"a\":[1,true,null]}", "a:\n- 1\n- true\n- null\nb: 1\n"},
        {"{\"a\":{},\"b\":[]}", "a: {}\nb: []\n"},
        {"{\"a\":\"yes\",\"b\":\"1\",\"c\":\"\"}", "a: 'yes'\nb: '1'\nc: ''\n"},
        {"{\"a\":\"x: y\"}", "a: 'x: y'\n"},
        {"{\"a\":1.5}", "a: 1.5\n"},
        {"[{\"a\":{\"b\":\"c\"}}]", "- a:\n    b: c\n"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        json_t *json = json_loads(rows[i][0], 0, NULL);
        assert_non_null(json);
        char *text = yaml_text(json, false);
        assert_string_equal(text, rows[i][1]);
        free(text);
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_sample, drop_cluster),
        cmocka_unit_test_teardown(test_nothing_there, drop_cluster),
        cmocka_unit_test_teardown(test_extras, drop_cluster),
        cmocka_unit_test_teardown(test_extended_shows_empty_columns, drop_cluster),
        cmocka_unit_test_teardown(test_long_reason_is_hidden_in_the_box, drop_cluster),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_yaml),
    };
    return cmocka_run_group_tests_name("cli_list", tests, NULL, NULL);
}
