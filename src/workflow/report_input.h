#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "report/report.h"
#include "workflow/open_model.h"
#include "workflow/progress.h"

namespace offramp::workflow {

struct ReportOptions {
  /// Run folders or model files. The report is about the first; the others are compared with it.
  std::vector<std::string> runs;
  std::string data = {};      ///< source, see load_data; empty: the source in the run's recipe
  bool skip_trained = false;  ///< leave out images that the model was trained on
  RunOptions run = {};
  std::string command = "report";  ///< the name under which test_reads.jsonl records the run
};

/// The path of a run's report: report.html in its folder.
/// @throws Error if there is no such run
std::filesystem::path report_path(const std::string& run);

/// The content of a report, together with the memory that its views point to.
struct GatheredReport {
  std::string source;                  ///< source of the data, as load_data accepts it
  std::shared_ptr<const void> memory;  ///< keeps the memory alive; must live as long as `input`
  report::ReportInput input;
};

/// Tests a run's model, or reads its logits from the cache file beside it, and gathers the content
/// of a report. The use of test images is recorded in test_reads.jsonl beside each model.
/// @throws UsageError if the source of the data is neither given nor in the recipe; Error "<path>:
/// …"; TrainedOnImages; Cancelled
GatheredReport gather_report(const ReportOptions& options, const Progress& progress = {});

}  // namespace offramp::workflow
