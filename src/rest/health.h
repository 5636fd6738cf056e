/* rest/health.h - the code of a health check, from the view alone.
 *
 * Purpose    which of 200 and 503 a load balancer hears: pure, so that a table can test it.
 * Ownership  everything is borrowed for the call.
 * Errors     none: what cannot be read counts as not asked, as in compat/rest.md section 3.
 * Units      LSNs in bytes.
 * Threads    any.
 */
#ifndef HOLDFAST_REST_HEALTH_H
#define HOLDFAST_REST_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"
#include "rest/rest.h"

#define HEALTH_TAGS_MAX 32

struct health_tag {
    const char *name; /* without "tag_" */
    const char *value;
};

struct health_query {
    const char *path;
    const char *lag;               /* NULL: not asked */
    const char *replication_state; /* NULL: not asked */
    const char *mode;              /* readiness; NULL: apply */
    uint32_t tag_count;
    struct health_tag tags[HEALTH_TAGS_MAX];
};

/* The cached cluster may be shown and used: it was seen within the last ttl. */
bool health_cluster_valid(const struct rest_view *view, struct mono now);

bool health_paused(const struct rest_view *view);

/* The role that is shown; differs from the server's in a standby cluster. */
const char *health_role(const struct rest_view *view);

/* The own name is listed in /sync: as synchronous or as quorum standby. */
bool health_sync_standby(const struct rest_view *view, const char *name, struct mono now);
bool health_quorum_standby(const struct rest_view *view, const char *name, struct mono now);

/* 200 or 503. name: the own. */
int health_code(const struct rest_view *view, const char *name, const struct health_query *query,
                struct mono now);
int health_liveness(const struct rest_view *view, struct mono now);
int health_readiness(const struct rest_view *view, const struct health_query *query,
                     struct mono now);

#endif
