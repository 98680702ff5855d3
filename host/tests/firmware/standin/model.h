/* The smallest thing with the interface of a generated model: its loss is the sample's sum plus a trained
 * number. */
#ifndef MG_MODEL_H
#define MG_MODEL_H

#include <stdint.h>

#define MG_INPUT_BYTES 3072
#define MG_CLASSES 10
#define MG_ARENA_BYTES 4096
#define MG_STATE_BYTES 48
#define MG_NODES 4
#define MG_FORWARD_NODES 2

typedef struct {
    float loss;
    int32_t predicted;
} mg_result;

struct mg_state {
    int32_t weight[MG_CLASSES];
    uint32_t steps, saturated;
};

extern struct mg_state mg_state;
extern const uint8_t mg_model_hash[16];
extern const char mg_model_name[];

/* A piece of the sample. */
void mg_take(const int8_t *bytes, uint32_t at, uint32_t n);
uint32_t mg_saturated(void);

/* loss = sum of the sample + weight[label], infinite where the sum is -1; predicted = that sum modulo
 * MG_CLASSES. */
void mg_forward(uint32_t label, mg_result *result);

/* Then weight[label] -= 100 * lr, and steps += 1. */
void mg_step(uint32_t label, float lr, mg_result *result);

#endif
