#pragma once

#include <string>
#include <string_view>

namespace offramp::data {

/// Returns the name of the folder that holds the images of a class: the class's own name, in which
/// "/" is written "%2F", as in "T-shirt%2Ftop".
/// @throws Error if no folder can have that name: the name is empty, begins with a dot, has a
/// backslash, a control character or "%2F" in it, or is longer than 255 bytes. It may come from an
/// untrusted file and must not lead out of the folder of the data set.
std::string folder_of_class(std::string_view name);

/// Returns the class whose images a folder of this name holds: the inverse of folder_of_class().
std::string class_of_folder(std::string_view folder);

}  // namespace offramp::data
