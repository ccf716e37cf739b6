/* Plain 2-D convolution with all its weights stored, for rows [row, end) of the output, by im2col.
 *
 * The windows of four pixels are copied to the stack in 16 bits, less the input's zero point, so that what lies outside
 * the map is 0. All output channels, or as many as are unpacked at a time, are then made of them. There and among the
 * weights a row of the window has a multiple of four taps: those added have weights of 0.
 */
#ifndef TFS_CONV_IM2COL_H
#define TFS_CONV_IM2COL_H

#include "tfs_window.h"

#define TFS_PIXELS 4

/* Four taps of a pixel's window, less the zero point. */
typedef union {
    uint32_t pair[2];
    int16_t tap[4];
} tfs_quad;

#ifdef TFS_DSP /* the pairs are taps 0 and 2, 1 and 3 */
#define TFS_TAP_AT(i) (((i) & 1) << 1 | ((i) & 2) >> 1)
#else
#define TFS_TAP_AT(i) ((i) & 3)
#endif

TFS_INLINE void tfs_widen(tfs_quad *to, const int8_t *x, int zero)
{
#ifdef TFS_DSP
    const uint32_t less = (uint32_t)-zero << 16 | (uint16_t)-zero;
    uint32_t four;
    memcpy(&four, x, sizeof four);
    __asm__("sxtab16 %0, %1, %2" : "=r"(to->pair[0]) : "r"(less), "r"(four));
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(to->pair[1]) : "r"(less), "r"(four));
#else
    for (int i = 0; i < 4; i++) {
        to->tap[i] = (int16_t)(x[i] - zero);
    }
#endif
}

/* sums[k] = first + all taps of pixel k times their weights. Returns where the next channel's weights begin. */
TFS_INLINE const int8_t *tfs_quads(int32_t *sums, int32_t first, const tfs_quad *x, const tfs_quad *end,
                                   const int8_t *w)
{
    int32_t sum0 = first, sum1 = first, sum2 = first, sum3 = first;
#ifdef TFS_DSP
    register uint32_t even0 __asm__("r4"), odd0 __asm__("r5"), even1 __asm__("r6"), odd1 __asm__("r8");
    uint32_t even, odd;
#define TFS_QUAD \
    "ldr %[odd], [%[w]], #4\n\t" \
    "ldmia %[x]!, {%[even0], %[odd0], %[even1], %[odd1]}\n\t" \
    "sxtb16 %[even], %[odd]\n\t" \
    "sxtb16 %[odd], %[odd], ror #8\n\t" \
    "smlad %[sum0], %[even], %[even0], %[sum0]\n\t" \
    "smlad %[sum1], %[even], %[even1], %[sum1]\n\t" \
    "smlad %[sum0], %[odd], %[odd0], %[sum0]\n\t" \
    "smlad %[sum1], %[odd], %[odd1], %[sum1]\n\t" \
    "ldmia %[x]!, {%[even0], %[odd0], %[even1], %[odd1]}\n\t" \
    "smlad %[sum2], %[even], %[even0], %[sum2]\n\t" \
    "smlad %[sum3], %[even], %[even1], %[sum3]\n\t" \
    "smlad %[sum2], %[odd], %[odd0], %[sum2]\n\t" \
    "smlad %[sum3], %[odd], %[odd1], %[sum3]\n\t"
#if TFS_QUADS_TOGETHER == 3
#define TFS_QUADS TFS_QUAD TFS_QUAD TFS_QUAD
#elif TFS_QUADS_TOGETHER == 2
#define TFS_QUADS TFS_QUAD TFS_QUAD
#else
#define TFS_QUADS TFS_QUAD
#endif
    __asm__ volatile("0:\n\t"
                     TFS_QUADS
                     "cmp %[x], %[end]\n\t"
                     "bne 0b"
                     : [sum0] "+r"(sum0), [sum1] "+r"(sum1), [sum2] "+r"(sum2), [sum3] "+r"(sum3), [x] "+r"(x),
                       [w] "+r"(w), [even] "=&r"(even), [odd] "=&r"(odd), [even0] "=&r"(even0), [odd0] "=&r"(odd0),
                       [even1] "=&r"(even1), [odd1] "=&r"(odd1)
                     : [end] "r"(end)
                     : "cc", "memory");
#else
    do {
        for (int i = 0; i < 4; i++) {
            const int weight = w[i];
            sum0 += x[0].tap[i] * weight;
            sum1 += x[1].tap[i] * weight;
            sum2 += x[2].tap[i] * weight;
            sum3 += x[3].tap[i] * weight;
        }
        w += 4;
        x += TFS_PIXELS;
    } while (x < end);
#endif
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
    return w;
}

/* A pixel's window from row y and column x of the map on, wherever these lie. */
TFS_FAST static void tfs_window_of(const tfs_conv *l, const int8_t *in, int y, int x, tfs_quad *to)
{
    const int channels = l->in_channels, taps = TFS_WINDOW_WIDTH(l) * channels, pitch = l->in_width * channels;
    const int begin = -x * channels, end = begin + pitch; /* taps of a row that lie inside the map */
    const int zero = l->w.input_zero;
    for (int ky = l->kernel_height; ky > 0; ky--) {
        const int inside = y >= 0 && y < l->in_height, from = inside ? begin : taps;
        const int8_t *source = in + (inside ? (int)TFS_ROW(l, y, pitch) : 0) - begin;
        for (int i = 0; i < taps; i += 4) {
            if (i >= from && i + 4 <= end) {
                tfs_widen(to, source + i, zero);
            } else {
                int8_t four[4];
                memset(four, zero, sizeof four);
                for (int k = i < from ? from : i; k < i + 4 && k < end; k++) {
                    four[k - i] = source[k];
                }
                tfs_widen(to, four, zero);
            }
            to += TFS_PIXELS;
        }
        y += TFS_DILATION_HEIGHT(l);
    }
}

/* Taps [begin, end) of each row of a pixel's window become 0. */
TFS_FAST static void tfs_clear(tfs_quad *window, int rows, int quads, int begin, int end)
{
    for (begin = begin < 0 ? 0 : begin; begin < end; begin++) {
        for (int at = begin >> 2; at < rows * quads; at += quads) {
            window[at * TFS_PIXELS].tap[TFS_TAP_AT(begin)] = 0;
        }
    }
}

/* The windows of four pixels of the output from `pixel` on, as counted from the first one of row `row`. Of those side
 * by side that reach beyond the left or right edge of the map, the row above or below is read, too, and then cleared. */
TFS_FAST static void tfs_windows_of(const tfs_conv *l, const int8_t *in, int row, int pixel, tfs_quad *windows)
{
    const int channels = l->in_channels, taps = TFS_WINDOW_WIDTH(l) * channels, quads = (taps + 3) >> 2;
    const int pitch = l->in_width * channels, step = TFS_STRIDE_WIDTH(l) * channels, zero = l->w.input_zero;
    int y = (int)((unsigned)pixel / l->out_width), column = pixel - y * l->out_width;
    const int begin = (column * TFS_STRIDE_WIDTH(l) - TFS_PAD_LEFT(l)) * channels;
    const int last = begin + (TFS_PIXELS - 1) * step; /* where the fourth one begins in its row of the map */
    tfs_quad *to = windows;
    int below;
    y = (row + y) * l->stride_height - l->pad_top;
    below = y + l->kernel_height * TFS_DILATION_HEIGHT(l);
    if (column + TFS_PIXELS > l->out_width || (begin < 0 && !(TFS_ROWS_EVEN(l) && y > 0))
        || (last + 4 * quads > pitch && !(TFS_ROWS_EVEN(l) && below < l->in_height))) {
        for (int k = 0; k < TFS_PIXELS; k++) {
            tfs_window_of(l, in, y, column * TFS_STRIDE_WIDTH(l) - TFS_PAD_LEFT(l), windows + k);
            if (++column == l->out_width) {
                column = 0;
                y += l->stride_height;
            }
        }
        return;
    }
    for (; y < below; y += TFS_DILATION_HEIGHT(l)) {
        if (y >= 0 && y < l->in_height) {
            const int8_t *source = in + (int)TFS_ROW(l, y, pitch) + begin;
            for (int i = quads; i > 0; i--) {
                tfs_widen(to, source, zero);
                tfs_widen(to + 1, source + step, zero);
                tfs_widen(to + 2, source + 2 * step, zero);
                tfs_widen(to + 3, source + 3 * step, zero);
                to += TFS_PIXELS;
                source += 4;
            }
        } else {
            memset(to, 0, quads * TFS_PIXELS * sizeof *to);
            to += quads * TFS_PIXELS;
        }
    }
    if (begin < 0 || last + taps > pitch) {
        for (int k = 0; k < TFS_PIXELS; k++) {
            tfs_clear(windows + k, l->kernel_height, quads, 0, -begin - k * step);
            tfs_clear(windows + k, l->kernel_height, quads, pitch - begin - k * step, taps);
        }
    }
}

/* From a sum to the output. */
TFS_INLINE int8_t tfs_im2col_output(int32_t sum, const tfs_output *at)
{
#ifdef TFS_RIGHT_SHIFTS
    return tfs_finish_twice(2 * sum, sum >> 31, at);
#else
    return tfs_finish(sum, at, 0);
#endif
}

/* Rows [row, end) of the output; `out` is where the first of them goes. */
TFS_FAST static void tfs_conv_im2col_rows(const tfs_conv *l, const int8_t *in, int8_t *out, int row, int end)
{
    const int total = (end - row) * l->out_width;
    const int quads = l->kernel_height * ((TFS_WINDOW_WIDTH(l) * l->in_channels + 3) >> 2);
    /* Bytes from output to output: the same one again where there are fewer than four. */
    const int step = total > 1 ? l->out_channels : 0, twice = total > 2 ? 2 * step : step;
    const int thrice = total > 3 ? 3 * step : twice;
    const int8_t *w = l->w.values;
    tfs_quad windows[TFS_IM2COL * TFS_PIXELS], *const behind = windows + quads * TFS_PIXELS;
    tfs_output outputs[TFS_IM2COL_CHANNELS];
    tfs_channel channel;
    tfs_channel_open(&channel, &l->w);
    for (int o = 0; o < l->out_channels; o += TFS_IM2COL_CHANNELS) {
        const int8_t *const first = w;
        const int left = l->out_channels - o, count = left < TFS_IM2COL_CHANNELS ? left : TFS_IM2COL_CHANNELS;
        const tfs_output *const last = outputs + count;
        for (int k = 0; k < count; k++) {
            tfs_channel_next(&channel, &l->w);
            outputs[k] = tfs_output_of(&channel, &l->w);
        }
        for (int next = 0; next < total; next += TFS_PIXELS) {
            /* What is left over is done as the last four once more. */
            const int pixel = next > total - TFS_PIXELS && total > TFS_PIXELS ? total - TFS_PIXELS : next;
            const tfs_output *at = outputs;
            int8_t *to = out + pixel * l->out_channels + o;
            tfs_windows_of(l, in, row, pixel, windows);
            w = first;
            do {
                int32_t sums[TFS_PIXELS];
                w = tfs_quads(sums, at->bias, windows, behind, w);
                /* The first one last: the others may lie over it. */
                to[thrice] = tfs_im2col_output(sums[3], at);
                to[twice] = tfs_im2col_output(sums[2], at);
                to[step] = tfs_im2col_output(sums[1], at);
                *to++ = tfs_im2col_output(sums[0], at);
                at++;
            } while (at < last);
        }
    }
}

#endif
