#include "scores.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace hs {
namespace {

/** Memory of floats that begins with a vector. */
class Floats {
 public:
  explicit Floats(int64_t count) : memory_(new float[size_t(count) + LANES]) {}
  float* data() const { return memory_.get() + (WIDTH - reinterpret_cast<uintptr_t>(memory_.get()) % WIDTH) % WIDTH / sizeof(float); }

 private:
  std::unique_ptr<float[]> memory_;  // not filled
};

/** SQUARE queries at most, and what they give to rows: query i sees rows 0 .. first + i. */
struct Attending {
  const float* q;  // scaled [width, SQUARE]
  int64_t width, count, first;
  float cap;  // scores that it is not 0 for are divided by it
  /** Rows that any of the queries sees. @param all that there are */
  int64_t seen(int64_t all) const { return std::min(all, first + count); }
};

/** Caps and masks the scores of some rows. @param w [rows, SQUARE] */
void limit(const Attending& a, int64_t from, int64_t to, float* w, V* most) {
  alignas(64) int32_t lanes[SQUARE];
  for (int i = 0; i < SQUARE; i++) lanes[i] = i;
  for (int64_t t = from; t < to; t++)
    for (int x = 0; x < VECTORS; x++) {
      float* here = w + t * SQUARE + x * LANES;
      V s = load(here);
      if (a.cap > 0) s = hyperbolicTangent(s) * (a.cap * LOG2_E);
      s = loadInts(lanes + x * LANES) >= int32_t(std::max<int64_t>(t - a.first, 0)) ? s : splat(-INFINITY);
      store(here, s);
      most[x] = larger(most[x], s);
    }
}

/** Weights of rows, those of each query 1 together; none of queries that are not there. @param rowAt the row of a number @param w [rows, SQUARE] */
template <class RowAt>
void weigh(const Attending& a, int64_t rows, RowAt rowAt, float* w) {
  V most[VECTORS], unused[VECTORS], sums[VECTORS] = {};
  for (V& m : most) m = splat(LEAST);
  for (V& m : unused) m = splat(LEAST);
  for (int64_t t = 0; t < rows; t += TOGETHER) {
    const int count = int(std::min<int64_t>(TOGETHER, rows - t));
    const float* some[TOGETHER];
    for (int r = 0; r < count; r++) some[r] = rowAt(t + r);
    const bool plain = a.cap == 0 && t + count <= a.first + 1;
    withCount(count, [&](auto R) { multiplyTurned<R()>(some, a.q, int(a.width), w + t * SQUARE, plain ? most : unused); });
    if (!plain) limit(a, t, t + count, w, most);
  }
  for (int64_t t = 0; t < rows; t++)
    for (int x = 0; x < VECTORS; x++) {
      float* here = w + t * SQUARE + x * LANES;
      const V e = powerOfTwo(load(here) - most[x]);
      store(here, e);
      sums[x] += e;
    }
  alignas(64) float by[SQUARE];
  for (int x = 0; x < VECTORS; x++) store(by + x * LANES, 1.f / sums[x]);
  std::fill(by + a.count, by + SQUARE, 0.f);
  for (int64_t t = 0; t < rows; t++)
    for (int x = 0; x < VECTORS; x++) {
      float* here = w + t * SQUARE + x * LANES;
      store(here, load(here) * load(by + x * LANES));
    }
}

}  // namespace

void sumLines(Team& team, const PromptCall& c, float cap, float* byKey, float* byDistance) {
  const float scale = cap > 0 ? c.scale / cap : c.scale * LOG2_E;
  team.share(c.heads, 1, [&](int64_t from, int64_t to) {
    const Floats turned(c.width * SQUARE), weights(c.keys * SQUARE);
    std::vector<float> distances(size_t(c.keys + 2 * SQUARE));  // from -SQUARE on
    for (int64_t h = from; h < to; h++) {
      const float* keys = c.k + h / (c.heads / c.kvHeads) * c.keys * c.width;
      float *sums = byKey + h * c.keys, *q = turned.data(), *w = weights.data();
      std::fill(sums, sums + c.keys, 0.f);
      std::fill(distances.begin(), distances.end(), 0.f);
      for (int64_t block = 0; block < c.queries; block += SQUARE) {
        const int64_t count = std::min<int64_t>(SQUARE, c.queries - block), first = c.keys - c.queries + block;
        std::fill(q, q + c.width * SQUARE, 0.f);
        for (int64_t i = 0; i < count; i++)
          for (int64_t k = 0; k < c.width; k++) q[k * SQUARE + i] = c.q[(h * c.queries + block + i) * c.width + k] * scale;
        const Attending a{q, c.width, count, first, cap};
        const int64_t rows = a.seen(c.keys);
        weigh(a, rows, [&](int64_t t) { return keys + t * c.width; }, w);
        for (int64_t t = 0; t < rows; t++) {
          float* near = distances.data() + SQUARE + first - t;  // of the first query
          V all = {};
          for (int x = 0; x < VECTORS; x++) {
            const V own = load(w + t * SQUARE + x * LANES);
            all += own;
            store(near + x * LANES, load(near + x * LANES) + own);
          }
          sums[t] += sum(all);
        }
      }
      std::copy_n(distances.data() + SQUARE, c.keys, byDistance + h * c.keys);
    }
  });
}

void sumAntidiagonals(Team& team, const PromptCall& c, const Tiles& tiles, float* out) {
  const int64_t each = tiles.each(), stride = tiles.stride, wide = stride * c.width, start = c.keys - c.queries;
  const int64_t down = tiles.squares(c.queries), across = tiles.squares(c.keys);
  const int64_t together = SQUARE / each * each;  // tiles of whole squares
  const int64_t all = (c.queries + stride - 1) / stride, blocks = (all + together - 1) / together, whole = c.keys / stride;
  std::fill(out, out + c.heads * down * across, 0.f);
  // The tile of keys that is cut off, of each KV head, and one of zeros.
  std::vector<float> last(size_t((c.kvHeads + 1) * wide));
  for (int64_t g = 0; g < c.kvHeads; g++)
    std::copy_n(c.k + (g * c.keys + whole * stride) * c.width, (c.keys - whole * stride) * c.width, last.data() + g * wide);
  team.share(c.heads * blocks, 1, [&](int64_t from, int64_t to) {
    const Floats turned(wide * SQUARE), weights(across * each * SQUARE);
    float *q = turned.data(), *w = weights.data();
    for (int64_t task = from; task < to; task++) {
      const int64_t h = task % c.heads, g = h / (c.heads / c.kvHeads), tile = (blocks - 1 - task / c.heads) * together;  // the longest first
      const Attending a{q, wide, std::min(together, all - tile), (start + stride - 1) / stride + tile, 0};
      std::fill(q, q + wide * SQUARE, 0.f);
      for (int64_t i = 0; i < a.count; i++)
        for (int64_t s = 0; s < stride; s++) {
          const int64_t token = (tile + i) * stride + stride - 1 - s;  // against key s of a tile
          if (token >= c.queries) continue;
          const float* from = c.q + (h * c.queries + token) * c.width;
          for (int64_t k = 0; k < c.width; k++) q[(s * c.width + k) * SQUARE + i] = from[k] * (c.scale / float(stride) * LOG2_E);
        }
      const int64_t rows = a.seen(across * each);
      const auto rowAt = [&](int64_t t) {
        return t < whole ? c.k + (g * c.keys + t * stride) * c.width : last.data() + (t == whole ? g : c.kvHeads) * wide;
      };
      weigh(a, rows, rowAt, w);
      for (int64_t column = 0; column * each < rows; column++) {
        alignas(64) float sums[SQUARE] = {};
        for (int64_t t = column * each; t < std::min(rows, (column + 1) * each); t++)
          for (int i = 0; i < SQUARE; i++) sums[i] += w[t * SQUARE + i];
        for (int64_t i = 0; i < a.count; i++) out[(h * down + (tile + i) / each) * across + column] += sums[i];
      }
    }
  });
}

}  // namespace hs
