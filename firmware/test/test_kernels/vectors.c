/* The kernels' vectors on the board: any byte from the host runs them, each answers a line in Unity's format.
 */
#include "vectors.h"

#include <string.h>

#include "board.h"

enum { MOST_OPERANDS = 16 };

static void say(const char *text) {
    board_uart_write((const uint8_t *)text, strlen(text));
}

static void say_number(uint32_t n) {
    char digits[11], *at = digits + 10;
    *at = 0;
    do
        *--at = (char)('0' + n % 10);
    while (n /= 10);
    say(at);
}

/* Copies the operands into the pool, no better aligned than their elements. */
static void load(const test_case *c, void **memory) {
    uint8_t *to = test_pool;
    for (int i = 0; c->lengths[i] != (unsigned)END; i++) {
        memory[i] = c->lengths[i] ? to + c->skips[i] : NULL;
        if (memory[i])
            memcpy(to, (const uint8_t *)c->operands[i] - c->skips[i], c->lengths[i]);
        to += (c->lengths[i] + 7) & ~7u;
    }
}

static const void *result(const test_case *c, void **memory, int number) {
    int i = 0;
    while (c->operands[i] != c->found[number])
        i++;
    return memory[i];
}

static int failed(const test_case *c) {
    void *memory[MOST_OPERANDS];
    load(c, memory);
    c->call(memory, c->fields);
    int wrong = 0;
    for (int i = 0; i < c->results; i++)
        wrong |= memcmp(result(c, memory, i), c->expected[i], c->sizes[i]) != 0;
    return wrong;
}

static void run(void) {
    uint32_t failures = 0;
    for (int i = 0; i < case_count; i++) {
        board_watchdog_feed();
        int wrong = failed(cases + i);
        failures += (uint32_t)wrong;
        say("kernels/vectors.c:");
        say_number((uint32_t)i);
        say(":");
        say(cases[i].name);
        say(wrong ? ":FAIL: differs from the reference\r\n" : ":PASS\r\n");
    }
    say("-----------------------\r\n");
    say_number((uint32_t)case_count);
    say(" Tests ");
    say_number(failures);
    say(" Failures 0 Ignored\r\n");
    say(failures ? "FAIL\r\n" : "OK\r\n");
}

_Noreturn void firmware_fault(const board_fault *fault) {
    say("kernels/vectors.c:0:fault:FAIL: pc ");
    say_number(fault->pc);
    say("\r\nFAIL\r\n");
    for (;;)
        board_watchdog_feed();
}

int main(void) {
    const uint8_t *bytes;
    board_start();
    for (;;)
        if (board_uart_read(&bytes))
            run();
}
