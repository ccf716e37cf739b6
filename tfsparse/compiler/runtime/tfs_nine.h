/* Depthwise convolution with a window of 3x3 without dilation: nine taps of a pixel at a time, in registers. */
#ifndef TFS_NINE_H
#define TFS_NINE_H

#include "tfs_window.h"

/* Three rows of the window: weights of columns 0 and 1 as a pair, that of column 2, and where the row of the
 * map lies. A row outside the map has weights 0 and lies anywhere. */
typedef struct {
    int32_t pair[3], third[3], row[3];
} tfs_nine;

/* sums of `count` pixels whose windows begin at x, x + step, ...; columns lie `channels` apart. */
TFS_NOINLINE static void tfs_nine_pixels(const tfs_nine *t, int32_t *sums, int count, const int8_t *x, int channels,
                                         int step, int zero)
{
    const int32_t p0 = t->pair[0], p1 = t->pair[1], p2 = t->pair[2];
    const int32_t t01 = (int32_t)((uint32_t)t->third[1] << 16 | (uint16_t)t->third[0]), t2 = t->third[2];
    int32_t begin = 0, *const end = sums + count;
    begin = tfs_add_lower(tfs_add_upper(begin, -zero, p0), -zero, p0);
    begin = tfs_add_lower(tfs_add_upper(begin, -zero, p1), -zero, p1);
    begin = tfs_add_lower(tfs_add_upper(begin, -zero, p2), -zero, p2);
    begin = tfs_add_lower(tfs_add_upper(begin, -zero, t01), -zero, t01);
    begin = tfs_add_lower(begin, -zero, t2);
    do {
        const int8_t *at = x + t->row[0];
        int32_t sum = begin;
        sum = tfs_add_lower(sum, at[0], p0);
        sum = tfs_add_upper(sum, at[channels], p0);
        sum = tfs_add_lower(sum, at[2 * channels], t01);
        at = x + t->row[1];
        sum = tfs_add_lower(sum, at[0], p1);
        sum = tfs_add_upper(sum, at[channels], p1);
        sum = tfs_add_upper(sum, at[2 * channels], t01);
        at = x + t->row[2];
        sum = tfs_add_lower(sum, at[0], p2);
        sum = tfs_add_upper(sum, at[channels], p2);
        sum = tfs_add_lower(sum, at[2 * channels], t2);
        *sums++ = sum;
        x += step;
    } while (sums < end);
}

/* sums of `count` pixels of a row from the one on whose window begins at row y and column x. The map has 3 columns or
 * more. */
TFS_NOINLINE static void tfs_nine_block(const tfs_conv *l, const int8_t *in, const int8_t *w, int y, int x,
                                        int32_t *sums, int count)
{
    while (count > 0) {
        const int last = l->in_width - 3;
        int n = 1, at = x; /* pixels, and the first of three columns of the map over which their window lies */
        tfs_nine t;
        if (x < 0) {
            at = 0;
        } else if (x > last) {
            at = last;
        } else { /* wholly, and so does that of all neighbours as long as there is room */
            n = tfs_steps(last + 1 - x, TFS_STRIDE_WIDTH(l));
            n = n < count ? n : count;
        }
        for (int k = 0; k < 3; k++) {
            t.pair[k] = t.third[k] = t.row[k] = 0;
            if (y + k >= 0 && y + k < l->in_height) {
                const int8_t *line = w + 3 * k;
                int32_t first = line[0], second = line[1], third = line[2];
                for (int shift = x; shift < at; shift++) {
                    first = second;
                    second = third;
                    third = 0;
                }
                for (int shift = x; shift > at; shift--) {
                    third = second;
                    second = first;
                    first = 0;
                }
                t.pair[k] = (int32_t)((uint32_t)second << 16 | (uint16_t)first);
                t.third[k] = third;
                t.row[k] = (int32_t)TFS_ROW(l, y + k, l->in_width * l->in_channels);
            }
        }
        tfs_nine_pixels(&t, sums, n, in + at * l->in_channels, l->in_channels, TFS_STRIDE_WIDTH(l) * l->in_channels,
                        l->w.input_zero);
        sums += n;
        count -= n;
        x += n * TFS_STRIDE_WIDTH(l);
    }
}

#endif
