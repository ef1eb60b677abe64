// Sums of a prompt's attention by which policies choose what it reads.
#pragma once
#include <cstdint>

#include "../team.h"
#include "../turned.h"

namespace hs {

/** Queries and keys of one layer's prompt. */
struct PromptCall {
  int64_t heads, kvHeads, queries, keys, width;
  float scale;
  const float* q;  // [heads, queries, width], those of the last positions
  const float* k;  // [kvHeads, keys, width], at least as many as queries
};

/**
 * Attention of the queries, summed by key and by distance from query to key.
 * @param cap scores become cap · tanh(score / cap); 0: none @param byKey [heads, keys] @param byDistance [heads, keys]
 */
void sumLines(Team& team, const PromptCall& call, float cap, float* byKey, float* byDistance);

/** The tiles of queries and keys of which one antidiagonal is looked at, and the squares that they are summed over. */
struct Tiles {
  int64_t stride, side;  // of a tile and of a square, a multiple of it of SQUARE tiles at most
  int64_t each() const { return side / stride; }
  int64_t squares(int64_t tokens) const { return (tokens + side - 1) / side; }
};

/**
 * Attention of tiles of queries to tiles of keys, each the mean product along its antidiagonal, summed over squares. Tiles of queries begin
 * with the first query, tiles of keys at position 0; behind the last lie zeros.
 * @param out [heads, squares of queries, squares of keys]
 */
void sumAntidiagonals(Team& team, const PromptCall& call, const Tiles& tiles, float* out);

}  // namespace hs
