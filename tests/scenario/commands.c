/* The commands of a script (README.md lists them). Each takes the words of its line. */
#include "world.h"

#include "base/assert.h"
#include "base/str.h"
#include "fixture.h"

static const char *const target_names[CORE_TARGET_COUNT] = {
    "lease", "read", "keys", "postgres", "check", "probe", "guard", "status", "promise", "memory"};

static bool target_find(const char *text, enum core_target *out)
{
    for (int t = 0; t < CORE_TARGET_NONE; t++) {
        if (str_equal(target_names[t], text)) {
            *out = (enum core_target)t;
            return true;
        }
    }
    return false;
}

static bool set_all(const struct field *fields, void *object, char *const words[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!fields_set(fields, object, words[i])) {
            return false;
        }
    }
    return true;
}

/* ---- given ---- */

static void make_peers(struct world *world)
{
    world->peer_count = 0;
    for (uint32_t i = 0; i < world->cluster.member_count; i++) {
        const char *name = world->cluster.member[i].name;
        if (str_equal(name, world->config.name)) {
            continue;
        }
        struct peer *peer = &world->peer[world->peer_count++];
        *peer = (struct peer){.status = {.failover_priority = 1, .timeline = 1, .lsn = 1000}};
        str_set(peer->status.name, NAME_SIZE, name);
        peer->status.primary = str_equal(name, world->cluster.lease.holder);
    }
}

static void make_new(struct world *world)
{
    world->cluster = (struct core_cluster){
        .reachable = TRI_YES, .store_id = 99, .revision = 1, .settings = world->cluster.settings};
    world->cluster.settings.version = 0;
    world->postgres = (struct core_postgres){
        .process = TRI_NO, .accepting = TRI_NO, .datadir = CORE_DATADIR_EMPTY};
    world->memory = (struct core_memory){0};
    struct core_page page = {0};
    core_init(&world->core, &world->config, &world->memory, &page, world->now);
}

/* given holder|replica|old_primary|new [CONFIG=VALUE...] */
static bool command_given(struct world *world, char *const words[], size_t count)
{
    static const char *const names[] = {"holder", "replica", "old_primary", "new", NULL};
    static void (*const makes[])(struct core *) = {fx_holder, fx_replica, fx_old_primary,
                                                   fx_replica};
    size_t which = 0;
    while (count > 0 && names[which] != NULL && !str_equal(names[which], words[0])) {
        which++;
    }
    if (count == 0 || names[which] == NULL || world->peer_count > 0) {
        return false;
    }
    makes[which](&world->core);
    world->config = world->core.config;
    if (!set_all(fields_config, &world->config, &words[1], count - 1)) {
        return false;
    }
    core_reconfigure(&world->core, &world->config);
    world->cluster = world->core.cluster;
    world->postgres = world->core.postgres;
    world->guard = world->core.guard;
    world->memory = world->core.memory;
    world->start = world->now = world->core.now;
    world->shown_deadline = core_lease_deadline(&world->core);
    world->held[CORE_TARGET_POSTGRES] = true;
    world->held[CORE_TARGET_CHECK] = true;
    if (str_equal(words[0], "new")) {
        make_new(world);
    }
    make_peers(world);
    return true;
}

/* ---- facts ---- */

static bool starts(const char *word, const char *with)
{
    return strncmp(word, with, strlen(with)) == 0;
}

/* A key that a script changes gets the new revision as its version, unless it says another one. */
static void store_version(struct world *world, const char *word)
{
    struct core_cluster *cluster = &world->cluster;
    if (starts(word, "lease.")) {
        cluster->lease.present = true;
        cluster->lease.version = cluster->revision;
    } else if (starts(word, "leader.")) {
        cluster->leader.version = cluster->revision;
    } else if (starts(word, "failsafe=")) {
        cluster->failsafe.version = cluster->revision;
    } else if (starts(word, "failover.")) {
        cluster->failover.version = cluster->revision;
    } else if (starts(word, "initialize")) {
        cluster->initialize_version = cluster->revision;
    }
}

static bool store_gone(struct core_cluster *cluster, const char *word)
{
    if (str_equal(word, "lease=gone")) {
        cluster->lease = (struct core_lease_record){0};
    } else if (str_equal(word, "leader=gone")) {
        cluster->leader = (struct core_leader_key){0};
    } else if (str_equal(word, "config=gone")) {
        cluster->settings.version = 0;
        cluster->config_version = 0;
    } else if (str_equal(word, "failsafe=gone")) {
        cluster->failsafe = (struct core_failsafe){0};
    } else if (str_equal(word, "failover=gone")) {
        cluster->failover = (struct core_failover){.version = cluster->revision};
    } else if (str_equal(word, "initialize=gone")) {
        cluster->initialize = CORE_INITIALIZE_ABSENT;
        cluster->initialize_version = 0;
    } else {
        return false;
    }
    return true;
}

static bool set_store(struct world *world, char *const words[], size_t count)
{
    world->cluster.revision++;
    for (size_t i = 0; i < count; i++) {
        if (store_gone(&world->cluster, words[i])) {
            continue;
        }
        store_version(world, words[i]);
        if (!fields_set(fields_cluster, &world->cluster, words[i])) {
            return false;
        }
    }
    return true;
}

/* store KEY=VALUE...: a change, as it is pushed */
static bool command_store(struct world *world, char *const words[], size_t count)
{
    if (!set_store(world, words, count)) {
        return false;
    }
    world_see_store(world, false);
    return true;
}

/* read: the answer of a read begun now */
static bool command_read(struct world *world, char *const words[], size_t count)
{
    (void)words;
    world_see_store(world, true);
    return count == 0;
}

/* away, back: the store does not answer; it does again */
static bool command_away(struct world *world, char *const words[], size_t count)
{
    (void)words;
    world->cluster.reachable = TRI_NO;
    world_see_store(world, false);
    return count == 0;
}

static bool command_back(struct world *world, char *const words[], size_t count)
{
    (void)words;
    world->cluster.reachable = TRI_YES;
    world_see_store(world, true);
    return count == 0;
}

static bool command_postgres(struct world *world, char *const words[], size_t count)
{
    if (!set_all(fields_postgres, &world->postgres, words, count)) {
        return false;
    }
    world_see_postgres(world);
    return true;
}

static bool command_guard(struct world *world, char *const words[], size_t count)
{
    if (!set_all(fields_guard, &world->guard, words, count)) {
        return false;
    }
    world_see_guard(world);
    return true;
}

/* peer NAME KEY=VALUE...: seen when it is asked */
static bool command_peer(struct world *world, char *const words[], size_t count)
{
    for (uint32_t i = 0; count > 0 && i < world->peer_count; i++) {
        if (str_equal(world->peer[i].status.name, words[0])) {
            return set_all(fields_peer, &world->peer[i], &words[1], count - 1);
        }
    }
    return false;
}

/* member NAME gone|KEY=VALUE...: its key in the store, pushed */
static bool command_member(struct world *world, char *const words[], size_t count)
{
    struct core_cluster *cluster = &world->cluster;
    uint32_t at = 0;
    while (count > 0 && at < cluster->member_count &&
           !str_equal(cluster->member[at].name, words[0])) {
        at++;
    }
    if (count < 2 || at == MEMBERS_MAX) {
        return false;
    }
    cluster->revision++;
    if (str_equal(words[1], "gone")) {
        if (at == cluster->member_count) {
            return false;
        }
        cluster->member_count--;
        memmove(&cluster->member[at], &cluster->member[at + 1],
                (cluster->member_count - at) * sizeof(cluster->member[0]));
    } else {
        cluster->member_count += at == cluster->member_count;
        str_set(cluster->member[at].name, NAME_SIZE, words[0]);
        if (!set_all(fields_member, &cluster->member[at], &words[1], count - 1)) {
            return false;
        }
    }
    world_see_store(world, false);
    return true;
}

/* hidden store|postgres|guard KEY=VALUE...: so it is, but nobody has looked yet */
static bool command_hidden(struct world *world, char *const words[], size_t count)
{
    if (count < 2) {
        return false;
    }
    if (str_equal(words[0], "store")) {
        return set_store(world, &words[1], count - 1);
    }
    if (str_equal(words[0], "postgres")) {
        return set_all(fields_postgres, &world->postgres, &words[1], count - 1);
    }
    return str_equal(words[0], "guard") &&
           set_all(fields_guard, &world->guard, &words[1], count - 1);
}

/* ---- answers ---- */

/* hold TARGET..., answer TARGET...: not answered by itself; again so */
static bool command_hold(struct world *world, char *const words[], size_t count)
{
    enum core_target target;
    for (size_t i = 0; i < count; i++) {
        if (!target_find(words[i], &target)) {
            return false;
        }
        world->held[target] = true;
    }
    return count > 0;
}

static bool command_answer(struct world *world, char *const words[], size_t count)
{
    enum core_target target;
    for (size_t i = 0; i < count; i++) {
        if (!target_find(words[i], &target)) {
            return false;
        }
        world->held[target] = false;
    }
    world_settle(world);
    return count > 0;
}

static int choice(const char *const *names, const char *text)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (str_equal(names[i], text)) {
            return i;
        }
    }
    return -1;
}

/* done TARGET applied|refused|conflict|unknown|lost, done check none|diverged */
static bool command_done(struct world *world, char *const words[], size_t count)
{
    static const char *const outcomes[] = {"applied", "refused", "conflict",
                                           "unknown", "lost",    NULL};
    enum core_target target;
    if (count != 2 || !target_find(words[0], &target) || !world->open[target]) {
        return false;
    }
    int outcome = choice(outcomes, words[1]);
    int found = choice(divergences, words[1]);
    if (outcome < 0 && (target != CORE_TARGET_CHECK || found < 0)) {
        return false;
    }
    world_done(world, target, outcome < 0 ? OUTCOME_APPLIED : (enum outcome)outcome,
               found < 0 ? CORE_DIVERGENCE_UNKNOWN : (enum core_divergence)found);
    world_settle(world);
    return true;
}

/* asked id=N holder=NAME epoch=N ttl=MS: a peer asks for our promise */
static bool command_asked(struct world *world, char *const words[], size_t count)
{
    struct core_event event = {.type = CORE_EVENT_PROMISE_REQUEST};
    event.u.promise_request.request_id = 1;
    if (!set_all(fields_request, &event.u.promise_request, words, count)) {
        return false;
    }
    world_step(world, &event);
    return true;
}

/* ---- time, and the node itself ---- */

static void tick(struct world *world)
{
    struct core_event event = {.type = CORE_EVENT_TICK};
    world_step(world, &event);
}

static bool milliseconds(char *const words[], size_t count, int64_t *out_ms)
{
    return count == 1 && str_to_i64(words[0], out_ms) && *out_ms >= 0;
}

/* wait MS: as a running shell, awake at every plan's wake_at */
static bool command_wait(struct world *world, char *const words[], size_t count)
{
    int64_t ms = 0;
    if (!milliseconds(words, count, &ms)) {
        return false;
    }
    struct mono end = mono_add(world->now, ms);
    while (mono_before(world->now, end) && !world->ended) {
        bool known = mono_before(world->now, world->plan.wake_at);
        struct mono next = known ? world->plan.wake_at : mono_add(world->now, 1);
        world->now = mono_min(next, end);
        tick(world);
    }
    return true;
}

/* stall MS: nothing ran for so long (a frozen process or machine) */
static bool command_stall(struct world *world, char *const words[], size_t count)
{
    int64_t ms = 0;
    if (!milliseconds(words, count, &ms)) {
        return false;
    }
    world->now = mono_add(world->now, ms);
    tick(world);
    return true;
}

/* clock MS: the wall clock */
static bool command_clock(struct world *world, char *const words[], size_t count)
{
    int64_t ms = 0;
    if (!milliseconds(words, count, &ms)) {
        return false;
    }
    world->wall.ms = ms - mono_sub(world->now, world->start);
    tick(world);
    return true;
}

static bool command_leave(struct world *world, char *const words[], size_t count)
{
    (void)words;
    struct core_event event = {.type = CORE_EVENT_COMMAND, .u.command = CORE_COMMAND_LEAVE};
    world_step(world, &event);
    return count == 0;
}

/* config KEY=VALUE...: the node's own configuration, reloaded */
static bool command_config(struct world *world, char *const words[], size_t count)
{
    if (!set_all(fields_config, &world->config, words, count)) {
        return false;
    }
    core_reconfigure(&world->core, &world->config);
    tick(world);
    return true;
}

/* restart [page=lost] [boot=new] [MEMORY=VALUE...]: the agent starts anew, with what survives */
static bool command_restart(struct world *world, char *const words[], size_t count)
{
    struct core_page page = world->page;
    page.present = true;
    for (size_t i = 0; i < count; i++) {
        if (str_equal(words[i], "page=lost")) {
            page = (struct core_page){0};
        } else if (str_equal(words[i], "boot=new")) {
            world->config.same_boot = false;
            page = (struct core_page){0};
        } else if (!fields_set(fields_memory, &world->memory, words[i])) {
            return false;
        }
    }
    memset(world->open, 0, sizeof(world->open));
    world->ended = false;
    core_init(&world->core, &world->config, &world->memory, &page, world->now);
    world_see_guard(world);
    return true;
}

bool world_command(struct world *world, char *const words[], size_t count)
{
    static const struct {
        const char *name;
        bool (*run)(struct world *, char *const[], size_t);
    } commands[] = {
        {"given", command_given},   {"store", command_store},     {"read", command_read},
        {"away", command_away},     {"back", command_back},       {"postgres", command_postgres},
        {"guard", command_guard},   {"peer", command_peer},       {"member", command_member},
        {"hidden", command_hidden}, {"hold", command_hold},       {"answer", command_answer},
        {"done", command_done},     {"asked", command_asked},     {"wait", command_wait},
        {"stall", command_stall},   {"clock", command_clock},     {"leave", command_leave},
        {"config", command_config}, {"restart", command_restart},
    };
    ASSERT(count > 0);
    bool given = str_equal(words[0], "given");
    bool none = world->config.name[0] == '\0' || world->ended;
    if (none && !given && !str_equal(words[0], "restart")) {
        return false; /* no core to talk to */
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (str_equal(commands[i].name, words[0])) {
            bool understood = commands[i].run(world, &words[1], count - 1);
            if (understood && !given) {
                print_end(world);
            }
            return understood;
        }
    }
    return false;
}
