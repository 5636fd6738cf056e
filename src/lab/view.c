/* All nodes are asked at the same time, because one that is frozen answers nobody and must not make
 * the others' answers old. */
#include "lab/view.h"

#include <curl/curl.h>
#include <jansson.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

#define BODY_SIZE 16384
#define POST_TIMEOUT_MS 60000

struct answer {
    char text[BODY_SIZE];
    size_t used;
};

static size_t keep(char *data, size_t size, size_t count, void *arg)
{
    struct answer *answer = arg;
    size_t length = size * count;
    size_t room = sizeof(answer->text) - 1 - answer->used;
    size_t kept = length < room ? length : room;
    memcpy(answer->text + answer->used, data, kept);
    answer->used += kept;
    answer->text[answer->used] = '\0';
    return length;
}

static CURL *request(const struct lab_node *node, const char *path, int64_t timeout_ms,
                     struct answer *answer)
{
    char url[URL_SIZE];
    CURL *curl = curl_easy_init();
    ASSERT(curl != NULL); /* out of memory in a small tool */
    ASSERT(str_format(url, sizeof(url), "http://127.0.0.1:%u%s", node->rest_port, path));
    answer->used = 0;
    answer->text[0] = '\0';
    /* Settings that this libcurl certainly knows: their results say nothing. */
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    return curl;
}

static void copy_text(const json_t *root, const char *key, char *out, size_t out_size)
{
    const char *text = json_string_value(json_object_get(root, key));
    str_copy_cut(out, out_size, text == NULL ? "" : text);
}

static void read_answer(const struct answer *answer, struct view_node *out)
{
    char replication[32];
    json_t *root = json_loadb(answer->text, answer->used, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return;
    }
    out->reached = true;
    out->paused = json_is_true(json_object_get(root, "pause"));
    out->timeline = json_integer_value(json_object_get(root, "timeline"));
    copy_text(root, "state", out->state, sizeof(out->state));
    copy_text(root, "role", out->role, sizeof(out->role));
    copy_text(root, "database_system_identifier", out->sysid, sizeof(out->sysid));
    copy_text(root, "replication_state", replication, sizeof(replication));
    bool running = str_equal(out->state, "running");
    out->primary = running && str_equal(out->role, "primary");
    out->streaming = running && !out->primary && str_equal(replication, "streaming");
    json_decref(root);
}

static void perform(CURLM *multi)
{
    int running = 1;
    while (running > 0) {
        if (curl_multi_perform(multi, &running) != CURLM_OK ||
            (running > 0 && curl_multi_poll(multi, NULL, 0, 50, NULL) != CURLM_OK)) {
            return; /* whoever has answered until now has */
        }
    }
}

void view_take(const struct lab *lab, int64_t timeout_ms, struct view *out_view)
{
    static struct answer answer[LAB_NODES_MAX];
    CURL *curl[LAB_NODES_MAX];
    CURLM *multi = curl_multi_init();
    ASSERT(multi != NULL);
    for (uint32_t i = 0; i < lab->node_count; i++) {
        curl[i] = request(&lab->node[i], "/patroni", timeout_ms, &answer[i]);
        (void)curl_multi_add_handle(multi, curl[i]); /* a fresh handle: cannot fail */
    }
    perform(multi);
    *out_view = (struct view){.primary = -1};
    uint32_t primaries = 0;
    for (uint32_t i = 0; i < lab->node_count; i++) {
        struct view_node *node = &out_view->node[i];
        read_answer(&answer[i], node);
        (void)curl_multi_remove_handle(multi, curl[i]); /* was added: cannot fail */
        curl_easy_cleanup(curl[i]);
        out_view->reached += node->reached ? 1 : 0;
        out_view->streaming += node->streaming ? 1 : 0;
        primaries += node->primary ? 1 : 0;
        out_view->primary = node->primary ? (int)i : out_view->primary;
    }
    out_view->primary = primaries == 1 ? out_view->primary : -1;
    (void)curl_multi_cleanup(multi); /* empty by now */
}

bool view_is_whole(const struct lab *lab, const struct view *view)
{
    if (view->primary < 0 || view->streaming + 1 != lab->node_count) {
        return false;
    }
    for (uint32_t i = 0; i < lab->node_count; i++) {
        if (view->node[i].timeline != 0 &&
            view->node[i].timeline != view->node[view->primary].timeline) {
            return false;
        }
    }
    return true;
}

void view_post(const struct lab_node *node, const char *path, const char *body, long *out_status,
               char *out_text, size_t out_size)
{
    static struct answer answer;
    CURL *curl = request(node, path, POST_TIMEOUT_MS, &answer);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    *out_status = 0;
    CURLcode code = curl_easy_perform(curl);
    if (code == CURLE_OK) {
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, out_status); /* 0 stays */
    }
    str_copy_cut(out_text, out_size, code == CURLE_OK ? answer.text : curl_easy_strerror(code));
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
}
