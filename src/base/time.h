/* base/time.h - the clocks, as types that do not mix.
 *
 * Purpose    struct mono is CLOCK_BOOTTIME (leases, waits, everything that is decided);
 *            struct wall is CLOCK_REALTIME (only for people: logs, REST, scheduled actions).
 * Units      milliseconds, rounded down.
 * Errors     none: a clock that cannot be read aborts.
 * Threads    any.
 */
#ifndef HOLDFAST_BASE_TIME_H
#define HOLDFAST_BASE_TIME_H

#include <stdbool.h>
#include <stdint.h>

struct mono {
    int64_t ms;
};

struct wall {
    int64_t ms;
};

#define MONO_NEVER ((struct mono){INT64_MAX})
#define MONO_ZERO ((struct mono){0})

/* Reads CLOCK_BOOTTIME. Not for pure layers: there, time is an input. */
struct mono mono_now(void);

/* Reads CLOCK_REALTIME (since 1970-01-01 UTC). Not for pure layers. */
struct wall wall_now(void);

/* ms may be negative. MONO_NEVER stays MONO_NEVER; a sum that does not fit ends at the bound. */
static inline struct mono mono_add(struct mono t, int64_t ms)
{
    int64_t sum;
    if (t.ms == INT64_MAX) {
        return t;
    }
    if (__builtin_add_overflow(t.ms, ms, &sum)) {
        sum = ms < 0 ? INT64_MIN : INT64_MAX;
    }
    return (struct mono){sum};
}

/* a - b in milliseconds; what does not fit ends at the bound. */
static inline int64_t mono_sub(struct mono a, struct mono b)
{
    int64_t difference;
    if (__builtin_sub_overflow(a.ms, b.ms, &difference)) {
        return a.ms < b.ms ? INT64_MIN : INT64_MAX;
    }
    return difference;
}

static inline bool mono_before(struct mono a, struct mono b)
{
    return a.ms < b.ms;
}

static inline struct mono mono_min(struct mono a, struct mono b)
{
    return a.ms < b.ms ? a : b;
}

static inline struct mono mono_max(struct mono a, struct mono b)
{
    return a.ms > b.ms ? a : b;
}

#endif
