/* base/tri.h - yes, no, and no answer.
 *
 * Purpose    "no answer" is never "no" (INV-8).
 */
#ifndef HOLDFAST_BASE_TRI_H
#define HOLDFAST_BASE_TRI_H

enum tri { TRI_UNKNOWN = 0, TRI_NO, TRI_YES };

#endif
