#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "nanobind/nanobind.h"
#include "nanobind/ndarray.h"
#include "offramp/image.h"
#include "offramp/model.h"

namespace offramp::python {

namespace nb = nanobind;

/// Images as a session takes them, with what keeps their memory alive. Destroy it with the
/// interpreter's lock held.
struct Images {
  std::vector<ImageView> views;
  bool single = false;  ///< one image was given, not a collection of them

  std::vector<nb::bytes> bytes;
  std::vector<nb::ndarray<nb::ro>> arrays;
  std::deque<std::vector<std::byte>> copies;  ///< copies of the arrays that have gaps
};

/// Takes one image or many: paths, bytes of JPEG, PNG, WebP or BMP files, arrays, PIL images, and
/// lists of these. Arrays without gaps are read where they are: uint8 [H, W, 3] or [N, H, W, 3], or
/// the network's own input, float32 [C, H, W] or [N, C, H, W].
/// @throws nb::type_error, UsageError "<place>: what is wrong, what to pass"
/// @param place  of one image, in messages
Images to_images(nb::handle images, const Model& model, const std::string& place = "image");

/// The path, if it is one: a str or an os.PathLike. Sets FileNotFoundError, PermissionError, … if
/// the file cannot be opened.
bool is_path(nb::handle object);
/// @throws ValueError for a path with a null character
std::filesystem::path to_path(nb::handle object);
void check_readable(const std::string& path);
/// The same for an image; the message of a folder or a pattern says what to pass instead.
void check_image_readable(const std::string& path);

}  // namespace offramp::python
