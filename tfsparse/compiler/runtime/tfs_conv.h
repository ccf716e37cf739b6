/* 2-D convolution, plain, grouped or depthwise, straight on compressed weights, one output row a call.
 *
 * The input may be a ring that holds `held` rows at a time. Outermost the output channels, so that a row needs their
 * constants once; then the stored weights, each of which adds its share to a block of neighbouring pixels. A zero weight
 * costs nothing.
 */
#ifndef TFS_CONV_H
#define TFS_CONV_H

#include "tfs_window.h"

/* sums[i] += x[i * step] * weight for i < n, n at least 1. Apart, so that all it needs stays in registers. */
TFS_NOINLINE static void tfs_conv_tap(int32_t *sums, int n, const int8_t *x, int step, int weight)
{
    if (n & 1) {
        *sums++ += *x * weight;
        x += step;
    }
    for (n >>= 1; n > 0; n--) {
        sums[0] += x[0] * weight;
        sums[1] += x[step] * weight;
        x += 2 * step;
        sums += 2;
    }
}

/* Row `row` of the output to `out`. */
TFS_NOINLINE static void tfs_conv_row(const tfs_conv *l, const int8_t *in, int8_t *out, int row)
{
    const int stride = l->stride_width;
    const int step = stride * l->in_channels, taps = l->kernel_height * l->run; /* of a column */
    /* No layer's block is larger: said here so that compilers see that `sums` is large enough. */
    const int block = l->block < TFS_CONV_BLOCK ? l->block : TFS_CONV_BLOCK;
    int32_t sums[TFS_CONV_BLOCK];
    memset(sums, 0, sizeof sums);
    for (int column = 0; column < l->out_width; column += block) {
        const int pixels = l->out_width - column < block ? l->out_width - column : block;
        const int8_t *group = in;
        int left_in_group = l->per_group;
        tfs_channel channel;
        tfs_channel_open(&channel, &l->w);
        for (int o = 0; o < l->out_channels; o++) {
            /* Sums take x * w; what the zero point adds to that is the same for all pixels and goes off at the end.
             * A tap outside the map counts as if x were the zero point. */
            int x = column * stride - l->pad_left;
            tfs_channel_next(&channel, &l->w);
            for (int kx = 0; kx < l->kernel_width; kx++, x += l->dilation_width) {
                while (channel.zeros < taps) {
                    const int ky = channel.zeros / l->run;
                    const int y = row * l->stride_height - l->pad_top + ky * l->dilation_height;
                    const int8_t *source = group;
                    int begin = 0, end = 0; /* pixels whose tap lies inside the map */
                    int c = channel.zeros - ky * l->run;
                    int32_t total = 0;
                    if (y >= 0 && y < l->in_height) {
                        if (x < 0) {
                            begin = tfs_steps(-x, stride);
                        }
                        if (x < l->in_width) {
                            end = tfs_steps(l->in_width - x, stride);
                        }
                        end = end < pixels ? end : pixels;
                        source += ((y % l->held) * l->in_width + x + begin * stride) * l->in_channels;
                    }
                    channel.zeros = 0; /* and it stays so where all weights are stored */
                    do {
                        const int weight = tfs_weight_next(&channel, &l->w);
                        total += weight;
                        if (begin < end) {
                            tfs_conv_tap(sums + begin, end - begin, source + c, step, weight);
                        }
                        c += 1 + channel.zeros;
                    } while (c < l->run);
                    channel.zeros = ky * l->run + c;
                    if (begin < end) {
                        total *= l->w.input_zero;
                        channel.bias -= total;
                        for (int p = 0; p < begin; p++) {
                            sums[p] += total;
                        }
                        for (int p = end; p < pixels; p++) {
                            sums[p] += total;
                        }
                    }
                }
                channel.zeros -= taps;
            }
            tfs_conv_finish(l, &channel, sums, pixels, out + (column * l->out_channels + o));
            if (--left_in_group == 0) {
                left_in_group = l->per_group;
                group += l->run;
            }
        }
    }
}

#endif
