/* lab/view.h - what the nodes of a lab say of themselves.
 *
 * Purpose    one question to every node's REST API at once; the answers as plain values.
 * Ownership  the view is caller storage.
 * Errors     a node that does not answer in time is simply not reached.
 * Units      *_ms.
 * Threads    one at a time.
 */
#ifndef HOLDFAST_LAB_VIEW_H
#define HOLDFAST_LAB_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "lab/place.h"

struct view_node {
    bool reached;
    bool primary;   /* runs and says that it is primary */
    bool streaming; /* runs as a replica and receives WAL */
    bool paused;
    char state[32];
    char role[32];
    char sysid[32];
    int64_t timeline; /* 0: not told */
};

struct view {
    struct view_node node[LAB_NODES_MAX];
    int primary; /* the only one that says so; -1: none, or more than one */
    uint32_t streaming;
    uint32_t reached;
};

/* GET /patroni on every node; answers that take longer than timeout_ms do not count. */
void view_take(const struct lab *lab, int64_t timeout_ms, struct view *out_view);

/* One primary, and every other node streams from it on its timeline. */
bool view_is_whole(const struct lab *lab, const struct view *view);

/* POST with a JSON body; the answer's text is cut to fit. out_status 0: no answer. */
void view_post(const struct lab_node *node, const char *path, const char *body, long *out_status,
               char *out_text, size_t out_size);

#endif
