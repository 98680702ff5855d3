/* Samples in, steps out. Knows the model's sizes, not its operations. */
#ifndef MG_TRAIN_H
#define MG_TRAIN_H

#include <stddef.h>
#include <stdint.h>

/* DATA: a piece of the sample, taken only at the offset that is due; answers CREDIT. */
void train_data(const uint8_t *payload, size_t size);

/* TRAIN: one step or one evaluation of the sample, once however often it is asked; answers RESULT. */
void train_step(const uint8_t *payload, size_t size);

/* The trained state was replaced: answers kept from before no longer hold. */
void train_forget(void);

#endif
