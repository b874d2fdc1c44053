"""hibari: the neural English voice, whose duration predictor says when each phone sounds.

Its alphabet is misaki's: IPA, with capitals for diphthongs.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avatar.errors import InputError, PartError
from avatar.speech.text.utterance import Passage, Phone, Word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float

DEFAULT = "heart"
RATE = 24000
GET_IT = "pip install 'headsplat[voice]'"
# The duration predictor's output inside the network, in units of two 12.5 ms frames.
_DURATIONS = "/Round_output_0"
_UNIT = 0.025
# The network's durations run behind its sound: hisses are loudest so much earlier than their phones' middles, beside
# those of espeak-ng, whose times are exact; seconds.
_LATE = 0.045
_MARKS = "ˈˌː"


class HibariVoice(NamedTuple):
    """One of hibari's voices.

    Attributes:
        name: Such as `heart`.
        language: `en-US` or `en-GB`.
        title: Such as `English (American, female)`.
        ready: It is on this machine; else it is downloaded when it is first used.
    """

    name: str
    language: str
    title: str
    ready: bool


class HibariSentence(NamedTuple):
    """What the network gives for one string of phones.

    Attributes:
        samples: (N,) mono.
        symbols: Its phones, marks and spaces, with silence (an empty symbol) at both ends.
        bounds: (len(symbols) + 1,) when each begins and ends, seconds.
    """

    samples: Float[np.ndarray, " N"]
    symbols: list[str]
    bounds: Float[np.ndarray, " M"]


def hibari_voices() -> tuple[HibariVoice, ...]:
    """The voices hibari has; none where it is not installed."""
    try:
        from hibari import voices
    except ImportError:
        return ()
    here = Path(voices.cache_dir())
    return tuple(
        HibariVoice(
            name,
            row["language"],
            f"English ({row['accent']}, {row['gender']})",
            bool(row.get("bundled")) or (here / row["file"]).is_file(),
        )
        for name, row in voices.VOICES.items()
    )


def hibari_passages(
    passages: Sequence[tuple[int, str]], *, voice: str = DEFAULT, speed: float = 1.0, seed: int = 0
) -> Iterator[Passage]:
    """Says passages of an English text.

    Args:
        passages: Where each begins in the text, and its words.
        voice: One of `hibari_voices`.
        speed: 1 is the voice's own pace.
        seed: Seed of the voice's noise.

    Yields:
        Each passage, with exact times.

    Raises:
        InputError: hibari is not installed (PartError: the voice cannot be fetched).
    """
    network = load_hibari(voice)
    rng = np.random.default_rng(seed)
    for begin, text in passages:
        sentences = list(network.sentences(text, speed=speed, rng=rng))
        if not sentences:
            continue
        samples = np.concatenate([sentence.samples for sentence in sentences])
        phones, groups, start = [], [], 0.0
        for sentence in sentences:
            said, spans = _phones_and_groups(sentence, max(start - _LATE, -float(sentence.bounds[1])))
            phones += said
            groups += spans
            start += len(sentence.samples) / RATE
        words, exact = _words(network, text, begin, groups)
        yield Passage(samples, RATE, words, tuple(phones), exact)


def load_hibari(voice: str = DEFAULT) -> HibariNetwork:
    """A voice's network, kept; raises InputError (PartError) where it cannot be had."""
    try:
        return _loaded(voice)
    except ImportError as error:
        raise InputError(
            "The neural English voice cannot be used",
            expected="the package hibari-tts",
            found=str(error),
            fix=GET_IT,
        ) from error
    except RuntimeError as error:
        raise PartError(
            f"The voice {voice} cannot be fetched",
            expected="its 8 MB file from the hibari project",
            found=str(error).removeprefix("hibari: "),
            fix=f"use --voice {DEFAULT}, which is installed with the package",
        ) from error


class HibariNetwork:
    """A voice: text to phones, and phones to sound with their times.

    Args:
        voice: Its name.

    Raises:
        ImportError: hibari or onnxruntime is not installed.
        RuntimeError: The voice cannot be downloaded.
    """

    def __init__(self, voice: str) -> None:
        import onnxruntime
        from hibari import Hibari, dsp

        self._hibari: Any = Hibari(voice)
        self._synthesise = dsp.synth
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = _with_output(Path(self._hibari.model_path).read_bytes(), _DURATIONS)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def phones_of(self, text: str) -> str:
        """A text's phones as the network reads them, groups of them between spaces."""
        return self._hibari.g2p(text) or ""

    def sentences(self, text: str, *, speed: float, rng: np.random.Generator) -> Iterator[HibariSentence]:
        """Says a text, sentence by sentence."""
        voice = self._hibari
        for sentence in voice.phonemize(text):
            symbols = [symbol for symbol in sentence if symbol in voice.vocab]
            inputs = {"ids": np.array([voice.ids(sentence)], np.int64), "speed": np.array([speed], np.float32)}
            *spectra, durations = self._session.run(None, inputs)
            samples = self._synthesise(*[np.asarray(each)[0] for each in spectra], rng=rng).astype(np.float32)
            ends = _UNIT * np.cumsum(np.clip(np.asarray(durations).ravel(), 1, None))
            yield HibariSentence(samples, ["", *symbols, ""], np.concatenate([[0.0], ends]))


@lru_cache(maxsize=1)
def _loaded(voice: str) -> HibariNetwork:
    return HibariNetwork(voice)


def _phones_and_groups(sentence: HibariSentence, start: float) -> tuple[list[Phone], list[tuple[float, float]]]:
    """A sentence's phones, and when each group of them between two spaces begins and ends; `start` is its first moment.

    The time of a mark of stress belongs to the phone that follows it.
    """
    phones, groups, begin, opened = [], [], None, False
    for symbol, low, high in zip(sentence.symbols, sentence.bounds, sentence.bounds[1:], strict=False):
        low, high = start + float(low), start + float(high)
        if symbol in _MARKS and symbol:
            begin = low if begin is None else begin
        elif symbol.isalpha():
            first = low if begin is None else begin
            phones.append(Phone(symbol, first, high))
            groups[-1:] = [(groups[-1][0], high)] if opened else [*groups[-1:], (first, high)]
            begin, opened = None, True
        else:
            begin = None
            opened = opened and symbol not in (" ", "", "—")
    return phones, groups


def _words(
    network: HibariNetwork, text: str, begin: int, groups: list[tuple[float, float]]
) -> tuple[tuple[Word, ...], bool]:
    """The words as written with their times, and whether those are exact: numbers and such are read as several."""
    from avatar.speech.text.script import word_spans

    spans = list(word_spans(text))
    counts = np.array([_group_count(network.phones_of(text[start:stop])) for start, stop in spans], int)
    exact = bool(counts.sum() == len(groups)) and len(groups) > 0
    if exact:
        edges = pairwise([0, *np.cumsum(counts).tolist()])
        times = [(groups[first][0], groups[last - 1][1]) if last > first else None for first, last in edges]
    else:
        times = spread_times([stop - start for start, stop in spans], groups[0][0], groups[-1][1]) if groups else []
    words = [
        Word(text[start:stop], begin + start, *time)
        for (start, stop), time in zip(spans, times, strict=bool(times))
        if time is not None
    ]
    return tuple(words), exact


def spread_times(sizes: Sequence[int], start: float, end: float) -> list[tuple[float, float]]:
    """Shares of a time in proportion to sizes, one after the other."""
    edges = start + (end - start) * np.concatenate([[0], np.cumsum(sizes)]) / max(sum(sizes), 1)
    return [(float(a), float(b)) for a, b in pairwise(edges)]


def _group_count(phones: str) -> int:
    return sum(any(symbol.isalpha() for symbol in group) for group in phones.replace("—", " ").split(" "))


def _with_output(model: bytes, name: str) -> bytes:
    """An ONNX model with one more float output.

    Serialised protobuf messages may be merged by appending (Protocol Buffers, "Last One Wins"): here a ModelProto
    (graph = 7) of a GraphProto (output = 12) of a ValueInfoProto (name = 1, type = 2).
    """

    def field(number: int, payload: bytes) -> bytes:
        return bytes([number << 3 | 2, len(payload)]) + payload

    tensor_of_floats = field(1, bytes([1 << 3, 1]))
    return model + field(7, field(12, field(1, name.encode()) + field(2, tensor_of_floats)))
