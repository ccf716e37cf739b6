/* 2-D convolution, plain, grouped or depthwise, straight on a stream of weights, one output row a call.
 *
 * For each output channel and column of its window in turn, the weights are unpacked into a short list of taps, and the
 * list is run over those of a block of neighbouring pixels for which the column lies inside the map, four at a time,
 * whose sums stay in registers. A weight that is zero costs nothing.
 */
#ifndef TFS_CONV_TAPS_H
#define TFS_CONV_TAPS_H

#include "tfs_window.h"

/* A weight, and the offset of what it is multiplied by from the column's pixel in the input's first row and channel. */
#ifdef TFS_FAR
typedef struct {
    int32_t offset, weight;
} tfs_tap;
#else
typedef int32_t tfs_tap; /* weight * 2^16 + offset: one load for both */
#endif

static inline tfs_tap tfs_tap_of(int offset, int weight)
{
#ifdef TFS_FAR
    const tfs_tap tap = {offset, weight};
    return tap;
#else
    return (int32_t)((uint32_t)weight << 16 | (uint32_t)offset);
#endif
}

static inline int tfs_tap_offset(tfs_tap tap)
{
#ifdef TFS_FAR
    return tap.offset;
#else
    return (int16_t)tap;
#endif
}

/* sum + x * the tap's weight */
static inline int32_t tfs_tap_add(int32_t sum, int32_t x, tfs_tap tap)
{
#ifdef TFS_FAR
    return sum + x * tap.weight;
#else
    return tfs_add_upper(sum, x, tap);
#endif
}

typedef struct {
    tfs_tap taps[TFS_CONV_TAPS], *end;
    int32_t total; /* of the weights */
} tfs_list;

/* Unpack what is left of the weights of a column, as far as the list has room. Weights that read a row outside the map
 * are left out. Until all are unpacked, the channel's `zeros` are the place of the next one in the column. */
TFS_FAST static void tfs_unpack(const tfs_conv *l, tfs_channel *channel, tfs_list *list, int row)
{
    const int run = l->run, taps = l->kernel_height * run;
    const tfs_tap *const full = list->taps + TFS_CONV_TAPS;
    tfs_channel at = *channel; /* a copy, as the list might lie anywhere for all C knows */
    tfs_tap *tap = list->taps;
    int32_t total = 0;
    do {
        const int ky = at.zeros / run, y = row * l->stride_height - l->pad_top + ky * TFS_DILATION_HEIGHT(l);
        const int inside = y >= 0 && y < l->in_height;
        const int source = inside ? (int)TFS_ROW(l, y, l->in_width * l->in_channels) : 0;
        int c = at.zeros - ky * run;
        at.zeros = 0; /* and it stays so where all weights are stored */
        do {
            const int weight = tfs_weight_next(&at, &l->w);
            *tap = tfs_tap_of(source + c, weight); /* to be written over where it is outside */
            tap += inside;
            total += weight * inside;
            c += 1 + at.zeros;
        } while (c < run && tap < full);
        at.zeros = ky * run + c;
    } while (at.zeros < taps && tap < full);
    channel->position = at.position;
    channel->zeros = at.zeros;
    list->end = tap;
    list->total = total;
}

/* sums[k] += all x[k * step + offset] * weight, for k < count; four k at a time, for which registers just suffice. */
TFS_FAST static void tfs_taps(int32_t *sums, int count, const int8_t *x, int step, const tfs_list *list)
{
    const tfs_tap *const end = list->end;
    for (; count > 0 && list->taps < end; count -= 4) {
        const tfs_tap *tap = list->taps;
        const int8_t *x1 = x, *x2 = x, *x3 = x;
        int32_t sum0 = sums[0], sum1 = sums[1], sum2 = sums[2], sum3 = sums[3];
        if (count > 3) {
            x1 = x + step;
            x2 = x1 + step;
            x3 = x2 + step;
        } else { /* pixels that are not there are copies of the first, not to be kept */
            x1 += count > 1 ? step : 0;
            x2 += count > 2 ? 2 * step : 0;
        }
        do {
            const tfs_tap at = *tap++;
            const int offset = tfs_tap_offset(at);
            sum0 = tfs_tap_add(sum0, x[offset], at);
            sum1 = tfs_tap_add(sum1, x1[offset], at);
            sum2 = tfs_tap_add(sum2, x2[offset], at);
            sum3 = tfs_tap_add(sum3, x3[offset], at);
        } while (tap < end);
        sums[0] = sum0;
        if (count > 3) {
            sums[1] = sum1;
            sums[2] = sum2;
            sums[3] = sum3;
        } else {
            sums[1] = count > 1 ? sum1 : sums[1];
            sums[2] = count > 2 ? sum2 : sums[2];
        }
        sums += 4;
        x = x3 + step;
    }
}

/* Row `row` of the output to `out`. */
TFS_NOINLINE static void tfs_conv_taps_row(const tfs_conv *l, const int8_t *in, int8_t *out, int row)
{
    const int stride = TFS_STRIDE_WIDTH(l), step = stride * l->in_channels, taps = l->kernel_height * l->run;
    /* No layer's block is larger: said here so that compilers see that `sums` is large enough. */
    const int block = l->block < TFS_CONV_BLOCK ? l->block : TFS_CONV_BLOCK;
    tfs_list list;
    int32_t sums[TFS_CONV_BLOCK + 3]; /* four are read at a time */
    memset(sums, 0, sizeof sums);
    for (int column = 0; column < l->out_width; column += block) {
        const int pixels = l->out_width - column < block ? l->out_width - column : block;
        const int8_t *group = in;
        int left_in_group = l->per_group;
        tfs_channel channel;
        tfs_channel_open(&channel, &l->w);
        for (int o = 0; o < l->out_channels; o++) {
            int x = column * stride - TFS_PAD_LEFT(l);
            tfs_channel_next(&channel, &l->w);
            for (int columns = TFS_WINDOW_WIDTH(l); columns > 0; columns--) {
                while (channel.zeros < taps) {
                    const int room = l->in_width - x;
                    const int from = x < 0 ? tfs_steps(-x, stride) : 0;
                    int to = room > 0 ? tfs_steps(room, stride) : 0; /* [from, to): pixels whose tap is inside */
                    tfs_unpack(l, &channel, &list, row);
                    to = to < pixels ? to : pixels;
                    if (from < to) {
                        /* Sums take x * w; what the zero point adds to that is the same for all pixels and goes off at
                         * the end. A tap outside the map counts as if x were the zero point. */
                        const int32_t total = list.total * l->w.input_zero;
                        channel.bias -= total;
                        for (int p = 0; p < from; p++) {
                            sums[p] += total;
                        }
                        for (int p = to; p < pixels; p++) {
                            sums[p] += total;
                        }
                        tfs_taps(sums + from, to - from, group + (x + from * stride) * l->in_channels, step, &list);
                    }
                }
                channel.zeros -= taps;
                x += TFS_DILATION_WIDTH(l);
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
