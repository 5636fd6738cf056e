/* base/time.h - the clocks, as types that do not mix.
 *
 * Purpose    struct mono is CLOCK_BOOTTIME (leases, waits, everything that is decided);
 *            struct wall is CLOCK_REALTIME (only for people: logs, REST, scheduled actions).
 * Units      milliseconds.
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

static inline struct mono mono_add(struct mono t, int64_t ms)
{
    return t.ms > INT64_MAX - ms ? MONO_NEVER : (struct mono){t.ms + ms};
}

/* a - b in milliseconds. */
static inline int64_t mono_sub(struct mono a, struct mono b)
{
    return a.ms - b.ms;
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
