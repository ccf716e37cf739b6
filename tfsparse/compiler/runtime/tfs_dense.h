/* Fully connected layer, straight on compressed weights. */
#ifndef TFS_DENSE_H
#define TFS_DENSE_H

#include "tfs_weights.h"

TFS_NOINLINE static void tfs_dense_run(const tfs_dense *l, const int8_t *in, int8_t *out)
{
    for (int row = 0; row < l->rows; row++) {
        tfs_channel channel;
        tfs_channel_open(&channel, &l->w);
        for (int unit = 0; unit < l->outputs; unit++) {
            int32_t sum = 0;
            int i = channel.zeros;
            tfs_channel_next(&channel, &l->w);
            while (i < l->inputs) {
                sum += (in[i] - l->w.input_zero) * tfs_weight_next(&channel, &l->w);
                i += 1 + channel.zeros;
            }
            channel.zeros = i - l->inputs;
            *out++ = tfs_dense_output(sum, &channel, &l->w);
        }
        in += l->inputs;
    }
}

#endif
