#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace offramp::report {

/// One possible early exit: a head of one kind at one place of a network.
struct ExitPlace {
  std::string name;       ///< name of the place: "layer2.1"
  std::string kind;       ///< kind of the head
  double body_cost = 0;   ///< relative cost of the layers up to the place
  double head_cost = 0;   ///< relative cost of the head
  double accuracy = 0;    ///< accuracy of the head alone
  double cost_alone = 1;  ///< mean relative cost of the network with this exit only, for the aim
  /// Whether a network with this exit as its only early exit meets the aim and some images stop
  /// there.
  bool met_alone = true;
  bool chosen = false;
};

/// The accuracy and saving of exits along the depth of a network, and which were chosen.
struct ExitPlacesInput {
  std::string title;  ///< name of the network
  std::string aim;    ///< what the exits were chosen for, as flags
  /// Sentences about the result of the search, and about the result on images that it did not use.
  std::vector<std::string> sentences;
  bool label_free = false;           ///< accuracy is agreement with the last exit
  double last_accuracy = 0;          ///< accuracy of the last exit
  std::vector<ExitPlace> places;     ///< in the order of the network
  std::vector<double> best_of_size;  ///< cost of the best choice of 0, 1, 2, … early exits
};

/// Writes the page of `offramp exits` as HTML: along the depth of the network, the accuracy of each
/// head and the cost that its exit alone saves. The page loads nothing and runs no script.
std::string exit_places_html(const ExitPlacesInput& input);

}  // namespace offramp::report
