/* dcs/mirror.h - a sorted copy of a prefix, changed key by key.
 *
 * Purpose    hand out whole snapshots without copying or parsing what did not change.
 * Ownership  the mirror owns all texts; a snapshot of it is good until the next change.
 * Errors     none: running out of memory aborts.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_DCS_MIRROR_H
#define HOLDFAST_DCS_MIRROR_H

#include "dcs/dcs.h"

/* Zeroed before first use. */
struct dcs_mirror {
    struct dcs_item *items;
    char **texts; /* key and value of the item of the same index */
    size_t count;
    size_t size;
};

/* Copies the item's texts. */
void dcs_mirror_put(struct dcs_mirror *mirror, const struct dcs_item *item);

/* Answers whether it was there. */
bool dcs_mirror_delete(struct dcs_mirror *mirror, const char *key);

/* Frees everything; the mirror may be used again. */
void dcs_mirror_clear(struct dcs_mirror *mirror);

/* Where the key is in items, or where it belongs. */
size_t dcs_items_find(const struct dcs_item *items, size_t count, const char *key, bool *out_found);

#endif
