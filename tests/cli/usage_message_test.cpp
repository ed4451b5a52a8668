#include "cli/usage_message.h"

#include <gtest/gtest.h>

#include "cli/run_flags.h"

namespace offramp::cli {
namespace {

/// Parses a command line of a program with one flag of each kind. @return the message
std::string message_of(std::vector<std::string> words) {
  CLI::App app("", "offramp");
  CLI::App* command = app.add_subcommand("run", "");
  std::string file, mode;
  double share = 0, seconds = 1;
  int threads = 0;
  bool json = false, compiled = false;
  std::vector<int> batches;
  command->add_option("file", file)->required();
  command->add_option("--share", share);
  command->add_option("--seconds", seconds)->check(CLI::Range(0.01, 86400.0));
  add_threads_flag(*command, threads);
  command->add_option("--mode", mode)->check(CLI::IsMember({"fast", "slow"}));
  command->add_option("--batches", batches)->delimiter(',')->check(CLI::Range(1, 1024));
  command->add_flag("--json", json);
  CLI::Option* whole = command->add_flag("--compiled", compiled);
  command->add_option("--precision", mode)->needs(whole)->excludes(command->get_option("--json"));
  CLI::App* data = app.add_subcommand("data", "");
  data->require_subcommand(1);
  for (const char* name : {"fetch", "import", "info"}) data->add_subcommand(name, "");
  require_decimal_numbers(app);
  std::reverse(words.begin(), words.end());
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    return usage_message(app, error);
  }
  return "";
}

TEST(UsageMessage, SaysWhatAValueMustBe) {
  EXPECT_EQ(message_of({"run", "f", "--share", "abc"}),
            "--share: expected a number, got \"abc\"; see offramp run --help");
  for (const std::string value : {"-1", "4097", "none", "1.5"}) {
    EXPECT_EQ(message_of({"run", "f", "--threads=" + value}),
              "--threads: expected a whole number from 0 to 4096, got \"" + value +
                  "\"; see offramp run --help");
  }
  EXPECT_EQ(message_of({"run", "f", "--seconds", "0"}),
            "--seconds: expected a number from 0.01 to 86400, got \"0\"; see offramp run --help");
  EXPECT_EQ(message_of({"run", "f", "--batches", "4,0"}),
            "--batches: expected a whole number from 1 to 1024, got \"0\"; see offramp run --help");
  EXPECT_EQ(message_of({"run", "f", "--mode", "fats"}),
            "--mode: expected one of fast, slow; got \"fats\"; see offramp run --help");
}

TEST(UsageMessage, TakesNumbersInDecimalOnly) {
  for (const std::string text : {"0x1p-1", "0x10", "1e", "0.5 "})
    EXPECT_EQ(message_of({"run", "f", "--share=" + text}),
              "--share: expected a number, got \"" + text + "\"; see offramp run --help");
  for (const std::string text : {"0x10", "010"})
    EXPECT_EQ(message_of({"run", "f", "--batches=4," + text}),
              "--batches: expected a whole number, got \"" + text + "\"; see offramp run --help");
  for (const std::string text : {"0.5", "1e-3", "+1", "-2", ".5", "0", "007"})
    EXPECT_EQ(message_of({"run", "f", "--share=" + text}), "") << text;
  EXPECT_EQ(message_of({"run", "f", "--batches=1,20", "--threads=0"}), "");
}

TEST(UsageMessage, SaysWhichWordsAreMissingOrTooMany) {
  EXPECT_EQ(message_of({"run"}),
            "no file given; expected offramp run FILE; see offramp run --help");
  EXPECT_EQ(message_of({"run", "f", "--share"}), "--share: needs a value; see offramp run --help");
  EXPECT_EQ(message_of({"run", "f", "--share", "1", "--share", "2"}),
            "--share: expected once, got it 2 times; see offramp run --help");
  EXPECT_EQ(message_of({"run", "f", "--json=abc"}),
            "--json: takes no value; see offramp run --help");
  EXPECT_EQ(message_of({"run", "f", "--precision", "f32"}),
            "--precision: needs --compiled; see offramp run --help");
  EXPECT_EQ(message_of({"run", "f", "--compiled", "--json", "--precision", "f32"}),
            "--json: cannot be used with --precision; see offramp run --help");
  EXPECT_EQ(message_of({"data"}), "give a command: fetch, import or info; see offramp data --help");
}

TEST(UsageMessage, SuggestsTheNearestFlagOrCommand) {
  EXPECT_EQ(message_of({"run", "f", "--jsn"}),
            "unexpected flag \"--jsn\"; did you mean \"--json\"?; see offramp run --help");
  EXPECT_EQ(message_of({"data", "fetsh"}),
            "unknown command \"fetsh\"; did you mean \"fetch\"?; see offramp data --help");
  EXPECT_EQ(message_of({"run", "f", "g"}), "unexpected argument \"g\"; see offramp run --help");
}

}  // namespace
}  // namespace offramp::cli
