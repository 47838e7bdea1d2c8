// The c4 compressor's device functions (ratio 4, window 8, overlapped): what a lane does for its
// channels of one entry. The templates that call them state shapes, rounding and what is skipped.
#pragma once
#include <wavejit/compress/plan.cuh>
#include <wavejit/compress/pool.cuh>
#include <wavejit/compress/report.cuh>
#include <wavejit/core/warp.cuh>

namespace wavejit {

template <int kDim, class StateType, class InputType>
struct C4 {
  using State = StateType;
  using Input = InputType;
  static constexpr int kHeadDim = kDim;
  static constexpr int kRatio = 4;
  static constexpr int kWindow = 2 * kRatio;
  static constexpr int kRowWidth = 4 * kHeadDim;
  static_assert(kHeadDim % 64 == 0 && kHeadDim > 0);

  struct DecodeParams : Reports {
    State* state;
    const Input* input;
    const Input* ape;
    const DecodePlan* plan;
    int64_t input_stride;
    int64_t requests;
    int64_t pages;
  };
  struct PrefillParams : Reports {
    const State* state;
    const Input* input;
    const Input* ape;
    const CompressPlan* plan;
    int64_t input_stride;
    int64_t input_rows;
    int64_t entries;
    int64_t pages;
    int32_t wide;
    int32_t lets_write_store;  // the ring write behind it may store before this launch ends
    uint32_t row_bytes;        // of the input, from one row to the next
    uint32_t plain_rows;
  };

  // The lane's channels of candidate i in a row that starts at `row`: its value and its score.
  template <class T>
  __device__ __forceinline__ static const T* value_of(const T* row, int i, int channel) {
    return row + (i < kRatio ? 0 : kHeadDim) + channel;
  }
  template <class T>
  __device__ __forceinline__ static const T* score_of(const T* row, int i, int channel) {
    return value_of(row, i, channel) + 2 * kHeadDim;
  }

  template <int kTile>
  using Window = Candidates<kWindow, kTile>;

  // What lies in the ring has been rounded to State; the arithmetic sees it rounded to Input.
  // kConstant: nothing of this launch writes the ring.
  template <bool kConstant, int kTile>
  __device__ __forceinline__ static Tile<kTile> load_state(const State* address) {
    if constexpr (kConstant) return round_through<Input>(load_tile_once<kTile>(address));
    return round_through<Input>(load_tile<kTile>(address));
  }
  // `page` is that of the candidate, from the lane's channels on.
  template <bool kConstant, int kTile>
  __device__ __forceinline__ static void load_from_ring(Window<kTile>& window, int i,
                                                        const State* page) {
    const State* row = page + i % kRatio * kRowWidth;
    window.values[i] = load_state<kConstant, kTile>(value_of(row, i, 0));
    window.scores[i] = load_state<kConstant, kTile>(score_of(row, i, 0));
  }

  template <int kTile>
  __device__ __forceinline__ static void load_from_input(Window<kTile>& window, int i,
                                                         const Input* row, int channel) {
    window.values[i] = load_tile_once<kTile>(value_of(row, i, channel));
    window.scores[i] = load_tile_once<kTile>(score_of(row, i, channel));
  }

  // The lane's channels of ape, which begin at `ape`.
  template <int kTile>
  struct Bias {
    Tile<kTile> rows[kWindow];

    __device__ __forceinline__ void load(const Input* ape) {
#pragma unroll
      for (int i = 0; i < kWindow; ++i) rows[i] = load_tile<kTile>(ape + i * kHeadDim);
    }
    __device__ __forceinline__ void load_now(const Input* ape) {  // on their way from here on
#pragma unroll
      for (int i = 0; i < kWindow; ++i) rows[i] = load_tile_now<kTile>(ape + i * kHeadDim);
    }
  };

  // score + ape in fp32, softmax, weighted mean; a masked candidate stays masked.
  template <int kTile>
  __device__ __forceinline__ static Tile<kTile> pool(Window<kTile>& window, const Bias<kTile>& bias,
                                                     bool has_overlap) {
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      if (i < kRatio && !has_overlap) continue;
#pragma unroll
      for (int k = 0; k < kTile; ++k) {
        window.scores[i].values[k] = window.scores[i].values[k] + bias.rows[i].values[k];
      }
    }
    return softmax_pool(window);
  }

  // The current token's row in all four column blocks, as the lane that owns its channels holds it.
  template <int kTile>
  struct OwnRow {
    Tile<kTile> blocks[4];

    __device__ __forceinline__ void use_as(Window<kTile>& window, int i) const {
      window.values[i] = round_through<Input>(round_through<State>(blocks[i < kRatio ? 0 : 1]));
      window.scores[i] = round_through<Input>(round_through<State>(blocks[i < kRatio ? 2 : 3]));
    }
  };

  // A lane of a decode step: where its channels lie, which it may find out before it waits for the
  // launch before, and what it asks for beside the plan: nearly every row of a step is used.
  template <int kTile>
  struct StepLane {
    const DecodePlan* plan;
    const Input* ape;
    const Input* input;
    State* state;
    uint32_t pages, rows;  // that a plan can name: of more than 2^31, so many
    Bias<kTile> bias;
    OwnRow<kTile> own;

    __device__ __forceinline__ StepLane(const DecodeParams& p, int64_t entry, int channel)
        : plan(p.plan + entry),
          ape(p.ape + channel),
          input(p.input + entry * p.input_stride + channel),
          state(p.state + channel),
          pages(named(p.pages)),
          rows(named(p.pages * kRatio)) {}

    __device__ __forceinline__ static uint32_t named(int64_t count) {
      constexpr int64_t kMost = int64_t{1} << 31;
      return static_cast<uint32_t>(count < kMost ? count : kMost);
    }

    // kBiasNow: ape before all that follows, and not where the compiler wants it.
    template <bool kBiasToo, bool kBiasNow = true>
    __device__ __forceinline__ void ask() {
      if (kBiasToo && kBiasNow) bias.load_now(ape);
      if (kBiasToo && !kBiasNow) bias.load(ape);
#pragma unroll
      for (int k = 0; k < 4; ++k) own.blocks[k] = load_tile_once<kTile>(input + k * kHeadDim);
    }
    __device__ __forceinline__ State* row(uint32_t number) const {
      return state + uint64_t{number} * kRowWidth;
    }
    __device__ __forceinline__ State* page(uint32_t number) const {
      return state + uint64_t{number} * (kRatio * kRowWidth);
    }
    __device__ __forceinline__ void save(State* target) const {
#pragma unroll
      for (int k = 0; k < 4; ++k) store_tile(target + k * kHeadDim, own.blocks[k]);
    }
  };

  // What a plan's row says, each number as one without a sign: a negative one is beyond each limit
  // of a state of fewer than 2^29 pages, which take 1 TiB or more.
  struct Request {
    uint32_t length, row, pages[2];

    __device__ __forceinline__ explicit Request(const DecodePlan& plan)
        : length(plan.seq_len),
          row(static_cast<uint32_t>(plan.write_loc)),
          pages{static_cast<uint32_t>(plan.read_page_0), static_cast<uint32_t>(plan.read_page_1)} {}

    __device__ __forceinline__ bool has_overlap() const { return length > kRatio; }
    __device__ __forceinline__ bool writes_to(uint32_t page, int i) const {
      return (row / kRatio == page) & (row % kRatio == static_cast<uint32_t>(i));
    }
    __device__ __forceinline__ bool compresses(uint32_t page_count) const {
      return length % kRatio == 0 && length > 0 && pages[1] < page_count &&
             (pages[0] < page_count || !has_overlap());
    }
    // Ends a group, not its first one, whose last row is its own: nearly every one that ends any.
    // All of it is looked at, which is less than a branch each.
    __device__ __forceinline__ bool is_usual(uint32_t page_count) const {
      return (length % kRatio == 0) & has_overlap() & (pages[0] < page_count) &
             (pages[1] < page_count) & (pages[0] != pages[1]) & writes_to(pages[1], kRatio - 1);
    }
  };

  // The window as it is once the token's row has been written: that row comes from registers,
  // wherever it lies, so that the loads need not wait for the store.
  template <int kTile>
  __device__ __forceinline__ static void load_window(Window<kTile>& window,
                                                     const StepLane<kTile>& lane,
                                                     const Request& request, bool writes) {
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      const uint32_t page = request.pages[i / kRatio];
      if (i < kRatio && !request.has_overlap()) {
        window.mask(i);
      } else if (writes && request.writes_to(page, i % kRatio)) {
        lane.own.use_as(window, i);
      } else {
        load_from_ring<false>(window, i, lane.page(page));
      }
    }
  }

  // The same of a usual request: no branch a row.
  template <int kTile>
  __device__ __forceinline__ static void load_usual_window(Window<kTile>& window,
                                                           const StepLane<kTile>& lane,
                                                           const State* const (&pages)[2]) {
#pragma unroll
    for (int i = 0; i < kWindow - 1; ++i) {  // scores first: the weights need no value
      const State* row = pages[i / kRatio] + i % kRatio * kRowWidth;
      window.scores[i] = load_state<false, kTile>(score_of(row, i, 0));
    }
#pragma unroll
    for (int i = 0; i < kWindow - 1; ++i) {
      const State* row = pages[i / kRatio] + i % kRatio * kRowWidth;
      window.values[i] = load_state<false, kTile>(value_of(row, i, 0));
    }
    lane.own.use_as(window, kWindow - 1);
  }

  // Saves the request's row and, if it ends a group, pools the lane's channels into `pooled` and
  // returns true. Call it after lane.ask(); it allows the next launch. `ask` is called of a request
  // that ends a group, once what it waits for is on its way.
  template <bool kBiasFirst = true, int kTile, class Ask>
  __device__ __forceinline__ static bool decode(StepLane<kTile>& lane, const DecodePlan& plan,
                                                Tile<kTile>& pooled, const Ask& ask) {
    const Request request(plan);
    Window<kTile> window;
    if (__builtin_expect(!request.is_usual(lane.pages), false)) {
      const bool writes = request.row < lane.rows, compresses = request.compresses(lane.pages);
      if (compresses) {
        load_window(window, lane, request, writes);
        ask();
      }
      allow_next_launch();
      if (writes) lane.save(lane.row(request.row));
      if (!compresses) return false;
    } else {
      State* const pages[2] = {lane.page(request.pages[0]), lane.page(request.pages[1])};
      load_usual_window(window, lane, {pages[0], pages[1]});
      allow_next_launch();
      ask();
      lane.save(pages[1] + (kRatio - 1) * kRowWidth);
    }
    if (!kBiasFirst) lane.bias.load(lane.ape);
    pooled = pool(window, lane.bias, request.has_overlap());
    return true;
  }

  // Whether nothing of the entry's window lies in the ring and all of it in the input: nearly every
  // entry's. A length of 2^31 or more is none of them, so that kInvalidRow is not.
  __device__ __forceinline__ static bool is_usual(const PrefillParams& p,
                                                  const CompressPlan& plan) {
    return (static_cast<int32_t>(plan.seq_len) > kRatio) & (plan.where >= kWindow - 1) &
           (plan.where < p.plain_rows);
  }
  // Sixteen independent loads and no branch.
  template <int kTile>
  __device__ __forceinline__ static void load_usual_window(Window<kTile>& window,
                                                           const PrefillParams& p,
                                                           const CompressPlan& plan, int channel) {
    const auto bytes = reinterpret_cast<const char*>(p.input + channel);
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      const char* row = bytes + uint64_t{plan.where - (kWindow - 1 - i)} * p.row_bytes;
      load_from_input(window, i, reinterpret_cast<const Input*>(row), 0);
    }
  }

  // The window of any other. False: it is invalid, or a row, a page or the plan's numbers point
  // outside a tensor.
  template <int kTile>
  __device__ __forceinline__ static bool load_border(Window<kTile>& window, const PrefillParams& p,
                                                     const CompressPlan& plan, int64_t last_row,
                                                     int channel) {
    if (plan.seq_len == kInvalidRow) return false;
    const int from_ring = static_cast<int>(buffer_len_of(plan, p.wide));
    const bool has_overlap = plan.seq_len > kRatio;
    const int first = has_overlap ? 0 : kRatio;
    const int first_input = from_ring > first ? from_ring : first;
    const bool needs_page_0 = has_overlap && from_ring > 0;
    const bool needs_page_1 = from_ring > kRatio;
    if (last_row >= p.input_rows || from_ring > kWindow) return false;
    if (first_input < kWindow && last_row - (kWindow - 1) + first_input < 0) return false;
    if (needs_page_0 && (plan.read_page_0 < 0 || plan.read_page_0 >= p.pages)) return false;
    if (needs_page_1 && (plan.read_page_1 < 0 || plan.read_page_1 >= p.pages)) return false;
    const int64_t pages[2] = {plan.read_page_0, plan.read_page_1};
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      if (i < first) {
        window.mask(i);
      } else if (i < from_ring) {
        const State* page = p.state + pages[i / kRatio] * (kRatio * kRowWidth) + channel;
        load_from_ring<true>(window, i, page);
      } else {
        const int64_t row = last_row - (kWindow - 1) + i;
        load_from_input(window, i, p.input + row * p.input_stride, channel);
      }
    }
    return true;
  }

  // What reads nothing of the ring may let the next launch begin, which writes it. One of a block's
  // lanes speaks for all of them. True also of what names no row of the input.
  __device__ __forceinline__ static bool reads_ring(const PrefillParams& p,
                                                    const CompressPlan& plan) {
    return plan.where >= p.plain_rows;
  }
  // The same of any of the kRows rows of block `block`; every lane of a group calls it.
  template <int kRows>
  __device__ __forceinline__ static bool block_reads_ring(const PrefillParams& p, int64_t block,
                                                          Site at = Site::here()) {
    const int64_t row = block * kRows + lane_in_group() % kRows;
    CompressPlan other{};
    if (row < p.entries) other.where = load_now(&p.plan[row].where);
    return ballot<kGroupSize>(reads_ring(p, other), at) != 0;
  }

  // Pools the lane's channels of a plan row. False: the row is invalid or points outside a tensor.
  // `ask` is called of another with its last row's number, once its window is on its way.
  template <int kTile, class Ask>
  __device__ __forceinline__ static bool prefill(const PrefillParams& p, const CompressPlan& plan,
                                                 int channel, Tile<kTile>& pooled, const Ask& ask) {
    Window<kTile> window;
    if (__builtin_expect(is_usual(p, plan), true)) {
      load_usual_window(window, p, plan, channel);
      ask(plan.where);
    } else {
      const uint32_t last_row = ragged_id_of(plan, p.wide);
      if (!load_border(window, p, plan, last_row, channel)) return false;
      ask(last_row);
    }
    Bias<kTile> bias;
    bias.load(p.ape + channel);
    pooled = pool(window, bias, plan.seq_len > kRatio);
    return true;
  }
};

}  // namespace wavejit
