/* agent/store_fold.c - a snapshot is compared key by key with the one before, and only what has
 * another version is copied and parsed: a renewal, twice a second, costs one small record.
 */
#include "agent/shell.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/json.h"

static struct records_item item_of(const struct store_key *key)
{
    return (struct records_item){.key = key->key,
                                 .value = key->value,
                                 .value_size = key->value_size,
                                 .version = key->version};
}

/* ---- the copy ---- */

static void key_fini(struct store_key *key)
{
    free(key->key);
    free(key->value);
}

static struct store_key key_copy(const struct dcs_item *item)
{
    struct store_key key = {.key = strdup(item->key),
                            .value = strndup(item->value, item->value_size),
                            .value_size = item->value_size,
                            .version = item->version,
                            .attached = item->attached,
                            .changed = true};
    ASSERT(key.key != NULL && key.value != NULL);
    return key;
}

/* A store that was put back may come to the same version again with another value. */
static bool same_value(const struct store_key *key, const struct dcs_item *item)
{
    return key->version == item->version && key->value_size == item->value_size &&
           memcmp(key->value, item->value, item->value_size) == 0;
}

/* Calls gone for keys that vanished; what stays the same is carried over. */
static void keys_replace(struct store_view *view, const struct dcs_snapshot *snapshot,
                         void (*gone)(struct store_view *view, const char *key))
{
    struct store_key *keys = calloc(snapshot->count + 1, sizeof(*keys));
    ASSERT(keys != NULL);
    size_t old = 0;
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct dcs_item *item = &snapshot->items[i];
        while (old < view->key_count && strcmp(view->keys[old].key, item->key) < 0) {
            gone(view, view->keys[old].key);
            key_fini(&view->keys[old++]);
        }
        bool known = old < view->key_count && str_equal(view->keys[old].key, item->key);
        if (known && same_value(&view->keys[old], item)) {
            keys[i] = view->keys[old++];
            keys[i].changed = false;
            keys[i].attached = item->attached;
        } else {
            if (known) {
                key_fini(&view->keys[old++]);
            }
            keys[i] = key_copy(item);
        }
    }
    for (; old < view->key_count; old++) {
        gone(view, view->keys[old].key);
        key_fini(&view->keys[old]);
    }
    free(view->keys);
    view->keys = keys;
    view->key_count = snapshot->count;
}

static void forget(struct store_view *view, const char *key)
{
    if (!str_equal(key, "config")) { /* a lost /config changes nothing but its version */
        records_apply(&(struct records_item){.key = key}, &view->cluster);
    }
    if (str_equal(key, "status")) {
        view->cluster.optime_timeline = 0;
    }
}

/* ---- addresses ---- */

static void names_need(struct agent *agent, const struct core_name_list *names)
{
    ASSERT(names->count <= MEMBERS_MAX);
    for (uint32_t i = 0; i < names->count; i++) {
        address_book_need(&agent->book, names->name[i]);
    }
}

/* Members, and everybody who may have to be asked for a promise. */
static void book_prepare(struct agent *agent)
{
    address_book_need_none(&agent->book);
    for (uint32_t i = 0; i < agent->view.member_count; i++) {
        address_book_need(&agent->book, agent->view.member[i].name);
    }
    names_need(agent, &agent->view.cluster.failsafe.names);
    names_need(agent, &agent->core.memory.failsafe);
    names_need(agent, &agent->core.memory.failsafe_doubt);
}

/* ---- members ---- */

static bool members_differ(const struct store_view *view)
{
    uint32_t count = 0;
    for (size_t i = 0; i < view->key_count; i++) {
        if (records_kind(view->keys[i].key, NULL) == RECORDS_MEMBER) {
            if (view->keys[i].changed) {
                return true;
            }
            count += count < MEMBERS_MAX ? 1 : 0;
        }
    }
    return count != view->member_count;
}

static void members_fold(struct agent *agent)
{
    struct store_view *view = &agent->view;
    struct core_name_list names = {0};
    bool book_changed = false;
    uint32_t dropped = 0;
    book_prepare(agent);
    view->member_count = 0;
    for (size_t i = 0; i < view->key_count; i++) {
        const struct store_key *key = &view->keys[i];
        const char *name;
        if (records_kind(key->key, &name) != RECORDS_MEMBER) {
            continue;
        }
        if (view->member_count == MEMBERS_MAX || strlen(name) >= NAME_SIZE) {
            dropped++;
            continue;
        }
        struct member_info *member = &view->member[view->member_count];
        member_parse(name, key->value, key->value_size, key->version, member);
        member_to_core(member, &view->cluster.member[view->member_count]);
        str_copy_cut(names.name[names.count++], NAME_SIZE, name);
        view->member_count++;
        book_changed =
            address_book_set(&agent->book, name, member->api_url, member->conn_url) || book_changed;
    }
    view->cluster.member_count = view->member_count;
    view->members_cut = dropped > 0;
    if (dropped > 0) {
        log_warn("members", "dropped=%u message=\"more members than this agent can see\"", dropped);
    }
    pg_set_members(agent->pg, &names);
    if (book_changed) {
        exec_memory_book_changed(agent);
    }
}

/* ---- single keys ---- */

static void failsafe_fold(struct agent *agent, const struct store_key *key)
{
    struct store_view *view = &agent->view;
    struct records_item item = item_of(key);
    char urls[MEMBERS_MAX][URL_SIZE];
    view->failsafe_cut = records_parse_failsafe(&item, &view->cluster.failsafe, urls) > 0;
    book_prepare(agent);
    bool changed = false;
    const struct core_name_list *names = &view->cluster.failsafe.names;
    for (uint32_t i = 0; i < names->count; i++) {
        changed = address_book_set(&agent->book, names->name[i], urls[i], NULL) || changed;
    }
    if (changed) {
        exec_memory_book_changed(agent);
    }
}

static void settings_fold(struct agent *agent, const struct records_item *item)
{
    struct store_view *view = &agent->view;
    struct dynconfig_warnings warnings = {0};
    struct records_context context = {.local_postgresql = agent_local_postgresql(agent),
                                      .last = &view->settings_last,
                                      .warnings = &warnings};
    records_apply_config(item, &context, &view->cluster);
    view->settings_last = view->cluster.settings;
    for (uint32_t i = 0; i < warnings.count; i++) {
        log_warn("config", "message=\"%s\"", warnings.text[i]);
    }
    json_t *config = item->value != NULL ? json_read_object(item->value, item->value_size) : NULL;
    if (config != NULL) {
        agent_config_changed(agent, item->value, config);
    }
    json_decref(config);
}

void store_fold_defaults(struct agent *agent)
{
    struct store_view *view = &agent->view;
    dynconfig_settings(NULL, 0, agent_local_postgresql(agent), NULL, &view->settings_last, NULL);
    view->cluster.settings = view->settings_last;
    static const char *const KEYS[] = {"lease",   "leader",   "initialize", "status",
                                       "history", "failover", "failsafe"};
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
        forget(view, KEYS[i]);
    }
}

void store_fold(struct agent *agent, const struct dcs_snapshot *snapshot)
{
    struct store_view *view = &agent->view;
    if (snapshot->store_id != view->cluster.store_id ||
        snapshot->revision < view->cluster.revision) {
        store_fold_fini(agent); /* another history: equal versions mean nothing */
    }
    bool had_config = store_view_version(agent, "config") != 0;
    keys_replace(view, snapshot, forget);
    const struct store_key *config = NULL; /* after `initialize`: it tells whose the server is */
    for (size_t i = 0; i < view->key_count; i++) {
        const struct store_key *key = &view->keys[i];
        if (!key->changed) {
            continue;
        }
        struct records_item item = item_of(key);
        enum records_kind kind = records_kind(key->key, NULL);
        if (kind == RECORDS_CONFIG) {
            config = key;
        } else if (kind == RECORDS_FAILSAFE) {
            failsafe_fold(agent, key);
        } else if (kind != RECORDS_MEMBER) {
            records_apply(&item, &view->cluster);
        }
        if (kind == RECORDS_STATUS) {
            view->cluster.optime_timeline = publish_status_timeline(key->value, key->value_size);
        }
    }
    pg_set_cluster(agent->pg,
                   view->cluster.initialize == CORE_INITIALIZE_DONE ? view->cluster.sysid : 0);
    if (config != NULL) {
        struct records_item item = item_of(config);
        settings_fold(agent, &item);
    }
    if (had_config && store_view_version(agent, "config") == 0) {
        settings_fold(agent, &(struct records_item){.key = "config"});
    }
    if (members_differ(view)) {
        members_fold(agent);
    }
    if (store_view_version(agent, "failsafe") == 0) {
        view->failsafe_cut = false;
    }
    view->cluster.failsafe.cut = view->failsafe_cut || view->members_cut;
    view->cluster.store_id = snapshot->store_id;
    view->cluster.revision = snapshot->revision;
    view->cluster.reachable = TRI_YES;
}

void store_fold_fini(struct agent *agent)
{
    struct store_view *view = &agent->view;
    for (size_t i = 0; i < view->key_count; i++) {
        forget(view, view->keys[i].key);
        key_fini(&view->keys[i]);
    }
    free(view->keys);
    view->keys = NULL;
    view->key_count = 0;
    view->member_count = 0;
    view->cluster.member_count = 0;
}
