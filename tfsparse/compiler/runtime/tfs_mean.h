/* Mean over all pixels, per channel; works in place. */
#ifndef TFS_MEAN_H
#define TFS_MEAN_H

#include "tfs_fixed.h"

typedef struct {
    int32_t multiplier; /* holds the division by the number of pixels, too */
    uint16_t pixels, channels;
    int16_t zero_in;
    int8_t shift, zero_out;
} tfs_mean;

static void tfs_mean_run(const tfs_mean *l, const int8_t *in, int8_t *out)
{
    for (int channel = 0; channel < l->channels; channel++) {
        int32_t sum = -l->zero_in * l->pixels;
        for (int pixel = 0; pixel < l->pixels; pixel++) {
            sum += in[pixel * l->channels + channel];
        }
        out[channel] = tfs_clamp(tfs_scale(sum, l->multiplier, l->shift) + l->zero_out, -128, 127);
    }
}

#endif
