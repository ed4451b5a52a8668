#include "cli/run_flags.h"

namespace offramp::cli {

CLI::Option* add_threads_flag(CLI::App& command, int& threads, const std::string& description) {
  return command.add_option("--threads", threads, description)->check(CLI::Range(0, 4096));
}

void add_run_flags(CLI::App& command, workflow::RunOptions& run) {
  add_threads_flag(command, run.threads);
  command.add_option("--batch", run.batch, "Images per batch")->check(CLI::Range(1, 65536));
  command.add_option("--precision", run.precision,
                     "f32, bf16, int8 (only for a file written by quantize) or auto (default: the "
                     "precision the file was made for, see docs/deployment.md)");
}

}  // namespace offramp::cli
