#include "format.h"

#include <algorithm>

#include "simd.h"

namespace hs {
namespace {

/** Place of a plain number in a tile, in bytes. */
int plainAt(const Format& f, int input, int lane) {
  if (f.bits == 32) return 4 * (TILE_ROWS * input + lane);
  return f.brain ? input / 2 * 64 + 4 * lane + input % 2 * 2 : 2 * (TILE_ROWS * input + lane);
}

/** Place of the byte with the code of an input. */
int codeAt(const Format& f, int input, int lane) {
  const int within = f.bits == 4 ? input % 16 : input;
  return f.head() + within / 4 * 64 + 4 * lane + within % 4;
}

int scaleAt(const Format& f, int block, int lane) { return f.scaleBytes() * (TILE_ROWS * block + lane); }

float scaleOf(const Format& f, const uint8_t* p) {
  if (f.halfScales) return half(p);
  float v;
  memcpy(&v, p, 4);
  return v;
}

float valueAt(const Format& f, const uint8_t* tile, int input, int lane) {
  if (f.block == 0) {
    const uint8_t* p = tile + plainAt(f, input, lane);
    float v;
    if (f.bits == 32) memcpy(&v, p, 4);
    else v = f.brain ? brain(p) : half(p);
    return v;
  }
  const int at = scaleAt(f, input / f.block, lane);
  const float scale = scaleOf(f, tile + at);
  const uint8_t byte = tile[codeAt(f, input, lane)];
  const int code = f.bits == 4 ? (input < 16 ? byte & 15 : byte >> 4) - f.zero : int(int8_t(byte));
  return f.minima ? code * scale + scaleOf(f, tile + f.scalesBytes() + at) : code * scale;
}

/** LANES rows of an input, from row `first` on, where they are plain numbers. */
V plainLanes(const Format& f, const uint8_t* tile, int input, int first) {
  if (f.bits == 32) return load(tile + plainAt(f, input, first));
  if (!f.brain) return halves(tile + plainAt(f, input, first));
  const I pair = loadInts(tile + plainAt(f, input & ~1, first));
  return (V)(input & 1 ? pair & int32_t(0xffff0000) : pair << 16);
}

/** The same where they are codes. */
V codeLanes(const Format& f, const uint8_t* tile, int input, int first) {
  const I codes = loadInts(tile + codeAt(f, input & ~3, first));
  const int byte = input % 4;
  const V code = f.bits == 8 ? toFloat(codes << (24 - 8 * byte) >> 24)
                             : nibble(codes >> (8 * byte + (input < 16 ? 0 : 4))) - float(f.zero);
  const uint8_t* scales = tile + scaleAt(f, input / f.block, first);
  const V scale = f.halfScales ? halves(scales) : load(scales);
  if (!f.minima) return code * scale;
  return code * scale + (f.halfScales ? halves(scales + f.scalesBytes()) : load(scales + f.scalesBytes()));
}

/** Writes a scale or a minimum. @return whether it is kept as it is */
bool writeScale(const Format& f, float value, uint8_t* to) {
  if (!f.halfScales) {
    memcpy(to, &value, 4);
    return true;
  }
  const uint16_t h = toHalf(value);
  memcpy(to, &h, 2);
  return half(&h) == value;
}

void packPlain(const Packed& m, const uint8_t* row, int lane, uint8_t* tiles) {
  const Format& f = *m.format;
  const int bytes = f.bits / 8;
  for (int64_t i = 0; i < m.width; i++)
    memcpy(tiles + i / TILE_INPUTS * f.tileBytes() + plainAt(f, int(i % TILE_INPUTS), lane), row + bytes * i, bytes);
}

/** Q4_0, Q4_1, Q8_0: a scale, a minimum, then 16 bytes of pairs or 32 codes. */
void packBlocks(const Packed& m, const uint8_t* row, int lane, uint8_t* tiles) {
  const Format& f = *m.format;
  const int codes = 32 * f.bits / 8;
  for (int64_t b = 0; b < m.blocks(); b++, tiles += f.tileBytes()) {
    memcpy(tiles + 2 * lane, row, 2);
    row += 2;
    if (f.minima) {
      memcpy(tiles + f.scalesBytes() + 2 * lane, row, 2);
      row += 2;
    }
    for (int i = 0; i < codes; i += 4) memcpy(tiles + codeAt(f, i, lane), row + i, 4);
    row += codes;
  }
}

}  // namespace

int64_t fileRowBytes(const Format& f, int64_t width) {
  if (f.rows) return 0;
  if (f.block == 0) return width * f.bits / 8;
  if (f.block != 32 || !f.halfScales || width % 32 != 0 || (f.bits == 8 && f.minima)) return 0;
  return width / 32 * (f.minima ? 4 : 2) + width * f.bits / 8;
}

void packFile(const Packed& m, const uint8_t* file, int64_t from, int64_t to, uint8_t* out) {
  const int64_t rowBytes = fileRowBytes(*m.format, m.width);
  std::fill(out + from * m.rowBytes(), out + to * m.rowBytes(), uint8_t(0));
  for (int64_t r = from * TILE_ROWS; r < std::min(to * TILE_ROWS, m.rows); r++) {
    uint8_t* tiles = out + r / TILE_ROWS * m.rowBytes();
    const auto pack = m.format->block == 0 ? packPlain : packBlocks;
    pack(m, file + r * rowBytes, int(r % TILE_ROWS), tiles);
  }
}

bool packCodes(const Packed& m, const Codes& c, int64_t from, int64_t to, uint8_t* out) {
  const Format& f = *m.format;
  const int64_t perRow = m.width / f.block;
  bool kept = true;
  std::fill(out + from * m.rowBytes(), out + to * m.rowBytes(), uint8_t(0));
  for (int64_t r = from * TILE_ROWS; r < std::min(to * TILE_ROWS, m.rows); r++) {
    const int lane = int(r % TILE_ROWS);
    for (int64_t b = 0; b < m.blocks(); b++) {
      uint8_t* tile = out + r / TILE_ROWS * m.rowBytes() + b * f.tileBytes();
      for (int s = 0; s < f.blocks(); s++) {
        const int64_t at = r * perRow + b * f.blocks() + s;
        kept &= writeScale(f, c.scales[at], tile + scaleAt(f, s, lane));
        if (f.minima) kept &= writeScale(f, c.minima[at], tile + f.scalesBytes() + scaleAt(f, s, lane));
      }
      const uint8_t* code = c.codes + r * m.width + b * TILE_INPUTS;
      for (int i = 0; i < TILE_INPUTS; i++) {
        uint8_t& byte = tile[codeAt(f, i, lane)];
        if (f.bits == 8) byte = uint8_t(code[i] - c.zero);
        else byte = uint8_t(i < 16 ? (code[i] & 15) : (byte | code[i] << 4));
      }
    }
  }
  return kept;
}

void unpackTile(const Packed& m, int64_t t, float* out) {
  if (m.format->rows) {
    memcpy(out + t * TILE_ROWS * m.width, m.tile(t), size_t(std::min(m.rowBytes(), m.bytes() - t * m.rowBytes())));
    return;
  }
  const Format& f = *m.format;
  const uint8_t* tile = m.tile(t);
  const int rows = int(std::min<int64_t>(TILE_ROWS, m.rows - t * TILE_ROWS));
  for (int64_t b = 0; b < m.blocks(); b++, tile += f.tileBytes())
    for (int from = 0; from < TILE_INPUTS && b * TILE_INPUTS + from < m.width; from += LANES)
      for (int first = 0; first < rows; first += LANES) {
        V square[LANES];
        HS_UNROLL for (int i = 0; i < LANES; i++)
          square[i] = f.block == 0 ? plainLanes(f, tile, from + i, first) : codeLanes(f, tile, from + i, first);
        transpose(square);
        const int64_t input = b * TILE_INPUTS + from;
        float* to = out + (t * TILE_ROWS + first) * m.width + input;
        for (int r = 0; r < std::min(LANES, rows - first); r++) storeSome(to + r * m.width, square[r], m.width - input);
      }
}

void unpackRow(const Packed& m, int64_t row, float* out) {
  if (m.format->rows) {
    memcpy(out, m.data + 4 * row * m.width, 4 * size_t(m.width));
    return;
  }
  const uint8_t* tiles = m.tile(row / TILE_ROWS);
  for (int64_t i = 0; i < m.width; i++)
    out[i] = valueAt(*m.format, tiles + i / TILE_INPUTS * m.format->tileBytes(), int(i % TILE_INPUTS), int(row % TILE_ROWS));
}

}  // namespace hs
