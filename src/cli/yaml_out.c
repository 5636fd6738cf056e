/* libyaml's emitter over a jansson tree; a text that would read back as something else is quoted. */
#include "cli/table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/assert.h"
#include "codec/yaml.h"

static void emit(yaml_emitter_t *emitter, yaml_event_t *event)
{
    int done = yaml_emitter_emit(emitter, event);
    ASSERT(done == 1); /* the tree is valid UTF-8 and memory has not run out */
}

static void emit_text(yaml_emitter_t *emitter, const char *text, bool is_string)
{
    yaml_scalar_style_t style = YAML_PLAIN_SCALAR_STYLE;
    if (is_string) {
        json_t *read_back = yaml_scalar(text);
        style = json_is_string(read_back) ? YAML_ANY_SCALAR_STYLE : YAML_SINGLE_QUOTED_SCALAR_STYLE;
        json_decref(read_back);
    }
    yaml_event_t event;
    int ready = yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
                                             (int)strlen(text), 1, 1, style);
    ASSERT(ready == 1);
    emit(emitter, &event);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void emit_value(yaml_emitter_t *emitter, const json_t *value, bool flow);

static void emit_map(yaml_emitter_t *emitter, const json_t *map, bool flow)
{
    size_t count = json_object_size(map);
    const char **names = calloc(count + 1, sizeof(names[0]));
    ASSERT(names != NULL);
    yaml_event_t event;
    yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                        flow || count == 0 ? YAML_FLOW_MAPPING_STYLE
                                                           : YAML_BLOCK_MAPPING_STYLE);
    emit(emitter, &event);
    const char *name;
    json_t *value;
    size_t at = 0;
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    { /* reads only */
        names[at++] = name;
    }
    qsort(names, count, sizeof(names[0]), by_name);
    for (size_t i = 0; i < count; i++) {
        emit_text(emitter, names[i], true);
        emit_value(emitter, json_object_get(map, names[i]), flow);
    }
    yaml_mapping_end_event_initialize(&event);
    emit(emitter, &event);
    free(names);
}

static void emit_list(yaml_emitter_t *emitter, const json_t *list, bool flow)
{
    yaml_event_t event;
    yaml_sequence_start_event_initialize(
        &event, NULL, NULL, 1,
        flow || json_array_size(list) == 0 ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE);
    emit(emitter, &event);
    for (size_t i = 0; i < json_array_size(list); i++) {
        emit_value(emitter, json_array_get(list, i), flow);
    }
    yaml_sequence_end_event_initialize(&event);
    emit(emitter, &event);
}

static void emit_value(yaml_emitter_t *emitter, const json_t *value, bool flow)
{
    if (json_is_object(value)) {
        emit_map(emitter, value, flow);
    } else if (json_is_array(value)) {
        emit_list(emitter, value, flow);
    } else if (json_is_string(value)) {
        emit_text(emitter, json_string_value(value), true);
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        ASSERT(text != NULL);
        emit_text(emitter, text, false);
        free(text);
    }
}

static void emit_document(yaml_emitter_t *emitter, const json_t *value, bool flow)
{
    yaml_event_t event;
    yaml_emitter_set_unicode(emitter, 1);
    yaml_emitter_set_width(emitter, flow ? -1 : 200);
    yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING);
    emit(emitter, &event);
    yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1);
    emit(emitter, &event);
    emit_value(emitter, value, flow);
    yaml_document_end_event_initialize(&event, 1);
    emit(emitter, &event);
    yaml_stream_end_event_initialize(&event);
    emit(emitter, &event);
}

void yaml_print(const json_t *value, FILE *out)
{
    char *text = yaml_text(value, false);
    fputs(text, out);
    free(text);
}

struct collected {
    char *text;
    size_t used;
};

static int collect(void *data, unsigned char *buffer, size_t size)
{
    struct collected *collected = data;
    char *text = realloc(collected->text, collected->used + size + 1);
    ASSERT(text != NULL);
    memcpy(text + collected->used, buffer, size);
    collected->used += size;
    text[collected->used] = '\0';
    collected->text = text;
    return 1;
}

char *yaml_text(const json_t *value, bool flow)
{
    yaml_emitter_t emitter;
    struct collected collected = {NULL, 0};
    int ready = yaml_emitter_initialize(&emitter);
    ASSERT(ready == 1);
    yaml_emitter_set_output(&emitter, collect, &collected);
    emit_document(&emitter, value, flow);
    yaml_emitter_delete(&emitter);
    ASSERT(collected.text != NULL);
    if (flow && collected.used > 0 && collected.text[collected.used - 1] == '\n') {
        collected.text[collected.used - 1] = '\0';
    }
    return collected.text;
}
