/* codec/records.h - the cluster's keys in the store, to and from the core's structs.
 *
 * Purpose    one function per key, so that an agent reads again only what has changed, and one for
 *            a whole snapshot.
 * Ownership  plain values; items are only read.
 * Errors     garbage is read as compat/dcs.md section 1 says (a lease that cannot be read is not
 *            `present` but keeps its version); nothing fails. What did not fit is counted.
 * Units      *_ms; LSNs in bytes; versions as the store gives them, 0 = absent.
 * Threads    any; pure.
 * Source     compat/dcs.md section 2, design section 3 (lease).
 */
#ifndef HOLDFAST_CODEC_RECORDS_H
#define HOLDFAST_CODEC_RECORDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/dynconfig.h"
#include "codec/members.h"
#include "core/view.h"

/* One key below the cluster's prefix. value NULL: the key is not there (any more). */
struct records_item {
    const char *key; /* "leader", "members/n1" */
    const char *value;
    size_t value_size;
    uint64_t version;
};

enum records_kind {
    RECORDS_LEASE,
    RECORDS_LEADER,
    RECORDS_INITIALIZE,
    RECORDS_CONFIG,
    RECORDS_STATUS,
    RECORDS_HISTORY,
    RECORDS_FAILOVER,
    RECORDS_FAILSAFE,
    RECORDS_SYNC,
    RECORDS_MEMBER,
    RECORDS_OTHER,
    RECORDS_KIND_COUNT
};

/* out_name (may be NULL): the member's name within key, for RECORDS_MEMBER. */
enum records_kind records_kind(const char *key, const char **out_name);

/* ---- single keys ---- */

#define RECORDS_LEASE_SIZE 640

void records_parse_lease(const struct records_item *item, struct core_lease_record *out_record);
bool records_format_lease(const struct core_lease_record *record, char *out,
                          size_t out_size) MUST_CHECK;

void records_parse_leader(const struct records_item *item, struct core_leader_key *out_leader);

/* Anything but 10 or more digits, not all 0, counts as running: nobody may bootstrap over it. */
void records_parse_initialize(const struct records_item *item, enum core_initialize *out_state,
                              uint64_t *out_sysid);

/* The optime; 0 unknown. */
uint64_t records_parse_status(const struct records_item *item);
char *records_format_status(uint64_t optime); /* to be freed */

/* The cluster's timeline: last entry's + 1; 1 for []; 0 when absent or garbage. */
uint32_t records_parse_history(const struct records_item *item);

/* An order whose time cannot be read is no order. */
void records_parse_failover(const struct records_item *item, struct core_failover *out_failover);
/* {"leader","member","scheduled_at"}; "" and time 0 are left out. To be freed. */
char *records_format_failover(const struct core_failover *failover);

/* urls (may be NULL): the API addresses, in the order of out_failsafe->names; "" when too long. The
 * answer counts entries that had no room; then out_failsafe is cut. */
uint32_t records_parse_failsafe(const struct records_item *item, struct core_failsafe *out_failsafe,
                                char (*urls)[URL_SIZE]);

struct records_sync {
    uint64_t version;
    char leader[NAME_SIZE]; /* "": synchronous replication is not active */
    int64_t quorum;
    struct core_name_list standbys;
};
void records_parse_sync(const struct records_item *item, struct records_sync *out_sync);

/* Names in /sync are compared without case. */
bool records_sync_has(const struct records_sync *sync, const char *name);

/* ---- everything ---- */

/* What lies around the core's view. */
struct records_context {
    const json_t *local_postgresql;      /* as for dynconfig_settings, may be NULL */
    const struct core_settings *last;    /* last good settings, may be NULL */
    struct dynconfig_warnings *warnings; /* may be NULL */
    struct member_info *members;         /* MEMBERS_MAX of them, may be NULL */
    uint32_t member_count;               /* out: those filled in */
    uint32_t dropped;                    /* out: members and names that had no room */
};

/* Folds one key that is no member and not /config into the view. */
void records_apply(const struct records_item *item, struct core_cluster *cluster);

/* /config into cluster->settings and config_version. */
void records_apply_config(const struct records_item *item, const struct records_context *context,
                          struct core_cluster *cluster);

/* The whole prefix, items sorted by key as in dcs_snapshot. Sets everything that comes from keys;
 * reachable, asked_at, linearizable, store_id and revision stay as they are. */
void records_cluster_from_snapshot(const struct records_item *items, size_t count,
                                   struct records_context *context, struct core_cluster *cluster);

/* ---- time ---- */

/* ISO 8601: date, `T` or blank, time, optional fraction, `Z` or offset. Without zone the given
 * offset from UTC is taken. */
bool records_parse_time(const char *text, int default_offset_s, struct wall *out_time) MUST_CHECK;

/* "2026-11-23T12:00:00.123000+00:00" */
#define RECORDS_TIME_SIZE 80
void records_format_time(struct wall time, char out[RECORDS_TIME_SIZE]);

#endif
