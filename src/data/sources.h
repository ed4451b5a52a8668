#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/file_tree.h"

// The kinds of source behind load_data; not part of the folder's interface. Errors come without
// the path: load_data adds it.
namespace offramp::detail {

/// Reads a part of the official CIFAR-10 or CIFAR-100 binary files, wherever they lie in the tree.
/// @param images_per_file  of CIFAR-10's batches; CIFAR-100 has five times as many in train.bin
/// @return nullopt if there are none
/// @throws Error for a missing or damaged batch, and for the Python and Matlab versions
std::optional<LoadedData> load_cifar(const FileTree& tree, Part part,
                                     std::int64_t images_per_file = 10000);

/// Reads a part of the four IDX files of MNIST (LeCun, Cortes and Burges, 1998) and of data sets in
/// its format, which lie in one folder of the tree, each in gzip or not. Gray is spread over three
/// channels.
/// Classes are named by a labels.txt or classes.txt beside the files, one name a line; else those
/// of Fashion-MNIST by the data set's authors, known by the SHA-256 of its labels; else 0 to 9.
/// @return nullopt if there is none of the four
/// @throws Error for a file that is missing or damaged, and for several data sets
std::optional<LoadedData> load_idx(const FileTree& tree, Part part);

/// Whether a file of this name is one of the four.
bool is_idx_name(std::string_view name);

/// Whether a file begins as a gzip file does.
bool is_gzip(std::span<const std::byte> bytes);

/// What one gzip stream unfolds to; its size and checksum are compared with those at its end.
/// @throws Error if they differ, if it is truncated, damaged or followed by anything, or larger
/// than `max_bytes` unfolded
std::vector<std::byte> unfold_gzip(std::span<const std::byte> bytes, std::uint64_t max_bytes);

/// The SHA-256 in 64 hex digits.
std::string sha256_hex(std::span<const std::byte> bytes);

/// Reads a part of a tree of class folders; see load_data.
LoadedData load_image_folder(const FileTree& tree, Part part, const LoadOptions& options);

/// Whether the name ends in .jpg, .jpeg or .png, in any case.
bool has_image_extension(std::string_view name);

/// Reads a part of a file written by write_packed.
LoadedData load_packed(const std::filesystem::path& path, Part part);

/// Throws Error if images of this size would not fit in the machine's memory.
void check_memory(std::int64_t images, int height, int width);

}  // namespace offramp::detail
