/* The keys of a cluster. A line is a key, a tab and its value: each alone, then all as one snapshot. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "codec/json.h"
#include "codec/records.h"

#define ITEMS_MAX 40

static void lease(const struct records_item *item)
{
    struct core_lease_record first;
    records_parse_lease(item, &first);
    ASSERT(first.version == item->version);
    if (first.present) {
        char text[RECORDS_LEASE_SIZE];
        ASSERT((first.state == CORE_LEASE_HANDING_TO) == (first.to[0] != '\0'));
        if (!records_format_lease(&first, text, sizeof(text))) {
            return; /* names full of characters that JSON escapes */
        }
        struct core_lease_record second;
        struct records_item again = {"lease", text, strlen(text), item->version};
        records_parse_lease(&again, &second);
        ASSERT(second.present && second.state == first.state && second.armed == first.armed);
        ASSERT(second.epoch == first.epoch && second.seq == first.seq);
        ASSERT(second.ttl_ms == first.ttl_ms && str_equal(second.holder, first.holder));
        ASSERT(str_equal(second.to, first.to) && str_equal(second.session, first.session));
    }
}

static void failover(const struct records_item *item)
{
    struct core_failover first;
    struct core_failover second;
    records_parse_failover(item, &first);
    AUTO_FREE char *text = records_format_failover(&first);
    ASSERT(text != NULL);
    struct records_item again = {"failover", text, strlen(text), item->version};
    records_parse_failover(&again, &second);
    ASSERT(str_equal(first.leader, second.leader));
    ASSERT(str_equal(first.candidate, second.candidate));
    ASSERT(first.scheduled_at.ms == second.scheduled_at.ms);
}

static void status(const struct records_item *item)
{
    uint64_t optime = records_parse_status(item);
    if (optime > 0 && optime <= INT64_MAX) {
        AUTO_FREE char *text = records_format_status(optime);
        ASSERT(text != NULL);
        struct records_item again = {"status", text, strlen(text), 1};
        ASSERT(records_parse_status(&again) == optime);
    }
}

static void member(const struct records_item *item)
{
    struct member_info first;
    struct member_info second;
    member_parse("n1", item->value, item->value_size, item->version, &first);
    AUTO_FREE char *text = member_format(&first, NULL);
    ASSERT(text != NULL);
    member_parse("n1", text, strlen(text), item->version, &second);
    ASSERT(str_equal(first.conn_url, second.conn_url) && str_equal(first.state, second.state));
    ASSERT(str_equal(first.api_url, second.api_url) && str_equal(first.role, second.role));
    ASSERT(first.xlog_location == second.xlog_location && first.port == second.port);
    ASSERT(first.timeline == second.timeline && first.pause == second.pause);
    struct core_member core_member;
    member_to_core(&first, &core_member);
}

static void others(const struct records_item *item)
{
    struct core_leader_key leader;
    records_parse_leader(item, &leader);
    enum core_initialize initialize = CORE_INITIALIZE_ABSENT;
    uint64_t sysid = 0;
    records_parse_initialize(item, &initialize, &sysid);
    ASSERT((initialize == CORE_INITIALIZE_DONE) == (sysid != 0));
    (void)records_parse_history(item);
    struct core_failsafe failsafe;
    char urls[MEMBERS_MAX][URL_SIZE];
    ASSERT((records_parse_failsafe(item, &failsafe, urls) > 0) == failsafe.cut);
    ASSERT(failsafe.names.count <= MEMBERS_MAX);
    struct records_sync sync;
    records_parse_sync(item, &sync);
    ASSERT(sync.standbys.count <= MEMBERS_MAX);
}

static void settings_hold(const struct core_settings *settings)
{
    ASSERT(settings->ttl_ms >= DYNCONFIG_TTL_MIN_MS);
    ASSERT(settings->loop_wait_ms > 0 && settings->retry_timeout_ms > 0);
    ASSERT(settings->loop_wait_ms + 2 * settings->retry_timeout_ms <= settings->ttl_ms);
    ASSERT(settings->maximum_lag_on_failover >= 0 && settings->primary_start_timeout_ms >= 0);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct records_item *)a)->key, ((const struct records_item *)b)->key);
}

static size_t split(char *text, const char *end, struct records_item *items)
{
    size_t count = 0;
    while (text < end && count < ITEMS_MAX) {
        char *stop = memchr(text, '\n', (size_t)(end - text));
        stop = stop != NULL ? stop : text + strlen(text);
        *stop = '\0';
        char *tab = strchr(text, '\t');
        if (tab != NULL) {
            *tab = '\0';
            items[count] =
                (struct records_item){text, tab + 1, strlen(tab + 1), (uint64_t)count + 1};
            count++;
        }
        text = stop + 1;
    }
    return count;
}

void fuzz_records(const uint8_t *data, size_t size)
{
    struct records_item items[ITEMS_MAX];
    AUTO_FREE char *text = fuzz_text(data, size);
    size_t count = split(text, text + size, items);
    for (size_t i = 0; i < count; i++) {
        lease(&items[i]);
        failover(&items[i]);
        status(&items[i]);
        member(&items[i]);
        others(&items[i]);
    }
    qsort(items, count, sizeof(items[0]), by_key);
    static struct member_info members[MEMBERS_MAX];
    struct dynconfig_warnings warnings = {0};
    struct records_context context = {.members = members, .warnings = &warnings};
    static struct core_cluster cluster;
    memset(&cluster, 0, sizeof(cluster));
    records_cluster_from_snapshot(items, count, &context, &cluster);
    ASSERT(cluster.member_count <= MEMBERS_MAX && context.member_count <= MEMBERS_MAX);
    ASSERT(warnings.count <= DYNCONFIG_WARNINGS_MAX);
    settings_hold(&cluster.settings);
}
