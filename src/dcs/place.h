/* dcs/place.h - which store, and how it is reached: what a configuration says in one section.
 *
 * Purpose    plain values that src/config fills in, and the opening of whichever store they name.
 * Ownership  all texts belong to whoever filled them in; dcs_place_open copies what it keeps.
 * Errors     as those of the store that is opened.
 * Threads    loop thread only.
 * Source     compat/config.md section 2.5; docs/consul.md, docs/local-store.md.
 */
#ifndef HOLDFAST_DCS_PLACE_H
#define HOLDFAST_DCS_PLACE_H

#include "dcs/consul_config.h"
#include "dcs/dcs.h"

enum dcs_kind { DCS_KIND_NONE, DCS_KIND_LOCAL, DCS_KIND_CONSUL };

struct dcs_place {
    enum dcs_kind kind;
    const char *socket; /* of the local store; "" for the others */
    struct dcs_consul_config consul;
};

struct dcs_place_user {
    const char *base;  /* "/service/demo" */
    const char *name;  /* for people who look at sessions: "demo-n1" */
    const char *scope; /* "demo", and... */
    const char
        *member;   /* ..."n1": what the node is called in the store's catalogue; NULL: nothing */
    bool observer; /* only looks, or carries out one order; keeps nothing */
};

/* ERR_INVALID when it cannot be used; one that is not there yet is retried for ever. */
enum err dcs_place_open(uv_loop_t *loop, const struct dcs_place *place,
                        const struct dcs_place_user *user, struct dcs **out_dcs,
                        struct err_detail *detail) MUST_CHECK;

/* Whether a client of the one may go on as a client of the other by dcs_place_reload. */
bool dcs_place_same(const struct dcs_place *a, const struct dcs_place *b);

/* place must be the same but for what may change: token, dc, consistency, and all about the service. */
void dcs_place_reload(struct dcs *dcs, const struct dcs_place *place);

#endif
