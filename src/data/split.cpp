#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "core/error.h"
#include "core/random.h"
#include "data/dataset.h"

namespace offramp::data {
namespace {

enum class Use { train, tune, certify };

// All copies of one image in a class.
struct Group {
  std::uint64_t key = 0;   // random number that decides the order of the groups
  std::uint64_t hash = 0;  // hash of the image; decides the order if two keys are equal
  std::int64_t copies = 0;
};

std::vector<Group> groups_of_class(const Dataset& dataset, std::int64_t label, std::uint64_t seed) {
  std::unordered_map<std::uint64_t, std::int64_t> copies;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    const auto n = static_cast<std::size_t>(i);
    if (dataset.labels[n] == label) ++copies[dataset.hashes[n]];
  }
  std::vector<Group> groups;
  for (const auto& [hash, count] : copies) {
    groups.push_back({core::KeyedRandom(seed, hash).next(), hash, count});
  }
  std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    return a.key != b.key ? a.key < b.key : a.hash < b.hash;
  });
  return groups;
}

/// Assigns groups to one use until it has about `target` images. A group of more than twice as many
/// copies is not taken, because it could put most of the class into this use.
/// @return the number of images of the class with this use
std::int64_t assign_use(const std::vector<Group>& groups, Use use, std::int64_t target,
                        std::unordered_map<std::uint64_t, Use>& uses) {
  std::int64_t count = 0;
  for (const Group& group : groups) {
    const auto known = uses.find(group.hash);  // set by an earlier class that has copies too
    if (known != uses.end() && known->second == use) count += group.copies;
  }
  for (const Group& group : groups) {
    if (count >= target) break;
    if (group.copies > 2 * target || uses.contains(group.hash)) continue;
    uses[group.hash] = use;
    count += group.copies;
  }
  return count;
}

}  // namespace

Splits split_training(const Dataset& dataset, std::uint64_t seed) {
  constexpr std::int64_t kMinImages = 25;  // the fewest images of which 4 % is one image
  std::unordered_map<std::uint64_t, Use> uses;
  for (std::size_t label = 0; label < dataset.classes.size(); ++label) {
    const auto groups = groups_of_class(dataset, static_cast<std::int64_t>(label), seed);
    std::int64_t images = 0;
    for (const Group& group : groups) images += group.copies;
    if (images < kMinImages) {
      throw Error(fmt::format("class \"{}\" has {} training images, at least {} are needed",
                              dataset.classes[label], images, kMinImages));
    }
    const auto share = [images](double fraction) {
      return static_cast<std::int64_t>(std::lround(static_cast<double>(images) * fraction));
    };
    const std::int64_t tune = assign_use(groups, Use::tune, share(0.04), uses);
    const std::int64_t certify = assign_use(groups, Use::certify, share(0.08), uses);
    // All remaining groups are for training. This is recorded now, so that a later class with
    // copies of them cannot assign them to another use.
    for (const Group& group : groups) uses.emplace(group.hash, Use::train);
    if (tune == 0 || certify == 0 || tune + certify >= images) {
      throw Error(
          fmt::format("class \"{}\" has too few different training images to split: {} among {}",
                      dataset.classes[label], groups.size(), images));
    }
  }
  Splits splits;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    switch (uses.at(dataset.hashes[static_cast<std::size_t>(i)])) {
      case Use::train:
        splits.train.push_back(i);
        break;
      case Use::tune:
        splits.tune.push_back(i);
        break;
      case Use::certify:
        splits.certify.push_back(i);
        break;
    }
  }
  return splits;
}

}  // namespace offramp::data
