/* The agent orders, the guard refuses what would break an invariant: arming without a running
 * lease, disarming under a running primary, starting one that is fenced. */
#include "guard/guard.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/str.h"
#include "guard/lease.h"

void guard_control_close(struct guard *guard)
{
    if (guard->control_fd >= 0) {
        (void)close(guard->control_fd); /* packets in it are for nobody now */
        guard->control_fd = -1;
    }
}

void guard_control_send(struct guard *guard, const union control_answer *packet)
{
    if (guard->control_fd < 0) {
        return; /* no agent: the next one gets all in its HELLO */
    }
    ssize_t sent = send(guard->control_fd, packet, packet->head.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        /* A full socket belongs to a frozen agent, which is about to be replaced. */
        log_warn("control_not_sent", "type=%s errno=%d", control_name(packet->head.type), errno);
    }
}

void guard_control_hello(struct guard *guard)
{
    union control_answer packet;
    control_init(&packet, CONTROL_HELLO, 0);
    struct control_hello *hello = &packet.hello;
    hello->guard_pid = getpid();
    hello->priority = guard->priority.kind;
    hello->priority_value = guard->priority.value;
    hello->memory_locked = guard->priority.memory_locked;
    hello->oom_protected = guard->priority.oom_protected;
    (void)page_armed(guard->page, &hello->armed_epoch); /* 0 says not armed */
    hello->fence = guard_fence(guard);
    hello->postmaster_pid = guard->postmaster.id.pid;
    hello->postmaster_start_ticks = guard->postmaster.id.start_ticks;
    hello->postmaster_child = guard->postmaster.child;
    struct page_exit end;
    page_exit_read(guard->page, &end);
    hello->exit_pid = end.pid;
    hello->exit_status = end.status;
    hello->exit_reaped = end.reaped;
    hello->agent_restarts = guard->agent.restarts;
    str_copy_cut(hello->guard_version, sizeof(hello->guard_version), HOLDFAST_VERSION);
    guard_control_send(guard, &packet);
}

void guard_control_refuse(struct guard *guard, uint32_t id, enum err err,
                          const struct err_detail *detail)
{
    union control_answer packet;
    control_init(&packet, CONTROL_REFUSED, id);
    packet.refused.err = (int32_t)err;
    packet.refused.sys_errno = detail->sys_errno;
    str_copy_cut(packet.refused.text, sizeof(packet.refused.text), detail->text);
    guard_control_send(guard, &packet);
}

static enum err command_arm(struct guard *guard, uint64_t epoch, struct err_detail *detail)
{
    struct page_lease lease;
    page_lease_read(guard->page, &lease);
    uint64_t armed;
    if (guard_fence(guard) != PAGE_FENCE_NONE) {
        return err_set(detail, ERR_REFUSED, "fenced");
    }
    if (page_armed(guard->page, &armed) && armed > epoch) {
        return err_set(detail, ERR_REFUSED, "armed for the newer epoch %llu",
                       (unsigned long long)armed);
    }
    if (!lease_runs(&lease, epoch, mono_now())) {
        return err_set(detail, ERR_REFUSED, "no lease of this epoch runs");
    }
    page_fence_write(guard->page, PAGE_FENCE_NONE, MONO_ZERO); /* an earlier term's */
    page_armed_write(guard->page, epoch);
    log_info("armed", "epoch=%llu ttl_ms=%lld", (unsigned long long)epoch, (long long)lease.ttl_ms);
    return ERR_OK;
}

static enum err command_disarm(struct guard *guard, const struct control_disarm *disarm,
                               struct err_detail *detail)
{
    uint64_t armed;
    if (!page_armed(guard->page, &armed)) {
        return ERR_OK;
    }
    if (armed != disarm->epoch) {
        return err_set(detail, ERR_REFUSED, "armed for epoch %llu", (unsigned long long)armed);
    }
    bool runs = guard->postmaster.id.pid != 0;
    if (runs && guard_fence(guard) != PAGE_FENCE_NONE) {
        return err_set(detail, ERR_REFUSED, "being fenced");
    }
    if (runs && disarm->force_for_pause == 0) {
        return err_set(detail, ERR_REFUSED, "postmaster %lld runs",
                       (long long)guard->postmaster.id.pid);
    }
    page_armed_write(guard->page, 0); /* the fence counts only while armed */
    log_info("disarmed", "epoch=%llu for_pause=%u", (unsigned long long)armed,
             disarm->force_for_pause);
    return ERR_OK;
}

static enum err command_start(struct guard *guard, struct control_start *start,
                              struct err_detail *detail)
{
    uint64_t armed;
    (void)page_armed(guard->page, &armed); /* 0 says not armed */
    if (guard_fence(guard) != PAGE_FENCE_NONE) {
        return err_set(detail, ERR_CONFLICT, "fenced");
    }
    struct page_lease lease;
    page_lease_read(guard->page, &lease);
    if (start->armed_epoch != 0 &&
        (armed != start->armed_epoch || !lease_runs(&lease, armed, mono_now()))) {
        return err_set(detail, ERR_CONFLICT, "not armed for this epoch, or its lease has ended");
    }
    return guard_postgres_start(guard, start, detail);
}

static enum err command_stop(struct guard *guard, uint32_t mode, struct mono now,
                             struct err_detail *detail)
{
    if (guard->postmaster.id.pid == 0) {
        return err_set(detail, ERR_REFUSED, "no postmaster");
    }
    if (mode == CONTROL_STOP_FAST) {
        guard_postgres_fast(guard);
    } else {
        guard_postgres_hard(guard, now);
    }
    return ERR_OK;
}

static enum err command_leaving(struct guard *guard, const struct control_leaving *leaving,
                                struct err_detail *detail)
{
    guard->agent.announced_code = leaving->code;
    if (leaving->stranger != 0 && page_armed(guard->page, NULL)) {
        return err_set(detail, ERR_REFUSED, "armed: the server is this cluster's");
    }
    if (leaving->stranger != 0) {
        guard_postgres_forget(guard);
    }
    return ERR_OK;
}

static void obey(struct guard *guard, union control_packet *packet, struct mono now)
{
    struct err_detail detail = {.sys_errno = 0};
    enum err err = ERR_OK;
    switch ((enum control_type)packet->head.type) {
    case CONTROL_PING:
        break; /* the loop looks at the page after every wake */
    case CONTROL_START:
        err = command_start(guard, &packet->start, &detail);
        if (err == ERR_OK) {
            return; /* answered when the exec is seen */
        }
        break;
    case CONTROL_ADOPT:
        err = guard_postgres_adopt(guard, (pid_t)packet->adopt.pid, packet->adopt.start_ticks,
                                   &detail);
        if (err == ERR_OK) {
            guard_fence_again(guard, now);
        }
        break;
    case CONTROL_ARM:
        err = command_arm(guard, packet->arm.epoch, &detail);
        break;
    case CONTROL_DISARM:
        err = command_disarm(guard, &packet->disarm, &detail);
        break;
    case CONTROL_STOP:
        err = command_stop(guard, packet->stop.mode, now, &detail);
        break;
    case CONTROL_LEAVING:
        err = command_leaving(guard, &packet->leaving, &detail);
        break;
    case CONTROL_NONE:
    case CONTROL_DONE:
    case CONTROL_REFUSED:
    case CONTROL_STARTED:
    case CONTROL_HELLO:
    case CONTROL_EXITED:
    case CONTROL_FENCED:
    case CONTROL_UPGRADE:
    case CONTROL_TYPE_COUNT:
        err = err_set(&detail, ERR_INVALID, "no command");
        break;
    }
    if (err != ERR_OK) {
        log_warn("command_refused", "type=%s %s", control_name(packet->head.type), detail.text);
        guard_control_refuse(guard, packet->head.id, err, &detail);
        return;
    }
    union control_answer done;
    control_init(&done, CONTROL_DONE, packet->head.id);
    guard_control_send(guard, &done);
}

void guard_control_read(struct guard *guard, struct mono now)
{
    static union control_packet packet; /* too large for the stack of a locked process */
    ssize_t got = recv(guard->control_fd, &packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        guard_control_close(guard);
        guard->agent.mute_from = now;
        return;
    }
    struct err_detail detail = {.sys_errno = 0};
    if (control_check(&packet, (size_t)got, &detail) != ERR_OK) {
        log_warn("command_invalid", "%s", detail.text);
        if ((size_t)got >= sizeof(packet.head)) {
            guard_control_refuse(guard, packet.head.id, ERR_INVALID, &detail);
        }
        return;
    }
    obey(guard, &packet, now);
}
