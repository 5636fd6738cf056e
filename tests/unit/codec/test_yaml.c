/* Trees and marks as written; every malformed text is told with file, line and remedy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "codec/yaml.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct yaml_marks *marks;

static int marks_new(void **state)
{
    (void)state;
    marks = yaml_marks_create();
    return 0;
}

static int marks_drop(void **state)
{
    (void)state;
    yaml_marks_destroy(marks);
    return 0;
}

/* A copy of exactly that size, so that valgrind sees a look beyond it. */
static enum err parse(const char *text, size_t size, json_t **out, struct err_detail *detail)
{
    char *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, text, size);
    enum err err = yaml_parse(copy, size, "a.yml", marks, out, detail);
    free(copy);
    return err;
}

static json_t *good(const char *text)
{
    json_t *root = NULL;
    struct err_detail detail = {.text = ""};
    enum err err = parse(text, strlen(text), &root, &detail);
    if (err != ERR_OK) {
        print_error("%s\n", detail.text);
    }
    assert_int_equal(err, ERR_OK);
    assert_non_null(root);
    return root;
}

static void gives(const char *text, const char *json)
{
    json_t *root = good(text);
    char *out = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    assert_string_equal(out, json);
    free(out);
    json_decref(root);
}

static void refused(const char *text, size_t size, const char *part)
{
    json_t *root = NULL;
    struct err_detail detail = {.text = ""};
    assert_int_equal(parse(text, size, &root, &detail), ERR_INVALID);
    assert_null(root);
    assert_non_null(strstr(detail.text, "a.yml"));
    assert_non_null(strstr(detail.text, part));
}

static void test_scalars(void **state)
{
    (void)state;
    gives("a: 1", "{\"a\":1}");
    gives("a: -7\nb: +7", "{\"a\":-7,\"b\":7}");
    gives("a: 0x1F\nb: 017", "{\"a\":31,\"b\":15}");
    gives("a: 018", "{\"a\":\"018\"}");
    gives("a: 1.5\nb: .5\nc: 1.5e+2", "{\"a\":1.5,\"b\":0.5,\"c\":150.0}");
    gives(
        "a: 1e3\nb: 1.e\nc: .\nd: 1.5e+\ne: 1.5e3\nf: 1.5x",
        "{\"a\":\"1e3\",\"b\":\"1.e\",\"c\":\".\",\"d\":\"1.5e+\",\"e\":\"1.5e3\",\"f\":\"1.5x\"}");
    gives("a: yes\nb: Off\nc: TRUE\nd: ~\ne:\nf: null",
          "{\"a\":true,\"b\":false,\"c\":true,\"d\":null,\"e\":null,\"f\":null}");
    gives("a: 'yes'\nb: \"1\"\nc: !!str 5", "{\"a\":\"yes\",\"b\":\"1\",\"c\":\"5\"}");
    gives("a: 99999999999999999999\nb: 0x", "{\"a\":\"99999999999999999999\",\"b\":\"0x\"}");
    gives("a: 10.0.0.1:8008", "{\"a\":\"10.0.0.1:8008\"}");
    gives("a: |\n  x\n  y\n", "{\"a\":\"x\\ny\\n\"}");
    gives("a: -\xC3\xA9", "{\"a\":\"-\xC3\xA9\"}");
    gives("a: 999999999999999999999999999.5e+999",
          "{\"a\":\"999999999999999999999999999.5e+999\"}");
}

static void test_shapes(void **state)
{
    (void)state;
    gives("", "null");
    gives("# nothing\n", "null");
    gives("--- 5\n", "5");
    gives("[a, {b: [1, 2]}]", "[\"a\",{\"b\":[1,2]}]");
    gives("a:\n- b\n- c: d\n", "{\"a\":[\"b\",{\"c\":\"d\"}]}");
    gives("5: a\nyes: b", "{\"5\":\"a\",\"yes\":\"b\"}");
    gives("a: {}\nb: []", "{\"a\":{},\"b\":[]}");
}

static void test_aliases(void **state)
{
    (void)state;
    gives("a: &x {b: 1}\nc: *x", "{\"a\":{\"b\":1},\"c\":{\"b\":1}}");
    gives("a: &x 07\nc: [*x, *x]", "{\"a\":7,\"c\":[7,7]}");
    gives("a: &x 1\nb: &x 2\nc: *x", "{\"a\":1,\"b\":2,\"c\":2}"); /* the last one counts */
    gives("d: &d {a: 1, b: 2}\ne:\n  <<: *d\n  b: 3",
          "{\"d\":{\"a\":1,\"b\":2},\"e\":{\"a\":1,\"b\":3}}");
    gives("d: &d {a: 1}\nf: &f {a: 9, c: 4}\ne:\n  <<: [*d, *f]",
          "{\"d\":{\"a\":1},\"e\":{\"a\":1,\"c\":4},\"f\":{\"a\":9,\"c\":4}}");
    gives("d: &d [1]\ne: &e\n- *d\nf: *e", "{\"d\":[1],\"e\":[[1]],\"f\":[[1]]}");
}

static void check_mark(const struct yaml_mark *mark, int line, int column, const char *raw)
{
    assert_non_null(mark);
    assert_string_equal(mark->file, "a.yml");
    assert_int_equal(mark->line, line);
    assert_int_equal(mark->column, column);
    if (raw == NULL) {
        assert_null(mark->raw);
    } else {
        assert_string_equal(mark->raw, raw);
    }
}

static void test_marks(void **state)
{
    (void)state;
    json_t *root = good("a: on\nb:\n  c: 0123\n  d:\n  - true\n  - {e: off}\nf: on\n");
    check_mark(yaml_mark_key(marks, root, "a"), 1, 1, "on");
    check_mark(yaml_mark_key(marks, root, "f"), 7, 1, "on"); /* the same json_true() as a */
    const json_t *b = json_object_get(root, "b");
    check_mark(yaml_mark_key(marks, root, "b"), 2, 1, NULL);
    check_mark(yaml_mark_key(marks, b, "c"), 3, 3, "0123");
    const json_t *d = json_object_get(b, "d");
    check_mark(yaml_mark_item(marks, d, 0), 5, 5, "true");
    check_mark(yaml_mark_item(marks, d, 1), 6, 5, NULL);
    check_mark(yaml_mark_key(marks, json_array_get(d, 1), "e"), 6, 6, "off");
    assert_null(yaml_mark_key(marks, root, "nothing"));
    assert_null(yaml_mark_key(marks, NULL, "a"));
    assert_null(yaml_mark_item(marks, d, 2));
    assert_null(yaml_mark_item(marks, NULL, 0));
    json_decref(root);
}

static void test_marks_of_merged_keys_and_aliases(void **state)
{
    (void)state;
    json_t *root = good("d: &d {a: 00, b: 2}\ne:\n  <<: *d\n  b: 3\nf: &v on\ng: *v\n");
    const json_t *e = json_object_get(root, "e");
    check_mark(yaml_mark_key(marks, e, "a"), 1, 8, "00");
    check_mark(yaml_mark_key(marks, e, "b"), 4, 3, "3");
    check_mark(yaml_mark_key(marks, root, "g"), 6, 1, "on");
    json_decref(root);
}

static void test_marks_can_be_set(void **state)
{
    (void)state;
    json_t *object = json_object();
    json_t *list = json_array();
    const struct yaml_mark first = {"x", 0, 0, NULL};
    const struct yaml_mark second = {"y", 3, 4, "raw"};
    assert_int_equal(yaml_mark_set(marks, object, "k", &first), ERR_OK);
    assert_string_equal(yaml_mark_key(marks, object, "k")->file, "x");
    assert_int_equal(yaml_mark_set(marks, object, "k", &second), ERR_OK);
    assert_string_equal(yaml_mark_key(marks, object, "k")->raw, "raw");
    for (size_t i = 0; i < 1000; i++) { /* the table grows */
        assert_int_equal(yaml_mark_set_item(marks, list, i, &second), ERR_OK);
    }
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(yaml_mark_item(marks, list, i)->line, 3);
    }
    assert_string_equal(yaml_mark_key(marks, object, "k")->file, "y");
    json_decref(object);
    json_decref(list);
    yaml_marks_destroy(NULL);
}

static void test_marks_have_a_cap(void **state)
{
    (void)state;
    json_t *list = json_array();
    char *raw = malloc(1024 * 1024);
    assert_non_null(raw);
    memset(raw, 'x', 1024 * 1024 - 1);
    raw[1024 * 1024 - 1] = '\0';
    const struct yaml_mark large = {"x", 1, 1, raw};
    enum err err = ERR_OK;
    for (size_t i = 0; i < 100 && err == ERR_OK; i++) {
        err = yaml_mark_set_item(marks, list, i, &large);
    }
    assert_int_equal(err, ERR_NO_MEMORY);
    free(raw);
    json_decref(list);
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *part;
    } rows[] = {
        {"a: 1\nb: 2\na: 3\n", "a.yml:3:1: a: the key is there already in line 1; remedy"},
        {"x:\n  a: 1\n  a: 1\n", "a.yml:3:3: a: the key"},
        {"a: *nobody\n", "*nobody names nothing above; remedy"},
        {"a: &x [*x]\n", "*x names nothing"},
        {"a:\n\t- b\n", "remedy: indent with blanks"},
        {"a: b: c\n", "a.yml:1:"},
        {"a: [1, 2\n", "remedy"},
        {"a: \"open\n", "remedy"},
        {"a: {b: 1\n", "remedy"},
        {"? [a]\n: b\n", "a key must be plain text"},
        {"? {a: b}\n: c\n", "a key must be plain text"},
        {"a: 1\n---\nb: 2\n", "a second document"},
        {"a: !thing x\n", "this tag means nothing here"},
        {"a: !!python/object:os.system x\nb: !<!x> y", "this tag means nothing here"},
        {"a: \"x\\0y\"\n", "the character NUL"},
        {"\"x\\0y\": 1\n", "a key contains the character NUL"},
        {"a: 1\n<<: 5\n", "<< takes a map"},
        {"<<: [5]\n", "<< takes a map"},
        {"a: %x\n", "remedy"},
        {"%YAML 3.0\n---\na: 1\n", "remedy"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        refused(rows[i].text, strlen(rows[i].text), rows[i].part);
    }
    refused("a: \xFF\xFE\n", 6, "remedy: save the file as plain UTF-8");
    refused("a: 1\0b", 6, "remedy: save the file as plain UTF-8");
}

static void test_every_cut_is_survived(void **state)
{
    (void)state;
    static const char text[] =
        "a: &x {b: [1, 'two', \"thr\\u00e9e\"]}\nc:\n  <<: *x\n  d: |\n   e\n";
    for (size_t size = 0; size < strlen(text); size++) {
        json_t *root = NULL;
        struct err_detail detail = {.text = ""};
        enum err err = parse(text, size, &root, &detail);
        assert_true(err == ERR_OK ? root != NULL : root == NULL && detail.text[0] != '\0');
        json_decref(root);
        yaml_marks_destroy(marks);
        marks = yaml_marks_create();
    }
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    char text[2 * YAML_DEPTH_MAX + 16];
    memset(text, '[', YAML_DEPTH_MAX);
    memset(text + YAML_DEPTH_MAX, ']', YAML_DEPTH_MAX);
    text[2 * YAML_DEPTH_MAX] = '\0';
    json_decref(good(text));
    memset(text, '[', YAML_DEPTH_MAX + 1);
    memset(text + YAML_DEPTH_MAX + 1, ']', YAML_DEPTH_MAX + 1);
    refused(text, 2 * YAML_DEPTH_MAX + 2, "nested too deeply");
}

static void test_billion_laughs(void **state)
{
    (void)state;
    char text[4096] = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
    for (int i = 1; i < 9; i++) {
        size_t used = strlen(text);
        (void)snprintf(text + used, sizeof(text) - used,
                       "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i,
                       i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    }
    refused(text, strlen(text), "too many values");
}

static void test_merged_maps_count(void **state)
{
    (void)state;
    size_t room = 512 * 1024;
    char *text = malloc(room);
    assert_non_null(text);
    size_t used = (size_t)snprintf(text, room, "a: &a {");
    for (int i = 0; i < 1000; i++) {
        used += (size_t)snprintf(text + used, room - used, "%sk%d: 1", i > 0 ? ", " : "", i);
    }
    used += (size_t)snprintf(text + used, room - used, "}\n");
    for (int i = 0; i < 200; i++) {
        used += (size_t)snprintf(text + used, room - used, "m%d: {<<: *a}\n", i);
    }
    refused(text, used, "too many values");
    free(text);
}

static void test_anchors_are_bounded(void **state)
{
    (void)state;
    size_t room = 64 * 1024;
    char *text = malloc(room);
    assert_non_null(text);
    size_t used = 0;
    for (int i = 0; i <= YAML_ANCHORS_MAX; i++) {
        used += (size_t)snprintf(text + used, room - used, "- &a%d x\n", i);
    }
    refused(text, used, "too many anchors");
    free(text);
}

static void test_size_is_bounded(void **state)
{
    (void)state;
    size_t size = CONFIG_FILE_MAX + 1;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, '#', size);
    refused(text, size, "larger than");
    json_t *root = NULL;
    assert_int_equal(yaml_parse(text, size - 1, "a.yml", marks, &root, NULL), ERR_OK);
    assert_true(json_is_null(root));
    free(text);
}

static void test_many_nodes(void **state)
{
    (void)state;
    size_t room = 2 * (YAML_NODES_MAX + 2) + 8;
    char *text = malloc(room);
    assert_non_null(text);
    size_t used = 0;
    text[used++] = '[';
    for (int i = 0; i < YAML_NODES_MAX; i++) {
        text[used++] = '1';
        text[used++] = ',';
    }
    text[used++] = ']';
    refused(text, used, "too many values");
    free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, marks_new, marks_drop)
    const struct CMUnitTest tests[] = {
        TEST(test_scalars),
        TEST(test_shapes),
        TEST(test_aliases),
        TEST(test_marks),
        TEST(test_marks_of_merged_keys_and_aliases),
        TEST(test_marks_can_be_set),
        TEST(test_marks_have_a_cap),
        TEST(test_malformed),
        TEST(test_every_cut_is_survived),
        TEST(test_depth_is_bounded),
        TEST(test_billion_laughs),
        TEST(test_merged_maps_count),
        TEST(test_anchors_are_bounded),
        TEST(test_size_is_bounded),
        TEST(test_many_nodes),
    };
    return cmocka_run_group_tests_name("codec_yaml", tests, NULL, NULL);
}
