/* cli/table.h - rows for people and for programs.
 *
 * Purpose    one table, printed as a box, as TSV, as JSON or as YAML.
 * Ownership  cells copy their text; table_fini frees all.
 * Errors     none: writing to a closed output is not told here.
 * Source     compat/ctl.md section 1 (output formats).
 */
#ifndef HOLDFAST_CLI_TABLE_H
#define HOLDFAST_CLI_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/arena.h"

enum table_format { TABLE_PRETTY, TABLE_TSV, TABLE_JSON, TABLE_YAML };

#define TABLE_COLUMNS_MAX 16

struct table_column {
    const char *name;   /* in TSV, JSON and YAML */
    const char *title;  /* in the box; NULL: the same as name */
    bool right;         /* aligned */
    bool hidden_in_box; /* e.g. the cluster's name, which is in the border */
    bool hidden;        /* everywhere */
};

struct table {
    struct arena arena;
    struct table_column column[TABLE_COLUMNS_MAX];
    size_t column_count;
    size_t row_count;
    size_t row_room;
    const char **text; /* row_count * TABLE_COLUMNS_MAX; NULL: empty */
    json_t **json;     /* the same; NULL: text as a string, or left out when that is empty */
};

void table_init(struct table *table, const struct table_column *columns, size_t count);
void table_fini(struct table *table);

/* A new empty row; its number. */
size_t table_row(struct table *table);

void table_set(struct table *table, size_t row, size_t column, const char *text);

/* What JSON and YAML show instead of the text; takes the reference. */
void table_set_json(struct table *table, size_t row, size_t column, json_t *json);

/* title: in the box's upper border; NULL: none. */
void table_print(const struct table *table, enum table_format format, const char *title, FILE *out);

/* "pretty", "tsv", "json", "yaml", "yml". */
bool table_format_parse(const char *text, enum table_format *out_format);

/* Block style, keys sorted, lines up to 200 characters. */
void yaml_print(const json_t *value, FILE *out);

/* The same as one text; flow: {a: b} on one line. To be freed. */
char *yaml_text(const json_t *value, bool flow);

#endif
