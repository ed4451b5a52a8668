#include "cli/classify_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

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

/// The double with the shortest decimal text that stands for `value`: 0.1 rather than
/// 0.10000000149011612.
double short_double(float value) { return std::stod(fmt::format("{}", value)); }

/// The indices of the most probable classes, most probable first.
std::vector<std::size_t> top_classes(const std::vector<float>& probabilities, int top_k) {
  std::vector<std::size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, [&](std::size_t a, std::size_t b) { return probabilities[a] > probabilities[b]; });
  order.resize(std::min(order.size(), static_cast<std::size_t>(top_k)));
  return order;
}

json top_json(const std::vector<float>& probabilities, const AnswerFormat& format) {
  json top = json::array();
  for (const std::size_t c : top_classes(probabilities, format.top_k))
    top.push_back({{"class", format.classes.at(c)},
                   {"class_index", c},
                   {"probability", short_double(probabilities[c])}});
  return top;
}

std::string top_text(const std::vector<float>& probabilities, const AnswerFormat& format) {
  std::string text;
  for (const std::size_t c : top_classes(probabilities, format.top_k))
    text += fmt::format("{}{} {:.3f}", text.empty() ? "  top: " : ", ",
                        printable(format.classes.at(c)), probabilities[c]);
  return text;
}

}  // namespace

std::string to_json_lines(const ClassifiedBatch& batch, const AnswerFormat& format,
                          const std::optional<Guarantee>& guarantee) {
  std::string lines;
  for (const ClassifiedImage& one : batch.images) {
    json object = {{"image", one.image}};
    if (one.answer.ok()) {
      object["class"] = one.answer.class_name;
      object["probability"] = short_double(one.answer.probability);
      object["exit"] = one.answer.exit;
      object["relative_cost"] = one.answer.relative_cost;
      object["ms_per_image"] = batch.ms_per_image;
      if (format.top_k > 0) object["top"] = top_json(one.answer.probabilities, format);
      json& probabilities = object["probabilities"] = json::array();
      for (const float p : one.answer.probabilities) probabilities.push_back(short_double(p));
      object["guarantee"] = guarantee_json(guarantee);
    } else {
      object["error"] = error_with_path(one);
    }
    lines += object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  return lines;
}

std::string to_text(const std::vector<ClassifiedImage>& answers, const AnswerFormat& format) {
  std::size_t widest_image = 0, widest_class = 0;
  for (const ClassifiedImage& one : answers) {
    if (!one.answer.ok()) continue;
    widest_image = std::max(widest_image, one.image.size());
    widest_class = std::max(widest_class, one.answer.class_name.size());
  }
  std::string text;
  for (const ClassifiedImage& one : answers)
    if (one.answer.ok())
      text += fmt::format("{:<{}}  {:<{}}  probability {:.3f}  exit {}  relative cost {:.3f}{}\n",
                          printable(one.image), widest_image, printable(one.answer.class_name),
                          widest_class, one.answer.probability, one.answer.exit,
                          one.answer.relative_cost,
                          format.top_k > 0 ? top_text(one.answer.probabilities, format) : "");
  return text;
}

std::string error_lines(const std::vector<ClassifiedImage>& answers) {
  std::string lines;
  for (const ClassifiedImage& one : answers)
    if (!one.answer.ok()) lines += fmt::format("offramp: {}\n", printable(error_with_path(one)));
  return lines;
}

}  // namespace offramp::cli
