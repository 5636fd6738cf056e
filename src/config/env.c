/* A table from variable endings to places in the tree; nothing else knows the names. */
#include "config/env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/units.h"

#define ENV_MAX 256

enum env_type { ENV_TEXT, ENV_INT, ENV_BOOL };

struct env_rule {
    const char *ending;
    const char *path; /* at most three parts */
    enum env_type type;
};

#define AUTH(ENDING, role)                                                                         \
    {ENDING "_USERNAME", "postgresql.authentication." role ".username", ENV_TEXT},                 \
        {ENDING "_PASSWORD", "postgresql.authentication." role ".password", ENV_TEXT},             \
        {ENDING "_SSLMODE", "postgresql.authentication." role ".sslmode", ENV_TEXT},               \
        {ENDING "_SSLCERT", "postgresql.authentication." role ".sslcert", ENV_TEXT},               \
        {ENDING "_SSLKEY", "postgresql.authentication." role ".sslkey", ENV_TEXT},                 \
        {ENDING "_SSLPASSWORD", "postgresql.authentication." role ".sslpassword", ENV_TEXT},       \
        {ENDING "_SSLROOTCERT", "postgresql.authentication." role ".sslrootcert", ENV_TEXT},       \
        {ENDING "_SSLCRL", "postgresql.authentication." role ".sslcrl", ENV_TEXT},                 \
        {ENDING "_SSLCRLDIR", "postgresql.authentication." role ".sslcrldir", ENV_TEXT},           \
        {ENDING "_GSSENCMODE", "postgresql.authentication." role ".gssencmode", ENV_TEXT},         \
    {                                                                                              \
        ENDING "_CHANNEL_BINDING", "postgresql.authentication." role ".channel_binding", ENV_TEXT  \
    }

static const struct env_rule RULES[] = {
    {"NAME", "name", ENV_TEXT},
    {"SCOPE", "scope", ENV_TEXT},
    {"NAMESPACE", "namespace", ENV_TEXT},
    {"LOCAL_PATH", "local.path", ENV_TEXT},
    {"LOCAL_DIR", "local.dir", ENV_TEXT},
    {"CONSUL_HOST", "consul.host", ENV_TEXT},
    {"CONSUL_URL", "consul.url", ENV_TEXT},
    {"CONSUL_PORT", "consul.port", ENV_TEXT},
    {"CONSUL_SCHEME", "consul.scheme", ENV_TEXT},
    {"CONSUL_TOKEN", "consul.token", ENV_TEXT},
    {"CONSUL_VERIFY", "consul.verify", ENV_BOOL},
    {"CONSUL_CACERT", "consul.cacert", ENV_TEXT},
    {"CONSUL_CERT", "consul.cert", ENV_TEXT},
    {"CONSUL_KEY", "consul.key", ENV_TEXT},
    {"CONSUL_DC", "consul.dc", ENV_TEXT},
    {"CONSUL_CONSISTENCY", "consul.consistency", ENV_TEXT},
    {"CONSUL_CHECKS", "consul.checks", ENV_TEXT},
    {"CONSUL_REGISTER_SERVICE", "consul.register_service", ENV_BOOL},
    {"CONSUL_SERVICE_TAGS", "consul.service_tags", ENV_TEXT},
    {"CONSUL_SERVICE_CHECK_INTERVAL", "consul.service_check_interval", ENV_TEXT},
    {"CONSUL_SERVICE_CHECK_TLS_SERVER_NAME", "consul.service_check_tls_server_name", ENV_TEXT},
    {"RESTAPI_LISTEN", "restapi.listen", ENV_TEXT},
    {"RESTAPI_CONNECT_ADDRESS", "restapi.connect_address", ENV_TEXT},
    {"RESTAPI_USERNAME", "restapi.authentication.username", ENV_TEXT},
    {"RESTAPI_PASSWORD", "restapi.authentication.password", ENV_TEXT},
    {"CTL_USERNAME", "ctl.authentication.username", ENV_TEXT},
    {"CTL_PASSWORD", "ctl.authentication.password", ENV_TEXT},
    {"CTL_INSECURE", "ctl.insecure", ENV_BOOL},
    {"CTL_CACERT", "ctl.cacert", ENV_TEXT},
    {"CTL_CERTFILE", "ctl.certfile", ENV_TEXT},
    {"CTL_KEYFILE", "ctl.keyfile", ENV_TEXT},
    {"POSTGRESQL_LISTEN", "postgresql.listen", ENV_TEXT},
    {"POSTGRESQL_CONNECT_ADDRESS", "postgresql.connect_address", ENV_TEXT},
    {"POSTGRESQL_DATA_DIR", "postgresql.data_dir", ENV_TEXT},
    {"POSTGRESQL_STATE_DIR", "postgresql.state_dir", ENV_TEXT},
    {"POSTGRESQL_CONFIG_DIR", "postgresql.config_dir", ENV_TEXT},
    {"POSTGRESQL_BIN_DIR", "postgresql.bin_dir", ENV_TEXT},
    {"POSTGRESQL_PGPASS", "postgresql.pgpass", ENV_TEXT},
    {"LOG_LEVEL", "log.level", ENV_TEXT},
    {"LOG_DIR", "log.dir", ENV_TEXT},
    AUTH("SUPERUSER", "superuser"),
    AUTH("REPLICATION", "replication"),
    AUTH("REWIND", "rewind"),
};
#define RULE_COUNT (sizeof(RULES) / sizeof(RULES[0]))

/* Any variable of these stores counts as their section. */
static const char *const STORES[][2] = {
    {"CONSUL_", "consul"},       {"ETCD_", "etcd"},           {"ETCD3_", "etcd3"},
    {"ZOOKEEPER_", "zookeeper"}, {"EXHIBITOR_", "exhibitor"}, {"KUBERNETES_", "kubernetes"},
};

struct env_entry {
    char *name;
    char *value;
    const struct env_rule *rule; /* NULL: a store's */
    const char *store;
};

struct config_env {
    char *whole;
    size_t count;
    struct env_entry entry[ENV_MAX];
};

static const char *ending_of(const char *name)
{
    static const char *const prefixes[] = {"HOLDFAST_", "PATRONI_"};
    for (size_t i = 0; i < 2; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            return name + strlen(prefixes[i]);
        }
    }
    return NULL;
}

/* False: a variable that means nothing to us. */
static bool entry_classify(const char *ending, struct env_entry *entry)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        if (str_equal(RULES[i].ending, ending)) {
            entry->rule = &RULES[i];
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(STORES) / sizeof(STORES[0]); i++) {
        if (strncmp(ending, STORES[i][0], strlen(STORES[i][0])) == 0) {
            entry->store = STORES[i][1];
            return true;
        }
    }
    return false;
}

static void capture(struct config_env *env, const char *variable)
{
    const char *equals = strchr(variable, '=');
    const char *ending = ending_of(variable);
    if (ending == NULL || equals == NULL || equals[1] == '\0') {
        return;
    }
    char *name = strndup(variable, (size_t)(equals - variable));
    ASSERT(name != NULL);
    const char *own_ending = name + (ending - variable);
    struct env_entry entry = {.name = name};
    if (str_equal(own_ending, "CONFIGURATION")) {
        if (env->whole == NULL) {
            env->whole = strdup(equals + 1);
        }
        free(name);
    } else if (env->count < ENV_MAX && entry_classify(own_ending, &entry)) {
        entry.value = strdup(equals + 1);
        env->entry[env->count++] = entry;
    } else {
        free(name);
    }
}

struct config_env *config_env_capture(bool remove)
{
    struct config_env *env = calloc(1, sizeof(*env));
    ASSERT(env != NULL);
    for (char **variable = environ; *variable != NULL; variable++) {
        capture(env, *variable);
    }
    if (remove) {
        for (size_t i = 0; i < env->count; i++) {
            (void)unsetenv(env->entry[i].name); /* the name is a good one: it was there */
        }
        (void)unsetenv("HOLDFAST_CONFIGURATION");
        (void)unsetenv("PATRONI_CONFIGURATION");
    }
    return env;
}

void config_env_free(struct config_env *env)
{
    if (env == NULL) {
        return;
    }
    for (size_t i = 0; i < env->count; i++) {
        free(env->entry[i].name);
        free(env->entry[i].value);
    }
    free(env->whole);
    free(env);
}

const char *config_env_whole(const struct config_env *env)
{
    return env == NULL ? NULL : env->whole;
}

/* The map at key, made when it is missing. */
static json_t *child_map(json_t *parent, const char *key, struct yaml_marks *marks,
                         const struct yaml_mark *mark)
{
    json_t *child = json_object_get(parent, key);
    if (child == NULL) {
        child = json_object();
        ASSERT(child != NULL);
        json_object_set_new(parent, key, child);
        if (yaml_mark_set(marks, parent, key, mark) != ERR_OK) {
            return child; /* without a place to name, but there */
        }
    }
    return child;
}

static void tree_set(json_t *root, const struct env_entry *entry, struct yaml_marks *marks)
{
    char file[160];
    (void)snprintf(file, sizeof(file), "environment variable %s", entry->name); /* cut is fine */
    const struct yaml_mark where = {.file = file};
    if (entry->rule == NULL) {
        (void)child_map(root, entry->store, marks, &where);
        return;
    }
    char path[96];
    bool fits = str_copy(path, sizeof(path), entry->rule->path);
    ASSERT(fits);
    json_t *parent = root;
    char *key = path;
    for (char *dot = strchr(key, '.'); dot != NULL; dot = strchr(key, '.')) {
        *dot = '\0';
        parent = child_map(parent, key, marks, &where);
        key = dot + 1;
    }
    json_t *value = NULL;
    bool yes;
    int64_t number;
    if (entry->rule->type == ENV_BOOL && units_to_bool(entry->value, &yes)) {
        value = json_boolean(yes);
    } else if (entry->rule->type == ENV_INT && units_to_int(entry->value, NULL, &number)) {
        value = json_integer(number);
    } else {
        value = json_string(entry->value);
    }
    struct yaml_mark mark = {.file = file, .raw = entry->value};
    if (value != NULL && json_object_set_new(parent, key, value) == 0 &&
        yaml_mark_set(marks, parent, key, &mark) != ERR_OK) {
        return; /* as above */
    }
}

json_t *config_env_tree(const struct config_env *env, struct yaml_marks *marks)
{
    json_t *root = json_object();
    ASSERT(root != NULL && marks != NULL);
    for (int ours = 0; env != NULL && ours < 2; ours++) { /* HOLDFAST_ second: it replaces */
        for (size_t i = 0; i < env->count; i++) {
            if ((strncmp(env->entry[i].name, "HOLDFAST_", 9) == 0) == (ours == 1)) {
                tree_set(root, &env->entry[i], marks);
            }
        }
    }
    return root;
}
