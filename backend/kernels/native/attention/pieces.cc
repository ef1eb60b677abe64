#include "pieces.h"

#include <algorithm>

namespace hs {

std::vector<Piece> cut(const Held& held, int32_t size, std::vector<int64_t>& firsts) {
  std::vector<Piece> pieces;
  for (size_t l = 0; l + 1 < held.firsts.size(); l++) {
    firsts.push_back(int64_t(pieces.size()));
    int32_t room = 0;
    for (int64_t r = held.firsts[l]; r < held.firsts[l + 1]; r++)
      for (int32_t skip = 0; skip < held.runs[r].count;) {
        if (room == 0) {
          pieces.push_back({int64_t(l), r, skip, 0, INT32_MAX, -1});
          room = size;
        }
        const int32_t now = std::min(room, held.runs[r].count - skip), position = held.runs[r].position + skip;
        Piece& piece = pieces.back();
        piece.count += now;
        piece.oldest = std::min(piece.oldest, position);
        piece.newest = std::max(piece.newest, position + now - 1);
        room -= now;
        skip += now;
      }
  }
  firsts.push_back(int64_t(pieces.size()));
  return pieces;
}

void placesOf(const Held& held, const Piece& piece, Places& places) {
  int64_t r = piece.run;
  int32_t skip = piece.skip;
  for (int32_t t = 0; t < piece.count; r++, skip = 0) {
    const Run& run = held.runs[r];
    const int32_t now = std::min(run.count - skip, piece.count - t);
    for (int32_t i = 0; i < now; i++) {
      places.position[t + i] = run.position + skip + i;
      places.keys[t + i] = run.keys + (skip + i) * held.rowBytes;
      places.values[t + i] = run.values + (skip + i) * held.rowBytes;
    }
    t += now;
  }
  const int padded = (piece.count + LANES - 1) / LANES * LANES;
  for (int t = piece.count; t < padded; t++) places.position[t] = INT32_MAX;
}

}  // namespace hs
