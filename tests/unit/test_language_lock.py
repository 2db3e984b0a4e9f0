"""What may still be said under the language lock, token by token, and what may not."""

import unicodedata
from collections.abc import Iterable

import pytest
import torch

from tests.tokenizers import TOKENIZERS, single_bytes
from workers.caption.language_lock import LanguageLock
from workers.model.spoken import spoken


class Lock:
    """With the ids of single bytes, in which any character can be written."""

    def __init__(self, name: str) -> None:
        self.tokenizer = TOKENIZERS[name]()
        self.lock = LanguageLock(self.tokenizer, len(self.tokenizer) + 3)
        lock = self.lock
        self.out = lock.out.repeat(len(lock.after), 1)
        """(states, vocabulary)"""
        self.out[1:] = True
        self.out[:, lock.silent] = False
        self.out[:, lock.inside] = lock.inside_out
        self.masks, self.following = self.out.tolist(), lock.after[:, lock.column].tolist()
        self.byte = single_bytes(self.tokenizer)

    def passes(self, ids: Iterable[int]) -> bool:
        state = 0
        for number in ids:
            if self.masks[state][number]:
                return False
            state = self.following[state][number]
        return True

    def spells(self, text: str) -> bool:
        return self.passes(self.byte[one] for one in text.encode())


@pytest.fixture(scope="module", params=TOKENIZERS)
def lock(request: pytest.FixtureRequest) -> Lock:
    return Lock(request.param)


def characters(*ranges: tuple[int, int]) -> list[str]:
    several = (chr(number) for low, high in ranges for number in range(low, high + 1))
    return [one for one in several if unicodedata.category(one) not in ("Cn", "Cs", "Co")]


OURS = characters(
    (0x20, 0x7E),  # ASCII
    (0xA1, 0x24F),  # Latin of Europe and Vietnam, signs
    (0x1E00, 0x1EFF),
    (0x1100, 0x11FF),  # jamo
    (0x3131, 0x318E),
    (0xA960, 0xA97C),
    (0xD7B0, 0xD7FB),
    (0xAC00, 0xD7A3),  # all syllables
    (0x2010, 0x2026),  # dashes, quotes, dots
    (0x3001, 0x3003),
    (0x3008, 0x3011),
    (0x2460, 0x249B),  # circled and in brackets
    (0x3200, 0x321E),
    (0x3260, 0x327E),
    (0x3380, 0x33DF),  # units
    (0xFF01, 0xFF5E),
    (0x1F300, 0x1F64F),
)
FOREIGN = characters(
    (0x370, 0x3FF),  # Greek
    (0x400, 0x52F),  # Cyrillic
    (0x5D0, 0x5EA),
    (0x620, 0x64A),
    (0x904, 0x939),
    (0xE01, 0xE30),
    (0x10A0, 0x10FF),
    (0x2E80, 0x2FD5),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3041, 0x3096),  # kana
    (0x3099, 0x309A),
    (0x30A1, 0x30FF),
    (0x3105, 0x312F),
    (0x3220, 0x3243),  # Han and kana in circles, brackets and squares
    (0x3280, 0x32B0),
    (0x32D0, 0x3357),
    (0x337B, 0x337F),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAD9),
    (0xFF66, 0xFF9F),
    (0x1B000, 0x1B122),
    (0x1F200, 0x1F202),
    (0x20000, 0x20100),
    (0x2A6D0, 0x2A6DF),
    (0x2F800, 0x2FA1D),
    (0x30000, 0x30100),
)


def is_foreign(character: str) -> bool:
    """It is such a letter, or made of one."""
    if character in ("\u00b5", "\u2126") or unicodedata.name(character, "").startswith("SQUARE MU"):
        return False
    plain = unicodedata.normalize("NFKD", character)
    letters = [one for one in plain if unicodedata.category(one)[0] == "L"]
    names = [unicodedata.name(one, "") for one in letters]
    return not all(one.startswith(("LATIN ", "HANGUL ", "MODIFIER LETTER ")) for one in names)


NEITHER = {"\u037e", "\u0387"}
"""Greek signs that are a semicolon and a dot."""


def test_all_that_is_korean_can_be_said_byte_by_byte(lock: Lock) -> None:
    assert not [one for one in OURS if not lock.spells(one)]


def test_no_foreign_letter_can_be_said(lock: Lock) -> None:
    foreign = [
        one for one in FOREIGN if one not in NEITHER and unicodedata.category(one)[0] in "LNS"
    ]
    assert len(foreign) > 28_000
    signs = {one for one in foreign if one < "Ԁ" and unicodedata.category(one)[0] == "S"}
    assert not [one for one in foreign if one not in signs and lock.spells(one)]


def test_what_is_said_today_can_be_said_token_by_token(lock: Lock) -> None:
    text = "영상에는 빨간 원이 왼쪽에서 오른쪽으로 움직입니다. LED 24인치(약 61㎝) — ‘끝’ 🎬"
    assert lock.passes(lock.tokenizer(text, add_special_tokens=False).input_ids)
    for foreign in ("漢字", "かな", "カナ", "Привет", "ελλ", "한漢", "A中", "ไทย"):
        assert not lock.passes(lock.tokenizer(foreign, add_special_tokens=False).input_ids)


@pytest.mark.parametrize("begin", ["가", ""])
def test_pieces_in_any_order_never_make_one(lock: Lock, begin: str) -> None:
    """A walk along all that is not masked, over every state: whatever was said, what comes out has
    no foreign letter."""
    generator = torch.Generator().manual_seed(len(begin.encode()))
    state, ids = 0, [lock.byte[one] for one in begin.encode()]
    for one in ids:
        state = lock.following[state][one]
    numbers = list(lock.byte.values())
    special = lock.tokenizer.all_special_ids
    for step in range(1000):
        # As a model that is set on it: the bytes of Han and kana come first.
        wish = (0xE3, 0x81, 0x82, 0xE4, 0xB8, 0xAD, 0xD0, 0x9F, 0xF0, 0xA0, 0x80)[step % 11]
        odds = torch.rand(lock.out.shape[1], generator=generator)
        odds[numbers] += 1
        odds[lock.byte[wish]] += 1
        odds[special] += 0.8
        odds[len(lock.tokenizer) :] = 0
        token = int(odds.masked_fill(lock.out[state], -1).argmax())
        ids.append(token)
        state = lock.following[state][token]
    text = lock.tokenizer.decode(ids, skip_special_tokens=True)
    assert len(text) > 300
    assert not [one for one in text if is_foreign(one)]


def test_a_special_token_between_two_bytes_opens_no_way(lock: Lock) -> None:
    first, *rest = (lock.byte[one] for one in "あ".encode())
    silent = lock.tokenizer.eos_token_id
    assert not lock.passes([first, silent, *rest])
    assert lock.passes([lock.byte[0xEA], silent, lock.byte[0xB0], silent, lock.byte[0x80]])


def test_a_character_that_is_begun_is_ended(lock: Lock) -> None:
    """However much a model wants something else there."""
    generator = torch.Generator().manual_seed(1)
    state, ids = 0, []
    inside = set(lock.lock.inside.tolist())
    silent = set(lock.lock.silent.tolist())
    free = [one for one in range(lock.out.shape[1]) if one not in inside | silent]
    for step in range(1000):
        odds = torch.rand(lock.out.shape[1], generator=generator)
        odds[[*silent]] = 0
        if state == 0:
            odds[[*inside]] = 0
            odds[lock.byte[(0xEA, 0xED, 0xE3, 0xF0, 0xC3, 0xE2)[step % 6]]] += 1
        else:
            odds[free] += 1
        ids.append(int(odds.masked_fill(lock.out[state], -1).argmax()))
        state = lock.following[state][ids[-1]]
    said = spoken(lock.tokenizer, ids, finished=False)
    assert "\ufffd" not in said.heard
    assert len(said.heard) > 300
