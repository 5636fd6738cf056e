/* jansson does the JSON; what is ours is what each answer proves. An answer that says no must name an
 * operation that failed, else nothing is concluded from it. */
#include "codec/consulproto.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/localproto.h"

/* ---- base64 (RFC 4648, section 4) ---- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void consulproto_base64_encode(const char *data, size_t size, char *out)
{
    ASSERT(out != NULL);
    const unsigned char *in = (const unsigned char *)data;
    for (size_t i = 0; i < size; i += 3) {
        unsigned bits = (unsigned)in[i] << 16;
        bits |= i + 1 < size ? (unsigned)in[i + 1] << 8 : 0;
        bits |= i + 2 < size ? (unsigned)in[i + 2] : 0;
        *out++ = digits[bits >> 18];
        *out++ = digits[bits >> 12 & 63];
        *out++ = digits[bits >> 6 & 63];
        *out++ = digits[bits & 63];
        if (i + 2 >= size) {
            out[-1] = '=';
        }
        if (i + 1 >= size) {
            out[-2] = '=';
        }
    }
    *out = '\0';
}

static int digit_value(char c)
{
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

bool consulproto_base64_decode(const char *text, size_t size, char *out, size_t *out_size)
{
    ASSERT(out_size != NULL);
    if (size % 4 != 0) {
        return false;
    }
    size_t used = 0;
    for (size_t i = 0; i < size; i += 4) {
        bool last = i + 4 == size;
        size_t pads = 0;
        pads = last && text[i + 3] == '=' ? 1 : 0;
        pads = pads == 1 && text[i + 2] == '=' ? 2 : pads;
        unsigned bits = 0;
        for (size_t n = 0; n < 4; n++) {
            int value = n < 4 - pads ? digit_value(text[i + n]) : 0;
            if (value < 0) {
                return false;
            }
            bits = bits << 6 | (unsigned)value;
        }
        if ((bits & ((1U << (8 * pads)) - 1)) != 0) {
            return false; /* one value has one text: this one was garbled on its way */
        }
        for (size_t n = 0; n < 3 - pads; n++) {
            out[used++] = (char)(bits >> (16 - 8 * n) & 0xFF);
        }
    }
    out[used] = '\0';
    *out_size = used;
    return true;
}

/* ---- transactions ---- */

static json_t *must(json_t *json)
{
    ASSERT(json != NULL); /* heap exhaustion aborts; all texts were found to be UTF-8 */
    return json;
}

static void set(json_t *object, const char *key, json_t *value)
{
    int rc = json_object_set_new(object, key, must(value));
    ASSERT(rc == 0);
}

/* Appends one of Consul's operations and answers it. */
static json_t *op_add(json_t *list, const struct consulproto_txn *txn, const char *verb,
                      const char *key)
{
    json_t *kv = must(json_object());
    char full[2 * STORE_KEY_SIZE];
    bool fits = str_format(full, sizeof(full), "%s%s", txn->prefix, key);
    ASSERT(fits);
    set(kv, "Verb", json_string(verb));
    set(kv, "Key", json_string(full));
    json_t *op = must(json_object());
    set(op, "KV", kv);
    int rc = json_array_append_new(list, op);
    ASSERT(rc == 0);
    return kv;
}

static void value_add(json_t *kv, const struct consulproto_txn *txn, const char *value)
{
    size_t size = strlen(value);
    char *text = malloc(CONSULPROTO_BASE64_SIZE(size));
    ASSERT(text != NULL);
    consulproto_base64_encode(value, size, text);
    set(kv, "Value", json_string(text));
    set(kv, "Flags", json_integer((json_int_t)txn->nonce));
    free(text);
}

static void op_put(json_t *list, const struct consulproto_txn *txn, const struct consulproto_op *op)
{
    switch (op->type) {
    case CONSULPROTO_CHECK:
        if (op->version == 0) {
            (void)op_add(list, txn, "check-not-exists", op->key); /* needs no more */
        } else {
            set(op_add(list, txn, "check-index", op->key), "Index",
                json_integer((json_int_t)op->version));
        }
        break;
    case CONSULPROTO_PUT: /* `set` alone would leave the key tied to the session it has */
        (void)op_add(list, txn, "delete", op->key);
        value_add(op_add(list, txn, "set", op->key), txn, op->value);
        break;
    case CONSULPROTO_ATTACH: { /* `lock` alone would fail while another session has it */
        (void)op_add(list, txn, "delete", op->key);
        json_t *kv = op_add(list, txn, "lock", op->key);
        value_add(kv, txn, op->value);
        set(kv, "Session", json_string(txn->session));
        break;
    }
    case CONSULPROTO_DELETE:
        value_add(op_add(list, txn, "set", op->key), txn, "");
        (void)op_add(list, txn, "delete", op->key);
        break;
    }
}

char *consulproto_txn_text(const struct consulproto_txn *txn)
{
    ASSERT(txn->count > 0 && txn->count <= STORE_TXN_OPS_MAX);
    json_t *list = must(json_array());
    for (size_t i = 0; i < txn->count; i++) {
        if (txn->ops[i].type == CONSULPROTO_CHECK) { /* first: they are about what was before */
            op_put(list, txn, &txn->ops[i]);
        }
    }
    for (size_t i = 0; i < txn->count; i++) {
        if (txn->ops[i].type != CONSULPROTO_CHECK) {
            op_put(list, txn, &txn->ops[i]);
        }
    }
    char *text = json_dumps(list, JSON_COMPACT);
    ASSERT(text != NULL);
    json_decref(list);
    return text;
}

static size_t check_count(const struct consulproto_txn *txn)
{
    size_t count = 0;
    for (size_t i = 0; i < txn->count; i++) {
        count += txn->ops[i].type == CONSULPROTO_CHECK ? 1 : 0;
    }
    ASSERT(count <= txn->count);
    return count;
}

/* One error of the list; the gravest of all is the verdict. False: not understood. */
static bool error_weigh(const struct consulproto_txn *txn, const json_t *error,
                        struct consulproto_answer *answer)
{
    const json_t *index = json_object_get(error, "OpIndex");
    const char *what = json_string_value(json_object_get(error, "What"));
    if (!json_is_integer(index) || what == NULL) {
        return false;
    }
    json_int_t at = json_integer_value(index);
    if (at < 0 || at >= CONSULPROTO_OPS_MAX) {
        return false;
    }
    enum consulproto_verdict verdict = CONSULPROTO_REFUSED;
    if (strstr(what, "Permission denied") != NULL) {
        verdict = CONSULPROTO_DENIED;
    } else if ((size_t)at < check_count(txn)) {
        verdict = CONSULPROTO_CONFLICT;
    } else if (strstr(what, "invalid session") != NULL) {
        verdict = CONSULPROTO_NO_SESSION;
    } else if (strstr(what, "lock delay") != NULL || strstr(what, "lock-delay") != NULL) {
        verdict = CONSULPROTO_LATER;
    }
    static const int weight[] = {
        [CONSULPROTO_APPLIED] = 0, [CONSULPROTO_LATER] = 1,    [CONSULPROTO_NO_SESSION] = 2,
        [CONSULPROTO_REFUSED] = 3, [CONSULPROTO_CONFLICT] = 4, [CONSULPROTO_DENIED] = 5,
    };
    if (weight[verdict] > weight[answer->verdict]) {
        answer->verdict = verdict;
        str_copy_cut(answer->what, sizeof(answer->what), what);
    }
    return true;
}

static enum err read_errors(const struct consulproto_txn *txn, const json_t *root,
                            struct consulproto_answer *out_answer, struct err_detail *detail)
{
    const json_t *errors = json_object_get(root, "Errors");
    struct consulproto_answer answer = {.verdict = CONSULPROTO_APPLIED};
    for (size_t i = 0; i < json_array_size(errors); i++) {
        if (!error_weigh(txn, json_array_get(errors, i), &answer)) {
            return err_set(detail, ERR_INVALID, "Consul's answer names an error that is none");
        }
    }
    if (answer.verdict == CONSULPROTO_APPLIED) {
        return err_set(detail, ERR_INVALID, "Consul says that a check failed, but not which");
    }
    *out_answer = answer;
    return ERR_OK;
}

static enum err read_results(const struct consulproto_txn *txn, const json_t *root,
                             struct consulproto_answer *out_answer, struct err_detail *detail)
{
    const json_t *errors = json_object_get(root, "Errors");
    const json_t *results = json_object_get(root, "Results");
    if (json_array_size(errors) != 0 || !json_is_array(results)) {
        return err_set(detail, ERR_INVALID, "Consul's answer has no results");
    }
    bool writes = check_count(txn) < txn->count;
    uint64_t index = 0;
    for (size_t i = 0; i < json_array_size(results); i++) {
        const json_t *kv = json_object_get(json_array_get(results, i), "KV");
        json_int_t at = json_integer_value(json_object_get(kv, "ModifyIndex"));
        index = at > 0 && (uint64_t)at > index ? (uint64_t)at : index;
    }
    if (writes && index == 0) {
        return err_set(detail, ERR_INVALID, "Consul's answer names no index");
    }
    *out_answer = (struct consulproto_answer){.verdict = CONSULPROTO_APPLIED, .index = index};
    return ERR_OK;
}

enum err consulproto_txn_answer(const struct consulproto_txn *txn, int status, const char *body,
                                size_t size, struct consulproto_answer *out_answer,
                                struct err_detail *detail)
{
    ASSERT(status == 200 || status == 409);
    json_t *root = json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(detail, ERR_INVALID, "Consul's answer is not JSON");
    }
    enum err err = status == 200 ? read_results(txn, root, out_answer, detail)
                                 : read_errors(txn, root, out_answer, detail);
    json_decref(root);
    return err;
}

/* ---- the content of a prefix ---- */

void consulproto_tree_fini(struct consulproto_tree *tree)
{
    ASSERT(tree != NULL);
    for (size_t i = 0; i < tree->count; i++) {
        free(tree->items[i].key);
        free(tree->items[i].value);
    }
    free(tree->items);
    *tree = (struct consulproto_tree){0};
}

/* out_item stays without a key when it is one to be left out. */
static bool item_read(const char *prefix, const json_t *entry, struct consulproto_item *out_item)
{
    const char *key = json_string_value(json_object_get(entry, "Key"));
    const json_t *value = json_object_get(entry, "Value");
    const json_t *index = json_object_get(entry, "ModifyIndex");
    if (key == NULL || !json_is_integer(index) || json_integer_value(index) <= 0 ||
        !(value == NULL || json_is_null(value) || json_is_string(value)) ||
        strncmp(key, prefix, strlen(prefix)) != 0) {
        return false;
    }
    key += strlen(prefix);
    size_t cut = json_string_length(json_object_get(entry, "Key")) - strlen(prefix);
    if (cut != strlen(key) ||
        !localproto_key_ok(key)) { /* with a NUL inside it is another's name */
        return true;
    }
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    size_t text_size = json_is_string(value) ? json_string_length(value) : 0;
    char *decoded = malloc(text_size / 4 * 3 + 1);
    ASSERT(decoded != NULL);
    size_t size = 0;
    if (!consulproto_base64_decode(text, text_size, decoded, &size)) {
        free(decoded);
        return false;
    }
    const char *session = json_string_value(json_object_get(entry, "Session"));
    *out_item = (struct consulproto_item){.key = strdup(key),
                                          .value = decoded,
                                          .value_size = size,
                                          .index = (uint64_t)json_integer_value(index),
                                          .attached = session != NULL && session[0] != '\0'};
    ASSERT(out_item->key != NULL);
    return true;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct consulproto_item *)a)->key,
                  ((const struct consulproto_item *)b)->key);
}

enum err consulproto_tree_read(const char *prefix, const char *body, size_t size,
                               struct consulproto_tree *out_tree, struct err_detail *detail)
{
    ASSERT(prefix != NULL);
    json_t *root = json_loadb(body, size, JSON_ALLOW_NUL, NULL); /* others may name keys so */
    if (!json_is_array(root)) {
        json_decref(root);
        return err_set(detail, ERR_INVALID, "Consul's answer is not a list of keys");
    }
    size_t entries = json_array_size(root);
    struct consulproto_tree tree = {.items = calloc(entries + 1, sizeof(tree.items[0]))};
    ASSERT(tree.items != NULL);
    for (size_t i = 0; i < entries; i++) {
        struct consulproto_item item = {.key = NULL};
        if (!item_read(prefix, json_array_get(root, i), &item)) {
            consulproto_tree_fini(&tree);
            json_decref(root);
            return err_set(detail, ERR_INVALID, "Consul's answer holds a key that is none");
        }
        if (item.key != NULL) {
            tree.items[tree.count++] = item;
        }
    }
    json_decref(root);
    qsort(tree.items, tree.count, sizeof(tree.items[0]), by_key);
    for (size_t i = 1; i < tree.count; i++) {
        if (strcmp(tree.items[i - 1].key, tree.items[i].key) == 0) {
            consulproto_tree_fini(&tree);
            return err_set(detail, ERR_INVALID, "Consul's answer holds a key twice");
        }
    }
    *out_tree = tree;
    return ERR_OK;
}

/* ---- sessions ---- */

char *consulproto_session_text(const struct consulproto_session *session)
{
    ASSERT(session->ttl_ms > 0);
    json_t *root = must(json_object());
    json_t *checks = must(json_array());
    for (size_t i = 0; i < session->check_count; i++) {
        int rc = json_array_append_new(checks, must(json_string(session->checks[i])));
        ASSERT(rc == 0);
    }
    char ttl[32];
    (void)snprintf(ttl, sizeof(ttl), "%" PRId64 "ms", session->ttl_ms);
    set(root, "Name", json_string(session->name));
    set(root, "Checks", checks); /* an absent list would mean the node's own health check */
    set(root, "LockDelay", json_string("0s"));
    set(root, "Behavior", json_string("delete"));
    set(root, "TTL", json_string(ttl));
    char *text = json_dumps(root, JSON_COMPACT);
    ASSERT(text != NULL);
    json_decref(root);
    return text;
}

bool consulproto_session_id(const char *body, size_t size, char *out_id, size_t out_size)
{
    ASSERT(out_id != NULL);
    json_t *root = json_loadb(body, size, 0, NULL);
    const char *id = json_string_value(json_object_get(root, "ID"));
    bool ok = id != NULL && id[0] != '\0' && strlen(id) <= CONSULPROTO_ID_MAX &&
              id[strspn(id, "0123456789abcdefABCDEF-")] == '\0' && str_copy(out_id, out_size, id);
    json_decref(root);
    return ok;
}

bool consulproto_session_ttl_min(const char *message, int64_t *out_ttl_ms)
{
    ASSERT(message != NULL);
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    const char *at = strstr(message, "must be between [");
    if (strncmp(message, "Invalid Session TTL", 19) != 0 || at == NULL) {
        return false;
    }
    at += strlen("must be between [");
    double total_ms = 0;
    while (*at != '=' && *at != '\0') { /* "1m0.5s" */
        char *end = NULL;
        double number = strtod(at, &end);
        size_t length = strspn(end, "msh");
        double unit_ms = 0;
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
            bool named =
                strlen(units[i].name) == length && strncmp(end, units[i].name, length) == 0;
            unit_ms = named ? units[i].ms : unit_ms;
        }
        if (end == at || unit_ms == 0 || !(number >= 0 && number <= 86400000)) {
            return false;
        }
        total_ms += number * unit_ms;
        at = end + length;
    }
    if (*at != '=' || total_ms < 1 || total_ms > 86400000) {
        return false;
    }
    *out_ttl_ms = (int64_t)total_ms;
    return true;
}
