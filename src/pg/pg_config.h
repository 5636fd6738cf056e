/* pg/pg_config.h - what the PostgreSQL layer is configured with.
 *
 * Purpose    the `postgresql` section after merging (compat/config.md sections 1.3, 4, 5), as plain
 *            values; filled in by agent/config, which also owns the arena that holds the text.
 * Ownership  pg_create and pg_reconfigure copy what they keep; pointers need live only for the call.
 * Units      *_ms.
 */
#ifndef HOLDFAST_PG_PG_CONFIG_H
#define HOLDFAST_PG_PG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct pg_parameter {
    const char *name; /* as written; GUC names are case-insensitive */
    const char *value;
};

/* One role of postgresql.authentication. username NULL: libpq's default. */
struct pg_credentials {
    const char *username;
    const char *password; /* NULL: none. Never logged, never in argv. */
    const char *sslmode;  /* NULL: not set; further ssl keys in `options` */
    const struct pg_parameter *options;
    size_t option_count;
};

struct pg_config {
    const char *scope; /* cluster_name */
    const char *name;  /* member name: application_name, slot name */
    const char *listen_addresses;
    uint16_t port;
    const char *connect_host;
    uint16_t connect_port;
    const char *data_dir;
    const char *config_dir; /* NULL: data_dir */
    const char *bin_dir;    /* "": $PATH */
    const char *state_dir;  /* ours, beside the data directory: wal set aside, logs */
    const char *pgpass;     /* file name */
    const char *database;   /* "postgres" */
    struct pg_credentials superuser;
    struct pg_credentials replication;
    struct pg_credentials rewind;          /* username NULL: use superuser */
    const struct pg_parameter *parameters; /* uncontrolled, merged */
    size_t parameter_count;
    const struct pg_parameter *controlled; /* go on the command line (config.md section 5.1) */
    size_t controlled_count;
    const struct pg_parameter *recovery; /* recovery_conf */
    size_t recovery_count;
    const char *const *pg_hba; /* lines; count 0: leave the file alone */
    size_t pg_hba_count;
    const char *const *bootstrap_pg_hba; /* appended after initdb when pg_hba is empty */
    size_t bootstrap_pg_hba_count;
    const char *const *pg_ident;
    size_t pg_ident_count;
    const char *const *initdb_options; /* "--encoding=UTF8", checked */
    size_t initdb_option_count;
    const char *const *basebackup_options;
    size_t basebackup_option_count;
    const char *const *rewind_options;
    size_t rewind_option_count;
    bool use_slots;
    bool use_unix_socket;
    int64_t set_aside_max_bytes; /* WAL from the fork kept at most (INV-5) */
    int64_t pg_ctl_timeout_ms;
};

#endif
