"""One person's head in FLAME's layout, for the many programs that take such a file (Li et al., "FLAME", 2017).

The identity is in ``v_template``: the 300 identity directions are zero, the expression directions are the head model's
own, in as many of the 100 places as it has. ``eyelids``, ``arkit_names`` and ``arkit_to_expression`` say what FLAME has
no key for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.errors import InputError
from avatar.heads.layout import PARENTS

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float

    from avatar.heads import Head

IDENTITIES, EXPRESSIONS = 300, 100
# What FLAME's own files have for the root's parent.
NO_PARENT = 2**32 - 1


def write_flame_npz(path: Path, subject: Head) -> None:
    """Writes a head with its identity baked in; raises InputError where it has more expressions than FLAME's layout."""
    count, expressions = subject.exprdirs.shape[0], subject.exprdirs.shape[-1]
    if expressions > EXPRESSIONS:
        raise InputError(
            f"The head {subject.id} does not fit FLAME's layout",
            expected=f"up to {EXPRESSIONS} expressions",
            found=str(expressions),
            fix="export --format rig or mesh",
        )
    directions = np.zeros((count, 3, IDENTITIES + EXPRESSIONS), np.float32)
    directions[..., IDENTITIES : IDENTITIES + expressions] = subject.exprdirs.numpy()
    joints = subject.joints()[0].double().numpy()
    to_expression = np.zeros((EXPRESSIONS, len(subject.arkit_names)), np.float32)
    to_expression[:expressions] = subject.arkit_to_psi.numpy()
    np.savez_compressed(
        path,
        v_template=subject.v_template.numpy(),
        f=subject.faces.numpy().astype(np.uint32),
        shapedirs=directions,
        posedirs=subject.posedirs.numpy(),
        J_regressor=regressor(subject, joints),
        J=joints.astype(np.float32),
        kintree_table=np.array([[NO_PARENT, *PARENTS[1:]], range(len(PARENTS))], np.uint32),
        weights=subject.weights.numpy(),
        bs_style=np.array("lbs"),
        bs_type=np.array("lrotmin"),
        eyelids=subject.eyelid_dirs.numpy(),
        arkit_names=np.array(subject.arkit_names, np.str_),
        arkit_to_expression=to_expression,
        jaw_open_angle=np.array(subject.jaw_open_angle),
        licence=np.array(subject.licence),
        source=np.array(subject.source),
    )


def regressor(subject: Head, joints: Float[np.ndarray, "5 3"]) -> Float[np.ndarray, "5 V"]:
    """The model's regressor with the least change that gives the subject's joints from the template.

    What of the template the identity does not reach, hair above all, moves no joint, yet a regressor would follow it.
    """
    original = subject.J_regressor.double().numpy()
    template = subject.v_template.double().numpy()
    system = np.column_stack([template, np.ones(len(template))])
    wanted = np.column_stack([joints, np.ones(len(joints))])
    result = original.copy()
    for row, (weights, target) in enumerate(zip(original, wanted, strict=True)):
        near = np.flatnonzero(weights)
        missing = target - weights @ system
        result[row, near] += np.linalg.lstsq(system[near].T, missing, rcond=None)[0]
    return result
