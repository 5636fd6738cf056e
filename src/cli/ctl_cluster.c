/* One connection, one linearizable read, and away: nothing is initialised that a command does not use,
 * so that a cold `list` stays below 15 ms. */
#include "cli/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "codec/json.h"

#define STORE_TIMEOUT_MS 5000

int ctl_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fflush(stdout); /* what was told before comes first */
    fputs("Error: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return 1;
}

const char *ctl_cluster_name(const struct ctl *ctl, const char *given)
{
    const char *name = given != NULL ? given : ctl->config->scope;
    if (*name == '\0') {
        (void)ctl_error(
            "no cluster is named: give CLUSTER_NAME, or a configuration with scope (-c)");
        return NULL;
    }
    return name;
}

const struct member_info *ctl_member(const struct ctl_cluster *cluster, const char *name)
{
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        if (str_equal(cluster->members[i].name, name)) {
            return &cluster->members[i];
        }
    }
    return NULL;
}

const struct member_info *ctl_leader(const struct ctl_cluster *cluster)
{
    return cluster->core.leader.version == 0 ? NULL
                                             : ctl_member(cluster, cluster->core.leader.name);
}

/* ---- the store ---- */

struct store_call {
    uv_loop_t *loop;
    struct dcs *dcs;
    struct dcs_request request;
    struct ctl_cluster *cluster;
    enum err err;
    bool done;
    struct err_detail detail;
};

/* The contract waits for a store that is away until the deadline, which is right for an agent. A
 * person is told at once when there is nobody to wait for; what is there but slow is waited for. */
static bool store_listens(const char *path, int *out_errno)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || !str_copy(address.sun_path, sizeof(address.sun_path), path)) {
        return true; /* told where it is opened */
    }
    bool there = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    *out_errno = errno;
    return there || errno == EAGAIN || errno == EINTR;
}

static bool store_open(struct ctl *ctl, const char *name, struct store_call *call)
{
    int sys_errno = 0;
    if (ctl->store.kind == DCS_KIND_NONE) {
        (void)ctl_error("no store is named: give -c CONFIG with \"consul:\" or \"local:\", or -d "
                        "consul://host[:port] or -d local:///PATH/store.sock");
        return false;
    }
    if (ctl->store.kind == DCS_KIND_LOCAL && !store_listens(ctl->store.socket, &sys_errno)) {
        (void)ctl_error("no local store listens at %s: %s; remedy: start \"holdfast store --dir "
                        "DIR\", run this as a user who may open it, or name its socket with -d "
                        "local:///PATH/store.sock",
                        ctl->store.socket, strerror(sys_errno));
        return false;
    }
    const struct dcs_place_user user = {.base =
                                            config_base_path(&ctl->arena, ctl->name_space, name),
                                        .name = "holdfast ctl",
                                        .observer = true};
    if (dcs_place_open(&ctl->loop, &ctl->store, &user, &call->dcs, &call->detail) != ERR_OK) {
        (void)ctl_error("the store cannot be used: %s", call->detail.text);
        return false;
    }
    return true;
}

/* Runs the loop until the answer came, then until the connection is gone. */
static void store_finish(struct ctl *ctl, struct store_call *call)
{
    while (!call->done) {
        (void)uv_run(&ctl->loop, UV_RUN_ONCE); /* `done` tells */
    }
    dcs_close(call->dcs, NULL, NULL);
    (void)uv_run(&ctl->loop, UV_RUN_DEFAULT); /* nothing else is on this loop */
}

static void fold_snapshot(struct ctl_cluster *cluster, const struct dcs_snapshot *snapshot)
{
    struct records_item *items = calloc(snapshot->count + 1, sizeof(items[0]));
    ASSERT(items != NULL);
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct dcs_item *item = &snapshot->items[i];
        items[i] = (struct records_item){item->key, item->value, item->value_size, item->version};
    }
    struct records_context context = {.members = cluster->members};
    records_cluster_from_snapshot(items, snapshot->count, &context, &cluster->core);
    cluster->member_count = context.member_count;
    uint32_t member = 0;
    for (size_t i = 0; i < snapshot->count; i++) {
        enum records_kind kind = records_kind(items[i].key, NULL);
        if (kind == RECORDS_SYNC) {
            records_parse_sync(&items[i], &cluster->sync);
        } else if (kind == RECORDS_CONFIG) {
            cluster->config = json_read_object(items[i].value, items[i].value_size);
            cluster->config_version = items[i].version;
        } else if (kind == RECORDS_MEMBER && member < cluster->member_count &&
                   str_equal(items[i].key + strlen("members/"), cluster->members[member].name)) {
            cluster->member_json[member++] = member_json(items[i].value, items[i].value_size);
        }
    }
    free(items);
}

static void read_done(struct dcs_request *request, enum err err,
                      const struct dcs_snapshot *snapshot, void *arg)
{
    struct store_call *call = arg;
    call->err = err;
    call->done = true;
    uv_stop(call->loop); /* a turn that began with a timer does not poll on */
    call->detail = request->detail;
    if (err == ERR_OK) {
        fold_snapshot(call->cluster, snapshot);
    }
}

struct ctl_cluster *ctl_cluster_read(struct ctl *ctl, const char *name)
{
    struct store_call call = {.loop = &ctl->loop};
    if (!store_open(ctl, name, &call)) {
        return NULL;
    }
    call.cluster = calloc(1, sizeof(*call.cluster));
    ASSERT(call.cluster != NULL);
    call.cluster->name = name;
    dcs_read(call.dcs, &call.request, STORE_TIMEOUT_MS, read_done, &call);
    store_finish(ctl, &call);
    if (call.err != ERR_OK) {
        (void)ctl_error("Can not get cluster from dcs: %s", call.detail.text);
        ctl_cluster_free(call.cluster);
        return NULL;
    }
    return call.cluster;
}

void ctl_cluster_free(struct ctl_cluster *cluster)
{
    if (cluster == NULL) {
        return;
    }
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        json_decref(cluster->member_json[i]);
    }
    json_decref(cluster->config);
    free(cluster);
}

static void write_done(struct dcs_request *request, enum err err,
                       const struct dcs_txn_result *result, void *arg)
{
    (void)result; /* the version is of no use to a command */
    struct store_call *call = arg;
    call->err = err;
    call->done = true;
    uv_stop(call->loop); /* a turn that began with a timer does not poll on */
    call->detail = request->detail;
}

enum err ctl_cluster_write(struct ctl *ctl, const char *name, const struct dcs_op *ops,
                           size_t count, struct err_detail *detail)
{
    struct store_call call = {.loop = &ctl->loop};
    if (!store_open(ctl, name, &call)) {
        return err_set(detail, ERR_UNREACHABLE, "no store");
    }
    dcs_txn(call.dcs, &call.request, ops, count, STORE_TIMEOUT_MS, write_done, &call);
    store_finish(ctl, &call);
    if (call.err != ERR_OK && detail != NULL) {
        *detail = call.detail;
    }
    return call.err;
}

/* ---- HTTP ---- */

struct http_state {
    uv_loop_t *loop;
    struct ctl_answer *answer;
    enum err err;
    bool done;
    struct err_detail detail;
};

static void call_done(struct http_request *request, enum err err, const struct http_reply *reply,
                      void *arg)
{
    struct http_state *state = arg;
    state->err = err;
    state->done = true;
    uv_stop(state->loop); /* as above */
    state->detail = request->detail;
    if (err == ERR_OK) {
        state->answer->status = reply->status;
        str_copy_cut(state->answer->body, sizeof(state->answer->body), reply->body);
    }
}

/* "http://host:port/patroni" with another path; false: no such URL. */
static bool replace_path(const char *api_url, const char *path, char *out, size_t out_size)
{
    const char *host = strstr(api_url, "://");
    if (host == NULL) {
        return false;
    }
    size_t length = (size_t)(host - api_url) + 3 + strcspn(host + 3, "/?");
    return length < INT32_MAX && str_format(out, out_size, "%.*s%s", (int)length, api_url, path);
}

enum err ctl_call(struct ctl *ctl, const struct ctl_request *request, struct ctl_answer *out_answer,
                  struct err_detail *detail)
{
    char url[URL_SIZE + 64];
    if (!replace_path(request->api_url, request->path, url, sizeof(url))) {
        return err_set(detail, ERR_UNREACHABLE, "\"%s\" is no URL", request->api_url);
    }
    const struct config *config = ctl->config;
    struct http_client_options options = {.ca_file = config->ctl_cacert,
                                          .cert_file = config->ctl_certfile,
                                          .key_file = config->ctl_keyfile,
                                          .insecure = ctl->insecure};
    struct http_client *client = http_client_create(&ctl->loop, &options);
    struct http_request http = {.client = NULL};
    struct http_state state = {.loop = &ctl->loop, .answer = out_answer};
    const struct http_call call = {.method = request->method,
                                   .url = url,
                                   .body = request->body,
                                   .user_pass = config->ctl_auth,
                                   .timeout_ms = request->timeout_ms};
    http_request_start(client, &http, &call, call_done, &state);
    while (!state.done) {
        (void)uv_run(&ctl->loop, UV_RUN_ONCE); /* `done` tells */
    }
    http_client_destroy(client, NULL, NULL);
    (void)uv_run(&ctl->loop, UV_RUN_DEFAULT); /* nothing else is on this loop */
    if (state.err != ERR_OK && detail != NULL) {
        *detail = state.detail;
    }
    return state.err;
}
