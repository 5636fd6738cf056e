/* fakes.h - stand-ins for what the agent stands on, inside one process.
 *
 * Purpose    a guard that answers from a thread, a PostgreSQL that is a few variables, a REST server
 *            that only hands over its callbacks, and the in-memory store behind dcs_local_open.
 * Ownership  globals of the test program; one agent at a time.
 * Callbacks  everything answers on a later turn, as the contracts demand.
 */
#ifndef HOLDFAST_TEST_AGENT_FAKES_H
#define HOLDFAST_TEST_AGENT_FAKES_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/limits.h"
#include "core/view.h"
#include "dcs/memory.h"
#include "guard/page.h"
#include "rest/rest.h"

struct fake_guard {
    struct page *page;
    int fd;      /* the guard's end */
    int leaving; /* the code told by LEAVING; -1: none */
    unsigned pings;
    bool freezes_at_arm; /* takes the order, and is never heard of again */
    unsigned arms;
};

/* A directory of this test's own with a configuration in it, for a PostgreSQL that is faked. */
struct fake_place {
    char directory[64];
    char config_path[PATH_SIZE];
};
void fake_place_make(struct fake_place *place, unsigned api_port);
void fake_place_remove(const struct fake_place *place);

/* Makes page and socket and names them in the environment, as a guard does; starts the thread. */
void fake_guard_start(struct fake_guard *guard);
/* The same for a guard that replaces another: the arguments say which page and socket. Runs until
 * the agent ends. */
void fake_guard_replacement(char **argv);
void fake_guard_end(struct fake_guard *guard);

struct fake_pg {
    struct core_postgres facts;
    unsigned starts;     /* as primary */
    bool lease_at_start; /* the page showed a running lease at that moment, ... */
    bool armed_at_start; /* ... and the guard was armed */
    unsigned probes;
    const struct page *page;
    uv_loop_t *loop;
    uint32_t action_calls;
    uint64_t probes_at_last_end;
    /* Called whenever an action has ended. */
    void (*ended)(const char *action);
};
extern struct fake_pg fake_pg;

struct fake_store {
    struct dcs_memory *memory;
    struct dcs *other; /* a client of the test's own */
};
extern struct fake_store fake_store;
extern uv_loop_t *fake_loop; /* the agent's, once it has opened its store */
/* Runs on the agent's loop right after the store was opened. */
extern void (*fake_begun)(uv_loop_t *loop);

struct fake_rest {
    struct rest_callbacks callbacks;
    void *arg;
    int promise_answer; /* -1: none yet */
};
extern struct fake_rest fake_rest;

#endif
