/* The host's end of the line: bytes to and from a descriptor, and sleep while there is nothing to do. */
#include "mcu.h"
#include <poll.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_WAIT_US = 20000 };

static void send_out(mg_uart *u) {
    uint64_t sent = 0;
    while (sent < u->out_length) {
        ssize_t n = write(u->host_fd, u->out + sent, u->out_length - sent);
        if (n <= 0)
            break;
        sent += (uint64_t)n;
    }
    for (uint64_t i = sent; i < u->out_length; i++)
        u->out[i - sent] = u->out[i];
    u->out_length -= sent;
}

static void take_in(mg_mcu *m, mg_uart *u) {
    uint64_t at = u->head % MG_FIFO, room = MG_FIFO - (u->head - u->tail);
    if (room > MG_FIFO - at)
        room = MG_FIFO - at;
    if (!room)
        return;
    ssize_t n = read(u->host_fd, u->fifo + at, room);
    if (n == 0) /* a pty without a reader says EIO and is not closed */
        m->closed = m->attention = 1;
    if (n <= 0)
        return;
    /* A probe forwards after a USB frame, 1 ms: between an answer and the next question a board can boot. */
    if (u->head == u->tail)
        u->rx_at = mg_latest(u->rx_at, m->cycles + m->hz / 1000 + u->byte_cycles);
    u->head += (uint64_t)n;
}

void mg_poll_host(mg_mcu *m) {
    struct pollfd commands[] = {{m->uart.control_fd, POLLIN, 0}, {m->uart.debug_fd, POLLIN, 0}};
    send_out(&m->uart);
    take_in(m, &m->uart);
    if (poll(commands, 2, 0) > 0)
        m->attention = 1;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void listen_to(fd_set *fds, int fd) {
    if (fd >= 0)
        FD_SET(fd, fds);
}

static void pass(mg_mcu *m, uint64_t since_ns, uint64_t began, uint64_t until) {
    uint64_t now = began + (now_ns() - since_ns) * mg_latest(m->hz / 1000000, 1) / 1000 + 1;
    m->cycles = mg_latest(m->cycles, now < until ? now : until);
}

/* Sleep until a byte or a command comes, at most to a cycle. Board time follows the wall clock, and what has
 * come arrives when it is seen: counted from the sleep's begin, bytes would be due all at once. */
void mg_wait_host(mg_mcu *m, uint64_t until) {
    uint64_t head = m->uart.head, start = now_ns(), began = m->cycles;
    uint64_t us = (until - began) / mg_latest(m->hz / 1000000, 1);
    struct timeval most = {0, (long)(us < LONGEST_WAIT_US ? us : LONGEST_WAIT_US)};
    fd_set fds;
    FD_ZERO(&fds);
    listen_to(&fds, m->uart.host_fd);
    listen_to(&fds, m->uart.control_fd);
    listen_to(&fds, m->uart.debug_fd);
    int ready = select(FD_SETSIZE, &fds, 0, 0, &most);
    pass(m, start, began, until);
    mg_poll_host(m);
    if (ready > 0 && head == m->uart.head && !m->attention) {
        select(0, 0, 0, 0, &most); /* a pty that nobody has opened is always "ready" */
        pass(m, start, began, until);
    }
}
