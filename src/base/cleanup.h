/* base/cleanup.h - scope-bound release of local resources (house rules, memory 3).
 *
 * Purpose    AUTO_CLOSE for descriptors, AUTO_FREE for heap memory, AUTO_ARENA for arenas.
 * Ownership  the variable owns; set it to -1 or NULL to hand its content on. It must be initialised
 *            where it is declared: an early return releases whatever it holds.
 * Threads    any.
 */
#ifndef HOLDFAST_BASE_CLEANUP_H
#define HOLDFAST_BASE_CLEANUP_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd); /* nothing was written that a failed close could lose */
    }
}

static inline void cleanup_free(void *pointer)
{
    void *memory;
    memcpy(&memory, pointer, sizeof(memory)); /* the variable may be a pointer to any type */
    free(memory);
}

#define AUTO_CLOSE __attribute__((cleanup(cleanup_close)))
#define AUTO_FREE __attribute__((cleanup(cleanup_free)))
#define AUTO_ARENA __attribute__((cleanup(arena_fini)))

#endif
