#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/preprocessing.h"
#include "onnx/read_network.h"

namespace offramp::workflow {

/// The mean and standard deviation of ImageNet's channels, which torchvision's models expect.
inline constexpr std::array<float, 3> kImageNetMean = {0.485f, 0.456f, 0.406f};
inline constexpr std::array<float, 3> kImageNetStd = {0.229f, 0.224f, 0.225f};

struct ImportNetworkOptions {
  std::filesystem::path network;             ///< an ONNX file
  std::filesystem::path out;                 ///< the model file
  std::optional<onnx::ImageSize> size = {};  ///< needed where the ONNX file leaves it open
  core::Fit fit = core::Fit::crop;
  /// Mean and standard deviation of each channel for pixels in [0, 1]. Without a value, they are
  /// the network's own normalisation of its input or, if it has none, those of ImageNet.
  std::optional<std::array<float, 3>> mean = {}, std = {};
  /// A text file with one class name per line; empty: "class 0", ….
  std::filesystem::path labels = {};
  std::vector<std::string> classes = {};  ///< the names themselves, instead of `labels`
  /// A data set that the network was not trained on, or empty. Its training part is divided into
  /// images for the ranges of int8, tune and certify, as `train` divides it.
  std::string data = {};
  std::uint64_t split_seed = 1;
};

/// The model file that was written.
struct ImportedModel {
  std::string producer;  ///< the program that wrote the ONNX file; may be empty
  int opset = 0;
  std::size_t onnx_nodes = 0, nodes = 0;  ///< operations of the ONNX file, and of the model
  std::int64_t macs = 0, parameters = 0, classes = 0;
  std::array<std::int64_t, 3> input = {};          ///< channels, height, width
  std::int64_t ranges = 0, tune = 0, certify = 0;  ///< number of images of `data` for each use
  /// What the ONNX network did to its input, scale x + shift for each channel, and the model's
  /// preprocessing does now. Empty: nothing.
  std::vector<float> input_scale, input_shift;
  /// int8 for a deployment file with the ranges that the ONNX file quantises its tensors with, else
  /// f32.
  std::string precision = "f32";
  std::vector<std::string> notes;  ///< a line for each thing that was left out of the network
};

/// Writes a plain model, which needs no training, from an ONNX file. A file that quantises the
/// tensors of the network becomes an int8 deployment file, if it has a range for each tensor that
/// int8 stores in 8 bits; with `data`, its loss is measured on the tune images.
/// @throws Error "<path>: …" if the network, the labels or the data do not fit; UsageError for an
/// option
ImportedModel import_network(const ImportNetworkOptions& options);

}  // namespace offramp::workflow
