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

enum err err_set(struct err_detail *detail, enum err err, const char *format, ...)
{
    ASSERT(err != ERR_OK);
    if (detail != NULL) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(detail->text, sizeof(detail->text), format, args); /* cut is fine */
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
        (void)vsnprintf(detail->text, sizeof(detail->text), format, args); /* cut is fine */
        va_end(args);
        size_t used = strlen(detail->text);
        (void)snprintf(detail->text + used, sizeof(detail->text) - used, ": %s",
                       strerror(sys_errno));
        detail->sys_errno = sys_errno;
    }
    return err;
}
