/* agent/exec_memory.c - the two files of state_dir: the core's memory, at its order, and the address
 * book, whenever it changed.
 */
#include "agent/shell.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"

static void remembered(enum err err, const struct err_detail *detail, void *arg)
{
    struct agent *agent = arg;
    struct exec_memory *memory = &agent->memory;
    if (err != ERR_OK) {
        log_error("memory_file", "detail=\"%s\"", detail->text);
    }
    memory->done.outcome = err == ERR_OK ? CORE_OUTCOME_APPLIED : CORE_OUTCOME_NOT_APPLIED;
    agent_done(agent, &memory->done);
}

void exec_memory_start(struct agent *agent, const struct core_action *action)
{
    struct exec_memory *memory = &agent->memory;
    ASSERT(action->type == CORE_ACTION_REMEMBER);
    memory->done = (struct core_done){.type = action->type, .id = action->id};
    AUTO_ARENA struct arena arena;
    arena_init(&arena, FILE_LOAD_MAX);
    const char *text = memory_format(&action->u.memory, agent->boot_id, &arena);
    ASSERT(text != NULL); /* two lists of MEMBERS_MAX names are far below the cap */
    file_replace_start(&agent->loop, &memory->writer, memory->path, text, remembered, agent);
}

static void book_written(enum err err, const struct err_detail *detail, void *arg)
{
    struct agent *agent = arg;
    if (err != ERR_OK) {
        log_warn("address_file", "detail=\"%s\"", detail->text);
    }
    if (agent->memory.book_dirty) {
        exec_memory_book_changed(agent);
    }
}

void exec_memory_book_changed(struct agent *agent)
{
    struct exec_memory *memory = &agent->memory;
    memory->book_dirty = memory->book_writer.active;
    if (memory->book_dirty) {
        return;
    }
    AUTO_ARENA struct arena arena;
    arena_init(&arena, FILE_LOAD_MAX);
    const char *text = address_book_format(&agent->book, &arena);
    if (text != NULL) {
        file_replace_start(&agent->loop, &memory->book_writer, memory->book_path, text,
                           book_written, agent);
    }
}

/* Set aside and not removed: a person may want to know how it came to that. */
static enum err memory_set_aside(struct agent *agent, const struct err_detail *why,
                                 struct memory_loaded *out_loaded, struct err_detail *detail)
{
    const char *path = agent->memory.path;
    char aside[PATH_SIZE];
    if (!str_format(aside, sizeof(aside), "%s.corrupt", path)) {
        return err_set(detail, ERR_INVALID, "the path %s is too long", path);
    }
    if (rename(path, aside) != 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "%s cannot be used (%s), nor renamed",
                             path, why->text);
    }
    struct page_lease lease;
    page_lease_read(agent->page, &lease);
    memory_lost(agent->core_config.settings.ttl_ms, lease.ttl_ms, out_loaded);
    log_error("memory_file",
              "path=%s detail=\"%s\" message=\"it was renamed to %s; this node takes over no lease "
              "for %lld ms\"",
              path, why->text, aside, (long long)out_loaded->memory.promised_ms);
    return ERR_OK;
}

enum err exec_memory_load(struct agent *agent, const char *state_dir,
                          struct memory_loaded *out_loaded, struct err_detail *detail)
{
    struct exec_memory *memory = &agent->memory;
    if (!str_format(memory->path, sizeof(memory->path), "%s/memory.json", state_dir) ||
        !str_format(memory->book_path, sizeof(memory->book_path), "%s/addresses.json", state_dir)) {
        return err_set(detail, ERR_INVALID, "the path %s is too long", state_dir);
    }
    AUTO_FREE char *text = NULL;
    size_t size;
    if (file_load(memory->book_path, &text, &size, NULL) == ERR_OK && text != NULL) {
        address_book_parse(&agent->book, text, size);
    }
    struct err_detail why = {0};
    if (memory_load(memory->path, agent->boot_id, out_loaded, &why) != ERR_OK) {
        return memory_set_aside(agent, &why, out_loaded, detail);
    }
    return ERR_OK;
}
