/* What comes from an earlier agent: the fsynced memory, the address book; and the guard's packets. The
 * first byte says which. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "agent/address_book.h"
#include "agent/memory_file.h"
#include "base/arena.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "guard/control.h"
#include "guard/proc.h"

#define BOOT "0b0a2c5e-6b0e-4b8e-9a53-0a3b6ce9b1f0"

static void memory(const char *text, size_t size)
{
    struct memory_loaded first = {0};
    struct err_detail detail = {0};
    if (memory_parse(text, size, BOOT, &first, &detail) != ERR_OK) {
        ASSERT(detail.text[0] != '\0');
        return;
    }
    ASSERT(first.found && first.memory.failsafe.count <= MEMBERS_MAX);
    struct arena arena __attribute__((cleanup(arena_fini)));
    arena_init(&arena, 65536);
    char *again = memory_format(&first.memory, BOOT, &arena);
    struct memory_loaded second = {0};
    ASSERT(again != NULL && memory_parse(again, strlen(again), BOOT, &second, NULL) == ERR_OK);
    ASSERT(second.same_boot && str_equal(first.memory.promised_to, second.memory.promised_to));
    ASSERT(first.memory.promised_epoch == second.memory.promised_epoch);
    ASSERT(first.memory.promised_ms == second.memory.promised_ms);
    ASSERT(first.memory.epoch_max == second.memory.epoch_max);
    ASSERT(first.memory.ttl_max_ms == second.memory.ttl_max_ms);
    ASSERT(first.memory.failsafe.count == second.memory.failsafe.count);
    ASSERT(first.memory.failsafe_doubt.count == second.memory.failsafe_doubt.count);
}

static void addresses(const char *text, size_t size)
{
    static struct address_book first;
    static struct address_book second;
    address_book_parse(&first, text, size);
    ASSERT(first.count <= ADDRESS_BOOK_MAX);
    struct arena arena __attribute__((cleanup(arena_fini)));
    arena_init(&arena, 262144);
    char *again = address_book_format(&first, &arena);
    ASSERT(again != NULL);
    address_book_parse(&second, again, strlen(again));
    ASSERT(first.count == second.count);
    for (size_t i = 0; i < first.count; i++) {
        ASSERT(str_equal(first.entry[i].name, second.entry[i].name));
        ASSERT(str_equal(first.entry[i].api_url, second.entry[i].api_url));
        ASSERT(str_equal(first.entry[i].conn_url, second.entry[i].conn_url));
    }
}

static void packet(const char *bytes, size_t size)
{
    static union control_packet packet;
    if (size > sizeof(packet)) {
        return;
    }
    memset(&packet, 0xA5, sizeof(packet));
    memcpy(&packet, bytes, size);
    if (control_check(&packet, size, NULL) != ERR_OK) {
        return;
    }
    ASSERT(size == control_size(packet.head.type) && size == packet.head.size);
    if (packet.head.type == CONTROL_START) {
        char *argv[PG_ARGS_MAX + 1];
        control_args_borrow(&packet.start, argv);
        ASSERT(argv[0] != NULL);
        static struct control_start again;
        control_init(&again, CONTROL_START, packet.head.id);
        ASSERT(control_args_pack(&again, (const char *const *)argv, NULL) == ERR_OK);
        ASSERT(again.args_count == packet.start.args_count);
    }
}

static void kernel(const char *text, size_t size)
{
    struct proc_stat stat;
    (void)!proc_parse_stat(text, size, &stat);
    pid_t pids[8];
    ASSERT(proc_parse_children(text, size, pids, 8) <= 8);
}

void fuzz_statefile(const uint8_t *data, size_t size)
{
    static void (*const all[])(const char *text, size_t size) = {memory, addresses, packet, kernel};
    if (size == 0) {
        return;
    }
    AUTO_FREE char *text = fuzz_text(data + 1, size - 1);
    all[data[0] % 4](text, size - 1);
}
