/* agent/publish.c - keys that this agent keeps up to date by itself, because nothing is decided from
 * them that the core would have to order: the own member key, the holder's status and history. Each
 * is a small loop of its own: compare with what the store shows, write, look again.
 */
#include "agent/shell.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"

static void slot_ended(struct dcs_request *request, enum err err,
                       const struct dcs_txn_result *result, void *arg)
{
    struct publish_slot *slot = arg;
    ASSERT(slot->active && request == &slot->request);
    (void)result;
    slot->active = false;
    if (slot->agent->exiting) {
        agent_exit_go_on(slot->agent);
    }
    if (err == ERR_OK) {
        free(slot->written);
        slot->written = slot->value;
    } else {
        log_debug("publish", "key=%s result=\"%s\"", slot->key, err_name(err));
        free(slot->value); /* what the key holds shows in the next snapshot */
        free(slot->written);
        slot->written = NULL;
    }
    slot->value = NULL;
}

/* Takes over value. */
static void slot_write(struct agent *agent, struct publish_slot *slot, enum dcs_op_type type,
                       char *value)
{
    ASSERT(!slot->active && value != NULL);
    slot->agent = agent;
    slot->active = true;
    slot->value = value;
    slot->written_at = mono_now();
    slot->op = (struct dcs_op){.type = type, .key = slot->key, .value = value};
    dcs_txn(agent->dcs, &slot->request, &slot->op, 1, agent_store_timeout_ms(agent), slot_ended,
            slot);
}

static bool slot_due(const struct publish_slot *slot, int64_t pause_ms)
{
    return mono_sub(mono_now(), slot->written_at) >= pause_ms;
}

/* ---- members/NAME ---- */

static void member_info_make(struct agent *agent, bool positions, struct member_info *out_info)
{
    struct publish_member member = {
        .conn_url = agent->config->conn_url,
        .api_url = agent->config->api_url,
        .pause = agent->core.cluster.settings.pause,
        .positions = positions,
        .facts = &agent->facts,
        .details = pg_details(agent->pg),
    };
    publish_member_info(&member, out_info);
}

static char *member_text(struct agent *agent, bool positions)
{
    struct member_info info;
    member_info_make(agent, positions, &info);
    return member_format(&info, agent->config->tags);
}

/* Twice a second nothing has changed: the same facts give the same text, so none is made. */
static bool member_as_written(const struct agent *agent, const struct member_info *now)
{
    const struct publish *publish = &agent->publish;
    return publish->member_known && publish->member.written != NULL &&
           member_same(now, &publish->member_info);
}

static void member_publish(struct agent *agent)
{
    struct publish *publish = &agent->publish;
    struct publish_slot *slot = &publish->member;
    if (slot->active || agent->facts.asked_at.ms == 0) {
        return; /* nothing to say before the first look at PostgreSQL */
    }
    struct member_info now;
    member_info_make(agent, true, &now);
    bool lost = !store_view_own_member_attached(agent);
    if (!lost && member_as_written(agent, &now)) {
        return;
    }
    char *fixed = member_text(agent, false);
    bool changed = publish->member_fixed == NULL || slot->written == NULL ||
                   !str_equal(publish->member_fixed, fixed);
    int64_t loop_wait_ms = agent->core.cluster.settings.loop_wait_ms;
    /* A key just written is not in the view yet; a lost one is written again after a moment. */
    bool again = lost && slot_due(slot, 200);
    char *full = NULL;
    if (changed || again || slot_due(slot, loop_wait_ms)) {
        full = member_format(&now, agent->config->tags);
        publish->member_info = now;
        publish->member_known = true;
    }
    if (full != NULL && (changed || again || !str_equal(full, slot->written))) {
        free(publish->member_fixed);
        publish->member_fixed = fixed;
        slot_write(agent, slot, DCS_OP_ATTACH, full);
        return;
    }
    free(full);
    free(fixed);
}

/* ---- status ---- */

static void status_publish(struct agent *agent)
{
    struct publish_slot *slot = &agent->publish.status;
    if (slot->active || agent->facts.primary != TRI_YES || agent->facts.lsn == 0 ||
        !slot_due(slot, agent->core.cluster.settings.loop_wait_ms)) {
        return;
    }
    char *text = publish_status_text(agent->facts.lsn, agent->facts.timeline);
    if (text == NULL || (slot->written != NULL && str_equal(slot->written, text))) {
        free(text);
        return;
    }
    slot_write(agent, slot, DCS_OP_PUT, text);
}

/* ---- history ---- */

static void history_ready(uv_work_t *work, int status)
{
    struct agent *agent = work->data;
    struct publish *publish = &agent->publish;
    ASSERT(publish->reading && status == 0);
    publish->reading = false;
    if (publish->history_file == NULL || agent->exiting ||
        !core_is_leader(&agent->core, mono_now())) {
        free(publish->history_file);
        publish->history_file = NULL;
        return;
    }
    struct publish_history history = {
        .timeline = publish->history_timeline,
        .file = publish->history_file,
        .stored = store_view_text(agent, "history"),
        .name = agent->core_config.name,
        .changed_at = publish->history_changed_at,
    };
    char *text = publish_history_text(&history);
    free(publish->history_file);
    publish->history_file = NULL;
    if (text != NULL && !publish->history.active) {
        slot_write(agent, &publish->history, DCS_OP_PUT, text);
    } else {
        free(text);
    }
}

static void history_read(uv_work_t *work)
{
    struct agent *agent = work->data;
    struct publish *publish = &agent->publish;
    size_t size;
    /* A file that cannot be read is tried again at the next loop_wait. */
    if (file_load(publish->history_path, &publish->history_file, &size, NULL) != ERR_OK) {
        publish->history_file = NULL;
    }
    struct stat file;
    publish->history_changed_at =
        stat(publish->history_path, &file) == 0 ? file.st_mtime : time(NULL);
}

/* The store's history leads to this timeline; parsed once for every version of the key. */
static bool history_known(struct agent *agent, uint32_t timeline)
{
    struct publish *publish = &agent->publish;
    uint64_t version = store_view_version(agent, "history");
    if (version != publish->history_seen || timeline != publish->history_seen_timeline ||
        version == 0) {
        publish->history_seen = version;
        publish->history_seen_timeline = timeline;
        publish->history_current =
            publish_history_current(store_view_text(agent, "history"), timeline);
    }
    return publish->history_current;
}

static void history_publish(struct agent *agent)
{
    struct publish *publish = &agent->publish;
    struct publish_slot *slot = &publish->history;
    uint32_t timeline = agent->facts.timeline;
    if (slot->active || publish->reading || agent->facts.primary != TRI_YES || timeline == 0 ||
        !slot_due(slot, 200) || history_known(agent, timeline)) {
        return;
    }
    if (timeline == 1) {
        struct publish_history history = {.timeline = 1, .name = agent->core_config.name};
        char *text = publish_history_text(&history);
        if (text != NULL) {
            slot_write(agent, slot, DCS_OP_PUT, text);
        }
        return;
    }
    publish->history_timeline = timeline;
    slot->written_at = mono_now(); /* not again at once when the file is not there */
    if (!str_format(publish->history_path, sizeof(publish->history_path),
                    "%s/pg_wal/%08" PRIX32 ".history", agent->config->data_dir, timeline)) {
        return;
    }
    publish->reading = true;
    publish->work.data = agent;
    int queued = uv_queue_work(&agent->loop, &publish->work, history_read, history_ready);
    ASSERT(queued == 0);
}

/* ---- the store's catalogue of services ---- */

/* What neither runs nor is stopped says nothing: what was announced stands. */
static void announce(struct agent *agent)
{
    struct member_info info;
    if (agent->facts.asked_at.ms == 0) {
        return;
    }
    member_info_make(agent, false, &info);
    struct dcs_announcement announcement = {
        .role = info.role, .host = info.host, .port = info.port, .api_url = info.api_url};
    bool running = str_equal(info.state, "running") || str_equal(info.state, "streaming");
    bool known = str_equal(info.role, "primary") || str_equal(info.role, "replica") ||
                 str_equal(info.role, "standby_leader");
    if (str_equal(info.state, "stopped")) {
        announcement.role = "";
    } else if (!running || !known ||
               !member_url_host(info.conn_url, info.host, sizeof(info.host), &info.port)) {
        return;
    }
    announcement.port = info.port;
    const struct core_leader_key *leader = &agent->core.cluster.leader;
    if (core_is_leader(&agent->core, mono_now()) &&
        str_equal(leader->name, agent->core_config.name)) {
        announcement.leader_version = leader->version;
    }
    dcs_announce(agent->dcs, &announcement);
}

/* ---- all of them ---- */

void publish_changed(struct agent *agent)
{
    if (agent->exiting || agent->pg == NULL || !store_view_reachable(agent)) {
        return;
    }
    announce(agent);
    member_publish(agent);
    if (core_is_leader(&agent->core, mono_now())) {
        status_publish(agent);
        history_publish(agent);
    } else {
        free(agent->publish.status.written);
        agent->publish.status.written = NULL; /* somebody else may write it now */
    }
}

bool publish_leave(struct agent *agent)
{
    if (agent->pg == NULL || agent->facts.asked_at.ms == 0 || !store_view_reachable(agent) ||
        agent->publish.member.active) {
        return false;
    }
    announce(agent);
    slot_write(agent, &agent->publish.member, DCS_OP_ATTACH, member_text(agent, true));
    return true;
}

void publish_init(struct agent *agent)
{
    struct publish *publish = &agent->publish;
    bool fits = str_format(publish->member.key, sizeof(publish->member.key), "members/%s",
                           agent->core_config.name);
    ASSERT(fits);
    str_copy_cut(publish->status.key, sizeof(publish->status.key), "status");
    str_copy_cut(publish->history.key, sizeof(publish->history.key), "history");
}

static void slot_fini(struct publish_slot *slot)
{
    free(slot->value);
    free(slot->written);
}

void publish_fini(struct agent *agent)
{
    slot_fini(&agent->publish.member);
    slot_fini(&agent->publish.status);
    slot_fini(&agent->publish.history);
    free(agent->publish.member_fixed);
    free(agent->publish.history_file);
}
