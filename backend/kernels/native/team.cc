#include "team.h"

#include <sched.h>

#include <system_error>
#include <thread>

namespace hs {
namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

constexpr int SPINS = 1500;  // some 50 us: longer than the gaps inside a token, shorter than a time slice

bool hasPiece(uint64_t state) { return (state >> 16 & 0xffff) < (state & 0xffff); }

}  // namespace

Team& Team::get() {
  static Team* const team = new Team();  // never destroyed: its threads sleep until the process ends
  return *team;
}

void Team::resize(int size) {
  Team& team = get();
  const auto lease = team.lease();
  team.grow(size);
}

/** Threads are never ended: those beyond the size sleep. A machine that gives no more threads has a smaller team. */
void Team::grow(int size) {
  size_ = std::min(size, started_);
  for (; started_ < size; started_++) {
    try {
      std::thread([this, number = started_] { serve(number); }).detach();
    } catch (const std::system_error&) {
      return;
    }
    size_ = started_ + 1;
  }
}

/** Takes pieces until none is left. @return whether there was one */
bool Team::work() {
  bool any = false;
  uint64_t state = state_.load(std::memory_order_acquire);
  while (hasPiece(state)) {
    if (!state_.compare_exchange_weak(state, state + (1 << 16), std::memory_order_acq_rel)) continue;
    // This piece is ours, so the loop cannot end, and what it runs stays, before `done_` counts it.
    call_(bound_, int(state >> 16 & 0xffff));
    done_.fetch_add(1, std::memory_order_release);
    any = true;
    state = state_.load(std::memory_order_acquire);
  }
  return any;
}

void Team::run(int pieces, void* bound, void (*call)(void*, int)) {
  bound_ = bound;
  call_ = call;
  done_.store(0, std::memory_order_relaxed);
  state_.store(((state_.load(std::memory_order_relaxed) >> 32) + 1) << 32 | uint64_t(pieces));
  if (sleeping_.load() > 0) {
    std::lock_guard<std::mutex> lock(sleep_);
    wake_.notify_all();
  }
  work();
  for (int i = 0; done_.load(std::memory_order_acquire) != pieces; i++)
    if (i < SPINS) pause();
    else sched_yield();  // a helper lost its processor in the middle of a piece: give it this one
}

void Team::serve(int number) {
  for (;;) {
    const bool mine = number < size_.load(std::memory_order_relaxed);
    bool any = mine && work();
    for (int i = 0; mine && !any && i < SPINS; i++) {
      pause();
      any = hasPiece(state_.load(std::memory_order_acquire));
    }
    if (any) continue;
    std::unique_lock<std::mutex> lock(sleep_);
    sleeping_++;
    wake_.wait(lock, [&] { return number < size_.load() && hasPiece(state_.load()); });
    sleeping_--;
  }
}

}  // namespace hs
