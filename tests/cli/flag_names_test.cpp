#include "cli/flag_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace offramp::cli {
namespace {

using testing::ThrowsMessage;

TEST(FlagNames, TakeThePlaceOfTheField) {
  EXPECT_EQ(with_flag_name("max_drop: expected a fraction of 1, got 5"),
            "--max-accuracy-drop: expected a fraction of 1, got 5");
  EXPECT_EQ(with_flag_name("save_logits: x is an input"), "--save-logits: x is an input");
}

TEST(FlagNames, LeaveOtherMessagesAlone) {
  for (const char* message :
       {"data:3: unknown key \"sauce\"", "recipe.toml:2: epochs: none", "out"})
    EXPECT_EQ(with_flag_name(message), message);
}

TEST(FlagNames, AreInTheMiddleOfATextToo) {
  EXPECT_EQ(with_flag_names("exit 1 costs; drop_useless_exits removes it, max_drop allows it"),
            "exit 1 costs; --drop-useless-exits removes it, --max-accuracy-drop allows it");
  EXPECT_EQ(with_flag_names("the images of the data"), "the images of the data");
  EXPECT_EQ(with_flag_names("class \"max_exits\", see max_exits; \"max_drop"),
            "class \"max_exits\", see --max-exits; \"max_drop");
}

TEST(FlagNames, AreNotConfusedByAQuotationMarkInAName) {
  for (const char* name : {"12\" max_drop", "max_drop\\", "\\\"max_drop"}) {
    const std::string quoted = core::quote(name);
    EXPECT_EQ(with_flag_names("class " + quoted + ": max_drop allows it"),
              "class " + quoted + ": --max-accuracy-drop allows it");
  }
}

TEST(FlagNames, AreInErrorsOfWrongUsageAlone) {
  EXPECT_THAT([] { translate_option_errors([]() -> int { throw UsageError("out: no"); }); },
              ThrowsMessage<UsageError>("--out: no"));
  EXPECT_THAT([] { translate_option_errors([]() -> int { throw Error("out: no"); }); },
              ThrowsMessage<Error>("out: no"));
  EXPECT_EQ(translate_option_errors([] { return 7; }), 7);
}

TEST(FlagNames, AdviseToSkipTrainedImagesWhereACommandCan) {
  const auto refuse = []() -> int { throw workflow::TrainedOnImages("m: trained on 2"); };
  EXPECT_THAT([&] { translate_option_errors(refuse); },
              ThrowsMessage<workflow::TrainedOnImages>("m: trained on 2"));
  EXPECT_THAT([&] { translate_option_errors(refuse, Advice::skip_trained); },
              ThrowsMessage<Error>("m: trained on 2 (--skip-trained leaves them out)"));
}

}  // namespace
}  // namespace offramp::cli
