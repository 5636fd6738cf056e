/* Either the text fits and parses in full, or the caller hears of it. */
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

bool str_copy(char *out, size_t out_size, const char *text)
{
    ASSERT(out_size > 0);
    size_t length = strlen(text);
    if (length >= out_size) {
        return false;
    }
    memcpy(out, text, length + 1);
    return true;
}

void str_set(char *out, size_t out_size, const char *text)
{
    bool fits = str_copy(out, out_size, text);
    ASSERT(fits);
}

void str_copy_cut(char *out, size_t out_size, const char *text)
{
    ASSERT(out_size > 0);
    size_t length = strnlen(text, out_size - 1);
    memcpy(out, text, length);
    out[length] = '\0';
}

bool str_format(char *out, size_t out_size, const char *format, ...)
{
    ASSERT(out_size > 0);
    va_list args;
    va_start(args, format);
    int length = vsnprintf(out, out_size, format, args);
    va_end(args);
    return length >= 0 && (size_t)length < out_size;
}

bool str_to_u64(const char *text, uint64_t *out_value)
{
    ASSERT(out_value != NULL);
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0') {
        return false;
    }
    *out_value = value;
    return true;
}

bool str_to_i64(const char *text, int64_t *out_value)
{
    ASSERT(out_value != NULL);
    const char *digits = text[0] == '-' ? text + 1 : text;
    if (digits[0] < '0' || digits[0] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0') {
        return false;
    }
    *out_value = value;
    return true;
}

static bool hex_part(const char *text, size_t length, uint64_t *out_value)
{
    if (length == 0 || length > 8) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        unsigned digit;
        if (c >= '0' && c <= '9') {
            digit = (unsigned)(c - '0');
        } else if (c >= 'A' && c <= 'F') {
            digit = (unsigned)(c - 'A') + 10;
        } else if (c >= 'a' && c <= 'f') {
            digit = (unsigned)(c - 'a') + 10;
        } else {
            return false;
        }
        value = value << 4 | digit;
    }
    *out_value = value;
    return true;
}

bool str_to_lsn(const char *text, uint64_t *out_lsn)
{
    ASSERT(out_lsn != NULL);
    const char *slash = strchr(text, '/');
    uint64_t high;
    uint64_t low;
    if (slash == NULL || !hex_part(text, (size_t)(slash - text), &high) ||
        !hex_part(slash + 1, strlen(slash + 1), &low)) {
        return false;
    }
    *out_lsn = high << 32 | low;
    return true;
}

void str_from_lsn(char out[LSN_TEXT_SIZE], uint64_t lsn)
{
    (void)snprintf(out, LSN_TEXT_SIZE, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32),
                   (uint32_t)lsn); /* 8 + 1 + 8 always fits */
}
