// Attention of a few query tokens over cached keys and values, by lists of places. What a KV head of a sequence holds is a list of spans
// of rows, so that full caches, rings, evicted ones, pages and shared prefixes are all the same to the kernel. Pieces of 128 rows have
// their own maximum and sum and are joined afterwards; they are the same for any number of threads, and so are the bits.
#pragma once
#include <string>
#include <vector>

#include "cache.h"
#include "team.h"

namespace hs {

constexpr int PIECE = 128;
constexpr int MOST_QUERIES = 8;

/** Rows row .. row + count - 1 of the buffers, which hold positions position .. position + count - 1. */
struct Span {
  int32_t row, position, count;
};

/**
 * The spans of one KV head of one sequence, and what of them a query sees: of the last `local` positions (0: of all) the last `window`
 * (0: all) and those below `sink`.
 */
struct List {
  int32_t first, spans, window, sink, local;
};

struct AttentionCall {
  CacheKind kind;
  int64_t sequences, tokens;  // query tokens of each sequence
  int64_t heads, kvHeads, width;  // width of a head
  float scale, cap;           // cap 0: none
  const float* q;             // [sequences, tokens, heads, width]
  const int32_t* positions;   // [sequences, tokens]
  const List* lists;          // [sequences, kvHeads]
  const Span* spans;
  int64_t spanCount;
  const uint8_t* keys;        // [rows, a row's bytes]
  const uint8_t* values;
  int64_t rows;
  const float* sinks;         // [heads]: logits of a sink that has no value; null: none
};

/** Says what is wrong with a call's numbers; empty where nothing is. */
std::string faultOf(const AttentionCall& call);

/** Columns of the pattern: one for each position up to the last query's. */
int64_t patternColumns(const AttentionCall& call);

/** Memory of a call, kept from one to the next. */
struct AttentionScratch {
  std::vector<float> queries, partials, weights;
};

/**
 * Attends. A query that sees no row and has no sink gets zeros.
 * @param z [sequences, tokens, heads, width] @param pattern zeros [sequences, tokens, heads, columns], or null; positions listed twice add up
 */
void attend(Team& team, const AttentionCall& call, AttentionScratch& scratch, float* z, float* pattern);

}  // namespace hs
