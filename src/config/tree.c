/* Merging moves values, not copies: a value keeps its address, and so the marks below it stay true. */
#include "config/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "codec/json.h"
#include "codec/units.h"

/* ---- reading ---- */

static enum err read_whole(int fd, const char *path, struct arena *arena, char **out_text,
                           size_t *out_size, struct err_detail *detail)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "%s", path);
    }
    if (!S_ISREG(info.st_mode)) {
        return err_set(detail, ERR_INVALID, "%s: not a file; remedy: name a YAML file", path);
    }
    if (info.st_size > CONFIG_FILE_MAX) {
        return err_set(detail, ERR_INVALID,
                       "%s: larger than %d bytes; remedy: this is no configuration", path,
                       CONFIG_FILE_MAX);
    }
    const size_t room = (size_t)info.st_size;
    char *text = arena_alloc(arena, room + 1);
    ASSERT(text != NULL);
    size_t size = 0;
    while (size < room) {
        ssize_t got = read(fd, text + size, room - size);
        if (got < 0 && errno != EINTR) {
            return err_set_errno(detail, ERR_INVALID, errno, "%s", path);
        }
        if (got == 0) {
            break;
        }
        size += got > 0 ? (size_t)got : 0;
    }
    *out_text = text;
    *out_size = size;
    return ERR_OK;
}

enum err config_files_parse(struct config_files *files, const char *text, size_t size,
                            const char *name, struct config_report *report)
{
    struct err_detail detail;
    json_t *root;
    enum err err = yaml_parse(text, size, name, files->marks, &root, &detail);
    if (err != ERR_OK) {
        config_report_add(report, CONFIG_ERROR, "%s", detail.text);
        return ERR_INVALID;
    }
    if (!json_is_object(root)) {
        bool empty = json_is_null(root);
        json_decref(root);
        config_report_add(report, CONFIG_ERROR,
                          "%s: %s; remedy: write lines such as \"scope: demo\"", name,
                          empty ? "the file is empty" : "not a map of keys");
        return ERR_INVALID;
    }
    config_files_merge(files, root);
    return ERR_OK;
}

static enum err read_file(struct config_files *files, const char *path,
                          struct config_report *report)
{
    AUTO_ARENA struct arena arena;
    arena_init(&arena, 2 * CONFIG_FILE_MAX);
    struct err_detail detail = {.text = ""};
    char *text = NULL;
    size_t size = 0;
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        config_report_add(report, CONFIG_ERROR,
                          "%s: cannot be opened: %s; remedy: check the name and its permissions",
                          path, strerror(errno));
        return ERR_INVALID;
    }
    if (read_whole(fd, path, &arena, &text, &size, &detail) != ERR_OK) {
        config_report_add(report, CONFIG_ERROR, "%s", detail.text);
        return ERR_INVALID;
    }
    return config_files_parse(files, text, size, path, report);
}

static int is_yaml_name(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && dot != entry->d_name &&
           (str_equal(dot, ".yml") || str_equal(dot, ".yaml"));
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static enum err read_directory(struct config_files *files, const char *path,
                               struct config_report *report)
{
    struct dirent **names = NULL;
    int count = scandir(path, &names, is_yaml_name, by_bytes);
    enum err err = ERR_OK;
    if (count <= 0 || count > CONFIG_FILES_MAX) {
        config_report_add(report, CONFIG_ERROR,
                          "%s: %s; remedy: put the configuration there as *.yml or *.yaml", path,
                          count < 0    ? strerror(errno)
                          : count == 0 ? "no *.yml or *.yaml in this directory"
                                       : "too many files");
        err = ERR_INVALID;
    }
    for (int i = 0; i < count; i++) {
        char file[PATH_SIZE];
        if (err == ERR_OK && str_format(file, sizeof(file), "%s/%s", path, names[i]->d_name)) {
            err = read_file(files, file, report);
        }
        free(names[i]);
    }
    free(names);
    return err;
}

enum err config_files_read(struct config_files *files, const char *path,
                           struct config_report *report)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return read_directory(files, path, report);
    }
    return read_file(files, path, report);
}

/* ---- merging ---- */

static void copy_mark(struct yaml_marks *marks, const json_t *from, const json_t *to,
                      const char *key)
{
    const struct yaml_mark *mark = yaml_mark_key(marks, from, key);
    if (mark != NULL) {
        const struct yaml_mark copy = *mark;
        if (yaml_mark_set(marks, to, key, &copy) != ERR_OK) {
            return; /* the place cannot be named then */
        }
    }
}

/* A map that an alias shares is changed in one place only. */
static json_t *unshare(struct yaml_marks *marks, json_t *object, const char *key, json_t *old)
{
    if (old->refcount == 1) {
        return old;
    }
    json_t *copy = json_copy(old);
    ASSERT(copy != NULL);
    const char *inner;
    json_t *value;
    json_object_foreach(old, inner, value)
    {
        copy_mark(marks, old, copy, inner);
    }
    json_object_set_new(object, key, copy);
    return copy;
}

static void merge(struct yaml_marks *marks, json_t *object, json_t *patch)
{
    const char *key;
    json_t *value;
    json_object_foreach(patch, key, value)
    {
        json_t *old = json_object_get(object, key);
        if (json_is_null(value)) {
            (void)json_object_del(object, key); /* absent is fine */
        } else if (json_is_object(old) && json_is_object(value)) {
            merge(marks, unshare(marks, object, key, old), value);
        } else {
            json_object_set(object, key, value);
            copy_mark(marks, patch, object, key);
        }
    }
}

void config_files_merge(struct config_files *files, json_t *part)
{
    ASSERT(files->part_count < sizeof(files->part) / sizeof(files->part[0]));
    files->part[files->part_count++] = part;
    if (files->root == NULL) {
        files->root = json_incref(part);
        return;
    }
    merge(files->marks, files->root, part);
}

void config_files_fini(struct config_files *files)
{
    json_decref(files->root);
    for (size_t i = 0; i < files->part_count; i++) {
        json_decref(files->part[i]);
    }
    yaml_marks_destroy(files->marks);
    *files = (struct config_files){.root = NULL};
}

/* ---- typed reading ---- */

static const char *full_key(const struct config_section *section, const char *key, char *out,
                            size_t out_size)
{
    if (!str_format(out, out_size, "%s%s%s", section->path, *section->path != '\0' ? "." : "",
                    key)) {
        return key;
    }
    return out;
}

static const struct yaml_mark *key_mark(const struct config_section *section, const char *key)
{
    return section->marks == NULL ? NULL : yaml_mark_key(section->marks, section->json, key);
}

void config_complain(const struct config_section *section, enum config_severity severity,
                     const char *key, const char *format, ...)
{
    char text[768];
    char path[192];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args); /* cut is fine */
    va_end(args);
    const struct yaml_mark *where = key_mark(section, key);
    if (where == NULL) {
        where = section->where;
    }
    config_report_at(section->report, severity, where, full_key(section, key, path, sizeof(path)),
                     "%s", text);
}

/* The value is of the wrong kind: whatever follows from its absence is not told as well. */
static void complain_kind(const struct config_section *section, const char *key, const char *text)
{
    char path[192];
    const struct yaml_mark *where = key_mark(section, key);
    config_report_settle(section->report, where != NULL ? where : section->where,
                         full_key(section, key, path, sizeof(path)), text);
}

struct config_section config_subsection(const struct config_section *section, const char *key)
{
    char path[192];
    struct config_section sub = *section;
    const char *own = arena_strdup(section->arena, full_key(section, key, path, sizeof(path)));
    sub.path = own != NULL ? own : key;
    sub.json = json_object_get(section->json, key);
    const struct yaml_mark *where = key_mark(section, key);
    sub.where = where != NULL ? where : section->where;
    if (sub.json != NULL && !json_is_object(sub.json)) {
        if (!json_is_null(sub.json)) {
            complain_kind(section, key, "is not a map; remedy: write its keys below it, indented");
        }
        sub.json = NULL;
    }
    return sub;
}

static const char *as_text(const struct config_section *section, const json_t *value,
                           const struct yaml_mark *mark)
{
    if (value == NULL || json_is_null(value) || json_is_object(value) || json_is_array(value)) {
        return NULL;
    }
    const char *text = mark != NULL && mark->raw != NULL ? arena_strdup(section->arena, mark->raw)
                                                         : json_scalar_text(value, section->arena);
    ASSERT(text != NULL); /* arenas of configurations are larger than any file */
    return text;
}

const char *config_value_text(const struct config_section *section, const char *key)
{
    return as_text(section, json_object_get(section->json, key), key_mark(section, key));
}

const char *config_text(const struct config_section *section, const char *key)
{
    const json_t *value = json_object_get(section->json, key);
    if (json_is_object(value) || json_is_array(value)) {
        complain_kind(section, key, "is not a text; remedy: write one value");
        return NULL;
    }
    return config_value_text(section, key);
}

const char *config_text_or(const struct config_section *section, const char *key,
                           const char *fallback)
{
    const char *text = config_text(section, key);
    return text != NULL ? text : fallback;
}

const char *config_item_text(const struct config_section *section, const json_t *list, size_t index)
{
    const struct yaml_mark *mark =
        section->marks == NULL ? NULL : yaml_mark_item(section->marks, list, index);
    return as_text(section, json_array_get(list, index), mark);
}

bool config_bool(const struct config_section *section, const char *key, bool fallback)
{
    const json_t *value = json_object_get(section->json, key);
    bool yes;
    if (value == NULL || json_is_null(value)) {
        return fallback;
    }
    if (!units_json_bool(value, &yes)) {
        config_complain(section, CONFIG_ERROR, key,
                        "is not true or false; remedy: write one of them");
        return fallback;
    }
    return yes;
}
