"""Before the first caption: does the model do what the plan assumes? Otherwise refuse to start."""

import torch

from shared.errors import ConfigError
from workers.model.loading import LoadedModel


def check_model(loaded: LoadedModel) -> None:
    """Run one blank frame through the vision tower and compare with the layout.

    Raises:
        ConfigError: naming the value that is wrong.
    """
    config, layout, size = loaded.model.config, loaded.layout, loaded.preprocessor.crop
    if config.vision_feature_select_strategy != "default":
        raise ConfigError(
            f"vision_feature_select_strategy is {config.vision_feature_select_strategy!r}, "
            "not 'default': every frame would carry an extra class token",
            cure="Set it to 'default' in the checkpoint's config.json.",
        )
    if size != layout.image_size:
        raise ConfigError(
            f"the preprocessor crops to {size} px, but vision_config.image_size is "
            f"{layout.image_size}",
            cure="Use the preprocessor_config.json that belongs to this checkpoint.",
        )
    if layout.image_size % layout.patch_size:
        raise ConfigError(
            f"vision_config.patch_size {layout.patch_size} does not divide "
            f"image_size {layout.image_size}",
            cure="Use the config.json that belongs to this checkpoint.",
        )
    for token, index in (("<video>", layout.video_token_id), ("<image>", layout.image_token_id)):
        known = loaded.tokenizer.convert_tokens_to_ids(token)
        if known != index:
            raise ConfigError(
                f"the tokenizer's id of {token} is {known}, but config.json says {index}",
                cure="Use the tokenizer that belongs to this checkpoint.",
            )
    blank = torch.zeros(1, 1, 3, size, size, dtype=loaded.dtype, device=loaded.device)
    with torch.inference_mode():
        features = loaded.model.get_video_features(blank).pooler_output
    found = sum(part.shape[-2] for part in features)
    if found != layout.tokens_per_frame:
        raise ConfigError(
            f"a frame gives {found} visual tokens, but {layout.tokens_per_frame} are planned "
            f"(image_size {layout.image_size}, patch_size {layout.patch_size}, "
            f"spatial_pool_stride {layout.pool_stride})",
            cure="Make config.json and preprocessor_config.json agree.",
        )


def check_device(device: str | torch.device) -> None:
    """Raises RuntimeError: it does not compute any more. That of CUDA stays with its process."""
    torch.ones(8, device=device).sum().item()
