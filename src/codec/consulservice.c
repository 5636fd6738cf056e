/* DNS answers from the catalogue's tags, and nobody but the one who leads may wear a leader's: the dead
 * do not take theirs off, so the living do it for them, each change tied to what was seen. */
#include "codec/consulservice.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/str.h"

#define TXN_OPS_MAX 64 /* Consul's own limit */

static const char *const leader_tags[] = {"primary", "master", "standby-leader"};

static json_t *must(json_t *json)
{
    ASSERT(json != NULL); /* heap exhaustion aborts; texts are UTF-8 */
    return json;
}

static void set(json_t *object, const char *key, json_t *value)
{
    int rc = json_object_set_new(object, key, must(value));
    ASSERT(rc == 0);
}

static void append(json_t *list, json_t *value)
{
    int rc = json_array_append_new(list, must(value));
    ASSERT(rc == 0);
}

/* The next code point of UTF-8 text that jansson has accepted. */
static unsigned code_point(const unsigned char **at)
{
    const unsigned char *in = *at;
    unsigned first = *in++;
    unsigned more = first < 0x80 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    unsigned value = more == 0 ? first : first & (0x3FU >> more);
    for (unsigned i = 0; i < more; i++) {
        ASSERT((*in & 0xC0) == 0x80);
        value = value << 6 | (*in++ & 0x3FU);
    }
    *at = in;
    return value;
}

bool consulservice_name(const char *scope, char out_name[CONSULSERVICE_NAME_SIZE])
{
    ASSERT(scope != NULL && out_name != NULL);
    json_t *valid = json_string(scope);
    if (valid == NULL) {
        return false;
    }
    json_decref(valid);
    char name[CONSULSERVICE_NAME_SIZE];
    size_t used = 0;
    for (const unsigned char *at = (const unsigned char *)scope; *at != '\0';) {
        unsigned point = code_point(&at);
        char part[16];
        if (point >= 'A' && point <= 'Z') {
            point += 'a' - 'A';
        }
        bool plain = (point >= 'a' && point <= 'z') || (point >= '0' && point <= '9');
        bool dash = point < 0x80 && strchr("-._ ", (int)point) != NULL;
        bool fits = plain || dash ? str_format(part, sizeof(part), "%c", plain ? (char)point : '-')
                                  : str_format(part, sizeof(part), "u%04u", point);
        ASSERT(fits);
        size_t length = strlen(part);
        if (used + length >= sizeof(name)) {
            return false;
        }
        memcpy(name + used, part, length + 1);
        used += length;
    }
    if (used == 0) {
        return false;
    }
    memcpy(out_name, name, used + 1);
    return true;
}

void consulservice_role_tag(const char *role, char *out_tag, size_t out_size)
{
    ASSERT(role != NULL);
    str_copy_cut(out_tag, out_size, role);
    for (char *at = out_tag; *at != '\0'; at++) {
        *at = *at == '_' ? '-' : *at;
    }
}

static json_t *tags_of(const struct consulservice *service)
{
    ASSERT(service->tag_count == 0 || service->tags != NULL);
    char role[32];
    consulservice_role_tag(service->role, role, sizeof(role));
    json_t *tags = must(json_array());
    for (size_t i = 0; i < service->tag_count; i++) {
        append(tags, json_string(service->tags[i]));
    }
    append(tags, json_string(role));
    if (str_equal(role, "primary")) {
        append(tags, json_string("master"));
    }
    return tags;
}

char *consulservice_register_text(const struct consulservice *service)
{
    ASSERT(service->role[0] != '\0' && service->id[0] != '\0');
    const char *host = strstr(service->api_url, "://");
    if (host == NULL || host[3] == '\0' || host[3] == '/') {
        return NULL;
    }
    int end = (int)(host + 3 - service->api_url) + (int)strcspn(host + 3, "/?#");
    char role[32];
    consulservice_role_tag(service->role, role, sizeof(role));
    char url[URL_SIZE + sizeof(role) + 2];
    if (!str_format(url, sizeof(url), "%.*s/%s", end, service->api_url, role)) {
        return NULL;
    }
    char after[32];
    bool fits = str_format(after, sizeof(after), "%lldms", (long long)service->deregister_after_ms);
    ASSERT(fits);
    json_t *check = must(json_object());
    set(check, "HTTP", json_string(url));
    set(check, "Interval", json_string(service->check_interval));
    set(check, "DeregisterCriticalServiceAfter", json_string(after));
    set(check, "Status", json_string("passing"));
    if (service->tls_server_name[0] != '\0') {
        set(check, "TLSServerName", json_string(service->tls_server_name));
    }
    json_t *root = must(json_object());
    set(root, "ID", json_string(service->id));
    set(root, "Name", json_string(service->name));
    set(root, "Tags", tags_of(service));
    set(root, "Address", json_string(service->host));
    set(root, "Port", json_integer(service->port));
    set(root, "EnableTagOverride", json_true());
    set(root, "Check", check);
    char *text = json_dumps(root, JSON_COMPACT);
    ASSERT(text != NULL);
    json_decref(root);
    return text;
}

/* ---- what is found ---- */

enum err consulservice_list_read(const char *body, size_t size, struct consulservice_list *out_list,
                                 struct err_detail *detail)
{
    ASSERT(out_list != NULL);
    json_t *root = json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL);
    bool good = json_is_array(root);
    size_t i;
    json_t *entry;
    json_array_foreach(root, i, entry)
    {
        const json_t *tags = json_object_get(entry, "ServiceTags");
        good = good && json_is_string(json_object_get(entry, "Node")) &&
               json_is_string(json_object_get(entry, "ServiceID")) &&
               json_is_string(json_object_get(entry, "ServiceName")) &&
               json_is_integer(json_object_get(entry, "ModifyIndex")) &&
               (tags == NULL || json_is_null(tags) || json_is_array(tags));
    }
    if (!good) {
        json_decref(root);
        return err_set(detail, ERR_INVALID, "no list of services");
    }
    out_list->entries = root;
    return ERR_OK;
}

void consulservice_list_fini(struct consulservice_list *list)
{
    ASSERT(list != NULL);
    json_decref(list->entries);
    list->entries = NULL;
}

static bool entry_has(const json_t *entry, const char *tag)
{
    ASSERT(tag != NULL);
    size_t i;
    const json_t *found;
    json_array_foreach(json_object_get(entry, "ServiceTags"), i, found)
    {
        if (json_is_string(found) && str_equal(json_string_value(found), tag)) {
            return true;
        }
    }
    return false;
}

static bool entry_is(const json_t *entry, const char *id)
{
    ASSERT(id != NULL);
    return str_equal(json_string_value(json_object_get(entry, "ServiceID")), id);
}

bool consulservice_list_has(const struct consulservice_list *list, const char *id, const char *tag)
{
    ASSERT(list->entries != NULL);
    size_t i;
    const json_t *entry;
    json_array_foreach(list->entries, i, entry)
    {
        if (entry_is(entry, id) && entry_has(entry, tag)) {
            return true;
        }
    }
    return false;
}

static bool is_leader_tag(const char *tag)
{
    for (size_t i = 0; i < sizeof(leader_tags) / sizeof(leader_tags[0]); i++) {
        if (str_equal(leader_tags[i], tag)) {
            return true;
        }
    }
    return false;
}

static bool entry_leads(const json_t *entry)
{
    for (size_t i = 0; i < sizeof(leader_tags) / sizeof(leader_tags[0]); i++) {
        if (entry_has(entry, leader_tags[i])) {
            return true;
        }
    }
    return false;
}

/* The whole service as it was found, but for the tags: a set replaces all of it. */
static json_t *entry_without_role(const json_t *entry)
{
    static const char *const fields[][2] = {
        {"ServiceID", "ID"},
        {"ServiceName", "Service"},
        {"ServiceAddress", "Address"},
        {"ServicePort", "Port"},
        {"ServiceMeta", "Meta"},
        {"ServiceWeights", "Weights"},
        {"ModifyIndex", "ModifyIndex"},
        {"ServiceEnableTagOverride", "EnableTagOverride"},
    };
    json_t *service = must(json_object());
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        json_t *value = json_object_get(entry, fields[i][0]);
        if (value != NULL && !json_is_null(value)) {
            set(service, fields[i][1], json_incref(value));
        }
    }
    json_t *tags = must(json_array());
    size_t i;
    json_t *tag;
    json_array_foreach(json_object_get(entry, "ServiceTags"), i, tag)
    {
        if (json_is_string(tag) && !is_leader_tag(json_string_value(tag))) {
            append(tags, json_incref(tag));
        }
    }
    set(service, "Tags", tags);
    return service;
}

char *consulservice_correction(const struct consulservice_list *list, const char *own_id,
                               const char *leader_key, uint64_t leader_version)
{
    ASSERT(list->entries != NULL && leader_version != 0);
    json_t *kv = must(json_object());
    set(kv, "Verb", json_string("check-index"));
    set(kv, "Key", json_string(leader_key));
    set(kv, "Index", json_integer((json_int_t)leader_version));
    json_t *ops = must(json_array());
    append(ops, json_pack("{s:o}", "KV", kv));
    size_t i;
    json_t *entry;
    json_array_foreach(list->entries, i, entry)
    {
        if (entry_is(entry, own_id) || !entry_leads(entry) || json_array_size(ops) == TXN_OPS_MAX) {
            continue;
        }
        append(ops,
               json_pack("{s:{s:s,s:O,s:o}}", "Service", "Verb", "cas", "Node",
                         json_object_get(entry, "Node"), "Service", entry_without_role(entry)));
    }
    char *text = json_array_size(ops) > 1 ? json_dumps(ops, JSON_COMPACT) : NULL;
    json_decref(ops);
    return text;
}
