/* config/tree.h - files into one tree, and typed reading of it.
 *
 * Purpose    what config.c and effective.c share; not for other layers.
 * Ownership  values returned live as long as the tree or the arena named.
 * Errors     told to the report with file, line and key; the default is returned.
 */
#ifndef HOLDFAST_CONFIG_TREE_H
#define HOLDFAST_CONFIG_TREE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "codec/yaml.h"
#include "config/report.h"

#define CONFIG_FILES_MAX 64

/* Everything that has been read; all roots are kept, for marks know containers by address. */
struct config_files {
    struct yaml_marks *marks;
    json_t *root; /* merged */
    json_t *part[CONFIG_FILES_MAX + 2];
    size_t part_count;
};

/* path: file or directory. Complaints go to the report. */
enum err config_files_read(struct config_files *files, const char *path,
                           struct config_report *report) MUST_CHECK;

/* One text (the content of a variable). */
enum err config_files_parse(struct config_files *files, const char *text, size_t size,
                            const char *name, struct config_report *report) MUST_CHECK;

/* Adds a tree on top of what is there; takes the reference. */
void config_files_merge(struct config_files *files, json_t *part);

void config_files_fini(struct config_files *files);

/* Where a value is taken from, and where complaints about it go. */
struct config_section {
    const json_t *json;             /* the map; NULL when it is not there */
    const char *path;               /* "restapi"; "" for the top */
    const struct yaml_marks *marks; /* NULL: no marks (values from /config) */
    const struct yaml_mark *where;  /* of the section itself; may be NULL */
    struct config_report *report;   /* may be NULL */
    struct arena *arena;
};

/* The section below; an absent or mistyped one (told) has json NULL. */
struct config_section config_subsection(const struct config_section *section, const char *key);

/* A complaint about one key of the section. */
void config_complain(const struct config_section *section, enum config_severity severity,
                     const char *key, const char *format, ...) PRINTF_LIKE(4, 5);

/* Scalars as text exactly as written; NULL when absent or null; a map or list is told. */
const char *config_text(const struct config_section *section, const char *key);

/* The same, or the default. */
const char *config_text_or(const struct config_section *section, const char *key,
                           const char *fallback);

bool config_bool(const struct config_section *section, const char *key, bool fallback);

/* The element of a list as text; NULL for maps and lists. */
const char *config_item_text(const struct config_section *section, const json_t *list,
                             size_t index);

/* The value of any key as text without a complaint; NULL when it is no scalar. */
const char *config_value_text(const struct config_section *section, const char *key);

#endif
