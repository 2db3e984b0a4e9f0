"""The language lock in the engine."""

import itertools
from dataclasses import replace

import pytest
import torch

from tests.engines import SIZE, Make, asked, film
from workers.caption.engine.sampling import Sampling
from workers.caption.language_lock import LanguageLock
from workers.model.loading import LoadedModel
from workers.model.spoken import spoken

pytestmark = pytest.mark.model


def test_a_model_that_mixes_scripts_is_held_to_one(make: Make, loaded: LoadedModel) -> None:
    """Its head is bent towards the bytes of 中 and of 가, one after the other."""
    tokenizer = loaded.tokenizer
    wished = tokenizer("中가", add_special_tokens=False).input_ids
    engine = make(lock=LanguageLock(tokenizer, loaded.model.lm_head.out_features))
    engine._ends = frozenset()
    head = engine._runner._decoder._head
    steps = itertools.count()

    def bent(x: torch.Tensor) -> torch.Tensor:
        logits = head(x)
        logits[:, wished] += 1000
        logits[:, wished[next(steps) % len(wished)]] += 1000
        return logits

    engine._runner._decoder._head = bent
    long = Sampling(60)
    free, held = asked(
        engine,
        film(loaded, 1, 1, samplings=(long,)),
        film(loaded, 1, 1, samplings=(replace(long, locked=True),)),
    )
    texts = [tokenizer.decode(one.tokens, skip_special_tokens=True) for one in (free, held)]
    assert ["中" in one for one in texts] == [True, False]
    assert ["가" in one for one in texts] == [True, True]
    [again] = asked(engine, film(loaded, 1, 1, samplings=(replace(long, locked=True),)))
    assert "中" not in tokenizer.decode(again.tokens)


def test_a_model_that_breaks_off_inside_a_character_is_kept_in_it(
    make: Make, loaded: LoadedModel
) -> None:
    tokenizer = loaded.tokenizer
    first = tokenizer("가", add_special_tokens=False).input_ids[0]
    [other] = tokenizer("a", add_special_tokens=False).input_ids
    engine = make(lock=LanguageLock(tokenizer, loaded.model.lm_head.out_features))
    engine._ends = frozenset()
    head, steps = engine._runner._decoder._head, itertools.count()

    def bent(x: torch.Tensor) -> torch.Tensor:
        logits = head(x)
        logits[:, [first, other][next(steps) % 2]] += 1000
        return logits

    engine._runner._decoder._head = bent
    for locked in (False, True):
        request = film(loaded, 1, 1, samplings=(Sampling(60, locked=locked),))
        [said] = asked(engine, request)
        heard = spoken(tokenizer, said.tokens, finished=False).heard
        broken = [one for one in heard.split("a") if "\ufffd" in one]
        assert bool(broken) is not locked


def test_a_model_that_ends_inside_a_character_is_kept_in_it(
    make: Make, loaded: LoadedModel
) -> None:
    tokenizer = loaded.tokenizer
    first, *_ = tokenizer("가", add_special_tokens=False).input_ids
    end = min(loaded.ends)
    engine = make(lock=LanguageLock(tokenizer, loaded.model.lm_head.out_features))
    head, steps = engine._runner._decoder._head, itertools.count()

    def bent(x: torch.Tensor) -> torch.Tensor:
        logits = head(x)
        logits[:, first if next(steps) == 0 else end] += 1000
        return logits

    engine._runner._decoder._head = bent
    for locked in (False, True):
        steps = itertools.count()
        request = film(loaded, 1, 1, samplings=(Sampling(60, locked=locked),))
        [said] = asked(engine, request)
        assert said.ended == "eos"
        heard = spoken(tokenizer, said.tokens, finished=True).heard
        assert ("\ufffd" in heard) is not locked
        assert len(heard) == 1


def test_a_row_begins_as_if_nothing_was_said_there(make: Make, loaded: LoadedModel) -> None:
    """One ended inside a character; after that byte the next one's would be foreign."""
    tokenizer = loaded.tokenizer
    first, _, last = tokenizer("가", add_special_tokens=False).input_ids
    lock = LanguageLock(tokenizer, loaded.model.lm_head.out_features)
    engine = make(replace(SIZE, rows=1), lock=lock)
    head, wished = engine._runner._decoder._head, [first]

    def bent(x: torch.Tensor) -> torch.Tensor:
        logits = head(x)
        logits[:, wished] += 1000
        return logits

    engine._runner._decoder._head = bent
    one = film(loaded, 1, 1, samplings=(Sampling(1, locked=True),))
    assert asked(engine, one)[0].tokens == (first,)
    wished[0] = last
    assert asked(engine, one)[0].tokens == (last,)
    # In its own row it would have been out.
    assert lock.inside_out[lock.after[0, lock.column[first]]][lock.inside == last].all()
