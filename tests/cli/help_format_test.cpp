#include "cli/help_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace offramp::cli {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

TEST(HelpFormat, DescribesValuesInWords) {
  CLI::App app("", "offramp");
  app.formatter(std::make_shared<HelpFormat>());
  CLI::App* command = app.add_subcommand("run", "");
  std::string model, mode = "fast";
  std::vector<std::string> images;
  int threads = 0;
  double delta = 0.05, share = 0;
  command->add_option("model", model, "Model file")->required();
  command->add_option("images", images, "Image files");
  command->add_option("--threads", threads, "Threads")->check(CLI::Range(0, 4096));
  command->add_option("--delta", delta, "Risk")
      ->check(CLI::Range(0.01, 0.5))
      ->capture_default_str();
  command->add_option("--share", share, "Share");
  command->add_option("--mode", mode, "Mode")->check(CLI::IsMember({"fast", "slow"}));
  const std::string help = command->help();
  EXPECT_THAT(help, HasSubstr("[OPTIONS] MODEL [IMAGES...]\n"));
  EXPECT_THAT(help, HasSubstr("MODEL REQUIRED "));
  EXPECT_THAT(help, HasSubstr("--threads 0 to 4096 "));
  // CLI11 2.4 writes a default in brackets.
  EXPECT_THAT(help, AnyOf(HasSubstr("--delta 0.01 to 0.5=0.05 "),
                          HasSubstr("--delta 0.01 to 0.5 [0.05] ")));
  EXPECT_THAT(help, HasSubstr("--share NUMBER "));
  EXPECT_THAT(help, HasSubstr("--mode fast|slow "));
  for (const char* raw : {"INT", "FLOAT", "{"}) EXPECT_THAT(help, Not(HasSubstr(raw)));
}

}  // namespace
}  // namespace offramp::cli
