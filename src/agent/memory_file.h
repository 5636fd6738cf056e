/* agent/memory_file.h - what the core must remember through crashes and reboots.
 *
 * Purpose    struct core_memory to and from a small JSON file beside the data directory.
 * Ownership  values in, values out; text belongs to the arena. agent/file_replace.h writes it.
 * Errors     no file is ERR_OK with found false; a file that cannot be read or understood is
 *            ERR_INVALID: it held promises, so nobody may go on as if there had been none.
 * Threads    any.
 * Source     design L8, L9.
 */
#ifndef HOLDFAST_AGENT_MEMORY_FILE_H
#define HOLDFAST_AGENT_MEMORY_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/limits.h"
#include "core/view.h"

#define BOOT_ID_SIZE 40

struct memory_loaded {
    bool found;
    bool same_boot; /* written in the boot named; false when nothing was found */
    struct core_memory memory;
};

/* The kernel's id of this boot. */
enum err memory_boot_id(char out_boot_id[BOOT_ID_SIZE], struct err_detail *detail) MUST_CHECK;

#define MEMORY_LOST_TTL_MS                                                                         \
    30000 /* Patroni's default: what is known to nobody is taken for no less */

/* What to go on with when the file was damaged: nothing is known but that a promise may have been
 * given, to anybody, for the largest ttl that can have been in force; so for that long no lease is
 * acquired. */
void memory_lost(int64_t config_ttl_ms, int64_t page_ttl_ms, struct memory_loaded *out_loaded);

/* The file's text, NULL when the arena's cap is too low. */
char *memory_format(const struct core_memory *memory, const char *boot_id, struct arena *arena);

enum err memory_parse(const char *text, size_t size, const char *boot_id,
                      struct memory_loaded *out_loaded, struct err_detail *detail) MUST_CHECK;

enum err memory_load(const char *path, const char *boot_id, struct memory_loaded *out_loaded,
                     struct err_detail *detail) MUST_CHECK;

#endif
