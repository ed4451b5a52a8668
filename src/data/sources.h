#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/file_tree.h"
#include "data/image_stores.h"

// Readers of the kinds of source that load_data accepts. Internal to src/data. Their errors do not
// contain the path of the source; load_data adds it.
namespace offramp::data::detail {

/// Returns what follows the last "/" of the path of a member: the name of the file.
inline std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

/// Returns the path of a member up to its last "/", which is included; "" if it has none.
inline std::string_view folder_of(std::string_view path) {
  return path.substr(0, path.size() - base_name(path).size());
}

/// Reads a part of the official CIFAR-10 or CIFAR-100 binary files, in whichever folder of the tree
/// they are.
/// @param images_per_file  images in each of CIFAR-10's files; CIFAR-100's train.bin has five times
/// as many
/// @return nullopt if the tree holds no CIFAR files
/// @throws Error for a missing or damaged file, and for the Python and Matlab versions of CIFAR
std::optional<LoadedData> load_cifar(const FileTree& tree, Part part,
                                     std::int64_t images_per_file = 10000);

/// Reads a part of the four IDX files of MNIST (LeCun, Cortes and Burges, 1998) or of a data set in
/// its format. The files are in one folder of the tree; each may be compressed with gzip. The gray
/// value of a pixel is copied to three channels. Class names are read from a labels.txt or
/// classes.txt beside the files, one name per line. Without such a file, Fashion-MNIST, which is
/// recognised by the SHA-256 of its labels, has the names given by its authors; any other data set
/// has the names 0 to 9.
/// @return nullopt if the tree holds none of the four files
/// @throws Error if a file is missing or damaged, or if the tree holds several data sets
std::optional<LoadedData> load_idx(const FileTree& tree, Part part);

/// Whether this is the name of one of the four IDX files.
bool is_idx_name(std::string_view name);

/// Whether a file begins with the two bytes of a gzip file.
bool is_gzip(std::span<const std::byte> bytes);

/// Decompresses a file of one gzip stream. Size and checksum are compared with those stored at the
/// end of the stream.
/// @throws Error if they differ, if the stream is truncated, damaged or followed by other bytes, or
/// if it decompresses to more than `max_bytes`
std::vector<std::byte> decompress_gzip(std::span<const std::byte> bytes, std::uint64_t max_bytes);

/// Computes the SHA-256 of `bytes`, as 64 lower-case hex digits.
std::string sha256_hex(std::span<const std::byte> bytes);

/// Opens the tars of a folder that holds several with samples as WebDataset has.
/// @return null if it holds fewer than two archives, or archives of another kind
std::unique_ptr<FileTree> open_sample_tars(const std::filesystem::path& folder,
                                           const FileTree& tree);

/// The images of a part of a tree of class folders, of which none was read yet.
struct ImageList {
  struct Item {
    std::string name;
    std::size_t member = 0;  ///< index of the image in the tree's members
    std::int64_t label = 0;
  };
  std::vector<std::string> classes;
  std::vector<Item> items;              ///< sorted by name
  std::vector<SkippedImage> misplaced;  ///< images and folders that belong to no class
  /// false: the tree has no parts, so these are the images of both
  bool split = false;
};

/// Lists the images of a part. @throws Error as load_data
ImageList list_images(const FileTree& tree, Part part);

/// Reads the images `begin` to `end` - 1 of a list. Those that cannot be read are reported as
/// skipped, also if no other of their class is left.
/// @param files  if given, it receives the files of the images that can be read, and the data set
/// that is returned has no pixels
LoadedData read_images(const FileTree& tree, const ImageList& list, std::size_t begin,
                       std::size_t end, const LoadOptions& options, ImageFiles* files = nullptr);

/// Reads a part of a tree of class folders. The layouts are described at load_data.
LoadedData load_image_folder(const FileTree& tree, Part part, const LoadOptions& options);

/// An archive and its name, as "train-000017.tar".
struct Tar {
  std::string name;
  std::shared_ptr<const FileTree> files;
};

/// Whether an archive holds samples as WebDataset does: KEY.jpg and KEY.cls (or KEY.json), instead
/// of class folders.
bool has_label_files(const FileTree& tree);

/// Shows the images of such archives as a tree of class folders. An archive whose name begins with
/// train, test, val, valid or validation is of that part.
/// @throws Error that names archive and file for an image without a label, or a label that names no
/// class
std::unique_ptr<FileTree> show_as_class_folders(std::vector<Tar> tars);

/// Reads a part of files written by write_packed, which together are one data set. Their pixels are
/// left in the files.
/// @param paths  one file, or all shards in their order
/// @param fit  how images that are stored as files become the size of the data set
LoadedData load_packed(const std::vector<std::filesystem::path>& paths, Part part, core::Fit fit);

/// The files of the images of both parts.
struct FilesOfParts {
  ImageFiles train, test;
};

/// Writes both parts to one packed file.
/// @param more  metadata besides format and source
/// @param files  if given, these are written instead of the pixels
void write_packed(const std::filesystem::path& path, const LoadedData& train,
                  const LoadedData& test,
                  const std::map<std::string, std::string, std::less<>>& more,
                  const std::optional<FilesOfParts>& files);

/// Finds the shards of a packed data set: files NAME-00000-of-00008, NAME-00001-of-00008, … with
/// any ending.
/// @param path  one of the shards, or the folder that holds them
/// @return their paths in order; empty if `path` is neither
/// @throws Error if one of them is missing, or the folder holds several sets of shards
std::vector<std::filesystem::path> find_shards(const std::filesystem::path& path);

/// Whether a file begins like one in the safetensors format.
bool is_safetensors(const std::filesystem::path& path);

/// @throws Error if this many images of this size do not fit in the memory that this process may
/// use
void check_memory(std::int64_t images, int height, int width);

}  // namespace offramp::data::detail
