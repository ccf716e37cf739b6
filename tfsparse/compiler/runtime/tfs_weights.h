/* What convolutions and dense layers share: weights in stream order, and constants of each output channel. */
#ifndef TFS_WEIGHTS_H
#define TFS_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "tfs_fixed.h"

typedef struct {
    const int8_t *values;       /* all weights, or the non-zero ones where there is a bitmap */
    const uint8_t *bitmap;      /* one bit a weight, lowest first: 1 = non-zero; NULL: dense */
    const void *bias;           /* of bias_size bytes an output channel; NULL: none */
    const int32_t *multiplier;  /* per output channel, with its shift */
    const int8_t *shift;
    int16_t input_zero;
    int8_t output_zero, lowest, highest;
    uint8_t bias_size;
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

static int32_t tfs_bias(const tfs_weights *w, int channel)
{
#ifdef TFS_BIAS_8
    if (w->bias_size == 1) {
        return ((const int8_t *)w->bias)[channel];
    }
#endif
#ifdef TFS_BIAS_16
    if (w->bias_size == 2) {
        return ((const int16_t *)w->bias)[channel];
    }
#endif
#ifdef TFS_BIAS_32
    if (w->bias_size == 4) {
        return ((const int32_t *)w->bias)[channel];
    }
#endif
    (void)w;
    (void)channel;
    return 0;
}

#endif
