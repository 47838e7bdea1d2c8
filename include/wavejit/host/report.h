// Where the kernels of a checked build report indices (core/report.cuh): tables that Python gave,
// one a device, and the names that tell it which record is whose. Python lets one call at a time
// into a checked library, so nothing here is locked.
#pragma once
#include <string.h>
#include <wavejit/host/arguments.h>
#include <wavejit/core/report.cuh>

namespace wavejit::host {

#if defined(WAVEJIT_CHECKED)

inline constexpr int kReportingKernels = 32;  // of a library, at most
inline constexpr int kReportingDevices = 64;
inline constexpr int kNameBytes = 48;
inline constexpr int64_t kRecordWords = sizeof(IndexRecord) / sizeof(uint64_t);

// In the order of Index.
inline constexpr char kIndexNames[kIndexKinds][kNameBytes] = {
    "positions",
    "location",
    "token_ids",
    "tid2eid",
    "length",
    "starts",
    "request",
    "num_q_tokens",
    "page_table",
    "req_to_token",
    "full_to_swa",
    "count of valid rows",
    "accepted",
    "page in the plan",
    "state location in the plan",
    "token or count in the plan",
};

struct ReportTables {
  IndexRecord* tables[kReportingDevices + 1];  // the last one is the CPU's
  char* kernels;                               // kReportingKernels names, for Python
};
inline ReportTables report_tables{};

// Python's door: report_to(table, kernels, indices). The table's records become those of the
// device that it lies on; the two arrays on the CPU get the names of kernels and arguments.
inline void report_to(Arguments& arguments) {
  OnDevice device, cpu;
  auto* table =
      arguments.dense<int64_t>("reports", device, 1, kReportingKernels, kIndexKinds, kRecordWords);
  const DLTensor& kernels = arguments.tensor("kernels");
  const DLTensor& indices = arguments.tensor("indices");
  void* names =
      TensorMatcher(kReportingKernels, kNameBytes).dtype<uint8_t>().verify(kernels, "kernels");
  void* kinds = TensorMatcher(kIndexKinds, kNameBytes).dtype<uint8_t>().verify(indices, "indices");
  arguments.end();
  const int at = is_gpu(device.type) ? device.id : kReportingDevices;
  if (at < 0 || at > kReportingDevices) fail("ValueError", "reports: device %d is too many", at);
  report_tables.tables[at] = reinterpret_cast<IndexRecord*>(table);
  report_tables.kernels = static_cast<char*>(names);
  memcpy(kinds, kIndexNames, sizeof kIndexNames);
}

// The kernel's records on the device, or null where nobody asked for reports.
inline IndexRecord* records_of(const char* kernel, const OnDevice& device) {
  const int at = is_gpu(device.type) ? device.id : kReportingDevices;
  if (!report_tables.tables[at]) return nullptr;
  for (int i = 0; i < kReportingKernels; ++i) {
    char* name = report_tables.kernels + i * kNameBytes;
    if (!name[0]) snprintf(name, kNameBytes, "%s", kernel);
    if (!strncmp(name, kernel, kNameBytes - 1)) return report_tables.tables[at] + i * kIndexKinds;
  }
  fail("RuntimeError", "%s: more than %d kernels of a library report", kernel, kReportingKernels);
}

// Tells the parameters, or those parts of them that report.
template <class Params>
void set_reports(Params& params, IndexRecord* records) {
  if constexpr (__is_base_of(Reports, Params)) params.reports = records;
  if constexpr (requires { params.step; }) set_reports(params.step, records);
  if constexpr (requires { params.write; }) set_reports(params.write, records);
  if constexpr (requires { params.chunk; }) set_reports(params.chunk, records);
  if constexpr (requires { params.finish; }) set_reports(params.finish, records);
  if constexpr (requires { params.keys; }) set_reports(params.keys, records);
  if constexpr (requires { params.queries; }) set_reports(params.queries, records);
  if constexpr (requires { params.scheme; }) set_reports(params.scheme, records);
}
template <class Params>
Params with_reports(Params params, const char* kernel, const OnDevice& device) {
  set_reports(params, records_of(kernel, device));
  return params;
}

#else

template <class Params>
const Params& with_reports(const Params& params, const char*, const OnDevice&) {
  return params;
}

#endif

}  // namespace wavejit::host
