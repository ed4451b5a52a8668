#pragma once

#include "data/dataset.h"

namespace offramp {

/// Draws a row of images for each class, the first 100 classes at most, with the class's name over
/// it. The images are spread evenly over each class, scaled to a cell of 64 pixels, aspect kept.
Image contact_sheet(const Dataset& dataset, int images_per_class = 12);

}  // namespace offramp
