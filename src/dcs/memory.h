/* dcs/memory.h - a store inside the process, for the tests of other layers.
 *
 * Purpose    the contract of dcs.h without a process or a disk, and with faults at will. The
 *            contract suite runs against it and the real stores alike.
 * Ownership  the store outlives its clients; clients are closed by dcs_close.
 * Errors     those of the contract, when a fault asks for them.
 * Units      ms.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_DCS_MEMORY_H
#define HOLDFAST_DCS_MEMORY_H

#include "dcs/dcs.h"

struct dcs_memory;

struct dcs_memory *dcs_memory_create(uv_loop_t *loop);

/* After every client's closed_cb; the last memory goes on a later turn of the loop. NULL is fine.
 */
void dcs_memory_destroy(struct dcs_memory *store);

/* A client of its own, as if in another process. base as for dcs_local_open, and must be right. */
struct dcs *dcs_memory_open(struct dcs_memory *store, const char *base);

enum dcs_memory_fault {
    DCS_MEMORY_NO_FAULT,
    DCS_MEMORY_DROP_REQUEST, /* sent, never applied, never answered */
    DCS_MEMORY_DROP_ANSWER,  /* applied, never answered */
    DCS_MEMORY_CUT_ANSWER,   /* applied, then the connection is lost and made again */
    DCS_MEMORY_REFUSE,       /* ERR_REFUSED, nothing applied */
};

/* Befalls the next count requests of this client; 0: none any more. */
void dcs_memory_set_fault(struct dcs *client, enum dcs_memory_fault fault, unsigned count);

/* How long each request of this client takes from now on. */
void dcs_memory_set_delay(struct dcs *client, int64_t delay_ms);

/* As if the store were not there for this client: its session is no longer kept alive. */
void dcs_memory_set_away(struct dcs *client, bool away);

/* As SIGSTOP and SIGCONT: nobody is answered, and no session ends by it. */
void dcs_memory_set_frozen(struct dcs_memory *store, bool frozen);

/* Everything gone, another store_id, revision 0; clients see a cut. */
void dcs_memory_wipe(struct dcs_memory *store);

/* As restoring an old copy of the files: save keeps one (the last), roll_back puts it in force, with
 * its revision and under the same store_id. Sessions stay as they are. Clients see a cut. */
void dcs_memory_save(struct dcs_memory *store);
void dcs_memory_roll_back(struct dcs_memory *store);

#endif
