/* 2-D convolution, plain, grouped or depthwise, straight on a stream of weights, one output row a call.
 *
 * For each output channel in turn, its weights are unpacked
 * into a short list of taps, and the list is run over a block of neighbouring pixels, three at a time, whose sums stay
 * in registers. A weight that is zero costs nothing.
 */
#ifndef TFS_CONV_TAPS_H
#define TFS_CONV_TAPS_H

#include "tfs_window.h"

typedef struct {
    TFS_OFFSET offset; /* from the first pixel of the block, as if that were in the same place of the input */
    int8_t weight;
    uint8_t column; /* of the window */
} tfs_tap;

/* Unpack what is left of a channel's weights, as far as the list has room; returns the list's end. Weights that read a
 * row outside the map are left out. Until all are unpacked, `zeros` is the place of the next one in the channel. */
TFS_FAST static tfs_tap *tfs_unpack(const tfs_conv *l, tfs_channel *channel, tfs_tap *list, int row, int left)
{
    const int run = l->run, taps = l->kernel_height * l->kernel_width * run;
    tfs_channel at = *channel; /* a copy, as the list might lie anywhere for all C knows */
    tfs_tap *tap = list;
    int32_t total = 0;
    do {
        const int place = at.zeros / run, ky = place / l->kernel_width, kx = place - ky * l->kernel_width;
        const int y = row * l->stride_height - l->pad_top + ky * TFS_DILATION_HEIGHT(l);
        const int inside = y >= 0 && y < l->in_height;
        const int start = inside ? (int)TFS_ROW(l, y, l->in_width * l->in_channels) : 0;
        const int source = start + (left + kx * TFS_DILATION_WIDTH(l)) * l->in_channels;
        int c = at.zeros - place * run;
        at.zeros = 0; /* and it stays so where all weights are stored */
        do {
            const int weight = tfs_weight_next(&at, &l->w);
            if (inside) {
                tap->offset = (TFS_OFFSET)(source + c);
                tap->weight = (int8_t)weight;
                tap->column = (uint8_t)kx;
                tap++;
                total += weight;
            }
            c += 1 + at.zeros;
        } while (c < run && tap < list + TFS_CONV_TAPS);
        at.zeros = place * run + c;
    } while (at.zeros < taps && tap < list + TFS_CONV_TAPS);
    /* Sums take x * w: what the zero point adds to that is the same for all pixels. */
    channel->position = at.position;
    channel->zeros = at.zeros;
    channel->bias -= total * l->w.input_zero;
    return tap;
}

/* sums[k] += all x[k * step + offset] * weight, for k < count; three k at a time, for which registers just suffice. */
TFS_FAST static void tfs_taps(int32_t *sums, int count, const int8_t *x, int step, const tfs_tap *taps,
                                  const tfs_tap *end)
{
    for (; count > 0 && taps < end; count -= 3) {
        const tfs_tap *tap = taps;
        /* Pixels that are not there are copies of others, not to be kept. */
        const int8_t *const x1 = count > 1 ? x + step : x, *const x2 = count > 2 ? x1 + step : x1;
        int32_t sum0 = sums[0], sum1 = sums[1], sum2 = sums[2];
        do {
            const int offset = tap->offset, weight = tap->weight;
            tap++;
            sum0 += x[offset] * weight;
            sum1 += x1[offset] * weight;
            sum2 += x2[offset] * weight;
        } while (tap < end);
        *sums++ = sum0;
        if (count > 1) {
            *sums++ = sum1;
        }
        if (count > 2) {
            *sums++ = sum2;
        }
        x = x2 + step;
    }
}

/* The same for a pixel that does not see all columns: a tap outside the map counts as if x were the zero point.
 * `column`: of the input, that the first column of the window reads. */
TFS_FAST static void tfs_edge_taps(const tfs_conv *l, int32_t *sum, int column, const int8_t *x,
                                       const tfs_tap *taps, const tfs_tap *end)
{
    const unsigned width = l->in_width;
    const int dilation = TFS_DILATION_WIDTH(l), zero = l->w.input_zero;
    int32_t total = *sum;
    for (; taps < end; taps++) {
        int value = zero;
        if ((unsigned)(column + taps->column * dilation) < width) {
            value = x[taps->offset];
        }
        total += value * taps->weight;
    }
    *sum = total;
}

/* Row `row` of the output to `out`. */
TFS_NOINLINE static void tfs_conv_taps_row(const tfs_conv *l, const int8_t *in, int8_t *out, int row)
{
    const int stride = l->stride_width, step = stride * l->in_channels;
    const int taps = l->kernel_height * l->kernel_width * l->run;
    /* No layer's block is larger: said here so that compilers see that `sums` is large enough. */
    const int block = l->block < TFS_CONV_BLOCK ? l->block : TFS_CONV_BLOCK;
    tfs_tap list[TFS_CONV_TAPS];
    int32_t sums[TFS_CONV_BLOCK + 2]; /* three are read at a time */
    memset(sums, 0, sizeof sums);
    for (int column = 0; column < l->out_width; column += block) {
        const int pixels = l->out_width - column < block ? l->out_width - column : block;
        const int left = column * stride - l->pad_left;
        const int room = l->in_width - left - (l->kernel_width - 1) * TFS_DILATION_WIDTH(l);
        /* Pixels [first, last) see all columns of the window. */
        int first = left < 0 ? tfs_steps(-left, stride) : 0, last = room > 0 ? tfs_steps(room, stride) : 0;
        const int8_t *group = in;
        int left_in_group = l->per_group;
        tfs_channel channel;
        last = last < pixels ? last : pixels;
        if (first >= last) {
            first = last = pixels;
        }
        tfs_channel_open(&channel, &l->w);
        for (int o = 0; o < l->out_channels; o++) {
            tfs_channel_next(&channel, &l->w);
            while (channel.zeros < taps) {
                const tfs_tap *end = tfs_unpack(l, &channel, list, row, left);
                for (int p = 0; p < pixels; p++) {
                    const int8_t *x = group + p * step;
                    if (p == first) {
                        tfs_taps(sums + p, last - p, x, step, list, end);
                        p = last - 1;
                    } else {
                        tfs_edge_taps(l, sums + p, left + p * stride, x, list, end);
                    }
                }
            }
            channel.zeros -= taps;
            tfs_conv_finish(l, &channel, sums, pixels, out + (column * l->out_channels + o));
            if (--left_in_group == 0) {
                left_in_group = l->per_group;
                group += l->run;
            }
        }
    }
}

#endif
