/* The inner loops of dense convolutions and dense layers. */
#ifndef TFS_DOT_H
#define TFS_DOT_H

#include <stdint.h>
#include <string.h>

#include "tfs_fixed.h"

#ifdef TFS_DSP
/* Bytes 0 and 2, then 1 and 3, of four at `p`, as pairs of 16 bits, to each of which `add` adds. */
#define TFS_UNPACK(even, odd, add, p)                                                                      \
    do {                                                                                                   \
        uint32_t four;                                                                                     \
        memcpy(&four, (p), 4);                                                                             \
        __asm__("sxtab16 %0, %1, %2" : "=r"(even) : "r"(add), "r"(four));                                  \
        __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(odd) : "r"(add), "r"(four));                           \
    } while (0)
#define TFS_MULTIPLY_ADD(sum, x, y) __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(x), "r"(y))
#endif

/* sums[k] += (a[k * step + i] - zero_a) * (b[i] - zero_b) over i < n, for k < count; two k at a time. */
TFS_NOINLINE static void tfs_dots(int32_t *sums, int count, const int8_t *a, int step, const int8_t *b, int n,
                                  int zero_a, int zero_b)
{
#ifdef TFS_DSP
    const uint32_t add_a = (uint32_t)-zero_a << 16 | (uint16_t)-zero_a;
    const uint32_t add_b = (uint32_t)-zero_b << 16 | (uint16_t)-zero_b;
#endif
    for (; count > 0; count -= 2) {
        const int8_t *p = a, *q = b, *const end = b + n;
        int32_t first = sums[0], second = 0;
        if (count == 1) {
            step = 0; /* the second is a copy of the first, not to be kept */
        } else {
            second = sums[1];
        }
#ifdef TFS_DSP
        for (; end - q >= 4; q += 4) {
            uint32_t b0, b1, a0, a1;
            TFS_UNPACK(b0, b1, add_b, q);
            TFS_UNPACK(a0, a1, add_a, p);
            TFS_MULTIPLY_ADD(first, a0, b0);
            TFS_MULTIPLY_ADD(first, a1, b1);
            TFS_UNPACK(a0, a1, add_a, p + step);
            TFS_MULTIPLY_ADD(second, a0, b0);
            TFS_MULTIPLY_ADD(second, a1, b1);
            p += 4;
        }
#endif
        while (q < end) {
            const int factor = *q++ - zero_b;
            first += (p[0] - zero_a) * factor;
            second += (p[step] - zero_a) * factor;
            p++;
        }
        *sums++ = first;
        if (count > 1) {
            *sums++ = second;
        }
        a += 2 * step;
    }
}

#endif
