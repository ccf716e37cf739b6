/* Depthwise convolution with a window of 3x3 without dilation: nine taps of a pixel at a time, in registers. */
#ifndef TFS_NINE_H
#define TFS_NINE_H

#include "tfs_window.h"

/* sum + x times the lower or the upper half of a pair of 16 bits; x is an int8. */
static inline int32_t tfs_add_lower(int32_t sum, int32_t x, int32_t pair)
{
#ifdef TFS_DSP
    __asm__("smlabb %0, %1, %2, %0" : "+r"(sum) : "r"(x), "r"(pair));
    return sum;
#else
    return sum + x * (int16_t)pair;
#endif
}

static inline int32_t tfs_add_upper(int32_t sum, int32_t x, int32_t pair)
{
#ifdef TFS_DSP
    __asm__("smlabt %0, %1, %2, %0" : "+r"(sum) : "r"(x), "r"(pair));
    return sum;
#else
    return sum + x * (pair >> 16);
#endif
}

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

/* Move the window's weights by a column: what stood over column 1 stands over column 0, or the other way round. */
static inline void tfs_nine_left(tfs_nine *t)
{
    for (int k = 0; k < 3; k++) {
        t->pair[k] = (int32_t)((uint32_t)t->third[k] << 16 | (uint32_t)t->pair[k] >> 16);
        t->third[k] = 0;
    }
}

static inline void tfs_nine_right(tfs_nine *t)
{
    for (int k = 0; k < 3; k++) {
        t->third[k] = t->pair[k] >> 16;
        t->pair[k] = (int32_t)((uint32_t)t->pair[k] << 16);
    }
}

/* sums of `count` pixels of a row from the one on whose window begins at row y and column x. The map has 3 columns or
 * more. */
static inline void tfs_nine_block(const tfs_conv *l, const int8_t *in, const int8_t *w, int y, int x, int32_t *sums,
                                  int count)
{
    const int channels = l->in_channels, stride = l->stride_width, last = l->in_width - 3;
    tfs_nine t, moved;
    for (int k = 0; k < 3; k++, y++, w += 3) {
        t.pair[k] = t.third[k] = t.row[k] = 0;
        if (y >= 0 && y < l->in_height) {
            t.pair[k] = (int32_t)((uint32_t)w[1] << 16 | (uint16_t)w[0]);
            t.third[k] = w[2];
            t.row[k] = (int32_t)TFS_ROW(l, y, l->in_width * channels);
        }
    }
    while (count > 0) {
        int n = 1, at = x;
        const tfs_nine *taps = &moved;
        if (x >= 0 && x <= last) {
            taps = &t;
            n = tfs_steps(last + 1 - x, stride);
            n = n < count ? n : count;
        } else {
            moved = t;
            for (; at < 0; at++) {
                tfs_nine_left(&moved);
            }
            for (; at > last; at--) {
                tfs_nine_right(&moved);
            }
        }
        tfs_nine_pixels(taps, sums, n, in + at * channels, channels, stride * channels, l->w.input_zero);
        sums += n;
        count -= n;
        x += n * stride;
    }
}

#endif
