#pragma once

#include <string>

namespace offramp::cli {

/// The flag, and its value, by which `offramp train` tells offramp-train who starts it:
/// "--started-by=0.1.0 (24fa1844a5e2)".
inline constexpr const char* kStartedBy = "--started-by=";
/// Version and commit of this build: "0.1.0 (24fa1844a5e2)".
std::string build_name();

/// Becomes the training program, as git becomes its commands: same process, same terminal; its
/// signals and its exit status are this program's. Training is a program of its own because it
/// needs LibTorch, which takes longer to load than most commands take to run.
/// @param argv  "train" and its arguments, which are handed on as they are; ends in a null pointer
/// @throws Error if offramp-train is neither beside this program's file nor in
///         ../libexec/offramp, or cannot be started
[[noreturn]] void start_training(char** argv);

}  // namespace offramp::cli
