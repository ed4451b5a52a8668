#pragma once

#include <string>

#include "workflow/import_network.h"

namespace offramp::cli {

/// The result of `offramp import`, the network that was read, as JSON and as text.
std::string to_json_text(const workflow::ImportNetworkOptions& options,
                         const workflow::ImportedModel& result);
std::string to_text(const workflow::ImportNetworkOptions& options,
                    const workflow::ImportedModel& result, bool color);

}  // namespace offramp::cli
