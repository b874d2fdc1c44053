"""Says text with libespeak-ng in a process of its own: requests in, sound files and events out.

This file is run as a program by `avatar.speech.text.espeak` and imports nothing but the standard library: the
GPL-licensed library is loaded in this process alone. It reads one JSON request from standard input and writes one JSON
answer. The calls are those of espeak-ng's ``speak_lib.h``.
"""

import ctypes
import json
import sys
from pathlib import Path

_RETRIEVE, _PHONEME_EVENTS, _IPA, _DONT_EXIT = 1, 1, 2, 0x8000
_WORD, _PHONEME = 1, 7
_UTF8, _END_PAUSE = 1, 0x1000
_RATE_PARAMETER, _NORMAL_RATE = 1, 175


class _Identifier(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identifier),
    )


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.POINTER(ctypes.c_char)),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def load(libraries):
    """The first of the libraries that can be loaded, started; its rate in Hz. Each comes with its data's folder."""
    problems = []
    for path, data in libraries:
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            problems.append(str(error))
            continue
        folder = data.encode() if data else None
        rate = library.espeak_Initialize(_RETRIEVE, 0, folder, _PHONEME_EVENTS | _IPA | _DONT_EXIT)
        if rate > 0:
            return library, rate
        problems.append(f"{path} finds no voices")
    raise SystemExit(problems[0] if problems else "no library")


def voices(library):
    """Every voice as [name, identifier, [languages]]."""
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    listed, rows, index = library.espeak_ListVoices(None), [], 0
    while listed[index]:
        voice, place, languages = listed[index].contents, 0, []
        # A byte of priority and a name that ends in a zero, over and over.
        while voice.languages[place] != b"\0":
            place += 1
            name = ctypes.string_at(ctypes.addressof(voice.languages.contents) + place)
            languages.append(name.decode())
            place += len(name) + 1
        rows.append([voice.name.decode(), voice.identifier.decode(), languages])
        index += 1
    return rows


def say(library, text, sound):
    """Writes a passage's 16-bit samples to an open file; returns words [place, sample] and phones [symbol, sample]."""
    words, phones, count = [], [], 0

    def heard(samples, number, events):
        nonlocal count
        if samples and number > 0:
            sound.write(ctypes.string_at(samples, 2 * number))
            count += number
        index = 0
        while events[index].type:
            event = events[index]
            if event.type == _WORD:
                words.append([event.text_position - 1, event.sample])
            elif event.type == _PHONEME:
                phones.append([bytes(event.id.string).decode("utf-8", "replace"), event.sample])
            index += 1
        return 0

    callback = _CALLBACK(heard)
    library.espeak_SetSynthCallback(callback)
    data = text.encode() + b"\0"
    failed = library.espeak_Synth(data, len(data), 0, 1, 0, _UTF8 | _END_PAUSE, None, None)
    if failed or library.espeak_Synchronize():
        raise SystemExit("the text could not be said")
    return {"words": words, "phones": phones, "samples": count}


def main():
    """Answers one request."""
    request = json.load(sys.stdin)
    library, rate = load(request["libraries"])
    answer = {"rate": rate}
    if "passages" in request:
        if library.espeak_SetVoiceByName(request["voice"].encode()):
            raise SystemExit(f"there is no voice {request['voice']}")
        library.espeak_SetParameter(_RATE_PARAMETER, round(_NORMAL_RATE * request["speed"]), 0)
        with Path(request["sound"]).open("wb") as sound:
            answer["passages"] = [say(library, text, sound) for text in request["passages"]]
    else:
        answer["voices"] = voices(library)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
