#include "report/exit_places.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/report/xml.h"

namespace offramp::report {
namespace {

using testing::HasSubstr;
using testing::Not;

ExitPlacesInput example() {
  ExitPlacesInput input;
  input.title = "<plain>.safetensors";
  input.aim = "--max-accuracy-drop 0.005";
  input.sentences = {"Chosen: layer1.1 & others."};
  input.last_accuracy = 0.94;
  input.places = {{"layer1.0", "spp", 0.13, 0.001, 0.41, 1, false, false},
                  {"layer1.0", "conv-spp", 0.13, 0.017, 0.62, 0.91, true, false},
                  {"layer1.1", "spp", 0.27, 0.001, 0.55, 0.97, true, false},
                  {"layer1.1", "conv-spp", 0.27, 0.017, 0.74, 0.8, true, true}};
  input.best_of_size = {1, 0.8};
  return input;
}

TEST(ExitPlacesPage, ShowsEveryPlaceAndIsMarkup) {
  const std::string page = exit_places_html(example());
  EXPECT_EQ(test::xml_fault(page), "");
  EXPECT_THAT(page, HasSubstr("&lt;plain&gt;.safetensors"));
  EXPECT_THAT(page, HasSubstr("layer1.1 &amp; others"));
  EXPECT_THAT(page, HasSubstr("conv-spp after layer1.1, chosen, accuracy 74.00"));
  EXPECT_THAT(page, HasSubstr("no image may stop"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("agreement")));
}

TEST(ExitPlacesPage, NamesAgreementInsteadOfAccuracyWithoutLabels) {
  ExitPlacesInput input = example();
  input.label_free = true;
  const std::string page = exit_places_html(input);
  EXPECT_EQ(test::xml_fault(page), "");
  EXPECT_THAT(page, HasSubstr("agreement with the last exit"));
  EXPECT_THAT(page, Not(HasSubstr("accuracy 74.00")));
}

TEST(ExitPlacesPage, ShowsANetworkWithOnePlace) {
  ExitPlacesInput input = example();
  input.places.resize(1);
  input.best_of_size = {1};
  EXPECT_EQ(test::xml_fault(exit_places_html(input)), "");
}

}  // namespace
}  // namespace offramp::report
