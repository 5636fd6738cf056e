/* What goes to Consul is compared byte by byte; what comes back is Consul 1.8's own words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/consulproto.h"

static void test_base64_is_rfc_4648s(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xfe\xfb", "//77"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char out[32];
        size_t size = 99;
        consulproto_base64_encode(pairs[i][0], strlen(pairs[i][0]), out);
        assert_string_equal(out, pairs[i][1]);
        assert_true(consulproto_base64_decode(pairs[i][1], strlen(pairs[i][1]), out, &size));
        assert_int_equal(size, strlen(pairs[i][0]));
        assert_string_equal(out, pairs[i][0]);
    }
    static const char *const bad[] = {"Z",    "Zg",   "Zg=",      "Zg=a", "=g==", "Z===",
                                      "====", "Zm9-", "Zg==Zm9v", "Zm 9", "Zge=", "Zh=="};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char out[32];
        size_t size = 0;
        assert_false(consulproto_base64_decode(bad[i], strlen(bad[i]), out, &size));
    }
}

static const struct consulproto_op ops[] = {
    {.type = CONSULPROTO_PUT, .key = "lease", .value = "hi"},
    {.type = CONSULPROTO_CHECK, .key = "lease", .version = 12},
    {.type = CONSULPROTO_CHECK, .key = "leader", .version = 0},
    {.type = CONSULPROTO_ATTACH, .key = "leader", .value = "n1"},
    {.type = CONSULPROTO_DELETE, .key = "sync"},
};
static const struct consulproto_txn txn = {
    .prefix = "service/demo/", .session = "5e55", .nonce = 7, .ops = ops, .count = 5};

static void test_a_transaction_checks_first_and_then_writes(void **state)
{
    (void)state;
    char *text = consulproto_txn_text(&txn);
    assert_string_equal(
        text,
        "[{\"KV\":{\"Verb\":\"check-index\",\"Key\":\"service/demo/lease\",\"Index\":12}},"
        "{\"KV\":{\"Verb\":\"check-not-exists\",\"Key\":\"service/demo/leader\"}},"
        "{\"KV\":{\"Verb\":\"delete\",\"Key\":\"service/demo/lease\"}},"
        "{\"KV\":{\"Verb\":\"set\",\"Key\":\"service/demo/lease\",\"Value\":\"aGk=\",\"Flags\":7}},"
        "{\"KV\":{\"Verb\":\"delete\",\"Key\":\"service/demo/leader\"}},"
        "{\"KV\":{\"Verb\":\"lock\",\"Key\":\"service/demo/leader\",\"Value\":\"bjE=\","
        "\"Flags\":7,\"Session\":\"5e55\"}},"
        "{\"KV\":{\"Verb\":\"set\",\"Key\":\"service/demo/sync\",\"Value\":\"\",\"Flags\":7}},"
        "{\"KV\":{\"Verb\":\"delete\",\"Key\":\"service/demo/sync\"}}]");
    free(text);
}

static enum err answer_of(int status, const char *body, struct consulproto_answer *out_answer)
{
    struct err_detail detail = {0};
    enum err err = consulproto_txn_answer(&txn, status, body, strlen(body), out_answer, &detail);
    assert_true(err == ERR_OK || (err == ERR_INVALID && detail.text[0] != '\0'));
    return err;
}

static void test_an_applied_transaction_has_one_index(void **state)
{
    (void)state;
    static const char body[] =
        "{\"Results\":[{\"KV\":{\"LockIndex\":0,\"Key\":\"service/demo/lease\",\"Flags\":7,"
        "\"Value\":null,\"CreateIndex\":8,\"ModifyIndex\":8}},{\"KV\":{\"Key\":"
        "\"service/demo/lease\",\"ModifyIndex\":13}}],\"Errors\":null}";
    struct consulproto_answer answer;
    assert_int_equal(answer_of(200, body, &answer), ERR_OK);
    assert_int_equal(answer.verdict, CONSULPROTO_APPLIED);
    assert_int_equal(answer.index, 13);
    char part[sizeof(body)];
    for (size_t i = 0; i + 1 < sizeof(body); i++) { /* cut anywhere it proves nothing */
        memcpy(part, body, i);
        part[i] = '\0';
        assert_int_equal(answer_of(200, part, &answer), ERR_INVALID);
    }
}

static void test_what_is_not_understood_proves_nothing(void **state)
{
    (void)state;
    struct consulproto_answer answer;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"Results\":null,\"Errors\":null}",
        "{\"Results\":[],\"Errors\":[]}",
        "{\"Results\":[],\"Errors\":[{}]}",
        "{\"Results\":[],\"Errors\":[{\"OpIndex\":0}]}",
        "{\"Results\":[],\"Errors\":[{\"OpIndex\":-1,\"What\":\"x\"}]}",
        "{\"Results\":[],\"Errors\":[{\"OpIndex\":99,\"What\":\"x\"}]}",
        "{\"Results\":[{\"KV\":{}}],\"Errors\":null}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(answer_of(200, bad[i], &answer), ERR_INVALID);
        assert_int_equal(answer_of(409, bad[i], &answer), ERR_INVALID);
    }
    assert_int_equal(
        answer_of(200, "{\"Results\":[],\"Errors\":[{\"OpIndex\":0,\"What\":\"x\"}]}", &answer),
        ERR_INVALID);
}

static enum consulproto_verdict verdict_of(const char *errors)
{
    char body[512];
    struct consulproto_answer answer;
    (void)snprintf(body, sizeof(body), "{\"Results\":null,\"Errors\":[%s]}", errors);
    assert_int_equal(answer_of(409, body, &answer), ERR_OK);
    assert_true(answer.what[0] != '\0');
    assert_int_equal(answer.index, 0);
    return answer.verdict;
}

#define CHECKED "{\"OpIndex\":0,\"What\":\"failed index check for key \\\"a\\\", current 13 != 3\"}"
#define SESSION "{\"OpIndex\":5,\"What\":\"invalid session \\\"1111\\\"\"}"
#define DELAYED "{\"OpIndex\":5,\"What\":\"failed to lock key \\\"a\\\" due to lock delay\"}"
#define DENIED "{\"OpIndex\":3,\"What\":\"Permission denied\"}"
#define OTHER "{\"OpIndex\":4,\"What\":\"unknown KV verb\"}"

static void test_the_gravest_of_all_errors_counts(void **state)
{
    (void)state;
    assert_int_equal(verdict_of(CHECKED), CONSULPROTO_CONFLICT);
    assert_int_equal(verdict_of(SESSION), CONSULPROTO_NO_SESSION);
    assert_int_equal(verdict_of(DELAYED), CONSULPROTO_LATER);
    assert_int_equal(verdict_of(DENIED), CONSULPROTO_DENIED);
    assert_int_equal(verdict_of(OTHER), CONSULPROTO_REFUSED);
    assert_int_equal(verdict_of(SESSION "," CHECKED), CONSULPROTO_CONFLICT);
    assert_int_equal(verdict_of(CHECKED "," SESSION), CONSULPROTO_CONFLICT);
    assert_int_equal(verdict_of(CHECKED "," DENIED), CONSULPROTO_DENIED);
    assert_int_equal(verdict_of(DELAYED "," SESSION), CONSULPROTO_NO_SESSION);
}

static enum err tree_of(const char *body, struct consulproto_tree *out_tree)
{
    struct err_detail detail = {0};
    return consulproto_tree_read("service/demo/", body, strlen(body), out_tree, &detail);
}

static void test_a_prefix_is_read_whole_and_sorted(void **state)
{
    (void)state;
    static const char body[] =
        "[{\"LockIndex\":0,\"Key\":\"service/demo/\",\"Flags\":0,\"Value\":null,\"ModifyIndex\":3},"
        "{\"Key\":\"service/demo/members/n1\",\"Value\":\"e30=\",\"ModifyIndex\":9,\"Session\":"
        "\"56e3e616-b39b-c67f-7ff9-b256213a51ae\"},"
        "{\"Key\":\"service/demo/failover\",\"Value\":null,\"ModifyIndex\":4},"
        "{\"Key\":\"service/demo/lease\\u0000x\",\"Value\":null,\"ModifyIndex\":5},"
        "{\"Key\":\"service/demo/lease\",\"Value\":\"aGk=\",\"ModifyIndex\":8}]";
    struct consulproto_tree tree;
    assert_int_equal(tree_of("[]", &tree), ERR_OK);
    assert_int_equal(tree.count, 0);
    consulproto_tree_fini(&tree);
    char *with_nul = strdup(body);
    assert_non_null(with_nul);
    char *at = strstr(with_nul, "\\u0000");
    at[5] = '1'; /* a control character: not one of ours either */
    assert_int_equal(tree_of(with_nul, &tree), ERR_OK);
    free(with_nul);
    assert_int_equal(tree.count, 3);
    assert_string_equal(tree.items[0].key, "failover");
    assert_int_equal(tree.items[0].value_size, 0);
    assert_string_equal(tree.items[1].key, "lease");
    assert_string_equal(tree.items[1].value, "hi");
    assert_int_equal(tree.items[1].index, 8);
    assert_false(tree.items[1].attached);
    assert_string_equal(tree.items[2].key, "members/n1");
    assert_true(tree.items[2].attached);
    consulproto_tree_fini(&tree);
    assert_int_equal(tree_of(body, &tree), ERR_OK);
    assert_int_equal(tree.count, 3); /* the key with a NUL is not `lease` */
    consulproto_tree_fini(&tree);
    assert_int_equal(tree_of("[{\"Key\":\"service/demo/lease\",\"Value\":null,\"ModifyIndex\":8},"
                             "{\"Key\":\"service/demo/lease\",\"Value\":null,\"ModifyIndex\":9}]",
                             &tree),
                     ERR_INVALID); /* which of the two stands is not told */
    char part[sizeof(body)];
    for (size_t i = 0; i + 1 < sizeof(body); i++) {
        memcpy(part, body, i);
        part[i] = '\0';
        assert_int_equal(tree_of(part, &tree), ERR_INVALID);
    }
}

static void test_a_key_that_is_none_spoils_the_answer(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "[1]",
        "[{}]",
        "[{\"Key\":\"other/lease\",\"Value\":null,\"ModifyIndex\":8}]",
        "[{\"Key\":\"service/demo/lease\",\"Value\":null}]",
        "[{\"Key\":\"service/demo/lease\",\"Value\":null,\"ModifyIndex\":0}]",
        "[{\"Key\":\"service/demo/lease\",\"Value\":7,\"ModifyIndex\":8}]",
        "[{\"Key\":\"service/demo/lease\",\"Value\":\"???\",\"ModifyIndex\":8}]",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct consulproto_tree tree;
        assert_int_equal(tree_of(bad[i], &tree), ERR_INVALID);
    }
}

static void test_a_session_has_no_checks_unless_told(void **state)
{
    (void)state;
    struct consulproto_session session = {.name = "demo-n1", .ttl_ms = 15000};
    char *text = consulproto_session_text(&session);
    assert_string_equal(text, "{\"Name\":\"demo-n1\",\"Checks\":[],\"LockDelay\":\"0s\","
                              "\"Behavior\":\"delete\",\"TTL\":\"15000ms\"}");
    free(text);
    static const char *const checks[] = {"serfHealth", "db"};
    session.checks = checks;
    session.check_count = 2;
    text = consulproto_session_text(&session);
    assert_non_null(strstr(text, "\"Checks\":[\"serfHealth\",\"db\"]"));
    free(text);
}

static bool id_of(const char *body, char out[64])
{
    return consulproto_session_id(body, strlen(body), out, 64);
}

static void test_a_sessions_id_is_taken_only_as_one(void **state)
{
    (void)state;
    char id[64] = "";
    assert_true(id_of("{\"ID\":\"56e3e616-b39b-c67f-7ff9-b256213a51ae\"}", id));
    assert_string_equal(id, "56e3e616-b39b-c67f-7ff9-b256213a51ae");
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "{\"ID\":1}",
                                      "{\"ID\":\"\"}",
                                      "{\"ID\":\"a/b\"}",
                                      "{\"ID\":\"0123456789012345678901234567890123456789\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(id_of(bad[i], id));
    }
}

static void test_the_smallest_ttl_is_in_the_refusal(void **state)
{
    (void)state;
    int64_t ms = 0;
    assert_true(consulproto_session_ttl_min(
        "Invalid Session TTL '500000000', must be between [10s=24h0m0s]", &ms));
    assert_int_equal(ms, 10000);
    assert_true(consulproto_session_ttl_min(
        "Invalid Session TTL '1', must be between [1m30s=24h0m0s]", &ms));
    assert_int_equal(ms, 90000);
    assert_true(consulproto_session_ttl_min(
        "Invalid Session TTL '1', must be between [500ms=24h0m0s]", &ms));
    assert_int_equal(ms, 500);
    static const char *const bad[] = {
        "",
        "No cluster leader",
        "Invalid Session TTL '1'",
        "Invalid Session TTL '1', must be between [",
        "Invalid Session TTL '1', must be between [=",
        "Invalid Session TTL '1', must be between [10",
        "Invalid Session TTL '1', must be between [10x=",
        "Invalid Session TTL '1', must be between [10s",
        "Invalid Session TTL '1', must be between [nans=24h]",
        "Invalid Session TTL '1', must be between [99999h=]",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(consulproto_session_ttl_min(bad[i], &ms));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64_is_rfc_4648s),
        cmocka_unit_test(test_a_transaction_checks_first_and_then_writes),
        cmocka_unit_test(test_an_applied_transaction_has_one_index),
        cmocka_unit_test(test_what_is_not_understood_proves_nothing),
        cmocka_unit_test(test_the_gravest_of_all_errors_counts),
        cmocka_unit_test(test_a_prefix_is_read_whole_and_sorted),
        cmocka_unit_test(test_a_key_that_is_none_spoils_the_answer),
        cmocka_unit_test(test_a_session_has_no_checks_unless_told),
        cmocka_unit_test(test_a_sessions_id_is_taken_only_as_one),
        cmocka_unit_test(test_the_smallest_ttl_is_in_the_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
