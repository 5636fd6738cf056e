/* lab/demo.h - the main job, shown: four faults, a client that counts, the story as it happens.
 *
 * Purpose    what `make demo` runs.
 * Ownership  none.
 * Errors     the exit code: 0 all acts were right, 1 not, 130 ended by Ctrl-C.
 * Threads    one, and the writer's.
 */
#ifndef HOLDFAST_LAB_DEMO_H
#define HOLDFAST_LAB_DEMO_H

#include "lab/up.h"

/* check: ends after the last act instead of leaving the cluster to the user until Ctrl-C. */
int demo_run(struct lab *lab, const struct up_options *options, bool check);

#endif
