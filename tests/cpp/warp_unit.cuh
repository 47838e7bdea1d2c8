// Every function of core/warp.cuh at every width, and core/block.cuh at every block size: each
// result of each lane goes to a row of its own.
#include <wavejit/core/block.cuh>

namespace wavejit {

struct WarpParams {
  const int32_t* ints;
  const float* floats;
  int32_t* out_ints;  // [rows, lanes]
  float* out_floats;
  int64_t lanes;
  int32_t source;
};

template <int kPower>
inline constexpr int kLog2 = 1 + kLog2<kPower / 2>;
template <>
inline constexpr int kLog2<1> = 0;

struct Rows {
  const WarpParams& p;
  int64_t lane;
  int64_t ints = 0;
  int64_t floats = 0;

  __device__ __forceinline__ void put(int32_t value) {
    p.out_ints[ints++ * p.lanes + lane] = value;
  }
  __device__ __forceinline__ void put(float value) {
    p.out_floats[floats++ * p.lanes + lane] = value;
  }
};

// All pairs of powers of two up to 2^kBits, in the order (1, 1), (1, 2), ...
template <int kBits, int kIndex = 0>
__device__ __forceinline__ void reductions(Rows& rows, int32_t i, float f) {
  if constexpr (kIndex < (kBits + 1) * (kBits + 1)) {
    constexpr int kFrom = 1 << kIndex / (kBits + 1);
    constexpr int kTo = 1 << kIndex % (kBits + 1);
    rows.put(reduce_sum<kFrom, kTo>(i));
    rows.put(static_cast<int32_t>(reduce_max<kFrom, kTo>(static_cast<uint32_t>(i))));
    rows.put(reduce_min<kFrom, kTo>(i));
    rows.put(reduce_sum<kFrom, kTo>(f));
    rows.put(reduce_max<kFrom, kTo>(f));
    rows.put(reduce_min<kFrom, kTo>(f));
    reductions<kBits, kIndex + 1>(rows, i, f);
  }
}

// All widths up to 2^kBits.
template <int kBits, int kIndex = 0>
__device__ __forceinline__ void others(Rows& rows, int32_t i, float f, int source) {
  if constexpr (kIndex <= kBits) {
    constexpr int kWidth = 1 << kIndex;
    rows.put(inclusive_scan<Sum, kWidth>(i));
    rows.put(inclusive_scan<Max, kWidth>(i));
    rows.put(broadcast<kWidth>(i, source % kWidth));
    rows.put(count_lanes<kWidth>(i % 3 == 0));
    rows.put(count_lanes_below<kWidth>(i % 3 == 0));
    rows.put(static_cast<int32_t>(lane_in_group(kWidth)));
    const int64_t wide = int64_t{i} * 0x100000003;  // both halves count
    rows.put(static_cast<int32_t>(inclusive_scan<Sum, kWidth>(wide) >> 32));
    rows.put(static_cast<int32_t>(broadcast<kWidth>(wide, source % kWidth)));
    rows.put(static_cast<int32_t>(reduce_sum<kWidth>(wide) >> 32));
    rows.put(inclusive_scan<Sum, kWidth>(f));
    rows.put(inclusive_scan<Max, kWidth>(f));
    others<kBits, kIndex + 1>(rows, i, f, source);
  }
}

template <int kBits>
__device__ __forceinline__ void all_of(const WarpParams& p) {
  Rows rows{p, int64_t{block_x()} * block_dim_x() + thread_x()};
  const int32_t i = p.ints[rows.lane];
  const float f = p.floats[rows.lane];
  reductions<kBits>(rows, i, f);
  others<kBits>(rows, i, f, p.source);
}

extern "C" __global__ void __launch_bounds__(1024) in_groups(const WarpParams p) {
  all_of<kLog2<kGroupSize>>(p);
}

extern "C" __global__ void __launch_bounds__(1024) in_waves(const WarpParams p) {
  all_of<kLog2<arch::kWaveSize>>(p);
}

// Odd groups leave first; the others go on with shuffles of their own group, in the same wave.
extern "C" __global__ void __launch_bounds__(1024) odd_groups_leave(const WarpParams p) {
  if (thread_x() / kGroupSize % 2 == 1) return;
  all_of<kLog2<kGroupSize>>(p);
}

// Two scans after each other through the same shared memory, and both totals.
template <int kThreads>
__device__ __forceinline__ void scan_twice(const WarpParams& p) {
  __shared__ BlockScan<int32_t, kThreads> shared;
  Rows rows{p, int64_t{block_x()} * kThreads + thread_x()};
  const int32_t value = p.ints[rows.lane];
  int32_t total;
  rows.put(block_inclusive_scan<Sum>(value, 0, total, shared));
  rows.put(total);
  rows.put(block_inclusive_scan<Max>(value ^ 0x55, -2147483647 - 1, total, shared));
  rows.put(total);
  __shared__ BlockScan<int64_t, kThreads> wide;
  int64_t wide_total;
  const int64_t sum = block_inclusive_scan<Sum>(int64_t{value} << 24, int64_t{0}, wide_total, wide);
  rows.put(static_cast<int32_t>(sum >> 24));
  rows.put(static_cast<int32_t>(wide_total >> 24));
}

extern "C" __global__ void __launch_bounds__(32) scan_32(const WarpParams p) { scan_twice<32>(p); }
extern "C" __global__ void __launch_bounds__(64) scan_64(const WarpParams p) { scan_twice<64>(p); }
extern "C" __global__ void __launch_bounds__(96) scan_96(const WarpParams p) { scan_twice<96>(p); }
extern "C" __global__ void __launch_bounds__(512) scan_512(const WarpParams p) {
  scan_twice<512>(p);
}
extern "C" __global__ void __launch_bounds__(1024) scan_1024(const WarpParams p) {
  scan_twice<1024>(p);
}

}  // namespace wavejit

#if !defined(WAVEJIT_DEVICE_PASS)
#include <wavejit/host/arguments.h>
#include <wavejit/host/launch.h>

namespace wavejit {

struct WarpCall {
  WarpParams p{};
  host::Shape shape;

  // (ints, floats, out_ints, out_floats, block, source)
  explicit WarpCall(host::Arguments& arguments) {
    host::Size lanes{"lanes"}, rows{"rows"}, float_rows{"float rows"};
    p.ints = arguments.dense<int32_t>("ints", shape.device, 1, lanes);
    p.floats = arguments.dense<float>("floats", shape.device, 1, lanes);
    p.out_ints = arguments.dense<int32_t>("out_ints", shape.device, 1, rows, lanes);
    p.out_floats = arguments.dense<float>("out_floats", shape.device, 1, float_rows, lanes);
    shape.block = arguments.positive("block");
    p.source = static_cast<int32_t>(arguments.integer("source"));
    arguments.end();
    p.lanes = lanes.value;
    shape.grid = p.lanes / shape.block;
  }
};

inline void groups(host::Arguments& arguments) {
  const WarpCall call(arguments);
  launch(WAVEJIT_KERNEL(in_groups), call.shape, call.p);
}
inline void waves(host::Arguments& arguments) {
  const WarpCall call(arguments);
  launch(WAVEJIT_KERNEL(in_waves), call.shape, call.p);
}
inline void leave(host::Arguments& arguments) {
  const WarpCall call(arguments);
  launch(WAVEJIT_KERNEL(odd_groups_leave), call.shape, call.p);
}
inline void scan(host::Arguments& arguments) {
  const WarpCall call(arguments);
  switch (call.shape.block) {
    case 32: return launch(WAVEJIT_KERNEL(scan_32), call.shape, call.p);
    case 64: return launch(WAVEJIT_KERNEL(scan_64), call.shape, call.p);
    case 96: return launch(WAVEJIT_KERNEL(scan_96), call.shape, call.p);
    case 512: return launch(WAVEJIT_KERNEL(scan_512), call.shape, call.p);
    default: return launch(WAVEJIT_KERNEL(scan_1024), call.shape, call.p);
  }
}

}  // namespace wavejit
#endif
