/* Fixed-point arithmetic of TensorFlow Lite's reference int8 kernels. Part of the tfsparse runtime; C99. */
#ifndef TFS_FIXED_H
#define TFS_FIXED_H

#include <stdint.h>

#ifdef __cplusplus /* has no such word */
#define TFS_RESTRICT
#else
#define TFS_RESTRICT restrict
#endif

#ifdef __GNUC__
#define TFS_NOINLINE __attribute__((noinline))
/* What was read from memory before is read again: saves the stack that copies of a descriptor's fields would take. */
#define TFS_FORGET() __asm__ volatile("" ::: "memory")
#else
#define TFS_NOINLINE
#define TFS_FORGET() ((void)0)
#endif

/* What inner loops are made of; gcc's -Os would call functions there, and not keep all they need in registers. */
#if defined(TFS_INLINED) && defined(__GNUC__)
#define TFS_INLINE static inline __attribute__((always_inline))
#else
#define TFS_INLINE static inline
#endif
#if (defined(TFS_INLINED) || defined(TFS_ALWAYS_SCALE)) && defined(__GNUC__)
#define TFS_INLINE_SCALE static inline __attribute__((always_inline))
#else
#define TFS_INLINE_SCALE static inline
#endif
#if defined(TFS_SPEED) && defined(__GNUC__) && !defined(__clang__)
#define TFS_FAST __attribute__((noinline, optimize("O2")))
#else
#define TFS_FAST TFS_NOINLINE
#endif

#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__) && !defined(__ARM_BIG_ENDIAN) && !defined(TFS_NO_DSP)
#define TFS_DSP
/* A function of three numbers that is one instruction. */
#define TFS_INSTRUCTION(name) \
    static inline int32_t tfs_##name(int32_t a, int32_t b, int32_t c) \
    { \
        int32_t result; \
        __asm__(#name " %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(c)); \
        return result; \
    }
TFS_INSTRUCTION(smlabb)
TFS_INSTRUCTION(smlabt)
TFS_INSTRUCTION(smmlar)
#endif

/* sum + x times the lower or the upper half of a pair of 16 bits; x is of 16 bits. */
static inline int32_t tfs_add_lower(int32_t sum, int32_t x, int32_t pair)
{
#ifdef TFS_DSP
    return tfs_smlabb(x, pair, sum);
#else
    return sum + x * (int16_t)pair;
#endif
}

static inline int32_t tfs_add_upper(int32_t sum, int32_t x, int32_t pair)
{
#ifdef TFS_DSP
    return tfs_smlabt(x, pair, sum);
#else
    return sum + x * (pair >> 16);
#endif
}

/* round(a * b / 2^31), half up: two Q0.31 factors. The sum cannot overflow as b is never -2^31. */
static inline int32_t tfs_high_product(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* c + round(a * b / 2^32), half up. */
static inline int32_t tfs_add_half_product(int32_t c, int32_t a, int32_t b)
{
#ifdef TFS_DSP
    return tfs_smmlar(a, b, c);
#else
    return c + (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
#endif
}

/* round(a * b / 2^31), half up, for -2^30 <= a < 2^30. */
static inline int32_t tfs_small_product(int32_t a, int32_t b)
{
#ifdef TFS_DSP
    int32_t result;
    __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(2 * a), "r"(b));
    return result;
#else
    return tfs_high_product(a, b);
#endif
}

/* x / 2^bits, rounded half away from zero; 0 <= bits <= 31. */
static inline int32_t tfs_round_shift(int32_t x, int bits)
{
    const uint32_t mask = (1u << bits) - 1u;
    return (x >> bits) + (((uint32_t)x & mask) > (mask >> 1) + (x < 0));
}

/* x * multiplier * 2^(shift - 31), rounded twice as TFLite does it: to an integer, then half away from zero. For factors
 * below 1, -2^30 <= x < 2^30, and results that leave a bit free. */
TFS_INLINE_SCALE int32_t tfs_scale_short(int32_t x, int32_t multiplier, int shift)
{
    const int32_t high = tfs_small_product(x, multiplier);
    return (2 * high + (high >> 31) + (1 << -shift)) >> (1 - shift); /* one bit more, so that shift 0 is no exception */
}

#ifdef TFS_ANY_SCALE /* this model has factors above 1, or sums too large for the short way */
static inline int32_t tfs_scale(int32_t x, int32_t multiplier, int shift)
{
    if (shift > 0) { /* the reference wraps around, too */
        return tfs_high_product((int32_t)((uint32_t)x << shift), multiplier);
    }
    return tfs_round_shift(tfs_high_product(x, multiplier), -shift);
}
#else
#define tfs_scale tfs_scale_short
#endif

/* The same product rounded once, half up: what TFLite's fully connected layer does. */
static inline int32_t tfs_scale_once(int32_t x, int32_t multiplier, int shift)
{
    return (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << (30 - shift))) >> (31 - shift));
}

static inline int8_t tfs_clamp(int32_t x, int32_t lowest, int32_t highest)
{
    return (int8_t)(x < lowest ? lowest : x > highest ? highest : x);
}

#endif
