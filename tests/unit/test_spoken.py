"""What becomes of new tokens: whole syllables in composed form, and nothing that is no text."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.text import closed, composed, is_plain, plain, stray
from tests.tokenizers import TOKENIZERS, single_bytes
from workers.caption.engine.requests import Request, Row, Ticket
from workers.caption.engine.sampling import Draws, Sampling
from workers.model.pieces import token_bytes
from workers.model.prompt import completion_ids, text_of
from workers.model.spoken import delivered, spoken

KINDS = {name: make() for name, make in TOKENIZERS.items()}
KOREAN = st.text(
    st.one_of(
        st.characters(min_codepoint=ord("가"), max_codepoint=ord("힣")),
        st.sampled_from(" ,.!?·…‘’“”()\nabcXYZ019%㎝é🎬ㅋ영상가"),
    ),
    max_size=24,
)
any_tokenizer = pytest.mark.parametrize("kind", KINDS)


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(" " + text, add_special_tokens=False).input_ids)


@any_tokenizer
@given(text=KOREAN)
def test_what_is_whole_is_what_the_tokenizer_says(kind: str, text: str) -> None:
    tokenizer, text = KINDS[kind], text.strip()
    said = spoken(tokenizer, completion_ids(tokenizer, text), finished=True)
    assert said.text == text
    assert is_plain(said.heard)
    assert said.heard.strip() == tokenizer.decode(ids_of(tokenizer, text)).strip()


@any_tokenizer
@given(text=KOREAN, form=st.sampled_from(["NFC", "NFD"]))
def test_every_cut_ends_at_a_whole_syllable(kind: str, text: str, form: str) -> None:
    tokenizer = KINDS[kind]
    if form == "NFD":
        text = text.replace("é", "")  # without its accent it is a letter, too
    ids = ids_of(tokenizer, unicodedata.normalize(form, text))
    whole = spoken(tokenizer, ids, finished=True).text
    for cut in range(len(ids)):
        said = spoken(tokenizer, ids[:cut], finished=False)
        assert is_plain(said.heard)
        assert whole.startswith(said.text)
        if form == "NFC":  # and at the last of them
            there = b"".join(token_bytes(tokenizer, ids[:cut]))
            assert said.text == there.decode(errors="ignore").strip()


def test_a_cut_loses_no_more_than_the_syllable_that_it_is_in() -> None:
    tokenizer = KINDS["byte fallback"]
    ids = ids_of(tokenizer, "가뷁상")[1:]
    cuts = [text_of(tokenizer, ids[:cut], finished=False) for cut in range(len(ids) + 1)]
    assert cuts == ["", "가", "가", "가", "가뷁", "가뷁상"]


@any_tokenizer
def test_broken_bytes_inside_cost_nothing_around_them(kind: str) -> None:
    tokenizer = KINDS[kind]
    table = single_bytes(tokenizer)
    first, second, last = (table[one] for one in "뷁".encode())
    ids = [*ids_of(tokenizer, "원"), first, second, first, second, last, first]
    cut, ended = (spoken(tokenizer, ids, finished=one) for one in (False, True))
    assert (cut.text, ended.text) == ("원뷁", "원뷁")
    assert (cut.heard.count("\ufffd"), ended.heard.count("\ufffd")) == (1, 2)


@any_tokenizer
@given(data=st.data())
def test_whatever_tokens_come_the_text_is_whole(kind: str, data: st.DataObject) -> None:
    tokenizer = KINDS[kind]
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) + 2), max_size=30))
    finished = data.draw(st.booleans())
    said = spoken(tokenizer, ids, finished=finished)
    text = said.text
    assert text.encode().decode() == text == unicodedata.normalize("NFC", text) == text.strip()
    assert not [one for one in text if unicodedata.category(one) == "Cc" and one not in "\n\t"]
    assert "\ufffd" not in text
    assert delivered(text) == text


@given(st.text(st.sampled_from("가각한aé\u0301\u1112\u1161\u11ab\u119e\x00\x1b\ufffd\r\n\x85 <>")))
def test_plain_text_stays_as_it_is(text: str) -> None:
    kept = plain(text)
    assert plain(kept) == kept == composed(kept)
    assert is_plain(kept)
    assert stray(kept) == ""
    assert bool(stray(text)) is not is_plain(text)


@pytest.mark.parametrize(
    ("text", "kept", "first"),
    [
        ("원\x00이", "원이", "U+0000"),
        ("\x1b[2J원", "[2J원", "U+001B"),
        ("원\x9b2J", "원2J", "U+009B"),
        ("원\ufffd이", "원이", "U+FFFD"),
        ("ᄒ 원", " 원", "U+1112"),
        ("한ᅡ", "한", "U+1161"),
        ("원\u202e이", "원이", "U+202E"),
        ("원\ud83d", "원", "U+D83D"),
        ("ᄒ\x00ᅡ", "하", "U+0000"),
        ("한", "한", ""),
        ("ᄒᆞᆫ글", "ᄒᆞᆫ글", ""),
        ("ㅋㅋ", "ㅋㅋ", ""),
        ("첫\r\n둘\u2028셋", "첫\n둘\n셋", ""),
        ("👩\u200d👧 🇰🇷 ❤️", "👩\u200d👧 🇰🇷 ❤️", ""),
    ],
)
def test_what_is_no_text(text: str, kept: str, first: str) -> None:
    assert plain(text) == kept
    assert stray(text) == first
    assert is_plain(text) is (first == "")


def test_what_is_left_open_at_a_cut() -> None:
    assert closed("원ᄒ") == closed("원하") == "원"
    assert closed("원한") == "원한"
    assert closed("👩\u200d") == "👩"


@pytest.mark.parametrize(
    "said",
    [
        "<think>음, 원이다.</think>\n\n빨간 원.",
        "음, 원이다.</think>빨간 원.",
        "<think>하나<think>둘</think>셋</think>빨간 원.",
        "<thi<think></think>nk>음</think>빨간 원.",
        "<thi\x00nk>음</think>빨간 원.",
        "빨간 <think></think>원.",
        "빨간 원. <think>더 볼까",
    ],
)
def test_what_it_says_to_itself_is_no_caption(said: str) -> None:
    assert delivered(said) == "빨간 원."


def test_thoughts_alone_are_nothing() -> None:
    assert delivered("<think>원인가? 원일까") == ""
    assert delivered("<thi<think></think>nk>원인가?") == ""


@any_tokenizer
def test_a_stop_string_is_one_of_whole_characters_in_any_form(kind: str) -> None:
    tokenizer = KINDS[kind]
    table = single_bytes(tokenizer)
    ids = [table[byte] for byte in f"원{unicodedata.normalize('NFD', '뷁')}".encode()]
    for stop in ("뷁", unicodedata.normalize("NFD", "뷁")):
        row = stopped_by("\ufffd", stop)
        ended = []
        for one in [*ids, table[ord(".")]]:
            row.tokens.append(one)
            ended.append(row.ended(frozenset(), tokenizer))
        assert ended.index("stop") == len(ids) - 1
        assert ended[: len(ids) - 1] == [None] * (len(ids) - 1)


@any_tokenizer
@settings(max_examples=20)
@given(data=st.data())
def test_a_stop_string_is_found_at_the_end_as_in_the_whole(kind: str, data: st.DataObject) -> None:
    tokenizer = KINDS[kind]
    table = single_bytes(tokenizer)
    letters = st.sampled_from(
        ["뷁", "가", "a", "\r\n", "\n", "é", "<", "<|", "<think>", "</think>"]
    )
    stop = "".join(data.draw(st.lists(letters, min_size=1, max_size=2)))
    text = "".join(data.draw(st.lists(letters, max_size=8))) + stop + "끝."
    form = data.draw(st.sampled_from(["NFC", "NFD"]))
    before = [table[byte] for byte in ("나b" * 100).encode()]
    row = stopped_by(stop, longest=10_000)
    row.tokens += before
    for byte in unicodedata.normalize(form, text).encode():
        row.tokens.append(table[byte])
        whole = composed(spoken(tokenizer, row.tokens, finished=False).heard)
        ended = row.ended(frozenset(), tokenizer)
        assert ended == ("stop" if composed(stop) in whole else None)
        if ended:
            break


@any_tokenizer
def test_a_stop_string_costs_as_much_late_as_early(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, row = KINDS[kind], stopped_by("없는 말")
    row.tokens = completion_ids(tokenizer, "빨간 원이 움직입니다. " * 200)[:-1]
    read: list[int] = []

    def counted(tokenizer: Any, ids: Sequence[int]) -> list[bytes]:
        read.append(len(ids))
        return token_bytes(tokenizer, ids)

    monkeypatch.setattr("workers.model.spoken.token_bytes", counted)
    assert row.ended(frozenset(), tokenizer) is None
    assert sum(read) < 500 < len(row.tokens)


def test_thoughts_between_special_tokens_are_no_caption() -> None:
    tokenizer = TOKENIZERS["llama"]()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    said = "<think>음, 원을 보자.</think>빨간 원이 있습니다."
    ids = tokenizer(said, add_special_tokens=False).input_ids
    assert {"<think>", "</think>"} <= {*tokenizer.convert_ids_to_tokens(ids)}
    assert spoken(tokenizer, ids, finished=True).text == "빨간 원이 있습니다."
    assert spoken(tokenizer, ids[1:], finished=True).text == "빨간 원이 있습니다."
    assert spoken(tokenizer, ids[:6], finished=False).text == ""


@any_tokenizer
@pytest.mark.parametrize("mark", ["</s>", "<|im_end|>", "<video>", "<vid<video>eo>", "<\x00s>"])
def test_a_special_token_in_letters_is_no_text(kind: str, mark: str) -> None:
    tokenizer = KINDS[kind]
    table = single_bytes(tokenizer)
    said = spoken(tokenizer, [table[one] for one in f"빨간 원{mark}".encode()], finished=True)
    assert said.text == "빨간 원"
    assert said.heard == f"빨간 원{mark}"


@pytest.mark.parametrize("mark", ["<think>", "</think>", "</s>", "<|im_end|>", "<video>"])
def test_a_cut_inside_a_special_token_leaves_nothing_of_it(mark: str) -> None:
    tokenizer = KINDS["llama"]
    table = single_bytes(tokenizer)
    ids = [table[one] for one in f"빨간 원{mark}".encode()]
    for missing in range(1, len(mark) + 1):
        said = spoken(tokenizer, ids[:-missing], finished=False)
        assert (said.text, said.heard) == ("빨간 원", "빨간 원")
    kept = spoken(tokenizer, [table[one] for one in b"3 < 5 <c"], finished=False)
    assert kept.text == "3 < 5 <c"


def stopped_by(*stop: str, longest: int = 100) -> Row:
    request = Request((1,), samplings=(Sampling(longest, stop=stop),))
    return Row(Ticket(request), 0, 0, None, 1, Draws(0))
