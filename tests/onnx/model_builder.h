#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "onnx/schema.h"

namespace offramp::test {

/// Builds an ONNX model in memory: an input "image" and an output "logits". Each function returns
/// what it made, so that a test can change it afterwards.
class ModelBuilder {
 public:
  /// @param input  the sizes of the image; 0 leaves one open
  explicit ModelBuilder(int opset = 17, const std::vector<std::int64_t>& input = {0, 3, 8, 8});

  onnx::schema::NodeProto& node(const std::string& type, const std::vector<std::string>& inputs,
                                const std::string& output);
  /// Adds an initializer with the values 0.5, -0.25, 0.125, … that repeat after seven.
  onnx::schema::TensorProto& floats(const std::string& name,
                                    const std::vector<std::int64_t>& shape);
  onnx::schema::TensorProto& floats(const std::string& name, const std::vector<std::int64_t>& shape,
                                    const std::vector<float>& values);
  onnx::schema::TensorProto& integers(const std::string& name,
                                      const std::vector<std::int64_t>& values);
  /// Adds Conv "conv" (5 channels, 3×3) of the image, a global average pool and Gemm "fc" to 4
  /// classes, from `feature` on if it is given.
  void conv(const std::string& output = "conv.out");
  void classifier(const std::string& feature, std::int64_t channels = 5);

  onnx::schema::ModelProto& proto() { return model_; }
  onnx::schema::GraphProto& graph() { return *model_.mutable_graph(); }

  /// Writes the model to net.onnx in a folder and returns the path.
  std::filesystem::path write(const std::filesystem::path& folder) const;

 private:
  onnx::schema::ModelProto model_;
};

void set(onnx::schema::NodeProto& node, const std::string& name, std::int64_t value);
void set(onnx::schema::NodeProto& node, const std::string& name, float value);
void set(onnx::schema::NodeProto& node, const std::string& name, const std::string& value);
void set(onnx::schema::NodeProto& node, const std::string& name,
         const std::vector<std::int64_t>& values);

}  // namespace offramp::test
