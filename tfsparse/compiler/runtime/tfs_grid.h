/* Walks over arrays, and operands that broadcast. */
#ifndef TFS_GRID_H
#define TFS_GRID_H

#include <stdint.h>

/* One of nested loops: rounds, and bytes that two pointers go on from the last place of the loops inside it. */
typedef struct {
    uint32_t count;
    int32_t a, b;
} tfs_loop;

/* Where the pointers are; all zero to begin. */
typedef struct {
    int32_t a, b;
    uint32_t round[TFS_LOOPS];
} tfs_walk;

/* On to the next place of `n` loops, innermost first; 0 behind the last. */
static inline int tfs_walk_on(tfs_walk *w, const tfs_loop *loops, int n)
{
    for (int k = 0; k < n; k++) {
        if (++w->round[k] < loops[k].count) {
            w->a += loops[k].a;
            w->b += loops[k].b;
            return 1;
        }
        w->round[k] = 0;
    }
    return 0;
}

/* How a binary operator walks its operands. Without broadcasting in the model, all of them lie side by side. */
typedef struct {
    uint32_t length; /* of the innermost loop */
#ifdef TFS_BROADCAST
    uint8_t loops, step_a, step_b;
    tfs_loop loop[TFS_LOOPS];
#endif
} tfs_operands;

#ifdef TFS_BROADCAST
#define TFS_STEP(operands, which) ((operands).step_##which)
#define TFS_MORE(operands, walk) tfs_walk_on(walk, (operands).loop, (operands).loops)
#else
#define TFS_STEP(operands, which) 1
#define TFS_MORE(operands, walk) 0
#endif

#endif
