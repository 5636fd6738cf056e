/* net/loop.h - neighbours of the libuv loop: timers on the lease's clock, and process ends.
 *
 * Purpose    struct loop_timer fires at a moment of CLOCK_BOOTTIME (libuv's own timers stand still
 *            while the machine is suspended); struct loop_pidfd tells the end of any process, child
 *            or not, within milliseconds.
 * Ownership  both are embedded in their owner, which must stay until closed_cb.
 * Callbacks  never inside the call that started them; none after close, except closed_cb.
 * Errors     ERR_REFUSED with errno when the kernel gives no descriptor; ERR_INVALID when there is
 *            no such process.
 * Units      struct mono: CLOCK_BOOTTIME in milliseconds.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_NET_LOOP_H
#define HOLDFAST_NET_LOOP_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"
#include "base/time.h"

/* ---- timer ---- */

struct loop_timer {
    uv_poll_t poll;
    int fd;
    void (*fire_cb)(struct loop_timer *timer, void *arg);
    void (*closed_cb)(void *arg);
    void *arg;
};

/* Takes one descriptor; not armed. */
enum err loop_timer_init(uv_loop_t *loop, struct loop_timer *timer,
                         void (*fire_cb)(struct loop_timer *timer, void *arg), void *arg,
                         struct err_detail *detail) MUST_CHECK;

/* Fires once at or after that moment (a moment that has passed: on the next loop turn). Replaces
 * what was set; MONO_NEVER disarms. */
void loop_timer_set(struct loop_timer *timer, struct mono at);

/* closed_cb(arg) may be NULL; the struct may be freed in it. */
void loop_timer_close(struct loop_timer *timer, void (*closed_cb)(void *arg));

/* ---- end of a process ---- */

struct loop_pidfd {
    uv_poll_t poll;
    int fd;
    pid_t pid;
    void (*exit_cb)(struct loop_pidfd *watch, void *arg);
    void (*closed_cb)(void *arg);
    void *arg;
};

/* exit_cb fires once when the process has ended (it may still be a zombie: whoever is its parent
 * reaps it). Rejects a pid that does not exist with ERR_INVALID. */
enum err loop_pidfd_init(uv_loop_t *loop, struct loop_pidfd *watch, pid_t pid,
                         void (*exit_cb)(struct loop_pidfd *watch, void *arg), void *arg,
                         struct err_detail *detail) MUST_CHECK;

/* closed_cb(arg) may be NULL; the struct may be freed in it. */
void loop_pidfd_close(struct loop_pidfd *watch, void (*closed_cb)(void *arg));

#endif
