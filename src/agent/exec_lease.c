/* agent/exec_lease.c - one lease write of the core is one transaction of the store: every check and
 * every write in it, or nothing. What the answer proves is for the core to say; here it is only
 * translated: refused and conflict changed nothing, silence is unknown.
 */
#include "agent/shell.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/records.h"

/* What a transaction's end means to the core. */
void exec_store_outcome(enum err err, const struct dcs_txn_result *result, struct core_done *done)
{
    ASSERT(err < ERR_COUNT);
    switch (err) {
    case ERR_OK:
        done->outcome = CORE_OUTCOME_APPLIED;
        done->version = result->revision;
        break;
    case ERR_IN_DOUBT:
        done->outcome = CORE_OUTCOME_UNKNOWN;
        break;
    case ERR_CONFLICT:
        done->outcome = CORE_OUTCOME_NOT_APPLIED;
        done->conflict = true;
        break;
    case ERR_INVALID:
    case ERR_REFUSED:
    case ERR_UNREACHABLE:
    case ERR_NO_MEMORY:
    case ERR_CANCELED:
        done->outcome = CORE_OUTCOME_NOT_APPLIED;
        break;
    case ERR_COUNT:
        UNREACHABLE();
    }
}

static void lease_written(struct dcs_request *request, enum err err,
                          const struct dcs_txn_result *result, void *arg)
{
    struct agent *agent = arg;
    struct exec_lease *lease = &agent->lease;
    ASSERT(lease->active && request == &lease->request);
    lease->active = false;
    if (err != ERR_OK) {
        log_info("lease_write", "result=\"%s\" detail=\"%s\"", err_name(err), request->detail.text);
    }
    exec_store_outcome(err, result, &lease->done);
    agent_done(agent, &lease->done);
}

static size_t lease_ops(struct agent *agent, const struct core_lease_write *write)
{
    struct exec_lease *lease = &agent->lease;
    struct dcs_op *ops = lease->ops;
    size_t count = 0;
    ops[count++] =
        (struct dcs_op){.type = DCS_OP_CHECK, .key = "lease", .version = write->lease_version};
    if (write->check_failsafe) {
        ops[count++] = (struct dcs_op){
            .type = DCS_OP_CHECK, .key = "failsafe", .version = write->failsafe_version};
    }
    ops[count++] = (struct dcs_op){.type = DCS_OP_PUT, .key = "lease", .value = lease->value};
    switch (write->leader_op) {
    case CORE_LEADER_KEEP:
        break;
    case CORE_LEADER_ATTACH:
        ops[count++] = (struct dcs_op){
            .type = DCS_OP_CHECK, .key = "leader", .version = write->leader_version};
        ops[count++] = (struct dcs_op){
            .type = DCS_OP_ATTACH, .key = "leader", .value = agent->core_config.name};
        break;
    case CORE_LEADER_DELETE:
        ops[count++] = (struct dcs_op){.type = DCS_OP_DELETE, .key = "leader"};
        break;
    }
    ASSERT(count <= sizeof(lease->ops) / sizeof(lease->ops[0]));
    return count;
}

void exec_lease_write(struct agent *agent, const struct core_action *action)
{
    struct exec_lease *lease = &agent->lease;
    ASSERT(!lease->active && action->type == CORE_ACTION_LEASE_WRITE);
    lease->active = true;
    lease->done = (struct core_done){.type = action->type, .id = action->id};
    struct core_lease_record record = action->u.lease.record;
    str_copy_cut(record.session, sizeof(record.session), dcs_session_id(agent->dcs));
    bool fits = records_format_lease(&record, lease->value, sizeof(lease->value));
    ASSERT(fits);
    size_t count = lease_ops(agent, &action->u.lease);
    dcs_txn(agent->dcs, &lease->request, lease->ops, count, action->u.lease.timeout_ms,
            lease_written, agent);
}
