/* agent/exec_keys.c - the keys beside the lease that the core orders to be written. Each write is
 * conditional on the version that the core decided from.
 */
#include "agent/shell.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"

static void keys_written(struct dcs_request *request, enum err err,
                         const struct dcs_txn_result *result, void *arg)
{
    struct agent *agent = arg;
    struct exec_keys *keys = &agent->keys;
    ASSERT(keys->active && request == &keys->request);
    keys->active = false;
    free(keys->value);
    keys->value = NULL;
    if (err != ERR_OK) {
        log_warn("key_write", "action=%s result=\"%s\" detail=\"%s\"",
                 core_action_name(keys->done.type), err_name(err), request->detail.text);
    }
    exec_store_outcome(err, result, &keys->done);
    agent_done(agent, &keys->done);
}

static void op_add(struct exec_keys *keys, struct dcs_op op)
{
    ASSERT(keys->count < EXEC_KEYS_OPS_MAX);
    keys->ops[keys->count++] = op;
}

/* {name: api_url} of the names listed; NULL when an address is not known. */
static char *failsafe_text(struct agent *agent, const struct core_name_list *names)
{
    json_t *root = json_object();
    ASSERT(root != NULL && names->count <= MEMBERS_MAX);
    bool known = true;
    for (uint32_t i = 0; i < names->count && known; i++) {
        const struct address_entry *entry = address_book_find(&agent->book, names->name[i]);
        known = entry != NULL && entry->api_url[0] != '\0' &&
                json_object_set_new(root, entry->name, json_string(entry->api_url)) == 0;
        if (!known && !str_equal(agent->keys.unknown, names->name[i])) {
            str_copy_cut(agent->keys.unknown, sizeof(agent->keys.unknown), names->name[i]);
            log_warn("failsafe_list", "name=%s message=\"its address is not known\"",
                     names->name[i]);
        }
    }
    char *text = known ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

/* The operations of one action; false when something they need is not known. */
static bool keys_prepare(struct agent *agent, const struct core_action *action)
{
    struct exec_keys *keys = &agent->keys;
    const uint64_t version = action->u.keys.version;
    if (action->u.keys.lease_version != 0) {
        op_add(keys, (struct dcs_op){.type = DCS_OP_CHECK,
                                     .key = "lease",
                                     .version = action->u.keys.lease_version});
    }
    if (action->type == CORE_ACTION_CLAIM_INITIALIZE) {
        op_add(keys, (struct dcs_op){DCS_OP_CHECK, "initialize", NULL, version});
        op_add(keys, (struct dcs_op){DCS_OP_ATTACH, "initialize", "", 0});
    } else if (action->type == CORE_ACTION_FINISH_INITIALIZE) {
        if (agent->facts.sysid == 0) {
            return false;
        }
        (void)snprintf(keys->sysid, sizeof(keys->sysid), "%" PRIu64, agent->facts.sysid);
        op_add(keys, (struct dcs_op){DCS_OP_CHECK, "initialize", NULL, version});
        op_add(keys, (struct dcs_op){DCS_OP_PUT, "initialize", keys->sysid, 0});
        if (store_view_version(agent, "config") == 0) {
            keys->value = agent_bootstrap_config(agent);
            op_add(keys, (struct dcs_op){DCS_OP_CHECK, "config", NULL, 0});
            op_add(keys, (struct dcs_op){DCS_OP_PUT, "config", keys->value, 0});
        }
    } else if (action->type == CORE_ACTION_CANCEL_INITIALIZE) {
        op_add(keys, (struct dcs_op){DCS_OP_CHECK, "initialize", NULL, version});
        op_add(keys, (struct dcs_op){DCS_OP_DELETE, "initialize", NULL, 0});
    } else if (action->type == CORE_ACTION_WRITE_CONFIG) {
        keys->value = agent_last_config(agent);
        op_add(keys, (struct dcs_op){DCS_OP_CHECK, "config", NULL, version});
        op_add(keys, (struct dcs_op){DCS_OP_PUT, "config", keys->value, 0});
    } else if (action->type == CORE_ACTION_WRITE_FAILSAFE) {
        keys->value = failsafe_text(agent, &action->u.keys.names);
        if (keys->value == NULL) {
            return false;
        }
        op_add(keys, (struct dcs_op){DCS_OP_CHECK, "failsafe", NULL, version});
        op_add(keys, (struct dcs_op){DCS_OP_PUT, "failsafe", keys->value, 0});
    } else {
        ASSERT(action->type == CORE_ACTION_CLEAR_FAILOVER);
        op_add(keys, (struct dcs_op){DCS_OP_CHECK, "failover", NULL, version});
        op_add(keys, (struct dcs_op){DCS_OP_PUT, "failover", "{}", 0});
    }
    return true;
}

void exec_keys_start(struct agent *agent, const struct core_action *action)
{
    struct exec_keys *keys = &agent->keys;
    ASSERT(!keys->active && core_action_target(action->type) == CORE_TARGET_KEYS);
    keys->done = (struct core_done){.type = action->type, .id = action->id};
    keys->count = 0;
    if (!keys_prepare(agent, action)) {
        log_debug("key_write", "action=%s result=\"not all that it needs is known\"",
                  core_action_name(action->type));
        free(keys->value);
        keys->value = NULL;
        keys->done.outcome = CORE_OUTCOME_NOT_APPLIED;
        agent_done(agent, &keys->done);
        return;
    }
    keys->active = true;
    dcs_txn(agent->dcs, &keys->request, keys->ops, keys->count, agent_store_timeout_ms(agent),
            keys_written, agent);
}
