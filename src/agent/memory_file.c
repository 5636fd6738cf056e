/* agent/memory_file.c - every field is written and every field is demanded back: a memory with
 * holes would be a promise forgotten.
 */
#include "agent/memory_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>

#include "agent/file_replace.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

#define MEMORY_FORMAT 1

enum err memory_boot_id(char out_boot_id[BOOT_ID_SIZE], struct err_detail *detail)
{
    AUTO_CLOSE int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot open the kernel's boot id");
    }
    char text[BOOT_ID_SIZE] = "";
    ssize_t got = read(fd, text, sizeof(text) - 1);
    if (got < 36) {
        return err_set_errno(detail, ERR_INVALID, got < 0 ? errno : 0,
                             "cannot read the kernel's boot id");
    }
    text[36] = '\0';
    memcpy(out_boot_id, text, sizeof(text));
    return ERR_OK;
}

/* ---- text ---- */

static json_t *names_to_json(const struct core_name_list *names)
{
    ASSERT(names->count <= MEMBERS_MAX);
    json_t *array = json_array();
    for (uint32_t i = 0; i < names->count; i++) {
        (void)json_array_append_new(array,
                                    json_string(names->name[i])); /* fails on no memory only */
    }
    return array;
}

/* 64-bit numbers as text: JSON's own integers are signed. */
static json_t *u64_to_json(uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return json_string(text);
}

char *memory_format(const struct core_memory *memory, const char *boot_id, struct arena *arena)
{
    ASSERT(memory != NULL && boot_id != NULL);
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:o, s:I, s:I, s:o, s:I, s:o, s:o}", "format", MEMORY_FORMAT, "boot_id",
        boot_id, "promised_to", memory->promised_to, "promised_epoch",
        u64_to_json(memory->promised_epoch), "promised_until_ms",
        (json_int_t)memory->promised_until.ms, "promised_ms", (json_int_t)memory->promised_ms,
        "epoch_max", u64_to_json(memory->epoch_max), "ttl_max_ms", (json_int_t)memory->ttl_max_ms,
        "failsafe", names_to_json(&memory->failsafe), "failsafe_doubt",
        names_to_json(&memory->failsafe_doubt));
    ASSERT(root != NULL); /* names are text that the store gave us: valid UTF-8 */
    char *dumped = json_dumps(root, JSON_INDENT(1));
    ASSERT(dumped != NULL);
    char *text = arena_strdup(arena, dumped);
    free(dumped);
    json_decref(root);
    return text;
}

static bool names_from_json(const json_t *array, struct core_name_list *out_names)
{
    if (!json_is_array(array) || json_array_size(array) > MEMBERS_MAX) {
        return false;
    }
    struct core_name_list names = {0};
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *name = json_string_value(json_array_get(array, i));
        if (name == NULL || !str_copy(names.name[i], NAME_SIZE, name)) {
            return false;
        }
        names.count++;
    }
    *out_names = names;
    return true;
}

static bool u64_from_json(const json_t *value, uint64_t *out_value)
{
    const char *text = json_string_value(value);
    return text != NULL && str_to_u64(text, out_value);
}

static bool i64_from_json(const json_t *value, int64_t *out_value)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *out_value = (int64_t)json_integer_value(value);
    return true;
}

static bool memory_from_json(const json_t *root, struct core_memory *out_memory)
{
    const char *promised_to = json_string_value(json_object_get(root, "promised_to"));
    return json_integer_value(json_object_get(root, "format")) == MEMORY_FORMAT &&
           promised_to != NULL && str_copy(out_memory->promised_to, NAME_SIZE, promised_to) &&
           u64_from_json(json_object_get(root, "promised_epoch"), &out_memory->promised_epoch) &&
           i64_from_json(json_object_get(root, "promised_until_ms"),
                         &out_memory->promised_until.ms) &&
           i64_from_json(json_object_get(root, "promised_ms"), &out_memory->promised_ms) &&
           u64_from_json(json_object_get(root, "epoch_max"), &out_memory->epoch_max) &&
           i64_from_json(json_object_get(root, "ttl_max_ms"), &out_memory->ttl_max_ms) &&
           names_from_json(json_object_get(root, "failsafe"), &out_memory->failsafe) &&
           names_from_json(json_object_get(root, "failsafe_doubt"), &out_memory->failsafe_doubt);
}

enum err memory_parse(const char *text, size_t size, const char *boot_id,
                      struct memory_loaded *out_loaded, struct err_detail *detail)
{
    ASSERT(boot_id != NULL && out_loaded != NULL);
    json_error_t error;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        return err_set(detail, ERR_INVALID, "line %d: %.160s", error.line, error.text);
    }
    struct memory_loaded loaded = {.found = true};
    const char *written_in = json_string_value(json_object_get(root, "boot_id"));
    bool good = written_in != NULL && memory_from_json(root, &loaded.memory);
    loaded.same_boot = good && str_equal(written_in, boot_id);
    json_decref(root);
    if (!good) {
        return err_set(detail, ERR_INVALID, "a field is missing or of the wrong kind");
    }
    *out_loaded = loaded;
    return ERR_OK;
}

void memory_lost(int64_t config_ttl_ms, int64_t page_ttl_ms, struct memory_loaded *out_loaded)
{
    ASSERT(config_ttl_ms >= 0 && page_ttl_ms >= 0);
    int64_t ttl_ms = config_ttl_ms > page_ttl_ms ? config_ttl_ms : page_ttl_ms;
    ttl_ms = ttl_ms > MEMORY_LOST_TTL_MS ? ttl_ms : MEMORY_LOST_TTL_MS;
    *out_loaded = (struct memory_loaded){
        .memory = {.promised_to = "?", .promised_ms = ttl_ms + ttl_ms / 10, .ttl_max_ms = ttl_ms}};
}

enum err memory_load(const char *path, const char *boot_id, struct memory_loaded *out_loaded,
                     struct err_detail *detail)
{
    ASSERT(path != NULL);
    AUTO_FREE char *text = NULL;
    size_t size = 0;
    enum err err = file_load(path, &text, &size, detail);
    if (err != ERR_OK) {
        return err;
    }
    if (text == NULL) {
        *out_loaded = (struct memory_loaded){0};
        return ERR_OK;
    }
    return memory_parse(text, size, boot_id, out_loaded, detail);
}
