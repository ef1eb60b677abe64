// driver COUNT SEED THREADS FIGURES: runs the kernels on COUNT random calls, each against its definition in float64, with memory of exactly
// the size that a call is told, so that sanitizers see every step beyond. Calls whose numbers cannot be must be refused. Then it makes
// COUNT calls, or as many as there are, whose figures NumPy has made. Exit code 0 when all is right.
#include "../../backend/kernels/native/attention/attention.h"
#include "../../backend/kernels/native/matrix.h"
#include "block.h"
#include "figures.h"
#include "gradients.h"
#include "prompt.h"
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

/** Pages of this process, until they are freed. */
struct Shelf {
  std::vector<int32_t> pages;
  int32_t add(CacheKind kind, int64_t width, int64_t rows, std::vector<int32_t> channels = {}) {
    pages.push_back(Pages::get().make(kind, width, rows, std::move(channels)));
    return pages.back();
  }
  ~Shelf() {
    for (int32_t page : pages) Pages::get().free(page);
  }
};

/** Some channels of a key, ascending, in a share of all draws; else none, which stands for all. */
std::vector<int32_t> randomChannels(int64_t width, double probability) {
  std::vector<int32_t> channels;
  if (!chance(probability)) return channels;
  const double share = 0.1 + 0.8 * double(whole(0, 100)) / 100;
  for (int32_t i = 0; i < width; i++)
    if (chance(share)) channels.push_back(i);
  if (int64_t(channels.size()) == width) channels.pop_back();
  return channels;
}

/** A key of a page by the layout of its row: 0 in the channels that it does not hold. */
std::vector<double> cachedKey(const Page& page, int64_t row) {
  if (page.channels.empty()) return cachedRow(page.kind, page.keys(row), int(page.width));
  const std::vector<double> some = cachedRow(page.kind, page.keys(row), int(page.channels.size()));
  std::vector<double> key(size_t(page.width));
  for (size_t i = 0; i < some.size(); i++) key[size_t(page.channels[i])] = some[i];
  return key;
}

std::shared_ptr<Page> pageOf(int32_t number) { return Pages::Finder(Pages::get()).find(number); }

/** Writes rows of several heads to random slots of pages of any kinds, or to wrong ones, which must be refused. */
void writes() {
  Shelf shelf;
  const int64_t width = chance(0.5) ? 16 * whole(1, 6) : whole(1, 100), tokens = whole(0, 40), heads = whole(1, 4);
  std::vector<Slot> free, slots(tokens * heads, {-1, 0});
  for (int i = 0; i < 4; i++) {
    const int64_t rows = whole(1, 60);
    const int32_t page = shelf.add(CacheKind(whole(0, CACHE_KINDS - 1)), width, rows, randomChannels(width, 0.3));
    for (int64_t r = 0; r < rows; r++) free.push_back({page, int32_t(r)});
  }
  if (chance(0.3)) std::shuffle(free.begin(), free.end(), generator);
  size_t taken = 0;
  for (Slot& slot : slots)
    if (chance(0.9) && taken < free.size()) slot = free[taken++];
  const bool wild = chance(0.2) && taken > 1;
  bool twice = false;
  if (wild) {
    Slot& odd = slots[whole(0, tokens * heads - 1)];
    if ((twice = chance(0.5))) {
      const Slot first = free[0], second = free[1];
      for (Slot& slot : slots)
        if (slot.page == second.page && slot.row == second.row) slot = first;
    } else odd = chance(0.5) ? Slot{int32_t(whole(INT32_MIN, -2)), 0} : Slot{free[0].page, int32_t(whole(60, INT32_MAX))};
  }
  const auto keys = normals(tokens * heads * width), values = normals(tokens * heads * width);
  const auto given = exactly<Slot>(tokens * heads);
  std::copy(slots.begin(), slots.end(), given.get());
  const std::string fault = writeRows(Team::get(), {tokens, heads, width, keys.get(), values.get(), given.get()});
  if (fault.empty() == wild) fail(fault.c_str(), fault.empty(), wild);
  if (wild) return;
  const auto key = exactly<float>(width), value = exactly<float>(width);
  for (int64_t i = 0; i < tokens * heads; i++) {
    if (slots[i].page < 0) continue;
    const auto page = pageOf(slots[i].page);
    page->read(slots[i].row, 1, key.get(), value.get());
    const auto& held = page->channels;
    for (const bool isKey : {true, false}) {
      const float *row = (isKey ? key : value).get(), *want = (isKey ? keys : values).get() + i * width;
      const auto defined = isKey ? cachedKey(*page, slots[i].row) : cachedRow(page->kind, page->values(slots[i].row), int(width));
      const double lost[] = {0, 5e-4, 5e-3, 0.1};
      for (int64_t k = 0; k < width; k++) {
        const bool isHeld = !isKey || held.empty() || std::binary_search(held.begin(), held.end(), int32_t(k));
        near("a row as it is read", row[k], defined[k], 8, 1e-7);
        near("a row as it was written", row[k], isHeld ? want[k] : 0, 8, isHeld ? lost[int(page->kind)] : 0);
      }
    }
  }
}

/** A coding that pages of some rows can have, whatever it is good for. */
Coding randomCoding(int64_t width, int64_t rows) {
  Coding c{};
  c.book = Book(whole(0, BOOKS - 1));
  constexpr int INTEGER_BITS[] = {2, 3, 4, 6, 8}, FLOATS[][5] = {{8, 3, 7, 0x7e}, {8, 2, 15, 0x7b}, {6, 2, 3, 0x1f}, {6, 3, 1, 0x1f}, {4, 1, 1, 7}};
  if (c.book == Book::INTEGERS) c.bits = INTEGER_BITS[whole(0, 4)];
  else if (c.book == Book::LEVELS) c.bits = int(whole(2, 4));
  else {
    const auto& f = FLOATS[whole(0, 4)];
    c.bits = f[0], c.mantissa = f[1], c.bias = f[2], c.largest = f[3];
  }
  do c.keyGroup = chance(0.5) ? int(std::min<int64_t>(rows, 8 << whole(0, 4))) : int(whole(1, rows));
  while (rows % c.keyGroup != 0);
  c.valueGroup = chance(0.5) ? 32 : int(whole(1, 2 * width));
  c.halves = chance(0.5);
  c.firstRows = chance(0.3) ? int(whole(0, c.keyGroup)) : 0;
  const int64_t leastKeys = c.keyGroup - c.firstRows, last = width % c.valueGroup;
  if (chance(0.3) && leastKeys > 2) c.keyOutliers = int(whole(0, (leastKeys - 1) / 2));
  if (chance(0.3) && last == 0 && c.valueGroup > 2) c.valueOutliers = int(whole(0, (c.valueGroup - 1) / 2));
  for (float* levels : c.levels) {
    for (int i = 0; i < MOST_LEVELS; i++) levels[i] = normal() / 2;
    std::sort(levels, levels + std::min(1 << c.bits, MOST_LEVELS));
  }
  if (chance(0.3) && width > 1) {
    Rotation rotation{2 * whole(1, width / 2), 400, {}};
    rotation.turns.resize(size_t(rotation.rotary * rotation.positions));
    for (float& x : rotation.turns) x = normal() + 2;  // no angle's: turning back and turning are each other's inverse all the same
    c.rotation = std::make_shared<const Rotation>(std::move(rotation));
  }
  return c;
}

/** Puts a page's rows into codes, and compares what they stand for; codings that can't be must be refused. */
void codes() {
  Shelf shelf;
  const int64_t rows = 8 * whole(1, chance(0.2) ? 40 : 16), width = chance(0.5) ? 16 * whole(1, 8) : whole(1, 100);
  const int32_t plain = shelf.add(chance(0.8) ? CacheKind::F32 : CacheKind(whole(0, CACHE_KINDS - 1)), width, rows);
  const auto page = pageOf(plain);
  const auto numbers = normals(2 * rows * width);
  for (int64_t r = 0; r < 2 * rows; r++) writeCacheRow(page->kind, numbers.get() + r * width, int(width), page->keys(r));
  const auto positions = exactly<int32_t>(rows);
  for (int64_t r = 0; r < rows; r++) positions[r] = int32_t(whole(0, 399));
  Coding c = randomCoding(width, rows);
  const bool wild = chance(0.2);
  if (wild) {
    int* fields[] = {&c.bits, &c.keyGroup, &c.valueGroup, &c.keyOutliers, &c.valueOutliers, &c.firstRows, &c.mantissa, &c.bias, &c.largest};
    *fields[whole(0, 8)] = int(chance(0.5) ? whole(-2, 300) : whole(INT32_MIN, INT32_MAX));
    if (chance(0.3)) positions[whole(0, rows - 1)] = int32_t(chance(0.5) ? 400 : whole(INT32_MIN, -1));
  }
  int32_t number = -1;
  const std::string fault = Pages::get().code(plain, c, positions.get(), number);
  if (!fault.empty() && !wild) fail(fault.c_str(), 1, 0);
  if (!fault.empty()) return;
  shelf.pages.push_back(number);
  const auto coded = pageOf(number);
  const auto keys = exactly<float>(rows * width), values = exactly<float>(rows * width), before = exactly<float>(2 * rows * width);
  page->read(0, rows, before.get(), before.get() + rows * width);
  coded->read(0, rows, keys.get(), values.get());
  for (int64_t i = 0; i < c.firstRows * width; i++) {
    near("a first row's key", keys[i], before[i], 1, 0);
    near("a first row's value", values[i], before[rows * width + i], 1, 0);
  }
  const int64_t from = whole(0, rows - 1), count = whole(0, rows - from);
  const auto some = exactly<float>(2 * count * width);
  coded->read(from, count, some.get(), some.get() + count * width);
  if (memcmp(some.get(), keys.get() + from * width, 4 * count * width) != 0) fail("some rows' keys", some[0], keys[from * width]);
  if (c.book != Book::INTEGERS || wild) return;
  for (int64_t t = c.firstRows; t < rows; t++)
    for (int64_t i = 0; i < width; i++) {
      const int64_t first = i / c.valueGroup * c.valueGroup, end = std::min<int64_t>(first + c.valueGroup, width);
      const auto [low, high] = std::minmax_element(before.get() + (rows + t) * width + first, before.get() + (rows + t) * width + end);
      const double slack = c.halves ? (std::fabs(*low) + (*high - *low)) / 1000 : 1e-5;
      near("a value in codes", values[t * width + i], before[(rows + t) * width + i], 1, (*high - *low) / ((1 << c.bits) - 1) * 0.501 + slack);
      if (c.rotation) continue;
      const int64_t group = t / c.keyGroup * c.keyGroup;
      float least = INFINITY, most = -INFINITY;
      for (int64_t r = std::max<int64_t>(group, c.firstRows); r < group + c.keyGroup; r++)
        least = std::min(least, before[r * width + i]), most = std::max(most, before[r * width + i]);
      const double slackKeys = c.halves ? (std::fabs(least) + (most - least)) / 1000 : 1e-5;
      near("a key in codes", keys[t * width + i], before[t * width + i], 1, (most - least) / ((1 << c.bits) - 1) * 0.501 + slackKeys);
    }
}

struct Attention {
  AttentionCall call;
  Shelf shelf;
  std::unique_ptr<float[]> q, sinks;
  std::unique_ptr<int32_t[]> positions;
  std::unique_ptr<List[]> lists;
  std::unique_ptr<Span[]> spans;
  std::unique_ptr<uint8_t[]> blocks;
};

/** A call whose spans and lists may be wrong. @param wild share of numbers from anywhere */
void randomCall(Attention& a, double wild) {
  AttentionCall& c = a.call;
  const CacheKind most = CacheKind(whole(0, CACHE_KINDS - 1));
  const double others = chance(0.3) ? 0.5 : 0, inCodes = chance(0.4) ? 0.5 : 0, pruned = chance(0.4) ? 0.6 : 0;
  c.sequences = whole(1, 3), c.tokens = whole(1, chance(0.4) ? 150 : MOST_QUERIES), c.kvHeads = whole(1, 3);
  c.heads = c.kvHeads * whole(1, 5), c.spanCount = whole(0, 40);
  c.width = chance(0.5) ? 16 * whole(1, 10) : whole(1, 100);
  c.scale = 1 / std::sqrt(float(c.width));
  c.cap = chance(0.3) ? std::fabs(normal()) * 5 + 0.1f : 0;
  const int64_t queries = c.sequences * c.tokens * c.heads, lists = c.sequences * c.kvHeads;
  const auto anywhere = [&](int64_t tame) { return int32_t(chance(wild) ? whole(INT32_MIN, INT32_MAX) : tame); };
  c.q = (a.q = normals(queries * c.width)).get();
  a.positions = exactly<int32_t>(c.sequences * c.tokens);
  for (int64_t i = 0; i < c.sequences * c.tokens; i++) a.positions[i] = anywhere(whole(0, 200));
  for (int64_t p = whole(1, 5); p > 0; p--) {
    const CacheKind kind = chance(others) ? CacheKind(whole(0, CACHE_KINDS - 1)) : most;
    const bool coded = chance(inCodes);
    const int64_t count = coded ? 8 * whole(1, chance(0.5) ? 16 : 30) : whole(1, chance(0.3) ? 300 : 40);
    const auto page = pageOf(a.shelf.add(kind, c.width, count, randomChannels(c.width, coded ? 0 : pruned)));
    const auto rows = normals(2 * page->rows * c.width);
    for (int64_t r = 0; r < page->rows; r++) page->write(r, rows.get() + r * c.width, rows.get() + (page->rows + r) * c.width);
    if (!coded) continue;
    std::vector<int32_t> positions(size_t(page->rows));
    for (int32_t& position : positions) position = int32_t(whole(0, 399));
    int32_t number = -1;
    const std::string fault = Pages::get().code(a.shelf.pages.back(), randomCoding(c.width, page->rows), positions.data(), number);
    if (!fault.empty()) fail(fault.c_str(), 1, 0);
    a.shelf.pages.push_back(number);
  }
  a.spans = exactly<Span>(c.spanCount);
  for (int64_t i = 0; i < c.spanCount; i++) {
    const int32_t number = a.shelf.pages[whole(0, int64_t(a.shelf.pages.size()) - 1)];
    const int64_t rows = pageOf(number)->rows, count = whole(0, rows);
    const bool summary = chance(0.05);  // a row that stands for some tokens
    if (summary) a.spans[i] = {anywhere(number), anywhere(whole(0, rows - 1)), anywhere(-whole(1, 1000)), anywhere(1)};
    else a.spans[i] = {anywhere(number), anywhere(whole(0, rows - count)), anywhere(whole(0, 220)), anywhere(count)};
  }
  a.lists = exactly<List>(lists);
  for (int64_t l = 0; l < lists; l++) {
    const int64_t spans = whole(0, std::min<int64_t>(c.spanCount, 12));
    const int64_t window = chance(0.5) ? 0 : whole(1, 100), sink = chance(0.5) ? 0 : whole(0, 10);
    const int64_t local = chance(0.7) ? 0 : whole(1, 150);
    a.lists[l] = {anywhere(whole(0, c.spanCount - spans)), anywhere(spans), anywhere(window), anywhere(sink), anywhere(local)};
  }
  if (chance(0.3)) c.sinks = (a.sinks = normals(c.heads)).get();
  c.positions = a.positions.get(), c.lists = a.lists.get(), c.spans = a.spans.get();
  if (!chance(0.3)) return;
  c.blocks = blocksOf(c);
  if (c.blocks.across > 10) return void(c.blocks = {});
  c.blocks.heads = chance(0.5) ? 1 : c.heads;
  const int64_t count = c.blocks.heads * c.blocks.down * c.blocks.across;
  a.blocks = exactly<uint8_t>(count);
  for (int64_t i = 0; i < count; i++) a.blocks[i] = chance(0.5);
  c.blocks.read = a.blocks.get();
}

/** Key and value of a row; those of codes as they are read. */
std::pair<std::vector<double>, std::vector<double>> rowOf(const Page& page, int64_t row) {
  const int width = int(page.width);
  if (!page.coded) return {cachedKey(page, row), cachedRow(page.kind, page.values(row), width)};
  std::vector<float> key(width), value(width);
  page.read(row, 1, key.data(), value.data());
  return {{key.begin(), key.end()}, {value.begin(), value.end()}};
}

/** Attention of one query head by its definition. @param z [d] @param pattern [columns] */
void define(const AttentionCall& c, int64_t query, std::vector<double>& z, std::vector<double>& pattern) {
  const int64_t token = query / c.heads, h = query % c.heads;
  const List& list = c.lists[token / c.tokens * c.kvHeads + h / (c.heads / c.kvHeads)];
  const int64_t position = c.positions[token], block = token % c.tokens / SQUARE;
  const auto isRead = [&](int64_t p) {
    if (c.blocks.heads == 0) return true;
    const int32_t* mine = c.positions + token - token % c.tokens + block * SQUARE;
    const auto [low, high] = std::minmax_element(mine, mine + std::min<int64_t>(SQUARE, c.tokens - block * SQUARE));
    if (p / SQUARE >= *low / SQUARE && p / SQUARE <= *high / SQUARE) return true;
    const int64_t head = c.blocks.heads > 1 ? h : 0;
    return c.blocks.read[(head * c.blocks.down + block) * c.blocks.across + p / SQUARE] != 0;
  };
  std::vector<double> scores;
  std::vector<std::vector<double>> values;
  std::vector<int64_t> at;
  const auto see = [&](const Span& span, int64_t i, double more, int64_t column) {
    const auto page = pageOf(span.page);
    const auto [key, value] = rowOf(*page, span.row + i);
    double sum = 0;
    for (int64_t k = 0; k < c.width; k++) sum += key[k] * c.q[query * c.width + k];
    sum *= c.scale;
    scores.push_back((c.cap > 0 ? c.cap * std::tanh(sum / c.cap) : sum) + more);
    values.push_back(value);
    at.push_back(column);
  };
  for (int64_t s = list.first; s < int64_t(list.first) + list.spans; s++)
    for (int64_t i = 0; i < c.spans[s].count; i++) {
      const int64_t p = int64_t(c.spans[s].position) + i;
      if (p < 0) {
        see(c.spans[s], i, std::log(double(-p)), -1);
        continue;
      }
      if (p > position || (list.local > 0 && p <= position - list.local)) continue;
      if (list.window > 0 && p <= position - list.window && p >= list.sink) continue;
      if (isRead(p)) see(c.spans[s], i, 0, p);
    }
  double most = c.sinks ? c.sinks[h] : -1e300, total = 0;
  for (double s : scores) most = std::max(most, s);
  if (c.sinks) total = std::exp(c.sinks[h] - most);
  for (double s : scores) total += std::exp(s - most);
  for (size_t i = 0; i < scores.size(); i++) {
    const double w = std::exp(scores[i] - most) / total;
    for (int64_t k = 0; k < c.width; k++) z[k] += w * values[i][k];
    if (at[i] >= 0) pattern[at[i]] += w;
  }
}

void attention() {
  const double wild = chance(0.2) ? 0.02 : 0;
  Attention a{};
  randomCall(a, wild);
  const AttentionCall& c = a.call;
  Held held;
  const std::string wrong = faultOf(c, held);
  if (wild == 0 && !wrong.empty()) fail(wrong.c_str(), 1, 0);
  const int64_t columns = wrong.empty() ? patternColumns(c) : 0;
  if (!wrong.empty() || columns > 1000) return;  // refused, or right by chance and far away
  const int64_t queries = c.sequences * c.tokens * c.heads;
  const auto z = exactly<float>(queries * c.width), pattern = exactly<float>(queries * columns);
  attend(Team::get(), c, held, {z.get(), chance(0.5) ? pattern.get() : nullptr});
  const bool seen = std::any_of(pattern.get(), pattern.get() + queries * columns, [](float w) { return w != 0; });
  for (int64_t query = 0; query < queries; query += whole(1, c.tokens > MOST_QUERIES ? 60 : 4)) {
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
    chance(0.01) ? gradients() : chance(0.05) ? prompt() : kind < 4 ? products() : kind < 5 ? writes() : kind < 6 ? codes() : kind < 8 ? attention() : block();
  }
  const int figures = argc > 4 ? compareFigures(argv[4], count) : 0;
  printf("%d calls and %d of NumPy's are right with %s, %d threads\n", count, figures, instructions(), Team::get().size());
  fflush(stdout);
  _Exit(0);  // the team's threads sleep on
}
