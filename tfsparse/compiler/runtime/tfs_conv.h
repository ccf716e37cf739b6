/* 2-D convolution, plain, grouped or depthwise, straight on compressed weights, one output row a call.
 *
 * Outermost the output channels, so that a row needs their constants once; then the stored weights, each of which adds
 * its share to a block of neighbouring pixels. Where the window's rows and columns lie is worked out once for all
 * channels, or, in less code and stack, for each place anew. A zero weight costs nothing.
 */
#ifndef TFS_CONV_H
#define TFS_CONV_H

#include "tfs_window.h"

/* sums[i] += (x[i * step] - zero) * weight for i < n. Apart, so that all it needs stays in registers. */
TFS_NOINLINE static void tfs_conv_tap(int32_t *sums, int n, const int8_t *x, int step, int weight, int zero)
{
#ifdef TFS_INLINED
    if (n & 1) {
        *sums++ += (*x - zero) * weight;
        x += step;
    }
    n >>= 1;
    if (n > 0) {
        do {
            sums[0] += (x[0] - zero) * weight;
            sums[1] += (x[step] - zero) * weight;
            x += 2 * step;
            sums += 2;
        } while (--n > 0);
    }
#else
    while (--n >= 0) {
        *sums++ += (*x - zero) * weight;
        x += step;
    }
#endif
}

/* A column of the window: the pixels [begin, end) of a block for which it lies inside the map, and where the first of
 * them finds it in a row of the map. */
typedef struct {
    TFS_OFFSET offset;
    uint8_t begin, end;
} tfs_column;

/* That of the column which reads the map's column x for the first pixel. */
static inline tfs_column tfs_column_of(const tfs_conv *l, int x, int pixels)
{
    tfs_column column;
    int begin = 0, end = pixels, at = x;
    while (at < 0 && begin < end) {
        at += TFS_STRIDE_WIDTH(l);
        begin++;
    }
    while (end > begin && x + (end - 1) * TFS_STRIDE_WIDTH(l) >= l->in_width) {
        end--;
    }
    column.offset = (TFS_OFFSET)(at * l->in_channels);
    column.begin = (uint8_t)begin;
    column.end = (uint8_t)end;
    return column;
}

#define TFS_OUTSIDE (-1)

/* Where row `ky` of the window finds its row of the map. */
static inline int tfs_conv_source(const tfs_conv *l, int row, int ky)
{
    const int y = row * l->stride_height - l->pad_top + ky * TFS_DILATION_HEIGHT(l);
    return y >= 0 && y < l->in_height ? (int)TFS_ROW(l, y, l->in_width * l->in_channels) : TFS_OUTSIDE;
}

/* Row `row` of the output to `out`. */
TFS_NOINLINE static void tfs_conv_row(const tfs_conv *l, const int8_t *in, int8_t *out, int row)
{
    const int step = TFS_STRIDE_WIDTH(l) * l->in_channels;
    int32_t sums[TFS_CONV_BLOCK];
#ifdef TFS_INLINED
    tfs_column columns[TFS_MOST_COLUMNS];
    TFS_OFFSET rows[TFS_MOST_ROWS];
    for (int ky = 0; ky < l->kernel_height; ky++) {
        rows[ky] = (TFS_OFFSET)tfs_conv_source(l, row, ky);
    }
#endif
    memset(sums, 0, sizeof sums);
    for (int column = 0; column < l->out_width; column += l->block) {
        /* No layer's block is larger: said here so that compilers see that `sums` is large enough. */
        const int left = l->out_width - column < l->block ? l->out_width - column : l->block;
        const int pixels = left < TFS_CONV_BLOCK ? left : TFS_CONV_BLOCK;
        const int x = column * TFS_STRIDE_WIDTH(l) - TFS_PAD_LEFT(l);
        tfs_channel channel;
#ifdef TFS_INLINED
        for (int kx = 0; kx < TFS_WINDOW_WIDTH(l); kx++) {
            columns[kx] = tfs_column_of(l, x + kx * TFS_DILATION_WIDTH(l), pixels);
        }
#endif
        tfs_channel_open(&channel, &l->w);
        for (int o = 0; o < l->out_channels; o++) {
            const int8_t *group = in + o / l->per_group * l->run;
            int place = 0, c; /* in the window, column by column, and in the run of channels there */
            tfs_channel_next(&channel, &l->w);
            c = channel.zeros;
            channel.zeros = 0; /* and it stays so where all weights are stored */
            for (;;) {
                tfs_column at;
                const int8_t *source;
                int32_t *first;
                int kx, ky, count, line;
                place += c / l->run;
                c %= l->run;
                kx = place / l->kernel_height;
                ky = place - kx * l->kernel_height;
                if (kx >= TFS_WINDOW_WIDTH(l)) {
                    break;
                }
#ifdef TFS_INLINED
                at = columns[kx];
                line = rows[ky];
#else /* less code and stack */
                at = tfs_column_of(l, x + kx * TFS_DILATION_WIDTH(l), pixels);
                line = tfs_conv_source(l, row, ky);
#endif
                first = sums + at.begin;
                source = group + at.offset + line;
                count = line == TFS_OUTSIDE ? 0 : at.end - at.begin;
                do {
                    const int weight = tfs_weight_next(&channel, &l->w);
                    if (weight != 0) {
                        tfs_conv_tap(first, count, source + c, step, weight, l->w.input_zero);
                    }
                    c += 1 + channel.zeros;
                } while (c < l->run);
            }
            channel.zeros = c + (place - TFS_WINDOW_WIDTH(l) * l->kernel_height) * l->run;
            tfs_conv_finish(l, &channel, sums, pixels, out + (column * l->out_channels + o));
        }
    }
}

#endif
