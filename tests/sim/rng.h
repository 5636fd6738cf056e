/* sim/rng.h - the simulator's only source of chance.
 *
 * Purpose    xoshiro256** seeded by splitmix64: the same seed gives the same run, bit for bit.
 * Ownership  the caller owns struct rng.
 * Threads    one.
 */
#ifndef HOLDFAST_SIM_RNG_H
#define HOLDFAST_SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

static inline uint64_t rng_rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rng_rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rng_rotl(s[3], 45);
    return result;
}

static inline void rng_seed(struct rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15ULL;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        rng->s[i] = z ^ (z >> 31);
    }
}

/* Uniform in [lo, hi]. */
static inline int64_t rng_range(struct rng *rng, int64_t lo, int64_t hi)
{
    uint64_t span = (uint64_t)(hi - lo) + 1;
    return lo + (int64_t)(rng_next(rng) % span);
}

/* True with a chance of permille / 1000. */
static inline bool rng_chance(struct rng *rng, int permille)
{
    return rng_range(rng, 0, 999) < permille;
}

#endif
