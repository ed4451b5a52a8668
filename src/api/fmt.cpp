// fmt as part of the shared library, so that it needs none from outside. All other files are
// compiled against fmt's declarations; this one has its header-only form (FMT_HEADER_ONLY, set for
// it alone: it takes three seconds longer to compile), in which the functions behind these
// declarations are defined. Whatever version of fmt is there decides what they are.
#include <fmt/format.h>

#include <string>

namespace offramp::detail {

// What every message is made by, and with it all that it calls, since nothing is inlined here.
[[gnu::used]] std::string (*const kVformat)(fmt::string_view, fmt::format_args) = fmt::vformat;

}  // namespace offramp::detail
