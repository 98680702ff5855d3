/* A board that does as it is told: one letter and its words in, an answer out. 16 MHz, USART3, DMA1 stream 1.
 */
#include "loops.h"

#define REG(address) (*(volatile uint32_t *)(address))
#define CYCCNT REG(0xE0001004)
#define NDTR REG(0x4002602C)
enum { RING = 509 }; /* odd and not a power of two: every wrap is at another place of a word */

extern uint32_t stack_top, bss_start, bss_end;
static uint8_t ring[RING];
static uint32_t tail, faulted;
static volatile uint32_t ticks, events;
static uint32_t boots __attribute__((section(".noinit")));

static void put(uint32_t word) {
    for (int i = 0; i < 4; i++) {
        while (!(REG(0x4000481C) & 1 << 7)) {
        }
        REG(0x40004828) = word >> 8 * i & 0xFF;
    }
}

static uint8_t take(void) {
    while (tail == RING - NDTR) {
    }
    uint8_t byte = ring[tail];
    tail = (tail + 1) % RING;
    return byte;
}

static uint32_t word(void) {
    uint32_t value = take();
    value |= (uint32_t)take() << 8;
    value |= (uint32_t)take() << 16;
    return value | (uint32_t)take() << 24;
}

/* Each level takes 64 bytes and the leaf none. */
__attribute__((naked, noinline)) uint32_t deep(uint32_t n) {
    __asm volatile("cbz r0, 1f\n"
                   "push {r4, lr}\n sub sp, #56\n"
                   "subs r0, #1\n bl deep\n"
                   "add sp, #56\n pop {r4, pc}\n"
                   "1: bx lr\n");
}

__attribute__((naked, noinline)) void dip(void) {
    __asm volatile("push {r0-r7}\n push {r0-r7}\n pop {r0-r7}\n pop {r0-r7}\n bx lr\n");
}

__attribute__((noinline)) void outer(uint32_t n) {
    plain_loop(n);
    it_loop(n);
}

/* Integer, SIMD, conditional and float work whose result an interrupt must not change. */
__attribute__((noinline)) uint32_t mixed(uint32_t n) {
    float f = 1.0f;
    uint32_t acc = 1;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t x = acc * 2654435761u + i, y;
        __asm volatile("sadd8 %0, %1, %2\n sel %0, %0, %1\n qadd16 %0, %0, %2" : "=r"(y) : "r"(x), "r"(acc));
        acc = x & 64 ? y + i : y ^ x;
        f = f * 1.0001f + (float)(acc & 15);
        if (f > 1e6f)
            f -= 1e6f;
    }
    return acc ^ (uint32_t)f;
}

__attribute__((naked, noinline)) void unaligned_pair(uint32_t at) {
    __asm volatile("ldrd r2, r3, [r0]\n ldr r1, [r0]\n bx lr\n");
}

__attribute__((naked, noinline)) void load_double(void) {
    __asm volatile(".fpu fpv5-d16\n vadd.f64 d0, d0, d0\n bx lr\n");
}

__attribute__((noinline)) void sleep_once(void) {
    __asm volatile("wfi");
}

static void tick_every(uint32_t cycles) {
    REG(0xE000E014) = cycles - 1;
    REG(0xE000E018) = 0;
    REG(0xE000E010) = cycles ? 7 : 0;
}

/* By DMA1 stream 3; its end is an interrupt, then USART3's: the order of events is the answer. */
static void send_by_dma(uint32_t from, uint32_t count) {
    events = 0;
    REG(0xE000E100) = 1 << 14;
    REG(0xE000E104) = 1 << (39 - 32);
    REG(0x40004808) |= 1 << 7;
    REG(0x40026060) = 0x40004828;
    REG(0x40026064) = from;
    REG(0x4002605C) = count;
    REG(0x40026058) = 4 << 25 | 1 << 10 | 1 << 6 | 1 << 4 | 1 << 2 | 1;
    while (!(events & 0xFF00))
        __asm volatile("wfi");
    put(events);
}

static void stream_done(void) {
    events = events << 8 | (REG(0x40026000) & 1 << 27 ? 'D' : 'E'); /* TCIF3, else TEIF3 */
    REG(0x40026008) = 0x3D << 22;
    REG(0x40004800) |= 1 << 6;
}

static void line_done(void) {
    events = events << 8 | 'L';
    REG(0x40004800) &= ~(1u << 6);
    REG(0x40004808) &= ~(1u << 7);
}

static void push(uint32_t count) {
    uint32_t crc = ~0u;
    while (count--) {
        crc ^= take();
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (0xEDB88320 & -(crc & 1));
    }
    put(~crc);
}

static void timed(uint32_t (*f)(uint32_t), uint32_t n) {
    uint32_t start = CYCCNT;
    uint32_t result = f(n);
    put(CYCCNT - start);
    put(result);
}

static void obey(uint8_t command) {
    uint32_t a = word(), b = word();
    switch (command) {
    case 'b':
        put(boots), put(REG(0x40023874));
        break;
    case 'c':
        timed(plain_loop, a);
        break;
    case 'i':
        timed(it_loop, a);
        break;
    case 'o':
        outer(a), put(0);
        break;
    case 'm':
        ticks = 0, tick_every(b), put(mixed(a)), tick_every(0), put(ticks);
        break;
    case 'd':
        put(deep(a));
        break;
    case 'f':
        load_double(), put(0);
        break;
    case 'D':
        dip(), put(0);
        break;
    case 'w':
        REG(a) = b, put(0);
        break;
    case 'r':
        put(REG(a));
        break;
    case 'p':
        push(a);
        break;
    case 's':
        ticks = 0, tick_every(a), sleep_once(), tick_every(0), put(ticks);
        break;
    case 'a':
        unaligned_pair(a), put(0);
        break;
    case 't':
        send_by_dma(a, b);
        break;
    case 'u':
        __asm volatile("udf #0");
        break;
    case 'R':
        REG(0xE000ED0C) = 0x05FA0004;
        break;
    default:
        put(0xBAD);
    }
}

static void listen(void) {
    REG(0x40023830) = 1 << 3 | 1 << 21; /* GPIOD, DMA1 */
    REG(0x40023840) = 1 << 18;          /* USART3 */
    REG(0x40020C00) = 2 << 16 | 2 << 18;
    REG(0x40020C24) = 7 << 0 | 7 << 4;
    REG(0x40026030) = 0x40004824;
    REG(0x40026034) = (uint32_t)ring;
    NDTR = RING;
    REG(0x40026028) = 4 << 25 | 1 << 10 | 1 << 8 | 1;
    REG(0x4000480C) = 17; /* 941 kbaud */
    REG(0x40004808) = 1 << 6;
    REG(0x40004800) = 13;
}

static void start(void) {
    for (uint32_t *p = &bss_start; p < &bss_end; p++)
        *p = 0;
    boots++;
    REG(0xE000ED88) = 0xF << 20;
    REG(0xE000ED24) = 7 << 16;
    REG(0xE000EDFC) = 1 << 24;
    REG(0xE0001000) = 1;
    listen();
    for (;;)
        obey(take());
}

/* pc, CFSR, BFAR or MMFAR; then a reset as on a board with a watchdog. A fault in here locks the core up. */
__attribute__((used)) static void report(const uint32_t *frame) {
    put(0xFA17);
    put(frame[6]);
    put(REG(0xE000ED28));
    put(REG(REG(0xE000ED28) & 0x80 ? 0xE000ED34 : 0xE000ED38));
    while (!(REG(0x4000481C) & 1 << 6)) {
    }
    if (faulted++ == 0)
        REG(0xE000ED0C) = 0x05FA0004;
    for (;;) {
    }
}

__attribute__((naked)) static void fault(void) {
    __asm volatile("mov r0, sp\n ldr r1, =stack_top\n mov sp, r1\n b report\n");
}

static void tick(void) {
    ticks++;
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16 + 40])(void) = {
    (void (*)(void)) & stack_top,
    start,
    fault,
    fault,
    fault,
    fault,
    fault,
    [15] = tick,
    [16 + 14] = stream_done,
    [16 + 39] = line_done,
};
