/* Two parallel arrays: the items as they are handed out, and what owns their texts. */
#include "dcs/mirror.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

size_t dcs_items_find(const struct dcs_item *items, size_t count, const char *key, bool *out_found)
{
    ASSERT(key != NULL);
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(items[middle].key, key);
        if (order == 0) {
            *out_found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *out_found = false;
    return low;
}

static void insert_gap(struct dcs_mirror *mirror, size_t index)
{
    ASSERT(index <= mirror->count);
    if (mirror->count == mirror->size) {
        mirror->size = mirror->size == 0 ? 32 : mirror->size * 2;
        mirror->items = realloc(mirror->items, mirror->size * sizeof(*mirror->items));
        mirror->texts = realloc(mirror->texts, mirror->size * sizeof(*mirror->texts));
        ASSERT(mirror->items != NULL && mirror->texts != NULL);
    }
    size_t after = mirror->count - index;
    memmove(mirror->items + index + 1, mirror->items + index, after * sizeof(*mirror->items));
    memmove(mirror->texts + index + 1, mirror->texts + index, after * sizeof(*mirror->texts));
    mirror->texts[index] = NULL;
    mirror->count++;
}

void dcs_mirror_put(struct dcs_mirror *mirror, const struct dcs_item *item)
{
    ASSERT(item->key != NULL && item->value != NULL);
    bool found = false;
    size_t index = dcs_items_find(mirror->items, mirror->count, item->key, &found);
    size_t key_size = strlen(item->key) + 1;
    char *text = malloc(key_size + item->value_size + 1);
    ASSERT(text != NULL);
    memcpy(text, item->key, key_size);
    memcpy(text + key_size, item->value, item->value_size);
    text[key_size + item->value_size] = '\0';
    if (found) {
        free(mirror->texts[index]);
    } else {
        insert_gap(mirror, index);
    }
    mirror->texts[index] = text;
    mirror->items[index] = *item;
    mirror->items[index].key = text;
    mirror->items[index].value = text + key_size;
}

bool dcs_mirror_delete(struct dcs_mirror *mirror, const char *key)
{
    ASSERT(mirror != NULL);
    bool found = false;
    size_t index = dcs_items_find(mirror->items, mirror->count, key, &found);
    if (!found) {
        return false;
    }
    free(mirror->texts[index]);
    size_t after = mirror->count - index - 1;
    memmove(mirror->items + index, mirror->items + index + 1, after * sizeof(*mirror->items));
    memmove(mirror->texts + index, mirror->texts + index + 1, after * sizeof(*mirror->texts));
    mirror->count--;
    return true;
}

void dcs_mirror_clear(struct dcs_mirror *mirror)
{
    ASSERT(mirror != NULL);
    for (size_t i = 0; i < mirror->count; i++) {
        free(mirror->texts[i]);
    }
    free(mirror->items);
    free(mirror->texts);
    *mirror = (struct dcs_mirror){0};
}
