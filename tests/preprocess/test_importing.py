"""Takes of other tools: round trips through generated folders in their layouts, and cameras of wrong conventions."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatar import cli
from avatar.errors import FormatError, InputError
from avatar.heads import Head
from avatar.heads.arkit import ARKIT_NAMES
from avatar.io.adnerf import is_adnerf, labels_of, read_adnerf
from avatar.io.arkit_track import ArkitTrack
from avatar.io.livelink import is_livelink, livelink_video, read_livelink, write_livelink
from avatar.io.metrical import is_metrical, read_metrical
from avatar.io.take import Take
from avatar.io.vhap import in_camera, is_vhap, read_vhap, write_vhap
from avatar.motion import PER_FRAME, Motion
from avatar.preprocess.importing import finished_import, import_clip
from avatar.preprocess.landmarks import FaceObservation, Region, region_of
from avatar.preprocess.observer import Observer


class Seen:
    """What a landmarker sees that knows the truth of a take, and is shown its frames in order."""

    def __init__(self, take: Take) -> None:
        self.known = take.perception()["landmarks"]
        self.index, self.image = -1, np.zeros(0)

    def detect(self, image: np.ndarray) -> list[Region]:
        return [region_of(self.look(image, None).landmarks)]

    def look(self, image: np.ndarray, region: Region | None) -> FaceObservation:
        if not np.array_equal(image, self.image):
            self.index, self.image = self.index + 1, image
        return FaceObservation(self.known[self.index], np.zeros(52), 0.9)


@pytest.fixture(autouse=True)
def few_frames_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatar.preprocess.importing.require_enough", lambda *_: None)


@pytest.fixture
def observer(tiny_take: Take) -> Observer:
    return observer_of(tiny_take)


def observer_of(take: Take) -> Observer:
    """What sees a take's frames from the first one on."""
    return Observer(
        landmarker=Seen(take),
        segment=lambda image: np.ones(image.shape[:2], np.float32),
        fit_regions=lambda samples: len(list(samples)),
        label_parts=lambda model, frames: ((alpha > 0.5).astype(np.uint8) for _, alpha, _ in frames),
        plate=lambda frames: np.median(np.stack([image for image, _ in frames]), axis=0).astype(np.uint8),
    )


@pytest.fixture
def export(tiny_take: Take, tmp_path: Path) -> Path:
    write_vhap(tiny_take, tmp_path / "vhap")
    return tmp_path / "vhap"


def rewrite(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Changes every matrix of an export's transforms."""
    for file in folder.glob("transforms*.json"):
        content = json.loads(file.read_text())
        for frame in content["frames"]:
            frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()
        file.write_text(json.dumps(content))


def test_an_export_has_vhaps_layout(export: Path, tiny_take: Take) -> None:
    content = json.loads((export / "transforms.json").read_text())
    assert content["timestep_indices"] == list(range(30)) and content["camera_indices"] == [0]
    names = {
        part: len(json.loads((export / f"transforms_{part}.json").read_text())["frames"]) for part in ("train", "test")
    }
    assert names == {"train": 27, "test": 3}
    frame = content["frames"][7]
    assert frame["file_path"] == "images/00007_00.png" and frame["fg_mask_path"] == "fg_masks/00007_00.png"
    # A head that is not FLAME's is not passed off as it.
    assert not (export / "flame_param").exists()
    with np.load(export / frame["flame_param_path"]) as stored:
        assert str(stored["head_id"]) == tiny_take.info.head_id
        assert stored["eyes_pose"].shape == (1, 6) and stored["rotation"].shape == (1, 3)
    translations = [np.load(export / row["flame_param_path"])["translation"][0] for row in content["frames"]]
    assert np.abs(np.mean(translations, axis=0)).max() < 1e-6
    picture, mask = cv2.imread(str(export / frame["file_path"])), cv2.imread(str(export / frame["fg_mask_path"]), 0)
    assert picture is not None and mask is not None and (picture[mask == 0] == 255).all()
    assert np.array_equal(picture[mask == 255][:, ::-1], tiny_take.image(7)[mask == 255])


def test_flame_parameters_go_where_gaussian_avatars_looks(take_copy: Take, tmp_path: Path) -> None:
    take_copy.write_motion(replace(take_copy.motion(), head_id="flame2020"), focal=take_copy.info.focal)
    write_vhap(take_copy, tmp_path / "out")
    assert (tmp_path / "out" / "flame_param" / "00003.npz").is_file()
    assert (tmp_path / "out" / "canonical_flame_param.npz").is_file()


def test_a_take_comes_back_from_an_export(export: Path, tiny_take: Take, tmp_path: Path, observer: Observer) -> None:
    assert is_vhap(export) and not is_adnerf(export) and not is_livelink(export)
    clip = read_vhap(export)
    take = import_clip(clip, tmp_path / "take", name="tiny", observer=observer)
    assert take.info.width == 80 and take.info.crop == (0, 0, 80) and take.is_complete("ingest")
    assert np.allclose(take.times, tiny_take.times) and take.used.all()
    assert np.array_equal(take.mask(5), tiny_take.mask(5))
    inside = tiny_take.mask(5) == 1
    assert inside.any() and np.array_equal(take.image(5)[inside], tiny_take.image(5)[inside])
    assert np.allclose(take.perception()["landmarks"], tiny_take.perception()["landmarks"])
    back, truth = Motion.load(take.path / "imported_motion.npz"), tiny_take.motion()
    assert (back.head_id, back.head_hash) == (truth.head_id, truth.head_hash)
    for name in set(PER_FRAME) - {"torso"}:
        assert np.allclose(getattr(back, name), getattr(truth, name), atol=1e-5), name
    with pytest.raises(InputError, match="already holds a take"):
        import_clip(clip, tmp_path / "take", name="tiny", observer=observer)


@pytest.mark.parametrize(
    ("change", "likely"),
    [
        (lambda m: m @ np.diag([1.0, -1, -1, 1]), "camera-to-world in OpenCV axes"),
        (lambda m: np.linalg.inv(m), "world-to-camera in OpenGL axes"),
        (lambda m: np.diag([1.0, -1, -1, 1]) @ np.linalg.inv(m), "world-to-camera in OpenCV axes"),
    ],
)
def test_a_wrong_camera_convention_is_caught_and_named(
    change: Callable[[np.ndarray], np.ndarray], likely: str, export: Path, tmp_path: Path, observer: Observer
) -> None:
    rewrite(export, change)
    with pytest.raises(FormatError) as refusal:
        import_clip(read_vhap(export), tmp_path / "take", name="tiny", observer=observer)
    assert f"the matrices are most likely {likely}" in str(refusal.value)
    assert not (tmp_path / "take").exists()


def test_cameras_that_no_convention_explains_are_refused(export: Path, tmp_path: Path, observer: Observer) -> None:
    rewrite(export, lambda m: m + np.outer([0.4, 0, 0, 0], [0, 0, 0, 1]))
    with pytest.raises(FormatError, match="no other convention fits either"):
        import_clip(read_vhap(export), tmp_path / "take", name="tiny", observer=observer)


def test_turned_cameras_move_the_head_exactly(open_head: Head, tiny_motion: Motion) -> None:
    rng = np.random.default_rng(0)
    to_world = np.tile(np.eye(4), (len(tiny_motion), 1, 1))
    to_world[:, :3, :3] = Rotation.random(len(tiny_motion), random_state=1).as_matrix()
    to_world[:, :3, 3] = rng.normal(size=(len(tiny_motion), 3))

    def posed(motion: Motion) -> np.ndarray:
        arrays = {name: torch.as_tensor(getattr(motion, name)) for name in ("expression", "pose", "eyelids", "transl")}
        with torch.no_grad():
            return open_head(betas=torch.as_tensor(motion.betas)[None], **arrays)[:, ::97].numpy()

    with torch.no_grad():
        rest = open_head(betas=torch.as_tensor(tiny_motion.betas)[None])[0]
    shaped = open_head.v_template + open_head.shapedirs[..., : len(tiny_motion.betas)] @ torch.as_tensor(
        tiny_motion.betas
    )
    assert rest.shape == shaped.shape
    root = (open_head.J_regressor @ shaped)[0].numpy()
    view = np.linalg.inv(to_world)
    expected = posed(tiny_motion) @ view[:, :3, :3].transpose(0, 2, 1) + view[:, None, :3, 3]
    assert np.allclose(posed(in_camera(tiny_motion, to_world, root=root)), expected, atol=2e-5)
    with pytest.raises(InputError, match="the camera is turned"):
        in_camera(tiny_motion, to_world, root=None)


def test_one_camera_of_several_is_chosen(export: Path) -> None:
    content = json.loads((export / "transforms.json").read_text())
    content["frames"] += [frame | {"camera_index": 3} for frame in content["frames"][:5]]
    (export / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="such as --camera 0"):
        read_vhap(export)
    assert len(read_vhap(export, camera=3).images) == 5


def test_damaged_exports_are_refused(export: Path) -> None:
    content = json.loads((export / "transforms.json").read_text())
    (export / content["frames"][2]["flame_param_path"]).write_bytes(b"no npz")
    with pytest.raises(FormatError, match="cannot be read"):
        read_vhap(export)
    content["frames"][0]["file_path"] = "../../secret.png"
    (export / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(FormatError, match="outside itself"):
        read_vhap(export)
    (export / "transforms.json").write_text('{"frames": [{}]}')
    with pytest.raises(FormatError, match="not an export of VHAP"):
        read_vhap(export)


def test_a_folder_of_adnerf(tiny_take: Take, tmp_path: Path, observer: Observer) -> None:
    """Labels in its colours and numbers that start anywhere become a take's."""
    folder = tmp_path / "obama"
    (folder / "ori_imgs").mkdir(parents=True)
    (folder / "parsing").mkdir()
    colors = np.array([[255, 255, 255], [0, 0, 255], [255, 0, 0]], np.uint8)
    frames = {"train": [], "val": []}
    for index in range(30):
        frames["train" if index < 27 else "val"].append({"img_id": index + 4, "transform_matrix": np.eye(4).tolist()})
        cv2.imwrite(str(folder / "ori_imgs" / f"{index + 4}.png"), tiny_take.image(index)[..., ::-1])
        cv2.imwrite(str(folder / "parsing" / f"{index + 4}.png"), colors[tiny_take.parts(index)][..., ::-1])
    for name, rows in frames.items():
        content = {"focal_len": 300.0, "cx": 40.0, "cy": 40.0, "frames": rows}
        (folder / f"transforms_{name}.json").write_text(json.dumps(content))
    assert is_adnerf(folder) and not is_vhap(folder)
    take = import_clip(read_adnerf(folder), tmp_path / "take", name="obama", observer=observer)
    assert take.info.fps == (25, 1) and len(take) == 30
    for index in (0, 29):
        assert np.array_equal(take.parts(index), tiny_take.parts(index))
        assert np.array_equal(take.mask(index) > 0.5, tiny_take.parts(index) > 0)
        assert np.array_equal(take.image(index), tiny_take.image(index))
    assert not (take.path / "imported_motion.npz").exists()
    assert labels_of(np.array([[[0, 255, 0], [0, 0, 0]]], np.uint8)).tolist() == [[1, 0]]
    (folder / "transforms_train.json").write_text("{}")
    with pytest.raises(FormatError, match="not a folder of AD-NeRF"):
        read_adnerf(folder)


def test_a_folder_of_metrical_tracker(
    tiny_take: Take, tmp_path: Path, observer: Observer, open_head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head rests and the camera moves: the camera's path is what the take's own motion leaves of it."""
    folder, motion = tmp_path / "tracked", tiny_take.motion()
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "input").mkdir()
    focal = tiny_take.info.focal
    K = np.array([[[focal, 0, 40], [0, focal, 40], [0, 0, 1]]])
    turns = Rotation.from_rotvec(motion.global_orient) * Rotation.from_rotvec(motion.neck_pose)
    jaws = Rotation.from_rotvec(motion.jaw_pose).as_matrix()[:, :2].reshape(-1, 1, 6)
    for index in range(30):
        flip = np.diag([1.0, -1, -1])
        frame = {
            "flame": {
                "exp": np.zeros((1, 100), np.float32),
                "shape": np.zeros((1, 300), np.float32),
                "eyes": np.tile(np.eye(3)[:2].reshape(1, 6), 2).astype(np.float32),
                "eyelids": motion.eyelids[index : index + 1],
                "jaw": jaws[index].astype(np.float32),
            },
            "opencv": {"R": flip @ turns[index].as_matrix()[None], "t": flip @ motion.transl[index], "K": K},
            "img_size": np.array([80, 80]),
        }
        torch.save(frame, folder / "checkpoint" / f"{index:05d}.frame")
        cv2.imwrite(str(folder / "input" / f"{index:05d}.png"), tiny_take.image(index)[..., ::-1])
    assert is_metrical(folder) and not is_vhap(folder)
    clip = read_metrical(folder)
    assert clip.motion is not None and np.allclose(clip.motion.jaw_pose, motion.jaw_pose, atol=1e-5)
    take = import_clip(clip, tmp_path / "take", name="tracked", observer=observer)
    assert len(take) == 30 and take.info.stages["ingest"].detail["layout"] == "metrical-tracker"
    # Moved cameras need the head model itself to carry the motion over.
    assert "no such head model" in take.info.stages["ingest"].detail["motion"]
    # With FLAME at hand (here the open head stands for it) the head lies where the tracker had it.
    monkeypatch.setattr("avatar.preprocess.importing.FLAME_VERTICES", len(open_head.v_template))
    observer = replace(observer, landmarker=Seen(tiny_take))
    take = import_clip(clip, tmp_path / "owned", name="tracked", head=open_head, observer=observer)
    kept = Motion.load(take.path / "imported_motion.npz")
    assert (kept.head_id, kept.head_hash) == (open_head.id, open_head.hash)
    betas, lids = torch.as_tensor(kept.betas)[None], torch.as_tensor(kept.eyelids)
    still = torch.as_tensor(kept.pose).clone()
    still[:, 0] = 0
    with torch.no_grad():
        posed = open_head(
            betas=betas, pose=torch.as_tensor(kept.pose), transl=torch.as_tensor(kept.transl), eyelids=lids
        )
        rest = open_head(betas=betas, pose=still, eyelids=lids)
    expected = np.einsum("tij,tvj->tvi", turns.as_matrix(), rest.numpy()) + motion.transl[:, None]
    assert np.abs(posed.numpy() - expected).max() < 1e-5
    (folder / "input" / "00003.png").unlink()
    with pytest.raises(FormatError, match="29 pictures that belong to them"):
        read_metrical(folder)


def test_live_link_face_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    track = ArkitTrack(np.arange(90) / 60, rng.uniform(size=(90, 52)), rng.normal(size=(90, 3)))
    write_livelink(tmp_path / "MySlate_1_iPhone.csv", track)
    back = read_livelink(tmp_path)
    assert np.allclose(back.time, track.time, atol=1e-4)
    assert np.allclose(back.weights, track.weights, atol=1e-7) and np.allclose(back.turns, track.turns, atol=1e-7)
    with pytest.raises(InputError, match="no video that belongs to it"):
        livelink_video(tmp_path)
    for name in ("MySlate_1_iPhone.mov", "other.mov"):
        (tmp_path / name).write_bytes(b"")
    assert livelink_video(tmp_path).name == "MySlate_1_iPhone.mov"


def test_live_link_face_as_the_app_writes_it(tmp_path: Path) -> None:
    """Columns in the app's own order, a byte-order mark, midnight, a repeated row, and values beyond one."""
    path = tmp_path / "a.csv"
    rows = [
        "23:59:59:28.500,61,0.5,1.25",
        "23:59:59:29.500,61,0.5,1.0",
        "23:59:59:29.500,61,0,0",
        "00:00:00:00.500,61,0,0.25",
    ]
    path.write_text("\ufeffTimecode,BlendShapeCount,JawOpen,EyeBlinkLeft\n" + "\n".join(rows) + "\n", encoding="utf-8")
    track = read_livelink(path)
    assert np.allclose(track.time, [0, 1 / 30, 2 / 30], atol=1e-6)
    blink, jaw = (track.weights[:, ARKIT_NAMES.index(name)] for name in ("eyeBlinkLeft", "jawOpen"))
    assert np.allclose(blink, [1, 1, 0.25]) and np.allclose(jaw, [0.5, 0.5, 0])


@pytest.mark.parametrize(
    "content", ["", "a,b\n1,2\n", "Timecode,BlendShapeCount\n", "Timecode,BlendShapeCount,JawOpen\nnoon,61,1\n"]
)
def test_other_tables_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(FormatError, match="a CSV of Live Link Face"):
        read_livelink(tmp_path / "a.csv")


def test_the_command_recognises_by_content_and_exports(
    tiny_take: Take, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("nothing")
    for path, text in ((tmp_path / "folder", "is not recognised"), (tmp_path / "none", "is not there")):
        with pytest.raises(SystemExit) as stop:
            cli.main(["takes", "import", str(path), "-o", str(tmp_path / "take")])
        assert stop.value.code == 2 and text in capsys.readouterr().err
    cli.main(["takes", "export", str(tiny_take.path), "--format", "vhap", "-o", str(tmp_path / "out"), "--json"])
    said = capsys.readouterr()
    assert json.loads(said.out) == {"layout": "vhap", "frames": 30, "flame": False}
    assert "flame_param is left out" in said.err.replace("\n", " ") and is_vhap(tmp_path / "out")


def test_an_export_leaves_what_is_there_alone(
    take_copy: Take, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in take_copy.path.rglob("*") if path.is_file()}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "transforms.json").write_text("precious")
    for output in (take_copy.path, tmp_path / "mine"):
        with pytest.raises(SystemExit) as stop:
            cli.main(["takes", "export", str(take_copy.path), "-o", str(output)])
        assert stop.value.code == 2 and "is there already" in capsys.readouterr().err
    assert (tmp_path / "mine" / "transforms.json").read_text() == "precious"
    # Where no folder is named, it is not the take's own.
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    cli.main(["takes", "export", str(take_copy.path)])
    assert is_vhap(tmp_path / "here" / f"{take_copy.path.name}-vhap")
    assert {path: path.read_bytes() for path in take_copy.path.rglob("*") if path.is_file()} == before


def test_an_import_that_is_done_is_not_taken_for_another_one(
    export: Path, tiny_take: Take, tmp_path: Path, observer: Observer, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = read_vhap(export)
    assert finished_import(clip, tmp_path / "take", name="tiny") is None
    import_clip(clip, tmp_path / "take", name="tiny", observer=observer)
    assert finished_import(clip, tmp_path / "take", name="tiny") is not None
    for picture in (export / "images").iterdir():
        image = cv2.imread(str(picture))
        assert image is not None and cv2.imwrite(str(picture), 255 - image)
    with pytest.raises(SystemExit) as stop:
        cli.main(["takes", "import", str(export), "-o", str(tmp_path / "take")])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "holds the take of another recording" in said
    assert "Found: one of tiny with other pictures" in said


def test_an_unfinished_import_goes_on_and_no_other_one_takes_its_place(
    export: Path, tiny_take: Take, tmp_path: Path, observer: Observer, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, folder = read_vhap(export), tmp_path / "take"

    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 0.7 * total:
            raise Stopped

    with pytest.raises(Stopped):
        import_clip(clip, folder, name="tiny", observer=observer, progress=stop)
    unfinished = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert (folder / "take.json") in unfinished and not Take.open(folder).is_complete("ingest")

    other = Path(shutil.copytree(export, tmp_path / "other"))
    for picture in (other / "images").iterdir():
        image = cv2.imread(str(picture))
        assert image is not None and cv2.imwrite(str(picture), 255 - image)
    with pytest.raises(SystemExit) as ended:
        cli.main(["takes", "import", str(other), "-o", str(folder)])
    said = capsys.readouterr().err
    assert (
        ended.value.code == 2 and "holds the take of another recording.\n  Expected: a take of other or no take" in said
    )
    assert (
        "Found: an unfinished one of tiny with other pictures.\n  To do: choose another output folder with -o" in said
    )
    with pytest.raises(InputError, match="another recording"):
        import_clip(read_vhap(other), folder, name="other", observer=observer)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == unfinished

    assert finished_import(clip, folder, name="tiny") is None
    assert import_clip(clip, folder, name="tiny", observer=observer_of(tiny_take)).is_complete("ingest")


def test_no_import_into_what_is_imported(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in export.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stop:
        cli.main(["takes", "import", str(export), "-o", str(export)])
    assert stop.value.code == 2 and "is the folder to import itself" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in export.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("fps", ["0", "-3", "nan", "1000"])
def test_rates_that_no_recording_has(
    fps: str, export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["takes", "import", str(export), "--fps", fps, "-o", str(tmp_path / "take")])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "The option --fps cannot be used" in said and f"Found: {fps}" in said
    assert not (tmp_path / "take").exists()
