// A team of threads for loops of a few microseconds, since TensorFlow's C API hands a kernel no thread pool. Helpers are optional: a
// loop ends when its pieces are done, not when every helper has come, so one that has lost its processor costs nothing unless
// it holds a piece. Who runs a piece changes nothing in it, so that results do not depend on the number of threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace hs {

class Team {
 public:
  /** The one team of this process. */
  static Team& get();
  /** The number of members when the team is first used; later calls change it, between two loops. @param size 1 or more */
  static void resize(int size);
  int size() const { return size_; }

  /** Whoever uses the team holds this. */
  std::unique_lock<std::mutex> lease() { return std::unique_lock<std::mutex>(lease_); }

  /** Runs f(from, to) over [0, count) in pieces of `step`. f may not throw. */
  template <class F>
  void share(int64_t count, int64_t step, F f) {
    step = std::max(step, (count + MOST_PIECES - 1) / MOST_PIECES);
    const int pieces = int((count + step - 1) / std::max<int64_t>(step, 1));
    if (size_ == 1 || pieces < 2) return f(int64_t(0), count);
    struct Bound {
      F* f;
      int64_t count, step;
    } bound{&f, count, step};
    run(pieces, &bound, [](void* b, int piece) {
      const Bound& of = *static_cast<Bound*>(b);
      (*of.f)(piece * of.step, std::min((piece + 1) * of.step, of.count));
    });
  }

  /** A step that gives every member several pieces. @param work multiplications of one; small loops are not shared */
  int64_t stepFor(int64_t count, int64_t work) const {
    if (size_ == 1 || count * work < LEAST_WORK) return std::max<int64_t>(count, 1);
    return std::max<int64_t>(1, count / (size_ * 6));
  }

 private:
  static constexpr int64_t MOST_PIECES = 4096, LEAST_WORK = 1 << 15;

  Team() = default;
  void grow(int size);
  void run(int pieces, void* bound, void (*call)(void*, int));
  bool work();
  void serve(int number);

  std::atomic<int> size_{1};
  int started_ = 1;
  std::mutex lease_, sleep_;
  std::condition_variable wake_;  // never destroyed, or the process could not end while a helper sleeps
  // Loop's number, next piece, pieces: one word, so that nobody takes a piece of another loop than it saw.
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<int> done_{0};
  alignas(64) std::atomic<int> sleeping_{0};
  void* bound_ = nullptr;
  void (*call_)(void*, int) = nullptr;
};

}  // namespace hs
