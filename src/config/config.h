/* config/config.h - one node's configuration, from file, directory and environment.
 *
 * Purpose    load, check and hold the local configuration; merge it with /config into what the
 *            PostgreSQL layer is given.
 * Ownership  config_load's answer goes to config_destroy; all texts and trees in it live as long.
 *            config_effective puts everything that its answer points to into the caller's arena.
 * Errors     complaints of every kind go to the report; ERR_INVALID when one of them is an error.
 * Threads    any; reads files.
 * Source     compat/config.md sections 1 to 6; store section `local` and keys `postgresql.state_dir`,
 *            `postgresql.set_aside_max_size` are ours.
 */
#ifndef HOLDFAST_CONFIG_CONFIG_H
#define HOLDFAST_CONFIG_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/log.h"
#include "codec/dynconfig.h"
#include "codec/yaml.h"
#include "config/env.h"
#include "config/report.h"
#include "dcs/place.h"
#include "pg/pg_config.h"

struct config {
    const char *file; /* or directory, or "environment" */
    const char *scope;
    const char *name;      /* "" only for CONFIG_FOR_CTL */
    const char *base;      /* "/service/demo": the cluster's prefix in the store */
    const char *namespace; /* "service" */

    /* the store; none only for CONFIG_FOR_CTL */
    struct dcs_place store;
    const char *store_dir; /* local.dir; "" when only the path is given */

    /* restapi */
    const char *restapi_host; /* to listen on; "" all addresses */
    uint16_t restapi_port;
    const char *restapi_connect; /* "host:port" as published */
    const char *api_url;         /* "http://host:port/patroni" */
    const char *restapi_auth;    /* "user:password"; NULL: none. Never logged. */

    /* ctl */
    const char *ctl_auth; /* falls back on restapi_auth; NULL: none */
    bool ctl_insecure;
    const char *ctl_cacert; /* NULL: none, as the next two */
    const char *ctl_certfile;
    const char *ctl_keyfile;

    /* log */
    enum log_level log_level;
    const char *log_dir; /* NULL: standard error; the file is <log_dir>/patroni.log */

    /* tags */
    const json_t *tags; /* as published in the member key (config.md 2.9); may be empty */
    bool nofailover;    /* also by failover_priority <= 0 */
    int32_t failover_priority;
    bool nosync;
    bool noloadbalance;
    bool clonefrom;
    bool nostream;
    const char *replicatefrom; /* "" none */

    /* bootstrap */
    bool may_bootstrap;          /* there is a bootstrap section */
    const json_t *bootstrap_dcs; /* first content of /config; never NULL, may be {} */

    /* postgresql */
    const json_t *postgresql; /* the section; never NULL */
    const char *conn_url;     /* "postgres://host:port/postgres" as published */
    const char *data_dir;     /* "" only for CONFIG_FOR_CTL, as the next */
    const char *state_dir;

    const json_t *root;             /* file and environment merged */
    const struct yaml_marks *marks; /* where each key stands */
    struct config_private *impl;
};

enum config_purpose {
    CONFIG_FOR_AGENT, /* all of it must be right */
    CONFIG_FOR_CTL,   /* scope and store are enough, and even these may come from elsewhere */
};

/* path: a file, or a directory whose *.yml and *.yaml are merged in order; NULL: the environment
 * alone. env may be NULL: none. Warnings come with ERR_OK too. On error *out_config is untouched. */
enum err config_load(const char *path, const struct config_env *env, enum config_purpose purpose,
                     struct config **out_config, struct config_report *report) MUST_CHECK;

void config_destroy(struct config *config); /* takes NULL */

/* defaults <- dynamic <- local (config.md 1.3). dynamic: the content of /config, NULL when there is
 * none. ERR_INVALID: `parameters` is no map or a value cannot be used: keep the old one. */
enum err config_effective(const struct config *config, const json_t *dynamic, struct arena *arena,
                          struct pg_config *out_pg, struct config_report *report) MUST_CHECK;

/* "host", "host:port", "[::1]:port"; out_host without brackets; the port stays when none is given. */
bool config_split_address(const char *text, char *out_host, size_t out_size,
                          uint16_t *port) MUST_CHECK;

/* "/" namespace "/" scope with repeated slashes collapsed and none at the end. */
const char *config_base_path(struct arena *arena, const char *name_space, const char *scope);

#endif
