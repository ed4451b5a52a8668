#pragma once

#include "data/dataset.h"

namespace offramp::data {

/// Draws a row of images for each of the first 100 classes, with the class's name above the row.
/// The images are taken at even distances from the images of the class; each is scaled to fit a
/// cell of 64x64 pixels with its aspect ratio kept.
image::Image contact_sheet(const Dataset& dataset, int images_per_class = 12);

}  // namespace offramp::data
