/* Errors say what the caller may conclude; the text is for the person who reads the log. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

const char *err_name(enum err err)
{
    static const char *const names[] = {
#define X(name, text) [ERR_##name] = (text),
        ERR_LIST(X)
#undef X
    };
    _Static_assert(sizeof(names) / sizeof(names[0]) == ERR_COUNT, "one name for each error");
    ASSERT(err < ERR_COUNT);
    return names[err];
}

/* By way of a buffer of its own: the text so far may be among the arguments, when a caller puts its
 * own words around what the layer below said. */
PRINTF_LIKE(2, 0)
static void detail_format(struct err_detail *detail, const char *format, va_list args)
{
    char text[sizeof(detail->text)] = "";
    (void)vsnprintf(text, sizeof(text), format, args); /* cut is fine */
    memcpy(detail->text, text, sizeof(text));
}

enum err err_set(struct err_detail *detail, enum err err, const char *format, ...)
{
    ASSERT(err != ERR_OK);
    if (detail != NULL) {
        va_list args;
        va_start(args, format);
        detail_format(detail, format, args);
        va_end(args);
        detail->sys_errno = 0;
    }
    return err;
}

enum err err_set_errno(struct err_detail *detail, enum err err, int sys_errno, const char *format,
                       ...)
{
    ASSERT(err != ERR_OK);
    if (detail != NULL) {
        va_list args;
        va_start(args, format);
        detail_format(detail, format, args);
        va_end(args);
        size_t used = strlen(detail->text);
        char reason[128];
        (void)snprintf(detail->text + used, sizeof(detail->text) - used, ": %s",
                       strerror_r(sys_errno, reason, sizeof(reason))); /* cut is fine */
        detail->sys_errno = sys_errno;
    }
    return err;
}
