/* SCHED_RESET_ON_FORK does the undoing: every child starts as an ordinary process, without a moment
 * in which it could run with the guard's priority. */
#include "guard/priority.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

/* Below the kernel's own threads that sit at 99 (migration, watchdog). */
#define REALTIME_PRIORITY 90
#define NICE_BEST (-20)
#define OOM_SCORE_NEVER (-1000)
#define OOM_PATH "/proc/self/oom_score_adj"
#define STACK_TOUCH_BYTES 16000            /* the deepest is a log line */
#define MEMLOCK_BYTES (16UL * 1024 * 1024) /* several times what the guard has */

static bool oom_read(int64_t *out_score)
{
    char text[32];
    AUTO_CLOSE int fd = open(OOM_PATH, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (length <= 0) {
        return false;
    }
    text[length - 1] = '\0'; /* the line's end */
    return str_to_i64(text, out_score);
}

static bool oom_write(int64_t score)
{
    char text[32];
    AUTO_CLOSE int fd = open(OOM_PATH, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || !str_format(text, sizeof(text), "%lld", (long long)score)) {
        return false;
    }
    return write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static void raise_limit(__rlimit_resource_t resource, rlim_t value)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) == 0 && limit.rlim_cur < value) {
        limit.rlim_cur = value;
        limit.rlim_max = limit.rlim_max < value ? value : limit.rlim_max;
        (void)setrlimit(resource, &limit); /* not allowed: the result tells */
    }
}

static void take_scheduler(struct priority *out)
{
    struct sched_param param = {.sched_priority = REALTIME_PRIORITY};
    struct rlimit limit;
    if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) != 0 &&
        getrlimit(RLIMIT_RTPRIO, &limit) == 0 && limit.rlim_cur > 0) {
        param.sched_priority = (int)(limit.rlim_cur < 99 ? limit.rlim_cur : 99);
        (void)sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param); /* read back below */
    }
    if ((sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) == SCHED_FIFO) {
        (void)sched_getparam(0, &param); /* own process: cannot fail */
        out->kind = CONTROL_PRIORITY_REALTIME;
        out->value = param.sched_priority;
        return;
    }
    (void)setpriority(PRIO_PROCESS, 0, NICE_BEST); /* read back below */
    const struct sched_param plain = {.sched_priority = 0};
    (void)sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &plain);
    out->value = getpriority(PRIO_PROCESS, 0);
    out->kind = out->value < 0 ? CONTROL_PRIORITY_NICE : CONTROL_PRIORITY_PLAIN;
}

/* The stack that the deepest call needs, present and locked before it is needed. */
static void __attribute__((noinline)) touch_stack(void)
{
    volatile char stack[STACK_TOUCH_BYTES];
    for (size_t i = 0; i < sizeof(stack); i += 1024) {
        stack[i] = 0;
    }
}

bool priority_lock_image(void)
{
    /* The linker's names for where the program begins and ends.
     * NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
    extern char __executable_start[];
    extern char end[];
    const uintptr_t from = (uintptr_t)__executable_start;
    return mlock(__executable_start, (uintptr_t)end - from) == 0;
}

void priority_take(struct priority *out_priority)
{
    struct priority taken = {.kind = CONTROL_PRIORITY_PLAIN};
    raise_limit(RLIMIT_RTPRIO, REALTIME_PRIORITY);
    raise_limit(RLIMIT_NICE, 40); /* the limit for nice -20 */
    raise_limit(RLIMIT_MEMLOCK, MEMLOCK_BYTES);
    take_scheduler(&taken);
    touch_stack();
    /* The program itself and what is used of stack and heap; the rest when it is first touched. */
    bool on_fault = mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
    taken.memory_locked = priority_lock_image() && on_fault;
    (void)oom_read(&taken.oom_score_before); /* unreadable: 0, everybody's value */
    taken.oom_protected = oom_write(OOM_SCORE_NEVER) || (oom_read(&taken.oom_score_before) &&
                                                         taken.oom_score_before == OOM_SCORE_NEVER);
    *out_priority = taken;
}

enum err priority_drop_root(const struct priority_user *user, struct err_detail *detail)
{
    ASSERT(user->groups_count <= PRIORITY_GROUPS_MAX);
    if (!user->set || (getuid() == user->uid && geteuid() == user->uid)) {
        return ERR_OK;
    }
    if (user->uid == 0) {
        return err_set(detail, ERR_INVALID, "PostgreSQL refuses to run as root");
    }
    if (setgroups(user->groups_count, user->groups) != 0 ||
        setresgid(user->gid, user->gid, user->gid) != 0 ||
        setresuid(user->uid, user->uid, user->uid) != 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "cannot become user %u", user->uid);
    }
    if (setresuid((uid_t)-1, 0, (uid_t)-1) == 0) {
        return err_set(detail, ERR_REFUSED, "root could be had back");
    }
    /* A change of user hides a process' /proc entries from that very user; the agent needs ours. */
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    return ERR_OK;
}

void priority_reset_child(int64_t oom_score, bool reset_limits)
{
    (void)oom_write(oom_score); /* raising is always allowed; as good as it gets */
    if (reset_limits) {
        const struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_RTPRIO, &none); /* lowering is always allowed */
        (void)setrlimit(RLIMIT_NICE, &none);
    }
}
