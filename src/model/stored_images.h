#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/safetensors.h"
#include "core/tensor.h"

namespace offramp::model {

struct ModelFile;

/// Images with the logits that the certified code computed for them. A certificate that names an
/// arithmetic is in force only where these logits are the same to the last bit.
struct StoredImages {
  /// [N, height, width, 3] pixels, of the size that the network expects.
  std::vector<std::uint8_t> pixels;
  std::vector<float> logits;  ///< [N, K, classes]; empty: no images are stored
  std::int64_t count = 0;     ///< N
  bool operator==(const StoredImages&) const = default;
};

/// The number of images that `offramp quantize` stores, and the largest number that a file may
/// hold.
inline constexpr std::int64_t kStoredImages = 64, kMaxStoredImages = 1024;

// The tensors of a model file that hold them: U8 [N, height, width, 3] and F32 [N, K, classes].
inline constexpr std::string_view kStoredPixelsTensor = "certificate.images",
                                  kStoredLogitsTensor = "certificate.logits";

/// Checks the stored images of a model. @throws Error if their sizes differ from the model's, there
/// are more than kMaxStoredImages, or a logit is not finite
void check_stored_images(const ModelFile& model);
/// Adds the stored images to the tensors of a file.
void write_stored_images(const ModelFile& model, core::Tensors& tensors);
/// Reads the images of a file, which may hold none. @throws Error naming the tensor
StoredImages read_stored_images(const core::Safetensors& file, const ModelFile& model);

}  // namespace offramp::model
