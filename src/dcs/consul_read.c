/* What makes a list of keys a snapshot: a revision, and which store it is of. Consul tells no identity,
 * and shows an empty prefix to whoever may not read it; so the prefix carries a mark of ours, and
 * without it nothing is believed. Consul's index of a prefix goes back when the record of its last
 * deletion is thrown away (after 15 minutes): where no key has changed, that is no step back.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "dcs/consul_internal.h"

#define FNV_START 14695981039346656037u
#define FNV_PRIME 1099511628211u

static uint64_t fnv(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * FNV_PRIME;
    }
    return hash;
}

/* ---- the mark ---- */

static void marked(struct consul *consul, uint64_t id, const struct consul_reply *reply)
{
    ASSERT(consul->marking);
    (void)id;
    consul->marking = false;
    bool denied = reply->err == ERR_OK &&
                  (consul_reply_denied(reply) || (reply->reply->status == 409 &&
                                                  strstr(reply->reply->body, "Permission denied")));
    if (denied) {
        struct err_detail why = {0};
        (void)err_set(&why, ERR_REFUSED,
                      "Consul refuses consul.token the write of %s" CONSUL_MARK
                      "; remedy: a token that may write key_prefix \"%s\"",
                      consul->prefix, consul->prefix);
        consul_fail_unsent(consul, true, why.text);
    } else if (reply->err == ERR_OK && reply->reply->status == 200) {
        log_debug("consul_mark", "prefix=%s", consul->prefix);
    }
    consul_send_later(consul); /* another may have been faster: the next read tells */
}

static void mark_write(struct consul *consul)
{
    if (consul->marking) {
        return;
    }
    uint64_t number = 0;
    ssize_t got = getrandom(&number, sizeof(number), 0);
    ASSERT(got == (ssize_t)sizeof(number));
    char value[24];
    (void)snprintf(value, sizeof(value), "%016" PRIx64, number);
    const struct consulproto_op ops[] = {
        {.type = CONSULPROTO_CHECK, .key = CONSUL_MARK, .version = 0},
        {.type = CONSULPROTO_PUT, .key = CONSUL_MARK, .value = value},
    };
    struct consulproto_txn txn = {.prefix = consul->prefix, .session = "", .ops = ops, .count = 2};
    char *body = consulproto_txn_text(&txn);
    struct consul_question question = {.method = HTTP_PUT,
                                       .path = "/v1/txn",
                                       .query = "consistent",
                                       .body = body,
                                       .timeout_ms = CONSUL_OWN_TIMEOUT_MS};
    consul->marking = true;
    (void)consul_ask(consul, &question, marked, 0);
    free(body);
}

/* ---- the snapshot ---- */

void consul_snapshot_fini(struct consul_snapshot *snapshot)
{
    ASSERT(snapshot != NULL);
    free((void *)(uintptr_t)snapshot->snapshot.items);
    consulproto_tree_fini(&snapshot->tree);
    *snapshot = (struct consul_snapshot){.snapshot = {.items = NULL}};
}

/* Never 0; 1 is that of a store without a mark. */
static uint64_t mark_number(const struct consulproto_item *mark)
{
    uint64_t number = fnv(FNV_START, mark->value, mark->value_size);
    return number > 1 ? number : 2;
}

static void fill(struct consul_snapshot *out, uint64_t index, uint64_t *out_fingerprint)
{
    const struct consulproto_tree *tree = &out->tree;
    struct dcs_item *items = calloc(tree->count + 1, sizeof(*items));
    ASSERT(items != NULL);
    struct dcs_snapshot *snapshot = &out->snapshot;
    *snapshot = (struct dcs_snapshot){.revision = index, .store_id = 1, .items = items};
    uint64_t fingerprint = FNV_START;
    for (size_t i = 0; i < tree->count; i++) {
        const struct consulproto_item *item = &tree->items[i];
        fingerprint = fnv(fingerprint, item->key, strlen(item->key) + 1);
        fingerprint = fnv(fingerprint, &item->index, sizeof(item->index));
        fingerprint = fnv(fingerprint, item->value, item->value_size);
        if (str_equal(item->key, CONSUL_MARK)) {
            snapshot->store_id = mark_number(item);
            continue;
        }
        items[snapshot->count++] = (struct dcs_item){.key = item->key,
                                                     .value = item->value,
                                                     .value_size = item->value_size,
                                                     .version = item->index,
                                                     .attached = item->attached};
    }
    *out_fingerprint = fingerprint;
}

/* No key can be younger than the prefix. */
static bool index_possible(const struct consulproto_tree *tree, uint64_t index)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (tree->items[i].index > index) {
            return false;
        }
    }
    return index > 0;
}

enum consul_read_verdict consul_read_reply(struct consul *consul, const struct consul_reply *reply,
                                           struct consul_snapshot *out, struct err_detail *why)
{
    (void)err_set(why, ERR_UNREACHABLE, "%s", reply->why);
    if (consul_reply_denied(reply)) {
        return CONSUL_READ_REFUSED;
    }
    if (reply->err != ERR_OK || (reply->reply->status != 200 && reply->reply->status != 404)) {
        return CONSUL_READ_FAILED;
    }
    struct consul_snapshot snapshot = {.tree = {.count = 0}};
    if (reply->reply->status == 200 &&
        consulproto_tree_read(consul->prefix, reply->reply->body, reply->reply->body_size,
                              &snapshot.tree, why) != ERR_OK) {
        return CONSUL_READ_FAILED;
    }
    if (!index_possible(&snapshot.tree, reply->index)) {
        (void)err_set(why, ERR_UNREACHABLE, "what answers at %s is not Consul", consul->url);
        consulproto_tree_fini(&snapshot.tree);
        return CONSUL_READ_FAILED;
    }
    uint64_t fingerprint = 0;
    fill(&snapshot, reply->index, &fingerprint);
    if (snapshot.snapshot.store_id == 1 && !consul->observer) {
        consul_snapshot_fini(&snapshot);
        mark_write(consul);
        return CONSUL_READ_MARKING;
    }
    if (snapshot.snapshot.revision < consul->told_revision &&
        fingerprint == consul->told_fingerprint) {
        snapshot.snapshot.revision = consul->told_revision;
    }
    consul->told_revision = snapshot.snapshot.revision;
    consul->told_fingerprint = fingerprint;
    *out = snapshot;
    return CONSUL_READ_OK;
}
