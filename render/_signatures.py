"""The C++ library's functions and structures as ctypes sees them; csrc/ declares the same."""

from __future__ import annotations

import ctypes

_POINTER, _INT, FLOAT, DOUBLE = ctypes.c_void_p, ctypes.c_int, ctypes.c_float, ctypes.c_double


def rigged_structure(real: type) -> type[ctypes.Structure]:
    """`RiggedGaussians` of csrc/rig.h in the number type of a build."""
    pointers = (
        *("vertices", "corners", "barycentric", "rest_sizes", "offsets", "log_scales", "quats", "opacity_logits"),
        *("color_logits", "residual", "units"),
    )
    fields = [("count", _INT), ("vertex_count", _INT), *((name, _POINTER) for name in pointers)]
    return type(
        "RiggedGaussians", (ctypes.Structure,), {"_fields_": [*fields, ("stretch_min", real), ("stretch_max", real)]}
    )


class RiggedGradients(ctypes.Structure):
    """`RiggedGradients` of csrc/rig.h."""

    _fields_ = (
        ("offsets", _POINTER),
        ("log_scales", _POINTER),
        ("quats", _POINTER),
        ("opacity_logits", _POINTER),
        ("color_logits", _POINTER),
        ("residual", _POINTER),
        ("corners", _POINTER),
        ("accumulate", ctypes.c_bool),
    )


SIGNATURES = {
    "headsplat_isa": ([], ctypes.c_char_p),
    "headsplat_best_isa": ([], ctypes.c_char_p),
    "headsplat_state_new": ([], _POINTER),
    "headsplat_state_free": ([_POINTER], None),
    "headsplat_render": (
        [_POINTER, _INT, _INT, *[_POINTER] * 7, _INT, _INT, *[DOUBLE] * 3, *[_POINTER] * 3, _INT],
        _INT,
    ),
    "headsplat_render_backward": ([_POINTER, _INT, _INT, *[_POINTER] * 15, _INT], _INT),
    "headsplat_render_rigged": (
        [*[_POINTER] * 4, _INT, _INT, *[DOUBLE] * 3, *[_POINTER] * 3, _INT],
        _INT,
    ),
    "headsplat_render_rigged_backward": ([*[_POINTER] * 9, _INT], _INT),
    "headsplat_loss_new": ([], _POINTER),
    "headsplat_loss_free": ([_POINTER], None),
    "headsplat_l1_dssim": (
        [*[_POINTER] * 3, _INT, _INT, FLOAT, _POINTER, ctypes.POINTER(ctypes.c_double), _INT],
        _INT,
    ),
    "headsplat_adam": ([*[_POINTER] * 4, ctypes.c_int64, *[FLOAT] * 7, _INT], None),
    "headsplat_compose": ([*[_POINTER] * 3, _INT, _POINTER, ctypes.c_int64, _INT], None),
    "headsplat_adam_outer": (
        [*[_POINTER] * 3, _INT, *[_POINTER] * 2, ctypes.c_int64, *[FLOAT] * 7, _INT],
        None,
    ),
}
