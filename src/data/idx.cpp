#include <algorithm>
#include <array>
#include <unordered_set>

#include "core/error.h"
#include "core/parallel.h"
#include "data/sources.h"

namespace offramp::data::detail {
namespace {

const std::vector<std::string> kDigits = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

const std::vector<std::string> kFashion = {"T-shirt/top", "Trouser",   "Pullover", "Dress",
                                           "Coat",        "Sandal",    "Shirt",    "Sneaker",
                                           "Bag",         "Ankle boot"};

// SHA-256 of the decompressed label files of Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017).
constexpr std::string_view kFashionTrainLabels =
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9";
constexpr std::string_view kFashionTestLabels =
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34";

/// The four files of a data set, in the order of kStems.
enum File : std::size_t { train_images, train_labels, test_images, test_labels, kFiles };
constexpr std::array<std::string_view, kFiles> kStems = {
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte"};

/// Returns which of the four files has this name, or kFiles if none has. The name may have a dot
/// instead of a hyphen before "idx", and ".gz" at its end.
File file_of(std::string_view name) {
  if (name.ends_with(".gz")) name.remove_suffix(3);
  std::string stem(name);
  const std::size_t dot = stem.find(".idx");
  if (dot != std::string::npos) stem[dot] = '-';
  return static_cast<File>(std::find(kStems.begin(), kStems.end(), stem) - kStems.begin());
}

/// One file of the data set, decompressed.
struct IdxFile {
  std::string name;  ///< the file's name in its folder, for messages
  std::vector<std::byte> bytes;

  std::uint32_t number(std::size_t index) const {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value = value << 8 | static_cast<std::uint32_t>(bytes[4 * index + i]);
    return value;
  }
};

/// Checks the header of a file, and the length of the file against it.
/// @param dimensions  1 for labels, 3 for images
/// @return the size of each dimension
std::vector<std::uint64_t> check_header(const IdxFile& file, std::size_t dimensions) {
  // Magic number of unsigned bytes; its last byte is the number of dimensions.
  constexpr std::uint32_t kUnsignedBytes = 0x800;
  constexpr std::uint64_t kMaxSide = 4096;
  const std::size_t header = 4 + 4 * dimensions;
  if (file.bytes.size() < header) {
    throw Error(fmt::format("{}: the file has {} bytes, shorter than the IDX header of {} bytes",
                            file.name, file.bytes.size(), header));
  }
  const std::uint32_t magic = file.number(0);
  const auto expected = static_cast<std::uint32_t>(kUnsignedBytes | dimensions);
  if (magic != expected) {
    throw Error(
        fmt::format("{}: magic number {:08x}, expected {:08x} (unsigned bytes in {} dimension{})",
                    file.name, magic, expected, dimensions, dimensions == 1 ? "" : "s"));
  }
  std::vector<std::uint64_t> sizes;
  for (std::size_t d = 0; d < dimensions; ++d) sizes.push_back(file.number(1 + d));
  if (sizes[0] == 0) throw Error(fmt::format("{}: its header states 0 entries", file.name));
  std::uint64_t bytes = sizes[0];  // cannot overflow: the product is below 2^32 * 2^24
  for (std::size_t d = 1; d < dimensions; ++d) {
    if (sizes[d] == 0 || sizes[d] > kMaxSide) {
      throw Error(fmt::format("{}: images of {}x{}, each side must be from 1 to {}", file.name,
                              sizes[2], sizes[1], kMaxSide));
    }
    bytes *= sizes[d];
  }
  if (file.bytes.size() != header + bytes) {
    throw Error(fmt::format("{}: the file has {} bytes, expected {} from its header", file.name,
                            file.bytes.size(), header + bytes));
  }
  return sizes;
}

/// The files of one data set, as indices into members().
struct IdxDataSet {
  std::array<std::optional<std::size_t>, kFiles> files;
  std::optional<std::size_t> class_names;
};

/// Finds the files of the data set in a tree; nullopt if it holds none of the four.
/// @throws Error if there are several data sets, or two files of class names
std::optional<IdxDataSet> find_data_set(const FileTree& tree) {
  std::optional<std::string> folder;
  IdxDataSet data_set;
  for (std::size_t i = 0; i < tree.members().size(); ++i) {
    const Member& member = tree.members()[i];
    const File file = file_of(base_name(member.path));
    if (member.is_folder || file == kFiles) continue;
    const std::string here(folder_of(member.path));
    if (folder && *folder != here) {
      throw Error(fmt::format("several IDX data sets, in {} and {}: give the path of one of them",
                              core::quote(folder->empty() ? "." : *folder),
                              core::quote(here.empty() ? "." : here)));
    }
    folder = here;
    // A file and its .gz in the same folder have the same content; the decompressed one is used.
    auto& known = data_set.files[file];
    if (!known || tree.members()[*known].path.ends_with(".gz")) known = i;
  }
  if (!folder) return std::nullopt;
  for (std::size_t i = 0; i < tree.members().size(); ++i) {
    const Member& member = tree.members()[i];
    const std::string_view name = base_name(member.path);
    if (member.is_folder || folder_of(member.path) != *folder) continue;
    if (name != "labels.txt" && name != "classes.txt") continue;
    if (data_set.class_names)
      throw Error("classes.txt and labels.txt both exist: remove one of them");
    data_set.class_names = i;
  }
  return data_set;
}

/// Reads class names from a text file with one name per line.
std::vector<std::string> parse_class_names(const IdxFile& file) {
  constexpr std::size_t kMaxNames = 256;  // a label is stored in one byte
  std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
  std::vector<std::string> names;
  std::unordered_set<std::string> known;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const std::size_t number = names.size() + 1;
    if (number > kMaxNames)
      throw Error(fmt::format("{}: more than {} class names", file.name, kMaxNames));
    if (line.empty()) throw Error(fmt::format("{}: line {} is empty", file.name, number));
    for (const char c : line) {
      if (static_cast<unsigned char>(c) < 0x20)
        throw Error(fmt::format("{}: line {} has a control character", file.name, number));
    }
    if (!known.emplace(line).second)
      throw Error(fmt::format("{}: line {} repeats {}", file.name, number, core::quote(line)));
    names.emplace_back(line);
  }
  if (names.size() < 2) {
    throw Error(fmt::format("{}: {} class name{}, at least 2 are needed", file.name, names.size(),
                            names.size() == 1 ? "" : "s"));
  }
  return names;
}

/// Reads files and decompresses those in gzip. @param wanted  indices into members()
std::vector<IdxFile> read_files(const FileTree& tree, const std::vector<std::size_t>& wanted) {
  std::vector<IdxFile> files(wanted.size());
  tree.read(wanted, [&](std::size_t i, Content content) {
    const std::string name(base_name(tree.members()[wanted[i]].path));
    if (!content.problem.empty()) throw Error(fmt::format("{}: {}", name, content.problem));
    // The content decides, not the name: some browsers decompress a .gz file but keep its name.
    if (is_gzip(content.bytes)) {
      try {
        content.bytes = decompress_gzip(content.bytes, image::kMaxImageBytes);
      } catch (const Error& error) {
        core::throw_with_place(name, error);
      }
    }
    files[i] = {name, std::move(content.bytes)};
  });
  return files;
}

void check_labels(const IdxFile& file, std::size_t classes) {
  const std::uint64_t count = check_header(file, 1)[0];
  for (std::size_t i = 0; i < count; ++i) {
    const auto label = static_cast<std::size_t>(file.bytes[8 + i]);
    if (label < classes) continue;
    throw Error(fmt::format("{}: image {} has label {}, the largest allowed is {}", file.name, i,
                            label, classes - 1));
  }
}

/// Removes ".gz" from a file's name, so that the names of images do not depend on compression.
std::string without_gz(const std::string& name) {
  return name.ends_with(".gz") ? name.substr(0, name.size() - 3) : name;
}

void copy_images(const IdxFile& images, const IdxFile& labels, Dataset& dataset) {
  const std::vector<std::uint64_t> sizes = check_header(images, 3);
  const std::size_t count = sizes[0];
  if (labels.bytes.size() - 8 != count) {
    throw Error(fmt::format("{} holds {} images, {} holds {} labels", images.name, count,
                            labels.name, labels.bytes.size() - 8));
  }
  dataset.height = static_cast<int>(sizes[1]);
  dataset.width = static_cast<int>(sizes[2]);
  check_memory(static_cast<std::int64_t>(count), dataset.height, dataset.width);
  const std::size_t plane = sizes[1] * sizes[2];
  dataset.pixels.resize(count * 3 * plane);
  dataset.labels.resize(count);
  dataset.names.resize(count);
  dataset.hashes.resize(count);
  const std::string name = without_gz(images.name);
  core::parallel_for(count, [&](std::size_t i) {
    const auto* src = reinterpret_cast<const std::uint8_t*>(images.bytes.data()) + 16 + i * plane;
    std::uint8_t* dst = dataset.pixels.data() + i * 3 * plane;
    for (std::size_t p = 0; p < plane; ++p) std::fill_n(dst + 3 * p, 3, src[p]);
    dataset.labels[i] = static_cast<std::int64_t>(labels.bytes[8 + i]);
    dataset.names[i] = fmt::format("{}#{}", name, i);
    dataset.hashes[i] = image_hash(dataset.width, dataset.height, {dst, 3 * plane});
  });
}

}  // namespace

bool is_idx_name(std::string_view name) { return file_of(name) != kFiles; }

std::optional<LoadedData> load_idx(const FileTree& tree, Part part) {
  const std::optional<IdxDataSet> data_set = find_data_set(tree);
  if (!data_set) return std::nullopt;
  // All four files must exist, and the labels of both parts are checked, because both parts must
  // have the same classes.
  for (std::size_t f = 0; f < kFiles; ++f) {
    if (!data_set->files[f])
      throw Error(fmt::format("IDX: {} (or {}.gz) is missing", kStems[f], kStems[f]));
  }
  const bool train = part == Part::train;
  std::vector<std::size_t> wanted = {*data_set->files[train_labels], *data_set->files[test_labels],
                                     *data_set->files[train ? train_images : test_images]};
  if (data_set->class_names) wanted.push_back(*data_set->class_names);
  const std::vector<IdxFile> files = read_files(tree, wanted);

  LoadedData loaded;
  const bool fashion = sha256_hex(files[0].bytes) == kFashionTrainLabels &&
                       sha256_hex(files[1].bytes) == kFashionTestLabels;
  loaded.source = fashion ? "IDX (Fashion-MNIST)" : "IDX";
  Dataset& dataset = loaded.dataset;
  dataset.classes = data_set->class_names ? parse_class_names(files[3])
                    : fashion             ? kFashion
                                          : kDigits;
  check_labels(files[0], dataset.classes.size());
  check_labels(files[1], dataset.classes.size());
  copy_images(files[2], files[train ? 0 : 1], dataset);
  loaded.sizes = {dataset.width, dataset.width, dataset.height, dataset.height};
  return loaded;
}

}  // namespace offramp::data::detail
