#include <fmt/format.h>

#include <algorithm>

#include "eval/overthinking.h"
#include "report/page.h"
#include "report/sections.h"
#include "report/svg.h"
#include "report/table.h"
#include "report/text.h"

namespace offramp::report {
namespace {

constexpr double kTop = 44, kNode = 12, kGap = 18;

/// A band of the diagram: the images between two exits whose answers change in the same way.
struct Band {
  double from = 0, to = 0;  ///< y of its upper edge at the left and at the right exit
  double height = 0;
  std::string_view css;
  std::int64_t images = 0;
  std::string name;
};

class Diagram {
 public:
  Diagram(const ReportContext& context, double width)
      : context_(context),
        svg_(width, width > 600 ? 400 : 320, "Correct and wrong answers from exit to exit"),
        tall_(svg_.height() - kTop - 52 - kGap),
        step_((width - 2 * kEdge - kNode) / (context.exits() - 1)) {}

  std::string str() {
    for (int k = 0; k < context_.last(); ++k) draw_bands(k);
    for (int k = 0; k < context_.exits(); ++k) draw_node(k);
    return svg_.str();
  }

 private:
  static constexpr double kEdge = 22;

  double left_of(int exit_index) const { return kEdge + step_ * exit_index; }
  double height_of(std::int64_t images) const {
    return tall_ * static_cast<double>(images) / static_cast<double>(context_.predictions.images());
  }
  double correct_height(int exit_index) const {
    std::int64_t correct = 0;
    for (std::int64_t i = 0; i < context_.predictions.images(); ++i)
      correct += context_.predictions.is_correct(exit_index, i);
    return height_of(correct);
  }

  void draw_node(int exit_index) {
    const double x = left_of(exit_index), correct = correct_height(exit_index);
    const auto bar = [&](std::string_view css, double y, double height) {
      svg_.add(fmt::format(R"(<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>)", css, px(x),
                           px(y), px(kNode), px(std::max(0.0, height))));
    };
    bar("good", kTop, correct);
    bar("bad", kTop + correct + kGap, tall_ - correct);
    const double middle = x + kNode / 2;
    const bool crowded = step_ < 56;
    svg_.add(
        text_at(middle, svg_.height() - 10,
                crowded ? fmt::format("{}", exit_index + 1) : ReportContext::exit_name(exit_index),
                Anchor::middle, "strong"));
  }

  void draw_bands(int k) {
    const eval::Flow flow = offramp::eval::flow(context_.predictions, k, k + 1);
    const double from_wrong = kTop + correct_height(k) + kGap;
    const double to_wrong = kTop + correct_height(k + 1) + kGap;
    const double a = height_of(flow.stays_correct), b = height_of(flow.becomes_wrong);
    const double c = height_of(flow.becomes_correct), d = height_of(flow.stays_wrong);
    draw(k, {kTop, kTop, a, "good weak", flow.stays_correct, "stay correct"});
    draw(k, {from_wrong + c, to_wrong + b, d, "bad weak", flow.stays_wrong, "stay wrong"});
    draw(k, {from_wrong, kTop + a, c, "good", flow.becomes_correct, "wrong → correct"});
    draw(k, {kTop + a, to_wrong, b, "bad", flow.becomes_wrong, "correct → wrong"});
    const double middle = left_of(k) + (step_ + kNode) / 2;
    const bool crowded = step_ < 170;
    svg_.add(text_at(middle, kTop - 16,
                     (crowded ? "↑ " : "↑ wrong → correct ") + count(flow.becomes_correct),
                     Anchor::middle, "good strong"));
    svg_.add(text_at(middle, svg_.height() - 32,
                     (crowded ? "↓ " : "↓ correct → wrong ") + count(flow.becomes_wrong),
                     Anchor::middle, "bad strong"));
  }

  void draw(int k, const Band& band) {
    if (band.images == 0) return;
    const double x0 = left_of(k) + kNode, x1 = left_of(k + 1), middle = (x0 + x1) / 2;
    const double high = std::max(band.height, 1.0);
    const auto path = [&](std::string_view css) {
      return fmt::format(
          R"(<path class="{}" d="M{x0} {a}C{m} {a} {m} {b} {x1} {b}V{bh}C{m} {bh} {m} {ah} {x0} {ah}Z"/>)",
          css, fmt::arg("x0", px(x0)), fmt::arg("x1", px(x1)), fmt::arg("m", px(middle)),
          fmt::arg("a", px(band.from)), fmt::arg("b", px(band.to)),
          fmt::arg("ah", px(band.from + high)), fmt::arg("bh", px(band.to + high)));
    };
    svg_.add(path(band.css));
    const double share =
        static_cast<double>(band.images) / static_cast<double>(context_.predictions.images());
    svg_.tooltip({path("at"),
                  middle,
                  (band.from + band.to) / 2,
                  {fmt::format("exit {} to exit {}", k + 1, k + 2), band.name,
                   fmt::format("{}, {}", count(band.images, "image"), percent(share, 2))},
                  true});
  }

  const ReportContext& context_;
  Svg svg_;
  double tall_, step_;
};

Table flows_table(const ReportContext& context) {
  Table table("Changes of the answers between exits",
              {"from, to", "stay correct", "correct → wrong", "wrong → correct", "stay wrong"});
  const auto add = [&](int from, int to) {
    const eval::Flow flow = offramp::eval::flow(context.predictions, from, to);
    table.row({fmt::format("exit {} to exit {}", from + 1, to + 1), count(flow.stays_correct),
               count(flow.becomes_wrong), count(flow.becomes_correct), count(flow.stays_wrong)});
  };
  for (int k = 0; k < context.last(); ++k) add(k, k + 1);
  for (int k = 0; k + 1 < context.last(); ++k) add(k, context.last());
  return table;
}

}  // namespace

std::string overthinking_section(const ReportContext& context) {
  constexpr const char* kHeading = "Overthinking";
  if (context.exits() == 1) return "";  // with one exit, no answer can change
  const std::vector<eval::OverthinkingCounts> classes =
      eval::overthinking_by_class(context.input.test);
  const eval::OverthinkingCounts all = eval::sum_of_counts(classes);
  std::string out = paragraph(
      "From one exit to the next, some wrong answers become correct and some correct ones become "
      "wrong. Here every image runs through all exits; the strong bands are the images whose "
      "answer changes.");
  out += tiles({{"Wasteful", percent(all.rate(all.wasteful()), 2),
                 "of the images: an earlier exit is already correct, and so is the last"},
                {"Destructive", percent(all.rate(all.destructive()), 2),
                 "of the images: an earlier exit is correct, the last one wrong"},
                {"Any exit correct", percent(all.rate(all.oracle()), 2),
                 "of the images: the accuracy of an oracle that knows the label"}});
  out += figure(at_both_widths([&](double width) { return Diagram(context, width).str(); }) +
                    legend({{box_swatch("good"), "correct; strong band, ↑: becomes correct"},
                            {box_swatch("bad"), "wrong; strong band, ↓: becomes wrong"}}),
                flows_table(context));
  std::string text;
  if (all.errors() > 0)
    text = fmt::format("Of the last exit’s {}, an earlier exit classifies {} correctly ({}). ",
                       count(all.errors(), "error"), count(all.destructive()),
                       percent(all.destroyed_errors(), 1));
  if (all.oracle() > 0)
    text += fmt::format(
        "An image that some exit classifies correctly needs {} of the plain network’s cost to "
        "reach the first such exit, and {} to reach the last exit.",
        fixed(all.needed_cost(context.input.costs), 3), fixed(context.input.costs.back(), 3));
  out += paragraph(text);
  out += overthinking_by_class_figure(context, classes);
  return section("overthinking", kHeading, out);
}

}  // namespace offramp::report
