/* 2-D convolution with all its weights stored, plain or depthwise of 3x3, for rows [row, end) of the output.
 *
 * Outermost the output channels, so that their constants are unpacked once for all of these rows; then a block of pixels
 * whose sums grow row by row of the window. All of a depthwise row is read before any of it is written, so that it may lie
 * over a row of the input that is read for the last time.
 */
#ifndef TFS_CONV_DENSE_H
#define TFS_CONV_DENSE_H

#ifdef TFS_PLAIN_CONV
#include "tfs_dot.h"
#endif
#ifdef TFS_NINE
#include "tfs_nine.h"
#endif
#include "tfs_window.h"

#ifdef TFS_PLAIN_CONV
/* sums[i] += one row of the window that sees several channels, for `count` pixels from the one on whose window begins at
 * column x; source: the row of the map. */
TFS_NOINLINE static void tfs_conv_line(const tfs_conv *l, int32_t *sums, int count, const int8_t *source,
                                       const int8_t *w, int x)
{
    const int channels = l->in_channels, stride = TFS_STRIDE_WIDTH(l), dilation = TFS_DILATION_WIDTH(l);
    while (count > 0) {
        int from = 0, to = TFS_WINDOW_WIDTH(l), n = 1;
        const int room = l->in_width - x - (to - 1) * dilation;
        if (x < 0) {
            from = tfs_steps(-x, dilation);
        } else if (room > 0) { /* sees all columns, and so do all neighbours as long as there is room */
            n = tfs_steps(room, stride);
            n = n < count ? n : count;
        }
        if (room <= 0) {
            to = l->in_width > x ? tfs_steps(l->in_width - x, dilation) : 0;
        }
        while (from < to) {
            /* Columns of the window are one run of bytes where no channels or columns lie between them. */
            const int columns = l->run == channels && dilation == 1 ? to - from : 1;
            tfs_dots(sums, n, source + (x + from * dilation) * channels, stride * channels, w + from * l->run,
                     columns * l->run, l->w.input_zero, 0);
            from += columns;
        }
        sums += n;
        count -= n;
        x += n * stride;
    }
}

#endif

/* sums[i] += all taps, for `count` pixels of one row and channel of the output. */
static inline void tfs_conv_block(const tfs_conv *l, const int8_t *in, const int8_t *w, int row, int column,
                                        int32_t *sums, int count)
{
    const int x = column * TFS_STRIDE_WIDTH(l) - TFS_PAD_LEFT(l);
    int y = row * l->stride_height - l->pad_top;
#ifdef TFS_NINE
#ifdef TFS_PLAIN_CONV
    if (l->nine)
#endif
    {
        tfs_nine_block(l, in, w, y, x, sums, count);
        return;
    }
#endif
#ifdef TFS_PLAIN_CONV
    for (int ky = l->kernel_height; ky > 0; ky--) {
        TFS_FORGET();
        if (y >= 0 && y < l->in_height) {
            const int8_t *source = in + TFS_ROW(l, y, l->in_width * l->in_channels);
            tfs_conv_line(l, sums, count, source, w, x);
        }
        w += TFS_WINDOW_WIDTH(l) * l->run;
        y += TFS_DILATION_HEIGHT(l);
    }
#endif
}

/* Rows [row, end) of the output; `out` is where the first of them goes. */
TFS_NOINLINE static void tfs_conv_dense_rows(const tfs_conv *l, const int8_t *in, int8_t *out, int row, int end)
{
    const int8_t *w = l->w.values;
    int32_t sums[TFS_CONV_BLOCK];
    tfs_channel channel;
    memset(sums, 0, sizeof sums);
    tfs_channel_open(&channel, &l->w);
    for (int o = 0; o < l->out_channels; o++) {
        int8_t *to = out + o;
        tfs_channel_next(&channel, &l->w);
        for (int r = row; r < end; r++) {
            for (int column = 0; column < l->out_width; column += l->block) {
                const int count = l->out_width - column < l->block ? l->out_width - column : l->block;
                TFS_FORGET();
                tfs_conv_block(l, in + o / l->per_group * l->run, w, r, column, sums, count);
                tfs_conv_finish(l, &channel, sums, count, to);
                to += count * l->out_channels;
            }
        }
        w += l->kernel_height * TFS_WINDOW_WIDTH(l) * l->run;
    }
}

#endif
