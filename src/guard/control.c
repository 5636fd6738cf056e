/* Every packet is checked whole before anyone looks at a field of it: the agent is the only peer,
 * but a torn or foreign packet must not move the guard. */
#include "guard/control.h"

#include <string.h>

#include "base/assert.h"
#include "base/str.h"
#include "guard/page.h"

size_t control_size(uint16_t type)
{
    static const size_t sizes[CONTROL_TYPE_COUNT] = {
#define X(name, member) [CONTROL_##name] = sizeof(struct control_##member),
        CONTROL_TYPE_LIST(X)
#undef X
    };
    return type < CONTROL_TYPE_COUNT ? sizes[type] : 0;
}

const char *control_name(uint16_t type)
{
    static const char *const names[CONTROL_TYPE_COUNT] = {
#define X(name, member) [CONTROL_##name] = #name,
        CONTROL_TYPE_LIST(X)
#undef X
    };
    return type < CONTROL_TYPE_COUNT && names[type] != NULL ? names[type] : "unknown";
}

void control_init(void *packet, enum control_type type, uint32_t id)
{
    size_t size = control_size((uint16_t)type);
    ASSERT(size != 0);
    memset(packet, 0, size);
    *(struct control_head *)packet = (struct control_head){
        .version = CONTROL_VERSION, .type = (uint16_t)type, .size = (uint32_t)size, .id = id};
}

static bool terminated(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

static enum err start_check(const struct control_start *start, struct err_detail *detail)
{
    if (!terminated(start->log_path, sizeof(start->log_path)) ||
        !terminated(start->data_dir, sizeof(start->data_dir)) || start->data_dir[0] == '\0') {
        return err_set(detail, ERR_INVALID, "bad path");
    }
    if (start->args_count == 0 || start->args_count > PG_ARGS_MAX ||
        start->args_size > PG_ARGS_SIZE) {
        return err_set(detail, ERR_INVALID, "bad argument count or size");
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < start->args_size; i++) {
        count += start->args[i] == '\0';
    }
    if (count != start->args_count || start->args[start->args_size - 1] != '\0' ||
        start->args[0] == '\0') {
        return err_set(detail, ERR_INVALID, "bad arguments");
    }
    return ERR_OK;
}

static enum err body_check(const union control_packet *packet, struct err_detail *detail)
{
    bool good = true;
    switch ((enum control_type)packet->head.type) {
    case CONTROL_START:
        return start_check(&packet->start, detail);
    case CONTROL_ADOPT:
        good = packet->adopt.pid > 1 && packet->adopt.pid <= INT32_MAX;
        break;
    case CONTROL_ARM:
        good = packet->arm.epoch != 0;
        break;
    case CONTROL_STOP:
        good = packet->stop.mode < CONTROL_STOP_COUNT;
        break;
    case CONTROL_LEAVING:
        good = packet->leaving.code >= 0 && packet->leaving.code <= 255 &&
               packet->leaving.stranger <= 1;
        break;
    case CONTROL_REFUSED:
        good = packet->refused.err > ERR_OK && packet->refused.err < ERR_COUNT &&
               terminated(packet->refused.text, sizeof(packet->refused.text));
        break;
    case CONTROL_HELLO:
        good = packet->hello.priority < CONTROL_PRIORITY_COUNT &&
               packet->hello.fence < PAGE_FENCE_COUNT &&
               terminated(packet->hello.guard_version, sizeof(packet->hello.guard_version));
        break;
    case CONTROL_FENCED:
        good = packet->fenced.stage < PAGE_FENCE_COUNT;
        break;
    case CONTROL_NONE:
    case CONTROL_PING:
    case CONTROL_DISARM:
    case CONTROL_DONE:
    case CONTROL_STARTED:
    case CONTROL_EXITED:
    case CONTROL_UPGRADE:
    case CONTROL_TYPE_COUNT:
        break;
    }
    return good ? ERR_OK
                : err_set(detail, ERR_INVALID, "bad field in %s", control_name(packet->head.type));
}

enum err control_check(const union control_packet *packet, size_t received_bytes,
                       struct err_detail *detail)
{
    const struct control_head *head = &packet->head;
    if (received_bytes < sizeof(*head)) {
        return err_set(detail, ERR_INVALID, "%zu bytes are no packet", received_bytes);
    }
    if (head->version != CONTROL_VERSION) {
        return err_set(detail, ERR_INVALID, "control version %u, here %u", head->version,
                       CONTROL_VERSION);
    }
    size_t size = control_size(head->type);
    if (size == 0 || head->size != size || received_bytes != size) {
        return err_set(detail, ERR_INVALID, "type %u with %zu bytes, wanted %zu", head->type,
                       received_bytes, size);
    }
    return body_check(packet, detail);
}

enum err control_args_pack(struct control_start *start, const char *const *argv,
                           struct err_detail *detail)
{
    uint32_t count = 0;
    size_t used = 0;
    for (; argv[count] != NULL; count++) {
        size_t size = strlen(argv[count]) + 1;
        if (count == PG_ARGS_MAX || size > sizeof(start->args) - used) {
            return err_set(detail, ERR_INVALID, "too many arguments for postgres");
        }
        memcpy(start->args + used, argv[count], size);
        used += size;
    }
    if (count == 0 || argv[0][0] == '\0') {
        return err_set(detail, ERR_INVALID, "no executable named");
    }
    start->args_count = count;
    start->args_size = (uint32_t)used;
    return ERR_OK;
}

void control_args_borrow(struct control_start *start, char *out_argv[PG_ARGS_MAX + 1])
{
    ASSERT(start->args_count > 0 && start->args_count <= PG_ARGS_MAX);
    char *next = start->args;
    for (uint32_t i = 0; i < start->args_count; i++) {
        ASSERT(next < start->args + start->args_size);
        out_argv[i] = next;
        next += strlen(next) + 1;
    }
    out_argv[start->args_count] = NULL;
}
