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
  std::string program = {};                   ///< not empty: another program than offramp
};

/// Runs the offramp that was built, without a shell.
Ended offramp(const std::vector<std::string>& arguments, const RunOptions& options = {});

/// A run of the program that is talked to while it goes on.
class Conversation {
 public:
  explicit Conversation(const std::vector<std::string>& arguments);
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;
  ~Conversation();

  void say(const std::string& text);
  /// The next line of its output; empty once there is none, or none comes in half a minute.
  std::string hear();
  /// Ends its input. @return its exit status
  int end();

 private:
  int child_, to_, from_;
  std::string heard_;
};

/// True if `text` is one line, with its end.
bool is_one_line(const std::string& text);

}  // namespace offramp::test
