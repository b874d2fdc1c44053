"""A person with glasses, from pictures to the tracked head, against the exact truth; a dark frame, the hardest kind."""

import numpy as np
import pytest

from avatar.heads import Head, load_head
from avatar.io.take import Take
from avatar.preprocess.capture_report import capture_report
from avatar.preprocess.compare import compare_motion, seen_in_crop
from avatar.preprocess.covered import find_covered
from avatar.preprocess.ingest import ingest
from avatar.preprocess.tracking import track
from avatar.preprocess.tracking_config import TrackingConfig

pytest.importorskip("embreex", reason="synthetic pictures need the dev extra")

from avatar.synthetic.clip import ClipSettings
from avatar.synthetic.glasses import Glasses
from avatar.synthetic.variety import WrittenClip, write_clip

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("perception_parts")]
SETTINGS = ClipSettings(seed=5, size=192, supersample=1, turn=12.0, crf=20, glasses=Glasses())


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


@pytest.fixture(scope="module")
def clip(head, tmp_path_factory) -> WrittenClip:
    return write_clip(head, tmp_path_factory.mktemp("glasses") / "clip", SETTINGS, seconds=2.6)


@pytest.fixture(scope="module")
def take(head, clip) -> Take:
    take = ingest(clip.video, clip.video.parent / "take")
    track(take, head, config=TrackingConfig(shared_steps=200))
    return take


def test_every_frame_is_used_and_the_report_refuses_nothing(take):
    assert take.used.all()
    report = capture_report(take)
    # The clip is shorter than any recording should be, and nothing else speaks against it.
    assert [finding.name for finding in report.findings if finding.severity == "stop"] == ["short"]


def test_the_head_is_where_the_truth_has_it(take, clip, head):
    camera = clip.camera
    exact = seen_in_crop(
        clip.motion, head, focal=camera.focal, width=camera.width, height=camera.height, crop=take.info.crop
    )
    found = compare_motion(take.motion()[np.flatnonzero(take.used)], exact, head)
    assert found["face_similarity_mm"] < 3
    assert found["head_deg"] < 2.5
    assert found["jaw_deg"] < 2
    assert found["gaze_deg"] < 6
    assert found["eyelids"] < 0.15


def test_what_is_always_there_does_not_cover_the_face(take, head):
    assert find_covered(take, head, np.flatnonzero(take.used), learnt=take.split()["train"]) is None
