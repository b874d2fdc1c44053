#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#if defined(_WIN32)
#include <process.h>
#define HEADSPLAT_GETPID _getpid
#else
#include <unistd.h>
#define HEADSPLAT_GETPID getpid
#endif

namespace headsplat {
namespace {

// Turns of waiting before a thread sleeps: about ten microseconds, which spans the gap between two phases of a render.
constexpr int kSpins = 2000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // Waits about as long; `yield` does nothing on most cores.
#else
  std::this_thread::yield();
#endif
}

class ThreadPool {
 public:
  using Job = std::function<void(int)>;

  // Runs `job` on the caller and on up to `helpers` workers; false when another caller holds the pool.
  bool run(int helpers, const Job& job) {
    std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    while (static_cast<int>(workers_.size()) < helpers) {
      int id = static_cast<int>(workers_.size());
      workers_.emplace_back([this, id, seen = generation_.load()] { work(id, seen); });
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      helpers_ = helpers;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    job(0);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = nullptr;
    }
    for (int turn = 0; running_.load(std::memory_order_acquire) > 0; turn++) {
      if (turn < kSpins) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
    return true;
  }

 private:
  void work(int id, uint64_t seen) {
    for (;;) {
      for (int turn = 0; turn < kSpins && generation_.load(std::memory_order_acquire) == seen; turn++) pause();
      const Job* job = nullptr;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load() != seen; });
        seen = generation_.load();
        if (job_ && id < helpers_) {
          job = job_;
          running_.fetch_add(1);
        }
      }
      if (job) {
        (*job)(id + 1);
        running_.fetch_sub(1, std::memory_order_release);
      }
    }
  }

  std::mutex owner_, mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> running_{0};
  const Job* job_ = nullptr;
  int helpers_ = 0;
};

// The pool of this process. It is never destroyed, because workers may be asleep in it when the process ends, and a
// forked child gets its own, because the parent's workers do not exist there.
ThreadPool& process_pool() {
  struct Owned {
    ThreadPool* pool;
    long process;
  };
  static std::mutex guard;
  static Owned owned{nullptr, 0};
  std::lock_guard<std::mutex> lock(guard);
  long process = HEADSPLAT_GETPID();
  if (!owned.pool || owned.process != process) owned = {new ThreadPool, process};
  return *owned.pool;
}

}  // namespace

void parallel_for(int count, int grain, int threads, const std::function<void(int, int, int)>& body) {
  int chunks = (count + grain - 1) / grain;
  std::atomic<int> next{0};
  auto take_chunks = [&](int worker) {
    for (int chunk = next.fetch_add(1); chunk < chunks; chunk = next.fetch_add(1)) {
      body(chunk * grain, std::min(count, (chunk + 1) * grain), worker);
    }
  };
  int helpers = std::min(threads, chunks) - 1;
  if (helpers < 1 || !process_pool().run(helpers, take_chunks)) take_chunks(0);
}

}  // namespace headsplat
