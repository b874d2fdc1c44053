"""``avatar export`` from end to end: what it writes and says, and what it refuses."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plyfile import PlyData

from avatar import cli
from avatar.assets import asset
from avatar.commands.export import default_output
from avatar.heads import Head, load_head, read_head, write_head
from avatar.heads.retarget import motion_on
from avatar.io.avatar import load_avatar
from avatar.motion import Motion
from avatar.render.export import FORMATS
from avatar.render.motions import single_moment

Run = Callable[..., Any]
Refused = Callable[..., str]


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str], tiny_avatar: Path) -> Run:
    """What exporting the tiny avatar prints with --json, parsed, and what it says beside."""

    def run(*arguments: str | Path | float, avatar: Path = tiny_avatar) -> tuple[dict[str, Any], str]:
        capsys.readouterr()
        cli.main(["export", str(avatar), *map(str, arguments), "--json"])
        said = capsys.readouterr()
        return json.loads(said.out), said.err

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tiny_avatar: Path) -> Refused:
    """The error text of an export that is refused with exit code 2."""

    def run(*arguments: str | Path | float, avatar: Path = tiny_avatar) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main(["export", str(avatar), *map(str, arguments)])
        said = capsys.readouterr()
        assert stop.value.code == 2 and said.out == "" and "Traceback" not in said.err, said.err
        return said.err

    return run


@pytest.fixture
def motion_file(tiny_motion: Motion, tmp_path: Path) -> Path:
    tiny_motion.save(tmp_path / "motion.npz")
    return tmp_path / "motion.npz"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder to write into."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in {"usd", "web"}])
def test_every_format_is_written_whole_and_its_size_said(name: str, export: Run, out: Path) -> None:
    if name == "spz4":
        pytest.importorskip("zstandard")
    kind = FORMATS[name]
    path = out / ("me" + (kind.suffixes[0] if kind.suffixes else ""))
    result, said = export("--format", name, "-o", path)
    files = [path] if path.is_file() else list(path.iterdir())
    assert result["format"] == name and result["output"] == str(path)
    assert result.get("pose") == ("neutral" if kind.poses else None)
    assert result["bytes"] == sum(file.stat().st_size for file in files) > 1000
    assert f"{path} is ready: {kind.summary}, {result['bytes'] / 1e6:.1f} MB." in said.replace("\n", "")
    assert [p.name for p in out.iterdir()] == [path.name]
    # What is handed on can be read by whom the user's other files can be read by.
    (out / "plain").touch()
    assert {file.stat().st_mode for file in files} == {(out / "plain").stat().st_mode}


def test_the_name_is_the_avatars_where_none_is_given(
    export: Run, tiny_avatar: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out)
    assert export(avatar=tiny_avatar)[0]["output"] == "avatar.ply"
    assert export("--format", "rig", avatar=tiny_avatar)[0]["output"] == "avatar-rig"
    # Formats of one suffix do not replace each other's files.
    outputs = {default_output(tiny_avatar, name, kind).name for name, kind in FORMATS.items()}
    assert len(outputs) == len(FORMATS) and {"avatar.spz", "avatar-spz4.spz", "avatar-mesh.glb"} < outputs


def test_a_time_moves_the_splats(export: Run, motion_file: Path, tiny_motion: Motion, out: Path) -> None:
    for name, moment in (("first", ()), ("later", ("--time", "3.1"))):
        result = export("-o", out / f"{name}.ply", "--motion", motion_file, *moment)[0]
        assert result["pose"] == ("3.100 s" if moment else f"{tiny_motion.time[0]:.3f} s")
    first, later = (PlyData.read(out / f"{name}.ply")["vertex"] for name in ("first", "later"))
    assert 0.003 < np.abs(first["x"] - later["x"]).mean() < 0.1
    # The file has +z forward: a head before the tracker's camera lies at positive z.
    assert first["z"].min() > 0.3


def test_what_a_format_cannot_hold_is_said(export: Run, motion_file: Path, out: Path) -> None:
    def notes(*arguments: str | Path) -> list[str]:
        return export(*arguments)[0]["notes"]

    still = "ply holds one moment, here the motion's first; choose with --time."
    assert notes("-o", out / "a.ply", "--motion", motion_file) == [still]
    assert notes("-o", out / "a.ply", "--motion", motion_file, "--time", "1") == []
    assert notes("--format", "mesh", "-o", out / "a.glb", "--motion", motion_file) == []
    flame = "--format", "flame", "-o", out / "a.npz", "--motion", motion_file
    assert notes(*flame) == ["flame holds the rest pose and no motion."]
    rest = "flame holds the rest pose and no motion."
    assert notes(*flame, "--time", "1") == ["flame shows no single moment: --time has no effect.", rest]
    rig, _ = export("--format", "rig", "-o", out / "rig", "--motion", motion_file, "--time", "1")
    assert rig["frames"] > 1 and rig["notes"] == ["rig shows no single moment: --time has no effect."]


def test_a_time_alone_is_of_the_avatars_own_recording(
    export: Run, refused: Refused, tiny_avatar: Path, tiny_motion: Motion, out: Path
) -> None:
    text = refused("--time", "1", "-o", out / "me.ply")
    assert "A time was given without a motion" in text and "add --motion, or leave --time out" in text
    folder = shutil.copytree(tiny_avatar, out / "me")
    (folder / "take").mkdir()
    tiny_motion.save(folder / "take" / "motion.npz")
    assert export("--time", "1", "-o", out / "me.ply", avatar=folder)[0]["pose"] == "1.000 s"


@pytest.mark.parametrize("moment", ["-0.5", "7.5", "1e9", "nan"])
def test_a_time_outside_the_motion(moment: str, refused: Refused, motion_file: Path, out: Path) -> None:
    text = refused("--motion", motion_file, "--time", moment, "-o", out / "me.ply")
    assert "The motion does not reach that --time" in text and "Expected: 0.000 to 7.250 s" in text
    assert not list(out.iterdir())


def test_an_unknown_format(refused: Refused, out: Path) -> None:
    text = refused("--format", "blend", "-o", out / "me.blend")
    assert text.startswith("error: The format is not known.\n  Expected: one of ply, compressed-ply, splat, spz")
    assert "Found: 'blend'" in text and not list(out.iterdir())


def test_the_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["export", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(name in text for name in FORMATS)


def test_an_avatar_of_a_newer_layout(refused: Refused, tiny_avatar: Path, tmp_path: Path, out: Path) -> None:
    folder = shutil.copytree(tiny_avatar, tmp_path / "newer")
    manifest = json.loads((folder / "avatar.json").read_text())
    (folder / "avatar.json").write_text(json.dumps(manifest | {"schema": 99}))
    text = refused("-o", out / "me.ply", avatar=folder)
    assert "has another layout" in text and "schema 99" in text and "update headsplat" in text
    assert "There is no avatar at" in refused("-o", out / "me.ply", avatar=tmp_path / "nowhere")
    assert not list(out.iterdir())


def test_an_output_that_is_a_folder(refused: Refused, out: Path) -> None:
    (out / "me.ply").mkdir()
    text = refused("-o", out / "me.ply")
    assert "me.ply is a folder" in text and f"-o {out / 'me.ply' / 'avatar.ply'}" in text
    assert not list((out / "me.ply").iterdir())


def test_a_folder_that_is_there_already(refused: Refused, export: Run, out: Path) -> None:
    (out / "me").mkdir()
    assert export("--format", "rig", "-o", out / "me")[0]["gaussians"] > 0
    text = refused("--format", "rig", "-o", out / "me")
    assert "is there already" in text and "a folder with files in it" in text
    (out / "file").write_text("mine")
    assert "Found: a file" in refused("--format", "rig", "-o", out / "file")
    assert (out / "file").read_text() == "mine"


def test_a_name_of_another_format(refused: Refused, out: Path) -> None:
    text = refused("--format", "spz", "-o", out / "me.ply")
    assert "The name me.ply does not fit the format" in text and "ends in .spz" in text


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no modes there")
def test_a_place_that_cannot_be_written_to(refused: Refused, out: Path) -> None:
    out.chmod(0o500)
    # Root may write everywhere but where the kernel keeps its own.
    place = Path("/proc") if os.geteuid() == 0 else out
    text = refused("-o", place / "me.ply")
    assert f"{place / 'me.ply'} cannot be written" in text and "choose another output path" in text


def test_a_place_below_a_file(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for name in ("ply", "rig"):
        suffix = (FORMATS[name].suffixes or ("",))[0]
        text = refused("--format", name, "-o", tmp_path / "file" / "deep" / f"me{suffix}")
        assert "cannot be written" in text and "choose another output path" in text
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["ply", "rig", "mesh"])
def test_what_goes_wrong_half_way_leaves_nothing(
    name: str, export: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = FORMATS[name]
    path = out / "new" / "deeper" / ("me" + (kind.suffixes[0] if kind.suffixes else ""))

    def stopped(stored: object, target: Path, **_: object) -> None:
        target.mkdir() if kind.is_folder else target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(type(kind), "writer", lambda self: stopped)
    with pytest.raises(SystemExit) as stop:
        export("--format", name, "-o", path)
    assert stop.value.code == 130 and not list(out.iterdir())


def test_an_earlier_file_is_replaced_whole_or_kept(
    export: Run, refused: Refused, motion_file: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export("-o", out / "me.ply")
    before = (out / "me.ply").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert "No space left" in refused("-o", out / "me.ply", "--motion", motion_file)
    monkeypatch.undo()
    assert (out / "me.ply").read_bytes() == before and len(list(out.iterdir())) == 1


def test_usd_without_its_library(refused: Refused, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pxr", None)
    text = refused("--format", "usd", "-o", out / "me.usdc")
    assert "USD needs Pixar's library" in text and "pip install 'headsplat[export]'" in text
    monkeypatch.setitem(sys.modules, "zstandard", None)
    text = refused("--format", "spz4", "-o", out / "me.spz")
    assert "SPZ version 4 needs Zstandard" in text and "--format spz" in text
    assert not list(out.iterdir())


# Motions.


def test_a_motion_that_is_none(refused: Refused, tmp_path: Path, out: Path, tiny_motion: Motion) -> None:
    assert "There is no motion file" in refused("--motion", tmp_path / "none.npz", "-o", out / "me.ply")
    (tmp_path / "text.npz").write_text("not a motion")
    assert "is not a motion file" in refused("--motion", tmp_path / "text.npz", "-o", out / "me.ply")
    tiny_motion[:0].save(tmp_path / "empty.npz")
    assert "is empty" in refused("--motion", tmp_path / "empty.npz", "-o", out / "me.ply")


@pytest.fixture
def mixed_head(open_head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Head:
    """An imported head model with the same face in another expression basis and a wider jaw."""
    monkeypatch.setenv("HEADSPLAT_HEADS", str(tmp_path / "heads"))
    (tmp_path / "heads").mkdir()
    layout = read_head(asset("open_head.npz"))
    mixing = np.linalg.qr(np.random.default_rng(0).normal(size=(layout.exprdirs.shape[2],) * 2))[0]
    other = replace(
        layout,
        id="mixed-1",
        exprdirs=(layout.exprdirs @ mixing).astype(np.float32),
        arkit_to_psi=(mixing.T @ layout.arkit_to_psi).astype(np.float32),
        jaw_open_angle=2 * layout.jaw_open_angle,
    )
    write_head(tmp_path / "heads" / "mixed-1.npz", other)
    return load_head("mixed-1")


def test_a_motion_of_another_head_is_carried_over_through_arkit(
    mixed_head: Head, open_head: Head, tiny_motion: Motion, export: Run, tmp_path: Path, out: Path
) -> None:
    to_other = np.linalg.solve(mixed_head.arkit_to_psi.numpy(), np.eye(len(mixed_head.arkit_to_psi)))
    weights = tiny_motion.expression @ open_head.psi_to_arkit.numpy().T
    other = replace(
        tiny_motion,
        expression=weights @ np.linalg.inv(to_other).T,
        jaw_pose=2 * tiny_motion.jaw_pose * [1, 0, 0],
        head_id="mixed-1",
        head_hash=mixed_head.hash,
    )
    other.save(tmp_path / "other.npz")
    result, said = export("--motion", tmp_path / "other.npz", "--time", "2", "-o", out / "me.ply")
    (note,) = result["notes"]
    assert note == "The motion was made for mixed-1; it was converted to open-1 through ARKit's coefficients."
    assert note in said.replace("\n", " ")
    back, _ = motion_on(other, open_head, betas=torch.as_tensor(tiny_motion.betas))
    assert np.abs(back.jaw_pose[:, 0] - tiny_motion.jaw_pose[:, 0].clip(0)).max() < 1e-4
    directions = open_head.exprdirs.numpy()
    assert np.abs(directions @ (back.expression - tiny_motion.expression).T).max() < 3e-4
    assert np.array_equal(back.global_orient, tiny_motion.global_orient)


def test_a_motion_of_a_head_that_is_not_here(
    refused: Refused, tiny_motion: Motion, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSPLAT_HEADS", str(tmp_path / "heads"))
    for name in ("flame-2023", "../../etc/passwd", "open-1"):
        replace(tiny_motion, head_id=name, head_hash="f" * 64).save(tmp_path / "foreign.npz")
        text = refused("--motion", tmp_path / "foreign.npz", "-o", out / "me.ply")
        assert "The motion belongs to another head model" in text and f"Found: {name} (ffffffffffff)" in text
        assert "avatar heads import" in text
    assert not list(out.iterdir())


def test_the_last_frame_can_be_asked_for_with_few_digits(tiny_motion: Motion) -> None:
    thirds = replace(tiny_motion, time=np.arange(len(tiny_motion)) / 3.0)
    assert single_moment(thirds, round(float(thirds.time[-1]), 3)).time[0] > 0


def test_the_suffix_chooses_the_format(export: Run, refused: Refused, out: Path) -> None:
    for name, expected in (("a.spz", "spz"), ("a.PLY", "ply"), ("a.glb", "gltf"), ("a.obj", "obj")):
        assert export("-o", out / name)[0]["format"] == expected
    assert "does not fit the format" in refused("-o", out / "a.xyz")


def test_one_file_is_the_avatar_itself(export: Run, tiny_avatar: Path, out: Path) -> None:
    written, _ = export("-o", out / "me.avatar")
    assert written["format"] == "avatar" and [path.name for path in out.iterdir()] == ["me.avatar"]
    one, other = load_avatar(tiny_avatar), load_avatar(out / "me.avatar")
    assert one.info == other.info and np.array_equal(one.plate, other.plate)
    tensors = other.gaussians.state_dict()
    # Barycentric weights are made to sum to one after they are read, and are rounded once more.
    assert all(torch.allclose(value, tensors[name], atol=1e-3) for name, value in one.gaussians.state_dict().items())
    assert one.life.keys() == other.life.keys()
    # It is what every command takes, this one too.
    assert export("-o", out / "again.ply", avatar=out / "me.avatar")[0]["bytes"] > 0
