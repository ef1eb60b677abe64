#include "block.h"

#include "../../backend/kernels/native/block/block.h"
#include "samples.h"

namespace hs {
namespace {

typedef std::vector<double> Row;
typedef std::vector<Row> Rows;  // by token

/** A block's random weights; what it lacks is null. */
struct Drawn {
  BlockShape shape;
  Format formats[4];
  Sample matrices[4];  // qkv, o, MLP in, MLP out
  std::vector<std::unique_ptr<float[]>> vectors;
  BlockWeights weights;

  const float* vector(double probability, int64_t count, float mean) {
    if (!chance(probability)) return nullptr;
    float* out = vectors.emplace_back(normals(count)).get();
    for (int64_t i = 0; i < count; i++) out[i] = mean + 0.2f * out[i];
    return out;
  }
  const Packed& matrix(int number, int64_t rows, int64_t width) {
    do formats[number] = randomFormat();
    while (formats[number].block && width % TILE_INPUTS != 0);
    matrices[number] = randomMatrix(formats[number], rows, width);
    return matrices[number].packed;
  }
};

int64_t anyWidth() { return chance(0.5) ? 32 * whole(1, 4) : whole(1, 90); }

void draw(Drawn& d) {
  BlockShape& s = d.shape;
  s.model = anyWidth(), s.kvHeads = whole(1, 3), s.heads = s.kvHeads * whole(1, 3);
  s.width = chance(0.5) ? 16 * whole(1, 3) : whole(1, 40);
  s.rotary = chance(0.3) ? 0 : 2 * whole(0, s.width / 2);
  s.mlp = chance(0.2) ? 0 : anyWidth();
  s.norm = Norm(whole(0, NORMS - 1)), s.act = ActFn(whole(0, ACT_FNS - 1));
  s.gated = chance(0.5), s.parallel = chance(0.3), s.normsAll = chance(0.5), s.bytes = chance(0.2);
  s.eps = 1e-5f;
  BlockWeights& w = d.weights;
  const auto norm = [&](double probability) -> NormWeights {
    const float* factor = d.vector(probability, s.model, 1);
    return {factor, factor ? d.vector(0.5, s.model, 0) : nullptr};
  };
  w.ln1 = norm(0.8), w.ln2 = norm(0.8), w.ln1Post = norm(0.3), w.ln2Post = norm(0.3);
  w.qkv = d.matrix(0, s.projected(), s.model);
  w.o = d.matrix(1, s.model, s.queries());
  w.qkvBias = d.vector(0.5, s.projected(), 0), w.oBias = d.vector(0.5, s.model, 0);
  const bool headNorms = chance(0.4);
  w.qNorm = d.vector(headNorms, s.normsAll ? s.queries() : s.width, 1);
  w.kNorm = d.vector(headNorms, s.normsAll ? s.keys() : s.width, 1);
  w.mlpInBias = w.mlpOutBias = nullptr;
  if (!s.hasMlp()) return;
  w.mlpIn = d.matrix(2, s.hidden(), s.model);
  w.mlpOut = d.matrix(3, s.model, s.mlp);
  w.mlpInBias = d.vector(0.5, s.hidden(), 0), w.mlpOutBias = d.vector(0.5, s.model, 0);
}

Row normed(const Row& x, const float* w, const float* b, bool centre, double eps) {
  double mean = 0, square = 0;
  if (centre) for (double v : x) mean += v / double(x.size());
  for (double v : x) square += (v - mean) * (v - mean) / double(x.size());
  Row out(x.size());
  for (size_t i = 0; i < x.size(); i++) out[i] = (x[i] - mean) / std::sqrt(square + eps) * w[i] + (b ? b[i] : 0);
  return out;
}

Row normOf(const Row& x, const NormWeights& w, const BlockShape& s) {
  if (!w.w || s.norm == Norm::NONE) return x;
  return normed(x, w.w, s.norm == Norm::LAYER ? w.b : nullptr, s.norm == Norm::LAYER, s.eps);
}

Row times(const Sample& m, const Row& x, const float* bias) {
  Row out(m.packed.rows);
  for (int64_t r = 0; r < m.packed.rows; r++) {
    out[r] = bias ? bias[r] : 0;
    for (int64_t i = 0; i < m.packed.width; i++) out[r] += m.values[r * m.packed.width + i] * x[i];
  }
  return out;
}

double activated(ActFn f, double x) {
  switch (f) {
    case ActFn::SILU: return x / (1 + std::exp(-x));
    case ActFn::RELU: return std::max(x, 0.);
    case ActFn::GELU: return x / 2 * (1 + std::erf(x * std::sqrt(0.5)));
    case ActFn::QUICK_GELU: return x / (1 + std::exp(-1.702 * x));
    default: return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
}

/** Queries or keys of a token, normalised and rotated, in place. */
void finish(const BlockShape& s, const BlockInput& in, int64_t t, const float* norm, double* heads, int64_t count) {
  const auto apply = [&](double* from, int64_t n) {
    const Row out = normed(Row(from, from + n), norm, nullptr, false, s.eps);
    std::copy(out.begin(), out.end(), from);
  };
  if (norm && s.normsAll) apply(heads, count * s.width);
  for (double* head = heads; head < heads + count * s.width; head += s.width) {
    if (norm && !s.normsAll) apply(head, s.width);
    const Row old(head, head + s.width);
    for (int64_t i = 0; i < s.rotary; i++) {
      const int64_t half = s.rotary / 2;
      const double partner = i < half ? -old[i + half] : old[i - half];
      head[i] = old[i] * in.cos[t * s.rotary + i] + partner * in.sin[t * s.rotary + i];
    }
  }
}

/** Means of the values of the tokens so far, with a term of query and key, in place of attention: linear, so that errors stay small. */
template <class T>
void stand(const BlockShape& s, int64_t tokens, const T* q, const T* k, const T* v, T* z) {
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t h = 0; h < s.heads; h++)
      for (int64_t i = 0; i < s.width; i++) {
        const int64_t g = h / (s.heads / s.kvHeads);
        double mean = 0;
        for (int64_t u = 0; u <= t; u++) mean += (v[(u * s.kvHeads + g) * s.width + i] - k[(u * s.kvHeads + g) * s.width + i]) / double(t + 1);
        z[(t * s.heads + h) * s.width + i] = T(mean + q[(t * s.heads + h) * s.width + i]);
      }
}

/** The stream behind the block. */
Rows define(const Drawn& d, const BlockInput& in) {
  const BlockShape& s = d.shape;
  const BlockWeights& w = d.weights;
  Row q, k, v;
  Rows x, out;
  for (int64_t t = 0; t < in.tokens; t++) {
    x.emplace_back(in.x + t * s.model, in.x + (t + 1) * s.model);
    Row all = times(d.matrices[0], normOf(x[t], w.ln1, s), w.qkvBias);
    finish(s, in, t, w.qNorm, all.data(), s.heads);
    finish(s, in, t, w.kNorm, all.data() + s.queries(), s.kvHeads);
    const auto values = all.begin() + s.queries() + s.keys();
    q.insert(q.end(), all.begin(), all.begin() + s.queries());
    k.insert(k.end(), all.begin() + s.queries(), values);
    v.insert(v.end(), values, all.end());
  }
  Row z(q.size());
  stand(s, in.tokens, q.data(), k.data(), v.data(), z.data());
  for (int64_t t = 0; t < in.tokens; t++) {
    const Row own(z.begin() + t * s.queries(), z.begin() + (t + 1) * s.queries());
    const Row heads = normOf(times(d.matrices[1], own, w.oBias), w.ln1Post, s);
    Row middle = x[t];
    for (int64_t i = 0; i < s.model; i++) middle[i] += heads[i];
    if (s.hasMlp()) {
      const Row hidden = times(d.matrices[2], normOf(s.parallel ? x[t] : middle, w.ln2, s), w.mlpInBias);
      Row post(s.mlp);
      for (int64_t i = 0; i < s.mlp; i++) post[i] = activated(s.act, hidden[i]) * (s.gated ? hidden[s.mlp + i] : 1);
      const Row written = normOf(times(d.matrices[3], post, w.mlpOutBias), w.ln2Post, s);
      for (int64_t i = 0; i < s.model; i++) middle[i] += written[i];
    }
    out.push_back(middle);
  }
  return out;
}

}  // namespace

void block() {
  Drawn d{};
  draw(d);
  const BlockShape& s = d.shape;
  const std::string wrong = faultOf(s);
  if (!wrong.empty()) fail(wrong.c_str(), 1, 0);
  const int64_t tokens = chance(0.2) ? whole(9, 20) : whole(1, 8);
  const auto x = normals(tokens * s.model), cos = normals(tokens * s.rotary), sin = normals(tokens * s.rotary);
  const auto out = exactly<float>(tokens * s.model);
  const BlockInput in{tokens, x.get(), cos.get(), sin.get()};
  BlockScratch scratch;
  const auto attention = [&](const float* q, const float* k, const float* v, float* z) {
    stand(s, tokens, q, k, v, z);
    return true;
  };
  runBlock(Team::get(), s, d.weights, in, scratch, attention, out.get());
  if (s.bytes) return;  // only its memory is looked at: products in 8 bits have a check of their own
  const Rows want = define(d, in);
  double most = 1;
  for (const Row& row : want)
    for (double v : row) most = std::max(most, std::fabs(v));
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t i = 0; i < s.model; i++) near("a number of the stream behind a block", out[t * s.model + i], want[t][i], most, 2e-5);
}

}  // namespace hs
