"""How many visual tokens a picture costs, and where they stand among the text's tokens.

A frame of S x S pixels gives (S / patch)² patches, pooled `stride` x `stride`: 144 tokens at
336 px with 2x2 pooling, 64 with 3x3. A single image goes through LLaVA-NeXT's AnyRes tiles and is
not pooled. The stock processor knows 2x2 only; this layout equals it there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import BadData
from workers.model.geometry import context_of


@dataclass(frozen=True)
class VisualLayout:
    image_size: int
    patch_size: int
    pool_stride: int
    video_token_id: int
    image_token_id: int
    pinpoints: tuple[tuple[int, int], ...]
    """AnyRes resolutions, (height, width)."""

    @classmethod
    def from_config(cls, config: Any) -> "VisualLayout":
        """`config`: a LlavaNextVideoConfig."""
        return cls(
            image_size=config.vision_config.image_size,
            patch_size=config.vision_config.patch_size,
            pool_stride=config.spatial_pool_stride,
            video_token_id=config.video_token_index,
            image_token_id=config.image_token_index,
            pinpoints=tuple((height, width) for height, width in config.image_grid_pinpoints),
        )

    @property
    def patches_per_side(self) -> int:
        return self.image_size // self.patch_size

    @property
    def tokens_per_frame(self) -> int:
        return (self.patches_per_side // self.pool_stride) ** 2

    def image_tokens(self, height: int, width: int) -> int:
        """Tokens of one still of this size: the whole picture, its tiles without the padding,
        and one newline token a row (LLaVA-NeXT, llava-vl.github.io/blog/2024-01-30-llava-next)."""
        side = self.patches_per_side
        best_height, best_width = self._best_pinpoint(height, width)
        rows, columns = (
            best_height // self.image_size * side,
            best_width // self.image_size * side,
        )
        if width / height > columns / rows:
            shown = int(round(height * columns / width, 7))
            rows -= (rows - shown) // 2 * 2
        else:
            shown = int(round(width * rows / height, 7))
            columns -= (columns - shown) // 2 * 2
        return side * side + rows * columns + rows

    def _best_pinpoint(self, height: int, width: int) -> tuple[int, int]:
        """The resolution that keeps most of the picture, and wastes least."""

        def kept_and_wasted(pinpoint: tuple[int, int]) -> tuple[int, int]:
            to_height, to_width = pinpoint
            scale = min(to_width / width, to_height / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            return kept, -(to_height * to_width - kept)

        return max(self.pinpoints, key=kept_and_wasted)

    def expand(
        self,
        ids: Sequence[int],
        videos: Sequence[int] = (),
        images: Sequence[tuple[int, int]] = (),
    ) -> list[int]:
        """Repeat each media token as often as its medium has features.

        Args:
            ids: token ids in which every `<video>` and `<image>` stands once.
            videos: frames of each video, in order.
            images: (height, width) of each still, in order.

        Raises:
            BadData: the counts do not match. The model compares totals only, so two rows with
                swapped counts would pass there.
        """
        counts = {
            self.video_token_id: [frames * self.tokens_per_frame for frames in videos],
            self.image_token_id: [self.image_tokens(*size) for size in images],
        }
        for token, name in ((self.video_token_id, "<video>"), (self.image_token_id, "<image>")):
            found = sum(1 for i in ids if i == token)
            if found != len(counts[token]):
                raise BadData(f"the text holds {name} {found} times for {len(counts[token])} media")
        queues = {token: iter(values) for token, values in counts.items()}
        out: list[int] = []
        for i in ids:
            out.extend([i] * next(queues[i]) if i in queues else [i])
        return out


def context_length(text_config: Any) -> int:
    """Positions the language model can tell apart, RoPE scaling included."""
    return context_of(vars(text_config))[0]
