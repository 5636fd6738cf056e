/* base/assert.h - assertions that are always compiled in.
 *
 * Purpose    ASSERT states what only a bug can break; input from outside gets an error instead.
 * Ownership  none.
 * Errors     a failed assertion prints the condition and aborts: no worse than kill -9, which the
 *            simulator exercises at every step.
 * Threads    any.
 */
#ifndef HOLDFAST_BASE_ASSERT_H
#define HOLDFAST_BASE_ASSERT_H

#include <stdbool.h>

/* Prints "file:line: assertion failed: text" on standard error, runs the hook, aborts. */
_Noreturn void assert_fail(const char *file, int line, const char *text);

/* Sets what runs once before an abort (the agent prints its last plan). NULL removes it. */
void assert_set_hook(void (*hook)(void));

#define ASSERT(cond) ((cond) ? (void)0 : assert_fail(__FILE__, __LINE__, #cond))
#define ASSERT_IMPLIES(a, b) ASSERT(!(a) || (b))
#define UNREACHABLE() assert_fail(__FILE__, __LINE__, "unreachable")

#endif
