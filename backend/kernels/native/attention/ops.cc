#include "ops.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "../tables.h"

namespace hs {
namespace {

constexpr int64_t MOST_COLUMNS = 1 << 20;

/** keys and values [tokens, KV heads, width], layer, slots [layers, tokens, KV heads, 2] -> a number that says that they are written. */
struct CacheWrite {
  explicit CacheWrite(Attributes&) {}
  void compute(Call& c) {
    const Input keys = c.input(0, "keys", {-1, -1, -1}), values = c.input(1, "values", keys.dims);
    const Input layer = c.input(2, "layer", {}), slots = c.input(3, "slots", {-1, keys.dims[0], keys.dims[1], 2});
    const Slot* own = ofLayer<Slot>(c, slots, layer);
    int32_t* after = c.output<int32_t>(0, TF_INT32, {});
    if (!c.ok()) return;
    *after = 0;
    if (keys.count == 0) return;
    Team& team = Team::get();
    const auto lease = team.lease();
    const std::string fault = writeRows(team, {keys.dims[0], keys.dims[1], keys.dims[2], keys.as<float>(), values.as<float>(), own});
    c.check(fault.empty(), fault);
  }
};

/** spans [n, 4] -> keys and values [rows, width], one span after the other. */
struct CacheRead {
  explicit CacheRead(Attributes&) {}
  void compute(Call& c) {
    const Input spans = c.input(0, "spans", {-1, 4});
    if (!c.check(spans.dims[0] <= INT32_MAX, "too many spans")) return;
    const List all{0, int32_t(spans.dims[0]), 0, 0, 0};
    Held held;
    const std::string fault = held.find(&all, 1, spans.as<Span>(), spans.dims[0]);
    if (!c.check(fault.empty(), fault)) return;
    int64_t rows = 0;
    for (const Run& run : held.runs) rows += run.count;
    float* keys = c.output<float>(0, TF_FLOAT, {rows, held.width});
    float* values = c.output<float>(1, TF_FLOAT, {rows, held.width});
    if (!c.ok()) return;
    for (const Run& run : held.runs) {
      run.page->read(run.row, run.count, keys, values);
      keys += run.count * held.width, values += run.count * held.width;
    }
  }
};

/** q [queries, heads, width], positions [sequences, tokens], layer, lists [layers, sequences, KV heads, 5], spans [n, 4], sinks, blocks, after -> z, pattern. */
struct Attend {
  float scale, cap;
  bool wantsPattern;
  explicit Attend(Attributes& a) : scale(a.real("scale")), cap(a.real("cap")), wantsPattern(a.flag("with_pattern")) {}
  void compute(Call& c) {
    const Input q = c.input(0, "q", {-1, -1, -1}), positions = c.input(1, "positions", {-1, -1}), layer = c.input(2, "layer", {});
    const Input lists = c.input(3, "lists", {-1, -1, -1, 5}), spans = c.input(4, "spans", {-1, 4}), sinks = c.input(5, "sinks", {-1});
    const Input blocks = c.input(6, "blocks", {-1, -1, -1});
    const List* own = ofLayer<List>(c, lists, layer);
    if (!c.ok()) return;
    const int64_t heads = q.dims[1], width = q.dims[2];
    if (!c.check(lists.dims[1] == positions.dims[0] && q.dims[0] == positions.count, "queries, positions and lists are not of the same sequences"))
      return;
    if (!c.check(sinks.count == 0 || sinks.count == heads, "sinks are not one for every head")) return;
    const AttentionCall call{positions.dims[0], positions.dims[1],   heads, lists.dims[2],     width,          scale,
                             cap,               q.as<float>(),       positions.as<int32_t>(), own, spans.as<Span>(), spans.dims[0],
                             sinks.count ? sinks.as<float>() : nullptr,
                             {blocks.as<uint8_t>(), blocks.count ? blocks.dims[0] : 0, blocks.dims[1], blocks.dims[2]}};
    const bool none = call.sequences == 0;
    Held held;
    const std::string fault = none ? "" : faultOf(call, held);
    if (!c.check(fault.empty(), fault)) return;
    if (call.blocks.heads > 0 && !none) {
      const Blocks wanted = blocksOf(call);
      const bool fits = call.blocks.down == wanted.down && call.blocks.across == wanted.across;
      if (!c.check(fits && (blocks.dims[0] == 1 || blocks.dims[0] == heads),
                   "blocks are " + text(blocks.dims) + ", not " + text({heads, wanted.down, wanted.across}) + " or of 1 for all heads"))
        return;
    }
    float* z = c.output<float>(0, TF_FLOAT, q.dims);
    float* pattern = wantsPattern && !none ? patternOutput(c, 1, call) : (c.output<float>(1, TF_FLOAT, {0, 0, 0}), nullptr);
    if (!c.ok() || q.count == 0) return;
    Team& team = Team::get();
    const auto lease = team.lease();
    attend(team, call, held, {z, pattern});
  }
};

/** Whole numbers that a function of the library is given. @return false, with an error for JavaScript, where they are not that */
template <size_t N>
bool numbers(napi_env env, napi_callback_info info, int64_t (&out)[N]) {
  napi_value given[N];
  size_t count = N;
  napi_get_cb_info(env, info, &count, given, nullptr, nullptr);
  bool all = count >= N;
  for (size_t i = 0; all && i < N; i++) all = napi_get_value_int64(env, given[i], &out[i]) == napi_ok && out[i] >= 0 && out[i] <= INT32_MAX;
  if (!all) napi_throw_type_error(env, nullptr, "a page is made of whole numbers");
  return all;
}

napi_value numberOf(napi_env env, int64_t value) {
  napi_value out;
  napi_create_int64(env, value, &out);
  return out;
}

/** The number of a page that f makes, or an error for JavaScript. */
template <class F>
napi_value madePage(napi_env env, F f) {
  try {
    return numberOf(env, f());
  } catch (const std::bad_alloc&) {
    napi_throw_error(env, nullptr, "no memory for a page");
    return nullptr;
  }
}

/** copyPage(page, rows): -1 where there is no such page */
napi_value copyPage(napi_env env, napi_callback_info info) {
  int64_t given[2];
  if (!numbers(env, info, given)) return nullptr;
  if (given[1] < 1) {
    napi_throw_range_error(env, nullptr, "a page has rows");
    return nullptr;
  }
  return madePage(env, [&] { return Pages::get().copy(int32_t(given[0]), given[1]); });
}

/** copyRows(page, row, page, row, count): from the first page to the second */
napi_value copyRows(napi_env env, napi_callback_info info) {
  int64_t given[5];
  if (!numbers(env, info, given)) return nullptr;
  const std::string fault = Pages::get().copyRows(int32_t(given[0]), given[1], int32_t(given[2]), given[3], given[4]);
  if (!fault.empty()) napi_throw_range_error(env, nullptr, fault.c_str());
  return nullptr;
}

/** freePage(page): whether there was one */
napi_value freePage(napi_env env, napi_callback_info info) {
  int64_t given[1];
  if (!numbers(env, info, given)) return nullptr;
  napi_value out;
  napi_get_boolean(env, Pages::get().free(int32_t(given[0])), &out);
  return out;
}

/** readPage(page, row, count): bytes of rows of keys, then those of the values */
napi_value readPage(napi_env env, napi_callback_info info) {
  int64_t given[3];
  if (!numbers(env, info, given)) return nullptr;
  const auto page = Pages::Finder(Pages::get()).find(int32_t(given[0]));
  if (!page || page->coded || given[1] + given[2] > page->rows) {
    napi_throw_range_error(env, nullptr, "there are no such rows of a page");
    return nullptr;
  }
  const size_t keys = size_t(given[2] * page->keyBytes), values = size_t(given[2] * page->rowBytes);
  void* to = nullptr;
  napi_value out = nullptr;
  if (napi_create_buffer(env, keys + values, &to, &out) != napi_ok) return nullptr;
  if (values == 0) return out;
  memcpy(to, page->keys(given[1]), keys);
  memcpy(static_cast<uint8_t*>(to) + keys, page->values(given[1]), values);
  return out;
}

/** fillPage(page, row, bytes): puts rows as readPage gives them in the place of others */
napi_value fillPage(napi_env env, napi_callback_info info) {
  napi_value given[3];
  size_t count = 3, length = 0;
  int64_t number = -1, row = -1;
  void* from = nullptr;
  napi_get_cb_info(env, info, &count, given, nullptr, nullptr);
  const bool fits = count >= 3 && napi_get_value_int64(env, given[0], &number) == napi_ok && napi_get_value_int64(env, given[1], &row) == napi_ok &&
                    number >= 0 && number <= INT32_MAX && row >= 0 && row <= INT32_MAX && napi_get_buffer_info(env, given[2], &from, &length) == napi_ok;
  if (!fits) {
    napi_throw_type_error(env, nullptr, "a page is filled by its number and a row with bytes");
    return nullptr;
  }
  const auto page = Pages::Finder(Pages::get()).find(int32_t(number));
  const int64_t both = page && !page->coded ? page->keyBytes + page->rowBytes : 1;  // bytes of a row of keys and one of values
  if (!page || page->coded || int64_t(length) % both != 0 || row + int64_t(length) / both > page->rows) {
    napi_throw_range_error(env, nullptr, "the bytes are no whole rows that the page has");
    return nullptr;
  }
  const size_t keys = length / size_t(both) * size_t(page->keyBytes);
  if (length == 0) return nullptr;
  memcpy(page->keys(row), from, keys);
  memcpy(page->values(row), static_cast<const uint8_t*>(from) + keys, length - keys);
  return nullptr;
}

/** Numbers of a typed array that a function of the library is given. @return null, with an error for JavaScript, where it is not that */
template <class T>
const T* arrayOf(napi_env env, napi_value given, napi_typedarray_type wanted, size_t least, size_t& length) {
  napi_typedarray_type type;
  void* data = nullptr;
  bool isArray = false;
  napi_is_typedarray(env, given, &isArray);
  if (!isArray || napi_get_typedarray_info(env, given, &type, &length, &data, nullptr, nullptr) != napi_ok || type != wanted || length < least) {
    napi_throw_type_error(env, nullptr, "an array is not of the wanted numbers");
    return nullptr;
  }
  static const T none{};
  return length == 0 ? &none : static_cast<const T*>(data);
}

/** makePage(kind, width, rows, channels): of no channels the keys have all */
napi_value makePage(napi_env env, napi_callback_info info) {
  int64_t given[3];
  if (!numbers(env, info, given)) return nullptr;
  const int64_t kind = given[0], width = given[1], rows = given[2];
  if (kind >= CACHE_KINDS || width < 1 || width > MOST_WIDTH || rows < 1) {
    napi_throw_range_error(env, nullptr, "there is no such kind, width or number of rows");
    return nullptr;
  }
  napi_value all[4];
  size_t count = 4, length = 0;
  napi_get_cb_info(env, info, &count, all, nullptr, nullptr);
  const int32_t* channels = arrayOf<int32_t>(env, all[3], napi_int32_array, 0, length);
  if (!channels) return nullptr;
  for (size_t i = 0; i < length; i++)
    if (channels[i] < 0 || channels[i] >= width || (i > 0 && channels[i] <= channels[i - 1])) {
      napi_throw_range_error(env, nullptr, "channels are not ascending, or none of the head's");
      return nullptr;
    }
  std::vector<int32_t> some(channels, channels + (int64_t(length) == width ? 0 : length));
  return madePage(env, [&] { return Pages::get().make(CacheKind(kind), width, rows, std::move(some)); });
}

/** Places in the settings of a coding. */
enum : int { BITS, BOOK, MANTISSA, BIAS, LARGEST, KEY_GROUP, VALUE_GROUP, KEY_OUTLIERS, VALUE_OUTLIERS, FIRST_ROWS, HALVES, ROTATION, ALL_SETTINGS };

/** codePage(page, settings, levels of keys and values, positions): the number of a page of codes with the page's rows */
napi_value codePage(napi_env env, napi_callback_info info) {
  napi_value given[4];
  size_t count = 4, length = 0, levelCount = 0, positionCount = 0;
  int64_t number = -1;
  napi_get_cb_info(env, info, &count, given, nullptr, nullptr);
  if (count < 4 || napi_get_value_int64(env, given[0], &number) != napi_ok || number < 0 || number > INT32_MAX) {
    napi_throw_type_error(env, nullptr, "a page is named by a number");
    return nullptr;
  }
  const int32_t* s = arrayOf<int32_t>(env, given[1], napi_int32_array, ALL_SETTINGS, length);
  if (!s) return nullptr;
  Coding coding{s[BITS], Book(s[BOOK]), s[MANTISSA], s[BIAS], s[LARGEST], s[KEY_GROUP], s[VALUE_GROUP], s[KEY_OUTLIERS], s[VALUE_OUTLIERS],
                s[FIRST_ROWS], s[HALVES] != 0, {}, nullptr};
  const bool known = s[BITS] >= 1 && s[BITS] <= 8 && s[BOOK] >= 0 && s[BOOK] < BOOKS;
  const size_t levels = known && coding.book == Book::LEVELS ? size_t(1) << std::min(s[BITS], 4) : 0;
  const float* given2 = arrayOf<float>(env, given[2], napi_float32_array, 2 * levels, levelCount);
  if (!given2) return nullptr;
  for (size_t i = 0; i < levels; i++) coding.levels[0][i] = given2[i], coding.levels[1][i] = given2[levels + i];
  const auto page = Pages::Finder(Pages::get()).find(int32_t(number));
  if (s[ROTATION] >= 0) coding.rotation = Rotations::get().find(s[ROTATION]);
  const int32_t* positions = arrayOf<int32_t>(env, given[3], napi_int32_array, coding.rotation && page ? size_t(page->rows) : 0, positionCount);
  if (!positions) return nullptr;
  std::string fault = known ? "" : "there are no such codes";
  if (s[ROTATION] >= 0 && !coding.rotation) fault = "there is no such rotation";
  int32_t made = -1;
  try {
    if (fault.empty()) fault = Pages::get().code(int32_t(number), coding, positions, made);
  } catch (const std::bad_alloc&) {
    fault = "no memory for a page";
  }
  if (fault.empty()) return numberOf(env, made);
  napi_throw_range_error(env, nullptr, fault.c_str());
  return nullptr;
}

/** bytesOf(page): of one page; -1 where there is none */
napi_value bytesOf(napi_env env, napi_callback_info info) {
  int64_t given[1];
  if (!numbers(env, info, given)) return nullptr;
  const auto page = Pages::Finder(Pages::get()).find(int32_t(given[0]));
  return numberOf(env, page ? page->bytes() : -1);
}

/** makeRotation(rotary, turns): the number of a rotation, whose turns are cosines and sines [positions, 2, rotary / 2] */
napi_value makeRotation(napi_env env, napi_callback_info info) {
  napi_value given[2];
  size_t count = 2, length = 0;
  int64_t rotary = 0;
  napi_get_cb_info(env, info, &count, given, nullptr, nullptr);
  if (count < 2 || napi_get_value_int64(env, given[0], &rotary) != napi_ok || rotary < 2 || rotary > MOST_WIDTH || rotary % 2 != 0) {
    napi_throw_type_error(env, nullptr, "an even number of a head's numbers is turned");
    return nullptr;
  }
  const float* turns = arrayOf<float>(env, given[1], napi_float32_array, size_t(rotary), length);
  if (!turns) return nullptr;
  return madePage(env, [&] { return Rotations::get().add({rotary, int64_t(length) / rotary, {turns, turns + length}}); });
}

/** freeRotation(rotation): whether there was one */
napi_value freeRotation(napi_env env, napi_callback_info info) {
  int64_t given[1];
  if (!numbers(env, info, given)) return nullptr;
  napi_value out;
  napi_get_boolean(env, Rotations::get().free(int32_t(given[0])), &out);
  return out;
}

/** pageBytes() */
napi_value pageBytes(napi_env env, napi_callback_info) { return numberOf(env, Pages::get().bytes()); }

}  // namespace

float* patternOutput(Call& c, int number, const AttentionCall& call) {
  const int64_t tokens = call.sequences * call.tokens, columns = patternColumns(call);
  if (!c.check(columns <= MOST_COLUMNS, "a pattern has at most 1,048,576 columns, one for each position")) return nullptr;
  float* pattern = c.output<float>(number, TF_FLOAT, {tokens, call.heads, columns});
  if (pattern) std::fill(pattern, pattern + tokens * call.heads * columns, 0.f);
  return pattern;
}

void registerAttention(TF_Status* status) {
  registerOp<CacheWrite>(
      {"HsCacheWrite", {"keys: float", "values: float", "layer: int32", "slots: int32"}, {"after: int32"}, {}, someShape<3, 3, 0, 4>, true}, status);
  registerOp<CacheRead>({"HsCacheRead", {"spans: int32"}, {"keys: float", "values: float"}, {}, someShape<2>, true}, status);
  registerOp<Attend>({"HsAttend",
                      {"q: float", "positions: int32", "layer: int32", "lists: int32", "spans: int32", "sinks: float", "blocks: bool", "after: int32"},
                      {"z: float", "pattern: float"},
                      {"scale: float", "cap: float", "with_pattern: bool"},
                      firstShape<3, 2, 0, 4, 2, 1, 3>,
                      true},
                     status);
}

void addPages(napi_env env, napi_value exports) {
  const std::pair<const char*, napi_callback> calls[] = {
      {"makePage", makePage}, {"copyPage", copyPage}, {"copyRows", copyRows},         {"freePage", freePage},         {"readPage", readPage},
      {"fillPage", fillPage}, {"codePage", codePage}, {"makeRotation", makeRotation}, {"freeRotation", freeRotation}, {"bytesOf", bytesOf},
      {"pageBytes", pageBytes}};
  for (const auto& [name, call] : calls) {
    napi_value function;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, call, nullptr, &function);
    napi_set_named_property(env, exports, name, function);
  }
}

}  // namespace hs
