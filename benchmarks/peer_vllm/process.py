"""vLLM makes captions: run by the interpreter of its own environment, it knows nothing of ours.

    PYTHON process.py MODEL WORK ROWS POSITIONS KV_BYTES

WORK is a file of frames and prompts. Each line that it reads is a list of indices into it; it
answers each with a line of JSON: tokens, CPU seconds and the mean of rows in a step. The first line
comes by itself, when it is ready.

All of it runs in this one process, so CPU time is all there is. Nothing is kept from one caption to
the next: no prefixes, no features of a video.
"""

import json
import os
import resource
import sys
import time
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
os.environ["VLLM_NO_USAGE_STATS"] = os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from vllm import LLM, SamplingParams
from vllm.model_executor.models import llava_next_video

_init = llava_next_video.LlavaNextVideoPooler.__init__


def _pooler(self: Any, config: Any) -> None:
    """Its `image_size` divides itself out, but is 0 for the demo's small pictures."""
    _init(self, config)
    self.image_size = 1


llava_next_video.LlavaNextVideoPooler.__init__ = _pooler


class Captions:
    def __init__(self, model: str, work: str, rows: int, positions: int, kv_bytes: int) -> None:
        self._work = np.load(work)
        self._llm = LLM(
            model,
            dtype="float32",
            enforce_eager=True,
            max_model_len=positions,
            max_num_seqs=rows,
            kv_cache_memory_bytes=kv_bytes,
            enable_prefix_caching=False,
            mm_processor_cache_gb=0,
            limit_mm_per_prompt={"video": 1, "image": 0},
        )
        self._rows: list[int] = []
        scheduler = self._llm.llm_engine.engine_core.engine_core.scheduler
        schedule = scheduler.schedule

        def noted(*arguments: Any, **named: Any) -> Any:
            output = schedule(*arguments, **named)
            if output.num_scheduled_tokens:
                self._rows.append(len(output.num_scheduled_tokens))
            return output

        scheduler.schedule = noted

    def make(self, indices: list[int]) -> dict[str, Any]:
        self._rows.clear()
        began = cpu_s()
        prompts = [
            {
                "prompt_token_ids": self._work[f"ids_{index}"].tolist(),
                "multi_modal_data": {"video": self._work[f"frames_{index}"]},
            }
            for index in indices
        ]
        settings = [
            SamplingParams(
                temperature=0.0,
                max_tokens=int(self._work[f"new_tokens_{index}"]),
                detokenize=False,
            )
            for index in indices
        ]
        outputs = self._llm.generate(prompts, settings, use_tqdm=False)
        return {
            "cpu_s": cpu_s() - began,
            "prompts": [len(one.prompt_token_ids) for one in outputs],
            "tokens": [list(one.outputs[0].token_ids) for one in outputs],
            "rows": sum(self._rows) / max(1, len(self._rows)),
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def cpu_s() -> float:
    """Of this process and those that it started."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


if __name__ == "__main__":
    # vLLM says much on the standard output; the answers go where that led.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    model, work, *sizes = sys.argv[1:]
    captions = Captions(model, work, *map(int, sizes))
    print(json.dumps({"cpu_s": cpu_s()}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(captions.make(json.loads(line))), file=answers, flush=True)
