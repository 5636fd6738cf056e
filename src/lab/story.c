/* The agent logs a line when the reason of its plan changes, with a sentence for people in it: these
 * sentences, and what is logged as a warning, are the story. */
#include "lab/story.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "lab/node.h"

#define TEXT_WIDTH 110
#define READ_SIZE 65536

/* Reasons that say nothing to somebody who watches. */
static const char *const DULL[] = {"PROBE",   "OBSERVE",       "READ_STORE", "IDLE",
                                   "FOLLOWS", "POSTGRES_BUSY", "RENEW",      "HOLDER_WRITE_CONFIG"};

void story_say(const struct story *story, const char *format, ...)
{
    va_list args;
    (void)printf("  +%6.3f s  ", (double)mono_sub(mono_now(), story->start) / 1000.0);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)printf("\n");
    (void)fflush(stdout);
}

static bool is_dull(const char *reason)
{
    size_t length = strcspn(reason, " ");
    for (size_t i = 0; i < sizeof(DULL) / sizeof(DULL[0]); i++) {
        if (strlen(DULL[i]) == length && strncmp(DULL[i], reason, length) == 0) {
            return true;
        }
    }
    return false;
}

/* FNV-1a over both texts. */
static uint64_t hash_of(const char *name, const char *text, size_t length)
{
    uint64_t hash = 14695981039346656037U;
    for (size_t i = 0; name[i] != '\0'; i++) {
        hash = (hash ^ (unsigned char)name[i]) * 1099511628211U;
    }
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211U;
    }
    return hash;
}

/* key_length: as much of the text as makes it the same news. */
static void tell_once(struct story *story, const char *name, const char *text, size_t key_length)
{
    uint64_t hash = hash_of(name, text, key_length);
    for (size_t i = 0; i < story->told_count; i++) {
        if (story->told[i] == hash) {
            return;
        }
    }
    if (story->told_count < STORY_TOLD_MAX) {
        story->told[story->told_count++] = hash;
        story_say(story, "%s: %.*s", name, TEXT_WIDTH, text);
    }
}

static void tell_line(struct story *story, const char *name, char *line)
{
    char *reason = strstr(line, " INFO: plan reason=");
    if (reason != NULL) {
        char *message = strstr(line, " message=\"");
        if (message == NULL || is_dull(reason + strlen(" INFO: plan reason="))) {
            return;
        }
        message += strlen(" message=\"");
        message[strcspn(message, "\"")] = '\0';
        tell_once(story, name, message, strlen(message));
        return;
    }
    const char *warning = strstr(line, " WARNING: ");
    warning = warning == NULL ? strstr(line, " ERROR: ") : warning;
    if (warning != NULL && line[0] == '2' && strstr(line, " [") == NULL) {
        warning = strchr(warning, ':') + 2;
        tell_once(story, name, warning, strcspn(warning, "=")); /* the event and its first key */
    }
}

static int open_log(const struct lab *lab, uint32_t index)
{
    char path[PATH_SIZE];
    node_log_path(lab, index, path);
    return open(path, O_RDONLY | O_CLOEXEC);
}

void story_begin(const struct lab *lab, struct story *story)
{
    *story = (struct story){.start = mono_now()};
    for (uint32_t i = 0; i < lab->node_count; i++) {
        struct stat stat;
        AUTO_CLOSE int fd = open_log(lab, i);
        if (fd >= 0 && fstat(fd, &stat) == 0) {
            story->offset[i] = stat.st_size;
        }
    }
}

void story_follow(const struct lab *lab, struct story *story)
{
    static char text[READ_SIZE];
    for (uint32_t i = 0; i < lab->node_count; i++) {
        AUTO_CLOSE int fd = open_log(lab, i);
        ssize_t got = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, story->offset[i]);
        if (got <= 0) {
            continue;
        }
        text[got] = '\0';
        char *line = text;
        for (char *end = strchr(line, '\n'); end != NULL; end = strchr(line, '\n')) {
            *end = '\0';
            tell_line(story, lab->node[i].name, line);
            line = end + 1;
        }
        /* What has no end yet is read again; a line longer than all of it is skipped. */
        story->offset[i] += line == text && (size_t)got == sizeof(text) - 1 ? got : line - text;
    }
}

bool story_has(const struct lab *lab, uint32_t index, off_t since, const char *text)
{
    struct stat stat;
    AUTO_CLOSE int fd = open_log(lab, index);
    if (fd < 0 || fstat(fd, &stat) != 0 || stat.st_size <= since) {
        return false;
    }
    size_t size = (size_t)(stat.st_size - since);
    AUTO_FREE char *content = malloc(size + 1);
    ssize_t got = content == NULL ? -1 : pread(fd, content, size, since);
    if (got < 0) {
        return false;
    }
    content[got] = '\0';
    return strstr(content, text) != NULL;
}
