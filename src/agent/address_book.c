/* agent/address_book.c - a small list, searched from the front; sixteen members need no more. */
#include "agent/address_book.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/str.h"

static struct address_entry *find(struct address_book *book, const char *name)
{
    ASSERT(book->count <= ADDRESS_BOOK_MAX);
    for (size_t i = 0; i < book->count; i++) {
        if (str_equal(book->entry[i].name, name)) {
            return &book->entry[i];
        }
    }
    return NULL;
}

const struct address_entry *address_book_find(const struct address_book *book, const char *name)
{
    ASSERT(book->count <= ADDRESS_BOOK_MAX);
    for (size_t i = 0; i < book->count; i++) {
        if (str_equal(book->entry[i].name, name)) {
            return &book->entry[i];
        }
    }
    return NULL;
}

static bool replace(char out[URL_SIZE], const char *url)
{
    if (url == NULL || url[0] == '\0' || str_equal(out, url)) {
        return false;
    }
    return str_copy(out, URL_SIZE, url);
}

void address_book_need_none(struct address_book *book)
{
    ASSERT(book->count <= ADDRESS_BOOK_MAX);
    for (size_t i = 0; i < book->count; i++) {
        book->entry[i].needed = false;
    }
}

void address_book_need(struct address_book *book, const char *name)
{
    ASSERT(name != NULL);
    struct address_entry *entry = find(book, name);
    if (entry != NULL) {
        entry->needed = true;
    }
}

static void forget_one(struct address_book *book)
{
    ASSERT(book->count == ADDRESS_BOOK_MAX);
    size_t at = 0;
    while (at < book->count && book->entry[at].needed) {
        at++;
    }
    at = at < book->count ? at : 0;
    memmove(&book->entry[at], &book->entry[at + 1],
            (book->count - at - 1) * sizeof(book->entry[0]));
    book->count--;
}

bool address_book_set(struct address_book *book, const char *name, const char *api_url,
                      const char *conn_url)
{
    ASSERT(name != NULL);
    struct address_entry *entry = find(book, name);
    bool added = false;
    if (entry == NULL) {
        if (name[0] == '\0' || strlen(name) >= NAME_SIZE) {
            return false;
        }
        if (book->count == ADDRESS_BOOK_MAX) {
            forget_one(book);
        }
        entry = &book->entry[book->count++];
        *entry = (struct address_entry){0};
        str_copy_cut(entry->name, sizeof(entry->name), name);
        added = true;
    }
    entry->needed = true;
    bool changed = replace(entry->api_url, api_url);
    changed = replace(entry->conn_url, conn_url) || changed;
    return added || changed;
}

char *address_book_format(const struct address_book *book, struct arena *arena)
{
    json_t *root = json_object();
    ASSERT(root != NULL);
    for (size_t i = 0; i < book->count; i++) {
        const struct address_entry *entry = &book->entry[i];
        json_t *value =
            json_pack("{s:s, s:s}", "api_url", entry->api_url, "conn_url", entry->conn_url);
        if (value != NULL) { /* text that is no UTF-8 is left out */
            (void)json_object_set_new(root, entry->name, value);
        }
    }
    char *dumped = json_dumps(root, JSON_INDENT(1));
    ASSERT(dumped != NULL);
    char *text = arena_strdup(arena, dumped);
    free(dumped);
    json_decref(root);
    return text;
}

void address_book_parse(struct address_book *book, const char *text, size_t size)
{
    ASSERT(book != NULL);
    json_t *root = json_loadb(text, size, 0, NULL);
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        (void)address_book_set(book, name, json_string_value(json_object_get(value, "api_url")),
                               json_string_value(json_object_get(value, "conn_url")));
    }
    json_decref(root);
}

/* ---- URLs ---- */

static bool copy_range(char *out, size_t out_size, const char *from, const char *to)
{
    size_t length = (size_t)(to - from);
    if (length == 0 || length >= out_size) {
        return false;
    }
    memcpy(out, from, length);
    out[length] = '\0';
    return true;
}

bool address_to_source(const char *name, const char *conn_url, struct pg_source *out_source)
{
    ASSERT(out_source != NULL);
    struct pg_source source = {.port = 5432, .dbname = "postgres"};
    const char *rest = strstr(conn_url, "://");
    if (rest == NULL || strncmp(conn_url, "postgres", 8) != 0 ||
        !str_copy(source.name, sizeof(source.name), name)) {
        return false;
    }
    rest += 3;
    size_t length = strcspn(rest, "/?");
    const char *authority_end = rest + length;
    const char *at = memchr(rest, '@', length); /* credentials of an old agent: not ours to use */
    rest = at != NULL ? at + 1 : rest;
    const char *host_end;
    if (rest[0] == '[') {
        rest++;
        host_end = memchr(rest, ']', (size_t)(authority_end - rest));
    } else {
        host_end = memchr(rest, ':', (size_t)(authority_end - rest));
        host_end = host_end != NULL ? host_end : authority_end;
    }
    if (host_end == NULL || !copy_range(source.host, sizeof(source.host), rest, host_end)) {
        return false;
    }
    const char *port = host_end[0] == ']' ? host_end + 1 : host_end;
    if (port < authority_end) {
        char digits[8];
        uint64_t number;
        if (port[0] != ':' || !copy_range(digits, sizeof(digits), port + 1, authority_end) ||
            !str_to_u64(digits, &number) || number == 0 || number > UINT16_MAX) {
            return false;
        }
        source.port = (uint16_t)number;
    }
    if (authority_end[0] == '/' && strcspn(authority_end + 1, "?") > 0 &&
        !copy_range(source.dbname, sizeof(source.dbname), authority_end + 1,
                    authority_end + 1 + strcspn(authority_end + 1, "?"))) {
        return false;
    }
    *out_source = source;
    return true;
}

bool address_api_path(const char *api_url, const char *path, char *out_url, size_t out_size)
{
    ASSERT(path[0] == '/');
    const char *host = strstr(api_url, "://");
    if (host == NULL || strncmp(api_url, "http", 4) != 0) {
        return false;
    }
    size_t length = (size_t)(host + 3 - api_url) + strcspn(host + 3, "/?#");
    if (host[3] == '\0' || length >= URL_SIZE) {
        return false;
    }
    return str_format(out_url, out_size, "%.*s%s", (int)length, api_url, path);
}
