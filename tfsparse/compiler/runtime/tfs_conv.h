/* 2-D convolution, plain, grouped or depthwise, straight on compressed weights.
 *
 * Outermost the output rows, so that nothing behind the current window is read again; then the output channels; then the
 * stored weights, each of which adds its share to a block of neighbouring pixels. A zero weight costs one look at its bit.
 */
#ifndef TFS_CONV_H
#define TFS_CONV_H

#include <string.h>

#include "tfs_weights.h"

typedef struct {
    tfs_weights w;
    uint16_t in_height, in_width, in_channels;
    uint16_t out_height, out_width, out_channels;
    uint16_t run;       /* input channels that an output channel sees */
    uint16_t per_group; /* output channels that see the same input channels */
    uint8_t kernel_height, kernel_width;
    uint8_t stride_height, stride_width;
    uint8_t dilation_height, dilation_width;
    uint8_t pad_top, pad_left;
    uint8_t block; /* pixels of a row computed together, at most TFS_CONV_BLOCK */
} tfs_conv;

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

/* From sums to outputs of one channel. */
TFS_NOINLINE static void tfs_conv_finish(const tfs_conv *l, const tfs_channel *channel, const int32_t *sums,
                                         int pixels, int8_t *to)
{
    const int32_t base = channel->bias, multiplier = channel->multiplier;
    const int shift = channel->shift;
    const int zero = l->w.output_zero, lowest = l->w.lowest, highest = l->w.highest;
    for (int p = 0; p < pixels; p++) {
        *to = tfs_clamp(tfs_scale(sums[p] + base, multiplier, shift) + zero, lowest, highest);
        to += l->out_channels;
    }
}

static void tfs_conv_run(const tfs_conv *l, const int8_t *in, int8_t *out)
{
    const int zero = l->w.input_zero;
    const int stride = l->stride_width;
    const int step = stride * l->in_channels;
    int32_t sums[TFS_CONV_BLOCK];
    for (int row = 0; row < l->out_height; row++) {
        for (int column = 0; column < l->out_width; column += l->block) {
            const int pixels = l->out_width - column < l->block ? l->out_width - column : l->block;
            const int8_t *group = in;
            int left_in_group = l->per_group;
            tfs_stream stream;
            tfs_channel channel = {0, 0, 0, 0};
            tfs_stream_open(&stream, &l->w);
            for (int o = 0; o < l->out_channels; o++) {
                /* Sums take x * w; what the zero point adds to that is the same for all pixels and goes off at the end.
                 * A tap outside the map counts as if x were the zero point. */
                int y = row * l->stride_height - l->pad_top;
                tfs_channel_next(&channel, &l->w);
                memset(sums, 0, sizeof sums);
                for (int ky = 0; ky < l->kernel_height; ky++, y += l->dilation_height) {
                    int x = column * stride - l->pad_left;
                    for (int kx = 0; kx < l->kernel_width; kx++, x += l->dilation_width) {
                        int c = tfs_stream_zeros(&stream, l->run);
                        int begin = 0, end; /* pixels whose tap lies inside the map */
                        int at = x;
                        int32_t total = 0;
                        const int8_t *source = group;
                        if (c == l->run) {
                            continue;
                        }
                        for (; at < 0 && begin < pixels; at += stride) {
                            begin++;
                        }
                        end = begin;
                        if (y >= 0 && y < l->in_height && begin < pixels && at < l->in_width) {
                            source += (y * l->in_width + at) * l->in_channels;
                            for (; end < pixels && at < l->in_width; at += stride) {
                                end++;
                            }
                        }
                        do {
                            const int weight = tfs_stream_take(&stream);
                            total += weight;
                            if (begin < end) {
                                tfs_conv_tap(sums + begin, end - begin, source + c, step, weight);
                            }
                            c++;
                            c += tfs_stream_zeros(&stream, l->run - c);
                        } while (c < l->run);
                        total *= zero;
                        channel.bias -= total;
                        for (int p = 0; p < begin; p++) {
                            sums[p] += total;
                        }
                        for (int p = end; p < pixels; p++) {
                            sums[p] += total;
                        }
                    }
                }
                tfs_conv_finish(l, &channel, sums, pixels,
                                out + ((row * l->out_width + column) * l->out_channels + o));
                if (--left_in_group == 0) {
                    left_in_group = l->per_group;
                    group += l->run;
                }
            }
        }
    }
}

#endif
