/* A session only tells tools and other agents who is there; the lease does not rest on it. So it is
 * kept beside everything else, and its trouble is nobody's but its own: an answer that does not come
 * means nothing, only "there is no such session" does.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "dcs/consul_internal.h"

static int64_t asked_ttl_ms(const struct consul_session *session)
{
    ASSERT(session->ttl_ms > 0 && session->floor_ms > 0);
    int64_t half_ms = session->ttl_ms / 2;
    return half_ms > session->floor_ms ? half_ms : session->floor_ms;
}

static void renewed(struct consul *consul, uint64_t id, const struct consul_reply *reply)
{
    struct consul_session *session = &consul->session;
    (void)id;
    session->renewing = false;
    if (reply->err == ERR_OK && reply->reply->status == 404 && session->id[0] != '\0') {
        log_debug("consul_session", "lost=%s", session->id);
        consul_session_lost(consul);
        consul_send_waiting(consul);
    }
}

static void keepalive_cb(uv_timer_t *timer)
{
    struct consul *consul = timer->data;
    struct consul_session *session = &consul->session;
    ASSERT(!consul->closing);
    if (session->id[0] == '\0' || session->renewing) {
        return;
    }
    char path[SESSION_SIZE + 32];
    bool fits = str_format(path, sizeof(path), "/v1/session/renew/%s", session->id);
    ASSERT(fits);
    struct consul_question question = {
        .method = HTTP_PUT, .path = path, .query = "", .timeout_ms = asked_ttl_ms(session) / 3};
    session->renewing = true;
    (void)consul_ask(consul, &question, renewed, 0);
}

static void created(struct consul *consul, uint64_t id, const struct consul_reply *reply)
{
    struct consul_session *session = &consul->session;
    ASSERT(session->creating && session->id[0] == '\0');
    (void)id;
    session->creating = false;
    int64_t min_ms = 0;
    if (reply->err == ERR_OK && reply->reply->status == 200 &&
        consulproto_session_id(reply->reply->body, reply->reply->body_size, session->id,
                               sizeof(session->id))) {
        session->told = false;
        uint64_t every_ms = (uint64_t)asked_ttl_ms(session) / 3;
        int rc = uv_timer_start(&session->keepalive, keepalive_cb, every_ms, every_ms);
        ASSERT(rc == 0);
        consul_send_waiting(consul);
    } else if (reply->err == ERR_OK && reply->reply->status == 500 &&
               consulproto_session_ttl_min(reply->reply->body, &min_ms) &&
               min_ms > session->floor_ms) {
        session->floor_ms = min_ms; /* this Consul's own */
        consul_session_need(consul);
    } else if (consul_reply_denied(reply)) {
        consul_fail_unsent(consul, false, reply->why);
    } else {
        if (!session->told) { /* once, not at every try */
            session->told = true;
            log_warn("consul_session",
                     "why=\"%s\" message=\"the keys that go with a session wait; the lease does "
                     "not rest on them\"",
                     reply->why);
        }
        consul_send_later(consul); /* and with it this is asked again, while somebody needs it */
    }
}

void consul_session_need(struct consul *consul)
{
    struct consul_session *session = &consul->session;
    if (session->creating || session->id[0] != '\0') {
        return;
    }
    session->creating = true;
    struct consulproto_session text = {.name = consul->session_name,
                                       .ttl_ms = asked_ttl_ms(session),
                                       .checks = (const char *const *)consul->checks,
                                       .check_count = consul->check_count};
    char *body = consulproto_session_text(&text);
    ASSERT(body != NULL);
    struct consul_question question = {.method = HTTP_PUT,
                                       .path = "/v1/session/create",
                                       .query = "",
                                       .body = body,
                                       .timeout_ms = CONSUL_OWN_TIMEOUT_MS};
    (void)consul_ask(consul, &question, created, 0);
    free(body);
}

void consul_session_lost(struct consul *consul)
{
    ASSERT(consul != NULL);
    consul->session.id[0] = '\0';
    (void)uv_timer_stop(&consul->session.keepalive); /* cannot fail */
}

void consul_session_set_ttl(struct consul *consul, int64_t ttl_ms)
{
    ASSERT(ttl_ms > 0);
    consul->session.ttl_ms =
        ttl_ms; /* of the next one: Consul does not change that of one it has */
}
