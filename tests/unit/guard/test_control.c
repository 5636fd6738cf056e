/* Messages: nothing but exactly one message of this version gets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "guard/control.h"
#include "guard/page.h"

static union control_packet packet;

/* A packet of the type that passes. */
static void make(enum control_type type)
{
    static const char *const argv[] = {"/bin/postgres", "-D", "", "x", NULL};
    control_init(&packet, type, 7);
    if (type == CONTROL_START) {
        assert_true(str_copy(packet.start.data_dir, sizeof(packet.start.data_dir), "/data"));
        assert_int_equal(control_args_pack(&packet.start, argv, NULL), ERR_OK);
    } else if (type == CONTROL_ADOPT) {
        packet.adopt.pid = 2;
    } else if (type == CONTROL_ARM) {
        packet.arm.epoch = 1;
    } else if (type == CONTROL_REFUSED) {
        packet.refused.err = ERR_REFUSED;
    }
}

static enum err check(void)
{
    struct err_detail detail = {.text = ""};
    enum err err = control_check(&packet, packet.head.size, &detail);
    assert_true((err == ERR_OK) == (detail.text[0] == '\0'));
    return err;
}

static void test_every_type_passes_and_no_other_size_does(void **state)
{
    (void)state;
    for (int number = 1; number < CONTROL_TYPE_COUNT; number++) {
        uint16_t type = (uint16_t)number;
        make((enum control_type)type);
        size_t size = control_size(type);
        assert_int_equal(packet.head.size, size);
        assert_int_equal(packet.head.id, 7);
        assert_int_equal(check(), ERR_OK);
        assert_int_equal(control_check(&packet, size - 1, NULL), ERR_INVALID);
        assert_int_equal(control_check(&packet, size + 1, NULL), ERR_INVALID);
        assert_int_equal(control_check(&packet, 0, NULL), ERR_INVALID);
        assert_int_equal(control_check(&packet, sizeof(packet.head) - 1, NULL), ERR_INVALID);
        packet.head.size++;
        assert_int_equal(control_check(&packet, size, NULL), ERR_INVALID);
        packet.head.size--;
        packet.head.version++;
        assert_int_equal(check(), ERR_INVALID);
        packet.head.version -= 2;
        assert_int_equal(check(), ERR_INVALID);
        assert_string_not_equal(control_name(type), "unknown");
    }
}

static void test_unknown_types(void **state)
{
    (void)state;
    const uint16_t types[] = {CONTROL_NONE, CONTROL_TYPE_COUNT, UINT16_MAX};
    for (size_t i = 0; i < 3; i++) {
        make(CONTROL_PING);
        packet.head.type = types[i];
        assert_int_equal(check(), ERR_INVALID);
        assert_int_equal(control_size(types[i]), 0);
        assert_string_equal(control_name(types[i]), "unknown");
    }
}

#define REFUSES(type, statement)                                                                   \
    do {                                                                                           \
        make(type);                                                                                \
        statement;                                                                                 \
        assert_int_equal(check(), ERR_INVALID);                                                    \
    } while (0)

static void test_bad_fields(void **state)
{
    (void)state;
    REFUSES(CONTROL_ADOPT, packet.adopt.pid = 1);
    REFUSES(CONTROL_ADOPT, packet.adopt.pid = -5);
    REFUSES(CONTROL_ADOPT, packet.adopt.pid = INT64_MAX);
    REFUSES(CONTROL_ARM, packet.arm.epoch = 0);
    REFUSES(CONTROL_STOP, packet.stop.mode = CONTROL_STOP_COUNT);
    REFUSES(CONTROL_LEAVING, packet.leaving.code = -1);
    REFUSES(CONTROL_LEAVING, packet.leaving.code = 256);
    REFUSES(CONTROL_LEAVING, packet.leaving.stranger = 2);
    REFUSES(CONTROL_REFUSED, packet.refused.err = ERR_OK);
    REFUSES(CONTROL_REFUSED, packet.refused.err = ERR_COUNT);
    REFUSES(CONTROL_REFUSED, memset(packet.refused.text, 'x', sizeof(packet.refused.text)));
    REFUSES(CONTROL_HELLO, packet.hello.priority = CONTROL_PRIORITY_COUNT);
    REFUSES(CONTROL_HELLO, packet.hello.fence = PAGE_FENCE_COUNT);
    REFUSES(CONTROL_HELLO, memset(packet.hello.guard_version, 'x', 32));
    REFUSES(CONTROL_FENCED, packet.fenced.stage = PAGE_FENCE_COUNT);
}

static void test_bad_starts(void **state)
{
    (void)state;
    struct control_start *start = &packet.start;
    REFUSES(CONTROL_START, memset(start->log_path, 'x', sizeof(start->log_path)));
    REFUSES(CONTROL_START, memset(start->data_dir, 'x', sizeof(start->data_dir)));
    REFUSES(CONTROL_START, start->data_dir[0] = '\0');
    REFUSES(CONTROL_START, start->args_count = 0);
    REFUSES(CONTROL_START, start->args_count = PG_ARGS_MAX + 1);
    REFUSES(CONTROL_START, start->args_count++);
    REFUSES(CONTROL_START, start->args_count--);
    REFUSES(CONTROL_START, start->args_size = 0);
    REFUSES(CONTROL_START, start->args_size = PG_ARGS_SIZE + 1);
    REFUSES(CONTROL_START, start->args_size--);
    REFUSES(CONTROL_START, start->args[start->args_size - 1] = 'x');
    REFUSES(CONTROL_START, start->args[0] = '\0');
}

static void test_arguments_come_out_as_they_went_in(void **state)
{
    (void)state;
    make(CONTROL_START);
    char *argv[PG_ARGS_MAX + 1];
    control_args_borrow(&packet.start, argv);
    assert_string_equal(argv[0], "/bin/postgres");
    assert_string_equal(argv[1], "-D");
    assert_string_equal(argv[2], "");
    assert_string_equal(argv[3], "x");
    assert_null(argv[4]);
}

static void test_arguments_that_do_not_fit(void **state)
{
    (void)state;
    static char long_text[PG_ARGS_SIZE + 1];
    static const char *argv[PG_ARGS_MAX + 2];
    make(CONTROL_START);
    const struct control_start before = packet.start;
    const char *const none[] = {NULL};
    assert_int_equal(control_args_pack(&packet.start, none, NULL), ERR_INVALID);
    const char *const empty[] = {"", NULL};
    assert_int_equal(control_args_pack(&packet.start, empty, NULL), ERR_INVALID);
    memset(long_text, 'x', PG_ARGS_SIZE);
    const char *const long_one[] = {long_text, NULL};
    assert_int_equal(control_args_pack(&packet.start, long_one, NULL), ERR_INVALID);
    for (size_t i = 0; i <= PG_ARGS_MAX; i++) {
        argv[i] = "y";
    }
    assert_int_equal(control_args_pack(&packet.start, argv, NULL), ERR_INVALID);
    assert_int_equal(packet.start.args_count, before.args_count);
    argv[PG_ARGS_MAX] = NULL;
    assert_int_equal(control_args_pack(&packet.start, argv, NULL), ERR_OK);
    assert_int_equal(packet.start.args_count, PG_ARGS_MAX);
    assert_int_equal(check(), ERR_OK);
    long_text[PG_ARGS_SIZE - 1] = '\0'; /* exactly full */
    assert_int_equal(control_args_pack(&packet.start, long_one, NULL), ERR_OK);
    assert_int_equal(check(), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_passes_and_no_other_size_does),
        cmocka_unit_test(test_unknown_types),
        cmocka_unit_test(test_bad_fields),
        cmocka_unit_test(test_bad_starts),
        cmocka_unit_test(test_arguments_come_out_as_they_went_in),
        cmocka_unit_test(test_arguments_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
