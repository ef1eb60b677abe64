// The kernels as TensorFlow ops, and what Node.js calls. Those of weights are pure: they write nothing but their outputs, which
// TensorFlow has just made, so that none can overlap with an input.
#include <utility>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "attention/ops.h"
#include "block/ops.h"
#include "matrix.h"
#include "prompt/ops.h"
#include "simd.h"
#include "training/ops.h"
#include "weights.h"

namespace hs {
namespace {

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
  TF_DataType type;
  explicit MatVec(Attributes& a) : MatrixAttributes(a), bytes(a.flag("bytes")), type(a.type("T")) {}
  void compute(Call& c) {
    const Input x = c.input(0, "x", {-1, width});
    const Packed m = matrixInput(c, 1, format, type, rows, width);
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
    const Packed m = matrixInput(c, 0, format, TF_UINT8, rows, width);
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
    const Packed m = matrixInput(c, 0, format, TF_UINT8, rows, width);
    const Input index = c.input(1, "index", {-1});
    for (int64_t i = 0; c.ok() && i < index.count; i++) {
      const int32_t row = index.as<int32_t>()[i];
      c.check(row >= 0 && row < rows, "there is no row " + std::to_string(row) + " of " + std::to_string(rows));
    }
    float* out = c.output<float>(0, TF_FLOAT, {index.count, width});
    for (int64_t i = 0; out && i < index.count; i++) unpackRow(m, index.as<int32_t>()[i], out + i * width);
  }
};

void registerAll(TF_Status* status) {
  const std::vector<const char*> matrix = {"format: int", "rows: int", "width: int"};
  const auto with = [&](const std::vector<const char*>& more) {
    std::vector<const char*> all = matrix;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  registerOp<Pack>({"HsPack", {"values: T"}, {"w: uint8"}, with({"T: {float, half, bfloat16, uint8}"}), someShape<1>}, status);
  registerOp<PackCodes>({"HsPackCodes", {"codes: uint8", "scales: float", "minima: float"}, {"w: uint8"}, with({"zero: int"}), someShape<2, 2>}, status);
  registerOp<MatVec>({"HsMatVec", {"x: float", "w: T"}, {"y: float"}, with({"bytes: bool", "T: {uint8, float}"}), someShape<2>}, status);
  registerOp<Unpack>({"HsUnpack", {"w: uint8"}, {"y: float"}, matrix, someShape<3>}, status);
  registerOp<UnpackRows>({"HsUnpackRows", {"w: uint8", "index: int32"}, {"y: float"}, matrix, someShape<3, 1>}, status);
  registerAttention(status);
  registerBlocks(status);
  registerPrompt(status);
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

/** giveBack(): the C library keeps what is freed between blocks in use; the system gets its whole pages back. */
napi_value giveBack(napi_env, napi_callback_info) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return nullptr;
}

}  // namespace
}  // namespace hs

NAPI_MODULE_INIT() {
  const std::pair<const char*, napi_callback> calls[] = {{"start", hs::start}, {"giveBack", hs::giveBack}};
  for (const auto& [name, call] : calls) {
    napi_value function;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, call, nullptr, &function);
    napi_set_named_property(env, exports, name, function);
  }
  hs::addPages(env, exports);
  return exports;
}
