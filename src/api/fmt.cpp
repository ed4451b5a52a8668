// Compiles fmt into the shared library, so that the library does not depend on an installed fmt.
// All other files see fmt's declarations only. For this file FMT_HEADER_ONLY is set, so fmt's
// headers define the functions too. It is set for one file only because it adds three seconds of
// compile time.
#include <fmt/format.h>

#include <string>

namespace offramp::api::detail {

// Every message is made by this function. The reference to it also includes all that it calls,
// because this file is compiled without inlining.
[[gnu::used]] std::string (*const kVformat)(fmt::string_view, fmt::format_args) = fmt::vformat;

}  // namespace offramp::api::detail
