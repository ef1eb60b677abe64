// Vectors of the machine's own width in GCC's notation: 16 lanes with AVX-512, 8 with AVX2, 4 with SSE2 or NEON. (Wider than the
// machine's they would live in memory.) Intrinsics stand only where the compiler finds no good code, each with a fallback.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define HS_UNROLL _Pragma("GCC unroll 16")

namespace hs {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define HS_512 1
constexpr int LANES = 16;
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define HS_256 1
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

/** The instructions that this build uses, for people. */
inline const char* instructions() {
#if defined(HS_512) && defined(__AVX512VNNI__)
  return "AVX-512 with VNNI";
#elif defined(HS_512)
  return "AVX-512";
#elif defined(HS_256)
  return "AVX2";
#elif defined(__SSE2__)
  return "SSE2";
#elif defined(__ARM_NEON)
  return "NEON";
#else
  return "no vector instructions";
#endif
}

constexpr int WIDTH = 4 * LANES;
typedef float V __attribute__((vector_size(WIDTH)));
typedef int32_t I __attribute__((vector_size(WIDTH)));
typedef int8_t Bytes __attribute__((vector_size(LANES)));
typedef uint8_t Octets __attribute__((vector_size(LANES)));
typedef uint16_t Shorts __attribute__((vector_size(2 * LANES)));
typedef float LooseV __attribute__((vector_size(WIDTH), aligned(1), may_alias));
typedef int32_t LooseI __attribute__((vector_size(WIDTH), aligned(1), may_alias));

inline V load(const void* p) { return *reinterpret_cast<const LooseV*>(p); }
inline void store(float* p, V v) { *reinterpret_cast<LooseV*>(p) = v; }
inline I loadInts(const void* p) { return *reinterpret_cast<const LooseI*>(p); }
/** The first `count` lanes, the others 0. */
inline V loadSome(const float* p, int64_t count) {
  if (count >= LANES) return load(p);
  V v = {};
  memcpy(&v, p, 4 * size_t(count));
  return v;
}
/** A vector's first `count` lanes, the others 0. */
inline V first(V v, int count) {
  int32_t at[LANES];
  for (int i = 0; i < LANES; i++) at[i] = i;
  return loadInts(at) < count ? v : V{};
}
inline void storeSome(float* p, V v, int64_t count) {
  if (count >= LANES) store(p, v);
  else memcpy(p, &v, 4 * size_t(count));
}
/** A number in every lane. A sum with zeros would stay a sum in the compiled code, for it makes -0 a 0. */
inline V splat(float x) {
#if HS_512
  return (V)_mm512_set1_ps(x);
#elif HS_256
  return (V)_mm256_set1_ps(x);
#else
  return V{x, x, x, x};
#endif
}
inline V toFloat(I v) { return __builtin_convertvector(v, V); }

/** Turns a square of numbers round: lane c of v[r] becomes lane r of v[c]. */
inline void transpose(V (&v)[LANES]) {
#if HS_512
  constexpr I even = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}, odd = even + 8;
#elif HS_256
  constexpr I even = {0, 8, 1, 9, 2, 10, 3, 11}, odd = even + 4;
#else
  constexpr I even = {0, 4, 1, 5}, odd = even + 2;
#endif
  // Each round moves a bit of a number's place from its row to its lane and one the other way.
  HS_UNROLL for (int round = LANES; round > 1; round /= 2) {
    V w[LANES];
    HS_UNROLL for (int i = 0; i < LANES / 2; i++) {
      w[2 * i] = __builtin_shuffle(v[i], v[i + LANES / 2], even);
      w[2 * i + 1] = __builtin_shuffle(v[i], v[i + LANES / 2], odd);
    }
    HS_UNROLL for (int i = 0; i < LANES; i++) v[i] = w[i];
  }
}

/** The low 4 bits of each lane as a float. */
inline V nibble(I v) {
#if HS_512
  const V table = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};  // looked up by the low 4 bits
  return (V)_mm512_permutexvar_ps((__m512i)v, (__m512)table);
#else
  return toFloat(v & 15);
#endif
}

/** One number of half precision. */
inline float half(const void* p) {
  uint16_t h;
  memcpy(&h, p, 2);
#if HS_512 || HS_256
  return _cvtsh_ss(h);
#else
  uint32_t bits = uint32_t(h & 0x7fff) << 13;
  float f;  // a product moves the exponent, which also makes subnormals right
  memcpy(&f, &bits, 4);
  f *= 0x1p112f;
  if ((h & 0x7c00) == 0x7c00) {
    bits |= 0x7f800000;
    memcpy(&f, &bits, 4);
  }
  return h & 0x8000 ? -f : f;
#endif
}

/** As many numbers of half precision as there are lanes. */
inline V halves(const void* p) {
#if HS_512
  return (V)_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
#elif HS_256
  return (V)_mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
#else
  Shorts h;
  memcpy(&h, p, sizeof h);
  const I wide = __builtin_convertvector(h, I);
  const I most = (wide & 0x7c00) == 0x7c00;  // infinities and what is no number
  const I size = (I)((V)((wide & 0x7fff) << 13) * 0x1p112f);
  return (V)((most ? size | 0x7f800000 : size) | (wide & 0x8000) << 16);
#endif
}

/** To half precision, to nearest even. */
inline uint16_t toHalf(float f) {
  uint32_t bits, h;
  memcpy(&bits, &f, 4);
  const uint32_t sign = bits >> 16 & 0x8000;
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) h = 0x7e00;
  else if (bits >= 0x477ff000) h = 0x7c00;
  else if (bits < 0x38800000) {
    memcpy(&f, &bits, 4);
    f = f * 0x1p24f + 0x1p23f;  // counts units in the last place of subnormal halves
    memcpy(&h, &f, 4);
    h -= 0x4b000000;
  } else h = (bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13;
  return uint16_t(sign | h);
}

/** As many numbers as there are lanes, to half precision. */
inline void storeHalves(void* p, V v) {
#if HS_512
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif HS_256
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < LANES; i++) {
    const uint16_t h = toHalf(v[i]);
    memcpy(static_cast<uint8_t*>(p) + 2 * i, &h, 2);
  }
#endif
}

/** To the nearest whole numbers, of two equally near ones the even. @param x within 2^22 */
inline I rounded(V x) {
  const V magic = splat(12582912.f);  // 1.5 * 2^23
  return (I)(x + magic) - (I)magic;
}

/** The low bytes of each lane. */
inline void storeBytes(uint8_t* p, I v) {
  const Octets b = __builtin_convertvector(v, Octets);
  memcpy(p, &b, sizeof b);
}

/** One number of bfloat16. */
inline float brain(const void* p) {
  uint16_t h;
  memcpy(&h, p, 2);
  const uint32_t bits = uint32_t(h) << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

/** As many signed bytes as there are lanes. */
inline V bytes(const void* p) {
#if HS_512  // GCC 12 widens by detours
  return (V)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
#elif HS_256
  return (V)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
#else
  Bytes b;
  memcpy(&b, p, sizeof b);
  return toFloat(__builtin_convertvector(b, I));
#endif
}

/** As many unsigned bytes as there are lanes, as integers. */
inline I octets(const void* p) {
#if HS_512
  return (I)_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
#elif HS_256
  return (I)_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
#else
  Octets b;
  memcpy(&b, p, sizeof b);
  return __builtin_convertvector(b, I);
#endif
}

/** Sums of the lanes of four vectors, into out[0..3]. */
inline void sum4(const V* v, float* out) {
#if HS_512 || HS_256
  __m256 h[4];
  for (int i = 0; i < 4; i++)
#if HS_512
    h[i] = _mm256_add_ps(_mm512_castps512_ps256((__m512)v[i]), _mm512_extractf32x8_ps((__m512)v[i], 1));
#else
    h[i] = (__m256)v[i];
#endif
  const __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
#else
  for (int i = 0; i < 4; i++) out[i] = (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
#endif
}

inline float sum(V v) {
  const V four[4] = {v, V{}, V{}, V{}};
  float out[4];
  sum4(four, out);
  return out[0];
}

inline float largest(V v) {
#if HS_512
  return _mm512_reduce_max_ps((__m512)v);
#else
  float m = v[0];
  for (int i = 1; i < LANES; i++) m = v[i] > m ? v[i] : m;
  return m;
#endif
}

/** The larger of each lane; b where one is no number. */
inline V larger(V a, V b) {
#if HS_512
  return (V)_mm512_max_ps((__m512)a, (__m512)b);
#elif HS_256
  return (V)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

/** 2 to the x, about 1e-7 relative; 0 from -127 down. @param x at most 127 */
inline V powerOfTwo(V x) {
  const V magic = splat(12582912.f + 127);  // 1.5 * 2^23 and what an exponent is kept with: adding it rounds to an integer
  x = larger(splat(-127.f), x);
  const V shifted = x + magic;
  const V r = x - (shifted - magic);
  V p = splat(1.535336188e-4f);
  p = p * r + 1.339887440e-3f;
  p = p * r + 9.618437357e-3f;
  p = p * r + 5.550332471e-2f;
  p = p * r + 2.402264791e-1f;
  p = p * r + 6.931472028e-1f;
  p = p * r + 1.f;
  return p * (V)((I)shifted << 23);
}

/** e to the x, about 1e-7 relative; 0 below -87, that of 88 above. */
inline V exponential(V x) {
  const V magic = splat(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer
  const V low = splat(-87.f), high = splat(88.f);
  const I small = x < low;
  x = small ? low : x > high ? high : x;
  const V shifted = x * 1.44269504f + magic;
  const V n = shifted - magic;
  const V r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  const I power = (I)shifted - (I)magic + 127;
  const V e = p * (V)(power << 23);
  return small ? V{} : e;
}

/** The hyperbolic tangent, about 1e-7 absolute. */
inline V hyperbolicTangent(V x) {
  const V size = (V)((I)x & 0x7fffffff), square = x * x;
  const V series = x * (1.f + square * (-1.f / 3 + square * (2.f / 15 + square * (-17.f / 315 + square * (62.f / 2835)))));
  const V far = 1.f - 2.f / (exponential(size * 2.f) + 1.f);
  const V signedFar = (V)((I)far | ((I)x & int32_t(0x80000000)));
  return size < 0.25f ? series : signedFar;
}

/** The error function, about 2e-7 absolute: the rational function of Eigen and XLA, which is 1 from 4 on. */
inline V errorFunction(V x) {
  const V four = splat(4.f);
  x = x > four ? four : x < -four ? -four : x;
  const V s = x * x;
  V p = s * -2.72614225801306e-10f + 2.77068142495902e-08f;
  p = p * s - 2.10102402082508e-06f;
  p = p * s - 5.69250639462346e-05f;
  p = p * s - 7.34990630326855e-04f;
  p = p * s - 2.95459980854025e-03f;
  p = p * s - 1.60960333262415e-02f;
  V q = s * -1.45660718464996e-05f - 2.13374055278905e-04f;
  q = q * s - 1.68282697438203e-03f;
  q = q * s - 7.37332916720468e-03f;
  q = q * s - 1.42647390514189e-02f;
  return x * p / q;
}

/**
 * Adds to each lane the dot product of its 4 bytes and the 4 signed bytes of `x`.
 * @param w bytes from 0 to 15 where SIGNED is false, else from -128 to 127; then the caller starts from SIGNED_START times the sum of x
 */
template <bool SIGNED>
inline I dotBytes(I sum, I w, int32_t x) {
#if HS_512 && defined(__AVX512VNNI__)
  if (SIGNED) w ^= int32_t(0x80808080);
  return (I)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, _mm512_set1_epi32(x));
#elif HS_256
  const __m256i xs = _mm256_set1_epi32(x), ones = _mm256_set1_epi16(1);
  const __m256i a = SIGNED ? _mm256_abs_epi8((__m256i)w) : (__m256i)w;
  const __m256i b = SIGNED ? _mm256_sign_epi8(xs, (__m256i)w) : xs;
  return (I)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
#else
  for (int k = 0; k < 4; k++) sum += ((I)w << (24 - 8 * k) >> 24) * int32_t(int8_t(x >> 8 * k));
  return sum;
#endif
}
#if HS_512 && defined(__AVX512VNNI__)
constexpr int SIGNED_START = -128;
#else
constexpr int SIGNED_START = 0;
#endif

}  // namespace hs
