/* An assertion's last words: one line on standard error, one hook, abort. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

static void (*fail_hook)(void);

void assert_set_hook(void (*hook)(void))
{
    fail_hook = hook;
}

_Noreturn void assert_fail(const char *file, int line, const char *text)
{
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, text);
    void (*hook)(void) = fail_hook;
    fail_hook = NULL; /* a hook that asserts must not recurse */
    if (hook != NULL) {
        hook();
    }
    abort();
}
