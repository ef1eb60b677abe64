#include "ops.h"

#include <algorithm>

#include "../attention/ops.h"
#include "../tables.h"
#include "../weights.h"
#include "block.h"

namespace hs {
namespace {

/** Inputs of HsBlocks before its lists of rotations, of weights in floats and of weights in codes. */
enum : int { X, POSITIONS, LAYERS, LISTS, SPANS, SLOTS, FIXED_INPUTS };

/** Weights in the order of the engine's list of a block's parts: the bits of `has`, and the order in which the lists hold them. */
constexpr const char* WEIGHTS[] = {"ln1", "ln1_offset", "qkv", "qkv_bias", "q_norm", "k_norm", "o", "o_bias", "ln1_post", "ln1_post_offset",
                                   "ln2", "ln2_offset", "mlp_in", "mlp_in_bias", "mlp_out", "mlp_out_bias", "ln2_post", "ln2_post_offset"};
enum : int {
  LN1, LN1_OFFSET, QKV, QKV_BIAS, Q_NORM, K_NORM, O, O_BIAS, LN1_POST, LN1_POST_OFFSET,
  LN2, LN2_OFFSET, MLP_IN, MLP_IN_BIAS, MLP_OUT, MLP_OUT_BIAS, LN2_POST, LN2_POST_OFFSET, ALL_WEIGHTS
};
static_assert(ALL_WEIGHTS == sizeof WEIGHTS / sizeof *WEIGHTS, "a weight has no name, or a name no weight");

/** Places in the attribute `sizes`. */
enum : int { HEADS, KV_HEADS, WIDTH, ROTARY, MLP, NORM, ACT, GATED, PARALLEL, NORMS_ALL, BYTES, ALL_SIZES };

constexpr int MATRICES = 4;

/** Memory of blocks: one for all of them, since whoever uses it has the lease of the team. */
struct Memory {
  BlockScratch block;
  std::vector<float> streams[2];  // behind blocks that others follow, in turn
  static Memory& get() {
    static Memory* const memory = new Memory();  // never destroyed, like the team
    return *memory;
  }
};

/** Blocks that follow each other, for tokens whose keys and values go to slots and who attend over places. */
struct BlocksOp {
  BlockShape shape{};
  int64_t turns, floats, codes, looks;
  std::vector<int64_t> has, local;  // by block
  std::vector<Format> formats;      // [blocks, MATRICES]
  float scale, cap;

  explicit BlocksOp(Attributes& a)
      : turns(a.whole("turns")), floats(a.whole("floats")), codes(a.whole("codes")), looks(a.whole("looks")), has(a.wholes("has")),
        local(a.wholes("local")), scale(a.real("scale")), cap(a.real("cap")) {
    int64_t n[ALL_SIZES] = {};
    a.wholes("sizes", n, ALL_SIZES);
    for (int64_t code : a.wholes("formats")) a.check(formats.emplace_back(formatOf(uint32_t(code))).isKnown(), "there is no such format");
    a.check(formats.size() == has.size() * MATRICES && local.size() == has.size(), "formats, or kinds of attention, are not those of the blocks");
    a.check(looks == 0 || looks == int64_t(has.size()), "there are not as many patterns as blocks");
    a.check(n[NORM] >= 0 && n[NORM] < NORMS && n[ACT] >= 0 && n[ACT] < ACT_FNS, "there is no such norm or activation");
    shape.heads = n[HEADS], shape.kvHeads = n[KV_HEADS], shape.width = n[WIDTH], shape.rotary = n[ROTARY], shape.mlp = n[MLP];
    shape.norm = Norm(n[NORM]), shape.act = ActFn(n[ACT]);
    shape.gated = n[GATED] != 0, shape.parallel = n[PARALLEL] != 0, shape.normsAll = n[NORMS_ALL] != 0, shape.bytes = n[BYTES] != 0;
    shape.eps = a.real("eps");
  }

  void compute(Call& c) {
    const Input x = c.input(X, "x", {-1, -1});
    const int64_t tokens = x.dims[0], blocks = int64_t(has.size());
    BlockShape s = shape;
    s.model = x.dims[1];
    const std::string fault = faultOf(s);
    if (!c.check(fault.empty(), fault)) return;
    const Input positions = c.input(POSITIONS, "positions", {-1, -1}), layers = c.input(LAYERS, "layers", {blocks});
    const int64_t sequences = positions.dims.empty() ? 0 : positions.dims[0];  // of a failed input there may be none
    const Input lists = c.input(LISTS, "lists", {-1, sequences, s.kvHeads, 5}), spans = c.input(SPANS, "spans", {-1, 4});
    const Input slots = c.input(SLOTS, "slots", {-1, tokens, s.kvHeads, 2});
    if (!c.check(positions.count == tokens, "positions are not one for every token")) return;
    const std::vector<BlockWork> work = workOf(c, s, x, layers, lists, slots);
    float* out = c.output<float>(0, TF_FLOAT, x.dims);
    AttentionCall call{sequences, positions.dims[1], s.heads, s.kvHeads, s.width, scale, cap, nullptr, positions.as<int32_t>(),
                       nullptr, spans.as<Span>(), spans.dims[0], nullptr};
    // All places are looked at before a key is written.
    std::vector<Held> held(tokens > 0 ? work.size() : 0);
    for (size_t b = 0; c.ok() && b < held.size(); b++) {
      call.lists = work[b].lists;
      const std::string wrongPlaces = faultOf(call, held[b]);
      c.check(wrongPlaces.empty(), wrongPlaces);
    }
    std::vector<float*> patterns(size_t(looks), nullptr);
    for (size_t b = 0; c.ok() && tokens > 0 && b < patterns.size(); b++) {
      call.lists = work[b].lists;
      patterns[b] = patternOutput(c, int(1 + b), call);
    }
    if (!c.ok() || tokens == 0) return;
    Team& team = Team::get();
    const auto lease = team.lease();
    Memory& memory = Memory::get();
    const float* stream = x.as<float>();
    for (size_t b = 0; b < work.size(); b++) {
      const bool last = b + 1 == work.size();
      if (!last) memory.streams[b % 2].resize(size_t(x.count));
      float* behind = last ? out : memory.streams[b % 2].data();
      const BlockInput in{tokens, stream, work[b].cos, work[b].sin};
      call.lists = work[b].lists;
      const bool done = runBlock(team, s, work[b].weights, in, memory.block, [&](const float* q, const float* k, const float* v, float* z) {
        const std::string wrongSlots = writeRows(team, {tokens, s.kvHeads, s.width, k, v, work[b].slots});
        if (!c.check(wrongSlots.empty(), wrongSlots)) return false;
        call.q = q;
        attend(team, call, held[b], {z, looks ? patterns[b] : nullptr});
        return true;
      }, behind);
      if (!done) return;
      stream = behind;
    }
  }

 private:
  /** A block of a call: its weights, the rotation of its kind of attention, and its places. */
  struct BlockWork {
    BlockWeights weights{};
    const float *cos = nullptr, *sin = nullptr;
    const List* lists = nullptr;
    const Slot* slots = nullptr;
  };

  std::vector<BlockWork> workOf(Call& c, const BlockShape& s, const Input& x, const Input& layers, const Input& lists, const Input& slots) const {
    const int64_t pairs = s.rotary ? 2 : 0;
    const bool local = std::find(this->local.begin(), this->local.end(), 1) != this->local.end();
    c.check(turns >= (local ? 2 : 1) * pairs, "a block that rotates has no rotation");
    const auto turn = [&](int64_t number, const char* name) {
      return s.rotary && c.ok() ? c.input(int(FIXED_INPUTS + number), name, {x.dims[0], 1, s.rotary}).as<float>() : nullptr;
    };
    const float* tables[] = {turn(0, "cos"), turn(1, "sin"), local ? turn(2, "cos of local attention") : nullptr,
                             local ? turn(3, "sin of local attention") : nullptr};
    Cursor at{int(FIXED_INPUTS + turns), int(FIXED_INPUTS + turns + floats)};
    const Cursor begun = at;
    std::vector<BlockWork> work(has.size());
    for (size_t b = 0; c.ok() && b < work.size(); b++) {
      const bool near = this->local[b] == 1;
      work[b].weights = weightsOf(c, s, b, at);
      work[b].cos = tables[near ? 2 : 0], work[b].sin = tables[near ? 3 : 1];
      work[b].lists = ofLayer<List>(c, lists, layers, int64_t(b));
      work[b].slots = ofLayer<Slot>(c, slots, layers, int64_t(b));
    }
    c.check(at.floats - begun.floats == floats && at.codes - begun.codes == codes, "there are more weights than the blocks have");
    return work;
  }

  /** The next of the weights in floats, and of those in codes. */
  struct Cursor {
    int floats, codes;
  };

  BlockWeights weightsOf(Call& c, const BlockShape& s, size_t block, Cursor& at) const {
    const int floatsEnd = int(FIXED_INPUTS + turns + floats), codesEnd = floatsEnd + int(codes);
    const auto vector = [&](int weight, int64_t count) -> const float* {
      if (!(has[block] >> weight & 1)) return nullptr;
      if (!c.check(at.floats < floatsEnd, std::string("there is no ") + WEIGHTS[weight])) return nullptr;
      return c.input(at.floats++, WEIGHTS[weight], {count}).as<float>();
    };
    const auto matrix = [&](int weight, int which, int64_t rows, int64_t width) {
      const Format& format = formats[block * MATRICES + size_t(which)];
      const bool there = has[block] >> weight & 1 && (format.rows ? at.floats < floatsEnd : at.codes < codesEnd);
      if (!c.check(there, std::string("there is no ") + WEIGHTS[weight])) return Packed{&format, nullptr, rows, width};
      return matrixInput(c, format.rows ? at.floats++ : at.codes++, format, format.rows ? TF_FLOAT : TF_UINT8, rows, width);
    };
    const bool mlp = s.hasMlp();
    BlockWeights w{};
    w.ln1 = {vector(LN1, s.model), vector(LN1_OFFSET, s.model)};
    w.qkv = matrix(QKV, 0, s.projected(), s.model);
    w.qkvBias = vector(QKV_BIAS, s.projected());
    w.qNorm = vector(Q_NORM, s.normsAll ? s.queries() : s.width);
    w.kNorm = vector(K_NORM, s.normsAll ? s.keys() : s.width);
    w.o = matrix(O, 1, s.model, s.queries());
    w.oBias = vector(O_BIAS, s.model);
    w.ln1Post = {vector(LN1_POST, s.model), vector(LN1_POST_OFFSET, s.model)};
    w.ln2 = {vector(LN2, s.model), vector(LN2_OFFSET, s.model)};
    if (mlp) w.mlpIn = matrix(MLP_IN, 2, s.hidden(), s.model);
    w.mlpInBias = vector(MLP_IN_BIAS, s.hidden());
    if (mlp) w.mlpOut = matrix(MLP_OUT, 3, s.model, s.mlp);
    w.mlpOutBias = vector(MLP_OUT_BIAS, s.model);
    w.ln2Post = {vector(LN2_POST, s.model), vector(LN2_POST_OFFSET, s.model)};
    return w;
  }
};

}  // namespace

void registerBlocks(TF_Status* status) {
  registerOp<BlocksOp>({"HsBlocks",
                        {"x: float", "positions: int32", "layers: int32", "lists: int32", "spans: int32", "slots: int32",
                         "rotation: turns * float", "weights: floats * float", "packed: codes * uint8"},
                        {"y: float", "patterns: looks * float"},
                        {"turns: int >= 0", "floats: int >= 0", "codes: int >= 0", "looks: int >= 0", "has: list(int)", "local: list(int)",
                         "sizes: list(int)", "formats: list(int)", "eps: float", "scale: float", "cap: float"},
                        firstShape<2>,
                        true},
                       status);
}

}  // namespace hs
