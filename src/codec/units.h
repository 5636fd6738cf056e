/* codec/units.h - numbers with units, durations and booleans as people write them.
 *
 * Purpose    one reading of integers for every setting, with PostgreSQL's units and rounding.
 * Ownership  plain values.
 * Errors     false when the text is no such value or does not fit; outputs are then untouched.
 * Units      *_ms milliseconds.
 * Threads    any; pure.
 * Source     compat/config.md section 7.
 */
#ifndef HOLDFAST_CODEC_UNITS_H
#define HOLDFAST_CODEC_UNITS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Blanks around it, 0x and leading-zero octal, fractions (rounded half to even). base_unit: what a
 * bare number counts ("B", "8kB", "MB", "s", "ms"); NULL: no unit is legal. */
bool units_to_int(const char *text, const char *base_unit, int64_t *out_value) MUST_CHECK;

/* "2s", "1500ms", "1.5min"; a bare number, with or without fraction, is seconds. */
bool units_to_ms(const char *text, int64_t *out_ms) MUST_CHECK;

/* on/true/yes/1 and off/false/no/0 in any case. */
bool units_to_bool(const char *text, bool *out_value) MUST_CHECK;

/* The same from a JSON number, boolean or string; false for NULL and other types. */
bool units_json_int(const json_t *json, const char *base_unit, int64_t *out_value) MUST_CHECK;
bool units_json_ms(const json_t *json, int64_t *out_ms) MUST_CHECK;
bool units_json_bool(const json_t *json, bool *out_value) MUST_CHECK;

#endif
