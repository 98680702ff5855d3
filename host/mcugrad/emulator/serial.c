/* One USART wired to the host, and the DMA streams: bytes move in virtual time at BRR's rate. */
#include "mcu.h"
#include <poll.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

enum { UE = 1, RE = 4, TE = 8, IDLEIE = 16, RXNEIE = 32, TCIE = 64, TXEIE = 128, OVER8 = 1 << 15 };
enum { DMAR = 64, DMAT = 128 };
enum { ORE = 8, IDLE = 16, RXNE = 32, TC = 64, TXE = 128, TEACK = 1 << 21, REACK = 1 << 22 };
enum { EN = 1, DMEIE = 2, TEIE = 4, HTIE = 8, TCIE_DMA = 16, CIRC = 256, MINC = 1024 };
enum { TEIF = 8, HTIF = 16, TCIF = 32 };
enum { CR1 = 0, CR2 = 4, CR3 = 8, BRR = 12, RTOR = 20, RQR = 24, ISR = 28, ICR = 32, RDR = 36, TDR = 40 };
enum { LONGEST_WAIT_US = 20000 };

static uint64_t latest(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* host side */

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
    if (u->head == u->tail)
        u->rx_at = latest(u->rx_at, m->cycles + u->byte_cycles);
    u->head += (uint64_t)n;
}

void mg_poll_host(mg_mcu *m) {
    struct pollfd control = {m->uart.control_fd, POLLIN, 0};
    send_out(&m->uart);
    take_in(m, &m->uart);
    if (poll(&control, 1, 0) > 0)
        m->attention = 1;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Sleep until a byte or a command comes, at most so many cycles; returns the wall time slept, in cycles. */
uint64_t mg_wait_host(mg_mcu *m, uint64_t cycles) {
    uint64_t mhz = m->hz / 1000000, head = m->uart.head, start = now_ns();
    uint64_t us = cycles / mhz < LONGEST_WAIT_US ? cycles / mhz : LONGEST_WAIT_US;
    struct timeval most = {0, (long)us};
    fd_set fds;
    FD_ZERO(&fds);
    FD_SET(m->uart.host_fd, &fds);
    if (m->uart.control_fd >= 0)
        FD_SET(m->uart.control_fd, &fds);
    int ready = select(FD_SETSIZE, &fds, 0, 0, &most);
    mg_poll_host(m);
    if (ready > 0 && head == m->uart.head && !m->attention)
        select(0, 0, 0, 0, &most); /* a pty that nobody has opened is always "ready" */
    return (now_ns() - start) * mhz / 1000 + 1;
}

/* DMA */

static mg_stream *stream_for(mg_mcu *m, uint32_t par, bool receive) {
    for (mg_stream *s = m->streams; s < m->streams + MG_STREAMS; s++)
        if ((s->cr & EN) && s->par == par && ((s->cr >> 6) & 3) == (receive ? 0u : 1u) &&
            s->request == (receive ? s->rx_request : s->tx_request))
            return s;
    return 0;
}

static uint8_t *memory(mg_mcu *m, mg_stream *s) {
    uint32_t addr = s->m0ar + (s->cr & MINC ? s->reload - s->ndtr : 0);
    mg_region *r = mg_find(m, addr);
    bool fits = r && (r->flags & REGION_DMA) && !(s->cr & (0xF << 11));
    if (!fits) {
        s->flags |= TEIF;
        s->cr &= ~(uint32_t)EN;
    }
    return fits ? r->host + (addr - r->base) : 0;
}

static void count_down(mg_stream *s) {
    s->ndtr--;
    if (s->ndtr == s->reload / 2)
        s->flags |= HTIF;
    if (s->ndtr)
        return;
    s->flags |= TCIF;
    if (s->cr & CIRC)
        s->ndtr = s->reload;
    else
        s->cr &= ~(uint32_t)EN;
}

/* USART */

static void deliver(mg_mcu *m, uint8_t byte) {
    mg_uart *u = &m->uart;
    if (!u->clocked || !u->rx_pin || (u->cr1 & (UE | RE)) != (UE | RE)) {
        u->dropped++;
        return;
    }
    u->received++;
    u->idle_at = u->rx_at + u->byte_cycles;
    mg_stream *s = u->cr3 & DMAR ? stream_for(m, u->base + RDR, true) : 0;
    uint8_t *to = s ? memory(m, s) : 0;
    if (to) {
        *to = byte;
        count_down(s);
    } else if (u->isr & RXNE) {
        u->isr |= ORE;
        u->overruns++;
    } else {
        u->rdr = byte;
        u->isr |= RXNE;
    }
}

static void receive(mg_mcu *m) {
    mg_uart *u = &m->uart;
    while (u->head != u->tail && u->rx_at <= m->cycles) {
        deliver(m, u->fifo[u->tail++ % MG_FIFO]);
        u->rx_at += u->byte_cycles;
    }
    if (u->head == u->tail && u->idle_at <= m->cycles) {
        u->isr |= IDLE;
        u->idle_at = MG_NEVER;
    }
}

static bool can_send(const mg_uart *u) {
    return u->clocked && (u->cr1 & (UE | TE)) == (UE | TE);
}

static void transmit(mg_uart *u, uint64_t start, uint8_t byte) {
    u->tx_at = latest(start, u->tx_at) + u->byte_cycles;
    u->isr &= ~(uint32_t)TC;
    if (u->tx_pin && u->out_length < MG_FIFO) {
        u->out[u->out_length++] = byte;
        u->sent++;
    }
}

static void transmit_dma(mg_mcu *m) {
    mg_uart *u = &m->uart;
    mg_stream *s;
    while (can_send(u) && (u->cr3 & DMAT) && u->tx_at <= m->cycles + u->byte_cycles &&
           (s = stream_for(m, u->base + TDR, false))) {
        uint8_t *from = memory(m, s);
        if (!from)
            return;
        transmit(u, u->tx_since, *from);
        count_down(s);
    }
}

static bool txe(const mg_mcu *m) {
    return m->uart.tx_at <= m->cycles + m->uart.byte_cycles;
}

static uint64_t lines(mg_mcu *m) {
    mg_uart *u = &m->uart;
    uint32_t isr = u->isr | (txe(m) ? TXE : 0);
    uint32_t wants = (u->cr1 & (IDLEIE | RXNEIE | TCIE | TXEIE)) | ((u->cr1 & RXNEIE) ? ORE : 0);
    uint64_t raised = u->clocked && (isr & wants) ? 1 : 0; /* each enable has its flag's bit number */
    for (int i = 0; i < MG_STREAMS; i++) {
        mg_stream *s = &m->streams[i];
        uint32_t on = ((s->cr & TCIE_DMA) << 1) | ((s->cr & HTIE) << 1) | ((s->cr & TEIE) << 1);
        raised |= (s->flags & on) ? 2ull << i : 0;
    }
    return raised;
}

void mg_pump(mg_mcu *m) {
    mg_uart *u = &m->uart;
    receive(m);
    transmit_dma(m);
    if (u->tx_at <= m->cycles)
        u->isr |= TC;
    m->irq_lines = lines(m);
}

/* When something on the serial side happens next; MG_NEVER while the line is silent. */
uint64_t mg_next_event(const mg_mcu *m) {
    const mg_uart *u = &m->uart;
    uint64_t next = u->head != u->tail ? u->rx_at : u->idle_at;
    uint64_t tx = u->tx_at > m->cycles + u->byte_cycles ? u->tx_at - u->byte_cycles : u->tx_at;
    if (tx > m->cycles && tx < next)
        next = tx;
    return next;
}

static void set_rate(mg_uart *u) {
    uint64_t clocks = u->cr1 & OVER8 ? ((u->brr & 0xFFF0) | (u->brr & 7) << 1) / 2 : u->brr;
    if (clocks)
        u->byte_cycles = 10 * clocks * u->ratio / 256;
}

void mg_set_ratio(mg_mcu *m, uint64_t ratio) {
    m->uart.ratio = ratio;
    set_rate(&m->uart);
}

static uint64_t uart_read(mg_mcu *m, uint32_t offset) {
    mg_uart *u = &m->uart;
    mg_pump(m);
    switch (offset) {
    case CR1:
        return u->cr1;
    case CR2:
        return u->cr2;
    case CR3:
        return u->cr3;
    case BRR:
        return u->brr;
    case RTOR:
        return u->rtor;
    case ISR:
        return u->isr | (txe(m) ? TXE : 0) | ((u->cr1 & (UE | TE)) == (UE | TE) ? TEACK : 0) |
               ((u->cr1 & (UE | RE)) == (UE | RE) ? REACK : 0);
    case RDR:
        u->isr &= ~(uint32_t)RXNE;
        return u->rdr;
    default:
        return 0;
    }
}

static void uart_write(mg_mcu *m, uint32_t offset, uint32_t value) {
    mg_uart *u = &m->uart;
    mg_pump(m);
    switch (offset) {
    case CR1:
        u->cr1 = value;
        set_rate(u);
        break;
    case CR2:
        u->cr2 = value;
        break;
    case CR3:
        u->cr3 = value;
        u->tx_since = m->cycles;
        break;
    case BRR:
        u->brr = value;
        set_rate(u);
        break;
    case RTOR:
        u->rtor = value;
        break;
    case RQR:
        u->isr &= value & 8 ? ~(uint32_t)RXNE : ~0u;
        break;
    case ICR:
        u->isr &= ~(value & (0xF | IDLE | TC));
        break;
    case TDR:
        if (can_send(u))
            transmit(u, m->cycles, (uint8_t)value);
        break;
    default:
        break;
    }
    mg_pump(m);
}

static const uint32_t SHIFT[4] = {0, 6, 16, 22};

static uint32_t dma_flags(mg_stream *four) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value |= four[i].flags << SHIFT[i];
    return value;
}

static void dma_clear(mg_stream *four, uint32_t value) {
    for (int i = 0; i < 4; i++)
        four[i].flags &= ~(value >> SHIFT[i]);
}

static void stream_control(mg_mcu *m, mg_stream *s, uint32_t value) {
    bool starts = (value & EN) && !(s->cr & EN);
    s->cr = (s->cr & EN) ? (s->cr & ~0x1Fu) | (value & 0x1F) : value;
    if (!m->mux)
        s->request = (s->cr >> 25) & 7;
    if (!starts)
        return;
    s->reload = s->ndtr;
    if (!s->ndtr)
        s->cr &= ~(uint32_t)EN;
    m->uart.tx_since = m->cycles;
}

static uint64_t dma_read(mg_mcu *m, mg_stream *eight, uint32_t offset) {
    mg_pump(m);
    if (offset < 8)
        return dma_flags(eight + offset);
    if (offset < 16 || offset >= 16 + 8 * 24)
        return 0;
    mg_stream *s = &eight[(offset - 16) / 24];
    const uint32_t registers[6] = {s->cr, s->ndtr, s->par, s->m0ar, s->m1ar, s->fcr};
    return registers[(offset - 16) % 24 / 4];
}

static void dma_write(mg_mcu *m, mg_stream *eight, uint32_t offset, uint32_t value) {
    mg_pump(m);
    mg_stream *s = &eight[(offset - 16) / 24 % 8];
    uint32_t *const registers[6] = {&s->cr, &s->ndtr, &s->par, &s->m0ar, &s->m1ar, &s->fcr};
    uint32_t which = (offset - 16) % 24 / 4;
    if (offset == 8 || offset == 12)
        dma_clear(eight + (offset - 8), value);
    else if (offset >= 16 && offset < 16 + 8 * 24 && which == 0)
        stream_control(m, s, value);
    else if (offset >= 16 && offset < 16 + 8 * 24 && !(s->cr & EN))
        *registers[which] = which == 1 ? value & 0xFFFF : value;
    mg_pump(m);
}

/* Both return false for an address that is not ours, or whose clock is off: Python logs those. */
bool mg_serial_read(mg_mcu *m, uint64_t addr, uint64_t *value) {
    if (addr - m->uart.base < 0x400 && m->uart.clocked) {
        *value = uart_read(m, (uint32_t)(addr - m->uart.base));
        return true;
    }
    for (int i = 0; i < 2; i++)
        if (addr - m->dma_base[i] < 0x400 && m->dma_clocked[i]) {
            *value = dma_read(m, m->streams + 8 * i, (uint32_t)(addr - m->dma_base[i]));
            return true;
        }
    return false;
}

bool mg_serial_write(mg_mcu *m, uint64_t addr, uint64_t value) {
    if (addr - m->uart.base < 0x400 && m->uart.clocked) {
        uart_write(m, (uint32_t)(addr - m->uart.base), (uint32_t)value);
        return true;
    }
    for (int i = 0; i < 2; i++)
        if (addr - m->dma_base[i] < 0x400 && m->dma_clocked[i]) {
            dma_write(m, m->streams + 8 * i, (uint32_t)(addr - m->dma_base[i]), (uint32_t)value);
            return true;
        }
    return false;
}
