from dataclasses import replace

import numpy as np
import pytest

from avatar.errors import FormatError, InputError
from avatar.heads import Embedding, Head, HeadLayout, load_head, read_head, write_head


def tiny(**changed) -> HeadLayout:
    """Four vertices, two triangles, valid in every respect."""
    rng = np.random.default_rng(0)
    values = {
        "id": "tiny-1",
        "v_template": rng.normal(size=(4, 3)),
        "f": np.array([[0, 1, 2], [0, 2, 3]]),
        "uv": rng.random((2, 3, 2)),
        "shapedirs": rng.normal(size=(4, 3, 2)),
        "exprdirs": rng.normal(size=(4, 3, 3)),
        "posedirs": np.zeros((4, 3, 36)),
        "J_regressor": np.full((5, 4), 0.25),
        "kintree_table": np.array([[-1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
        "weights": np.full((4, 5), 0.2),
        "eyelids": np.zeros((4, 3, 2)),
        "parts": {"skin": (0, 4)},
        "arkit_names": ("jawLeft", "mouthPucker", "cheekPuff"),
        "arkit_to_psi": np.eye(3),
        "jaw_open_angle": 0.4,
        "eye_look_angles": np.full(4, 0.3),
        "licence": "CC0-1.0",
        "source": "a test",
        "regions": {"lips": np.array([0, 1, 0, 0.2])},
    }
    return HeadLayout(**(values | changed))


def test_round_trip(tmp_path):
    stored = replace(tiny(), lmk478=Embedding(np.zeros(478, int), np.full((478, 3), 1 / 3), np.full(478, 1e-3)))
    write_head(tmp_path / "head.npz", stored)
    read = read_head(tmp_path / "head.npz")
    assert (read.id, read.parts, read.arkit_names) == (stored.id, stored.parts, stored.arkit_names)
    np.testing.assert_allclose(read.v_template, stored.v_template, atol=1e-6)
    np.testing.assert_allclose(read.shapedirs, stored.shapedirs, rtol=1e-3)
    np.testing.assert_allclose(read.regions["lips"], [0, 1, 0, 0.2], atol=0.002)
    assert read.lmk478 is not None and read.lmk68 is None
    write_head(tmp_path / "again.npz", read)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "head.npz").read_bytes()
    assert Head(read)().shape == (1, 4, 3)


def test_hash_follows_the_bases_and_nothing_else():
    reference = tiny()
    assert tiny().hash == reference.hash
    assert replace(reference, source="elsewhere").hash == reference.hash
    moved = reference.v_template.copy()
    moved[0, 0] += 1e-6
    assert replace(reference, v_template=moved).hash != reference.hash


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"v_template": np.zeros((5, 3))}, "wrong shape"),
        ({"f": np.array([[0, 1, 4], [0, 2, 3]])}, r"outside its vertices.\n  Expected: indices in \[0, 4\)"),
        ({"weights": np.full((4, 5), 0.3)}, "weights do not sum to one"),
        ({"J_regressor": np.zeros((5, 4))}, "J_regressor do not sum to one"),
        ({"kintree_table": np.zeros((2, 5), int)}, "joints are not ours"),
        ({"eyelids": np.full((4, 3, 2), np.nan)}, "eyelids has NaN or inf"),
        ({"arkit_to_psi": np.eye(2)}, r"arkit_to_psi has the wrong shape.\n  Expected: \(3, 3\)"),
        ({"parts": {"skin": (0, 9)}}, "part skin is out of range"),
        ({"regions": {"lips": np.zeros(3)}}, "region lips"),
        ({"lmk478": Embedding(np.zeros(5, int), np.ones((5, 3)) / 3, np.ones(5))}, "478 landmarks"),
        ({"lmk68": Embedding(np.full(51, 7), np.ones((51, 3)) / 3, np.ones(51))}, "outside its triangles"),
        ({"lmk68": Embedding(np.zeros(51, int), np.ones((51, 3)) / 3, np.zeros(51))}, "positive sigmas"),
    ],
)
def test_layouts_that_do_not_fit_are_refused(changed, text):
    with pytest.raises(FormatError, match=text):
        tiny(**changed)


def test_missing_keys_are_named(tmp_path):
    np.savez(tmp_path / "head.npz", v_template=np.zeros((1, 3)))
    with pytest.raises(FormatError, match=r"no id, f, uv, shapedirs"):
        read_head(tmp_path / "head.npz")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "head.npz").write_text("no npz")
    with pytest.raises(FormatError, match="is not a head model"):
        read_head(tmp_path / "head.npz")
    np.savez(tmp_path / "pickled.npz", v_template=np.array([{}], dtype=object))
    with pytest.raises(FormatError, match="is not a head model"):
        read_head(tmp_path / "pickled.npz")


def test_unknown_heads_are_named():
    with pytest.raises(InputError, match=r"no head model flame.*\n.*one of open"):
        load_head("flame")
