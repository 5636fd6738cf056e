/* config/private.h - what struct config owns; only for src/config.
 *
 * Purpose    the memory behind config.h's plain values.
 * Ownership  config_load makes it, config_destroy frees it.
 */
#ifndef HOLDFAST_CONFIG_PRIVATE_H
#define HOLDFAST_CONFIG_PRIVATE_H

#include "base/arena.h"
#include "config/config.h"
#include "config/tree.h"

struct config_private {
    struct arena arena;
    struct config_files files;
    struct yaml_mark where; /* the file as a whole */
    json_t *tags;
    json_t *empty;
};

/* store.c: config->store and store_dir. strict: a store must be named. */
void config_store_load(const struct config_section *top, bool strict, struct config *config);

#endif
