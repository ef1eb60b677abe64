#include "coded.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "../cache.h"
#include "../../simd.h"

namespace hs {
namespace {

constexpr size_t LINE = 64;
constexpr int TOGETHER = 8;  // vectors whose codes begin and end with whole bytes, whatever their bits
constexpr int LANE_BLOCK = 16;
constexpr bool HS_TABLES = LANES == 16;  // a table of 16 numbers is one instruction

/** Bits of a code's lower part, which lies apart from the rest where 8 is no multiple of the code's bits. */
constexpr int lowBits(int bits) { return bits == 3 ? 2 : bits == 6 ? 4 : bits; }

/** Fewest vectors whose codes begin and end with whole bytes. */
constexpr int unitOf(int bits) { return bits == 3 ? 8 : bits == 6 ? 4 : 8 / bits; }

/** Codes of N vectors. @param d bytes from those of some vectors to those of the next @tparam LOOSE with what is above a code's bits left in place */
template <int BITS, bool LOOSE, int N>
inline void codesOf(const uint8_t* low, const uint8_t* high, int64_t d, I (&out)[N]) {
  constexpr int L = lowBits(BITS), H = BITS - L, EACH = 8 / L;
  HS_UNROLL for (int i = 0; i < N; i += EACH) {
    const I byte = octets(low + i / EACH * d);
    HS_UNROLL for (int p = 0; p < EACH; p++) out[i + p] = LOOSE || L == 8 ? byte >> (L * p) : (byte >> (L * p)) & ((1 << L) - 1);
  }
  if (H == 0) return;
  constexpr int UP = H ? 8 / H : 8;
  HS_UNROLL for (int i = 0; i < N; i += UP) {
    const I byte = octets(high + i / UP * d);
    HS_UNROLL for (int p = 0; p < UP; p++) out[i + p] |= ((byte >> (H * p)) & ((1 << H) - 1)) << L;
  }
}

/** Entries of a table of 16. */
inline V lookUp(const float* table, I code) {
#if HS_512
  return (V)_mm512_permutexvar_ps((__m512i)code, _mm512_load_ps(table));
#elif HS_256
  return (V)_mm256_i32gather_ps(table, (__m256i)code, 4);
#else
  V out;
  for (int i = 0; i < LANES; i++) out[i] = table[code[i]];
  return out;
#endif
}

/** Numbers of half precision, each in the low bits of a lane. */
inline V fromHalves(I h) {
#if HS_512
  return (V)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)h));
#else
  const Shorts narrow = __builtin_convertvector(h, Shorts);
  return halves(&narrow);
#endif
}

/** What a kind of codes stands for, before its scale. */
struct Meaning {
  const float* table;
  int mantissa;
};

template <int BITS, Book BOOK, int N>
inline void numbersOf(const uint8_t* low, const uint8_t* high, int64_t d, const Meaning& of, V (&out)[N]) {
  // A table of 16 numbers is looked up by 4 bits alone; one of fewer repeats itself.
  constexpr bool TABLE = BITS <= 4 && (BOOK == Book::LEVELS || (HS_TABLES && BOOK == Book::INTEGERS));
  I code[N];
  codesOf<BITS, TABLE && HS_TABLES && (BITS == 2 || BITS == 4)>(low, high, d, code);
  HS_UNROLL for (int r = 0; r < N; r++) {
    if (TABLE) out[r] = lookUp(of.table, code[r]);
    else if (BOOK == Book::INTEGERS) out[r] = toFloat(code[r]);
    else out[r] = fromHalves((code[r] >> (BITS - 1)) << 15 | (code[r] & ((1 << (BITS - 1)) - 1)) << (10 - of.mantissa));
  }
}

/** Calls f with bits and a book that are known when f is compiled. */
template <class F>
void withCodes(int bits, Book book, F f) {
  using std::integral_constant;
  const auto as = [&](auto B, auto K) { f(integral_constant<int, decltype(B)::value>(), integral_constant<Book, decltype(K)::value>()); };
  constexpr integral_constant<Book, Book::INTEGERS> integers{};
  constexpr integral_constant<Book, Book::LEVELS> levels{};
  constexpr integral_constant<Book, Book::FLOATS> floats{};
  constexpr integral_constant<int, 2> two{};
  constexpr integral_constant<int, 3> three{};
  constexpr integral_constant<int, 4> four{};
  constexpr integral_constant<int, 6> six{};
  constexpr integral_constant<int, 8> eight{};
  if (book == Book::LEVELS) return bits == 2 ? as(two, levels) : bits == 3 ? as(three, levels) : as(four, levels);
  if (book == Book::FLOATS) return bits == 4 ? as(four, floats) : bits == 6 ? as(six, floats) : as(eight, floats);
  switch (bits) {
    case 2: return as(two, integers);
    case 3: return as(three, integers);
    case 4: return as(four, integers);
    case 6: return as(six, integers);
    default: return as(eight, integers);
  }
}

/** Numbers that are no codes, in half precision or float32. */
inline V numbersAt(const uint8_t* from, bool inHalves, int64_t index) { return inHalves ? halves(from + 2 * index) : load(from + 4 * index); }
inline float numberAt(const uint8_t* from, bool inHalves, int64_t index) {
  if (inHalves) return half(from + 2 * index);
  float out;
  memcpy(&out, from + 4 * index, 4);
  return out;
}

/** Puts one there. @return it as it is held */
float hold(uint8_t* to, bool inHalves, int64_t index, float x) {
  if (!inHalves) memcpy(to + 4 * index, &x, 4);
  else {
    const uint16_t h = toHalf(std::min(std::max(x, -65504.f), 65504.f));
    memcpy(to + 2 * index, &h, 2);
    x = half(&h);
  }
  return x;
}

/** A positive number of FLOATS. */
float floatOf(const Coding& c, int code) {
  const int exponent = code >> c.mantissa, rest = code & ((1 << c.mantissa) - 1);
  if (exponent == 0) return std::ldexp(float(rest), 1 - c.bias - c.mantissa);
  return std::ldexp(float(rest + (1 << c.mantissa)), exponent - c.bias - c.mantissa);
}

/** The code of the number next to x: of two as near the even one, beyond the largest the largest. */
int floatCode(const Coding& c, float largest, float x) {
  const int sign = x < 0 ? 1 << (c.bits - 1) : 0;
  const float size = std::fabs(x);
  if (size >= largest) return sign | c.largest;
  const int exponent = std::max(size > 0 ? std::ilogb(size) : INT32_MIN, 1 - c.bias);
  return sign | (((exponent + c.bias - 1) << c.mantissa) + int(std::nearbyint(std::ldexp(size, c.mantissa - exponent))));
}

/** The level next to x: of two as near the lower. */
int levelOf(const float* levels, int count, float x) {
  int best = 0;
  for (int i = 1; i < count; i++)
    if (std::fabs(levels[i] - x) < std::fabs(levels[best] - x)) best = i;
  return best;
}

inline size_t line(size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }
inline int64_t up(int64_t n, int64_t step) { return (n + step - 1) / step; }

}  // namespace

Rotations& Rotations::get() {
  static Rotations* const rotations = new Rotations();
  return *rotations;
}

int32_t Rotations::add(Rotation rotation) {
  std::lock_guard<std::mutex> lock(mutex_);
  rotations_[++last_] = std::make_shared<const Rotation>(std::move(rotation));
  return last_;
}

std::shared_ptr<const Rotation> Rotations::find(int32_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = rotations_.find(number);
  return found == rotations_.end() ? nullptr : found->second;
}

bool Rotations::free(int32_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  return rotations_.erase(number) > 0;
}

std::string faultOf(const Coding& c, int64_t width, int64_t rows) {
  const auto say = [](const char* what, int64_t n) { return std::string(what) + " (" + std::to_string(n) + ")"; };
  const auto among = [&](std::initializer_list<int> list) { return std::find(list.begin(), list.end(), c.bits) != list.end(); };
  if (rows < TOGETHER || rows % TOGETHER != 0 || rows > UINT16_MAX) return say("a page of codes has no multiple of 8 rows", rows);
  if (width < 1 || width > MOST_WIDTH) return say("heads are from 1 to 1,024 wide", width);
  const bool known = c.book == Book::INTEGERS ? among({2, 3, 4, 6, 8}) : c.book == Book::LEVELS ? among({2, 3, 4}) : among({4, 6, 8});
  if (!known) return say("there are no such codes of so many bits", c.bits);
  if (c.book == Book::FLOATS) {
    const int exponent = c.bits - 1 - c.mantissa;
    if (c.mantissa < 1 || exponent < 1 || exponent > 5 || c.bias < 0 || c.bias > 15 || c.largest < 1 || c.largest >= 1 << (c.bits - 1))
      return say("there are no such floats", c.mantissa);
  }
  if (c.book == Book::LEVELS)
    for (const float* levels : c.levels)
      for (int i = 0; i < 1 << c.bits; i++)
        if (!std::isfinite(levels[i]) || (i > 0 && levels[i] < levels[i - 1])) return say("levels are not ascending numbers", i);
  if (c.keyGroup < 1 || rows % c.keyGroup != 0) return say("a page's rows are no multiple of the tokens of a group", c.keyGroup);
  if (c.valueGroup < 1) return say("groups of channels have at least one", c.valueGroup);
  const int64_t leastKeys = c.keyGroup - (c.firstRows > 0 ? c.firstRows : 0), leastValues = width % c.valueGroup ? width % c.valueGroup : c.valueGroup;
  if (c.firstRows < 0 || c.firstRows > c.keyGroup) return say("more first rows than a group has tokens", c.firstRows);
  if (c.keyOutliers < 0 || c.valueOutliers < 0 || (c.keyOutliers > 0 && c.keyOutliers > (leastKeys - 1) / 2) ||
      (c.valueOutliers > 0 && c.valueOutliers > (leastValues - 1) / 2))
    return say("more outliers than a group has numbers", std::max(c.keyOutliers, c.valueOutliers));
  if (c.rotation && (c.rotation->rotary > width)) return say("more numbers are turned than a head has", c.rotation->rotary);
  return "";
}

CodedRows::CodedRows(const Coding& coding, int64_t width, int64_t rows, const int32_t* positions, const float* keys, const float* values)
    : coding_(coding),
      width_(width),
      d_(cacheWidth(CacheKind::F32, width)),
      rows_(rows),
      long_(up(rows, LANE_BLOCK * TOGETHER) * LANE_BLOCK * TOGETHER),
      quick_(rows <= MOST_QUICK && !coding.rotation && coding.firstRows == 0 && coding.keyOutliers == 0 && coding.valueOutliers == 0 &&
             coding.keyGroup % LANE_BLOCK == 0 && (coding.valueGroup % LANE_BLOCK == 0 || coding.valueGroup >= d_)) {
  bytes_ = int64_t(arrange(nullptr));
  memory_ = std::calloc(size_t(bytes_) + LINE, 1);
  if (!memory_) throw std::bad_alloc();
  arrange(reinterpret_cast<uint8_t*>(line(reinterpret_cast<uintptr_t>(memory_))));
  for (int side = 0; side < 2; side++)
    for (int i = 0; i < MOST_LEVELS; i++)
      table_[side][i] = coding.book == Book::LEVELS ? coding.levels[side][i % (1 << coding.bits)] : float(i % (1 << std::min(coding.bits, 4)));
  std::vector<float> wide(size_t(rows * d_));
  const auto filled = [&](const float* x) {
    for (int64_t t = 0; t < rows; t++)
      std::transform(x + t * width, x + (t + 1) * width, wide.data() + t * d_, [](float n) { return std::isnan(n) ? 0 : n; });
  };
  filled(keys);
  for (int64_t t = 0; t < coding.firstRows; t++) std::copy(keys + t * width, keys + (t + 1) * width, keys_.first + t * d_);
  if (coding.rotation) {
    std::copy(positions, positions + rows, positions_);
    turn(wide.data(), 0, rows, true);
  }
  encode(keys_, true, wide.data());
  filled(values);
  for (int64_t t = 0; t < coding.firstRows; t++) std::copy(values + t * width, values + (t + 1) * width, values_.first + t * d_);
  encode(values_, false, wide.data());
}

CodedRows::~CodedRows() { std::free(memory_); }

/** Divides memory among the parts. @param memory null: only counted @return bytes */
size_t CodedRows::arrange(uint8_t* memory) {
  size_t at = 0;
  const auto take = [&](size_t bytes) {
    uint8_t* here = memory ? memory + at : nullptr;
    at += line(bytes);
    return bytes ? here : nullptr;
  };
  const size_t number = coding_.halves ? 2 : 4;
  for (const bool isKey : {true, false}) {
    Side& side = isKey ? keys_ : values_;
    const int low = lowBits(coding_.bits);
    side.groups = isKey ? rows_ / coding_.keyGroup : up(width_, coding_.valueGroup);
    side.vectors = side.groups * (isKey ? width_ : rows_);
    side.outliersEach = isKey ? coding_.keyOutliers : coding_.valueOutliers;
    side.levels = coding_.levels[isKey ? 0 : 1];
    const int64_t numbers = (isKey ? long_ : rows_) * d_;
    side.low = take(size_t(numbers * low / 8));
    side.high = take(size_t(numbers * (coding_.bits - low) / 8));
    // A vector may be read from the last number on.
    const size_t scales = number * (size_t(side.groups) * size_t(isKey ? d_ : rows_) + LANE_BLOCK);
    side.scales = take(scales);
    side.least = take(coding_.book == Book::FLOATS ? 0 : scales);
    const size_t outliers = size_t(side.vectors) * size_t(2 * side.outliersEach);
    side.outlierPlaces = reinterpret_cast<uint16_t*>(take(2 * outliers));
    side.outliers = reinterpret_cast<float*>(take(4 * outliers));
    side.first = reinterpret_cast<float*>(take(4 * size_t(coding_.firstRows * d_)));
  }
  positions_ = reinterpret_cast<int32_t*>(take(coding_.rotation ? 4 * size_t(rows_) : 0));
  end_ = memory + at;
  return at;
}

/** Makes codes of [rows, d], vector by vector: the numbers that share a scale. */
void CodedRows::encode(const Side& side, bool isKey, const float* x) {
  const Coding& c = coding_;
  const int most = (1 << c.bits) - 1, low = lowBits(c.bits), high = c.bits - low;
  const float largestFloat = c.book == Book::FLOATS ? floatOf(c, c.largest) : 0;
  std::vector<int64_t> places;
  // A vector's codes lie `bits` above one another in bytes [vectors / vectors of a byte][lanes].
  const auto part = [&](uint8_t* bytes, int bits, int64_t vector, int64_t lane, int64_t lanes, int code) {
    const int64_t each = 8 / bits;
    bytes[vector / each * lanes + lane] |= uint8_t((code & ((1 << bits) - 1)) << (bits * (vector % each)));
  };
  const auto put = [&](int64_t at, int code) {
    const int64_t t = at / d_, i = at % d_;
    const int64_t vector = isKey ? i * (long_ / LANE_BLOCK) + t / LANE_BLOCK : t, lanes = isKey ? LANE_BLOCK : d_, lane = isKey ? t % LANE_BLOCK : i;
    part(side.low, low, vector, lane, lanes, code);
    if (high) part(side.high, high, vector, lane, lanes, code >> low);
  };
  for (int64_t v = 0; v < side.vectors; v++) {
    // The vector's numbers among x; the first rows are in none.
    places.clear();
    int64_t scale, index = 0;
    if (isKey) {
      const int64_t group = v / width_, channel = v % width_;
      scale = group * d_ + channel;
      for (int64_t t = std::max<int64_t>(group * c.keyGroup, c.firstRows); t < (group + 1) * c.keyGroup; t++) places.push_back(t * d_ + channel);
    } else {
      const int64_t group = v / rows_, row = v % rows_;
      scale = group * rows_ + row;
      if (row >= c.firstRows)
        for (int64_t i = group * c.valueGroup; i < std::min<int64_t>((group + 1) * c.valueGroup, width_); i++) places.push_back(row * d_ + i);
    }
    if (places.empty()) continue;
    if (side.outliersEach > 0) {
      const auto n = std::ptrdiff_t(side.outliersEach);
      const auto below = [&](int64_t a, int64_t b) { return x[a] != x[b] ? x[a] < x[b] : a < b; };
      std::nth_element(places.begin(), places.begin() + n, places.end(), below);
      std::nth_element(places.begin() + n, places.end() - n, places.end(), below);
      const auto keep = [&](int64_t at) {
        const int64_t entry = v * 2 * side.outliersEach + index++;
        side.outlierPlaces[entry] = uint16_t(isKey ? at / d_ : at % d_);
        side.outliers[entry] = x[at];
      };
      for (std::ptrdiff_t i = 0; i < n; i++) keep(places[size_t(i)]), keep(places[places.size() - 1 - size_t(i)]);
      places.erase(places.end() - n, places.end());
      places.erase(places.begin(), places.begin() + n);
    }
    float least = INFINITY, largest = -INFINITY;
    for (int64_t at : places) least = std::min(least, x[at]), largest = std::max(largest, x[at]);
    if (c.book == Book::FLOATS) {
      const float held = hold(side.scales, c.halves, scale, std::max(-least, largest) / largestFloat);
      for (int64_t at : places) put(at, held > 0 ? floatCode(c, largestFloat, x[at] / held) : 0);
      continue;
    }
    const bool integers = c.book == Book::INTEGERS;
    const float range = integers ? (largest - least) / float(most) : (largest - least) / 2;
    const float base = hold(side.least, c.halves, scale, integers ? least : (largest + least) / 2);
    const float held = hold(side.scales, c.halves, scale, range);
    for (int64_t at : places) {
      const float code = held > 0 && std::isfinite(held) ? (x[at] - base) / held : 0;
      if (!integers) put(at, levelOf(side.levels, most + 1, code));
      else put(at, code >= 0 ? int(std::min(std::nearbyint(code), float(most))) : 0);
    }
  }
}

void CodedRows::decode(int64_t from, int64_t count, float* keys, float* values) const {
  decodeKeys(from, count, keys);
  decodeValues(from, count, values);
}

void CodedRows::decodeKeys(int64_t from, int64_t count, float* out) const {
  const Coding& c = coding_;
  const int low = lowBits(c.bits), high = c.bits - low;
  const float by = c.book == Book::FLOATS ? std::ldexp(1.f, 15 - c.bias) : 1;
  const Meaning meaning{table_[0], c.mantissa};
  constexpr int64_t UNIT = LANE_BLOCK * TOGETHER;
  alignas(64) float turned[LANES][UNIT];  // LANES channels of some tokens
  withCodes(c.bits, c.book, [&](auto BITS, auto BOOK) {
    for (int64_t first = from / UNIT * UNIT; first < from + count; first += UNIT)
      for (int64_t i = 0; i < d_; i += LANES) {
        for (int64_t k = 0; k < LANES; k++) {
          const int64_t vector = ((i + k) * long_ + first) / LANE_BLOCK;
          for (int o = 0; o < LANE_BLOCK; o += LANES) {
            V x[TOGETHER];
            numbersOf<BITS(), BOOK()>(keys_.low + vector * LANE_BLOCK * low / 8 + o, high ? keys_.high + vector * LANE_BLOCK * high / 8 + o : nullptr, LANE_BLOCK, meaning, x);
            HS_UNROLL for (int b = 0; b < TOGETHER; b++) store(turned[k] + b * LANE_BLOCK + o, x[b]);
          }
        }
        for (int64_t t = std::max(first, from / LANES * LANES); t < std::min(first + UNIT, from + count); t += LANES) {
          V rows[LANES];
          HS_UNROLL for (int k = 0; k < LANES; k++) rows[k] = load(turned[k] + t - first);
          transpose(rows);
          V scale = {}, least = {};
          int64_t group = -1;
          for (int r = 0; r < LANES; r++) {
            if (t + r < from || t + r >= from + count) continue;
            if ((t + r) / c.keyGroup != group) {
              group = (t + r) / c.keyGroup;
              scale = numbersAt(keys_.scales, c.halves, group * d_ + i);
              if (BOOK() == Book::FLOATS) scale *= by;
              else least = numbersAt(keys_.least, c.halves, group * d_ + i);
            }
            store(out + (t + r - from) * d_ + i, rows[r] * scale + least);
          }
        }
      }
  });
  const int outliers = 2 * c.keyOutliers;
  if (outliers > 0)
    for (int64_t group = from / c.keyGroup; group <= (from + count - 1) / c.keyGroup; group++)
      for (int64_t v = group * width_; v < (group + 1) * width_; v++)
        for (int64_t e = v * outliers; e < (v + 1) * outliers; e++) {
          const int64_t t = keys_.outlierPlaces[e];
          if (t >= from && t < from + count) out[(t - from) * d_ + v % width_] = keys_.outliers[e];
        }
  if (c.rotation) turn(out, from, count, false);
  for (int64_t t = from; t < std::min<int64_t>(from + count, c.firstRows); t++)
    std::copy(keys_.first + t * d_, keys_.first + (t + 1) * d_, out + (t - from) * d_);
}

void CodedRows::decodeValues(int64_t from, int64_t count, float* out) const {
  const Coding& c = coding_;
  const int low = lowBits(c.bits), high = c.bits - low;
  const float by = c.book == Book::FLOATS ? std::ldexp(1.f, 15 - c.bias) : 1;
  const Meaning meaning{table_[1], c.mantissa};
  const bool alike = c.valueGroup % LANES == 0;  // one scale for all lanes of a vector
  withCodes(c.bits, c.book, [&](auto BITS, auto BOOK) {
    constexpr bool FLOATS = BOOK() == Book::FLOATS;
    for (int64_t t = from; t < from + count; t += TOGETHER) {
      const uint8_t *lows = values_.low + t * low / 8 * d_, *highs = high ? values_.high + t * high / 8 * d_ : nullptr;
      float* row = out + (t - from) * d_;
      float scales[LANE_BLOCK] = {}, leasts[LANE_BLOCK] = {};
      int64_t group = -1;
      const auto take = [&](int64_t wanted) {
        group = wanted;
        for (int r = 0; r < TOGETHER; r += LANES) {
          store(scales + r, numbersAt(values_.scales, c.halves, group * rows_ + t + r) * by);
          if (!FLOATS) store(leasts + r, numbersAt(values_.least, c.halves, group * rows_ + t + r));
        }
      };
      for (int64_t i = 0; i < d_; i += LANES) {
        V x[TOGETHER];
        numbersOf<BITS(), BOOK()>(lows + i, highs + i, d_, meaning, x);
        if (alike) {
          const int64_t wanted = std::min(i / c.valueGroup, values_.groups - 1);
          if (wanted != group) take(wanted);
          HS_UNROLL for (int r = 0; r < TOGETHER; r++) store(row + r * d_ + i, FLOATS ? x[r] * scales[r] : x[r] * scales[r] + leasts[r]);
          continue;
        }
        for (int r = 0; r < TOGETHER; r++) {
          V scale, least = {};
          for (int lane = 0; lane < LANES; lane++) {
            const int64_t at = std::min((i + lane) / c.valueGroup, values_.groups - 1) * rows_ + t + r;
            scale[lane] = numberAt(values_.scales, c.halves, at) * by;
            if (!FLOATS) least[lane] = numberAt(values_.least, c.halves, at);
          }
          store(row + r * d_ + i, x[r] * scale + least);
        }
      }
    }
  });
  const int outliers = 2 * c.valueOutliers;
  for (int64_t t = from; outliers > 0 && t < from + count; t++)
    for (int64_t group = 0; group < values_.groups; group++)
      for (int64_t e = (group * rows_ + t) * outliers; e < (group * rows_ + t + 1) * outliers; e++)
        if (t >= c.firstRows) out[(t - from) * d_ + values_.outlierPlaces[e]] = values_.outliers[e];
  for (int64_t t = from; t < std::min<int64_t>(from + count, c.firstRows); t++)
    std::copy(values_.first + t * d_, values_.first + (t + 1) * d_, out + (t - from) * d_);
}

namespace {

/** Calls f with a number of queries that is known when f is compiled. */
template <class F>
void withQueries(int count, F f) {
  switch (count) {
    case 1: return f(std::integral_constant<int, 1>());
    case 2: return f(std::integral_constant<int, 2>());
    case 3: return f(std::integral_constant<int, 3>());
    default: return f(std::integral_constant<int, CodedRows::MOST_QUERIES>());
  }
}

/** Memory of one thread, kept from page to page. */
float* scratchOf(size_t count) {
  thread_local std::vector<float> memory;
  if (memory.size() < count + 16) memory.resize(count + 16);
  return reinterpret_cast<float*>(line(reinterpret_cast<uintptr_t>(memory.data())));
}

/** The sizes of a page that is multiplied as it is, where they are the usual ones when this is compiled. @tparam USUAL 64 channels, groups of 32 tokens */
template <bool USUAL>
struct Sizes {
  int64_t width, group;
  int64_t d() const { return USUAL ? 64 : width; }
  int64_t blocks() const { return USUAL ? 2 : group; }  // of 16 tokens, in a group
};

/**
 * Products of the codes of keys and queries that are already multiplied by the scales.
 * @param low, high codes of the first channel @param rows bytes' worth of tokens of a channel
 * @param q [groups][R][d] @param base what the least numbers of a group come to [groups][R]
 */
template <int BITS, Book BOOK, int R, bool USUAL>
void scoreCodes(const uint8_t* low, const uint8_t* high, int64_t rows, Sizes<USUAL> sizes, const Meaning& meaning, const float* q, const float* base,
                float (*scores)[CodedRows::MOST_QUICK]) {
  constexpr int N = LANES == 16 ? TOGETHER : unitOf(BITS), L = lowBits(BITS), H = BITS - L;
  const int64_t d = sizes.d(), blocks = sizes.blocks(), lowStep = rows * L / 8, highStep = rows * H / 8;
  for (int first = 0; first < TOGETHER; first += N)
    for (int o = 0; o < LANE_BLOCK; o += LANES) {
      V sums[R][N] = {};
      const uint8_t *lows = low + first * LANE_BLOCK * L / 8 + o, *highs = high + first * LANE_BLOCK * H / 8 + o;
      for (int64_t i = 0; i < d; i++, lows += lowStep, highs += highStep) {
        V x[N];
        numbersOf<BITS, BOOK>(lows, highs, LANE_BLOCK, meaning, x);
        HS_UNROLL for (int n = 0; n < N; n++)
          HS_UNROLL for (int r = 0; r < R; r++) sums[r][n] += x[n] * q[((first + n) / blocks * R + r) * d + i];
      }
      HS_UNROLL for (int n = 0; n < N; n++)
        HS_UNROLL for (int r = 0; r < R; r++) store(scores[r] + (first + n) * LANE_BLOCK + o, sums[r][n] + base[(first + n) / blocks * R + r]);
    }
}

/**
 * Sums of the codes of values by weights that are already multiplied by the scales.
 * @param w [groups][R][MOST_QUICK] @param base what the least numbers come to [groups][R] @param group channels
 */
template <int BITS, Book BOOK, int R>
void gatherCodes(const uint8_t* low, const uint8_t* high, int64_t rows, int64_t d, int64_t group, const Meaning& meaning, const float* w, const float* base,
                 float* const* z) {
  constexpr int M = LANES == 16 ? 4 : 1, L = lowBits(BITS), H = BITS - L;
  const auto some = [&](int64_t i, auto COUNT) {
    constexpr int C = COUNT();
    V sums[R][C] = {};
    const float* own[C];
    for (int m = 0; m < C; m++) own[m] = w + (i + m * LANES) / group * R * CodedRows::MOST_QUICK;
    for (int64_t t = 0; t < rows; t += TOGETHER)
      HS_UNROLL for (int m = 0; m < C; m++) {
        V x[TOGETHER];
        numbersOf<BITS, BOOK>(low + t * L / 8 * d + i + m * LANES, high + t * H / 8 * d + i + m * LANES, d, meaning, x);
        HS_UNROLL for (int k = 0; k < TOGETHER; k++)
          HS_UNROLL for (int r = 0; r < R; r++) sums[r][m] += x[k] * own[m][r * CodedRows::MOST_QUICK + t + k];
      }
    HS_UNROLL for (int m = 0; m < C; m++)
      HS_UNROLL for (int r = 0; r < R; r++) store(z[r] + i + m * LANES, sums[r][m] + base[(i + m * LANES) / group * R + r]);
  };
  int64_t i = 0;
  for (; i + M * LANES <= d; i += M * LANES) some(i, std::integral_constant<int, M>());
  for (; i < d; i += LANES) some(i, std::integral_constant<int, 1>());
}

}  // namespace

void CodedRows::score(int count, const float* const* q, float (*scores)[MOST_QUICK]) const {
  const Coding& c = coding_;
  const float by = c.book == Book::FLOATS ? std::ldexp(1.f, 15 - c.bias) : 1;
  const int64_t all = up(long_, c.keyGroup);  // those behind the last row have codes of 0
  float *scaled = scratchOf(size_t(all * count * (d_ + 1))), *base = scaled + all * count * d_;
  for (int64_t g = 0; g < all; g++)
    for (int r = 0; r < count; r++) {
      V sums = {};
      for (int64_t i = 0; i < d_; i += LANES) {
        const V x = load(q[r] + i);
        store(scaled + (g * count + r) * d_ + i, g < keys_.groups ? x * numbersAt(keys_.scales, c.halves, g * d_ + i) * by : V{});
        if (g < keys_.groups && c.book != Book::FLOATS) sums += x * numbersAt(keys_.least, c.halves, g * d_ + i);
      }
      base[g * count + r] = sum(sums);
    }
  const Meaning meaning{table_[0], c.mantissa};
  withCodes(c.bits, c.book, [&](auto BITS, auto BOOK) {
    withQueries(count, [&](auto R) {
      if (d_ == 64 && c.keyGroup == 2 * LANE_BLOCK) scoreCodes<BITS(), BOOK(), R()>(keys_.low, keys_.high, long_, Sizes<true>{}, meaning, scaled, base, scores);
      else scoreCodes<BITS(), BOOK(), R()>(keys_.low, keys_.high, long_, Sizes<false>{d_, c.keyGroup / LANE_BLOCK}, meaning, scaled, base, scores);
    });
  });
}

void CodedRows::prefetch(bool keys) const {
  const uint8_t *from = keys ? keys_.low : values_.low, *to = keys ? values_.low : end_;
  for (; from < to; from += LINE) __builtin_prefetch(from);
}

void CodedRows::gather(int count, const float (*weights)[MOST_QUICK], float* const* z) const {
  const Coding& c = coding_;
  const float by = c.book == Book::FLOATS ? std::ldexp(1.f, 15 - c.bias) : 1;
  const int64_t groups = up(d_, c.valueGroup);  // of padding alone the last may be
  float *scaled = scratchOf(size_t(groups * count * (MOST_QUICK + 1))), *base = scaled + groups * count * MOST_QUICK;
  for (int64_t g = 0; g < groups; g++) {
    const int64_t own = std::min(g, values_.groups - 1);
    for (int r = 0; r < count; r++) {
      V sums = {};
      for (int64_t t = 0; t < rows_; t += LANES) {
        const V w = loadSome(weights[r] + t, rows_ - t);
        store(scaled + (g * count + r) * MOST_QUICK + t, w * numbersAt(values_.scales, c.halves, own * rows_ + t) * by);
        if (c.book != Book::FLOATS) sums += w * numbersAt(values_.least, c.halves, own * rows_ + t);
      }
      base[g * count + r] = sum(sums);
    }
  }
  const Meaning meaning{table_[1], c.mantissa};
  withCodes(c.bits, c.book, [&](auto BITS, auto BOOK) {
    withQueries(count, [&](auto R) { gatherCodes<BITS(), BOOK(), R()>(values_.low, values_.high, rows_, d_, c.valueGroup, meaning, scaled, base, z); });
  });
}

/** Turns keys by the angles of their positions, halves paired, or back: then also by the square of their length, which may not be 1. */
void CodedRows::turn(float* keys, int64_t from, int64_t count, bool back) const {
  const Rotation& rotation = *coding_.rotation;
  const int64_t half = rotation.rotary / 2;
  for (int64_t t = from; t < from + count; t++) {
    const float *cos = rotation.turns.data() + int64_t(positions_[t]) * rotation.rotary, *sin = cos + half;
    float* key = keys + (t - from) * d_;
    for (int64_t i = 0; i < half; i++) {
      const float a = key[i], b = key[half + i], s = back ? -sin[i] : sin[i], by = back ? 1 / (cos[i] * cos[i] + s * s) : 1;
      key[i] = (a * cos[i] - b * s) * by;
      key[half + i] = (b * cos[i] + a * s) * by;
    }
  }
}

}  // namespace hs
