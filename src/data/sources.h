#pragma once

#include <optional>
#include <string>
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

/// Reads a part of a tree of class folders; see load_data.
LoadedData load_image_folder(const FileTree& tree, Part part, const LoadOptions& options);

/// Whether the name ends in .jpg, .jpeg or .png, in any case.
bool has_image_extension(std::string_view name);

/// Reads a part of a file written by write_packed.
LoadedData load_packed(const std::filesystem::path& path, Part part);

/// Throws Error if images of this size would not fit in the machine's memory.
void check_memory(std::int64_t images, int height, int width);

}  // namespace offramp::detail
