#include "attention.h"

#include <algorithm>
#include <cmath>

#include "pieces.h"
#include "squares.h"

namespace hs {
namespace {

constexpr int MOST_TOGETHER = LANES == 16 ? 4 : 3;  // query rows that share a look at a cached row, as many as the registers hold
constexpr int AHEAD = 4096;                         // bytes before its use that a key is asked for
constexpr int HEADER = 16;                          // floats before a partial's weighted values: maximum, sum

/** Memory of calls, kept from one to the next. */
struct Scratch {
  std::vector<float> queries, partials, weights;
};

/** What R query rows share in a piece. */
struct Look {
  const Piece* piece;
  const Places* places;
  int rows, d;
  int keyNumbers, keyBytes;  // of a key's row; numbers that are no whole vector are followed by others
  float cap;
  const List* list;
};

/** Scores of R query rows, scaled queries given. @param scores [R][PIECE] @tparam D width of heads that is compiled in, 0: any */
template <CacheKind K, int R, int D>
void score(const Look& look, const float* const* q, float (*scores)[PIECE]) {
  const int d = D ? D : look.keyNumbers, n = d / LANES, rowBytes = D ? int(cacheRowBytes(K, D)) : look.keyBytes;
  const int rest = D ? 0 : d % LANES;
  for (int t = 0; t < look.rows; t += 4) {
    V products[R][4];
    for (int j = 0; j < 4; j++) {
      const int at = std::min(t + j, look.rows - 1), ahead = std::min(at + AHEAD / rowBytes, look.rows - 1);
      const uint8_t *row = look.places->keys[at], *next = look.places->keys[ahead], *value = look.places->values[at];
      for (int o = 0; o < rowBytes; o += 64) {  // keys a little ahead, and the values of this row
        __builtin_prefetch(next + o);
        __builtin_prefetch(value + o);
      }
      V sums[R] = {};
      HS_UNROLL for (int i = 0; i < n; i++) {
        const V k = lanes<K>(row, d, i * LANES);
        HS_UNROLL for (int r = 0; r < R; r++) sums[r] += k * load(q[r] + i * LANES);
      }
      if (rest) {
        const V k = first(lanes<K>(row, d, n * LANES), rest);
        HS_UNROLL for (int r = 0; r < R; r++) sums[r] += k * load(q[r] + n * LANES);
      }
      HS_UNROLL for (int r = 0; r < R; r++) products[r][j] = sums[r];
    }
    HS_UNROLL for (int r = 0; r < R; r++) sum4(products[r], scores[r] + t);
  }
}

/** Caps and masks a row of scores and turns it into weights. A row that stands for n tokens scores ln n more. @param out maximum and sum */
void weigh(const Look& look, int32_t position, float* scores, float* out) {
  const int padded = (look.rows + LANES - 1) / LANES * LANES;
  const auto before = [&](int32_t reach) { return reach > 0 ? position - reach : INT32_MIN; };  // the last position out of reach
  const int32_t windowed = before(look.list->window), local = before(look.list->local), sink = look.list->sink;
  const V nothing = splat(-INFINITY);
  const int32_t oldest = look.piece->oldest;
  const int32_t weight = look.piece->weight;
  const float more = weight > 1 ? std::log(float(weight)) : 0;
  const bool all = weight == 0 && look.rows == padded && look.piece->count == look.rows && look.piece->newest <= position && oldest > local && oldest > windowed;
  V most = nothing;
  for (int t = 0; t < padded; t += LANES) {
    V s = load(scores + t);
    if (look.cap > 0) s = hyperbolicTangent(s * (1 / look.cap)) * look.cap;
    if (!all) {
      const I at = loadInts(look.places->position + t);
      const I seen = (at <= position) & (((at > local) & ((at > windowed) | (at < sink))) | (at < 0));
      s = seen ? s + more : nothing;
    }
    store(scores + t, s);
    most = s > most ? s : most;
  }
  out[0] = largest(most);
  const float from = std::max(out[0], -3e38f);  // a piece that nobody sees has weights of 0, not of what is no number
  V total = {};
  for (int t = 0; t < padded; t += LANES) {
    const V e = exponential(load(scores + t) - from);
    store(scores + t, e);
    total += e;
  }
  out[1] = sum(total);
}

/** M vectors of R rows' weighted values. */
template <CacheKind K, int R, int M, int D>
void gather(const Look& look, int first, const float (*weights)[PIECE], float* const* out) {
  const int d = D ? D : look.d;
  V z[R][M] = {};
  for (int t = 0; t < look.rows; t++) {
    const uint8_t* row = look.places->values[t];
    HS_UNROLL for (int i = 0; i < M; i++) {
      const V v = lanes<K>(row, d, (first + i) * LANES);
      HS_UNROLL for (int r = 0; r < R; r++) z[r][i] += v * weights[r][t];
    }
  }
  HS_UNROLL for (int r = 0; r < R; r++)
    HS_UNROLL for (int i = 0; i < M; i++) store(out[r] + HEADER + (first + i) * LANES, z[r][i]);
}

/** A piece for R query rows. @param out partials: maximum, sum, then weighted values from HEADER on @param weights [R][PIECE] */
template <CacheKind K, int R, int D>
void attendPiece(const Look& look, const float* const* q, const int32_t* positions, float* const* out, float (*weights)[PIECE]) {
  if (D && look.keyNumbers != D) score<K, R, 0>(look, q, weights);
  else score<K, R, D>(look, q, weights);
  for (int r = 0; r < R; r++) weigh(look, positions[r], weights[r], out[r]);
  const int n = (D ? D : look.d) / LANES;
  int first = 0;
  for (; first + 4 <= n; first += 4) gather<K, R, 4, D>(look, first, weights, out);
  for (; first + 2 <= n; first += 2) gather<K, R, 2, D>(look, first, weights, out);
  for (; first < n; first++) gather<K, R, 1, D>(look, first, weights, out);
}

template <CacheKind K, int D>
void attendSome(const Look& look, int count, const float* const* q, const int32_t* at, float* const* out, float (*w)[PIECE]) {
  switch (count) {
    case 1: return attendPiece<K, 1, D>(look, q, at, out, w);
    case 2: return attendPiece<K, 2, D>(look, q, at, out, w);
    case 3: return attendPiece<K, 3, D>(look, q, at, out, w);
    default: return attendPiece<K, MOST_TOGETHER, D>(look, q, at, out, w);
  }
}

template <CacheKind K>
void attendAny(const Look& look, int count, const float* const* q, const int32_t* at, float* const* out, float (*w)[PIECE]) {
  if (look.d == 64) attendSome<K, 64>(look, count, q, at, out, w);
  else attendSome<K, 0>(look, count, q, at, out, w);
}

/** A piece of a page whose codes are multiplied as they are. @param next page that is looked at after it; null: another kind, or none */
void attendCoded(const CodedRows& coded, const CodedRows* next, const Look& look, int count, const float* const* q, const int32_t* at, float* const* out,
                 float (*w)[PIECE]) {
  static_assert(PIECE == CodedRows::MOST_QUICK && MOST_TOGETHER <= CodedRows::MOST_QUERIES, "a page of codes is a piece");
  coded.prefetch(false);
  coded.score(count, q, w);
  if (next) next->prefetch(true);
  float* z[MOST_TOGETHER];
  for (int r = 0; r < count; r++) {
    weigh(look, at[r], w[r], out[r]);
    z[r] = out[r] + HEADER;
  }
  coded.gather(count, w, z);
}

/** Queries with a page's channels alone, one after the other, filled up with zeros to whole vectors and blocks of codes. */
void someChannels(const std::vector<int32_t>& channels, int count, const float** q, std::vector<float>& memory) {
  const size_t d = (channels.size() + CACHE_BLOCK - 1) / CACHE_BLOCK * CACHE_BLOCK;
  memory.assign(count * d, 0.f);
  for (int i = 0; i < count; i++) {
    float* to = memory.data() + i * d;
    for (size_t k = 0; k < channels.size(); k++) to[k] = q[i][channels[k]];
    q[i] = to;
  }
}

/** Joins the pieces of one query row. @param stride floats from one piece's partial to the next @param factors of each piece */
void join(const float* partials, size_t stride, int64_t pieces, const float* sink, int width, float* factors, float* z) {
  float most = sink ? *sink : -INFINITY, total = 0;
  for (int64_t p = 0; p < pieces; p++) most = std::max(most, partials[p * stride]);
  if (sink) total = std::exp(*sink - most);
  std::fill(z, z + width, 0.f);
  for (int64_t p = 0; p < pieces; p++) {
    const float* from = partials + p * stride;
    const float w = from[0] == -INFINITY ? 0 : std::exp(from[0] - most);
    factors[p] = w;
    if (w == 0) continue;
    total += w * from[1];
    for (int i = 0; i < width; i++) z[i] += w * from[HEADER + i];
  }
  const float by = total == 0 ? 0 : 1 / total;
  for (int i = 0; i < width; i++) z[i] *= by;
  for (int64_t p = 0; p < pieces; p++) factors[p] *= by;
}

}  // namespace

std::string faultOf(const AttentionCall& c, Held& held) {
  if (c.width < 1 || c.width > MOST_WIDTH) return wrong("heads are from 1 to 1,024 wide", c.width, MOST_WIDTH);
  if (c.tokens < 1) return wrong("no query tokens", c.sequences, c.tokens);
  if (c.kvHeads < 1 || c.heads % c.kvHeads != 0) return wrong("query heads are no multiple of the KV heads", c.heads, c.kvHeads);
  if (!(c.cap >= 0) || !std::isfinite(c.cap) || !std::isfinite(c.scale)) return "scale or cap is no number that can be used";
  for (int64_t i = 0; i < c.sequences * c.tokens; i++)
    if (c.positions[i] < 0 || c.positions[i] == INT32_MAX) return wrong("a query's position cannot be", i, c.positions[i]);
  const std::string fault = held.find(c.lists, c.sequences * c.kvHeads, c.spans, c.spanCount);
  if (!fault.empty()) return fault;
  if (held.width != 0 && held.width != c.width) return wrong("pages are not as wide as the heads", held.width, c.width);
  return "";
}

int64_t patternColumns(const AttentionCall& c) {
  int64_t last = -1;
  for (int64_t i = 0; i < c.sequences * c.tokens; i++) last = std::max<int64_t>(last, c.positions[i]);
  return last + 1;
}

Blocks blocksOf(const AttentionCall& c) {
  const auto squares = [](int64_t n) { return (n + SQUARE - 1) / SQUARE; };
  return {nullptr, 1, squares(c.tokens), squares(patternColumns(c))};
}

void attend(Team& team, const AttentionCall& c, const Held& held, AttentionResult result) {
  if (c.tokens > MOST_QUERIES || c.blocks.heads > 0) return attendSquares(team, c, held, result);
  static Scratch& scratch = *new Scratch();
  float *const z = result.z, *const pattern = result.pattern;
  const int d = int(std::max(held.padded, cacheWidth(CacheKind::F32, c.width)));
  const int64_t group = c.heads / c.kvHeads, perList = c.tokens * group;
  const size_t partial = size_t(d) + HEADER, stride = partial * perList;
  std::vector<int64_t> firsts;
  const std::vector<Piece> pieces = cut(held, PIECE, firsts);
  const int64_t queries = c.sequences * c.tokens * c.heads;
  scratch.queries.resize(std::max<size_t>(scratch.queries.size(), queries * d));
  for (int64_t i = 0; i < queries; i++) {
    float* q = scratch.queries.data() + i * d;
    for (int64_t k = 0; k < c.width; k++) q[k] = c.q[i * c.width + k] * c.scale;
    std::fill(q + c.width, q + d, 0.f);
  }
  scratch.partials.resize(std::max(scratch.partials.size(), pieces.size() * stride));
  if (pattern) scratch.weights.resize(std::max(scratch.weights.size(), pieces.size() * perList * PIECE));
  // Row r of a list's queries is token r / group, head r % group of the KV head's.
  const auto queryOf = [&](int64_t list, int64_t r) {
    const int64_t token = list / c.kvHeads * c.tokens + r / group;
    return token * c.heads + list % c.kvHeads * group + r % group;
  };

  team.share(int64_t(pieces.size()), team.stepFor(int64_t(pieces.size()), 2 * PIECE * d * perList), [&](int64_t from, int64_t to) {
    thread_local Decoded decoded;
    thread_local std::vector<float> some;
    Places places;
    alignas(64) float weights[MOST_TOGETHER][PIECE];
    for (int64_t p = from; p < to; p++) {
      const Piece& piece = pieces[p];
      const bool quick = isQuick(held, piece);
      const CacheKind kind = quick ? CacheKind::CODED : placesOf(held, piece, places, decoded);
      const int own = int(cacheWidth(kind, c.width)), rows = quick ? positionsByRow(held, piece, places) : piece.count;
      const Page& page = pageOf(held, piece);
      const bool whole = page.channels.empty();
      const int keyNumbers = whole ? own : int(channelWidth(kind, page.keyWidth()));
      const Look look{&piece, &places, rows, own, keyNumbers, int(cacheRowBytes(kind, keyNumbers)), c.cap, c.lists + piece.list};
      for (int64_t r = 0; r < perList; r += MOST_TOGETHER) {
        const int now = int(std::min<int64_t>(MOST_TOGETHER, perList - r));
        const float* q[MOST_TOGETHER];
        float* out[MOST_TOGETHER];
        int32_t at[MOST_TOGETHER];
        for (int i = 0; i < now; i++) {
          const int64_t query = queryOf(piece.list, r + i);
          q[i] = scratch.queries.data() + query * d;
          at[i] = c.positions[query / c.heads];
          out[i] = scratch.partials.data() + p * stride + (r + i) * partial;
        }
        if (!whole) someChannels(page.channels, now, q, some);
        const CodedRows* next = quick && p + 1 < to && isQuick(held, pieces[p + 1]) ? pageOf(held, pieces[p + 1]).coded.get() : nullptr;
        if (quick) attendCoded(*page.coded, next, look, now, q, at, out, weights);
        else withKind(kind, [&](auto K) { attendAny<K()>(look, now, q, at, out, weights); });
        for (int i = 0; pattern && i < now; i++) {
          float* kept = scratch.weights.data() + (p * perList + r + i) * PIECE;
          if (quick) inOrder(held, piece, weights[i], kept);
          else std::copy(weights[i], weights[i] + piece.count, kept);
        }
      }
    }
  });

  const int64_t columns = pattern ? patternColumns(c) : 0;
  std::vector<float> factors(pieces.size() + 1);
  for (int64_t l = 0; l < c.sequences * c.kvHeads; l++) {
    const int64_t first = firsts[l], count = firsts[l + 1] - first;
    for (int64_t r = 0; r < perList; r++) {
      const int64_t query = queryOf(l, r);
      const float* sink = c.sinks ? c.sinks + query % c.heads : nullptr;
      join(scratch.partials.data() + first * stride + r * partial, stride, count, sink, int(c.width), factors.data(), z + query * c.width);
      if (!pattern) continue;
      for (int64_t p = 0; p < count; p++) {
        if (pieces[first + p].weight > 0) continue;
        Places places;
        positionsOf(held, pieces[first + p], places);
        const float* weights = scratch.weights.data() + ((first + p) * perList + r) * PIECE;
        for (int32_t t = 0; t < pieces[first + p].count; t++)
          if (places.position[t] < columns) pattern[query * columns + places.position[t]] += factors[p] * weights[t];
      }
    }
  }
}

}  // namespace hs
