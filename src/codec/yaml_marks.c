/* An open-addressed table from (container, key or index) to where it was written. jansson's true,
 * false and null are singletons, so a value's own address cannot be the key. */
#include "codec/yaml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"

#define MARKS_ARENA_CAP (64U * 1024 * 1024)
#define MARKS_FIRST_ROOM 256U

struct mark_entry {
    const json_t *parent; /* NULL: free */
    const char *key;      /* NULL: an element of a list */
    size_t index;
    struct yaml_mark mark;
};

struct yaml_marks {
    struct arena arena;
    struct mark_entry *entries;
    size_t room; /* a power of two */
    size_t count;
};

struct yaml_marks *yaml_marks_create(void)
{
    struct yaml_marks *marks = calloc(1, sizeof(*marks));
    ASSERT(marks != NULL);
    arena_init(&marks->arena, MARKS_ARENA_CAP);
    marks->room = MARKS_FIRST_ROOM;
    marks->entries = calloc(marks->room, sizeof(marks->entries[0]));
    ASSERT(marks->entries != NULL);
    return marks;
}

void yaml_marks_destroy(struct yaml_marks *marks)
{
    if (marks == NULL) {
        return;
    }
    arena_fini(&marks->arena);
    free(marks->entries);
    free(marks);
}

static size_t entry_hash(const json_t *parent, const char *key, size_t index)
{
    uint64_t hash = (uint64_t)(uintptr_t)parent * UINT64_C(0x9E3779B97F4A7C15);
    if (key == NULL) {
        hash ^= (uint64_t)index * UINT64_C(0xC2B2AE3D27D4EB4F);
    } else {
        for (const char *c = key; *c != '\0'; c++) {
            hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001B3);
        }
    }
    return (size_t)(hash ^ hash >> 29);
}

static bool entry_is(const struct mark_entry *entry, const json_t *parent, const char *key,
                     size_t index)
{
    if (entry->parent != parent || (entry->key == NULL) != (key == NULL)) {
        return false;
    }
    return key == NULL ? entry->index == index : strcmp(entry->key, key) == 0;
}

/* The entry, or the free place where it belongs. */
static struct mark_entry *entry_find(const struct yaml_marks *marks, const json_t *parent,
                                     const char *key, size_t index)
{
    size_t at = entry_hash(parent, key, index) & (marks->room - 1);
    while (marks->entries[at].parent != NULL &&
           !entry_is(&marks->entries[at], parent, key, index)) {
        at = (at + 1) & (marks->room - 1);
    }
    return &marks->entries[at];
}

static void marks_grow(struct yaml_marks *marks)
{
    struct yaml_marks larger = {.room = marks->room * 2};
    larger.entries = calloc(larger.room, sizeof(larger.entries[0]));
    ASSERT(larger.entries != NULL);
    for (size_t i = 0; i < marks->room; i++) {
        const struct mark_entry *entry = &marks->entries[i];
        if (entry->parent != NULL) {
            *entry_find(&larger, entry->parent, entry->key, entry->index) = *entry;
        }
    }
    free(marks->entries);
    marks->entries = larger.entries;
    marks->room = larger.room;
}

const struct yaml_mark *yaml_mark_key(const struct yaml_marks *marks, const json_t *object,
                                      const char *key)
{
    ASSERT(marks != NULL && key != NULL);
    if (object == NULL) {
        return NULL;
    }
    const struct mark_entry *entry = entry_find(marks, object, key, 0);
    return entry->parent != NULL ? &entry->mark : NULL;
}

const struct yaml_mark *yaml_mark_item(const struct yaml_marks *marks, const json_t *list,
                                       size_t index)
{
    ASSERT(marks != NULL);
    if (list == NULL) {
        return NULL;
    }
    const struct mark_entry *entry = entry_find(marks, list, NULL, index);
    return entry->parent != NULL ? &entry->mark : NULL;
}

/* key NULL: the element at index. */
static enum err mark_put(struct yaml_marks *marks, const json_t *parent, const char *key,
                         size_t index, const struct yaml_mark *mark)
{
    ASSERT(parent != NULL);
    const struct yaml_mark copy = *mark; /* it may be in the table, which may move */
    char *file = arena_strdup(&marks->arena, mark->file);
    char *raw = mark->raw == NULL ? NULL : arena_strdup(&marks->arena, mark->raw);
    char *own_key = key == NULL ? NULL : arena_strdup(&marks->arena, key);
    if (file == NULL || (mark->raw != NULL && raw == NULL) || (key != NULL && own_key == NULL)) {
        return ERR_NO_MEMORY;
    }
    if ((marks->count + 1) * 4 > marks->room * 3) {
        marks_grow(marks);
    }
    struct mark_entry *entry = entry_find(marks, parent, key, index);
    marks->count += entry->parent == NULL ? 1 : 0;
    *entry =
        (struct mark_entry){parent,
                            own_key,
                            index,
                            {.file = file, .line = copy.line, .column = copy.column, .raw = raw}};
    return ERR_OK;
}

enum err yaml_mark_set(struct yaml_marks *marks, const json_t *object, const char *key,
                       const struct yaml_mark *mark)
{
    ASSERT(key != NULL);
    return mark_put(marks, object, key, 0, mark);
}

enum err yaml_mark_set_item(struct yaml_marks *marks, const json_t *list, size_t index,
                            const struct yaml_mark *mark)
{
    return mark_put(marks, list, NULL, index, mark);
}
