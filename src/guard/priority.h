/* guard/priority.h - what keeps the guard running when nothing else does.
 *
 * Purpose    real-time or highest nice priority, locked memory, protection from the OOM killer, and
 *            their undoing for children; dropping root.
 * Ownership  none.
 * Errors     each step that is not allowed is told in the result, never fatal; only a user that
 *            cannot be dropped to is.
 */
#ifndef HOLDFAST_GUARD_PRIORITY_H
#define HOLDFAST_GUARD_PRIORITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "guard/control.h"

#define PRIORITY_GROUPS_MAX 64

struct priority {
    enum control_priority kind;
    int32_t value; /* real-time priority or nice value */
    bool memory_locked;
    bool oom_protected;
    int64_t oom_score_before; /* what children get back */
};

struct priority_user {
    bool set; /* false: stay who we are */
    uid_t uid;
    gid_t gid;
    gid_t groups[PRIORITY_GROUPS_MAX];
    size_t groups_count;
};

/* Takes what is allowed, raises the limits by which a re-exec as an ordinary user gets it again. */
void priority_take(struct priority *out_priority);

/* Makes every page of the program present, its own and locked. Called again after each fork: the
 * pages shared with the child would otherwise be copied at a later write, when memory may be short. */
bool priority_lock_image(void);

/* Gives up root for good. */
enum err priority_drop_root(const struct priority_user *user, struct err_detail *detail) MUST_CHECK;

/* In a forked child: back to what an ordinary process has (memory locks do not pass a fork). */
void priority_reset_child(int64_t oom_score, bool reset_limits);

#endif
