/* What convolutions and dense layers share: weights in stream order, and constants of each output channel.
 *
 * The streams of all layers lie in one array, `streams`, defined before this.
 */
#ifndef TFS_WEIGHTS_H
#define TFS_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "tfs_fixed.h"

typedef struct {
    const int8_t *values;  /* all weights, a byte each; or what indices in the stream stand for; or NULL */
    TFS_BEGIN begin; /* the byte of `streams` from which on lie, as bits, lowest first, each channel's constants, and
                      * before the next one's its weights */
    int8_t input_zero, output_zero;
#ifndef TFS_WHOLE_RANGE
    int8_t lowest, highest;
#endif
    uint8_t bias_bits, mantissa_bits, shift_bits;
    int8_t shift_base;
#ifdef TFS_STREAM
    uint16_t first; /* weights that are zero before the first stored one */
#endif
#ifndef TFS_VALUE_BITS
    uint8_t value_bits;
#endif
#ifndef TFS_GAP_BITS
    uint8_t gap_bits;
#endif
} tfs_weights;

/* What all layers have in common is a number, so that shifts by it cost less. */
#ifndef TFS_VALUE_BITS
#define TFS_VALUE_BITS(w) (w)->value_bits
#endif
#ifndef TFS_GAP_BITS
#define TFS_GAP_BITS(w) (w)->gap_bits
#endif

/* A fully connected layer: `rows` vectors of `inputs` values. */
typedef struct {
    tfs_weights w;
    uint16_t rows, inputs, outputs;
} tfs_dense;

/* A reader of a layer's stream: constants of the channel read last, and where its weights begin. */
typedef struct {
    uint32_t position; /* of the next bit of `streams` */
#ifdef TFS_STREAM
    int zeros; /* weights that are zero before the next stored one */
#endif
    int32_t bias, multiplier;
    int shift;
} tfs_channel;

static inline void tfs_channel_open(tfs_channel *c, const tfs_weights *w)
{
    c->position = w->begin * 8u;
#ifdef TFS_STREAM
    c->zeros = w->first;
#endif
}

/* The bits from the next one on, 25 at least. */
TFS_INLINE uint32_t tfs_look(const tfs_channel *c)
{
    const uint8_t *at = streams + (c->position >> 3);
    return (at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24) >> (c->position & 7);
}

/* The next `count` <= 25 bits. */
#ifdef TFS_INLINED
TFS_INLINE
#else
TFS_NOINLINE static
#endif
uint32_t tfs_bits(tfs_channel *c, int count)
{
    const uint32_t value = tfs_look(c) & ((1u << count) - 1u);
    c->position += (uint32_t)count;
    return value;
}

static inline uint32_t tfs_field(tfs_channel *c, int count)
{
#ifdef TFS_WIDE_FIELDS
    if (count > 25) {
        const uint32_t low = tfs_bits(c, 16);
        return low | tfs_bits(c, count - 16) << 16;
    }
#endif
    return tfs_bits(c, count);
}

#ifndef TFS_MANTISSA_OFFSET
#define TFS_MANTISSA_OFFSET 0 /* what all mantissas have beside the bits that are stored */
#endif

/* Right shift above a base; bias, signed; mantissa without its leading 1 and without bits that are zero throughout. */
TFS_NOINLINE static void tfs_channel_next(tfs_channel *c, const tfs_weights *w)
{
#if defined(TFS_BIAS_GROWS) || defined(TFS_WIDE_FIELDS) || !defined(TFS_INLINED)
    const int above = (int)tfs_bits(c, w->shift_bits);
#ifdef TFS_BIAS_GROWS
    const int bias_bits = w->bias_bits + above;
#else
    const int bias_bits = w->bias_bits;
#endif
    const uint32_t bias = tfs_field(c, bias_bits);
#else /* one look is enough for both: faster, and more code */
    const int bias_bits = w->bias_bits;
    const uint32_t both = tfs_bits(c, w->shift_bits + bias_bits), bias = both >> w->shift_bits;
    const int above = (int)(both & ((1u << w->shift_bits) - 1u));
#endif
    const uint32_t sign = bias_bits ? 1u << (bias_bits - 1) : 0;
    c->shift = w->shift_base + above;
    c->bias = (int32_t)((bias ^ sign) - sign);
    c->multiplier = (1 << 30) + TFS_MANTISSA_OFFSET;
    c->multiplier += (int32_t)(tfs_field(c, w->mantissa_bits) << (30 - w->mantissa_bits));
}

#ifdef TFS_STREAM
#ifdef TFS_GAPS
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

/* The stored weight that is next; then `zeros` says how many after it are zero. */
TFS_INLINE int tfs_weight_next(tfs_channel *c, const tfs_weights *w)
{
    const int value_bits = TFS_VALUE_BITS(w);
    uint32_t bits = tfs_look(c);
    int weight;
#ifdef TFS_CODEBOOK
    if (w->values != NULL) {
        weight = w->values[bits & ((1u << value_bits) - 1u)];
    } else
#endif
    {
        weight = (int32_t)(bits << (32 - value_bits)) >> (32 - value_bits);
    }
    (void)w; /* where all layers are alike */
    c->position += (uint32_t)value_bits;
#ifdef TFS_GAPS
#ifdef TFS_NO_GAPS
    if (TFS_GAP_BITS(w) != TFS_NO_GAPS)
#endif
    {
        const int gap_bits = TFS_GAP_BITS(w);
        const int low = (int)((bits >> value_bits) & ((1u << gap_bits) - 1u));
        const int unary = tfs_trailing_zeros(bits >> (value_bits + gap_bits));
        c->zeros = (unary << gap_bits) + low;
        c->position += (uint32_t)(gap_bits + unary + 1);
    }
#endif
    return weight;
}
#endif

/* How the sums of a channel become outputs. */
typedef struct {
    int32_t bias, multiplier;
    int shift;
    int32_t offset; /* half a step and the output's zero point, both before the shift; or the zero point */
#ifndef TFS_WHOLE_RANGE
    int32_t lowest, highest;
#endif
} tfs_output;

static inline tfs_output tfs_output_of(const tfs_channel *c, const tfs_weights *w)
{
#ifdef TFS_RIGHT_SHIFTS
    const int32_t offset = (1 << (c->shift - 1)) + w->output_zero * (1 << c->shift);
#else
    const int32_t offset = w->output_zero;
#endif
#ifdef TFS_WHOLE_RANGE
    const tfs_output at = {c->bias, c->multiplier, c->shift, offset};
#else
    const tfs_output at = {c->bias, c->multiplier, c->shift, offset, w->lowest, w->highest};
#endif
    return at;
}

static inline int8_t tfs_within(int32_t x, const tfs_output *at)
{
#if !defined(TFS_WHOLE_RANGE)
    return tfs_clamp(x, at->lowest, at->highest);
#elif defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    (void)at;
    __asm__("ssat %0, #8, %1" : "=r"(x) : "r"(x));
    return (int8_t)x;
#else
    (void)at;
    return tfs_clamp(x, -128, 127);
#endif
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
    return tfs_within(sum, at);
}

#ifdef TFS_RIGHT_SHIFTS
/* The same of a convolution's sum that is given twice as large, in two instructions less. The product has the sum's
 * sign or is 0, when one less, before the shift, gives the same. sign: -1 below 0, else 0. */
TFS_INLINE int8_t tfs_finish_twice(int32_t twice, int32_t sign, const tfs_output *at)
{
    return tfs_within(tfs_add_half_product(at->offset + sign, twice, at->multiplier) >> at->shift, at);
}
#endif

/* The output of a dense layer. */
static inline int8_t tfs_dense_output(int32_t sum, const tfs_channel *channel, const tfs_weights *w)
{
    const tfs_output at = tfs_output_of(channel, w);
    return tfs_finish(sum + at.bias, &at, 1);
}

#endif
