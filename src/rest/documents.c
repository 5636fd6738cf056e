/* The documents that show the view: field order and names as in compat/rest.md. */
#include "rest/internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/json.h"
#include "rest/health.h"

static void put(json_t *object, const char *key, json_t *value)
{
    /* Text that is not UTF-8 gives no value: it is left out. */
    if (value != NULL) {
        int rc = json_object_set_new(object, key, value);
        ASSERT(rc == 0);
    }
}

json_t *document_patroni(struct rest *rest, const struct rest_view *view)
{
    struct mono now = mono_now();
    bool valid = health_cluster_valid(view, now);
    struct status_document document = {
        .postgres = &view->postgres,
        .scope = rest->scope,
        .name = rest->name,
        .version = rest->settings->version,
        .tags_json = view->tags_json,
        .show_role = health_role(view),
        .sync_standby = health_sync_standby(view, rest->name, now),
        .quorum_standby = health_quorum_standby(view, rest->name, now),
        .pause = health_paused(view),
        .cluster_unlocked = !valid || view->cluster->leader.name[0] == '\0',
        .failsafe_active = view->failsafe_active,
        .watchdog_failed = view->watchdog_failed,
        .dcs_last_seen_s = view->cluster_seen_wall_s,
    };
    return status_write(&document);
}

/* ISO 8601, the fraction left out when it is zero. */
static json_t *time_document(struct wall at)
{
    char text[RECORDS_TIME_SIZE];
    records_format_time(at, text);
    char *fraction = strstr(text, ".000000");
    if (fraction != NULL) {
        size_t size = strlen(".000000");
        memmove(fraction, fraction + size, strlen(fraction + size) + 1);
    }
    return json_string(text);
}

/* ---- GET /cluster ---- */

static const char *member_role(const struct rest_view *view, const char *name)
{
    if (str_equal(name, view->cluster->leader.name)) {
        return view->standby_cluster ? "standby_leader" : "leader";
    }
    if (view->synchronous_mode && records_sync_has(&view->sync, name)) {
        return view->quorum_mode ? "quorum_standby" : "sync_standby";
    }
    return "replica";
}

static void put_position(json_t *out, const char *prefix, uint64_t lsn, uint64_t optime)
{
    char lsn_key[16];
    char lag_key[16];
    bool fits = str_format(lsn_key, sizeof lsn_key, "%slsn", prefix) &&
                str_format(lag_key, sizeof lag_key, "%slag", prefix);
    ASSERT(fits);
    if (lsn == 0) {
        put(out, lsn_key, json_string("unknown"));
        put(out, lag_key, json_string("unknown"));
        return;
    }
    char text[LSN_TEXT_SIZE];
    str_from_lsn(text, lsn);
    put(out, lag_key, json_integer(optime > lsn ? (json_int_t)(optime - lsn) : 0));
    put(out, lsn_key, json_string(text));
}

static json_t *member_document(const struct rest_view *view, const struct rest_member *member)
{
    static const char *const copied[] = {"timeline", "pending_restart", "pending_restart_reason",
                                         "scheduled_restart", "tags"};
    const struct member_info *info = &member->info;
    const char *role = member_role(view, info->name);
    bool leads = str_equal(info->name, view->cluster->leader.name);
    bool shows_replication = !str_equal(role, "leader") && info->replication_state[0] != '\0';
    json_t *out = json_object();
    put(out, "name", json_string(info->name));
    put(out, "role", json_string(role));
    put(out, "state", json_string(shows_replication ? info->replication_state : info->state));
    put(out, "api_url", json_string(info->api_url));
    if (info->host[0] != '\0') {
        put(out, "host", json_string(info->host));
        put(out, "port", json_integer(info->port));
    }
    const char *text = member->json != NULL ? member->json : "{}";
    json_t *key = member_json(text, strlen(text));
    for (size_t i = 0; i < sizeof copied / sizeof copied[0]; i++) {
        json_t *value = json_object_get(key, copied[i]);
        if (value != NULL && !json_is_null(value)) {
            put(out, copied[i], json_incref(value));
        }
    }
    json_decref(key);
    if (!leads) {
        uint64_t optime = view->cluster->optime;
        put_position(out, "receive_", info->receive_lsn, optime);
        put_position(out, "replay_", info->replay_lsn, optime);
        put_position(out, "", info->xlog_location, optime);
    }
    return out;
}

json_t *document_cluster(struct rest *rest, const struct rest_view *view)
{
    const struct core_failover *failover = &view->cluster->failover;
    json_t *out = json_object();
    json_t *members = json_array();
    for (uint32_t i = 0; i < view->member_count; i++) {
        int rc = json_array_append_new(members, member_document(view, &view->members[i]));
        ASSERT(rc == 0);
    }
    put(out, "members", members);
    if (health_paused(view)) {
        put(out, "pause", json_true());
    }
    if (failover->scheduled_at.ms != 0) {
        json_t *scheduled = json_object();
        put(scheduled, "at", time_document(failover->scheduled_at));
        if (failover->leader[0] != '\0') {
            put(scheduled, "from", json_string(failover->leader));
        }
        if (failover->candidate[0] != '\0') {
            put(scheduled, "to", json_string(failover->candidate));
        }
        put(out, "scheduled_switchover", scheduled);
    }
    put(out, "scope", json_string(rest->scope));
    return out;
}

/* ---- GET /holdfast/plans ---- */

json_t *document_plans(struct rest *rest)
{
    json_t *out = json_array();
    if (rest->callbacks.plans == NULL) {
        return out;
    }
    struct rest_plan *plans = calloc(REST_PLANS_MAX, sizeof *plans);
    ASSERT(plans != NULL); /* heap exhaustion aborts */
    uint32_t count = rest->callbacks.plans(rest->arg, plans);
    ASSERT(count <= REST_PLANS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        json_t *plan = json_object();
        put(plan, "time", time_document(plans[i].at));
        put(plan, "reason", json_string(plans[i].text));
        int rc = json_array_append_new(out, plan);
        ASSERT(rc == 0);
    }
    free(plans);
    return out;
}

/* ---- GET /metrics ---- */

struct metrics {
    FILE *out;
    char labels[2 * (2 * NAME_SIZE) + 32];
};

static void label(char *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\' || *text == '"' || *text == '\n') {
            *out++ = '\\';
        }
        *out++ = *text == '\n' ? 'n' : *text;
    }
    *out = '\0';
}

static void metric(struct metrics *m, const char *name, const char *type, const char *help,
                   const char *value)
{
    (void)fprintf(m->out, "# HELP patroni_%s %s\n# TYPE patroni_%s %s\npatroni_%s%s %s\n", name,
                  help, name, type, name, m->labels, value);
}

static void metric_number(struct metrics *m, const char *name, const char *type, const char *help,
                          uint64_t value)
{
    char text[24];
    bool fits = str_format(text, sizeof text, "%" PRIu64, value);
    ASSERT(fits);
    metric(m, name, type, help, text);
}

static void metric_flag(struct metrics *m, const char *name, const char *help, bool value)
{
    metric(m, name, "gauge", help, value ? "1" : "0");
}

static void metric_time(struct metrics *m, const char *name, const char *help, const char *time)
{
    struct wall at = {0};
    char text[32] = "0";
    if (time[0] != '\0' && records_parse_time(time, 0, &at)) {
        bool fits =
            str_format(text, sizeof text, "%" PRId64 ".%03d", at.ms / 1000, (int)(at.ms % 1000));
        ASSERT(fits);
    }
    metric(m, name, "gauge", help, text);
}

static const char *const states[] = {
    "initializing new cluster",
    "initdb failed",
    "running custom bootstrap script",
    "custom bootstrap failed",
    "creating replica",
    "running",
    "starting",
    "starting after custom bootstrap",
    "start failed",
    "restarting",
    "restart failed",
    "stopping",
    "stopped",
    "stop failed",
    "crashed",
};

static void metric_state(struct metrics *m, const char *state)
{
    int number = -1;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        number = str_equal(state, states[i]) ? (int)i : number;
    }
    (void)fprintf(m->out,
                  "# HELP patroni_postgres_state Numeric representation of Postgres state.\n"
                  "# Values: 0=initdb, 1=initdb_failed, 2=custom_bootstrap, "
                  "3=custom_bootstrap_failed, 4=creating_replica, 5=running, 6=starting, "
                  "7=bootstrap_starting, 8=start_failed, 9=restarting, 10=restart_failed, "
                  "11=stopping, 12=stopped, 13=stop_failed, 14=crashed\n"
                  "# TYPE patroni_postgres_state gauge\npatroni_postgres_state%s %d\n",
                  m->labels, number);
}

static void server_metrics(struct metrics *m, const struct rest_view *view, const char *name)
{
    const struct status_postgres *p = &view->postgres;
    bool answered = p->answered;
    struct mono now = mono_now();
    const char *role = health_role(view);
    bool primary = str_equal(role, "primary");
    bool follows = answered && !primary;
    uint64_t received = p->received_lsn != 0 ? p->received_lsn : p->replayed_lsn;
    metric_flag(m, "postgres_running", "Value is 1 if Postgres is running, 0 otherwise.",
                str_equal(status_state(p), "running"));
    metric_time(m, "postmaster_start_time", "Epoch seconds since Postgres started.",
                answered ? p->postmaster_start_time : "");
    metric_flag(m, "primary", "Value is 1 if this node is the leader, 0 otherwise.", primary);
    metric_number(m, "xlog_location", "counter", "Current location of the WAL, 0 if not leader.",
                  answered && primary ? p->flush_lsn : 0);
    metric_flag(m, "standby_leader", "Value is 1 if this node is the standby leader.",
                str_equal(role, "standby_leader"));
    metric_flag(m, "replica", "Value is 1 if this node is a replica, 0 otherwise.",
                str_equal(role, "replica"));
    metric_flag(m, "sync_standby", "Value is 1 if this node is a sync standby.",
                health_sync_standby(view, name, now));
    metric_flag(m, "quorum_standby", "Value is 1 if this node is a quorum standby.",
                health_quorum_standby(view, name, now));
    metric_number(m, "xlog_received_location", "counter",
                  "Location of the received WAL, 0 if not replica.", follows ? received : 0);
    metric_number(m, "xlog_replayed_location", "counter",
                  "Location of the replayed WAL, 0 if not replica.", follows ? p->replayed_lsn : 0);
    metric_time(m, "xlog_replayed_timestamp", "Timestamp of the replayed WAL, 0 if null.",
                follows ? p->replayed_timestamp : "");
    metric_flag(m, "xlog_paused", "Value is 1 if the WAL replay is paused.",
                follows && p->replay_paused);
    metric_flag(m, "postgres_streaming", "Value is 1 if Postgres is streaming.",
                follows && str_equal(p->replication_state, "streaming"));
    metric_flag(m, "postgres_in_archive_recovery", "Value is 1 if recovering from the archive.",
                follows && str_equal(p->replication_state, "in archive recovery"));
    metric_number(m, "postgres_server_version", "gauge", "Version of Postgres, 0 if not running.",
                  answered && p->server_version > 0 ? (uint64_t)p->server_version : 0);
}

static void cluster_metrics(struct metrics *m, const struct rest_view *view, const char *name)
{
    const struct status_postgres *p = &view->postgres;
    bool unlocked =
        !health_cluster_valid(view, mono_now()) || view->cluster->leader.name[0] == '\0';
    json_t *failsafe = view->failsafe_text != NULL
                           ? json_read_object(view->failsafe_text, strlen(view->failsafe_text))
                           : NULL;
    metric_flag(m, "cluster_unlocked", "Value is 1 if the cluster is unlocked.", unlocked);
    metric_flag(m, "failsafe_mode_is_active", "Value is 1 if failsafe mode is active.",
                view->failsafe_active);
    metric_flag(m, "failsafe_mode_enabled", "Value is 1 if failsafe mode is enabled.",
                view->cluster != NULL && view->cluster->settings.failsafe_mode);
    metric_flag(m, "failsafe_member", "Value is 1 if the node is in the failsafe topology.",
                json_object_get(failsafe, name) != NULL);
    json_decref(failsafe);
    metric_number(m, "postgres_timeline", "gauge", "Postgres timeline, 0 if not running.",
                  p->answered ? p->timeline : 0);
    metric_number(m, "dcs_last_seen", "gauge", "Epoch seconds of the last contact with the DCS.",
                  (uint64_t)view->cluster_seen_wall_s);
    metric_flag(m, "pending_restart", "Value is 1 if the node needs a restart.",
                p->pending_restart_json != NULL);
    metric_flag(m, "is_paused", "Value is 1 if auto failover is disabled.", health_paused(view));
    metric_state(m, status_state(p));
    metric_number(m, "failover_priority", "gauge", "Failover priority, 0 if it may not lead.",
                  view->failover_priority > 0 ? (uint64_t)view->failover_priority : 0);
}

static void version_metric(struct metrics *m, const char *version)
{
    char text[32] = "";
    size_t used = 0;
    for (const char *at = version; *at != '\0' && used + 2 < sizeof text;) {
        unsigned long part = strtoul(at, NULL, 10);
        text[used++] = (char)('0' + part / 10 % 10);
        text[used++] = (char)('0' + part % 10);
        at += strcspn(at, ".");
        at += *at == '.' ? 1 : 0;
    }
    text[used] = '\0';
    metric(m, "version", "gauge", "Patroni semver without periods.", text);
}

char *document_metrics(struct rest *rest, const struct rest_view *view)
{
    struct metrics m = {0};
    char scope[2 * NAME_SIZE];
    char name[2 * NAME_SIZE];
    label(scope, rest->scope);
    label(name, rest->name);
    bool fits = str_format(m.labels, sizeof m.labels, "{scope=\"%s\",name=\"%s\"}", scope, name);
    ASSERT(fits);
    char *text = NULL;
    size_t size = 0;
    m.out = open_memstream(&text, &size);
    ASSERT(m.out != NULL); /* heap exhaustion aborts */
    version_metric(&m, rest->settings->version);
    server_metrics(&m, view, rest->name);
    cluster_metrics(&m, view, rest->name);
    int rc = fclose(m.out);
    ASSERT(rc == 0 && text != NULL);
    return text;
}
