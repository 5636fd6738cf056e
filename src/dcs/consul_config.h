/* dcs/consul_config.h - how Consul is reached: plain values, as the configuration has them.
 *
 * Purpose    what src/config fills in and dcs_consul_open takes.
 * Ownership  all texts belong to whoever filled them in; dcs_consul_open copies what it keeps.
 * Source     compat/config.md section 2.5.
 */
#ifndef HOLDFAST_DCS_CONSUL_CONFIG_H
#define HOLDFAST_DCS_CONSUL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

struct dcs_consul_config {
    const char *url;       /* "http://127.0.0.1:8500", without a slash at the end */
    const char *token;     /* "": none. Never logged. */
    const char *dc;        /* "": the agent's own */
    bool verify;           /* the server's certificate */
    const char *cacert;    /* NULL: the system's authorities */
    const char *cert;      /* NULL: none */
    const char *key;       /* NULL: in cert */
    bool consistent;       /* pushed changes are read by `consistent` as well */
    const char **checks;   /* of the session */
    size_t check_count;    /* 0: none, not even the node's own */
    bool register_service; /* from here on: the catalogue's service of this node */
    const char **tags;     /* sorted */
    size_t tag_count;      /* beside the role's */
    const char *check_interval;
    const char *check_tls_server_name; /* "": none */
};

#endif
