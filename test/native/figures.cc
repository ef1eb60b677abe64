#include "figures.h"

#include "../../backend/kernels/native/attention/attention.h"
#include "../../backend/kernels/native/matrix.h"
#include "samples.h"

namespace hs {
namespace {

/** Numbers of a call, as test/oracles/kernels.py draws them. */
class Draw {
 public:
  explicit Draw(uint64_t call) : call_(call) {}

  uint64_t bits(uint64_t stream, uint64_t i) const {
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u + (64 * call_ + stream + 1) * 0xD1B54A32D192ED03u;
    for (const uint64_t factor : {0xFF51AFD7ED558CCDu, 0xC4CEB9FE1A85EC53u}) x = (x ^ x >> 33) * factor;
    return x ^ x >> 33;
  }
  /** The next whole number of stream 0. */
  int64_t whole(int64_t least, int64_t most) { return least + int64_t(bits(0, drawn_++) % uint64_t(most - least + 1)); }
  /** Two draws, the first of which is 0 or 1. */
  int64_t perhaps(int64_t least, int64_t most) {
    const int64_t is = whole(0, 1), n = whole(least, most);
    return is * n;
  }
  float number(uint64_t stream, uint64_t i) const { return float(bits(stream, i) >> 40) * 0x1p-23f - 1; }
  std::unique_ptr<float[]> numbers(uint64_t stream, int64_t count) const {
    auto out = exactly<float>(count);
    for (int64_t i = 0; i < count; i++) out[i] = number(stream, i);
    return out;
  }

 private:
  const uint64_t call_;
  uint64_t drawn_ = 0;
};

/** A sum of results, each times a number, and the sum of what errors it may have. */
struct Figure {
  double sum = 0, size = 0;
  void add(double result, double by, double scale) {
    sum += result * by;
    size += std::fabs(by) * scale;
  }
};

struct Coded {
  Format format;
  int zero;
};
constexpr Coded FORMATS[] = {
    {{32, 0, false, false, false, 0}, 0}, {{16, 0, false, false, false, 0}, 0}, {{16, 0, false, false, true, 0}, 0},
    {{4, 32, true, false, false, 8}, 8},  {{4, 32, true, true, false, 0}, 0},   {{8, 32, true, false, false, 0}, 128},
    {{8, 32, true, true, false, 0}, 0},   {{4, 32, false, true, false, 0}, 0},  {{4, 16, false, true, false, 0}, 0},
    {{4, 16, false, false, false, 4}, 4}, {{8, 32, false, true, false, 0}, 0},  {{8, 16, false, false, false, 0}, 128},
};

Figure product(Draw draw) {
  const Coded& coded = FORMATS[draw.whole(0, 11)];
  const Format& f = coded.format;
  const int64_t rows = draw.whole(1, 60), width = f.block ? 32 * draw.whole(1, 8) : draw.whole(1, 200), count = draw.whole(1, 9);
  Packed m{&f, nullptr, rows, width};
  const auto memory = exactly<uint8_t>(m.bytes());
  m.data = memory.get();
  if (f.block == 0) {
    const int bytes = f.bits / 8;
    const auto file = exactly<uint8_t>(rows * width * bytes);
    for (int64_t i = 0; i < rows * width; i++) {
      const float v = draw.number(1, i);
      uint32_t whole;
      memcpy(&whole, &v, 4);
      const uint16_t narrow = f.brain ? uint16_t(whole >> 16) : toHalf(v);
      memcpy(file.get() + i * bytes, f.bits == 32 ? static_cast<const void*>(&v) : &narrow, bytes);
    }
    packFile(m, file.get(), 0, m.tiles(), memory.get());
  } else {
    const int64_t blocks = rows * width / f.block;
    const auto codes = exactly<uint8_t>(rows * width);
    const uint64_t most = f.bits == 4 ? 16 : coded.zero ? 256 : 128;
    for (int64_t i = 0; i < rows * width; i++) codes[i] = uint8_t(draw.bits(1, i) % most);
    const auto scales = draw.numbers(2, blocks), minima = draw.numbers(3, blocks);
    for (int64_t i = 0; f.halfScales && i < blocks; i++)
      for (float* v : {&scales[i], &minima[i]}) {
        const uint16_t h = toHalf(*v);
        *v = half(&h);
      }
    if (!packCodes(m, {codes.get(), scales.get(), f.minima ? minima.get() : nullptr, coded.zero}, 0, m.tiles(), memory.get()))
      fail("kept scales", 0, 1);
  }
  const auto x = draw.numbers(4, count * width), y = exactly<float>(count * rows), row = exactly<float>(width);
  multiply(Team::get(), m, x.get(), count, false, y.get());
  Figure out;
  for (int64_t r = 0; r < rows; r++) {
    unpackRow(m, r, row.get());
    for (int64_t v = 0; v < count; v++) {
      double size = 0;
      // Codes are multiplied before their minimum is added: sums of both are what is rounded.
      for (int64_t i = 0; i < width; i++) size += (std::fabs(row[i]) + (f.minima ? 1 : 0)) * std::fabs(x[v * width + i]);
      out.add(y[v * rows + r], draw.number(9, v * rows + r), size);
    }
  }
  return out;
}

/** Pages that are freed at the end. */
struct Shelf {
  std::vector<int32_t> pages;
  ~Shelf() {
    for (int32_t page : pages) Pages::get().free(page);
  }
};

Figure attention(Draw draw) {
  AttentionCall c{};
  const CacheKind kind = CacheKind(draw.whole(0, 3));
  c.sequences = draw.whole(1, 3);
  const bool many = draw.whole(0, 9) < 4;
  c.tokens = draw.whole(1, many ? 100 : 8);
  c.kvHeads = draw.whole(1, 3);
  c.heads = c.kvHeads * draw.whole(1, 4);
  const bool even = draw.whole(0, 1);
  c.width = even ? 16 * draw.whole(1, 6) : draw.whole(1, 100);
  c.cap = draw.whole(0, 2) == 0 ? 0.5f * draw.whole(1, 8) : 0;
  c.scale = 0.125f * draw.whole(1, 8);

  Shelf shelf;
  std::vector<int64_t> rows(draw.whole(1, 4));
  for (int64_t& n : rows) n = draw.whole(1, 120);
  for (size_t p = 0; p < rows.size(); p++) {
    const int32_t page = Pages::get().make(kind, c.width, rows[p]);
    shelf.pages.push_back(page);
    const auto keys = draw.numbers(10 + 2 * p, rows[p] * c.width), values = draw.numbers(11 + 2 * p, rows[p] * c.width);
    std::vector<Slot> slots;
    for (int64_t r = 0; r < rows[p]; r++) slots.push_back({page, int32_t(r)});
    const std::string fault = writeRows(Team::get(), {rows[p], 1, c.width, keys.get(), values.get(), slots.data()});
    if (!fault.empty()) fail(fault.c_str(), 1, 0);
  }
  c.spanCount = draw.whole(0, 20);
  const auto spans = exactly<Span>(c.spanCount);
  for (int64_t i = 0; i < c.spanCount; i++) {
    const int64_t p = draw.whole(0, int64_t(rows.size()) - 1), count = draw.whole(0, rows[p]), row = draw.whole(0, rows[p] - count);
    spans[i] = {shelf.pages[p], int32_t(row), int32_t(draw.whole(0, 200)), int32_t(count)};
  }
  const auto lists = exactly<List>(c.sequences * c.kvHeads);
  for (int64_t l = 0; l < c.sequences * c.kvHeads; l++) {
    const int64_t number = draw.whole(0, std::min<int64_t>(8, c.spanCount)), first = draw.whole(0, c.spanCount - number);
    const int64_t window = draw.perhaps(1, 90), sink = draw.perhaps(1, 9), local = draw.perhaps(1, 150);
    lists[l] = {int32_t(first), int32_t(number), int32_t(window), int32_t(sink), int32_t(local)};
  }
  const int64_t queries = c.sequences * c.tokens * c.heads;
  const auto q = draw.numbers(30, queries * c.width), sinks = draw.numbers(32, c.heads);
  const auto positions = exactly<int32_t>(c.sequences * c.tokens);
  for (int64_t i = 0; i < c.sequences * c.tokens; i++) positions[i] = int32_t(draw.bits(31, i) % 200);
  for (int64_t h = 0; h < c.heads; h++) sinks[h] *= 2;
  if (draw.whole(0, 2) == 0) c.sinks = sinks.get();
  c.q = q.get(), c.positions = positions.get(), c.lists = lists.get(), c.spans = spans.get();
  std::unique_ptr<uint8_t[]> blocks;
  if (draw.whole(0, 2) == 0) {
    c.blocks = blocksOf(c);
    c.blocks.heads = draw.whole(0, 1) ? c.heads : 1;
    const int64_t count = c.blocks.heads * c.blocks.down * c.blocks.across;
    blocks = exactly<uint8_t>(count);
    for (int64_t i = 0; i < count; i++) blocks[i] = uint8_t(draw.bits(33, i) % 2);
    c.blocks.read = blocks.get();
  }

  Held held;
  const std::string fault = faultOf(c, held);
  if (!fault.empty()) fail(fault.c_str(), 1, 0);
  const int64_t columns = patternColumns(c);
  const auto z = exactly<float>(queries * c.width), pattern = exactly<float>(queries * columns);
  attend(Team::get(), c, held, {z.get(), pattern.get()});
  Figure out;
  for (int64_t i = 0; i < queries * c.width; i++) out.add(z[i], draw.number(60, i), 1);
  for (int64_t i = 0; i < queries * columns; i++) out.add(pattern[i], draw.number(61, i), pattern[i]);
  return out;
}

}  // namespace

int compareFigures(const char* file, int count) {
  FILE* figures = fopen(file, "rb");
  float want = 0;
  call = 0;
  for (; call < count && figures && fread(&want, sizeof want, 1, figures) == 1; call++) {
    const Figure got = call % 2 == 0 ? product(Draw(call)) : attention(Draw(call));
    near("NumPy's figure", got.sum, want, got.size + std::fabs(want) * 0.05, 2e-6);
  }
  if (figures) fclose(figures);
  return call;
}

}  // namespace hs
