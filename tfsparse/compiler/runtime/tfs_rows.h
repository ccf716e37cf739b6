/* Where the rows of a map lie: one behind the other, in a ring that holds `held` of them, or wherever a table says. */
#ifndef TFS_ROWS_H
#define TFS_ROWS_H

#include <stdint.h>

/* First member of the descriptors that windows slide over: nothing where all maps lie in one piece. */
#if defined(TFS_TABLES)
#define TFS_ROWS const TFS_PLACE *rows; /* of each row, in units of TFS_UNIT bytes; NULL: one behind the other */
#define TFS_ROW(layer, y, size) ((layer)->rows != NULL ? (int)((layer)->rows[y] * TFS_UNIT) : (y) * (size))
#define TFS_ROWS_EVEN(layer) ((layer)->rows == NULL)
#elif defined(TFS_RINGS)
#define TFS_ROWS uint16_t held; /* rows that are in memory: row y lies at place y % held */
#define TFS_ROW(layer, y, size) ((y) % (layer)->held * (size))
#define TFS_ROWS_EVEN(layer) ((layer)->held >= (layer)->in_height)
#else
#define TFS_ROWS
#define TFS_ROW(layer, y, size) ((y) * (size))
#define TFS_ROWS_EVEN(layer) ((void)(layer), 1)
#endif

#endif
