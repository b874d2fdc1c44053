"""Voices: which one speaks, what they say of their words and lips, and what is said where there is none."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avatar.errors import InputError
from avatar.speech.text import espeak, hibari
from avatar.speech.text.command import run_voice_command
from avatar.speech.text.espeak import EspeakVoice
from avatar.speech.text.speaking import estimated_words, read_text, speak_text
from avatar.speech.text.utterance import Passage, Phone, Word, lip_closures
from avatar.speech.text.voices import ChosenVoice, choose_voice, voice_rows

MUM = "Bob's mum met Pam. Mama, papa!"


@pytest.fixture
def neural() -> None:
    pytest.importorskip("hibari", reason="the neural voice needs the extra `voice`")


@pytest.fixture
def formant() -> None:
    if not espeak.espeak_voices():
        pytest.skip("espeak-ng is not installed")


@pytest.fixture
def silent_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without voices."""
    monkeypatch.setattr(hibari, "hibari_voices", tuple)
    monkeypatch.setattr(espeak, "espeak_voices", tuple)


@pytest.fixture
def three_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    """espeak-ng with three languages."""
    rows = (("Spanish", ("es",), "es"), ("Chinese", ("cmn", "zh"), "cmn"), ("English", ("en-us", "en"), "en-US"))
    monkeypatch.setattr(espeak, "espeak_voices", lambda: tuple(EspeakVoice(*row) for row in rows))


def beeps(passages: Sequence[tuple[int, str]]) -> Iterator[Passage]:
    """A voice that says every passage in a quarter of a second."""
    for place, text in passages:
        word = Word(text.split()[0], place, 0.05, 0.2)
        yield Passage(np.full(2000, 1.5, np.float32), 8000, (word,), (Phone("m", 0.05, 0.2),))


def test_passages_follow_each_other_in_the_file(tmp_path: Path) -> None:
    said, calls = speak_text("One. Two.", tmp_path / "a.wav", voice=ChosenVoice("beeps", "en", beeps)), []
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert (len(samples), rate, said.seconds) == (4000, 8000, 0.5)
    # The voice's own 1.5 is brought to what a file can hold.
    assert np.abs(samples).max() == pytest.approx(1, abs=1e-4)
    assert [(word.text, word.place, word.start) for word in said.words] == [("One.", 0, 0.05), ("Two.", 5, 0.3)]
    assert [phone.start for phone in said.phones] == [0.05, 0.3]
    speak_text(
        "One. Two.", tmp_path / "a.wav", voice=ChosenVoice("beeps", "en", beeps), on_passage=lambda *n: calls.append(n)
    )
    assert calls == [(1, 2), (2, 2)]


def test_lips_close_at_bilabials_alone() -> None:
    phones = (Phone("a", 0.0, 0.2), Phone("mʲ", 0.2, 0.3), Phone("o", 0.3, 0.5), Phone("t", 0.5, 0.6))
    closed = lip_closures(phones, 0.6)
    assert len(closed) == 61
    assert (closed[21:29] == 1).all() and (closed[:14] == 0).all() and (closed[35:] == 0).all()
    assert not lip_closures((), 1.0).any()
    # A closure shorter than the rows are apart is still one.
    assert lip_closures((Phone("p", 0.503, 0.504),), 1.0).max() > 0.9


@pytest.mark.usefixtures("neural")
def test_the_neural_voice_tells_every_word(tmp_path: Path) -> None:
    text = "In 2026, Bob's mum paid $5 — twice. It’s fine!"
    said = speak_text(text, tmp_path / "a.wav", voice=choose_voice(None, None))
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert [word.text for word in said.words] == [
        "In",
        "2026,",
        "Bob's",
        "mum",
        "paid",
        "$5",
        "twice.",
        "It’s",
        "fine!",
    ]
    assert all(text[word.place :].startswith(word.text) for word in said.words) and said.exact
    starts = [word.start for word in said.words]
    assert starts == sorted(starts) and said.words[-1].end <= said.seconds == len(samples) / rate
    assert [phone.symbol for phone in said.phones].count("m") == 2
    assert 0.1 < np.abs(samples).max() < 0.99
    # Where no word is, it is quieter.
    loud = [np.abs(samples[int(w.start * rate) : int(w.end * rate)]).mean() for w in said.words]
    assert np.abs(samples[: int(starts[0] * rate / 2)]).mean() < 0.2 * min(loud)


@pytest.mark.usefixtures("formant")
@pytest.mark.parametrize(
    ("text", "language", "bilabials"),
    [(MUM, "en", 11), ("Привет, мама. Мы дома!", "ru", 5), ("¿Qué pasa, papá?", "es", 3)],
)
def test_espeak_tells_every_word_and_closure(text: str, language: str, bilabials: int, tmp_path: Path) -> None:
    said = speak_text(text, tmp_path / "a.wav", voice=choose_voice("espeak", language))
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert said.exact and [word.text for word in said.words] == text.split()
    assert sum(phone.symbol[0] in "pbm" for phone in said.phones) == bilabials
    assert 0.1 < np.abs(samples).max() < 0.99 and said.seconds == len(samples) / rate
    # Sound at closed lips is quieter than vowels, which it is at these times alone.
    places = (np.arange(int(said.seconds * 100)) * rate / 100).astype(int)
    level = np.array([np.abs(samples[place : place + rate // 100]).mean() for place in places])
    closed = lip_closures(said.phones, said.seconds)[: len(level)] > 0.9
    spoken = level > 0.1 * level.max()
    assert level[closed].mean() < 0.6 * level[~closed & spoken].mean()


@pytest.mark.usefixtures("formant")
def test_of_several_countries_the_language_s_own_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (("French (Belgium)", ("fr-be", "fr"), "fr-BE"), ("French (France)", ("fr-fr", "fr"), "fr"))
    monkeypatch.setattr(espeak, "espeak_voices", lambda: tuple(espeak.EspeakVoice(*row) for row in rows))
    for asked, spoken in (("fr", "fr-fr"), ("fr-CA", "fr-fr"), ("fr-BE", "fr-be")):
        assert choose_voice(None, asked).language == spoken


def test_espeak_stays_in_its_own_process(tmp_path: Path) -> None:
    speak_text("Hola", tmp_path / "a.wav", voice=choose_voice(None, "es"))
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("this system does not list what a process has loaded")
    assert "espeak" not in maps.read_text()
    assert not any("espeak" in name and not name.startswith("avatar.") for name in sys.modules)


@pytest.mark.usefixtures("formant")
def test_a_faster_voice_says_the_same_sooner(tmp_path: Path) -> None:
    slow, fast = (
        speak_text(MUM, tmp_path / "a.wav", voice=choose_voice("espeak", "en", speed=speed)) for speed in (0.8, 1.6)
    )
    assert fast.seconds < 0.75 * slow.seconds and len(fast.words) == len(slow.words)


@pytest.mark.usefixtures("three_voices")
@pytest.mark.parametrize(
    ("voice", "language", "name"),
    [
        (None, "es", "espeak:es"),
        (None, "es-MX", "espeak:es"),
        (None, "zh", "espeak:cmn"),
        ("espeak", None, "espeak:en-us"),
    ],
)
def test_the_voice_follows_the_language(voice: str | None, language: str, name: str) -> None:
    assert choose_voice(voice, language).name == name


@pytest.mark.usefixtures("three_voices")
def test_espeak_speaks_english_where_nothing_better_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hibari, "hibari_voices", tuple)
    chosen = choose_voice(None, None)
    assert chosen.name == "espeak:en-us" and "pip install 'headsplat[voice]'" in chosen.note


@pytest.mark.usefixtures("three_voices")
@pytest.mark.parametrize(
    ("voice", "language", "said"),
    [
        ("bob", None, "There is no voice 'bob'"),
        (None, "tlh", "one of the 3 languages that `avatar voices` lists"),
        ("espeak:es", "fr", "The voice espeak:es does not speak that language"),
        ("espeak:xx", None, "There is no voice for that language"),
    ],
)
def test_voices_that_there_are_none_of(voice: str | None, language: str | None, said: str) -> None:
    with pytest.raises(InputError) as stop:
        choose_voice(voice, language)
    assert said in str(stop.value)


@pytest.mark.usefixtures("silent_machine")
def test_what_a_machine_without_voices_says() -> None:
    with pytest.raises(InputError) as stop:
        choose_voice(None, None)
    assert "pip install 'headsplat[voice]'" in str(stop.value) and "apt install espeak-ng" in str(stop.value)
    with pytest.raises(InputError) as stop:
        choose_voice(None, "fr")
    assert "The language 'fr' needs espeak-ng" in str(stop.value) and "--voice-command" in str(stop.value)
    assert [(row.name, row.ready) for row in voice_rows()] == [("heart", False), ("espeak", False)]
    assert all(row.note for row in voice_rows("fr"))


def test_rows_of_one_language(monkeypatch: pytest.MonkeyPatch, three_voices: None) -> None:
    monkeypatch.setattr(hibari, "hibari_voices", lambda: (hibari.HibariVoice("heart", "en-US", "English", True),))
    assert [row.name for row in voice_rows("en-GB")] == ["heart", "espeak:en-us"]
    assert [row.name for row in voice_rows("es")] == ["espeak:es"]


@pytest.mark.usefixtures("neural")
def test_the_neural_voice_speaks_english_only() -> None:
    with pytest.raises(InputError, match="The voice heart does not speak that language"):
        choose_voice("heart", "fr")
    with pytest.raises(InputError, match="--speed"):
        choose_voice("heart", "en", speed=9.0)


SPEAKER = """import sys, numpy, soundfile
text = sys.stdin.read() or sys.argv[2]
if text == "fail": sys.exit("no such language")
if text == "words": sys.exit(open(sys.argv[1], "w").write("no sound") and 0)
if text != "nothing": soundfile.write(sys.argv[1], numpy.zeros(len(text)), 8000)
"""


def test_any_program_can_speak(tmp_path: Path) -> None:
    program, wav = tmp_path / "my speaker.py", tmp_path / "a.wav"
    program.write_text(SPEAKER)
    base = f"{sys.executable} '{program}'"
    run_voice_command(f"{base} {{wav}} {{text}}", "Quotes ' \" and {wav} $(x)", wav)
    assert soundfile.info(wav).frames == len("Quotes ' \" and {wav} $(x)")
    run_voice_command(f"{base} {{wav}}", "typed", wav)
    assert soundfile.info(wav).frames == 5
    cases = (("fail", "code 1: no such language"), ("nothing", "wrote no sound"), ("words", "Found: plain text"))
    for text, said in cases:
        wav.unlink(missing_ok=True)
        with pytest.raises(InputError) as stop:
            run_voice_command(f"{base} {{wav}} {{text}}", text, wav)
        assert said in str(stop.value)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "cannot be used"),
        ("mytts --out x.wav", "a program with {wav}"),
        ("mytts {wav} {speaker}", "a program with {wav}"),
        ("mytts '{wav}", "No closing quotation"),
        ("no-such-program {wav}", "is not there"),
    ],
)
def test_commands_that_cannot_be(template: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as stop:
        run_voice_command(template, "hello", tmp_path / "a.wav")
    assert said in str(stop.value)


def test_words_of_a_recording_are_spread_over_its_speech() -> None:
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    samples = np.concatenate([np.zeros(16000, np.float32), noise, np.zeros(16000, np.float32), noise])
    said = estimated_words("one two three four five six", samples)
    assert not said.exact and said.seconds == 4
    starts = np.array([word.start for word in said.words])
    assert 0.9 < starts[0] < 1.1 and (np.diff(starts) > 0).all() and 3 < starts[-1] < said.words[-1].end < 4.01
    assert not ((starts > 2.2) & (starts < 2.8)).any()
    assert estimated_words("one", np.zeros(16000, np.float32)).words == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "There is no text file"), (b"\xff\xfeh\0i\0", "plain text as UTF-8"), (b"x" * 1_000_001, "too long")],
)
def test_text_files_that_cannot_be_read(content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError) as stop:
        read_text(tmp_path / "a.txt")
    assert said in str(stop.value)
    with pytest.raises(InputError):
        read_text(tmp_path)


def test_text_files_of_any_system(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffOne.\r\nTwo\x00\tthree.\r".encode())
    assert read_text(tmp_path / "a.txt") == "One.\nTwo  three.\n"
