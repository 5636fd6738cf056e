/* The only code that knows of every store; all other code knows dcs.h. */
#include "dcs/place.h"

#include "base/assert.h"
#include "base/str.h"
#include "dcs/consul.h"

enum err dcs_place_open(uv_loop_t *loop, const struct dcs_place *place,
                        const struct dcs_place_user *user, struct dcs **out_dcs,
                        struct err_detail *detail)
{
    ASSERT(user->base != NULL && user->name != NULL);
    switch (place->kind) {
    case DCS_KIND_NONE:
        return err_set(detail, ERR_INVALID, "no store is named");
    case DCS_KIND_LOCAL:
        return dcs_local_open(loop, place->socket, user->base, out_dcs, detail);
    case DCS_KIND_CONSUL:
        break;
    }
    const struct dcs_consul_options options = {.config = &place->consul,
                                               .base = user->base,
                                               .session_name = user->name,
                                               .scope = user->scope,
                                               .name = user->member,
                                               .observer = user->observer};
    return dcs_consul_open(loop, &options, out_dcs, detail);
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : str_equal(a, b);
}

bool dcs_place_same(const struct dcs_place *a, const struct dcs_place *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case DCS_KIND_NONE:
        return true;
    case DCS_KIND_LOCAL:
        return str_equal(a->socket, b->socket);
    case DCS_KIND_CONSUL:
        break;
    }
    return str_equal(a->consul.url, b->consul.url) && a->consul.verify == b->consul.verify &&
           same_text(a->consul.cacert, b->consul.cacert) &&
           same_text(a->consul.cert, b->consul.cert) && same_text(a->consul.key, b->consul.key);
}

void dcs_place_reload(struct dcs *dcs, const struct dcs_place *place)
{
    ASSERT(dcs != NULL);
    if (place->kind == DCS_KIND_CONSUL) {
        dcs_consul_reload(dcs, &place->consul);
    }
}
