/* base/str.h - text in fixed buffers, without silent cuts.
 *
 * Purpose    copy, compare and parse short text; nothing here allocates.
 * Ownership  callers own every buffer.
 * Errors     false when the text does not fit or does not parse; outputs are then untouched.
 * Units      sizes in bytes, with the terminating NUL.
 * Threads    any.
 */
#ifndef HOLDFAST_BASE_STR_H
#define HOLDFAST_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

static inline bool str_equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* Copies when it fits, else leaves out alone and returns false. */
bool str_copy(char *out, size_t out_size, const char *text) MUST_CHECK;

/* Copies text that is known to fit (a name between two fields of the same size); ASSERTs it. */
void str_set(char *out, size_t out_size, const char *text);

/* Copies what fits: for text meant for people only. */
void str_copy_cut(char *out, size_t out_size, const char *text);

/* snprintf that answers whether all of it fit (out then holds the cut text, as snprintf). */
bool str_format(char *out, size_t out_size, const char *format, ...) PRINTF_LIKE(3, 4) MUST_CHECK;

/* The whole text as a decimal number; no blanks, no sign for the unsigned one. */
bool str_to_u64(const char *text, uint64_t *out_value) MUST_CHECK;
bool str_to_i64(const char *text, int64_t *out_value) MUST_CHECK;

/* PostgreSQL's LSN text "X/Y" (hexadecimal) to and from a number. */
bool str_to_lsn(const char *text, uint64_t *out_lsn) MUST_CHECK;
#define LSN_TEXT_SIZE 20
void str_from_lsn(char out[LSN_TEXT_SIZE], uint64_t lsn);

#endif
