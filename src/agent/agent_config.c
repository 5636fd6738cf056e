/* agent/agent_config.c - the file, the store's /config, and what the two make together: the core's
 * settings come with each snapshot, PostgreSQL's configuration from here.
 */
#include "agent/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/json.h"

#define EFFECTIVE_BYTES_MAX (4 * 1024 * 1024)

/* FNV-1a */
static uint64_t text_hash(const char *text)
{
    uint64_t hash = 14695981039346656037ULL;
    for (const char *at = text; *at != '\0'; at++) {
        hash = (hash ^ (uint8_t)*at) * 1099511628211ULL;
    }
    return hash;
}

/* The same file is judged again with every /config: what was said once is said. */
static bool said_before(struct agent *agent, const char *text)
{
    uint64_t hash = text_hash(text);
    for (uint32_t i = 0; i < agent->said_count; i++) {
        if (agent->said[i] == hash) {
            return true;
        }
    }
    if (agent->said_count < AGENT_SAID_MAX) {
        agent->said[agent->said_count++] = hash;
    }
    return false;
}

static void report_log(struct agent *agent, const struct config_report *report)
{
    for (uint32_t i = 0; i < report->count; i++) {
        const struct config_message *message = &report->message[i];
        if (said_before(agent, message->text)) {
            continue;
        }
        switch (message->severity) {
        case CONFIG_ERROR:
            log_error("config", "%s", message->text);
            break;
        case CONFIG_WARNING:
            log_warn("config", "%s", message->text);
            break;
        case CONFIG_NOTE:
            log_info("config", "%s", message->text);
            break;
        }
    }
}

/* ---- the core's part ---- */

static void core_config_set(struct agent *agent)
{
    const struct config *config = agent->config;
    struct core_config *core = &agent->core_config;
    str_copy_cut(core->name, sizeof(core->name), config->name);
    core->nofailover = config->nofailover;
    core->failover_priority = config->failover_priority;
    core->may_bootstrap = config->may_bootstrap;
    core->clonefrom = config->clonefrom;
    /* A node that may make the cluster counts with its own bootstrap.dcs until /config is seen. */
    dynconfig_settings(config->may_bootstrap ? config->bootstrap_dcs : NULL, 0, config->postgresql,
                       NULL, &core->settings, NULL);
    agent->publish.member_known = false;
    free(agent->tags_text);
    agent->tags_text = config->tags != NULL ? json_dumps(config->tags, JSON_COMPACT) : NULL;
}

/* ---- PostgreSQL's part ---- */

/* The configuration from file and dynamic into agent->pg_config; the old one stays on an error. */
static bool effective_make(struct agent *agent, const json_t *dynamic)
{
    struct arena arena;
    arena_init(&arena, EFFECTIVE_BYTES_MAX);
    struct pg_config made;
    struct config_report *report = calloc(1, sizeof(*report)); /* too large for the stack */
    ASSERT(report != NULL);
    config_report_init(report);
    bool good = config_effective(agent->config, dynamic, &arena, &made, report) == ERR_OK;
    report_log(agent, report);
    config_report_fini(report);
    free(report);
    if (!good) {
        arena_fini(&arena);
        return false;
    }
    arena_fini(&agent->pg_arena);
    agent->pg_arena = arena;
    agent->pg_config = made;
    return true;
}

void agent_config_changed(struct agent *agent, const char *text, const json_t *dynamic)
{
    if (agent->config_last != NULL && str_equal(agent->config_last, text)) {
        return;
    }
    free(agent->config_last);
    agent->config_last = strdup(text);
    ASSERT(agent->config_last != NULL);
    if (effective_make(agent, dynamic) && agent->pg != NULL) {
        pg_reconfigure(agent->pg, &agent->pg_config);
    }
}

const struct pg_config *agent_pg_config(const struct agent *agent)
{
    return &agent->pg_config;
}

const json_t *agent_local_postgresql(const struct agent *agent)
{
    return agent->config->postgresql;
}

/* ---- texts for /config; malloc'd ---- */

char *agent_bootstrap_config(const struct agent *agent)
{
    return json_dumps(agent->config->bootstrap_dcs, JSON_COMPACT);
}

char *agent_last_config(const struct agent *agent)
{
    return agent->config_last != NULL ? strdup(agent->config_last) : agent_bootstrap_config(agent);
}

const char *agent_peer_credentials(const struct agent *agent)
{
    return agent->config->ctl_auth;
}

/* ---- loading ---- */

static enum err state_dir_make(const char *path, struct err_detail *detail)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return err_set_errno(detail, ERR_INVALID, errno,
                             "cannot make postgresql.state_dir %s (its parent must exist and "
                             "belong to this user)",
                             path);
    }
    return ERR_OK;
}

static struct config *config_read(struct agent *agent)
{
    struct config *config = NULL;
    struct config_report *report = calloc(1, sizeof(*report));
    ASSERT(report != NULL);
    config_report_init(report);
    if (config_load(agent->config_path, agent->env, CONFIG_FOR_AGENT, &config, report) != ERR_OK) {
        config = NULL;
    }
    report_log(agent, report);
    config_report_fini(report);
    free(report);
    return config;
}

static void log_begin(const struct config *config)
{
    log_set_level(config->log_level);
    char path[PATH_SIZE];
    if (config->log_dir == NULL ||
        !str_format(path, sizeof(path), "%s/patroni.log", config->log_dir)) {
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        log_warn("log", "message=\"cannot open %s: writing to standard error\"", path);
        return;
    }
    log_set_fd(fd); /* for as long as the process lives */
}

enum err agent_config_load(struct agent *agent, const char *config_path, struct err_detail *detail)
{
    agent->config_path = config_path;
    agent->env = config_env_capture(true);
    agent->config = config_read(agent);
    if (agent->config == NULL) {
        return err_set(detail, ERR_INVALID, "the configuration has errors");
    }
    log_begin(agent->config);
    core_config_set(agent);
    arena_init(&agent->pg_arena, EFFECTIVE_BYTES_MAX);
    if (!effective_make(agent, agent->config->bootstrap_dcs)) {
        return err_set(detail, ERR_INVALID, "the postgresql section cannot be used");
    }
    return state_dir_make(agent->config->state_dir, detail);
}

void agent_reload(struct agent *agent)
{
    notify_send("RELOADING=1");
    agent->said_count = 0;
    struct config *config = config_read(agent);
    if (config != NULL && (!str_equal(config->name, agent->config->name) ||
                           !str_equal(config->base, agent->config->base) ||
                           !str_equal(config->data_dir, agent->config->data_dir) ||
                           !str_equal(config->state_dir, agent->config->state_dir) ||
                           !dcs_place_same(&config->store, &agent->config->store))) {
        log_error("reload",
                  "message=\"name, scope, namespace, store and directories need a restart "
                  "of the agent: nothing was changed\"");
        config_destroy(config);
        config = NULL;
    }
    if (config == NULL) {
        notify_send("READY=1");
        return;
    }
    struct config *old = agent->config;
    agent->config = config;
    json_t *dynamic = agent->config_last != NULL
                          ? json_read_object(agent->config_last, strlen(agent->config_last))
                          : json_deep_copy(config->bootstrap_dcs);
    core_config_set(agent);
    core_reconfigure(&agent->core, &agent->core_config);
    if (effective_make(agent, dynamic)) {
        pg_reconfigure(agent->pg, &agent->pg_config);
    }
    json_decref(dynamic);
    rest_bridge_reconfigure(agent);
    dcs_place_reload(agent->dcs, &config->store);
    config_destroy(old);
    log_info("reload", "message=\"the configuration was read again\"");
    notify_send("READY=1");
    agent_tick(agent);
    publish_changed(agent);
}

void agent_config_fini(struct agent *agent)
{
    arena_fini(&agent->pg_arena);
    free(agent->tags_text);
    free(agent->config_last);
    config_destroy(agent->config);
    agent->config = NULL;
    config_env_free(agent->env);
    agent->env = NULL;
}
