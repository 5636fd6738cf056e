/* Small fixed-shape JSON objects, one a line: written by hand, since that needs no memory of its
 * own, and read by jansson, whose tree then owns the texts. Whatever is not expected is refused, so
 * that both ends fail early and in the open. */
#include "codec/localproto.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

static const char *const request_names[LOCALPROTO_REQUEST_COUNT] = {
    [LOCALPROTO_HELLO] = "hello",     [LOCALPROTO_READ] = "read",
    [LOCALPROTO_TXN] = "txn",         [LOCALPROTO_WATCH] = "watch",
    [LOCALPROTO_SESSION] = "session", [LOCALPROTO_KEEPALIVE] = "keepalive",
};

static const char *const answer_names[LOCALPROTO_ANSWER_COUNT] = {
    [LOCALPROTO_WELCOME] = "welcome", [LOCALPROTO_SNAPSHOT] = "snapshot",
    [LOCALPROTO_CHANGES] = "changes", [LOCALPROTO_DONE] = "done",
    [LOCALPROTO_GRANTED] = "granted", [LOCALPROTO_FAILED] = "failed",
};

static const char *const error_names[LOCALPROTO_ERROR_COUNT] = {
    [LOCALPROTO_CONFLICT] = "conflict",       [LOCALPROTO_REFUSED] = "refused",
    [LOCALPROTO_INVALID] = "invalid",         [LOCALPROTO_NO_SESSION] = "no_session",
    [LOCALPROTO_UNAVAILABLE] = "unavailable",
};

static const char *const op_names[LOCALPROTO_OP_COUNT] = {
    [LOCALPROTO_CHECK] = "check",
    [LOCALPROTO_PUT] = "put",
    [LOCALPROTO_ATTACH] = "attach",
    [LOCALPROTO_DELETE] = "delete",
};

const char *localproto_error_name(enum localproto_error error)
{
    ASSERT(error < LOCALPROTO_ERROR_COUNT);
    return error_names[error];
}

/* ---- checks ---- */

/* The length of the UTF-8 sequence that starts here, 0 when it is none (RFC 3629, section 4). */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80) {
        return s[0] == 0 ? 0 : 1;
    }
    size_t length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || length > left) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xED && s[1] > 0x9F;
    bool too_large = s[0] == 0xF4 && s[1] > 0x8F;
    return overlong || surrogate || too_large ? 0 : length;
}

bool localproto_text_ok(const char *text, size_t size)
{
    ASSERT(text != NULL);
    for (size_t i = 0; i < size;) {
        size_t length = utf8_length((const unsigned char *)text + i, size - i);
        if (length == 0) {
            return false;
        }
        i += length;
    }
    return true;
}

bool localproto_key_ok(const char *key)
{
    ASSERT(key != NULL);
    size_t size = strnlen(key, STORE_KEY_SIZE);
    if (size == 0 || size >= STORE_KEY_SIZE || !localproto_text_ok(key, size)) {
        return false;
    }
    char before = '/'; /* so that a slash in front is an empty part as well */
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)key[i] < 0x20 || key[i] == 0x7F || (key[i] == '/' && before == '/')) {
            return false;
        }
        before = key[i];
    }
    return before != '/';
}

bool localproto_base_ok(const char *base)
{
    ASSERT(base != NULL);
    return base[0] == '/' && strnlen(base, STORE_KEY_SIZE) < STORE_KEY_SIZE &&
           localproto_key_ok(base + 1);
}

static bool written_before(const struct localproto_op *ops, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (ops[i].type != LOCALPROTO_CHECK && str_equal(ops[i].key, ops[index].key)) {
            return true;
        }
    }
    return false;
}

enum err localproto_ops_check(const struct localproto_op *ops, size_t count, size_t base_size,
                              struct err_detail *detail)
{
    ASSERT(ops != NULL || count == 0);
    if (count == 0 || count > STORE_TXN_OPS_MAX) {
        return err_set(detail, ERR_INVALID, "a transaction has 1 to %d operations, not %zu",
                       STORE_TXN_OPS_MAX, count);
    }
    size_t content = 0;
    for (size_t i = 0; i < count; i++) {
        const struct localproto_op *op = &ops[i];
        if (!localproto_key_ok(op->key) || base_size + 1 + strlen(op->key) >= STORE_KEY_SIZE) {
            return err_set(detail, ERR_INVALID, "bad key \"%.64s\"", op->key);
        }
        if (op->type == LOCALPROTO_CHECK) {
            continue;
        }
        if (written_before(ops, i)) {
            return err_set(detail, ERR_INVALID, "key \"%.64s\" is written twice", op->key);
        }
        if (op->type == LOCALPROTO_DELETE) {
            continue;
        }
        if (op->value_size > STORE_VALUE_MAX || !localproto_text_ok(op->value, op->value_size)) {
            return err_set(detail, ERR_INVALID,
                           "value of \"%.64s\" is not UTF-8 text of at most %d bytes", op->key,
                           STORE_VALUE_MAX);
        }
        content += op->value_size;
    }
    if (content > LOCALPROTO_CONTENT_MAX) {
        return err_set(detail, ERR_INVALID, "%zu bytes of values in one transaction", content);
    }
    return ERR_OK;
}

/* ---- encoding ---- */

static char *reserve(struct localproto_buf *buf, size_t more)
{
    ASSERT(buf->used <= buf->size);
    if (buf->size - buf->used < more) {
        size_t size = buf->size < 256 ? 256 : buf->size * 2;
        if (size < buf->used + more) {
            size = buf->used + more;
        }
        buf->data = buf->grow(buf->data, size);
        ASSERT(buf->data != NULL); /* out of memory: dying is a tested path */
        buf->size = size;
    }
    return buf->data + buf->used;
}

static void put(struct localproto_buf *buf, const char *text, size_t size)
{
    ASSERT(text != NULL);
    memcpy(reserve(buf, size), text, size);
    buf->used += size;
}

static void put_text(struct localproto_buf *buf, const char *text)
{
    put(buf, text, strlen(text));
}

static void put_u64(struct localproto_buf *buf, uint64_t value)
{
    char text[24];
    int length = snprintf(text, sizeof(text), "%" PRIu64, value);
    ASSERT(length > 0);
    put(buf, text, (size_t)length);
}

static void put_string(struct localproto_buf *buf, const char *text, size_t size)
{
    ASSERT(text != NULL);
    static const char hex[] = "0123456789abcdef";
    char *out = reserve(buf, size * 6 + 2);
    *out++ = '"';
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20) {
            *out++ = '\\';
            *out++ = 'u';
            *out++ = '0';
            *out++ = '0';
            *out++ = hex[c >> 4];
            *out++ = hex[c & 15];
        } else {
            if (c == '"' || c == '\\') {
                *out++ = '\\';
            }
            *out++ = (char)c;
        }
    }
    *out++ = '"';
    buf->used = (size_t)(out - buf->data);
}

static void put_field_text(struct localproto_buf *buf, const char *name, const char *text)
{
    ASSERT(text != NULL);
    put_text(buf, ",\"");
    put_text(buf, name);
    put_text(buf, "\":");
    put_string(buf, text, strlen(text));
}

static void put_field_u64(struct localproto_buf *buf, const char *name, uint64_t value)
{
    put_text(buf, ",\"");
    put_text(buf, name);
    put_text(buf, "\":");
    put_u64(buf, value);
}

static void put_head(struct localproto_buf *buf, const char *field, const char *name, uint64_t id)
{
    ASSERT(name != NULL);
    put_text(buf, "{\"");
    put_text(buf, field);
    put_text(buf, "\":\"");
    put_text(buf, name);
    put_text(buf, "\"");
    put_field_u64(buf, "id", id);
}

void localproto_put_request(struct localproto_buf *buf, const struct localproto_request *request)
{
    ASSERT(request->type != LOCALPROTO_TXN && request->type < LOCALPROTO_REQUEST_COUNT);
    ASSERT(request->id != 0);
    put_head(buf, "do", request_names[request->type], request->id);
    if (request->type == LOCALPROTO_HELLO) {
        put_field_u64(buf, "version", LOCALPROTO_VERSION);
        put_field_text(buf, "base", request->base);
    }
    if (request->type == LOCALPROTO_KEEPALIVE) {
        put_field_text(buf, "session", request->session);
    }
    if (request->type == LOCALPROTO_SESSION || request->type == LOCALPROTO_KEEPALIVE) {
        ASSERT(request->ttl_ms > 0);
        put_field_u64(buf, "ttl_ms", (uint64_t)request->ttl_ms);
    }
    put_text(buf, "}\n");
}

void localproto_put_ops(struct localproto_buf *buf, const struct localproto_op *ops, size_t count)
{
    ASSERT(count > 0 && count <= STORE_TXN_OPS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct localproto_op *op = &ops[i];
        put_text(buf, i == 0 ? "[[\"" : ",[\"");
        put_text(buf, op_names[op->type]);
        put_text(buf, "\",");
        put_string(buf, op->key, strlen(op->key));
        if (op->type == LOCALPROTO_CHECK) {
            put_text(buf, ",");
            put_u64(buf, op->version);
        } else if (op->type != LOCALPROTO_DELETE) {
            put_text(buf, ",");
            put_string(buf, op->value, op->value_size);
        }
        put_text(buf, "]");
    }
    put_text(buf, "]");
}

void localproto_put_txn(struct localproto_buf *buf, uint64_t id, const char *session,
                        const char *ops, size_t ops_size)
{
    ASSERT(id != 0 && ops_size > 0);
    put_head(buf, "do", request_names[LOCALPROTO_TXN], id);
    put_field_text(buf, "session", session);
    put_text(buf, ",\"ops\":");
    put(buf, ops, ops_size);
    put_text(buf, "}\n");
}

void localproto_put_answer(struct localproto_buf *buf, const struct localproto_answer *answer)
{
    ASSERT(answer->type < LOCALPROTO_ANSWER_COUNT);
    ASSERT(answer->type != LOCALPROTO_SNAPSHOT && answer->type != LOCALPROTO_CHANGES);
    put_head(buf, "is", answer_names[answer->type], answer->id);
    if (answer->type == LOCALPROTO_WELCOME) {
        put_field_u64(buf, "store_id", answer->store_id);
    }
    if (answer->type == LOCALPROTO_WELCOME || answer->type == LOCALPROTO_DONE) {
        put_field_u64(buf, "revision", answer->revision);
    } else if (answer->type == LOCALPROTO_GRANTED) {
        put_field_text(buf, "session", answer->session);
    } else {
        put_field_text(buf, "error", error_names[answer->error]);
        put_field_text(buf, "text", answer->text);
    }
    put_text(buf, "}\n");
}

void localproto_items_begin(struct localproto_buf *buf, const struct localproto_answer *answer)
{
    ASSERT(answer->type == LOCALPROTO_SNAPSHOT || answer->type == LOCALPROTO_CHANGES);
    put_head(buf, "is", answer_names[answer->type], answer->id);
    if (answer->type == LOCALPROTO_SNAPSHOT) {
        put_field_u64(buf, "store_id", answer->store_id);
    }
    put_field_u64(buf, "revision", answer->revision);
    put_text(buf, ",\"items\":[");
}

void localproto_put_item(struct localproto_buf *buf, const struct localproto_item *item)
{
    ASSERT(buf->used > 0);
    put_text(buf, buf->data[buf->used - 1] == '[' ? "[" : ",[");
    put_string(buf, item->key, strlen(item->key));
    if (item->value != NULL) {
        put_text(buf, ",");
        put_string(buf, item->value, item->value_size);
        put_text(buf, ",");
        put_u64(buf, item->version);
        put_text(buf, item->attached ? ",true" : ",false");
    }
    put_text(buf, "]");
}

void localproto_items_end(struct localproto_buf *buf)
{
    put_text(buf, "]}\n");
}

/* ---- decoding ---- */

static bool get_u64(const json_t *value, uint64_t *out)
{
    ASSERT(out != NULL);
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static bool field_u64(const json_t *root, const char *name, uint64_t *out)
{
    return get_u64(json_object_get(root, name), out);
}

static bool field_text(const json_t *root, const char *name, const char **out)
{
    ASSERT(out != NULL);
    const char *text = json_string_value(json_object_get(root, name));
    if (text == NULL) {
        return false;
    }
    *out = text;
    return true;
}

static bool name_find(const char *const *names, int count, const char *name, int *out_index)
{
    ASSERT(count > 0);
    for (int i = 0; i < count; i++) {
        if (name != NULL && str_equal(names[i], name)) {
            *out_index = i;
            return true;
        }
    }
    return false;
}

static json_t *load(const char *line, size_t size, struct err_detail *detail)
{
    ASSERT(line != NULL);
    if (size > LOCALPROTO_FRAME_MAX) {
        (void)err_set(detail, ERR_INVALID, "a frame of %zu bytes", size); /* NULL says it */
        return NULL;
    }
    json_error_t error;
    json_t *root = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        (void)err_set(detail, ERR_INVALID, "not JSON: %s at %d", error.text, error.position);
    } else if (!json_is_object(root)) {
        json_decref(root);
        root = NULL;
        (void)err_set(detail, ERR_INVALID, "not a JSON object");
    }
    return root;
}

static bool get_op(const json_t *entry, struct localproto_op *out)
{
    ASSERT(out != NULL);
    int type = 0;
    const char *key = json_string_value(json_array_get(entry, 1));
    if (key == NULL || !name_find(op_names, LOCALPROTO_OP_COUNT,
                                  json_string_value(json_array_get(entry, 0)), &type)) {
        return false;
    }
    *out = (struct localproto_op){.type = (enum localproto_op_type)type, .key = key};
    const json_t *third = json_array_get(entry, 2);
    if (out->type == LOCALPROTO_DELETE) {
        return third == NULL;
    }
    if (json_array_size(entry) != 3) {
        return false;
    }
    if (out->type == LOCALPROTO_CHECK) {
        return get_u64(third, &out->version);
    }
    out->value = json_string_value(third);
    out->value_size = json_string_length(third);
    return out->value != NULL;
}

static bool get_ops(const json_t *root, struct localproto_request *request)
{
    ASSERT(request->op_count == 0);
    const json_t *ops = json_object_get(root, "ops");
    size_t count = json_array_size(ops);
    if (count == 0 || count > STORE_TXN_OPS_MAX ||
        !field_text(root, "session", &request->session)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!get_op(json_array_get(ops, i), &request->ops[i])) {
            return false;
        }
    }
    request->op_count = count;
    return true;
}

static bool get_ttl(const json_t *root, int64_t *out_ttl_ms)
{
    ASSERT(out_ttl_ms != NULL);
    uint64_t ttl_ms = 0;
    if (!field_u64(root, "ttl_ms", &ttl_ms) || ttl_ms == 0) {
        return false;
    }
    *out_ttl_ms = (int64_t)ttl_ms;
    return true;
}

static bool get_request_body(const json_t *root, struct localproto_request *request)
{
    ASSERT(request->id != 0);
    uint64_t version = 0;
    switch (request->type) {
    case LOCALPROTO_HELLO:
        return field_u64(root, "version", &version) && version == LOCALPROTO_VERSION &&
               field_text(root, "base", &request->base) && localproto_base_ok(request->base);
    case LOCALPROTO_READ:
    case LOCALPROTO_WATCH:
        return true;
    case LOCALPROTO_TXN:
        return get_ops(root, request);
    case LOCALPROTO_SESSION:
        return get_ttl(root, &request->ttl_ms);
    case LOCALPROTO_KEEPALIVE:
        return get_ttl(root, &request->ttl_ms) && field_text(root, "session", &request->session);
    case LOCALPROTO_REQUEST_COUNT:
        break;
    }
    return false;
}

enum err localproto_get_request(const char *line, size_t size,
                                struct localproto_request *out_request, struct err_detail *detail)
{
    ASSERT(out_request != NULL);
    json_t *root = load(line, size, detail);
    if (root == NULL) {
        return ERR_INVALID;
    }
    struct localproto_request request = {.session = "", .root = root};
    int type = 0;
    if (!name_find(request_names, LOCALPROTO_REQUEST_COUNT,
                   json_string_value(json_object_get(root, "do")), &type) ||
        !field_u64(root, "id", &request.id) || request.id == 0) {
        json_decref(root);
        return err_set(detail, ERR_INVALID, "not a request with an id");
    }
    request.type = (enum localproto_request_type)type;
    if (!get_request_body(root, &request)) {
        json_decref(root);
        return err_set(detail, ERR_INVALID, "malformed request \"%s\"", request_names[type]);
    }
    *out_request = request;
    return ERR_OK;
}

void localproto_request_fini(struct localproto_request *request)
{
    ASSERT(request != NULL);
    json_decref(request->root);
    request->root = NULL;
}

static bool get_item(const json_t *entry, bool deletions, struct localproto_item *out)
{
    ASSERT(out != NULL);
    const char *key = json_string_value(json_array_get(entry, 0));
    if (key == NULL || !localproto_key_ok(key)) {
        return false;
    }
    *out = (struct localproto_item){.key = key};
    if (json_array_size(entry) == 1) {
        return deletions;
    }
    const json_t *attached = json_array_get(entry, 3);
    out->value = json_string_value(json_array_get(entry, 1));
    out->value_size = json_string_length(json_array_get(entry, 1));
    out->attached = json_is_true(attached);
    return json_array_size(entry) == 4 && out->value != NULL &&
           out->value_size <= STORE_VALUE_MAX && json_is_boolean(attached) &&
           get_u64(json_array_get(entry, 2), &out->version) && out->version != 0;
}

static bool get_items(json_t *root, struct localproto_answer *answer)
{
    ASSERT(answer->items == NULL);
    answer->items = json_object_get(root, "items");
    if (!json_is_array(answer->items)) {
        return false;
    }
    answer->item_count = json_array_size(answer->items);
    const char *before = "";
    for (size_t i = 0; i < answer->item_count; i++) {
        struct localproto_item item;
        if (!get_item(json_array_get(answer->items, i), answer->type == LOCALPROTO_CHANGES,
                      &item) ||
            strcmp(before, item.key) >= 0) {
            return false;
        }
        before = item.key;
    }
    return true;
}

static bool get_answer_body(json_t *root, struct localproto_answer *answer)
{
    ASSERT(answer->root == root);
    int error = 0;
    switch (answer->type) {
    case LOCALPROTO_WELCOME:
        return field_u64(root, "store_id", &answer->store_id) &&
               field_u64(root, "revision", &answer->revision);
    case LOCALPROTO_SNAPSHOT:
        return field_u64(root, "store_id", &answer->store_id) &&
               field_u64(root, "revision", &answer->revision) && get_items(root, answer);
    case LOCALPROTO_CHANGES:
        return field_u64(root, "revision", &answer->revision) && get_items(root, answer);
    case LOCALPROTO_DONE:
        return field_u64(root, "revision", &answer->revision);
    case LOCALPROTO_GRANTED:
        return field_text(root, "session", &answer->session) && answer->session[0] != '\0' &&
               strlen(answer->session) < SESSION_SIZE;
    case LOCALPROTO_FAILED:
        if (!field_text(root, "text", &answer->text) ||
            !name_find(error_names, LOCALPROTO_ERROR_COUNT,
                       json_string_value(json_object_get(root, "error")), &error)) {
            return false;
        }
        answer->error = (enum localproto_error)error;
        return true;
    case LOCALPROTO_ANSWER_COUNT:
        break;
    }
    return false;
}

enum err localproto_get_answer(const char *line, size_t size, struct localproto_answer *out_answer,
                               struct err_detail *detail)
{
    ASSERT(out_answer != NULL);
    json_t *root = load(line, size, detail);
    if (root == NULL) {
        return ERR_INVALID;
    }
    struct localproto_answer answer = {.root = root};
    int type = 0;
    if (!name_find(answer_names, LOCALPROTO_ANSWER_COUNT,
                   json_string_value(json_object_get(root, "is")), &type) ||
        !field_u64(root, "id", &answer.id)) {
        json_decref(root);
        return err_set(detail, ERR_INVALID, "not an answer with an id");
    }
    answer.type = (enum localproto_answer_type)type;
    bool id_ok =
        answer.type == LOCALPROTO_FAILED || (answer.type == LOCALPROTO_CHANGES) == (answer.id == 0);
    if (!id_ok || !get_answer_body(root, &answer)) {
        json_decref(root);
        return err_set(detail, ERR_INVALID, "malformed answer \"%s\"", answer_names[type]);
    }
    *out_answer = answer;
    return ERR_OK;
}

void localproto_answer_item(const struct localproto_answer *answer, size_t index,
                            struct localproto_item *out_item)
{
    ASSERT(index < answer->item_count);
    bool ok = get_item(json_array_get(answer->items, index), answer->type == LOCALPROTO_CHANGES,
                       out_item);
    ASSERT(ok); /* seen before, by get_items */
}

void localproto_answer_fini(struct localproto_answer *answer)
{
    ASSERT(answer != NULL);
    json_decref(answer->root);
    answer->root = NULL;
    answer->items = NULL;
}
