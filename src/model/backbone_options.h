#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "graph/network_spec.h"

namespace offramp::model {

/// Returns the shape of a parameter in a model file or a bare state dict; empty if the file has no
/// such tensor. The names of a state dict may begin with what wrappers (DataParallel, Lightning,
/// torch.compile) put before all of them: "module.", "model.", "_orig_mod.", "net.", "network." or
/// "backbone.", or several of these.
/// @throws Error if it is not a safetensors file
std::vector<std::int64_t> shape_in_file(const std::filesystem::path& path,
                                        const std::string& parameter);

/// Returns the options of a backbone with the width and the stem that weights were trained with.
/// They follow from the shape of the first convolution. If the file has no such tensor, or no stem
/// of the backbone has its kernel size, they stay as they are in `spec`. The stem also stays if
/// both stems of a backbone have the same shape.
/// @param path  a model file or a bare state dict, as in load_weights()
/// @throws Error "<path>: …" if the file cannot be read
graph::BackboneOptions options_of_weights(const std::filesystem::path& path,
                                          const graph::NetworkSpec& spec);

}  // namespace offramp::model
