/* Which store the file names, and how it is reached. Of several sections the first of Patroni's order
 * counts, as there. */
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/str.h"
#include "codec/json.h"
#include "config/private.h"

#define CONSUL_PORT 8500
#define LIST_MAX 64
#define SUN_PATH_MAX 107

/* A list, or a text with commas; in the arena. */
static const char **list_of(const struct config_section *section, const char *key, size_t *count)
{
    const json_t *list = json_object_get(section->json, key);
    const char **out = arena_alloc(section->arena, (LIST_MAX + 1) * sizeof(out[0]));
    ASSERT(out != NULL);
    *count = 0;
    if (json_is_array(list)) {
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *text = config_item_text(section, list, i);
            if (text == NULL || *text == '\0' || *count == LIST_MAX) {
                config_complain(section, CONFIG_ERROR, key,
                                "element %zu cannot be used; remedy: a list of at most %d texts",
                                i + 1, LIST_MAX);
                break;
            }
            out[(*count)++] = text;
        }
        return out;
    }
    const char *text = config_text(section, key);
    char *rest = text != NULL ? arena_strdup(section->arena, text) : NULL;
    char *state = NULL;
    for (char *part = rest != NULL ? strtok_r(rest, ", ", &state) : NULL;
         part != NULL && *count < LIST_MAX; part = strtok_r(NULL, ", ", &state)) {
        out[(*count)++] = part;
    }
    return out;
}

static void sort(const char **list, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const char *moved = list[i];
        size_t at = i;
        for (; at > 0 && strcmp(list[at - 1], moved) > 0; at--) {
            list[at] = list[at - 1];
        }
        list[at] = moved;
    }
}

/* "scheme://host:port" from a url, or from host, port and scheme. */
static const char *consul_url(const struct config_section *consul)
{
    const char *url = config_text(consul, "url");
    const char *scheme = config_text_or(consul, "scheme", "http");
    const char *address = config_text_or(consul, "host", "127.0.0.1");
    const char *key = "host";
    char text[URL_SIZE] = "";
    if (url != NULL) {
        key = "url";
        const char *end = strstr(url, "://");
        address = end != NULL ? end + 3 : url;
        scheme = end != NULL ? arena_strndup(consul->arena, url, (size_t)(end - url)) : "";
        str_copy_cut(text, sizeof(text), address);
        text[strcspn(text, "/")] = '\0';
        address = arena_strdup(consul->arena, text);
    }
    if (!str_equal(scheme, "http") && !str_equal(scheme, "https")) {
        config_complain(consul, CONFIG_ERROR, url != NULL ? key : "scheme",
                        "\"%s\" is not how Consul is spoken to; remedy: http or https",
                        url != NULL ? url : scheme);
        scheme = "http";
    }
    char host[URL_SIZE] = "";
    uint16_t port = CONSUL_PORT;
    if (!config_split_address(address, host, sizeof(host), &port) || host[0] == '\0') {
        config_complain(consul, CONFIG_ERROR, key,
                        "\"%s\" is no address; remedy: host:port, such as 127.0.0.1:8500", address);
        str_copy_cut(host, sizeof(host), "127.0.0.1");
    }
    const char *own_port = url == NULL ? config_text(consul, "port") : NULL;
    uint64_t number = port;
    if (own_port != NULL &&
        (!str_to_u64(own_port, &number) || number == 0 || number > UINT16_MAX)) {
        config_complain(consul, CONFIG_ERROR, "port", "\"%s\" is no port; remedy: 1 to 65535",
                        own_port);
        number = port;
    }
    bool six = strchr(host, ':') != NULL;
    const char *made = arena_printf(consul->arena, "%s://%s%s%s:%u", scheme, six ? "[" : "", host,
                                    six ? "]" : "", (unsigned)number);
    ASSERT(made != NULL);
    if (strlen(made) >= URL_SIZE) {
        config_complain(consul, CONFIG_ERROR, key, "is too long; remedy: a shorter name");
    }
    return made;
}

static bool consul_consistent(const struct config_section *consul)
{
    const char *text = config_text_or(consul, "consistency", "default");
    if (!str_equal(text, "default") && !str_equal(text, "consistent") &&
        !str_equal(text, "stale")) {
        config_complain(consul, CONFIG_ERROR, "consistency",
                        "\"%s\" is none; remedy: default or consistent", text);
    } else if (str_equal(text, "stale")) {
        config_complain(consul, CONFIG_WARNING, "consistency",
                        "stale reads are never used: a lease does not rest on them; remedy: "
                        "default or consistent");
    }
    return str_equal(text, "consistent");
}

static void consul_load(const struct config_section *top, struct dcs_place *place)
{
    const struct config_section consul = config_subsection(top, "consul");
    struct dcs_consul_config *out = &place->consul;
    place->kind = DCS_KIND_CONSUL;
    out->url = consul_url(&consul);
    out->token = config_text_or(&consul, "token", "");
    out->dc = config_text_or(&consul, "dc", "");
    out->verify = config_bool(&consul, "verify", true);
    out->cacert = config_text(&consul, "cacert");
    out->cert = config_text(&consul, "cert");
    out->key = config_text(&consul, "key");
    out->consistent = consul_consistent(&consul);
    out->checks = list_of(&consul, "checks", &out->check_count);
    out->register_service = config_bool(&consul, "register_service", false);
    out->tags = list_of(&consul, "service_tags", &out->tag_count);
    sort(out->tags, out->tag_count);
    out->check_interval = config_text_or(&consul, "service_check_interval", "5s");
    out->check_tls_server_name = config_text_or(&consul, "service_check_tls_server_name", "");
    if (strlen(out->token) > 256 || strpbrk(out->token, "\r\n\t ") != NULL) {
        config_complain(&consul, CONFIG_ERROR, "token",
                        "cannot be one; remedy: the SecretID as Consul printed it");
    }
    if (strlen(out->dc) > 64 || out->dc[strcspn(out->dc, "&#?%/ ")] != '\0') {
        config_complain(&consul, CONFIG_ERROR, "dc",
                        "\"%.64s\" cannot be a datacenter; remedy: its name, such as dc1", out->dc);
    }
    if (out->key != NULL && out->cert == NULL) {
        config_complain(&consul, CONFIG_ERROR, "cert",
                        "a key is given and no certificate; remedy: give both");
    }
}

static void local_load(const struct config_section *top, struct config *config)
{
    const struct config_section local = config_subsection(top, "local");
    const char *path = config_text(&local, "path");
    config->store_dir = config_text_or(&local, "dir", "");
    if (path == NULL && *config->store_dir != '\0') {
        path = arena_printf(top->arena, "%s/store.sock", config->store_dir);
        ASSERT(path != NULL);
    }
    if (path == NULL) {
        return;
    }
    config->store.kind = DCS_KIND_LOCAL;
    config->store.socket = path;
    if (strlen(path) > SUN_PATH_MAX || path[0] != '/') {
        config_complain(&local, CONFIG_ERROR, "path",
                        "\"%s\" is no usable socket; remedy: an absolute path of at most 107 "
                        "characters",
                        path);
    }
}

void config_store_load(const struct config_section *top, bool strict, struct config *config)
{
    static const char *const others[] = {"etcd",       "etcd3", "exhibitor",
                                         "kubernetes", "raft",  "zookeeper"};
    bool consul = json_object_get(top->json, "consul") != NULL;
    bool local = json_object_get(top->json, "local") != NULL;
    bool other = false;
    config->store = (struct dcs_place){.kind = DCS_KIND_NONE, .socket = ""};
    config->store_dir = "";
    if (consul) {
        consul_load(top, &config->store);
    } else {
        local_load(top, config);
    }
    if (consul && local) {
        config_complain(top, CONFIG_WARNING, "local",
                        "two stores are named and \"consul\" counts; remedy: remove one of them");
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (json_object_get(top->json, others[i]) != NULL) {
            other = true;
            bool fatal = !consul && (strict || !local);
            config_complain(top, fatal ? CONFIG_ERROR : CONFIG_WARNING, others[i],
                            "this build does not reach this store; remedy: remove this section and "
                            "add \"consul: {host: 127.0.0.1:8500}\", or for one machine only "
                            "\"local: {dir: /var/lib/holdfast/store}\"");
        }
    }
    if (strict && config->store.kind == DCS_KIND_NONE && !other) {
        config_complain(top, CONFIG_ERROR, local ? "local" : "consul",
                        "no store is named; remedy: add \"consul: {host: 127.0.0.1:8500}\", or for "
                        "one machine only \"local: {dir: /var/lib/holdfast/store}\"");
    }
}
