/* A foreign text becomes fields one by one: whatever is missing, mistyped or too long is simply not
 * known of that member. */
#include "codec/members.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/json.h"
#include "codec/units.h"

bool member_url_host(const char *url, char *out_host, size_t out_size, uint16_t *out_port)
{
    ASSERT(url != NULL && out_host != NULL && out_port != NULL);
    const char *at = strstr(url, "://");
    if (at == NULL || strncmp(url, "postgres", 8) != 0) {
        return false;
    }
    at += 3;
    size_t length = strcspn(at, "/?");
    const char *end = at + length;
    const char *credentials = memrchr(at, '@', length);
    if (credentials != NULL) {
        at = credentials + 1;
    }
    const char *host = at;
    const char *host_end = memchr(at, ':', (size_t)(end - at));
    if (*at == '[') {
        host++;
        host_end = memchr(at, ']', (size_t)(end - at));
        if (host_end == NULL) {
            return false;
        }
        at = host_end + 1;
    } else {
        host_end = host_end == NULL ? end : host_end;
        at = host_end;
    }
    uint64_t port = 5432;
    char digits[8];
    if (*at == ':' && at + 1 < end) {
        size_t count = (size_t)(end - at - 1);
        if (count >= sizeof(digits)) {
            return false;
        }
        memcpy(digits, at + 1, count);
        digits[count] = '\0';
        if (!str_to_u64(digits, &port) || port == 0 || port > UINT16_MAX) {
            return false;
        }
    }
    size_t host_length = (size_t)(host_end - host);
    if (host_length == 0 || host_length >= out_size) {
        return false;
    }
    memcpy(out_host, host, host_length);
    out_host[host_length] = '\0';
    *out_port = (uint16_t)port;
    return true;
}

json_t *member_json(const char *value, size_t size)
{
    json_t *json = value == NULL ? NULL : json_read_object(value, size);
    if (json == NULL) {
        json = json_object();
        ASSERT(json != NULL);
    }
    return json;
}

static void take_text(const json_t *json, const char *key, char *out, size_t out_size)
{
    const char *text = json_text(json, key);
    if (text == NULL || !str_copy(out, out_size, text)) {
        out[0] = '\0';
    }
}

static uint64_t take_u64(const json_t *json, const char *key)
{
    int64_t value;
    bool good = units_json_int(json_object_get(json, key), NULL, &value) && value > 0;
    return good ? (uint64_t)value : 0;
}

static bool take_bool(const json_t *json, const char *key)
{
    bool value;
    return units_json_bool(json_object_get(json, key), &value) && value;
}

void member_tags(const json_t *tags, struct member_info *member)
{
    ASSERT(member != NULL);
    member->failover_priority = 1;
    int64_t priority;
    if (units_json_int(json_object_get(tags, "failover_priority"), NULL, &priority)) {
        int64_t low = priority < INT32_MIN ? INT32_MIN : priority;
        member->failover_priority = (int32_t)(low > INT32_MAX ? INT32_MAX : low);
    }
    member->nofailover = take_bool(tags, "nofailover") || member->failover_priority <= 0;
    member->nosync = take_bool(tags, "nosync");
    member->noloadbalance = take_bool(tags, "noloadbalance");
    member->clonefrom = take_bool(tags, "clonefrom");
    member->nostream = take_bool(tags, "nostream");
    take_text(tags, "replicatefrom", member->replicatefrom, sizeof(member->replicatefrom));
}

/* A string that starts with "postgres" is a URL with application_name = api_url (dcs.md 2). */
static void parse_legacy(const char *value, size_t size, struct member_info *member)
{
    char url[2 * URL_SIZE];
    json_t *utf8 = json_stringn(value, size);
    json_decref(utf8);
    if (size >= sizeof(url) || utf8 == NULL) {
        return;
    }
    memcpy(url, value, size);
    url[size] = '\0';
    char *query = strchr(url, '?');
    if (query != NULL) {
        *query = '\0';
        const char *api = strstr(query + 1, "application_name=");
        if (api != NULL) {
            api += strlen("application_name=");
            size_t length = strcspn(api, "&");
            if (length < sizeof(member->api_url)) {
                memcpy(member->api_url, api, length);
                member->api_url[length] = '\0';
            }
        }
    }
    if (!str_copy(member->conn_url, sizeof(member->conn_url), url)) {
        member->conn_url[0] = '\0';
    }
}

static void parse_fields(const json_t *json, struct member_info *m)
{
    take_text(json, "conn_url", m->conn_url, sizeof(m->conn_url));
    take_text(json, "api_url", m->api_url, sizeof(m->api_url));
    take_text(json, "proxy_url", m->proxy_url, sizeof(m->proxy_url));
    take_text(json, "state", m->state, sizeof(m->state));
    take_text(json, "role", m->role, sizeof(m->role));
    if (str_equal(m->role, "master")) { /* before 4.0 */
        str_copy_cut(m->role, sizeof(m->role), "primary");
    }
    take_text(json, "replication_state", m->replication_state, sizeof(m->replication_state));
    take_text(json, "version", m->agent_version, sizeof(m->agent_version));
    m->xlog_location = take_u64(json, "xlog_location");
    m->receive_lsn = take_u64(json, "receive_lsn");
    m->replay_lsn = take_u64(json, "replay_lsn");
    uint64_t timeline = take_u64(json, "timeline");
    m->timeline = timeline <= UINT32_MAX ? (uint32_t)timeline : 0;
    m->checkpoint_pending = json_is_false(json_object_get(json, "checkpoint_after_promote"));
    m->pending_restart = take_bool(json, "pending_restart");
    m->pause = take_bool(json, "pause");
    member_tags(json_object_get(json, "tags"), m);
}

void member_parse(const char *name, const char *value, size_t size, uint64_t key_version,
                  struct member_info *out_member)
{
    ASSERT(name != NULL && out_member != NULL);
    struct member_info *m = out_member;
    *m = (struct member_info){.key_version = key_version, .failover_priority = 1};
    str_copy_cut(m->name, sizeof(m->name), name);
    if (value == NULL) {
        return;
    }
    if (size > 8 && memcmp(value, "postgres", 8) == 0) {
        parse_legacy(value, size, m);
    } else {
        json_t *json = member_json(value, size);
        parse_fields(json, m);
        json_decref(json);
    }
    if (!member_url_host(m->conn_url, m->host, sizeof(m->host), &m->port)) {
        m->host[0] = '\0';
        m->port = 0;
    }
}

bool member_same(const struct member_info *a, const struct member_info *b)
{
    return str_equal(a->name, b->name) && str_equal(a->conn_url, b->conn_url) &&
           str_equal(a->api_url, b->api_url) && str_equal(a->proxy_url, b->proxy_url) &&
           str_equal(a->host, b->host) && a->port == b->port && str_equal(a->state, b->state) &&
           str_equal(a->role, b->role) && str_equal(a->replication_state, b->replication_state) &&
           str_equal(a->agent_version, b->agent_version) && a->xlog_location == b->xlog_location &&
           a->receive_lsn == b->receive_lsn && a->replay_lsn == b->replay_lsn &&
           a->timeline == b->timeline && a->checkpoint_pending == b->checkpoint_pending &&
           a->pending_restart == b->pending_restart && a->pause == b->pause &&
           a->nofailover == b->nofailover && a->nosync == b->nosync &&
           a->noloadbalance == b->noloadbalance && a->clonefrom == b->clonefrom &&
           a->nostream == b->nostream && a->failover_priority == b->failover_priority &&
           str_equal(a->replicatefrom, b->replicatefrom);
}

void member_to_core(const struct member_info *member, struct core_member *out_member)
{
    ASSERT(member != NULL && out_member != NULL);
    *out_member = (struct core_member){
        .has_api_url = member->api_url[0] != '\0',
        .has_conn_url = member->conn_url[0] != '\0',
        .running = str_equal(member->state, "running") || str_equal(member->state, "streaming"),
        .nofailover = member->nofailover,
        .checkpoint_pending = member->checkpoint_pending,
    };
    str_copy_cut(out_member->name, sizeof(out_member->name), member->name);
}

static void put_text(json_t *json, const char *key, const char *text)
{
    if (text[0] != '\0') {
        json_object_set_new(json, key, json_string(text));
    }
}

static void put_number(json_t *json, const char *key, uint64_t value)
{
    if (value != 0) {
        json_object_set_new(json, key, json_integer((json_int_t)value));
    }
}

static void put_true(json_t *json, const char *key, bool value)
{
    if (value) {
        json_object_set_new(json, key, json_true());
    }
}

char *member_format(const struct member_info *member, const json_t *tags)
{
    ASSERT(member != NULL);
    json_t *json = json_object();
    ASSERT(json != NULL);
    put_text(json, "conn_url", member->conn_url);
    put_text(json, "api_url", member->api_url);
    put_text(json, "state", member->state);
    put_text(json, "role", member->role);
    put_text(json, "version", member->agent_version);
    put_text(json, "proxy_url", member->proxy_url);
    if (member->checkpoint_pending) {
        json_object_set_new(json, "checkpoint_after_promote", json_false());
    }
    if (json_object_size(tags) > 0) {
        json_object_set_new(json, "tags", json_deep_copy(tags));
    }
    put_true(json, "pending_restart", member->pending_restart);
    put_number(json, "xlog_location", member->xlog_location);
    put_number(json, "replay_lsn", member->replay_lsn);
    put_number(json, "receive_lsn", member->receive_lsn);
    put_text(json, "replication_state", member->replication_state);
    put_number(json, "timeline", member->timeline);
    put_true(json, "pause", member->pause);
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    ASSERT(text != NULL);
    return text;
}
