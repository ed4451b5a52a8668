#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "report/page.h"
#include "report/sections.h"
#include "report/svg.h"
#include "report/table.h"
#include "report/text.h"

namespace offramp::report {
namespace {

constexpr int kMostClasses = 30, kMostPairs = 20;
// With up to this number of classes, cells are large enough for their counts.
constexpr int kClassesWithNumbers = 12;

/// A confusion matrix, with a row for each label and a column for each answer.
struct Matrix {
  std::string name;
  std::vector<std::int64_t> counts;  ///< [classes, classes]
  std::size_t classes = 0;

  std::int64_t at(std::size_t label, std::size_t answer) const {
    return counts[label * classes + answer];
  }
  std::int64_t images(std::size_t label) const {
    std::int64_t sum = 0;
    for (std::size_t answer = 0; answer < classes; ++answer) sum += at(label, answer);
    return sum;
  }
};

std::vector<Matrix> matrices_of(const ReportContext& context) {
  const policy::LogitsView& test = context.input.test;
  const auto classes = static_cast<std::size_t>(test.classes);
  std::vector<Matrix> matrices;
  if (context.has_policy()) {
    Matrix policy{"The policy’s answers", std::vector<std::int64_t>(classes * classes), classes};
    for (std::size_t i = 0; i < test.labels.size(); ++i)
      ++policy.counts[static_cast<std::size_t>(test.labels[i]) * classes +
                      static_cast<std::size_t>(context.input.policy.answers[i])];
    matrices.push_back(std::move(policy));
  }
  for (int k = 0; k < context.exits(); ++k)
    matrices.push_back(
        {"Exit " + fmt::format("{}", k + 1), eval::confusion_matrix(test, k), classes});
  return matrices;
}

/// The classes to draw, in increasing order: all classes, or those with most errors as label or as
/// answer if there are more than kMostClasses.
std::vector<std::size_t> shown_classes(const Matrix& matrix) {
  std::vector<std::size_t> classes(matrix.classes);
  std::iota(classes.begin(), classes.end(), std::size_t{0});
  if (matrix.classes <= kMostClasses) return classes;
  std::vector<std::int64_t> errors(matrix.classes);
  for (std::size_t label = 0; label < matrix.classes; ++label)
    for (std::size_t answer = 0; answer < matrix.classes; ++answer)
      if (label != answer) {
        errors[label] += matrix.at(label, answer);
        errors[answer] += matrix.at(label, answer);
      }
  std::ranges::stable_sort(classes, std::greater<>{}, [&](std::size_t c) { return errors[c]; });
  classes.resize(kMostClasses);
  std::ranges::sort(classes);
  return classes;
}

class Heatmap {
 public:
  Heatmap(const ReportContext& context, const Matrix& matrix, std::vector<std::size_t> classes)
      : context_(context),
        matrix_(matrix),
        classes_(std::move(classes)),
        numbers_(static_cast<int>(classes_.size()) <= kClassesWithNumbers),
        cell_(std::clamp(300.0 / static_cast<double>(classes_.size()), 11.0, 44.0)),
        left_(16 + width_of_names()),
        top_(24 + width_of_names() * 0.75),
        svg_(left_ + width_with_names() + 4, top_ + side() + 4,
             matrix.name + ": confusion matrix") {}

  std::string str() {
    svg_.add(text_at(left_, 8, "answer →", Anchor::start, "axis"));
    svg_.add(text_at(0, top_ - 8, "true ↓", Anchor::start, "axis"));
    for (std::size_t i = 0; i < classes_.size(); ++i) {
      const double middle = cell_ * (static_cast<double>(i) + 0.5);
      const std::string name = context_.class_name(static_cast<int>(classes_[i]), kName);
      svg_.add(text_at(left_ - 6, top_ + middle, name, Anchor::end, css()));
      svg_.add(fmt::format(R"svg(<g transform="translate({} {}) rotate(-50)">{}</g>)svg",
                           px(left_ + middle), px(top_ - 6),
                           text_at(0, 0, name, Anchor::start, css())));
      for (std::size_t j = 0; j < classes_.size(); ++j) draw_cell(i, j);
    }
    svg_.add(fmt::format(R"(<path class="grid" d="M{} {}h{}v{}h-{}Z"/>)", px(left_), px(top_),
                         px(side()), px(side()), px(side())));
    return svg_.str();
  }

 private:
  static constexpr int kName = 20;

  double side() const { return cell_ * static_cast<double>(classes_.size()); }
  std::string_view css() const { return numbers_ ? "" : "tiny"; }
  double width_of_names() const {
    double wide = 20;
    for (const std::size_t c : classes_)
      wide = std::max(wide, text_width(context_.class_name(static_cast<int>(c), kName)));
    return wide * (static_cast<int>(classes_.size()) <= kClassesWithNumbers ? 1 : 0.8);
  }

  /// Width of the cells, and of what the slanted names above them take at the right.
  double width_with_names() const {
    constexpr double kCosine = 0.643;  // the cosine of 50 degrees
    double wide = side();
    for (std::size_t i = 0; i < classes_.size(); ++i)
      wide = std::max(wide, cell_ * (static_cast<double>(i) + 0.5) + 6 +
                                kCosine * text_width(context_.class_name(
                                              static_cast<int>(classes_[i]), kName)));
    return wide;
  }

  void draw_cell(std::size_t row, std::size_t column) {
    const std::size_t label = classes_[row], answer = classes_[column];
    const std::int64_t n = matrix_.at(label, answer), all = matrix_.images(label);
    if (n == 0) return;
    const double share = static_cast<double>(n) / static_cast<double>(all);
    const bool is_correct = row == column;
    // Errors are rare. With the square root, shares of 1 % and 5 % can be told apart.
    const double strength = is_correct ? 0.12 + 0.88 * share * share : std::sqrt(share);
    const std::string tint =
        fmt::format(R"(class="{}" fill-opacity="{:.2f}")", is_correct ? "good" : "bad",
                    std::clamp(strength, 0.06, 1.0));
    const double x = left_ + cell_ * static_cast<double>(column);
    const double y = top_ + cell_ * static_cast<double>(row);
    const std::vector<std::string> note = {
        fmt::format("{} classified as {}", context_.class_name(static_cast<int>(label), 18),
                    context_.class_name(static_cast<int>(answer), 18)),
        fmt::format("{} of {}, {}", count(n), count(all, "image"), percent(share, 1))};
    if (!numbers_) {  // a plain <title> keeps the page small, because there are hundreds of cells
      svg_.add(square(x, y, tint, "<title>" + escape(note[0] + ": " + note[1]) + "</title>"));
      return;
    }
    svg_.add(square(x, y, tint));
    svg_.add(text_at(x + cell_ / 2 - 0.5, y + cell_ / 2, fmt::format("{}", n), Anchor::middle,
                     strength > 0.55 ? (is_correct ? "small on-good" : "small on-bad") : "small"));
    svg_.tooltip({square(x, y, R"(class="at")"), x + cell_ / 2, y, note, true});
  }

  std::string square(double x, double y, std::string_view attributes,
                     std::string_view content = "") const {
    return fmt::format(R"(<rect {} x="{}" y="{}" width="{}" height="{}">{}</rect>)", attributes,
                       px(x), px(y), px(cell_ - 1), px(cell_ - 1), content);
  }

  const ReportContext& context_;
  const Matrix& matrix_;
  std::vector<std::size_t> classes_;
  bool numbers_;
  double cell_, left_, top_;
  Svg svg_;
};

Table whole_table(const ReportContext& context, const Matrix& matrix) {
  std::vector<std::string> heads = {"true ↓ answer →"};
  for (std::size_t c = 0; c < matrix.classes; ++c)
    heads.push_back(context.class_name(static_cast<int>(c)));
  Table table(matrix.name, heads);
  for (std::size_t label = 0; label < matrix.classes; ++label) {
    std::vector<std::string> cells = {context.class_name(static_cast<int>(label))};
    for (std::size_t answer = 0; answer < matrix.classes; ++answer)
      cells.push_back(count(matrix.at(label, answer)));
    table.row(cells);
  }
  return table;
}

/// The pairs of classes that are confused most often. It is shown if the complete table is too
/// large.
Table pairs_table(const ReportContext& context, const Matrix& matrix) {
  // Each cell with its negative count: sorted, the largest count is first, and equal counts are in
  // the order of the matrix.
  std::vector<std::pair<std::int64_t, std::size_t>> cells;
  for (std::size_t i = 0; i < matrix.counts.size(); ++i)
    if (matrix.counts[i] > 0 && i / matrix.classes != i % matrix.classes)
      cells.emplace_back(-matrix.counts[i], i);
  std::ranges::sort(cells);
  cells.resize(std::min<std::size_t>(cells.size(), kMostPairs));
  Table table(matrix.name + ": confused most often", {"true", "answer", "images", "share of class"},
              2);
  for (const auto& [minus, i] : cells) {
    const std::size_t label = i / matrix.classes;
    table.row(
        {context.class_name(static_cast<int>(label)),
         context.class_name(static_cast<int>(i % matrix.classes)), count(-minus),
         percent(static_cast<double>(-minus) / static_cast<double>(matrix.images(label)), 2)});
  }
  return table;
}

}  // namespace

std::string confusion_section(const ReportContext& context) {
  const std::vector<Matrix> matrices = matrices_of(context);
  const bool many = context.input.test.classes > kMostClasses;
  std::string out = paragraph(
      "Rows are true classes, columns are answers, numbers are counts of images. Blue: classified "
      "correctly. Orange: classified as another class. A stronger colour means more images.");
  if (many)
    out += paragraph(
        fmt::format("Shown are the {} of {} classes that are confused most often, and the {} pairs "
                    "that are confused most often; the complete table is left out.",
                    kMostClasses, count(context.input.test.classes), kMostPairs),
        "soft");
  out += "<div class=\"panels large\">\n";
  const std::vector<std::size_t> classes = shown_classes(matrices.back());
  for (const Matrix& matrix : matrices)
    out += fmt::format("<div><h3>{}</h3>\n{}</div>\n", escape(matrix.name),
                       figure(Heatmap(context, matrix, classes).str(),
                              many ? pairs_table(context, matrix) : whole_table(context, matrix)));
  return section("confusion", "Confusions between classes", out + "</div>\n");
}

}  // namespace offramp::report
