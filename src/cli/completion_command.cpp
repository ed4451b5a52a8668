#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/terminal.h"

namespace offramp::cli {
namespace {

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

/// The long names of an option, with their dashes. Empty for a positional argument.
std::vector<std::string> flags_of(const CLI::Option& option) {
  std::vector<std::string> flags;
  for (const std::string& name : option.get_lnames()) flags.push_back("--" + name);
  for (const std::string& name : option.get_snames()) flags.push_back("-" + name);
  return flags;
}

/// The words that an option accepts, which its type name lists as "TEXT:{a,b}"; empty if it accepts
/// others too.
std::string choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t from = type.find('{'), to = type.find('}');
  if (from == type.npos || to == type.npos) return "";
  std::string words = type.substr(from + 1, to - from - 1);
  for (char& c : words)
    if (c == ',') c = ' ';
  return words;
}

/// The branches of the script's case statements, collected over all commands.
struct Branches {
  std::vector<std::string> paths;  ///< patterns of commands: " data", " data fetch"
  std::string words;               ///< sets `commands` and `flags` by the command
  std::string choices;             ///< sets `choices` by the command and the flag before
};

void add_branches(const CLI::App& command, const std::string& path, Branches& branches) {
  std::vector<std::string> flags, commands;
  for (const CLI::Option* option : command.get_options({})) {
    const std::vector<std::string> names = flags_of(*option);
    flags.insert(flags.end(), names.begin(), names.end());
    const std::string choices = choices_of(*option);
    if (choices.empty()) continue;
    for (const std::string& name : names)
      branches.choices += fmt::format("    \"{} {}\") choices=\"{}\" ;;\n", path, name, choices);
  }
  for (const CLI::App* one : command.get_subcommands({})) commands.push_back(one->get_name());
  branches.words += fmt::format("    \"{}\") commands=\"{}\" flags=\"{}\" ;;\n", path,
                                join(commands), join(flags));
  for (const CLI::App* one : command.get_subcommands({})) {
    const std::string below = path + " " + one->get_name();
    branches.paths.push_back("\"" + below + "\"");
    add_branches(*one, below, branches);
  }
}

std::string bash_script(const CLI::App& app) {
  Branches branches;
  add_branches(app, "", branches);
  std::string paths;
  for (const std::string& path : branches.paths) paths += (paths.empty() ? "" : "|") + path;
  return fmt::format(
      R"(# Completes the commands and flags of offramp in bash. Written by: offramp completion bash
_offramp() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
  local path= commands= flags= choices= i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$path ${{COMP_WORDS[i]}}" in
      {paths}) path+=" ${{COMP_WORDS[i]}}" ;;
    esac
  done
  case "$path" in
{words}  esac
  # Training is a program of its own, which is asked once for its flags.
  if [[ $path == " train" || $path == " exits" ]]; then
    local -n known="_offramp_${{path# }}_flags"
    [[ -n ${{known-}} ]] || known=$(
      "${{COMP_WORDS[0]}}" $path --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*' | sort -u)
    flags="$known"
  fi
  case "$path $before" in
{choices}  esac
  if [[ -n $choices ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
  elif [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$word")
  elif [[ -n $commands ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}}
complete -o filenames -F _offramp offramp
)",
      fmt::arg("paths", paths), fmt::arg("words", branches.words),
      fmt::arg("choices", branches.choices));
}

}  // namespace

void add_completion_command(CLI::App& app, Action& action) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("completion", "Print a script that completes commands and flags");
  command->add_option("shell", *shell, "bash")->required()->check(CLI::IsMember({"bash"}));
  command->callback([shell, &app, &action] {
    action = [shell, &app] {
      write_stdout(bash_script(app));
      return 0;
    };
  });
}

}  // namespace offramp::cli
