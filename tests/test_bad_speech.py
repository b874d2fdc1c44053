"""What `avatar render` says to sound and text it cannot use, or can use less well."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avatar import cli
from avatar.commands import _speech
from avatar.commands._speech import Speech, say_text, sound_notes
from avatar.errors import PartError
from avatar.io.audio import SoundFacts, write_wav
from avatar.io.video import probe
from avatar.speech.general import GENERAL_NOTE
from avatar.speech.stand_in import DEAF_NOTE
from avatar.speech.text import espeak, hibari

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tiny_avatar: Path, tmp_path: Path) -> Refused:
    """Renders into an empty folder with options that end with code 2 and leave nothing; gives the error text."""

    def run(*options: str | Path) -> str:
        folder = tmp_path / "films"
        folder.mkdir(exist_ok=True)
        with pytest.raises(SystemExit) as stop:
            cli.main(["render", str(tiny_avatar), *map(str, options), "-o", str(folder / "talk.mp4")])
        said = capsys.readouterr()
        assert stop.value.code == 2 and said.out == "" and "Traceback" not in said.err
        assert not list(folder.iterdir())
        return said.err

    return run


@pytest.fixture
def no_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hibari, "hibari_voices", tuple)
    monkeypatch.setattr(espeak, "espeak_voices", tuple)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--text", "hi", "--text-file", "a.txt"), "Found: --text and --text-file."),
        (("--text", "hi", "--motion", "m.npz"), "Found: --text and --motion."),
        (("--audio", "a.wav", "--text", "hi", "--motion", "m.npz"), "Found: --audio and --text and --motion."),
        (("--audio", "a.wav", "--voice", "heart"), "Expected: --voice with --text or --text-file alone."),
        (("--audio", "a.wav", "--text", "hi", "--voice-command", "x {wav}"), "There is no text for the voice"),
        (("--text", "hi", "--speed", "7"), "The option --speed cannot be used.\n  Expected: 0.5 to 2."),
        (("--text", "hi", "--voice", "bob"), "There is no voice 'bob'"),
        (("--text-file", "none.txt"), "There is no text file none.txt"),
        (("--text", "hi", "--voice-command", "mytts {text}"), "The option --voice-command cannot be used"),
    ],
)
def test_options_that_do_not_fit_each_other(options: tuple[str, ...], said: str, refused: Refused) -> None:
    assert said in refused(*options)


@pytest.mark.usefixtures("no_voices")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--text", "hi"), "There is no voice on this machine"),
        (("--text", "salut", "--language", "fr"), "The language 'fr' needs espeak-ng"),
        (("--text", "hi", "--voice", "heart"), "There is no voice 'heart'|The neural English voice cannot be used"),
    ],
)
def test_a_machine_without_voices(
    options: tuple[str, ...], said: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: str = "") -> None:
        raise ImportError("No module named 'hibari'")

    monkeypatch.setattr(hibari, "_loaded", missing)
    text = refused(*options)
    assert any(each in text for each in said.split("|")) and "To do: " in text


@pytest.mark.parametrize("text", ["", "  \n", "?!", "🙂"])
def test_text_without_words(text: str, refused: Refused) -> None:
    pytest.importorskip("hibari", reason="the neural voice needs the extra `voice`")
    assert "There is nothing to say.\n  Expected: a text with words." in refused("--text", text)


def test_text_of_another_script(refused: Refused) -> None:
    pytest.importorskip("hibari", reason="the neural voice needs the extra `voice`")
    text = refused("--text", "Доброе утро")
    assert text == (
        "error: This text is not written as the language 'en-US' is.\n"
        "  Expected: Latin letters.\n"
        "  Found: Cyrillic letters.\n"
        "  To do: name the text's language, for example --language ru.\n"
    )


def test_sound_without_a_sample(refused: Refused, tmp_path: Path) -> None:
    write_wav(tmp_path / "empty.wav", np.zeros(0, np.float32))
    assert "empty.wav has no sound" in refused("--audio", tmp_path / "empty.wav")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (SoundFacts(16_000, 5.0, 0.0, 0.0), "the sound is silent"),
        (SoundFacts(16_000, 5.0, 1.0, 0.034), "3.4 % of the samples are clipped"),
        (SoundFacts(8_000, 5.0, 0.5, 0.0), "recorded at 8 kHz"),
        (SoundFacts(48_000, 3 * 3600.0, 0.5, 0.0), "3.0 hours of speech"),
    ],
)
def test_what_makes_lips_worse_is_said(facts: SoundFacts, said: str) -> None:
    (note,) = sound_notes(facts)
    assert note.startswith(said)


def test_good_sound_needs_no_words() -> None:
    assert sound_notes(SoundFacts(96_000, 600.0, 0.999, 0.0)) == []


def test_the_note_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    heard: list[str] = []
    monkeypatch.setattr(_speech, "say", heard.append)
    write_wav(tmp_path / "quiet.wav", np.zeros(8000, np.float32))
    with Speech(tmp_path / "quiet.wav").samples(rate=16_000) as sound:
        assert len(sound) == 8000
    assert heard == ["quiet.wav: the sound is silent, so the mouth stays closed."]


@pytest.mark.parametrize(
    ("level", "rate", "channels", "said"),
    [
        (0.0, 16_000, 1, ["a.wav: the sound is silent"]),
        (10.0, 16_000, 1, ["a.wav: "]),
        (0.1, 8_000, 1, ["a.wav: recorded at 8 kHz"]),
        (0.1, 96_000, 6, []),
    ],
)
def test_programs_are_told_what_people_are(
    level: float,
    rate: int,
    channels: int,
    said: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_avatar: Path,
    tmp_path: Path,
) -> None:
    def missing(name: str) -> None:
        raise PartError(f"The pretrained part {name} could not be had")

    # The general model listens to log-mel, which every machine has.
    monkeypatch.setattr("avatar.models.fetch", missing)
    noise = level * np.random.default_rng(0).standard_normal(rate // 2)
    soundfile.write(tmp_path / "a.wav", np.repeat(noise.clip(-1, 1)[:, None], channels, axis=1), rate)
    film = tmp_path / "talk.mp4"
    options = ["--audio", str(tmp_path / "a.wav"), "--size", "32", "--fps", "10", "--json", "-o", str(film)]
    capsys.readouterr()
    cli.main(["render", str(tiny_avatar), *options])
    heard = capsys.readouterr()
    notes = json.loads(heard.out)["notes"]
    assert notes[:2] == [GENERAL_NOTE, DEAF_NOTE] and len(notes) == 2 + len(said)
    assert all(note.startswith(start) and note in heard.err for note, start in zip(notes[2:], said, strict=True))
    assert ("clipped" in "".join(notes)) == (level == 10)
    assert probe(film).has_audio and probe(film).frames == 5
    page = ["--format", "web", "--audio", str(tmp_path / "a.wav"), "-o", str(tmp_path / "page"), "--json"]
    cli.main(["export", str(tiny_avatar), *page])
    exported = capsys.readouterr()
    assert json.loads(exported.out)["notes"] == notes
    assert all(note in " ".join(exported.err.split()) for note in notes)


def test_a_recording_with_its_words_gets_a_transcript(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    write_wav(tmp_path / "a.wav", noise)
    speech = Speech(tmp_path / "a.wav", _speech.transcribed(tmp_path / "a.wav", "One, two."))
    facts = speech.write_transcripts(tmp_path / "talk.mp4")
    assert facts == {
        "transcript": [str(tmp_path / "talk.srt"), str(tmp_path / "talk.vtt")],
        "words": 2,
        "word_times": "estimated",
    }
    assert "One, two." in (tmp_path / "talk.srt").read_text()
    assert speech.closures(1.0) is None


def test_a_text_said_by_a_voice_tells_its_closures(tmp_path: Path) -> None:
    pytest.importorskip("hibari", reason="the neural voice needs the extra `voice`")
    speech = say_text("Bob's mum.", tmp_path / "a.wav")
    assert speech.spoken is not None and speech.voice == "heart (en-US)"
    closures = speech.closures(speech.spoken.seconds)
    assert closures is not None and 0.1 < closures.mean() < 0.6


def test_voices_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "espeak_voices", lambda: (espeak.EspeakVoice("Spanish", ("es",), "es"),))
    monkeypatch.setattr(hibari, "hibari_voices", tuple)
    cli.main(["voices", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["ready"], row["languages"]) for row in rows] == [
        ("heart", False, ["en-US"]),
        ("espeak:es", True, ["es"]),
    ]
    cli.main(["voices"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("--voice") and "headsplat[voice]" in lines[1]
    assert lines[-1].split() == ["espeak:es", "Spanish", "espeak-ng", "ready"]
