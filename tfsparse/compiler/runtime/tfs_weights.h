/* What convolutions and dense layers share: weights in stream order, and constants of each output channel. */
#ifndef TFS_WEIGHTS_H
#define TFS_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "tfs_fixed.h"

typedef struct {
    const int8_t *values;       /* all weights, or the non-zero ones where there is a bitmap */
    const uint8_t *bitmap;      /* one bit a weight, lowest first: 1 = non-zero; NULL: dense */
    const uint8_t *constants; /* packed, see tfs_channel_next; NULL: nothing differs from channel to channel */
    int16_t input_zero;
    int8_t output_zero, lowest, highest;
    uint8_t bias_bits, mantissa_bits, shift_bits;
    int8_t shift_base;
} tfs_weights;

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
    uint32_t position; /* in bits */
    int32_t bias, multiplier;
    int shift;
} tfs_channel;

/* The next `count` <= 32 bits, lowest first. */
TFS_NOINLINE static uint32_t tfs_bits(const uint8_t *data, uint32_t *position, int count)
{
    uint32_t value = 0;
    int done = 0;
    while (done < count) {
        const int first = (int)(*position & 7u);
        const int taken = count - done < 8 - first ? count - done : 8 - first;
        value |= ((uint32_t)(data[*position >> 3] >> first) & ((1u << taken) - 1u)) << done;
        *position += (uint32_t)taken;
        done += taken;
    }
    return value;
}

/* Bias (signed), mantissa without its leading 1 and without bits that are zero throughout, right shift above a base. */
static void tfs_channel_next(tfs_channel *c, const tfs_weights *w)
{
    const uint32_t sign = w->bias_bits ? 1u << (w->bias_bits - 1) : 0;
    c->bias = (int32_t)((tfs_bits(w->constants, &c->position, w->bias_bits) ^ sign) - sign);
    c->multiplier =
        (int32_t)((1u << 30) | tfs_bits(w->constants, &c->position, w->mantissa_bits) << (30 - w->mantissa_bits));
    c->shift = -w->shift_base - (int)tfs_bits(w->constants, &c->position, w->shift_bits);
}

#endif
