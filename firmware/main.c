/* Starts the board, then answers questions for ever. */
#include "link.h"
#include "state.h"
#include "train.h"

static const struct {
    uint8_t type;
    bool open; /* more bytes may follow the fixed part */
    uint16_t size;
    void (*answer)(const uint8_t *payload, size_t size);
} handlers[] = {
    {MG_MSG_HELLO, false, 0, state_welcome},
    {MG_MSG_DATA, true, sizeof(mg_msg_data), train_data},
    {MG_MSG_TRAIN, false, sizeof(mg_msg_train), train_step},
    {MG_MSG_READ, false, sizeof(mg_msg_read), state_read},
    {MG_MSG_WRITE, true, sizeof(mg_msg_write), state_write},
    {MG_MSG_COMMIT, false, sizeof(mg_msg_commit), state_commit},
    {MG_MSG_RESET, false, 0, state_reset},
};

static void dispatch(const link_question *q) {
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (handlers[i].type != q->type)
            continue;
        if (q->size == handlers[i].size || (handlers[i].open && q->size > handlers[i].size))
            handlers[i].answer(q->payload, q->size);
        else
            link_refuse(MG_ERR_BAD_SIZE, (uint32_t)q->size, handlers[i].size);
        return;
    }
    link_refuse(MG_ERR_UNKNOWN, q->type, 0);
}

_Noreturn void firmware_fault(const board_fault *fault) {
    const mg_msg_fault message = {
        .pc = fault->pc,
        .lr = fault->lr,
        .sp = fault->sp,
        .cfsr = fault->cfsr,
        .hfsr = fault->hfsr,
        .bfar = fault->bfar,
        .mmfar = fault->mmfar,
    };
    link_fault(&message);
}

int main(void) {
    link_question question;
    board_start();
    state_boot();
    board_watchdog_on();
    for (;;)
        if (link_poll(&question))
            dispatch(&question);
}
