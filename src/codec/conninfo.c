/* Text that libpq and PostgreSQL read back: every value is escaped, nothing is cut silently. */
#include "codec/conninfo.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

static const char *const keyword_order[] = {
    "dbname",
    "user",
    "passfile",
    "password",
    "host",
    "port",
    "sslmode",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "application_name",
    "krbsrvname",
    "gssencmode",
    "channel_binding",
    "target_session_attrs",
    "sslnegotiation",
};
#define KEYWORD_COUNT (sizeof(keyword_order) / sizeof(keyword_order[0]))

struct out {
    char *text;
    size_t size;
    size_t used;
    bool full;
};

static void out_char(struct out *out, char c)
{
    if (out->used + 1 >= out->size) {
        out->full = true;
        return;
    }
    out->text[out->used++] = c;
    out->text[out->used] = '\0';
}

static void out_text(struct out *out, const char *text, const char *escaped)
{
    for (; *text != '\0'; text++) {
        if (strchr(escaped, *text) != NULL) {
            out_char(out, '\\');
        }
        out_char(out, *text);
    }
}

static bool out_finish(struct out *out)
{
    if (out->full) {
        memset(out->text, 0, out->size);
    }
    return !out->full;
}

static void item_write(struct out *out, const struct conninfo_item *item)
{
    if (out->used > 0) {
        out_char(out, ' ');
    }
    out_text(out, item->keyword, "");
    out_char(out, '=');
    out_text(out, item->value, " '\\");
}

static bool item_wanted(const struct conninfo_item *items, size_t index)
{
    if (items[index].value == NULL || items[index].value[0] == '\0') {
        return false;
    }
    for (size_t i = 0; i < index; i++) {
        if (items[i].value != NULL && items[i].value[0] != '\0' &&
            str_equal(items[i].keyword, items[index].keyword)) {
            return false;
        }
    }
    return true;
}

static bool keyword_known(const char *keyword)
{
    for (size_t i = 0; i < KEYWORD_COUNT; i++) {
        if (str_equal(keyword_order[i], keyword)) {
            return true;
        }
    }
    return false;
}

bool conninfo_format(const struct conninfo_item *items, size_t count, char *text, size_t size)
{
    ASSERT(size > 0);
    struct out out = {.text = text, .size = size};
    text[0] = '\0';
    for (size_t k = 0; k < KEYWORD_COUNT; k++) {
        for (size_t i = 0; i < count; i++) {
            if (str_equal(items[i].keyword, keyword_order[k]) && item_wanted(items, i)) {
                item_write(&out, &items[i]);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!keyword_known(items[i].keyword) && item_wanted(items, i)) {
            item_write(&out, &items[i]);
        }
    }
    return out_finish(&out);
}

static void pgpass_field(struct out *out, const char *value)
{
    if (value == NULL || value[0] == '\0') {
        out_char(out, '*');
        return;
    }
    out_text(out, value, ":\\");
}

static void pgpass_line(struct out *out, const char *host, uint16_t port, const char *user,
                        const char *password)
{
    pgpass_field(out, host);
    out_char(out, ':');
    char number[8] = "*";
    if (port != 0) {
        (void)snprintf(number, sizeof(number), "%u", port); /* five digits fit */
    }
    out_text(out, number, "");
    out_text(out, ":*:", "");
    pgpass_field(out, user);
    out_char(out, ':');
    out_text(out, password, ":\\");
    out_char(out, '\n');
}

bool conninfo_pgpass(const char *host, uint16_t port, const char *user, const char *password,
                     char *text, size_t size)
{
    ASSERT(password != NULL);
    ASSERT(size > 0);
    struct out out = {.text = text, .size = size};
    text[0] = '\0';
    pgpass_line(&out, host, port, user, password);
    if (host != NULL && host[0] == '/') {
        pgpass_line(&out, "localhost", port, user, password);
    }
    return out_finish(&out);
}

/* One code point; malformed bytes count as themselves. */
static uint32_t code_point(const unsigned char **at)
{
    const unsigned char *p = *at;
    static const struct {
        unsigned char mask, lead, bits;
        size_t more;
    } forms[] = {{0xe0, 0xc0, 0x1f, 1}, {0xf0, 0xe0, 0x0f, 2}, {0xf8, 0xf0, 0x07, 3}};
    for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
        if ((p[0] & forms[f].mask) != forms[f].lead) {
            continue;
        }
        uint32_t value = p[0] & forms[f].bits;
        size_t i = 1;
        while (i <= forms[f].more && (p[i] & 0xc0) == 0x80) {
            value = value << 6 | (p[i] & 0x3fU);
            i++;
        }
        if (i > forms[f].more) {
            *at = p + i;
            return value;
        }
    }
    *at = p + 1;
    return p[0];
}

void conninfo_slot_name(const char *member, char out[NAME_SIZE])
{
    ASSERT(member != NULL);
    size_t used = 0;
    const unsigned char *at = (const unsigned char *)member;
    while (*at != '\0') {
        uint32_t c = code_point(&at);
        char piece[16];
        if (c >= 'A' && c <= 'Z') {
            c = c - 'A' + 'a';
        }
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_') {
            (void)snprintf(piece, sizeof(piece), "%c", (int)c); /* one byte */
        } else if (c == '-' || c == '.') {
            (void)snprintf(piece, sizeof(piece), "_"); /* one byte */
        } else {
            (void)snprintf(piece, sizeof(piece), "u%04" PRIu32, c); /* eight bytes at most */
        }
        for (const char *p = piece; *p != '\0' && used < NAME_SIZE - 1; p++) {
            out[used++] = *p;
        }
    }
    out[used] = '\0';
}
