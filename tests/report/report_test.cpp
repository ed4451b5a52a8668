#include "report/report.h"

#include <gmock/gmock.h>

#include <cmath>
#include <regex>
#include <set>

#include "core/error.h"
#include "tests/report/example.h"
#include "tests/report/xml.h"

namespace offramp::report {
namespace {

using test::Example;
using testing::HasSubstr;
using testing::Not;

/// Two exits, three classes, four images of classes 0, 0, 2, 1. Logits are logarithms of
/// probabilities, which are multiples of 1/8.
///   exit 1: image 0 correct at 6/8, 1 correct at 6/8, 2 wrong at 4/8, 3 correct at 4/8
///   exit 2: image 0 correct at 6/8, 1 wrong at 6/8, 2 correct at 4/8, 3 correct at 6/8
/// Confidence 0.7 stops images 0 and 1 at exit 1: accuracy 1, harm 0, help 1/4.
void fill_with_known_logits(Example& example) {
  example.labels = {0, 0, 2, 1};
  for (const double eighths : {6, 1, 1, 6, 1, 1, 4, 2, 2, 2, 4, 2,   // exit 1
                               6, 1, 1, 1, 6, 1, 2, 2, 4, 1, 6, 1})  // exit 2
    example.logits.push_back(static_cast<float>(std::log(eighths / 8)));
  policy::Policy& policy = example.input.policy.policy;
  policy = policy::never_stop(2);
  policy.thresholds[0] = 0.7f;
  example.input.policy.aim = "--threshold 0.7";
  test::complete(example, 2, 3, 8);
}

/// The page without its style sheet and images, which are not readable text, and without the heads
/// of columns that every cell repeats for narrow screens.
std::string body_of(const std::string& page) {
  static const std::regex label(" data-l=\"[^\"]*\"");
  return std::regex_replace(page.substr(page.find("</style>")), label, "");
}

std::size_t occurrences(std::string_view text, std::string_view part) {
  std::size_t n = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

/// The ids of the sections, from top to bottom.
std::vector<std::string> sections_of(const std::string& page) {
  static const std::regex section("<section id=\"([a-z]+)\"");
  std::vector<std::string> ids;
  for (std::sregex_iterator it(page.begin(), page.end(), section), end; it != end; ++it)
    ids.push_back((*it)[1]);
  return ids;
}

/// Expects what holds for every page: valid markup, no script, no request, only finite numbers.
void expect_valid_page(const std::string& page) {
  EXPECT_EQ(test::xml_fault(page), "");
  EXPECT_EQ(occurrences(page, "<script"), 0u);
  EXPECT_EQ(occurrences(page, "http:"), 0u);
  EXPECT_EQ(occurrences(page, "https:"), 0u);
  EXPECT_EQ(occurrences(page, "url("), occurrences(page, "url(data:image/png;base64,"));
  EXPECT_EQ(occurrences(page, "@import"), 0u);
  EXPECT_EQ(occurrences(page, " href="),
            occurrences(page, " href=\"#") + occurrences(page, " href=\"data:,\""));
  EXPECT_EQ(occurrences(page, " src="), 0u);
  for (const char* number : {"=\"nan", "nan,", " nan", ">nan", "inf,", "=\"inf", ">inf"})
    EXPECT_EQ(occurrences(body_of(page), number), 0u) << number;
  // The contents link to every section, and to nothing else.
  std::vector<std::string> links;
  static const std::regex link("<li><a href=\"#([a-z]+)\"");
  for (std::sregex_iterator it(page.begin(), page.end(), link), end; it != end; ++it)
    links.push_back((*it)[1]);
  EXPECT_THAT(links, testing::UnorderedElementsAreArray(sections_of(page)));
}

TEST(Report, ForbidsAllButItsOwnStyleAndImages) {
  Example example;
  fill_with_known_logits(example);
  const std::string page = report_html(example.input);
  expect_valid_page(page);
  EXPECT_THAT(page, HasSubstr("<meta http-equiv=\"Content-Security-Policy\" content=\""
                              "default-src 'none'; style-src 'unsafe-inline'; img-src data:\"/>"));
  EXPECT_THAT(page, HasSubstr("<html lang=\"en\">"));
  EXPECT_THAT(page, HasSubstr("name=\"viewport\""));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme: dark"));
}

TEST(Report, SaysTheResultFirst) {
  Example example;
  fill_with_known_logits(example);
  EXPECT_THAT(
      report_html(example.input),
      HasSubstr("This network classifies 100.0\u00a0% of 4 test images correctly at 0.75 of "
                "the plain network’s cost; if all of them run to the last exit, it is "
                "75.0\u00a0% at 1.00."));
}

TEST(Report, ComparesWithThePlainNetwork) {
  Example example;
  fill_with_known_logits(example);
  eval::Baseline control{0.784, 1, eval::Interval{0.7, 0.8}, -0.034, {-0.071, 0.002}};
  example.input.controls.push_back({ReportBaseline::Kind::plain, "cifar<plain>", control});
  EXPECT_THAT(report_html(example.input),
              HasSubstr("The plain network cifar&lt;plain&gt;, which has no early exit, "
                        "classifies 78.4\u00a0% correctly at 1.00. The accuracy of this network "
                        "minus that of the plain one is −3.4 points (95 % interval "
                        "−7.1\u00a0…\u00a0+0.2, paired on the same images)."));
}

TEST(Report, TablesHoldWhatWasCountedByHand) {
  Example example;
  fill_with_known_logits(example);
  const std::string body = body_of(report_html(example.input));
  // Images 0 and 1 leave at exit 1, which is correct for both; the last exit is correct for one.
  EXPECT_THAT(body, HasSubstr("<th scope=\"row\" class=\"words\">exit 1, after layer1</th>"
                              "<td>2</td><td>50.00\u00a0%</td><td>0.500</td>"
                              "<td>100.00\u00a0%</td><td>50.00\u00a0%</td>"));
  // Images 0 and 3 stay correct, image 1 becomes wrong, image 2 becomes correct.
  EXPECT_THAT(body, HasSubstr("<th scope=\"row\" class=\"words\">exit 1 to exit 2</th>"
                              "<td>2</td><td>1</td><td>1</td><td>0</td>"));
  // Exit 1 classifies both images of class 0 correctly, and that of class 2 as class 0.
  EXPECT_THAT(body, HasSubstr("<th scope=\"row\" class=\"words\">class0</th>"
                              "<td>2</td><td>0</td><td>0</td></tr>\n<tr>"));
  EXPECT_THAT(body, HasSubstr("<th scope=\"row\" class=\"words\">class2</th>"
                              "<td>1</td><td>0</td><td>0</td></tr>\n</tbody>"));
  // The exits at which the classes leave.
  EXPECT_THAT(body, HasSubstr("<th scope=\"row\" class=\"words\">class0</th><td>2</td>"
                              "<td>100.00\u00a0%</td><td>100.00\u00a0%</td>"
                              "<td>0.00\u00a0%</td><td>–</td>"));
}

TEST(Report, GivesTheAccuracyOfEachClass) {
  Example example;
  fill_with_known_logits(example);
  const std::string body = body_of(report_html(example.input));
  // The policy classifies all images correctly; the last exit is wrong on one of class 0.
  EXPECT_THAT(body, HasSubstr("<th scope=\"row\" class=\"words\">class0</th><td>2</td>"
                              "<td>100.00\u00a0%</td><td>100.00\u00a0%</td><td>50.00\u00a0%</td>"
                              "<td>+50.00</td>"));
  example.input.policy.aim.clear();  // without a policy, answers are those of the last exit
  example.input.policy.answers = {0, 1, 2, 1};
  EXPECT_THAT(body_of(report_html(example.input)),
              HasSubstr("<th scope=\"row\" class=\"words\">class0</th><td>2</td>"
                        "<td>50.00\u00a0%</td><td>100.00\u00a0%</td></tr>\n"
                        "<tr><th scope=\"row\" class=\"words\">class1</th><td>1</td>"
                        "<td>100.00\u00a0%</td><td>50.00\u00a0%</td></tr>"));
}

TEST(Report, ShowsTheMeasuredSpeed) {
  Example example;
  fill_with_known_logits(example);
  EXPECT_THAT(sections_of(report_html(example.input)), Not(testing::Contains("speed")));
  example.input.speed = {{"by the policy", 1.314, 1829.6, 0.75}, {"to the last exit", 25, 31, 1}};
  example.input.speed_setup = "Measured on <a CPU>.";
  const std::string page = report_html(example.input);
  expect_valid_page(page);
  EXPECT_THAT(page, HasSubstr("Measured on &lt;a CPU&gt;."));
  EXPECT_THAT(page, HasSubstr("<dd class=\"value\">1.31\u00a0ms</dd>"));
  EXPECT_THAT(page, HasSubstr("<dd class=\"value\">1,830\u00a0images/s</dd>"));
  EXPECT_THAT(body_of(page),
              HasSubstr("<th scope=\"row\" class=\"words\">to the last exit</th>"
                        "<td>25.0\u00a0ms</td><td>31.0\u00a0images/s</td><td>1.000</td>"));
}

TEST(Report, CutsNoLongClassNameInItsCharts) {
  Example example;
  test::fill_randomly(example, 2, 3, 40, 8);
  const std::string name = "golden_retriever_dog";
  example.input.classes[1] = name;
  const std::string page = report_html(example.input);
  expect_valid_page(page);
  EXPECT_THAT(page, HasSubstr(">" + name + "</text>"));
  EXPECT_THAT(page, Not(testing::ContainsRegex(">golden_[a-z_]*…</text>")));
}

TEST(Report, CountsDestructiveOverthinking) {
  Example example;
  fill_with_known_logits(example);
  const std::string body = body_of(report_html(example.input));
  // Image 1 is correct at exit 1 and wrong at the last; 2 needs exit 2; 0 and 3 need exit 1.
  EXPECT_THAT(body,
              HasSubstr("Of the last exit’s 1 error, an earlier exit classifies 1 correctly "
                        "(100.0\u00a0%). An image that some exit classifies correctly needs 0.625 "
                        "of the plain network’s cost to reach the first such exit, and 1.000"));
  EXPECT_THAT(body, HasSubstr("<th scope=\"row\" class=\"words\">all classes</th>"
                              "<td>4</td><td>1</td><td>1</td><td>100.0\u00a0%</td>"
                              "<td>3</td><td>1</td><td>0</td>"));
}

TEST(Report, CountsNoDestructiveOverthinkingIfTheLastExitIsAlwaysCorrect) {
  Example example;
  test::fill_randomly(example, 2, 3, 40, 8);
  const std::size_t half = example.logits.size() / 2;
  for (std::size_t i = 0; i < example.labels.size(); ++i)
    for (std::size_t c = 0; c < 3; ++c)
      example.logits[half + 3 * i + c] =
          c == static_cast<std::size_t>(example.labels[i]) ? 9.0f : 0.0f;
  const std::string page = report_html(example.input);
  expect_valid_page(page);
  EXPECT_THAT(page, Not(HasSubstr("Of the last exit’s")));
  EXPECT_THAT(body_of(page), HasSubstr("<td>40</td><td>0</td><td>0</td><td>–</td>"));
}

TEST(Report, EscapesEverythingFromOutside) {
  Example example;
  fill_with_known_logits(example);
  const std::string hostile = "</svg><script>alert(1)</script>\"'&\xff\x01";
  ReportInput& input = example.input;
  input.title = input.data = input.policy.aim = input.policy.guarantee = hostile;
  input.recipe = hostile;
  for (auto& name : input.classes) name = hostile;
  for (auto& place : input.exit_units) place = hostile;
  for (auto& name : input.names) name = hostile;
  input.facts = {{hostile, hostile}};
  input.trainings = {{hostile, {{1, 2.0, {0.5, 0.5}, {0.4, 0.4}}}}};
  input.controls.push_back({ReportBaseline::Kind::other, hostile, {}});
  const std::string page = report_html(input);
  expect_valid_page(page);
  EXPECT_THAT(page, HasSubstr("&lt;/svg&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"
                              "\ufffd␁"));
}

TEST(Report, OneExitHasNothingToChoose) {
  Example example;
  test::fill_randomly(example, 1, 4, 50, 8);
  example.input.no_curves = "The network has no early exit.";
  const std::string page = report_html(example.input);
  expect_valid_page(page);
  EXPECT_THAT(page, HasSubstr("The network has no early exit."));
  EXPECT_THAT(page, Not(HasSubstr("Correct at an earlier exit")));
  EXPECT_THAT(sections_of(page),
              testing::ElementsAre("cost", "classes", "exits", "gallery", "confusion", "facts"));
}

TEST(Report, SaysWhatIsMissing) {
  Example example;
  test::fill_randomly(example, 2, 3, 40, 8);
  ReportInput& input = example.input;
  input.policy.aim.clear();
  const std::string page = report_html(input);
  expect_valid_page(page);
  EXPECT_THAT(page, HasSubstr("the model has no policy to stop earlier"));
  EXPECT_THAT(page, HasSubstr("offramp calibrate"));
  EXPECT_THAT(page, HasSubstr("No sweep curves: There is no tune image."));
  EXPECT_THAT(sections_of(page), Not(testing::Contains("training")));
  EXPECT_THAT(sections_of(page), Not(testing::Contains("leaving")));
  EXPECT_THAT(page, HasSubstr("The recipe of the training is not known."));
}

TEST(Report, SaysWhetherItWasExecuted) {
  Example example;
  fill_with_known_logits(example);
  EXPECT_THAT(report_html(example.input), HasSubstr("It was replayed here"));
  example.input.policy.executed = true;
  EXPECT_THAT(report_html(example.input), HasSubstr("It was executed here"));
}

TEST(Report, MarksTheCurvesAsReplayed) {
  Example example;
  fill_with_known_logits(example);
  eval::Curve curve{policy::Criterion::margin, policy::Ensemble::off, {}};
  for (int i = 0; i < 200; ++i)
    curve.points.push_back(
        {0.005f * static_cast<float>(i), 0.5 + 0.001 * i, 0.5 + 0.002 * i, 0.01, 0.02, {0.5, 0.5}});
  example.input.curves = {curve};
  const std::string page = report_html(example.input);
  expect_valid_page(page);
  EXPECT_THAT(page, HasSubstr("margin (replayed)"));
  EXPECT_THAT(body_of(page),
              HasSubstr("<th scope=\"row\" class=\"words\">margin</th><td>0.0000</td>"
                        "<td>0.500</td><td>50.00\u00a0%</td><td>1.00\u00a0%</td>"
                        "<td>2.00\u00a0%</td>"));
}

TEST(Report, LeavesOutMostOfManyClasses) {
  Example example;
  test::fill_randomly(example, 2, 40, 400, 8);
  const std::string page = report_html(example.input);
  expect_valid_page(page);
  EXPECT_THAT(page, HasSubstr("Shown are the 30 of 40 classes that leave last."));
  EXPECT_THAT(page,
              HasSubstr("Shown are the 30 of 40 classes with the highest destructive share."));
  EXPECT_THAT(page, HasSubstr("the complete table is left out"));
}

TEST(Report, ClassesWithoutImagesAreLeftOut) {
  Example example;
  test::fill_randomly(example, 2, 3, 40, 8);
  for (auto& label : example.labels) label = label == 2 ? 0 : label;
  const std::string page = report_html(example.input);
  expect_valid_page(page);
  EXPECT_THAT(page, HasSubstr("1 of the classes has no test image and is left out."));
}

TEST(Report, ImagesOfEverySizeAreShownAtMost96Wide) {
  Example example;
  test::fill_randomly(example, 2, 3, 30, 8);
  std::set<std::int64_t> asked;
  example.input.image = [&](std::int64_t i) {
    EXPECT_TRUE(asked.insert(i).second) << "asked twice for " << i;
    const int width = 1 + static_cast<int>(i) * 37, height = 400 - 13 * static_cast<int>(i);
    return image::Image{
        width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * width * height), 99)};
  };
  const std::string page = report_html(example.input);
  expect_valid_page(page);
  EXPECT_EQ(occurrences(page, "background-image:url(data:"), asked.size());
}

TEST(Report, EqualInputGivesEqualBytes) {
  Example a, b;
  test::fill_randomly(a, 3, 5, 100, 8);
  test::fill_randomly(b, 3, 5, 100, 8);
  EXPECT_EQ(report_html(a.input), report_html(b.input));
}

TEST(Report, StaysUnderFiveMegabytes) {
  Example cifar, large, deep;
  test::fill_randomly(cifar, 3, 10, 10000, 32);
  EXPECT_LT(report_html(cifar.input).size(), 2'000'000u);
  test::fill_randomly(large, 3, 10, 1000, 224);
  EXPECT_LT(report_html(large.input).size(), 5'000'000u);
  test::fill_randomly(deep, 8, 30, 3000, 96);
  const std::string page = report_html(deep.input);
  expect_valid_page(page);
  EXPECT_LT(page.size(), 5'000'000u);
}

TEST(Report, RefusesSizesThatDoNotFit) {
  const auto expect_refused = [](const std::function<void(ReportInput&)>& change) {
    Example example;
    fill_with_known_logits(example);
    change(example.input);
    EXPECT_THROW(report_html(example.input), Error);
  };
  expect_refused([](ReportInput& input) { input.classes.pop_back(); });
  expect_refused([](ReportInput& input) { input.exit_units.pop_back(); });
  expect_refused([](ReportInput& input) { input.costs.push_back(1); });
  expect_refused([](ReportInput& input) { input.names.pop_back(); });
  expect_refused([](ReportInput& input) { input.image = nullptr; });
  expect_refused([](ReportInput& input) { input.test.exits = 3; });
  expect_refused([](ReportInput& input) { input.test.labels = {}; });
  expect_refused([](ReportInput& input) { input.metrics.exits.pop_back(); });
  expect_refused([](ReportInput& input) { input.metrics.images = 5; });
  expect_refused([](ReportInput& input) { input.policy.exit_index.pop_back(); });
  expect_refused([](ReportInput& input) { input.policy.exit_index[0] = 2; });
  expect_refused([](ReportInput& input) { input.policy.answers[0] = 3; });
  expect_refused([](ReportInput& input) { input.policy.policy = policy::never_stop(3); });
  expect_refused([](ReportInput& input) { input.policy.metrics.shares.clear(); });
}

}  // namespace
}  // namespace offramp::report
