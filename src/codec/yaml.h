/* codec/yaml.h - YAML text to a jansson tree that remembers where everything stood.
 *
 * Purpose    every later complaint about a value can name its file and line.
 * Ownership  the tree is the caller's (json_decref); marks belong to their table. Marks are found
 *            by the container's address, so trees must live as long as the table is asked.
 * Errors     ERR_INVALID with "file:line:column: what; remedy"; ERR_NO_MEMORY past the table's cap.
 *            Outputs are untouched then.
 * Limits     CONFIG_FILE_MAX bytes, YAML_DEPTH_MAX levels, YAML_NODES_MAX nodes with every alias
 *            counted as what it stands for (no billion laughs).
 * Threads    any; no input or output of its own.
 * Source     compat/config.md section 1.2; YAML 1.1's scalars as PyYAML reads them.
 */
#ifndef HOLDFAST_CODEC_YAML_H
#define HOLDFAST_CODEC_YAML_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

#define YAML_DEPTH_MAX 64
#define YAML_NODES_MAX 65536
#define YAML_ANCHORS_MAX 256

struct yaml_marks;

struct yaml_mark {
    const char *file; /* or where else it came from */
    int line;         /* of the key, from 1; 0: not from a text with lines */
    int column;       /* of the key, from 1 */
    const char *raw;  /* a scalar exactly as written ("0123", "on"); NULL for maps and lists */
};

struct yaml_marks *yaml_marks_create(void);
void yaml_marks_destroy(struct yaml_marks *marks); /* takes NULL */

/* Where `key` of this very object was written; NULL when not known. */
const struct yaml_mark *yaml_mark_key(const struct yaml_marks *marks, const json_t *object,
                                      const char *key);

/* The same for an element of a list. */
const struct yaml_mark *yaml_mark_item(const struct yaml_marks *marks, const json_t *list,
                                       size_t index);

/* Sets or replaces the mark of a key; mark's texts are copied. */
enum err yaml_mark_set(struct yaml_marks *marks, const json_t *object, const char *key,
                       const struct yaml_mark *mark) MUST_CHECK;

/* The same for an element of a list. */
enum err yaml_mark_set_item(struct yaml_marks *marks, const json_t *list, size_t index,
                            const struct yaml_mark *mark) MUST_CHECK;

/* One document. An empty one gives json null. Keys must be scalars and come once; `<<` merges. */
enum err yaml_parse(const char *text, size_t size, const char *file, struct yaml_marks *marks,
                    json_t **out_root, struct err_detail *detail) MUST_CHECK;

/* A plain scalar as YAML 1.1 types it: null, boolean, integer, real, else string. Never NULL. */
json_t *yaml_scalar(const char *text);

#endif
