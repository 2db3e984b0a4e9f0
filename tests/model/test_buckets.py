"""Decoding in buckets: padding changes nothing, and with one bucket company changes no bit.

On a CPU the same passes run, without graphs; what only a GPU can show is left out where none is.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.messages import AdapterUsed
from tests.engines import SIZE, asked, film, films, plain, spoil
from tests.played_graphs import play_graphs
from tests.tiny_model import make_checkpoint
from workers.caption.engine import attention, deltas, linear, runner
from workers.caption.engine import kv as kv_module
from workers.caption.engine.buckets import Bucketed, Graphs, Key, buckets
from workers.caption.engine.decoder import Decoder
from workers.caption.engine.engine import Engine, Size
from workers.caption.engine.kv import KV
from workers.caption.engine.requests import Request, Said
from workers.caption.engine.sampling import Sampling
from workers.model.adapter_files import Adapter
from workers.model.loading import LoadedModel, load_model

pytestmark = pytest.mark.model

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
Make = Callable[..., Engine]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Engine] = []

    def engine(loaded: LoadedModel, size: Size = SIZE, **options: Any) -> Engine:
        made.append(Engine(loaded, size, **{"ahead": True, **options}))
        return made[-1]

    yield engine
    for one in made:
        one.audit()
        one.close()


def test_there_are_few_sizes_and_the_last_one_is_all_rows() -> None:
    assert buckets(1) == [1]
    assert buckets(3) == [1, 2, 3]
    assert buckets(20) == [1, 2, 4, 8, 16, 20]
    assert buckets(64) == [1, 2, 4, *range(8, 65, 8)]


def in_buckets(patch: pytest.MonkeyPatch) -> None:
    """As on a GPU, without graphs."""

    def made(decoder: Any, slots: Any, kv: Any, mode: Any) -> Bucketed:
        return Bucketed(decoder, slots, kv, buckets(kv.rows), None)

    patch.setattr(runner, "passes_of", made)


def test_rows_of_padding_change_no_token(
    make: Make, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows come and go, prompts in several parts and up to the last position beside them."""
    in_buckets(monkeypatch)
    requests = [film(loaded, seed, seed % 5, samplings=(Sampling(9 + seed),)) for seed in range(9)]
    requests.append(film(loaded, 2, 2, samplings=(Sampling(50),)))
    positions = max(one.longest for one in requests)
    engine = make(loaded, Size(7, positions, 16))
    engine._ends = frozenset()
    said = asked(engine, *requests)
    for one, request in zip(said, requests, strict=True):
        assert one.tokens == plain(loaded, request, eos_token_id=-1)


def test_not_a_number_in_a_row_of_padding_spoils_nobody(
    make: Make, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_buckets(monkeypatch)
    engine = make(loaded, Size(8, 256, 16))
    wanted = asked(engine, *films(loaded, logprobs=True))
    spoil(engine)
    assert asked(engine, *films(loaded, logprobs=True)) == wanted


def alone_and_in_company(engine: Engine, requests: list[Request]) -> tuple[list[Said], list[Said]]:
    alone = [asked(engine, one)[0] for one in requests]
    return alone, asked(engine, *requests[::-1])[::-1]


def every_kind(loaded: LoadedModel) -> list[Request]:
    kinds = (
        Sampling(12),
        Sampling(15, temperature=0.9, top_p=0.8, seed=4),
        Sampling(9, repetition_penalty=1.3),
    )
    requests = films(loaded, logprobs=True)
    return [replace(one, samplings=(kinds[number % 3],)) for number, one in enumerate(requests)]


def test_with_one_bucket_company_changes_no_bit(
    make: Make, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of products whose rounding depends on the number of rows, as a GPU's does."""
    for module in (linear, deltas):
        monkeypatch.setattr(module, "can_pack", lambda dtype, device: False)

    def rough(self: Any, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.linear(x, self._weight, self._bias)
        return y * (1 + 1e-5 * len(x))

    monkeypatch.setattr(linear.Joined, "__call__", rough)
    model = load_model(Path(loaded.model.name_or_path), model_id="tests/tiny")
    alone, together = alone_and_in_company(make(model, mode="same"), every_kind(loaded))
    assert alone == together
    alone, together = alone_and_in_company(make(model, mode="plain"), every_kind(loaded))
    assert alone != together


def played_flash(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    begins_q: torch.Tensor,
    begins_k: torch.Tensor,
    *others: Any,
    scale: float,
    seqused_k: torch.Tensor,
) -> torch.Tensor:
    """What PyTorch's kernel does, one sequence after the other."""
    assert {one.dtype for one in (begins_q, begins_k, seqused_k)} == {torch.int32}
    assert others == (1, others[1], 0.0, False, False)
    assert all(one.stride(-1) == 1 for one in (q, k, v))
    out = torch.empty_like(q)
    for number, used in enumerate(seqused_k.tolist()):
        asks = slice(int(begins_q[number]), int(begins_q[number + 1]))
        begin = int(begins_k[number])
        assert 1 <= used <= int(begins_k[number + 1]) - begin == others[1]
        keys, values = (one[begin : begin + used].transpose(0, 1) for one in (k, v))
        seen = torch.nn.functional.scaled_dot_product_attention(
            q[asks].transpose(0, 1), keys, values, scale=scale, enable_gqa=True
        )
        out[asks] = seen.transpose(0, 1)
    return out


@pytest.mark.parametrize(("key_heads", "bucketed"), [(4, True), (2, False), (1, True)])
def test_a_kernel_that_knows_each_rows_length_sees_the_same(
    key_heads: int, bucketed: bool, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of rows that are padding, and where keys are shared."""
    shape = {"num_attention_heads": 4, "num_key_value_heads": key_heads}
    loaded = load_model(make_checkpoint(tmp_path, **shape), model_id="tests/tiny")
    monkeypatch.setattr(attention, "flash", played_flash)
    monkeypatch.setattr(Decoder, "rows_see", attention.Flash)
    if bucketed:
        in_buckets(monkeypatch)
    engine = make(loaded, Size(6, 256, 16))
    spoil(engine)
    assert [one.tokens for one in asked(engine, *films(loaded))] == [
        plain(loaded, one) for one in films(loaded)
    ]


def test_without_such_a_kernel_ends_are_masked() -> None:
    kv = KV(layers=1, rows=2, heads=1, positions=64, size=16, **ON_THE_CPU)
    assert attention.fastest(kv, 2) is attention.Masked


def with_graphs(patch: pytest.MonkeyPatch) -> None:
    """As on a GPU, with graphs that are played, of matrices that lie where they always lay."""
    play_graphs(patch)
    for module in (linear, deltas):
        patch.setattr(module, "can_pack", lambda dtype, device: False)

    def made(decoder: Any, slots: Any, kv: Any, mode: Any) -> Bucketed:
        return Bucketed(decoder, slots, kv, buckets(kv.rows), Graphs(decoder.device))

    patch.setattr(runner, "passes_of", made)


def caught_of(engine: Engine) -> dict[Key, Any]:
    passes = engine._runner._decoder
    assert isinstance(passes, Bucketed)
    assert passes._graphs is not None
    assert not passes._graphs._fails
    return dict(passes._graphs._caught)


def test_what_is_replayed_looks_at_what_is_there_now(
    make: Make, checkpoint: Path, known: list[Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens, lengths and adapters of each step; also when adapters have moved."""
    loaded = load_model(checkpoint, model_id="tests/tiny")
    plainly = make(loaded, mode="plain")
    with_graphs(monkeypatch)
    played = make(load_model(checkpoint, model_id="tests/tiny"))
    for number, adapter in enumerate([None, *known, known[0]]):
        used = AdapterUsed(version=f"v{number}", generation=number) if adapter else None
        said = []
        for engine in (plainly, played):
            engine.use(used, adapter)
            said.append([one.tokens for one in asked(engine, *films(loaded))])
        assert said[0] == said[1]
    caught = caught_of(played)
    assert {(one.rows, one.rank) for one in caught} == {(n, r) for n in (1, 2, 3) for r in (0, 8)}
    assert all(one.replays > 1 for one in caught.values())


def test_what_cannot_be_caught_is_computed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    play_graphs(monkeypatch)
    graphs, seen = Graphs(torch.device("cpu")), torch.zeros(1)

    def compute() -> None:
        seen.fill_(seen.item() + 1)  # no capture allows that

    for _ in range(2):
        graphs.run(Key(1, 0), compute)
    assert graphs._fails
    assert seen.item() >= 2


def test_memory_that_ends_while_one_is_caught_is_no_reason_to_go_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play_graphs(monkeypatch)
    graphs = Graphs(torch.device("cpu"))

    def compute() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        graphs.run(Key(1, 0), compute)
    assert not graphs._fails


def at_work(
    make: Make, checkpoint: Path, patch: pytest.MonkeyPatch
) -> tuple[Engine, LoadedModel, list[tuple[int, ...]]]:
    """An engine that has caught its graphs, and what it said, as one without graphs does."""
    loaded = load_model(checkpoint, model_id="tests/tiny")
    wanted = [one.tokens for one in asked(make(loaded, mode="plain"), *films(loaded))]
    with_graphs(patch)
    engine = make(loaded)
    assert [one.tokens for one in asked(engine, *films(loaded))] == wanted
    return engine, loaded, wanted


def test_no_graph_looks_at_memory_that_was_given_back(
    make: Make, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if there is none for what takes its place."""
    engine, loaded, wanted = at_work(make, checkpoint, monkeypatch)

    def lacking(*args: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine._runner._passes = lacking
    with torch.inference_mode(), pytest.raises(torch.OutOfMemoryError):
        engine._runner.shrink(1)
    engine.size = replace(engine.size, rows=1)
    assert not isinstance(engine._runner._decoder, Bucketed)
    assert [one.tokens for one in asked(engine, *films(loaded))] == wanted


def test_no_graph_looks_at_memory_of_which_a_part_was_given_back(
    make: Make, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory may end in any layer; the rest is given back later."""
    engine, loaded, wanted = at_work(make, checkpoint, monkeypatch)
    zeros, calls = kv_module._zeros, iter(range(10**6))

    def lacking(*args: Any) -> torch.Tensor:
        if next(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return zeros(*args)

    with monkeypatch.context() as patch:
        patch.setattr(kv_module, "_zeros", lacking)
        with torch.inference_mode(), pytest.raises(torch.OutOfMemoryError):
            engine._runner.shrink(2)
    assert engine._runner.kv.rows == SIZE.rows
    assert not isinstance(engine._runner._decoder, Bucketed)
    engine.size = replace(engine.size, rows=2)
    assert [one.tokens for one in asked(engine, *films(loaded))] == wanted
    engine.audit()  # when nobody is at work
    assert engine._runner.kv.rows == 2
    assert isinstance(engine._runner._decoder, Bucketed)


ON_THE_CPU: dict[str, Any] = {"dtype": torch.bfloat16, "device": torch.device("cpu")}


# --- only on a GPU -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_gpu(checkpoint: Path) -> LoadedModel:
    return load_model(checkpoint, model_id="tests/tiny", device="cuda")


def generated_there(loaded: LoadedModel, request: Request) -> tuple[int, ...]:
    ids = torch.tensor([request.ids], device="cuda")
    pixels = request.pixels
    output = loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **({} if pixels is None else {"pixel_values_videos": pixels[None].cuda()}),
        max_new_tokens=request.samplings[0].max_new_tokens,
        do_sample=False,
        pad_token_id=loaded.tokenizer.pad_token_id,
    )
    return tuple(output[0, ids.shape[1] :].tolist())


@on_a_gpu
def test_graphs_say_what_single_operations_say(
    make: Make, loaded: LoadedModel, on_gpu: LoadedModel, known: list[Adapter]
) -> None:
    wanted = [generated_there(on_gpu, one) for one in films(loaded)]
    said = []
    for mode in ("fast", "same", "plain"):
        engine = make(on_gpu, mode=mode)
        assert [one.tokens for one in asked(engine, *films(loaded))] == wanted
        for number, adapter in enumerate(known):  # the second one moves all addresses
            engine.use(AdapterUsed(version=f"v{number}", generation=number), adapter)
        said.append([one.tokens for one in asked(engine, *films(loaded))])
        if mode != "plain":
            assert {one.rank for one in caught_of(engine)} == {0, 8}
    assert said[0] == said[1] == said[2] != wanted


@on_a_gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_a_gpu_too_company_changes_no_bit_with_one_bucket(
    dtype: str, make: Make, loaded: LoadedModel, checkpoint: Path
) -> None:
    model = load_model(checkpoint, model_id="tests/tiny", device="cuda", dtype=dtype)
    alone, together = alone_and_in_company(
        make(model, replace(SIZE, rows=7), mode="same"), every_kind(loaded)
    )
    assert alone == together


@on_a_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("key_heads", [1, 2, 8])
def test_the_kernel_that_knows_lengths_agrees_with_masks(
    dtype: torch.dtype, key_heads: int
) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this card has no such kernel")
    device = torch.device("cuda")
    kv = KV(layers=1, rows=6, heads=key_heads, positions=256, size=128, dtype=dtype, device=device)
    for memory in (*kv.keys, *kv.values):
        memory.normal_()
    lengths = torch.tensor([0, 1, 63, 64, 255, 256], device=device)
    q = 4 * torch.randn(6, 8, 128, dtype=dtype, device=device)
    right, also = (way(kv, lengths, 255)(0, q, 0.1) for way in (attention.Masked, attention.Flash))
    torch.testing.assert_close(also[:5], right[:5], rtol=0.02, atol=0.02)
    assert attention.fastest(kv, 8) in (attention.Masked, attention.Flash)
    assert not kv.keys[0].any()


@on_a_gpu
def test_a_capture_that_fails_leaves_the_stream_as_it_was() -> None:
    graphs, seen = Graphs(torch.device("cuda")), torch.zeros(1, device="cuda")

    def compute() -> None:
        seen.fill_(float(seen.cpu()) + 1)

    for _ in range(2):
        graphs.run(Key(1, 0), compute)
    assert graphs._fails
    assert float(seen) >= 2
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
