"""The tracker: a parametric head fitted to the landmarks of a whole clip, in batches over all frames.

Shared are the identity, the focal length, the bust's orientation and small corrections of the landmark embedding; each
frame has the neck's rotation, the translation, jaw, gaze, lids and expression, which move smoothly in seconds.
"""

from __future__ import annotations

import time as clock
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatar.errors import InputError
from avatar.face_mesh import EYE_CORNERS
from avatar.preprocess import _priors as terms
from avatar.preprocess._initial import anchor_of, initial_frames, initial_shared
from avatar.preprocess._landmark_model import PointModel
from avatar.preprocess._observations import Observations
from avatar.preprocess._solve import Problem, Silhouettes, solve
from avatar.preprocess._threads import one_thread
from avatar.preprocess._unknowns import PerFrame, Pinhole, Shared, to_motion
from avatar.preprocess._windows import batches, evenly, solve_windows, subset, windows
from avatar.preprocess.landmark_habits import load_landmark_habits
from avatar.preprocess.self_calibration import self_calibrate
from avatar.preprocess.tracking_config import TrackingConfig
from avatar.preprocess.tracking_report import tracking_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion
    from avatar.preprocess.self_calibration import Pictures, SelfCalibration

STAGE = "tracking"

__all__ = ["STAGE", "Observations", "TrackingConfig", "TrackingResult", "track", "track_observations"]


@dataclass(frozen=True)
class TrackingResult:
    """A tracked clip.

    Attributes:
        motion: The head's motion, one row per frame.
        focal: Focal length in pixels.
        landmarks: (T, 478, 2) pixels where the model puts the landmarks, corrections included.
        shared: What all frames have in common, corrections of the landmark embedding for this person among it.
        report: Figures for the capture report, plain JSON values.
        history: Objective at every twentieth step of the pass that fits the shared unknowns.
    """

    motion: Motion
    focal: float
    landmarks: Float[np.ndarray, "T 478 2"]
    shared: Shared
    report: dict[str, Any]
    history: list[float]


def track(
    take: Take,
    head: Head,
    *,
    config: TrackingConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Tracks an ingested take: writes its motion, focal length and stage record, and returns the report's figures.

    Args:
        take: The take.
        head: The head model; needs the 478-landmark embedding.
        config: Settings; the defaults suit any talking-head clip.
        progress: Called with (steps done, all steps).

    Returns:
        The figures of `tracking_report` and of the camera, plain JSON values.

    Raises:
        InputError: The take has not been ingested, or shows a face in fewer than three frames.
    """
    # It is told by the motion, which is found anew.
    take.forget_covered()
    observations = Observations.of_take(take)
    result = track_observations(
        observations,
        head,
        config=config,
        masks=take.mask,
        pictures=lambda index: (take.image(index), take.parts(index)),
        progress=progress,
    )
    take.write_motion(result.motion, focal=result.focal)
    take.write_tracking(result.shared.to_arrays())
    take.record(STAGE, **result.report)
    return result.report


def track_observations(
    observations: Observations,
    head: Head,
    *,
    config: TrackingConfig | None = None,
    masks: Callable[[int], Float[np.ndarray, "H W"]] | None = None,
    pictures: Pictures | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrackingResult:
    """Fits a head model to what was seen, on the device that the head lies on.

    On the CPU it is deterministic: threads share the frames, and torch has one in each.

    Args:
        observations: Landmarks and blendshapes.
        head: The head model; needs the 478-landmark embedding.
        config: Settings; the defaults suit any talking-head clip.
        masks: Gives the soft person mask in [0, 1] of a frame by its number; None fits without silhouettes.
        pictures: Gives the picture and the part labels of a frame by its number, for the focal length; None leaves it
            to the landmarks.
        progress: Called with (steps done, all steps).

    Raises:
        InputError: Fewer than three frames show a face.
    """
    config = config or TrackingConfig()
    seen = int((observations.weight > 0).sum())
    if seen < 3:
        raise InputError(
            "The clip cannot be tracked",
            expected="at least 3 frames with a face",
            found=f"{seen} of {len(observations.time)} frames",
            fix="film the face from the front, in even light, with nothing in front of it",
        )
    started = clock.perf_counter()
    with one_thread():
        problem = tracking_problem(observations, head, config=config)
        shared = initial_shared(problem.model, focal=problem.focal)
        frames = _first_guess(observations, head, problem, points=problem.model.rest)
        steps = _Steps(progress, len(frames), config)
        learnt = _learnt(observations.weight, config=config)
        rows = learnt[evenly(len(learnt), config.shared_frames)]
        masked = replace(
            subset(problem, rows), silhouettes=_silhouettes(problem, head, masks, config=config, rows=rows)
        )
        shared, solved, history = solve(
            masked,
            shared,
            frames[torch.from_numpy(rows)],
            config=config,
            fit_shared=True,
            progress=steps.part(config.shared_steps),
        )
        frames = _first_guess(
            observations, head, problem, points=problem.model.identity(shared.betas, shared.offsets)[0]
        )
        for name, value in vars(solved).items():
            getattr(frames, name)[torch.from_numpy(rows)] = value
        frames = solve_windows(problem, shared, frames, config=config, progress=steps.part)
        calibration = None
        if config.self_calibration and pictures is not None:
            motion = to_motion(shared, frames, problem.camera, head=head, time=observations.time)
            focal = float(shared.log_focal.exp())
            calibration = self_calibrate(motion, head, focal=focal, rows=learnt, pictures=pictures)
        if calibration is not None and not calibration.skipped:
            # Depth is focal length x scale, so that places follow; only what perspective changes is left to solve.
            shared = replace(shared, log_focal=torch.tensor(calibration.focal, device=head.device).log())
            frames = solve_windows(problem, shared, frames, config=config, progress=lambda _: None)
        landmarks = modelled_landmarks(problem, shared, frames, config=config)
    steps.finish()
    report = report_of(observations, landmarks, config=config)
    report |= _camera_figures(shared, frames, width=observations.width, calibration=calibration)
    seconds = clock.perf_counter() - started
    report |= {"seconds": seconds, "frames_per_second": len(frames) / seconds}
    motion = to_motion(shared, frames, problem.camera, head=head, time=observations.time)
    return TrackingResult(motion, report["focal"], landmarks, shared, report, history)


def modelled_landmarks(
    problem: Problem, shared: Shared, frames: PerFrame, *, config: TrackingConfig
) -> Float[np.ndarray, "T 478 2"]:
    """Pixels where the solution puts the landmarks."""
    with torch.no_grad():
        pixels = [problem.camera.pixels(problem.model, shared, part) for part in batches(frames, config=config)]
        return torch.cat(pixels).transpose(1, 2).cpu().numpy()


def report_of(
    observations: Observations, landmarks: Float[np.ndarray, "T 478 2"], *, config: TrackingConfig
) -> dict[str, Any]:
    """Figures of a solution that puts the landmarks there."""
    return tracking_report(
        observations.pixels,
        landmarks,
        weight=observations.weight,
        time=observations.time,
        held_out=int(_learnt(observations.weight, config=config)[-1]) + 1,
        config=config,
    )


def tracking_problem(observations: Observations, head: Head, *, config: TrackingConfig) -> Problem:
    """The whole clip as one problem."""
    model = PointModel.landmarks(head, components=min(config.identity_components, head.shapedirs.shape[2]))
    habits = load_landmark_habits()
    if config.detector_habits and habits.head_id == head.id:
        model = model.detected(habits)
    weight, pixels = observations.weight, observations.pixels
    hidden = None if observations.hidden is None else torch.from_numpy(observations.hidden).to(head.device)
    # What is held out must not even set the scale of the errors.
    learnt = _learnt(weight, config=config)
    corners = pixels[learnt][:, list(EYE_CORNERS)]
    camera = Pinhole(
        width=observations.width,
        height=observations.height,
        anchor=torch.from_numpy(anchor_of(model.rest)).to(head.device),
        pivots=model.joints[:2],
        arkit=bool(head.arkit_to_psi.numel()),
    )
    problem = Problem(
        model=model,
        camera=camera,
        time=observations.time,
        target=terms.with_gaps(torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 2, 1))).to(head.device)),
        weight=terms.trust(torch.from_numpy(weight).to(head.device), hidden),
        landmark_weight=terms.landmark_weights(head, config=config),
        action_weight=terms.action_weights(head, priors=config.priors),
        unit=float(np.median(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1))),
        focal=1.0,
        iris=float(terms.iris_diameters(model.rest).mean()),
    )
    frames = _first_guess(observations, head, problem, points=model.rest)
    pixels_a_metre = float((-frames.place[:, 2]).exp()[torch.from_numpy(learnt)].median())
    return replace(problem, focal=config.distance * pixels_a_metre)


def _first_guess(observations: Observations, head: Head, problem: Problem, *, points: Float[Tensor, "3 L"]) -> PerFrame:
    return initial_frames(
        points,
        head,
        time=observations.time,
        pixels=observations.pixels,
        blendshapes=observations.blendshapes,
        trusted=observations.weight > 0,
        centre=(problem.camera.width / 2, problem.camera.height / 2),
    )


def _learnt(weight: Float[np.ndarray, " T"], *, config: TrackingConfig) -> np.ndarray:
    """Frames that shared unknowns may learn from: all with a face, but for the last part, the test of the take."""
    used = np.flatnonzero(weight > 0)
    return used[: len(used) - int(len(used) * config.held_out_fraction)]


def _silhouettes(
    problem: Problem,
    head: Head,
    masks: Callable[[int], np.ndarray] | None,
    *,
    config: TrackingConfig,
    rows: np.ndarray,
) -> Silhouettes | None:
    """Masks of a few of the clip's frames `rows`."""
    if masks is None or config.silhouette_frames == 0:
        return None
    places = evenly(len(rows), config.silhouette_frames)
    skull = torch.tensor(terms.skull_vertices(head), device=head.device)
    return Silhouettes(
        rows=torch.from_numpy(places).to(head.device),
        distances=terms.outside_distances([masks(int(index)) for index in rows[places]]).to(head.device),
        model=PointModel.on_vertices(head, skull, components=problem.model.shape.shape[2]),
    )


def _camera_figures(
    shared: Shared, frames: PerFrame, *, width: int, calibration: SelfCalibration | None
) -> dict[str, Any]:
    """Figures of the camera and the person; the focal length's error is the standard deviation of its logarithm."""
    focal = float(shared.log_focal.exp())
    return {
        "focal": focal,
        "focal_in_widths": focal / width,
        "focal_error": None if calibration is None else calibration.error,
        "self_calibration": None if calibration is None else calibration.figures(),
        "distance_m": focal * float(frames.place[:, 2].exp().median()),
        "offsets_rms_mm": 1e3 * float(shared.offsets.square().sum(0).mean().sqrt()),
        "betas_rms": float(shared.betas.square().mean().sqrt()),
    }


class _Steps:
    """Adds up the steps of several passes for one progress display."""

    def __init__(self, report: Callable[[int, int], None] | None, count: int, config: TrackingConfig) -> None:
        self.report, self.done = report, 0
        self.total = config.shared_steps + len(windows(count, config=config)) * config.window_steps

    def part(self, length: int) -> Callable[[int, int], None] | None:
        """Progress of the next pass, of up to `length` steps."""
        if self.report is None:
            return None
        before, report = self.done, self.report
        self.done += length
        return lambda done, _: report(before + done, self.total)

    def finish(self) -> None:
        """All is done, however early the passes ended."""
        if self.report is not None:
            self.report(self.total, self.total)
