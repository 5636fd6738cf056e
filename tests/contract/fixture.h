/* contract/fixture.h - one store, a few clients and a relay in front of each.
 *
 * Purpose    the same faults for every store: the fake in memory, and the real process behind a
 *            relay that loses, delays and cuts what passes.
 * Ownership  fixture_init to fixture_fini; clients are closed by either fixture_close or fini.
 * Errors     asserted: a fixture that fails fails the test.
 * Units      ms.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_TESTS_CONTRACT_FIXTURE_H
#define HOLDFAST_TESTS_CONTRACT_FIXTURE_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "contract/consul_server.h"
#include "dcs/dcs.h"
#include "dcs/memory.h"

#define FIXTURE_CLIENTS 4
#define FIXTURE_BASE "/service/demo"
#define PATIENCE_MS                                                                                \
    20000 /* for what must happen at some time: only a broken program waits it out */

struct relay;

enum fixture_store { FIXTURE_MEMORY, FIXTURE_LOCAL, FIXTURE_CONSUL };

struct fixture {
    uv_loop_t loop;
    uv_timer_t beat; /* keeps uv_run from sleeping through a deadline */
    enum fixture_store store;
    struct consul_server consul;
    struct dcs_memory *memory;
    char dir[64]; /* of the test: db/ is the store's */
    pid_t store_pid;
    struct relay *relays[FIXTURE_CLIENTS];
    struct dcs *clients[FIXTURE_CLIENTS];
    int closed;
};

void fixture_init(struct fixture *fixture, enum fixture_store store);
void fixture_fini(struct fixture *fixture);

struct dcs *fixture_open(struct fixture *fixture, int index, const char *base);
void fixture_close(struct fixture *fixture, int index);

/* The next answer to this client is lost together with its connection. */
void fixture_cut_answer(struct fixture *fixture, int index);
/* Answers to this client get lost, the connection stays. */
void fixture_drop_answers(struct fixture *fixture, int index, bool on);
/* Grows when something of this client's has reached the store. */
unsigned fixture_passed(const struct fixture *fixture, int index);
void fixture_delay(struct fixture *fixture, int index, int64_t delay_ms);
void fixture_away(struct fixture *fixture, int index, bool on);

void fixture_freeze(struct fixture *fixture);
void fixture_thaw(struct fixture *fixture);
void fixture_restart(struct fixture *fixture);   /* kill -9, start again */
void fixture_wipe(struct fixture *fixture);      /* kill -9, remove the directory, start again */
void fixture_save(struct fixture *fixture);      /* a copy of what is there now... */
void fixture_roll_back(struct fixture *fixture); /* ...comes back */

/* For real stores only; the socket is the local store's. */
void fixture_store_start(struct fixture *fixture);
int fixture_store_wait(struct fixture *fixture); /* the wait status; the process is gone then */
void fixture_kill(struct fixture *fixture, int signum);
void fixture_socket(const struct fixture *fixture, char *out, size_t out_size);

/* One turn of the loop, of at most 5 ms. */
void fixture_turn(struct fixture *fixture);

/* Turns the loop until the condition holds; fails the test after PATIENCE_MS. */
#define UNTIL(fixture, cond)                                                                       \
    do {                                                                                           \
        struct mono until_ = mono_add(mono_now(), PATIENCE_MS);                                    \
        while (!(cond)) {                                                                          \
            if (!mono_before(mono_now(), until_)) {                                                \
                fail_msg("never came: %s", #cond);                                                 \
            }                                                                                      \
            fixture_turn(fixture);                                                                 \
        }                                                                                          \
    } while (0)

/* Turns the loop for a while. */
void fixture_run(struct fixture *fixture, int64_t ms);

#endif
