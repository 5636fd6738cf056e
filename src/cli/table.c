/* Widths first, then lines: a cell may have several lines, and then every row gets a rule below. */
#include "cli/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

#define TABLE_ARENA_CAP (4U * 1024 * 1024)

void table_init(struct table *table, const struct table_column *columns, size_t count)
{
    ASSERT(count <= TABLE_COLUMNS_MAX);
    *table = (struct table){.column_count = count};
    arena_init(&table->arena, TABLE_ARENA_CAP);
    memcpy(table->column, columns, count * sizeof(columns[0]));
}

void table_fini(struct table *table)
{
    for (size_t i = 0; i < table->row_count * TABLE_COLUMNS_MAX; i++) {
        json_decref(table->json[i]);
    }
    free(table->text);
    free(table->json);
    arena_fini(&table->arena);
}

size_t table_row(struct table *table)
{
    if (table->row_count == table->row_room) {
        table->row_room = table->row_room == 0 ? 16 : table->row_room * 2;
        size_t cells = table->row_room * TABLE_COLUMNS_MAX;
        table->text = reallocarray(table->text, cells, sizeof(table->text[0]));
        table->json = reallocarray(table->json, cells, sizeof(json_t *));
        ASSERT(table->text != NULL && table->json != NULL);
    }
    size_t row = table->row_count++;
    for (size_t i = 0; i < TABLE_COLUMNS_MAX; i++) {
        table->text[row * TABLE_COLUMNS_MAX + i] = NULL;
        table->json[row * TABLE_COLUMNS_MAX + i] = NULL;
    }
    return row;
}

void table_set(struct table *table, size_t row, size_t column, const char *text)
{
    ASSERT(row < table->row_count && column < table->column_count);
    char *copy = arena_strdup(&table->arena, text);
    ASSERT(copy != NULL);
    table->text[row * TABLE_COLUMNS_MAX + column] = copy;
}

void table_set_json(struct table *table, size_t row, size_t column, json_t *json)
{
    ASSERT(row < table->row_count && column < table->column_count);
    json_decref(table->json[row * TABLE_COLUMNS_MAX + column]);
    table->json[row * TABLE_COLUMNS_MAX + column] = json;
}

static const char *cell(const struct table *table, size_t row, size_t column)
{
    const char *text = table->text[row * TABLE_COLUMNS_MAX + column];
    return text == NULL ? "" : text;
}

/* ---- the box ---- */

/* Characters, not bytes, of the text's first `length` bytes. */
static size_t characters(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        count += ((unsigned char)text[i] & 0xC0) != 0x80 ? 1 : 0;
    }
    return count;
}

/* Line number `line` of a cell; "" past its end. */
static const char *cell_line(const char *text, size_t line, size_t *out_length)
{
    for (; line > 0; line--) {
        const char *newline = strchr(text, '\n');
        if (newline == NULL) {
            *out_length = 0;
            return "";
        }
        text = newline + 1;
    }
    *out_length = strcspn(text, "\n");
    return text;
}

static size_t line_count(const char *text)
{
    size_t count = 1;
    for (; *text != '\0'; text++) {
        count += *text == '\n' ? 1 : 0;
    }
    return count;
}

struct box {
    const struct table *table;
    FILE *out;
    size_t width[TABLE_COLUMNS_MAX];
    bool ruled;
};

static bool in_box(const struct table *table, size_t column)
{
    return !table->column[column].hidden && !table->column[column].hidden_in_box;
}

static const char *title_of(const struct table_column *column)
{
    return column->title != NULL ? column->title : column->name;
}

static void measure(struct box *box)
{
    const struct table *table = box->table;
    for (size_t c = 0; c < table->column_count; c++) {
        const char *title = title_of(&table->column[c]);
        box->width[c] = characters(title, strlen(title));
        for (size_t r = 0; r < table->row_count; r++) {
            size_t lines = line_count(cell(table, r, c));
            box->ruled = box->ruled || (in_box(table, c) && lines > 1);
            for (size_t i = 0; i < lines; i++) {
                size_t length;
                const char *line = cell_line(cell(table, r, c), i, &length);
                size_t width = characters(line, length);
                box->width[c] = width > box->width[c] ? width : box->width[c];
            }
        }
    }
}

/* "+----+----+", with the title over its beginning. */
static void border(const struct box *box, const char *title)
{
    size_t skip = 1; /* characters of the border that the title covers */
    size_t total = 1;
    for (size_t c = 0; c < box->table->column_count; c++) {
        total += in_box(box->table, c) ? box->width[c] + 3 : 0;
    }
    fputc('+', box->out);
    if (title != NULL) {
        const char *at = title;
        while (*at != '\0' && (skip + 1 < total || ((unsigned char)*at & 0xC0) == 0x80)) {
            skip += ((unsigned char)*at & 0xC0) != 0x80 ? 1 : 0;
            fputc(*at++, box->out);
        }
    }
    size_t at = 1;
    for (size_t c = 0; c < box->table->column_count; c++) {
        if (!in_box(box->table, c)) {
            continue;
        }
        for (size_t i = 0; i < box->width[c] + 3; i++, at++) {
            if (at >= skip) {
                fputc(i == box->width[c] + 2 ? '+' : '-', box->out);
            }
        }
    }
    fputc('\n', box->out);
}

static void pad(FILE *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fputc(' ', out);
    }
}

static void print_cell(const struct box *box, size_t column, const char *line, size_t length)
{
    size_t rest = box->width[column] - characters(line, length);
    fputs("| ", box->out);
    pad(box->out, box->table->column[column].right ? rest : 0);
    fwrite(line, 1, length, box->out);
    pad(box->out, (box->table->column[column].right ? 0 : rest) + 1);
}

static void print_row(const struct box *box, size_t row)
{
    size_t lines = 1;
    for (size_t c = 0; c < box->table->column_count; c++) {
        size_t own = in_box(box->table, c) ? line_count(cell(box->table, row, c)) : 1;
        lines = own > lines ? own : lines;
    }
    for (size_t i = 0; i < lines; i++) {
        for (size_t c = 0; c < box->table->column_count; c++) {
            if (in_box(box->table, c)) {
                size_t length;
                const char *line = cell_line(cell(box->table, row, c), i, &length);
                print_cell(box, c, line, length);
            }
        }
        fputs("|\n", box->out);
    }
}

static void print_box(const struct table *table, const char *title, FILE *out)
{
    struct box box = {.table = table, .out = out};
    measure(&box);
    border(&box, title);
    for (size_t c = 0; c < table->column_count; c++) {
        if (in_box(table, c)) {
            const char *name = title_of(&table->column[c]);
            print_cell(&box, c, name, strlen(name));
        }
    }
    fputs("|\n", out);
    border(&box, NULL);
    for (size_t r = 0; r < table->row_count; r++) {
        print_row(&box, r);
        if (box.ruled && r + 1 < table->row_count) {
            border(&box, NULL);
        }
    }
    if (table->row_count > 0) {
        border(&box, NULL);
    }
}

/* ---- the other formats ---- */

static void print_tsv(const struct table *table, FILE *out)
{
    for (size_t r = 0; r <= table->row_count; r++) { /* the header is row 0 here */
        bool first = true;
        for (size_t c = 0; c < table->column_count; c++) {
            if (!table->column[c].hidden) {
                fprintf(out, "%s%s", first ? "" : "\t",
                        r == 0 ? table->column[c].name : cell(table, r - 1, c));
                first = false;
            }
        }
        fputc('\n', out);
    }
}

static json_t *as_json(const struct table *table)
{
    json_t *rows = json_array();
    ASSERT(rows != NULL);
    for (size_t r = 0; r < table->row_count; r++) {
        json_t *row = json_object();
        ASSERT(row != NULL);
        for (size_t c = 0; c < table->column_count; c++) {
            json_t *value = table->json[r * TABLE_COLUMNS_MAX + c];
            if (table->column[c].hidden) {
                continue;
            }
            if (value != NULL) {
                json_object_set(row, table->column[c].name, value);
            } else if (*cell(table, r, c) != '\0') {
                json_object_set_new(row, table->column[c].name, json_string(cell(table, r, c)));
            }
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

void table_print(const struct table *table, enum table_format format, const char *title, FILE *out)
{
    if (format == TABLE_PRETTY) {
        print_box(table, title, out);
    } else if (format == TABLE_TSV) {
        print_tsv(table, out);
    } else {
        json_t *rows = as_json(table);
        if (format == TABLE_JSON) {
            (void)json_dumpf(rows, out,
                             JSON_ENSURE_ASCII); /* a closed output is the reader's wish */
            fputc('\n', out);
        } else {
            yaml_print(rows, out);
        }
        json_decref(rows);
    }
}

bool table_format_parse(const char *text, enum table_format *out_format)
{
    static const struct {
        const char *name;
        enum table_format format;
    } formats[] = {{"pretty", TABLE_PRETTY},
                   {"tsv", TABLE_TSV},
                   {"json", TABLE_JSON},
                   {"yaml", TABLE_YAML},
                   {"yml", TABLE_YAML}};
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (str_equal(formats[i].name, text)) {
            *out_format = formats[i].format;
            return true;
        }
    }
    return false;
}
