/* Fully connected layer with all its weights stored, in little flash and little stack. */
#ifndef TFS_DENSE_SMALL_H
#define TFS_DENSE_SMALL_H

#include "tfs_weights.h"

TFS_NOINLINE static void tfs_dense_small_run(const tfs_dense *l, const int8_t *in, int8_t *out)
{
    for (int row = 0; row < l->rows; row++) {
        const int8_t *w = l->w.values;
        tfs_channel channel;
        tfs_channel_open(&channel, &l->w);
        for (int unit = 0; unit < l->outputs; unit++) {
            int32_t sum = 0;
            tfs_channel_next(&channel, &l->w);
            for (int i = 0; i < l->inputs; i++) {
                sum += (in[i] - l->w.input_zero) * *w++;
            }
            *out++ = tfs_dense_output(sum, &channel, &l->w);
        }
        in += l->inputs;
    }
}

#endif
