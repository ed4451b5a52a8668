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
  /// Run folders or model files; the first is reported, further ones are compared with it.
  std::vector<std::string> runs;
  std::string data = {};      ///< source, see load_data; empty: that of the run's recipe
  bool skip_trained = false;  ///< leave out images that the model was trained on
  RunOptions run = {};
  std::string command = "report";  ///< what test_reads.jsonl names as the reader of test images
};

/// Where the report of a run belongs: report.html in its folder.
/// @throws Error if there is no such run
std::filesystem::path report_path(const std::string& run);

/// What a report shows, with the memory that its views point into.
struct GatheredReport {
  std::string source;  ///< of the data, as load_data takes it
  std::shared_ptr<const void> memory;
  ReportInput input;
};

/// Tests a run's model, or takes the logits that were kept beside it, and gathers all that a report
/// shows. A reading of test images is logged beside each model.
/// @throws UsageError if the data are neither given nor known; Error "<path>: …"; TrainedOnImages;
/// Cancelled
GatheredReport gather_report(const ReportOptions& options, const Progress& progress = {});

}  // namespace offramp::workflow
