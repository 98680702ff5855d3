/* The handshake, and the trained state going out and coming back. */
#include "state.h"

#include <string.h>

#include "cycles.h"
#include "link.h"
#include "model.h"
#include "train.h"

extern const uint8_t __static_bytes[], __stack_bytes[];

static uint32_t boots __attribute__((section(".noinit")));
static uint32_t boot_id, applied;
static bool dirty;

void state_boot(void) {
    boots++;
    boot_id = (boots * 0x9E3779B1u) ^ board_reset_cause();
}

uint32_t state_boot_id(void) {
    return boot_id;
}
uint32_t state_applied(void) {
    return applied;
}
void state_set_applied(uint32_t step) {
    applied = step;
}
bool state_dirty(void) {
    return dirty;
}
uint32_t state_static_bytes(void) {
    return (uint32_t)(uintptr_t)__static_bytes;
}

static uint32_t state_crc(void) {
    return frame_crc(0, &mg_state, sizeof mg_state);
}

/* Zero-padded, cut when too long. */
static void set_text(char *to, size_t room, const char *text) {
    for (size_t i = 0; i < room; i++)
        to[i] = *text ? *text++ : 0;
}

void state_welcome(const uint8_t *payload, size_t size) {
    (void)payload, (void)size;
    mg_msg_welcome welcome = {
        .proto = MG_PROTOCOL_VERSION,
        .boot_id = boot_id,
        .reset_cause = board_reset_cause(),
        .cpu_hz = MG_CPU_HZ,
        .input_bytes = MG_INPUT_BYTES,
        .classes = MG_CLASSES,
        .nodes = MG_NODES,
        .state_bytes = sizeof mg_state,
        .static_bytes = state_static_bytes(),
        .arena_bytes = MG_ARENA_BYTES,
        .stack_bytes = (uint32_t)(uintptr_t)__stack_bytes,
        .window = BOARD_UART_WINDOW,
        .applied = applied,
        .weights_crc = state_crc(),
        .dirty = dirty,
    };
    memcpy(welcome.model_hash, mg_model_hash, sizeof welcome.model_hash);
    set_text(welcome.board, sizeof welcome.board, BOARD_QUOTE(MG_BOARD));
    set_text(welcome.model_name, sizeof welcome.model_name, mg_model_name);
    memcpy(link_answer(), &welcome, sizeof welcome);
    link_send(MG_MSG_WELCOME, sizeof welcome);
}

static const uint8_t *object(uint8_t number, uint32_t *size) {
    *size = number == MG_OBJECT_STATE ? (uint32_t)sizeof mg_state : MG_NODES * (uint32_t)sizeof *mg_marks;
    if (number == MG_OBJECT_STATE)
        return (const uint8_t *)&mg_state;
    return number == MG_OBJECT_MARKS ? (const uint8_t *)mg_marks : NULL;
}

void state_read(const uint8_t *payload, size_t size) {
    mg_msg_read read;
    memcpy(&read, payload, size);
    uint32_t room = FRAME_PAYLOAD - sizeof(mg_msg_chunk), end;
    const uint8_t *bytes = object(read.object, &end);
    if (!bytes || read.offset > end) {
        link_refuse(bytes ? MG_ERR_BAD_SIZE : MG_ERR_UNKNOWN, bytes ? read.offset : read.object,
                    bytes ? end : 0);
        return;
    }
    uint32_t count = end - read.offset < read.length ? end - read.offset : read.length;
    count = count < room ? count : room;
    mg_msg_chunk chunk = {.object = read.object, .offset = read.offset};
    memcpy(link_answer(), &chunk, sizeof chunk);
    memcpy((uint8_t *)link_answer() + sizeof chunk, bytes + read.offset, count);
    link_send(MG_MSG_CHUNK, sizeof chunk + count);
}

static void acknowledge(uint8_t number, uint32_t offset) {
    mg_msg_ack ack = {.object = number, .offset = offset};
    memcpy(link_answer(), &ack, sizeof ack);
    link_send(MG_MSG_ACK, sizeof ack);
}

void state_write(const uint8_t *payload, size_t size) {
    mg_msg_write write;
    memcpy(&write, payload, sizeof write);
    uint32_t count = (uint32_t)(size - sizeof write);
    if (write.object != MG_OBJECT_STATE) {
        link_refuse(MG_ERR_UNKNOWN, write.object, MG_OBJECT_STATE);
        return;
    }
    if (write.offset > sizeof mg_state || count > sizeof mg_state - write.offset) {
        link_refuse(MG_ERR_BAD_SIZE, write.offset + count, sizeof mg_state);
        return;
    }
    dirty = true;
    memcpy((uint8_t *)&mg_state + write.offset, payload + sizeof write, count);
    acknowledge(write.object, write.offset);
}

void state_commit(const uint8_t *payload, size_t size) {
    mg_msg_commit commit;
    memcpy(&commit, payload, size);
    uint32_t crc = state_crc();
    if (commit.object != MG_OBJECT_STATE) {
        link_refuse(MG_ERR_UNKNOWN, commit.object, MG_OBJECT_STATE);
        return;
    }
    if (crc != commit.crc) {
        link_refuse(MG_ERR_BAD_CRC, crc, commit.crc);
        return;
    }
    dirty = false;
    applied = commit.applied;
    train_forget();
    acknowledge(commit.object, 0);
}

void state_reset(const uint8_t *payload, size_t size) {
    (void)payload, (void)size;
    link_reset();
}
