#pragma once

#include "core/json_text.h"

namespace offramp::cli {

using core::json_text;

}  // namespace offramp::cli
