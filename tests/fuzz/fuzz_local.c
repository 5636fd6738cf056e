/* The local store's frames: what is understood and said again is understood the same. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/localproto.h"

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : str_equal(a, b);
}

static void same_request(const struct localproto_request *a, const struct localproto_request *b)
{
    ASSERT(a->type == b->type && a->id == b->id && a->ttl_ms == b->ttl_ms);
    ASSERT(same_text(a->base, b->base) && same_text(a->session, b->session));
    ASSERT(a->op_count == b->op_count);
    for (size_t i = 0; i < a->op_count; i++) {
        const struct localproto_op *x = &a->ops[i];
        const struct localproto_op *y = &b->ops[i];
        ASSERT(x->type == y->type && x->version == y->version && str_equal(x->key, y->key));
        ASSERT(x->value_size == y->value_size && same_text(x->value, y->value));
    }
}

static void request(const char *line, size_t size)
{
    struct localproto_request first = {0};
    struct localproto_request second = {0};
    struct err_detail detail = {0};
    if (localproto_get_request(line, size, &first, &detail) != ERR_OK) {
        ASSERT(detail.text[0] != '\0');
        return;
    }
    struct localproto_buf buf = {.grow = realloc};
    if (first.type == LOCALPROTO_TXN) {
        struct localproto_buf ops = {.grow = realloc};
        localproto_put_ops(&ops, first.ops, first.op_count);
        localproto_put_txn(&buf, first.id, first.session, ops.data, ops.used);
        free(ops.data);
    } else {
        localproto_put_request(&buf, &first);
    }
    ASSERT(buf.used > 1 && buf.data[buf.used - 1] == '\n');
    ASSERT(localproto_get_request(buf.data, buf.used - 1, &second, &detail) == ERR_OK);
    same_request(&first, &second);
    localproto_request_fini(&first);
    localproto_request_fini(&second);
    free(buf.data);
}

static void same_answer(const struct localproto_answer *a, const struct localproto_answer *b)
{
    ASSERT(a->type == b->type && a->id == b->id && a->error == b->error);
    ASSERT(a->store_id == b->store_id && a->revision == b->revision);
    ASSERT(same_text(a->session, b->session) && same_text(a->text, b->text));
    ASSERT(a->item_count == b->item_count);
    for (size_t i = 0; i < a->item_count; i++) {
        struct localproto_item x;
        struct localproto_item y;
        localproto_answer_item(a, i, &x);
        localproto_answer_item(b, i, &y);
        ASSERT(str_equal(x.key, y.key) && same_text(x.value, y.value));
        ASSERT(x.value_size == y.value_size && x.version == y.version && x.attached == y.attached);
    }
}

static void answer(const char *line, size_t size)
{
    struct localproto_answer first = {0};
    struct localproto_answer second = {0};
    struct err_detail detail = {0};
    if (localproto_get_answer(line, size, &first, &detail) != ERR_OK) {
        ASSERT(detail.text[0] != '\0');
        return;
    }
    struct localproto_buf buf = {.grow = realloc};
    if (first.type == LOCALPROTO_SNAPSHOT || first.type == LOCALPROTO_CHANGES) {
        localproto_items_begin(&buf, &first);
        for (size_t i = 0; i < first.item_count; i++) {
            struct localproto_item item;
            localproto_answer_item(&first, i, &item);
            localproto_put_item(&buf, &item);
        }
        localproto_items_end(&buf);
    } else {
        localproto_put_answer(&buf, &first);
    }
    ASSERT(buf.used > 1 && buf.data[buf.used - 1] == '\n');
    ASSERT(localproto_get_answer(buf.data, buf.used - 1, &second, &detail) == ERR_OK);
    same_answer(&first, &second);
    localproto_answer_fini(&first);
    localproto_answer_fini(&second);
    free(buf.data);
}

void fuzz_local(const uint8_t *data, size_t size)
{
    char *line = fuzz_text(data, size);
    request(line, size);
    answer(line, size);
    free(line);
}
