/* The only place where a clock is read. */
#include "base/time.h"

#include <time.h>

#include "base/assert.h"

static int64_t clock_ms(clockid_t clock)
{
    struct timespec ts;
    int rc = clock_gettime(clock, &ts);
    ASSERT(rc == 0);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct mono mono_now(void)
{
    return (struct mono){clock_ms(CLOCK_BOOTTIME)};
}

struct wall wall_now(void)
{
    return (struct wall){clock_ms(CLOCK_REALTIME)};
}
