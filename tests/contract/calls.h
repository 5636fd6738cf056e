/* contract/calls.h - requests whose outcome a test looks at afterwards.
 *
 * Purpose    every call is checked for "exactly one callback, and never inside the starting call".
 * Ownership  struct call belongs to the test and holds copies of what the callback got.
 * Units      ms.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_TESTS_CONTRACT_CALLS_H
#define HOLDFAST_TESTS_CONTRACT_CALLS_H

#include "dcs/dcs.h"
#include "dcs/mirror.h"
#include "contract/fixture.h"

struct call {
    struct dcs_request request;
    struct fixture *fixture;
    int calls;
    int order; /* how many callbacks of the fixture came before, closed ones included */
    enum err err;
    char text[256];
    uint64_t revision;
    uint64_t store_id;
    struct dcs_mirror items;
    int64_t took_ms;
    struct mono started;
};

struct watch {
    int ups;
    int changes;
    int downs;
    uint64_t revision;
    uint64_t store_id;
    struct dcs_mirror items;
};

#define TIMEOUT_MS 10000 /* for calls that are expected to be answered */

void call_read(struct fixture *fixture, struct dcs *dcs, struct call *call, int64_t timeout_ms);
void call_txn(struct fixture *fixture, struct dcs *dcs, struct call *call, const struct dcs_op *ops,
              size_t count, int64_t timeout_ms);
void call_fini(struct call *call);

/* Started and waited for. */
enum err read_now(struct fixture *fixture, struct dcs *dcs, struct call *call);
enum err txn_now(struct fixture *fixture, struct dcs *dcs, struct call *call,
                 const struct dcs_op *ops, size_t count);
/* One put; answers its version. */
uint64_t put_now(struct fixture *fixture, struct dcs *dcs, const char *key, const char *value);

/* The version of the key by a fresh read, 0 when absent. value, when not NULL, is compared. */
uint64_t version_now(struct fixture *fixture, struct dcs *dcs, const char *key, const char *value);

/* Copies what a watch tells; watch must be zeroed, and the fixture closed before it goes. */
void watch_on(struct dcs *dcs, struct watch *watch);
const struct dcs_item *watch_find(const struct watch *watch, const char *key);
void watch_fini(struct watch *watch);

#endif
