/* 2-D convolution, plain, grouped or depthwise, with all its weights stored, one output row a call: in little flash and
 * little stack.
 *
 * One output at a time. Of rows of at most TFS_LINE columns a channel is complete before any of it is written, so that a
 * depthwise row may lie over a row of the input that is read for the last time.
 */
#ifndef TFS_CONV_SMALL_H
#define TFS_CONV_SMALL_H

#include "tfs_window.h"

/* The sum of one output: channels of the input from `in` on, window from row y and column x on. */
TFS_NOINLINE static int32_t tfs_conv_sum(const tfs_conv *l, const int8_t *in, const int8_t *w, int y, int x)
{
    int from = 0, to = TFS_WINDOW_WIDTH(l);
    int32_t sum = 0;
    if (x < 0) {
        from = tfs_steps(-x, TFS_DILATION_WIDTH(l));
    }
    if (l->in_width - x <= (to - 1) * TFS_DILATION_WIDTH(l)) {
        to = l->in_width > x ? tfs_steps(l->in_width - x, TFS_DILATION_WIDTH(l)) : 0;
    }
    x = (x + from * TFS_DILATION_WIDTH(l)) * l->in_channels;
    w += from * l->run;
    to = (to - from) * l->run;
    for (int ky = l->kernel_height; ky > 0; ky--) {
        TFS_FORGET();
        if (y >= 0 && y < l->in_height) {
            const int8_t *at = in + TFS_ROW(l, y, l->in_width * l->in_channels) + x, *tap = w;
            const int8_t *const end = w + to;
#ifdef TFS_GROUPS /* some layer's taps do not lie evenly: column by column */
            while (tap < end) {
                const int8_t *source = at;
                const int8_t *const last = l->run == l->in_channels && TFS_DILATION_WIDTH(l) == 1 ? end : tap + l->run;
#else
            {
                const int8_t *source = at, *const last = end;
#endif
                const int step = l->run == 1 ? TFS_DILATION_WIDTH(l) * l->in_channels : 1;
                for (; tap < last; source += step) {
                    sum += (*source - l->w.input_zero) * *tap++;
                }
                at += TFS_DILATION_WIDTH(l) * l->in_channels;
            }
        }
        w += TFS_WINDOW_WIDTH(l) * l->run;
        y += TFS_DILATION_HEIGHT(l);
    }
    return sum;
}

/* Row `row` of the output to `out`. */
TFS_NOINLINE static void tfs_conv_small_row(const tfs_conv *l, const int8_t *in, int8_t *out, int row)
{
    const int8_t *w = l->w.values;
    tfs_channel channel;
    tfs_channel_open(&channel, &l->w);
    for (int o = 0; o < l->out_channels; o++) {
#ifdef TFS_LINE
        int8_t line[TFS_LINE];
#endif
        tfs_channel_next(&channel, &l->w);
        for (int column = 0; column < l->out_width; column++) {
            const int32_t sum = tfs_conv_sum(l, in + o / l->per_group * l->run, w, row * l->stride_height - l->pad_top,
                                             column * TFS_STRIDE_WIDTH(l) - TFS_PAD_LEFT(l));
            const int8_t value = tfs_conv_output(sum, &channel, &l->w);
            TFS_FORGET();
#ifdef TFS_LINE
            if (l->out_width <= TFS_LINE) {
                line[column] = value;
                continue;
            }
#endif
            out[column * l->out_channels + o] = value;
        }
#ifdef TFS_LINE
        for (int column = 0; column < l->out_width && l->out_width <= TFS_LINE; column++) {
            out[column * l->out_channels + o] = line[column];
        }
#endif
        w += l->kernel_height * TFS_WINDOW_WIDTH(l) * l->run;
    }
}

#endif
