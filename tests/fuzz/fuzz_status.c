/* What peers answer and ask. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "codec/status.h"

static void promise_ask(const char *body, size_t size)
{
    struct core_promise_request request = {0};
    struct err_detail detail = {0};
    if (status_promise_read_ask(body, size, &request, &detail) != ERR_OK) {
        ASSERT(detail.text[0] != '\0' && request.holder[0] == '\0');
        return;
    }
    ASSERT(request.holder[0] != '\0' && request.epoch != 0 && request.ttl_ms > 0);
    AUTO_FREE char *text = status_promise_ask(&request);
    struct core_promise_request again = {0};
    ASSERT(text != NULL && status_promise_read_ask(text, strlen(text), &again, NULL) == ERR_OK);
    ASSERT(str_equal(request.holder, again.holder));
    ASSERT(request.epoch == again.epoch && request.ttl_ms == again.ttl_ms);
}

static void promise_answer(const char *body, size_t size)
{
    struct status_promise_answer answer = {0};
    if (status_promise_read_answer(body, size, &answer) != ERR_OK) {
        ASSERT(!answer.granted && answer.name[0] == '\0');
        return;
    }
    AUTO_FREE char *text = status_promise_answer(&answer);
    struct status_promise_answer again = {0};
    ASSERT(text != NULL && status_promise_read_answer(text, strlen(text), &again) == ERR_OK);
    ASSERT(answer.granted == again.granted && str_equal(answer.name, again.name));
}

void fuzz_status(const uint8_t *data, size_t size)
{
    AUTO_FREE char *body = fuzz_text(data, size);
    struct core_peer_status status = {0};
    status_parse(body, size, &status);
    ASSERT(status.reachable != TRI_UNKNOWN);
    promise_ask(body, size);
    promise_answer(body, size);
}
