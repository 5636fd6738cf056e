/* Who may change something: the checks of compat/rest.md section 2, in its order. Only numeric addresses
 * are compared, so that no check ever waits for a name. */
#include "rest/internal.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

static void from_v4(struct in_addr v4, struct in6_addr *out)
{
    memset(out, 0, sizeof *out);
    out->s6_addr[10] = 0xff;
    out->s6_addr[11] = 0xff;
    memcpy(&out->s6_addr[12], &v4, sizeof v4);
}

/* Any numeric address as IPv6, and how many bits it has. */
static bool read_address(const char *text, struct in6_addr *out, unsigned *out_bits)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        from_v4(v4, out);
        *out_bits = 32;
        return true;
    }
    *out_bits = 128;
    return inet_pton(AF_INET6, text, out) == 1;
}

static bool read_network(const char *text, struct rest_network *out)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);
    if (length >= sizeof address) {
        return false;
    }
    memcpy(address, text, length);
    address[length] = '\0';
    unsigned room;
    if (!read_address(address, &out->address, &room)) {
        return false;
    }
    uint64_t bits = room;
    if (slash != NULL && (!str_to_u64(slash + 1, &bits) || bits > room)) {
        return false;
    }
    out->bits = 128 - room + (unsigned)bits;
    return true;
}

enum err access_read_networks(const struct rest_options *options, struct rest_settings *settings,
                              struct err_detail *detail)
{
    if (options->allowlist_count > REST_ALLOWLIST_MAX) {
        return err_set(detail, ERR_INVALID, "restapi.allowlist: more than %d entries",
                       REST_ALLOWLIST_MAX);
    }
    for (uint32_t i = 0; i < options->allowlist_count; i++) {
        if (!read_network(options->allowlist[i], &settings->networks[i])) {
            return err_set(detail, ERR_INVALID,
                           "restapi.allowlist: \"%s\" is no address and no network",
                           options->allowlist[i]);
        }
    }
    settings->network_count = options->allowlist_count;
    settings->include_members = options->allowlist_include_members;
    return ERR_OK;
}

static bool inside(const struct rest_network *network, const struct in6_addr *address)
{
    unsigned whole = network->bits / 8;
    unsigned rest = network->bits % 8;
    if (memcmp(network->address.s6_addr, address->s6_addr, whole) != 0) {
        return false;
    }
    unsigned mask = 0xff00U >> rest & 0xffU;
    return rest == 0 || ((network->address.s6_addr[whole] ^ address->s6_addr[whole]) & mask) == 0;
}

static bool peer_address(struct http_exchange *exchange, struct in6_addr *out)
{
    const struct sockaddr *peer = http_exchange_peer(exchange);
    if (peer->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, peer, sizeof v4);
        from_v4(v4.sin_addr, out);
        return true;
    }
    struct sockaddr_in6 v6;
    if (peer->sa_family != AF_INET6) {
        return false;
    }
    memcpy(&v6, peer, sizeof v6);
    *out = v6.sin6_addr;
    return true;
}

static bool is_member(struct rest *rest, const struct in6_addr *address)
{
    struct rest_view view;
    rest_get_view(rest, &view);
    for (uint32_t i = 0; i < view.member_count; i++) {
        const char *url = view.members[i].info.api_url;
        const char *start = strstr(url, "://");
        start = start != NULL ? start + 3 : url;
        char host[URL_SIZE];
        str_copy_cut(host, sizeof host, start[0] == '[' ? start + 1 : start);
        host[strcspn(host, start[0] == '[' ? "]" : ":/?#")] = '\0';
        struct rest_network network = {.bits = 128};
        unsigned bits;
        if (read_address(host, &network.address, &bits) && inside(&network, address)) {
            return true;
        }
    }
    return false;
}

static bool allowed(struct rest *rest, struct http_exchange *exchange, bool members)
{
    const struct rest_settings *settings = rest->settings;
    bool by_member = members && settings->include_members;
    if (settings->network_count == 0 && !by_member) {
        return true;
    }
    struct in6_addr address;
    if (!peer_address(exchange, &address)) {
        return false;
    }
    for (uint32_t i = 0; i < settings->network_count; i++) {
        if (inside(&settings->networks[i], &address)) {
            return true;
        }
    }
    return by_member && is_member(rest, &address);
}

/* Takes as long for any wrong text of the same length. */
static bool same_secret(const char *expected, const char *given)
{
    size_t length = strlen(expected);
    size_t given_length = strlen(given);
    unsigned difference = length != given_length;
    for (size_t i = 0; i < given_length; i++) {
        unsigned other = (unsigned char)expected[i < length ? i : 0];
        difference |= other ^ (unsigned char)given[i];
    }
    return difference == 0;
}

static void ask_for_secret(struct rest *rest, struct http_exchange *exchange, const char *text)
{
    rest_send(rest, exchange,
              &(struct http_answer){
                  .status = 401,
                  .content_type = "text/html",
                  .body = text,
                  .body_size = strlen(text),
                  .header_count = 1,
                  .headers = {{"WWW-Authenticate", "Basic realm=\"Patroni\""}},
              });
}

bool access_refuse(struct rest *rest, struct http_exchange *exchange, bool members)
{
    if (!allowed(rest, exchange, members)) {
        rest_send_text(rest, exchange, 403, "Access is denied");
        return true;
    }
    const char *expected = rest->settings->auth;
    if (expected[0] == '\0') {
        return false;
    }
    const char *given = http_exchange_header(exchange, "Authorization");
    if (given == NULL) {
        ask_for_secret(rest, exchange, "no auth header received");
        return true;
    }
    if (!same_secret(expected, given)) {
        ask_for_secret(rest, exchange, "not authenticated");
        return true;
    }
    return false;
}
