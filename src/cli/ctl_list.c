/* The view of a cluster as patronictl prints it: columns, words and alignment are its users' habit. */
#include "cli/ctl.h"

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/json.h"

enum column {
    COLUMN_CLUSTER,
    COLUMN_MEMBER,
    COLUMN_HOST,
    COLUMN_ROLE,
    COLUMN_STATE,
    COLUMN_TL,
    COLUMN_RECEIVE,
    COLUMN_RECEIVE_LAG,
    COLUMN_REPLAY,
    COLUMN_REPLAY_LAG,
    COLUMN_PENDING,
    COLUMN_REASON,
    COLUMN_SCHEDULED,
    COLUMN_TAGS,
    COLUMN_COUNT
};

static const struct table_column COLUMNS[COLUMN_COUNT] = {
    [COLUMN_CLUSTER] = {.name = "Cluster", .hidden_in_box = true},
    [COLUMN_MEMBER] = {.name = "Member"},
    [COLUMN_HOST] = {.name = "Host"},
    [COLUMN_ROLE] = {.name = "Role"},
    [COLUMN_STATE] = {.name = "State"},
    [COLUMN_TL] = {.name = "TL", .right = true},
    [COLUMN_RECEIVE] = {.name = "Receive LSN", .right = true},
    [COLUMN_RECEIVE_LAG] = {.name = "Receive Lag", .title = "Lag", .right = true},
    [COLUMN_REPLAY] = {.name = "Replay LSN", .right = true},
    [COLUMN_REPLAY_LAG] = {.name = "Replay Lag", .title = "Lag", .right = true},
    [COLUMN_PENDING] = {.name = "Pending restart"},
    [COLUMN_REASON] = {.name = "Pending restart reason"},
    [COLUMN_SCHEDULED] = {.name = "Scheduled restart"},
    [COLUMN_TAGS] = {.name = "Tags"},
};

struct listing {
    const struct ctl_cluster *cluster;
    const struct ctl_list_options *options;
    struct table table;
    bool with_ports;
};

static const char *role_of(const struct ctl_cluster *cluster, const struct member_info *member)
{
    if (ctl_leader(cluster) == member) {
        return str_equal(member->role, "standby_leader") ? "Standby Leader" : "Leader";
    }
    if (cluster->sync.leader[0] != '\0' && records_sync_has(&cluster->sync, member->name)) {
        const char *mode = json_text(cluster->config, "synchronous_mode");
        bool quorum = mode != NULL && strcasecmp(mode, "quorum") == 0;
        return quorum ? "Quorum Standby" : "Sync Standby";
    }
    return "Replica";
}

/* Everybody's port is shown when it says something. */
static bool ports_matter(const struct ctl_cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct member_info *a = &cluster->members[i];
        if (a->host[0] != '\0' && a->port != 5432) {
            return true;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (a->host[0] != '\0' && str_equal(a->host, cluster->members[j].host)) {
                return true;
            }
        }
    }
    return false;
}

static void set_host(struct listing *listing, size_t row, const struct member_info *member)
{
    char text[URL_SIZE + 16];
    bool ipv6 = strchr(member->host, ':') != NULL;
    if (member->host[0] == '\0') {
        return;
    }
    if (!listing->with_ports) {
        str_copy_cut(text, sizeof(text), member->host);
    } else if (!str_format(text, sizeof(text), ipv6 ? "[%s]:%u" : "%s:%u", member->host,
                           member->port)) {
        return;
    }
    table_set(&listing->table, row, COLUMN_HOST, text);
}

/* A position and how far it is behind, in megabytes. */
static void set_lsn(struct listing *listing, size_t row, enum column column, uint64_t lsn)
{
    struct table *table = &listing->table;
    if (lsn == 0) {
        table_set(table, row, column, "unknown");
        return;
    }
    char text[LSN_TEXT_SIZE];
    str_from_lsn(text, lsn);
    table_set(table, row, column, text);
    uint64_t optime = listing->cluster->core.optime;
    if (optime == 0) {
        return;
    }
    uint64_t behind = optime > lsn ? optime - lsn : 0;
    int64_t megabytes = (int64_t)rint((double)behind / 1048576.0);
    char number[24];
    (void)snprintf(number, sizeof(number), "%" PRId64, megabytes);
    table_set(table, row, column + 1, number);
    table_set_json(table, row, column + 1, json_integer(megabytes));
}

static void set_positions(struct listing *listing, size_t row, const struct member_info *member)
{
    uint64_t received = member->receive_lsn;
    uint64_t replayed = member->replay_lsn;
    if (received == 0 && replayed == 0) { /* only the old single position */
        bool streams = str_equal(member->replication_state, "streaming");
        received = streams ? member->xlog_location : 0;
        replayed = streams ? 0 : member->xlog_location;
    }
    set_lsn(listing, row, COLUMN_RECEIVE, received);
    set_lsn(listing, row, COLUMN_REPLAY, replayed);
}

/* "param: old->new", a line each. */
static void set_reason(struct listing *listing, size_t row, const json_t *reason)
{
    struct arena *arena = &listing->table.arena;
    const char *text = "";
    const char *name;
    json_t *change;
    bool box = listing->options->format == TABLE_PRETTY;
    json_object_foreach((json_t *)(uintptr_t)reason, name, change)
    { /* reads only */
        const char *old = json_scalar_text(json_object_get(change, "old_value"), arena);
        const char *new = json_scalar_text(json_object_get(change, "new_value"), arena);
        const char *line =
            arena_printf(arena, "%s: %s->%s", name, old != NULL ? old : "", new != NULL ? new : "");
        if (line != NULL && box && strlen(line) > 50) {
            line = arena_printf(arena, "%s: [hidden - too long]", name);
        }
        text = arena_printf(arena, "%s%s%s", text, *text != '\0' ? "\n" : "", line);
        ASSERT(text != NULL);
    }
    table_set(&listing->table, row, COLUMN_REASON, text);
}

static bool set_restarts(struct listing *listing, size_t row, const struct member_info *member,
                         const json_t *json)
{
    if (member->pending_restart) {
        table_set(&listing->table, row, COLUMN_PENDING, "*");
        set_reason(listing, row, json_object_get(json, "pending_restart_reason"));
    }
    const json_t *scheduled = json_object_get(json, "scheduled_restart");
    const char *at = json_text(scheduled, "schedule");
    if (at != NULL) {
        const char *version = json_text(scheduled, "postgres_version");
        const char *text = version == NULL ? at
                                           : arena_printf(&listing->table.arena,
                                                          "%s if version < %s", at, version);
        ASSERT(text != NULL);
        table_set(&listing->table, row, COLUMN_SCHEDULED, text);
    }
    return at != NULL;
}

static void set_tags(struct listing *listing, size_t row, json_t *tags)
{
    if (json_object_size(tags) == 0) {
        return;
    }
    char *text = yaml_text(tags, listing->options->format != TABLE_PRETTY);
    size_t length = strlen(text);
    if (length > 0 && text[length - 1] == '\n') {
        text[length - 1] = '\0';
    }
    table_set(&listing->table, row, COLUMN_TAGS, text);
    table_set_json(&listing->table, row, COLUMN_TAGS, json_incref(tags));
    free(text);
}

static void add_member(struct listing *listing, uint32_t index)
{
    const struct ctl_cluster *cluster = listing->cluster;
    const struct member_info *member = &cluster->members[index];
    const json_t *json = cluster->member_json[index];
    struct table *table = &listing->table;
    bool leads = ctl_leader(cluster) == member;
    size_t row = table_row(table);
    table_set(table, row, COLUMN_CLUSTER, cluster->name);
    table_set(table, row, COLUMN_MEMBER, member->name);
    set_host(listing, row, member);
    table_set(table, row, COLUMN_ROLE, role_of(cluster, member));
    table_set(table, row, COLUMN_STATE,
              !leads && member->replication_state[0] != '\0' ? member->replication_state
                                                             : member->state);
    if (member->timeline != 0) {
        char number[16];
        (void)snprintf(number, sizeof(number), "%" PRIu32, member->timeline);
        table_set(table, row, COLUMN_TL, number);
        table_set_json(table, row, COLUMN_TL, json_integer(member->timeline));
    }
    if (!leads) {
        set_positions(listing, row, member);
    }
    json_t *tags = json_object_get(json, "tags");
    bool scheduled = set_restarts(listing, row, member, json);
    set_tags(listing, row, tags);
    if (member->pending_restart) {
        table->column[COLUMN_PENDING].hidden = false;
        table->column[COLUMN_REASON].hidden = false;
    }
    if (scheduled) {
        table->column[COLUMN_SCHEDULED].hidden = false;
    }
    if (json_object_size(tags) > 0) {
        table->column[COLUMN_TAGS].hidden = false;
    }
}

static void print_notes(const struct ctl_cluster *cluster, FILE *out)
{
    const struct core_failover *order = &cluster->core.failover;
    if (cluster->core.settings.pause) {
        fputs(" Maintenance mode: on\n", out);
    }
    if (order->scheduled_at.ms != 0) {
        char at[RECORDS_TIME_SIZE];
        records_format_time(order->scheduled_at, at);
        char *fraction = strstr(at, ".000000");
        if (fraction != NULL) { /* whole seconds are written without a fraction */
            memmove(fraction, fraction + 7, strlen(fraction + 7) + 1);
        }
        fprintf(out, " Switchover scheduled at: %s\n", at);
        if (order->leader[0] != '\0') {
            fprintf(out, "%24s: %s\n", "from", order->leader);
        }
        if (order->candidate[0] != '\0') {
            fprintf(out, "%24s: %s\n", "to", order->candidate);
        }
    }
}

static void make_title(const struct ctl_cluster *cluster, char *out, size_t out_size)
{
    char sysid[24] = "uninitialized";
    if (cluster->core.initialize == CORE_INITIALIZE_RUNNING) {
        str_copy_cut(sysid, sizeof(sysid), "initializing");
    } else if (cluster->core.initialize == CORE_INITIALIZE_DONE) {
        (void)snprintf(sysid, sizeof(sysid), "%" PRIu64, cluster->core.sysid);
    }
    if (!str_format(out, out_size, " Cluster: %s (%s) ", cluster->name, sysid)) {
        out[out_size - 1] = '\0';
    }
}

void ctl_list_print(const struct ctl_cluster *cluster, const struct ctl_list_options *options,
                    FILE *out)
{
    ASSERT(cluster != NULL && options != NULL);
    struct listing listing = {
        .cluster = cluster, .options = options, .with_ports = ports_matter(cluster)};
    table_init(&listing.table, COLUMNS, COLUMN_COUNT);
    for (enum column c = COLUMN_PENDING; c < COLUMN_COUNT; c++) {
        listing.table.column[c].hidden = !options->extended;
    }
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        add_member(&listing, i);
    }
    char title[NAME_SIZE + 64];
    make_title(cluster, title, sizeof(title));
    if (options->timestamp && options->format == TABLE_PRETTY) {
        char now[CTL_TIME_SIZE];
        ctl_time(now);
        fprintf(out, "%.19s\n", now);
    }
    table_print(&listing.table, options->format, title, out);
    if (options->format == TABLE_PRETTY) {
        print_notes(cluster, out);
    }
    table_fini(&listing.table);
}

/* ---- the command ---- */

static const char USAGE[] =
    "usage: list [-e|--extended] [-t|--timestamp] [-f|--format pretty|tsv|json|yaml] [-W] [-w "
    "SECONDS] [CLUSTER_NAME...]\n";

struct list_command {
    struct ctl_list_options options;
    double every_s; /* 0: once */
};

static int list_once(struct ctl *ctl, const struct list_command *command, int count, char **names)
{
    if (command->every_s > 0) {
        fputs("\033[H\033[2J", stdout);
    }
    for (int i = 0; i < (count == 0 ? 1 : count); i++) {
        const char *name = ctl_cluster_name(ctl, count == 0 ? NULL : names[i]);
        struct ctl_cluster *cluster = name == NULL ? NULL : ctl_cluster_read(ctl, name);
        if (cluster == NULL) {
            return 1;
        }
        ctl_list_print(cluster, &command->options, stdout);
        ctl_cluster_free(cluster);
    }
    (void)fflush(stdout); /* a closed output is the reader's wish */
    return 0;
}

static bool list_parse(int argc, char **argv, struct list_command *command)
{
    static const struct option longs[] = {{"extended", no_argument, NULL, 'e'},
                                          {"timestamp", no_argument, NULL, 't'},
                                          {"format", required_argument, NULL, 'f'},
                                          {"watch", required_argument, NULL, 'w'},
                                          {NULL, 0, NULL, 0}};
    int option;
    optind = 0; /* glibc: begin anew */
    while ((option = getopt_long(argc, argv, "etf:Ww:", longs, NULL)) != -1) {
        char *end = NULL;
        switch (option) {
        case 'e':
            command->options.extended = true;
            break;
        case 't':
            command->options.timestamp = true;
            break;
        case 'f':
            if (!table_format_parse(optarg, &command->options.format)) {
                fprintf(stderr, "Error: Invalid value for '--format': \"%s\"\n", optarg);
                return false;
            }
            break;
        case 'W':
            command->every_s = 2;
            break;
        case 'w':
            command->every_s = strtod(optarg, &end);
            if (end == optarg || *end != '\0' || !(command->every_s > 0) ||
                command->every_s > 86400) {
                fprintf(stderr, "Error: Invalid value for '--watch': \"%s\"\n", optarg);
                return false;
            }
            break;
        default:
            return false;
        }
    }
    return true;
}

int ctl_list(struct ctl *ctl, int argc, char **argv)
{
    struct list_command command = {.options = {.format = TABLE_PRETTY}};
    if (!list_parse(argc, argv, &command)) {
        fputs(USAGE, stderr);
        return 2;
    }
    for (;;) {
        int status = list_once(ctl, &command, argc - optind, argv + optind);
        if (command.every_s == 0 || status != 0) {
            return status;
        }
        ctl_pause_ms((int64_t)(command.every_s * 1000));
    }
}
