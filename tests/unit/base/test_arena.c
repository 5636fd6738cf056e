/* An arena never hands out more than its cap, and what it hands out is aligned, zeroed and its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/cleanup.h"

#define ALIGN _Alignof(max_align_t)

static void test_memory_is_aligned_and_zeroed(void **state)
{
    (void)state;
    AUTO_ARENA struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t size = 0; size < 300; size++) {
        unsigned char *memory = arena_alloc(&arena, size);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % ALIGN, 0);
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(memory[i], 0);
        }
        memset(memory, 0xff, size);
    }
}

static void test_pieces_do_not_overlap_across_blocks(void **state)
{
    (void)state;
    AUTO_ARENA struct arena arena;
    arena_init(&arena, 1 << 20);
    unsigned char *pieces[200];
    for (size_t i = 0; i < 200; i++) { /* 200 x 1000 bytes need several blocks */
        pieces[i] = arena_alloc(&arena, 1000);
        assert_non_null(pieces[i]);
        memset(pieces[i], (int)i, 1000);
    }
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(pieces[i][0], i);
        assert_int_equal(pieces[i][999], i);
    }
}

static void test_size_zero_gives_a_unique_pointer(void **state)
{
    (void)state;
    AUTO_ARENA struct arena arena;
    arena_init(&arena, 1024);
    void *first = arena_alloc(&arena, 0);
    void *second = arena_alloc(&arena, 0);
    assert_non_null(first);
    assert_non_null(second);
    assert_ptr_not_equal(first, second);
}

static void test_cap_is_reached_exactly_and_never_passed(void **state)
{
    (void)state;
    AUTO_ARENA struct arena arena;
    arena_init(&arena, 4 * ALIGN);
    assert_non_null(arena_alloc(&arena, 3 * ALIGN));
    assert_null(arena_alloc(&arena, ALIGN + 1));
    assert_int_equal(arena.used_bytes, 3 * ALIGN); /* a refusal takes nothing */
    assert_non_null(arena_alloc(&arena, 1));
    assert_int_equal(arena.used_bytes, 4 * ALIGN);
    assert_null(arena_alloc(&arena, 0));
    assert_null(arena_alloc(&arena, 1));
}

static void test_cap_that_is_no_multiple_of_the_alignment(void **state)
{
    (void)state;
    AUTO_ARENA struct arena arena;
    arena_init(&arena, ALIGN + ALIGN / 2);
    assert_non_null(arena_alloc(&arena, 1));
    assert_null(arena_alloc(&arena, 1));
    arena_fini(&arena);
    arena_init(&arena, ALIGN / 2);
    assert_null(arena_alloc(&arena, 1));
}

static void test_sizes_near_the_largest_are_refused(void **state)
{
    (void)state;
    AUTO_ARENA struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (size_t less = 0; less < ALIGN; less++) {
        assert_null(arena_alloc(&arena, SIZE_MAX - less));
    }
    assert_null(arena_strndup(&arena, "x", SIZE_MAX));
    assert_int_equal(arena.used_bytes, 0);
}

static void test_fini_twice_and_use_again(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 64);
    assert_non_null(arena_alloc(&arena, 64));
    arena_fini(&arena);
    arena_fini(&arena);
    assert_non_null(arena_alloc(&arena, 64));
    assert_null(arena_alloc(&arena, 1));
    arena_fini(&arena);
    assert_int_equal(arena.used_bytes, 0);
}

static void test_strings(void **state)
{
    (void)state;
    AUTO_ARENA struct arena arena;
    arena_init(&arena, 4096);
    const char text[] = "leader";
    char *copy = arena_strdup(&arena, text);
    assert_string_equal(copy, "leader");
    assert_ptr_not_equal(copy, text);
    assert_string_equal(arena_strdup(&arena, ""), "");
    assert_string_equal(arena_strndup(&arena, "leader", 4), "lead");
    assert_string_equal(arena_strndup(&arena, "leader", 0), "");
    assert_memory_equal(arena_strndup(&arena, "a\0b", 3), "a\0b", 4);
    assert_string_equal(arena_printf(&arena, "%s=%d", "seq", 7), "seq=7");
    assert_string_equal(arena_printf(&arena, "%s", ""), "");
}

static void test_strings_past_the_cap(void **state)
{
    (void)state;
    AUTO_ARENA struct arena arena;
    arena_init(&arena, ALIGN);
    char text[64];
    memset(text, 'x', sizeof(text));
    text[ALIGN] = '\0'; /* with its NUL one byte too long */
    assert_null(arena_strdup(&arena, text));
    assert_null(arena_strndup(&arena, text, ALIGN));
    assert_null(arena_printf(&arena, "%s", text));
    text[ALIGN - 1] = '\0';
    assert_string_equal(arena_printf(&arena, "%s", text), text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_aligned_and_zeroed),
        cmocka_unit_test(test_pieces_do_not_overlap_across_blocks),
        cmocka_unit_test(test_size_zero_gives_a_unique_pointer),
        cmocka_unit_test(test_cap_is_reached_exactly_and_never_passed),
        cmocka_unit_test(test_cap_that_is_no_multiple_of_the_alignment),
        cmocka_unit_test(test_sizes_near_the_largest_are_refused),
        cmocka_unit_test(test_fini_twice_and_use_again),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_strings_past_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
