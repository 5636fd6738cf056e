/* The kernel's own descriptors (timerfd on CLOCK_BOOTTIME, pidfd) hang on polls of the loop, so
 * that nothing wakes up before there is something to tell. */
#include "net/loop.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"

/* ---- timer ---- */

static void timer_ready(uv_poll_t *poll, int status, int events)
{
    (void)status; /* a broken timerfd reads as fired: the owner looks at the clock anyway */
    (void)events;
    struct loop_timer *timer = poll->data;
    uint64_t fired = 0;
    ssize_t got = read(timer->fd, &fired, sizeof fired);
    if (got < 0 && errno == EAGAIN) {
        return; /* set anew between the event and this call */
    }
    timer->fire_cb(timer, timer->arg);
}

enum err loop_timer_init(uv_loop_t *loop, struct loop_timer *timer,
                         void (*fire_cb)(struct loop_timer *timer, void *arg), void *arg,
                         struct err_detail *detail)
{
    ASSERT(fire_cb != NULL);
    AUTO_CLOSE int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0) {
        return err_set_errno(detail, ERR_REFUSED, errno, "timerfd_create");
    }
    *timer = (struct loop_timer){.fd = fd, .fire_cb = fire_cb, .arg = arg};
    int rc = uv_poll_init(loop, &timer->poll, fd);
    if (rc == 0) {
        timer->poll.data = timer;
        rc = uv_poll_start(&timer->poll, UV_READABLE, timer_ready);
    }
    if (rc != 0) {
        return err_set(detail, ERR_REFUSED, "timer: %s", uv_strerror(rc));
    }
    fd = -1;
    return ERR_OK;
}

void loop_timer_set(struct loop_timer *timer, struct mono at)
{
    struct itimerspec spec = {0};
    if (at.ms != MONO_NEVER.ms) {
        int64_t ms = at.ms > 0 ? at.ms : 1; /* zero would disarm */
        spec.it_value.tv_sec = ms / 1000;
        spec.it_value.tv_nsec = (ms % 1000) * 1000000;
    }
    int rc = timerfd_settime(timer->fd, TFD_TIMER_ABSTIME, &spec, NULL);
    ASSERT(rc == 0);
}

static void timer_closed(uv_handle_t *handle)
{
    struct loop_timer *timer = handle->data;
    if (timer->closed_cb != NULL) {
        timer->closed_cb(timer->arg);
    }
}

void loop_timer_close(struct loop_timer *timer, void (*closed_cb)(void *arg))
{
    ASSERT(timer->fd >= 0);
    timer->closed_cb = closed_cb;
    (void)uv_poll_stop(&timer->poll); /* cannot fail on a poll that was started */
    (void)close(timer->fd);
    timer->fd = -1;
    uv_close((uv_handle_t *)&timer->poll, timer_closed);
}

/* ---- end of a process ---- */

static void pidfd_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct loop_pidfd *watch = poll->data;
    (void)uv_poll_stop(poll); /* stays readable for ever: once is enough */
    watch->exit_cb(watch, watch->arg);
}

enum err loop_pidfd_init(uv_loop_t *loop, struct loop_pidfd *watch, pid_t pid,
                         void (*exit_cb)(struct loop_pidfd *watch, void *arg), void *arg,
                         struct err_detail *detail)
{
    ASSERT(exit_cb != NULL);
    if (pid <= 0) {
        return err_set(detail, ERR_INVALID, "pid %d", (int)pid);
    }
    AUTO_CLOSE int fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */
    if (fd < 0) {
        return err_set_errno(detail, errno == ESRCH ? ERR_INVALID : ERR_REFUSED, errno,
                             "pidfd_open(%d)", (int)pid);
    }
    *watch = (struct loop_pidfd){.fd = fd, .pid = pid, .exit_cb = exit_cb, .arg = arg};
    int rc = uv_poll_init(loop, &watch->poll, fd);
    if (rc == 0) {
        watch->poll.data = watch;
        rc = uv_poll_start(&watch->poll, UV_READABLE, pidfd_ready);
    }
    if (rc != 0) {
        return err_set(detail, ERR_REFUSED, "pidfd: %s", uv_strerror(rc));
    }
    fd = -1;
    return ERR_OK;
}

static void pidfd_closed(uv_handle_t *handle)
{
    struct loop_pidfd *watch = handle->data;
    if (watch->closed_cb != NULL) {
        watch->closed_cb(watch->arg);
    }
}

void loop_pidfd_close(struct loop_pidfd *watch, void (*closed_cb)(void *arg))
{
    ASSERT(watch->fd >= 0);
    watch->closed_cb = closed_cb;
    (void)uv_poll_stop(&watch->poll); /* cannot fail on a poll that was started */
    (void)close(watch->fd);
    watch->fd = -1;
    uv_close((uv_handle_t *)&watch->poll, pidfd_closed);
}
