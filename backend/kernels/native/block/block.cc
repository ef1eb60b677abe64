#include "block.h"

#include <algorithm>

#include "../attention/cache.h"
#include "../simd.h"

namespace hs {
namespace {

/** Sum of squares of n numbers. */
float squares(const float* x, int64_t n) {
  V total = {};
  for (int64_t i = 0; i < n; i += LANES) {
    const V v = loadSome(x + i, n - i);
    total += v * v;
  }
  return sum(total);
}

/** Normalises n numbers. @param out may be x */
void rmsNorm(const float* x, const float* w, int64_t n, float eps, float* out) {
  const float by = 1 / std::sqrt(squares(x, n) / float(n) + eps);
  for (int64_t i = 0; i < n; i += LANES) storeSome(out + i, loadSome(x + i, n - i) * by * loadSome(w + i, n - i), n - i);
}

void layerNorm(const float* x, const NormWeights& weights, int64_t n, float eps, float* out) {
  V total = {};
  for (int64_t i = 0; i < n; i += LANES) total += loadSome(x + i, n - i);
  const float mean = sum(total) / float(n);
  for (int64_t i = 0; i < n; i += LANES) storeSome(out + i, loadSome(x + i, n - i) - mean, n - i);
  rmsNorm(out, weights.w, n, eps, out);
  for (int64_t i = 0; weights.b && i < n; i += LANES) storeSome(out + i, loadSome(out + i, n - i) + loadSome(weights.b + i, n - i), n - i);
}

/** Turns the first `rotary` numbers of a head, halves paired: (a, b) -> (a cos - b sin, b cos + a sin). */
void rotate(float* head, const float* cos, const float* sin, int64_t rotary) {
  const int64_t half = rotary / 2;
  for (int64_t i = 0; i < half; i += LANES) {
    const auto at = [&](const float* from) { return loadSome(from + i, half - i); };
    const V a = at(head), b = at(head + half);
    storeSome(head + i, a * at(cos) - b * at(sin), half - i);
    storeSome(head + half + i, b * at(cos + half) + a * at(sin + half), half - i);
  }
}

template <ActFn F>
V activated(V x) {
  switch (F) {
    case ActFn::SILU: return x / (1.f + exponential(-x));
    case ActFn::RELU: return x < 0.f ? V{} : x;
    case ActFn::GELU: return x * 0.5f * (1.f + errorFunction(x * 0.707106781f));
    case ActFn::QUICK_GELU: return x / (1.f + exponential(x * -1.702f));
    default: return x * 0.5f * (1.f + hyperbolicTangent(0.797884561f * (x + 0.044715f * x * x * x)));
  }
}

/** out = f(pre), times `linear` where there is one. */
template <ActFn F>
void activate(const float* pre, const float* linear, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += LANES) {
    const V v = activated<F>(loadSome(pre + i, n - i));
    storeSome(out + i, linear ? v * loadSome(linear + i, n - i) : v, n - i);
  }
}

void activateBy(ActFn f, const float* pre, const float* linear, int64_t n, float* out) {
  switch (f) {
    case ActFn::SILU: return activate<ActFn::SILU>(pre, linear, n, out);
    case ActFn::RELU: return activate<ActFn::RELU>(pre, linear, n, out);
    case ActFn::GELU: return activate<ActFn::GELU>(pre, linear, n, out);
    case ActFn::QUICK_GELU: return activate<ActFn::QUICK_GELU>(pre, linear, n, out);
    case ActFn::GELU_TANH: return activate<ActFn::GELU_TANH>(pre, linear, n, out);
  }
}

/** A block at work. Rows of its scratch beyond `normed` hold a group, or all tokens where they wait for attention. */
class BlockRun {
 public:
  BlockRun(Team& team, const BlockShape& shape, const BlockWeights& weights, BlockScratch& scratch)
      : team_(team), s_(shape), w_(weights), scratch_(scratch) {}

  /** Queries, keys and values of a group of tokens. */
  void project(const BlockInput& in, int64_t first, int count) {
    const float* normed = normalised(in.x + first * s_.model, w_.ln1, count);
    float* all = scratch_.projected.data();
    multiply(w_.qkv, normed, count, w_.qkvBias, nullptr, all);
    for (int64_t t = first; t < first + count; t++, all += s_.projected()) {
      float* q = scratch_.q.data() + t * s_.queries();
      float *k = scratch_.k.data() + t * s_.keys(), *v = scratch_.v.data() + t * s_.keys();
      std::copy(all, all + s_.queries(), q);
      std::copy(all + s_.queries(), all + s_.queries() + s_.keys(), k);
      std::copy(all + s_.queries() + s_.keys(), all + s_.projected(), v);
      finish(q, s_.heads, w_.qNorm, in, t);
      finish(k, s_.kvHeads, w_.kNorm, in, t);
    }
  }

  /** The stream behind the block, of a group of tokens. @param x, z of the group */
  void output(const float* x, const float* z, int count, float* out) {
    float* middle = s_.hasMlp() ? scratch_.middle.data() : out;
    addTo(x, w_.o, z, w_.oBias, w_.ln1Post, count, middle);
    if (!s_.hasMlp()) return;
    const float* normed = normalised(s_.parallel ? x : middle, w_.ln2, count);
    float *hidden = scratch_.hidden.data(), *post = scratch_.post.data();
    multiply(w_.mlpIn, normed, count, w_.mlpInBias, nullptr, hidden);
    team_.share(count * CUTS, team_.stepFor(count * CUTS, s_.mlp * 32 / CUTS), [&](int64_t from, int64_t to) {
      for (int64_t piece = from; piece < to; piece++) {
        const int64_t t = piece / CUTS, first = piece % CUTS * s_.mlp / CUTS, end = (piece % CUTS + 1) * s_.mlp / CUTS;
        const float* pre = hidden + t * s_.hidden() + first;
        activateBy(s_.act, pre, s_.gated ? pre + s_.mlp : nullptr, end - first, post + t * s_.mlp + first);
      }
    });
    addTo(middle, w_.mlpOut, post, w_.mlpOutBias, w_.ln2Post, count, out);
  }

 private:
  static constexpr int64_t CUTS = 8;  // of a token's neurons, for several threads

  /** Norm and rotation of a token's queries or keys. */
  void finish(float* heads, int64_t count, const float* norm, const BlockInput& in, int64_t token) {
    if (norm && s_.normsAll) rmsNorm(heads, norm, count * s_.width, s_.eps, heads);
    for (int64_t h = 0; h < count; h++) {
      float* head = heads + h * s_.width;
      if (norm && !s_.normsAll) rmsNorm(head, norm, s_.width, s_.eps, head);
      if (s_.rotary) rotate(head, in.cos + token * s_.rotary, in.sin + token * s_.rotary, s_.rotary);
    }
  }

  /** out = what it is added to + the product, normalised where there is a norm behind it. */
  void addTo(const float* to, const Packed& m, const float* x, const float* bias, const NormWeights& norm, int count, float* out) {
    if (!norm.w || s_.norm == Norm::NONE) return multiply(m, x, count, bias, to, out);
    float* written = scratch_.written.data();
    multiply(m, x, count, bias, nullptr, written);
    const float* normed = normalised(written, norm, count);
    for (int64_t i = 0, n = count * s_.model; i < n; i += LANES)
      storeSome(out + i, loadSome(to + i, n - i) + loadSome(normed + i, n - i), n - i);
  }

  /** Rows of the stream behind a norm; x itself where there is none. */
  const float* normalised(const float* x, const NormWeights& norm, int count) {
    if (!norm.w || s_.norm == Norm::NONE) return x;
    float* out = scratch_.normed.data();
    for (int64_t at = 0; at < count * s_.model; at += s_.model)
      if (s_.norm == Norm::RMS) rmsNorm(x + at, norm.w, s_.model, s_.eps, out + at);
      else layerNorm(x + at, norm, s_.model, s_.eps, out + at);
    return out;
  }

  /** y = x · Wᵀ + bias + addend, the last two where there are any. @param addend, y [count, rows]; y may be the addend */
  void multiply(const Packed& m, const float* x, int count, const float* bias, const float* addend, float* y) {
    const Activations a(x, count, m.width, m.format->block, s_.bytes && m.format->block != 0);
    product(team_, m, a, [&](int64_t tile, float (*rows)[TILE_ROWS]) {
      const int64_t from = tile * TILE_ROWS, most = std::min<int64_t>(TILE_ROWS, m.rows - from);
      for (int t = 0; t < count; t++)
        for (int64_t i = 0; i < most; i += LANES) {
          const int64_t at = t * m.rows + from + i;
          V v = load(rows[t] + i);
          if (bias) v += loadSome(bias + from + i, most - i);
          if (addend) v += loadSome(addend + at, most - i);
          storeSome(y + at, v, most - i);
        }
    });
  }

  Team& team_;
  const BlockShape& s_;
  const BlockWeights& w_;
  BlockScratch& scratch_;
};

void reserve(const BlockShape& s, int64_t tokens, BlockScratch& scratch) {
  const int64_t group = std::min<int64_t>(tokens, MOST_VECTORS);
  const auto make = [](std::vector<float>& memory, int64_t floats) {
    if (int64_t(memory.size()) < floats) memory.resize(size_t(floats));
  };
  make(scratch.normed, group * s.model);
  make(scratch.written, group * s.model);
  make(scratch.middle, group * s.model);
  make(scratch.projected, group * s.projected());
  make(scratch.hidden, group * s.hidden());
  make(scratch.post, group * s.mlp);
  make(scratch.q, tokens * s.queries());
  make(scratch.k, tokens * s.keys());
  make(scratch.v, tokens * s.keys());
  make(scratch.z, tokens * s.queries());
}

}  // namespace

std::string faultOf(const BlockShape& s) {
  const int64_t most = int64_t(1) << 24;
  if (s.model < 1 || s.model > most || s.mlp < 0 || s.mlp > most) return "the stream or the MLP is too wide, or has no width";
  if (s.width < 1 || s.width > MOST_WIDTH) return "heads are from 1 to 1,024 wide";
  if (s.kvHeads < 1 || s.heads < 1 || s.heads > 65536 || s.heads % s.kvHeads != 0) return "query heads are no multiple of the KV heads";
  if (s.rotary < 0 || s.rotary > s.width || s.rotary % 2 != 0) return "the rotated part is odd, or wider than a head";
  if (!(s.eps >= 0) || !std::isfinite(s.eps)) return "eps is no number that can be used";
  return "";
}

bool runBlock(Team& team, const BlockShape& s, const BlockWeights& weights, const BlockInput& in, BlockScratch& scratch,
              const BlockAttention& attention, float* out) {
  reserve(s, in.tokens, scratch);
  BlockRun run(team, s, weights, scratch);
  const auto groups = [&](auto each) {
    for (int64_t t = 0; t < in.tokens; t += MOST_VECTORS) each(t, int(std::min<int64_t>(MOST_VECTORS, in.tokens - t)));
  };
  groups([&](int64_t first, int count) { run.project(in, first, count); });
  float* z = scratch.z.data();
  if (!attention(scratch.q.data(), scratch.k.data(), scratch.v.data(), z)) return false;
  groups([&](int64_t first, int count) { run.output(in.x + first * s.model, z + first * s.queries(), count, out + first * s.model); });
  return true;
}

}  // namespace hs
