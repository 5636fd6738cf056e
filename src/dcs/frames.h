/* dcs/frames.h - lines out of a stream of bytes, for both ends of the local store's protocol.
 *
 * Purpose    whole frames from chunks as they were read; only the start of an unfinished one is kept.
 * Ownership  struct frames is embedded, all zero at first; a line is borrowed from the chunk or from
 *            the struct until the next call.
 * Errors     FRAMES_TOO_LONG: a frame passes LOCALPROTO_FRAME_MAX; the connection is to be given up.
 * Threads    one.
 */
#ifndef HOLDFAST_DCS_FRAMES_H
#define HOLDFAST_DCS_FRAMES_H

#include <stdbool.h>
#include <stddef.h>

struct frames {
    char *start; /* of the frame whose newline has not come yet */
    size_t used;
    size_t size;
    bool given; /* start was handed out as a line */
};

enum frames_step { FRAMES_LINE, FRAMES_MORE, FRAMES_TOO_LONG };

/* Takes the next frame off the chunk (*data, *size), without its newline. FRAMES_MORE: the chunk is
 * used up. */
enum frames_step frames_next(struct frames *frames, const char **data, size_t *size,
                             const char **out_line, size_t *out_length);

void frames_fini(struct frames *frames);

#endif
