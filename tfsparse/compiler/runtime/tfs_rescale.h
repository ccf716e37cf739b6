/* Elementwise change of scale and zero point, clamped; works in place. */
#ifndef TFS_RESCALE_H
#define TFS_RESCALE_H

#include "tfs_fixed.h"

typedef struct {
    int32_t multiplier;
    uint32_t size;
    int16_t zero_in;
    int8_t shift, zero_out, lowest, highest;
} tfs_rescale;

static void tfs_rescale_run(const tfs_rescale *l, const int8_t *in, int8_t *out)
{
    for (uint32_t i = 0; i < l->size; i++) {
        const int32_t x = tfs_scale(in[i] - l->zero_in, l->multiplier, l->shift);
        out[i] = tfs_clamp(x + l->zero_out, l->lowest, l->highest);
    }
}

#endif
