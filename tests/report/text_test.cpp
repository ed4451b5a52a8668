#include "report/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <vector>

namespace offramp::report {
namespace {

std::string base64_of(std::string_view text) {
  return base64(std::as_bytes(std::span(text.data(), text.size())));
}

TEST(ReportText, EscapesMarkup) {
  EXPECT_EQ(escape("</svg><script a='b\"&"), "&lt;/svg&gt;&lt;script a=&#39;b&quot;&amp;");
}

TEST(ReportText, ShowsVisibleSignsForInvisibleCharacters) {
  EXPECT_EQ(escape("a\nb\x1b\x7f"), "a␊b␛␡");
  EXPECT_EQ(escape("\u202egnp.exe"), "\ufffdgnp.exe");  // this character reverses the text after it
  EXPECT_EQ(escape(std::string_view("a\0b", 3)), "a␀b");
}

TEST(ReportText, ReplacesBrokenUtf8) {
  EXPECT_EQ(escape("a\xff"), "a\ufffd");
  EXPECT_EQ(escape("\xc3"), "\ufffd");                      // incomplete
  EXPECT_EQ(escape("\xc0\xbc"), "\ufffd\ufffd");            // overlong <
  EXPECT_EQ(escape("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");  // a surrogate
  EXPECT_EQ(escape("\xf4\x90\x80\x80"), "\ufffd\ufffd\ufffd\ufffd");
  EXPECT_EQ(escape("é猫🐈"), "é猫🐈");
}

TEST(ReportText, KeepsLinesOfRecipes) {
  EXPECT_EQ(escape_lines("[a]\n\tb = \"<\"\r"), "[a]\n\tb = &quot;&lt;&quot;␍");
}

TEST(ReportText, CutsByColumns) {
  EXPECT_EQ(shorten("automobile", 10), "automobile");
  EXPECT_EQ(shorten("automobile", 5), "auto…");
  EXPECT_EQ(shorten("猫猫猫", 6), "猫猫猫");
  EXPECT_EQ(shorten("猫猫猫", 5), "猫猫…");
}

TEST(ReportText, WritesNumbersForPeople) {
  EXPECT_EQ(percent(0.8765, 1), "87.7\u00a0%");
  EXPECT_EQ(percent(eval::Interval{0.5, 0.625}, 1), "50.0\u00a0…\u00a062.5\u00a0%");
  EXPECT_EQ(points(-0.0031, 1), "−0.3");
  EXPECT_EQ(points(0.0031, 1), "+0.3");
  EXPECT_EQ(points(-0.00001, 1), "0.0");
  EXPECT_EQ(fixed(NAN, 2), "–");
  EXPECT_EQ(count(1234567), "1,234,567");
  EXPECT_EQ(count(-1000), "−1,000");
  EXPECT_EQ(count(999), "999");
  EXPECT_EQ(count(1, "image"), "1 image");
  EXPECT_EQ(count(2, "image"), "2 images");
}

// RFC 4648, section 10.
TEST(ReportText, EncodesBase64) {
  EXPECT_EQ(base64_of(""), "");
  EXPECT_EQ(base64_of("f"), "Zg==");
  EXPECT_EQ(base64_of("fo"), "Zm8=");
  EXPECT_EQ(base64_of("foo"), "Zm9v");
  EXPECT_EQ(base64_of("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64_of("\xff\xef\xbf"), "/++/");
}

}  // namespace
}  // namespace offramp::report
