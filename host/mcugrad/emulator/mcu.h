/* State shared by the native hooks and machine.py (native.py mirrors every struct; sizes are compared at
 * load). */
#ifndef MCU_H
#define MCU_H

#include <stdbool.h>
#include <stdint.h>

#define MG_REGIONS 8
#define MG_WINDOWS 96
#define MG_PROTECTED 16
#define MG_STREAMS 16
#define MG_MARKS 8192
#define MG_CALLS 8192
#define MG_DEPTH 16
#define MG_FIFO 65536
#define MG_NEVER UINT64_MAX
#define MG_UNKNOWN 0xFFFF

enum { BLOCK_SP = 1, BLOCK_CONDITIONAL = 2, BLOCK_ENTRY = 4, BLOCK_RETURN = 8, BLOCK_SEEN = 16 };
enum { REGION_WRITE = 1, REGION_CODE = 2, REGION_DMA = 4 };
enum { FAULT_NONE, FAULT_BUS, FAULT_STACK, FAULT_MPU };

/* One translated block. dip: deepest push below the SP it starts with; tail: what follows its CYCCNT read. */
typedef struct {
    uint32_t size, cycles, tail_cycles;
    uint16_t insns, dip, tail;
    uint8_t flags, taken;
    uint32_t epoch; /* of `taken` */
} mg_block;

typedef struct {
    uint64_t base, size, flags;
    uint8_t *host;
    mg_block *blocks; /* one per halfword, where REGION_CODE */
} mg_region;

typedef struct {
    uint64_t block, insns, cycles;
} mg_mark;

typedef struct {
    uint64_t entry, at, insns, cycles; /* at: instructions before it */
} mg_call;

typedef struct {
    uint64_t entry, back, sp, insns, cycles;
} mg_frame;

typedef struct {
    uint32_t cr, ndtr, par, m0ar, m1ar, fcr;
    uint32_t reload, flags; /* flags: FEIF 1, DMEIF 4, TEIF 8, HTIF 16, TCIF 32 */
    uint32_t rx_request, tx_request, request, unused;
} mg_stream;

typedef struct {
    uint32_t base, clocked, rx_pin, tx_pin;
    uint32_t cr1, cr2, cr3, brr, gtpr, rtor, isr, rdr;
    uint64_t ratio;                                        /* core cycles per 256 UART clocks */
    uint64_t byte_cycles, rx_at, idle_at, tx_at, tx_since; /* tx_at: when the shift register is free */
    uint64_t received, overruns, dropped, sent;
    int32_t host_fd, control_fd, debug_fd, unused;
    uint64_t head, tail, out_length;
    uint8_t fifo[MG_FIFO], out[MG_FIFO];
} mg_uart;

typedef struct {
    uint64_t paddr;
    uint32_t perms;
} mg_page;

typedef struct mg_mcu {
    uint64_t insns, cycles, limit, event_at, poll_at, idle_cycles, hz;
    uint64_t stopped, attention, closed, irq_lines, irq_listen;
    uint64_t cyccnt_base, cyccnt_on;
    uint64_t mispredict, mispredicts, epoch, served, unaligned_count;
    uint64_t block, block_size;
    mg_block *record, *previous;
    uint64_t previous_end, sample_sp;
    uint64_t sp_low, sp_floor;
    uint64_t fault, fault_page, fault_type;
    uint64_t quiet, quiet_insns;
    uint64_t step_end; /* a debugger steps until so many instructions have run */
    uint64_t mark_count, call_count, depth, tracing;
    void *uc;
    int (*stop)(void *uc);
    int (*reg_read)(void *uc, int reg, void *value);
    int (*reg_write)(void *uc, int reg, const void *value);
    void (*measure)(uint64_t addr, uint32_t size, mg_block *out);
    void (*locate)(uint64_t addr, uint32_t size, mg_block *out);
    void (*unaligned)(uint64_t pc, uint64_t addr);
    void (*marked)(void); /* at every CYCCNT read while `tracing` */
    uint64_t (*read)(uint64_t addr, uint32_t size);
    void (*write)(uint64_t addr, uint64_t value, uint32_t size);
    mg_region regions[MG_REGIONS];
    uint64_t windows[MG_WINDOWS][2];     /* base, size of every mapped peripheral page */
    uint64_t protected[MG_PROTECTED][3]; /* MPU, by number: first and last address, 1 refuse or 2 allow */
    uint64_t disabled[MG_PROTECTED];     /* its subregions that are switched off, a bit each */
    uint64_t polled[MG_STREAMS + 1];
    mg_stream streams[MG_STREAMS];
    uint64_t dma_base[2], dma_clocked[2], mux;
    mg_frame frames[MG_DEPTH];
    mg_mark marks[MG_MARKS];
    mg_call calls[MG_CALLS];
    mg_uart uart;
} mg_mcu;

mg_region *mg_find(mg_mcu *m, uint64_t addr);
bool mg_due(mg_mcu *m);
void mg_pump(mg_mcu *m);
void mg_poll_host(mg_mcu *m);
void mg_wait_host(mg_mcu *m, uint64_t until);
uint64_t mg_next_event(const mg_mcu *m);
mg_stream *mg_stream_for(mg_mcu *m, uint32_t par, bool receive);
uint8_t *mg_dma_memory(mg_mcu *m, mg_stream *s, bool receive);
void mg_dma_count(mg_stream *s);
uint64_t mg_dma_lines(const mg_mcu *m);
uint64_t mg_dma_read(mg_mcu *m, mg_stream *eight, uint32_t offset);
void mg_dma_write(mg_mcu *m, mg_stream *eight, uint32_t offset, uint32_t value);
bool mg_serial_read(mg_mcu *m, uint64_t addr, uint64_t *value);
bool mg_serial_write(mg_mcu *m, uint64_t addr, uint64_t value);

static inline uint64_t mg_latest(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

#endif
