/* One question at a time: "what does the prefix hold once it has changed after this index". The first
 * is a linearizable read, and so is the one after an index that went back: a server that lags behind is
 * not believed, one that was rolled back is, then.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "dcs/consul_internal.h"

#define WAIT_S 5           /* Consul answers after it though nothing has changed, and up to... */
#define WAIT_SLACK_MS 2000 /* ...a sixteenth later */
#define ANSWER_MAX ((size_t)16 * 1024 * 1024)

static void watch_ask(struct consul *consul);

static void retry_cb(uv_timer_t *timer)
{
    struct consul *consul = timer->data;
    ASSERT(!consul->closing);
    watch_ask(consul);
}

static void ask_later(struct consul *consul)
{
    struct consul_watch *watch = &consul->watch;
    int rc = uv_timer_start(&watch->retry, retry_cb, consul_backoff_ms(watch->failures), 0);
    ASSERT(rc == 0);
    watch->failures++;
}

static void watch_fail(struct consul *consul, const char *why)
{
    struct consul_watch *watch = &consul->watch;
    log_debug("consul_watch", "prefix=%s why=\"%s\"", consul->prefix, why);
    watch->index = 0;
    ask_later(consul);
    if (watch->up) {
        watch->up = false;
        watch->cb(&consul->dcs, DCS_WATCH_DOWN, NULL, watch->arg);
    }
}

static void watch_tell(struct consul *consul, const struct consul_snapshot *snapshot)
{
    struct consul_watch *watch = &consul->watch;
    ASSERT(watch->cb != NULL);
    enum dcs_watch_event event = watch->up ? DCS_WATCH_CHANGES : DCS_WATCH_UP;
    watch->up = true;
    watch->cb(&consul->dcs, event, &snapshot->snapshot, watch->arg);
}

static void answered(struct consul *consul, uint64_t id, const struct consul_reply *reply)
{
    struct consul_watch *watch = &consul->watch;
    ASSERT(watch->asking && id == 0);
    watch->asking = false;
    if (reply->err == ERR_OK && watch->index != 0 && reply->index != 0 &&
        reply->index <= watch->index) {
        /* The same index: nothing has changed. A lower one is not believed at once. */
        watch->index = reply->index == watch->index ? watch->index : 0;
        watch_ask(consul);
        return;
    }
    struct err_detail why = {0};
    struct consul_snapshot snapshot;
    switch (consul_read_reply(consul, reply, &snapshot, &why)) {
    case CONSUL_READ_MARKING:
        watch->index = 0;
        ask_later(consul);
        return;
    case CONSUL_READ_REFUSED:
    case CONSUL_READ_FAILED:
        watch_fail(consul, why.text);
        return;
    case CONSUL_READ_OK:
        break;
    }
    watch->failures = 0;
    watch->index = reply->index;
    watch_ask(consul); /* before the callback, which may close the client */
    watch_tell(consul, &snapshot);
    consul_snapshot_fini(&snapshot);
}

static void watch_ask(struct consul *consul)
{
    struct consul_watch *watch = &consul->watch;
    ASSERT(!watch->asking);
    watch->asking = true;
    char query[96];
    bool fits;
    if (watch->index == 0) {
        fits = str_copy(query, sizeof(query), "recurse&consistent");
    } else {
        fits = str_format(query, sizeof(query), "recurse&index=%" PRIu64 "&wait=%ds%s",
                          watch->index, WAIT_S, consul->consistent ? "&consistent" : "");
    }
    ASSERT(fits);
    struct consul_question question = {
        .method = HTTP_GET,
        .path = consul->path,
        .query = query,
        .timeout_ms = watch->index == 0 ? CONSUL_OWN_TIMEOUT_MS
                                        : WAIT_S * 1000 + WAIT_S * 1000 / 16 + WAIT_SLACK_MS,
        .body_max = ANSWER_MAX};
    (void)consul_ask(consul, &question, answered, 0);
}

void consul_watch_start(struct consul *consul)
{
    ASSERT(consul->watch.cb != NULL && !consul->watch.asking);
    watch_ask(consul);
}
