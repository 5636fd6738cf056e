/* tests/scenario/world.h - between world.c (the shell and its answers) and commands.c (the script).
 *
 * Purpose    steps of the core, and what becomes of its actions.
 * Ownership  as scenario.h.
 */
#ifndef HOLDFAST_TESTS_SCENARIO_WORLD_H
#define HOLDFAST_TESTS_SCENARIO_WORLD_H

#include "scenario.h"

enum outcome {
    OUTCOME_APPLIED,
    OUTCOME_REFUSED,
    OUTCOME_CONFLICT,
    OUTCOME_UNKNOWN, /* no answer; it was not applied */
    OUTCOME_LOST,    /* no answer; it was applied */
};

/* Steps with the event, then as core.h asks, then answers what is answered by itself. */
void world_step(struct world *world, struct core_event *event);

/* The answer to the unfinished action of the target. */
void world_done(struct world *world, enum core_target target, enum outcome outcome,
                enum core_divergence divergence);

/* Answers what is open and not held back. */
void world_settle(struct world *world);

/* A look at the facts as they are. */
void world_see_store(struct world *world, bool linearizable);
void world_see_postgres(struct world *world);
void world_see_guard(struct world *world);

#endif
