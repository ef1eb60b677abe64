// Products of a packed matrix with 1 to 8 vectors: every weight is widened once and used for all of them.
#pragma once
#include <memory>

#include "format.h"
#include "team.h"

namespace hs {

constexpr int MOST_VECTORS = 8;

/** Vectors prepared for products: padded to whole tiles and to 1, 2, 4 or 8, with the sums of blocks, and in 8 bits where wanted. */
class Activations {
 public:
  /** @param x [count, width], kept by the caller @param block of the format, 0 for plain numbers @param bytes in 8 bits */
  Activations(const float* x, int count, int64_t width, int block, bool bytes);

  int vectors;            // 1, 2, 4 or 8
  int64_t stride;         // floats from one vector to the next
  const float* x;         // [vectors, stride]
  float* sums = nullptr;  // [vectors, blocks of the format]
  int8_t* codes = nullptr;
  float* scales = nullptr;  // [vectors, blocks]
  int32_t* codeSums = nullptr;

 private:
  void padded(const float* x, int count, int64_t width);
  void narrow(const float* v, int64_t at, int block);

  std::unique_ptr<float[]> memory_, padding_;
};

/** Products of a tile's 16 rows with all vectors. @param out [vectors][16] */
void multiplyTile(const Packed& m, int64_t tile, const Activations& a, float (*out)[TILE_ROWS]);

/** Shares out a matrix's tiles; out(tile, [vectors][16]) gets each one's products, in any order. */
template <class Out>
void product(Team& team, const Packed& m, const Activations& a, Out out) {
  team.share(m.tiles(), team.stepFor(m.tiles(), m.width * TILE_ROWS * a.vectors), [&](int64_t from, int64_t to) {
    float rows[MOST_VECTORS][TILE_ROWS];
    for (int64_t t = from; t < to; t++) {
      multiplyTile(m, t, a, rows);
      out(t, rows);
    }
  });
}

/** x · Wᵀ. @param x [count, width] @param bytes activations in 8 bits, of formats with codes @param y [count, rows] */
void multiply(Team& team, const Packed& m, const float* x, int64_t count, bool bytes, float* y);

}  // namespace hs
