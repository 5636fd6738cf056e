/* Files, directories and environment become one configuration; what is wrong is told with its place,
 * its key and a remedy, and never a password. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "config/keys.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static char directory[64];
static struct config_report report;
static struct config *config;

static const char BASE[] = "scope: demo\n"                      /* 1 */
                           "name: n1\n"                         /* 2 */
                           "local:\n"                           /* 3 */
                           "  dir: /run/store\n"                /* 4 */
                           "restapi:\n"                         /* 5 */
                           "  listen: 0.0.0.0:8008\n"           /* 6 */
                           "  connect_address: 10.0.0.1:8008\n" /* 7 */
                           "postgresql:\n"                      /* 8 */
                           "  listen: 0.0.0.0:5432\n"           /* 9 */
                           "  connect_address: 10.0.0.1:5432\n" /* 10 */
                           "  data_dir: /srv/data/\n"           /* 11 */
                           "  authentication:\n"                /* 12 */
                           "    replication:\n"                 /* 13 */
                           "      username: rep\n"              /* 14 */
                           "      password: s3cret\n";          /* 15 */

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof(directory), "/tmp/test_config_XXXXXX");
    assert_non_null(mkdtemp(directory));
    config_report_init(&report);
    config = NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    config_destroy(config);
    config_report_fini(&report);
    static const char *const names[] = {"a.yml", "b.yaml", "c.yml", "d.txt"};
    char path[128];
    for (size_t i = 0; i < COUNT(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        (void)unlink(path); /* some tests make only one */
    }
    return rmdir(directory);
}

static const char *write_file(const char *name, const char *text)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return path;
}

static enum err load_text(const char *text, enum config_purpose purpose)
{
    config_destroy(config);
    config = NULL;
    config_report_fini(&report);
    config_report_init(&report);
    enum err err = config_load(write_file("a.yml", text), NULL, purpose, &config, &report);
    assert_int_equal(err == ERR_OK, config != NULL);
    assert_int_equal(err == ERR_OK, report.error_count == 0);
    return err;
}

static const char *find(enum config_severity severity, const char *part)
{
    for (uint32_t i = 0; i < report.count; i++) {
        if (report.message[i].severity == severity &&
            strstr(report.message[i].text, part) != NULL) {
            return report.message[i].text;
        }
    }
    return NULL;
}

static void must_tell(enum config_severity severity, const char *part)
{
    const char *text = find(severity, part);
    if (text == NULL) {
        for (uint32_t i = 0; i < report.count; i++) {
            print_error("%d %s\n", report.message[i].severity, report.message[i].text);
        }
        fail_msg("nothing with \"%s\"", part);
        return;
    }
    assert_null(strstr(text, "s3cret"));
    if (severity == CONFIG_ERROR) {
        assert_non_null(strstr(text, "remedy: "));
    }
}

static void test_plain(void **state)
{
    (void)state;
    assert_int_equal(load_text(BASE, CONFIG_FOR_AGENT), ERR_OK);
    assert_int_equal(report.count, 0);
    assert_string_equal(config->scope, "demo");
    assert_string_equal(config->name, "n1");
    assert_string_equal(config->base, "/service/demo");
    assert_string_equal(config->store.socket, "/run/store/store.sock");
    assert_string_equal(config->store_dir, "/run/store");
    assert_string_equal(config->restapi_host, "0.0.0.0");
    assert_int_equal(config->restapi_port, 8008);
    assert_string_equal(config->restapi_connect, "10.0.0.1:8008");
    assert_string_equal(config->api_url, "http://10.0.0.1:8008/patroni");
    assert_null(config->restapi_auth);
    assert_null(config->ctl_auth);
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_null(config->log_dir);
    assert_int_equal(json_object_size(config->tags), 0);
    assert_int_equal(config->failover_priority, 1);
    assert_false(config->nofailover || config->may_bootstrap);
    assert_int_equal(json_object_size(config->bootstrap_dcs), 0);
    assert_string_equal(config->data_dir, "/srv/data");
    assert_string_equal(config->state_dir, "/srv/data.holdfast");
    assert_string_equal(config->conn_url, "postgres://10.0.0.1:5432/postgres");
}

static void with(const char *more)
{
    char text[4096];
    (void)snprintf(text, sizeof(text), "%s%s", BASE, more);
    (void)load_text(text, CONFIG_FOR_AGENT);
}

static void test_sections(void **state)
{
    (void)state;
    with("namespace: //a//b/\nlog: {level: debug, dir: /var/log}\n"
         "ctl: {insecure: yes, cacert: /ca, authentication: {username: u, password: 0123}}\n"
         "tags: {nofailover: true, clonefrom: false, nosync: off, sync_priority: 3, x: 1.10}\n"
         "bootstrap: {dcs: {ttl: 3}}\n");
    assert_int_equal(report.count, 0);
    assert_string_equal(config->base, "/a/b/demo");
    assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(config->log_dir, "/var/log");
    assert_true(config->ctl_insecure);
    assert_string_equal(config->ctl_cacert, "/ca");
    assert_string_equal(config->ctl_auth, "u:0123"); /* as written, not as YAML's octal number */
    assert_true(config->nofailover);
    assert_true(config->may_bootstrap);
    assert_int_equal(json_integer_value(json_object_get(config->bootstrap_dcs, "ttl")), 3);
    assert_null(json_object_get(config->tags, "clonefrom"));
    assert_non_null(json_object_get(config->tags, "nosync")); /* kept beside sync_priority */
    assert_non_null(json_object_get(config->tags, "x"));
}

/* Of a file that is right but for the store. */
static const struct dcs_place *place(const char *store)
{
    char text[2048];
    (void)snprintf(text, sizeof(text),
                   "scope: s\nname: n\nrestapi: {listen: 10.0.0.1:8008}\n"
                   "postgresql: {listen: 10.0.0.1:5432, data_dir: /d, authentication: "
                   "{superuser: {username: p, password: x}, "
                   "replication: {username: r, password: y}}}\n%s",
                   store);
    if (load_text(text, CONFIG_FOR_AGENT) != ERR_OK) {
        for (uint32_t i = 0; i < report.count; i++) {
            print_error("%s\n", report.message[i].text);
        }
        fail_msg("refused: %s", store);
    }
    return &config->store;
}

static void test_consul(void **state)
{
    (void)state;
    static const char *const urls[][2] = {
        {"consul: {}", "http://127.0.0.1:8500"},
        {"consul: {host: c1}", "http://c1:8500"},
        {"consul: {host: 'c1:9', scheme: https}", "https://c1:9"},
        {"consul: {host: 'c1:9', port: 10}", "http://c1:10"},
        {"consul: {host: '[::1]:9'}", "http://[::1]:9"},
        {"consul: {host: c1, url: 'https://c2:7/'}", "https://c2:7"},
        {"consul: {port: 9, url: 'http://c2'}", "http://c2:8500"},
        {"consul: {host: c1}\nlocal: {dir: /d}", "http://c1:8500"},
        {"etcd: {}\nconsul: {host: c1}", "http://c1:8500"},
    };
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        const struct dcs_place *store = place(urls[i][0]);
        assert_int_equal(store->kind, DCS_KIND_CONSUL);
        assert_string_equal(store->consul.url, urls[i][1]);
    }
    const struct dcs_consul_config *consul = &place("consul: {}")->consul;
    assert_int_equal(report.count, 0);
    assert_true(consul->verify && !consul->consistent && !consul->register_service);
    assert_string_equal(consul->token, "");
    assert_string_equal(consul->dc, "");
    assert_null(consul->cacert);
    assert_string_equal(consul->check_interval, "5s");
    assert_int_equal(consul->check_count + consul->tag_count, 0);
    consul =
        &place("consul: {token: s3cret, verify: off, cacert: /ca, cert: /c, key: /k, dc: east, "
               "consistency: consistent, checks: [serfHealth, 'x'], register_service: on, "
               "service_tags: 'b, a', service_check_interval: 2s, "
               "service_check_tls_server_name: n}")
             ->consul;
    assert_int_equal(report.count, 0);
    assert_string_equal(consul->token, "s3cret");
    assert_true(!consul->verify && consul->consistent && consul->register_service);
    assert_string_equal(consul->cacert, "/ca");
    assert_string_equal(consul->cert, "/c");
    assert_string_equal(consul->key, "/k");
    assert_string_equal(consul->dc, "east");
    assert_int_equal(consul->check_count, 2);
    assert_string_equal(consul->checks[0], "serfHealth");
    assert_int_equal(consul->tag_count, 2);
    assert_string_equal(consul->tags[0], "a");
    assert_string_equal(consul->check_interval, "2s");
    assert_string_equal(consul->check_tls_server_name, "n");
    (void)place("consul: {consistency: stale}\nlocal: {dir: /d}\nzookeeper: {}");
    must_tell(CONFIG_WARNING, "consul.consistency: stale reads are never used");
    must_tell(CONFIG_WARNING, "local: two stores are named and \"consul\" counts");
    must_tell(CONFIG_WARNING, "zookeeper: this build does not reach this store");
}

static void test_no_store_that_can_be_reached(void **state)
{
    (void)state;
    static const char text[] = "scope: s\nname: n\nrestapi: {listen: 10.0.0.1:8008}\n%s\n"
                               "postgresql: {listen: 10.0.0.1:5432, data_dir: /d}\n";
    char with_etcd[512];
    (void)snprintf(with_etcd, sizeof(with_etcd), text, "etcd3: {host: h}");
    assert_int_equal(load_text(with_etcd, CONFIG_FOR_AGENT), ERR_INVALID);
    must_tell(CONFIG_ERROR, ":4: etcd3: this build does not reach this store");
    (void)snprintf(with_etcd, sizeof(with_etcd), text, "");
    assert_int_equal(load_text(with_etcd, CONFIG_FOR_AGENT), ERR_INVALID);
    must_tell(CONFIG_ERROR, "consul: no store is named; remedy: ");
}

static void test_fallbacks(void **state)
{
    (void)state;
    static const char text[] =
        "scope: s\nlocal: {path: /x.sock, dir: /d}\nrestapi: {listen: '[::1]:9', "
        "authentication: {username: a, password: b}}\n"
        "postgresql: {name: old, listen: '127.0.0.1,::1:6', data_dir: /d, "
        "state_dir: /st, replication: {username: r, password: p}}\n";
    assert_int_equal(load_text(text, CONFIG_FOR_AGENT), ERR_OK);
    assert_string_equal(config->name, "old");
    assert_string_equal(config->store.socket, "/x.sock");
    assert_string_equal(config->api_url, "http://[::1]:9/patroni");
    assert_string_equal(config->ctl_auth, "a:b");
    assert_string_equal(config->state_dir, "/st");
}

static void test_for_ctl_little_is_enough(void **state)
{
    (void)state;
    assert_int_equal(load_text("scope: demo\nlocal: {dir: /d}\n", CONFIG_FOR_CTL), ERR_OK);
    assert_string_equal(config->base, "/service/demo");
    assert_string_equal(config->name, "");
    assert_int_equal(load_text("namespace: x\n", CONFIG_FOR_CTL), ERR_OK);
    assert_string_equal(config->scope, "");
    assert_string_equal(config->store.socket, "");
    config_destroy(config);
    config = NULL;
    assert_int_equal(config_load(NULL, NULL, CONFIG_FOR_CTL, &config, &report), ERR_OK);
    assert_string_equal(config->file, "environment");
}

/* One line of BASE is left out or replaced. */
static void without(int line, const char *instead, const char *part)
{
    char text[4096];
    size_t used = 0;
    const char *at = BASE;
    for (int i = 1; *at != '\0'; i++) {
        size_t length = strcspn(at, "\n") + 1;
        used += (size_t)(i == line
                             ? snprintf(text + used, sizeof(text) - used, "%s", instead)
                             : snprintf(text + used, sizeof(text) - used, "%.*s", (int)length, at));
        at += length;
    }
    assert_int_equal(load_text(text, CONFIG_FOR_AGENT), ERR_INVALID);
    must_tell(CONFIG_ERROR, part);
}

static void test_missing_and_wrong(void **state)
{
    (void)state;
    without(1, "", "/a.yml: scope: is missing");
    without(1, "scope: [a]\n", "/a.yml:1: scope: is not a text");
    without(1, "scope: a/b\n", "/a.yml:1: scope: \"a/b\" cannot be a cluster's name");
    without(2, "", "/a.yml: name: is missing");
    without(2, "name: __patroni_strict_sync_replica_placeholder__\n", ":2: name: ");
    without(2, "name: 0123456789012345678901234567890123456789012345678901234567890123\n",
            ":2: name: ");
    without(4, "  other: 1\n", "local: no store is named");
    without(4, "  dir: relative\n", "local.path: \"relative/store.sock\" is no usable socket");
    without(6, "", "/a.yml:5: restapi.listen: is missing");
    without(6, "  listen: 0.0.0.0:99999\n", ":6: restapi.listen: \"0.0.0.0:99999\" is no address");
    without(7, "", "restapi.connect_address: other nodes need an address they can reach");
    without(7, "  connect_address: a b:1\n",
            ":7: restapi.connect_address: \"a b:1\" is no address");
    without(9, "", ":8: postgresql.listen: is missing");
    without(9, "  listen: x:0\n", ":9: postgresql.listen: \"x:0\" is no address");
    without(10, "  connect_address: '*:5432'\n",
            ":10: postgresql.connect_address: \"*:5432\" cannot be");
    without(11, "", ":8: postgresql.data_dir: \"\" is not an absolute path");
    without(11, "  data_dir: here\n", ":11: postgresql.data_dir: \"here\" is not");
    without(13, "    superuser:\n", "postgresql.authentication.replication: is missing");
    without(13, "    replication: 5\n    superuser:\n", "authentication.replication: is ");
    without(8, "postgresql: 5\nx:\n", ":8: postgresql: is not a map");
}

/* One fault, one error: what follows from a value of the wrong kind is not told as well. */
static void test_a_fault_is_told_once(void **state)
{
    (void)state;
    without(1, "scope: [a]\n", "/a.yml:1: scope: is not a text");
    assert_int_equal(report.error_count, 1);
    config_report_fini(&report);
    config_report_init(&report);
    without(3, "local: 5\nx:\n", ":3: local: is not a map");
    assert_int_equal(report.error_count, 1);
    config_report_fini(&report);
    config_report_init(&report);
    without(8, "postgresql: 5\nx:\n", ":8: postgresql: is not a map");
    assert_int_equal(report.error_count, 1);
    config_report_fini(&report);
    config_report_init(&report);
    without(13, "    replication: 5\n    superuser:\n",
            ":13: postgresql.authentication.replication");
    assert_int_equal(report.error_count, 1);
}

/* What will become /config is still in the file: its lines are told. */
static void test_the_place_within_bootstrap(void **state)
{
    (void)state;
    with("bootstrap:\n"                    /* 16 */
         "  dcs:\n"                        /* 17 */
         "    ttl: 5\n"                    /* 18 */
         "    loop_wait: soon\n"           /* 19 */
         "    retry_timeout: 9\n"          /* 20 */
         "    postgresql:\n"               /* 21 */
         "      use_pg_rewind: maybe\n"    /* 22 */
         "      parameters:\n"             /* 23 */
         "        max_connections: many\n" /* 24 */
         "      pg_ctl_timeout: 10\n");    /* 25 */
    assert_non_null(config);
    must_tell(CONFIG_WARNING, "/a.yml:19: bootstrap.dcs.loop_wait: \"soon\" is not a time");
    must_tell(CONFIG_WARNING, "/a.yml:19: bootstrap.dcs.loop_wait: loop_wait + 2 * retry_timeout");
    must_tell(CONFIG_WARNING, "/a.yml:22: bootstrap.dcs.postgresql.use_pg_rewind: \"maybe\" is");
    must_tell(CONFIG_WARNING,
              "/a.yml:24: bootstrap.dcs.postgresql.parameters.max_connections: \"many\" is not");
    assert_int_equal(report.count, 4);
}

static void test_wrong_additions(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"log: {level: loud}\n", ":16: log.level: \"loud\" is no level"},
        {"ctl: {insecure: perhaps}\n", ":16: ctl.insecure: is not true or false"},
        {"ctl: {authentication: {username: u}}\n",
         ":16: ctl.authentication: username and password"},
        {"tags: {failover_priority: x}\n", ":16: tags.failover_priority: is not a number"},
        {"tags: {nofailover: x}\n", ":16: tags.nofailover: is not true or false"},
        {"tags: []\n", ":16: tags: is not a map"},
        {"consul: {port: 0}\n", ":16: consul.port: \"0\" is no port"},
        {"consul: {host: 'a b'}\n", ":16: consul.host: \"a b\" is no address"},
        {"consul: {url: 'ftp://a'}\n", ":16: consul.url: \"ftp://a\" is not how Consul"},
        {"consul: {url: a:8500}\n", ":16: consul.url: \"a:8500\" is not how Consul"},
        {"consul: {scheme: gopher}\n", ":16: consul.scheme: \"gopher\" is not how Consul"},
        {"consul: {consistency: some}\n", ":16: consul.consistency: \"some\" is none"},
        {"consul: {verify: perhaps}\n", ":16: consul.verify: is not true or false"},
        {"consul: {checks: [[]]}\n", ":16: consul.checks: element 1 cannot be used"},
        {"consul: {token: 'a b'}\n", ":16: consul.token: cannot be one"},
        {"consul: {dc: 'a/b'}\n", ":16: consul.dc: \"a/b\" cannot be a datacenter"},
        {"consul: {key: /k}\n", ":16: consul.cert: a key is given and no certificate"},
        {"bootstrap: {method: own, own: {command: x}}\n", ":16: bootstrap.method: "},
        {"bootstrap: {initdb: 5}\n", ":16: bootstrap.initdb: is not a list"},
        {"bootstrap: {initdb: [{a: 1, b: 2}]}\n", "element 1 is no option"},
        {"bootstrap: {initdb: [pwfile: x]}\n", "the option \"pwfile\" may not be set"},
        {"bootstrap: {pg_hba: x}\n", ":16: bootstrap.pg_hba: is not a list"},
        {"  parameters: 5\n", ":16: postgresql.parameters: is not a map"},
        {"  pg_ctl_timeout: never\n", ":16: postgresql.pg_ctl_timeout: is no time"},
        {"  set_aside_max_size: much\n", ":16: postgresql.set_aside_max_size: is no size"},
        {"  use_unix_socket: x\n", ":16: postgresql.use_unix_socket: is not true"},
        {"scope: again\n", ":16:1: scope: the key is there already in line 1"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        with(rows[i][0]);
        assert_null(config);
        must_tell(CONFIG_ERROR, rows[i][1]);
    }
}

static void test_warnings(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"watchdogs: {}\n", ":16: watchdogs: unknown key, ignored; did you mean \"watchdog\"?"},
        {"zzzzzzzzzz: 1\n", ":16: zzzzzzzzzz: unknown key, ignored; remedy: remove it"},
        {"watchdog: {mode: off}\n", ":16: watchdog: this build does not act upon this key"},
        {"bootstrap: {dcs: {ttll: 5}}\n",
         ":16: bootstrap.dcs.ttll: unknown key, ignored; did you mean "
         "\"ttl\"?"},
        {"bootstrap: {dcs: {ttl: x}}\n", ":16: bootstrap.dcs.ttl: \"x\" is not a time"},
        {"  use_pg_rewindd: 1\n",
         ":16: postgresql.use_pg_rewindd: unknown key, ignored; did you mean "
         "\"use_pg_rewind\"?"},
        {"  parameters: {wal_level: logical}\n",
         ":16: postgresql.parameters.wal_level: must be the same"},
        {"  parameters: {Port: 1}\n", ":16: postgresql.parameters.Port: is set by Holdfast"},
        {"  parameters: {x: [1]}\n", "parameters.x: is no single value"},
        {"  recovery_conf: {recovery_target: x}\n",
         "recovery_conf.recovery_target: is set by Holdfast"},
        {"  rewind: [dry-run]\n", "the option \"dry-run\" may not be set"},
        {"tags: {nofailover: false, failover_priority: 0}\n", "tags.nofailover: contradicts"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        with(rows[i][0]);
        assert_non_null(config);
        must_tell(CONFIG_WARNING, rows[i][1]);
    }
    with("tags: {nofailover: false, failover_priority: 0}\n");
    assert_false(config->nofailover); /* the boolean wins */
    with("tags: {failover_priority: 0}\n");
    assert_true(config->nofailover);
    with("  create_replica_methods: [mine]\n  mine: {x: 1}\n  other: {command: y}\n");
    assert_null(find(CONFIG_WARNING, "mine: unknown"));
    assert_null(find(CONFIG_WARNING, "other: unknown"));
}

static void test_files_that_are_none(void **state)
{
    (void)state;
    assert_int_equal(config_load("/nonexistent/x.yml", NULL, CONFIG_FOR_AGENT, &config, &report),
                     ERR_INVALID);
    must_tell(CONFIG_ERROR, "/nonexistent/x.yml: cannot be opened: No such file");
    assert_int_equal(config_load("/dev/null", NULL, CONFIG_FOR_AGENT, &config, &report),
                     ERR_INVALID);
    must_tell(CONFIG_ERROR, "/dev/null: not a file");
    assert_int_equal(config_load(directory, NULL, CONFIG_FOR_AGENT, &config, &report), ERR_INVALID);
    must_tell(CONFIG_ERROR, "no *.yml or *.yaml in this directory");
    assert_null(config);
    assert_int_equal(load_text("", CONFIG_FOR_AGENT), ERR_INVALID);
    must_tell(CONFIG_ERROR, "the file is empty");
    assert_int_equal(load_text("- a\n", CONFIG_FOR_CTL), ERR_INVALID);
    must_tell(CONFIG_ERROR, "not a map of keys");
    assert_int_equal(load_text("a: b: c", CONFIG_FOR_CTL), ERR_INVALID);
}

static void test_directory(void **state)
{
    (void)state;
    (void)write_file("a.yml", BASE);
    (void)write_file("b.yaml",
                     "name: n2\nx: &s {a: 1}\nrestapi: {authentication: {username: u, password: "
                     "p}}\nlog: {level: debug}\ntags: &t {clonefrom: true}\nmine: *t\n");
    (void)write_file("c.yml", "log: null\npostgresql: {data_dir: /other}\ntags: {nosync: true}\n");
    (void)write_file("d.txt", "name: n9\n");
    assert_int_equal(config_load(directory, NULL, CONFIG_FOR_AGENT, &config, &report), ERR_OK);
    assert_string_equal(config->name, "n2");
    assert_string_equal(config->restapi_auth, "u:p");
    assert_int_equal(config->log_level, LOG_LEVEL_INFO); /* null removes */
    assert_string_equal(config->data_dir, "/other");
    assert_string_equal(config->conn_url, "postgres://10.0.0.1:5432/postgres");
    assert_true(config->clonefrom && config->nosync);
    /* The map that an alias shared was changed in one place only. */
    assert_null(json_object_get(json_object_get(config->root, "mine"), "nosync"));
    char wanted[128];
    (void)snprintf(wanted, sizeof(wanted), "%s/c.yml", directory);
    assert_string_equal(yaml_mark_key(config->marks, config->postgresql, "data_dir")->file, wanted);
}

static void test_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("PATRONI_NAME", "from-env", 1), 0);
    assert_int_equal(setenv("PATRONI_SCOPE", "patroni", 1), 0);
    assert_int_equal(setenv("HOLDFAST_SCOPE", "ours", 1), 0);
    assert_int_equal(setenv("PATRONI_REPLICATION_PASSWORD", "0077", 1), 0);
    assert_int_equal(setenv("PATRONI_CTL_INSECURE", "on", 1), 0);
    assert_int_equal(setenv("PATRONI_LOG_LEVEL", "", 1), 0); /* empty: ignored */
    assert_int_equal(setenv("HOLDFAST_GUARD_SOMETHING", "5", 1), 0);
    struct config_env *env = config_env_capture(true);
    assert_null(getenv("PATRONI_NAME"));
    assert_null(getenv("HOLDFAST_SCOPE"));
    assert_null(getenv("PATRONI_REPLICATION_PASSWORD"));
    assert_non_null(getenv("HOLDFAST_GUARD_SOMETHING")); /* not ours to take */
    assert_null(config_env_whole(env));
    for (int i = 0; i < 2; i++) { /* a reload finds the same */
        config_destroy(config);
        assert_int_equal(
            config_load(write_file("a.yml", BASE), env, CONFIG_FOR_AGENT, &config, &report),
            ERR_OK);
        assert_string_equal(config->name, "from-env");
        assert_string_equal(config->scope, "ours");
        assert_true(config->ctl_insecure);
        struct arena arena;
        struct pg_config pg;
        arena_init(&arena, 1024 * 1024);
        assert_int_equal(config_effective(config, NULL, &arena, &pg, NULL), ERR_OK);
        assert_string_equal(pg.replication.password, "0077");
        assert_string_equal(pg.replication.username, "rep");
        arena_fini(&arena);
    }
    config_env_free(env);
    config_env_free(NULL);
    assert_int_equal(unsetenv("HOLDFAST_GUARD_SOMETHING"), 0);
    assert_int_equal(unsetenv("PATRONI_LOG_LEVEL"), 0);
}

static void test_environment_is_named_in_complaints(void **state)
{
    (void)state;
    assert_int_equal(setenv("PATRONI_RESTAPI_LISTEN", "x:99999", 1), 0);
    assert_int_equal(setenv("PATRONI_CONSUL_HOST", "h h", 1), 0);
    struct config_env *env = config_env_capture(true);
    assert_int_equal(
        config_load(write_file("a.yml", BASE), env, CONFIG_FOR_AGENT, &config, &report),
        ERR_INVALID);
    must_tell(CONFIG_ERROR,
              "environment variable PATRONI_RESTAPI_LISTEN: restapi.listen: \"x:99999\"");
    must_tell(CONFIG_ERROR, "environment variable PATRONI_CONSUL_HOST: consul.host: \"h h\" is no");
    config_env_free(env);
}

static void test_whole_configuration_in_the_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("PATRONI_CONFIGURATION", BASE, 1), 0);
    assert_int_equal(setenv("PATRONI_NAME", "ignored", 1), 0);
    struct config_env *env = config_env_capture(true);
    assert_null(getenv("PATRONI_CONFIGURATION"));
    assert_string_equal(config_env_whole(env), BASE);
    assert_int_equal(config_load(NULL, env, CONFIG_FOR_AGENT, &config, &report), ERR_OK);
    assert_string_equal(config->name, "n1");
    config_env_free(env);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *host;
        uint16_t port;
    } rows[] = {{"h:1", "h", 1},        {"h", "h", 99},
                {"", "", 99},           {":5", "", 5},
                {"*:5", "*", 5},        {"[::1]:5", "::1", 5},
                {"[::1]", "::1", 99},   {"::1", "::1", 99},
                {"a,b:5", "a,b", 5},    {"a,[::1]:5", "a,::1", 5},
                {"a,::1:5", "a,::1", 5}};
    char host[16];
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint16_t port = 99;
        assert_true(config_split_address(rows[i].text, host, sizeof(host), &port));
        assert_string_equal(host, rows[i].host);
        assert_int_equal(port, rows[i].port);
    }
    static const char *const bad[] = {"h:",   "h:0",   "h:65536",    "h:x",
                                      "h:-1", "a b:1", "http://h:1", "a-much-too-long-host:1"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint16_t port = 99;
        assert_false(config_split_address(bad[i], host, sizeof(host), &port));
        assert_int_equal(port, 99);
    }
}

static void test_base_path(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    assert_string_equal(config_base_path(&arena, "service", "demo"), "/service/demo");
    assert_string_equal(config_base_path(&arena, "/service/", "demo"), "/service/demo");
    assert_string_equal(config_base_path(&arena, "", "demo"), "/demo");
    assert_string_equal(config_base_path(&arena, "a//b", ""), "/a/b");
    assert_string_equal(config_base_path(&arena, "", ""), "/");
    arena_fini(&arena);
}

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(config_keys_distance("", ""), 0);
    assert_int_equal(config_keys_distance("a", ""), 1);
    assert_int_equal(config_keys_distance("", "abc"), 3);
    assert_int_equal(config_keys_distance("kitten", "sitting"), 3);
    assert_int_equal(config_keys_distance("ttl", "tll"), 1);
    char text[200];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_true(config_keys_distance("a", text) == SIZE_MAX);
    assert_int_equal(config_keys_distance(text, "a"), 199);
}

static void test_report_is_bounded(void **state)
{
    (void)state;
    for (int i = 0; i < CONFIG_MESSAGES_MAX + 10; i++) {
        config_report_add(&report, CONFIG_ERROR, "message %d", i);
    }
    assert_int_equal(report.count, CONFIG_MESSAGES_MAX);
    assert_int_equal(report.lost, 10);
    assert_int_equal(report.error_count, CONFIG_MESSAGES_MAX + 10);
    config_report_add(NULL, CONFIG_ERROR, "x");
    config_report_at(NULL, CONFIG_ERROR, NULL, "k", "x");
}

/* ---- effective ---- */

static struct arena pg_arena;

static struct pg_config effective(const char *more, const char *dynamic_text)
{
    struct pg_config pg = {.scope = NULL};
    with(more);
    assert_non_null(config);
    json_t *dynamic = dynamic_text == NULL ? NULL : json_loads(dynamic_text, 0, NULL);
    assert_true(dynamic_text == NULL || dynamic != NULL);
    assert_int_equal(config_effective(config, dynamic, &pg_arena, &pg, &report), ERR_OK);
    json_decref(dynamic); /* nothing may point into it */
    return pg;
}

static const char *get(const struct pg_parameter *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, name) == 0) {
            return list[i].value;
        }
    }
    return "(absent)";
}

#define CONTROLLED(pg, name) get((pg).controlled, (pg).controlled_count, name)
#define PARAMETER(pg, name) get((pg).parameters, (pg).parameter_count, name)

static void test_effective_defaults(void **state)
{
    (void)state;
    arena_init(&pg_arena, 4U * 1024 * 1024);
    struct pg_config pg = effective("", NULL);
    assert_string_equal(pg.scope, "demo");
    assert_string_equal(pg.name, "n1");
    assert_string_equal(pg.listen_addresses, "0.0.0.0");
    assert_int_equal(pg.port, 5432);
    assert_string_equal(pg.connect_host, "10.0.0.1");
    assert_int_equal(pg.connect_port, 5432);
    assert_string_equal(pg.data_dir, "/srv/data");
    assert_null(pg.config_dir);
    assert_string_equal(pg.bin_dir, "");
    assert_string_equal(pg.pgpass, "/srv/data.holdfast/pgpass");
    assert_string_equal(pg.database, "postgres");
    assert_null(pg.superuser.username);
    assert_string_equal(pg.replication.password, "s3cret");
    assert_true(pg.use_slots);
    assert_false(pg.use_unix_socket);
    assert_int_equal(pg.pg_ctl_timeout_ms, 60000);
    assert_true(pg.set_aside_max_bytes > 0);
    assert_int_equal(pg.pg_hba_count, 0);
    assert_int_equal(pg.controlled_count, 10);
    assert_string_equal(CONTROLLED(pg, "wal_level"), "replica");
    assert_string_equal(CONTROLLED(pg, "wal_log_hints"), "on");
    assert_string_equal(CONTROLLED(pg, "max_connections"), "100");
    assert_string_equal(PARAMETER(pg, "wal_keep_size"), "128MB");
    assert_string_equal(PARAMETER(pg, "wal_retrieve_retry_interval"), "200ms");
    assert_string_equal(CONTROLLED(pg, "port"), "(absent)");
    arena_fini(&pg_arena);
}

static void test_effective_layers(void **state)
{
    (void)state;
    arena_init(&pg_arena, 4U * 1024 * 1024);
    struct pg_config pg = effective(
        "  database: app\n  use_slots: false\n  pg_hba: [local all all trust, 5, \"a\\nb\"]\n"
        "  parameters: {Work_Mem: 08MB, fsync: off, log_file_mode: 0640, gone: null, "
        "max_connections: 9}\n"
        "  authentication_x: 1\n",
        "{\"postgresql\":{\"database\":\"other\",\"bin_dir\":\"/"
        "b\",\"listen\":\"evil:1\",\"data_dir\":"
        "\"/evil\",\"pgpass\":\"/evil\",\"authentication\":{\"superuser\":{\"username\":\"evil\"}},"
        "\"pg_hba\":[\"x\"],\"pg_ident\":[\"i\"],\"pg_ctl_timeout\":\"2min\",\"set_aside_max_"
        "size\":"
        "\"1GB\",\"recovery_conf\":{\"restore_command\":\"cp\"},\"basebackup\":{\"max-rate\":"
        "\"10M\","
        "\"checkpoint\":\"'fast'\",\"verbose\":true,\"off\":false,\"none\":\"\",\"zero\":0},"
        "\"parameters\":"
        "{\"work_mem\":\"4MB\",\"fsync\":true,\"gone\":1,\"jit\":false,\"random_page_cost\":1.1,"
        "\"max_connections\":\"200\",\"Max_Wal_Senders\":12,\"wal_level\":\"hot_standby\","
        "\"track_commit_timestamp\":true,\"wal_keep_segments\":10,\"cluster_name\":\"x\"}}}");
    assert_string_equal(pg.database, "app");
    assert_string_equal(pg.bin_dir, "/b");
    assert_string_equal(pg.listen_addresses, "0.0.0.0");
    assert_string_equal(pg.data_dir, "/srv/data");
    assert_string_equal(pg.pgpass, "/srv/data.holdfast/pgpass");
    assert_null(pg.superuser.username);
    assert_true(pg.use_slots); /* the store's word only */
    assert_int_equal(pg.pg_hba_count, 1);
    assert_string_equal(pg.pg_hba[0], "local all all trust");
    assert_string_equal(pg.pg_ident[0], "i");
    assert_int_equal(pg.pg_ctl_timeout_ms, 120000);
    assert_true(pg.set_aside_max_bytes == INT64_C(1073741824));
    assert_string_equal(get(pg.recovery, pg.recovery_count, "restore_command"), "cp");
    assert_int_equal(pg.basebackup_option_count, 3);
    assert_string_equal(pg.basebackup_options[0], "--max-rate=10M");
    assert_string_equal(pg.basebackup_options[1], "--checkpoint=fast");
    assert_string_equal(pg.basebackup_options[2], "--verbose");
    assert_string_equal(PARAMETER(pg, "work_mem"), "08MB"); /* one entry, the file's value */
    assert_string_equal(PARAMETER(pg, "fsync"), "off");
    assert_string_equal(PARAMETER(pg, "log_file_mode"), "0640");
    assert_string_equal(PARAMETER(pg, "gone"), "(absent)");
    assert_string_equal(PARAMETER(pg, "jit"), "off");
    assert_string_equal(PARAMETER(pg, "random_page_cost"), "1.1");
    assert_string_equal(PARAMETER(pg, "wal_keep_size"), "160MB");
    assert_string_equal(PARAMETER(pg, "wal_keep_segments"), "(absent)");
    assert_string_equal(PARAMETER(pg, "cluster_name"), "(absent)");
    assert_string_equal(CONTROLLED(pg, "max_connections"), "200");
    assert_string_equal(CONTROLLED(pg, "max_wal_senders"), "12");
    assert_string_equal(CONTROLLED(pg, "wal_level"), "replica");
    assert_string_equal(CONTROLLED(pg, "track_commit_timestamp"), "on");
    arena_fini(&pg_arena);
}

static void test_effective_refuses_bad_controlled_values(void **state)
{
    (void)state;
    arena_init(&pg_arena, 4U * 1024 * 1024);
    struct pg_config pg = effective(
        "", "{\"postgresql\":{\"parameters\":{\"max_connections\":24,\"max_wal_senders\":\"many\","
            "\"hot_standby\":\"off\",\"wal_level\":\"minimal\",\"wal_log_hints\":\"maybe\","
            "\"wal_keep_size\":\"1MB\",\"max_worker_processes\":99999999999}}}");
    assert_string_equal(CONTROLLED(pg, "max_connections"), "100");
    assert_string_equal(CONTROLLED(pg, "max_wal_senders"), "10");
    assert_string_equal(CONTROLLED(pg, "hot_standby"), "on");
    assert_string_equal(CONTROLLED(pg, "wal_level"), "replica");
    assert_string_equal(CONTROLLED(pg, "wal_log_hints"), "on");
    assert_string_equal(CONTROLLED(pg, "max_worker_processes"), "8");
    assert_string_equal(PARAMETER(pg, "wal_keep_size"), "128MB");
    must_tell(CONFIG_WARNING,
              "/config in the store: postgresql.parameters.max_connections: \"24\" is not");
    arena_fini(&pg_arena);
}

static void test_effective_refuses_bad_shapes(void **state)
{
    (void)state;
    arena_init(&pg_arena, 4U * 1024 * 1024);
    with("");
    static const char *const bad[] = {
        "{\"postgresql\":{\"parameters\":[1]}}", "{\"postgresql\":{\"pg_hba\":\"x\"}}",
        "{\"postgresql\":{\"use_slots\":\"x\"}}", "{\"postgresql\":{\"database\":{}}}"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        json_t *dynamic = json_loads(bad[i], 0, NULL);
        struct pg_config pg = {.port = 7};
        assert_int_equal(config_effective(config, dynamic, &pg_arena, &pg, NULL), ERR_INVALID);
        assert_int_equal(pg.port, 7); /* untouched */
        json_decref(dynamic);
    }
    struct pg_config pg = effective("", "{\"postgresql\":5}");
    assert_int_equal(pg.port, 5432);
    arena_fini(&pg_arena);
}

static void test_effective_options(void **state)
{
    (void)state;
    arena_init(&pg_arena, 4U * 1024 * 1024);
    struct pg_config pg = effective(
        "  rewind: [debug, '--sync']\nbootstrap:\n  initdb:\n  - encoding: UTF8\n  - locale: "
        "\"'C.UTF-8'\"\n  - data-checksums\n  pg_hba:\n  - host all all all md5\n",
        NULL);
    assert_int_equal(pg.initdb_option_count, 3);
    assert_string_equal(pg.initdb_options[0], "--encoding=UTF8");
    assert_string_equal(pg.initdb_options[1], "--locale=C.UTF-8");
    assert_string_equal(pg.initdb_options[2], "--data-checksums");
    assert_int_equal(pg.rewind_option_count, 2);
    assert_string_equal(pg.rewind_options[1], "--sync");
    assert_int_equal(pg.bootstrap_pg_hba_count, 1);
    arena_fini(&pg_arena);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_plain),
        TEST(test_sections),
        TEST(test_consul),
        TEST(test_no_store_that_can_be_reached),
        TEST(test_fallbacks),
        TEST(test_for_ctl_little_is_enough),
        TEST(test_missing_and_wrong),
        TEST(test_a_fault_is_told_once),
        TEST(test_the_place_within_bootstrap),
        TEST(test_wrong_additions),
        TEST(test_warnings),
        TEST(test_files_that_are_none),
        TEST(test_directory),
        TEST(test_environment),
        TEST(test_environment_is_named_in_complaints),
        TEST(test_whole_configuration_in_the_environment),
        TEST(test_addresses),
        TEST(test_base_path),
        TEST(test_distance),
        TEST(test_report_is_bounded),
        TEST(test_effective_defaults),
        TEST(test_effective_layers),
        TEST(test_effective_refuses_bad_controlled_values),
        TEST(test_effective_refuses_bad_shapes),
        TEST(test_effective_options),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
