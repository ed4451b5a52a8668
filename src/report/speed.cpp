#include <fmt/format.h>

#include "report/page.h"
#include "report/sections.h"
#include "report/table.h"
#include "report/text.h"

namespace offramp::report {

std::string ms_text(const SpeedRow& row) {
  return fixed(row.ms_alone, row.ms_alone < 10 ? 2 : 1) + "\u00a0ms";
}

std::string rate_text(const SpeedRow& row) {
  return row.images_per_second < 100
             ? fixed(row.images_per_second, 1) + "\u00a0images/s"
             : count(static_cast<std::int64_t>(row.images_per_second + 0.5)) + "\u00a0images/s";
}

std::string speed_section(const ReportContext& context) {
  const ReportInput& input = context.input;
  if (input.speed.empty()) return "";
  Table table("Time on this machine", {"", "one image alone", "many images", "relative cost"});
  for (const SpeedRow& row : input.speed)
    table.row({row.name, ms_text(row), rate_text(row), fixed(row.relative_cost, 3)});
  return section("speed", "Speed on this machine",
                 paragraph(input.speed_setup) + table.html() +
                     paragraph("The times include the decisions at the exits, but not decoding, "
                               "resizing and normalising. “offramp bench” measures longer and "
                               "gives percentiles.",
                               "soft"));
}

}  // namespace offramp::report
