/* config/keys.h - which keys a configuration may have.
 *
 * Purpose    an unknown key gets a warning with the nearest known one; a known key that this build does
 *            not act upon is named too.
 * Ownership  static tables.
 * Source     compat/config.md sections 2 to 4.
 */
#ifndef HOLDFAST_CONFIG_KEYS_H
#define HOLDFAST_CONFIG_KEYS_H

#include <jansson.h>
#include <stddef.h>

#include "codec/yaml.h"
#include "config/report.h"

/* Walks the whole tree. */
void config_keys_check(const json_t *root, const struct yaml_marks *marks,
                       struct config_report *report);

/* Insertions, deletions and replacements between two words. */
size_t config_keys_distance(const char *a, const char *b);

#endif
