/* dcs/consul.h - Consul as the store, by its HTTP API.
 *
 * Purpose    opens a client of one cluster's prefix; all else is dcs.h.
 * Ownership  options and what they point to are copied.
 * Errors     as dcs.h. Beside it: a prefix that cannot be told from an empty one because the token may
 *            not read it is never told as empty; reads are ERR_REFUSED then.
 * Units      session_ttl_min_ms.
 * Threads    loop thread only.
 * Source     design section 6 and appendix A; docs/consul.md.
 */
#ifndef HOLDFAST_DCS_CONSUL_H
#define HOLDFAST_DCS_CONSUL_H

#include "dcs/consul_config.h"
#include "dcs/dcs.h"

struct dcs_consul_options {
    const struct dcs_consul_config *config;
    const char *base;         /* "/service/demo" */
    const char *session_name; /* for people: "demo-n1" */
    const char *scope;        /* of the service in the catalogue; NULL: none */
    const char *name;         /* of this node in it; NULL: none */
    bool observer;            /* writes nothing by itself: no mark of the store's identity */
    int64_t
        session_ttl_min_ms; /* 0: 15 s. Consul keeps a session up to twice as long as it says, so
                                   half of what dcs_session_set_ttl wants is asked for, but never
                                   less than this. */
};

/* ERR_INVALID when base or url cannot be used; a Consul that is not there yet is retried for ever. */
enum err dcs_consul_open(uv_loop_t *loop, const struct dcs_consul_options *options,
                         struct dcs **out_dcs, struct err_detail *detail) MUST_CHECK;

/* What may change while the client runs: token, dc, consistent, and all about the service. */
void dcs_consul_reload(struct dcs *dcs, const struct dcs_consul_config *config);

#endif
