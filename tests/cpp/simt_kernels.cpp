// Correct kernels on the executor: collectives, barriers, lanes that leave early.
#include "simt_case.h"

namespace {

using namespace simt_case;

constexpr unsigned kBlockSizes[] = {1, 31, 32, 33, 63, 64, 96, 128, 1000, 1024};

struct Floats {
  float* out;
};
struct Words {
  uint64_t* out;
};

uint64_t words[1 << 17];
float floats[1 << 17];

template <template <int> class Check, int kWidth = kW>
void for_each_width() {
  Check<kWidth>::run();
  if constexpr (kWidth > 1) for_each_width<Check, kWidth / 2>();
}

// --- shuffle_xor ---------------------------------------------------------------------------------

float seed(unsigned i) { return 1.0f / static_cast<float>(i + 1); }

template <int kWidth>
void butterfly(const Floats p) {
  float v = seed(thread_index().x);
  for (int mask = kWidth / 2; mask > 0; mask /= 2) v += shuffle_xor<kWidth>(v, mask);
  p.out[thread_index().x] = v;
}

template <int kWidth>
struct Butterfly {
  static void run() {
    constexpr unsigned kLanes = 192;
    run_well<butterfly<kWidth>>(Floats{floats}, {1, 1, 1}, {kLanes, 1, 1});
    float now[kLanes], next[kLanes];
    for (unsigned i = 0; i < kLanes; ++i) now[i] = seed(i);
    for (unsigned mask = kWidth / 2; mask > 0; mask /= 2) {
      for (unsigned i = 0; i < kLanes; ++i) next[i] = now[i] + now[i ^ mask];
      memcpy(now, next, sizeof now);
    }
    expect(memcmp(now, floats, sizeof now) == 0, "a butterfly's sums", kWidth);
  }
};

// --- shuffle, shuffle_up -------------------------------------------------------------------------

struct Pair {
  uint8_t a, b;
};

template <int kWidth>
void gather(const Words p) {
  const unsigned i = thread_index().x;
  const int source = (static_cast<int>(i) * 7 + 3) & (kWidth - 1);
  const uint64_t wide = shuffle<kWidth>(uint64_t{i} << 40 | i, source);
  const float real = shuffle<kWidth>(static_cast<float>(i), source);
  const Pair pair = shuffle<kWidth>(Pair{static_cast<uint8_t>(i), 7}, source);
  const int8_t byte = shuffle<kWidth>(static_cast<int8_t>(-static_cast<int>(i)), source);
  p.out[i] = wide;
  p.out[i + 192] =
      static_cast<uint64_t>(real) << 32 | static_cast<uint8_t>(byte) << 16 | pair.a << 8 | pair.b;
}

template <int kWidth>
struct Gather {
  static void run() {
    run_well<gather<kWidth>>(Words{words}, {1, 1, 1}, {192, 1, 1});
    for (unsigned i = 0; i < 192; ++i) {
      const uint64_t from = (i & ~(kWidth - 1u)) + ((i * 7 + 3) & (kWidth - 1u));
      const uint64_t byte = static_cast<uint8_t>(-static_cast<int>(from));
      expect(words[i] == (from << 40 | from), "8 bytes", i);
      const uint64_t narrow = from << 32 | byte << 16 | (from & 255) << 8 | 7;
      expect(words[i + 192] == narrow, "4, 2, 1 bytes", i);
    }
  }
};

template <int kWidth>
void prefix_sum(const Words p) {
  uint64_t v = thread_index().x;
  const int position = lane_id() & (kWidth - 1);
  for (int delta = 1; delta < kWidth; delta *= 2) {
    const uint64_t below = shuffle_up<kWidth>(v, delta);
    if (position >= delta) {
      v += below;
    } else if (below != v) {
      v = ~uint64_t{0};  // a lane below delta keeps its value
    }
  }
  p.out[thread_index().x] = v;
}

template <int kWidth>
struct PrefixSum {
  static void run() {
    run_well<prefix_sum<kWidth>>(Words{words}, {1, 1, 1}, {192, 1, 1});
    uint64_t sum = 0;
    for (unsigned i = 0; i < 192; ++i) {
      sum = i % kWidth == 0 ? i : sum + i;
      expect(words[i] == sum, "a prefix sum", i);
    }
  }
};

// --- ballot --------------------------------------------------------------------------------------

bool votes(unsigned i) { return (i * 2654435761u >> 13) & 1; }

template <int kWidth>
void poll(const Words p) {
  const unsigned i = thread_index().x;
  const uint64_t first = ballot<kWidth>(votes(i));
  const uint64_t second = ballot<kWidth>(!votes(i));
  p.out[i] = first;
  p.out[i + 192] = second;
}

template <int kWidth>
struct Poll {
  static void run() {
    run_well<poll<kWidth>>(Words{words}, {1, 1, 1}, {192, 1, 1});
    for (unsigned i = 0; i < 192; ++i) {
      uint64_t expected = 0;
      for (unsigned k = 0; k < kWidth; ++k) {
        expected |= uint64_t{votes(i / kWidth * kWidth + k)} << k;
      }
      const uint64_t all = kWidth == 64 ? ~uint64_t{0} : (uint64_t{1} << (kWidth & 63)) - 1;
      expect(words[i] == expected, "votes", i);
      expect(words[i + 192] == (all & ~expected), "opposite votes", i);
    }
  }
};

// --- barriers and shared memory ------------------------------------------------------------------

// Rotates the lanes' values through the whole block, several times.
void rotate(const Words p) {
  static thread_local uint64_t shared[1024];
  const unsigned i = thread_index().x, n = block_dim().x;
  uint64_t v = i;
  for (int round = 0; round < 5; ++round) {
    shared[i] = v;
    sync_block();
    v = shared[(i + 37) % n];
    sync_block();
  }
  p.out[block_index().x * n + i] = v;
}

void barriers() {
  for (unsigned n : kBlockSizes) {
    run_well<rotate>(Words{words}, {20, 1, 1}, {n, 1, 1});
    for (unsigned i = 0; i < 20 * n; ++i) expect(words[i] == (i % n + 5 * 37) % n, "rotation", i);
  }
}

// Waves that have left do not count at a barrier.
void odd_waves_leave(const Words p) {
  static thread_local uint64_t shared[1024];
  const unsigned i = thread_index().x;
  if (i / kW % 2 == 1) return;
  shared[i] = i;
  sync_block();
  p.out[i] = shared[i ^ (2 * kW)];
}

void waves_leave() {
  run_well<odd_waves_leave>(Words{words}, {1, 1, 1}, {8 * kW, 1, 1});
  for (unsigned i = 0; i < 8 * kW; ++i) {
    if (i / kW % 2 == 0) expect(words[i] == (i ^ (2 * kW)), "after a barrier", i);
  }
}

// --- lanes that leave, groups apart --------------------------------------------------------------

struct Halves {
  uint64_t* out;
  bool upper_leaves;
};

// One half of the wave leaves, before or while the other waits; the other goes on by itself.
void half_leaves(const Halves p) {
  constexpr int kHalf = kW / 2;
  const bool upper = lane_id() >= kHalf;
  uint64_t v = thread_index().x;
  v = shuffle_xor<kHalf>(v, kHalf - 1);
  if (upper == p.upper_leaves) return;
  for (int mask = kHalf / 2; mask > 0; mask /= 2) v += shuffle_xor<kHalf>(v, mask);
  p.out[thread_index().x] = v << 32 | ballot<kHalf>(lane_id() % 3 == 0);
}

void half_wave() {
  for (bool upper_leaves : {false, true}) {
    memset(words, 0, sizeof words);
    run_well<half_leaves>(Halves{words, upper_leaves}, {1, 1, 1}, {3 * kW, 1, 1});
    for (unsigned i = 0; i < 3 * kW; ++i) {
      constexpr unsigned kHalf = kW / 2;
      const unsigned first = i / kHalf * kHalf;
      uint64_t sum = 0, vote = 0;
      for (unsigned k = 0; k < kHalf; ++k) {
        sum += first + k;
        vote |= uint64_t{(first + k) % kW % 3 == 0} << k;
      }
      const bool left = (i % kW >= kHalf) == upper_leaves;
      expect(words[i] == (left ? 0 : sum << 32 | vote), "the half that stays", i);
    }
  }
}

// Lanes leave one after the other while the rest votes.
void dwindle(const Words p) {
  uint64_t seen = 0;
  for (int round = 0; round <= lane_id(); ++round) seen = ballot<kW>(true);
  p.out[thread_index().x] = seen;
}

// The lanes that stay still exchange values among themselves.
void even_lanes(const Words p) {
  if (lane_id() % 2 == 1) return;
  p.out[thread_index().x] = shuffle_xor<kW>(thread_index().x, 2);
}

void lanes_leave() {
  for (unsigned n : kBlockSizes) {
    run_well<dwindle>(Words{words}, {1, 1, 1}, {n, 1, 1});
    for (unsigned i = 0; i < n; ++i) {
      const unsigned lane = i % kW, rest = n - i / kW * kW;
      const unsigned last = rest < kW ? rest : kW;  // lanes of this wave
      uint64_t expected = 0;
      for (unsigned k = lane; k < last; ++k) expected |= uint64_t{1} << k;
      expect(words[i] == expected, "votes of those who stay", i);
    }
  }
  run_well<even_lanes>(Words{words}, {1, 1, 1}, {2 * kW, 1, 1});
  for (unsigned i = 0; i < 2 * kW; i += 2) expect(words[i] == (i ^ 2), "even lanes", i);
}

// Groups of 8 lanes do different numbers of rounds, then the wave meets, again and again.
void run_ahead(const Words p) {
  const unsigned i = thread_index().x;
  uint64_t v = i, check = 0;
  for (unsigned turn = 0; turn < 4; ++turn) {
    for (unsigned round = 0; round < (i / 8 * 5 + turn) % 7; ++round) v = shuffle_xor<8>(v, 3) + 1;
    const uint64_t other = shuffle_xor<kW>(v, kW / 2);
    check = check * 31 + other;
    v = shuffle_xor<2>(v, 1);
  }
  p.out[i] = check;
}

void groups_apart() {
  constexpr unsigned kLanes = 2 * kW;
  run_well<run_ahead>(Words{words}, {1, 1, 1}, {kLanes, 1, 1});
  uint64_t v[kLanes], next[kLanes], check[kLanes] = {};
  for (unsigned i = 0; i < kLanes; ++i) v[i] = i;
  for (unsigned turn = 0; turn < 4; ++turn) {
    for (unsigned first = 0; first < kLanes; first += 8) {
      for (unsigned round = 0; round < (first / 8 * 5 + turn) % 7; ++round) {
        for (unsigned i = first; i < first + 8; ++i) next[i] = v[i ^ 3] + 1;
        memcpy(v + first, next + first, 64);
      }
    }
    for (unsigned i = 0; i < kLanes; ++i) check[i] = check[i] * 31 + v[i ^ (kW / 2)];
    for (unsigned i = 0; i < kLanes; ++i) next[i] = v[i ^ 1];
    memcpy(v, next, sizeof v);
  }
  for (unsigned i = 0; i < kLanes; ++i) expect(words[i] == check[i], "groups apart", i);
}

constexpr Case kCases[] = {
    {"shuffle_xor", for_each_width<Butterfly>},
    {"shuffle", for_each_width<Gather>},
    {"shuffle_up", for_each_width<PrefixSum>},
    {"ballot", for_each_width<Poll>},
    {"barriers", barriers},
    {"waves_leave", waves_leave},
    {"half_wave", half_wave},
    {"lanes_leave", lanes_leave},
    {"groups_apart", groups_apart},
};

}  // namespace

int main(int argc, char** argv) { return run_case(kCases, argc, argv); }
