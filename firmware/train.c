/* The step loop: a sample comes in, one TRAIN consumes it, the answer is kept so that a repeat changes
 * nothing. */
#include "train.h"

#include <float.h>
#include <string.h>

#include "cycles.h"
#include "link.h"
#include "mark.h"
#include "model.h"
#include "state.h"

static struct { uint32_t step, received, crc; } sample;
static mg_msg_train last; /* the TRAIN that `answer` belongs to */
static mg_msg_result answer;
static bool answered;

static void credit(void) {
    mg_msg_credit message = {.step = sample.step, .received = sample.received};
    memcpy(link_answer(), &message, sizeof message);
    link_send(MG_MSG_CREDIT, sizeof message);
}

static void take(const uint8_t *bytes, uint32_t count) {
    sample.crc = frame_crc(sample.received ? sample.crc : 0, bytes, count);
    mg_take((const int8_t *)bytes, sample.received, count);
    sample.received += count;
}

void train_data(const uint8_t *payload, size_t size) {
    mg_msg_data data;
    memcpy(&data, payload, sizeof data);
    size_t count = size - sizeof data;
    if (data.offset > MG_INPUT_BYTES || count > MG_INPUT_BYTES - data.offset) {
        link_refuse(MG_ERR_BAD_SIZE, data.offset + (uint32_t)count, MG_INPUT_BYTES);
        return;
    }
    if (data.step != sample.step) {
        sample.step = data.step;
        sample.received = 0;
    }
    if (data.offset == sample.received && count)
        take(payload + sizeof data, (uint32_t)count);
    credit();
}

static void send_answer(void) {
    memcpy(link_answer(), &answer, sizeof answer);
    link_send(MG_MSG_RESULT, sizeof answer);
}

/* The same TRAIN again, because its RESULT was lost: a training step by its number, an evaluation by all it
 * said. */
static bool is_repeat(const mg_msg_train *train) {
    if (!answered || train->step != last.step || train->mode != last.mode)
        return false;
    return train->mode == MG_MODE_TRAIN ||
           (!sample.received && train->crc == last.crc && train->label == last.label);
}

/* Nothing has been touched yet when a question is refused here; a corrupt sample must be sent again. */
static bool refused(const mg_msg_train *train) {
    uint32_t due = state_applied() + 1, rate;
    memcpy(&rate, &train->lr, sizeof rate);
    float lr = train->lr;
    if (state_dirty())
        link_refuse(MG_ERR_DIRTY, 0, 0);
    else if (train->mode > MG_MODE_TRAIN)
        link_refuse(MG_ERR_UNKNOWN, train->mode, MG_MODE_TRAIN);
    else if (train->mode == MG_MODE_TRAIN && train->step != due)
        link_refuse(MG_ERR_BAD_STEP, train->step, due);
    else if (train->label >= MG_CLASSES)
        link_refuse(MG_ERR_BAD_LABEL, train->label, MG_CLASSES);
    else if (train->mode == MG_MODE_TRAIN && !(lr >= 0 && lr <= FLT_MAX))
        link_refuse(MG_ERR_BAD_LR, rate, 0);
    else if (train->step != sample.step || sample.received != MG_INPUT_BYTES)
        link_refuse(MG_ERR_BAD_SIZE, train->step == sample.step ? sample.received : 0, MG_INPUT_BYTES);
    else
        return false;
    return true;
}

static bool corrupt(const mg_msg_train *train) {
    if (sample.crc == train->crc)
        return false;
    sample.received = 0;
    link_refuse(MG_ERR_BAD_CRC, sample.crc, train->crc);
    return true;
}

static void run(const mg_msg_train *train, mg_result *result) {
    mg_mark_start();
    if (train->mode == MG_MODE_TRAIN)
        mg_step(train->label, train->lr, result);
    else
        mg_forward(train->label, result);
}

static void fill_answer(const mg_msg_train *train, const mg_result *result) {
    answer = (mg_msg_result){
        .step = train->step,
        .mode = train->mode,
        .predicted = (uint16_t)result->predicted,
        .loss = result->loss,
        .cycles_forward = cycles_forward(),
        .cycles_total = cycles_total(),
        .stack_high = board_stack_high(),
        .static_bytes = state_static_bytes(),
        .arena_bytes = MG_ARENA_BYTES,
        .saturated = mg_saturated(),
        .crc_errors = link_crc_errors(),
        .overruns = board_uart_errors(),
        .applied = state_applied(),
        .boot_id = state_boot_id(),
    };
    last = *train;
    answered = true;
}

static bool diverged(const mg_result *result) {
    if (result->loss >= -FLT_MAX && result->loss <= FLT_MAX)
        return false;
    uint32_t loss;
    memcpy(&loss, &result->loss, sizeof loss);
    link_refuse(MG_ERR_DIVERGED, loss, 0);
    return true;
}

void train_forget(void) {
    answered = false;
}

void train_step(const uint8_t *payload, size_t size) {
    mg_msg_train train;
    mg_result result;
    (void)size;
    memcpy(&train, payload, sizeof train);
    if (!state_dirty() && is_repeat(&train)) {
        send_answer();
        return;
    }
    if (refused(&train) || corrupt(&train))
        return;
    sample.received = 0; /* the step uses it up */
    run(&train, &result);
    if (diverged(&result))
        return;
    if (train.mode == MG_MODE_TRAIN)
        state_set_applied(train.step);
    fill_answer(&train, &result);
    send_answer();
}
