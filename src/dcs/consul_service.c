/* The node as a service of Consul's catalogue, off the lease's path. Level-triggered: what the owner
 * last announced is compared with what was registered, and a blocking query on the service shows when
 * the catalogue says something else - because Consul's agent was restarted, or somebody took it out, or
 * because a node that is gone still wears the leader's tag there. The last is put right by whoever
 * leads. Nothing here is waited for by anybody, and no failure of it ends anything.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/consulservice.h"
#include "dcs/consul_internal.h"

#define WAIT_S 10          /* Consul answers after it though nothing has changed, and up to... */
#define WAIT_SLACK_MS 3000 /* ...a sixteenth later */
#define ANSWER_MAX ((size_t)1024 * 1024)
#define SESSIONS_LONG 10 /* a critical service is forgotten after so many of the session's ttl */

enum { ASK_WATCH, ASK_ONCE };

static void reconcile(struct consul *consul);
static void list_ask(struct consul *consul, uint64_t how);

static void later(struct consul *consul)
{
    struct consul_service *service = &consul->service;
    uint64_t wait_ms = consul_backoff_ms(++service->failures);
    int rc = uv_timer_start(&service->retry, consul_service_retry, wait_ms, 0);
    ASSERT(rc == 0);
}

void consul_service_retry(uv_timer_t *timer)
{
    struct consul *consul = timer->data;
    ASSERT(!consul->closing);
    reconcile(consul);
    if (consul->service.registered != NULL && !consul->service.watching) {
        list_ask(consul, ASK_WATCH);
    }
}

/* Once, until it works again. */
static void tell(struct consul *consul, const char *what, const struct consul_reply *reply)
{
    struct consul_service *service = &consul->service;
    if (service->told) {
        return;
    }
    service->told = true;
    log_warn("consul_service",
             "action=%s why=\"%s\"%s%s%s message=\"Consul's catalogue and DNS may be wrong; the "
             "cluster does not rest on them\"",
             what, reply->why,
             consul_reply_denied(reply) ? " remedy=\"a token that may write service_prefix " : "",
             consul_reply_denied(reply) ? service->name : "",
             consul_reply_denied(reply) ? "\"" : "");
}

static bool went_well(const struct consul_reply *reply)
{
    return reply->err == ERR_OK && reply->reply->status == 200;
}

/* ---- registering ---- */

static void registered_cb(struct consul *consul, uint64_t id, const struct consul_reply *reply)
{
    struct consul_service *service = &consul->service;
    ASSERT(service->asking);
    (void)id;
    service->asking = false;
    char *sent = service->sending;
    service->sending = NULL;
    if (!went_well(reply)) {
        free(sent);
        tell(consul, "register", reply);
        later(consul);
        return;
    }
    service->failures = 0;
    service->told = false;
    free(service->registered);
    service->registered = sent;
    if (!service->watching) {
        list_ask(consul, ASK_WATCH);
    }
    reconcile(consul);
}

static void deregistered_cb(struct consul *consul, uint64_t id, const struct consul_reply *reply)
{
    struct consul_service *service = &consul->service;
    ASSERT(service->asking);
    (void)id;
    service->asking = false;
    if (!went_well(reply) && !(reply->err == ERR_OK && reply->reply->status == 404)) {
        tell(consul, "deregister", reply);
        later(consul);
        return;
    }
    service->failures = 0;
    free(service->registered);
    service->registered = NULL;
    reconcile(consul);
}

/* The id has a slash in it. */
static void id_escape(const char *id, char *out, size_t out_size)
{
    size_t used = 0;
    for (const char *in = id; *in != '\0' && used + 4 < out_size; in++) {
        bool plain = (*in >= '0' && *in <= '9') || (*in >= 'a' && *in <= 'z') ||
                     (*in >= 'A' && *in <= 'Z') || strchr("-._~", *in) != NULL;
        bool fits = plain ? str_format(out + used, out_size - used, "%c", *in)
                          : str_format(out + used, out_size - used, "%%%02X", (unsigned char)*in);
        ASSERT(fits);
        used += strlen(out + used);
    }
}

static void send_register(struct consul *consul)
{
    struct consul_service *service = &consul->service;
    struct consul_question question = {.method = HTTP_PUT,
                                       .path = "/v1/agent/service/register",
                                       .query = "",
                                       .body = service->wanted,
                                       .timeout_ms = CONSUL_OWN_TIMEOUT_MS};
    service->asking = true;
    service->sending = strdup(service->wanted);
    ASSERT(service->sending != NULL);
    (void)consul_ask(consul, &question, registered_cb, 0);
}

static void send_deregister(struct consul *consul)
{
    struct consul_service *service = &consul->service;
    char id[3 * sizeof(service->id)];
    id_escape(service->id, id, sizeof(id));
    char path[sizeof(id) + 40];
    bool fits = str_format(path, sizeof(path), "/v1/agent/service/deregister/%s", id);
    ASSERT(fits);
    struct consul_question question = {
        .method = HTTP_PUT, .path = path, .query = "", .timeout_ms = CONSUL_OWN_TIMEOUT_MS};
    service->asking = true;
    (void)consul_ask(consul, &question, deregistered_cb, 0);
}

static void reconcile(struct consul *consul)
{
    struct consul_service *service = &consul->service;
    if (consul->closing || service->asking) {
        return;
    }
    if (service->wanted != NULL && service->on) {
        if (service->registered == NULL || !str_equal(service->registered, service->wanted)) {
            send_register(consul);
        }
    } else if (service->registered != NULL) {
        send_deregister(consul);
    }
}

/* ---- what the catalogue says ---- */

static void corrected_cb(struct consul *consul, uint64_t id, const struct consul_reply *reply)
{
    struct consul_service *service = &consul->service;
    ASSERT(service->correcting);
    (void)id;
    service->correcting = false;
    bool changed = reply->err == ERR_OK && reply->reply->status == 409; /* the watch tells how */
    if (went_well(reply)) {
        log_info("consul_service", "action=correct message=\"a node that does not lead was still "
                                   "registered as the leader\"");
    } else if (!changed) {
        tell(consul, "correct", reply);
        later(consul);
    }
}

static void list_judge(struct consul *consul, const struct consulservice_list *list)
{
    struct consul_service *service = &consul->service;
    if (service->registered != NULL &&
        !consulservice_list_has(list, service->id, service->role_tag)) {
        free(service->registered); /* lost, or overridden: once more, and not in a hurry */
        service->registered = NULL;
        if (!service->asking) {
            later(consul);
        }
    }
    if (service->leader_version == 0 || service->correcting || service->wanted == NULL) {
        return;
    }
    char key[2 * STORE_KEY_SIZE];
    bool fits = str_format(key, sizeof(key), "%sleader", consul->prefix);
    ASSERT(fits);
    char *body = consulservice_correction(list, service->id, key, service->leader_version);
    if (body == NULL) {
        return;
    }
    struct consul_question question = {.method = HTTP_PUT,
                                       .path = "/v1/txn",
                                       .query = "",
                                       .body = body,
                                       .timeout_ms = CONSUL_OWN_TIMEOUT_MS};
    service->correcting = true;
    (void)consul_ask(consul, &question, corrected_cb, 0);
    free(body);
}

static void listed_cb(struct consul *consul, uint64_t how, const struct consul_reply *reply)
{
    struct consul_service *service = &consul->service;
    if (how == ASK_WATCH) {
        ASSERT(service->watching);
        service->watching = false;
    }
    struct consulservice_list list;
    if (!went_well(reply) || consulservice_list_read(reply->reply->body, reply->reply->body_size,
                                                     &list, NULL) != ERR_OK) {
        service->index = 0;
        if (how == ASK_WATCH) {
            later(consul);
        }
        return;
    }
    if (how == ASK_WATCH) {
        service->index = reply->index >= service->index ? reply->index : 0;
    }
    list_judge(consul, &list);
    consulservice_list_fini(&list);
    if (how == ASK_WATCH && service->wanted != NULL && service->on) {
        list_ask(consul, ASK_WATCH);
    }
}

static void list_ask(struct consul *consul, uint64_t how)
{
    struct consul_service *service = &consul->service;
    ASSERT(how == ASK_ONCE || !service->watching);
    service->watching = service->watching || how == ASK_WATCH;
    char path[sizeof(service->name) + 32];
    char query[64] = "";
    bool fits = str_format(path, sizeof(path), "/v1/catalog/service/%s", service->name);
    bool blocking = how == ASK_WATCH && service->index != 0;
    if (blocking) {
        fits = fits && str_format(query, sizeof(query), "index=%" PRIu64 "&wait=%ds",
                                  service->index, WAIT_S);
    }
    ASSERT(fits);
    struct consul_question question = {.method = HTTP_GET,
                                       .path = path,
                                       .query = query,
                                       .timeout_ms = blocking ? WAIT_S * 1000 + WAIT_S * 1000 / 16 +
                                                                    WAIT_SLACK_MS
                                                              : CONSUL_OWN_TIMEOUT_MS,
                                       .body_max = ANSWER_MAX};
    (void)consul_ask(consul, &question, listed_cb, how);
}

/* ---- what the owner says ---- */

static void wanted_make(struct consul *consul, const struct dcs_announcement *announcement)
{
    struct consul_service *service = &consul->service;
    const struct consulservice text = {
        .name = service->name,
        .id = service->id,
        .role = announcement->role,
        .tags = (const char *const *)service->tags,
        .tag_count = service->tag_count,
        .host = announcement->host,
        .port = announcement->port,
        .api_url = announcement->api_url,
        .check_interval = service->check_interval,
        .tls_server_name = service->check_tls_server_name,
        .deregister_after_ms = SESSIONS_LONG * consul->session.ttl_ms,
    };
    free(service->wanted);
    service->wanted = consulservice_register_text(&text);
    consulservice_role_tag(announcement->role, service->role_tag, sizeof(service->role_tag));
}

void consul_service_announce(struct dcs *dcs, const struct dcs_announcement *announcement)
{
    struct consul *consul = consul_of(dcs);
    struct consul_service *service = &consul->service;
    ASSERT(!consul->closing);
    if (service->name[0] == '\0' || (!service->on && service->registered == NULL)) {
        return;
    }
    bool leads = announcement->leader_version != 0 &&
                 announcement->leader_version != service->leader_version;
    service->leader_version = announcement->leader_version;
    if (announcement->role[0] == '\0') {
        free(service->wanted);
        service->wanted = NULL;
    } else {
        wanted_make(consul, announcement);
    }
    reconcile(consul);
    if (leads && service->registered != NULL) {
        list_ask(consul, ASK_ONCE); /* what the watch saw was before we led */
    }
}

/* ---- configuration ---- */

static char *copy(const char *text)
{
    char *made = strdup(text);
    ASSERT(made != NULL);
    return made;
}

static void settings_free(struct consul_service *service)
{
    for (size_t i = 0; i < service->tag_count; i++) {
        free(service->tags[i]);
    }
    free(service->tags);
    free(service->check_interval);
    free(service->check_tls_server_name);
}

void consul_service_configure(struct consul *consul, const struct dcs_consul_config *config)
{
    struct consul_service *service = &consul->service;
    settings_free(service);
    service->on = config->register_service && !consul->observer;
    service->tag_count = config->tag_count;
    service->tags = calloc(config->tag_count + 1, sizeof(service->tags[0]));
    ASSERT(service->tags != NULL);
    for (size_t i = 0; i < config->tag_count; i++) {
        service->tags[i] = copy(config->tags[i]);
    }
    service->check_interval = copy(config->check_interval != NULL ? config->check_interval : "5s");
    service->check_tls_server_name =
        copy(config->check_tls_server_name != NULL ? config->check_tls_server_name : "");
    service->told = false;
    if (service->on) { /* also where the token is another: said once more */
        free(service->registered);
        service->registered = NULL;
    }
    reconcile(consul); /* turned off: taken out */
}

void consul_service_init(struct consul *consul, const char *scope, const char *name)
{
    struct consul_service *service = &consul->service;
    ASSERT(service->registered == NULL);
    if (scope == NULL || name == NULL || !consulservice_name(scope, service->name) ||
        !str_format(service->id, sizeof(service->id), "%s/%s", scope, name)) {
        service->name[0] = '\0'; /* an observer's; or nothing that DNS could have */
    }
}

void consul_service_fini(struct consul *consul)
{
    struct consul_service *service = &consul->service;
    ASSERT(consul->closing);
    settings_free(service);
    free(service->wanted);
    free(service->sending);
    free(service->registered);
}
