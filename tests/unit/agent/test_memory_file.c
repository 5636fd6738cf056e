/* agent/memory_file: what is written is read back; another boot is told apart; damage is an error.
 */
#include "agent/memory_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/file_replace.h"
#include "base/str.h"

#define BOOT "11111111-2222-3333-4444-555555555555"
#define OTHER_BOOT "99999999-2222-3333-4444-555555555555"

static struct core_memory sample(void)
{
    struct core_memory memory = {
        .promised_to = "n\"2",
        .promised_epoch = UINT64_MAX,
        .promised_until = {123456789},
        .promised_ms = 2040,
        .epoch_max = 7,
        .ttl_max_ms = 30000,
        .failsafe = {.count = 2, .name = {"n1", "n2"}},
        .failsafe_doubt = {.count = 1, .name = {"n3"}},
    };
    return memory;
}

static void assert_sample(const struct core_memory *memory)
{
    assert_string_equal(memory->promised_to, "n\"2");
    assert_true(memory->promised_epoch == UINT64_MAX);
    assert_int_equal(memory->promised_until.ms, 123456789);
    assert_int_equal(memory->promised_ms, 2040);
    assert_true(memory->epoch_max == 7);
    assert_int_equal(memory->ttl_max_ms, 30000);
    assert_int_equal(memory->failsafe.count, 2);
    assert_string_equal(memory->failsafe.name[1], "n2");
    assert_int_equal(memory->failsafe_doubt.count, 1);
    assert_string_equal(memory->failsafe_doubt.name[0], "n3");
}

static void test_round_trip(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 65536);
    struct core_memory memory = sample();
    char *text = memory_format(&memory, BOOT, &arena);
    assert_non_null(text);
    struct memory_loaded loaded = {0};
    assert_int_equal(memory_parse(text, strlen(text), BOOT, &loaded, NULL), ERR_OK);
    assert_true(loaded.found);
    assert_true(loaded.same_boot);
    assert_sample(&loaded.memory);
    arena_fini(&arena);
}

static void test_other_boot(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 65536);
    struct core_memory memory = sample();
    char *text = memory_format(&memory, BOOT, &arena);
    struct memory_loaded loaded = {0};
    assert_int_equal(memory_parse(text, strlen(text), OTHER_BOOT, &loaded, NULL), ERR_OK);
    assert_true(loaded.found);
    assert_false(loaded.same_boot);
    assert_sample(&loaded.memory);
    arena_fini(&arena);
}

static void test_damage_is_an_error(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 65536);
    struct core_memory memory = sample();
    char *text = memory_format(&memory, BOOT, &arena);
    struct memory_loaded loaded = {0};
    struct err_detail detail;
    /* Cut anywhere (but for the last newline-free bracket) it must never be taken for complete. */
    for (size_t size = 0; size < strlen(text); size++) {
        assert_int_equal(memory_parse(text, size, BOOT, &loaded, &detail), ERR_INVALID);
        assert_true(detail.text[0] != '\0');
    }
    static const char *const BAD[] = {
        "[]",
        "{\"format\":2}",
        "{\"format\":1,\"boot_id\":\"x\",\"promised_to\":\"\",\"promised_epoch\":\"-1\"}",
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        assert_int_equal(memory_parse(BAD[i], strlen(BAD[i]), BOOT, &loaded, NULL), ERR_INVALID);
    }
    assert_false(loaded.found);
    arena_fini(&arena);
}

static void written(enum err err, const struct err_detail *detail, void *arg)
{
    (void)detail;
    *(enum err *)arg = err;
}

static void test_write_and_load(void **state)
{
    (void)state;
    char directory[] = "/tmp/holdfast-memory-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char path[PATH_SIZE];
    assert_true(str_format(path, sizeof(path), "%s/memory.json", directory));

    struct memory_loaded loaded = {.found = true};
    assert_int_equal(memory_load(path, BOOT, &loaded, NULL), ERR_OK);
    assert_false(loaded.found);

    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    static struct file_writer writer;
    struct arena arena;
    arena_init(&arena, 65536);
    enum err err = ERR_CANCELED;
    struct core_memory memory = sample();
    const char *text = memory_format(&memory, BOOT, &arena);
    assert_non_null(text);
    file_replace_start(&loop, &writer, path, text, written, &err);
    assert_int_equal(err, ERR_CANCELED); /* never inside the call */
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(err, ERR_OK);
    assert_int_equal(memory_load(path, BOOT, &loaded, NULL), ERR_OK);
    assert_true(loaded.found && loaded.same_boot);
    assert_sample(&loaded.memory);

    char nowhere[PATH_SIZE];
    assert_true(str_format(nowhere, sizeof(nowhere), "%s/none/memory.json", directory));
    file_replace_start(&loop, &writer, nowhere, text, written, &err);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(err, ERR_INVALID);

    assert_int_equal(uv_loop_close(&loop), 0);
    arena_fini(&arena);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0); /* no leftovers */
}

static void test_boot_id(void **state)
{
    (void)state;
    char boot_id[BOOT_ID_SIZE];
    assert_int_equal(memory_boot_id(boot_id, NULL), ERR_OK);
    assert_int_equal(strlen(boot_id), 36);
}

/* Nobody knows what was promised: whatever ttl may have been in force counts. */
static void test_lost(void **state)
{
    (void)state;
    struct memory_loaded loaded = {.found = true, .same_boot = true};
    memory_lost(2000, 5000, &loaded);
    assert_false(loaded.found);
    assert_false(loaded.same_boot); /* so the promise counts from now */
    assert_int_equal(loaded.memory.ttl_max_ms, 30000);
    assert_true(loaded.memory.promised_ms > 30000);
    assert_true(loaded.memory.promised_to[0] != '\0');
    assert_int_equal(loaded.memory.failsafe.count, 0);
    memory_lost(60000, 5000, &loaded);
    assert_int_equal(loaded.memory.ttl_max_ms, 60000);
    memory_lost(60000, 90000, &loaded);
    assert_int_equal(loaded.memory.ttl_max_ms, 90000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_other_boot),
        cmocka_unit_test(test_damage_is_an_error),
        cmocka_unit_test(test_write_and_load),
        cmocka_unit_test(test_boot_id),
        cmocka_unit_test(test_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
