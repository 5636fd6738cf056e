/* Garbage is an answer (NULL), never a crash: what stands in the store may come from anybody. */
#include "codec/json.h"

#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

json_t *json_read(const char *value, size_t size)
{
    ASSERT(value != NULL || size == 0);
    return size == 0 ? NULL : json_loadb(value, size, JSON_DECODE_ANY, NULL);
}

json_t *json_read_object(const char *value, size_t size)
{
    json_t *json = json_read(value, size);
    if (!json_is_object(json)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

const char *json_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

const char *json_scalar_text(const json_t *scalar, struct arena *arena)
{
    if (json_is_string(scalar)) {
        return arena_strdup(arena, json_string_value(scalar));
    }
    if (json_is_boolean(scalar)) {
        return json_is_true(scalar) ? "true" : "false";
    }
    if (json_is_integer(scalar)) {
        return arena_printf(arena, "%" JSON_INTEGER_FORMAT, json_integer_value(scalar));
    }
    return json_is_real(scalar) ? arena_printf(arena, "%.15g", json_real_value(scalar)) : NULL;
}

void json_merge(json_t *object, const json_t *patch)
{
    ASSERT(json_is_object(object) && object != patch);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)patch, key, value)
    { /* reads only */
        json_t *old = json_object_get(object, key);
        if (json_is_null(value)) {
            (void)json_object_del(object, key); /* absent is fine */
        } else if (json_is_object(old) && json_is_object(value)) {
            json_merge(old, value);
        } else {
            json_t *copy = json_deep_copy(value);
            ASSERT(copy != NULL);
            json_object_set_new(object, key, copy);
        }
    }
}

bool json_write(const json_t *value, char *out, size_t out_size)
{
    ASSERT(out_size > 0);
    size_t length = json_dumpb(value, out, out_size, JSON_COMPACT | JSON_ENCODE_ANY);
    bool fits = length > 0 && length < out_size;
    out[fits ? length : 0] = '\0';
    return fits;
}
