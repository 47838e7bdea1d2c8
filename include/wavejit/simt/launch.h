// Runs a grid: its blocks are spread over the cores this process may use, by threads that live no
// longer than the launch, so a process that forks between launches has nothing to lose.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include <wavejit/simt/collective.h>
#include <wavejit/simt/executor.h>
#include <wavejit/simt/float_mode.h>

namespace wavejit::simt {

struct LaunchError {
  char message[kMessageBytes];
  bool failed;
};

// Starting and joining threads takes some 20 us; this many lanes take 8 us in an empty kernel and
// 200 us in one that sums over a wave a few times.
inline constexpr uint64_t kInlineLanes = 1024;
inline constexpr unsigned kMaxThreads = 256;

// The lowest block of this thread's launch that failed; all bits set: none.
inline thread_local const uint64_t* failed_block_of_launch = nullptr;

// For a lane that waits for another block, on a thread of its own: whether none has failed.
inline bool launch_goes_on() {
  sched_yield();
  return __atomic_load_n(failed_block_of_launch, __ATOMIC_RELAXED) == ~uint64_t{0};
}

// One launch as its threads share it. Blocks are claimed in ascending order.
class Launch {
 public:
  Launch(const Job& job, LaunchError& error)
      : job_(job), error_(error), blocks_(volume(job.grid)) {}

  bool run() {
    const unsigned threads = thread_count();
    chunk_ = blocks_ / (threads * 16u);
    chunk_ = chunk_ < 1 ? 1 : chunk_ > 64 ? 64 : chunk_;
    pthread_t helpers[kMaxThreads];
    unsigned started = 0;
    // A thread that cannot be had is not an error: the others do its share.
    while (started + 1 < threads && pthread_create(&helpers[started], nullptr, help, this) == 0) {
      ++started;
    }
    work();
    for (unsigned i = 0; i < started; ++i) pthread_join(helpers[i], nullptr);
    return !error_.failed;
  }

 private:
  unsigned thread_count() const {
    if (blocks_ * volume(job_.dim) < kInlineLanes) return 1;
    cpu_set_t cpus;
    const bool known = sched_getaffinity(0, sizeof cpus, &cpus) == 0;
    uint64_t count = known ? static_cast<uint64_t>(CPU_COUNT(&cpus)) : kMaxThreads;
    if (count > blocks_) count = blocks_;
    return static_cast<unsigned>(count < kMaxThreads ? count : kMaxThreads);
  }

  static void* help(void* launch) {
    static_cast<Launch*>(launch)->work();
    return nullptr;
  }

  void work() {
    const DefaultFloatMode mode;
    failed_block_of_launch = &first_failed_;
    Executor executor(job_);
    if (!executor.ready()) {
      record(0, "no memory for the lanes' stacks or the block's shared memory");
      return;
    }
    for (;;) {
      const uint64_t begin = __atomic_fetch_add(&next_, chunk_, __ATOMIC_RELAXED);
      const uint64_t end = begin + chunk_ < blocks_ ? begin + chunk_ : blocks_;
      for (uint64_t block = begin; block < end; ++block) {
        // Blocks below a failed one still run: one of them may fail, and the lowest is reported.
        if (block > __atomic_load_n(&first_failed_, __ATOMIC_RELAXED)) return;
        const char* message = executor.run(block);
        if (message != nullptr) record(block, message);
      }
      if (end == blocks_) return;
    }
  }

  void record(uint64_t block, const char* message) {
    pthread_mutex_lock(&mutex_);
    if (block < first_failed_ || !error_.failed) {
      __atomic_store_n(&first_failed_, block, __ATOMIC_RELAXED);
      snprintf(error_.message, sizeof error_.message, "%s", message);
      error_.failed = true;
    }
    pthread_mutex_unlock(&mutex_);
  }

  const Job& job_;
  LaunchError& error_;
  const uint64_t blocks_;
  uint64_t chunk_ = 1;
  uint64_t next_ = 0;
  uint64_t first_failed_ = ~uint64_t{0};
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
};

// Calls entry(params) once per lane of the grid. False, with the message of the lowest block that
// failed, when lanes disagreed; memory that the kernel wrote is then unspecified.
inline bool launch(const char* kernel_name, void (*entry)(const void* params), const void* params,
                   Dim3 grid, Dim3 block, size_t dynamic_shared_bytes, LaunchError& error) {
  error.failed = false;
  error.message[0] = '\0';
  const bool fits = block.x <= kMaxLanes && block.y <= kMaxLanes && block.z <= kMaxLanes;
  if (!fits || volume(block) < 1 || volume(block) > kMaxLanes) {
    error.failed = true;
    snprintf(error.message, sizeof error.message,
             "kernel %s: a block of (%u,%u,%u) lanes; a block has 1 to %u lanes", kernel_name,
             block.x, block.y, block.z, kMaxLanes);
    return false;
  }
  if (volume(grid) == 0) return true;
  const Job job{kernel_name, entry, params, grid, block, dynamic_shared_bytes};
  return Launch(job, error).run();
}

}  // namespace wavejit::simt
