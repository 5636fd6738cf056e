/* libyaml's events, folded into jansson values by a recursion whose depth and whose total of nodes
 * are bounded; an alias counts as all that it stands for, and only a finished node has an anchor,
 * so nothing can contain itself. */
#include "codec/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/str.h"

struct anchor {
    char *name;
    json_t *node; /* borrowed: it is in the tree, or kept by `kept` */
    char *raw;
    size_t weight;
};

struct reader {
    yaml_parser_t parser;
    const char *file;
    struct yaml_marks *marks;
    struct err_detail *detail;
    size_t nodes;
    int depth;
    size_t anchor_count;
    struct anchor anchors[YAML_ANCHORS_MAX];
};

/* A value that was read, with what its mark needs. */
struct node {
    json_t *value;
    char *raw; /* of a scalar */
};

static void node_free(struct node *node)
{
    json_decref(node->value);
    free(node->raw);
    *node = (struct node){NULL, NULL};
}

static enum err fail(const struct reader *reader, const yaml_mark_t *mark, const char *what)
{
    return err_set(reader->detail, ERR_INVALID, "%s:%zu:%zu: %s", reader->file, mark->line + 1,
                   mark->column + 1, what);
}

static enum err fail_syntax(const struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";
    if (parser->error == YAML_READER_ERROR) {
        return err_set(reader->detail, ERR_INVALID,
                       "%s: byte %zu: %s; remedy: save the file as plain UTF-8 text", reader->file,
                       parser->problem_offset, problem);
    }
    const char *context = parser->context != NULL ? parser->context : "";
    return err_set(reader->detail, ERR_INVALID,
                   "%s:%zu:%zu: %s%s%s; remedy: indent with blanks, never tabs, and quote text "
                   "that contains \": \", \"#\" or starts with one of *&!%%@`[{",
                   reader->file, parser->problem_mark.line + 1, parser->problem_mark.column + 1,
                   problem, *context != '\0' ? " " : "", context);
}

static enum err next_event(struct reader *reader, yaml_event_t *event)
{
    return yaml_parser_parse(&reader->parser, event) != 0 ? ERR_OK : fail_syntax(reader);
}

/* ---- scalars ---- */

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (str_equal(text, *words)) {
            return true;
        }
    }
    return false;
}

/* Decimal, 0x and leading-zero octal; false when it is no integer or does not fit. */
static bool scalar_integer(const char *text, json_int_t *out_value)
{
    const char *digits = text + (text[0] == '-' || text[0] == '+' ? 1 : 0);
    const char *allowed = "0123456789";
    int base = 10;
    if (digits[0] == '0' && digits[1] == 'x') {
        base = 16;
        digits += 2;
        allowed = "0123456789abcdefABCDEF";
    } else if (digits[0] == '0' && digits[1] != '\0') {
        base = 8;
        allowed = "01234567";
    }
    if (digits[0] == '\0' || strspn(digits, allowed) != strlen(digits)) {
        return false;
    }
    errno = 0;
    long long value = strtoll(digits, NULL, base);
    if (errno != 0) {
        return false;
    }
    *out_value = text[0] == '-' ? -value : value;
    return true;
}

/* A dot is needed, as YAML 1.1 has it: "1e3" is text. */
static bool scalar_real(const char *text, double *out_value)
{
    const char *digits = text + (text[0] == '-' || text[0] == '+' ? 1 : 0);
    size_t whole = strspn(digits, "0123456789");
    if (digits[whole] != '.') {
        return false;
    }
    const char *rest = digits + whole + 1;
    size_t fraction = strspn(rest, "0123456789");
    rest += fraction;
    if (whole + fraction == 0) {
        return false;
    }
    if (*rest == 'e' || *rest == 'E') {
        rest++;
        if (*rest != '-' && *rest != '+') {
            return false;
        }
        rest++;
        size_t exponent = strspn(rest, "0123456789");
        if (exponent == 0) {
            return false;
        }
        rest += exponent;
    }
    errno = 0;
    double value = strtod(text, NULL);
    if (*rest != '\0' || errno != 0) {
        return false;
    }
    *out_value = value;
    return true;
}

json_t *yaml_scalar(const char *text)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes",
                                      "YES",  "on",   "On",   "ON",  NULL};
    static const char *const no[] = {"false", "False", "FALSE", "no",  "No",
                                     "NO",    "off",   "Off",   "OFF", NULL};
    json_int_t integer;
    double real;
    json_t *value;
    if (is_one_of(text, nulls)) {
        value = json_null();
    } else if (is_one_of(text, yes)) {
        value = json_true();
    } else if (is_one_of(text, no)) {
        value = json_false();
    } else if (scalar_integer(text, &integer)) {
        value = json_integer(integer);
    } else if (scalar_real(text, &real)) {
        value = json_real(real);
    } else {
        value = json_string(text);
    }
    ASSERT(value != NULL);
    return value;
}

static enum err read_scalar(struct reader *reader, const yaml_event_t *event, struct node *out_node)
{
    const char *text = (const char *)event->data.scalar.value;
    const char *tag = (const char *)event->data.scalar.tag;
    if (strlen(text) != event->data.scalar.length) {
        return fail(reader, &event->start_mark,
                    "a text contains the character NUL; remedy: remove it");
    }
    bool text_tag = tag != NULL && str_equal(tag, YAML_STR_TAG);
    if (tag != NULL && !text_tag && strncmp(tag, "tag:yaml.org,2002:", 18) != 0) {
        return fail(reader, &event->start_mark, "this tag means nothing here; remedy: remove it");
    }
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    json_t *value = plain && !text_tag ? yaml_scalar(text) : json_string(text);
    char *raw = strdup(text);
    ASSERT(value != NULL && raw != NULL); /* libyaml has checked that it is UTF-8 */
    *out_node = (struct node){value, raw};
    return ERR_OK;
}

/* ---- anchors ---- */

static enum err anchor_add(struct reader *reader, const yaml_event_t *event, const char *name,
                           const struct node *node, size_t weight)
{
    if (reader->anchor_count == YAML_ANCHORS_MAX) {
        return fail(reader, &event->start_mark,
                    "too many anchors (&name); remedy: write values out");
    }
    struct anchor *anchor = &reader->anchors[reader->anchor_count++];
    *anchor = (struct anchor){.name = strdup(name),
                              .node = json_incref(node->value),
                              .raw = node->raw != NULL ? strdup(node->raw) : NULL,
                              .weight = weight};
    ASSERT(anchor->name != NULL);
    return ERR_OK;
}

static enum err read_alias(struct reader *reader, const yaml_event_t *event, struct node *out_node)
{
    const char *name = (const char *)event->data.alias.anchor;
    for (size_t i = reader->anchor_count; i > 0; i--) {
        const struct anchor *anchor = &reader->anchors[i - 1];
        if (str_equal(anchor->name, name)) {
            reader->nodes += anchor->weight;
            *out_node = (struct node){json_incref(anchor->node),
                                      anchor->raw != NULL ? strdup(anchor->raw) : NULL};
            return ERR_OK;
        }
    }
    return err_set(
        reader->detail, ERR_INVALID,
        "%s:%zu:%zu: *%s names nothing above; remedy: write &%s before the value that is "
        "meant, or quote the text",
        reader->file, event->start_mark.line + 1, event->start_mark.column + 1, name, name);
}

/* ---- maps and lists ---- */

static enum err read_node(struct reader *reader, const yaml_event_t *event, struct node *out_node);

static struct yaml_mark mark_at(const struct reader *reader, const yaml_mark_t *at, const char *raw)
{
    return (struct yaml_mark){reader->file, (int)at->line + 1, (int)at->column + 1, raw};
}

/* `<<: *other`: what the map does not say itself. source must be a map. */
static enum err merge_map(struct reader *reader, const yaml_event_t *event, json_t *map,
                          json_t *source)
{
    if (!json_is_object(source)) {
        return fail(reader, &event->start_mark,
                    "<< takes a map or a list of maps; remedy: *name of a map");
    }
    const char *key;
    json_t *value;
    json_object_foreach(source, key, value)
    {
        if (json_object_get(map, key) != NULL) {
            continue;
        }
        json_object_set(map, key, value);
        const struct yaml_mark *mark = yaml_mark_key(reader->marks, source, key);
        if (mark != NULL && yaml_mark_set(reader->marks, map, key, mark) != ERR_OK) {
            return fail(reader, &event->start_mark, "the file is too large");
        }
        if (++reader->nodes > YAML_NODES_MAX) {
            return fail(reader, &event->start_mark,
                        "too many values; remedy: fewer << and aliases");
        }
    }
    return ERR_OK;
}

static enum err merge_all(struct reader *reader, const yaml_event_t *event, json_t *map,
                          json_t *merged)
{
    if (!json_is_array(merged)) {
        return merge_map(reader, event, map, merged);
    }
    enum err err = ERR_OK;
    for (size_t i = 0; i < json_array_size(merged) && err == ERR_OK; i++) {
        err = merge_map(reader, event, map, json_array_get(merged, i));
    }
    return err;
}

/* The key's own event is in `key`; *merged gets the value of `<<`. */
static enum err read_pair(struct reader *reader, const yaml_event_t *key, json_t *map,
                          json_t **merged)
{
    if (key->type != YAML_SCALAR_EVENT) {
        return fail(reader, &key->start_mark, "a key must be plain text; remedy: write key: value");
    }
    const char *name = (const char *)key->data.scalar.value;
    if (strlen(name) != key->data.scalar.length) {
        return fail(reader, &key->start_mark,
                    "a key contains the character NUL; remedy: remove it");
    }
    const struct yaml_mark *first = yaml_mark_key(reader->marks, map, name);
    if (json_object_get(map, name) != NULL && first != NULL) {
        return err_set(
            reader->detail, ERR_INVALID,
            "%s:%zu:%zu: %s: the key is there already in line %d; remedy: keep one of the "
            "two",
            reader->file, key->start_mark.line + 1, key->start_mark.column + 1, name, first->line);
    }
    yaml_event_t event;
    enum err err = next_event(reader, &event);
    if (err != ERR_OK) {
        return err;
    }
    struct node node = {NULL, NULL};
    err = read_node(reader, &event, &node);
    yaml_event_delete(&event);
    if (err == ERR_OK && str_equal(name, "<<") && *merged == NULL) {
        *merged = json_incref(node.value);
    } else if (err == ERR_OK) {
        struct yaml_mark mark = mark_at(reader, &key->start_mark, node.raw);
        json_object_set(map, name, node.value);
        err = yaml_mark_set(reader->marks, map, name, &mark);
        if (err != ERR_OK) {
            err = fail(reader, &key->start_mark, "the file is too large");
        }
    }
    node_free(&node);
    return err;
}

static enum err read_map(struct reader *reader, struct node *out_node)
{
    json_t *map = json_object();
    ASSERT(map != NULL);
    json_t *merged = NULL;
    for (;;) {
        yaml_event_t event;
        enum err err = next_event(reader, &event);
        bool end = err == ERR_OK && event.type == YAML_MAPPING_END_EVENT;
        if (err == ERR_OK) {
            if (!end) {
                err = read_pair(reader, &event, map, &merged);
            } else if (merged != NULL) {
                err = merge_all(reader, &event, map, merged);
            }
            yaml_event_delete(&event);
        }
        if (err != ERR_OK) {
            json_decref(map);
            json_decref(merged);
            return err;
        }
        if (end) {
            json_decref(merged);
            out_node->value = map;
            return ERR_OK;
        }
    }
}

static enum err read_item(struct reader *reader, const yaml_event_t *event, json_t *list)
{
    struct node node = {NULL, NULL};
    enum err err = read_node(reader, event, &node);
    if (err == ERR_OK) {
        struct yaml_mark mark = mark_at(reader, &event->start_mark, node.raw);
        json_array_append(list, node.value);
        if (yaml_mark_set_item(reader->marks, list, json_array_size(list) - 1, &mark) != ERR_OK) {
            err = fail(reader, &event->start_mark, "the file is too large");
        }
    }
    node_free(&node);
    return err;
}

static enum err read_list(struct reader *reader, struct node *out_node)
{
    json_t *list = json_array();
    ASSERT(list != NULL);
    for (;;) {
        yaml_event_t event;
        enum err err = next_event(reader, &event);
        bool end = false;
        if (err == ERR_OK) {
            end = event.type == YAML_SEQUENCE_END_EVENT;
            err = end ? ERR_OK : read_item(reader, &event, list);
            yaml_event_delete(&event);
        }
        if (err != ERR_OK) {
            json_decref(list);
            return err;
        }
        if (end) {
            out_node->value = list;
            return ERR_OK;
        }
    }
}

static const char *event_anchor(const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
    }
    return (const char *)anchor;
}

static enum err read_node(struct reader *reader, const yaml_event_t *event, struct node *out_node)
{
    size_t nodes_before = reader->nodes++;
    if (reader->depth == YAML_DEPTH_MAX) {
        return fail(reader, &event->start_mark,
                    "nested too deeply; remedy: this is no configuration");
    }
    enum err err;
    struct node node = {NULL, NULL};
    reader->depth++;
    if (event->type == YAML_SCALAR_EVENT) {
        err = read_scalar(reader, event, &node);
    } else if (event->type == YAML_ALIAS_EVENT) {
        err = read_alias(reader, event, &node);
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        err = read_map(reader, &node);
    } else {
        ASSERT(event->type == YAML_SEQUENCE_START_EVENT); /* libyaml lets nothing else come here */
        err = read_list(reader, &node);
    }
    reader->depth--;
    if (err == ERR_OK && reader->nodes > YAML_NODES_MAX) {
        err =
            fail(reader, &event->start_mark, "too many values; remedy: fewer and smaller aliases");
    }
    const char *anchor = event_anchor(event);
    if (err == ERR_OK && anchor != NULL) {
        err = anchor_add(reader, event, anchor, &node, reader->nodes - nodes_before);
    }
    if (err != ERR_OK) {
        node_free(&node);
        return err;
    }
    *out_node = node;
    return ERR_OK;
}

/* ---- the document ---- */

/* Reads until something other than the two given types comes, which is left in *event. */
static enum err skip_starts(struct reader *reader, yaml_event_t *event)
{
    for (;;) {
        enum err err = next_event(reader, event);
        if (err != ERR_OK ||
            (event->type != YAML_STREAM_START_EVENT && event->type != YAML_DOCUMENT_START_EVENT)) {
            return err;
        }
        yaml_event_delete(event);
    }
}

static enum err read_document(struct reader *reader, struct node *out_node)
{
    yaml_event_t event;
    enum err err = skip_starts(reader, &event);
    if (err != ERR_OK) {
        return err;
    }
    if (event.type == YAML_STREAM_END_EVENT) {
        yaml_event_delete(&event);
        out_node->value = json_null();
        return ERR_OK;
    }
    err = read_node(reader, &event, out_node);
    yaml_event_delete(&event);
    if (err != ERR_OK) {
        return err;
    }
    err = next_event(reader, &event); /* the end of the document */
    if (err == ERR_OK) {
        yaml_event_delete(&event);
        err = next_event(reader, &event);
    }
    if (err == ERR_OK) {
        if (event.type != YAML_STREAM_END_EVENT) {
            err = fail(reader, &event.start_mark,
                       "a second document (---); remedy: one document a file");
        }
        yaml_event_delete(&event);
    }
    return err;
}

enum err yaml_parse(const char *text, size_t size, const char *file, struct yaml_marks *marks,
                    json_t **out_root, struct err_detail *detail)
{
    ASSERT(text != NULL && marks != NULL && out_root != NULL);
    if (size > CONFIG_FILE_MAX) {
        return err_set(detail, ERR_INVALID,
                       "%s: larger than %d bytes; remedy: this is no configuration", file,
                       CONFIG_FILE_MAX);
    }
    struct reader *reader = calloc(1, sizeof(*reader));
    ASSERT(reader != NULL);
    reader->file = file;
    reader->marks = marks;
    reader->detail = detail;
    int ready = yaml_parser_initialize(&reader->parser);
    ASSERT(ready == 1);
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)text, size);
    struct node node = {NULL, NULL};
    enum err err = read_document(reader, &node);
    if (err == ERR_OK) {
        *out_root = json_incref(node.value);
    }
    node_free(&node);
    for (size_t i = 0; i < reader->anchor_count; i++) {
        json_decref(reader->anchors[i].node);
        free(reader->anchors[i].name);
        free(reader->anchors[i].raw);
    }
    yaml_parser_delete(&reader->parser);
    free(reader);
    return err;
}
