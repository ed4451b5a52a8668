#include "report/svg.h"

#include <gmock/gmock.h>

#include <cmath>

#include "tests/report/xml.h"

namespace offramp::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(ReportSvg, TicksAreRoundAndSpanTheRange) {
  EXPECT_THAT(ticks(0, 1, 4), ElementsAre(0, 0.25, 0.5, 0.75, 1));
  EXPECT_THAT(ticks(3, 3, 2), ElementsAre(3, 3.5, 4));
  for (const double low : {-3.7, 0.0, 0.2713, 88.1, 1e6})
    for (const double range : {1e-6, 0.013, 1.0, 7777.0}) {
      const std::vector<double> values = ticks(low, low + range, 6);
      EXPECT_LE(values.front(), low + 1e-9 * range);
      EXPECT_GE(values.back(), low + range * (1 - 1e-6));
      EXPECT_GE(values.size(), 3u);
      EXPECT_LE(values.size(), 10u);
    }
}

TEST(ReportSvg, TickLabelsHaveTheDecimalsOfTheStep) {
  EXPECT_EQ(tick_label(0.5, 0.25), "0.50");
  EXPECT_EQ(tick_label(20, 10), "20");
  EXPECT_EQ(tick_label(-0.3, 0.1), "−0.3");
}

TEST(ReportSvg, ScalesBothWays) {
  const Scale down{0, 10, 100, 0};
  EXPECT_EQ(down(0), 100);
  EXPECT_EQ(down(2.5), 75);
}

TEST(ReportSvg, NotesAreEscapedAndStayInside) {
  Svg svg(100, 60, "a \"chart\"");
  svg.tooltip({marker(Marker::star, 99, 2, 4, "at"), 99, 2, {"<b>", "2 & 3"}, true});
  const std::string text = svg.str();
  EXPECT_EQ(test::xml_fault(text), "");
  EXPECT_THAT(text, HasSubstr(R"(tabindex="0" role="img" aria-label="&lt;b&gt;, 2 &amp; 3")"));
  EXPECT_THAT(text, Not(HasSubstr("<b>")));
  EXPECT_THAT(text, Not(HasSubstr("x=\"-")));
  EXPECT_THAT(text, Not(HasSubstr("y=\"-")));
}

TEST(ReportSvg, EveryMarkerIsMarkup) {
  for (const Marker shape : {Marker::circle, Marker::square, Marker::triangle, Marker::diamond,
                             Marker::star, Marker::cross, Marker::ring})
    EXPECT_EQ(test::xml_fault(marker(shape, 5, 5, 3, "k")), "");
}

}  // namespace
}  // namespace offramp::report
