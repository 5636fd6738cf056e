/* Every way to cut a stream gives the same frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/localproto.h"
#include "dcs/frames.h"

/* Feeds one chunk, in memory exactly as large; appends what comes out to the text, "|" after each. */
static enum frames_step feed(struct frames *frames, const char *data, size_t size, char *out)
{
    char *chunk = malloc(size > 0 ? size : 1);
    assert_non_null(chunk);
    memcpy(chunk, data, size); /* NOLINT(bugprone-not-null-terminated-result): on purpose */
    const char *at = chunk;
    const char *line = NULL;
    size_t length = 0;
    enum frames_step step;
    while ((step = frames_next(frames, &at, &size, &line, &length)) == FRAMES_LINE) {
        size_t used = strlen(out);
        memcpy(out + used, line, length);
        memcpy(out + used + length, "|", 2);
    }
    free(chunk);
    return step;
}

static void test_however_it_is_cut(void **state)
{
    (void)state;
    static const char stream[] = "\nab\n\n\nc\ndefgh\n.";
    const size_t size = sizeof(stream) - 1;
    for (size_t i = 0; i <= size; i++) {
        for (size_t k = i; k <= size; k++) {
            struct frames frames = {0};
            char out[64] = "";
            assert_int_equal(feed(&frames, stream, i, out), FRAMES_MORE);
            assert_int_equal(feed(&frames, stream + i, k - i, out), FRAMES_MORE);
            assert_int_equal(feed(&frames, stream + k, size - k, out), FRAMES_MORE);
            assert_string_equal(out, "|ab|||c|defgh|");
            assert_int_equal(feed(&frames, "\n", 1, out), FRAMES_MORE);
            assert_string_equal(out, "|ab|||c|defgh|.|");
            frames_fini(&frames);
        }
    }
}

/* The largest frame passes, one byte more does not: whole in a chunk, at its start, at its end. */
static void test_the_bound(void **state)
{
    (void)state;
    char *big = malloc(LOCALPROTO_FRAME_MAX + 2);
    char *out = calloc(1, LOCALPROTO_FRAME_MAX + 3);
    assert_non_null(big);
    assert_non_null(out);
    for (size_t more = 0; more < 2; more++) {
        const size_t size = LOCALPROTO_FRAME_MAX + more;
        const enum frames_step wanted = more == 0 ? FRAMES_MORE : FRAMES_TOO_LONG;
        memset(big, 'x', size);
        big[size] = '\n';
        static const size_t cuts[] = {0, 1, 5, LOCALPROTO_FRAME_MAX - 1, LOCALPROTO_FRAME_MAX};
        for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
            struct frames frames = {0};
            out[0] = '\0';
            assert_int_equal(feed(&frames, big, cuts[i], out), FRAMES_MORE);
            assert_int_equal(feed(&frames, big + cuts[i], size + 1 - cuts[i], out), wanted);
            assert_int_equal(strlen(out), more == 0 ? size + 1 : 0);
            frames_fini(&frames);
        }
        struct frames frames = {0};
        assert_int_equal(feed(&frames, big, size, out), wanted); /* its newline has not come */
        frames_fini(&frames);
    }
    free(big);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_however_it_is_cut),
        cmocka_unit_test(test_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
