/* base/err.h - what a caller may conclude from a call that failed.
 *
 * Purpose    one enum for every fallible function; details as text beside it.
 * Ownership  struct err_detail belongs to the caller; every function accepts NULL for it.
 * Errors     once a mutating request has left, only an answer understood in full may be anything
 *            but ERR_IN_DOUBT.
 * Threads    any.
 */
#ifndef HOLDFAST_BASE_ERR_H
#define HOLDFAST_BASE_ERR_H

#include <stdarg.h>

#define ERR_LIST(X)                                                                                \
    X(OK, "ok")                                                                                    \
    X(INVALID, "invalid")         /* malformed input; a retry cannot help */                       \
    X(REFUSED, "refused")         /* the other side said no; nothing changed */                    \
    X(CONFLICT, "conflict")       /* compare-and-set lost; nothing changed */                      \
    X(UNREACHABLE, "unreachable") /* not sent; nothing changed */                                  \
    X(IN_DOUBT, "in doubt")       /* sent, no answer; it may have been applied */                  \
    X(NO_MEMORY, "no memory")     /* an arena's cap was hit before sending; nothing changed */     \
    X(CANCELED, "canceled")       /* given up before sending; nothing changed */

enum err {
#define X(name, text) ERR_##name,
    ERR_LIST(X)
#undef X
        ERR_COUNT
};

struct err_detail {
    int sys_errno; /* 0 when no system call failed */
    char text[256];
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* The lower-case name, never NULL. */
const char *err_name(enum err err);

/* Writes the text (truncated to fit) when detail is not NULL, and returns err. Not for ERR_OK.
 * detail->text may be among the arguments: err_set(detail, err, "clone: %s", detail->text). */
enum err err_set(struct err_detail *detail, enum err err, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* As err_set, with ": strerror(sys_errno)" appended and sys_errno kept. */
enum err err_set_errno(struct err_detail *detail, enum err err, int sys_errno, const char *format,
                       ...) PRINTF_LIKE(4, 5);

#endif
