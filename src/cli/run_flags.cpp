#include "cli/run_flags.h"

namespace offramp::cli {

void add_run_flags(CLI::App& command, workflow::RunOptions& run) {
  command.add_option("--threads", run.threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 4096));
  command.add_option("--batch", run.batch, "Images at once")->check(CLI::Range(1, 65536));
  command.add_option("--precision", run.precision,
                     "f32, bf16, or int8 for a file that quantize wrote; auto, the default: a "
                     "deployment file's own within its bounds, else f32; of any other what its "
                     "guarantee was certified in, else what its weights are stored in");
}

}  // namespace offramp::cli
