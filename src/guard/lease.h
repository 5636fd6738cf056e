/* guard/lease.h - when the guard acts against the primary.
 *
 * Purpose    the two stages of a lease's end as a pure function of the page and the time.
 * Ownership  none.
 * Errors     none: what makes no sense is a lease that has ended.
 * Units      milliseconds of CLOCK_BOOTTIME.
 * Source     design section 2; INV-4.
 */
#ifndef HOLDFAST_GUARD_LEASE_H
#define HOLDFAST_GUARD_LEASE_H

#include "base/time.h"
#include "guard/page.h"

/* A longer ttl is nonsense (and would overflow the arithmetic). */
#define LEASE_TTL_MS_MAX (366LL * 24 * 3600 * 1000)

struct lease_state {
    uint64_t armed_epoch;  /* 0: not armed */
    enum page_fence fence; /* what was done already */
    struct mono hard_at;   /* with fence FAST: when HARD follows */
};

struct lease_verdict {
    enum page_fence fence; /* what has to be done by now; never less than state->fence */
    struct mono hard_at;   /* for fence FAST */
    struct mono wake_at;   /* judge again no later than this */
};

/* Whether the lease runs for epoch and has not reached its first stage. */
bool lease_runs(const struct page_lease *lease, uint64_t epoch, struct mono now);

/* What to do now. Once fenced, no later deadline takes that back, but an earlier one counts. */
struct lease_verdict lease_judge(const struct page_lease *lease, const struct lease_state *state,
                                 struct mono now);

#endif
