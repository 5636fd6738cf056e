/* The tree is read once, section by section, into plain values; every complaint is collected before
 * the verdict. */
#include "config/config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/str.h"
#include "codec/json.h"
#include "codec/units.h"
#include "config/keys.h"
#include "config/private.h"

#define CONFIG_ARENA_CAP (16U * 1024 * 1024)
#define STRICT_SYNC_PLACEHOLDER "__patroni_strict_sync_replica_placeholder__"

struct loading {
    struct config *config;
    struct config_section top;
    bool strict; /* not for ctl */
};

const char *config_base_path(struct arena *arena, const char *name_space, const char *scope)
{
    char *path = arena_printf(arena, "/%s/%s", name_space, scope);
    ASSERT(path != NULL);
    size_t used = 0;
    for (const char *c = path; *c != '\0'; c++) {
        if (*c != '/' || used == 0 || path[used - 1] != '/') {
            path[used++] = *c;
        }
    }
    while (used > 1 && path[used - 1] == '/') {
        used--;
    }
    path[used] = '\0';
    return path;
}

bool config_split_address(const char *text, char *out_host, size_t out_size, uint16_t *port)
{
    ASSERT(text != NULL && out_host != NULL && port != NULL);
    const char *colon = strrchr(text, ':');
    const char *bracket = strrchr(text, ']');
    bool several = colon != NULL && strchr(text, ':') != colon && bracket == NULL;
    if ((bracket != NULL && colon < bracket) || (several && strchr(text, ',') == NULL)) {
        colon = NULL; /* "[::1]" or "::1": all of it is the host */
    }
    size_t length = colon == NULL ? strlen(text) : (size_t)(colon - text);
    uint64_t number = *port;
    if (colon != NULL && (!str_to_u64(colon + 1, &number) || number == 0 || number > UINT16_MAX)) {
        return false;
    }
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '[' || text[i] == ']') {
            continue;
        }
        if (used + 1 >= out_size || text[i] == ' ' || text[i] == '/') {
            return false;
        }
        out_host[used++] = text[i];
    }
    out_host[used] = '\0';
    *port = (uint16_t)number;
    return true;
}

/* IPv6 gets its brackets back. */
static const char *join_address(struct arena *arena, const char *host, uint16_t port)
{
    const char *text = strchr(host, ':') != NULL ? arena_printf(arena, "[%s]:%u", host, port)
                                                 : arena_printf(arena, "%s:%u", host, port);
    ASSERT(text != NULL);
    return text;
}

/* ---- top level ---- */

static const char *required(const struct config_section *section, const char *key,
                            const char *remedy)
{
    const char *text = config_text(section, key);
    if (text == NULL || *text == '\0') {
        config_complain(section, CONFIG_ERROR, key, "is missing; remedy: %s", remedy);
        return "";
    }
    return text;
}

static bool is_good_name(const char *name)
{
    for (const char *c = name; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == '/' || *c == 0x7f) {
            return false;
        }
    }
    return strlen(name) < NAME_SIZE;
}

static void load_top(struct loading *loading)
{
    struct config *config = loading->config;
    const struct config_section *top = &loading->top;
    config->namespace = config_text_or(top, "namespace", "service");
    config->scope = loading->strict
                        ? required(top, "scope", "add the cluster's name: \"scope: demo\"")
                        : config_text_or(top, "scope", "");
    const struct config_section postgresql = config_subsection(top, "postgresql");
    const char *name = config_text(top, "name");
    if (name == NULL) {
        name = config_text(&postgresql, "name"); /* the old place */
    }
    config->name = name != NULL ? name : "";
    if (loading->strict && config->name[0] == '\0') {
        config_complain(top, CONFIG_ERROR, "name",
                        "is missing; remedy: add a name that no other node has: \"name: n1\"");
    }
    if (!is_good_name(config->name) || str_equal(config->name, STRICT_SYNC_PLACEHOLDER)) {
        config_complain(top, CONFIG_ERROR, "name",
                        "\"%s\" cannot be a member's name; remedy: at most %d characters, no slash",
                        config->name, NAME_SIZE - 1);
    }
    if (!is_good_name(config->scope)) {
        config_complain(
            top, CONFIG_ERROR, "scope",
            "\"%s\" cannot be a cluster's name; remedy: at most %d characters, no slash",
            config->scope, NAME_SIZE - 1);
    }
    config->base = config_base_path(top->arena, config->namespace, config->scope);
    if (strlen(config->base) + NAME_SIZE + 16 > STORE_KEY_SIZE) {
        config_complain(top, CONFIG_ERROR, "namespace", "is too long; remedy: shorten it");
    }
}

/* ---- faces ---- */

static const char *load_auth(const struct config_section *section)
{
    const struct config_section auth = config_subsection(section, "authentication");
    const char *user = config_text(&auth, "username");
    const char *password = config_text(&auth, "password");
    if (user == NULL || password == NULL) {
        if (user != NULL || password != NULL) {
            config_complain(section, CONFIG_ERROR, "authentication",
                            "username and password belong together; remedy: give both or none");
        }
        return NULL;
    }
    const char *text = arena_printf(section->arena, "%s:%s", user, password);
    ASSERT(text != NULL);
    return text;
}

static void load_restapi(struct loading *loading)
{
    struct config *config = loading->config;
    const struct config_section rest = config_subsection(&loading->top, "restapi");
    struct arena *arena = loading->top.arena;
    const char *listen = loading->strict ? required(&rest, "listen", "add \"listen: 0.0.0.0:8008\"")
                                         : config_text_or(&rest, "listen", "");
    char host[URL_SIZE] = "";
    uint16_t port = 8008;
    if (!config_split_address(listen, host, sizeof(host), &port)) {
        config_complain(&rest, CONFIG_ERROR, "listen",
                        "\"%s\" is no address; remedy: host:port, such as 0.0.0.0:8008", listen);
    }
    config->restapi_host = arena_strdup(arena, str_equal(host, "*") ? "" : host);
    config->restapi_port = port;
    const char *connect = config_text(&rest, "connect_address");
    if (connect != NULL && !config_split_address(connect, host, sizeof(host), &port)) {
        config_complain(&rest, CONFIG_ERROR, "connect_address",
                        "\"%s\" is no address; remedy: host:port, such as 10.0.0.1:8008", connect);
        str_copy_cut(host, sizeof(host), "unknown");
    }
    if (loading->strict && (host[0] == '\0' || str_equal(host, "*") || str_equal(host, "0.0.0.0") ||
                            str_equal(host, "::"))) {
        config_complain(
            &rest, CONFIG_ERROR, "connect_address",
            "other nodes need an address they can reach, and \"%s\" is none; remedy: add "
            "\"connect_address: THIS-HOST:%u\"",
            connect != NULL ? connect : listen, port);
    }
    config->restapi_connect = join_address(arena, host, port);
    config->api_url = arena_printf(arena, "http://%s/patroni", config->restapi_connect);
    config->restapi_auth = load_auth(&rest);
    const struct config_section ctl = config_subsection(&loading->top, "ctl");
    config->ctl_auth = load_auth(&ctl);
    if (config->ctl_auth == NULL) {
        config->ctl_auth = config->restapi_auth;
    }
    config->ctl_insecure = config_bool(&ctl, "insecure", false);
    config->ctl_cacert = config_text(&ctl, "cacert");
    config->ctl_certfile = config_text(&ctl, "certfile");
    config->ctl_keyfile = config_text(&ctl, "keyfile");
    if (strlen(config->api_url) >= URL_SIZE) {
        config_complain(&rest, CONFIG_ERROR, "connect_address",
                        "is too long; remedy: a shorter name");
    }
}

static void load_log(struct loading *loading)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {{"DEBUG", LOG_LEVEL_DEBUG},   {"INFO", LOG_LEVEL_INFO},
                  {"WARN", LOG_LEVEL_WARN},     {"WARNING", LOG_LEVEL_WARN},
                  {"ERROR", LOG_LEVEL_ERROR},   {"FATAL", LOG_LEVEL_ERROR},
                  {"CRITICAL", LOG_LEVEL_ERROR}};
    const struct config_section log = config_subsection(&loading->top, "log");
    const char *level = config_text_or(&log, "level", "INFO");
    loading->config->log_level = LOG_LEVEL_INFO;
    bool found = false;
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcasecmp(level, levels[i].name) == 0) {
            loading->config->log_level = levels[i].level;
            found = true;
        }
    }
    if (!found) {
        config_complain(&log, CONFIG_ERROR, "level",
                        "\"%s\" is no level; remedy: DEBUG, INFO, WARNING or ERROR", level);
    }
    loading->config->log_dir = config_text(&log, "dir");
}

/* ---- tags ---- */

static int32_t load_priority(const struct config_section *tags)
{
    const json_t *value = json_object_get(tags->json, "failover_priority");
    int64_t priority = 1;
    if (value != NULL &&
        (!units_json_int(value, NULL, &priority) || priority > INT32_MAX || priority < INT32_MIN)) {
        config_complain(tags, CONFIG_ERROR, "failover_priority",
                        "is not a number; remedy: a whole number, 0 = never");
        return 1;
    }
    return (int32_t)priority;
}

/* Flags that are off are not published, but for the one that contradicts a priority. */
static const json_t *published_tags(const struct config_section *tags)
{
    static const struct {
        const char *flag;
        const char *keeps; /* kept, though off, beside this one */
    } flags[] = {{"clonefrom", NULL},
                 {"nofailover", "failover_priority"},
                 {"noloadbalance", NULL},
                 {"nosync", "sync_priority"},
                 {"nostream", NULL}};
    json_t *out = json_is_object(tags->json) ? json_deep_copy(tags->json) : json_object();
    ASSERT(out != NULL);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        bool on = false;
        const json_t *value = json_object_get(out, flags[i].flag);
        bool kept = flags[i].keeps != NULL && json_object_get(out, flags[i].keeps) != NULL;
        if (value != NULL && !(units_json_bool(value, &on) && on) && !kept) {
            (void)json_object_del(out, flags[i].flag); /* it is there */
        }
    }
    return out;
}

static void load_tags(struct loading *loading)
{
    struct config *config = loading->config;
    const struct config_section tags = config_subsection(&loading->top, "tags");
    config->failover_priority = load_priority(&tags);
    bool nofailover = config_bool(&tags, "nofailover", false);
    if (json_object_get(tags.json, "nofailover") != NULL &&
        json_object_get(tags.json, "failover_priority") != NULL &&
        nofailover != (config->failover_priority <= 0)) {
        config_complain(&tags, CONFIG_WARNING, "nofailover",
                        "contradicts failover_priority, nofailover wins; remedy: keep one of them");
    }
    config->nofailover = json_object_get(tags.json, "nofailover") != NULL
                             ? nofailover
                             : config->failover_priority <= 0;
    config->nosync = config_bool(&tags, "nosync", false);
    config->noloadbalance = config_bool(&tags, "noloadbalance", false);
    config->clonefrom = config_bool(&tags, "clonefrom", false);
    config->nostream = config_bool(&tags, "nostream", false);
    config->replicatefrom = config_text_or(&tags, "replicatefrom", "");
    config->impl->tags = (json_t *)(uintptr_t)published_tags(&tags); /* ours to release */
    config->tags = config->impl->tags;
}

/* ---- bootstrap and postgresql ---- */

static void load_bootstrap(struct loading *loading)
{
    struct config *config = loading->config;
    const struct config_section bootstrap = config_subsection(&loading->top, "bootstrap");
    const struct config_section dcs = config_subsection(&bootstrap, "dcs");
    config->may_bootstrap = bootstrap.json != NULL;
    config->bootstrap_dcs = dcs.json != NULL ? dcs.json : config->impl->empty;
    const char *method = config_text_or(&bootstrap, "method", "initdb");
    if (!str_equal(method, "initdb") && json_object_get(bootstrap.json, method) != NULL) {
        config_complain(
            &bootstrap, CONFIG_ERROR, "method",
            "this build creates clusters with initdb only, not with \"%s\"; remedy: remove "
            "it, or create the cluster with Patroni first",
            method);
    }
    struct dynconfig_warnings warnings = {.count = 0};
    struct core_settings settings;
    dynconfig_settings(config->bootstrap_dcs, 1, NULL, NULL, &settings, &warnings);
    const struct config_section shared = config_subsection(&dcs, "postgresql");
    for (uint32_t i = 0; i < warnings.count; i++) {
        config_complain(warnings.place[i].in_postgresql ? &shared : &dcs, CONFIG_WARNING,
                        warnings.place[i].key, "%s", warnings.text[i] + warnings.place[i].what);
    }
}

/* Legacy: no `authentication`, but the roles right below `postgresql`. */
static void adopt_legacy_roles(struct config *config)
{
    static const char *const roles[][2] = {
        {"superuser", "superuser"}, {"replication", "replication"}, {"pg_rewind", "rewind"}};
    json_t *postgresql = json_object_get(config->impl->files.root, "postgresql");
    if (!json_is_object(postgresql) || json_object_get(postgresql, "authentication") != NULL) {
        return;
    }
    json_t *authentication = json_object();
    ASSERT(authentication != NULL);
    for (size_t i = 0; i < 3; i++) {
        json_t *role = json_object_get(postgresql, roles[i][0]);
        if (json_is_object(role)) {
            json_object_set(authentication, roles[i][1], role);
        }
    }
    json_object_set_new(postgresql, "authentication", authentication);
}

static void load_postgresql(struct loading *loading)
{
    struct config *config = loading->config;
    const struct config_section postgresql = config_subsection(&loading->top, "postgresql");
    struct arena *arena = loading->top.arena;
    config->postgresql = postgresql.json != NULL ? postgresql.json : config->impl->empty;
    config->data_dir = config_text_or(&postgresql, "data_dir", "");
    if (loading->strict &&
        (config->data_dir[0] != '/' || strlen(config->data_dir) > PATH_SIZE / 2)) {
        config_complain(&postgresql, CONFIG_ERROR, "data_dir",
                        "\"%s\" is not an absolute path of a directory; remedy: add \"data_dir: "
                        "/var/lib/postgresql/15/demo\"",
                        config->data_dir);
    }
    size_t length = strlen(config->data_dir);
    while (length > 1 && config->data_dir[length - 1] == '/') {
        length--;
    }
    config->data_dir = arena_strndup(arena, config->data_dir, length);
    const char *state_dir = config_text(&postgresql, "state_dir");
    config->state_dir =
        state_dir != NULL ? state_dir : arena_printf(arena, "%s.holdfast", config->data_dir);
    if (loading->strict && state_dir != NULL && state_dir[0] != '/') {
        config_complain(&postgresql, CONFIG_ERROR, "state_dir",
                        "\"%s\" is not an absolute path; remedy: leave it out", config->state_dir);
    }
    const struct config_section auth = config_subsection(&postgresql, "authentication");
    const json_t *replication = json_object_get(auth.json, "replication");
    if (loading->strict && (replication == NULL || json_is_null(replication))) {
        config_complain(&postgresql, CONFIG_ERROR, "authentication.replication",
                        "is missing; remedy: add username and password of the role that replicas "
                        "connect with");
    }
}

static void load_effective(struct loading *loading)
{
    struct config *config = loading->config;
    struct pg_config pg;
    config->conn_url = "";
    if (!loading->strict) {
        return;
    }
    if (config_effective(config, config->bootstrap_dcs, loading->top.arena, &pg,
                         loading->top.report) == ERR_OK) {
        config->conn_url = arena_printf(
            loading->top.arena, "postgres://%s/%s",
            join_address(loading->top.arena, pg.connect_host, pg.connect_port), pg.database);
    }
}

/* ---- all of it ---- */

static enum err read_sources(struct config *config, const char *path, const struct config_env *env,
                             struct config_report *report)
{
    struct config_files *files = &config->impl->files;
    const char *whole = config_env_whole(env);
    enum err err = ERR_OK;
    if (path != NULL) {
        err = config_files_read(files, path, report);
    } else if (whole != NULL) {
        err = config_files_parse(files, whole, strlen(whole), "environment variable CONFIGURATION",
                                 report);
    }
    if (err == ERR_OK && (path != NULL || whole == NULL)) {
        config_files_merge(files, config_env_tree(env, files->marks));
    }
    return err;
}

static enum err load_all(struct config *config, enum config_purpose purpose,
                         struct config_report *report)
{
    uint32_t errors_before = report->error_count;
    adopt_legacy_roles(config);
    config->root = config->impl->files.root;
    config->marks = config->impl->files.marks;
    config->impl->where = (struct yaml_mark){.file = config->file};
    struct loading loading = {
        .config = config,
        .top = {.json = config->root,
                .path = "",
                .marks = config->marks,
                .where = &config->impl->where,
                .report = report,
                .arena = &config->impl->arena},
        .strict = purpose == CONFIG_FOR_AGENT,
    };
    load_top(&loading);
    config_store_load(&loading.top, loading.strict, config);
    load_restapi(&loading);
    load_log(&loading);
    load_tags(&loading);
    load_bootstrap(&loading);
    load_postgresql(&loading);
    load_effective(&loading);
    if (loading.strict) {
        config_keys_check(config->root, config->marks, report);
    }
    return report->error_count == errors_before ? ERR_OK : ERR_INVALID;
}

enum err config_load(const char *path, const struct config_env *env, enum config_purpose purpose,
                     struct config **out_config, struct config_report *report)
{
    ASSERT(out_config != NULL && report != NULL);
    struct config *config = calloc(1, sizeof(*config));
    ASSERT(config != NULL);
    config->impl = calloc(1, sizeof(*config->impl));
    ASSERT(config->impl != NULL);
    arena_init(&config->impl->arena, CONFIG_ARENA_CAP);
    config->impl->files.marks = yaml_marks_create();
    config->impl->empty = json_object();
    config->file = arena_strdup(&config->impl->arena, path != NULL ? path : "environment");
    enum err err = read_sources(config, path, env, report);
    if (err == ERR_OK) {
        err = load_all(config, purpose, report);
    }
    if (err != ERR_OK) {
        config_destroy(config);
        return ERR_INVALID;
    }
    *out_config = config;
    return ERR_OK;
}

void config_destroy(struct config *config)
{
    if (config == NULL) {
        return;
    }
    struct config_private *impl = config->impl;
    config_files_fini(&impl->files);
    json_decref(impl->tags);
    json_decref(impl->empty);
    arena_fini(&impl->arena);
    free(impl);
    free(config);
}
