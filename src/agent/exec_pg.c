/* agent/exec_pg.c - PostgreSQL's actions and probes. The core decides from facts, so whatever an
 * action changed is looked at before its DONE: a fresh POSTGRES event first, then the DONE.
 */
#include "agent/shell.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"

static void probe_start(struct agent *agent);

/* ---- probes ---- */

static void probe_done(const struct core_postgres *facts, const struct pg_details *details,
                       void *arg)
{
    struct agent *agent = arg;
    struct exec_pg *exec = &agent->exec_pg;
    ASSERT(exec->probing);
    (void)details; /* read through pg_details when they are published */
    exec->probing = false;
    const uint64_t number = exec->probe_number; /* what follows may begin another one */
    agent->facts = *facts;
    struct core_event event = {.type = CORE_EVENT_POSTGRES, .u.postgres = *facts};
    agent_deliver(agent, &event);
    /* DONEs of what ended before this probe was sent; later ones wait for the next probe. */
    struct core_done ready[EXEC_PG_DONE_MAX];
    uint32_t count = 0;
    uint32_t left = 0;
    for (uint32_t i = 0; i < exec->done_count; i++) {
        if (exec->done[i].probe <= number) {
            ready[count++] = exec->done[i].done;
        } else {
            exec->done[left++] = exec->done[i];
        }
    }
    exec->done_count = left;
    if (exec->probe_wanted || left > 0) {
        probe_start(agent);
    }
    for (uint32_t i = 0; i < count; i++) {
        agent_done(agent, &ready[i]);
    }
    publish_changed(agent);
}

static void probe_start(struct agent *agent)
{
    struct exec_pg *exec = &agent->exec_pg;
    if (agent->pg == NULL || agent->exiting) {
        return;
    }
    if (exec->probing) {
        exec->probe_wanted = true; /* what made us ask may be younger than the one under way */
        return;
    }
    exec->probe_wanted = false;
    exec->probing = true;
    exec->probe_number++;
    pg_probe(agent->pg, agent_probe_timeout_ms(agent), probe_done, agent);
}

void exec_pg_probe(struct agent *agent)
{
    probe_start(agent);
}

/* pg's changed_cb. */
void exec_pg_changed(void *arg)
{
    probe_start(arg);
}

static void done_after_probe(struct agent *agent, const struct core_done *done)
{
    struct exec_pg *exec = &agent->exec_pg;
    ASSERT(exec->done_count < EXEC_PG_DONE_MAX);
    exec->done[exec->done_count++] =
        (struct exec_pg_done){.done = *done, .probe = exec->probe_number + 1};
    probe_start(agent);
}

void exec_pg_probe_action(struct agent *agent, const struct core_action *action)
{
    ASSERT(action->type == CORE_ACTION_PROBE);
    struct core_done done = {
        .type = action->type, .id = action->id, .outcome = CORE_OUTCOME_APPLIED};
    done_after_probe(agent, &done);
}

/* ---- actions ---- */

static enum core_outcome outcome_of(enum core_action_type type, enum err err)
{
    if (err == ERR_OK) {
        return CORE_OUTCOME_APPLIED;
    }
    /* The guard stood in the way of a start, or was not there: that says nothing about the server,
     * and the lease is not to be given away for it. */
    bool start = type == CORE_ACTION_START_PRIMARY || type == CORE_ACTION_START_REPLICA;
    bool not_yet = start && (err == ERR_CONFLICT || err == ERR_UNREACHABLE);
    return err == ERR_IN_DOUBT || not_yet ? CORE_OUTCOME_UNKNOWN : CORE_OUTCOME_NOT_APPLIED;
}

static void call_ended(struct exec_pg_call *call, enum err err, enum core_divergence divergence,
                       const struct err_detail *detail)
{
    struct agent *agent = call->agent;
    ASSERT(call->active);
    call->active = false;
    const char *name = core_action_name(call->type);
    int64_t took_ms = mono_sub(mono_now(), call->started_at);
    if (err == ERR_OK) {
        log_info("postgres_action", "action=%s result=ok ms=%lld", name, (long long)took_ms);
    } else {
        log_warn("postgres_action", "action=%s result=\"%s\" ms=%lld detail=\"%s\"", name,
                 err_name(err), (long long)took_ms, detail != NULL ? detail->text : "");
    }
    struct core_done done = {.type = call->type,
                             .id = call->id,
                             .outcome = outcome_of(call->type, err),
                             .divergence = divergence};
    done_after_probe(agent, &done);
}

static void action_ended(enum err err, const struct err_detail *detail, void *arg)
{
    call_ended(arg, err, CORE_DIVERGENCE_UNKNOWN, detail);
}

static void check_ended(enum err err, enum core_divergence divergence,
                        const struct err_detail *detail, void *arg)
{
    call_ended(arg, err, divergence, detail);
}

static struct exec_pg_call *call_new(struct agent *agent, const struct core_action *action)
{
    struct exec_pg *exec = &agent->exec_pg;
    for (size_t i = 0; i < EXEC_PG_CALLS_MAX; i++) {
        if (!exec->call[i].active) {
            exec->call[i] = (struct exec_pg_call){.agent = agent,
                                                  .active = true,
                                                  .type = action->type,
                                                  .id = action->id,
                                                  .started_at = mono_now()};
            return &exec->call[i];
        }
    }
    UNREACHABLE(); /* one action, and stops over it: fast, then hard */
}

/* Actions with a source that is needed. */
static bool source_needed(enum core_action_type type)
{
    return type == CORE_ACTION_CHECK_DIVERGENCE || type == CORE_ACTION_REWIND ||
           type == CORE_ACTION_CLONE;
}

static bool source_find(const struct agent *agent, const char *name, struct pg_source *out_source)
{
    const struct address_entry *entry = address_book_find(&agent->book, name);
    return entry != NULL && address_to_source(name, entry->conn_url, out_source);
}

static void action_call(struct agent *agent, struct exec_pg_call *call,
                        const struct pg_source *source)
{
    struct pg *pg = agent->pg;
    /* Only the target's actions; everything else is a bug of the caller. */
    if (call->type == CORE_ACTION_INITDB) {
        pg_initdb(pg, action_ended, call);
    } else if (call->type == CORE_ACTION_SETUP) {
        pg_setup(pg, action_ended, call);
    } else if (call->type == CORE_ACTION_START_PRIMARY) {
        pg_start_primary(pg, action_ended, call);
    } else if (call->type == CORE_ACTION_START_REPLICA) {
        pg_start_replica(pg, source, action_ended, call);
    } else if (call->type == CORE_ACTION_PROMOTE) {
        pg_promote(pg, action_ended, call);
    } else if (call->type == CORE_ACTION_FOLLOW) {
        pg_follow(pg, source, action_ended, call);
    } else if (call->type == CORE_ACTION_CHECKPOINT) {
        pg_checkpoint(pg, action_ended, call);
    } else if (call->type == CORE_ACTION_CHECK_DIVERGENCE) {
        pg_check_divergence(pg, source, check_ended, call);
    } else if (call->type == CORE_ACTION_REWIND) {
        pg_rewind(pg, source, action_ended, call);
    } else if (call->type == CORE_ACTION_CLONE) {
        pg_clone(pg, source, action_ended, call);
    } else if (call->type == CORE_ACTION_SET_ASIDE) {
        pg_set_aside(pg, action_ended, call);
    } else if (call->type == CORE_ACTION_STOP_FAST) {
        pg_stop(pg, PG_STOP_FAST, action_ended, call);
    } else {
        ASSERT(call->type == CORE_ACTION_STOP_HARD);
        pg_stop(pg, PG_STOP_HARD, action_ended, call);
    }
}

void exec_pg_start(struct agent *agent, const struct core_action *action)
{
    ASSERT(core_action_target(action->type) == CORE_TARGET_POSTGRES ||
           core_action_target(action->type) == CORE_TARGET_CHECK);
    struct pg_source source;
    const char *upstream = action->u.postgres.upstream;
    bool wants = action->type == CORE_ACTION_START_REPLICA || action->type == CORE_ACTION_FOLLOW ||
                 source_needed(action->type);
    bool has = wants && upstream[0] != '\0' && source_find(agent, upstream, &source);
    log_info("postgres_action", "action=%s begins%s%s", core_action_name(action->type),
             wants ? " upstream=" : "", wants ? upstream : "");
    if (wants && !has && (source_needed(action->type) || upstream[0] != '\0')) {
        log_warn("postgres_action", "action=%s result=\"the address of %s is not known\"",
                 core_action_name(action->type), upstream);
        /* Not the server's fault: its next start is not to wait longer for it. */
        struct core_done done = {.type = action->type,
                                 .id = action->id,
                                 .outcome = action->type == CORE_ACTION_START_REPLICA
                                                ? CORE_OUTCOME_UNKNOWN
                                                : CORE_OUTCOME_NOT_APPLIED};
        agent_done(agent, &done);
        return;
    }
    action_call(agent, call_new(agent, action), has ? &source : NULL);
    exec_pg_probe(agent); /* shows what began: "creating replica", "stopping" */
}
