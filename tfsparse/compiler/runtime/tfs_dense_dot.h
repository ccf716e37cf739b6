/* Fully connected layer with all its weights stored: two outputs at a time. */
#ifndef TFS_DENSE_DOT_H
#define TFS_DENSE_DOT_H

#include "tfs_dot.h"
#include "tfs_weights.h"

TFS_NOINLINE static void tfs_dense_dot_run(const tfs_dense *l, const int8_t *in, int8_t *out)
{
    for (int row = 0; row < l->rows; row++) {
        const int8_t *weights = l->w.values;
        tfs_channel channel;
        int units;
        tfs_channel_open(&channel, &l->w);
        for (int unit = 0; unit < l->outputs; unit += units) {
            int32_t sums[2] = {0, 0};
            units = unit + 1 < l->outputs ? 2 : 1;
            tfs_dots(sums, units, weights, l->inputs, in, l->inputs, 0, l->w.input_zero);
            weights += units * l->inputs;
            for (int i = 0; i < units; i++) {
                tfs_channel_next(&channel, &l->w);
                *out++ = tfs_dense_output(sums[i], &channel, &l->w);
            }
        }
        in += l->inputs;
    }
}

#endif
