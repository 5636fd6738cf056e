/* codec/members.h - the key members/<name>: what a node tells about itself.
 *
 * Purpose    JSON to a flat struct, and back, for agent, REST and ctl.
 * Ownership  plain values; what has no fixed size (tags, pending restarts) is read from the JSON
 *            itself with member_json.
 * Errors     garbage gives a member with a name and nothing else; what does not fit is absent.
 * Units      LSNs in bytes; 0: not published.
 * Threads    any; pure.
 * Source     compat/dcs.md sections 1 and 2.
 */
#ifndef HOLDFAST_CODEC_MEMBERS_H
#define HOLDFAST_CODEC_MEMBERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "core/view.h"

struct member_info {
    char name[NAME_SIZE];
    uint64_t key_version; /* of the store's key; 0: absent */
    char conn_url[URL_SIZE];
    char api_url[URL_SIZE];
    char proxy_url[URL_SIZE];
    char host[URL_SIZE]; /* of conn_url, without brackets; "" unknown */
    uint16_t port;       /* of conn_url, 5432 when it names none */
    char state[40];
    char role[24];
    char replication_state[24];
    char agent_version[24];
    uint64_t xlog_location;
    uint64_t receive_lsn;
    uint64_t replay_lsn;
    uint32_t timeline;       /* 0 unknown */
    bool checkpoint_pending; /* checkpoint_after_promote: false */
    bool pending_restart;
    bool pause; /* this agent has seen pause */
    /* tags */
    bool nofailover; /* also by failover_priority <= 0 */
    bool nosync;
    bool noloadbalance;
    bool clonefrom;
    bool nostream;
    int32_t failover_priority; /* 1 when absent */
    char replicatefrom[NAME_SIZE];
};

/* value NULL: the key is absent, *out_member then has the name only. A name that does not fit is
 * cut: check it before. */
void member_parse(const char *name, const char *value, size_t size, uint64_t key_version,
                  struct member_info *out_member);

/* The whole object for what member_info leaves out; an empty one for garbage. Never NULL. */
json_t *member_json(const char *value, size_t size);

/* Compact JSON in the order of dcs.md; tags: the published map (config.h), may be NULL or empty.
 * The tag fields of the struct are not used. NULL never; to be freed. */
char *member_format(const struct member_info *member, const json_t *tags);

/* Whether both say the same; the versions of their keys are not compared. */
bool member_same(const struct member_info *a, const struct member_info *b);

/* What the core needs of it. */
void member_to_core(const struct member_info *member, struct core_member *out_member);

/* The tags of any object to the struct's fields (also for the own node's tags). */
void member_tags(const json_t *tags, struct member_info *member);

/* "postgres://host:5432/db" (also postgresql://, [::1], credentials skipped); false: no host. */
bool member_url_host(const char *url, char *out_host, size_t out_size,
                     uint16_t *out_port) MUST_CHECK;

#endif
