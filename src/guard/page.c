/* A fact of several words lives in one of two slots; `turn` says in which. The writer fills the
 * slot that nobody is told to read and then moves `turn`, so a writer that dies half-way leaves the
 * older fact in place, and a reader that was overtaken sees `turn` moved and reads again. */
#include "guard/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"

#define SLOT_WORDS 6

struct slots {
    _Atomic uint64_t turn;
    _Atomic uint64_t words[2][SLOT_WORDS];
};

struct page {
    _Atomic uint64_t magic;
    _Atomic uint64_t layout;
    struct slots lease;      /* agent */
    struct slots postmaster; /* guard, and all below up to the agent's beat */
    struct slots exit;
    struct slots guard;
    struct slots agent;
    struct slots fence;
    _Atomic uint64_t armed_epoch;
    _Atomic uint64_t oom_score;
    _Atomic uint64_t guard_beat;
    _Atomic uint64_t agent_beat; /* agent */
};

_Static_assert(sizeof(struct page) <= PAGE_FD_SIZE, "one page of memory");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "shared between processes: no hidden locks");

static void slots_write(struct slots *slots, const uint64_t words[SLOT_WORDS])
{
    uint64_t turn = atomic_load_explicit(&slots->turn, memory_order_relaxed) + 1;
    /* Whoever sees one of the stores below also sees the last turn, and so that it was overtaken.
     */
    atomic_thread_fence(memory_order_release);
    for (int i = 0; i < SLOT_WORDS; i++) {
        atomic_store_explicit(&slots->words[turn & 1][i], words[i], memory_order_relaxed);
    }
    atomic_store_explicit(&slots->turn, turn, memory_order_release);
}

static void slots_read(const struct slots *slots, uint64_t words[SLOT_WORDS])
{
    for (;;) {
        uint64_t turn = atomic_load_explicit(&slots->turn, memory_order_acquire);
        for (int i = 0; i < SLOT_WORDS; i++) {
            words[i] = atomic_load_explicit(&slots->words[turn & 1][i], memory_order_relaxed);
        }
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&slots->turn, memory_order_relaxed) == turn) {
            return;
        }
    }
}

static enum err page_map(int fd, struct page **out_page, struct err_detail *detail)
{
    void *memory = mmap(NULL, PAGE_FD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot map the shared page");
    }
    *out_page = memory;
    return ERR_OK;
}

enum err page_create(struct page **out_page, int *out_fd, struct err_detail *detail)
{
    AUTO_CLOSE int fd = memfd_create("holdfast", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot create the shared page");
    }
    /* Sealed: no process can shrink it under the others (they would die of SIGBUS). */
    if (ftruncate(fd, PAGE_FD_SIZE) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot size the shared page");
    }
    struct page *page = NULL;
    enum err err = page_map(fd, &page, detail);
    if (err != ERR_OK) {
        return err;
    }
    atomic_store(&page->layout, PAGE_LAYOUT);
    atomic_store(&page->magic, PAGE_MAGIC);
    *out_page = page;
    *out_fd = fd;
    fd = -1;
    return ERR_OK;
}

enum err page_attach(int fd, struct page **out_page, struct err_detail *detail)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "descriptor %d", fd);
    }
    if (st.st_size != PAGE_FD_SIZE) {
        return err_set(detail, ERR_INVALID, "descriptor %d has %lld bytes, a page has %d", fd,
                       (long long)st.st_size, PAGE_FD_SIZE);
    }
    struct page *page = NULL;
    enum err err = page_map(fd, &page, detail);
    if (err != ERR_OK) {
        return err;
    }
    if (atomic_load(&page->magic) != PAGE_MAGIC || atomic_load(&page->layout) != PAGE_LAYOUT) {
        page_detach(page);
        return err_set(detail, ERR_INVALID, "descriptor %d is no page of layout %d", fd,
                       PAGE_LAYOUT);
    }
    *out_page = page;
    return ERR_OK;
}

void page_detach(struct page *page)
{
    if (page != NULL) {
        (void)munmap(page, PAGE_FD_SIZE); /* fails for no mapping of ours */
    }
}

void page_lease_write(struct page *page, const struct page_lease *lease)
{
    const uint64_t words[SLOT_WORDS] = {(uint64_t)lease->deadline.ms, (uint64_t)lease->ttl_ms,
                                        lease->epoch, lease->seq};
    slots_write(&page->lease, words);
}

void page_lease_read(const struct page *page, struct page_lease *out_lease)
{
    uint64_t words[SLOT_WORDS];
    slots_read(&page->lease, words);
    *out_lease = (struct page_lease){.deadline = {(int64_t)words[0]},
                                     .ttl_ms = (int64_t)words[1],
                                     .epoch = words[2],
                                     .seq = words[3]};
}

void page_armed_write(struct page *page, uint64_t epoch)
{
    atomic_store_explicit(&page->armed_epoch, epoch, memory_order_release);
}

bool page_armed(const struct page *page, uint64_t *out_epoch)
{
    uint64_t epoch = atomic_load_explicit(&page->armed_epoch, memory_order_acquire);
    if (out_epoch != NULL) {
        *out_epoch = epoch;
    }
    return epoch != 0;
}

void page_fence_write(struct page *page, enum page_fence fence, struct mono hard_at)
{
    ASSERT(fence < PAGE_FENCE_COUNT);
    const uint64_t words[SLOT_WORDS] = {(uint64_t)fence, (uint64_t)hard_at.ms};
    slots_write(&page->fence, words);
}

enum page_fence page_fence_read(const struct page *page, struct mono *out_hard_at)
{
    uint64_t words[SLOT_WORDS];
    slots_read(&page->fence, words);
    if (out_hard_at != NULL) {
        *out_hard_at = (struct mono){(int64_t)words[1]};
    }
    ASSERT(words[0] < PAGE_FENCE_COUNT);
    return (enum page_fence)words[0];
}

void page_postmaster_write(struct page *page, const struct page_postmaster *postmaster)
{
    const uint64_t words[SLOT_WORDS] = {(uint64_t)postmaster->pid, postmaster->start_ticks,
                                        postmaster->exe.dev,       postmaster->exe.ino,
                                        postmaster->datadir.dev,   postmaster->datadir.ino};
    slots_write(&page->postmaster, words);
}

void page_postmaster_read(const struct page *page, struct page_postmaster *out_postmaster)
{
    uint64_t words[SLOT_WORDS];
    slots_read(&page->postmaster, words);
    *out_postmaster = (struct page_postmaster){.pid = (int64_t)words[0],
                                               .start_ticks = words[1],
                                               .exe = {words[2], words[3]},
                                               .datadir = {words[4], words[5]}};
}

void page_exit_write(struct page *page, const struct page_exit *exit)
{
    const uint64_t words[SLOT_WORDS] = {(uint64_t)exit->pid, (uint64_t)exit->status,
                                        exit->orphans_killed, exit->reaped ? 1 : 0};
    slots_write(&page->exit, words);
}

void page_exit_read(const struct page *page, struct page_exit *out_exit)
{
    uint64_t words[SLOT_WORDS];
    slots_read(&page->exit, words);
    *out_exit = (struct page_exit){.pid = (int64_t)words[0],
                                   .status = (int64_t)words[1],
                                   .orphans_killed = words[2],
                                   .reaped = words[3] != 0};
}

static void process_write(struct slots *slots, const struct page_process *process)
{
    const uint64_t words[SLOT_WORDS] = {(uint64_t)process->pid, process->start_ticks};
    slots_write(slots, words);
}

static void process_read(const struct slots *slots, struct page_process *out_process)
{
    uint64_t words[SLOT_WORDS];
    slots_read(slots, words);
    *out_process = (struct page_process){.pid = (int64_t)words[0], .start_ticks = words[1]};
}

void page_guard_write(struct page *page, const struct page_process *guard)
{
    process_write(&page->guard, guard);
}

void page_guard_read(const struct page *page, struct page_process *out_guard)
{
    process_read(&page->guard, out_guard);
}

void page_agent_write(struct page *page, const struct page_process *agent)
{
    process_write(&page->agent, agent);
}

void page_agent_read(const struct page *page, struct page_process *out_agent)
{
    process_read(&page->agent, out_agent);
}

void page_oom_write(struct page *page, int64_t score)
{
    atomic_store_explicit(&page->oom_score, (uint64_t)score, memory_order_release);
}

int64_t page_oom_read(const struct page *page)
{
    return (int64_t)atomic_load_explicit(&page->oom_score, memory_order_acquire);
}

void page_agent_beat(struct page *page, struct mono now)
{
    atomic_store_explicit(&page->agent_beat, (uint64_t)now.ms, memory_order_release);
}

struct mono page_agent_beat_read(const struct page *page)
{
    return (struct mono){(int64_t)atomic_load_explicit(&page->agent_beat, memory_order_acquire)};
}

void page_guard_beat(struct page *page, struct mono now)
{
    atomic_store_explicit(&page->guard_beat, (uint64_t)now.ms, memory_order_release);
}

struct mono page_guard_beat_read(const struct page *page)
{
    return (struct mono){(int64_t)atomic_load_explicit(&page->guard_beat, memory_order_acquire)};
}
