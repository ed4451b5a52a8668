#pragma once

#include <string_view>

#include "image/image.h"

namespace offramp {

/// Size of a character's cell, with the gap to the next, at scale 1.
inline constexpr int kCharacterWidth = 6;
inline constexpr int kCharacterHeight = 9;

/// Draws a line of text in black with its upper left corner at (x, y), clipped at the edges.
/// Letters become capitals; a character that has no glyph becomes "?".
void draw_text(Image& image, int x, int y, std::string_view text, int scale = 1);

}  // namespace offramp
