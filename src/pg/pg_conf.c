/* postgresql.conf is generated whole from the configuration and the upstream; what a person wrote
 * lives in postgresql.base.conf, which it includes. Everything here may run in the pool. */
#include "pg/pg_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "codec/conninfo.h"

#define SECTION_MARK "# recovery.conf\n"

static const char *conf_dir(const struct pg *pg)
{
    return pg->config.config_dir != NULL && pg->config.config_dir[0] != '\0' ? pg->config.config_dir
                                                                             : pg->config.data_dir;
}

bool pg_conf_config_dir_apart(const struct pg *pg)
{
    return !str_equal(conf_dir(pg), pg->config.data_dir);
}

/* 0600 in a data directory, 0640 when its group may read it; outside as the umask has it. */
static mode_t file_mode(const struct pg *pg)
{
    struct stat st;
    if (stat(pg->config.data_dir, &st) == 0 && (st.st_mode & 0050) == 0050) {
        return 0640;
    }
    return 0600;
}

/* ---- connection strings ---- */

bool pg_conf_conninfo(const struct pg *pg, const struct pg_source *source,
                      const struct pg_credentials *credentials, const char *passfile,
                      const char *dbname, char out[PG_CONNINFO_SIZE])
{
    struct conninfo_item items[32];
    size_t count = 0;
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", source->port); /* five digits fit */
    items[count++] = (struct conninfo_item){"dbname", dbname};
    items[count++] = (struct conninfo_item){"user", credentials->username};
    items[count++] = (struct conninfo_item){"passfile", passfile};
    items[count++] = (struct conninfo_item){"host", source->host};
    items[count++] = (struct conninfo_item){"port", port};
    items[count++] = (struct conninfo_item){"sslmode", credentials->sslmode};
    items[count++] = (struct conninfo_item){"application_name", pg->config.name};
    for (size_t i = 0; i < credentials->option_count && count < 26; i++) {
        items[count++] =
            (struct conninfo_item){credentials->options[i].name, credentials->options[i].value};
    }
    items[count++] = (struct conninfo_item){"sslmode", "prefer"};
    items[count++] = (struct conninfo_item){"gssencmode", "prefer"};
    items[count++] = (struct conninfo_item){"channel_binding", "prefer"};
    return conninfo_format(items, count, out, PG_CONNINFO_SIZE);
}

enum err pg_conf_write_passfile(const struct pg *pg, const char *path,
                                const struct pg_source *source,
                                const struct pg_credentials *credentials, struct err_detail *detail)
{
    (void)pg;
    if (credentials->password == NULL || credentials->password[0] == '\0') {
        return ERR_OK;
    }
    char line[2048];
    if (!conninfo_pgpass(source->host, source->port, credentials->username, credentials->password,
                         line, sizeof(line))) {
        return err_set(detail, ERR_INVALID, "a password or a name is too long");
    }
    enum err err = pg_file_write(path, line, 0600, false, detail);
    explicit_bzero(line, sizeof(line));
    return err;
}

/* ---- the main file ---- */

static const char *parameter(const struct pg *pg, const char *name)
{
    for (size_t i = 0; i < pg->config.parameter_count; i++) {
        if (pgconf_same_name(pg->config.parameters[i].name, name)) {
            return pg->config.parameters[i].value;
        }
    }
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    const struct pg_parameter *x = a;
    const struct pg_parameter *y = b;
    return strcmp(x->name, y->name);
}

static enum err settings_add(const struct pg *pg, struct arena *arena, struct pgconf_text *text)
{
    size_t most = pg->config.parameter_count + pg->config.controlled_count + 2;
    struct pg_parameter *list = arena_alloc(arena, most * sizeof(*list));
    if (list == NULL) {
        return ERR_NO_MEMORY;
    }
    size_t count = 0;
    for (size_t i = 0; i < pg->config.parameter_count; i++) {
        const struct pg_parameter *at = &pg->config.parameters[i];
        if (!pgconf_is_command_line(at->name) && !pgconf_is_recovery(at->name) &&
            at->value != NULL) {
            list[count++] = *at;
        }
    }
    for (size_t i = 0; i < pg->config.controlled_count; i++) {
        const struct pg_parameter *at = &pg->config.controlled[i];
        if (at->value != NULL) { /* as on the command line: a reload must find nothing to change */
            list[count++] = *at;
        }
    }
    /* design section 7: a walreceiver that waits 5 s holds up both its stream and a promotion */
    if (parameter(pg, "wal_retrieve_retry_interval") == NULL) {
        list[count++] = (struct pg_parameter){"wal_retrieve_retry_interval", "200ms"};
    }
    qsort(list, count, sizeof(*list), by_name);
    for (size_t i = 0; i < count; i++) {
        pgconf_text_setting(text, list[i].name, list[i].value);
    }
    return ERR_OK;
}

static void recovery_add(const struct pg *pg, const struct pg_source *upstream,
                         struct pgconf_text *text, char conninfo[PG_CONNINFO_SIZE])
{
    conninfo[0] = '\0';
    pgconf_text_add(text, SECTION_MARK);
    char name[NAME_SIZE] = "";
    if (upstream != NULL) {
        str_set(name, sizeof(name), upstream->name);
        name[strcspn(name, "\r\n")] = '\0'; /* a line break would end the comment */
    }
    pgconf_text_add(text, PGCONF_UPSTREAM_FORMAT, name);
    static const char *const targets[] = {"recovery_target", "recovery_target_lsn",
                                          "recovery_target_name", "recovery_target_time",
                                          "recovery_target_xid"};
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        pgconf_text_setting(text, targets[i], "");
    }
    pgconf_text_setting(text, "recovery_target_timeline", "latest");
    for (size_t i = 0; i < pg->config.recovery_count; i++) {
        const struct pg_parameter *at = &pg->config.recovery[i];
        if (!pgconf_is_recovery_forbidden(at->name) && at->value != NULL) {
            pgconf_text_setting(text, at->name, at->value);
        }
    }
    for (size_t i = 0; i < pg->config.parameter_count; i++) {
        const struct pg_parameter *at = &pg->config.parameters[i];
        if (pgconf_is_recovery(at->name) && !pgconf_is_recovery_forbidden(at->name) &&
            at->value != NULL) {
            pgconf_text_setting(text, at->name, at->value);
        }
    }
    if (upstream == NULL) {
        return;
    }
    const struct pg_credentials *credentials = &pg->config.replication;
    bool secret = credentials->password != NULL && credentials->password[0] != '\0';
    if (!pg_conf_conninfo(pg, upstream, credentials, secret ? pg->config.pgpass : NULL,
                          pg->config.database, conninfo)) {
        text->full = true;
        return;
    }
    pgconf_text_setting(text, "primary_conninfo", conninfo);
    if (pg->config.use_slots) {
        pgconf_text_setting(text, "primary_slot_name", pg->slot_name);
    }
}

/* section: taken over as it is; NULL: built for the upstream, or left out on a primary. */
static enum err main_render(const struct pg *pg, struct arena *arena, struct pgconf_text *text,
                            const char *section)
{
    pgconf_text_add(
        text, "# Do not edit this file by hand: it is written anew again and again.\n"
              "# Settings belong into the cluster's configuration (holdfast ctl edit-config).\n");
    pgconf_text_add(text, "include 'postgresql.base.conf'\n\n");
    enum err err = settings_add(pg, arena, text);
    if (err != ERR_OK) {
        return err;
    }
    char path[PATH_SIZE];
    static const char *const files[][2] = {{"hba_file", "pg_hba.conf"},
                                           {"ident_file", "pg_ident.conf"}};
    for (size_t i = 0; i < 2; i++) {
        if (parameter(pg, files[i][0]) == NULL &&
            str_format(path, sizeof(path), "%s/%s", conf_dir(pg), files[i][1])) {
            pgconf_text_setting(text, files[i][0], path);
        }
    }
    if (section != NULL) {
        pgconf_text_add(text, "%s", section);
    }
    return ERR_OK;
}

/* Writes when the content differs. */
static enum err file_update(const struct pg *pg, const char *path, const char *text,
                            bool *out_changed, struct err_detail *detail)
{
    AUTO_FREE char *old = malloc(PG_FILE_TEXT_SIZE);
    ASSERT(old != NULL);
    if (pg_file_read(path, old, PG_FILE_TEXT_SIZE) && str_equal(old, text)) {
        return ERR_OK;
    }
    *out_changed = true;
    return pg_file_write(path, text, file_mode(pg), false, detail);
}

static enum err lines_write(const struct pg *pg, const char *name, const char *const *lines,
                            size_t count, bool *out_changed, struct err_detail *detail)
{
    const char *guc = str_equal(name, "pg_hba.conf") ? "hba_file" : "ident_file";
    if (count == 0 || parameter(pg, guc) != NULL) {
        return ERR_OK;
    }
    AUTO_FREE char *buffer = malloc(PG_FILE_TEXT_SIZE);
    ASSERT(buffer != NULL);
    struct pgconf_text text;
    pgconf_text_init(&text, buffer, PG_FILE_TEXT_SIZE);
    pgconf_text_add(&text,
                    "# Do not edit this file by hand: it is written anew again and again.\n");
    for (size_t i = 0; i < count; i++) {
        if (lines[i] != NULL) {
            pgconf_text_add(&text, "%s\n", lines[i]);
        }
    }
    char path[PATH_SIZE];
    if (text.full || !str_format(path, sizeof(path), "%s/%s", conf_dir(pg), name)) {
        return err_set(detail, ERR_INVALID, "%s: too large", name);
    }
    return file_update(pg, path, buffer, out_changed, detail);
}

/* The first start in a directory: what was there becomes the base. */
static enum err base_keep(const struct pg *pg, const char *main_path, struct err_detail *detail)
{
    char base[PATH_SIZE];
    if (!str_format(base, sizeof(base), "%s/postgresql.base.conf", conf_dir(pg))) {
        return err_set(detail, ERR_INVALID, "path too long");
    }
    if (access(base, F_OK) == 0) {
        return ERR_OK;
    }
    if (rename(main_path, base) == 0) {
        return ERR_OK;
    }
    if (errno == ENOENT) {
        return pg_file_write(base, "", file_mode(pg), false, detail);
    }
    return err_set_errno(detail, ERR_INVALID, errno, "cannot rename %s", main_path);
}

static enum err auto_clean(const struct pg *pg, bool *out_changed, struct err_detail *detail)
{
    char path[PATH_SIZE];
    AUTO_FREE char *in = malloc(PG_FILE_TEXT_SIZE);
    AUTO_FREE char *out = malloc(PG_FILE_TEXT_SIZE);
    ASSERT(in != NULL && out != NULL);
    if (!str_format(path, sizeof(path), "%s/postgresql.auto.conf", pg->config.data_dir) ||
        !pg_file_read(path, in, PG_FILE_TEXT_SIZE)) {
        return ERR_OK;
    }
    struct pgconf_text text;
    pgconf_text_init(&text, out, PG_FILE_TEXT_SIZE);
    bool dropped = false;
    pgconf_auto_clean(in, &text, &dropped);
    if (!dropped || text.full) {
        return ERR_OK;
    }
    *out_changed = true;
    return pg_file_write(path, out, file_mode(pg), false, detail);
}

static enum err write_all(const struct pg *pg, struct arena *arena, const char *section,
                          bool *out_changed, struct err_detail *detail)
{
    char path[PATH_SIZE];
    AUTO_FREE char *buffer = malloc(PG_FILE_TEXT_SIZE);
    ASSERT(buffer != NULL);
    struct pgconf_text text;
    pgconf_text_init(&text, buffer, PG_FILE_TEXT_SIZE);
    enum err err = main_render(pg, arena, &text, section);
    if (err != ERR_OK) {
        return err_set(detail, err, "postgresql.conf: no memory");
    }
    if (text.full || !str_format(path, sizeof(path), "%s/postgresql.conf", conf_dir(pg))) {
        return err_set(detail, ERR_INVALID, "postgresql.conf: too large");
    }
    err = base_keep(pg, path, detail);
    if (err == ERR_OK) {
        err = file_update(pg, path, buffer, out_changed, detail);
    }
    if (err == ERR_OK) {
        err = lines_write(pg, "pg_hba.conf", pg->config.pg_hba, pg->config.pg_hba_count,
                          out_changed, detail);
    }
    if (err == ERR_OK) {
        err = lines_write(pg, "pg_ident.conf", pg->config.pg_ident, pg->config.pg_ident_count,
                          out_changed, detail);
    }
    return err == ERR_OK ? auto_clean(pg, out_changed, detail) : err;
}

static enum err signal_files(const struct pg *pg, bool as_primary, struct err_detail *detail)
{
    char path[PATH_SIZE];
    static const char *const stale[] = {"recovery.signal", "promote", "fallback_promote"};
    for (size_t i = 0; i < sizeof(stale) / sizeof(stale[0]); i++) {
        if (str_format(path, sizeof(path), "%s/%s", pg->config.data_dir, stale[i])) {
            (void)unlink(path); /* usually absent */
        }
    }
    if (!str_format(path, sizeof(path), "%s/standby.signal", pg->config.data_dir)) {
        return err_set(detail, ERR_INVALID, "path too long");
    }
    if (!as_primary) {
        return pg_file_write(path, "", file_mode(pg), false, detail);
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot remove %s", path);
    }
    return ERR_OK;
}

enum err pg_conf_apply(const struct pg *pg, struct arena *arena, const struct pg_source *upstream,
                       bool as_primary, char **out_conninfo, struct err_detail *detail)
{
    bool changed = false;
    ASSERT_IMPLIES(as_primary, upstream == NULL);
    AUTO_FREE char *buffer = malloc(PG_FILE_TEXT_SIZE);
    ASSERT(buffer != NULL);
    struct pgconf_text section;
    pgconf_text_init(&section, buffer, PG_FILE_TEXT_SIZE);
    char conninfo[PG_CONNINFO_SIZE] = "";
    enum err err = ERR_OK;
    if (!as_primary) {
        recovery_add(pg, upstream, &section, conninfo);
        if (section.full) {
            return err_set(detail, ERR_INVALID, "recovery settings: too large");
        }
        if (upstream != NULL) {
            err = pg_conf_write_passfile(pg, pg->config.pgpass, upstream, &pg->config.replication,
                                         detail);
        }
    }
    if (err == ERR_OK) {
        err = write_all(pg, arena, as_primary ? NULL : buffer, &changed, detail);
    }
    if (err == ERR_OK && out_conninfo != NULL) {
        *out_conninfo = arena_strdup(arena, conninfo);
        err = *out_conninfo != NULL ? ERR_OK : err_set(detail, ERR_NO_MEMORY, "conninfo");
    }
    return err == ERR_OK ? signal_files(pg, as_primary, detail) : err;
}

enum err pg_conf_rewrite(const struct pg *pg, struct arena *arena, bool *out_changed,
                         struct err_detail *detail)
{
    char path[PATH_SIZE];
    AUTO_FREE char *old = malloc(PG_FILE_TEXT_SIZE);
    ASSERT(old != NULL);
    old[0] = '\0';
    if (!str_format(path, sizeof(path), "%s/postgresql.conf", conf_dir(pg)) ||
        (!pg_file_read(path, old, PG_FILE_TEXT_SIZE) && access(path, F_OK) == 0)) {
        /* written without its recovery section a standby would follow nobody */
        return err_set(detail, ERR_INVALID, "cannot read %s", path);
    }
    return write_all(pg, arena, strstr(old, SECTION_MARK), out_changed, detail);
}

/* ---- backups ---- */

static const char *const backed_up[] = {"postgresql.conf", "postgresql.base.conf", "pg_hba.conf",
                                        "pg_ident.conf"};

void pg_conf_backup(const struct pg *pg)
{
    for (size_t i = 0; i < sizeof(backed_up) / sizeof(backed_up[0]); i++) {
        char from[PATH_SIZE];
        char to[PATH_SIZE];
        if (str_format(from, sizeof(from), "%s/%s", conf_dir(pg), backed_up[i]) &&
            str_format(to, sizeof(to), "%s/%s.backup", pg->config.data_dir, backed_up[i]) &&
            access(from, R_OK) == 0) {
            (void)!pg_file_copy(from, to,
                                NULL); /* a convenience for clones: its lack harms nothing */
        }
    }
}

void pg_conf_restore(const struct pg *pg)
{
    for (size_t i = 0; i < sizeof(backed_up) / sizeof(backed_up[0]); i++) {
        char from[PATH_SIZE];
        char to[PATH_SIZE];
        if (!str_format(from, sizeof(from), "%s/%s.backup", pg->config.data_dir, backed_up[i]) ||
            !str_format(to, sizeof(to), "%s/%s", conf_dir(pg), backed_up[i]) ||
            access(to, F_OK) == 0) {
            continue;
        }
        if (access(from, R_OK) == 0) {
            (void)!pg_file_copy(from, to, NULL); /* the start will say what it misses */
        } else if (str_equal(backed_up[i], "pg_ident.conf")) {
            (void)!pg_file_write(to, "", file_mode(pg), false, NULL); /* as above */
        }
    }
}
