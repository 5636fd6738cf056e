/* core/internal.h - what the files of the core share; nobody else includes it.
 *
 * Purpose    predicates over struct core (all const), the folding functions, the rules.
 * Purity     as core.h.
 */
#ifndef HOLDFAST_CORE_INTERNAL_H
#define HOLDFAST_CORE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/str.h"
#include "core/core.h"

#define CORE_PROMOTE_LEFT(ttl_ms) ((ttl_ms)*2 / 5) /* INV-3 demands a quarter; a bit more */
#define CORE_STATUS_PACE_MS 10                     /* between two rounds of GET /patroni */
#define CORE_START_PAUSE_MS 500                    /* after the second failed start; then doubled */
#define CORE_START_PAUSE_MS_MAX 30000
#define CORE_EXIT_CONFIG 78
#define CORE_EXIT_BOOTSTRAP 70

/* ---- lease.c: our own lease, and what a challenger has to wait for ---- */

/* max(2 %, 20 ms): what a wait is longer than the lease it waits for (L3). */
int64_t lease_margin_ms(int64_t ttl_ms);

/* The lease is ours and has not ended. */
bool lease_valid(const struct core *core);

/* Milliseconds until its end; 0 when there is none. */
int64_t lease_left_ms(const struct core *core);

/* The ttl that a challenger has to count with, whatever the record says. */
int64_t lease_ttl_known(const struct core *core);

/* Folds what a snapshot of the store says of `lease` into own lease and challenge. */
void lease_fold_record(struct core *core);

/* Folds the outcome of a LEASE_WRITE. */
void lease_fold_done(struct core *core, const struct core_done *done);

/* Folds one promise, and the end of a round of them. */
void lease_fold_promise(struct core *core, const struct core_peer_promise *promise);
void lease_fold_round_done(struct core *core, const struct core_done *done);

/* A higher revision of the store became known. */
void lease_revision(struct core *core, uint64_t revision);

/* Remembers a LEASE_WRITE that is about to be sent. */
void lease_commit(struct core *core, const struct core_lease_write *write);

/* Forgets a lease that is lost: no time, no epoch. */
void lease_lose(struct core *core);

/* When a challenger may act on the record as it stands (L3, L4, L8, L9, L10); NEVER: not at all. */
struct mono lease_wait_end(const struct core *core);

/* The record was given to us by name, or to whoever is fit. */
bool lease_handed_to_me(const struct core *core);
bool lease_released(const struct core *core);

/* The record names us as the holder of a paused cluster: nobody but a person's order may take it,
 * so we may take it again at once, whatever became of our page (L7). */
bool lease_left_unarmed(const struct core *core);

/* The record as our next renewal has it. */
struct core_lease_write lease_renewal(const struct core *core);

/* The record as our acquisition has it. */
struct core_lease_write lease_acquisition(const struct core *core);

/* A promise of ours is still to be kept. */
bool lease_promise_binds(const struct core *core);

/* The list that promises are asked of (L9): everything that may be in force. False: it cannot be
 * told in full, so no promises can carry the lease. */
bool lease_promise_names(const struct core *core, struct core_name_list *out_names);

/* ---- candidate.c: who may lead ---- */

enum candidate { CANDIDATE_ASK, CANDIDATE_FIT, CANDIDATE_NOT_FIT };

/* This node, by itself: running replica, not excluded, in the list. */
bool candidate_self_fit(const struct core *core);

/* This node among the others, from answers asked for at or after `from`. patient: better nodes are
 * still waited for; after that only a live primary stands in the way. */
enum candidate candidate_race(const struct core *core, struct mono from, bool patient);

/* Every other member that could answer. */
void candidate_peers(const struct core *core, struct core_name_list *out_names);

/* The best member to hand over to, from answers asked for at or after `from` whose position is at
 * least min_lsn. CANDIDATE_FIT: out_name is set. */
enum candidate candidate_successor(const struct core *core, struct mono from, uint64_t min_lsn,
                                   char out_name[NAME_SIZE]);

/* ---- view.c: questions to the view ---- */

bool view_postgres_known(const struct core *core); /* looked at since the last gap or change */
bool view_observed(const struct core *core);      /* store and PostgreSQL seen since the last gap */
bool view_store_usable(const struct core *core);  /* and the store answers */
bool view_maybe_primary(const struct core *core); /* unknown counts as yes */
bool view_primary(const struct core *core);       /* known to accept writes */
bool view_replica(const struct core *core);       /* known to run in recovery and to answer */
bool view_stopped(const struct core *core);       /* known not to run */
bool view_paused(const struct core *core);        /* /config says so */
bool view_free(const struct core *core, enum core_target target);
bool view_start_due(const struct core *core); /* a start that failed before may be tried again */
struct mono view_start_at(const struct core *core); /* when that is, as things are */
bool view_me(const struct core *core, const char *name);
bool view_leads(const struct core *core, const char **out_leader); /* another one does */
const struct core_member *view_member(const struct core *core, const char *name);
bool view_chosen(const struct core *core);  /* a due order names this node as the next leader */
bool view_ordered(const struct core *core); /* a due manual failover to this node, leader or not */
bool view_order_for_me(const struct core *core); /* a due switchover that we must carry out */
bool names_have(const struct core_name_list *names, const char *name);
bool names_add(struct core_name_list *names, const char *name); /* false: no room for it */
bool names_equal(const struct core_name_list *a, const struct core_name_list *b);
void names_wanted_failsafe(const struct core *core, struct core_name_list *out_names);

/* ---- fold.c ---- */
void fold_event(struct core *core, const struct core_event *event);
void fold_commit(struct core *core, struct core_plan *plan);

/* ---- rules ---- */
struct core_action *plan_add(struct core_plan *plan, enum core_action_type type);

#define X(function, name, text)                                                                    \
    bool core_rule_##function(const struct core *core, struct core_plan *plan) MUST_CHECK;
CORE_RULE_LIST(X)
#undef X

#endif
