/* tests/unit/core/fixture.h - two healthy nodes to bend: the holder n1 and the replica n2.
 *
 * Purpose    a whole struct core in a known good state, so that a test changes only what it is
 * about.
 */
#ifndef HOLDFAST_TESTS_CORE_FIXTURE_H
#define HOLDFAST_TESTS_CORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/core.h"

#define FX_NOW 100000
#define FX_TTL 2000

/* The replica n2 of a cluster of three that n1 leads with epoch 3; nothing is pending. */
void fx_replica(struct core *core);

/* The holder n1 of the same cluster: a primary, its lease renewed just now. */
void fx_holder(struct core *core);

/* A stopped n2 whose data is a former primary's. */
void fx_old_primary(struct core *core);

/* n2 with the lease of n1 over, and every answer that the race needs. */
void fx_race(struct core *core);

/* The only action of what core_decide plans, after checking the reason; NULL when it plans none. */
const struct core_action *fx_expect(const struct core *core, enum core_reason reason,
                                    struct core_plan *plan);

/* Steps with an event of the type, `ms` later; the body is taken from *event. */
void fx_step(struct core *core, struct core_event *event, int64_t ms, struct core_plan *plan);

/* Steps with TICK, `ms` later. */
void fx_tick(struct core *core, int64_t ms, struct core_plan *plan);

/* Answers the unfinished action of the target. */
void fx_done(struct core *core, enum core_target target, enum core_outcome outcome,
             uint64_t version, struct core_plan *plan);

#endif
