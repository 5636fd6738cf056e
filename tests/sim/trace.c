/* The last events, kept as pointers and numbers: formatting is paid for only when something broke. */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

const char *fault_name(enum fault fault)
{
    static const char *const names[] = {
#define X(name, text) text,
        FAULT_LIST(X)
#undef X
    };
    ASSERT((size_t)fault < sizeof(names) / sizeof(names[0]));
    return names[fault];
}

const char *mark_text(enum mark name)
{
    static const char *const texts[] = {
#define X(name, text) text,
        MARK_LIST(X)
#undef X
    };
    ASSERT((size_t)name < sizeof(texts) / sizeof(texts[0]));
    return texts[name];
}

static void print_entry(const struct sim *sim, const struct trace_entry *e)
{
    printf("%10" PRId64 ".%03d %-3s %-16s %s%s%s", e->at_us / 1000, (int)(e->at_us % 1000),
           e->node == NOBODY ? "-" : sim->node[e->node].name, e->what, e->text,
           e->text2[0] == '\0' ? "" : " ", e->text2);
    if (e->a != 0 || e->b != 0) {
        printf(" %" PRId64, e->a);
    }
    if (e->b != 0) {
        printf(" %" PRId64, e->b);
    }
    printf("\n");
}

static void hash_in(struct sim *sim, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) {
        sim->hash = (sim->hash ^ at[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    }
}

static void add(struct sim *sim, struct trace_entry entry)
{
    entry.at_us = sim->now_us;
    const int64_t numbers[] = {entry.at_us, entry.node, entry.a, entry.b};
    hash_in(sim, numbers, sizeof(numbers));
    hash_in(sim, entry.what, strlen(entry.what));
    hash_in(sim, entry.text, strlen(entry.text));
    hash_in(sim, entry.text2, strlen(entry.text2));
    sim->trace[sim->traces++ % TRACE_MAX] = entry;
    if (sim->tracing) {
        print_entry(sim, &entry);
    }
}

void trace_add2(struct sim *sim, int node, const char *what, const char *text, const char *text2,
                int64_t a)
{
    add(sim,
        (struct trace_entry){.node = node, .what = what, .text = text, .text2 = text2, .a = a});
}

void trace_add(struct sim *sim, int node, const char *what, const char *text, int64_t a, int64_t b)
{
    add(sim, (struct trace_entry){
                 .node = node, .what = what, .text = text, .text2 = "", .a = a, .b = b});
}

static void dump_node(const struct sim *sim, int node)
{
    static const char *const states[] = {"down", "starting", "up", "stopping", "orphan"};
    const struct node *n = &sim->node[node];
    const struct postgres *pg = &n->pg;
    printf("%s: %s, agent %s, guard %s%s, page epoch %" PRIu64 " left %" PRId64
           "; pg %s %s%s%s%s timeline %u lsn %" PRIu64 " branch %u follows %s%s; %s\n",
           n->name, n->up ? "on" : "off", n->agent.alive ? "runs" : "none",
           n->guard.alive ? "runs" : "none", n->guard.armed ? " armed" : "", n->page.epoch,
           n->page.deadline.ms == 0 ? 0 : n->page.deadline.ms - node_ms(sim, node),
           pg->datadir == CORE_DATADIR_EMPTY ? "EMPTY" : "", states[pg->state],
           pg->primary ? " primary" : "", pg->set_up ? "" : " not set up", pg->torn ? " torn" : "",
           sim->branch[pg->pos.branch].timeline, pg->pos.lsn, pg->pos.branch,
           pg->upstream == NOBODY ? "-" : sim->node[pg->upstream].name,
           pg->streaming ? " (streams)" : "", n->nofailover ? "nofailover" : "");
    if (pg->job.active) {
        printf("    job %s\n", core_action_name(pg->job.type));
    }
    if (n->agent.alive) {
        printf("    %s\n", core_reason_name(n->agent.reason));
    }
}

void trace_dump(const struct sim *sim)
{
    uint64_t first = sim->traces > TRACE_MAX ? sim->traces - TRACE_MAX : 0;
    for (uint64_t i = first; i < sim->traces; i++) {
        print_entry(sim, &sim->trace[i % TRACE_MAX]);
    }
    const struct store_data *data = &sim->store.data;
    const struct core_lease_record *lease = &data->lease;
    static const char *const states[] = {"held", "released", "handing to"};
    printf("store: %s, revision %" PRIu64 ", lease v%" PRIu64 " %s %s %s epoch %" PRIu64
           " seq %" PRIu64 " ttl %" PRId64 "%s, leader %s, failover %s -> %s, %s%" PRIu64
           " failsafe names, initialize %d sysid %" PRIu64 "%s\n",
           store_usable(sim) ? "usable" : "away", data->revision, lease->version,
           lease->present ? lease->holder : "-", states[lease->state], lease->to, lease->epoch,
           lease->seq, lease->ttl_ms, lease->armed ? "" : " unarmed",
           data->leader.version != 0 ? data->leader.name : "-", data->failover.leader,
           data->failover.candidate, data->settings.version == 0 ? "no config, " : "",
           (uint64_t)data->failsafe.names.count, (int)data->initialize, data->sysid,
           data->settings.pause ? ", PAUSED" : "");
    printf("failsafe v%" PRIu64 ":", data->failsafe.version);
    for (uint32_t i = 0; i < data->failsafe.names.count; i++) {
        printf(" %s", data->failsafe.names.name[i]);
    }
    printf("\n");
    for (int i = 0; i < sim->nodes; i++) {
        dump_node(sim, i);
    }
}
