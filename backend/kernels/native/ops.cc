// The kernels as TensorFlow ops. Each is pure: it writes nothing but its outputs, which TensorFlow has just made, so that none can
// overlap with an input.
#include "attention.h"
#include "call.h"
#include "matrix.h"
#include "simd.h"
#include "training/ops.h"

#define NAPI_VERSION 8
#include <node_api.h>

namespace hs {
namespace {

/** A packed matrix that an op is given: [tiles, blocks, bytes of a tile]. */
Packed packedInput(Call& c, int number, const Format& format, int64_t rows, int64_t width) {
  Packed m{&format, nullptr, rows, width};
  if (rows < 1 || width < 1) {
    c.fail(TF_INVALID_ARGUMENT, "a matrix has no rows or no inputs");
    return m;
  }
  m.data = c.input(number, "w", {m.tiles(), m.blocks(), format.tileBytes()}).as<uint8_t>();
  return m;
}

constexpr int64_t MOST = INT32_MAX;
constexpr int64_t MOST_COLUMNS = 1 << 20;

struct MatrixAttributes {
  const Format format;
  int64_t rows, width;
  explicit MatrixAttributes(Attributes& a)
      : format(formatOf(uint32_t(a.within("format", 0, MOST)))), rows(a.within("rows", 1, MOST)), width(a.within("width", 1, MOST)) {
    a.check(format.isKnown(), "there is no such format");
  }
  Dims packedDims() const {
    const Packed m{&format, nullptr, rows, width};
    return {m.tiles(), m.blocks(), format.tileBytes()};
  }
};

/** Rows of a file, as numbers or as bytes -> packed. */
struct Pack : MatrixAttributes {
  explicit Pack(Attributes& a) : MatrixAttributes(a) {}
  void compute(Call& c) {
    const int64_t bytes = fileRowBytes(format, width);
    if (!c.check(bytes > 0, "the format is packed from codes, or does not fit the width")) return;
    const Input rowsOfFile = c.input(0, "values", {-1});
    if (!c.check(rowsOfFile.bytes == rows * bytes,
                 "values have " + std::to_string(rowsOfFile.bytes) + " bytes, not " + std::to_string(rows * bytes)))
      return;
    uint8_t* out = c.output<uint8_t>(0, TF_UINT8, packedDims());
    if (!out) return;
    const Packed m{&format, out, rows, width};
    Team& team = Team::get();
    const auto lease = team.lease();
    team.share(m.tiles(), team.stepFor(m.tiles(), TILE_ROWS * width),
               [&](int64_t from, int64_t to) { packFile(m, rowsOfFile.as<uint8_t>(), from, to, out); });
  }
};

/** Codes with scales, and minima where the format has them -> packed. */
struct PackCodes : MatrixAttributes {
  int zero;
  explicit PackCodes(Attributes& a) : MatrixAttributes(a), zero(int(a.within("zero", 0, 255))) {}
  void compute(Call& c) {
    if (!c.check(format.block > 0, "the format has no codes")) return;
    if (!c.check(width % TILE_INPUTS == 0, "the width of codes is no multiple of 32")) return;
    if (!c.check(format.bits == 8 || zero == format.zero, "zero is not the format's own")) return;
    const int64_t blocks = width / format.block;
    const Input codes = c.input(0, "codes", {rows, width}), scales = c.input(1, "scales", {rows, blocks});
    const Input minima = c.input(2, "minima", format.minima ? Dims{rows, blocks} : Dims{0});
    uint8_t* out = c.output<uint8_t>(0, TF_UINT8, packedDims());
    if (!out) return;
    const Packed m{&format, out, rows, width};
    const Codes all{codes.as<uint8_t>(), scales.as<float>(), minima.as<float>(), zero};
    std::atomic<bool> kept{true};
    Team& team = Team::get();
    const auto lease = team.lease();
    team.share(m.tiles(), team.stepFor(m.tiles(), TILE_ROWS * width), [&](int64_t from, int64_t to) {
      if (!packCodes(m, all, from, to, out)) kept = false;
    });
    c.check(kept, "half precision would change a scale or a minimum");
  }
};

/** x [vectors, width] · Wᵀ -> [vectors, rows]. */
struct MatVec : MatrixAttributes {
  bool bytes;
  explicit MatVec(Attributes& a) : MatrixAttributes(a), bytes(a.flag("bytes")) {}
  void compute(Call& c) {
    const Input x = c.input(0, "x", {-1, width});
    const Packed m = packedInput(c, 1, format, rows, width);
    if (!c.ok()) return;
    float* y = c.output<float>(0, TF_FLOAT, {x.dims[0], rows});
    if (!c.ok()) return;
    Team& team = Team::get();
    const auto lease = team.lease();
    multiply(team, m, x.as<float>(), x.dims[0], bytes, y);
  }
};

/** A packed matrix -> [rows, width] in float32. */
struct Unpack : MatrixAttributes {
  explicit Unpack(Attributes& a) : MatrixAttributes(a) {}
  void compute(Call& c) {
    const Packed m = packedInput(c, 0, format, rows, width);
    float* out = c.output<float>(0, TF_FLOAT, {rows, width});
    if (!out) return;
    Team& team = Team::get();
    const auto lease = team.lease();
    team.share(m.tiles(), team.stepFor(m.tiles(), TILE_ROWS * width), [&](int64_t from, int64_t to) {
      for (int64_t t = from; t < to; t++) unpackTile(m, t, out);
    });
  }
};

/** Rows of a packed matrix by number -> [n, width] in float32. */
struct UnpackRows : MatrixAttributes {
  explicit UnpackRows(Attributes& a) : MatrixAttributes(a) {}
  void compute(Call& c) {
    const Packed m = packedInput(c, 0, format, rows, width);
    const Input index = c.input(1, "index", {-1});
    for (int64_t i = 0; c.ok() && i < index.count; i++) {
      const int32_t row = index.as<int32_t>()[i];
      c.check(row >= 0 && row < rows, "there is no row " + std::to_string(row) + " of " + std::to_string(rows));
    }
    float* out = c.output<float>(0, TF_FLOAT, {index.count, width});
    for (int64_t i = 0; out && i < index.count; i++) unpackRow(m, index.as<int32_t>()[i], out + i * width);
  }
};

/** The type in which TensorFlow holds rows of a kind, and how many of its numbers are a row. */
TF_DataType cacheType(CacheKind kind) {
  return kind == CacheKind::F32 ? TF_FLOAT : kind == CacheKind::F16 ? TF_HALF : TF_UINT8;
}
int64_t cacheColumns(CacheKind kind, int64_t width) {
  const int64_t d = cacheWidth(kind, width);
  return kind == CacheKind::F32 || kind == CacheKind::F16 ? d : cacheRowBytes(kind, d);
}

struct CacheAttributes {
  CacheKind kind;
  bool fits;
  explicit CacheAttributes(Attributes& a)
      : kind(CacheKind(a.within("cache", 0, CACHE_KINDS - 1))), fits(a.type("T") == cacheType(kind)) {}
  bool check(Call& c) const { return c.check(fits, "the type T is not the one of this kind of cache"); }
};

/** Keys or values [n, width] -> rows as a cache holds them. */
struct CacheRows : CacheAttributes {
  explicit CacheRows(Attributes& a) : CacheAttributes(a) {}
  void compute(Call& c) {
    const Input x = c.input(0, "x", {-1, -1});
    if (!check(c)) return;
    const int64_t rows = x.dims[0], width = x.dims[1], bytes = cacheRowBytes(kind, cacheWidth(kind, width));
    if (!c.check(width >= 1 && width <= MOST_WIDTH, "rows are from 1 to 1,024 wide")) return;
    uint8_t* out = c.output<uint8_t>(0, cacheType(kind), {rows, cacheColumns(kind, width)});
    for (int64_t r = 0; out && r < rows; r++) writeCacheRow(kind, x.as<float>() + r * width, int(width), out + r * bytes);
  }
};

/** q [queries, heads, width], positions [sequences, tokens], lists [sequences, KV heads, 5], spans [n, 3], keys, values, sinks -> z, pattern. */
struct Attend : CacheAttributes {
  float scale, cap;
  bool wantsPattern;
  AttentionScratch scratch;
  explicit Attend(Attributes& a) : CacheAttributes(a), scale(a.real("scale")), cap(a.real("cap")), wantsPattern(a.flag("with_pattern")) {}
  void compute(Call& c) {
    const Input q = c.input(0, "q", {-1, -1, -1}), positions = c.input(1, "positions", {-1, -1});
    const Input lists = c.input(2, "lists", {-1, -1, 5}), spans = c.input(3, "spans", {-1, 3});
    if (!c.ok() || !check(c)) return;
    const int64_t heads = q.dims[1], width = q.dims[2];
    const Input keys = c.input(4, "keys", {-1, cacheColumns(kind, width)}), values = c.input(5, "values", {keys.dims[0], cacheColumns(kind, width)});
    const Input sinks = c.input(6, "sinks", {-1});
    if (!c.ok()) return;
    if (!c.check(lists.dims[0] == positions.dims[0] && q.dims[0] == positions.count, "queries, positions and lists are not of the same sequences"))
      return;
    if (!c.check(sinks.count == 0 || sinks.count == heads, "sinks are not one for every head")) return;
    const AttentionCall call{kind, positions.dims[0], positions.dims[1], heads, lists.dims[1], width, scale, cap, q.as<float>(),
                             positions.as<int32_t>(), lists.as<List>(), spans.as<Span>(), spans.dims[0], keys.as<uint8_t>(),
                             values.as<uint8_t>(), keys.dims[0], sinks.count ? sinks.as<float>() : nullptr};
    const bool none = call.sequences == 0;
    const std::string wrong = none ? "" : faultOf(call);
    if (!c.check(wrong.empty(), wrong)) return;
    const int64_t columns = wantsPattern && !none ? patternColumns(call) : 0;
    if (!c.check(columns <= MOST_COLUMNS, "a pattern has at most 1,048,576 columns, one for each position")) return;
    float* z = c.output<float>(0, TF_FLOAT, q.dims);
    float* pattern = c.output<float>(1, TF_FLOAT, {columns ? q.dims[0] : 0, columns ? heads : 0, columns});
    if (!c.ok() || q.count == 0) return;
    if (columns) std::fill(pattern, pattern + q.dims[0] * heads * columns, 0.f);
    Team& team = Team::get();
    const auto lease = team.lease();  // guards `scratch` too
    attend(team, call, scratch, z, columns ? pattern : nullptr);
  }
};

/** Insists on the ranks of inputs while a graph is built. */
void ranks(TF_ShapeInferenceContext* context, const std::vector<int>& wanted, TF_Status* status) {
  TF_ShapeHandle *shape = TF_NewShapeHandle(), *same = TF_NewShapeHandle();
  for (size_t i = 0; i < wanted.size() && TF_GetCode(status) == TF_OK; i++) {
    TF_ShapeInferenceContextGetInput(context, int(i), shape, status);
    if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextWithRank(context, shape, wanted[i], same, status);
  }
  TF_DeleteShapeHandle(shape);
  TF_DeleteShapeHandle(same);
}

template <int... RANKS>
void someShape(TF_ShapeInferenceContext* context, TF_Status* status) {
  ranks(context, {RANKS...}, status);
  if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetUnknownShape(context, status);
}

/** Every output's shape is unknown but the first, which is the first input's. */
void attentionShape(TF_ShapeInferenceContext* context, TF_Status* status) {
  someShape<3, 2, 3, 2, 2, 2, 1>(context, status);
  TF_ShapeHandle* q = TF_NewShapeHandle();
  if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextGetInput(context, 0, q, status);
  if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetOutput(context, 0, q, status);
  TF_DeleteShapeHandle(q);
}

void registerAll(TF_Status* status) {
  const std::vector<const char*> matrix = {"format: int", "rows: int", "width: int"};
  const auto with = [&](const char* more) {
    std::vector<const char*> all = matrix;
    all.push_back(more);
    return all;
  };
  registerOp<Pack>({"HsPack", {"values: T"}, {"w: uint8"}, with("T: {float, half, bfloat16, uint8}"), someShape<1>}, status);
  registerOp<PackCodes>({"HsPackCodes", {"codes: uint8", "scales: float", "minima: float"}, {"w: uint8"}, with("zero: int"), someShape<2, 2>}, status);
  registerOp<MatVec>({"HsMatVec", {"x: float", "w: uint8"}, {"y: float"}, with("bytes: bool"), someShape<2, 3>}, status);
  registerOp<Unpack>({"HsUnpack", {"w: uint8"}, {"y: float"}, matrix, someShape<3>}, status);
  registerOp<UnpackRows>({"HsUnpackRows", {"w: uint8", "index: int32"}, {"y: float"}, matrix, someShape<3, 1>}, status);
  registerOp<CacheRows>({"HsCacheRows", {"x: float"}, {"y: T"}, {"cache: int", "T: {float, half, uint8}"}, someShape<2>}, status);
  registerOp<Attend>({"HsAttend",
                      {"q: float", "positions: int32", "lists: int32", "spans: int32", "keys: T", "values: T", "sinks: float"},
                      {"z: float", "pattern: float"},
                      {"cache: int", "scale: float", "cap: float", "with_pattern: bool", "T: {float, half, uint8}"},
                      attentionShape},
                     status);
  registerTraining(status);
}

/** start(threads): registers the ops, once a process, and sets the number of threads. Gives the instructions that are used. */
napi_value start(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value threads, out;
  int32_t size = 1;
  napi_get_cb_info(env, info, &count, &threads, nullptr, nullptr);
  if (count < 1 || napi_get_value_int32(env, threads, &size) != napi_ok || size < 1) {
    napi_throw_type_error(env, nullptr, "start takes a number of threads");
    return nullptr;
  }
  static const std::string failure = [] {
    TF_Status* status = TF_NewStatus();
    registerAll(status);
    const std::string message = TF_GetCode(status) == TF_OK ? "" : TF_Message(status);
    TF_DeleteStatus(status);
    return message;
  }();
  if (!failure.empty()) {
    napi_throw_error(env, nullptr, failure.c_str());
    return nullptr;
  }
  Team::resize(size);
  napi_create_string_utf8(env, instructions(), NAPI_AUTO_LENGTH, &out);
  return out;
}

}  // namespace
}  // namespace hs

NAPI_MODULE_INIT() {
  napi_value start;
  napi_create_function(env, "start", NAPI_AUTO_LENGTH, hs::start, nullptr, &start);
  napi_set_named_property(env, exports, "start", start);
  return exports;
}
