/* codec/consulservice.h - a node as a service in Consul's catalogue: what is registered, what is found.
 *
 * Purpose    the bodies for /v1/agent/service/register, from /v1/catalog/service, and the transaction
 *            that takes a role away from nodes that have it no more.
 * Ownership  texts made here are on the heap (free); a list owns its entries until
 *            consulservice_list_fini.
 * Errors     ERR_INVALID for an answer that is not as Consul documents it.
 * Units      *_ms milliseconds.
 * Threads    any.
 * Source     compat/dcs.md section 6.1; Consul's HTTP API, /v1/agent/service, /v1/catalog and /v1/txn.
 */
#ifndef HOLDFAST_CODEC_CONSULSERVICE_H
#define HOLDFAST_CODEC_CONSULSERVICE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CONSULSERVICE_NAME_SIZE 231

/* The service's name of a scope: what DNS can have of it. False: scope is no UTF-8, or too long. */
bool consulservice_name(const char *scope, char out_name[CONSULSERVICE_NAME_SIZE]) MUST_CHECK;

struct consulservice {
    const char *name;
    const char *id;          /* "demo/n1" */
    const char *role;        /* "primary", "replica", "standby_leader" */
    const char *const *tags; /* more of them, sorted */
    size_t tag_count;
    const char *host; /* of PostgreSQL */
    uint16_t port;
    const char *api_url;         /* "http://10.0.0.1:8008/patroni": its host is what is checked */
    const char *check_interval;  /* "5s" */
    const char *tls_server_name; /* "": none */
    int64_t deregister_after_ms; /* Consul forgets a service that has been critical for so long */
};

/* The body for PUT /v1/agent/service/register. The check begins as passing: whoever registers itself
 * has just looked. NULL: api_url has no host. */
char *consulservice_register_text(const struct consulservice *service);

/* The role as it stands among the tags: '_' is '-'. */
void consulservice_role_tag(const char *role, char *out_tag, size_t out_size);

struct consulservice_list {
    json_t *entries; /* an array of objects, each with Node, ServiceID and ServiceTags */
};

/* The body of GET /v1/catalog/service/NAME. */
enum err consulservice_list_read(const char *body, size_t size, struct consulservice_list *out_list,
                                 struct err_detail *detail) MUST_CHECK;
void consulservice_list_fini(struct consulservice_list *list);

/* Whether the entry of that id is there and has that tag. */
bool consulservice_list_has(const struct consulservice_list *list, const char *id, const char *tag);

/* The body for PUT /v1/txn that takes the roles of a leader from every entry but own_id's, provided
 * that each is still as it was found and that leader_key's index is still leader_version: whoever
 * leads now is not touched by one who led before. NULL: there is nothing to take. */
char *consulservice_correction(const struct consulservice_list *list, const char *own_id,
                               const char *leader_key, uint64_t leader_version);

#endif
