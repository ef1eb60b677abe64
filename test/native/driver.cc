// driver COUNT SEED THREADS: runs the kernels on COUNT random calls, each against its definition in float64, with memory of exactly the
// size that a call is told, so that sanitizers see every step beyond. Calls whose numbers cannot be must be refused. Exit code 0
// when all is right.
#include "../../backend/kernels/native/attention.h"
#include "../../backend/kernels/native/matrix.h"
#include "block.h"
#include "samples.h"

using namespace hs;

namespace {

void products() {
  const Format f = randomFormat();
  const int64_t rows = whole(1, chance(0.1) ? 700 : 60);
  const int64_t width = f.block ? 32 * whole(1, 8) : whole(1, 200), count = whole(0, 11);
  const Sample s = randomMatrix(f, rows, width);
  const auto x = normals(count * width), y = exactly<float>(count * rows);
  const bool bytes = chance(0.3) && f.block;
  multiply(Team::get(), s.packed, x.get(), count, bytes, y.get());
  for (int64_t v = 0; v < count; v++)
    for (int64_t r = 0; r < rows; r++) {
      double sum = 0, size = 1e-30;
      for (int64_t i = 0; i < width; i++) {
        const double term = s.values[r * width + i] * x[v * width + i];
        sum += term;
        size += std::fabs(term) + (f.bits == 8 ? 0 : std::fabs(x[v * width + i]));
      }
      near("a product", y[v * rows + r], sum, size, bytes ? 0.05 : 2e-6);
    }
  auto wide = exactly<float>(rows * width), row = exactly<float>(width);
  for (int64_t t = 0; t < s.packed.tiles(); t++) unpackTile(s.packed, t, wide.get());
  const int64_t r = whole(0, rows - 1);
  unpackRow(s.packed, r, row.get());
  for (int64_t i = 0; i < rows * width; i++) near("an unpacked weight", wide[i], s.values[i], std::fabs(s.values[i]) + 8, 3e-7);
  if (memcmp(row.get(), wide.get() + r * width, 4 * width) != 0) fail("an unpacked row", row[0], wide[r * width]);
}

/** A cached row in float32, by the layout that cache.h describes. */
std::vector<double> cachedRow(CacheKind kind, const uint8_t* row, int width) {
  std::vector<double> out(width);
  const int d = int(cacheWidth(kind, width));
  for (int i = 0; i < width; i++) {
    const int block = i / 32;
    float v;
    if (kind == CacheKind::F32) memcpy(&v, row + 4 * i, 4), out[i] = v;
    else if (kind == CacheKind::F16) out[i] = half(row + 2 * i);
    else if (kind == CacheKind::Q8) out[i] = int8_t(row[i]) * double(half(row + d + 2 * block));
    else {
      const int pair = row[16 * block + i % 16], code = i % 32 < 16 ? pair & 15 : pair >> 4;
      out[i] = code * double(half(row + d / 2 + 2 * block)) + half(row + d / 2 + d / 32 * 2 + 2 * block);
    }
  }
  return out;
}

struct Attention {
  AttentionCall call;
  std::unique_ptr<float[]> q, sinks;
  std::unique_ptr<int32_t[]> positions;
  std::unique_ptr<List[]> lists;
  std::unique_ptr<Span[]> spans;
  std::unique_ptr<uint8_t[]> keys, values;
};

/** A call whose spans and lists may be wrong. @param wild share of numbers from anywhere */
Attention randomCall(double wild) {
  Attention a{};
  AttentionCall& c = a.call;
  c.kind = CacheKind(whole(0, CACHE_KINDS - 1));
  c.sequences = whole(1, 3), c.tokens = whole(1, MOST_QUERIES), c.kvHeads = whole(1, 3);
  c.heads = c.kvHeads * whole(1, 5), c.rows = whole(0, 300), c.spanCount = whole(0, 40);
  c.width = chance(0.5) ? 16 * whole(1, 10) : whole(1, 100);
  c.scale = 1 / std::sqrt(float(c.width));
  c.cap = chance(0.3) ? std::fabs(normal()) * 5 + 0.1f : 0;
  const int64_t queries = c.sequences * c.tokens * c.heads, bytes = cacheRowBytes(c.kind, cacheWidth(c.kind, c.width)), lists = c.sequences * c.kvHeads;
  const auto anywhere = [&](int64_t tame) { return int32_t(chance(wild) ? whole(INT32_MIN, INT32_MAX) : tame); };
  c.q = (a.q = normals(queries * c.width)).get();
  a.positions = exactly<int32_t>(c.sequences * c.tokens);
  for (int64_t i = 0; i < c.sequences * c.tokens; i++) a.positions[i] = anywhere(whole(0, 200));
  a.spans = exactly<Span>(c.spanCount);
  for (int64_t i = 0; i < c.spanCount; i++) {
    const int64_t count = whole(0, std::min<int64_t>(c.rows, chance(0.3) ? 300 : 20));
    a.spans[i] = {anywhere(whole(0, c.rows - count)), anywhere(whole(0, 220)), anywhere(count)};
  }
  a.lists = exactly<List>(lists);
  for (int64_t l = 0; l < lists; l++) {
    const int64_t spans = whole(0, std::min<int64_t>(c.spanCount, 12));
    const int64_t window = chance(0.5) ? 0 : whole(1, 100), sink = chance(0.5) ? 0 : whole(0, 10);
    const int64_t local = chance(0.7) ? 0 : whole(1, 150);
    a.lists[l] = {anywhere(whole(0, c.spanCount - spans)), anywhere(spans), anywhere(window), anywhere(sink), anywhere(local)};
  }
  const auto cache = [&] {
    auto out = exactly<uint8_t>(c.rows * bytes);
    const auto rows = normals(c.rows * c.width);
    for (int64_t r = 0; r < c.rows; r++) writeCacheRow(c.kind, rows.get() + r * c.width, int(c.width), out.get() + r * bytes);
    return out;
  };
  c.keys = (a.keys = cache()).get();
  c.values = (a.values = cache()).get();
  if (chance(0.3)) c.sinks = (a.sinks = normals(c.heads)).get();
  c.positions = a.positions.get(), c.lists = a.lists.get(), c.spans = a.spans.get();
  return a;
}

/** Attention of one query head by its definition. @param z [d] @param pattern [columns] */
void define(const AttentionCall& c, int64_t query, std::vector<double>& z, std::vector<double>& pattern) {
  const int64_t token = query / c.heads, h = query % c.heads, bytes = cacheRowBytes(c.kind, cacheWidth(c.kind, c.width));
  const List& list = c.lists[token / c.tokens * c.kvHeads + h / (c.heads / c.kvHeads)];
  const int64_t position = c.positions[token];
  std::vector<double> scores;
  std::vector<int64_t> rows, at;
  for (int64_t s = list.first; s < int64_t(list.first) + list.spans; s++)
    for (int64_t i = 0; i < c.spans[s].count; i++) {
      const int64_t p = int64_t(c.spans[s].position) + i;
      if (p > position || (list.local > 0 && p <= position - list.local)) continue;
      if (list.window > 0 && p <= position - list.window && p >= list.sink) continue;
      const auto key = cachedRow(c.kind, c.keys + (c.spans[s].row + i) * bytes, int(c.width));
      double sum = 0;
      for (int64_t k = 0; k < c.width; k++) sum += key[k] * c.q[query * c.width + k];
      sum *= c.scale;
      scores.push_back(c.cap > 0 ? c.cap * std::tanh(sum / c.cap) : sum);
      rows.push_back(c.spans[s].row + i);
      at.push_back(p);
    }
  double most = c.sinks ? c.sinks[h] : -1e300, total = 0;
  for (double s : scores) most = std::max(most, s);
  if (c.sinks) total = std::exp(c.sinks[h] - most);
  for (double s : scores) total += std::exp(s - most);
  for (size_t i = 0; i < scores.size(); i++) {
    const double w = std::exp(scores[i] - most) / total;
    const auto value = cachedRow(c.kind, c.values + rows[i] * bytes, int(c.width));
    for (int64_t k = 0; k < c.width; k++) z[k] += w * value[k];
    pattern[at[i]] += w;
  }
}

void attention() {
  const double wild = chance(0.2) ? 0.02 : 0;
  const Attention a = randomCall(wild);
  const AttentionCall& c = a.call;
  const std::string wrong = faultOf(c);
  if (wild == 0 && !wrong.empty()) fail(wrong.c_str(), 1, 0);
  const int64_t columns = wrong.empty() ? patternColumns(c) : 0;
  if (!wrong.empty() || columns > 1000) return;  // refused, or right by chance and far away
  const int64_t queries = c.sequences * c.tokens * c.heads;
  const auto z = exactly<float>(queries * c.width), pattern = exactly<float>(queries * columns);
  AttentionScratch scratch;
  attend(Team::get(), c, scratch, z.get(), chance(0.5) ? pattern.get() : nullptr);
  const bool seen = std::any_of(pattern.get(), pattern.get() + queries * columns, [](float w) { return w != 0; });
  for (int64_t query = 0; query < queries; query += whole(1, 4)) {
    std::vector<double> wantZ(c.width), wantPattern(columns);
    define(c, query, wantZ, wantPattern);
    for (int64_t k = 0; k < c.width; k++) near("an attended value", z[query * c.width + k], wantZ[k], 4, 2e-6);
    for (int64_t k = 0; seen && k < columns; k++) near("a weight", pattern[query * columns + k], wantPattern[k], 1, 3e-6);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? atoi(argv[1]) : 1000;
  generator.seed(argc > 2 ? strtoull(argv[2], nullptr, 10) : 1);
  Team::resize(argc > 3 ? atoi(argv[3]) : 3);
  for (call = 0; call < count; call++) {
    const int64_t kind = whole(0, 9);
    kind < 4 ? products() : kind < 8 ? attention() : block();
  }
  printf("%d calls are right with %s, %d threads\n", count, instructions(), Team::get().size());
  fflush(stdout);
  _Exit(0);  // the team's threads sleep on
}
