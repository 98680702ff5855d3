/* One USART wired to the host: bytes move in virtual time at BRR's rate, by hand or by DMA. */
#include "mcu.h"

enum { UE = 1, RE = 4, TE = 8, IDLEIE = 16, RXNEIE = 32, TCIE = 64, TXEIE = 128, OVER8 = 1 << 15 };
enum { DMAR = 64, DMAT = 128 };
enum { ORE = 8, IDLE = 16, RXNE = 32, TC = 64, TXE = 128, TEACK = 1 << 21, REACK = 1 << 22 };
enum { CR1 = 0, CR2 = 4, CR3 = 8, BRR = 12, RTOR = 20, RQR = 24, ISR = 28, ICR = 32, RDR = 36, TDR = 40 };

static void deliver(mg_mcu *m, uint8_t byte) {
    mg_uart *u = &m->uart;
    if (!u->clocked || !u->rx_pin || (u->cr1 & (UE | RE)) != (UE | RE)) {
        u->dropped++;
        return;
    }
    u->received++;
    u->idle_at = u->rx_at + u->byte_cycles;
    mg_stream *s = u->cr3 & DMAR ? mg_stream_for(m, u->base + RDR, true) : 0;
    uint8_t *to = s ? mg_dma_memory(m, s, true) : 0;
    if (to) {
        *to = byte;
        mg_dma_count(s);
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
    u->tx_at = mg_latest(start, u->tx_at) + u->byte_cycles;
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
           (s = mg_stream_for(m, u->base + TDR, false))) {
        uint8_t *from = mg_dma_memory(m, s, false);
        if (!from)
            return;
        transmit(u, u->tx_since, *from);
        mg_dma_count(s);
    }
}

static bool txe(const mg_mcu *m) {
    return m->uart.tx_at <= m->cycles + m->uart.byte_cycles;
}

static uint64_t lines(mg_mcu *m) {
    mg_uart *u = &m->uart;
    uint32_t isr = u->isr | (txe(m) ? TXE : 0);
    uint32_t wanted = (u->cr1 & (IDLEIE | RXNEIE | TCIE | TXEIE)) | (u->cr1 & RXNEIE ? ORE : 0);
    return (u->clocked && (isr & wanted)) | mg_dma_lines(m) << 1; /* each enable has its flag's bit number */
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

/* Both return false for an address that is not ours, or whose clock is off: Python logs those. */
bool mg_serial_read(mg_mcu *m, uint64_t addr, uint64_t *value) {
    if (addr - m->uart.base < 0x400 && m->uart.clocked) {
        *value = uart_read(m, (uint32_t)(addr - m->uart.base));
        return true;
    }
    for (int i = 0; i < 2; i++)
        if (addr - m->dma_base[i] < 0x400 && m->dma_clocked[i]) {
            *value = mg_dma_read(m, m->streams + 8 * i, (uint32_t)(addr - m->dma_base[i]));
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
            mg_dma_write(m, m->streams + 8 * i, (uint32_t)(addr - m->dma_base[i]), (uint32_t)value);
            return true;
        }
    return false;
}
