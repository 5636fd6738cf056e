/* INV-5: before WAL that only this server has is destroyed, its segments from the fork on and the
 * history files are copied into state_dir/wal-set-aside, fsynced, with a report for the person who
 * wants the lost transactions back. The oldest sets go first when all of them pass the bound. */
#include "pg/pg_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"

#define SETS_DIR "wal-set-aside"

struct segment {
    char name[40];
    uint64_t start;
    uint32_t timeline;
    int64_t bytes;
};

static int by_position(const void *a, const void *b)
{
    const struct segment *x = a;
    const struct segment *y = b;
    if (x->timeline != y->timeline) {
        return x->timeline < y->timeline ? -1 : 1;
    }
    return x->start < y->start ? -1 : x->start > y->start;
}

/* Where the local WAL ends as far as known; segments that begin later are recycled ones. */
static uint64_t local_end(const struct pg_job *job)
{
    if (job->local_running || job->local.kind == PGHISTORY_REPLICA || job->local.record_end == 0) {
        return UINT64_MAX;
    }
    return job->local.record_end;
}

static bool segment_wanted(const struct pg_job *job, const struct segment *segment)
{
    uint64_t size = job->control.wal_segment_bytes;
    if (segment->timeline > job->local.timeline) {
        return false; /* fetched from others */
    }
    if (segment->timeline == job->local.timeline && segment->start >= local_end(job)) {
        return false;
    }
    if (job->fork.timeline == 0) {
        return true; /* where they part is not known: all of it may be needed */
    }
    if (segment->timeline == job->fork.timeline) {
        return job->fork.lsn == UINT64_MAX || segment->start + size > job->fork.lsn;
    }
    return segment->timeline > job->fork.timeline;
}

/* The next name of the directory; *err tells an end that is none. What cannot be listed must not look
 * like nothing to keep: the WAL is destroyed after this. */
static const char *name_next(DIR *dir, const char *path, enum err *err, struct err_detail *detail)
{
    errno = 0;
    const struct dirent *entry = readdir(dir);
    if (entry == NULL && errno != 0) {
        *err = err_set_errno(detail, ERR_INVALID, errno, "cannot read %s", path);
    }
    return entry != NULL ? entry->d_name : NULL;
}

static enum err segments_list(struct pg_job *job, const char *wal_dir, struct segment **out_list,
                              size_t *out_count)
{
    DIR *dir = opendir(wal_dir);
    if (dir == NULL) {
        return errno == ENOENT ? ERR_OK : /* an earlier clone got no further */
                   err_set_errno(&job->detail, ERR_INVALID, errno, "cannot read %s", wal_dir);
    }
    size_t count = 0;
    size_t room = 0;
    struct segment *list = NULL;
    enum err err = ERR_OK;
    const char *name;
    while ((name = name_next(dir, wal_dir, &err, &job->detail)) != NULL) {
        struct segment segment = {0};
        struct stat st;
        if (!pghistory_segment_parse(name, job->control.wal_segment_bytes, &segment.timeline,
                                     &segment.start) ||
            !str_copy(segment.name, sizeof(segment.name), name) || !segment_wanted(job, &segment) ||
            fstatat(dirfd(dir), name, &st, 0) != 0) {
            continue; /* not WAL, not wanted, or recycled just now */
        }
        segment.bytes = st.st_size;
        if (count == room) {
            room = room == 0 ? 64 : room * 2;
            struct segment *more = realloc(list, room * sizeof(*list));
            ASSERT(more != NULL);
            list = more;
        }
        list[count++] = segment;
    }
    (void)closedir(dir); /* was only read */
    if (count > 0) {
        qsort(list, count, sizeof(*list), by_position);
    }
    *out_list = list;
    *out_count = count;
    return err;
}

/* ---- earlier sets ---- */

static int64_t set_bytes(const char *path)
{
    int64_t bytes = 0;
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char file[PATH_SIZE];
        struct stat st;
        if (str_format(file, sizeof(file), "%s/%s", path, entry->d_name) && stat(file, &st) == 0 &&
            S_ISREG(st.st_mode)) {
            bytes += st.st_size;
        }
    }
    if (dir != NULL) {
        (void)closedir(dir); /* was only read */
    }
    return bytes;
}

/* The names start with the time: the smallest is the oldest. */
static bool oldest_set(const char *sets, char out[PATH_SIZE], int64_t *out_all_bytes)
{
    DIR *dir = opendir(sets);
    bool found = false;
    char oldest[256] = "";
    const struct dirent *entry;
    *out_all_bytes = 0;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[PATH_SIZE];
        if (entry->d_name[0] == '.' ||
            !str_format(path, sizeof(path), "%s/%s", sets, entry->d_name)) {
            continue;
        }
        *out_all_bytes += set_bytes(path);
        if (!found || strcmp(entry->d_name, oldest) < 0) {
            str_copy_cut(oldest, sizeof(oldest), entry->d_name);
            found = true;
        }
    }
    if (dir != NULL) {
        (void)closedir(dir); /* was only read */
    }
    return found && str_format(out, PATH_SIZE, "%s/%s", sets, oldest);
}

static void sets_shrink(const char *sets, int64_t room_bytes)
{
    char oldest[PATH_SIZE];
    int64_t all = 0;
    while (oldest_set(sets, oldest, &all) && all > room_bytes) {
        if (pg_dir_clear(oldest, NULL) != ERR_OK || rmdir(oldest) != 0) {
            return; /* a file of somebody else: more is kept then */
        }
    }
}

/* ---- the copy ---- */

static enum err histories_copy(struct pg_job *job, const char *wal_dir)
{
    DIR *dir = opendir(wal_dir);
    if (dir == NULL) {
        return err_set_errno(&job->detail, ERR_INVALID, errno, "cannot read %s", wal_dir);
    }
    enum err err = ERR_OK;
    const char *name;
    while (err == ERR_OK && (name = name_next(dir, wal_dir, &err, &job->detail)) != NULL) {
        char from[PATH_SIZE];
        char to[PATH_SIZE];
        if (strlen(name) == 16 && str_equal(name + 8, ".history") &&
            str_format(from, sizeof(from), "%s/%s", wal_dir, name) &&
            str_format(to, sizeof(to), "%s/%s", job->wal_copy_dir, name)) {
            err = pg_file_copy(from, to, &job->detail);
        }
    }
    (void)closedir(dir); /* was only read */
    return err;
}

static enum err set_make(struct pg_job *job, const char *sets)
{
    struct wall now = wall_now();
    time_t seconds = (time_t)(now.ms / 1000);
    struct tm tm;
    char text[32];
    (void)gmtime_r(&seconds, &tm); /* cannot fail for a clock's own time */
    (void)strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", &tm);
    uint64_t lsn = job->fork.lsn == UINT64_MAX ? job->local.lsn : job->fork.lsn;
    if (!str_format(job->wal_copy_dir, sizeof(job->wal_copy_dir), "%s/%s-tl%u-%08X_%08X", sets,
                    text, job->local.timeline, (unsigned)(lsn >> 32), (unsigned)lsn)) {
        return err_set(&job->detail, ERR_INVALID, "path too long");
    }
    return pg_dir_make(job->wal_copy_dir, 0700, &job->detail);
}

static enum err segments_copy(struct pg_job *job, const char *wal_dir, const struct segment *list,
                              size_t count)
{
    int64_t bound = job->pg->config.set_aside_max_bytes;
    bool newest_first = job->fork.timeline == 0;
    for (size_t i = 0; i < count; i++) {
        const struct segment *segment = &list[newest_first ? count - 1 - i : i];
        char from[PATH_SIZE];
        char to[PATH_SIZE];
        if ((int64_t)job->wal_copy_bytes + segment->bytes > bound) {
            job->wal_copy_cut = true;
            break;
        }
        if (atomic_load(&job->canceled)) {
            return err_set(&job->detail, ERR_CANCELED, "interrupted");
        }
        if (!str_format(from, sizeof(from), "%s/%s", wal_dir, segment->name) ||
            !str_format(to, sizeof(to), "%s/%s", job->wal_copy_dir, segment->name)) {
            return err_set(&job->detail, ERR_INVALID, "path too long");
        }
        enum err err = pg_file_copy(from, to, &job->detail);
        if (err != ERR_OK) {
            return err;
        }
        job->wal_copy_bytes += (uint64_t)segment->bytes;
        job->wal_copy_files++;
    }
    return ERR_OK;
}

static enum err copy_all(struct pg_job *job)
{
    const struct pg_config *config = &job->pg->config;
    char wal_dir[PATH_SIZE];
    char sets[PATH_SIZE];
    if (!str_format(wal_dir, sizeof(wal_dir), "%s/pg_wal", config->data_dir) ||
        !str_format(sets, sizeof(sets), "%s/" SETS_DIR, config->state_dir)) {
        return err_set(&job->detail, ERR_INVALID, "path too long");
    }
    AUTO_FREE struct segment *list = NULL;
    size_t count = 0;
    enum err err = segments_list(job, wal_dir, &list, &count);
    if (err != ERR_OK || count == 0) {
        return err;
    }
    int64_t wanted = 0;
    for (size_t i = 0; i < count; i++) {
        wanted += list[i].bytes;
    }
    err = pg_dir_make(sets, 0700, &job->detail);
    if (err != ERR_OK) {
        return err;
    }
    sets_shrink(sets,
                wanted < config->set_aside_max_bytes ? config->set_aside_max_bytes - wanted : 0);
    err = set_make(job, sets);
    if (err == ERR_OK) {
        err = histories_copy(job, wal_dir);
    }
    if (err == ERR_OK) {
        err = segments_copy(job, wal_dir, list, count);
    }
    if (err == ERR_OK) {
        err = pg_dir_fsync(job->wal_copy_dir, &job->detail);
    }
    if (err == ERR_OK) {
        err = pg_dir_fsync(sets, &job->detail);
    }
    return err == ERR_OK ? pg_dir_fsync(config->state_dir, &job->detail) : err;
}

/* Step: nothing to do when nothing diverged, or when the configuration switched it off. */
enum pg_step pg_wal_copy(struct pg_job *job)
{
    if (job->verdict == PGHISTORY_SAME || job->pg->config.set_aside_max_bytes <= 0 ||
        !job->has_control || job->local.timeline == 0) {
        return PG_STEP_NEXT;
    }
    return pg_job_work(job, copy_all);
}

/* ---- the report ---- */

static void count_line(const char *line, bool from_stderr, void *arg)
{
    struct pg_job *job = arg;
    if (!from_stderr && strstr(line, "desc: COMMIT") != NULL) {
        job->transactions++;
    }
}

static void count_done(const struct pg_child_result *result, void *arg)
{
    (void)result; /* ends with an error at the end of WAL */
    pg_job_next(arg);
}

/* Step: the commits that the source has not, counted in the copy. */
enum pg_step pg_wal_count(struct pg_job *job)
{
    if (job->wal_copy_files == 0 || job->fork.timeline != job->local.timeline) {
        return PG_STEP_NEXT; /* across timelines pg_waldump cannot read in one run */
    }
    char binary[PATH_SIZE];
    char lsn[LSN_TEXT_SIZE];
    pg_binary(job->pg, "pg_waldump", binary);
    str_from_lsn(lsn, job->fork.lsn);
    const char *argv[] = {binary, "--rmgr=Transaction",
                          "-p",   job->wal_copy_dir,
                          "-t",   arena_printf(&job->arena, "%u", job->local.timeline),
                          "-s",   lsn,
                          NULL};
    struct pg_child_spawn spawn = {.argv = argv, .line_cb = count_line};
    return pg_job_spawn(job, &spawn, count_done);
}

static enum err report_write(struct pg_job *job)
{
    char path[PATH_SIZE];
    char text[2048];
    char fork_lsn[LSN_TEXT_SIZE];
    char end_lsn[LSN_TEXT_SIZE];
    str_from_lsn(fork_lsn, job->fork.lsn == UINT64_MAX ? 0 : job->fork.lsn);
    str_from_lsn(end_lsn, job->local.record_end != 0 ? job->local.record_end : job->local.lsn);
    if (!str_format(path, sizeof(path), "%s/report.txt", job->wal_copy_dir) ||
        !str_format(text, sizeof(text),
                    "member: %s\nsystem_identifier: %" PRIu64 "\nsource: %s\n"
                    "local_timeline: %u\nsource_timeline: %u\nfork_timeline: %u\nfork_lsn: %s\n"
                    "end_lsn: %s\nsegments: %u\nbytes: %" PRIu64 "\ncomplete: %s\n"
                    "transactions: %" PRIu64 "%s\n",
                    job->pg->config.name, job->control.sysid, job->source.name, job->local.timeline,
                    job->source_timeline, job->fork.timeline, fork_lsn, end_lsn,
                    job->wal_copy_files, job->wal_copy_bytes,
                    job->wal_copy_cut ? "no (bound reached)" : "yes", job->transactions,
                    job->fork.timeline == job->local.timeline ? "" : " (not counted)")) {
        return err_set(&job->detail, ERR_INVALID, "path too long");
    }
    return pg_file_write(path, text, 0600, true, &job->detail);
}

/* Step. */
enum pg_step pg_wal_report(struct pg_job *job)
{
    if (job->wal_copy_files == 0) {
        return PG_STEP_NEXT;
    }
    char fork_lsn[LSN_TEXT_SIZE];
    char end_lsn[LSN_TEXT_SIZE];
    str_from_lsn(fork_lsn, job->fork.lsn == UINT64_MAX ? 0 : job->fork.lsn);
    str_from_lsn(end_lsn, job->local.record_end != 0 ? job->local.record_end : job->local.lsn);
    log_warn("postgres_wal_set_aside",
             "dir=%s timeline=%u fork_lsn=%s end_lsn=%s bytes=%" PRIu64 " transactions=%" PRIu64
             " complete=%d",
             job->wal_copy_dir, job->local.timeline, fork_lsn, end_lsn, job->wal_copy_bytes,
             job->transactions, job->wal_copy_cut ? 0 : 1);
    return pg_job_work(job, report_write);
}
