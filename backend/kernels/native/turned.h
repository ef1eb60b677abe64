// Products of rows with up to 64 queries, turned: a lane of a vector is a query, so that maxima, sums and masks need no sum over lanes.
#pragma once
#include <cstdint>
#include <type_traits>

#include "simd.h"

namespace hs {

/** Queries that are multiplied together; tokens and positions on a side of a square. */
constexpr int SQUARE = 64;

constexpr int WIDE = LANES == 16 ? 4 : 2;  // vectors of queries beside TOGETHER rows, as many as the registers hold
constexpr int TOGETHER = 6;
constexpr int VECTORS = SQUARE / LANES;
constexpr float LOG2_E = 1.44269504f;
constexpr float LEAST = -3e38f;  // of a maximum: of what is infinitely small nothing can be taken

/** Calls f with a number from 1 to TOGETHER that is known when f is compiled. */
template <class F>
inline void withCount(int count, F f) {
  switch (count) {
    case 1: return f(std::integral_constant<int, 1>());
    case 2: return f(std::integral_constant<int, 2>());
    case 3: return f(std::integral_constant<int, 3>());
    case 4: return f(std::integral_constant<int, 4>());
    case 5: return f(std::integral_constant<int, 5>());
    default: return f(std::integral_constant<int, TOGETHER>());
  }
}

/** Products of R rows with the queries. @param q [width, queries] @param out [R, queries] @param most of the queries, raised */
template <int R>
void multiplyTurned(const float* const* rows, const float* q, int width, float* out, V* most) {
  for (int x = 0; x < VECTORS; x += WIDE) {
    V sums[R][WIDE] = {};
    for (int k = 0; k < width; k++) {
      V lanes[WIDE];
      HS_UNROLL for (int i = 0; i < WIDE; i++) lanes[i] = load(q + k * SQUARE + (x + i) * LANES);
      HS_UNROLL for (int r = 0; r < R; r++) {
        const V row = splat(rows[r][k]);
        HS_UNROLL for (int i = 0; i < WIDE; i++) sums[r][i] += row * lanes[i];
      }
    }
    HS_UNROLL for (int r = 0; r < R; r++)
      HS_UNROLL for (int i = 0; i < WIDE; i++) {
        store(out + r * SQUARE + (x + i) * LANES, sums[r][i]);
        most[x + i] = larger(most[x + i], sums[r][i]);
      }
  }
}

}  // namespace hs
