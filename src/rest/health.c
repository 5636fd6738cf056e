/* The conditions of compat/rest.md section 3, in its order: the first matching part of the path decides.
 */
#include "rest/health.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "codec/json.h"
#include "codec/units.h"

enum { YES = 200, NO = 503 };

static int code_of(bool healthy)
{
    return healthy ? YES : NO;
}

static bool contains(const char *path, const char *part)
{
    return strstr(path, part) != NULL;
}

bool health_cluster_valid(const struct rest_view *view, struct mono now)
{
    return view->cluster != NULL &&
           mono_before(now, mono_add(view->cluster_seen_at, view->cluster->settings.ttl_ms));
}

bool health_paused(const struct rest_view *view)
{
    return view->cluster != NULL && view->cluster->settings.pause;
}

const char *health_role(const struct rest_view *view)
{
    bool leads_standbys = view->standby_cluster && view->is_leader && view->postgres.answered &&
                          str_equal(view->postgres.role, "replica");
    return leads_standbys ? "standby_leader" : view->postgres.role;
}

static bool listed(const struct rest_view *view, const char *name, struct mono now)
{
    return view->synchronous_mode && health_cluster_valid(view, now) &&
           str_equal(view->postgres.role, "replica") && records_sync_has(&view->sync, name);
}

bool health_sync_standby(const struct rest_view *view, const char *name, struct mono now)
{
    return !view->quorum_mode && listed(view, name, now);
}

bool health_quorum_standby(const struct rest_view *view, const char *name, struct mono now)
{
    return view->quorum_mode && listed(view, name, now);
}

/* How far the leader is, as far as this node knows; 0: not at all. */
static uint64_t leader_position(const struct rest_view *view, struct mono now)
{
    uint64_t optime = health_cluster_valid(view, now) ? view->cluster->optime : 0;
    uint64_t heard = view->postgres.answered ? view->postgres.latest_end_lsn : 0;
    return optime > heard ? optime : heard;
}

/* position > reached + lag, without running over. */
static bool behind(uint64_t position, uint64_t reached, int64_t lag)
{
    if (position == 0) {
        return false;
    }
    if (lag < 0) {
        return position > reached || reached - position < 0 - (uint64_t)lag;
    }
    return position > reached && position - reached > (uint64_t)lag;
}

static bool replica_healthy(const struct rest_view *view, const struct health_query *query,
                            struct mono now)
{
    int64_t lag = INT64_MAX;
    if (query->lag != NULL && !units_to_int(query->lag, "B", &lag)) {
        lag = INT64_MAX;
    }
    uint64_t replayed = view->postgres.answered ? view->postgres.replayed_lsn : 0;
    return !view->noloadbalance && !behind(leader_position(view, now), replayed, lag) &&
           str_equal(health_role(view), "replica") &&
           str_equal(status_state(&view->postgres), "running") &&
           (query->replication_state == NULL ||
            str_equal(query->replication_state, view->postgres.replication_state));
}

struct codes {
    int leader;
    int primary;
    int standby_leader;
    int replica;
};

static struct codes codes_of(const struct rest_view *view, const struct health_query *query,
                             struct mono now)
{
    const char *role = health_role(view);
    bool primary = str_equal(role, "primary");
    bool standby_leader = str_equal(role, "standby_leader");
    struct codes codes = {NO, NO, NO, code_of(replica_healthy(view, query, now))};
    if (!health_cluster_valid(view, now) && health_paused(view)) {
        codes.leader = code_of(primary || standby_leader);
        codes.primary = code_of(primary);
        codes.standby_leader = code_of(standby_leader);
    } else if (view->is_leader && view->standby_cluster) {
        codes.leader = YES;
        codes.standby_leader = code_of(standby_leader || str_equal(role, "replica"));
        codes.replica = NO;
    } else if (view->is_leader) {
        codes.leader = YES;
        codes.primary = YES;
    }
    return codes;
}

static bool either(const char *path, const char *name, const char *other_name)
{
    return str_equal(path, name) || str_equal(path, other_name);
}

/* Paths that need the cluster, by their whole text. */
static int exact_code(const struct rest_view *view, const char *name, const char *path,
                      const struct codes *codes, struct mono now)
{
    if (!health_cluster_valid(view, now)) {
        return NO;
    }
    bool sync = health_sync_standby(view, name, now);
    bool quorum = health_quorum_standby(view, name, now);
    bool leads = codes->primary == YES || codes->standby_leader == YES;
    if (either(path, "/sync", "/synchronous")) {
        return sync ? codes->replica : NO;
    }
    if (str_equal(path, "/quorum")) {
        return quorum ? codes->replica : NO;
    }
    if (either(path, "/async", "/asynchronous")) {
        return sync || quorum ? NO : codes->replica;
    }
    if (str_equal(path, "/read-only-quorum")) {
        return leads ? YES : quorum ? codes->replica : NO;
    }
    if (either(path, "/read-only-sync", "/read-only-synchronous")) {
        return leads ? YES : sync ? codes->replica : NO;
    }
    return NO;
}

/* Every tag asked for has the value asked for. */
static bool tags_match(const struct rest_view *view, const struct health_query *query)
{
    if (query->tag_count == 0) {
        return true;
    }
    const char *text = view->tags_json != NULL ? view->tags_json : "{}";
    json_t *tags = json_read_object(text, strlen(text));
    bool match = true;
    for (uint32_t i = 0; i < query->tag_count && match; i++) {
        const json_t *tag = json_object_get(tags, query->tags[i].name);
        const char *string = json_string_value(tag);
        if (string != NULL) {
            match = str_equal(string, query->tags[i].value);
            continue;
        }
        char *dump = tag != NULL ? json_dumps(tag, STATUS_JSON_FLAGS) : NULL;
        match = dump != NULL && strcasecmp(dump, query->tags[i].value) == 0;
        free(dump);
    }
    json_decref(tags);
    return match;
}

int health_code(const struct rest_view *view, const char *name, const struct health_query *query,
                struct mono now)
{
    const char *path = str_equal(query->path, "/") ? "/primary" : query->path;
    struct codes codes = codes_of(view, query, now);
    int code;
    if (contains(path, "standby_leader") || contains(path, "standby-leader")) {
        return codes.standby_leader;
    }
    if (contains(path, "leader")) {
        return codes.leader;
    }
    if (contains(path, "master") || contains(path, "primary") || contains(path, "read-write")) {
        return codes.primary;
    }
    if (contains(path, "replica")) {
        code = codes.replica;
    } else if (contains(path, "read-only") && !contains(path, "sync") &&
               !contains(path, "quorum")) {
        code = codes.primary == YES || codes.standby_leader == YES ? YES : codes.replica;
    } else if (contains(path, "health")) {
        code = code_of(str_equal(status_state(&view->postgres), "running"));
    } else {
        code = exact_code(view, name, path, &codes, now);
    }
    return code == YES && !tags_match(view, query) ? NO : code;
}

int health_liveness(const struct rest_view *view, struct mono now)
{
    if (health_paused(view)) {
        return YES;
    }
    int64_t ttl_ms =
        view->cluster != NULL ? view->cluster->settings.ttl_ms : DYNCONFIG_TTL_DEFAULT_MS;
    bool serving = view->postgres.process && str_equal(view->postgres.role, "primary");
    return code_of(mono_before(now, mono_add(view->next_step_at, serving ? ttl_ms : 2 * ttl_ms)));
}

int health_readiness(const struct rest_view *view, const struct health_query *query,
                     struct mono now)
{
    const struct status_postgres *postgres = &view->postgres;
    if (view->is_leader) {
        return YES;
    }
    if (!postgres->answered || !str_equal(postgres->state, "running") ||
        !str_equal(postgres->replication_state, "streaming")) {
        return NO;
    }
    if (!health_cluster_valid(view, now) && postgres->latest_end_lsn == 0) {
        return code_of(view->failsafe_active);
    }
    int64_t lag = view->cluster != NULL ? view->cluster->settings.maximum_lag_on_failover : 1048576;
    int64_t asked;
    if (query->lag != NULL && units_to_int(query->lag, "B", &asked)) {
        lag = asked;
    }
    bool write = query->mode != NULL && str_equal(query->mode, "write");
    uint64_t reached = write ? postgres->received_lsn : postgres->replayed_lsn;
    return code_of(!behind(leader_position(view, now), reached, lag));
}
