// Rotations of Gaussians: quaternions wxyz of any length, their columns, and the way back.
#pragma once

#include <cmath>

#include "vec3.h"

namespace headsplat {

struct Rotation {
  Real inv_norm, w, x, y, z;  // the unit quaternion, and the factor that made it so
  Vec3 axis0, axis1, axis2;   // columns of the rotation
};

HEADSPLAT_INLINE Rotation rotation(Real w, Real x, Real y, Real z) {
  Rotation r;
  r.inv_norm = Real(1) / std::sqrt(w * w + x * x + y * y + z * z + Real(1e-30));
  w *= r.inv_norm, x *= r.inv_norm, y *= r.inv_norm, z *= r.inv_norm;
  r.w = w, r.x = x, r.y = y, r.z = z;
  r.axis0 = {1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)};
  r.axis1 = {2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)};
  r.axis2 = {2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)};
  return r;
}

// From the gradients of the columns to that of the quaternion, stored in lane l of `out`.
HEADSPLAT_INLINE void rotation_backward(const Rotation& r, Vec3 e0, Vec3 e1, Vec3 e2, Real (&out)[4][kLanes], int l) {
  Real skew_x = e1.z - e2.y, skew_y = e2.x - e0.z, skew_z = e0.y - e1.x;
  Real mix_x = e1.z + e2.y, mix_y = e2.x + e0.z, mix_z = e0.y + e1.x;
  Real vw = 2 * (r.x * skew_x + r.y * skew_y + r.z * skew_z);
  Real vx = 2 * (r.w * skew_x + r.y * mix_z + r.z * mix_y - 2 * r.x * (e1.y + e2.z));
  Real vy = 2 * (r.w * skew_y + r.x * mix_z + r.z * mix_x - 2 * r.y * (e0.x + e2.z));
  Real vz = 2 * (r.w * skew_z + r.x * mix_y + r.y * mix_x - 2 * r.z * (e0.x + e1.y));
  Real along = vw * r.w + vx * r.x + vy * r.y + vz * r.z;
  out[0][l] = (vw - along * r.w) * r.inv_norm;
  out[1][l] = (vx - along * r.x) * r.inv_norm;
  out[2][l] = (vy - along * r.y) * r.inv_norm;
  out[3][l] = (vz - along * r.z) * r.inv_norm;
}

}  // namespace headsplat
