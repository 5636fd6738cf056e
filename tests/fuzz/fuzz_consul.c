/* Consul's answers: to a transaction, a prefix, a session. The first byte says which. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "codec/consulproto.h"

static void txn(const char *body, size_t size, int status)
{
    static const struct consulproto_op ops[] = {
        {CONSULPROTO_CHECK, "lease", NULL, 7},
        {CONSULPROTO_PUT, "lease", "{}", 0},
        {CONSULPROTO_ATTACH, "leader", "n1", 0},
        {CONSULPROTO_DELETE, "failover", NULL, 0},
    };
    const struct consulproto_txn txn = {"service/demo/", "0a", 5, ops, 4};
    struct consulproto_answer answer = {0};
    struct err_detail detail = {0};
    if (consulproto_txn_answer(&txn, status, body, size, &answer, &detail) != ERR_OK) {
        ASSERT(detail.text[0] != '\0' && answer.index == 0);
        return;
    }
    ASSERT((answer.verdict == CONSULPROTO_APPLIED) == (status == 200));
    ASSERT((answer.index != 0) == (answer.verdict == CONSULPROTO_APPLIED));
    ASSERT(strlen(answer.what) < sizeof(answer.what));
}

static void tree(const char *body, size_t size)
{
    struct consulproto_tree tree = {0};
    struct err_detail detail = {0};
    if (consulproto_tree_read("service/demo/", body, size, &tree, &detail) != ERR_OK) {
        ASSERT(detail.text[0] != '\0' && tree.items == NULL);
        return;
    }
    for (size_t i = 0; i < tree.count; i++) {
        ASSERT(tree.items[i].index != 0 && tree.items[i].key[0] != '\0');
        ASSERT(tree.items[i].value[tree.items[i].value_size] == '\0');
        ASSERT(i == 0 || strcmp(tree.items[i - 1].key, tree.items[i].key) < 0);
    }
    consulproto_tree_fini(&tree);
}

static void session(const char *body, size_t size)
{
    char id[CONSULPROTO_ID_MAX + 1];
    if (consulproto_session_id(body, size, id, sizeof(id))) {
        ASSERT(id[0] != '\0' && strlen(id) <= CONSULPROTO_ID_MAX);
    }
    int64_t ttl_ms = 0;
    if (consulproto_session_ttl_min(body, &ttl_ms)) {
        ASSERT(ttl_ms > 0);
    }
}

static void base64(const char *body, size_t size)
{
    AUTO_FREE char *text = malloc(CONSULPROTO_BASE64_SIZE(size));
    AUTO_FREE char *back = malloc(CONSULPROTO_BASE64_SIZE(size));
    AUTO_FREE char *again = malloc(CONSULPROTO_BASE64_SIZE(size));
    ASSERT(text != NULL && back != NULL && again != NULL);
    size_t back_size = 0;
    consulproto_base64_encode(body, size, text);
    ASSERT(consulproto_base64_decode(text, strlen(text), back, &back_size));
    ASSERT(back_size == size && memcmp(body, back, size) == 0);
    if (consulproto_base64_decode(body, size, back, &back_size)) {
        consulproto_base64_encode(back, back_size, again);
        ASSERT(str_equal(again, body)); /* one text for one value */
    }
}

void fuzz_consul(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return;
    }
    AUTO_FREE char *body = fuzz_text(data + 1, size - 1);
    if (data[0] % 5 == 0) {
        txn(body, size - 1, 200);
    } else if (data[0] % 5 == 1) {
        txn(body, size - 1, 409);
    } else if (data[0] % 5 == 2) {
        tree(body, size - 1);
    } else if (data[0] % 5 == 3) {
        session(body, size - 1);
    } else {
        base64(body, size - 1);
    }
}
