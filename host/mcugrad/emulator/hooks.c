/* What runs inside Unicorn's callbacks: exact instruction counts, estimated cycles, stack low water, strict
 * memory map, watched functions. No Python on the hot path. */
#include "mcu.h"

enum { REG_CPSR = 3, REG_LR = 10, REG_PC = 11, REG_SP = 12 }; /* UC_ARM_REG_* */
#define CPSR_IT 0x0600FC00u
enum { TYPE_WRITE = 17, TYPE_FETCH = 18 }; /* UC_MEM_* */
enum { PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4 };
enum { SLICE = 216000, SMALL = 400, PATIENCE = 4096, POLLS = 2, GLANCE = 64, PAGE = 1024 };
/* Kept out of line: what the block hook does for most blocks needs few registers. */
#define SELDOM __attribute__((noinline))
static const uint64_t CYCCNT = 0xE0001004;

mg_region *mg_find(mg_mcu *m, uint64_t addr) {
    for (mg_region *r = m->regions; r < m->regions + MG_REGIONS; r++)
        if (addr - r->base < r->size)
            return r;
    return 0;
}

static uint32_t reg(mg_mcu *m, int which) {
    uint32_t value = 0;
    m->reg_read(m->uc, which, &value);
    return value;
}

/* Whether the run loop must get control before the next block; else sets how far to run. */
SELDOM bool mg_due(mg_mcu *m) {
    if (m->cycles >= m->poll_at) {
        mg_poll_host(m);
        m->poll_at = m->cycles + SLICE;
    }
    mg_pump(m);
    if (m->step_end != MG_NEVER)
        return m->insns >= m->step_end;
    if (m->attention || m->fault || m->cycles >= m->event_at || (m->irq_lines & m->irq_listen))
        return true;
    m->limit = m->poll_at < m->event_at ? m->poll_at : m->event_at;
    uint64_t serial = m->irq_listen ? mg_next_event(m) : MG_NEVER;
    if (serial < m->limit)
        m->limit = serial;
    return false;
}

SELDOM static mg_block *measured(mg_mcu *m, uint64_t addr, uint32_t size, mg_block *b) {
    static mg_block stray;
    mg_region *r = mg_find(m, addr);
    if (!b)
        b = r && r->blocks ? r->blocks + ((addr - r->base) >> 1) : &stray;
    if (b->size != size || b == &stray)
        m->measure(addr, size, b);
    return b;
}

static mg_block *record_of(mg_mcu *m, uint64_t addr, uint32_t size) {
    uint64_t offset = addr - m->regions[0].base; /* flash */
    mg_block *b = offset < m->regions[0].size ? m->regions[0].blocks + (offset >> 1) : 0;
    return b && b->size == size ? b : measured(m, addr, size, b);
}

/* Two-bit predictor per conditional block; a predicted branch is free. */
static void branch(mg_mcu *m, uint64_t addr) {
    mg_block *p = m->previous;
    if (!p || !(p->flags & BLOCK_CONDITIONAL))
        return;
    if (p->epoch != m->epoch) {
        p->epoch = (uint32_t)m->epoch;
        p->taken = 0;
    }
    bool taken = addr != m->previous_end;
    if (taken != (p->taken >> 1)) {
        m->cycles += m->mispredict;
        m->mispredicts++;
    }
    if (taken ? p->taken < 3 : p->taken > 0)
        p->taken += taken ? 1 : -1;
}

static void low_water(mg_mcu *m, uint32_t sp) {
    if (sp < m->sp_low)
        m->sp_low = sp;
    if (sp < m->sp_floor && !m->fault) {
        m->fault = FAULT_STACK;
        m->fault_page = sp;
        m->limit = 0;
    }
}

static void enter(mg_mcu *m, uint64_t addr) {
    if (m->depth == MG_DEPTH)
        return;
    mg_frame *f = &m->frames[m->depth++];
    *f = (mg_frame){addr, reg(m, REG_LR) & ~1u, reg(m, REG_SP), m->insns, m->cycles};
    mg_region *r = mg_find(m, f->back);
    if (r && r->blocks)
        r->blocks[(f->back - r->base) >> 1].flags |= BLOCK_RETURN;
}

static void leave(mg_mcu *m, uint64_t addr) {
    uint32_t sp = reg(m, REG_SP);
    while (m->depth && m->frames[m->depth - 1].back == addr && m->frames[m->depth - 1].sp == sp) {
        mg_frame *f = &m->frames[--m->depth];
        m->calls[m->call_count++ % MG_CALLS] =
            (mg_call){f->entry, f->insns, m->insns - f->insns, m->cycles - f->cycles};
    }
}

SELDOM static void special(mg_mcu *m, mg_block *b, uint64_t addr) {
    if (b->flags & BLOCK_RETURN)
        leave(m, addr);
    if (b->flags & BLOCK_ENTRY)
        enter(m, addr);
    if (b->dip || m->sample_sp)
        low_water(m, reg(m, REG_SP) - b->dip);
    m->sample_sp = b->flags & BLOCK_SP;
}

void mg_on_block(void *uc, uint64_t addr, uint32_t size, void *data) {
    mg_mcu *m = data;
    if (m->cycles >= m->limit && mg_due(m)) {
        m->stopped = 1;
        m->stop(uc);
        return;
    }
    bool again = addr == m->block && size == m->block_size; /* most blocks run are the inner loop's own */
    mg_block *b = again ? m->record : record_of(m, addr, size);
    branch(m, addr);
    if (m->sample_sp | b->dip | (b->flags & (BLOCK_SP | BLOCK_ENTRY | BLOCK_RETURN)))
        special(m, b, addr);
    m->block = addr;
    m->block_size = size;
    m->record = m->previous = b;
    m->previous_end = addr + size;
    m->insns += b->insns;
    m->cycles += b->cycles;
}

static bool mapped(mg_mcu *m, uint64_t page) {
    for (int i = 0; i < MG_WINDOWS && m->windows[i][1]; i++)
        if (page - m->windows[i][0] < m->windows[i][1])
            return true;
    return false;
}

static uint32_t permissions(mg_mcu *m, uint64_t page) {
    mg_region *r = mg_find(m, page);
    if (!r)
        return mapped(m, page) ? PROT_READ | PROT_WRITE : 0;
    return PROT_READ | (r->flags & REGION_WRITE ? PROT_WRITE : 0) | (r->flags & REGION_CODE ? PROT_EXEC : 0);
}

static bool covers(mg_mcu *m, int region, uint64_t page) {
    uint64_t first = m->protected[region][0], last = m->protected[region][1];
    if (!m->protected[region][2] || page < first || page + PAGE - 1 > last)
        return false;
    return !(m->disabled[region] >> (page - first) / ((last - first + 1) / 8) & 1);
}

/* Whether the MPU refuses a whole page; regions smaller than a page are left to the stack floor. */
static bool refused(mg_mcu *m, uint64_t page) {
    for (int i = MG_PROTECTED - 1; i >= 0; i--)
        if (covers(m, i, page))
            return m->protected[i][2] == 1;
    return false;
}

/* For this look-up Unicorn has brought its state up to the access. One in an IT block leaves the IT bits set,
 * which the translated code believes clear: the next blocks would run under the old condition. */
static void forget_condition(mg_mcu *m) {
    uint32_t cpsr = reg(m, REG_CPSR);
    if (cpsr & CPSR_IT) {
        cpsr &= ~CPSR_IT;
        m->reg_write(m->uc, REG_CPSR, &cpsr);
    }
}

/* The only gate to memory: a page that the chip lacks, or a write to flash, stops the access with PC exact.
 */
bool mg_on_tlb(void *uc, uint64_t page, int type, mg_page *out, void *data) {
    mg_mcu *m = data;
    (void)uc;
    out->paddr = page;
    bool forbidden = refused(m, page);
    out->perms = forbidden ? 0 : permissions(m, page);
    uint32_t need = type == TYPE_WRITE ? PROT_WRITE : type == TYPE_FETCH ? PROT_EXEC : PROT_READ;
    if (out->perms & need) {
        if (type != TYPE_FETCH)
            forget_condition(m);
        return true;
    }
    m->fault = forbidden ? FAULT_MPU : FAULT_BUS;
    m->fault_page = page;
    m->fault_type = (uint64_t)type;
    return false;
}

/* The first read after the line was served opens a window. The predictor starts cold there, or the host's
 * timing, through code that link and model share, would show in the window's cycles. */
static void open_window(mg_mcu *m) {
    m->epoch += m->served;
    m->served = 0;
}

static uint64_t read_cyccnt(mg_mcu *m) {
    mg_block *b = m->record;
    open_window(m);
    if (b->tail == MG_UNKNOWN)
        m->locate(m->block, (uint32_t)m->block_size, b);
    uint64_t cycles = m->cycles - b->tail_cycles;
    m->marks[m->mark_count++ % MG_MARKS] = (mg_mark){m->block, m->insns - b->tail, cycles};
    if (m->tracing)
        m->marked();
    return (uint32_t)(m->cyccnt_on ? cycles - m->cyccnt_base : m->cyccnt_base);
}

/* Nothing to compute: jump to the next event; while the host is silent, follow the wall clock. */
void mg_idle(mg_mcu *m) {
    mg_poll_host(m);
    uint64_t serial = mg_next_event(m), next = serial < m->event_at ? serial : m->event_at, began = m->cycles;
    if (serial == MG_NEVER)
        mg_wait_host(m, next);
    else
        m->cycles = mg_latest(m->cycles, next);
    m->idle_cycles += m->cycles - began;
    mg_pump(m);
}

/* A loop that reads the same values again and again waits for something. While bytes are due a few reads are
 * proof; with a silent host it must go on longer, or a reader that takes a full ring byte by byte would be
 * put to sleep. */
static void watch_poll(mg_mcu *m, uint64_t addr, uint64_t value) {
    uint64_t *last = &m->polled[(addr >> 2) % (MG_STREAMS + 1)];
    bool same = *last == (addr << 32 | value) && m->insns - m->quiet_insns < SMALL;
    *last = addr << 32 | value;
    m->quiet_insns = m->insns;
    m->quiet = same ? m->quiet + 1 : 0;
    if (m->quiet % GLANCE == GLANCE - 1)
        mg_poll_host(m); /* an answer goes out, and the next question is seen, well before a slice ends */
    if (m->quiet < POLLS || (m->quiet < PATIENCE && mg_next_event(m) == MG_NEVER))
        return;
    m->quiet = m->quiet < PATIENCE ? 0 : PATIENCE - POLLS;
    mg_idle(m);
    m->limit = 0;
}

uint64_t mg_on_read(void *uc, uint64_t offset, uint32_t size, void *data) {
    mg_mcu *m = ((void **)data)[0];
    uint64_t addr = (uint64_t)((void **)data)[1] + offset, value = 0;
    (void)uc;
    if (addr == CYCCNT)
        return read_cyccnt(m);
    if (!mg_serial_read(m, addr, &value))
        return m->read(addr, size);
    m->served = 1;
    watch_poll(m, addr, value);
    return value;
}

void mg_on_write(void *uc, uint64_t offset, uint32_t size, uint64_t value, void *data) {
    mg_mcu *m = ((void **)data)[0];
    uint64_t addr = (uint64_t)((void **)data)[1] + offset;
    (void)uc;
    if (addr == CYCCNT)
        m->cyccnt_base = m->cyccnt_on ? m->cycles - value : value;
    else if (!mg_serial_write(m, addr, value))
        m->write(addr, value, size);
    m->limit = 0;
}

/* Only while the command `strict` is on: LDRD, LDM, VLDR and their like fault on the chip where the address
 * is not a multiple of 4; Unicorn lets them pass. Each instruction is reported once. */
void mg_on_access(void *uc, int type, uint64_t addr, int size, int64_t value, void *data) {
    mg_mcu *m = data;
    (void)uc, (void)type, (void)value;
    if (!(addr & (uint64_t)(size - 1)))
        return;
    m->unaligned_count++;
    uint32_t pc = reg(m, REG_PC);
    mg_region *r = mg_find(m, pc);
    if (size < 4 || !r || !r->blocks || !(addr & 3))
        return;
    mg_block *here = r->blocks + ((pc - r->base) >> 1);
    if (!(here->flags & BLOCK_SEEN))
        m->unaligned(pc, addr);
    here->flags |= BLOCK_SEEN;
}

uint64_t mg_sizeof(void) {
    return sizeof(mg_mcu);
}
