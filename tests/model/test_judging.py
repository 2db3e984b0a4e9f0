"""Both sides of a comparison are what they say they are: the engine's captions and the model's
likelihoods, of an adapter and of the base model."""

import json
from pathlib import Path

import pytest

from infra.local.stack import DEMO_MODEL
from shared.cards import CLASSES
from shared.messages import Decoding
from shared.prompts import BASE_PROMPT
from tests.adapters import make_adapter
from tests.clips import encoder_of
from tests.training import make_job, sft_rows
from workers.caption.captioner import EngineCaptioner
from workers.model.adapter_files import Adapter, AdapterShape, read_adapter
from workers.model.loading import LoadedModel, load_model
from workers.train.adapter import with_adapter
from workers.train.collate import Encoder
from workers.train.data import read_rows
from workers.train.engine_captions import Side, captions, items_of, likely, questions_of
from workers.train.evaluate import caption_rows
from workers.train.likelihood import likelihoods

pytestmark = pytest.mark.model

DECODING = Decoding(max_new_tokens=40)


def loaded_model() -> LoadedModel:
    return load_model(DEMO_MODEL, model_id="jamak/tiny", revision="r1")


def nothing(*told: object) -> None:
    """How far it is."""


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder = make_adapter(DEMO_MODEL, tmp_path_factory.mktemp("adapter"), seed=1)
    return read_adapter("a", folder, AdapterShape.of(loaded_model().model))


def test_both_sides_are_what_they_are_by_themselves(
    videos: dict[str, Path], adapter: Adapter, tmp_path: Path
) -> None:
    rows = sft_rows(videos)[:5]
    rows.append({**rows[0], "id": "again", "completion": "다르게 말한 빨간 배경"})
    parsed = read_rows("\n".join(json.dumps(row) for row in rows), "sft", BASE_PROMPT)

    def encoder(loaded: LoadedModel) -> Encoder:
        return encoder_of(loaded, parsed, tmp_path, 2)

    loaded = loaded_model()
    questions = questions_of(parsed)
    assert len(questions) == 5
    new, base = Side("a" * 12, adapter), Side(None, None)
    captioner = EngineCaptioner(loaded, CLASSES["cpu"], rows=3, positions=200)
    said = [
        captions(captioner, side, questions, encoder(loaded), DECODING, nothing)
        for side in (new, base)
    ]
    captioner.engine.close()
    assert [one.adapter and one.adapter.version for one in said[0]] == ["a" * 12] * 5
    assert [one.adapter for one in said[1]] == [None] * 5
    assert [one.text for one in said[0]] != [one.text for one in said[1]]
    # the base model before and after an adapter, and between two
    sides = [base, new, Side("b", adapter), base]
    nats = likely(loaded, sides, questions, encoder(loaded), nothing)
    assert nats[0] == nats[3]
    assert nats[1] == nats[2]
    assert nats[0] != nats[1]

    alone = loaded_model()
    plain = likelihoods(alone.model, encoder(alone), parsed, nothing)
    assert nats[0][1:] == pytest.approx([one[0].per_token for one in plain[1:5]], abs=1e-5)
    both = (plain[0][0].per_token + plain[5][0].per_token) / 2
    assert nats[0][0] == pytest.approx(both, abs=1e-5)
    generated = caption_rows(alone.model, encoder(alone), parsed[:5], nothing)
    assert [one.text[:20] for one in said[1]] == [text[:20] for text in generated]
    adapted = with_adapter(alone, make_job(), adapter)
    tuned = likelihoods(adapted, encoder(alone), parsed[1:5], nothing)
    assert nats[1][1:] == pytest.approx([one[0].per_token for one in tuned], abs=1e-4)

    items = items_of(questions, said[0], nats[0])
    assert items[0].references == (parsed[0].reference, "다르게 말한 빨간 배경")
    assert items[0].logp == nats[0][0]
    assert {item.parts["medium"] for item in items} == {"video"}
