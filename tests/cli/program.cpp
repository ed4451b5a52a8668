#include "tests/cli/program.h"

#include <fcntl.h>
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

[[noreturn]] void become_program(const std::vector<std::string>& arguments,
                                 const RunOptions& options, const std::string& in,
                                 const std::string& out, const std::string& err) {
  redirect(STDIN_FILENO, in, O_RDONLY);
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
  std::vector<char*> argv = {const_cast<char*>("offramp")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(OFFRAMP_PROGRAM, argv.data());
  _exit(127);
}

}  // namespace

Ended offramp(const std::vector<std::string>& arguments, const RunOptions& options) {
  const TemporaryFolder folder;
  const std::string in = folder.path() / "in", out = folder.path() / "out",
                    err = folder.path() / "err";
  std::ofstream(in) << options.input;
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) become_program(arguments, options, in, out, err);
  int status = 0;
  if (waitpid(child, &status, 0) != child) throw std::runtime_error("waitpid failed");
  Ended ended;
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (options.output_to.empty() && !options.close_output) ended.out = read_text(out);
  ended.err = read_text(err);
  return ended;
}

bool is_one_line(const std::string& text) {
  return text.size() > 1 && std::count(text.begin(), text.end(), '\n') == 1 && text.back() == '\n';
}

}  // namespace offramp::test
