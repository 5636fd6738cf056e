/* A number is read once, as a double with its unit's text; everything else is what the unit does to
 * it. Integers without a unit never pass through a double, so 64 bits stay exact. */
#include "codec/units.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/str.h"

struct unit {
    const char *name;
    int kind;    /* 1 memory, 2 time */
    double size; /* bytes, microseconds */
};

/* Of each kind from the smallest on: fractions are rounded to the one before. */
static const struct unit UNITS[] = {
    {"B", 1, 1.0},
    {"kB", 1, 1024.0},
    {"MB", 1, 1024.0 * 1024},
    {"GB", 1, 1024.0 * 1024 * 1024},
    {"TB", 1, 1024.0 * 1024 * 1024 * 1024},
    {"us", 2, 1.0},
    {"ms", 2, 1000.0},
    {"s", 2, 1000.0 * 1000},
    {"min", 2, 60.0 * 1000 * 1000},
    {"h", 2, 60.0 * 60 * 1000 * 1000},
    {"d", 2, 24.0 * 60 * 60 * 1000 * 1000},
};
#define UNIT_COUNT (sizeof(UNITS) / sizeof(UNITS[0]))
#define VALUE_MAX 4611686018427387904.0 /* 2^62: every sum of two still fits */

struct number {
    double value;
    int64_t exact; /* when is_exact */
    bool is_exact;
    char unit[8]; /* "" none */
};

static const struct unit *unit_find(const char *name)
{
    for (size_t i = 0; i < UNIT_COUNT; i++) {
        if (str_equal(UNITS[i].name, name)) {
            return &UNITS[i];
        }
    }
    return NULL;
}

/* What is left after the number: blanks, a unit, blanks, the end. */
static bool read_unit(const char *text, char out_unit[8])
{
    text += strspn(text, " \t\n\r\f\v");
    size_t length = 0;
    while (isalpha((unsigned char)text[length])) {
        length++;
    }
    if (length >= 8 || text[length + strspn(text + length, " \t\n\r\f\v")] != '\0') {
        return false;
    }
    memcpy(out_unit, text, length);
    out_unit[length] = '\0';
    return true;
}

static bool read_number(const char *text, struct number *out_number)
{
    struct number number = {.is_exact = true};
    text += strspn(text, " \t\n\r\f\v");
    const char *digits = text + (text[0] == '-' || text[0] == '+' ? 1 : 0);
    if (!isdigit((unsigned char)digits[0]) &&
        !(digits[0] == '.' && isdigit((unsigned char)digits[1]))) {
        return false; /* strtod would take "inf" and "nan" */
    }
    char *end = NULL;
    errno = 0;
    long long exact = strtoll(text, &end, 0);
    bool hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
    if (errno != 0 || (!hex && (*end == '.' || *end == 'e' || *end == 'E' ||
                                (digits[0] == '0' && isdigit((unsigned char)*end))))) {
        errno = 0;
        number.value = strtod(text, &end);
        number.is_exact = false;
        if (errno != 0 || !isfinite(number.value)) {
            return false;
        }
    } else {
        number.exact = exact;
        number.value = (double)exact;
    }
    if (!read_unit(end, number.unit)) {
        return false;
    }
    *out_number = number;
    return true;
}

static bool to_int(double value, int64_t *out_value)
{
    if (!(value > -VALUE_MAX && value < VALUE_MAX)) {
        return false;
    }
    *out_value = (int64_t)rint(value); /* half to even */
    return true;
}

bool units_to_int(const char *text, const char *base_unit, int64_t *out_value)
{
    ASSERT(text != NULL && out_value != NULL);
    struct number number;
    if (!read_number(text, &number)) {
        return false;
    }
    if (number.unit[0] == '\0') {
        if (number.is_exact) {
            *out_value = number.exact;
            return true;
        }
        return to_int(number.value, out_value);
    }
    struct number base = {.value = 1};
    const struct unit *unit = unit_find(number.unit);
    if (base_unit == NULL || unit == NULL) {
        return false;
    }
    if (isdigit((unsigned char)base_unit[0])) {
        if (!read_number(base_unit, &base)) {
            return false;
        }
    } else if (!str_copy(base.unit, sizeof(base.unit), base_unit)) {
        return false;
    }
    const struct unit *counts = unit_find(base.unit);
    if (counts == NULL || counts->kind != unit->kind || !(base.value > 0)) {
        return false;
    }
    double value = number.value * unit->size;
    if (rint(number.value) != number.value && unit > UNITS && unit[-1].kind == unit->kind) {
        value = rint(value / unit[-1].size) * unit[-1].size;
    }
    return to_int(value / (counts->size * base.value), out_value);
}

bool units_to_ms(const char *text, int64_t *out_ms)
{
    ASSERT(text != NULL && out_ms != NULL);
    struct number number;
    if (!read_number(text, &number)) {
        return false;
    }
    if (number.unit[0] != '\0') {
        return units_to_int(text, "ms", out_ms);
    }
    return to_int(number.value * 1000.0, out_ms);
}

bool units_to_bool(const char *text, bool *out_value)
{
    ASSERT(text != NULL && out_value != NULL);
    static const char *const words[][2] = {
        {"off", "on"}, {"false", "true"}, {"no", "yes"}, {"0", "1"}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        for (int value = 0; value < 2; value++) {
            if (strcasecmp(text, words[i][value]) == 0) {
                *out_value = value == 1;
                return true;
            }
        }
    }
    return false;
}

bool units_json_int(const json_t *json, const char *base_unit, int64_t *out_value)
{
    if (json_is_integer(json)) {
        *out_value = json_integer_value(json);
        return true;
    }
    if (json_is_real(json)) {
        return to_int(json_real_value(json), out_value);
    }
    return json_is_string(json) && units_to_int(json_string_value(json), base_unit, out_value);
}

bool units_json_ms(const json_t *json, int64_t *out_ms)
{
    if (json_is_number(json)) {
        return to_int(json_number_value(json) * 1000.0, out_ms);
    }
    return json_is_string(json) && units_to_ms(json_string_value(json), out_ms);
}

bool units_json_bool(const json_t *json, bool *out_value)
{
    if (json_is_boolean(json)) {
        *out_value = json_is_true(json);
        return true;
    }
    if (json_is_integer(json) && (json_integer_value(json) == 0 || json_integer_value(json) == 1)) {
        *out_value = json_integer_value(json) == 1;
        return true;
    }
    return json_is_string(json) && units_to_bool(json_string_value(json), out_value);
}
