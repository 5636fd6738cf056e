/* The `postgresql` section, as it holds: what is local only comes from the file, parameters are merged
 * one by one, everything else is the file's word, else the store's, else the default. */
#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/units.h"
#include "config/parameters.h"
#include "config/private.h"

#define SET_ASIDE_DEFAULT (INT64_C(4) * 1024 * 1024 * 1024)

/* Both layers, the file's first. */
struct layers {
    struct config_section local;
    struct config_section dynamic;
    struct arena *arena;
};

/* The layer whose word counts for the key. */
static const struct config_section *layer_of(const struct layers *layers, const char *key)
{
    const json_t *value = json_object_get(layers->local.json, key);
    return value != NULL && !json_is_null(value) ? &layers->local : &layers->dynamic;
}

static const char *text_of(const struct layers *layers, const char *key, const char *fallback)
{
    return config_text_or(layer_of(layers, key), key, fallback);
}

/* ---- lists of lines ---- */

static const char *const *lines_of(const struct config_section *section, const char *key,
                                   size_t *out_count)
{
    const json_t *list = json_object_get(section->json, key);
    *out_count = 0;
    if (list == NULL || json_is_null(list)) {
        return NULL;
    }
    if (!json_is_array(list)) {
        config_complain(section, CONFIG_ERROR, key,
                        "is not a list; remedy: write each line as \"- line\"");
        return NULL;
    }
    const char **lines = arena_alloc(section->arena, json_array_size(list) * sizeof(lines[0]));
    ASSERT(lines != NULL);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text != NULL &&
            strpbrk(text, "\r\n") == NULL) { /* others are skipped (config.md 5.2) */
            lines[(*out_count)++] = arena_strdup(section->arena, text);
        }
    }
    return lines;
}

/* ---- option lists of initdb and others ---- */

struct option_rule {
    const char *key;
    const char *const *refused; /* ends with NULL */
    enum config_severity severity;
};

static bool is_refused(const struct option_rule *rule, const char *name)
{
    for (const char *const *word = rule->refused; *word != NULL; word++) {
        if (str_equal(*word, name)) {
            return true;
        }
    }
    return name[0] == '\0' || strpbrk(name, " =") != NULL;
}

/* A value quoted as a whole for a shell loses its quotes. */
static const char *unquote(struct arena *arena, const char *value)
{
    size_t length = strlen(value);
    if (length >= 2 && (value[0] == '\'' || value[0] == '"') && value[length - 1] == value[0] &&
        memchr(value + 1, value[0], length - 2) == NULL) {
        return arena_strndup(arena, value + 1, length - 2);
    }
    return value;
}

struct options {
    const char **text;
    size_t count;
};

static void option_add(const struct config_section *section, const struct option_rule *rule,
                       const char *name, const char *value, struct options *options)
{
    name += strncmp(name, "--", 2) == 0 ? 2 : 0;
    size_t length = strcspn(name, "=");
    const char *bare = arena_strndup(section->arena, name, length);
    if (is_refused(rule, bare)) {
        config_complain(section, rule->severity, rule->key,
                        "the option \"%s\" may not be set here; remedy: remove it", bare);
        return;
    }
    const char *text = value == NULL ? arena_printf(section->arena, "--%s", name)
                                     : arena_printf(section->arena, "--%s=%s", name,
                                                    unquote(section->arena, value));
    ASSERT(text != NULL);
    options->text[options->count++] = text;
}

static void options_from_map(const struct config_section *section, const struct option_rule *rule,
                             const json_t *map, bool all, struct options *options)
{
    struct config_section inner = *section;
    inner.json = map;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    { /* reads only */
        const char *text = config_value_text(&inner, name);
        bool truthy = text != NULL && *text != '\0' && !json_is_false(value) &&
                      !(json_is_integer(value) && json_integer_value(value) == 0);
        if (text != NULL && (all || truthy)) {
            option_add(section, rule, name, json_is_true(value) ? NULL : text, options);
        }
    }
}

static struct options options_of(const struct config_section *section,
                                 const struct option_rule *rule)
{
    const json_t *value = json_object_get(section->json, rule->key);
    struct options options = {NULL, 0};
    size_t room = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    if (value == NULL || json_is_null(value)) {
        return options;
    }
    if (!json_is_object(value) && !json_is_array(value)) {
        config_complain(
            section, CONFIG_ERROR, rule->key,
            "is not a list; remedy: write each option as \"- option\" or \"- option: value\"");
        return options;
    }
    options.text = arena_alloc(section->arena, (room + 1) * sizeof(options.text[0]));
    ASSERT(options.text != NULL);
    if (json_is_object(value)) {
        options_from_map(section, rule, value, false, &options);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (json_is_string(item)) {
            option_add(section, rule, json_string_value(item), NULL, &options);
        } else if (json_is_object(item) && json_object_size(item) == 1) {
            options_from_map(section, rule, item, true, &options);
        } else {
            config_complain(section, CONFIG_ERROR, rule->key,
                            "element %zu is no option; remedy: \"- option\" or \"- option: value\"",
                            i + 1);
        }
    }
    return options;
}

static void load_options(const struct config *config, const struct layers *layers,
                         struct pg_config *pg)
{
    static const char *const initdb[] = {"pgdata",  "nosync",   "pwfile", "sync-only",
                                         "version", "username", "D",      NULL};
    static const char *const basebackup[] = {"pgdata", "format",   "wal-method", "xlog-method",
                                             "gzip",   "version",  "dbname",     "host",
                                             "port",   "username", "password",   NULL};
    static const char *const rewind[] = {"target-pgdata",
                                         "source-pgdata",
                                         "source-server",
                                         "write-recovery-conf",
                                         "dry-run",
                                         "restore-target-wal",
                                         "config-file",
                                         "no-ensure-shutdown",
                                         "version",
                                         "help",
                                         NULL};
    struct config_section bootstrap = {
        .json = json_object_get(config->root, "bootstrap"),
        .path = "bootstrap",
        .marks = config->marks,
        .where = yaml_mark_key(config->marks, config->root, "bootstrap"),
        .report = layers->local.report,
        .arena = layers->arena,
    };
    struct options options =
        options_of(&bootstrap, &(struct option_rule){"initdb", initdb, CONFIG_ERROR});
    pg->initdb_options = options.text;
    pg->initdb_option_count = options.count;
    pg->bootstrap_pg_hba = lines_of(&bootstrap, "pg_hba", &pg->bootstrap_pg_hba_count);
    options = options_of(layer_of(layers, "basebackup"),
                         &(struct option_rule){"basebackup", basebackup, CONFIG_WARNING});
    pg->basebackup_options = options.text;
    pg->basebackup_option_count = options.count;
    options = options_of(layer_of(layers, "rewind"),
                         &(struct option_rule){"rewind", rewind, CONFIG_WARNING});
    pg->rewind_options = options.text;
    pg->rewind_option_count = options.count;
}

/* ---- credentials ---- */

static struct pg_credentials credentials(const struct config_section *authentication,
                                         const char *role)
{
    static const char *const keys[] = {"sslcert",     "sslkey",          "sslpassword",
                                       "sslrootcert", "sslcrl",          "sslcrldir",
                                       "gssencmode",  "channel_binding", "sslnegotiation"};
    const size_t count = sizeof(keys) / sizeof(keys[0]);
    const struct config_section section = config_subsection(authentication, role);
    struct pg_parameter *options = arena_alloc(section.arena, count * sizeof(options[0]));
    ASSERT(options != NULL);
    struct pg_credentials out = {.username = config_text(&section, "username"),
                                 .password = config_text(&section, "password"),
                                 .sslmode = config_text(&section, "sslmode"),
                                 .options = options};
    for (size_t i = 0; i < count; i++) {
        const char *value = config_text(&section, keys[i]);
        if (value != NULL) {
            options[out.option_count++] = (struct pg_parameter){keys[i], value};
        }
    }
    if (out.password != NULL && *out.password == '\0') {
        out.password = NULL;
    }
    return out;
}

/* ---- addresses ---- */

static bool is_local_listen(const char *host)
{
    return str_equal(host, "*") || str_equal(host, "localhost") || str_equal(host, "0.0.0.0") ||
           str_equal(host, "127.0.0.1") || str_equal(host, "");
}

static void load_addresses(const struct layers *layers, struct pg_config *pg)
{
    const struct config_section *local = &layers->local;
    const char *listen = config_text_or(local, "listen", "");
    char host[URL_SIZE] = "";
    uint16_t port = 5432;
    if (*listen == '\0') {
        config_complain(local, CONFIG_ERROR, "listen",
                        "is missing; remedy: add \"listen: 0.0.0.0:5432\"");
    } else if (!config_split_address(listen, host, sizeof(host), &port)) {
        config_complain(local, CONFIG_ERROR, "listen",
                        "\"%s\" is no address; remedy: address[,address]:port", listen);
    }
    pg->listen_addresses = arena_strdup(layers->arena, host[0] == '\0' ? "*" : host);
    pg->port = port;
    const char *connect = config_text(local, "connect_address");
    if (connect != NULL) {
        if (!config_split_address(connect, host, sizeof(host), &port) || is_local_listen(host)) {
            bool loopback = str_equal(host, "localhost") || str_equal(host, "127.0.0.1");
            config_complain(local, loopback ? CONFIG_NOTE : CONFIG_ERROR, "connect_address",
                            "\"%s\" cannot be reached from other machines; remedy: this host's own "
                            "address and port",
                            connect);
        }
    } else {
        char *comma = strchr(host, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        if (is_local_listen(host)) {
            str_copy_cut(host, sizeof(host), "localhost");
            config_complain(local, CONFIG_WARNING, "connect_address",
                            "is missing, and \"%s\" tells nobody where this server is; remedy: add "
                            "\"connect_address: THIS-HOST:%u\"",
                            listen, port);
        }
    }
    pg->connect_host = arena_strdup(layers->arena, host);
    pg->connect_port = port;
}

/* ---- all of it ---- */

static const char *default_pgpass(struct arena *arena, const struct config *config)
{
    const char *text = arena_printf(arena, "%s/pgpass", config->state_dir);
    ASSERT(text != NULL);
    return text;
}

static int64_t size_of(const struct layers *layers, const char *key, int64_t fallback)
{
    const struct config_section *layer = layer_of(layers, key);
    const json_t *value = json_object_get(layer->json, key);
    int64_t bytes;
    if (value == NULL || json_is_null(value)) {
        return fallback;
    }
    if (!units_json_int(value, "B", &bytes) || bytes < 0) {
        config_complain(layer, CONFIG_ERROR, key,
                        "is no size; remedy: bytes, or text such as \"4GB\"");
        return fallback;
    }
    return bytes;
}

static int64_t time_of(const struct layers *layers, const char *key, int64_t fallback_ms)
{
    const struct config_section *layer = layer_of(layers, key);
    const json_t *value = json_object_get(layer->json, key);
    int64_t ms;
    if (value == NULL || json_is_null(value)) {
        return fallback_ms;
    }
    if (!units_json_ms(value, &ms) || ms <= 0) {
        config_complain(layer, CONFIG_ERROR, key,
                        "is no time; remedy: seconds, or text such as \"1min\"");
        return fallback_ms;
    }
    return ms;
}

static void load_plain(const struct config *config, const struct layers *layers,
                       struct pg_config *pg)
{
    const struct config_section *local = &layers->local;
    pg->scope = arena_strdup(layers->arena, config->scope);
    pg->name = arena_strdup(layers->arena, config->name);
    pg->data_dir = arena_strdup(layers->arena, config->data_dir);
    pg->state_dir = arena_strdup(layers->arena, config->state_dir);
    pg->config_dir = config_text(local, "config_dir");
    pg->pgpass = config_text_or(local, "pgpass", NULL);
    if (pg->pgpass == NULL) {
        pg->pgpass = default_pgpass(layers->arena, config);
    }
    pg->bin_dir = text_of(layers, "bin_dir", "");
    pg->database = text_of(layers, "database", "postgres");
    pg->use_slots = config_bool(&layers->dynamic, "use_slots", true);
    pg->use_unix_socket =
        config_bool(layer_of(layers, "use_unix_socket"), "use_unix_socket", false);
    pg->set_aside_max_bytes = size_of(layers, "set_aside_max_size", SET_ASIDE_DEFAULT);
    pg->pg_ctl_timeout_ms = time_of(layers, "pg_ctl_timeout", 60000);
    pg->pg_hba = lines_of(layer_of(layers, "pg_hba"), "pg_hba", &pg->pg_hba_count);
    pg->pg_ident = lines_of(layer_of(layers, "pg_ident"), "pg_ident", &pg->pg_ident_count);
    const struct config_section authentication = config_subsection(local, "authentication");
    pg->superuser = credentials(&authentication, "superuser");
    pg->replication = credentials(&authentication, "replication");
    pg->rewind = credentials(&authentication, "rewind");
}

enum err config_effective(const struct config *config, const json_t *dynamic, struct arena *arena,
                          struct pg_config *out_pg, struct config_report *report)
{
    ASSERT(config != NULL && arena != NULL && out_pg != NULL);
    static const struct yaml_mark store = {.file = "/config in the store"};
    const bool in_file = dynamic == config->bootstrap_dcs; /* what will become /config */
    struct config_report own; /* errors must be counted even when nobody listens */
    config_report_init(&own);
    struct config_report *to = report != NULL ? report : &own;
    const uint32_t errors_before = to->error_count;
    const json_t *shared = json_object_get(dynamic, "postgresql");
    struct layers layers = {
        .local = {.json = config->postgresql,
                  .path = "postgresql",
                  .marks = config->marks,
                  .where = yaml_mark_key(config->marks, config->root, "postgresql"),
                  .report = to,
                  .arena = arena},
        .dynamic = {.json = json_is_object(shared) ? shared : NULL,
                    .path = in_file ? "bootstrap.dcs.postgresql" : "postgresql",
                    .marks = in_file ? config->marks : NULL,
                    .where = in_file ? yaml_mark_key(config->marks, dynamic, "postgresql") : &store,
                    .report = to,
                    .arena = arena},
        .arena = arena,
    };
    struct pg_config pg = {.scope = NULL};
    load_plain(config, &layers, &pg);
    load_addresses(&layers, &pg);
    load_options(config, &layers, &pg);
    config_parameters(&layers.local, &layers.dynamic, &pg);
    bool good = to->error_count == errors_before;
    config_report_fini(&own);
    if (!good) {
        return ERR_INVALID;
    }
    *out_pg = pg;
    return ERR_OK;
}
