/* 2-D convolution, plain, grouped or depthwise, straight on compressed weights, one output row a call.
 *
 * Outermost the output channels, so that a row needs their
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

/* All taps of one place of the window, that reads row y of the map and, for the first of the pixels, column x. */
TFS_INLINE void tfs_conv_place(const tfs_conv *l, tfs_channel *channel, int32_t *sums, int pixels,
                                        const int8_t *in, int y, int x)
{
    int begin = 0, count = 0; /* pixels whose tap lies inside the map */
    int c = channel->zeros;
    int32_t total = 0;
    if (y >= 0 && y < l->in_height && x < l->in_width) {
        if (x < 0) {
            begin = tfs_steps(-x, l->stride_width);
        }
        count = tfs_steps(l->in_width - x, l->stride_width);
        count = (count < pixels ? count : pixels) - begin;
        in += TFS_ROW(l, y, l->in_width * l->in_channels) + (x + begin * l->stride_width) * l->in_channels;
    }
    do {
        const int weight = tfs_weight_next(channel, &l->w);
        if (count > 0) {
            total += weight;
            tfs_conv_tap(sums + begin, count, in + c, l->stride_width * l->in_channels, weight);
        }
        c += 1 + channel->zeros;
    } while (c < l->run);
    channel->zeros = c - l->run;
    /* Sums take x * w; what the zero point adds to that is the same for all pixels and goes off at the end. A tap
     * outside the map counts as if x were the zero point. */
    total *= l->w.input_zero;
    channel->bias -= total;
    if (count < pixels && total != 0) {
        while (--pixels >= 0) {
            if (pixels < begin || pixels >= begin + count) {
                sums[pixels] += total;
            }
        }
    }
}

/* Row `row` of the output to `out`. */
TFS_NOINLINE static void tfs_conv_row(const tfs_conv *l, const int8_t *in, int8_t *out, int row)
{
    const int taps = l->kernel_height * l->kernel_width * l->run;
    int32_t sums[TFS_CONV_BLOCK];
    tfs_channel channel;
    memset(sums, 0, sizeof sums);
    for (int column = 0; column < l->out_width; column += l->block) {
        tfs_channel_open(&channel, &l->w);
        for (int o = 0; o < l->out_channels; o++) {
            /* No layer's block is larger: said here so that compilers see that `sums` is large enough. */
            int pixels = l->out_width - column < l->block ? l->out_width - column : l->block;
            pixels = pixels < TFS_CONV_BLOCK ? pixels : TFS_CONV_BLOCK;
            tfs_channel_next(&channel, &l->w);
            while (channel.zeros < taps) {
                const int place = channel.zeros / l->run, kx = place / l->kernel_height;
                const int ky = place - kx * l->kernel_height;
                TFS_FORGET();
                channel.zeros -= place * l->run;
                tfs_conv_place(l, &channel, sums, pixels, in + o / l->per_group * l->run,
                               row * l->stride_height - l->pad_top + ky * TFS_DILATION_HEIGHT(l),
                               column * l->stride_width - l->pad_left + kx * TFS_DILATION_WIDTH(l));
                channel.zeros += (place + 1) * l->run;
            }
            channel.zeros -= taps;
            tfs_conv_finish(l, &channel, sums, pixels, out + (column * l->out_channels + o));
        }
    }
}

#endif
