/* A list of malloc'ed blocks, each larger than the last; only the newest is carved. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define ARENA_BLOCK_FIRST 4096

struct arena_block {
    struct arena_block *next;
    size_t size;
    size_t used;
    _Alignas(max_align_t) unsigned char data[];
};

void arena_init(struct arena *arena, size_t cap_bytes)
{
    ASSERT(arena != NULL);
    *arena = (struct arena){.cap_bytes = cap_bytes};
}

void arena_fini(struct arena *arena)
{
    ASSERT(arena != NULL);
    struct arena_block *block = arena->blocks;
    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->used_bytes = 0;
}

static void block_add(struct arena *arena, size_t need)
{
    size_t size = arena->blocks == NULL ? ARENA_BLOCK_FIRST : arena->blocks->size * 2;
    if (size < need) {
        size = need;
    }
    struct arena_block *block = malloc(sizeof(*block) + size);
    ASSERT(block != NULL); /* the machine is out of memory: dying is a tested path */
    *block = (struct arena_block){.next = arena->blocks, .size = size};
    arena->blocks = block;
}

void *arena_alloc(struct arena *arena, size_t size_bytes)
{
    ASSERT(arena != NULL);
    const size_t align = _Alignof(max_align_t);
    if (size_bytes > arena->cap_bytes || size_bytes > SIZE_MAX - align) {
        return NULL;
    }
    size_t size = (size_bytes + align - 1) / align * align;
    if (size == 0) {
        size = align;
    }
    if (size > arena->cap_bytes - arena->used_bytes) {
        return NULL;
    }
    if (arena->blocks == NULL || arena->blocks->size - arena->blocks->used < size) {
        block_add(arena, size);
    }
    void *memory = arena->blocks->data + arena->blocks->used;
    arena->blocks->used += size;
    arena->used_bytes += size;
    memset(memory, 0, size);
    return memory;
}

char *arena_strndup(struct arena *arena, const char *text, size_t length)
{
    ASSERT(text != NULL);
    if (length == SIZE_MAX) {
        return NULL; /* no room for the NUL in any arena */
    }
    char *copy = arena_alloc(arena, length + 1);
    if (copy != NULL) {
        memcpy(copy, text, length);
    }
    return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    ASSERT(text != NULL);
    return arena_strndup(arena, text, strlen(text));
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(length >= 0);
    char *text = arena_alloc(arena, (size_t)length + 1);
    if (text != NULL) {
        va_start(args, format);
        (void)vsnprintf(text, (size_t)length + 1, format, args); /* measured above */
        va_end(args);
    }
    return text;
}
