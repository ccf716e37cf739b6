/* Change of scale and zero point by one factor above zero and another below; works in place. */
#ifndef TFS_LEAKY_RELU_H
#define TFS_LEAKY_RELU_H

#include "tfs_fixed.h"

typedef struct {
    int32_t above, below; /* multipliers */
    uint32_t size;
    int16_t zero_in;
    int8_t shift_above, shift_below, zero_out;
} tfs_leaky_relu;

static void tfs_leaky_relu_run(const tfs_leaky_relu *l, const int8_t *in, int8_t *out)
{
    for (uint32_t i = 0; i < l->size; i++) {
        const int32_t x = in[i] - l->zero_in;
        const int32_t y = tfs_scale(x, x < 0 ? l->below : l->above, x < 0 ? l->shift_below : l->shift_above);
        out[i] = tfs_clamp(y + l->zero_out, -128, 127);
    }
}

#endif
