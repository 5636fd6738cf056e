/* One table of words per section, found by the section's dotted path. A word with a leading '-' is
 * understood as Patroni's and has no effect in this build: said once, so that nobody relies on it. */
#include "config/keys.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

#define WORD_MAX 63

static const char *const TOP[] = {"scope",
                                  "name",
                                  "namespace",
                                  "local",
                                  "restapi",
                                  "ctl",
                                  "log",
                                  "tags",
                                  "bootstrap",
                                  "postgresql",
                                  "-watchdog",
                                  "-citus",
                                  "consul",
                                  "etcd",
                                  "etcd3",
                                  "zookeeper",
                                  "exhibitor",
                                  "kubernetes",
                                  "raft",
                                  "-thread_pool_size",
                                  "-thread_stack_size",
                                  NULL};
static const char *const LOCAL[] = {"path", "dir", NULL};
static const char *const CONSUL[] = {"host",
                                     "url",
                                     "port",
                                     "scheme",
                                     "token",
                                     "verify",
                                     "cacert",
                                     "cert",
                                     "key",
                                     "dc",
                                     "consistency",
                                     "checks",
                                     "register_service",
                                     "service_tags",
                                     "service_check_interval",
                                     "service_check_tls_server_name",
                                     NULL};
static const char *const RESTAPI[] = {"listen",
                                      "connect_address",
                                      "authentication",
                                      "-certfile",
                                      "-keyfile",
                                      "-keyfile_password",
                                      "-cafile",
                                      "-ciphers",
                                      "-verify_client",
                                      "-allowlist",
                                      "-allowlist_include_members",
                                      "-http_extra_headers",
                                      "-https_extra_headers",
                                      "-request_queue_size",
                                      "-server_tokens",
                                      "-thread_pool_size",
                                      NULL};
static const char *const BASIC_AUTH[] = {"username", "password", NULL};
static const char *const CTL[] = {"insecure",          "cacert",         "certfile", "keyfile",
                                  "-keyfile_password", "authentication", NULL};
static const char *const LOG[] = {"level",
                                  "dir",
                                  "-type",
                                  "-traceback_level",
                                  "-format",
                                  "-dateformat",
                                  "-static_fields",
                                  "-max_queue_size",
                                  "-mode",
                                  "-file_num",
                                  "-file_size",
                                  "-loggers",
                                  "-deduplicate_heartbeat_logs",
                                  NULL};
static const char *const BOOTSTRAP[] = {
    "dcs", "method", "initdb", "pg_hba", "-post_bootstrap", "-post_init", "-users", NULL};
static const char *const DCS[] = {"ttl",
                                  "loop_wait",
                                  "retry_timeout",
                                  "maximum_lag_on_failover",
                                  "check_timeline",
                                  "primary_start_timeout",
                                  "master_start_timeout",
                                  "failsafe_mode",
                                  "pause",
                                  "postgresql",
                                  "-maximum_lag_on_syncnode",
                                  "-primary_race_backoff",
                                  "-max_timelines_history",
                                  "-primary_stop_timeout",
                                  "-master_stop_timeout",
                                  "-synchronous_mode",
                                  "-synchronous_mode_strict",
                                  "-synchronous_node_count",
                                  "-member_slots_ttl",
                                  "-slots",
                                  "-permanent_slots",
                                  "-permanent_replication_slots",
                                  "-ignore_slots",
                                  "-standby_cluster",
                                  NULL};
static const char *const POSTGRESQL[] = {"listen",
                                         "connect_address",
                                         "data_dir",
                                         "state_dir",
                                         "config_dir",
                                         "bin_dir",
                                         "database",
                                         "pgpass",
                                         "authentication",
                                         "parameters",
                                         "pg_hba",
                                         "pg_ident",
                                         "recovery_conf",
                                         "use_pg_rewind",
                                         "rewind",
                                         "remove_data_directory_on_rewind_failure",
                                         "remove_data_directory_on_diverged_timelines",
                                         "use_slots",
                                         "basebackup",
                                         "pg_ctl_timeout",
                                         "use_unix_socket",
                                         "set_aside_max_size",
                                         "superuser",
                                         "replication",
                                         "pg_rewind",
                                         "name",
                                         "-proxy_address",
                                         "-config_base_name",
                                         "-bin_name",
                                         "-krbsrvname",
                                         "-parameters_primary",
                                         "-parameters_replica",
                                         "-parameters_standby_leader",
                                         "-pg_hba_primary",
                                         "-pg_hba_replica",
                                         "-pg_hba_standby_leader",
                                         "-pg_ident_primary",
                                         "-pg_ident_replica",
                                         "-pg_ident_standby_leader",
                                         "-custom_conf",
                                         "-create_replica_methods",
                                         "-create_replica_method",
                                         "-callbacks",
                                         "-pre_promote",
                                         "-before_stop",
                                         "-use_unix_socket_repl",
                                         NULL};
static const char *const AUTHENTICATION[] = {"superuser", "replication", "rewind", NULL};
static const char *const CREDENTIALS[] = {
    "username",        "password",       "sslmode",  "sslcert",   "sslkey",
    "sslpassword",     "sslrootcert",    "sslcrl",   "sslcrldir", "gssencmode",
    "channel_binding", "sslnegotiation", "-network", NULL};

struct section {
    const char *path;
    const char *const *words;
};

static const struct section SECTIONS[] = {
    {"", TOP},
    {"local", LOCAL},
    {"consul", CONSUL},
    {"restapi", RESTAPI},
    {"restapi.authentication", BASIC_AUTH},
    {"ctl", CTL},
    {"ctl.authentication", BASIC_AUTH},
    {"log", LOG},
    {"bootstrap", BOOTSTRAP},
    {"bootstrap.dcs", DCS},
    {"bootstrap.dcs.postgresql", POSTGRESQL},
    {"postgresql", POSTGRESQL},
    {"postgresql.authentication", AUTHENTICATION},
    {"postgresql.authentication.superuser", CREDENTIALS},
    {"postgresql.authentication.replication", CREDENTIALS},
    {"postgresql.authentication.rewind", CREDENTIALS},
    {"postgresql.superuser", CREDENTIALS},
    {"postgresql.replication", CREDENTIALS},
    {"postgresql.pg_rewind", CREDENTIALS},
};

size_t config_keys_distance(const char *a, const char *b)
{
    ASSERT(a != NULL && b != NULL);
    size_t length = strlen(b);
    size_t row[WORD_MAX + 1];
    if (length > WORD_MAX) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= length; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            size_t other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replace < other ? replace : other;
        }
    }
    return row[length];
}

/* A known word near enough to be meant, or NULL. */
static const char *nearest(const char *key, const char *const *words)
{
    const char *best = NULL;
    size_t best_distance = strlen(key) / 3 + 1;
    for (; *words != NULL; words++) {
        const char *word = *words + (**words == '-' ? 1 : 0);
        size_t distance = config_keys_distance(key, word);
        if (distance <= best_distance && (best == NULL || distance < best_distance)) {
            best = word;
            best_distance = distance;
        }
    }
    return best;
}

static const struct section *section_find(const char *path)
{
    for (size_t i = 0; i < sizeof(SECTIONS) / sizeof(SECTIONS[0]); i++) {
        if (str_equal(SECTIONS[i].path, path)) {
            return &SECTIONS[i];
        }
    }
    return NULL;
}

static void check_key(const struct section *section, const char *key, const char *path,
                      const struct yaml_mark *where, struct config_report *report)
{
    for (const char *const *word = section->words; *word != NULL; word++) {
        if (str_equal(*word, key)) {
            return;
        }
        if (**word == '-' && str_equal(*word + 1, key)) {
            config_report_at(report, CONFIG_WARNING, where, path,
                             "this build does not act upon this key; remedy: do not rely on it");
            return;
        }
    }
    const char *meant = nearest(key, section->words);
    if (meant != NULL) {
        config_report_at(report, CONFIG_WARNING, where, path,
                         "unknown key, ignored; did you mean \"%s\"?", meant);
    } else {
        config_report_at(report, CONFIG_WARNING, where, path,
                         "unknown key, ignored; remedy: remove it");
    }
}

/* Below bootstrap and postgresql a method of its own may have any name. */
static bool is_method(const json_t *object, const char *key, const json_t *value)
{
    const json_t *methods = json_object_get(object, "create_replica_methods");
    for (size_t i = 0; i < json_array_size(methods); i++) {
        const char *name = json_string_value(json_array_get(methods, i));
        if (name != NULL && str_equal(name, key)) {
            return true;
        }
    }
    return json_object_get(value, "command") != NULL;
}

static void walk(const json_t *object, const char *prefix, const struct yaml_marks *marks,
                 struct config_report *report)
{
    const struct section *section = section_find(prefix);
    const char *key;
    json_t *value;
    if (section == NULL) {
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    { /* reads only */
        char path[192];
        if (!str_format(path, sizeof(path), "%s%s%s", prefix, *prefix != '\0' ? "." : "", key)) {
            str_copy_cut(path, sizeof(path), key);
        }
        if (!is_method(object, key, value)) {
            check_key(section, key, path, yaml_mark_key(marks, object, key), report);
        }
        if (json_is_object(value)) {
            walk(value, path, marks, report);
        }
    }
}

void config_keys_check(const json_t *root, const struct yaml_marks *marks,
                       struct config_report *report)
{
    ASSERT(json_is_object(root) && marks != NULL);
    walk(root, "", marks, report);
}
