/* The struct's life, its configuration, and what it hears from outside: the postmaster's start and
 * end, the data directory's changes, the heartbeat connection's loss. */
#include "pg/pg_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "codec/conninfo.h"

/* ---- configuration ---- */

static bool copy_text(struct arena *arena, const char **text)
{
    if (*text == NULL) {
        return true;
    }
    *text = arena_strdup(arena, *text);
    return *text != NULL;
}

static bool copy_parameters(struct arena *arena, const struct pg_parameter **list, size_t count)
{
    if (count == 0) {
        *list = NULL;
        return true;
    }
    struct pg_parameter *copy = arena_alloc(arena, count * sizeof(*copy));
    if (copy == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        copy[i] = (*list)[i];
        if (!copy_text(arena, &copy[i].name) || !copy_text(arena, &copy[i].value)) {
            return false;
        }
    }
    *list = copy;
    return true;
}

static bool copy_lines(struct arena *arena, const char *const **list, size_t count)
{
    if (count == 0) {
        *list = NULL;
        return true;
    }
    const char **copy = arena_alloc(arena, count * sizeof(*copy));
    if (copy == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        copy[i] = (*list)[i];
        if (!copy_text(arena, &copy[i])) {
            return false;
        }
    }
    *list = copy;
    return true;
}

static bool copy_credentials(struct arena *arena, struct pg_credentials *credentials)
{
    return copy_text(arena, &credentials->username) && copy_text(arena, &credentials->password) &&
           copy_text(arena, &credentials->sslmode) &&
           copy_parameters(arena, &credentials->options, credentials->option_count);
}

static bool config_copy(struct arena *arena, const struct pg_config *from, struct pg_config *out)
{
    struct pg_config to = *from;
    const char **texts[] = {&to.scope,    &to.name,       &to.listen_addresses, &to.connect_host,
                            &to.data_dir, &to.config_dir, &to.bin_dir,          &to.state_dir,
                            &to.pgpass,   &to.database};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!copy_text(arena, texts[i])) {
            return false;
        }
    }
    bool ok = copy_credentials(arena, &to.superuser) && copy_credentials(arena, &to.replication) &&
              copy_credentials(arena, &to.rewind) &&
              copy_parameters(arena, &to.parameters, to.parameter_count) &&
              copy_parameters(arena, &to.controlled, to.controlled_count) &&
              copy_parameters(arena, &to.recovery, to.recovery_count) &&
              copy_lines(arena, &to.pg_hba, to.pg_hba_count) &&
              copy_lines(arena, &to.bootstrap_pg_hba, to.bootstrap_pg_hba_count) &&
              copy_lines(arena, &to.pg_ident, to.pg_ident_count) &&
              copy_lines(arena, &to.initdb_options, to.initdb_option_count) &&
              copy_lines(arena, &to.basebackup_options, to.basebackup_option_count) &&
              copy_lines(arena, &to.rewind_options, to.rewind_option_count);
    if (ok) {
        *out = to;
    }
    return ok;
}

void pg_binary(const struct pg *pg, const char *name, char out[PATH_SIZE])
{
    if (pg->config.bin_dir != NULL && pg->config.bin_dir[0] != '\0') {
        (void)snprintf(out, PATH_SIZE, "%s/%s", pg->config.bin_dir, name); /* length checked */
        return;
    }
    const char *path = getenv("PATH");
    for (const char *at = path != NULL ? path : ""; *at != '\0';) {
        size_t length = strcspn(at, ":");
        if (str_format(out, PATH_SIZE, "%.*s/%s", (int)length, at, name) &&
            access(out, X_OK) == 0) {
            return;
        }
        at += length + (at[length] == ':' ? 1 : 0);
    }
    (void)snprintf(out, PATH_SIZE, "%s", name); /* the exec will say that there is none */
}

/* What follows from a configuration. */
static void config_derive(struct pg *pg)
{
    conninfo_slot_name(pg->config.name, pg->slot_name);
    pg_binary(pg, "postgres", pg->postgres_path);
}

static enum err config_check(const struct pg_config *config)
{
    const char *needed[] = {config->scope,    config->name,   config->listen_addresses,
                            config->data_dir, config->pgpass, config->database,
                            config->state_dir};
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        if (needed[i] == NULL || needed[i][0] == '\0') {
            return ERR_INVALID;
        }
    }
    /* room for the longest name below them */
    return strlen(config->data_dir) + 128 < PATH_SIZE && strlen(config->state_dir) + 256 < PATH_SIZE
               ? ERR_OK
               : ERR_INVALID;
}

/* ---- small things for the other files ---- */

static void on_changed_timer(uv_timer_t *timer)
{
    struct pg *pg = timer->data;
    pg->changed_pending = false;
    if (pg->changed_cb != NULL && !pg->closing) {
        pg->changed_cb(pg->arg);
    }
}

void pg_changed(struct pg *pg)
{
    if (!pg->changed_pending && !pg->closing) {
        pg->changed_pending = true;
        int rc = uv_timer_start(&pg->changed_timer, on_changed_timer, 0, 0);
        ASSERT(rc == 0);
    }
}

void pg_changed_after(struct pg *pg, int64_t ms)
{
    if (!pg->changed_pending && !pg->closing) {
        int rc = uv_timer_start(&pg->changed_timer, on_changed_timer, (uint64_t)ms, 0);
        ASSERT(rc == 0);
    }
}

void pg_state_set(struct pg *pg, const char *state)
{
    str_copy_cut(pg->details.state, sizeof(pg->details.state), state);
}

const struct pg_details *pg_details(const struct pg *pg)
{
    return &pg->details;
}

const struct pg_credentials *pg_rewind_credentials(const struct pg *pg)
{
    return pg->config.rewind.username != NULL ? &pg->config.rewind : &pg->config.superuser;
}

int pg_major(const struct pg *pg)
{
    if (pg->details.server_version > 0) {
        return pg->details.server_version / 10000;
    }
    char path[PATH_SIZE];
    char text[32];
    if (str_format(path, sizeof(path), "%s/PG_VERSION", pg->config.data_dir) &&
        pg_file_read(path, text, sizeof(text))) {
        return (int)strtol(text, NULL, 10);
    }
    return pg->binaries_major;
}

static const char *parameter_value(const struct pg_config *config, const char *name)
{
    for (size_t i = 0; i < config->parameter_count; i++) {
        if (pgconf_same_name(config->parameters[i].name, name)) {
            return config->parameters[i].value;
        }
    }
    return NULL;
}

/* The first of a comma-separated list that is an absolute path (want_path) or one of the addresses
 * that mean this machine; else the first. */
static bool list_pick(const char *list, bool want_path, char *out, size_t out_size)
{
    bool first = true;
    for (const char *at = list; *at != '\0';) {
        at += strspn(at, " ,");
        size_t length = strcspn(at, " ,");
        char item[URL_SIZE];
        if (length > 0 && length < sizeof(item)) {
            memcpy(item, at, length);
            item[length] = '\0';
            bool local = str_equal(item, "*") || str_equal(item, "localhost") ||
                         str_equal(item, "0.0.0.0") || str_equal(item, "127.0.0.1");
            if (want_path ? item[0] == '/' : local) {
                return str_copy(out, out_size, want_path ? item : "localhost");
            }
            if (first && !want_path && !str_copy(out, out_size, item)) {
                return false;
            }
            first = false;
        }
        at += length;
    }
    return !want_path && !first;
}

void pg_local_target(const struct pg *pg, struct pg_target *out_target)
{
    static char host[URL_SIZE]; /* copied by the session; loop thread only */
    const struct pg_config *config = &pg->config;
    struct pg_target target = {
        .port = config->port,
        .dbname = config->database,
        .credentials = &config->superuser,
        .application_name = "Patroni heartbeat",
        .options = "-c statement_timeout=2000 -c pg_stat_statements.track=none "
                   "-c search_path=pg_catalog",
    };
    const char *sockets = parameter_value(config, "unix_socket_directories");
    if (config->use_unix_socket && sockets == NULL) {
        target.host = NULL;
    } else if (config->use_unix_socket && list_pick(sockets, true, host, sizeof(host))) {
        target.host = host;
    } else {
        target.host =
            list_pick(config->listen_addresses, false, host, sizeof(host)) ? host : "localhost";
    }
    *out_target = target;
}

void pg_source_target(const struct pg *pg, const struct pg_source *source,
                      const struct pg_credentials *credentials, struct pg_target *out_target)
{
    *out_target = (struct pg_target){
        .host = source->host,
        .port = source->port,
        .dbname = source->dbname[0] != '\0' ? source->dbname : pg->config.database,
        .credentials = credentials,
        .application_name = pg->config.name,
    };
}

static void receiver_closed(uv_handle_t *handle)
{
    free(handle);
}

/* The pidfd stays open until its poll handle is stopped. */
static void receiver_forget(struct pg *pg)
{
    if (pg->receiver != NULL) {
        (void)uv_poll_stop(pg->receiver); /* always 0 */
        uv_close((uv_handle_t *)pg->receiver, receiver_closed);
        (void)close(pg->receiver_fd); /* nothing was written */
        pg->receiver = NULL;
        pg->receiver_pid = 0;
    }
}

void pg_heartbeat_drop(struct pg *pg)
{
    pg_session_close(pg->heartbeat);
    pg->heartbeat = NULL;
    pg->heartbeat_connecting = false;
    pg->slots.busy = false;
    receiver_forget(pg);
    if (pg->probe_on_session) { /* its answer will not come: pg_probe_resume goes on by files */
        pg->probe_on_session = false;
        pg->probe_waits = true;
    }
}

static void on_watch(uv_fs_event_t *handle, const char *name, int events, int status)
{
    (void)events;
    struct pg *pg = handle->data;
    if (status != 0 || name == NULL || str_equal(name, "postmaster.pid") ||
        str_equal(name, "standby.signal") || str_equal(name, "recovery.signal")) {
        pg_changed(pg);
        if (pg->job != NULL && !pg->job->ending && pg->job->poke_fn != NULL) {
            pg->job->poke_fn(pg->job);
        }
    }
}

void pg_watch(struct pg *pg)
{
    if (pg->watching || pg->closing) {
        return;
    }
    pg->watching = uv_fs_event_start(&pg->watch, on_watch, pg->config.data_dir, 0) == 0;
}

/* ---- life ---- */

enum err pg_create(uv_loop_t *loop, const struct pg_config *config,
                   const struct pg_process *process, void (*changed_cb)(void *arg), void *arg,
                   struct pg **out_pg)
{
    ASSERT(loop != NULL && process != NULL);
    if (config_check(config) != ERR_OK) {
        return ERR_INVALID;
    }
    struct pg *pg = calloc(1, sizeof(*pg));
    ASSERT(pg != NULL);
    arena_init(&pg->config_arena, PG_CONFIG_ARENA_BYTES);
    arena_init(&pg->next_arena, PG_CONFIG_ARENA_BYTES);
    if (!config_copy(&pg->config_arena, config, &pg->config)) {
        arena_fini(&pg->config_arena);
        free(pg);
        return ERR_NO_MEMORY;
    }
    pg->loop = loop;
    pg->process = *process;
    pg->changed_cb = changed_cb;
    pg->arg = arg;
    pg->details.progress_done_bytes = -1;
    pg->details.progress_total_bytes = -1;
    int rc = uv_timer_init(loop, &pg->changed_timer);
    rc += uv_timer_init(loop, &pg->probe_timer);
    rc += uv_fs_event_init(loop, &pg->watch);
    ASSERT(rc == 0);
    pg->changed_timer.data = pg;
    pg->probe_timer.data = pg;
    pg->watch.data = pg;
    pg->open_handles = 3;
    config_derive(pg);
    pg_state_set(pg, "stopped");
    str_copy_cut(pg->details.role, sizeof(pg->details.role), "uninitialized");
    (void)!pg_dir_make(pg->config.state_dir, 0700, NULL); /* the first write to it tells */
    pg_job_kill_leftover(pg);
    pg_look_now(pg);
    pg_watch(pg);
    *out_pg = pg;
    return ERR_OK;
}

void pg_maybe_closed(struct pg *pg)
{
    if (!pg->closing || pg->open_handles > 0 || pg->job != NULL) {
        return;
    }
    if (pg_child_running(&pg->probe_child)) {
        return;
    }
    void (*cb)(void *) = pg->closed_cb;
    void *arg = pg->closed_arg;
    arena_fini(&pg->config_arena);
    arena_fini(&pg->next_arena);
    free(pg);
    if (cb != NULL) {
        cb(arg);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct pg *pg = handle->data;
    pg->open_handles--;
    pg_maybe_closed(pg);
}

void pg_destroy(struct pg *pg, void (*closed_cb)(void *arg), void *arg)
{
    ASSERT(!pg->closing);
    pg->closed_cb = closed_cb;
    pg->closed_arg = arg;
    pg_job_flush_queue(pg);
    if (pg->job != NULL) {
        pg_job_cancel(pg->job);
    }
    pg->closing = true;
    pg_heartbeat_drop(pg);
    pg_child_kill(&pg->probe_child);
    pg_probe_abandon(pg);
    uv_close((uv_handle_t *)&pg->changed_timer, on_handle_closed);
    uv_close((uv_handle_t *)&pg->probe_timer, on_handle_closed);
    uv_close((uv_handle_t *)&pg->watch, on_handle_closed);
}

/* ---- configuration while running ---- */

bool pg_is_stranger(const struct pg *pg)
{
    return pg->cluster_sysid != 0 && pg->facts.sysid != pg->cluster_sysid;
}

static void apply_live(struct pg *pg)
{
    pg_look_now(pg);
    if (pg->look.process != TRI_YES || pg->look.pid == 0 || pg->look.orphan) {
        return; /* the next start writes the files */
    }
    pg->live_due = pg_is_stranger(pg);
    if (pg->live_due) {
        return;
    }
    struct arena arena;
    arena_init(&arena, PG_JOB_ARENA_BYTES);
    bool changed = false;
    struct err_detail detail = {0};
    enum err err = pg_conf_rewrite(pg, &arena, &changed, &detail);
    if (err != ERR_OK) {
        log_warn("postgres_config_not_written", "detail=\"%s\"", detail.text);
    } else if (changed) {
        (void)pg_proc_signal(pg->look.pid, pg->look.start_ticks, SIGHUP); /* gone: nothing to do */
        log_info("postgres_reload", "pid=%lld", (long long)pg->look.pid);
    }
    arena_fini(&arena);
}

void pg_config_apply_due(struct pg *pg)
{
    if (pg->live_due && !pg->closing && pg->job == NULL && !pg_is_stranger(pg)) {
        apply_live(pg);
    }
}

void pg_set_cluster(struct pg *pg, uint64_t sysid)
{
    pg->cluster_sysid = sysid;
    pg_config_apply_due(pg);
}

void pg_config_swap(struct pg *pg)
{
    if (!pg->has_next_config || pg->job != NULL || pg->closing) {
        return;
    }
    struct arena old = pg->config_arena;
    bool moved = !str_equal(pg->config.data_dir, pg->next_config.data_dir);
    pg->config_arena = pg->next_arena;
    pg->config = pg->next_config;
    pg->has_next_config = false;
    arena_init(&pg->next_arena, PG_CONFIG_ARENA_BYTES);
    arena_fini(&old);
    config_derive(pg);
    if (moved && pg->watching) {
        (void)uv_fs_event_stop(&pg->watch); /* always 0 */
        pg->watching = false;
    }
    pg_watch(pg);
    apply_live(pg);
}

void pg_reconfigure(struct pg *pg, const struct pg_config *config)
{
    if (config_check(config) != ERR_OK) {
        log_error("postgres_config_refused", "reason=\"a mandatory setting is missing\"");
        return;
    }
    arena_fini(&pg->next_arena);
    pg->has_next_config = config_copy(&pg->next_arena, config, &pg->next_config);
    if (!pg->has_next_config) {
        log_error("postgres_config_refused", "reason=\"larger than %d bytes\"",
                  PG_CONFIG_ARENA_BYTES);
        return;
    }
    pg_config_swap(pg);
}

/* ---- the process interface's news ---- */

void pg_postmaster_started(struct pg *pg, enum err err, int64_t pid, uint64_t start_ticks,
                           const struct err_detail *detail)
{
    if (pg->closing) {
        return;
    }
    pg->start_pending = false;
    if (err == ERR_OK) {
        pg->pid = pid;
        pg->start_ticks = start_ticks;
        pg->ending = PG_END_NONE;
        pg->promoted = false;
        pg->received_timeline = 0;
    }
    if (pg->job != NULL && !pg->job->ending && pg->job->awaits_start) {
        pg->job->awaits_start = false;
        if (err == ERR_OK) {
            pg_job_next(pg->job);
        } else {
            pg_job_fail_detail(pg->job, err, detail);
        }
    }
    pg_changed(pg);
}

void pg_postmaster_exited(struct pg *pg, int64_t pid)
{
    if (pg->closing || (pg->pid != 0 && pg->pid != pid)) {
        return;
    }
    bool known = pg->pid != 0;
    pg->pid = 0;
    pg->start_ticks = 0;
    pg_heartbeat_drop(pg);
    pg_probe_resume(pg);
    if (known && pg->ending == PG_END_NONE) {
        pg->ending = PG_END_CRASHED;
        pg_state_set(pg, "crashed");
        log_warn("postgres_exited", "pid=%lld", (long long)pid);
    }
    if (pg->job != NULL && !pg->job->ending && pg->job->exited_fn != NULL) {
        pg->job->exited_fn(pg->job);
    }
    pg_changed(pg);
}
