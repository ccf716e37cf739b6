/* Fully connected layer, straight on compressed weights. */
#ifndef TFS_DENSE_H
#define TFS_DENSE_H

#include "tfs_weights.h"

typedef struct {
    tfs_weights w;
    uint16_t rows, inputs, outputs;
} tfs_dense;

static void tfs_dense_run(const tfs_dense *l, const int8_t *in, int8_t *out)
{
    for (int row = 0; row < l->rows; row++) {
        tfs_stream stream;
        tfs_channel channel = {0, 0, 0, 0};
        tfs_stream_open(&stream, &l->w);
        for (int unit = 0; unit < l->outputs; unit++) {
            int32_t sum;
            tfs_channel_next(&channel, &l->w);
            sum = channel.bias;
            for (int i = tfs_stream_zeros(&stream, l->inputs); i < l->inputs;) {
                sum += (in[i] - l->w.input_zero) * tfs_stream_take(&stream);
                i++;
                i += tfs_stream_zeros(&stream, l->inputs - i);
            }
            sum = tfs_scale_once(sum, channel.multiplier, channel.shift) + l->w.output_zero;
            *out++ = tfs_clamp(sum, l->w.lowest, l->w.highest);
        }
        in += l->inputs;
    }
}

#endif
