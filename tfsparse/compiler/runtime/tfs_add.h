/* Sum of two tensors with scales of their own; works in place. */
#ifndef TFS_ADD_H
#define TFS_ADD_H

#include "tfs_fixed.h"

typedef struct {
    int32_t multiplier_a, multiplier_b, multiplier_out;
    uint32_t repeats;
    uint32_t size; /* of b, which is added `repeats` times along a */
    int16_t zero_a, zero_b;
    int8_t shift_a, shift_b, shift_out, zero_out, lowest, highest;
} tfs_add;

static void tfs_add_run(const tfs_add *l, const int8_t *a, const int8_t *b, int8_t *out)
{
    for (uint32_t repeat = 0; repeat < l->repeats; repeat++) {
        for (uint32_t i = 0; i < l->size; i++) { /* 20 more bits keep the rounding of the inputs small */
            const int32_t x = tfs_scale((*a++ - l->zero_a) * (1 << 20), l->multiplier_a, l->shift_a);
            const int32_t y = tfs_scale((b[i] - l->zero_b) * (1 << 20), l->multiplier_b, l->shift_b);
            *out++ = tfs_clamp(tfs_scale(x + y, l->multiplier_out, l->shift_out) + l->zero_out, l->lowest, l->highest);
        }
    }
}

#endif
