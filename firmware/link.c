/* One buffer serves both ways: an answer is built where its question was. */
#include "link.h"

#include <string.h>

enum { FAULT_PERIOD_MS = 500, POLLS_A_FEED = 16 };

static frame_buffer frame;
static const uint8_t *span;
static size_t left;
static uint16_t number, polls;
static uint32_t crc_errors;

static bool next_byte(uint8_t *byte) {
    if (!left)
        left = board_uart_read(&span);
    if (!left)
        return false;
    left--;
    *byte = *span++;
    return true;
}

static void open_question(link_question *question) {
    memcpy(&number, frame.bytes + 2, sizeof number);
    question->type = frame.bytes[0];
    question->payload = frame.bytes + FRAME_HEAD;
    question->size = frame_payload_size(&frame);
}

/* The watchdog lives on questions: a step that never ends feeds it no more. */
static void feed_watchdog(void) {
    if (polls++ % POLLS_A_FEED == 0)
        board_watchdog_feed();
}

bool link_poll(link_question *question) {
    feed_watchdog();
    for (uint8_t byte; next_byte(&byte);) {
        frame_event event = frame_take(&frame, byte);
        crc_errors += event == FRAME_BAD;
        if (event == FRAME_READY) {
            open_question(question);
            return true;
        }
    }
    return false;
}

void *link_answer(void) {
    return frame.bytes + FRAME_HEAD;
}

void link_send(uint8_t type, size_t size) {
    frame_seal(&frame, type, number, size);
    frame_send(&frame, board_uart_write);
}

void link_refuse(int code, uint32_t detail, uint32_t expected) {
    mg_msg_error error = {.code = (int16_t)code, .detail = detail, .expected = expected};
    memcpy(link_answer(), &error, sizeof error);
    link_send(MG_MSG_ERROR, sizeof error);
}

uint32_t link_crc_errors(void) {
    return crc_errors;
}

_Noreturn void link_reset(void) {
    memset(link_answer(), 0, sizeof(mg_msg_ack));
    link_send(MG_MSG_ACK, sizeof(mg_msg_ack));
    board_reset();
}

static void obey_reset(uint32_t ms) {
    link_question question;
    while (ms--) {
        board_delay(1);
        if (link_poll(&question) && question.type == MG_MSG_RESET)
            link_reset();
    }
}

_Noreturn void link_fault(const mg_msg_fault *fault) {
    const uint8_t delimiter = 0;
    memset(&frame, 0, sizeof frame); /* the fault may have left anything here */
    for (;;) {
        number = 0;
        board_uart_write(&delimiter, 1); /* ends the frame that the fault cut short */
        memcpy(link_answer(), fault, sizeof *fault);
        link_send(MG_MSG_FAULT, sizeof *fault);
        memset(&frame, 0, sizeof frame);
        obey_reset(FAULT_PERIOD_MS);
    }
}
