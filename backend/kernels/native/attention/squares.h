// Attention of many query tokens by squares of 64 queries by 64 cached rows, so that scores never leave the processor's cache. A lane of a
// vector is a query: maxima, sums and masks need no sum over lanes, and rows are read where they lie.
#pragma once
#include "attention.h"

namespace hs {

/** `attend` for any number of tokens. Squares that none of their queries may see cost nothing. */
void attendSquares(Team& team, const AttentionCall& call, const Held& held, AttentionResult result);

}  // namespace hs
