/* tests/unit/pg/fixture.h - a struct pg over directories of its own, without a server.
 *
 * Purpose    a fresh data and state directory and a pg made for them; files by name.
 * Ownership  fixture_start's struct is the fixture's; fixture_end removes all of it.
 * Errors     a failed assertion.
 * Threads    one.
 */
#ifndef HOLDFAST_TEST_PG_FIXTURE_H
#define HOLDFAST_TEST_PG_FIXTURE_H

#include <stdbool.h>
#include <uv.h>

#include "pg/pg_internal.h"

#define FIXTURE_TEXT_SIZE 16384

struct fixture {
    uv_loop_t loop;
    char root[64];
    char data[96];
    char state[96];
    char pgpass[96];
    struct pg_config config; /* may be changed between fixture_prepare and fixture_start */
    struct pg *pg;
    int orders; /* what pg asked of the process interface */
};

void fixture_prepare(struct fixture *fixture); /* directories and a plain configuration */
void fixture_start(struct fixture *fixture);
void fixture_stop(struct fixture *fixture); /* may be started again */
void fixture_end(struct fixture *fixture);

/* Names are relative to the root, as in "data/pg_hba.conf". */
void fixture_write(const struct fixture *fixture, const char *name, const char *text);
void fixture_write_bytes(const struct fixture *fixture, const char *name, char fill, size_t size);
void fixture_make_dir(const struct fixture *fixture, const char *name);
bool fixture_exists(const struct fixture *fixture, const char *name);
/* The content, in a buffer that the next call uses again. */
const char *fixture_read(const struct fixture *fixture, const char *name);

#endif
