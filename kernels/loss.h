/* Softmax cross-entropy, and the exponential and logarithm it needs: ours, so that every machine has the same
 * bits. */
#ifndef MG_LOSS_H
#define MG_LOSS_H

#include "types.h"

/* e^x for x <= 0; 0 below -87. Multiplications and additions only; not-a-number comes back. */
float mg_expf(float x);

/* Natural logarithm of a normal positive float; anything else comes back as it is. */
float mg_logf(float x);

/* loss = log(sum e^z) - z[label], predicted = first largest logit, dlogits = softmax(z) - onehot(label), n
 * logits. 0 <= label < n. */
void mg_softmax_xent_f32(float *loss, int32_t *predicted, float *dlogits, const float *logits,
                         const int32_t *label, const mg_count_params *p);

#endif
