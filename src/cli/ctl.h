/* cli/ctl.h - what the commands of `holdfast ctl` share; only for src/cli.
 *
 * Purpose    the configuration, one linearizable read of a cluster, one HTTP call, prompts.
 * Ownership  struct ctl is the command's for its whole run; answers say whose they are.
 * Errors     told on standard error as "Error: ..." by the function that says so.
 * Threads    one; each call runs the loop until its answer is there or its time is over.
 */
#ifndef HOLDFAST_CLI_CTL_H
#define HOLDFAST_CLI_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/arena.h"
#include "base/err.h"
#include "cli/table.h"
#include "codec/records.h"
#include "config/config.h"
#include "dcs/dcs.h"
#include "net/http_client.h"

struct ctl {
    struct config *config;
    struct dcs_place store;
    const char *name_space; /* of the keys */
    bool strict;            /* a failed call is a failed exit */
    bool insecure;
    uv_loop_t loop;
    struct arena arena;
};

/* One cluster as the store has it. */
struct ctl_cluster {
    const char *name;
    struct core_cluster core;
    struct member_info members[MEMBERS_MAX];
    uint32_t member_count;
    json_t *member_json[MEMBERS_MAX]; /* what member_info leaves out */
    json_t *config;                   /* /config; NULL: absent or garbage */
    uint64_t config_version;
    struct records_sync sync;
};

/* "Error: TEXT" on standard error; answers 1. */
int ctl_error(const char *format, ...) PRINTF_LIKE(1, 2);

/* The cluster's name given, or the configuration's scope; NULL after an error was told. */
const char *ctl_cluster_name(const struct ctl *ctl, const char *given);

/* A linearizable read; an error is told and false answered. To be freed. */
struct ctl_cluster *ctl_cluster_read(struct ctl *ctl, const char *name) MUST_CHECK;
void ctl_cluster_free(struct ctl_cluster *cluster); /* takes NULL */

/* One transaction on the cluster's keys. */
enum err ctl_cluster_write(struct ctl *ctl, const char *name, const struct dcs_op *ops,
                           size_t count, struct err_detail *detail) MUST_CHECK;

const struct member_info *ctl_member(const struct ctl_cluster *cluster, const char *name);
const struct member_info *ctl_leader(const struct ctl_cluster *cluster); /* NULL: none, or no key */

struct ctl_answer {
    int status;
    char body[4096]; /* cut when longer */
};

struct ctl_request {
    enum http_method method;
    const char *api_url; /* as in the member's key */
    const char *path;    /* instead of the api_url's own: "/switchover" */
    const char *body;    /* JSON */
    int64_t timeout_ms;
};

enum err ctl_call(struct ctl *ctl, const struct ctl_request *request, struct ctl_answer *out_answer,
                  struct err_detail *detail) MUST_CHECK;

/* The table of `list` with what follows it. */
struct ctl_list_options {
    enum table_format format;
    bool extended;
    bool timestamp;
};
void ctl_list_print(const struct ctl_cluster *cluster, const struct ctl_list_options *options,
                    FILE *out);

/* ---- prompts (prompt.c) ---- */

/* "text [default]: "; an empty answer gives the default. False: end of input ("Aborted!" told). */
bool ctl_prompt(const char *text, const char *fallback, char *out, size_t out_size) MUST_CHECK;

/* "text [y/N]: ". False for no; *out_aborted for end of input. */
bool ctl_confirm(const char *text, bool *out_aborted) MUST_CHECK;

/* "2026-11-23 12:00:00.12345" local time. */
#define CTL_TIME_SIZE 64
void ctl_time(char out[CTL_TIME_SIZE]);

/* Waits without a turn of the loop. */
void ctl_pause_ms(int64_t ms);

/* ---- commands: argv[0] is the command's name ---- */
int ctl_list(struct ctl *ctl, int argc, char **argv);
int ctl_switchover(struct ctl *ctl, int argc, char **argv);
int ctl_failover(struct ctl *ctl, int argc, char **argv);
int ctl_pause(struct ctl *ctl, int argc, char **argv);
int ctl_resume(struct ctl *ctl, int argc, char **argv);

#endif
