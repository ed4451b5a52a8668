#pragma once

#include "graph/random_weights.h"
