/* lab/up.h - a lab from nothing to streaming, and back to nothing.
 *
 * Purpose    the two commands that make and remove a whole cluster, for `lab` and the demo.
 * Ownership  struct lab is the caller's; up leaves it unlocked, loaded and saved.
 * Errors     texts for people; a failed up has removed what it made unless it was told to keep it.
 * Units      *_ms.
 * Threads    one.
 */
#ifndef HOLDFAST_LAB_UP_H
#define HOLDFAST_LAB_UP_H

#include <stdbool.h>

#include "base/err.h"
#include "base/time.h"
#include "lab/place.h"
#include "lab/view.h"

struct up_options {
    uint32_t nodes;
    int64_t ttl_ms;
    const char *pg_bin; /* NULL: found */
    bool keep;          /* what a failed start has left stays for a look */
};

/* Progress goes to standard output, a line each. */
enum err up_run(struct lab *lab, const struct up_options *options,
                struct err_detail *detail) MUST_CHECK;

/* Stops everything; removes the directory unless keep. Fine when there is nothing. */
enum err down_run(struct lab *lab, bool keep, struct err_detail *detail) MUST_CHECK;

/* Polls until the cluster is whole. False: the deadline passed, or a signal asked to end. */
bool up_await_whole(const struct lab *lab, struct mono deadline, struct view *out_view);

/* SIGINT and SIGTERM ask, up_interrupted answers. */
void up_catch_signals(void);
bool up_interrupted(void);

/* Reaps what was left to this process, if anything. */
void up_reap(void);

#endif
