#include "cli/classify_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/guarantee_output.h"
#include "cli/terminal.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;

/// The error of an image with its path in front. Errors of unreadable files contain the path
/// already.
std::string error_with_path(const ClassifiedImage& one) {
  const std::string place = one.image + ": ";
  return one.answer.error.starts_with(place) ? one.answer.error : place + one.answer.error;
}

}  // namespace

std::string to_json_lines(const std::vector<ClassifiedImage>& answers,
                          const std::optional<Guarantee>& guarantee) {
  std::string lines;
  for (const ClassifiedImage& one : answers) {
    json object = {{"image", one.image}};
    if (one.answer.ok()) {
      object["class"] = one.answer.class_name;
      object["probability"] = one.answer.probability;
      object["exit"] = one.answer.exit;
      object["relative_cost"] = one.answer.relative_cost;
      object["guarantee"] = guarantee_json(guarantee);
    } else {
      object["error"] = error_with_path(one);
    }
    lines += object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  return lines;
}

std::string to_text(const std::vector<ClassifiedImage>& answers) {
  std::size_t widest_image = 0, widest_class = 0;
  for (const ClassifiedImage& one : answers) {
    if (!one.answer.ok()) continue;
    widest_image = std::max(widest_image, one.image.size());
    widest_class = std::max(widest_class, one.answer.class_name.size());
  }
  std::string text;
  for (const ClassifiedImage& one : answers)
    if (one.answer.ok())
      text += fmt::format("{:<{}}  {:<{}}  probability {:.3f}  exit {}  relative cost {:.3f}\n",
                          printable(one.image), widest_image, printable(one.answer.class_name),
                          widest_class, one.answer.probability, one.answer.exit,
                          one.answer.relative_cost);
  return text;
}

std::string error_lines(const std::vector<ClassifiedImage>& answers) {
  std::string lines;
  for (const ClassifiedImage& one : answers)
    if (!one.answer.ok()) lines += fmt::format("offramp: {}\n", printable(error_with_path(one)));
  return lines;
}

}  // namespace offramp::cli
