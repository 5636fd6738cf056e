/* tests/fuzz/fuzz.h - one function a parser of bytes from outside.
 *
 * Purpose    the same functions run under libFuzzer (fuzz.c) and over the kept inputs (replay.c).
 *            Each gives the bytes to the code that runs in production, and asserts what must hold of
 *            every input: what was read and written again is read the same.
 * Ownership  the bytes are the caller's and have no NUL behind them.
 * Errors     what must hold and does not is an ASSERT: the process aborts.
 * Threads    one.
 */
#ifndef HOLDFAST_TESTS_FUZZ_H
#define HOLDFAST_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_LIST(X)                                                                               \
    X(config)    /* a configuration file: YAML, validation, merging with /config */                \
    X(consul)    /* Consul's answers */                                                            \
    X(local)     /* the local store's frames, both ways */                                         \
    X(pgtext)    /* pg_controldata, histories, postmaster.pid and their like */                    \
    X(records)   /* the cluster's keys in the store */                                             \
    X(status)    /* peers' answers and requests for promises */                                    \
    X(statefile) /* what an agent finds of its own from before: memory, addresses, control */

#define X(name) void fuzz_##name(const uint8_t *data, size_t size);
FUZZ_LIST(X)
#undef X

/* The function of that name, NULL: none. */
typedef void (*fuzz_function)(const uint8_t *data, size_t size);
fuzz_function fuzz_find(const char *name);

/* A copy that ends with NUL, exactly as large as it has to be; to be freed. */
char *fuzz_text(const uint8_t *data, size_t size);

#endif
