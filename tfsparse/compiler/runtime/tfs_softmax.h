/* Softmax over the last axis in fixed point (the method of the gemmlowp library, which TFLite's reference uses). */
#ifndef TFS_SOFTMAX_H
#define TFS_SOFTMAX_H

#include "tfs_fixed.h"

typedef struct {
    int32_t multiplier;
    int32_t lowest_difference; /* what lies further below the maximum counts as probability 0 */
    uint16_t rows, depth;
    int8_t shift;
} tfs_softmax;

/* exp(x) as Q0.31 of a Q5.26 number x <= 0. */
static int32_t tfs_exp(int32_t x)
{
    /* exp(-2^(k - 2)), k = 0..6, as Q0.31 */
    static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t quarter = 1 << 24;
    const int32_t rest = (x & (quarter - 1)) - quarter; /* in [-1/4, 0) */
    const int32_t whole = rest - x;                     /* a multiple of 1/4 */
    /* Taylor series around -1/8 to the fourth power, all Q0.31 */
    const int32_t t = rest * 32 + (1 << 28);
    const int32_t t2 = tfs_high_product(t, t);
    const int32_t t3 = tfs_high_product(t2, t);
    const int32_t t4 = tfs_round_shift(tfs_high_product(t2, t2), 2);
    const int32_t tail = tfs_round_shift(tfs_high_product(t4 + t3, 715827883) + t2, 1);
    int32_t result = 1895147668 + tfs_high_product(1895147668, t + tail);
    for (int k = 0; k < 7; k++) {
        if ((whole >> (24 + k)) & 1) {
            result = tfs_high_product(result, powers[k]);
        }
    }
    return x == 0 ? INT32_MAX : result;
}

/* 1 / (1 + x) as Q0.31 of a Q0.31 number x >= 0: three Newton steps. */
static int32_t tfs_reciprocal(int32_t x)
{
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) >> 1);
    int32_t y = 1515870810 + tfs_high_product(half, -1010580540); /* Q2.29: 48/17 - 32/17 d */
    for (int i = 0; i < 3; i++) {
        y += tfs_high_product(y, (1 << 29) - tfs_high_product(half, y)) * 4;
    }
    return y >= 1 << 30 ? INT32_MAX : y * 2;
}

static void tfs_softmax_run(const tfs_softmax *l, const int8_t *in, int8_t *out)
{
    for (int row = 0; row < l->rows; row++) {
        int32_t highest = -128, sum = 0, scale = 0;
        int zeros = 0;
        for (int i = 0; i < l->depth; i++) {
            highest = in[i] > highest ? in[i] : highest;
        }
        for (int pass = 0; pass < 2; pass++) { /* the sum first, then the quotients */
            for (int i = 0; i < l->depth; i++) {
                const int32_t difference = in[i] - highest;
                int32_t power = 0;
                if (difference >= l->lowest_difference) {
                    power = tfs_exp(tfs_high_product((int32_t)((uint32_t)difference << l->shift), l->multiplier));
                }
                if (pass == 0) {
                    sum += tfs_round_shift(power, 12);
                } else {
                    const int32_t product = tfs_high_product(scale, power);
                    /* With a sum so large that more bits would go, a share is below one half. */
                    out[i] = tfs_clamp((zeros < 4 ? 0 : tfs_round_shift(product, 35 - zeros)) - 128, -128, 127);
                }
            }
            if (pass == 0) {
                while ((((uint32_t)sum << zeros) & 0x80000000u) == 0) {
                    zeros++;
                }
                scale = tfs_reciprocal((int32_t)(((uint32_t)sum << zeros) - 0x80000000u));
            }
        }
        in += l->depth;
        out += l->depth;
    }
}

#endif
