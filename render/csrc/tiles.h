// Which Gaussians each tile draws, front to back.
#pragma once

#include "scene.h"

namespace headsplat {

// Sorts the visible Gaussians by depth, once and stably, then deals them into tiles in that order, so that no tile
// needs a sort of its own. Fills order, tile_start, tile_list and Splat::slot. False when there are too many
// intersections.
bool build_tiles(RenderState& state, int threads);

}  // namespace headsplat
