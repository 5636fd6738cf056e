/* guard/page.h - the page of memory that guard and agent share.
 *
 * Purpose    the lease's deadline, epoch and seq survive the agent; what the guard enforces
 *            survives the guard; each side sees the other's heartbeat. Page and control socket are
 *            all that the two share.
 * Ownership  a sealed memfd of PAGE_FD_SIZE bytes, created by the guard, mapped by both; the
 *            descriptor is inherited over exec (HOLDFAST_PAGE_FD), so it lives as long as either.
 * Writers    each field has one writing side, named below. Facts of several words (the lease, the
 *            postmaster, identities) are a sequence lock with two slots: a reader never sees a
 *            mixture, and after the death of a writer in the middle reads the older, complete fact.
 *            Single words are written with release and read with acquire order.
 * Errors     page_create and page_attach only; all else cannot fail.
 * Units      *_ms and struct mono: CLOCK_BOOTTIME milliseconds.
 * Source     design section 2; INV-3, INV-4.
 */
#ifndef HOLDFAST_GUARD_PAGE_H
#define HOLDFAST_GUARD_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/time.h"

#define PAGE_MAGIC 0x484f4c4446415354ULL /* "HOLDFAST" */
#define PAGE_LAYOUT 1                    /* another layout: an upgrade in place is refused */
#define PAGE_FD_SIZE 4096

/* One complete fact about the lease, as the agent proved it. */
struct page_lease {
    struct mono deadline; /* the lease's end; MONO_ZERO: there is none */
    int64_t ttl_ms;       /* the stages are counted back from the deadline by it */
    uint64_t epoch;
    uint64_t seq; /* the largest seq ever sent in a write of `lease` in this epoch */
};

/* A file or directory that cannot be mistaken for another: never compared by name. */
struct page_inode {
    uint64_t dev;
    uint64_t ino; /* 0: unknown, equal to nothing */
};

/* Who the postmaster is. pid 0: none known. */
struct page_postmaster {
    int64_t pid;
    uint64_t start_ticks;      /* field 22 of /proc/PID/stat: tells a recycled pid */
    struct page_inode exe;     /* its executable, and ... */
    struct page_inode datadir; /* ... its data directory: what tells its orphans */
};

/* A process, safe against recycled pids. pid 0: none. */
struct page_process {
    int64_t pid;
    uint64_t start_ticks;
};

/* How far the guard went against the armed primary; never goes back while it is armed. */
enum page_fence {
    PAGE_FENCE_NONE,
    PAGE_FENCE_FAST, /* stage 1: fast shutdown ordered */
    PAGE_FENCE_HARD, /* stage 2: hard kill */
    PAGE_FENCE_COUNT
};

/* How the last postmaster ended. pid 0: none did under this guard. */
struct page_exit {
    int64_t pid;
    int64_t status; /* as of waitpid; -1: not our child, unknown */
    uint64_t orphans_killed;
    bool reaped; /* false: a zombie of that pid may stay for a while */
};

struct page; /* the mapped memory; layout in page.c */

/* Makes and maps a new page; the descriptor is close-on-exec. The caller owns both. */
enum err page_create(struct page **out_page, int *out_fd, struct err_detail *detail) MUST_CHECK;

/* Maps an inherited page; ERR_INVALID: not a page, or of another layout. */
enum err page_attach(int fd, struct page **out_page, struct err_detail *detail) MUST_CHECK;

/* Unmaps; accepts NULL. */
void page_detach(struct page *page);

/* agent writes, one thread of it; both read. */
void page_lease_write(struct page *page, const struct page_lease *lease);
void page_lease_read(const struct page *page, struct page_lease *out_lease);

/* guard writes (at the agent's order over the control socket). epoch 0: not armed. */
void page_armed_write(struct page *page, uint64_t epoch);
bool page_armed(const struct page *page, uint64_t *out_epoch);

/* guard writes. hard_at: when stage 2 follows a stage 1. */
void page_fence_write(struct page *page, enum page_fence fence, struct mono hard_at);
enum page_fence page_fence_read(const struct page *page, struct mono *out_hard_at);

/* guard writes. */
void page_postmaster_write(struct page *page, const struct page_postmaster *postmaster);
void page_postmaster_read(const struct page *page, struct page_postmaster *out_postmaster);
void page_exit_write(struct page *page, const struct page_exit *exit);
void page_exit_read(const struct page *page, struct page_exit *out_exit);
void page_guard_write(struct page *page, const struct page_process *guard);
void page_guard_read(const struct page *page, struct page_process *out_guard);
void page_agent_write(struct page *page, const struct page_process *agent);
void page_agent_read(const struct page *page, struct page_process *out_agent);

/* guard writes: the oom_score_adj that it had before it protected itself. */
void page_oom_write(struct page *page, int64_t score);
int64_t page_oom_read(const struct page *page);

/* Each side beats its own, reads the other's. */
void page_agent_beat(struct page *page, struct mono now);
struct mono page_agent_beat_read(const struct page *page);
void page_guard_beat(struct page *page, struct mono now);
struct mono page_guard_beat_read(const struct page *page);

#endif
