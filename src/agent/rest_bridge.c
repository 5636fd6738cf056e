/* agent/rest_bridge.c - REST shows what the agent knows and passes on what people order. The view is
 * made when somebody asks, so an idle node does nothing for it.
 */
#include "agent/shell.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/json.h"

/* ---- the view ---- */

static void postgres_fill(const struct agent *agent, struct status_postgres *out)
{
    const struct pg_details *details = pg_details(agent->pg);
    const struct core_postgres *facts = &agent->facts;
    out->answered = facts->accepting == TRI_YES;
    out->process = facts->process == TRI_YES;
    str_copy_cut(out->state, sizeof(out->state), details->state);
    str_copy_cut(out->role, sizeof(out->role), details->role);
    out->server_version = details->server_version;
    str_copy_cut(out->postmaster_start_time, sizeof(out->postmaster_start_time),
                 details->postmaster_start_time);
    out->flush_lsn = details->flush_lsn;
    out->received_lsn = details->received_lsn;
    out->replayed_lsn = details->replayed_lsn;
    out->latest_end_lsn = details->latest_end_lsn;
    str_copy_cut(out->replayed_timestamp, sizeof(out->replayed_timestamp),
                 details->replayed_timestamp);
    out->replay_paused = details->replay_paused;
    str_copy_cut(out->replication_state, sizeof(out->replication_state),
                 details->replication_state);
    out->replication_json = details->replication_json;
    out->timeline = details->timeline;
    out->sysid = details->sysid;
}

static void mode_fill(const struct agent *agent, struct rest_view *view)
{
    const char *text = store_view_text(agent, "config");
    json_t *config = text != NULL ? json_read_object(text, strlen(text)) : NULL;
    const json_t *mode = json_object_get(config, "synchronous_mode");
    const char *word = json_string_value(mode);
    view->quorum_mode = word != NULL && str_equal(word, "quorum");
    view->synchronous_mode = json_is_true(mode) || view->quorum_mode ||
                             (word != NULL && (str_equal(word, "on") || str_equal(word, "true")));
    view->standby_cluster = json_object_size(json_object_get(config, "standby_cluster")) > 0;
    json_decref(config);
}

static void view_fill(void *arg, struct rest_view *view)
{
    struct agent *agent = arg;
    struct mono now = mono_now();
    postgres_fill(agent, &view->postgres);
    if (agent->view.folded_at.ms != 0) {
        view->cluster = &agent->view.cluster;
        view->cluster_seen_at = agent->view.folded_at;
        view->cluster_seen_wall_s = agent->view.seen_at.ms / 1000;
    }
    const struct store_key *sync = store_view_key(agent, "sync");
    struct records_item item = {.key = "sync"};
    if (sync != NULL) {
        item.value = sync->value;
        item.value_size = sync->value_size;
        item.version = sync->version;
    }
    records_parse_sync(&item, &view->sync);
    mode_fill(agent, view);
    view->member_count = agent->view.member_count;
    for (uint32_t i = 0; i < agent->view.member_count; i++) {
        struct rest_member *member = &agent->rest.member[i];
        char key[STORE_KEY_SIZE];
        member->info = agent->view.member[i];
        bool fits = str_format(key, sizeof(key), "members/%s", member->info.name);
        member->json = fits ? store_view_text(agent, key) : NULL;
    }
    view->members = agent->rest.member;
    view->config_text = store_view_text(agent, "config");
    view->config_version = store_view_version(agent, "config");
    view->history_text = store_view_text(agent, "history");
    view->failsafe_text = store_view_text(agent, "failsafe");
    view->is_leader = core_is_leader(&agent->core, now);
    view->failsafe_active = core_on_promises(&agent->core, now);
    view->noloadbalance = agent->config->noloadbalance;
    view->failover_priority = agent->config->nofailover ? 0 : agent->config->failover_priority;
    view->tags_json = agent->tags_text;
    view->next_step_at = agent->plan.wake_at;
}

static uint32_t plans_fill(void *arg, struct rest_plan out_plans[REST_PLANS_MAX])
{
    const struct agent *agent = arg;
    _Static_assert(PLAN_NOTES <= REST_PLANS_MAX, "all notes find room");
    for (uint32_t i = 0; i < agent->log.count; i++) {
        const struct plan_note *note = plan_log_get(agent, i);
        out_plans[i].at = note->at;
        char actions[96] = "";
        for (uint32_t a = 0; a < note->action_count; a++) {
            size_t used = strlen(actions);
            str_copy_cut(actions + used, sizeof(actions) - used, " ");
            used = strlen(actions);
            str_copy_cut(actions + used, sizeof(actions) - used, core_action_name(note->action[a]));
        }
        if (!str_format(out_plans[i].text, sizeof(out_plans[i].text), "%s: %s%s%s",
                        core_reason_name(note->reason), core_reason_text(note->reason),
                        actions[0] != '\0' ? ";" : "", actions)) {
            continue; /* cut: for people */
        }
    }
    return agent->log.count;
}

/* ---- orders ---- */

static void order_written(struct dcs_request *request, enum err err,
                          const struct dcs_txn_result *result, void *arg)
{
    struct rest_order *order = arg;
    struct agent *agent = order->agent;
    ASSERT(order->active && request == &order->request);
    order->active = false;
    free(order->value);
    order->value = NULL;
    log_info("order_written", "key=%s result=\"%s\"", order->key, err_name(err));
    if (!agent->exiting) {
        rest_done(agent->rest.rest, order->id, err, err == ERR_OK ? result->revision : 0);
    }
}

/* Takes over value. */
static void order_write(struct agent *agent, uint64_t id, const char *key, char *value,
                        const uint64_t *version)
{
    ASSERT(value != NULL);
    struct rest_order *order = NULL;
    for (size_t i = 0; i < REST_ORDERS_MAX && order == NULL; i++) {
        order = !agent->rest.order[i].active ? &agent->rest.order[i] : NULL;
    }
    if (order == NULL) {
        free(value);
        rest_done(agent->rest.rest, id, ERR_REFUSED, 0); /* too many at once: nothing was sent */
        return;
    }
    order->agent = agent;
    order->active = true;
    order->id = id;
    order->value = value;
    order->key = key;
    size_t count = 0;
    if (version != NULL) {
        order->ops[count++] =
            (struct dcs_op){.type = DCS_OP_CHECK, .key = key, .version = *version};
    }
    order->ops[count++] = (struct dcs_op){.type = DCS_OP_PUT, .key = key, .value = value};
    dcs_txn(agent->dcs, &order->request, order->ops, count, agent_store_timeout_ms(agent),
            order_written, order);
}

static void failover_write(void *arg, uint64_t id, const struct core_failover *order)
{
    bool withdraw = order->leader[0] == '\0' && order->candidate[0] == '\0';
    order_write(arg, id, "failover", withdraw ? strdup("{}") : records_format_failover(order),
                withdraw ? &order->version : NULL);
}

static void config_write(void *arg, uint64_t id, const char *json, bool conditional,
                         uint64_t version)
{
    order_write(arg, id, "config", strdup(json), conditional ? &version : NULL);
}

static void promise_asked(void *arg, const struct core_promise_request *request)
{
    struct core_event event = {.type = CORE_EVENT_PROMISE_REQUEST, .u.promise_request = *request};
    agent_deliver(arg, &event);
}

static void reload_asked(void *arg)
{
    agent_reload(arg);
}

void rest_bridge_answer(struct agent *agent, const struct core_action *action)
{
    ASSERT(action->type == CORE_ACTION_ANSWER);
    if (agent->rest.rest != NULL) {
        rest_answer_promise(agent->rest.rest, action->u.answer.request_id,
                            action->u.answer.granted);
    }
}

void rest_bridge_refresh(struct agent *agent)
{
    if (agent->rest.rest != NULL) {
        rest_changed(agent->rest.rest);
    }
}

/* ---- opening ---- */

static struct rest_options options_of(const struct agent *agent)
{
    const struct config *config = agent->config;
    return (struct rest_options){
        .scope = config->scope,
        .name = config->name,
        .version = PUBLISH_COMPATIBLE_VERSION,
        .listen_host = config->restapi_host,
        .listen_port = config->restapi_port,
        .user_pass = config->restapi_auth,
        .client = agent->peers.client,
        .client_user_pass = config->ctl_auth,
    };
}

enum err rest_bridge_init(struct agent *agent, struct err_detail *detail)
{
    struct rest_options options = options_of(agent);
    struct rest_callbacks callbacks = {
        .view = view_fill,
        .plans = plans_fill,
        .promise_request = promise_asked,
        .write_failover = failover_write,
        .write_config = config_write,
        .reload = reload_asked,
    };
    return rest_create(&agent->loop, &options, &callbacks, agent, &agent->rest.rest, detail);
}

void rest_bridge_reconfigure(struct agent *agent)
{
    struct rest_options options = options_of(agent);
    struct err_detail detail;
    if (rest_reconfigure(agent->rest.rest, &options, &detail) != ERR_OK) {
        log_error("rest", "message=\"%s: the old settings stay in force\"", detail.text);
    }
}
