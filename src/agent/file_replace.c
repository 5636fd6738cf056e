/* agent/file_replace.c - the rename is what counts: before it the old file stands, after it the new
 * one, and the directory's sync makes that last.
 */
#include "agent/file_replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

static enum err directory_sync(const char *path, struct err_detail *detail)
{
    char directory[PATH_SIZE];
    const char *slash = strrchr(path, '/');
    ASSERT(slash != NULL && slash != path);
    size_t length = (size_t)(slash - path);
    memcpy(directory, path, length);
    directory[length] = '\0';
    AUTO_CLOSE int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot sync the directory %s", directory);
    }
    return ERR_OK;
}

static enum err replace_now(const char *path, const char *text, struct err_detail *detail)
{
    char temporary[PATH_SIZE + 8];
    (void)snprintf(temporary, sizeof(temporary), "%s.new", path);
    AUTO_CLOSE int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot create %s", temporary);
    }
    size_t size = strlen(text);
    size_t done = 0;
    while (done < size) {
        ssize_t wrote = write(fd, text + done, size - done);
        if (wrote < 0 && errno != EINTR) {
            return err_set_errno(detail, ERR_INVALID, errno, "cannot write %s", temporary);
        }
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    if (fsync(fd) != 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot sync %s", temporary);
    }
    if (rename(temporary, path) != 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot rename %s to %s", temporary, path);
    }
    return directory_sync(path, detail);
}

static void write_in_pool(uv_work_t *work)
{
    struct file_writer *writer = work->data;
    ASSERT(writer->active);
    writer->err = replace_now(writer->path, writer->text, &writer->detail);
}

static void write_done(uv_work_t *work, int status)
{
    struct file_writer *writer = work->data;
    ASSERT(writer->active && status == 0); /* nobody cancels this work */
    writer->active = false;
    free(writer->text);
    writer->text = NULL;
    writer->cb(writer->err, &writer->detail, writer->arg);
}

void file_replace_start(uv_loop_t *loop, struct file_writer *writer, const char *path,
                        const char *text, file_replace_cb cb, void *arg)
{
    ASSERT(!writer->active && path[0] == '/');
    writer->text = strdup(text);
    ASSERT(writer->text != NULL);
    bool fits = str_copy(writer->path, sizeof(writer->path), path);
    ASSERT(fits);
    writer->active = true;
    writer->err = ERR_OK;
    writer->detail = (struct err_detail){0};
    writer->cb = cb;
    writer->arg = arg;
    writer->work.data = writer;
    int queued = uv_queue_work(loop, &writer->work, write_in_pool, write_done);
    ASSERT(queued == 0);
}

enum err file_load(const char *path, char **out_text, size_t *out_size, struct err_detail *detail)
{
    ASSERT(path != NULL);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *out_text = NULL;
        *out_size = 0;
        return ERR_OK;
    }
    if (fd < 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot open %s", path);
    }
    AUTO_FREE char *text = malloc(FILE_LOAD_MAX + 1);
    ASSERT(text != NULL);
    size_t used = 0;
    ssize_t got;
    do {
        got = read(fd, text + used, FILE_LOAD_MAX - used);
        used += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    if (got < 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot read %s", path);
    }
    if (used == FILE_LOAD_MAX) {
        return err_set(detail, ERR_INVALID, "%s is too large", path);
    }
    text[used] = '\0';
    *out_text = text;
    *out_size = used;
    text = NULL;
    return ERR_OK;
}
