#include "cli/start_training.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/version.h"

namespace offramp::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProgram = "offramp-train";

/// The folder that holds this program's file, with symbolic links resolved.
fs::path own_folder() {
  std::error_code error;
  const fs::path file = fs::read_symlink("/proc/self/exe", error);
  if (error) throw Error(fmt::format("/proc/self/exe: cannot read: {}", error.message()));
  return file.parent_path();
}

fs::path training_program() {
  const fs::path beside = own_folder() / kProgram;
  const fs::path apart = own_folder().parent_path() / "libexec" / "offramp" / kProgram;
  for (const fs::path& program : {beside, apart})
    if (::access(program.c_str(), X_OK) == 0) return program;
  throw Error(fmt::format(
      "training is not installed here: {} was not found beside {}, nor in {}; build with "
      "OFFRAMP_TRAIN=ON",
      kProgram, (own_folder() / "offramp").string(), apart.parent_path().string()));
}

}  // namespace

std::string build_name() { return fmt::format("{} ({})", core::kVersion, core::kCommit); }

void start_training(char** argv) {
  const fs::path program = training_program();
  std::string path = program.string(), started_by = kStartedBy + build_name();
  std::vector<char*> arguments = {path.data(), started_by.data()};
  std::string command = kCommand + std::string(argv[0]);
  if (argv[0] != std::string_view("train")) arguments.push_back(command.data());
  for (char** argument = argv + 1; *argument != nullptr; ++argument) arguments.push_back(*argument);
  arguments.push_back(nullptr);
  ::execv(path.c_str(), arguments.data());
  throw Error(fmt::format("{}: cannot start: {}", path, std::strerror(errno)));
}

}  // namespace offramp::cli
