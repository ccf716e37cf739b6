/* 2-D convolution, plain, grouped or depthwise, of few or sparse weights, for rows [row, end) of the output.
 *
 * Outermost the output channels. A channel's weights are unpacked into a list of taps, once for all rows whose windows
 * lie inside the map from top to bottom, and once for each other row. The list is run over the pixels four at a time,
 * whose sums stay in registers until they are outputs. Pixels at the left and right edge of the map see a part of the
 * list, as it goes column by column of the window; they go down the map, with those beside them that make no four.
 * A weight that is zero costs nothing.
 */
#ifndef TFS_CONV_TAPS_H
#define TFS_CONV_TAPS_H

#include "tfs_window.h"

/* A weight, and the offset of what it is multiplied by from the first channel of the pixel that the output's pixel lies
 * over, in the map's first row. */
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
    return (int32_t)((uint32_t)weight << 16 | (uint16_t)offset);
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

/* All taps of a channel. */
typedef struct {
    tfs_tap taps[TFS_CONV_TAPS + 1];       /* the last one is written, too, but of no use */
    uint16_t before[TFS_MOST_COLUMNS + 1]; /* how many are of columns of the window before this one */
    int32_t total[TFS_MOST_COLUMNS + 1];   /* and their weights, added up */
} tfs_list;

/* Pixels that all have the same taps: lines of them, across the map or down. */
typedef struct {
    const tfs_tap *taps;
    int32_t first;      /* what a sum begins with: the bias, and what the input's zero point adds to all sums */
    const tfs_tap *end;
    int thrice, step;   /* bytes to the third pixel after one, and to the next one */
    int out_step;       /* bytes from output to output */
    int next, out_next; /* and from line to line */
    int count, lines;   /* pixels in a line, and lines */
    tfs_output to;
} tfs_pixels;

/* The row of the map from which offsets count, for a window that begins at row y. */
static inline int tfs_first_row(const tfs_conv *l, int y)
{
    return TFS_ROWS_EVEN(l) && y > 0 ? y : 0;
}

/* Unpack the weights of the channel that has been read last. Those that read a row outside the map are left out. */
TFS_FAST static void tfs_unpack(const tfs_conv *l, tfs_channel *channel, const int8_t *stored, tfs_list *list, int row)
{
    const int run = l->run, height = l->kernel_height, y = row * l->stride_height - l->pad_top;
    const int pitch = l->in_width * l->in_channels, base = tfs_first_row(l, y) * pitch;
    int offset = -TFS_PAD_LEFT(l) * l->in_channels - base, column = 0;
    tfs_channel at = *channel; /* a copy, as the list might lie anywhere for all C knows */
    tfs_tap *tap = list->taps;
    int32_t total = 0;
    for (;;) {
        list->before[column] = (uint16_t)(tap - list->taps);
        list->total[column] = total;
        if (column == TFS_WINDOW_WIDTH(l)) {
            break;
        }
#ifdef TFS_STREAM_TAPS
#ifdef TFS_STORED_TAPS
        if (stored == NULL)
#endif
        {
            const int taps = height * run;
            while (at.zeros < taps) {
                const int ky = at.zeros / run, line = y + ky * TFS_DILATION_HEIGHT(l);
                const int inside = line >= 0 && line < l->in_height, factor = inside ? TFS_TWICE : 0;
                const int source = offset + (inside ? (int)TFS_ROW(l, line, pitch) : 0);
                int c = at.zeros - ky * run;
                at.zeros = 0; /* and it stays so where all weights are stored */
                do {
                    const int weight = tfs_weight_next(&at, &l->w) * factor;
                    *tap = tfs_tap_of(source + c, weight); /* to be written over where it counts for nothing */
                    tap += weight != 0;
                    total += weight;
                    c += 1 + at.zeros;
                } while (c < run);
                at.zeros = ky * run + c;
            }
            at.zeros -= taps;
        }
#endif
#ifdef TFS_STORED_TAPS
#ifdef TFS_STREAM_TAPS
        else
#endif
        {
            const int8_t *w = stored + column * run;
            for (int ky = 0; ky < height; ky++) {
                const int line = y + ky * TFS_DILATION_HEIGHT(l);
                if (line >= 0 && line < l->in_height) {
                    const int source = offset + (int)TFS_ROW(l, line, pitch);
                    for (int c = 0; c < run; c++) {
                        const int weight = w[c] * TFS_TWICE;
                        *tap = tfs_tap_of(source + c, weight);
                        tap += weight != 0;
                        total += weight;
                    }
                }
                w += TFS_WINDOW_WIDTH(l) * run;
            }
        }
#endif
        offset += TFS_DILATION_WIDTH(l) * l->in_channels;
        column++;
    }
    (void)stored;
    *channel = at;
}

/* From a sum, TFS_TWICE times as large, to the output. */
static inline int8_t tfs_taps_output(int32_t sum, const tfs_output *to)
{
#if TFS_TWICE == 2
    return tfs_finish_twice(sum, sum >> 31, to);
#else
    return tfs_finish(sum, to, 0);
#endif
}

/* sums[k] = first + all x[k * step + offset] * weight, for four k. */
TFS_INLINE void tfs_four(int32_t *sums, int32_t first, const int8_t *x, int step, int thrice,
                         const tfs_tap *tap, const tfs_tap *end)
{
    int32_t sum0, sum1, sum2, sum3;
#if defined(TFS_DSP) && !defined(TFS_FAR)
    int32_t at, value;
    const int8_t *p;
#define TFS_TAP(at, sum0, sum1, sum2, sum3) \
    "sxtah %[p], %[x], " at "\n\t" \
    "ldrsb %[value], [%[p]]\n\t" \
    "smlabt %[sum0], %[value], " at ", " sum0 "\n\t" \
    "ldrsb %[value], [%[p], %[step]]\n\t" \
    "smlabt %[sum1], %[value], " at ", " sum1 "\n\t" \
    "ldrsb %[value], [%[p], %[step], lsl #1]\n\t" \
    "smlabt %[sum2], %[value], " at ", " sum2 "\n\t" \
    "ldrsb %[value], [%[p], %[thrice]]\n\t" \
    "smlabt %[sum3], %[value], " at ", " sum3 "\n\t"
#define TFS_MORE_TAPS(at) TFS_TAP(at, "%[sum0]", "%[sum1]", "%[sum2]", "%[sum3]")
#ifdef TFS_PAIRS /* lists are long: two taps a round */
    int32_t second;
    __asm__ volatile("ldr %[at], [%[tap]], #4\n\t"
                     TFS_TAP("%[at]", "%[sum3]", "%[sum3]", "%[sum3]", "%[sum3]")
                     "subs %[at], %[end], %[tap]\n\t"
                     "beq 1f\n\t"
                     "lsls %[at], %[at], #29\n\t" /* how many are left, of four bytes each, is odd */
                     "bpl 0f\n\t"
                     "ldr %[at], [%[tap]], #4\n\t"
                     TFS_MORE_TAPS("%[at]")
                     "cmp %[tap], %[end]\n\t"
                     "beq 1f\n\t"
                     "0:\n\t"
                     "ldrd %[at], %[second], [%[tap]], #8\n\t"
                     TFS_MORE_TAPS("%[at]")
                     TFS_MORE_TAPS("%[second]")
                     "cmp %[tap], %[end]\n\t"
                     "bne 0b\n\t"
                     "1:"
                     : [sum0] "=&r"(sum0), [sum1] "=&r"(sum1), [sum2] "=&r"(sum2), [sum3] "=&r"(sum3),
                       [tap] "+&r"(tap), [p] "=&r"(p), [at] "=&r"(at), [value] "=&r"(value), [second] "=&r"(second)
                     : [x] "r"(x), [end] "r"(end), [step] "r"(step), [thrice] "r"(thrice), "[sum3]"(first)
                     : "cc", "memory");
#else
    __asm__ volatile("ldr %[at], [%[tap]], #4\n\t"
                     TFS_TAP("%[at]", "%[sum3]", "%[sum3]", "%[sum3]", "%[sum3]")
                     "cmp %[tap], %[end]\n\t"
                     "beq 1f\n\t"
                     "0:\n\t"
                     "ldr %[at], [%[tap]], #4\n\t"
                     TFS_MORE_TAPS("%[at]")
                     "cmp %[tap], %[end]\n\t"
                     "bne 0b\n\t"
                     "1:"
                     : [sum0] "=&r"(sum0), [sum1] "=&r"(sum1), [sum2] "=&r"(sum2), [sum3] "=&r"(sum3),
                       [tap] "+&r"(tap), [p] "=&r"(p), [at] "=&r"(at), [value] "=&r"(value)
                     : [x] "r"(x), [end] "r"(end), [step] "r"(step), [thrice] "r"(thrice), "[sum3]"(first)
                     : "cc", "memory");
#endif
#undef TFS_MORE_TAPS
#undef TFS_TAP
#else
    const int8_t *const x1 = x + step, *const x2 = x1 + step, *const x3 = x + thrice;
    sum0 = sum1 = sum2 = sum3 = first;
    do {
        const tfs_tap at = *tap++;
        const int offset = tfs_tap_offset(at);
        sum0 = tfs_tap_add(sum0, x[offset], at);
        sum1 = tfs_tap_add(sum1, x1[offset], at);
        sum2 = tfs_tap_add(sum2, x2[offset], at);
        sum3 = tfs_tap_add(sum3, x3[offset], at);
    } while (tap < end);
#endif
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

/* The outputs of `count` pixels of which the first lies at x: four at a time, for which registers just suffice. */
TFS_INLINE void tfs_fours(const tfs_pixels *TFS_RESTRICT of, const int8_t *x, int8_t *TFS_RESTRICT out, int count)
{
    const int8_t *const end = out + count * of->out_step;
    do {
        int32_t sums[4];
        tfs_four(sums, of->first, x, of->step, of->thrice, of->taps, of->end);
#if TFS_TWICE == 2
        out[0] = tfs_taps_output(sums[0], &of->to);
        out[of->out_step] = tfs_taps_output(sums[1], &of->to);
        out += 2 * of->out_step;
        out[0] = tfs_taps_output(sums[2], &of->to);
        out[of->out_step] = tfs_taps_output(sums[3], &of->to);
        out += 2 * of->out_step;
#else /* a long way: in less code */
        for (int k = 0; k < 4; k++) {
            *out = tfs_taps_output(sums[k], &of->to);
            out += of->out_step;
        }
#endif
        x += 4 * of->step;
    } while (out != end);
}

/* The outputs of pixels of which the first lies at x. */
TFS_FAST static void tfs_taps(const tfs_pixels *TFS_RESTRICT of, const int8_t *x, int8_t *TFS_RESTRICT out)
{
    for (int lines = of->lines; lines > 0; lines--) {
        const int fours = of->count & ~3;
        int done = 0, count = fours;
        /* Two or three that are left over are done as the last four once more: costs less than one by one. */
        while (count > 0) {
            tfs_fours(of, x + done * of->step, out + done * of->out_step, count);
            done += count;
            count = 0;
            if (of->count - done >= 2) {
                done = of->count - 4;
                count = 4;
            }
        }
        for (; done < of->count; done++) {
            const int8_t *at = x + done * of->step;
            const tfs_tap *tap = of->taps;
            int32_t sum = of->first;
            do {
                const tfs_tap next = *tap++;
                sum = tfs_tap_add(sum, at[tfs_tap_offset(next)], next);
            } while (tap < of->end);
            out[done * of->out_step] = tfs_taps_output(sum, &of->to);
        }
        x += of->next;
        out += of->out_next;
    }
}

static inline void tfs_swap(int *a, int *b)
{
    const int old = *a;
    *a = *b;
    *b = old;
}

/* All pixels of `rows` rows of the output that have the same list. `group`: the input's channels that it sees. */
static inline void tfs_taps_rows(const tfs_conv *l, const tfs_list *list, int32_t bias, tfs_pixels *of,
                                 const int8_t *group, int8_t *out, int rows, int out_step)
{
    const int width = TFS_WINDOW_WIDTH(l), stride = TFS_STRIDE_WIDTH(l), step = stride * l->in_channels;
    const int next = l->stride_height * l->in_width * l->in_channels, out_next = l->out_width * out_step;
    const tfs_tap none = tfs_tap_of(0, 0);
    int count;
    for (int column = 0; column < l->out_width; column += count) {
        const int x = column * stride - TFS_PAD_LEFT(l), room = l->in_width - x - (width - 1) * TFS_DILATION_WIDTH(l);
        const int8_t *source = group + column * step;
        int from = 0, to = width;
        count = 1;
        if (x >= 0 && room > 0) { /* the whole window is inside the map, and so are those of some neighbours */
            count = tfs_steps(room, stride);
            count = count < l->out_width - column ? count : l->out_width - column;
            if (rows > 1 && count > 4 && count < l->out_width) {
                count &= ~3;
            }
        } else {
            from = x < 0 ? tfs_steps(-x, TFS_DILATION_WIDTH(l)) : 0;
            to = room > 0 ? width : l->in_width > x ? tfs_steps(l->in_width - x, TFS_DILATION_WIDTH(l)) : 0;
            to = to < from ? from : to;
        }
        of->taps = list->taps + list->before[from];
        of->end = list->taps + list->before[to];
        of->first = bias * TFS_TWICE - (list->total[to] - list->total[from]) * l->w.input_zero;
        of->step = step;
        of->out_step = out_step;
        of->next = next;
        of->out_next = out_next;
        of->count = count;
        of->lines = rows;
        if (count < rows && count < 4) { /* down the map */
            tfs_swap(&of->step, &of->next);
            tfs_swap(&of->out_step, &of->out_next);
            tfs_swap(&of->count, &of->lines);
        } else if (count * step == next && count * out_step == out_next) { /* all rows are one line */
            of->count = count * rows;
            of->lines = 1;
        }
        if (of->taps == of->end) { /* no tap at all: one without weight */
            of->taps = &none;
            of->end = &none + 1;
            of->step = of->next = 0;
            source = group;
        }
        of->thrice = 3 * of->step;
        tfs_taps(of, source, out + column * out_step);
    }
}

/* Rows [row, end) of the output; `out` is where the first of them goes. stored: all weights as bytes; NULL where they
 * come in a stream. */
TFS_FAST static void tfs_conv_taps_rows(const tfs_conv *l, const int8_t *in, int8_t *out, int row, int end)
{
#ifndef TFS_STORED_TAPS
    const int8_t *stored = NULL;
#elif !defined(TFS_STREAM_TAPS)
    const int8_t *stored = l->w.values;
#else
    const int8_t *stored = l->stored ? l->w.values : NULL;
#endif
    const int below = (l->kernel_height - 1) * TFS_DILATION_HEIGHT(l); /* the window's first row */
    tfs_list list;
    tfs_pixels of;
    tfs_channel channel;
    tfs_channel_open(&channel, &l->w);
    for (int o = 0; o < l->out_channels; o++) {
        const int8_t *group = in + o / l->per_group * l->run;
        int8_t *to = out + o;
        const int8_t *source;
        tfs_channel first;
        int rows;
        tfs_channel_next(&channel, &l->w);
        first = channel;
        of.to = tfs_output_of(&channel, &l->w);
        for (int r = row; r < end; r += rows) {
            const int y = r * l->stride_height - l->pad_top, room = l->in_height - y - below;
            rows = 1;
            if (y >= 0 && room > 0 && TFS_ROWS_EVEN(l)) { /* the whole window is inside, and so are those of rows below */
                rows = tfs_steps(room, l->stride_height);
                rows = rows < end - r ? rows : end - r;
            }
            source = group + tfs_first_row(l, y) * l->in_width * l->in_channels;
            channel = first;
            tfs_unpack(l, &channel, stored, &list, r);
#ifdef TFS_LINE
            if (end - row == 1 && l->out_width <= TFS_LINE) {
                /* A depthwise row may lie over one of the input that is read for the last time: all of a channel is read
                 * before any of it is written. */
                int8_t outputs[TFS_LINE];
                tfs_taps_rows(l, &list, channel.bias, &of, source, outputs, 1, 1);
                for (int column = 0; column < l->out_width; column++) {
                    to[column * l->out_channels] = outputs[column];
                }
                continue;
            }
#endif
            tfs_taps_rows(l, &list, channel.bias, &of, source, to, rows, l->out_channels);
            to += rows * l->out_width * l->out_channels;
        }
        if (stored != NULL) {
            stored += l->kernel_height * TFS_WINDOW_WIDTH(l) * l->run;
        }
    }
}

#endif
