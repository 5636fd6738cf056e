/* Documents are put together with jansson in the order in which the contract lists their fields;
 * what does not apply is left out, what a peer left out is unknown. */
#include "codec/status.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

#define PROMISE_TTL_MAX_MS 86400000

/* ---- writing ---- */

static void put(json_t *object, const char *key, json_t *value)
{
    int rc = json_object_set_new(object, key, value);
    ASSERT(rc == 0); /* only exhaustion of the heap, which aborts */
}

/* Text that is not UTF-8 (a server's, in its own encoding) is shown with '?' for what is foreign.
 */
static json_t *text_of(const char *text)
{
    json_t *string = json_string(text);
    if (string == NULL) {
        char ascii[1024];
        str_copy_cut(ascii, sizeof ascii, text);
        for (char *c = ascii; *c != '\0'; c++) {
            if ((unsigned char)*c >= 0x80) {
                *c = '?';
            }
        }
        string = json_string(ascii);
    }
    return string;
}

static json_t *integer(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static void put_text(json_t *object, const char *key, const char *text)
{
    put(object, key, text_of(text));
}

static void put_flag(json_t *object, const char *key, bool flag)
{
    if (flag) {
        put(object, key, json_true());
    }
}

const char *status_state(const struct status_postgres *postgres)
{
    bool silent = !postgres->answered && str_equal(postgres->state, "running");
    return silent ? "unknown" : postgres->state;
}

static json_t *xlog_of(const struct status_postgres *postgres)
{
    json_t *xlog = json_object();
    if (str_equal(postgres->role, "primary")) {
        put(xlog, "location", integer(postgres->flush_lsn));
        return xlog;
    }
    uint64_t received =
        postgres->received_lsn != 0 ? postgres->received_lsn : postgres->replayed_lsn;
    put(xlog, "received_location", integer(received));
    put(xlog, "replayed_location", integer(postgres->replayed_lsn));
    if (postgres->replayed_timestamp[0] != '\0') {
        put_text(xlog, "replayed_timestamp", postgres->replayed_timestamp);
    } else {
        put(xlog, "replayed_timestamp", json_null());
    }
    put(xlog, "paused", json_boolean(postgres->replay_paused));
    return xlog;
}

/* An object or an array given as text; anything else, and an empty one, is left out. */
static bool put_json(json_t *out, const char *key, const char *text, json_type type)
{
    if (text == NULL || text[0] == '\0') {
        return false;
    }
    json_t *value = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (value == NULL || json_typeof(value) != type ||
        (json_object_size(value) == 0 && json_array_size(value) == 0)) {
        json_decref(value);
        return false;
    }
    put(out, key, value);
    return true;
}

/* What only a server that answers can tell. */
static void put_answered(json_t *out, const struct status_document *document)
{
    const struct status_postgres *postgres = document->postgres;
    bool primary = str_equal(postgres->role, "primary");
    if (postgres->server_version != 0) {
        put(out, "server_version", json_integer(postgres->server_version));
    }
    put(out, "xlog", xlog_of(postgres));
    put_flag(out, "sync_standby", document->sync_standby && !primary);
    put_flag(out, "quorum_standby", document->quorum_standby && !primary);
    if (postgres->timeline != 0) {
        put(out, "timeline", json_integer(postgres->timeline));
    }
    if (!primary && postgres->replication_state[0] != '\0') {
        put_text(out, "replication_state", postgres->replication_state);
    }
    (void)put_json(out, "replication", postgres->replication_json, JSON_ARRAY); /* none, or away */
}

json_t *status_write(const struct status_document *document)
{
    const struct status_postgres *postgres = document->postgres;
    json_t *out = json_object();
    put_text(out, "state", status_state(postgres));
    if (postgres->answered && postgres->postmaster_start_time[0] != '\0') {
        put_text(out, "postmaster_start_time", postgres->postmaster_start_time);
    }
    put_text(out, "role", document->show_role != NULL ? document->show_role : postgres->role);
    if (postgres->answered) {
        put_answered(out, document);
    }
    put_flag(out, "pause", document->pause);
    put_flag(out, "cluster_unlocked", document->cluster_unlocked);
    put_flag(out, "failsafe_mode_is_active", document->failsafe_active);
    put(out, "dcs_last_seen", json_integer(document->dcs_last_seen_s));
    (void)put_json(out, "tags", document->tags_json, JSON_OBJECT); /* absent when there are none */
    if (postgres->sysid != 0) {
        char sysid[24];
        bool fits = str_format(sysid, sizeof sysid, "%llu", (unsigned long long)postgres->sysid);
        ASSERT(fits);
        put_text(out, "database_system_identifier", sysid);
    }
    json_t *pending = json_object();
    if (put_json(pending, "pending_restart_reason", postgres->pending_restart_json, JSON_OBJECT)) {
        put(out, "pending_restart", json_true());
        (void)json_object_update(out, pending); /* one key that is not there yet */
    }
    json_decref(pending);
    json_t *self = json_object();
    put_text(self, "version", document->version);
    put_text(self, "scope", document->scope);
    put_text(self, "name", document->name);
    put(out, "patroni", self);
    put_flag(out, "watchdog_failed", document->watchdog_failed);
    return out;
}

/* ---- reading ---- */

static uint64_t position(const json_t *xlog, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(xlog, key));
    return value > 0 ? (uint64_t)value : 0;
}

/* As truth values go in YAML tags: absent, false, 0 and "" are no. */
static bool truthy(const json_t *value)
{
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        return text[0] != '\0' && strcasecmp(text, "false") != 0 && strcasecmp(text, "off") != 0 &&
               strcasecmp(text, "no") != 0 && !str_equal(text, "0");
    }
    return json_is_true(value) || (json_is_number(value) && json_number_value(value) != 0);
}

static bool priority_of(const json_t *value, int64_t *out_priority)
{
    if (json_is_integer(value)) {
        *out_priority = json_integer_value(value);
        return true;
    }
    return json_is_string(value) && str_to_i64(json_string_value(value), out_priority);
}

static void read_tags(const json_t *tags, struct core_peer_status *status)
{
    const json_t *nofailover = json_object_get(tags, "nofailover");
    int64_t priority = 1;
    bool given = priority_of(json_object_get(tags, "failover_priority"), &priority);
    bool decided = nofailover != NULL && !json_is_null(nofailover);
    status->nofailover = decided ? truthy(nofailover) : given && priority <= 0;
    if (status->nofailover) {
        priority = 0;
    }
    priority = priority > INT32_MAX ? INT32_MAX : priority;
    status->failover_priority = priority < 0 ? 0 : (int32_t)priority;
}

static void read_position(const json_t *document, struct core_peer_status *status)
{
    const json_t *xlog = json_object_get(document, "xlog");
    xlog = xlog != NULL ? xlog : json_object_get(document, "wal");
    if (!json_is_object(xlog)) {
        return;
    }
    const char *role = json_string_value(json_object_get(document, "role"));
    uint64_t location = position(xlog, "location");
    uint64_t received = position(xlog, "received_location");
    uint64_t replayed = position(xlog, "replayed_location");
    bool named = role != NULL && (str_equal(role, "primary") || str_equal(role, "master"));
    status->reachable = TRI_YES;
    status->primary = location != 0 || named;
    status->lsn = received > replayed ? received : replayed;
    status->lsn = location > status->lsn ? location : status->lsn;
}

void status_parse(const char *body, size_t size, struct core_peer_status *out_status)
{
    out_status->reachable = TRI_NO;
    out_status->primary = false;
    out_status->nofailover = false;
    out_status->failover_priority = 1;
    out_status->timeline = 0;
    out_status->lsn = 0;
    json_t *document = json_loadb(body, size, 0, NULL);
    if (json_is_object(document)) {
        read_position(document, out_status);
        read_tags(json_object_get(document, "tags"), out_status);
        json_int_t timeline = json_integer_value(json_object_get(document, "timeline"));
        out_status->timeline = timeline > 0 && timeline <= UINT32_MAX ? (uint32_t)timeline : 0;
        /* A node whose watchdog is required and unusable refuses to promote. */
        out_status->nofailover |= truthy(json_object_get(document, "watchdog_failed"));
    }
    json_decref(document);
}

/* ---- promises ---- */

static char *text_and_free(json_t *object)
{
    char *text = json_dumps(object, STATUS_JSON_FLAGS);
    ASSERT(text != NULL);
    json_decref(object);
    return text;
}

char *status_promise_ask(const struct core_promise_request *request)
{
    json_t *object = json_object();
    put_text(object, "holder", request->holder);
    put(object, "epoch", integer(request->epoch));
    put(object, "ttl_ms", json_integer(request->ttl_ms));
    return text_and_free(object);
}

static enum err read_ask(const json_t *object, struct core_promise_request *request,
                         struct err_detail *detail)
{
    const char *holder = json_string_value(json_object_get(object, "holder"));
    json_int_t epoch = json_integer_value(json_object_get(object, "epoch"));
    json_int_t ttl_ms = json_integer_value(json_object_get(object, "ttl_ms"));
    if (holder == NULL || holder[0] == '\0' || strlen(holder) >= NAME_SIZE) {
        return err_set(detail, ERR_INVALID, "holder is missing, empty or too long");
    }
    if (epoch <= 0) {
        return err_set(detail, ERR_INVALID, "epoch is missing or not positive");
    }
    if (ttl_ms <= 0 || ttl_ms > PROMISE_TTL_MAX_MS) {
        return err_set(detail, ERR_INVALID, "ttl_ms is missing or out of range");
    }
    str_copy_cut(request->holder, sizeof request->holder, holder);
    request->epoch = (uint64_t)epoch;
    request->ttl_ms = ttl_ms;
    return ERR_OK;
}

enum err status_promise_read_ask(const char *body, size_t size,
                                 struct core_promise_request *request, struct err_detail *detail)
{
    json_t *object = json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL);
    enum err err = json_is_object(object) ? read_ask(object, request, detail)
                                          : err_set(detail, ERR_INVALID, "not a JSON object");
    json_decref(object);
    return err;
}

char *status_promise_answer(const struct status_promise_answer *answer)
{
    json_t *object = json_object();
    put(object, "granted", json_boolean(answer->granted));
    put_text(object, "name", answer->name);
    return text_and_free(object);
}

enum err status_promise_read_answer(const char *body, size_t size,
                                    struct status_promise_answer *out_answer)
{
    json_t *object = json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL);
    const json_t *granted = json_object_get(object, "granted");
    const char *name = json_string_value(json_object_get(object, "name"));
    bool good = json_is_boolean(granted) && name != NULL && name[0] != '\0' &&
                strlen(name) < sizeof out_answer->name;
    if (good) {
        out_answer->granted = json_is_true(granted);
        str_copy_cut(out_answer->name, sizeof out_answer->name, name);
    }
    json_decref(object);
    return good ? ERR_OK : ERR_INVALID;
}
