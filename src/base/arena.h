/* base/arena.h - memory for one unit of work, freed whole.
 *
 * Purpose    an arena per request or probe; nothing in it is freed alone.
 * Ownership  the arena owns all it hands out; arena_fini frees it; pointers die with it.
 * Errors     NULL when the cap would be passed (callers turn that into ERR_NO_MEMORY); exhaustion
 *            of the heap itself aborts.
 * Units      bytes; each allocation counts against the cap rounded up to max_align_t.
 * Threads    one at a time.
 */
#ifndef HOLDFAST_BASE_ARENA_H
#define HOLDFAST_BASE_ARENA_H

#include <stddef.h>

#include "base/err.h"

struct arena_block;

struct arena {
    struct arena_block *blocks;
    size_t used_bytes; /* handed out so far, all blocks */
    size_t cap_bytes;
};

/* Starts empty; takes no memory until the first allocation. */
void arena_init(struct arena *arena, size_t cap_bytes);

/* Frees everything; the arena may be used again. Accepts an arena already finished. */
void arena_fini(struct arena *arena);

/* Zeroed memory aligned for any type, or NULL past the cap. size_bytes 0 gives a unique pointer. */
void *arena_alloc(struct arena *arena, size_t size_bytes) MUST_CHECK;

/* A NUL-terminated copy of the length bytes at text (all there), or NULL past the cap. */
char *arena_strndup(struct arena *arena, const char *text, size_t length) MUST_CHECK;

/* A NUL-terminated copy, or NULL past the cap. */
char *arena_strdup(struct arena *arena, const char *text) MUST_CHECK;

/* A formatted string, or NULL past the cap. */
char *arena_printf(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3) MUST_CHECK;

#endif
