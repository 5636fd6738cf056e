/* codec/json.h - the few things that every JSON user of ours needs beside jansson.
 *
 * Purpose    tolerant reading of store values, bounded text out, recursive merge.
 * Ownership  as in jansson: results are new references.
 * Errors     NULL or false for garbage; never a partial result.
 * Threads    any; pure.
 * Source     compat/dcs.md section 1 (readers tolerate garbage), config.md section 1.2 (merge).
 */
#ifndef HOLDFAST_CODEC_JSON_H
#define HOLDFAST_CODEC_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"

/* Any JSON value, NULL when it is none. value need not end with NUL. */
json_t *json_read(const char *value, size_t size);

/* The same, NULL also when it is not an object. */
json_t *json_read_object(const char *value, size_t size);

/* The string at key, or NULL. */
const char *json_text(const json_t *object, const char *key);

/* A string as it is, numbers and booleans (true/false) as text; NULL for the rest or past the cap.
 */
const char *json_scalar_text(const json_t *scalar, struct arena *arena);

/* Maps are merged key by key, null removes, everything else replaces. */
void json_merge(json_t *object, const json_t *patch);

/* Compact text into the buffer; false when it does not fit (out is then ""). */
bool json_write(const json_t *value, char *out, size_t out_size) MUST_CHECK;

#endif
