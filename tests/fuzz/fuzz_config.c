/* A configuration file by way of config_load, and what it comes to with a /config of the store, which
 * stands behind a form feed. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "codec/json.h"
#include "config/config.h"

static void effective(const struct config *config, const char *dynamic, size_t size)
{
    struct arena arena __attribute__((cleanup(arena_fini)));
    arena_init(&arena, (size_t)4 * 1024 * 1024);
    struct config_report report;
    config_report_init(&report);
    json_t *tree = dynamic != NULL ? json_read_object(dynamic, size) : NULL;
    struct pg_config pg;
    (void)!config_effective(config, tree, &arena, &pg, &report);
    json_decref(tree);
    config_report_fini(&report);
}

static void load(const char *path, enum config_purpose purpose, const char *dynamic, size_t size)
{
    struct config_report report;
    config_report_init(&report);
    struct config *config = NULL;
    enum err err = config_load(path, NULL, purpose, &config, &report);
    ASSERT((err == ERR_OK) == (config != NULL));
    ASSERT((err == ERR_OK) == (report.error_count == 0)); /* what is refused is explained */
    ASSERT(report.count <= CONFIG_MESSAGES_MAX);
    if (config != NULL && purpose == CONFIG_FOR_AGENT) {
        ASSERT(config->scope[0] != '\0' && config->name[0] != '\0' && config->data_dir[0] != '\0');
        effective(config, dynamic, size);
    }
    config_destroy(config);
    config_report_fini(&report);
}

void fuzz_config(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = fuzz_text(data, size);
    char *cut = memchr(text, '\f', size);
    size_t file_size = cut != NULL ? (size_t)(cut - text) : size;
    const char *dynamic = cut != NULL ? cut + 1 : NULL;
    size_t dynamic_size = cut != NULL ? size - file_size - 1 : 0;
    AUTO_CLOSE int fd = memfd_create("config", MFD_CLOEXEC);
    ASSERT(fd >= 0 && write(fd, text, file_size) == (ssize_t)file_size);
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    load(path, CONFIG_FOR_AGENT, dynamic, dynamic_size);
    load(path, CONFIG_FOR_CTL, NULL, 0);
}
