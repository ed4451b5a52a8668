#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "report/page.h"
#include "report/sections.h"
#include "report/text.h"

namespace offramp::report {
namespace {

constexpr int kImages = 24;       // number of images of a gallery
constexpr int kLongestSide = 96;  // longest side of an image, in pixels
// Limit on the pixels of all images; a pixel takes up to 4 bytes as base64.
constexpr double kPixelBudget = 0.65e6;
constexpr int kCrispBelow = 64;  // smaller images are enlarged without smoothing

struct Gallery {
  std::string name;
  std::vector<std::int64_t> images;
};

/// The longest side, in pixels, at which all images together stay within the budget.
int longest_side(std::size_t images) {
  const double fits =
      std::sqrt(kPixelBudget / static_cast<double>(std::max<std::size_t>(1, images)));
  return std::clamp(static_cast<int>(fits), 24, kLongestSide);
}

image::Image reduced(image::Image image, int longest) {
  if (image.width < 1 || image.height < 1) return {1, 1, {128, 128, 128}};
  const int side = std::max(image.width, image.height);
  if (side <= longest) return image;
  const auto scaled = [&](int length) {
    return std::max(1, static_cast<int>(std::lround(static_cast<double>(length) * longest / side)));
  };
  return image::resize(image, scaled(image.width), scaled(image.height), core::Fit::squeeze);
}

/// One CSS rule per image, so that cards which show the same image share its bytes.
/// @param crisp  receives for each image whether it is shown without smoothing
std::string image_rules(const ReportContext& context, const std::vector<Gallery>& galleries,
                        std::map<std::int64_t, bool>& crisp) {
  for (const Gallery& gallery : galleries)
    for (const std::int64_t image : gallery.images) crisp[image] = false;
  const int longest = longest_side(crisp.size());
  std::string out;
  for (auto& [index, is_crisp] : crisp) {
    const image::Image image = reduced(context.input.image(index), longest);
    is_crisp = std::max(image.width, image.height) < kCrispBelow;
    out += fmt::format(".i{}{{background-image:url(data:image/png;base64,{})}}\n", index,
                       base64(image::encode_png(image)));
  }
  return out;
}

std::string answer_row(const ReportContext& context, int exit_index, std::int64_t image) {
  const eval::Prediction& prediction = context.predictions.at(exit_index, image);
  const bool correct = context.predictions.is_correct(exit_index, image);
  const bool left = context.has_policy() &&
                    context.input.policy.exit_index[static_cast<std::size_t>(image)] == exit_index;
  // A confidence below 0.9995 is not rounded up to 100.
  const int confidence = static_cast<int>(
      std::min(std::floor(100 * prediction.confidence + 0.5),
               prediction.odds_against > 0 && prediction.confidence < 0.9995 ? 99.0 : 100.0));
  return fmt::format(
      "<li class=\"{}{}\" style=\"--p:{}%\"><b>{}</b><i>{}</i><span>{}</span><em>{}</em></li>",
      correct ? 'y' : 'n', left ? " left" : "", confidence, exit_index + 1, correct ? "✓" : "✗",
      escape(context.class_name(prediction.answer)), confidence);
}

std::string card(const ReportContext& context, std::int64_t image, bool crisp) {
  const std::string label = context.class_name(context.predictions.label(image), 40);
  const std::string from = shorten(context.input.names[static_cast<std::size_t>(image)], 120);
  std::string rows;
  for (int k = 0; k < context.exits(); ++k) rows += answer_row(context, k, image);
  return fmt::format(
      "<li class=\"card\"><div class=\"px{} i{}\" role=\"img\" aria-label=\"Test image {}: {}\" "
      "title=\"{}\"></div><p>{}</p><ol>{}</ol></li>\n",
      crisp ? " crisp" : "", image, count(image + 1), escape(label), escape(from), escape(label),
      rows);
}

std::string grid(const ReportContext& context, const Gallery& gallery,
                 const std::map<std::int64_t, bool>& crisp) {
  if (gallery.images.empty()) return paragraph("None.", "soft");
  std::string out = fmt::format("<ul class=\"gallery\" tabindex=\"0\" aria-label=\"{}\">\n",
                                escape(gallery.name));
  for (const std::int64_t image : gallery.images) out += card(context, image, crisp.at(image));
  return out + "</ul>\n";
}

/// One group of images per exit. The groups between the first and the last exit are folded.
std::string by_exit(const ReportContext& context, std::span<const Gallery> galleries,
                    const std::map<std::int64_t, bool>& crisp) {
  std::string out;
  for (std::size_t k = 0; k < galleries.size(); ++k)
    out += folded(ReportContext::exit_name(static_cast<int>(k)), grid(context, galleries[k], crisp),
                  k == 0 || k + 1 == galleries.size());
  return out;
}

std::string explanation(const ReportContext& context) {
  std::string text =
      "Under each image are its true class and the answer of each exit, correct (✓) or wrong (✗), "
      "with its confidence in per cent";
  const auto& temperatures = context.input.policy.policy.temperatures;
  if (std::ranges::any_of(temperatures, [](float t) { return t != 1.0f; }))
    text += " at the policy’s temperature";
  text += ".";
  if (context.has_policy()) text += " The exit at which the image leaves has a filled number.";
  return paragraph(text);
}

}  // namespace

std::string gallery_section(const ReportContext& context, std::string& style) {
  const auto exits = static_cast<std::size_t>(context.exits());
  std::vector<Gallery> galleries;  // correct at each exit, wrong at each exit, overthought
  // Without a limit, most of the images would be of the easiest class.
  const int classes = static_cast<int>(context.input.classes.size());
  const int most_of_class = (kImages + classes - 1) / classes;
  for (const bool correct : {true, false})
    for (int k = 0; k < context.exits(); ++k)
      galleries.push_back(
          {fmt::format("{}, classified {} with the highest confidence", ReportContext::exit_name(k),
                       correct ? "correctly" : "wrongly"),
           eval::most_confident(context.predictions, k, correct, kImages, most_of_class)});
  galleries.push_back({"correct at an earlier exit, wrong at the last",
                       eval::destructive_images(context.predictions, kImages)});
  std::map<std::int64_t, bool> crisp;
  style += image_rules(context, galleries, crisp);

  const std::span<const Gallery> all = galleries;
  std::string out = explanation(context);
  out += "<h3>Classified correctly with the highest confidence</h3>\n" +
         by_exit(context, all.subspan(0, exits), crisp);
  out += "<h3>Classified wrongly with the highest confidence</h3>\n" +
         by_exit(context, all.subspan(exits, exits), crisp);
  if (exits > 1)
    out += "<h3>Correct at an earlier exit, wrong at the last</h3>\n" +
           paragraph(
               "These answers became wrong on the way to the last exit. Images with the "
               "highest confidence at the earlier exit come first.") +
           grid(context, galleries.back(), crisp);
  return section("gallery", "Images", out);
}

}  // namespace offramp::report
