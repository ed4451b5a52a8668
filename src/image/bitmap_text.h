#pragma once

#include <string_view>

#include "image/image.h"

namespace offramp::image {

/// Size of a character at scale 1, in pixels, including the gap to the next character.
inline constexpr int kCharacterWidth = 6;
inline constexpr int kCharacterHeight = 9;

/// Draws a line of black text whose upper left corner is at (x, y). Text beyond the edges of the
/// image is cut off. Letters are drawn as capitals, and a character without a glyph as "?".
void draw_text(Image& image, int x, int y, std::string_view text, int scale = 1);

}  // namespace offramp::image
