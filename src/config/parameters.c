/* Names are compared without case, values are text. The controlled ones come from the store alone, so
 * that all nodes agree on what a standby needs to start. */
#include "config/parameters.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/units.h"

enum rule_type { RULE_INT, RULE_BOOL, RULE_TRUE, RULE_WAL_LEVEL };

struct rule {
    const char *name;
    const char *fallback;
    enum rule_type type;
    int64_t min;
};

static const struct rule CONTROLLED[] = {
    {"hot_standby", "on", RULE_TRUE, 0},
    {"wal_level", "replica", RULE_WAL_LEVEL, 0},
    {"max_connections", "100", RULE_INT, 25},
    {"max_wal_senders", "10", RULE_INT, 3},
    {"max_prepared_transactions", "0", RULE_INT, 0},
    {"max_locks_per_transaction", "64", RULE_INT, 32},
    {"max_worker_processes", "8", RULE_INT, 2},
    {"max_replication_slots", "10", RULE_INT, 4},
    {"track_commit_timestamp", "off", RULE_BOOL, 0},
    {"wal_log_hints", "on", RULE_BOOL, 0},
};
#define CONTROLLED_COUNT (sizeof(CONTROLLED) / sizeof(CONTROLLED[0]))

/* Set elsewhere, or only in the store, though not in the table above. */
static const char *const NOT_SETTABLE[] = {"listen_addresses", "port", "cluster_name"};
static const char *const FILE_ONLY[] = {"wal_keep_segments", "wal_keep_size"};

static const struct rule *rule_find(const char *name)
{
    for (size_t i = 0; i < CONTROLLED_COUNT; i++) {
        if (strcasecmp(CONTROLLED[i].name, name) == 0) {
            return &CONTROLLED[i];
        }
    }
    return NULL;
}

static bool is_word(const char *const words[], size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(words[i], name) == 0) {
            return true;
        }
    }
    return false;
}

struct list {
    struct pg_parameter *item;
    size_t count;
    size_t room;
};

static void list_set(struct list *list, const char *name, const char *value)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcasecmp(list->item[i].name, name) == 0) {
            list->item[i].value = value;
            return;
        }
    }
    ASSERT(list->count < list->room);
    list->item[list->count++] = (struct pg_parameter){name, value};
}

static const char *list_get(const struct list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcasecmp(list->item[i].name, name) == 0) {
            return list->item[i].value;
        }
    }
    return NULL;
}

static void list_remove(struct list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcasecmp(list->item[i].name, name) == 0) {
            list->item[i] = list->item[--list->count];
            return;
        }
    }
}

static struct list list_make(struct arena *arena, size_t room)
{
    struct list list = {.room = room};
    list.item = arena_alloc(arena, room * sizeof(list.item[0]));
    ASSERT(list.item != NULL);
    return list;
}

/* The value that the server is given, or NULL when it may not be. */
static const char *checked(const struct rule *rule, const char *value, struct arena *arena)
{
    bool yes = false;
    int64_t number = 0;
    switch (rule->type) {
    case RULE_INT:
        if (!units_to_int(value, NULL, &number) || number < rule->min || number > INT32_MAX) {
            return NULL;
        }
        return arena_printf(arena, "%" PRId64, number);
    case RULE_BOOL:
    case RULE_TRUE:
        if (!units_to_bool(value, &yes) || (rule->type == RULE_TRUE && !yes)) {
            return NULL;
        }
        return yes ? "on" : "off";
    case RULE_WAL_LEVEL:
        if (strcasecmp(value, "hot_standby") == 0 || strcasecmp(value, "replica") == 0) {
            return "replica"; /* its name since 9.6 */
        }
        return strcasecmp(value, "logical") == 0 ? "logical" : NULL;
    }
    UNREACHABLE();
}

static void take_controlled(const struct config_section *section, const struct rule *rule,
                            const char *value, struct list *controlled)
{
    const char *good = checked(rule, value, section->arena);
    if (good == NULL) {
        config_complain(section, CONFIG_WARNING, rule->name,
                        "\"%s\" is not accepted, \"%s\" is used; remedy: %s", value, rule->fallback,
                        rule->type == RULE_INT ? "a larger whole number"
                                               : "on, off, or a level that standbys can follow");
        return;
    }
    list_set(controlled, rule->name, good);
}

/* A JSON value as the server wants it; NULL for maps, lists and null. */
static const char *parameter_text(const struct config_section *section, const char *name)
{
    const json_t *value = json_object_get(section->json, name);
    if (json_is_boolean(value) && section->marks == NULL) {
        return json_is_true(value) ? "on" : "off";
    }
    return config_value_text(section, name);
}

/* Names outlive the tree they are from. */
static const char *own_name(const struct config_section *section, const char *name)
{
    const char *copy = arena_strdup(section->arena, name);
    ASSERT(copy != NULL); /* arenas of configurations are larger than any file */
    return copy;
}

/* One layer's map into the lists. shared: it is the store's, which may set what is controlled. */
static void take_layer(const struct config_section *section, bool shared, struct list *parameters,
                       struct list *controlled)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)section->json, name, value)
    { /* reads only */
        const struct rule *rule = rule_find(name);
        const char *text = parameter_text(section, name);
        bool elsewhere = is_word(NOT_SETTABLE, 3, name);
        if (elsewhere || (!shared && (rule != NULL || is_word(FILE_ONLY, 2, name)))) {
            config_complain(section, CONFIG_WARNING, name,
                            elsewhere
                                ? "is set by Holdfast and ignored here; remedy: use listen and "
                                  "scope"
                                : "must be the same on all nodes and is ignored here; remedy: "
                                  "set it in the store (bootstrap.dcs, or holdfast ctl "
                                  "edit-config)");
        } else if (json_is_null(value)) {
            list_remove(parameters, name);
        } else if (text == NULL || strpbrk(text, "\r\n") != NULL) {
            config_complain(section, CONFIG_WARNING, name,
                            "is no single value and is ignored; remedy: "
                            "one text, number or boolean");
        } else if (rule != NULL) {
            take_controlled(section, rule, text, controlled);
        } else {
            list_set(parameters, own_name(section, name), text);
        }
    }
}

/* PostgreSQL 13 and newer know sizes only: n segments of 16 MB. */
static void fit_wal_keep(const struct config_section *section, struct list *parameters)
{
    const char *segments = list_get(parameters, "wal_keep_segments");
    const char *size = list_get(parameters, "wal_keep_size");
    int64_t count = 8;
    int64_t mb = 0;
    if (size != NULL && (!units_to_int(size, "MB", &mb) || mb < 16)) {
        config_complain(section, CONFIG_WARNING, "wal_keep_size",
                        "\"%s\" is not accepted, \"128MB\" is used; remedy: 16MB or more", size);
        size = NULL;
        segments = NULL;
    }
    if (segments != NULL &&
        (!units_to_int(segments, NULL, &count) || count < 1 || count > 100000)) {
        config_complain(section, CONFIG_WARNING, "wal_keep_segments",
                        "\"%s\" is not accepted; remedy: 1 or more", segments);
        count = 8;
    }
    if (size == NULL) {
        const char *text = arena_printf(section->arena, "%" PRId64 "MB", count * 16);
        ASSERT(text != NULL);
        list_set(parameters, "wal_keep_size", text);
    }
    list_remove(parameters, "wal_keep_segments");
}

static struct config_section map_of(const struct config_section *section, const char *key)
{
    return config_subsection(section, key);
}

static void load_recovery(const struct config_section *local, const struct config_section *dynamic,
                          struct pg_config *pg)
{
    const json_t *own = json_object_get(local->json, "recovery_conf");
    const struct config_section section =
        map_of(own != NULL && !json_is_null(own) ? local : dynamic, "recovery_conf");
    struct list list = list_make(section.arena, json_object_size(section.json) + 1);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)section.json, name, value)
    { /* reads only */
        const char *text = parameter_text(&section, name);
        if (strncasecmp(name, "recovery_target", 15) == 0 ||
            strcasecmp(name, "primary_conninfo") == 0 ||
            strcasecmp(name, "primary_slot_name") == 0) {
            config_complain(&section, CONFIG_WARNING, name,
                            "is set by Holdfast and ignored here; remedy: remove it");
        } else if (text != NULL) {
            list_set(&list, own_name(&section, name), text);
        }
    }
    pg->recovery = list.item;
    pg->recovery_count = list.count;
}

void config_parameters(const struct config_section *local, const struct config_section *dynamic,
                       struct pg_config *pg)
{
    ASSERT(local != NULL && dynamic != NULL && pg != NULL);
    const struct config_section own = map_of(local, "parameters");
    const struct config_section shared = map_of(dynamic, "parameters");
    size_t room = json_object_size(own.json) + json_object_size(shared.json) + 4;
    struct list parameters = list_make(local->arena, room);
    struct list controlled = list_make(local->arena, CONTROLLED_COUNT);
    list_set(&parameters, "wal_retrieve_retry_interval", "200ms");
    for (size_t i = 0; i < CONTROLLED_COUNT; i++) {
        list_set(&controlled, CONTROLLED[i].name, CONTROLLED[i].fallback);
    }
    take_layer(&shared, true, &parameters, &controlled);
    fit_wal_keep(&shared, &parameters);
    take_layer(&own, false, &parameters, &controlled);
    pg->parameters = parameters.item;
    pg->parameter_count = parameters.count;
    pg->controlled = controlled.item;
    pg->controlled_count = controlled.count;
    load_recovery(local, dynamic, pg);
}
