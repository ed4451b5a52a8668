#include "cli/run_flags.h"

namespace offramp::cli {

void add_run_flags(CLI::App& command, workflow::RunOptions& run) {
  command.add_option("--threads", run.threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 4096));
  command.add_option("--batch", run.batch, "Images per batch")->check(CLI::Range(1, 65536));
  command.add_option("--precision", run.precision,
                     "f32, bf16, int8 (only for a file written by quantize) or auto (default: the "
                     "precision the file was made for, see docs/deployment.md)");
}

}  // namespace offramp::cli
