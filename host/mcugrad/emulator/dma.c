/* DMA1 and DMA2 as the USART sees them: streams of bytes between its data registers and RAM. */
#include "mcu.h"

enum { EN = 1, TEIE = 4, HTIE = 8, TCIE = 16, CIRC = 256, MINC = 1024, WIDER = 0xF << 11 };
enum { TEIF = 8, HTIF = 16, TCIF = 32 };
enum { CONTROL = 0, COUNT = 1, STREAMS_AT = 16, STREAM_SIZE = 24 };

mg_stream *mg_stream_for(mg_mcu *m, uint32_t par, bool receive) {
    for (mg_stream *s = m->streams; s < m->streams + MG_STREAMS; s++)
        if ((s->cr & EN) && s->par == par && ((s->cr >> 6) & 3) == (receive ? 0u : 1u) &&
            s->request == (receive ? s->rx_request : s->tx_request))
            return s;
    return 0;
}

uint8_t *mg_dma_memory(mg_mcu *m, mg_stream *s, bool receive) {
    uint32_t addr = s->m0ar + (s->cr & MINC ? s->reload - s->ndtr : 0);
    mg_region *r = mg_find(m, addr);
    uint64_t need = receive ? REGION_DMA | REGION_WRITE : REGION_DMA;
    bool fits = r && (r->flags & need) == need && !(s->cr & WIDER);
    if (!fits) {
        s->flags |= TEIF;
        s->cr &= ~(uint32_t)EN;
    }
    return fits ? r->host + (addr - r->base) : 0;
}

void mg_dma_count(mg_stream *s) {
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

/* The streams that ask for an interrupt, a bit each. */
uint64_t mg_dma_lines(const mg_mcu *m) {
    uint64_t raised = 0;
    for (int i = 0; i < MG_STREAMS; i++) {
        const mg_stream *s = &m->streams[i];
        uint32_t wanted = (s->cr & (TEIE | HTIE | TCIE)) << 1; /* each flag lies one bit above its enable */
        raised |= (s->flags & wanted) ? 1ull << i : 0;
    }
    return raised;
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

uint64_t mg_dma_read(mg_mcu *m, mg_stream *eight, uint32_t offset) {
    mg_pump(m);
    if (offset < 8)
        return dma_flags(eight + offset);
    if (offset < STREAMS_AT || offset >= STREAMS_AT + 8 * STREAM_SIZE)
        return 0;
    mg_stream *s = &eight[(offset - STREAMS_AT) / STREAM_SIZE];
    const uint32_t registers[6] = {s->cr, s->ndtr, s->par, s->m0ar, s->m1ar, s->fcr};
    return registers[(offset - STREAMS_AT) % STREAM_SIZE / 4];
}

void mg_dma_write(mg_mcu *m, mg_stream *eight, uint32_t offset, uint32_t value) {
    mg_pump(m);
    mg_stream *s = &eight[(offset - STREAMS_AT) / STREAM_SIZE % 8];
    uint32_t *const registers[6] = {&s->cr, &s->ndtr, &s->par, &s->m0ar, &s->m1ar, &s->fcr};
    uint32_t which = (offset - STREAMS_AT) % STREAM_SIZE / 4;
    bool inside = offset >= STREAMS_AT && offset < STREAMS_AT + 8 * STREAM_SIZE;
    if (offset == 8 || offset == 12)
        dma_clear(eight + (offset - 8), value);
    else if (inside && which == CONTROL)
        stream_control(m, s, value);
    else if (inside && !(s->cr & EN))
        *registers[which] = which == COUNT ? value & 0xFFFF : value;
    mg_pump(m);
}
