#include <algorithm>
#include <array>
#include <map>

#include "core/error.h"
#include "data/sources.h"

namespace offramp::data::detail {
namespace {

constexpr int kSide = 32;
constexpr std::size_t kPlane = std::size_t{kSide} * kSide;

const std::vector<std::string> kClasses10 = {"airplane", "automobile", "bird",  "cat",  "deer",
                                             "dog",      "frog",       "horse", "ship", "truck"};

const std::vector<std::string> kClasses100 = {
    "apple",       "aquarium_fish", "baby",      "bear",       "beaver",       "bed",
    "bee",         "beetle",        "bicycle",   "bottle",     "bowl",         "boy",
    "bridge",      "bus",           "butterfly", "camel",      "can",          "castle",
    "caterpillar", "cattle",        "chair",     "chimpanzee", "clock",        "cloud",
    "cockroach",   "couch",         "crab",      "crocodile",  "cup",          "dinosaur",
    "dolphin",     "elephant",      "flatfish",  "forest",     "fox",          "girl",
    "hamster",     "house",         "kangaroo",  "keyboard",   "lamp",         "lawn_mower",
    "leopard",     "lion",          "lizard",    "lobster",    "man",          "maple_tree",
    "motorcycle",  "mountain",      "mouse",     "mushroom",   "oak_tree",     "orange",
    "orchid",      "otter",         "palm_tree", "pear",       "pickup_truck", "pine_tree",
    "plain",       "plate",         "poppy",     "porcupine",  "possum",       "rabbit",
    "raccoon",     "ray",           "road",      "rocket",     "rose",         "sea",
    "seal",        "shark",         "shrew",     "skunk",      "skyscraper",   "snail",
    "snake",       "spider",        "squirrel",  "streetcar",  "sunflower",    "sweet_pepper",
    "table",       "tank",          "telephone", "television", "tiger",        "tractor",
    "train",       "trout",         "tulip",     "turtle",     "wardrobe",     "whale",
    "willow_tree", "wolf",          "woman",     "worm"};

struct BinaryFormat {
  std::string name;
  const std::vector<std::string>& classes;
  std::vector<std::string> train_files, test_files;
  std::int64_t train_images, test_images;  // number of images per file
  // Number of bytes before the pixels of a record; the last of them is the label.
  std::size_t label_bytes;

  std::size_t record_bytes() const { return label_bytes + 3 * kPlane; }
};

/// Maps the name of each file in the folder of member `marker` to its index in members().
std::map<std::string, std::size_t, std::less<>> files_beside(const FileTree& tree,
                                                             std::size_t marker) {
  const std::string& path = tree.members()[marker].path;
  const std::string_view prefix = folder_of(path);
  std::map<std::string, std::size_t, std::less<>> files;
  for (std::size_t i = 0; i < tree.members().size(); ++i) {
    const Member& member = tree.members()[i];
    if (member.is_folder || !member.path.starts_with(prefix)) continue;
    const std::string_view rest = std::string_view(member.path).substr(prefix.size());
    if (rest.find('/') == std::string_view::npos) files.emplace(rest, i);
  }
  return files;
}

/// Other data may also have the name "train.bin" or "test.bin". The file counts as CIFAR-100's if
/// it consists of whole records or if the other of the two files is in the same folder.
bool is_cifar100(const FileTree& tree, const Member& member, const BinaryFormat& layout) {
  if (member.bytes > 0 && member.bytes % layout.record_bytes() == 0) return true;
  const std::string_view name = base_name(member.path);
  const auto& other = name == layout.test_files[0] ? layout.train_files : layout.test_files;
  const std::string sibling =
      member.path.substr(0, member.path.size() - name.size()) + other.front();
  return std::ranges::binary_search(tree.members(), sibling, {}, &Member::path);
}

void refuse_other_versions(const FileTree& tree) {
  for (const Member& member : tree.members()) {
    const std::string_view name = base_name(member.path);
    const bool cifar100 = member.path.find("cifar-100") != std::string::npos;
    const char* wanted = cifar100 ? "cifar-100-binary.tar.gz" : "cifar-10-binary.tar.gz";
    if (name == "batches.meta" || (cifar100 && name == "meta")) {
      throw Error(
          fmt::format("this is the Python version of CIFAR; use the binary version, {}", wanted));
    }
    if (name == "batches.meta.mat" || (cifar100 && name == "meta.mat")) {
      throw Error(
          fmt::format("this is the Matlab version of CIFAR; use the binary version, {}", wanted));
    }
  }
}

/// Copies the records of one file to images `first`, `first` + 1, … of the data set.
void copy_records(const BinaryFormat& layout, const std::string& file,
                  std::span<const std::byte> bytes, std::size_t first, Dataset& dataset) {
  const std::size_t record_bytes = layout.record_bytes();
  const std::size_t count = bytes.size() / record_bytes;
  const auto* src = reinterpret_cast<const std::uint8_t*>(bytes.data());
  for (std::size_t i = 0; i < count; ++i, src += record_bytes) {
    const std::uint8_t label = src[layout.label_bytes - 1];
    if (label >= layout.classes.size()) {
      throw Error(fmt::format("{}: image {} has label {}, the largest allowed is {}", file, i,
                              label, layout.classes.size() - 1));
    }
    const std::size_t n = first + i;
    dataset.labels[n] = label;
    dataset.names[n] = fmt::format("{}#{}", file, i);
    const std::uint8_t* planes = src + layout.label_bytes;
    std::uint8_t* dst = dataset.pixels.data() + n * 3 * kPlane;
    for (std::size_t p = 0; p < kPlane; ++p) {
      for (std::size_t c = 0; c < 3; ++c) dst[p * 3 + c] = planes[c * kPlane + p];
    }
    dataset.hashes[n] = image_hash(kSide, kSide, {dst, 3 * kPlane});
  }
}

LoadedData load(const FileTree& tree, std::size_t marker, const BinaryFormat& layout, Part part) {
  const auto files = files_beside(tree, marker);
  // The files of both parts are checked, whichever part is loaded, so that an incomplete copy of
  // the data set is refused.
  std::vector<std::size_t> wanted;
  const auto check = [&](const std::vector<std::string>& names, std::int64_t images, bool take) {
    const auto size = static_cast<std::uint64_t>(images) * layout.record_bytes();
    for (const std::string& name : names) {
      const auto found = files.find(name);
      if (found == files.end()) throw Error(fmt::format("{}: {} is missing", layout.name, name));
      const Member& member = tree.members()[found->second];
      if (!member.problem.empty()) throw Error(fmt::format("{}: {}", name, member.problem));
      if (member.bytes != size) {
        throw Error(
            fmt::format("{}: the file has {} bytes, expected {}", name, member.bytes, size));
      }
      if (take) wanted.push_back(found->second);
    }
  };
  const bool train = part == Part::train;
  check(layout.train_files, layout.train_images, train);
  check(layout.test_files, layout.test_images, !train);

  const std::vector<std::string>& names = train ? layout.train_files : layout.test_files;
  const auto per_file = static_cast<std::size_t>(train ? layout.train_images : layout.test_images);
  LoadedData loaded;
  loaded.source = layout.name + " (binary)";
  loaded.sizes = {kSide, kSide, kSide, kSide};
  Dataset& dataset = loaded.dataset;
  dataset.height = dataset.width = kSide;
  dataset.classes = layout.classes;
  const std::size_t count = per_file * names.size();
  check_memory(static_cast<std::int64_t>(count), kSide, kSide);
  dataset.pixels.resize(count * 3 * kPlane);
  dataset.labels.resize(count);
  dataset.names.resize(count);
  dataset.hashes.resize(count);
  tree.read(wanted, [&](std::size_t i, const Content& content) {
    if (!content.problem.empty()) throw Error(fmt::format("{}: {}", names[i], content.problem));
    if (content.bytes.size() != per_file * layout.record_bytes()) {
      throw Error(fmt::format("{}: the file has {} bytes, expected {}", names[i],
                              content.bytes.size(), per_file * layout.record_bytes()));
    }
    copy_records(layout, names[i], content.bytes, i * per_file, dataset);
  });
  return loaded;
}

}  // namespace

std::optional<LoadedData> load_cifar(const FileTree& tree, Part part,
                                     std::int64_t images_per_file) {
  const BinaryFormat cifar10{"CIFAR-10",
                             kClasses10,
                             {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                              "data_batch_4.bin", "data_batch_5.bin"},
                             {"test_batch.bin"},
                             images_per_file,
                             images_per_file,
                             1};
  const BinaryFormat cifar100{"CIFAR-100",
                              kClasses100,
                              {"train.bin"},
                              {"test.bin"},
                              5 * images_per_file,
                              images_per_file,
                              2};
  for (std::size_t i = 0; i < tree.members().size(); ++i) {
    const Member& member = tree.members()[i];
    if (member.is_folder) continue;
    const std::string_view name = base_name(member.path);
    for (const BinaryFormat* layout : {&cifar10, &cifar100}) {
      for (const auto* files : {&layout->train_files, &layout->test_files}) {
        if (std::find(files->begin(), files->end(), name) == files->end()) continue;
        if (layout == &cifar100 && !is_cifar100(tree, member, cifar100)) continue;
        return load(tree, i, *layout, part);
      }
    }
  }
  refuse_other_versions(tree);
  return std::nullopt;
}

}  // namespace offramp::data::detail
