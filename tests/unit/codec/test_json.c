/* Garbage is NULL, merging removes by null, and writing never cuts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "codec/json.h"

static json_t *json(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    return value;
}

static void test_read(void **state)
{
    (void)state;
    assert_null(json_read(NULL, 0));
    assert_null(json_read("", 0));
    assert_null(json_read("{", 1));
    assert_null(json_read("{}x", 3));
    assert_null(json_read("\xFF", 1));
    json_t *number = json_read("12345", 2); /* not past the size */
    assert_true(json_is_integer(number) && json_integer_value(number) == 12);
    json_decref(number);
    assert_null(json_read_object("[1]", 3));
    assert_null(json_read_object("12", 2));
    assert_null(json_read_object("", 0));
    json_t *object = json_read_object("{\"a\":\"b\",\"n\":1}", 15);
    assert_non_null(object);
    assert_string_equal(json_text(object, "a"), "b");
    assert_null(json_text(object, "n"));
    assert_null(json_text(object, "z"));
    assert_null(json_text(NULL, "a"));
    json_decref(object);
}

static void test_deep_text_is_refused(void **state)
{
    (void)state;
    char text[8192];
    memset(text, '[', sizeof(text));
    assert_null(json_read(text, sizeof(text)));
}

static void test_scalar_text(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    static const char *const rows[][2] = {
        {"\"x y\"", "x y"}, {"true", "true"}, {"false", "false"}, {"-12", "-12"}, {"1.25", "1.25"}};
    for (size_t i = 0; i < 5; i++) {
        json_t *value = json(rows[i][0]);
        assert_string_equal(json_scalar_text(value, &arena), rows[i][1]);
        json_decref(value);
    }
    static const char *const none[] = {"null", "[]", "{}"};
    for (size_t i = 0; i < 3; i++) {
        json_t *value = json(none[i]);
        assert_null(json_scalar_text(value, &arena));
        json_decref(value);
    }
    assert_null(json_scalar_text(NULL, &arena));
    arena_fini(&arena);
    arena_init(&arena, 4);
    json_t *value = json("\"longer than the cap\"");
    assert_null(json_scalar_text(value, &arena));
    json_decref(value);
    arena_fini(&arena);
}

static void merges(const char *object_text, const char *patch_text, const char *wanted)
{
    json_t *object = json(object_text);
    json_t *patch = json(patch_text);
    json_merge(object, patch);
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, wanted);
    free(text);
    json_decref(object);
    json_decref(patch);
}

static void test_merge(void **state)
{
    (void)state;
    merges("{}", "{\"a\":1}", "{\"a\":1}");
    merges("{\"a\":1,\"b\":2}", "{\"a\":null}", "{\"b\":2}");
    merges("{\"a\":1}", "{\"z\":null}", "{\"a\":1}");
    merges("{\"a\":{\"x\":1,\"y\":2}}", "{\"a\":{\"y\":null,\"z\":3}}",
           "{\"a\":{\"x\":1,\"z\":3}}");
    merges("{\"a\":{\"x\":1}}", "{\"a\":5}", "{\"a\":5}");
    merges("{\"a\":5}", "{\"a\":{\"x\":1}}", "{\"a\":{\"x\":1}}");
    merges("{\"a\":[1,2]}", "{\"a\":[3]}", "{\"a\":[3]}");
}

static void test_write(void **state)
{
    (void)state;
    json_t *value = json("{\"a\":1}");
    char exact[8];
    assert_true(json_write(value, exact, sizeof(exact))); /* 7 characters and the NUL */
    assert_string_equal(exact, "{\"a\":1}");
    char small[7];
    assert_false(json_write(value, small, sizeof(small)));
    assert_string_equal(small, "");
    char one[1];
    assert_false(json_write(value, one, sizeof(one)));
    json_decref(value);
    value = json("5");
    assert_true(json_write(value, exact, sizeof(exact)));
    assert_string_equal(exact, "5");
    json_decref(value);
    assert_false(json_write(NULL, exact, sizeof(exact)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),        cmocka_unit_test(test_deep_text_is_refused),
        cmocka_unit_test(test_scalar_text), cmocka_unit_test(test_merge),
        cmocka_unit_test(test_write),
    };
    return cmocka_run_group_tests_name("codec_json", tests, NULL, NULL);
}
