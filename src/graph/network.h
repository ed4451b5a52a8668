#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"

namespace offramp {

enum class Stem {
  cifar,     ///< 3×3, stride 1, no max pool
  imagenet,  ///< 7×7, stride 2, then a 3×3 max pool of stride 2
};

/// What a backbone is built from. A backbone may refuse what it cannot do (UsageError).
struct BackboneOptions {
  Shape input = {3, 32, 32};
  std::int64_t classes = 10;
  Stem stem = Stem::cifar;
  int width = 64;  ///< channels of the first stage
};

/// A backbone: returns a plain network cut into units, one segment for each place where an exit
/// could be. Only the last segment has a head: the network's own classifier. See
/// docs/adding-a-backbone.md.
struct Backbone {
  std::string name;
  std::string summary;
  Graph (*build)(const BackboneOptions& options);
};

/// All backbones, sorted by name: the list in src/graph/CMakeLists.txt. backbones/<file>.cpp
/// defines `std::vector<Backbone> <file>_backbones()`.
const std::vector<Backbone>& backbones();

struct HeadOptions {
  std::string prefix;  ///< "exits.1": parameters are "exits.1.…"
  std::vector<int> spp_levels = {1, 2, 4};
  std::int64_t classes = 10;
};

/// A head: appends nodes that turn `segment.feature` (of shape `feature`) into logits.
struct Head {
  std::string name;
  std::string summary;
  void (*append)(Segment& segment, const Shape& feature, const HeadOptions& options);
};

/// All heads: heads/<file>.cpp defines `Head <file>_head()`. Names as above.
const std::vector<Head>& heads();

/// A network to build: the content of a recipe's [network].
struct NetworkSpec {
  std::string backbone = "resnet18";
  BackboneOptions options;
  /// Only the first so many units of the backbone, then a head as its classifier: a truncated
  /// network, what an early exit has to be better than. 0: the whole backbone.
  int units = 0;
  /// Where to exit: "2" = after the 2nd unit (residual block), "15%" = after the unit whose end is
  /// nearest to that share of the plain network's MACs. Empty: the plain network.
  std::vector<std::string> exits;
  /// Of every early exit, or one kind for all of them. A truncated network's classifier has the
  /// last, after those of the early exits where there is more than one.
  std::vector<std::string> heads = {"spp"};
  std::vector<int> spp_levels = {1, 2, 4};
};

/// Builds a network with its early exits; the last exit is the backbone's own classifier.
/// @throws UsageError for an unknown backbone or head (naming the nearest), heads that are not as
///         many as the exits, exits or units beyond the network, exits repeated or out of order, an
///         input smaller than 32, sizes out of range
Graph build_network(const NetworkSpec& spec);

/// Adds early exits to any network already cut into units, as build_network does. Parameters of the
/// k-th early exit (from 1) are called "exits.<k>.…".
/// @param kinds  of heads: one for all exits, or one for each
Graph with_exits(const Graph& units, const std::vector<std::string>& exits,
                 const std::vector<std::string>& kinds, const std::vector<int>& spp_levels);

}  // namespace offramp
