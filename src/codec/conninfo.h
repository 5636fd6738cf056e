/* codec/conninfo.h - libpq's connection strings, password files, slot names.
 *
 * Purpose    write a conninfo with the keyword order of compat/config.md 5.3, a password file's
 *            line (4.5), and the slot name that belongs to a member name (7).
 * Ownership  callers own every buffer.
 * Errors     false: does not fit; outputs then hold no secret and no partial text ("").
 * Threads    any; pure.
 */
#ifndef HOLDFAST_CODEC_CONNINFO_H
#define HOLDFAST_CODEC_CONNINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

struct conninfo_item {
    const char *keyword;
    const char *value; /* NULL or "": the item is left out */
};

/* Keywords in the fixed order, unknown ones after them in the caller's order; of a keyword given
 * twice the first counts. */
bool conninfo_format(const struct conninfo_item *items, size_t count, char *out,
                     size_t out_size) MUST_CHECK;

/* "host:port:*:user:password" and a newline, `:` and `\` escaped; NULL or "" becomes `*`. A host that
 * is a path gets a second line for localhost. */
bool conninfo_pgpass(const char *host, uint16_t port, const char *user, const char *password,
                     char *out, size_t out_size) MUST_CHECK;

/* Lower case; `-` and `.` become `_`; other characters `u` and the code point with at least four
 * digits; cut to 63 bytes. */
void conninfo_slot_name(const char *member, char out[NAME_SIZE]);

#endif
