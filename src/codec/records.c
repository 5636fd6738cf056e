/* Each key has one reader that takes any bytes and one writer that writes what Patroni would. The
 * version is kept whatever the content: it is what the next conditional write needs. */
#include "codec/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/json.h"
#include "codec/units.h"

#define LEASE_TTL_MAX_MS INT64_C(86400000)

enum records_kind records_kind(const char *key, const char **out_name)
{
    ASSERT(key != NULL);
    static const char *const names[] = {
        [RECORDS_LEASE] = "lease",
        [RECORDS_LEADER] = "leader",
        [RECORDS_INITIALIZE] = "initialize",
        [RECORDS_CONFIG] = "config",
        [RECORDS_STATUS] = "status",
        [RECORDS_HISTORY] = "history",
        [RECORDS_FAILOVER] = "failover",
        [RECORDS_FAILSAFE] = "failsafe",
        [RECORDS_SYNC] = "sync",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_equal(key, names[i])) {
            return (enum records_kind)i;
        }
    }
    const size_t prefix = strlen("members/");
    if (strncmp(key, "members/", prefix) != 0 || key[prefix] == '\0' ||
        strchr(key + prefix, '/') != NULL) {
        return RECORDS_OTHER;
    }
    if (out_name != NULL) {
        *out_name = key + prefix;
    }
    return RECORDS_MEMBER;
}

static json_t *item_object(const struct records_item *item)
{
    return item->value == NULL ? NULL : json_read_object(item->value, item->value_size);
}

/* The whole value as text of limited length; false when it is absent, too long or holds a NUL. */
static bool item_text(const struct records_item *item, char *out, size_t out_size)
{
    if (item->value == NULL || item->value_size >= out_size ||
        memchr(item->value, '\0', item->value_size) != NULL) {
        return false;
    }
    memcpy(out, item->value, item->value_size);
    out[item->value_size] = '\0';
    return true;
}

/* Names are UTF-8, as everything that is written as JSON. */
static bool is_utf8(const char *text)
{
    json_t *string = json_string(text);
    json_decref(string);
    return string != NULL;
}

/* ---- lease ---- */

static bool natural(const json_t *object, const char *key, uint64_t *out_value)
{
    const json_t *number = json_object_get(object, key);
    if (!json_is_integer(number) || json_integer_value(number) < 0) {
        return false;
    }
    *out_value = (uint64_t)json_integer_value(number);
    return true;
}

static bool text_field(const json_t *object, const char *key, char *out, size_t out_size)
{
    const char *text = json_text(object, key);
    return text != NULL && str_copy(out, out_size, text);
}

static bool lease_state(const char *text, struct core_lease_record *record)
{
    static const char handing[] = "handing_to:";
    if (str_equal(text, "held")) {
        record->state = CORE_LEASE_HELD;
    } else if (str_equal(text, "released")) {
        record->state = CORE_LEASE_RELEASED;
    } else if (strncmp(text, handing, strlen(handing)) == 0 && text[strlen(handing)] != '\0') {
        record->state = CORE_LEASE_HANDING_TO;
        return str_copy(record->to, sizeof(record->to), text + strlen(handing));
    } else {
        return false;
    }
    return true;
}

void records_parse_lease(const struct records_item *item, struct core_lease_record *out_record)
{
    ASSERT(item != NULL && out_record != NULL);
    struct core_lease_record record = {.version = item->version};
    uint64_t ttl_ms = 0;
    json_t *json = item_object(item);
    const char *state = json_text(json, "state");
    const json_t *armed = json_object_get(json, "armed");
    bool good = text_field(json, "holder", record.holder, sizeof(record.holder)) &&
                natural(json, "epoch", &record.epoch) && natural(json, "seq", &record.seq) &&
                natural(json, "ttl_ms", &ttl_ms) && ttl_ms > 0 && ttl_ms <= LEASE_TTL_MAX_MS &&
                json_is_boolean(armed) && state != NULL && lease_state(state, &record) &&
                text_field(json, "session", record.session, sizeof(record.session));
    if (good) {
        record.present = true;
        record.ttl_ms = (int64_t)ttl_ms;
        record.armed = json_is_true(armed);
    } else {
        record = (struct core_lease_record){.version = item->version};
    }
    json_decref(json);
    *out_record = record;
}

bool records_format_lease(const struct core_lease_record *record, char *out, size_t out_size)
{
    ASSERT(record != NULL && record->ttl_ms > 0 && out_size > 0);
    ASSERT(record->epoch <= INT64_MAX && record->seq <= INT64_MAX);
    char state[NAME_SIZE + 16];
    const char *text = record->state == CORE_LEASE_HELD ? "held" : "released";
    if (record->state == CORE_LEASE_HANDING_TO) {
        (void)snprintf(state, sizeof(state), "handing_to:%s", record->to); /* fits by its size */
        text = state;
    }
    json_t *json = json_pack("{s:s, s:I, s:I, s:I, s:b, s:s, s:s}", "holder", record->holder,
                             "epoch", (json_int_t)record->epoch, "seq", (json_int_t)record->seq,
                             "ttl_ms", (json_int_t)record->ttl_ms, "armed", record->armed ? 1 : 0,
                             "state", text, "session", record->session);
    bool fits = json != NULL && json_write(json, out, out_size);
    json_decref(json);
    return fits;
}

/* ---- single values ---- */

void records_parse_leader(const struct records_item *item, struct core_leader_key *out_leader)
{
    ASSERT(item != NULL && out_leader != NULL);
    *out_leader = (struct core_leader_key){.version = item->version};
    if (!item_text(item, out_leader->name, sizeof(out_leader->name))) {
        out_leader->name[0] = '\0'; /* somebody leads, nobody we could name */
    }
}

void records_parse_initialize(const struct records_item *item, enum core_initialize *out_state,
                              uint64_t *out_sysid)
{
    ASSERT(item != NULL && out_state != NULL && out_sysid != NULL);
    char digits[24];
    uint64_t sysid = 0;
    *out_sysid = 0;
    if (item->value == NULL) {
        *out_state = CORE_INITIALIZE_ABSENT;
    } else if (item_text(item, digits, sizeof(digits)) && strlen(digits) >= 10 &&
               str_to_u64(digits, &sysid) && sysid != 0) {
        *out_state = CORE_INITIALIZE_DONE;
        *out_sysid = sysid;
    } else {
        *out_state = CORE_INITIALIZE_RUNNING;
    }
}

/* A number, or text that is one. */
static uint64_t position(const json_t *json)
{
    int64_t value;
    return units_json_int(json, NULL, &value) && value > 0 ? (uint64_t)value : 0;
}

uint64_t records_parse_status(const struct records_item *item)
{
    ASSERT(item != NULL);
    json_t *json = item->value == NULL ? NULL : json_read(item->value, item->value_size);
    uint64_t optime = position(json_is_object(json) ? json_object_get(json, "optime") : json);
    json_decref(json);
    return optime;
}

char *records_format_status(uint64_t optime)
{
    ASSERT(optime <= INT64_MAX);
    char *text = NULL;
    int length = asprintf(&text, "{\"optime\":%" PRIu64 "}", optime);
    ASSERT(length > 0);
    return text;
}

uint32_t records_parse_history(const struct records_item *item)
{
    ASSERT(item != NULL);
    json_t *json = item->value == NULL ? NULL : json_read(item->value, item->value_size);
    uint32_t timeline = 0;
    if (json_is_array(json)) {
        size_t count = json_array_size(json);
        const json_t *last = count == 0 ? NULL : json_array_get(json, count - 1);
        uint64_t number = position(json_array_get(last, 0));
        timeline = count == 0 ? 1 : number < UINT32_MAX && number > 0 ? (uint32_t)number + 1 : 0;
    }
    json_decref(json);
    return timeline;
}

/* ---- failover, failsafe, sync ---- */

static void failover_fields(const json_t *json, struct core_failover *failover)
{
    const char *leader = json_text(json, "leader");
    const char *member = json_text(json, "member");
    const json_t *at = json_object_get(json, "scheduled_at");
    bool good =
        (leader == NULL || str_copy(failover->leader, sizeof(failover->leader), leader)) &&
        (member == NULL || str_copy(failover->candidate, sizeof(failover->candidate), member));
    if (good && at != NULL && !json_is_null(at)) {
        good = json_is_string(at) &&
               records_parse_time(json_string_value(at), 0, &failover->scheduled_at);
    }
    if (!good) {
        *failover = (struct core_failover){.version = failover->version};
    }
}

void records_parse_failover(const struct records_item *item, struct core_failover *out_failover)
{
    ASSERT(item != NULL && out_failover != NULL);
    *out_failover = (struct core_failover){.version = item->version};
    json_t *json = item_object(item);
    char text[2 * NAME_SIZE];
    if (json != NULL) {
        failover_fields(json, out_failover);
    } else if (item_text(item, text, sizeof(text)) && strchr(text, ':') != NULL &&
               strpbrk(text, "{}[]\"") == NULL && is_utf8(text)) {
        char *colon = strchr(text, ':'); /* the legacy form leader:member */
        *colon = '\0';
        if (!str_copy(out_failover->leader, NAME_SIZE, text) ||
            !str_copy(out_failover->candidate, NAME_SIZE, colon + 1)) {
            *out_failover = (struct core_failover){.version = item->version};
        }
    }
    json_decref(json);
}

char *records_format_failover(const struct core_failover *failover)
{
    ASSERT(failover != NULL);
    json_t *json = json_object();
    ASSERT(json != NULL);
    if (failover->leader[0] != '\0') {
        json_object_set_new(json, "leader", json_string(failover->leader));
    }
    if (failover->candidate[0] != '\0') {
        json_object_set_new(json, "member", json_string(failover->candidate));
    }
    if (failover->scheduled_at.ms != 0) {
        char at[RECORDS_TIME_SIZE];
        records_format_time(failover->scheduled_at, at);
        json_object_set_new(json, "scheduled_at", json_string(at));
    }
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    ASSERT(text != NULL);
    return text;
}

static bool name_add(struct core_name_list *list, const char *name)
{
    if (list->count == MEMBERS_MAX || name[0] == '\0' ||
        !str_copy(list->name[list->count], NAME_SIZE, name)) {
        return false;
    }
    list->count++;
    return true;
}

uint32_t records_parse_failsafe(const struct records_item *item, struct core_failsafe *out_failsafe,
                                char (*urls)[URL_SIZE])
{
    ASSERT(item != NULL && out_failsafe != NULL);
    *out_failsafe = (struct core_failsafe){.version = item->version};
    uint32_t dropped = 0;
    json_t *json = item_object(item);
    const char *name;
    json_t *url;
    json_object_foreach(json, name, url)
    {
        if (!name_add(&out_failsafe->names, name)) {
            out_failsafe->cut = true;
            dropped++;
        } else if (urls != NULL) {
            char *out = urls[out_failsafe->names.count - 1];
            const char *text = json_string_value(url);
            if (text == NULL || !str_copy(out, URL_SIZE, text)) {
                out[0] = '\0';
            }
        }
    }
    json_decref(json);
    return dropped;
}

void records_parse_sync(const struct records_item *item, struct records_sync *out_sync)
{
    ASSERT(item != NULL && out_sync != NULL);
    *out_sync = (struct records_sync){.version = item->version};
    json_t *json = item_object(item);
    if (text_field(json, "leader", out_sync->leader, sizeof(out_sync->leader))) {
        if (!units_json_int(json_object_get(json, "quorum"), NULL, &out_sync->quorum)) {
            out_sync->quorum = 0;
        }
        const char *names = json_text(json, "sync_standby");
        while (names != NULL && *names != '\0') {
            size_t length = strcspn(names, ",");
            char name[NAME_SIZE];
            if (length < sizeof(name)) {
                memcpy(name, names, length);
                name[length] = '\0';
                (void)name_add(&out_sync->standbys, name); /* beyond the limit: not known */
            }
            names += length + (names[length] == ',' ? 1 : 0);
        }
    }
    json_decref(json);
}

bool records_sync_has(const struct records_sync *sync, const char *name)
{
    ASSERT(sync != NULL && name != NULL);
    for (uint32_t i = 0; i < sync->standbys.count; i++) {
        if (strcasecmp(sync->standbys.name[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- everything ---- */

void records_apply(const struct records_item *item, struct core_cluster *cluster)
{
    ASSERT(item != NULL && cluster != NULL);
    switch (records_kind(item->key, NULL)) {
    case RECORDS_LEASE:
        records_parse_lease(item, &cluster->lease);
        break;
    case RECORDS_LEADER:
        records_parse_leader(item, &cluster->leader);
        break;
    case RECORDS_INITIALIZE:
        records_parse_initialize(item, &cluster->initialize, &cluster->sysid);
        cluster->initialize_version = item->version;
        break;
    case RECORDS_STATUS:
        cluster->optime = records_parse_status(item);
        break;
    case RECORDS_HISTORY:
        cluster->history_timeline = records_parse_history(item);
        break;
    case RECORDS_FAILOVER:
        records_parse_failover(item, &cluster->failover);
        break;
    case RECORDS_FAILSAFE:
        (void)records_parse_failsafe(item, &cluster->failsafe, NULL); /* snapshot counts these */
        break;
    case RECORDS_CONFIG:
    case RECORDS_SYNC:
    case RECORDS_MEMBER:
    case RECORDS_OTHER:
    case RECORDS_KIND_COUNT:
        break;
    }
}

void records_apply_config(const struct records_item *item, const struct records_context *context,
                          struct core_cluster *cluster)
{
    ASSERT(item != NULL && context != NULL && cluster != NULL);
    cluster->config_version = item->version;
    json_t *config = item_object(item);
    dynconfig_settings(config, item->version, context->local_postgresql, context->last,
                       &cluster->settings, context->warnings);
    json_decref(config);
}

static void snapshot_member(const struct records_item *item, const char *name,
                            struct records_context *context, struct core_cluster *cluster)
{
    ASSERT(name != NULL); /* the kind RECORDS_MEMBER has one */
    if (cluster->member_count == MEMBERS_MAX || strlen(name) >= NAME_SIZE) {
        context->dropped++;
        return;
    }
    struct member_info member;
    member_parse(name, item->value, item->value_size, item->version, &member);
    member_to_core(&member, &cluster->member[cluster->member_count]);
    if (context->members != NULL) {
        context->members[context->member_count++] = member;
    }
    cluster->member_count++;
}

void records_cluster_from_snapshot(const struct records_item *items, size_t count,
                                   struct records_context *context, struct core_cluster *cluster)
{
    ASSERT((items != NULL || count == 0) && context != NULL && cluster != NULL);
    static const char *const keys[] = {"lease",   "leader",   "initialize", "status",
                                       "history", "failover", "failsafe"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        records_apply(&(struct records_item){.key = keys[i]}, cluster);
    }
    cluster->member_count = 0;
    context->member_count = 0;
    context->dropped = 0;
    bool configured = false;
    for (size_t i = 0; i < count; i++) {
        const char *name = NULL;
        enum records_kind kind = records_kind(items[i].key, &name);
        if (kind == RECORDS_MEMBER) {
            snapshot_member(&items[i], name, context, cluster);
        } else if (kind == RECORDS_CONFIG) {
            records_apply_config(&items[i], context, cluster);
            configured = true;
        } else if (kind == RECORDS_FAILSAFE) {
            context->dropped += records_parse_failsafe(&items[i], &cluster->failsafe, NULL);
        } else {
            records_apply(&items[i], cluster);
        }
    }
    if (!configured) {
        records_apply_config(&(struct records_item){.key = "config"}, context, cluster);
    }
}
