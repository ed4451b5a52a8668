#pragma once

#include <string>
#include <vector>

namespace offramp::test {

/// The exit status and output of a program.
struct ProgramResult {
  int status = 0;  ///< exit status; 128 + the number of the signal that ended it
  std::string out, err;
};

struct RunOptions {
  std::string input = {};       ///< standard input
  std::string input_from = {};  ///< not empty: standard input is this file or device instead
  std::string output_to = {};   ///< not empty: standard output goes to this file instead
  bool close_output = false;    ///< standard output is a pipe that nobody reads
  int closed_descriptor = -1;   ///< 0, 1 or 2: this standard stream is closed when it starts
  std::vector<std::string> environment = {};  ///< "NAME=value", added to the environment
  std::string folder = {};                    ///< not empty: the working folder
  std::string program = {};                   ///< not empty: the program to run instead of offramp
};

/// Runs the program offramp of this build, without a shell.
ProgramResult offramp(const std::vector<std::string>& arguments, const RunOptions& options = {});

/// A running program to which a test writes lines and whose output it reads line by line.
class RunningProgram {
 public:
  explicit RunningProgram(const std::vector<std::string>& arguments);
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;
  ~RunningProgram();

  void write_input(const std::string& text);
  /// Returns the next line of the output; empty at its end, or if no line comes within 30 s.
  std::string read_line();
  /// Closes the input and waits for the program to end. @return its exit status
  int end();

 private:
  int child_, to_, from_;
  std::string unread_output_;
};

/// True if `text` is exactly one line that ends in a newline.
bool is_one_line(const std::string& text);

}  // namespace offramp::test
