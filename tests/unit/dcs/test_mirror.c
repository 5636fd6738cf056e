/* The mirror against a naive model, and the lookup at its edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "dcs/mirror.h"

static void test_items_stay_sorted_whatever_comes(void **state)
{
    (void)state;
    struct dcs_mirror mirror = {.count = 0};
    uint64_t model[100] = {0}; /* version by key, 0: absent */
    uint32_t seed = 7;
    for (uint64_t step = 1; step <= 5000; step++) {
        seed = seed * 1664525U + 1013904223U;
        unsigned number = (seed >> 8) % 100;
        char key[16];
        (void)snprintf(key, sizeof(key), "k%02u", number);
        if ((seed >> 20) % 3 == 0) {
            assert_true(dcs_mirror_delete(&mirror, key) == (model[number] != 0));
            model[number] = 0;
        } else {
            struct dcs_item item = {
                .key = key, .value = key, .value_size = 2, .version = step, .attached = true};
            dcs_mirror_put(&mirror, &item);
            model[number] = step;
        }
        size_t index = 0;
        for (unsigned i = 0; i < 100; i++) {
            if (model[i] != 0) {
                (void)snprintf(key, sizeof(key), "k%02u", i);
                assert_string_equal(mirror.items[index].key, key);
                assert_int_equal(mirror.items[index].version, model[i]);
                assert_memory_equal(mirror.items[index].value, key, 2);
                assert_int_equal(mirror.items[index].value[2], '\0');
                index++;
            }
        }
        assert_int_equal(mirror.count, index);
    }
    dcs_mirror_clear(&mirror);
    assert_int_equal(mirror.count, 0);
}

static void test_find(void **state)
{
    (void)state;
    struct dcs_snapshot none = {.count = 0};
    assert_null(dcs_snapshot_find(&none, "a"));
    struct dcs_item items[] = {{.key = "b"}, {.key = "d"}, {.key = "d/x"}};
    struct dcs_snapshot three = {.count = 3, .items = items};
    assert_ptr_equal(dcs_snapshot_find(&three, "b"), &items[0]);
    assert_ptr_equal(dcs_snapshot_find(&three, "d"), &items[1]);
    assert_ptr_equal(dcs_snapshot_find(&three, "d/x"), &items[2]);
    static const char *const absent[] = {"", "a", "c", "d/", "d/xx", "e"};
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
        assert_null(dcs_snapshot_find(&three, absent[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items_stay_sorted_whatever_comes),
        cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
