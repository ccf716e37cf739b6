/* Product of two tensors; works in place. */
#ifndef TFS_MULTIPLY_H
#define TFS_MULTIPLY_H

#include "tfs_fixed.h"
#include "tfs_grid.h"

typedef struct {
    tfs_operands over;
    int32_t multiplier;
    int16_t zero_a, zero_b;
    int8_t shift, zero_out, lowest, highest;
} tfs_multiply;

static void tfs_multiply_run(const tfs_multiply *l, const int8_t *a, const int8_t *b, int8_t *out)
{
    tfs_walk at = {0};
    do {
        const int8_t *p = a + at.a, *q = b + at.b;
        for (uint32_t i = 0; i < l->over.length; i++) {
            const int32_t product = (*p - l->zero_a) * (*q - l->zero_b);
            *out++ = tfs_clamp(tfs_scale(product, l->multiplier, l->shift) + l->zero_out, l->lowest, l->highest);
            p += TFS_STEP(l->over, a);
            q += TFS_STEP(l->over, b);
        }
    } while (TFS_MORE(l->over, &at));
}

#endif
