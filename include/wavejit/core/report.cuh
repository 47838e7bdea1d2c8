// What a checked build (WAVEJIT_CHECKED=1) says of indices that point outside their tensor: which
// argument, how many, and the first of them. A kernel survives such an index in either build, with
// the same bytes: report_if() decides nothing. Entries that an op allows as padding (a negative
// location, a page table's -1, an invalid plan row) are no report.
//
//   struct StoreParams : Reports { ... };                      // a kernel's parameters, or a part
//   if constexpr (kIsChecked) {                                // by one lane of the row
//     report_if(p, loc >= capacity, Index::kLocation, loc, row);
//   }
//
// Where a part derives from Reports, the parameters around it do not and say report_if(p.part,
// ...): two empty bases at one address would move what follows them.
//
// launch() sets where the reports go. C++ cannot list a structure's members, so host/report.h knows
// parts by name: step, chunk, write, finish, keys, queries, scheme. A part of another name reports
// nothing until set_reports() has it too, which its case in tests/ops/checked_cases.py shows.
// Without WAVEJIT_CHECKED nothing remains of all this: Reports is empty, and behind `if constexpr`
// compilers see no statement that could change how they order the others.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

// The arguments that hold indices; host/report.h has their names.
enum class Index : int {
  kPosition,
  kLocation,
  kTokenId,
  kExpert,
  kLength,
  kWindowStart,
  kRequest,
  kToken,
  kPageTable,
  kTokenTable,
  kSwaTable,
  kValidCount,
  kAccepted,
  kPlanPage,
  kPlanLocation,
  kPlanToken,
};
inline constexpr int kIndexKinds = 16;

// Of one kernel and argument; zeros: nothing. `first` has the lowest row, which element of it, and
// 16 bits of the value in each word, complemented: the largest word is the first report's,
// whichever lane comes first. A row reports at most one value for each element.
struct IndexRecord {
  static constexpr int kParts = 4;
  uint64_t count;
  uint64_t first[kParts];

  __device__ void add(int64_t value, int64_t row, int element) {
    constexpr int64_t kLastRow = (int64_t{1} << 32) - 1;
    constexpr uint64_t kPart = 0xffff;
    const uint64_t known = static_cast<uint64_t>(row < kLastRow ? row : kLastRow);
    const uint64_t at = (known << 16 | (static_cast<uint64_t>(element) & kPart)) << 16;
    platform::fetch_add(&count, uint64_t{1});
    for (int i = 0; i < kParts; ++i) {
      platform::fetch_max(&first[i], ~(at | (static_cast<uint64_t>(value) >> 16 * i & kPart)));
    }
  }
};

#if defined(WAVEJIT_CHECKED)
inline constexpr bool kIsChecked = true;
struct Reports {
  IndexRecord* reports = nullptr;  // kIndexKinds of them, of this kernel
};
#else
inline constexpr bool kIsChecked = false;
struct Reports {};
#endif

// `row` and `element` say where among the argument's entries, or the plan's, the value was found.
template <class Params>
__device__ __forceinline__ void report_if(const Params& p, bool is_outside, Index index,
                                          int64_t value, int64_t row, int element = 0) {
  if constexpr (kIsChecked) {
    if (is_outside && p.reports) p.reports[static_cast<int>(index)].add(value, row, element);
  }
}

// The same of an index that has to lie in [0, count), where this lane is the one that `asks`.
template <class Params>
__device__ __forceinline__ void report_outside_if(const Params& p, bool asks, Index index,
                                                  int64_t value, int64_t count, int64_t row,
                                                  int element = 0) {
  report_if(p, asks && (value < 0 || value >= count), index, value, row, element);
}

}  // namespace wavejit
