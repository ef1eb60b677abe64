#include "pieces.h"

#include <algorithm>

namespace hs {
namespace {

/** Calls f with each run of a piece, the first of its rows there and in the piece, and their number. */
template <class F>
void eachRun(const Held& held, const Piece& piece, F f) {
  int64_t r = piece.run;
  int32_t skip = piece.skip;
  for (int32_t t = 0; t < piece.count; r++, skip = 0) {
    const Run& run = held.runs[r];
    const int32_t now = std::min(run.count - skip, piece.count - t);
    f(run, skip, t, now);
    t += now;
  }
}

/** Rows of a page of codes that pieces of a size are cut by. */
int32_t codedSize(const Page& page, int32_t size) { return size == MOST_PIECE && page.coded->isQuick() ? MOST_PIECE : CODED_PIECE; }

/** Says that rows of two pages can be looked at together. */
bool alike(const Page& a, const Page& b) { return a.kind == b.kind && (&a == &b || a.channels == b.channels); }

}  // namespace

bool isQuick(const Held& held, const Piece& piece) {
  return piece.kind == CacheKind::CODED && held.runs[piece.run].page->coded->isQuick();
}

std::vector<Piece> cut(const Held& held, int32_t size, std::vector<int64_t>& firsts) {
  std::vector<Piece> pieces;
  for (size_t l = 0; l + 1 < held.firsts.size(); l++) {
    firsts.push_back(int64_t(pieces.size()));
    int32_t room = 0, lastRow = 0;  // of the piece at the end; 0 where none may be added to
    const Page* lastPage = nullptr;
    for (int64_t r = held.firsts[l]; r < held.firsts[l + 1]; r++) {
      const Run& run = held.runs[r];
      const int32_t weight = run.weight();
      const bool coded = run.page->coded != nullptr;
      for (int32_t skip = 0; skip < run.count;) {
        const int32_t row = run.row + skip;
        const int32_t step = coded ? codedSize(*run.page, size) : size;
        const bool follows = coded ? run.page == lastPage && row > lastRow && row / step == lastRow / step : room > 0;
        if (!follows || room == 0 || weight > 0 || !alike(*held.runs[pieces.back().run].page, *run.page)) {
          pieces.push_back({int64_t(l), r, skip, 0, INT32_MAX, -1, run.page->kind, weight});
          room = size;
        }
        if (coded) room = step - row % step;
        const int32_t now = std::min(room, run.count - skip), position = weight > 0 ? 0 : run.position + skip;
        Piece& piece = pieces.back();
        piece.count += now;
        piece.oldest = std::min(piece.oldest, position);
        piece.newest = std::max(piece.newest, position + now - 1);
        room = weight > 0 ? 0 : room - now;
        lastPage = run.page, lastRow = row + now - 1;
        skip += now;
      }
    }
  }
  firsts.push_back(int64_t(pieces.size()));
  return pieces;
}

void positionsOf(const Held& held, const Piece& piece, Places& places) {
  eachRun(held, piece, [&](const Run& run, int32_t skip, int32_t t, int32_t count) {
    for (int32_t i = 0; i < count; i++) places.position[t + i] = run.position + skip + i;
  });
  const int padded = (piece.count + LANES - 1) / LANES * LANES;
  for (int t = piece.count; t < padded; t++) places.position[t] = INT32_MAX;
}

int positionsByRow(const Held& held, const Piece& piece, Places& places) {
  std::fill(places.position, places.position + MOST_PIECE, INT32_MAX);
  eachRun(held, piece, [&](const Run& run, int32_t skip, int32_t, int32_t count) {
    for (int32_t i = 0; i < count; i++) places.position[run.row + skip + i] = run.position + skip + i;
  });
  return int(held.runs[piece.run].page->rows);
}

void inOrder(const Held& held, const Piece& piece, const float* from, float* to) {
  eachRun(held, piece, [&](const Run& run, int32_t skip, int32_t t, int32_t count) { std::copy_n(from + run.row + skip, count, to + t); });
}

CacheKind placesOf(const Held& held, const Piece& piece, Places& places, Decoded& decoded) {
  positionsOf(held, piece, places);
  if (piece.kind != CacheKind::CODED) {
    eachRun(held, piece, [&](const Run& run, int32_t skip, int32_t t, int32_t count) {
      for (int32_t i = 0; i < count; i++) {
        places.keys[t + i] = run.keys() + (skip + i) * run.page->keyBytes;
        places.values[t + i] = run.values() + (skip + i) * run.page->rowBytes;
      }
    });
    return piece.kind;
  }
  constexpr int32_t STEP = 8;
  int32_t first = INT32_MAX, last = 0;
  eachRun(held, piece, [&](const Run& run, int32_t skip, int32_t, int32_t count) {
    first = std::min(first, (run.row + skip) / STEP * STEP);
    last = std::max(last, run.row + skip + count);
  });
  const Page& page = *held.runs[piece.run].page;
  const int64_t d = page.coded->padded(), count = (last - first + STEP - 1) / STEP * STEP;
  float* keys = decoded.take(size_t(2 * count * d));
  page.coded->decode(first, count, keys, keys + count * d);
  eachRun(held, piece, [&](const Run& run, int32_t skip, int32_t t, int32_t now) {
    for (int32_t i = 0; i < now; i++) {
      const float* row = keys + (run.row + skip + i - first) * d;
      places.keys[t + i] = reinterpret_cast<const uint8_t*>(row);
      places.values[t + i] = reinterpret_cast<const uint8_t*>(row + count * d);
    }
  });
  return CacheKind::F32;
}

}  // namespace hs
