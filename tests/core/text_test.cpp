#include "core/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/numbers.h"
#include "core/system.h"

namespace offramp::core {
namespace {

TEST(Text, GroupsDigits) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(555422720), "555,422,720");
  EXPECT_EQ(with_commas(-1000), "-1,000");
  EXPECT_EQ(with_commas(-100), "-100");
  EXPECT_EQ(with_commas(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(Text, GivesBytesInMillions) {
  EXPECT_EQ(megabytes(16'123'456), "16.1 MB");
  EXPECT_EQ(megabytes(0), "0.0 MB");
}

TEST(Text, GivesATimeInTwoUnits) {
  EXPECT_EQ(duration_text(0), "0 s");
  EXPECT_EQ(duration_text(59.4), "59 s");
  EXPECT_EQ(duration_text(59.5), "1 min 0 s");
  EXPECT_EQ(duration_text(125), "2 min 5 s");
  EXPECT_EQ(duration_text(3600 + 20 * 60 + 59), "1 h 20 min");
  EXPECT_EQ(duration_text(-1), "-1 s");
  EXPECT_EQ(duration_text(1e300), "1e+300 s");
}

TEST(Text, SuggestsANameThatIsNearAndElseListsAll) {
  const std::vector<std::string> known = {"confidence", "margin"};
  EXPECT_EQ(suggestion("confidense", known), "; did you mean \"confidence\"?");
  EXPECT_EQ(suggestion("patience", known), "");
  EXPECT_EQ(unknown_name("criterion", "confidense", known),
            "unknown criterion \"confidense\"; did you mean \"confidence\"?");
  EXPECT_EQ(unknown_name("criterion", "a\nb", known),
            "unknown criterion \"a\\x0ab\"; known: confidence, margin");
}

TEST(Text, FindsTheValueWithAName) {
  const std::vector<std::pair<int, std::string>> entries = {{1, "one"}, {2, "two"}};
  EXPECT_EQ(find_by_name(entries, "number", "two"), 2);
  EXPECT_THAT([&] { find_by_name(entries, "number", "seven"); },
              testing::ThrowsMessage<UsageError>("unknown number \"seven\"; known: one, two"));
}

TEST(Printable, ReplacesWhatATerminalWouldExecute) {
  EXPECT_EQ(printable("a\x1b[2J\n\x7f"), "a␛[2J␊␡");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "␀");
  EXPECT_EQ(printable("\u009b2J"), "�2J") << "CSI in one character";
  EXPECT_EQ(printable("\u202egnp.exe\u2066"), "�gnp.exe�") << "changes the direction of text";
  EXPECT_EQ(printable("\u2028"), "�") << "a line separator";
  EXPECT_EQ(printable("größe 犬 🐕"), "größe 犬 🐕");
}

TEST(Printable, ReplacesBytesThatAreNoUtf8) {
  EXPECT_EQ(printable("a\xff"
                      "b"),
            "a�b");
  EXPECT_EQ(printable("\x9b"), "�");
  EXPECT_EQ(printable("\xc0\x9b"), "��") << "an overlong form of the escape character";
  EXPECT_EQ(printable("\xe2\x80"), "��") << "cut off";
}

TEST(IsPrintable, IsWhatPrintableLeavesUnchanged) {
  EXPECT_TRUE(is_printable("layer1.0 größe"));
  EXPECT_FALSE(is_printable("\u009b2J"));
  EXPECT_FALSE(is_printable("a\xff"));
  EXPECT_FALSE(is_printable("a\nb"));
}

TEST(Numbers, TheMedianIsTheMiddleOfTheSorted) {
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 3, 2}), 3);
}

TEST(Numbers, ParsesTextThatIsANumber) {
  EXPECT_EQ(parse_number<int>("-12"), -12);
  EXPECT_EQ(parse_number<double>("2.5"), 2.5);
  EXPECT_EQ(parse_number<std::uint64_t>("18446744073709551615"), UINT64_MAX);
  for (const char* text : {"", "x", "12x", " 12", "12 ", "+12", "99999999999"})
    EXPECT_EQ(parse_number<int>(text), std::nullopt) << text;
}

TEST(Numbers, TakesANumberFromTheBeginning) {
  std::string_view text = "0.5 and more";
  EXPECT_EQ(take_number<double>(text), 0.5);
  EXPECT_EQ(text, " and more");
  EXPECT_EQ(take_number<double>(text), std::nullopt);
  EXPECT_EQ(text, " and more");
}

TEST(Numbers, TheShortestDecimalIsTheSameFloat) {
  EXPECT_EQ(shortest_decimal(0.4914f), 0.4914);
  EXPECT_EQ(shortest_decimal(16777216), 16777216);
  for (const float value : {1.0f / 3, 1e-45f, std::numeric_limits<float>::max(), -0.1f})
    EXPECT_EQ(static_cast<float>(shortest_decimal(value)), value);
}

TEST(System, NamesTheCpu) { EXPECT_FALSE(cpu_name().empty()); }

}  // namespace
}  // namespace offramp::core
