#pragma once

#include <string>

namespace offramp::cli {

/// The start of the flag by which `offramp train` passes its build name to offramp-train, as in
/// "--started-by=0.1.0 (24fa1844a5e2)".
inline constexpr const char* kStartedBy = "--started-by=";
/// The start of the flag that names the command if it is not "train", as in "--command=exits".
inline constexpr const char* kCommand = "--command=";
/// Returns version and commit of this build: "0.1.0 (24fa1844a5e2)".
std::string build_name();

/// Replaces this process by the training program (exec), which therefore keeps the terminal,
/// receives the signals and sets the exit status. Training is a separate program because it needs
/// LibTorch, which takes longer to load than most commands take to run.
/// @param argv  "train" or "exits" and its arguments, which are passed on unchanged; ends in a null
/// pointer
/// @throws Error if offramp-train is neither beside this program's file nor in
///         ../libexec/offramp, or cannot be started
[[noreturn]] void start_training(char** argv);

}  // namespace offramp::cli
