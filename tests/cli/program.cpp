#include "tests/cli/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "core/file.h"

namespace offramp::test {
namespace {

void redirect(int descriptor, const std::string& path, int flags) {
  const int file = open(path.c_str(), flags, 0600);
  if (file < 0 || dup2(file, descriptor) < 0) _exit(127);
}

[[noreturn]] void execute(const std::vector<std::string>& arguments,
                          const std::string& program = OFFRAMP_PROGRAM) {
  std::vector<char*> argv = {const_cast<char*>("offramp")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(program.c_str(), argv.data());
  _exit(127);
}

[[noreturn]] void become_program(const std::vector<std::string>& arguments,
                                 const RunOptions& options, const std::string& in,
                                 const std::string& out, const std::string& err) {
  redirect(STDIN_FILENO, options.input_from.empty() ? in : options.input_from, O_RDONLY);
  redirect(STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC);
  if (options.close_output) {
    int ends[2];
    if (pipe(ends) != 0 || dup2(ends[1], STDOUT_FILENO) < 0) _exit(127);
    close(ends[0]);
    close(ends[1]);
  } else {
    redirect(STDOUT_FILENO, options.output_to.empty() ? out : options.output_to,
             O_WRONLY | O_CREAT | O_TRUNC);
  }
  if (!options.folder.empty() && chdir(options.folder.c_str()) != 0) _exit(127);
  for (const std::string& variable : options.environment)
    putenv(const_cast<char*>(variable.c_str()));
  if (options.closed_descriptor >= 0) close(options.closed_descriptor);
  if (options.program.empty()) execute(arguments);
  execute(arguments, options.program);
}

}  // namespace

ProgramResult offramp(const std::vector<std::string>& arguments, const RunOptions& options) {
  const core::TemporaryFolder folder;
  const std::string in = folder.path() / "in", out = folder.path() / "out",
                    err = folder.path() / "err";
  std::ofstream(in) << options.input;
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) become_program(arguments, options, in, out, err);
  int status = 0;
  if (waitpid(child, &status, 0) != child) throw std::runtime_error("waitpid failed");
  ProgramResult ended;
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (options.output_to.empty() && !options.close_output) ended.out = core::read_text(out);
  ended.err = core::read_text(err);
  return ended;
}

RunningProgram::RunningProgram(const std::vector<std::string>& arguments) {
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
    throw std::runtime_error("pipe failed");
  child_ = fork();
  if (child_ < 0) throw std::runtime_error("fork failed");
  if (child_ == 0) {
    if (dup2(in[0], STDIN_FILENO) < 0 || dup2(out[1], STDOUT_FILENO) < 0) _exit(127);
    execute(arguments);
  }
  close(in[0]);
  close(out[1]);
  to_ = in[1];
  from_ = out[0];
}

RunningProgram::~RunningProgram() {
  if (child_ > 0) end();
  close(from_);
}

void RunningProgram::write_input(const std::string& text) {
  if (write(to_, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw std::runtime_error("nobody listens");
}

std::string RunningProgram::read_line() {
  for (;;) {
    const std::size_t end = unread_output_.find('\n');
    if (end != unread_output_.npos) {
      const std::string line = unread_output_.substr(0, end);
      unread_output_.erase(0, end + 1);
      return line;
    }
    pollfd output = {from_, POLLIN, 0};
    char bytes[4096];
    if (poll(&output, 1, 30'000) != 1) return {};
    const ssize_t count = read(from_, bytes, sizeof bytes);
    if (count <= 0) return {};
    unread_output_.append(bytes, static_cast<std::size_t>(count));
  }
}

int RunningProgram::end() {
  close(to_);
  int status = 0;
  waitpid(child_, &status, 0);
  child_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool is_one_line(const std::string& text) {
  return text.size() > 1 && std::count(text.begin(), text.end(), '\n') == 1 && text.back() == '\n';
}

}  // namespace offramp::test
