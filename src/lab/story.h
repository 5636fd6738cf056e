/* lab/story.h - what the nodes log while something happens to them, told to a person.
 *
 * Purpose    follow the nodes' log files and print the decisions in them.
 * Ownership  the story is caller storage; nothing stays open.
 * Errors     a file that cannot be read tells nothing.
 * Units      times since story_begin.
 * Threads    one.
 */
#ifndef HOLDFAST_LAB_STORY_H
#define HOLDFAST_LAB_STORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/time.h"
#include "lab/place.h"

#define STORY_TOLD_MAX 256

struct story {
    struct mono start;
    off_t offset[LAB_NODES_MAX];
    uint64_t told[STORY_TOLD_MAX]; /* hashes: what comes again and again is told once */
    size_t told_count;
};

/* Skips what is in the files already, and forgets what was told. */
void story_begin(const struct lab *lab, struct story *story);

/* Prints what came since the last call. */
void story_follow(const struct lab *lab, struct story *story);

/* "  +1.234 s  " and the line. */
void story_say(const struct story *story, const char *format, ...) PRINTF_LIKE(2, 3);

/* Is text in what the node logged since this point in its file? */
bool story_has(const struct lab *lab, uint32_t index, off_t since, const char *text);

#endif
