/* Frames as they should be come back as they were; all others are refused, whatever is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/localproto.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static enum err get_request(const char *line, struct localproto_request *out)
{
    /* A copy of exactly that size, so that valgrind sees a look beyond it. */
    size_t size = strlen(line);
    char *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, line, size + 1);
    struct err_detail detail = {0};
    enum err err = localproto_get_request(copy, size, out, &detail);
    assert_true((err == ERR_OK) == (detail.text[0] == '\0'));
    free(copy);
    return err;
}

static enum err get_answer(const char *line, struct localproto_answer *out)
{
    struct err_detail detail = {0};
    enum err err = localproto_get_answer(line, strlen(line), out, &detail);
    assert_true((err == ERR_OK) == (detail.text[0] == '\0'));
    return err;
}

/* What was encoded, as a C string without its newline. */
static char *line_of(struct localproto_buf *buf)
{
    assert_true(buf->used > 0 && buf->data[buf->used - 1] == '\n');
    buf->data[buf->used - 1] = '\0';
    assert_null(memchr(buf->data, '\n', buf->used));
    return buf->data;
}

static void test_requests_come_back(void **state)
{
    (void)state;
    const struct localproto_request requests[] = {
        {.type = LOCALPROTO_HELLO, .id = 1, .base = "/service/d\xc3\xa9mo"},
        {.type = LOCALPROTO_READ, .id = 2},
        {.type = LOCALPROTO_WATCH, .id = 3},
        {.type = LOCALPROTO_SESSION, .id = 4, .ttl_ms = 15000},
        {.type = LOCALPROTO_KEEPALIVE, .id = INT64_MAX, .session = "s\"1", .ttl_ms = 1},
    };
    for (size_t i = 0; i < COUNT(requests); i++) {
        struct localproto_buf buf = {.grow = realloc};
        localproto_put_request(&buf, &requests[i]);
        struct localproto_request got;
        assert_int_equal(get_request(line_of(&buf), &got), ERR_OK);
        assert_int_equal(got.type, requests[i].type);
        assert_int_equal(got.id, requests[i].id);
        assert_int_equal(got.ttl_ms, requests[i].ttl_ms);
        if (requests[i].base != NULL) {
            assert_string_equal(got.base, requests[i].base);
        }
        if (requests[i].session != NULL) {
            assert_string_equal(got.session, requests[i].session);
        }
        localproto_request_fini(&got);
        free(buf.data);
    }
}

static void test_a_transaction_comes_back(void **state)
{
    (void)state;
    char controls[32];
    for (size_t i = 0; i < 31; i++) {
        controls[i] = (char)(i + 1);
    }
    controls[31] = '\0';
    const struct localproto_op ops[] = {
        {.type = LOCALPROTO_CHECK, .key = "lease", .version = INT64_MAX},
        {.type = LOCALPROTO_PUT, .key = "lease", .value = "{\"a\":\"\\\"}", .value_size = 9},
        {.type = LOCALPROTO_ATTACH, .key = "leader", .value = controls, .value_size = 31},
        {.type = LOCALPROTO_DELETE, .key = "members/n 1"},
        {.type = LOCALPROTO_PUT, .key = "empty", .value = "", .value_size = 0},
    };
    struct localproto_buf list = {.grow = realloc};
    localproto_put_ops(&list, ops, COUNT(ops));
    struct localproto_buf buf = {.grow = realloc};
    localproto_put_txn(&buf, 7, "s1", list.data, list.used);
    struct localproto_request got;
    assert_int_equal(get_request(line_of(&buf), &got), ERR_OK);
    assert_int_equal(got.type, LOCALPROTO_TXN);
    assert_string_equal(got.session, "s1");
    assert_int_equal(got.op_count, COUNT(ops));
    for (size_t i = 0; i < COUNT(ops); i++) {
        assert_int_equal(got.ops[i].type, ops[i].type);
        assert_string_equal(got.ops[i].key, ops[i].key);
        assert_int_equal(got.ops[i].version, ops[i].version);
        assert_int_equal(got.ops[i].value_size, ops[i].value_size);
        if (ops[i].value != NULL) {
            assert_string_equal(got.ops[i].value, ops[i].value);
        }
    }
    localproto_request_fini(&got);
    free(list.data);
    free(buf.data);
}

static void test_answers_come_back(void **state)
{
    (void)state;
    const struct localproto_answer answers[] = {
        {.type = LOCALPROTO_WELCOME, .id = 1, .store_id = INT64_MAX, .revision = 5},
        {.type = LOCALPROTO_DONE, .id = 2, .revision = 6},
        {.type = LOCALPROTO_GRANTED, .id = 3, .session = "abc"},
        {.type = LOCALPROTO_FAILED, .id = 4, .error = LOCALPROTO_NO_SESSION, .text = "no \"x\""},
        {.type = LOCALPROTO_FAILED, .id = 0, .error = LOCALPROTO_REFUSED, .text = ""},
    };
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct localproto_buf buf = {.grow = realloc};
        localproto_put_answer(&buf, &answers[i]);
        struct localproto_answer got;
        assert_int_equal(get_answer(line_of(&buf), &got), ERR_OK);
        assert_int_equal(got.type, answers[i].type);
        assert_int_equal(got.id, answers[i].id);
        assert_int_equal(got.store_id, answers[i].store_id);
        assert_int_equal(got.revision, answers[i].revision);
        assert_int_equal(got.error, answers[i].error);
        if (answers[i].session != NULL) {
            assert_string_equal(got.session, answers[i].session);
        }
        if (answers[i].text != NULL) {
            assert_string_equal(got.text, answers[i].text);
        }
        localproto_answer_fini(&got);
        free(buf.data);
    }
}

static void test_items_come_back(void **state)
{
    (void)state;
    const struct localproto_item items[] = {
        {.key = "a/[", .value = "[", .value_size = 1, .version = 3, .attached = true},
        {.key = "b"}, /* deleted */
        {.key = "c", .value = "", .version = 4},
    };
    struct localproto_buf buf = {.grow = realloc};
    localproto_items_begin(&buf,
                           &(struct localproto_answer){.type = LOCALPROTO_CHANGES, .revision = 9});
    for (size_t i = 0; i < COUNT(items); i++) {
        localproto_put_item(&buf, &items[i]);
    }
    localproto_items_end(&buf);
    struct localproto_answer got;
    assert_int_equal(get_answer(line_of(&buf), &got), ERR_OK);
    assert_int_equal(got.item_count, COUNT(items));
    for (size_t i = 0; i < COUNT(items); i++) {
        struct localproto_item item;
        localproto_answer_item(&got, i, &item);
        assert_string_equal(item.key, items[i].key);
        assert_true((item.value == NULL) == (items[i].value == NULL));
        assert_int_equal(item.value_size, items[i].value_size);
        assert_int_equal(item.version, items[i].version);
        assert_true(item.attached == items[i].attached);
    }
    localproto_answer_fini(&got);
    free(buf.data);
}

static void test_malformed_requests_are_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        " ",
        "null",
        "[]",
        "\"hello\"",
        "{}",
        "{\"do\":\"read\"}",
        "{\"do\":\"read\",\"id\":0}",
        "{\"do\":\"read\",\"id\":-1}",
        "{\"do\":\"read\",\"id\":1.5}",
        "{\"do\":\"read\",\"id\":\"1\"}",
        "{\"do\":\"read\",\"id\":99999999999999999999}",
        "{\"do\":\"read\",\"id\":1}{\"do\":\"read\",\"id\":2}",
        "{\"do\":\"read\",\"id\":1,\"id\":2}",
        "{\"do\":\"reed\",\"id\":1}",
        "{\"do\":7,\"id\":1}",
        "{\"do\":\"hello\",\"id\":1,\"version\":1}",
        "{\"do\":\"hello\",\"id\":1,\"version\":2,\"base\":\"/a\"}",
        "{\"do\":\"hello\",\"id\":1,\"version\":1,\"base\":\"a\"}",
        "{\"do\":\"hello\",\"id\":1,\"version\":1,\"base\":\"/\"}",
        "{\"do\":\"hello\",\"id\":1,\"version\":1,\"base\":\"/a/\"}",
        "{\"do\":\"hello\",\"id\":1,\"version\":1,\"base\":\"/a//b\"}",
        "{\"do\":\"hello\",\"id\":1,\"version\":1,\"base\":\"/a\\u0000b\"}",
        "{\"do\":\"session\",\"id\":1}",
        "{\"do\":\"session\",\"id\":1,\"ttl_ms\":0}",
        "{\"do\":\"session\",\"id\":1,\"ttl_ms\":-5}",
        "{\"do\":\"keepalive\",\"id\":1,\"ttl_ms\":5}",
        "{\"do\":\"txn\",\"id\":1,\"ops\":[[\"delete\",\"a\"]]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\"}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":{}}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[[]]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[\"delete\"]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[[\"drop\",\"a\"]]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[[\"delete\",\"a\",\"b\"]]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[[\"delete\",1]]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[[\"put\",\"a\"]]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[[\"put\",\"a\",1]]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[[\"put\",\"a\",\"b\",\"c\"]]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[[\"check\",\"a\",\"1\"]]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[[\"check\",\"a\",-1]]}",
        "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":[[\"put\",\"a\",\"\xff\"]]}",
    };
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct localproto_request untouched = {.id = 77};
        assert_int_equal(get_request(lines[i], &untouched), ERR_INVALID);
        assert_int_equal(untouched.id, 77);
    }
}

static void test_too_many_operations_are_refused(void **state)
{
    (void)state;
    for (int count = STORE_TXN_OPS_MAX; count <= STORE_TXN_OPS_MAX + 1; count++) {
        char line[2048];
        size_t used = 0;
        for (int i = 0; i < count; i++) {
            used += (size_t)snprintf(line + used, sizeof(line) - used, "%s[\"delete\",\"a\"]",
                                     i == 0 ? "{\"do\":\"txn\",\"id\":1,\"session\":\"\",\"ops\":["
                                            : ",");
        }
        (void)snprintf(line + used, sizeof(line) - used, "]}");
        struct localproto_request request;
        bool fits = count <= STORE_TXN_OPS_MAX;
        assert_int_equal(get_request(line, &request), fits ? ERR_OK : ERR_INVALID);
        if (fits) {
            localproto_request_fini(&request);
        }
    }
}

static void test_every_truncation_is_refused(void **state)
{
    (void)state;
    static const char request[] = "{\"do\":\"txn\",\"id\":12,\"session\":\"s\",\"ops\":"
                                  "[[\"check\",\"a\",10],[\"put\",\"a\",\"x\\u000ay\"]]}";
    static const char answer[] = "{\"is\":\"snapshot\",\"id\":12,\"store_id\":9,\"revision\":10,"
                                 "\"items\":[[\"a\",\"x\",10,true],[\"b\",\"\",9,false]]}";
    struct localproto_request got_request;
    struct localproto_answer got_answer;
    for (size_t size = 0; size < sizeof(request) - 1; size++) {
        assert_int_equal(localproto_get_request(request, size, &got_request, NULL), ERR_INVALID);
    }
    for (size_t size = 0; size < sizeof(answer) - 1; size++) {
        assert_int_equal(localproto_get_answer(answer, size, &got_answer, NULL), ERR_INVALID);
    }
    assert_int_equal(get_request(request, &got_request), ERR_OK);
    localproto_request_fini(&got_request);
    assert_int_equal(get_answer(answer, &got_answer), ERR_OK);
    localproto_answer_fini(&got_answer);
}

static void test_malformed_answers_are_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "{\"is\":\"done\",\"id\":1}",
        "{\"is\":\"done\",\"id\":0,\"revision\":1}",
        "{\"is\":\"done\",\"revision\":1}",
        "{\"is\":\"what\",\"id\":1,\"revision\":1}",
        "{\"is\":\"welcome\",\"id\":1,\"revision\":1}",
        "{\"is\":\"granted\",\"id\":1,\"session\":\"\"}",
        "{\"is\":\"granted\",\"id\":1,\"session\":"
        "\"0123456789012345678901234567890123456789012345678901234567890123\"}",
        "{\"is\":\"failed\",\"id\":1,\"error\":\"conflict\"}",
        "{\"is\":\"failed\",\"id\":1,\"error\":\"else\",\"text\":\"\"}",
        "{\"is\":\"changes\",\"id\":1,\"revision\":1,\"items\":[]}",
        "{\"is\":\"changes\",\"id\":0,\"revision\":1}",
        "{\"is\":\"changes\",\"id\":0,\"revision\":1,\"items\":{}}",
        "{\"is\":\"snapshot\",\"id\":0,\"store_id\":1,\"revision\":1,\"items\":[]}",
        "{\"is\":\"snapshot\",\"id\":1,\"store_id\":1,\"revision\":1,\"items\":[[\"a\"]]}",
        "{\"is\":\"snapshot\",\"id\":1,\"store_id\":1,\"revision\":1,"
        "\"items\":[[\"a\",\"x\",0,true]]}",
        "{\"is\":\"snapshot\",\"id\":1,\"store_id\":1,\"revision\":1,"
        "\"items\":[[\"a\",\"x\",1,1]]}",
        "{\"is\":\"snapshot\",\"id\":1,\"store_id\":1,\"revision\":1,"
        "\"items\":[[\"a\",\"x\",1,true,1]]}",
        "{\"is\":\"snapshot\",\"id\":1,\"store_id\":1,\"revision\":1,"
        "\"items\":[[\"b\",\"x\",1,true],[\"a\",\"x\",1,true]]}",
        "{\"is\":\"snapshot\",\"id\":1,\"store_id\":1,\"revision\":1,"
        "\"items\":[[\"a\",\"x\",1,true],[\"a\",\"x\",1,true]]}",
        "{\"is\":\"snapshot\",\"id\":1,\"store_id\":1,\"revision\":1,"
        "\"items\":[[\"/a\",\"x\",1,true]]}",
    };
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct localproto_answer untouched = {.id = 77};
        assert_int_equal(get_answer(lines[i], &untouched), ERR_INVALID);
        assert_int_equal(untouched.id, 77);
    }
}

static void test_oversized_frames_and_values_are_refused(void **state)
{
    (void)state;
    struct localproto_request request;
    char *frame = malloc(LOCALPROTO_FRAME_MAX + 1);
    assert_non_null(frame);
    memset(frame, ' ', LOCALPROTO_FRAME_MAX + 1);
    assert_int_equal(localproto_get_request(frame, LOCALPROTO_FRAME_MAX + 1, &request, NULL),
                     ERR_INVALID);
    free(frame);
    char *value = malloc(STORE_VALUE_MAX + 2);
    assert_non_null(value);
    memset(value, 'x', STORE_VALUE_MAX + 1);
    value[STORE_VALUE_MAX + 1] = '\0';
    struct localproto_op op = {
        .type = LOCALPROTO_PUT, .key = "a", .value = value, .value_size = STORE_VALUE_MAX};
    assert_int_equal(localproto_ops_check(&op, 1, 10, NULL), ERR_OK);
    op.value_size++;
    assert_int_equal(localproto_ops_check(&op, 1, 10, NULL), ERR_INVALID);
    struct localproto_op many[STORE_TXN_OPS_MAX];
    char keys[STORE_TXN_OPS_MAX][2];
    for (int i = 0; i < STORE_TXN_OPS_MAX; i++) {
        keys[i][0] = (char)('a' + i);
        keys[i][1] = '\0';
        many[i] = (struct localproto_op){
            .type = LOCALPROTO_PUT, .key = keys[i], .value = value, .value_size = STORE_VALUE_MAX};
    }
    size_t fitting = LOCALPROTO_CONTENT_MAX / STORE_VALUE_MAX;
    assert_int_equal(localproto_ops_check(many, fitting, 10, NULL), ERR_OK);
    assert_int_equal(localproto_ops_check(many, fitting + 1, 10, NULL), ERR_INVALID);
    free(value);
}

static void test_operations_are_checked(void **state)
{
    (void)state;
    struct localproto_op ops[STORE_TXN_OPS_MAX + 1];
    for (size_t i = 0; i < COUNT(ops); i++) {
        ops[i] = (struct localproto_op){.type = LOCALPROTO_CHECK, .key = "same"};
    }
    assert_int_equal(localproto_ops_check(ops, 0, 1, NULL), ERR_INVALID);
    assert_int_equal(localproto_ops_check(ops, STORE_TXN_OPS_MAX, 1, NULL), ERR_OK);
    assert_int_equal(localproto_ops_check(ops, COUNT(ops), 1, NULL), ERR_INVALID);
    ops[0].type = LOCALPROTO_DELETE;
    assert_int_equal(localproto_ops_check(ops, 2, 1, NULL), ERR_OK);
    ops[1].type = LOCALPROTO_DELETE;
    assert_int_equal(localproto_ops_check(ops, 2, 1, NULL), ERR_INVALID);
    /* "base/same" and its NUL must fit into STORE_KEY_SIZE. */
    assert_int_equal(localproto_ops_check(ops, 1, STORE_KEY_SIZE - 6, NULL), ERR_OK);
    assert_int_equal(localproto_ops_check(ops, 1, STORE_KEY_SIZE - 5, NULL), ERR_INVALID);
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        bool ok;
    } cases[] = {
        {"", 0, true},
        {"plain", 5, true},
        {"a\0b", 3, false},
        {"\x80", 1, false},
        {"\xc2", 1, false},
        {"\xc2\x80", 2, true},
        {"\xc1\xbf", 2, false}, /* overlong */
        {"\xc3\x28", 2, false}, /* no continuation */
        {"\xe0\xa0\x80", 3, true},
        {"\xe0\x9f\xbf", 3, false}, /* overlong */
        {"\xed\x9f\xbf", 3, true},
        {"\xed\xa0\x80", 3, false}, /* surrogate */
        {"\xe2\x82", 2, false},     /* cut short */
        {"\xf0\x90\x80\x80", 4, true},
        {"\xf0\x8f\xbf\xbf", 4, false}, /* overlong */
        {"\xf4\x8f\xbf\xbf", 4, true},
        {"\xf4\x90\x80\x80", 4, false}, /* beyond U+10FFFF */
        {"\xf5\x80\x80\x80", 4, false},
        {"\xff", 1, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_true(localproto_text_ok(cases[i].text, cases[i].size) == cases[i].ok);
    }
}

static void test_keys_and_bases(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "members/n1", "a b", "\xc3\xa9", ".", "a.b-c_d"};
    static const char *const bad[] = {"", "/", "/a", "a/", "a//b", "a\x7f", "a\tb", "\xff"};
    char text[STORE_KEY_SIZE + 2];
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(localproto_key_ok(good[i]));
        (void)snprintf(text, sizeof(text), "/%s", good[i]);
        assert_true(localproto_base_ok(text));
        assert_false(localproto_base_ok(good[i]));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(localproto_key_ok(bad[i]));
    }
    memset(text, 'k', sizeof(text));
    text[0] = '/';
    text[STORE_KEY_SIZE - 1] = '\0';
    assert_true(localproto_base_ok(text));
    text[STORE_KEY_SIZE - 1] = 'k';
    text[STORE_KEY_SIZE] = '\0';
    assert_false(localproto_base_ok(text));
    assert_string_equal(localproto_error_name(LOCALPROTO_UNAVAILABLE), "unavailable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_come_back),
        cmocka_unit_test(test_a_transaction_comes_back),
        cmocka_unit_test(test_answers_come_back),
        cmocka_unit_test(test_items_come_back),
        cmocka_unit_test(test_malformed_requests_are_refused),
        cmocka_unit_test(test_too_many_operations_are_refused),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_malformed_answers_are_refused),
        cmocka_unit_test(test_oversized_frames_and_values_are_refused),
        cmocka_unit_test(test_operations_are_checked),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_keys_and_bases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
