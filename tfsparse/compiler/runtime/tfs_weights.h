/* What convolutions and dense layers share: weights in stream order, and constants of each output channel. */
#ifndef TFS_WEIGHTS_H
#define TFS_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "tfs_fixed.h"

typedef struct {
    const int8_t *values;     /* all weights, or the non-zero ones where there is a bitmap */
    const uint8_t *bitmap;    /* one bit a weight, lowest first: 1 = non-zero; NULL: dense */
    const uint8_t *constants; /* packed, see tfs_channel_next; NULL: nothing differs from channel to channel */
    int16_t input_zero;
    int8_t output_zero, lowest, highest;
    uint8_t bias_bits, mantissa_bits, shift_bits;
    int8_t shift_base;
} tfs_weights;

/* A fully connected layer: `rows` vectors of `inputs` values. */
typedef struct {
    tfs_weights w;
    uint16_t rows, inputs, outputs;
} tfs_dense;

/* A reader of a weight stream. */
typedef struct {
    const int8_t *value;   /* the next stored weight */
    const uint8_t *bitmap; /* NULL: every weight is stored */
    uint32_t bits;         /* what is left of the current byte of the bitmap, below a 1 that marks its end */
} tfs_stream;

static inline void tfs_stream_open(tfs_stream *s, const tfs_weights *w)
{
    s->value = w->values;
    s->bitmap = w->bitmap;
    s->bits = 1;
}

#ifdef TFS_BITMAP
static inline int tfs_trailing_zeros(uint32_t x)
{
#ifdef __GNUC__
    return __builtin_ctz(x);
#else
    int n = 0;
    while ((x & 1u) == 0) {
        x >>= 1;
        n++;
    }
    return n;
#endif
}
#endif

/* Skip weights that are zero, `limit` at most; returns their number. If it is less than limit, a stored one is next. */
static inline int tfs_stream_zeros(tfs_stream *s, int limit)
{
#ifdef TFS_BITMAP
    int skipped = 0;
#ifdef TFS_DENSE
    if (s->bitmap == NULL) {
        return 0;
    }
#endif
    while (skipped < limit) {
        int zeros;
        if (s->bits == 1) {
            s->bits = *s->bitmap++ | 0x100u;
        }
        zeros = tfs_trailing_zeros(s->bits);
        if (zeros > limit - skipped) {
            zeros = limit - skipped;
        }
        s->bits >>= zeros;
        skipped += zeros;
        if (s->bits != 1) {
            break;
        }
    }
    return skipped;
#else
    (void)s;
    (void)limit;
    return 0;
#endif
}

/* The stored weight that is next. */
static inline int tfs_stream_take(tfs_stream *s)
{
    s->bits >>= 1; /* without a bitmap this does no harm */
    return *s->value++;
}

/* A reader of the output channels' constants, and those of the channel read last. */
typedef struct {
    const uint8_t *next;
    uint32_t bits; /* bits read but not yet taken, `have` of them */
    int have;
    int32_t bias, multiplier;
    int shift;
} tfs_channel;

static inline void tfs_channel_open(tfs_channel *c, const tfs_weights *w)
{
    c->next = w->constants;
    c->bits = 0;
    c->have = 0;
}

/* The next `count` <= 25 bits, lowest first. */
TFS_NOINLINE static uint32_t tfs_bits(tfs_channel *c, int count)
{
    uint32_t value;
    while (c->have < count) {
        c->bits |= (uint32_t)*c->next++ << c->have;
        c->have += 8;
    }
    value = c->bits & ((1u << count) - 1u);
    c->bits >>= count;
    c->have -= count;
    return value;
}

static inline uint32_t tfs_field(tfs_channel *c, int count)
{
#ifdef TFS_WIDE_FIELDS
    if (count > 16) {
        const uint32_t low = tfs_bits(c, 16);
        return low | tfs_bits(c, count - 16) << 16;
    }
#endif
    return tfs_bits(c, count);
}

/* Bias (signed), mantissa without its leading 1 and without bits that are zero throughout, right shift above a base. */
TFS_NOINLINE static void tfs_channel_next(tfs_channel *c, const tfs_weights *w)
{
    const uint32_t sign = w->bias_bits ? 1u << (w->bias_bits - 1) : 0;
    c->bias = (int32_t)((tfs_field(c, w->bias_bits) ^ sign) - sign);
    c->multiplier = (int32_t)((1u << 30) | tfs_field(c, w->mantissa_bits) << (30 - w->mantissa_bits));
    c->shift = w->shift_base + (int)tfs_field(c, w->shift_bits);
}

/* How the sums of a channel become outputs. */
typedef struct {
    int32_t bias, multiplier;
    int shift;
    int32_t offset; /* half a step and the output's zero point, both before the shift; or the zero point */
    int32_t lowest, highest;
} tfs_output;

static inline tfs_output tfs_output_of(const tfs_channel *c, const tfs_weights *w)
{
#ifdef TFS_RIGHT_SHIFTS
    const int32_t offset = (1 << (c->shift - 1)) + w->output_zero * (1 << c->shift);
#else
    const int32_t offset = w->output_zero;
#endif
    const tfs_output at = {c->bias, c->multiplier, c->shift, offset, w->lowest, w->highest};
    return at;
}

/* From a sum, bias included, to the output: TFLite rounds twice in convolutions and once in dense layers (`once`). */
static inline int8_t tfs_finish(int32_t sum, const tfs_output *at, int once)
{
#ifdef TFS_RIGHT_SHIFTS /* all shifts of this model go right by 2 or more, and its sums are small */
    if (once) {
        sum = (int32_t)(((int64_t)sum * at->multiplier + (at->offset * ((int64_t)1 << 31))) >> 32) >> (at->shift - 1);
    } else {
        sum = tfs_small_product(sum, at->multiplier);
        sum = (sum + (sum >> 31) + at->offset) >> at->shift; /* halves go away from zero */
    }
#else
    sum = once ? tfs_scale_once(sum, at->multiplier, -at->shift) : tfs_scale(sum, at->multiplier, -at->shift);
    sum += at->offset;
#endif
    return tfs_clamp(sum, at->lowest, at->highest);
}

/* The output of a dense layer. */
static inline int8_t tfs_dense_output(int32_t sum, const tfs_channel *channel, const tfs_weights *w)
{
    const tfs_output at = tfs_output_of(channel, w);
    return tfs_finish(sum + at.bias, &at, 1);
}

#endif
