#include "model.h"

#include <algorithm>

namespace hs::training {
namespace {

constexpr int64_t MOST_PARAMETERS = int64_t(1) << 28;

/** Takes places one after the other. */
class Places {
 public:
  Places(const int32_t* next, int64_t parameters) : next_(next), parameters_(parameters) {}
  Part matrix(int64_t out, int64_t in) { return take(out, in, out, in); }
  Part vector(int64_t size) { return take(1, size, 0, size); }
  /** @param outGroup, inGroup rows and columns that are filled up together */
  Part take(int64_t out, int64_t in, int64_t outGroup, int64_t inGroup) {
    const Part p{*next_++, out, in, outGroup, inGroup, 0};
    if (p.offset < -1 || (p.here() && p.offset > parameters_ - out * in)) inside_ = false;
    return p;
  }
  bool inside() const { return inside_; }

 private:
  const int32_t* next_;
  int64_t parameters_;
  bool inside_ = true;
};

}  // namespace

std::vector<const Part*> TrainedModel::parts() const {
  std::vector<const Part*> all = {&embed.weight, &embed.bias, &positions};
  for (const Block& b : blocks)
    for (const Part* p : {&b.normScale, &b.normOffset, &b.qkv, &b.o, &b.mlpNormScale, &b.mlpNormOffset, &b.mlpIn.weight, &b.mlpIn.bias,
                          &b.mlpOut.weight, &b.mlpOut.bias})
      all.push_back(p);
  all.insert(all.end(), {&normScale, &normOffset});
  for (const Linear& l : readout) all.insert(all.end(), {&l.weight, &l.bias});
  all.insert(all.end(), {&unembed.weight, &unembed.bias});
  all.erase(std::remove_if(all.begin(), all.end(), [](const Part* p) { return !p->here(); }), all.end());
  return all;
}

int64_t placesOf(const TrainedSizes& s) { return 7 + 10 * s.layers + 2 * int64_t(s.readout.size()); }

TrainedModel modelAt(const TrainedSizes& s, const int32_t* places, int64_t parameters, std::string& wrong) {
  TrainedModel m;
  m.sizes = s;
  m.parameters = parameters;
  Places next(places, parameters);
  m.embed.weight = s.tokens ? next.matrix(s.inputs, s.width) : next.matrix(s.width, s.inputs);
  m.embed.bias = next.vector(s.width);
  m.positions = next.matrix(s.positions, s.width);
  bool whole = m.embed.weight.here();
  const int64_t heads = s.heads * s.head;
  for (int64_t l = 0; l < s.layers; l++) {
    TrainedModel::Block b;
    b.normScale = next.vector(s.width);
    b.normOffset = next.vector(s.width);
    b.qkv = next.take(3 * heads, s.width, s.head, s.width);
    b.o = next.take(s.width, heads, s.width, s.head);
    b.mlpNormScale = next.vector(s.width);
    b.mlpNormOffset = next.vector(s.width);
    b.mlpIn.weight = next.matrix(s.mlp, s.width);
    b.mlpIn.bias = next.vector(s.mlp);
    b.mlpOut.weight = next.matrix(s.width, s.mlp);
    b.mlpOut.bias = next.vector(s.width);
    const bool normed = s.norm != Norm::None, mlp = s.mlp > 0;
    whole = whole && b.qkv.here() && b.o.here() && b.mlpIn.weight.here() == mlp && b.mlpOut.weight.here() == mlp &&
            b.normScale.here() == normed && b.mlpNormScale.here() == (normed && mlp) && (mlp || !(b.mlpIn.bias.here() || b.mlpOut.bias.here())) &&
            (normed || !b.normOffset.here()) && ((normed && mlp) || !b.mlpNormOffset.here());
    m.blocks.push_back(b);
  }
  m.normScale = next.vector(s.width);
  m.normOffset = next.vector(s.width);
  whole = whole && (s.norm != Norm::None || !m.normScale.here()) && (m.normScale.here() || !m.normOffset.here());
  int64_t width = s.width;
  for (const int64_t out : s.readout) {
    Linear l;
    l.weight = next.matrix(out, width);
    l.bias = next.vector(out);
    whole = whole && l.weight.here();
    m.readout.push_back(l);
    width = out;
  }
  m.unembed.weight = next.matrix(s.outputs, width);
  m.unembed.bias = next.vector(s.outputs);
  whole = whole && m.unembed.weight.here();
  if (!whole) wrong = "a place is missing, or has nothing in such a model";
  else if (!next.inside()) wrong = "a place is not among the parameters";
  if (!wrong.empty()) return m;

  std::vector<const Part*> all = m.parts();
  for (const Part* p : all) {
    const_cast<Part*>(p)->at = m.filledSize;
    m.filledSize += p->rows() * p->columns();
  }
  std::sort(all.begin(), all.end(), [](const Part* a, const Part* b) { return a->offset < b->offset; });
  int64_t end = 0;
  for (const Part* p : all) {
    if (p->offset != end) wrong = "places leave a gap, or overlap";
    end += p->out * p->in;
  }
  if (wrong.empty() && end != parameters) wrong = "places do not take all parameters";
  if (wrong.empty() && m.filledSize > MOST_PARAMETERS) wrong = "the model is too wide for this op";
  return m;
}

}  // namespace hs::training
