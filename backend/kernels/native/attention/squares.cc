#include "squares.h"

#include <algorithm>
#include <cmath>

#include "../turned.h"
#include "pieces.h"

namespace hs {
namespace {

constexpr float SLACK = 8;  // by which scores may be above the maximum that they are taken from, in powers of 2

/** Rows of a square: keys and values in float32, and the numbers of the queries that the keys are multiplied with. */
struct Rows {
  int count, keyWidth;
  const float* q;  // [keyWidth, queries]
  const float *keys[SQUARE], *values[SQUARE];
  const int32_t* position;
};

/** SQUARE queries of a head, of one sequence, beside what is known of them so far; turned: a lane is a query. */
struct Queries {
  int64_t sequence, first, count, head;  // tokens first .. first + count - 1 of the sequence
  int32_t oldest, newest;                // positions
  alignas(64) int32_t position[SQUARE];  // -1 behind the last
  alignas(64) float most[SQUARE], sums[SQUARE];
  alignas(64) float weights[SQUARE * SQUARE];  // [rows, queries]
  std::vector<float> memory, wide, some;
  Decoded decoded;
  float *q, *z;  // [width, queries]
};

/** Adds R columns of weighted values, from `column` on. @param z [R, queries] @param by factors of what is there; null: 1 */
template <int R>
void gather(const Rows& rows, int column, const float* weights, const float* by, float* z) {
  for (int x = 0; x < VECTORS; x += WIDE) {
    V sums[R][WIDE];
    HS_UNROLL for (int r = 0; r < R; r++)
      HS_UNROLL for (int i = 0; i < WIDE; i++) {
        sums[r][i] = load(z + r * SQUARE + (x + i) * LANES);
        if (by) sums[r][i] *= load(by + (x + i) * LANES);
      }
    for (int t = 0; t < rows.count; t++) {
      const float* value = rows.values[t] + column;
      V lanes[WIDE];
      HS_UNROLL for (int i = 0; i < WIDE; i++) lanes[i] = load(weights + t * SQUARE + (x + i) * LANES);
      HS_UNROLL for (int r = 0; r < R; r++) {
        const V v = splat(value[r]);
        HS_UNROLL for (int i = 0; i < WIDE; i++) sums[r][i] += v * lanes[i];
      }
    }
    HS_UNROLL for (int r = 0; r < R; r++)
      HS_UNROLL for (int i = 0; i < WIDE; i++) store(z + r * SQUARE + (x + i) * LANES, sums[r][i]);
  }
}

/** The squares of a call, and what all of their queries share. */
class Squares {
 public:
  Squares(const AttentionCall& call, const Held& held, AttentionResult result)
      : c_(call), held_(held), result_(result), pieces_(cut(held, SQUARE, firsts_)), columns_(result.pattern ? patternColumns(call) : 0) {}

  void run(Team& team) const {
    const int64_t group = c_.heads / c_.kvHeads, lists = c_.sequences * c_.kvHeads, down = (c_.tokens + SQUARE - 1) / SQUARE;
    team.share(lists * group * down, 1, [&](int64_t from, int64_t to) {
      thread_local Queries queries;
      for (int64_t task = from; task < to; task++) {
        const int64_t block = down - 1 - task / (lists * group), list = task / group % lists;  // the longest first
        attend(queries, list, list % c_.kvHeads * group + task % group, block);
      }
    });
  }

 private:
  void attend(Queries& queries, int64_t list, int64_t head, int64_t block) const {
    take(queries, list / c_.kvHeads, head, block);
    std::vector<uint8_t> read;
    if (c_.blocks.heads > 0) read = squaresToRead(queries, block);
    const auto each = [&](auto f) {
      for (int64_t p = firsts_[list]; p < firsts_[list + 1]; p++)
        if (mayRead(queries, pieces_[p], read)) f(pieces_[p]);
    };
    each([&](const Piece& piece) { look(queries, piece, read); });
    finish(queries);
    if (result_.pattern)
      each([&](const Piece& piece) {
        if (piece.weight == 0) lookAgain(queries, piece, read);
      });
  }

  /** Queries, scaled, with nothing seen yet. */
  void take(Queries& q, int64_t sequence, int64_t head, int64_t block) const {
    q.sequence = sequence, q.head = head, q.first = block * SQUARE, q.count = std::min<int64_t>(SQUARE, c_.tokens - q.first);
    q.memory.resize(std::max<size_t>(q.memory.size(), 2 * c_.width * SQUARE + 64 / sizeof(float)));
    q.q = q.memory.data() + (64 - reinterpret_cast<uintptr_t>(q.memory.data()) % 64) % 64 / sizeof(float);
    q.z = q.q + c_.width * SQUARE;
    std::fill(q.q, q.z + c_.width * SQUARE, 0.f);
    std::fill(q.most, q.most + SQUARE, LEAST);
    std::fill(q.sums, q.sums + SQUARE, 0.f);
    std::fill(q.position, q.position + SQUARE, -1);
    q.oldest = INT32_MAX, q.newest = -1;
    const float scale = c_.cap > 0 ? c_.scale / c_.cap : c_.scale * LOG2_E;
    for (int64_t i = 0; i < q.count; i++) {
      const float* from = c_.q + rowOf(q, i) * c_.width;
      for (int64_t k = 0; k < c_.width; k++) q.q[k * SQUARE + i] = from[k] * scale;
      q.position[i] = c_.positions[sequence * c_.tokens + q.first + i];
      q.oldest = std::min(q.oldest, q.position[i]);
      q.newest = std::max(q.newest, q.position[i]);
    }
  }

  /** Row of a query in q, z and the pattern. */
  int64_t rowOf(const Queries& q, int64_t i) const { return (q.sequence * c_.tokens + q.first + i) * c_.heads + q.head; }
  const List& listOf(const Queries& q) const { return c_.lists[q.sequence * c_.kvHeads + q.head / (c_.heads / c_.kvHeads)]; }

  /** By squares of positions, whether these queries read them. */
  std::vector<uint8_t> squaresToRead(const Queries& q, int64_t block) const {
    const Blocks& b = c_.blocks;
    const uint8_t* row = b.read + ((b.heads > 1 ? q.head : 0) * b.down + block) * b.across;
    std::vector<uint8_t> read(row, row + b.across);
    std::fill(read.begin() + q.oldest / SQUARE, read.begin() + q.newest / SQUARE + 1, uint8_t(1));
    return read;
  }

  /** Says whether a query may see a row of a piece, as far as the piece's positions tell. */
  bool mayRead(const Queries& q, const Piece& piece, const std::vector<uint8_t>& read) const {
    const List& list = listOf(q);
    if (piece.weight > 0) return true;
    if (piece.oldest > q.newest) return false;
    if (list.local > 0 && piece.newest <= q.oldest - list.local) return false;
    if (list.window > 0 && piece.newest <= q.oldest - list.window && piece.oldest >= list.sink) return false;
    return read.empty() || anyRead(read, piece, true);
  }

  /** Says whether a square of positions that a piece may have rows of is read (or not). */
  static bool anyRead(const std::vector<uint8_t>& read, const Piece& piece, bool is) {
    const int64_t last = std::min<int64_t>(piece.newest / SQUARE, int64_t(read.size()) - 1);
    for (int64_t s = piece.oldest / SQUARE; s <= last; s++)
      if (bool(read[s]) == is) return true;
    return false;
  }

  /** Says whether every query sees every row of a piece. */
  bool allSeen(const Queries& q, const Piece& piece, const std::vector<uint8_t>& read) const {
    const List& list = listOf(q);
    if (piece.weight > 0) return true;
    if (piece.newest > q.oldest) return false;
    if (list.local > 0 && piece.oldest <= q.newest - list.local) return false;
    if (list.window > 0 && piece.oldest <= q.newest - list.window && piece.newest >= list.sink) return false;
    return read.empty() || !anyRead(read, piece, false);
  }

  /** The queries with some channels alone [channels, queries]. */
  static const float* someChannels(Queries& q, const std::vector<int32_t>& channels) {
    q.some.resize(channels.size() * SQUARE);
    for (size_t k = 0; k < channels.size(); k++) std::copy_n(q.q + channels[k] * SQUARE, SQUARE, q.some.data() + k * SQUARE);
    return q.some.data();
  }

  /** A piece's rows where they lie, or in float32. */
  Rows rowsOf(Queries& q, const Piece& piece, Places& places) const {
    const CacheKind kind = placesOf(held_, piece, places, q.decoded);
    const Page& page = pageOf(held_, piece);
    const int keyWidth = int(page.keyWidth());
    Rows rows{piece.count, keyWidth, page.channels.empty() ? q.q : someChannels(q, page.channels), {}, {}, places.position};
    if (kind == CacheKind::F32) {
      for (int t = 0; t < piece.count; t++) {
        rows.keys[t] = reinterpret_cast<const float*>(places.keys[t]);
        rows.values[t] = reinterpret_cast<const float*>(places.values[t]);
      }
      return rows;
    }
    q.wide.resize(std::max<size_t>(q.wide.size(), 2 * SQUARE * c_.width));
    float* to = q.wide.data();
    for (int t = 0; t < piece.count; t++, to += 2 * c_.width) {
      readCacheRow(kind, places.keys[t], keyWidth, to);
      readCacheRow(kind, places.values[t], int(c_.width), to + c_.width);
      rows.keys[t] = to, rows.values[t] = to + c_.width;
    }
    return rows;
  }

  /** Scores of a piece's rows, capped and masked, into the weights. @param most of each query, raised */
  void score(Queries& q, const Piece& piece, const Rows& rows, const std::vector<uint8_t>& read, V* most) const {
    const bool all = allSeen(q, piece, read), plain = all && c_.cap == 0 && piece.weight <= 1;
    const float more = piece.weight > 1 ? std::log2(float(piece.weight)) : 0;
    V unused[VECTORS];
    for (int t = 0; t < rows.count; t += TOGETHER)
      withCount(std::min(TOGETHER, rows.count - t),
                [&](auto R) { multiplyTurned<R()>(rows.keys + t, rows.q, rows.keyWidth, q.weights + t * SQUARE, plain ? most : unused); });
    if (plain) return;
    const List& list = listOf(q);
    for (int i = 0; i < VECTORS; i++) {
      const I at = loadInts(q.position + i * LANES);
      const I local = list.local > 0 ? at - list.local : I{} + INT32_MIN, window = list.window > 0 ? at - list.window : I{} + INT32_MIN;
      for (int t = 0; t < rows.count; t++) {
        float* here = q.weights + t * SQUARE + i * LANES;
        V s = load(here);
        if (c_.cap > 0) s = hyperbolicTangent(s) * (c_.cap * LOG2_E);
        s += more;
        if (!all) {
          const int32_t p = rows.position[t];
          const I key = I{} + p;
          I seen = (key <= at) & (key > local) & ((key > window) | (key < list.sink));
          if (!read.empty() && (size_t(p / SQUARE) >= read.size() || !read[p / SQUARE])) seen = I{};
          s = seen ? s : splat(-INFINITY);
        }
        store(here, s);
        most[i] = larger(most[i], s);
      }
    }
  }

  void look(Queries& q, const Piece& piece, const std::vector<uint8_t>& read) const {
    Places places;
    const Rows rows = rowsOf(q, piece, places);
    V most[VECTORS];
    for (int i = 0; i < VECTORS; i++) most[i] = splat(LEAST);
    score(q, piece, rows, read, most);
    // Weights are taken from a maximum that is raised only when scores are far above it, so that sums are seldom made smaller.
    I above = {};
    for (int i = 0; i < VECTORS; i++) above |= most[i] > load(q.most + i * LANES) + SLACK;
    bool raise = false;
    for (int i = 0; i < LANES; i++) raise |= above[i] != 0;
    alignas(64) float by[SQUARE];
    for (int i = 0; raise && i < VECTORS; i++) {
      const V old = load(q.most + i * LANES), now = larger(most[i], old), factor = powerOfTwo(old - now);
      store(by + i * LANES, factor);
      store(q.most + i * LANES, now);
      store(q.sums + i * LANES, load(q.sums + i * LANES) * factor);
    }
    for (int i = 0; i < VECTORS; i++) {
      const V from = load(q.most + i * LANES);
      V total = {};
      for (int t = 0; t < rows.count; t++) {
        float* here = q.weights + t * SQUARE + i * LANES;
        const V e = powerOfTwo(load(here) - from);
        store(here, e);
        total += e;
      }
      store(q.sums + i * LANES, load(q.sums + i * LANES) + total);
    }
    for (int x = 0; x < c_.width; x += TOGETHER)
      withCount(int(std::min<int64_t>(TOGETHER, c_.width - x)),
                [&](auto R) { gather<R()>(rows, x, q.weights, raise ? by : nullptr, q.z + x * SQUARE); });
  }

  /** Writes z; the sums become the factors of weights in the pattern. */
  void finish(Queries& q) const {
    for (int64_t i = 0; i < q.count; i++) {
      float by = 1;
      if (c_.sinks) {
        const float sink = c_.sinks[q.head] * LOG2_E, most = std::max(q.most[i], sink);
        by = std::exp2(q.most[i] - most);
        q.sums[i] = q.sums[i] * by + std::exp2(sink - most);
      }
      q.sums[i] = q.sums[i] == 0 ? 0 : by / q.sums[i];
      float* z = result_.z + rowOf(q, i) * c_.width;
      for (int64_t k = 0; k < c_.width; k++) z[k] = q.z[k * SQUARE + i] * q.sums[i];
    }
  }

  /** Adds the weights of a piece to the pattern. */
  void lookAgain(Queries& q, const Piece& piece, const std::vector<uint8_t>& read) const {
    Places places;
    const Rows rows = rowsOf(q, piece, places);
    V most[VECTORS];
    for (int i = 0; i < VECTORS; i++) most[i] = splat(LEAST);
    score(q, piece, rows, read, most);
    for (int t = 0; t < rows.count; t++)
      for (int i = 0; i < SQUARE; i += LANES) {
        float* here = q.weights + t * SQUARE + i;
        store(here, powerOfTwo(load(here) - load(q.most + i)) * load(q.sums + i));
      }
    for (int64_t i = 0; i < q.count; i++) {
      float* pattern = result_.pattern + rowOf(q, i) * columns_;
      for (int t = 0; t < rows.count; t++)
        if (rows.position[t] < columns_) pattern[rows.position[t]] += q.weights[t * SQUARE + i];
    }
  }

  const AttentionCall& c_;
  const Held& held_;
  const AttentionResult result_;
  std::vector<int64_t> firsts_;
  const std::vector<Piece> pieces_;
  const int64_t columns_;
};

}  // namespace

void attendSquares(Team& team, const AttentionCall& call, const Held& held, AttentionResult result) { Squares(call, held, result).run(team); }

}  // namespace hs
