/* Average and maximum of a window, per channel, one output row a call. Pixels outside the map do not count. */
#ifndef TFS_POOL_H
#define TFS_POOL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tfs_fixed.h"
#include "tfs_rows.h"

typedef struct {
    TFS_ROWS
    uint16_t in_height, in_width, out_height, out_width, channels;
    uint8_t kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
    int8_t lowest, highest;
} tfs_pool;

#if defined(TFS_FOUR_CHANNELS) && defined(TFS_DSP)
#define TFS_FAST_MAX
/* The larger of each of four int8. */
TFS_INLINE uint32_t tfs_larger(uint32_t a, uint32_t b)
{
    uint32_t difference;
    __asm__("ssub8 %1, %0, %2\n\tsel %0, %0, %2" : "+r"(a), "=&r"(difference) : "r"(b));
    return a;
}

/* Four channels at a time, and the last four of them: all maps have as many. */
TFS_FAST static void tfs_max_row(const tfs_pool *l, const int8_t *in, int8_t *out, int row)
{
    const int y = row * l->stride_height - l->pad_top, channels = l->channels;
    const int top = y < 0 ? 0 : y, bottom = y + l->kernel_height < l->in_height ? y + l->kernel_height : l->in_height;
    const uint32_t lowest = (uint8_t)l->lowest * 0x01010101u;
    for (int column = 0; column < l->out_width; column++) {
        const int x = column * l->stride_width - l->pad_left, left = x < 0 ? 0 : x;
        const int columns = (x + l->kernel_width < l->in_width ? x + l->kernel_width : l->in_width) - left;
        const int8_t *const source = in + left * channels;
        for (int channel = 0; channel < channels; channel += 4) {
            const int first = channel < channels - 4 ? channel : channels - 4;
            uint32_t result = lowest;
            for (int line = top; line < bottom; line++) {
                const int8_t *at = source + TFS_ROW(l, line, l->in_width * channels) + first;
                int more = columns; /* one at least */
                do {
                    uint32_t four;
                    memcpy(&four, at, 4);
                    result = tfs_larger(result, four);
                    at += channels;
                } while (--more != 0);
            }
            if (l->highest < 127) { /* ~x is -1 - x */
                result = ~tfs_larger(~result, ~((uint8_t)l->highest * 0x01010101u));
            }
            memcpy(out + first, &result, 4);
        }
        out += channels;
    }
}
#endif

#if !defined(TFS_FAST_MAX) || defined(TFS_AVERAGE)
TFS_FAST static void tfs_window_row(const tfs_pool *l, const int8_t *in, int8_t *out, int row, int average)
{
    const int top = row * l->stride_height - l->pad_top;
    const int bottom = top + l->kernel_height < l->in_height ? top + l->kernel_height : l->in_height;
    int left = -l->pad_left;
    for (int column = 0; column < l->out_width; column++) {
        const int right = left + l->kernel_width < l->in_width ? left + l->kernel_width : l->in_width;
        for (int channel = 0; channel < l->channels; channel++) {
            int32_t result = average ? 0 : -128;
            int count = 0;
            for (int y = top < 0 ? 0 : top; y < bottom; y++) {
                const int8_t *source = in + TFS_ROW(l, y, l->in_width * l->channels) + channel;
                for (int x = left < 0 ? 0 : left; x < right; x++) {
                    const int value = source[x * l->channels];
                    result = average ? result + value : value > result ? value : result;
                    count++;
                }
            }
            if (average) { /* C's division cuts towards zero: rounds half away from it */
                result = (result > 0 ? result + count / 2 : result - count / 2) / count;
            }
            *out++ = tfs_clamp(result, l->lowest, l->highest);
        }
        left += l->stride_width;
    }
}

#endif

/* Row `row` of the output to `out`. */
static inline void tfs_pool_row(const tfs_pool *l, const int8_t *in, int8_t *out, int row, int average)
{
#ifdef TFS_FAST_MAX
    if (!average) {
        tfs_max_row(l, in, out, row);
        return;
    }
#endif
#if !defined(TFS_FAST_MAX) || defined(TFS_AVERAGE)
    tfs_window_row(l, in, out, row, average);
#endif
}

static inline void tfs_pool_run(const tfs_pool *l, const int8_t *in, int8_t *out, int average)
{
    for (int row = 0; row < l->out_height; row++) {
        tfs_pool_row(l, in, out, row, average);
        out += l->out_width * l->channels;
    }
}

#endif
