#include "core/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/preprocessing.h"

namespace offramp::core {
namespace {

using ::testing::ThrowsMessage;

TEST(Error, FormatsItsValues) {
  EXPECT_STREQ(Error(fmt::format("got {}, expected {}", 3, "four")).what(), "got 3, expected four");
}

TEST(Error, GetsAPlaceAndKeepsItsType) {
  const auto place = [](auto inner) {
    return [inner] {
      try {
        throw inner;
      } catch (const Error& error) {
        throw_with_place("recipe.toml:14", error);
      }
    };
  };
  EXPECT_THAT(place(Error("no class")), ThrowsMessage<Error>("recipe.toml:14: no class"));
  EXPECT_THAT(place(UsageError(fmt::format("no {}", "exit"))),
              ThrowsMessage<UsageError>("recipe.toml:14: no exit"));
  EXPECT_THROW(place(Error("no class"))(), Error);
  try {
    place(Error("no class"))();
  } catch (const Error& error) {
    EXPECT_EQ(dynamic_cast<const UsageError*>(&error), nullptr);
  }
}

TEST(NearestWord, FindsATypo) {
  const std::vector<std::string> words = {"epochs", "batch", "seed", "momentum"};
  EXPECT_EQ(nearest_word("epoch", words), "epochs");  // one letter is missing
  EXPECT_EQ(nearest_word("bacth", words), "batch");   // two letters are swapped: one edit
  EXPECT_EQ(nearest_word("seeed", words), "seed");    // one letter too many
  EXPECT_EQ(nearest_word("MOMENTUM", words), "momentum");
  EXPECT_EQ(nearest_word("momemtun", words), "momentum");
}

TEST(NearestWord, LeavesOtherWordsAlone) {
  const std::vector<std::string> words = {"epochs", "batch", "seed", "lr"};
  EXPECT_EQ(nearest_word("weights", words), "");
  EXPECT_EQ(nearest_word("", words), "");
  EXPECT_EQ(nearest_word("x", words), "");
  EXPECT_EQ(nearest_word("ab", words), "");
  EXPECT_EQ(nearest_word("seed", {}), "");
  EXPECT_EQ(nearest_word(std::string(1'000'000, 'a'), words), "");
}

TEST(NearestWord, TakesTheFirstOfEquals) {
  EXPECT_EQ(nearest_word("level3", {"level1", "level2"}), "level1");
}

TEST(Quote, KeepsAMessageOnOneLine) {
  EXPECT_EQ(quote("conv1.weight"), "\"conv1.weight\"");
  EXPECT_EQ(quote("a\nb\x1b[2J"), "\"a\\x0ab\\x1b[2J\"");
  EXPECT_EQ(quote("a\xc2\x9b"
                  "2J"),
            "\"a\\xc2\\x9b"
            "2J\"");  // the 8-bit escape character of terminals
}

TEST(Quote, EscapesWhatChangesTheDirectionOfTextAndWhatIsNoUtf8) {
  EXPECT_EQ(quote("\u202egnp"), "\"\\xe2\\x80\\xaegnp\"");
  EXPECT_EQ(quote("\u2028"), "\"\\xe2\\x80\\xa8\"");
  EXPECT_EQ(quote("a\x9b"), "\"a\\x9b\"");
  EXPECT_EQ(quote("größe 犬"), "\"größe 犬\"");
}

TEST(Quote, EscapesQuotationMarks) {
  EXPECT_EQ(quote("12\" disc"), R"("12\" disc")");
  EXPECT_EQ(quote("a\\"), R"("a\\")");
}

TEST(Quote, CutsLongTextBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "ä";
  const std::string quoted = quote(text);
  EXPECT_EQ(quoted, "\"" + text.substr(0, 120) + "…\"");
  EXPECT_EQ(quote("x" + text), "\"x" + text.substr(0, 120) + "…\"");
  EXPECT_LT(quote(std::string(100'000, '\x80')).size(), 200u);
}

TEST(Fit, IsSpelledAsInFiles) {
  EXPECT_EQ(fit_from_string(to_string(Fit::squeeze)), Fit::squeeze);
  EXPECT_EQ(fit_from_string(to_string(Fit::crop)), Fit::crop);
  EXPECT_THAT([] { fit_from_string("pad"); },
              ThrowsMessage<UsageError>("unknown fit \"pad\"; known: squeeze, crop"));
}

}  // namespace
}  // namespace offramp::core
