/* PostgreSQL as the core can see it: processes, a data directory, and WAL as a position on a tree of
 * branches. A branch is one run of one timeline: two servers promoted apart from each other are on
 * two branches even when both call theirs timeline 2. */
#include "sim.h"

#include <string.h>

#include "base/assert.h"

/* ---- WAL ---- */

/* Whether a server that is at leaf has everything up to pos on the way. */
bool wal_contains(const struct sim *sim, struct pos leaf, struct pos pos)
{
    uint32_t branch = leaf.branch;
    uint64_t limit = leaf.lsn;
    while (branch > pos.branch) {
        limit = sim->branch[branch].fork_lsn;
        branch = sim->branch[branch].parent;
    }
    return branch == pos.branch && pos.lsn <= limit;
}

/* The last position that both have. */
struct pos wal_meet(const struct sim *sim, struct pos a, struct pos b)
{
    while (a.branch != b.branch) {
        struct pos *later = a.branch > b.branch ? &a : &b;
        later->lsn = sim->branch[later->branch].fork_lsn;
        later->branch = sim->branch[later->branch].parent;
    }
    return a.lsn < b.lsn ? a : b;
}

static uint32_t branch_new(struct sim *sim, uint32_t parent, uint64_t fork_lsn)
{
    ASSERT(sim->branches < BRANCHES_MAX);
    uint32_t id = sim->branches++;
    uint32_t timeline = parent == 0 ? 1 : sim->branch[parent].timeline + 1;
    sim->branch[id] = (struct branch){
        .parent = parent, .timeline = timeline, .fork_lsn = fork_lsn, .acked_lsn = fork_lsn};
    return id;
}

/* ---- facts ---- */

bool postgres_acking(const struct sim *sim, int node)
{
    const struct postgres *pg = &sim->node[node].pg;
    if (!pg->primary || !pg->set_up || !node_runs(sim, node)) {
        return false;
    }
    return pg->state == PG_UP || pg->state == PG_ORPHAN ||
           (pg->state == PG_STOPPING && pg->writes_on);
}

static bool serves(const struct sim *sim, int node)
{
    return node_runs(sim, node) && sim->node[node].pg.state == PG_UP;
}

void postgres_facts(const struct sim *sim, int node, struct core_postgres *out_facts)
{
    const struct postgres *pg = &sim->node[node].pg;
    bool hung = pg->state == PG_UP && pg->hung_until_us > sim->now_us;
    memset(out_facts, 0, sizeof(*out_facts));
    out_facts->process = pg->state == PG_DOWN ? TRI_NO : TRI_YES;
    out_facts->accepting = pg->state != PG_UP ? TRI_NO : hung ? TRI_UNKNOWN : TRI_YES;
    bool unknown = hung && (!sim->wide || pg->away_until_us > sim->now_us); /* else by its files */
    out_facts->primary = unknown                               ? TRI_UNKNOWN
                         : pg->primary && pg->state != PG_DOWN ? TRI_YES
                                                               : TRI_NO;
    out_facts->datadir = pg->datadir;
    if (pg->away_until_us > sim->now_us) {
        out_facts->datadir = CORE_DATADIR_INACCESSIBLE;
        return;
    }
    out_facts->control = pg->datadir == CORE_DATADIR_USABLE ? pg->control : CORE_CONTROL_UNKNOWN;
    out_facts->upstream[0] = '\0';
    if (pg->upstream != NOBODY) {
        memcpy(out_facts->upstream, sim->node[pg->upstream].name, NAME_SIZE);
    }
    if (pg->datadir != CORE_DATADIR_USABLE) {
        return;
    }
    out_facts->sysid = pg->sysid;
    out_facts->timeline = hung ? 0 : sim->branch[pg->pos.branch].timeline;
    out_facts->lsn = pg->state == PG_UP && !hung ? pg->pos.lsn : 0;
    out_facts->shutdown_lsn = pg->state == PG_DOWN ? pg->shutdown_lsn : 0;
    out_facts->streaming = pg->state == PG_UP && !hung && pg->streaming;
    out_facts->timeline_checkpointed = pg->state == PG_UP && pg->primary && pg->checkpointed;
    out_facts->incarnation = pg->incarnation;
    out_facts->setup_pending = !pg->set_up;
}

/* ---- jobs ---- */

static void job_finish(struct sim *sim, int node, enum core_outcome outcome)
{
    struct job *job = &sim->node[node].pg.job;
    if (!job->active) {
        return;
    }
    job->active = false;
    job->gen++;
    trace_add2(sim, node, "pg", core_action_name(job->type),
               outcome == CORE_OUTCOME_APPLIED ? "done" : "failed", job->id);
    agent_tell_postgres(sim, node);
    struct ev *ev = world_push(sim, EV_ACTION_DONE, us_between(sim, 4000, 8000), node);
    ev->gen = job->agent_gen;
    ev->id = job->id;
    ev->peer = (int)job->type;
    ev->arg = (int64_t)outcome;
}

/* What an interrupted job leaves behind. */
static void job_abort(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    if (!pg->job.active) {
        return;
    }
    if (pg->job.type == CORE_ACTION_CLONE || pg->job.type == CORE_ACTION_INITDB) {
        pg->datadir = CORE_DATADIR_EMPTY;
    } else if (pg->job.type == CORE_ACTION_REWIND && rng_chance(&sim->rng, 500)) {
        pg->torn = true;
    }
    pg->job.active = false;
    pg->job.gen++;
}

static int64_t job_us(struct sim *sim, enum core_action_type type)
{
    bool slow = sim->jobs_slow_until_us > sim->now_us;
    struct rng *rng = &sim->rng;
    int64_t factor = slow ? rng_range(rng, 1, 20) : 1;
    int64_t left_s = (sim->phase_end_us - sim->now_us) / SECOND_US;
    factor = factor > left_s + 1 ? left_s + 1 : factor; /* what is slow ends with the phase */
    switch ((int)type) {
    case CORE_ACTION_INITDB:
        return rng_range(rng, 500000, 2000000);
    case CORE_ACTION_START_PRIMARY:
        return rng_range(rng, 100000, 1000000) * factor;
    case CORE_ACTION_START_REPLICA:
        return rng_range(rng, 100000, 500000) * factor;
    case CORE_ACTION_PROMOTE:
        return rng_range(rng, 30000, 200000) * factor;
    case CORE_ACTION_CHECKPOINT:
        return rng_range(rng, 20000, 400000) * factor;
    case CORE_ACTION_REWIND:
    case CORE_ACTION_CLONE:
        return rng_range(rng, 500000, 3000000) * factor;
    case CORE_ACTION_STOP_FAST:
        return rng_range(rng, 50000, 500000) * factor;
    case CORE_ACTION_STOP_HARD:
        return rng_range(rng, 7000, 25000);
    default:
        return rng_range(rng, 10000, 300000);
    }
}

static void start_process(struct sim *sim, int node, enum core_action_type type)
{
    struct postgres *pg = &sim->node[node].pg;
    pg->state = PG_STARTING;
    pg->gen++;
    pg->incarnation = ++sim->incarnations;
    pg->primary = type == CORE_ACTION_START_PRIMARY;
    pg->streaming = false;
    pg->hung_until_us = 0;
    pg->killed = false;
    guard_reschedule(sim, node); /* the guard is its parent and looks at once */
    if (type == CORE_ACTION_START_REPLICA) {
        pg->upstream = pg->job.source;
    } else {
        pg->upstream = NOBODY;
    }
    world_push(sim, EV_PG_READY, sim->now_us + job_us(sim, type), node)->gen = pg->gen;
}

static void stop_process(struct sim *sim, int node, bool hard)
{
    struct postgres *pg = &sim->node[node].pg;
    if (pg->state == PG_DOWN) {
        job_finish(sim, node, CORE_OUTCOME_APPLIED);
        return;
    }
    if (hard || pg->state == PG_ORPHAN) {
        postgres_kill(sim, node, us_between(sim, 2000, 20000));
    } else {
        postgres_interrupt(sim, node);
    }
}

static bool needs_process(enum core_action_type type)
{
    return type == CORE_ACTION_SETUP || type == CORE_ACTION_PROMOTE || type == CORE_ACTION_FOLLOW ||
           type == CORE_ACTION_CHECKPOINT;
}

static bool possible(const struct sim *sim, int node, enum core_action_type type)
{
    const struct postgres *pg = &sim->node[node].pg;
    if (needs_process(type)) {
        return pg->state == PG_UP && (type != CORE_ACTION_PROMOTE || !pg->primary);
    }
    if (pg->state != PG_DOWN || pg->away_until_us > sim->now_us) {
        return false;
    }
    if (type == CORE_ACTION_INITDB) {
        return pg->datadir == CORE_DATADIR_EMPTY;
    }
    if (type == CORE_ACTION_START_PRIMARY || type == CORE_ACTION_START_REPLICA) {
        return pg->datadir == CORE_DATADIR_USABLE && !pg->torn;
    }
    return true;
}

static void job_begin(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    enum core_action_type type = pg->job.type;
    if (type == CORE_ACTION_STOP_FAST || type == CORE_ACTION_STOP_HARD) {
        stop_process(sim, node, type == CORE_ACTION_STOP_HARD);
        return;
    }
    if (!possible(sim, node, type)) {
        job_finish(sim, node, CORE_OUTCOME_NOT_APPLIED);
        return;
    }
    if (type == CORE_ACTION_START_PRIMARY || type == CORE_ACTION_START_REPLICA) {
        start_process(sim, node, type);
    } else if (type == CORE_ACTION_PROMOTE) {
        world_push(sim, EV_PG_PROMOTED, sim->now_us + job_us(sim, type), node)->gen = pg->gen;
    } else {
        if (type == CORE_ACTION_CLONE) {
            pg->datadir = CORE_DATADIR_EMPTY;
            pg->torn = false;
        }
        world_push(sim, EV_JOB_DONE, sim->now_us + job_us(sim, type), node)->gen = pg->job.gen;
    }
}

void postgres_job(struct sim *sim, int node, const struct core_action *action)
{
    struct postgres *pg = &sim->node[node].pg;
    bool stop = action->type == CORE_ACTION_STOP_FAST || action->type == CORE_ACTION_STOP_HARD;
    if (pg->job.active && stop) {
        struct job old = pg->job;
        if (old.type == CORE_ACTION_PROMOTE && rng_chance(&sim->rng, 500)) {
            pg->job.active = false; /* it went through just before */
            postgres_on_promoted(sim, &(struct ev){.node = node, .gen = pg->gen});
        } else if (old.type != CORE_ACTION_STOP_FAST) {
            job_abort(sim, node);
        }
        if (rng_chance(&sim->rng, 500)) {
            struct ev *ev = world_push(sim, EV_ACTION_DONE, sim->now_us, node);
            ev->gen = old.agent_gen;
            ev->id = old.id;
            ev->peer = (int)old.type;
            ev->arg = CORE_OUTCOME_UNKNOWN;
        }
    }
    bool fails = sim->jobs_fail_until_us > sim->now_us && rng_chance(&sim->rng, 300);
    pg->job = (struct job){.active = true,
                           .type = action->type,
                           .id = action->id,
                           .agent_gen = sim->node[node].agent.gen,
                           .gen = pg->job.gen + 1,
                           .source = node_find(sim, action->u.postgres.upstream),
                           .will_fail = fails && !stop};
    job_begin(sim, node);
}

/* Reads the leader's history and compares; beside whatever else runs. */
void postgres_check(struct sim *sim, int node, const struct core_action *action)
{
    struct ev *ev = world_push(sim, EV_JOB_DONE, us_between(sim, 20000, 200000), node);
    ev->gen = sim->node[node].agent.gen;
    ev->id = action->id;
    ev->peer = node_find(sim, action->u.postgres.upstream);
    ev->arg = CORE_ACTION_CHECK_DIVERGENCE;
}

static void check_done(struct sim *sim, const struct ev *ev)
{
    const struct postgres *pg = &sim->node[ev->node].pg;
    bool possible_now = ev->peer != NOBODY && serves(sim, ev->peer) &&
                        sim->node[ev->peer].pg.primary && link_up(sim, ev->node, ev->peer) &&
                        link_up(sim, ev->peer, ev->node) && pg->datadir == CORE_DATADIR_USABLE;
    if (sim->jobs_fail_until_us > sim->now_us && rng_chance(&sim->rng, 300)) {
        possible_now = false;
    }
    struct ev *done = world_push(sim, EV_ACTION_DONE, us_between(sim, 1000, 3000), ev->node);
    done->gen = ev->gen;
    done->id = ev->id;
    done->peer = CORE_ACTION_CHECK_DIVERGENCE;
    done->arg = CORE_OUTCOME_NOT_APPLIED;
    if (possible_now) {
        bool fine = wal_contains(sim, sim->node[ev->peer].pg.pos, pg->pos) && !pg->torn;
        done->arg = CORE_OUTCOME_APPLIED;
        done->slot = fine ? CORE_DIVERGENCE_NONE : CORE_DIVERGENCE_DIVERGED;
    }
}

/* Copies from another server: clone and rewind. */
static enum core_outcome copy_done(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    int source = pg->job.source;
    bool rewind = pg->job.type == CORE_ACTION_REWIND;
    bool works = source != NOBODY && source != node && serves(sim, source) &&
                 link_up(sim, node, source) && link_up(sim, source, node) && !pg->job.will_fail;
    const struct postgres *from = works ? &sim->node[source].pg : NULL;
    if (from == NULL || (rewind && (!from->primary || !from->checkpointed))) {
        if (rewind && rng_chance(&sim->rng, 200)) {
            pg->torn = true;
        }
        pg->rewind_failed = pg->rewind_failed || rewind;
        return CORE_OUTCOME_NOT_APPLIED;
    }
    pg->datadir = CORE_DATADIR_USABLE;
    pg->torn = false;
    pg->sysid = from->sysid;
    pg->pos = from->pos;
    pg->sent_lsn = from->pos.lsn;
    pg->shutdown_lsn = 0;
    pg->control = CORE_CONTROL_IN_ARCHIVE_RECOVERY;
    pg->primary = false;
    pg->set_up = true;
    pg->rewind_failed = false;
    if (rewind) {
        sim->stats->rewinds++;
    } else {
        sim->stats->clones++;
    }
    return CORE_OUTCOME_APPLIED;
}

static void make_cluster(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    pg->datadir = CORE_DATADIR_USABLE;
    pg->torn = false;
    pg->sysid = 7000 + ++sim->sysids;
    pg->pos = (struct pos){.branch = branch_new(sim, 0, 1000), .lsn = 2000};
    pg->sent_lsn = pg->pos.lsn;
    pg->control = CORE_CONTROL_SHUT_DOWN;
    pg->shutdown_lsn = pg->pos.lsn;
    pg->primary = false;
}

static enum core_outcome local_done(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    enum core_action_type type = pg->job.type;
    if (pg->job.will_fail) {
        return CORE_OUTCOME_NOT_APPLIED;
    }
    switch ((int)type) {
    case CORE_ACTION_INITDB:
        make_cluster(sim, node);
        pg->set_up = false;
        break;
    case CORE_ACTION_SETUP:
        pg->set_up = true;
        break;
    case CORE_ACTION_FOLLOW:
        pg->upstream = pg->job.source;
        pg->streaming = false;
        break;
    case CORE_ACTION_CHECKPOINT:
        if (pg->state != PG_UP) {
            return CORE_OUTCOME_NOT_APPLIED;
        }
        pg->checkpointed = true;
        break;
    case CORE_ACTION_SET_ASIDE:
        pg->datadir = CORE_DATADIR_EMPTY;
        break;
    default:
        UNREACHABLE();
    }
    return CORE_OUTCOME_APPLIED;
}

void postgres_on_job_done(struct sim *sim, const struct ev *ev)
{
    if (ev->arg == CORE_ACTION_CHECK_DIVERGENCE) {
        check_done(sim, ev);
        return;
    }
    struct postgres *pg = &sim->node[ev->node].pg;
    if (!pg->job.active || ev->gen != pg->job.gen) {
        return;
    }
    bool copies = pg->job.type == CORE_ACTION_CLONE || pg->job.type == CORE_ACTION_REWIND;
    job_finish(sim, ev->node, copies ? copy_done(sim, ev->node) : local_done(sim, ev->node));
}

/* ---- processes ---- */

static void went_down(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    pg->state = PG_DOWN;
    pg->gen++;
    pg->streaming = false;
    pg->writes_on = false;
    sim->node[node].witness.ordered_away = false;
    bool stopping = pg->job.type == CORE_ACTION_STOP_FAST || pg->job.type == CORE_ACTION_STOP_HARD;
    if (pg->job.active &&
        (stopping || needs_process(pg->job.type) || pg->job.type == CORE_ACTION_START_PRIMARY ||
         pg->job.type == CORE_ACTION_START_REPLICA)) {
        job_finish(sim, node, stopping ? CORE_OUTCOME_APPLIED : CORE_OUTCOME_NOT_APPLIED);
    }
    agent_tell_postgres(sim, node);
}

void postgres_on_ready(struct sim *sim, const struct ev *ev)
{
    struct postgres *pg = &sim->node[ev->node].pg;
    if (!node_runs(sim, ev->node) || ev->gen != pg->gen || pg->state != PG_STARTING) {
        return;
    }
    if (pg->job.active && pg->job.will_fail) {
        trace_add(sim, ev->node, "pg", "start fails", 0, 0);
        went_down(sim, ev->node);
        return;
    }
    pg->state = PG_UP;
    pg->control = pg->primary ? CORE_CONTROL_IN_PRODUCTION : CORE_CONTROL_IN_ARCHIVE_RECOVERY;
    pg->checkpointed = true;
    trace_add(sim, ev->node, "pg", pg->primary ? "up as primary" : "up as replica",
              sim->branch[pg->pos.branch].timeline, (int64_t)pg->pos.lsn);
    if (pg->job.active &&
        (pg->job.type == CORE_ACTION_START_PRIMARY || pg->job.type == CORE_ACTION_START_REPLICA)) {
        job_finish(sim, ev->node, CORE_OUTCOME_APPLIED);
    } else {
        agent_tell_postgres(sim, ev->node);
    }
}

void postgres_on_promoted(struct sim *sim, const struct ev *ev)
{
    struct postgres *pg = &sim->node[ev->node].pg;
    if (!node_runs(sim, ev->node) || ev->gen != pg->gen || pg->state != PG_UP || pg->primary) {
        return;
    }
    if (pg->job.active && pg->job.type == CORE_ACTION_PROMOTE && pg->job.will_fail) {
        job_finish(sim, ev->node, CORE_OUTCOME_NOT_APPLIED);
        return;
    }
    uint32_t parent = pg->pos.branch;
    pg->pos.branch = branch_new(sim, parent, pg->pos.lsn);
    pg->sent_lsn = pg->pos.lsn;
    pg->primary = true;
    pg->streaming = false;
    pg->checkpointed = false;
    pg->upstream = NOBODY;
    pg->control = CORE_CONTROL_IN_PRODUCTION;
    sim->stats->promotions++;
    trace_add(sim, ev->node, "pg", "promoted", sim->branch[pg->pos.branch].timeline,
              (int64_t)pg->pos.lsn);
    check_promoted(sim, ev->node, parent, pg->pos.lsn);
    if (pg->job.active && pg->job.type == CORE_ACTION_PROMOTE) {
        job_finish(sim, ev->node, CORE_OUTCOME_APPLIED);
    } else {
        agent_tell_postgres(sim, ev->node);
    }
}

void postgres_kill(struct sim *sim, int node, int64_t writes_end_us)
{
    struct postgres *pg = &sim->node[node].pg;
    if (pg->state == PG_DOWN || pg->killed) {
        return;
    }
    pg->writes_on = postgres_acking(sim, node);
    pg->killed = true;
    pg->state = PG_STOPPING;
    pg->gen++;
    world_push(sim, EV_STOP_WRITES, writes_end_us, node)->gen = pg->gen;
    world_push(sim, EV_PG_GONE, writes_end_us + 2000, node)->gen = pg->gen;
    trace_add(sim, node, "pg", "hard kill", 0, 0);
}

void postgres_interrupt(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    if (pg->state == PG_DOWN || pg->state == PG_STOPPING) {
        return;
    }
    /* Now and then a backend does not heed the signal: only the hard kill ends its writes. */
    bool stuck = sim->jobs_slow_until_us > sim->now_us && rng_chance(&sim->rng, 200);
    pg->writes_on = stuck && postgres_acking(sim, node);
    bool clean = pg->state == PG_UP;
    pg->state = PG_STOPPING;
    pg->gen++;
    int64_t us = job_us(sim, CORE_ACTION_STOP_FAST);
    if (stuck) {
        int64_t left_us = sim->phase_end_us - sim->now_us;
        us = rng_range(&sim->rng, SECOND_US, 20 * SECOND_US);
        us = us > left_us + SECOND_US ? left_us + SECOND_US : us;
    }
    struct ev *gone = world_push(sim, EV_PG_GONE, sim->now_us + us, node);
    gone->gen = pg->gen;
    gone->arg = clean ? 1 : 0;
    trace_add(sim, node, "pg", stuck ? "fast stop, but a backend is stuck" : "fast stop", 0, 0);
}

void postgres_on_stop_writes(struct sim *sim, const struct ev *ev)
{
    struct postgres *pg = &sim->node[ev->node].pg;
    if (sim->node[ev->node].up && ev->gen == pg->gen) {
        pg->writes_on = false;
    }
}

/* Before a primary's walsenders end, the standbys that stream have everything. */
static void drain(struct sim *sim, int node)
{
    const struct postgres *pg = &sim->node[node].pg;
    for (int i = 0; i < sim->nodes; i++) {
        struct postgres *to = &sim->node[i].pg;
        if (i != node && to->streaming && to->upstream == node && serves(sim, i) &&
            link_up(sim, node, i) && link_up(sim, i, node) && wal_contains(sim, pg->pos, to->pos)) {
            to->pos = pg->pos;
            to->sent_lsn = to->pos.lsn;
        }
    }
}

void postgres_on_gone(struct sim *sim, const struct ev *ev)
{
    struct postgres *pg = &sim->node[ev->node].pg;
    if (!sim->node[ev->node].up || ev->gen != pg->gen || pg->state == PG_DOWN) {
        return;
    }
    if (ev->arg == 1) {
        pg->control = pg->primary ? CORE_CONTROL_SHUT_DOWN : CORE_CONTROL_SHUT_DOWN_IN_RECOVERY;
        if (pg->primary) {
            pg->shutdown_lsn = pg->pos.lsn; /* where the shutdown checkpoint's record starts */
            pg->pos.lsn += 100;
            drain(sim, ev->node);
        }
    } else {
        pg->shutdown_lsn = 0;
    }
    trace_add(sim, ev->node, "pg", "gone", ev->arg, (int64_t)pg->pos.lsn);
    went_down(sim, ev->node);
}

void postgres_power_off(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    job_abort(sim, node);
    if (pg->state != PG_DOWN) {
        pg->shutdown_lsn = 0;
    }
    pg->state = PG_DOWN;
    pg->gen++;
    pg->streaming = false;
    pg->writes_on = false;
    sim->node[node].witness.ordered_away = false;
}

/* Another disk, or none, where the data directory was. */
void postgres_lose_disk(struct sim *sim, int node, enum core_datadir datadir)
{
    struct postgres *pg = &sim->node[node].pg;
    job_finish(sim, node, CORE_OUTCOME_NOT_APPLIED);
    postgres_power_off(sim, node);
    pg->datadir = datadir;
    pg->torn = pg->torn && datadir == CORE_DATADIR_USABLE;
    pg->rewind_failed = pg->rewind_failed && datadir == CORE_DATADIR_USABLE;
    agent_tell_postgres(sim, node);
}

void postgres_foreign(struct sim *sim, int node)
{
    postgres_lose_disk(sim, node, CORE_DATADIR_EMPTY);
    make_cluster(sim, node);
    sim->node[node].pg.set_up = true;
}

void postgres_standalone(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    make_cluster(sim, node);
    pg->set_up = true;
    pg->primary = true;
    pg->checkpointed = true;
    pg->control = CORE_CONTROL_IN_PRODUCTION;
    pg->state = PG_UP;
    pg->incarnation = ++sim->incarnations;
}

/* The postmaster dies, its backends do not at once. */
void postgres_orphan(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    if (pg->state != PG_UP) {
        return;
    }
    pg->state = PG_ORPHAN;
    pg->gen++;
    pg->shutdown_lsn = 0;
    int64_t gone_us = guard_runs(sim, node) ? us_between(sim, 10000, 50000)
                                            : us_between(sim, SECOND_US, 8 * SECOND_US);
    world_push(sim, EV_PG_GONE, gone_us, node)->gen = pg->gen;
    agent_tell_postgres(sim, node);
}

void postgres_agent_died(struct sim *sim, int node)
{
    struct job *job = &sim->node[node].pg.job;
    bool lives_on = job->type == CORE_ACTION_START_PRIMARY ||
                    job->type == CORE_ACTION_START_REPLICA || job->type == CORE_ACTION_PROMOTE ||
                    job->type == CORE_ACTION_STOP_FAST || job->type == CORE_ACTION_STOP_HARD;
    if (job->active && lives_on) {
        job->active = false;
        job->gen++;
    } else {
        job_abort(sim, node);
    }
}

/* ---- clients and replication ---- */

/* Its walsenders run: to the end of a fast stop, too. */
static bool sends(const struct sim *sim, int node)
{
    const struct postgres *pg = &sim->node[node].pg;
    return serves(sim, node) ||
           (node_runs(sim, node) && pg->state == PG_STOPPING && !pg->killed && pg->primary);
}

static void receive(struct sim *sim, int node)
{
    struct postgres *pg = &sim->node[node].pg;
    int from = pg->upstream;
    pg->streaming = false;
    if (!serves(sim, node) || pg->primary || from == NOBODY || from == node || !sends(sim, from) ||
        !link_up(sim, from, node) || !link_up(sim, node, from)) {
        return;
    }
    const struct postgres *up = &sim->node[from].pg;
    struct pos sent = {.branch = up->pos.branch, .lsn = up->sent_lsn};
    if (up->sysid != pg->sysid || !wal_contains(sim, up->pos, pg->pos)) {
        return;
    }
    pg->streaming = true;
    bool lags = pg->lagging_until_us > sim->now_us && !rng_chance(&sim->rng, 50);
    if (!lags && wal_contains(sim, sent, pg->pos)) {
        pg->pos = sent;
    }
}

void postgres_on_write(struct sim *sim)
{
    for (int i = 0; i < sim->nodes; i++) {
        receive(sim, i);
    }
    for (int i = 0; i < sim->nodes; i++) {
        struct postgres *pg = &sim->node[i].pg;
        pg->sent_lsn = pg->pos.lsn;
        if (postgres_acking(sim, i) && pg->hung_until_us <= sim->now_us) {
            pg->pos.lsn += sim->write_rate;
            pg->acked_lsn = pg->pos.lsn;
            sim->branch[pg->pos.branch].acked_lsn = pg->pos.lsn;
        }
    }
}
