/* agent/shell.h - the agent's one object, and what its files tell each other.
 *
 * Purpose    struct agent and the functions of each file of this folder; nobody else includes it.
 * Ownership  struct agent owns everything it holds; executors keep their requests in it.
 * Contract   facts and DONEs reach the core through agent_deliver only; an executor reports exactly
 *            one DONE for each action it was given, at once or later.
 * Units      milliseconds; struct mono is CLOCK_BOOTTIME.
 * Threads    loop thread; what runs in libuv's pool touches only the fields named for it.
 */
#ifndef HOLDFAST_AGENT_SHELL_H
#define HOLDFAST_AGENT_SHELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <uv.h>

#include "agent/address_book.h"
#include "agent/file_replace.h"
#include "agent/memory_file.h"
#include "base/notify.h"
#include "agent/publish_text.h"
#include "codec/records.h"
#include "config/config.h"
#include "core/core.h"
#include "dcs/dcs.h"
#include "guard/client.h"
#include "net/http_client.h"
#include "net/loop.h"
#include "pg/pg.h"
#include "rest/rest.h"

#define AGENT_QUEUE_MAX (2 * MEMBERS_MAX + 8) /* a round of answers that are known at once */
#define AGENT_SAID_MAX 64
#define AGENT_EXIT_CONFIG 78
#define AGENT_LAST_WORD_MS_MAX 200 /* for the member key to say "stopped" */
#define AGENT_CLOSE_MS_MAX 2000    /* for a gentle end; then the process ends anyway */

struct agent;

/* ---- plan_log.c ---- */

#define PLAN_NOTES 64

struct plan_note {
    struct wall at;
    enum core_reason reason;
    uint32_t action_count;
    enum core_action_type action[CORE_ACTIONS_MAX];
};

struct plan_log {
    struct plan_note note[PLAN_NOTES]; /* a ring */
    uint32_t next;
    uint32_t count;
    enum core_reason logged; /* the last one, when count > 0 */
};

/* Notes and logs agent->plan when it is news. */
void plan_log(struct agent *agent, struct wall wall);
/* index 0: the oldest kept. */
const struct plan_note *plan_log_get(const struct agent *agent, uint32_t index);
/* On standard error, for the assertion hook. */
void plan_log_print_last(const struct agent *agent);
/* The sentence for people of the plan in force. */
void plan_message(const struct agent *agent, enum core_reason reason, char *out, size_t out_size);

/* ---- store_view.c: the store's content as facts; reads and the watch ---- */

/* One key as the store last showed it. */
struct store_key {
    char *key;
    char *value;
    size_t value_size;
    uint64_t version;
    bool attached;
    bool changed; /* by the snapshot being applied */
};

struct store_view {
    struct core_cluster cluster; /* as last delivered */
    struct store_key *keys;      /* sorted, as in the snapshot */
    size_t key_count;
    struct member_info member[MEMBERS_MAX]; /* in the order of cluster.member */
    uint32_t member_count;
    bool members_cut; /* there are more member keys than that */
    bool failsafe_cut;
    struct core_settings settings_last; /* good ones */
    struct dcs_request request;
    bool reading;
    struct mono asked_at;
    struct mono folded_at; /* when the content last came */
    struct mono away_at;   /* the first failure in a row; 0: the store answers */
    struct core_done done;
    struct wall seen_at; /* the store told us its content; for people */
    enum store_view_check { STORE_CHECK_TO_DO, STORE_CHECK_ASKING, STORE_CHECK_DONE } check;
    struct http_request check_request;
};

void store_view_init(struct agent *agent);
void store_view_fini(struct agent *agent);
void store_view_read(struct agent *agent, const struct core_action *action);
bool store_view_reachable(const struct agent *agent);
/* A key as last shown; NULL when absent. Good until the next snapshot. */
const struct store_key *store_view_key(const struct agent *agent, const char *key);
/* Its value and version; NULL and 0 when absent. */
const char *store_view_text(const struct agent *agent, const char *key);
uint64_t store_view_version(const struct agent *agent, const char *key);
/* The own member key is there, and tied to a session. */
bool store_view_own_member_attached(const struct agent *agent);
const struct member_info *store_view_member(const struct agent *agent, const char *name);

/* ---- store_fold.c ---- */

/* Folds a whole snapshot into agent->view; only keys whose version changed are read again. */
void store_fold(struct agent *agent, const struct dcs_snapshot *snapshot);
/* Settings as they are without any /config. */
void store_fold_defaults(struct agent *agent);
void store_fold_fini(struct agent *agent);

/* ---- exec_lease.c ---- */

struct exec_lease {
    struct dcs_request request;
    bool active;
    struct dcs_op ops[8];
    char value[1024];
    struct core_done done;
};

void exec_lease_write(struct agent *agent, const struct core_action *action);
/* Sets outcome, version and conflict. */
void exec_store_outcome(enum err err, const struct dcs_txn_result *result, struct core_done *done);

/* ---- exec_keys.c ---- */

#define EXEC_KEYS_OPS_MAX 6

struct exec_keys {
    struct dcs_request request;
    bool active;
    struct dcs_op ops[EXEC_KEYS_OPS_MAX];
    size_t count;
    char *value;
    char sysid[24];
    char unknown[NAME_SIZE]; /* whose address was last found to be missing */
    struct core_done done;
};

void exec_keys_start(struct agent *agent, const struct core_action *action);

/* ---- exec_pg.c ---- */

#define EXEC_PG_CALLS_MAX 4
#define EXEC_PG_DONE_MAX (2 * EXEC_PG_CALLS_MAX) /* they wait for a probe */

struct exec_pg_call {
    struct agent *agent;
    bool active;
    enum core_action_type type;
    uint32_t id;
    struct mono started_at;
};

/* A DONE that waits for a probe begun after the action's end. */
struct exec_pg_done {
    struct core_done done;
    uint64_t probe;
};

struct exec_pg {
    struct exec_pg_call call[EXEC_PG_CALLS_MAX];
    struct exec_pg_done done[EXEC_PG_DONE_MAX];
    uint32_t done_count;
    bool probing;
    bool probe_wanted;
    uint64_t probe_number; /* of the last one sent */
};

void exec_pg_start(struct agent *agent, const struct core_action *action);
void exec_pg_probe_action(struct agent *agent, const struct core_action *action);
void exec_pg_probe(struct agent *agent);
void exec_pg_changed(void *arg);

/* ---- exec_guard.c ---- */

struct exec_guard_poll {
    uv_poll_t handle; /* first: freed through it */
};

struct exec_guard {
    struct guard_client client;
    struct exec_guard_poll *poll; /* NULL: none */
    bool gone;                    /* the socket says so */
    uv_timer_t beat_timer;
    int64_t beat_ms;
    struct mono beat_at;
    struct mono running_since; /* no gap between our own beats since then */
    struct core_guard facts;
    bool active; /* an order of the core is under way */
    uint32_t order_id;
    struct core_done done;
    uv_timer_t replace_timer; /* runs while a replacement is awaited */
    uv_timer_t news_timer;    /* something is to be told to the core */
    bool stop_asked;          /* of the postmaster, and it has not ended yet */
    bool stop_hard;
    uint32_t start_id; /* of a postmaster's start under way; 0: none */
    uv_timer_t start_timer;
    enum err start_err;
    struct err_detail start_detail;
};

void exec_guard_init(struct agent *agent);
void exec_guard_close(struct agent *agent);
void exec_guard_start(struct agent *agent, const struct core_action *action);
void exec_guard_report(struct agent *agent, bool only_changes);
/* The page's lease ends earlier than before: look now. */
void exec_guard_ping(struct agent *agent);
void exec_guard_leaving(struct agent *agent, int code);
void exec_guard_set_ttl(struct agent *agent, int64_t ttl_ms);
void exec_guard_beat(struct agent *agent);
struct pg_process exec_guard_process(struct agent *agent);

/* ---- exec_peers.c ---- */

struct exec_peers_call {
    struct agent *agent;
    struct exec_peers_round *round;
    struct http_request request;
    char name[NAME_SIZE];
};

struct exec_peers_round {
    struct exec_peers_call call[MEMBERS_MAX];
    uint32_t open; /* answers still to come */
    bool active;
    struct mono asked_at;
    uint64_t number;
    struct core_done done;
};

struct exec_peers {
    struct http_client *client;
    struct exec_peers_round status;
    struct exec_peers_round promise;
};

void exec_peers_start(struct agent *agent, const struct core_action *action);

/* ---- exec_memory.c ---- */

struct exec_memory {
    struct file_writer writer;
    struct core_done done;
    char path[PATH_SIZE];
    struct file_writer book_writer;
    bool book_dirty;
    char book_path[PATH_SIZE];
};

enum err exec_memory_load(struct agent *agent, const char *state_dir,
                          struct memory_loaded *out_loaded, struct err_detail *detail) MUST_CHECK;
void exec_memory_start(struct agent *agent, const struct core_action *action);
void exec_memory_book_changed(struct agent *agent);

/* ---- publish.c ---- */

struct publish_slot {
    struct agent *agent;
    char key[STORE_KEY_SIZE];
    struct dcs_request request;
    struct dcs_op op;
    bool active;
    char *value;            /* being written */
    char *written;          /* known written; NULL: unknown */
    struct mono written_at; /* last try */
};

struct publish {
    struct publish_slot member;
    struct member_info member_info; /* what the text last sent was made of, ... */
    bool member_known;              /* ... and nothing else that goes into it has changed since */
    char *member_fixed;             /* the member key's text without positions, as last sent */
    struct publish_slot status;
    struct publish_slot history;
    uint64_t history_seen; /* version of the key that history_current is about */
    uint32_t history_seen_timeline;
    bool history_current;
    uv_work_t work; /* the fields below belong to the pool while reading is true */
    bool reading;
    char history_path[PATH_SIZE];
    char *history_file;
    uint32_t history_timeline;
    time_t history_changed_at;
};

void publish_init(struct agent *agent);
void publish_fini(struct agent *agent);
/* Something may have changed that others are told. */
void publish_changed(struct agent *agent);
/* The last word about this node; true: it is on its way, agent_exit_go_on follows. */
bool publish_leave(struct agent *agent);

/* ---- rest_bridge.c ---- */

#define REST_ORDERS_MAX 8

struct rest_order {
    struct agent *agent;
    struct dcs_request request;
    struct dcs_op ops[2];
    bool active;
    uint64_t id;
    const char *key; /* a literal */
    char *value;
};

struct rest_bridge {
    struct rest *rest; /* NULL: not open */
    struct rest_order order[REST_ORDERS_MAX];
    struct rest_member member[MEMBERS_MAX]; /* of the view last made */
};

enum err rest_bridge_init(struct agent *agent, struct err_detail *detail) MUST_CHECK;
void rest_bridge_reconfigure(struct agent *agent);
void rest_bridge_answer(struct agent *agent, const struct core_action *action);
void rest_bridge_refresh(struct agent *agent);

/* ---- agent_config.c ---- */

enum err agent_config_load(struct agent *agent, const char *config_path,
                           struct err_detail *detail) MUST_CHECK;
void agent_config_fini(struct agent *agent);
void agent_reload(struct agent *agent);
/* A usable /config was seen. */
void agent_config_changed(struct agent *agent, const char *text, const json_t *dynamic);
const struct pg_config *agent_pg_config(const struct agent *agent);
const json_t *agent_local_postgresql(const struct agent *agent);
/* To be freed. */
char *agent_bootstrap_config(const struct agent *agent);
char *agent_last_config(const struct agent *agent);
const char *agent_peer_credentials(const struct agent *agent);

/* ---- agent_step.c ---- */

/* Steps the core with the event (now and wall are set here), starts what it orders, and again until
 * it orders nothing. During a step: queued, and folded in before the step ends. */
void agent_deliver(struct agent *agent, const struct core_event *event);
void agent_tick(struct agent *agent);
void agent_done(struct agent *agent, const struct core_done *done);

/* ---- agent.c ---- */

struct agent {
    uv_loop_t loop;
    const char *config_path; /* NULL: the environment alone */
    struct config_env *env;
    struct config *config;
    struct pg_config pg_config; /* in force; its texts are in pg_arena and config */
    struct arena pg_arena;
    uint64_t said[AGENT_SAID_MAX]; /* hashes of complaints already logged */
    uint32_t said_count;
    char *tags_text;   /* the published tags */
    char *config_last; /* the last usable /config; NULL: none was seen */
    char *argv[8];     /* of this process, for a guard that has to start another agent */
    char boot_id[BOOT_ID_SIZE];
    struct page *page;
    struct dcs *dcs;
    struct pg *pg;

    struct core core;
    struct core_config core_config;
    struct core_plan plan; /* the last one */
    uint64_t steps;
    struct core_page page_written;
    bool page_known;
    bool stepping;
    struct core_event scratch;
    struct core_event queue[AGENT_QUEUE_MAX];
    uint32_t queue_count;
    uv_timer_t wake_timer; /* libuv's clock stands still in a suspended machine; so do we */
    struct plan_log log;

    struct core_postgres facts; /* of the last probe */
    struct address_book book;

    struct store_view view;
    struct exec_lease lease;
    struct exec_keys keys;
    struct exec_pg exec_pg;
    struct exec_guard guard;
    struct exec_peers peers;
    struct exec_memory memory;
    struct publish publish;
    struct rest_bridge rest;

    uv_timer_t loop_timer; /* about every loop_wait: see loop_join */
    int64_t loop_wait_ms;
    struct mono looped_at;
    uv_signal_t sigterm;
    uv_signal_t sigint;
    uv_signal_t sighup;
    bool exiting;
    int exit_code;
    int closing; /* parts not yet closed */
    struct mono started_at;
    bool renewed;                 /* the first proven renewal was logged */
    bool page_found;              /* an agent before us left it */
    int64_t watchdog_compared_ms; /* the ttl that systemd's watchdog was last compared with */
    bool ready;                   /* systemd was told */
    enum core_reason notified;
};

void agent_after_step(struct agent *agent);
/* Ends the process gently with this code, at the guard's convention. */
void agent_exit(struct agent *agent, int code);
void agent_exit_go_on(struct agent *agent);
/* The guard is about to replace us by another version: end without touching anything. */
void agent_leave_for_upgrade(struct agent *agent);
int64_t agent_store_timeout_ms(const struct agent *agent);
int64_t agent_probe_timeout_ms(const struct agent *agent);

#endif
