/* The inner loops of dense convolutions and dense layers. */
#ifndef TFS_DOT_H
#define TFS_DOT_H

#include <stdint.h>

#include "tfs_fixed.h"

/* sums[k] += (a[k * step + i] - zero_a) * (b[i] - zero_b) over i < n, for k < count; two k at a time. */
TFS_NOINLINE static void tfs_dots(int32_t *sums, int count, const int8_t *a, int step, const int8_t *b, int n,
                                  int zero_a, int zero_b)
{
#ifdef TFS_DSP
    const uint32_t less_a = (uint32_t)-zero_a << 16 | (uint16_t)-zero_a;
    const uint32_t less_b = (uint32_t)-zero_b << 16 | (uint16_t)-zero_b;
#endif
    for (; count > 0; count -= 2) {
        const int8_t *p = a, *q = a, *w = b;
        int32_t first = sums[0], second = 0;
        int left = n;
        if (count > 1) { /* else the second is a copy of the first, not to be kept */
            q += step;
            second = sums[1];
        }
#ifdef TFS_DSP
        if (left >= 4) { /* four bytes become two pairs of 16 bits: bytes 0 and 2, 1 and 3 */
            uint32_t four, pair, even, odd;
            left -= 4;
            __asm__ volatile("0: ldr %[four], [%[w]], #4\n\t"
                             "sxtab16 %[even], %[less_b], %[four]\n\t"
                             "sxtab16 %[odd], %[less_b], %[four], ror #8\n\t"
                             "ldr %[four], [%[p]], #4\n\t"
                             "subs %[left], #4\n\t"
                             "sxtab16 %[pair], %[less_a], %[four]\n\t"
                             "smlad %[first], %[pair], %[even], %[first]\n\t"
                             "sxtab16 %[pair], %[less_a], %[four], ror #8\n\t"
                             "ldr %[four], [%[q]], #4\n\t"
                             "smlad %[first], %[pair], %[odd], %[first]\n\t"
                             "sxtab16 %[pair], %[less_a], %[four]\n\t"
                             "smlad %[second], %[pair], %[even], %[second]\n\t"
                             "sxtab16 %[pair], %[less_a], %[four], ror #8\n\t"
                             "smlad %[second], %[pair], %[odd], %[second]\n\t"
                             "bpl 0b"
                             : [first] "+r"(first), [second] "+r"(second), [p] "+r"(p), [q] "+r"(q), [w] "+r"(w),
                               [left] "+r"(left), [four] "=&r"(four), [pair] "=&r"(pair), [even] "=&r"(even),
                               [odd] "=&r"(odd)
                             : [less_a] "r"(less_a), [less_b] "r"(less_b)
                             : "cc", "memory");
            left += 4;
        }
#endif
        for (; left > 0; left--) {
            const int factor = *w++ - zero_b;
            first += (*p++ - zero_a) * factor;
            second += (*q++ - zero_a) * factor;
        }
        *sums++ = first;
        if (count > 1) {
            *sums++ = second;
        }
        a += 2 * step;
    }
}

#endif
