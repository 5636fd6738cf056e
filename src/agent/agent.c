/* agent/agent.c - a start in the order that renews a lease soonest, the loop, and a gentle end. What
 * a restarted agent needs for its first renewal is the page and the store: everything else is opened
 * after the first request is on its way.
 */
#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/shell.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"

/* Long: it only tidies up the keys of a node that is gone; the lease does not rest on it. */
#define SESSION_TTL_MS 15000

static struct agent *the_agent; /* for the assertion hook only */

static void print_last_plan(void)
{
    if (the_agent != NULL) {
        plan_log_print_last(the_agent);
    }
}

/* ---- the end ---- */

static void loop_end(struct agent *agent)
{
    uv_stop(&agent->loop);
}

static void part_closed(void *arg)
{
    struct agent *agent = arg;
    ASSERT(agent->closing > 0);
    agent->closing--;
    if (agent->closing == 0) {
        loop_end(agent);
    }
}

static void handle_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void close_overdue(uv_timer_t *timer)
{
    log_warn("exit", "message=\"not everything closed in time\"");
    loop_end(timer->data);
}

static void close_handle(struct agent *agent, uv_handle_t *handle)
{
    agent->closing++;
    handle->data = agent;
    uv_close(handle, handle_closed);
}

static void close_all(uv_timer_t *timer)
{
    struct agent *agent = timer->data;
    ASSERT(agent->closing == 0);
    agent->closing = 1; /* this function */
    close_handle(agent, (uv_handle_t *)&agent->wake_timer);
    close_handle(agent, (uv_handle_t *)&agent->sigterm);
    close_handle(agent, (uv_handle_t *)&agent->sigint);
    close_handle(agent, (uv_handle_t *)&agent->sighup);
    if (agent->rest.rest != NULL) {
        agent->closing++;
        rest_destroy(agent->rest.rest, part_closed, agent);
    }
    if (agent->peers.client != NULL) {
        agent->closing++;
        http_client_destroy(agent->peers.client, part_closed, agent);
    }
    if (agent->pg != NULL) {
        agent->closing++;
        pg_destroy(agent->pg, part_closed, agent);
    }
    if (agent->dcs != NULL) {
        agent->closing++;
        dcs_close(agent->dcs, part_closed, agent);
    }
    exec_guard_close(agent);
    int started = uv_timer_start(&agent->loop_timer, close_overdue, AGENT_CLOSE_MS_MAX, 0);
    ASSERT(started == 0);
    part_closed(agent);
}

void agent_exit(struct agent *agent, int code)
{
    if (agent->exiting) {
        return;
    }
    log_info("exit", "code=%d", code);
    agent->exiting = true;
    agent->exit_code = code;
    exec_guard_leaving(agent, code);
    notify_send("STOPPING=1");
    /* On a later turn: what called us is still at work on these objects. */
    uint64_t wait_ms = publish_leave(agent) ? AGENT_LAST_WORD_MS_MAX : 0;
    int started = uv_timer_start(&agent->loop_timer, close_all, wait_ms, 0);
    ASSERT(started == 0);
}

void agent_exit_go_on(struct agent *agent)
{
    if (agent->closing == 0 && agent->dcs != NULL) {
        int started = uv_timer_start(&agent->loop_timer, close_all, 0, 0);
        ASSERT(started == 0);
    }
}

void agent_leave_for_upgrade(struct agent *agent)
{
    log_info("upgrade", "message=\"making room for another version\"");
    agent->exiting = true;
    agent->exit_code = EXIT_FAILURE; /* not for good: the guard starts the next one */
    loop_end(agent);
}

/* ---- signals and the clock of loop_wait ---- */

static void leave_signal(uv_signal_t *signal, int number)
{
    struct agent *agent = signal->data;
    log_info("signal", "number=%d message=\"leaving\"", number);
    struct core_event event = {.type = CORE_EVENT_COMMAND, .u.command = CORE_COMMAND_LEAVE};
    agent_deliver(agent, &event);
}

static void reload_signal(uv_signal_t *signal, int number)
{
    (void)number;
    agent_reload(signal->data);
}

static void loop_wait_over(uv_timer_t *timer);

static void loop_again(struct agent *agent)
{
    agent->looped_at = mono_now();
    uint64_t wait_ms = (uint64_t)(agent->loop_wait_ms * 5 / 4);
    int started = uv_timer_start(&agent->loop_timer, loop_wait_over, wait_ms, 0);
    ASSERT(started == 0);
    exec_pg_probe(agent);
    publish_changed(agent);
}

static void loop_wait_over(uv_timer_t *timer)
{
    loop_again(timer->data);
}

/* Waking up costs more than what is done then: who is awake anyway when loop_wait is about over
 * does not wait for the timer, which stands a little later. */
static void loop_join(struct agent *agent)
{
    if (agent->loop_wait_ms > 0 &&
        mono_sub(mono_now(), agent->looped_at) >= agent->loop_wait_ms * 3 / 4) {
        loop_again(agent);
    }
}

/* The lease must not end before systemd notices that guard and agent are gone. */
static void watchdog_compare(struct agent *agent, int64_t ttl_ms)
{
    int64_t watchdog_ms = notify_watchdog_ms();
    if (ttl_ms != agent->watchdog_compared_ms && watchdog_ms > ttl_ms / 2) {
        log_warn(
            "watchdog",
            "watchdog_ms=%" PRId64 " ttl_ms=%" PRId64
            " message=\"systemd's watchdog is too slow for this ttl; remedy: WatchdogSec=%" PRId64
            "ms in the unit\"",
            watchdog_ms, ttl_ms, ttl_ms / 2);
    }
    agent->watchdog_compared_ms = ttl_ms;
}

/* Settings that the shell itself runs by. */
static void settings_follow(struct agent *agent)
{
    const struct core_settings *settings = &agent->core.cluster.settings;
    exec_guard_set_ttl(agent, settings->ttl_ms);
    watchdog_compare(agent, settings->ttl_ms);
    if (settings->loop_wait_ms != agent->loop_wait_ms) {
        agent->loop_wait_ms = settings->loop_wait_ms;
        loop_again(agent);
    }
}

/* ---- after every step ---- */

static void status_tell(struct agent *agent)
{
    if (agent->notified == agent->log.logged && agent->ready) {
        return;
    }
    agent->notified = agent->log.logged;
    char message[256];
    char text[320];
    plan_message(agent, agent->log.logged, message, sizeof(message));
    bool fits =
        str_format(text, sizeof(text), "%sSTATUS=%s", agent->ready ? "" : "READY=1\n", message);
    ASSERT(fits);
    agent->ready = true;
    notify_send(text);
}

void agent_after_step(struct agent *agent)
{
    settings_follow(agent);
    loop_join(agent);
    if (!agent->renewed && agent->core.own.proven_at.ms >= agent->started_at.ms &&
        core_is_leader(&agent->core, mono_now())) {
        agent->renewed = true;
        log_info("lease_proven", "ms_after_start=%lld",
                 (long long)mono_sub(mono_now(), agent->started_at));
    }
    rest_bridge_refresh(agent);
    status_tell(agent);
}

int64_t agent_store_timeout_ms(const struct agent *agent)
{
    return agent->core.cluster.settings.retry_timeout_ms;
}

int64_t agent_probe_timeout_ms(const struct agent *agent)
{
    return agent->core.cluster.settings.retry_timeout_ms / 2;
}

/* ---- the start ---- */

static void arguments_load(struct agent *agent)
{
    AUTO_CLOSE int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    static char text[4 * PATH_SIZE];
    ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    ASSERT(got > 0); /* /proc is demanded by the guard already */
    size_t count = 0;
    for (ssize_t at = 0; at < got && count + 1 < sizeof(agent->argv) / sizeof(agent->argv[0]);
         at += (ssize_t)strlen(text + at) + 1) {
        agent->argv[count++] = text + at;
    }
}

static void signal_begin(struct agent *agent, uv_signal_t *handle, uv_signal_cb cb, int number)
{
    int made = uv_signal_init(&agent->loop, handle);
    ASSERT(made == 0);
    handle->data = agent;
    made = uv_signal_start(handle, cb, number);
    ASSERT(made == 0);
}

static enum err loop_begin(struct agent *agent, struct err_detail *detail)
{
    int made = uv_loop_init(&agent->loop);
    if (made != 0) {
        return err_set(detail, ERR_REFUSED, "no event loop: %s", uv_strerror(made));
    }
    made = uv_timer_init(&agent->loop, &agent->loop_timer);
    ASSERT(made == 0);
    agent->loop_timer.data = agent;
    made = uv_timer_init(&agent->loop, &agent->wake_timer);
    ASSERT(made == 0);
    agent->wake_timer.data = agent;
    exec_guard_init(agent);
    signal_begin(agent, &agent->sigterm, leave_signal, SIGTERM);
    signal_begin(agent, &agent->sigint, leave_signal, SIGINT);
    signal_begin(agent, &agent->sighup, reload_signal, SIGHUP);
    return ERR_OK;
}

static void core_begin(struct agent *agent, const struct memory_loaded *loaded)
{
    struct page_lease lease;
    page_lease_read(agent->page, &lease);
    struct core_page page = {.present = lease.epoch != 0 || lease.deadline.ms != 0,
                             .deadline = lease.deadline,
                             .ttl_ms = lease.ttl_ms,
                             .epoch = lease.epoch,
                             .seq = lease.seq};
    agent->page_found = page.present;
    agent->page_written = page; /* what the guard's timer stands at: see page_write */
    agent->page_known = page.present;
    agent->core_config.same_boot = loaded->same_boot;
    core_init(&agent->core, &agent->core_config, &loaded->memory, &page, mono_now());
    exec_guard_set_ttl(agent, agent->core_config.settings.ttl_ms);
    exec_guard_beat(agent);
}

static enum err parts_begin(struct agent *agent, struct err_detail *detail)
{
    struct memory_loaded loaded = {0};
    enum err err = exec_memory_load(agent, agent->config->state_dir, &loaded, detail);
    if (err != ERR_OK) {
        return err;
    }
    core_begin(agent, &loaded);
    publish_init(agent);
    char session_name[2 * NAME_SIZE];
    bool fits = str_format(session_name, sizeof(session_name), "%s-%s", agent->config->scope,
                           agent->config->name);
    ASSERT(fits); /* both are at most NAME_SIZE */
    const struct dcs_place_user user = {.base = agent->config->base,
                                        .name = session_name,
                                        .scope = agent->config->scope,
                                        .member = agent->core_config.name};
    err = dcs_place_open(&agent->loop, &agent->config->store, &user, &agent->dcs, detail);
    if (err != ERR_OK) {
        return err;
    }
    dcs_session_set_ttl(agent->dcs, SESSION_TTL_MS);
    agent->peers.client = http_client_create(&agent->loop, NULL);
    struct pg_process process = exec_guard_process(agent);
    err = pg_create(&agent->loop, agent_pg_config(agent), &process, exec_pg_changed, agent,
                    &agent->pg);
    if (err != ERR_OK) {
        return err_set(detail, err, "the PostgreSQL layer does not start");
    }
    store_view_init(agent);
    return rest_bridge_init(agent, detail);
}

/* The exit code. */
static int agent_run(struct agent *agent, const char *config_path)
{
    struct err_detail detail = {0};
    enum err err = guard_client_open(&agent->guard.client, &detail);
    if (err != ERR_OK) {
        log_error("start", "message=\"%s\"", detail.text);
        return AGENT_EXIT_CONFIG;
    }
    agent->page = agent->guard.client.page;
    page_agent_beat(agent->page, mono_now());
    err = memory_boot_id(agent->boot_id, &detail);
    if (err == ERR_OK) {
        err = agent_config_load(agent, config_path, &detail);
    }
    if (err == ERR_OK) {
        err = loop_begin(agent, &detail);
    }
    if (err == ERR_OK) {
        err = parts_begin(agent, &detail);
    }
    if (err != ERR_OK) {
        log_error("start", "message=\"%s\"", detail.text);
        exec_guard_leaving(agent, AGENT_EXIT_CONFIG);
        return AGENT_EXIT_CONFIG;
    }
    log_info("start", "name=%s version=%s page=%s", agent->core_config.name, HOLDFAST_VERSION,
             agent->page_found ? "found" : "new");
    exec_guard_report(agent, false);
    exec_pg_probe(agent);
    (void)uv_run(&agent->loop, UV_RUN_DEFAULT);
    return agent->exit_code;
}

int agent_main(const char *config_path)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    ASSERT(agent != NULL);
    agent->started_at = mono_now();
    the_agent = agent;
    assert_set_hook(print_last_plan);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    int set = sigaction(SIGPIPE, &ignore, NULL);
    ASSERT(set == 0);
    arguments_load(agent);
    int code = agent_run(agent, config_path);
    agent_config_fini(agent);
    publish_fini(agent);
    store_fold_fini(agent);
    guard_client_fini(&agent->guard.client);
    return code; /* the rest goes with the process */
}
