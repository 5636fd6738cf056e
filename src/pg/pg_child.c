/* The process leads a session of its own (UV_PROCESS_DETACHED), so that a kill reaches its helpers:
 * pg_basebackup's WAL receiver, the servers that initdb and pg_rewind start. */
#include "pg/pg_child.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

#define ENVIRONMENT_MAX 512

extern char **environ;

bool pg_child_running(const struct pg_child *child)
{
    return child->open_handles > 0;
}

static void maybe_done(struct pg_child *child)
{
    if (child->open_handles > 0) {
        return;
    }
    struct pg_child_result result = {
        .exit_status = child->exit_status,
        .signal = child->signal,
        .output = child->output,
        .tail = child->tail,
    };
    child->done_cb(&result, child->arg);
}

static void on_closed(uv_handle_t *handle)
{
    struct pg_child *child = handle->data;
    child->open_handles--;
    maybe_done(child);
}

static void on_exit_status(uv_process_t *process, int64_t status, int signal)
{
    struct pg_child *child = process->data;
    child->exit_status = signal != 0 ? -1 : (int)status;
    child->signal = signal;
    /* helpers that outlived their leader hold the pipes and must not go on writing */
    (void)kill(-child->group, SIGKILL); /* usually nobody is left */
    child->group = 0;
    uv_close((uv_handle_t *)process, on_closed);
}

/* Keeps the newest bytes, cut at a line's start. */
static void tail_add(struct pg_child *child, const char *line)
{
    size_t length = strlen(line);
    if (length + 2 > sizeof(child->tail)) {
        length = sizeof(child->tail) - 2;
    }
    while (child->tail_used + length + 2 > sizeof(child->tail)) {
        char *newline = memchr(child->tail, '\n', child->tail_used);
        size_t cut = newline != NULL ? (size_t)(newline - child->tail) + 1 : child->tail_used;
        memmove(child->tail, child->tail + cut, child->tail_used - cut);
        child->tail_used -= cut;
    }
    memcpy(child->tail + child->tail_used, line, length);
    child->tail_used += length;
    child->tail[child->tail_used++] = '\n';
    child->tail[child->tail_used] = '\0';
}

static void line_end(struct pg_child *child, struct pg_child_line *line, bool from_stderr)
{
    line->text[line->used] = '\0';
    if (line->used > 0) {
        if (child->line_cb != NULL) {
            child->line_cb(line->text, from_stderr, child->arg);
        }
        if (from_stderr) {
            tail_add(child, line->text);
        }
    }
    line->used = 0;
}

static void bytes_take(struct pg_child *child, const char *bytes, size_t count, bool from_stderr)
{
    struct pg_child_line *line = from_stderr ? &child->err_line : &child->out_line;
    for (size_t i = 0; i < count; i++) {
        char c = bytes[i];
        if (!from_stderr && child->output_used + 1 < sizeof(child->output)) {
            child->output[child->output_used++] = c;
            child->output[child->output_used] = '\0';
        }
        if (c == '\n' || c == '\r') {
            line_end(child, line, from_stderr);
        } else if (line->used + 1 < sizeof(line->text)) {
            line->text[line->used++] = c;
        }
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct pg_child *child = handle->data;
    *buffer = uv_buf_init(child->buffer, sizeof(child->buffer));
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct pg_child *child = stream->data;
    bool from_stderr = stream == (uv_stream_t *)&child->err;
    if (count > 0) {
        bytes_take(child, buffer->base, (size_t)count, from_stderr);
    } else if (count < 0) {
        line_end(child, from_stderr ? &child->err_line : &child->out_line, from_stderr);
        uv_close((uv_handle_t *)stream, on_closed);
    }
}

/* The own environment without what `over` sets; over's entries after it. */
static void environment_fill(const char *const *over, const char **out)
{
    size_t count = 0;
    for (char **at = environ; *at != NULL && count < ENVIRONMENT_MAX - 16; at++) {
        size_t name = strcspn(*at, "=") + 1;
        bool replaced = strncmp(*at, "PGOPTIONS=", 10) == 0 || strncmp(*at, "LC_", 3) == 0;
        for (size_t i = 0; over != NULL && over[i] != NULL; i++) {
            replaced = replaced || strncmp(*at, over[i], name) == 0;
        }
        if (!replaced) {
            out[count++] = *at;
        }
    }
    for (size_t i = 0; over != NULL && over[i] != NULL && count < ENVIRONMENT_MAX - 2; i++) {
        out[count++] = over[i];
    }
    out[count++] = "LC_ALL=C";
    out[count] = NULL;
}

static void pipe_open(struct pg_child *child, uv_loop_t *loop, uv_pipe_t *pipe)
{
    int rc = uv_pipe_init(loop, pipe, 0);
    ASSERT(rc == 0);
    pipe->data = child;
    child->open_handles++;
}

static void on_unused_closed(uv_handle_t *handle)
{
    struct pg_child *child = handle->data;
    child->open_handles--;
}

enum err pg_child_start(struct pg_child *child, uv_loop_t *loop, const struct pg_child_spawn *spawn,
                        pg_child_done_cb done_cb, void *arg, struct err_detail *detail)
{
    ASSERT(!pg_child_running(child));
    ASSERT(spawn->argv[0] != NULL);
    memset(child, 0, sizeof(*child));
    child->done_cb = done_cb;
    child->line_cb = spawn->line_cb;
    child->arg = arg;
    pipe_open(child, loop, &child->out);
    pipe_open(child, loop, &child->err);
    const char *environment[ENVIRONMENT_MAX];
    environment_fill(spawn->environment, environment);
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&child->out},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&child->err},
    };
    union {
        const char *const *given;
        char **wanted;
    } argv = {.given = spawn->argv}, env = {.given = environment};
    uv_process_options_t options = {
        .exit_cb = on_exit_status,
        .file = spawn->argv[0],
        .args = argv.wanted,
        .env = env.wanted,
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = 3,
        .stdio = stdio,
    };
    child->process.data = child;
    int rc = uv_spawn(loop, &child->process, &options);
    child->process.data = child;
    child->open_handles++;
    if (rc != 0) {
        uv_close((uv_handle_t *)&child->process, on_unused_closed);
        uv_close((uv_handle_t *)&child->out, on_unused_closed);
        uv_close((uv_handle_t *)&child->err, on_unused_closed);
        return err_set(detail, ERR_REFUSED, "cannot run %s: %s", spawn->argv[0], uv_strerror(rc));
    }
    child->group = uv_process_get_pid(&child->process);
    rc = uv_read_start((uv_stream_t *)&child->out, on_alloc, on_read);
    ASSERT(rc == 0);
    rc = uv_read_start((uv_stream_t *)&child->err, on_alloc, on_read);
    ASSERT(rc == 0);
    return ERR_OK;
}

void pg_child_kill(struct pg_child *child)
{
    if (child->group > 0) {
        (void)kill(-child->group, SIGKILL); /* its end is told by the exit callback */
    }
}
