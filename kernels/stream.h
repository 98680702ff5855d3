/* Some rows of a node at a time, out of and into windows of rolling rows. */
#ifndef MG_STREAM_H
#define MG_STREAM_H

#include "conv.h"
#include "elementwise.h"
#include "move.h"

/* Wide enough for any row or number of rows of the model. */
#ifndef MG_ROW
#define MG_ROW uint8_t
#endif

/* One call of a kernel: `rows` rows of output at row `to` of where it lies, out of those at row `in` of where
 * its operand lies, with `pad` rows of padding above. more: how many of them; of an add, the row of the other
 * operand. Before it, `drop` rows go from the start of the output's window, and the `to` rows after them move
 * there. */
typedef struct {
    MG_ROW call, drop, to, in, more, rows, pad;
} mg_rows;

/* Where the call's output goes; `row`: bytes of one. */
static inline int8_t *mg_out_row(int8_t *y, int32_t row, const mg_rows *r) {
    if (r->drop)
        mg_move_down(y, y + r->drop * row, r->to * row);
    return y + r->to * row;
}

/* The node's parameters, for these rows. */
static inline void mg_conv_rows(mg_conv_params *to, const mg_conv_params *p, const mg_rows *r) {
    *to = *p;
    to->in_h = r->more, to->out_h = r->rows, to->pad_top = r->pad;
}

static inline void mg_add_rows(mg_add_params *to, const mg_add_params *p, int32_t row, const mg_rows *r) {
    *to = *p;
    to->n = r->rows * row;
}

#endif
