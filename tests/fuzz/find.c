/* The fuzzers by name, and what they share. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

fuzz_function fuzz_find(const char *name)
{
    static const struct {
        const char *name;
        fuzz_function function;
    } all[] = {
#define X(name) {#name, fuzz_##name},
        FUZZ_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (str_equal(all[i].name, name)) {
            return all[i].function;
        }
    }
    return NULL;
}

char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    ASSERT(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    return text;
}
