/* A frame that lies whole in a chunk is never copied; only one that is cut in two is put together. */
#include "dcs/frames.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/localproto.h"

static bool keep(struct frames *frames, const char *data, size_t size)
{
    ASSERT(frames->used <= LOCALPROTO_FRAME_MAX);
    if (size > LOCALPROTO_FRAME_MAX - frames->used) {
        return false;
    }
    if (frames->used + size > frames->size) {
        size_t room = frames->size * 2;
        room = room < frames->used + size ? frames->used + size : room;
        frames->start = realloc(frames->start, room);
        ASSERT(frames->start != NULL);
        frames->size = room;
    }
    if (size > 0) {
        memcpy(frames->start + frames->used, data, size);
    }
    frames->used += size;
    return true;
}

enum frames_step frames_next(struct frames *frames, const char **data, size_t *size,
                             const char **out_line, size_t *out_length)
{
    ASSERT(*data != NULL);
    if (frames->given) {
        frames->given = false;
        frames->used = 0;
    }
    if (*size == 0) {
        return FRAMES_MORE;
    }
    const char *newline = memchr(*data, '\n', *size);
    if (newline == NULL) {
        bool kept = keep(frames, *data, *size);
        *size = 0;
        return kept ? FRAMES_MORE : FRAMES_TOO_LONG;
    }
    const char *line = *data;
    size_t length = (size_t)(newline - line);
    *data = newline + 1;
    *size -= length + 1;
    if (frames->used > 0) {
        if (!keep(frames, line, length)) {
            return FRAMES_TOO_LONG;
        }
        frames->given = true;
        line = frames->start;
        length = frames->used;
    }
    if (length > LOCALPROTO_FRAME_MAX) {
        return FRAMES_TOO_LONG;
    }
    *out_line = line;
    *out_length = length;
    return FRAMES_LINE;
}

void frames_fini(struct frames *frames)
{
    free(frames->start);
    *frames = (struct frames){0};
}
