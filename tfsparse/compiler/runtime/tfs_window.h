/* What all kernels of convolutions share. */
#ifndef TFS_WINDOW_H
#define TFS_WINDOW_H

#include <string.h>

#include "tfs_rows.h"
#include "tfs_weights.h"

typedef struct {
    TFS_ROWS
    tfs_weights w;
    TFS_SIDE in_height, in_width, in_channels;
    TFS_SIDE out_height, out_width, out_channels;
    TFS_SIDE run;       /* input channels that an output channel sees */
    TFS_SIDE per_group; /* output channels that see the same input channels */
    uint8_t kernel_height, stride_height, pad_top;
#ifndef TFS_SQUARE
    uint8_t kernel_width, stride_width, pad_left;
#endif
#ifdef TFS_DILATED
    uint8_t dilation_height, dilation_width;
#endif
#ifdef TFS_CONV_BLOCK
    uint8_t block; /* pixels of a row computed together, at most TFS_CONV_BLOCK */
#endif
#if defined(TFS_NINE) && defined(TFS_PLAIN_CONV)
    uint8_t nine; /* whether it is for tfs_nine.h */
#endif
#if defined(TFS_STORED_TAPS) && defined(TFS_STREAM_TAPS)
    uint8_t stored; /* whether its weights are bytes, to be unpacked into lists */
#endif
} tfs_conv;

#ifdef TFS_SQUARE /* all windows, strides and paddings are as wide as high */
#define TFS_WINDOW_WIDTH(l) (l)->kernel_height
#define TFS_STRIDE_WIDTH(l) (l)->stride_height
#define TFS_PAD_LEFT(l) (l)->pad_top
#else
#define TFS_WINDOW_WIDTH(l) (l)->kernel_width
#define TFS_STRIDE_WIDTH(l) (l)->stride_width
#define TFS_PAD_LEFT(l) (l)->pad_left
#endif

#ifdef TFS_DILATED
#define TFS_DILATION_HEIGHT(l) (l)->dilation_height
#define TFS_DILATION_WIDTH(l) (l)->dilation_width
#else /* no layer is */
#define TFS_DILATION_HEIGHT(l) 1
#define TFS_DILATION_WIDTH(l) 1
#endif

/* Steps of `stride` that reach `distance` > 0 or go beyond. */
static inline int tfs_steps(int distance, int stride)
{
    return (int)((unsigned)(distance + stride - 1) / (unsigned)stride);
}

/* The rows of the window that lie inside the map, for one row of the output. */
typedef struct {
    int above; /* how many lie above the map */
    int top;   /* the map's row that the first below them reads */
} tfs_rows;

static inline tfs_rows tfs_rows_inside(const tfs_conv *l, int row)
{
    tfs_rows r = {0, row * l->stride_height - l->pad_top};
    if (r.top < 0) {
        r.above = tfs_steps(-r.top, TFS_DILATION_HEIGHT(l));
        r.above = r.above < l->kernel_height ? r.above : l->kernel_height;
        r.top += r.above * TFS_DILATION_HEIGHT(l);
    }
    return r;
}

/* The output of a convolution. */
static inline int8_t tfs_conv_output(int32_t sum, const tfs_channel *channel, const tfs_weights *w)
{
    const tfs_output at = tfs_output_of(channel, w);
    return tfs_finish(sum + at.bias, &at, 0);
}

#ifdef TFS_CONV_BLOCK
/* From sums to outputs of one channel; the sums are 0 after it. */
TFS_NOINLINE static void tfs_conv_finish(const tfs_conv *l, const tfs_channel *channel, int32_t *sums, int pixels,
                                         int8_t *to)
{
    const tfs_output at = tfs_output_of(channel, &l->w); /* copies, as *to might be any of it for all C knows */
    const int step = l->out_channels;
    int32_t *const end = sums + pixels;
    do {
        *to = tfs_finish(*sums + at.bias, &at, 0);
        *sums++ = 0;
        to += step;
    } while (sums < end);
}
#endif

typedef void tfs_conv_row_kernel(const tfs_conv *l, const int8_t *in, int8_t *out, int row);

/* All rows of the output. */
static inline void tfs_conv_rows(const tfs_conv *l, const int8_t *in, int8_t *out, tfs_conv_row_kernel *kernel)
{
    for (int row = 0; row < l->out_height; row++) {
        kernel(l, in, out, row);
        out += l->out_width * l->out_channels;
    }
}

typedef void tfs_conv_rows_kernel(const tfs_conv *l, const int8_t *in, int8_t *out, int row, int end);

/* The same, `rows` at a time: rows of the input that are read no more may be written over by the next ones. */
static inline void tfs_conv_together(const tfs_conv *l, const int8_t *in, int8_t *out, int rows,
                                     tfs_conv_rows_kernel *kernel)
{
    for (int row = 0; row < l->out_height; row += rows) {
        const int end = row + rows < l->out_height ? row + rows : l->out_height;
        kernel(l, in, out, row, end);
        out += (end - row) * l->out_width * l->out_channels;
    }
}

#endif
