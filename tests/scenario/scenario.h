/* tests/scenario/scenario.h - scripts for the core: what is seen, and what it does about it.
 *
 * Purpose    a world around one core: the facts as they are, a shell that steps it as core.h asks,
 *            and answers for its actions. README.md describes the language of the scripts.
 * Ownership  struct world is a plain value; `out` is borrowed.
 * Units      milliseconds; times are printed as they are since the scenario's start.
 * Errors     false when a line cannot be understood; the runner names the line.
 */
#ifndef HOLDFAST_TESTS_SCENARIO_H
#define HOLDFAST_TESTS_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/core.h"

#define WORDS_MAX 32

/* ---- fields.c: KEY=VALUE into the structs of view.h ---- */

enum field_kind {
    FIELD_TRI,
    FIELD_BOOL,
    FIELD_U64,
    FIELD_U32,
    FIELD_I64,
    FIELD_I32,
    FIELD_NAME,
    FIELD_NAMES, /* a,b,c */
    FIELD_ENUM,
};

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
    const char *const *choices; /* FIELD_ENUM: by value, NULL ends them */
};

extern const struct field fields_cluster[];
extern const struct field fields_postgres[];
extern const struct field fields_guard[];
extern const struct field fields_peer[];
extern const struct field fields_member[];
extern const struct field fields_config[];
extern const struct field fields_memory[];
extern const struct field fields_request[];
extern const char *const lease_states[];
extern const char *const divergences[];

/* Sets the field that `word` (KEY=VALUE) names; false when there is none such or the value is not
 * one of its. */
bool fields_set(const struct field *fields, void *object, const char *word);

/* ---- world.c ---- */

/* A member as the others see it, and how it answers. */
struct peer {
    struct core_peer_status status; /* its name; lsn and the like */
    bool silent;
    bool refuses; /* promises */
};

struct world {
    struct core core;
    struct core_config config;
    struct core_memory memory; /* as it is on disk */
    struct core_page page;
    struct core_cluster cluster; /* as the store has it */
    struct core_postgres postgres;
    struct core_guard guard;
    uint32_t peer_count;
    struct peer peer[MEMBERS_MAX];
    struct mono start; /* times are printed from here */
    struct mono now;
    struct wall wall;
    struct core_plan plan;
    bool held[CORE_TARGET_COUNT]; /* not answered by itself */
    struct core_action asked[CORE_TARGET_COUNT];
    bool open[CORE_TARGET_COUNT]; /* asked and not answered */
    bool ended;                   /* by EXIT: only a restart comes after it */
    FILE *out;
    int shown_reason; /* of the last step printed that did nothing; -1: none */
    struct mono shown_deadline;
    bool shown_promises;
    uint32_t lines[CORE_REASON_COUNT]; /* of the command under way */
    bool reached[CORE_REASON_COUNT];
    bool acted[CORE_ACTION_COUNT];
};

/* One line of a script, in words. False: it was not understood. */
bool world_command(struct world *world, char *const words[], size_t count);

/* ---- print.c ---- */

/* What one step of the core gave, if it is worth a line. */
void print_plan(struct world *world);

/* What this command changed about the own lease, and which lines were left out. */
void print_end(struct world *world);

#endif
