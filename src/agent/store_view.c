/* agent/store_view.c - what the store says, dated: a read counts from before it was sent, a pushed
 * change from its arrival. Before anything is believed at a start, nobody else may answer under our
 * name.
 */
#include "agent/shell.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"

#define NAME_CHECK_MS 3000

static void view_deliver(struct agent *agent, struct mono asked_at, bool linearizable)
{
    struct store_view *view = &agent->view;
    view->cluster.asked_at = asked_at;
    view->cluster.linearizable = linearizable;
    struct core_event event = {.type = CORE_EVENT_CLUSTER, .u.cluster = view->cluster};
    agent_deliver(agent, &event);
    publish_changed(agent);
}

/* ---- nobody else has our name (lessons.md 26) ---- */

static void check_answered(struct http_request *request, enum err err,
                           const struct http_reply *reply, void *arg)
{
    struct agent *agent = arg;
    ASSERT(agent->view.check == STORE_CHECK_ASKING);
    (void)request;
    agent->view.check = STORE_CHECK_DONE;
    if (err == ERR_OK && !agent->exiting) {
        log_error("name_taken",
                  "status=%d message=\"another agent answers as member %s: give each node its own "
                  "name\"",
                  reply->status, agent->core_config.name);
        agent_exit(agent, AGENT_EXIT_CONFIG);
        return;
    }
    view_deliver(agent, mono_now(), false);
}

/* Whether the view may be delivered now. */
static bool check_passed(struct agent *agent)
{
    struct store_view *view = &agent->view;
    if (view->check != STORE_CHECK_TO_DO) {
        return view->check == STORE_CHECK_DONE;
    }
    view->check = STORE_CHECK_DONE;
    const struct member_info *self = store_view_member(agent, agent->core_config.name);
    /* At our own address nobody but we can answer. After a restart of ours there is a page. */
    if (self == NULL || self->api_url[0] == '\0' ||
        str_equal(self->api_url, agent->config->api_url) || agent->page_found) {
        return true;
    }
    char url[URL_SIZE + 16];
    if (!address_api_path(self->api_url, "/liveness", url, sizeof(url))) {
        return true;
    }
    view->check = STORE_CHECK_ASKING;
    struct http_call call = {.method = HTTP_GET, .url = url, .timeout_ms = NAME_CHECK_MS};
    http_request_start(agent->peers.client, &view->check_request, &call, check_answered, agent);
    return false;
}

/* ---- reads and the watch ---- */

static void view_seen(struct agent *agent, const struct dcs_snapshot *snapshot,
                      struct mono asked_at, bool linearizable)
{
    struct store_view *view = &agent->view;
    /* A change that was pushed while a read was under way may be younger than the read's answer;
     * then what is known already is as fresh as the read and better. */
    bool overtaken = linearizable && snapshot->store_id == view->cluster.store_id &&
                     snapshot->revision < view->cluster.revision &&
                     mono_before(asked_at, view->folded_at);
    if (!overtaken) {
        store_fold(agent, snapshot);
        view->folded_at = mono_now();
    }
    view->cluster.reachable = TRI_YES;
    if (view->away_at.ms != 0) {
        log_info("store_back", "away_ms=%lld", (long long)mono_sub(mono_now(), view->away_at));
        view->away_at = MONO_ZERO;
    }
    view->seen_at = wall_now();
    if (check_passed(agent)) {
        view_deliver(agent, asked_at, linearizable);
    }
}

static void view_failed(struct agent *agent, struct mono asked_at, bool linearizable,
                        const char *why)
{
    if (agent->view.away_at.ms == 0) { /* once, not at every try */
        agent->view.away_at = mono_now();
        log_warn("store_away", "detail=\"%s\"", why);
    }
    agent->view.cluster.reachable = TRI_NO;
    view_deliver(agent, asked_at, linearizable);
}

static void read_ended(struct dcs_request *request, enum err err,
                       const struct dcs_snapshot *snapshot, void *arg)
{
    struct agent *agent = arg;
    struct store_view *view = &agent->view;
    ASSERT(view->reading && request == &view->request);
    view->reading = false;
    struct core_done done = view->done;
    if (err == ERR_OK) {
        view_seen(agent, snapshot, view->asked_at, true);
        done.outcome =
            view->check == STORE_CHECK_DONE ? CORE_OUTCOME_APPLIED : CORE_OUTCOME_NOT_APPLIED;
    } else {
        log_debug("store_read", "result=\"%s\" detail=\"%s\"", err_name(err), request->detail.text);
        done.outcome = CORE_OUTCOME_NOT_APPLIED;
        view_failed(agent, view->asked_at, true, request->detail.text);
    }
    agent_done(agent, &done);
}

void store_view_read(struct agent *agent, const struct core_action *action)
{
    struct store_view *view = &agent->view;
    ASSERT(!view->reading && action->type == CORE_ACTION_READ);
    view->reading = true;
    view->done = (struct core_done){.type = action->type, .id = action->id};
    view->asked_at = mono_now();
    dcs_read(agent->dcs, &view->request, action->u.read.timeout_ms, read_ended, agent);
}

static void watch_told(struct dcs *dcs, enum dcs_watch_event event,
                       const struct dcs_snapshot *snapshot, void *arg)
{
    struct agent *agent = arg;
    ASSERT(dcs == agent->dcs);
    if (agent->exiting) {
        return;
    }
    switch (event) {
    case DCS_WATCH_UP:
        log_debug("store_watch", "state=up revision=%llu", (unsigned long long)snapshot->revision);
        view_seen(agent, snapshot, mono_now(), false);
        break;
    case DCS_WATCH_CHANGES:
        view_seen(agent, snapshot, mono_now(), false);
        break;
    case DCS_WATCH_DOWN:
        view_failed(agent, mono_now(), false, "the connection was lost");
        break;
    }
}

void store_view_init(struct agent *agent)
{
    store_fold_defaults(agent);
    dcs_watch(agent->dcs, watch_told, agent);
}

/* ---- questions ---- */

bool store_view_reachable(const struct agent *agent)
{
    return agent->view.check == STORE_CHECK_DONE && agent->view.cluster.reachable == TRI_YES;
}

const struct store_key *store_view_key(const struct agent *agent, const char *key)
{
    size_t low = 0;
    size_t high = agent->view.key_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(agent->view.keys[middle].key, key);
        if (order == 0) {
            return &agent->view.keys[middle];
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return NULL;
}

const char *store_view_text(const struct agent *agent, const char *key)
{
    const struct store_key *found = store_view_key(agent, key);
    return found != NULL ? found->value : NULL;
}

uint64_t store_view_version(const struct agent *agent, const char *key)
{
    const struct store_key *found = store_view_key(agent, key);
    return found != NULL ? found->version : 0;
}

bool store_view_own_member_attached(const struct agent *agent)
{
    const struct store_key *found = store_view_key(agent, agent->publish.member.key);
    return found != NULL && found->attached;
}

const struct member_info *store_view_member(const struct agent *agent, const char *name)
{
    for (uint32_t i = 0; i < agent->view.member_count; i++) {
        if (str_equal(agent->view.member[i].name, name)) {
            return &agent->view.member[i];
        }
    }
    return NULL;
}
