/* One rule: at 0.7 ttl without a newer deadline the primary is told to stop, at 0.95 ttl it is
 * killed; whatever cannot be read as a running lease of the armed epoch has ended. */
#include "guard/lease.h"

#include "base/assert.h"

static bool lease_sane(const struct page_lease *lease, uint64_t epoch)
{
    return lease->deadline.ms > 0 && lease->deadline.ms < INT64_MAX && lease->ttl_ms > 0 &&
           lease->ttl_ms <= LEASE_TTL_MS_MAX && lease->epoch >= epoch;
}

/* Both rounded so that the stage comes early rather than late. */
static struct mono fast_at(const struct page_lease *lease)
{
    return (struct mono){lease->deadline.ms - (lease->ttl_ms * 3 + 9) / 10};
}

static struct mono hard_at(const struct page_lease *lease)
{
    return (struct mono){lease->deadline.ms - (lease->ttl_ms + 19) / 20};
}

bool lease_runs(const struct page_lease *lease, uint64_t epoch, struct mono now)
{
    return lease_sane(lease, epoch) && lease->epoch == epoch && mono_before(now, fast_at(lease));
}

static struct lease_verdict verdict_hard(struct mono now)
{
    return (struct lease_verdict){.fence = PAGE_FENCE_HARD, .hard_at = now, .wake_at = MONO_NEVER};
}

static struct lease_verdict verdict_fast(struct mono kill_at)
{
    return (struct lease_verdict){.fence = PAGE_FENCE_FAST, .hard_at = kill_at, .wake_at = kill_at};
}

struct lease_verdict lease_judge(const struct page_lease *lease, const struct lease_state *state,
                                 struct mono now)
{
    if (state->armed_epoch == 0) {
        return (struct lease_verdict){.fence = state->fence, .wake_at = MONO_NEVER};
    }
    if (state->fence == PAGE_FENCE_HARD || !lease_sane(lease, state->armed_epoch)) {
        return verdict_hard(now);
    }
    struct mono kill_at = hard_at(lease);
    if (state->fence == PAGE_FENCE_FAST) {
        kill_at = mono_min(kill_at, state->hard_at);
    }
    if (!mono_before(now, kill_at)) {
        return verdict_hard(now);
    }
    if (state->fence == PAGE_FENCE_FAST || !mono_before(now, fast_at(lease))) {
        return verdict_fast(kill_at);
    }
    return (struct lease_verdict){.fence = PAGE_FENCE_NONE, .wake_at = fast_at(lease)};
}
