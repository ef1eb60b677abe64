// Attention of query tokens over cached keys and values, by lists of places. What a KV head of a sequence holds is a list of spans of
// rows of pages, so that full caches, rings, evicted ones and shared prefixes are all the same to the kernel. For a few tokens pieces of
// 128 rows have their own maximum and sum and are joined afterwards; more tokens attend by squares (squares.h). Both are the same for
// any number of threads, and so are the bits.
#pragma once
#include <string>
#include <vector>

#include "../team.h"
#include "../turned.h"
#include "cache.h"
#include "pages.h"

namespace hs {

constexpr int PIECE = 128;
/** Query tokens of a sequence that attend by pieces. */
constexpr int MOST_QUERIES = 8;

/**
 * Squares that queries read: of each head (or of all alike) and each SQUARE query tokens of a sequence the SQUAREs of positions, by
 * position / SQUARE. Those with positions of the queries' own are always read.
 */
struct Blocks {
  const uint8_t* read;  // [heads, down, across]
  int64_t heads, down, across;
};

struct AttentionCall {
  int64_t sequences, tokens;      // query tokens of each sequence
  int64_t heads, kvHeads, width;  // width of a head
  float scale, cap;               // cap 0: none
  const float* q;                 // [sequences, tokens, heads, width]
  const int32_t* positions;       // [sequences, tokens]
  const List* lists;              // [sequences, kvHeads]
  const Span* spans;
  int64_t spanCount;
  const float* sinks;             // [heads]: logits of a sink that has no value; null: none
  Blocks blocks;                  // of no heads: all are read
};

/** Says what is wrong with a call's numbers; empty where nothing is. @param held what its lists hold, found here */
std::string faultOf(const AttentionCall& call, Held& held);

/** Columns of the pattern: one for each position up to the last query's. */
int64_t patternColumns(const AttentionCall& call);

/** The size that a call's blocks have, of one head. */
Blocks blocksOf(const AttentionCall& call);

/** [sequences, tokens, heads, width] and [sequences, tokens, heads, columns], of zeros before the call; null where none is wanted. */
struct AttentionResult {
  float *z, *pattern;
};

/**
 * Attends. A query that sees no row and has no sink gets zeros; positions that are listed twice add up in the pattern. The caller has
 * the lease of the team, which guards the memory that is kept from call to call.
 */
void attend(Team& team, const AttentionCall& call, const Held& held, AttentionResult result);

}  // namespace hs
