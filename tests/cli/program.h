#pragma once

#include <string>
#include <vector>

namespace offramp::test {

/// How a run of the program ended.
struct Ended {
  int status = 0;  ///< exit status; 128 + the signal's number if one ended it
  std::string out, err;
};

struct RunOptions {
  std::string input = {};      ///< standard input
  std::string output_to = {};  ///< not empty: standard output goes to this file instead
  bool close_output = false;   ///< standard output is a pipe that nobody reads
  std::vector<std::string> environment = {};  ///< "NAME=value" beside the test's own
  std::string folder = {};                    ///< not empty: runs there
};

/// Runs the offramp that was built, without a shell.
Ended offramp(const std::vector<std::string>& arguments, const RunOptions& options = {});

/// True if `text` is one line, with its end.
bool is_one_line(const std::string& text);

}  // namespace offramp::test
