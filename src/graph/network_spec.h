#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"

namespace offramp::graph {

/// The first layers of a backbone.
enum class Stem {
  cifar,     ///< 3×3, stride 1, no max pool
  imagenet,  ///< 7×7, stride 2, then a 3×3 max pool of stride 2
};

/// The options of a backbone. A backbone throws UsageError for options that it does not support.
struct BackboneOptions {
  Shape input = {3, 32, 32};
  std::int64_t classes = 10;
  Stem stem = Stem::cifar;
  int width = 64;  ///< channels of the first stage
};

/// A kind of backbone. `build` returns a plain network with one segment (unit) for each place where
/// an exit is possible. Only the last segment has a head, the network's own classifier. See
/// docs/adding-a-backbone.md.
struct Backbone {
  std::string name;
  std::string summary;
  Graph (*build)(const BackboneOptions& options);
};

/// Returns all backbones, sorted by name. src/graph/CMakeLists.txt lists their files, and
/// backbones/<file>.cpp defines `std::vector<Backbone> <file>_backbones()`.
const std::vector<Backbone>& backbones();

/// The options of a head.
struct HeadOptions {
  std::string prefix;  ///< "exits.1" for parameters called "exits.1.…"
  std::vector<int> spp_levels = {1, 2, 4};
  std::int64_t classes = 10;
};

/// A kind of head. `append` adds the nodes to `segment.head` that compute logits from
/// `segment.feature`, whose shape is `feature`.
struct Head {
  std::string name;
  std::string summary;
  void (*append)(Segment& segment, const Shape& feature, const HeadOptions& options);
};

/// Returns all heads. src/graph/CMakeLists.txt lists their files, and heads/<file>.cpp defines
/// `Head <file>_head()`.
const std::vector<Head>& heads();

/// The description of a network to build, as in the section [network] of a recipe.
struct NetworkSpec {
  std::string backbone = "resnet18";
  BackboneOptions options;
  /// If above 0, the network is truncated: only this number of units of the backbone is used, with
  /// a head as the classifier. Early exits are compared with such networks. 0: the whole backbone.
  int units = 0;
  /// The places of the early exits: "2" is after the 2nd unit (residual block), "15%" after the
  /// unit whose end is nearest to that share of the plain network's MACs. Empty: the plain network.
  std::vector<std::string> exits;
  /// The kinds of heads: one for each early exit, or one for all. In a truncated network the list
  /// has one more element, the classifier, unless one kind is used for all.
  std::vector<std::string> heads = {"spp"};
  std::vector<int> spp_levels = {1, 2, 4};
};

/// Builds a network with its early exits. The last exit is the backbone's own classifier.
/// @throws UsageError if a backbone or head is unknown (with the most similar name), the number of
/// heads does not match the exits, an exit or the number of units is beyond the network, exits
/// repeat or are out of order, the input is smaller than 32×32, or a size is out of range
Graph build_network(const NetworkSpec& spec);

/// Adds early exits to a network, as build_network() does. Parameters of the k-th early exit (from
/// 1) are called "exits.<k>.…".
/// @param units  a network with one segment for each place where an exit is possible
/// @param kinds  names of heads: one for all exits, or one for each
Graph with_exits(const Graph& units, const std::vector<std::string>& exits,
                 const std::vector<std::string>& kinds, const std::vector<int>& spp_levels);

}  // namespace offramp::graph
