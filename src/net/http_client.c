/* libcurl's multi interface hangs on the loop: every socket that libcurl names gets a poll, its one
 * timeout gets a timer. What an outcome means is decided by one fact: whether libcurl has put a
 * byte of the request on the wire. */
#include "net/http_client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/limits.h"

#define IDLE_CONNECTIONS_MAX 32 /* kept open for the next request */

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;                /* NULL until the first request */
    uv_timer_t timer;            /* libcurl's */
    uv_timer_t soon;             /* for outcomes known without libcurl, and the end */
    struct http_request *active; /* libcurl works on them */
    struct http_request *early;  /* their outcome is known */
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *user_agent;
    bool insecure;
    bool closing;
    unsigned handles; /* of the loop, not closed yet */
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

struct http_socket {
    uv_poll_t poll;
    struct http_client *client;
    curl_socket_t fd;
};

static unsigned curl_users; /* clients with a multi handle */

static void *must(void *pointer)
{
    ASSERT(pointer != NULL); /* heap exhaustion aborts */
    return pointer;
}

static char *copy_or_null(const char *text)
{
    return text == NULL ? NULL : must(strdup(text));
}

/* ---- lists ---- */

static void list_push(struct http_request **head, struct http_request *request)
{
    request->prev = NULL;
    request->next = *head;
    if (*head != NULL) {
        (*head)->prev = request;
    }
    *head = request;
}

static void list_remove(struct http_request **head, struct http_request *request)
{
    if (request->prev != NULL) {
        request->prev->next = request->next;
    } else {
        ASSERT(*head == request);
        *head = request->next;
    }
    if (request->next != NULL) {
        request->next->prev = request->prev;
    }
    request->next = NULL;
    request->prev = NULL;
}

/* ---- the end of a request ---- */

static bool was_sent(const struct http_request *request)
{
    long sent_bytes = 0;
    CURLcode rc = curl_easy_getinfo(request->easy, CURLINFO_REQUEST_SIZE, &sent_bytes);
    return rc != CURLE_OK || sent_bytes > 0;
}

static enum err outcome_of(const struct http_request *request, CURLcode code)
{
    if (code == CURLE_OK) {
        return ERR_OK;
    }
    if (!was_sent(request)) {
        bool bad = code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL;
        return bad ? ERR_INVALID : ERR_UNREACHABLE;
    }
    if (request->method == HTTP_GET) {
        return request->too_large ? ERR_INVALID : ERR_UNREACHABLE;
    }
    return ERR_IN_DOUBT;
}

/* Takes the request from libcurl and from its client; the owner may start it again. */
static void detach(struct http_request *request)
{
    if (request->easy != NULL) {
        (void)curl_multi_remove_handle(request->client->multi, request->easy);
        curl_easy_cleanup(request->easy);
        request->easy = NULL;
    }
    curl_slist_free_all(request->headers);
    request->headers = NULL;
}

static void deliver(struct http_request *request, enum err err, int status)
{
    char *body = request->body;
    static const char empty[] = "";
    struct http_reply reply = {
        .status = status,
        .body = body != NULL ? body : empty,
        .body_size = request->body_size,
        .header = request->header_value[0] != '\0' ? request->header_value : NULL,
    };
    request->body = NULL;
    request->client = NULL;
    request->cb(request, err, err == ERR_OK ? &reply : NULL, request->arg);
    free(body);
}

/* A value that is longer than any that is wanted counts as not there. */
static void header_take(struct http_request *request)
{
    ASSERT(request->easy != NULL);
    struct curl_header *found = NULL;
    if (request->header != NULL &&
        curl_easy_header(request->easy, request->header, 0, CURLH_HEADER, -1, &found) ==
            CURLHE_OK &&
        strlen(found->value) < sizeof(request->header_value)) {
        memcpy(request->header_value, found->value, strlen(found->value) + 1);
    }
}

static void finish(struct http_client *client, struct http_request *request, CURLcode code)
{
    long status = 0;
    enum err err = outcome_of(request, code);
    if (err == ERR_OK) {
        (void)curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
        header_take(request);
    } else if (request->too_large) {
        (void)err_set(&request->detail, err, "answer is larger than %zu bytes", request->body_max);
    } else {
        (void)err_set(&request->detail, err, "%s", curl_easy_strerror(code));
    }
    list_remove(&client->active, request);
    detach(request);
    deliver(request, err, (int)status);
}

static void collect(struct http_client *client)
{
    int left = 0;
    CURLMsg *message;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        CURLcode code = message->data.result;
        struct http_request *request = NULL;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
        ASSERT(request != NULL && request->client == client);
        finish(client, request, code);
    }
}

/* ---- the end of a client ---- */

static void handle_gone(struct http_client *client)
{
    ASSERT(client->handles > 0);
    client->handles--;
    if (client->handles > 0 || !client->closing) {
        return;
    }
    free(client->ca_file);
    free(client->cert_file);
    free(client->key_file);
    free(client->user_agent);
    void (*closed_cb)(void *) = client->closed_cb;
    void *arg = client->closed_arg;
    free(client);
    if (closed_cb != NULL) {
        closed_cb(arg);
    }
}

static void handle_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void dismantle(struct http_client *client)
{
    ASSERT(client->active == NULL && client->early == NULL);
    if (client->multi != NULL) {
        (void)curl_multi_cleanup(client->multi); /* nothing is on it any more */
        client->multi = NULL;
        ASSERT(curl_users > 0);
        curl_users--;
        if (curl_users == 0) {
            curl_global_cleanup();
        }
    }
    uv_close((uv_handle_t *)&client->timer, handle_closed);
    uv_close((uv_handle_t *)&client->soon, handle_closed);
}

static void soon_fired(uv_timer_t *timer)
{
    struct http_client *client = timer->data;
    while (client->early != NULL) {
        struct http_request *request = client->early;
        list_remove(&client->early, request);
        deliver(request, request->early, 0);
    }
    if (client->closing) {
        dismantle(client);
    }
}

static void deliver_soon(struct http_client *client, struct http_request *request, enum err err)
{
    request->early = err;
    list_push(&client->early, request);
    (void)uv_timer_start(&client->soon, soon_fired, 0, 0);
}

/* ---- what libcurl asks for ---- */

static void timer_fired(uv_timer_t *timer)
{
    struct http_client *client = timer->data;
    int running = 0;
    (void)curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(client);
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct http_client *client = arg;
    if (timeout_ms < 0) {
        (void)uv_timer_stop(&client->timer);
    } else {
        uv_update_time(client->loop);
        (void)uv_timer_start(&client->timer, timer_fired, (uint64_t)timeout_ms, 0);
    }
    return 0;
}

static void socket_closed(uv_handle_t *handle)
{
    struct http_socket *sock = (struct http_socket *)handle;
    struct http_client *client = sock->client;
    free(sock);
    handle_gone(client);
}

static void socket_ready(uv_poll_t *poll, int status, int events)
{
    struct http_socket *sock = (struct http_socket *)poll;
    struct http_client *client = sock->client;
    int what = status < 0 ? CURL_CSELECT_ERR : 0;
    what |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    what |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
    int running = 0;
    (void)curl_multi_socket_action(client->multi, sock->fd, what, &running);
    collect(client);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy;
    struct http_client *client = arg;
    struct http_socket *sock = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (sock != NULL) {
            (void)uv_poll_stop(&sock->poll); /* before libcurl closes the descriptor */
            uv_close((uv_handle_t *)&sock->poll, socket_closed);
            (void)curl_multi_assign(client->multi, fd, NULL);
        }
        return 0;
    }
    if (sock == NULL) {
        sock = must(calloc(1, sizeof *sock));
        sock->client = client;
        sock->fd = fd;
        if (uv_poll_init_socket(client->loop, &sock->poll, fd) != 0) {
            free(sock);
            return -1; /* libcurl fails the transfers */
        }
        client->handles++;
        (void)curl_multi_assign(client->multi, fd, sock);
    }
    int events = (what & CURL_POLL_IN) != 0 ? UV_READABLE : 0;
    events |= (what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0;
    return uv_poll_start(&sock->poll, events, socket_ready) == 0 ? 0 : -1;
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)arg;
    (void)purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                  address->protocol);
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct http_request *request = arg;
    size_t bytes = size * count;
    if (bytes > request->body_max - request->body_size) {
        request->too_large = true;
        return 0;
    }
    if (request->body_size + bytes + 1 > request->body_room) {
        size_t room = (request->body_size + bytes + 1) * 2;
        request->body = must(realloc(request->body, room));
        request->body_room = room;
    }
    memcpy(request->body + request->body_size, data, bytes);
    request->body_size += bytes;
    request->body[request->body_size] = '\0';
    return bytes;
}

/* ---- starting ---- */

/* Every option here is one that the libcurl in use knows, so only exhaustion of the heap could make
 * setting it fail: that aborts. */
#define SET(easy, option, value)                                                                   \
    do {                                                                                           \
        CURLcode set_rc = curl_easy_setopt(easy, option, value);                                   \
        ASSERT(set_rc == CURLE_OK);                                                                \
    } while (false)

static void set_method(CURL *easy, const struct http_call *call)
{
    static const char *const names[HTTP_METHOD_COUNT] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    bool bodied = call->body != NULL || (call->method != HTTP_GET && call->method != HTTP_DELETE);
    if (bodied) {
        const char *body = call->body != NULL ? call->body : "";
        SET(easy, CURLOPT_POST, 1L);
        SET(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        SET(easy, CURLOPT_COPYPOSTFIELDS, body);
    } else {
        SET(easy, CURLOPT_HTTPGET, 1L);
    }
    SET(easy, CURLOPT_CUSTOMREQUEST, names[call->method]);
}

static struct curl_slist *make_headers(const struct http_call *call, bool reuse)
{
    /* Expect: would cost a round trip. Agents keep a connection only when asked to by name. */
    struct curl_slist *list = must(curl_slist_append(NULL, "Expect:"));
    list = must(curl_slist_append(list, reuse ? "Connection: keep-alive" : "Connection: close"));
    if (call->body != NULL) {
        list = must(curl_slist_append(list, "Content-Type: application/json"));
    }
    for (const char *const *header = call->headers; header != NULL && *header != NULL; header++) {
        list = must(curl_slist_append(list, *header));
    }
    return list;
}

static void set_security(const struct http_client *client, CURL *easy, const struct http_call *call)
{
    SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(easy, CURLOPT_PROXY, ""); /* nor one from the environment */
    SET(easy, CURLOPT_SSL_VERIFYPEER, client->insecure ? 0L : 1L);
    SET(easy, CURLOPT_SSL_VERIFYHOST, client->insecure ? 0L : 2L);
    if (client->ca_file != NULL) {
        SET(easy, CURLOPT_CAINFO, client->ca_file);
    }
    if (client->cert_file != NULL) {
        SET(easy, CURLOPT_SSLCERT, client->cert_file);
    }
    if (client->key_file != NULL) {
        SET(easy, CURLOPT_SSLKEY, client->key_file);
    }
    if (call->user_pass != NULL && call->user_pass[0] != '\0') {
        SET(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        SET(easy, CURLOPT_USERPWD, call->user_pass);
    }
}

static void set_up(struct http_client *client, struct http_request *request,
                   const struct http_call *call)
{
    CURL *easy = must(curl_easy_init());
    bool reuse = call->method == HTTP_GET || call->repeatable;
    request->easy = easy;
    request->headers = make_headers(call, reuse);
    SET(easy, CURLOPT_PRIVATE, request);
    SET(easy, CURLOPT_NOSIGNAL, 1L);
    SET(easy, CURLOPT_QUICK_EXIT,
        1L); /* giving up does not wait for a name that is being resolved */
    SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(easy, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
    SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)call->timeout_ms);
    SET(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    SET(easy, CURLOPT_WRITEFUNCTION, on_body);
    SET(easy, CURLOPT_WRITEDATA, request);
    SET(easy, CURLOPT_HTTPHEADER, (struct curl_slist *)request->headers);
    SET(easy, CURLOPT_USERAGENT, client->user_agent);
    SET(easy, CURLOPT_FRESH_CONNECT, reuse ? 0L : 1L);
    SET(easy, CURLOPT_FORBID_REUSE, reuse ? 0L : 1L);
    if (call->unix_socket != NULL) {
        SET(easy, CURLOPT_UNIX_SOCKET_PATH, call->unix_socket);
    }
    set_security(client, easy, call);
    set_method(easy, call);
}

static void need_multi(struct http_client *client)
{
    if (client->multi != NULL) {
        return;
    }
    if (curl_users == 0) {
        CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);
        ASSERT(rc == CURLE_OK);
    }
    curl_users++;
    client->multi = must(curl_multi_init());
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS_MAX);
}

void http_request_start(struct http_client *client, struct http_request *request,
                        const struct http_call *call, http_request_cb cb, void *arg)
{
    ASSERT(request->client == NULL);
    ASSERT(!client->closing);
    ASSERT(cb != NULL);
    ASSERT(call->timeout_ms > 0);
    *request = (struct http_request){
        .client = client,
        .method = call->method,
        .cb = cb,
        .arg = arg,
        .body_max = call->body_max > 0 ? call->body_max : HTTP_BODY_MAX,
        .header = call->header,
    };
    need_multi(client);
    set_up(client, request, call);
    if (curl_easy_setopt(request->easy, CURLOPT_URL, call->url) != CURLE_OK) {
        detach(request);
        (void)err_set(&request->detail, ERR_INVALID, "bad URL");
        deliver_soon(client, request, ERR_INVALID);
        return;
    }
    list_push(&client->active, request);
    CURLMcode rc = curl_multi_add_handle(client->multi, request->easy);
    ASSERT(rc == CURLM_OK);
}

void http_request_cancel(struct http_request *request)
{
    struct http_client *client = request->client;
    if (client == NULL || request->easy == NULL) {
        return; /* over, or its outcome is known and on its way */
    }
    bool doubt = request->method != HTTP_GET && was_sent(request);
    enum err err = doubt ? ERR_IN_DOUBT : ERR_CANCELED;
    (void)err_set(&request->detail, err, "canceled");
    list_remove(&client->active, request);
    detach(request);
    deliver_soon(client, request, err);
}

bool http_request_was_sent(const struct http_request *request)
{
    ASSERT(request->client != NULL);
    return request->easy != NULL && was_sent(request);
}

/* ---- clients ---- */

struct http_client *http_client_create(uv_loop_t *loop, const struct http_client_options *options)
{
    ASSERT(loop != NULL);
    static const struct http_client_options defaults;
    const struct http_client_options *given = options != NULL ? options : &defaults;
    struct http_client *client = must(calloc(1, sizeof *client));
    client->loop = loop;
    client->ca_file = copy_or_null(given->ca_file);
    client->cert_file = copy_or_null(given->cert_file);
    client->key_file = copy_or_null(given->key_file);
    client->user_agent =
        copy_or_null(given->user_agent != NULL ? given->user_agent : "holdfast/" HOLDFAST_VERSION);
    client->insecure = given->insecure;
    (void)uv_timer_init(loop, &client->timer); /* these two cannot fail */
    (void)uv_timer_init(loop, &client->soon);
    client->timer.data = client;
    client->soon.data = client;
    client->handles = 2;
    return client;
}

void http_client_destroy(struct http_client *client, void (*closed_cb)(void *arg), void *arg)
{
    if (client == NULL) {
        return;
    }
    ASSERT(!client->closing);
    client->closing = true;
    client->closed_cb = closed_cb;
    client->closed_arg = arg;
    while (client->active != NULL) {
        http_request_cancel(client->active);
    }
    (void)uv_timer_start(&client->soon, soon_fired, 0, 0);
}
