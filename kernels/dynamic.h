/* Dynamic sparse gradients: only the output channels whose gradient is largest get weight gradients, as many
 * as the loss asks for.
 *
 * active: the count, then that many channels in ascending order. Tensors of active channels are packed: the
 * channels' axis has the extent active[0]. What lies behind count or packed elements is not touched. */
#ifndef MG_DYNAMIC_H
#define MG_DYNAMIC_H

#include "conv.h"
#include "update.h"

/* Shares in 1/4096, 0 < least <= most <= 4096. */
typedef struct {
    int32_t least, most;
} mg_share_params;

/* share = least + (most - least) * loss / worst, rounded half away from zero; worst, the largest loss so far,
 * takes this one in first. loss >= 0. */
void mg_active_share_s32(int32_t *share, const float *loss, float *worst, const mg_share_params *p);

/* norms[c] = sum of |da| over at most 65536 pixels. */
void mg_channel_norms_s32(int32_t *norms, const int16_t *da, const mg_clamp_params *p);

/* The share of n channels, rounded up to a multiple of four where there are as many: those with the largest
 * norms, of equal ones the lower. */
void mg_top_channels_s32(int32_t *active, const int32_t *norms, const int32_t *share,
                         const mg_count_params *p);

/* The active channels of a map, packed. */
void mg_gather_active_s8(int8_t *part, const int8_t *x, const int32_t *active, const mg_clamp_params *p);
void mg_gather_active_dx_s16(int16_t *part, const int16_t *x, const int32_t *active,
                             const mg_clamp_params *p);

/* conv.h's weight gradients of the active output channels; da and dw (depthwise: x too) are packed, p has the
 * most channels that there can be. */
void mg_conv2d_dw_dynamic_s32(int32_t *dw, int32_t *work, const int16_t *da, const int8_t *x,
                              const int32_t *active, const mg_conv_params *p);
void mg_depthwise_conv2d_dw_dynamic_s32(int32_t *dw, const int16_t *da, const int8_t *x,
                                        const int32_t *active, const mg_conv_params *p);

/* update.h's sgd, or with an index its sgd_partial, of the active channels (those of frac); dw is packed.
 * p->trained: entries of frac's last axis. */
void mg_sgd_dynamic_s8(int8_t *w, int8_t *frac, const int32_t *dw, const float *coef,
                       const mg_scale *da_scale, const float *lr, const int32_t *active, const int32_t *index,
                       const mg_sgd_params *p);

#endif
