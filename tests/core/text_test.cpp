#include "core/text.h"

#include <gtest/gtest.h>

#include <limits>

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

TEST(System, NamesTheCpu) { EXPECT_FALSE(cpu_name().empty()); }

}  // namespace
}  // namespace offramp::core
