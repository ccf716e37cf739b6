/* 2-D convolution, plain or depthwise, with all its weights stored, one output row a call.
 *
 * For each output channel the sums of a block of pixels grow
 * tap by tap; a depthwise kernel goes three taps at a time over the pixels that see all of its columns.
 */
#ifndef TFS_CONV_DENSE_H
#define TFS_CONV_DENSE_H

#ifdef TFS_PLAIN_CONV
#include "tfs_dot.h"
#endif
#include "tfs_window.h"

/* A block of pixels of an output row. */
typedef struct {
    int left;               /* column of the input that the first tap of the first pixel reads */
    int first, last, count; /* pixels [first, last) see all columns of the window */
    int32_t sums[TFS_CONV_BLOCK];
} tfs_block;

TFS_NOINLINE static void tfs_block_open(tfs_block *b, const tfs_conv *l, int column)
{
    const int stride = l->stride_width;
    int room;
    b->left = column * stride - l->pad_left;
    b->count = l->out_width - column < l->block ? l->out_width - column : l->block;
    b->first = b->left < 0 ? tfs_steps(-b->left, stride) : 0;
    room = l->in_width - b->left - (l->kernel_width - 1) * l->dilation_width;
    b->last = room > 0 ? tfs_steps(room, stride) : 0;
    b->last = b->last < b->count ? b->last : b->count;
    b->first = b->first < b->last ? b->first : b->last;
    memset(b->sums, 0, sizeof b->sums);
}

#ifdef TFS_DEPTHWISE
/* For the pixels that see all columns of the window: add up to three taps from tap kx on. */
TFS_NOINLINE static void tfs_three_taps(const tfs_conv *l, tfs_block *b, const int8_t *x, const int8_t *w, int kx)
{
    const int n = l->kernel_width - kx, step = l->stride_width * l->in_channels;
    const int next = l->dilation_width * l->in_channels;
    const int w0 = w[kx], w1 = n > 1 ? w[kx + 1] : 0, w2 = n > 2 ? w[kx + 2] : 0;
    const int at1 = n > 1 ? next : 0, at2 = n > 2 ? 2 * next : 0;
    const int32_t less = l->w.input_zero * (w0 + w1 + w2);
    int32_t *sums = b->sums + b->first, *const end = b->sums + b->last;
    x += b->first * step + kx * next;
    do {
        *sums = *sums - less + x[0] * w0 + x[at1] * w1 + x[at2] * w2;
        x += step;
    } while (++sums < end);
}

/* For a pixel that does not see all columns: add the taps that lie inside the map. */
TFS_NOINLINE static void tfs_edge(const tfs_conv *l, tfs_block *b, const int8_t *x, const int8_t *w, int p)
{
    const int dilation = l->dilation_width, next = dilation * l->in_channels, zero = l->w.input_zero;
    const unsigned width = l->in_width;
    const int8_t *const end = w + l->kernel_width;
    int column = b->left + p * l->stride_width;
    int32_t sum = b->sums[p];
    x += p * l->stride_width * l->in_channels;
    do {
        if ((unsigned)column < width) {
            sum += (*x - zero) * *w;
        }
        column += dilation;
        x += next;
    } while (++w < end);
    b->sums[p] = sum;
}

/* One row of a depthwise kernel. `source`: what the first tap of the first pixel reads, if that is inside. */
TFS_NOINLINE static void tfs_depthwise_line(const tfs_conv *l, tfs_block *b, const int8_t *source, const int8_t *w)
{
    for (int p = 0; p < b->count; p++) {
        if (p >= b->first && p < b->last) {
            for (int kx = 0; kx < l->kernel_width; kx += 3) {
                tfs_three_taps(l, b, source, w, kx);
            }
            p = b->last - 1;
        } else {
            tfs_edge(l, b, source, w, p);
        }
    }
}
#endif

#ifdef TFS_PLAIN_CONV
/* One row of a kernel that sees several channels. */
TFS_NOINLINE static void tfs_conv_line(const tfs_conv *l, tfs_block *b, const int8_t *source, const int8_t *w)
{
    const int stride = l->stride_width;
    int x = b->left;
    for (int kx = 0; kx < l->kernel_width; kx++, x += l->dilation_width) {
        const int begin = x < 0 ? tfs_steps(-x, stride) : 0;
        int end = x < l->in_width ? tfs_steps(l->in_width - x, stride) : 0;
        end = end < b->count ? end : b->count;
        tfs_dots(b->sums + begin, end - begin, source + begin * stride * l->in_channels, stride * l->in_channels, w,
                 l->run, l->w.input_zero, 0);
        source += l->dilation_width * l->in_channels;
        w += l->run;
    }
}
#endif

TFS_NOINLINE static void tfs_conv_dense_row(const tfs_conv *l, const int8_t *in, int8_t *out, int row)
{
    tfs_block block;
    for (int column = 0; column < l->out_width; column += l->block) {
        const int8_t *w = l->w.values, *group = in;
        int left_in_group = l->per_group;
        tfs_channel channel;
        tfs_block_open(&block, l, column);
        tfs_channel_open(&channel, &l->w);
        for (int o = 0; o < l->out_channels; o++) {
            tfs_rows rows;
            TFS_FORGET();
            rows = tfs_rows_inside(l, row);
            tfs_channel_next(&channel, &l->w);
            w += rows.above * l->kernel_width * l->run;
            for (int ky = rows.above; ky < l->kernel_height; ky++, w += l->kernel_width * l->run) {
                const int8_t *source;
                TFS_FORGET();
                if (rows.top >= l->in_height) {
                    continue;
                }
                source = group + TFS_ROW(l, rows.top, l->in_width * l->in_channels) + block.left * l->in_channels;
                rows.top += l->dilation_height;
#ifdef TFS_DEPTHWISE
                if (l->run == 1) {
                    tfs_depthwise_line(l, &block, source, w);
                }
#endif
#ifdef TFS_PLAIN_CONV
                if (l->run != 1) {
                    tfs_conv_line(l, &block, source, w);
                }
#endif
            }
            tfs_conv_finish(l, &channel, block.sums, block.count, out++);
            if (--left_in_group == 0) {
                left_in_group = l->per_group;
                group += l->run;
            }
        }
        out += (block.count - 1) * l->out_channels;
    }
}

#endif
