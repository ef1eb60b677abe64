// A block of a transformer for a few tokens, where nobody looks in between: norms, projections, rotation, attention, the MLP. It equals
// attentionInput and blockOutput of the engine's block. Tokens go through the products in groups of 8.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "../matrix.h"

namespace hs {

enum class Norm : int { NONE = 0, RMS = 1, LAYER = 2 };
constexpr int NORMS = 3;
enum class ActFn : int { SILU = 0, RELU = 1, GELU = 2, QUICK_GELU = 3, GELU_TANH = 4 };
constexpr int ACT_FNS = 5;

/** Factor and, for layer norm, offset of a norm [model]; without factor there is no norm. */
struct NormWeights {
  const float *w = nullptr, *b = nullptr;
};

/** The shape of a block and the ways in which it computes. */
struct BlockShape {
  int64_t model, heads, kvHeads, width;  // width of a head
  int64_t rotary;                        // leading numbers of a head that are rotated, halves paired; 0: none
  int64_t mlp;                           // neurons; 0: attention only
  Norm norm;
  ActFn act;
  bool gated;      // the MLP's rows are those of the gate, then the linear ones
  bool parallel;   // the MLP reads the stream before the block
  bool normsAll;   // norms of queries and keys are over all heads, else over each
  bool bytes;      // activations in 8 bits, of matrices with codes
  float eps;

  int64_t queries() const { return heads * width; }
  int64_t keys() const { return kvHeads * width; }
  int64_t projected() const { return queries() + 2 * keys(); }
  int64_t hidden() const { return gated ? 2 * mlp : mlp; }
  bool hasMlp() const { return mlp > 0; }
};

/** Says what is wrong with a shape; empty where nothing is. */
std::string faultOf(const BlockShape& shape);

/** Null, or a matrix without data, is what a block lacks. */
struct BlockWeights {
  NormWeights ln1, ln1Post, ln2, ln2Post;
  Packed qkv, o, mlpIn, mlpOut;
  const float *qkvBias, *qNorm, *kNorm, *oBias, *mlpInBias, *mlpOutBias;
};

/** Tokens before the block. */
struct BlockInput {
  int64_t tokens;
  const float* x;           // [tokens, model]
  const float *cos, *sin;   // [tokens, rotary], both halves alike
};

/** Memory of a block's run, kept from one to the next. */
struct BlockScratch {
  std::vector<float> normed, projected, q, k, v, z, written, middle, hidden, post;
};

/**
 * Keeps the keys and values of the tokens and attends over all that is kept; false where it cannot.
 * q [tokens, heads, width], k and v [tokens, KV heads, width], z [tokens, heads, width]
 */
typedef std::function<bool(const float* q, const float* k, const float* v, float* z)> BlockAttention;

/** Runs a block. @param out [tokens, model], other memory than x @return what the attention says */
bool runBlock(Team& team, const BlockShape& shape, const BlockWeights& weights, const BlockInput& input, BlockScratch& scratch,
              const BlockAttention& attention, float* out);

}  // namespace hs
