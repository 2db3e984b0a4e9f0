"""How many tokens a Korean text of so many syllables takes.

A length in tokens means nothing to people, and not the same to two models: 256 tokens are some 110
syllables where a tokenizer knows few of them, and some 230 where it knows whole words. So the
length of a caption is asked for in syllables, and each worker converts it by the tokenizer of its
own model.
"""

import math
from typing import Any

from shared.messages import Decoding

SAMPLES = (
    "화면 한가운데에 빨간 원이 놓여 있고, 그 뒤로 파란 하늘과 얇은 구름이 넓게 펼쳐져 있습니다.",
    "햇살이 비치는 산책로를 따라 젊은 여성이 흰 강아지와 걷고, 벚나무에서 꽃잎이 흩날립니다.",
    "카메라가 왼쪽으로 움직이면 낡은 벽돌 건물과 좁은 골목이 드러나고, 차분하고 쓸쓸한 느낌입니다.",
    "요리사가 도마 위의 채소를 얇게 썰어 달군 팬에 볶고, 접시 곁에 붉은 양념 그릇이 놓여 있습니다.",
    "짙은 안개가 깔린 숲에서 사슴 떼가 물을 핥고, 꿩 한 마리가 덤불 틈에서 푸드덕 튀어 오릅니다.",
    "젖은 아스팔트에 네온사인이 번쩍이고, 우산을 쓴 사람들이 횡단보도를 빠르게 건너갑니다.",
    "할머니가 뚝배기에 닭볶음탕을 끓이고, 쫄면과 떡볶이, 깻잎튀김, 곶감을 꽃무늬 쟁반에 얹습니다.",
    "찢어진 청바지를 입은 꼬마가 뻥튀기를 꽉 움켜쥐고 쩝쩝 씹으며, 툇마루를 훌쩍 뛰어넘습니다.",
    "꽹과리 소리에 삽살개가 컹컹 짖고, 햇병아리 떼가 삐악삐악 흩어지며, 수탉이 홰를 푸드덕 칩니다.",
    "파란 운동복을 입은 선수(27번)가 2022년 9월 3일 오전 10시 41분, 기온 -12.5℃인 트랙에서 400m를 "
    "뛰고, 중계 화면에는 'KIM 43.28초, NIKE Air Zoom Pro 189,000원'이라는 글자가 나옵니다.",
)
"""As detailed captions are: of common syllables, of rare ones and sounds, and, which takes most, of
dates, measures, prices and names in Latin letters that are read off the picture."""


def syllables_in(text: str) -> int:
    return sum("가" <= one <= "힣" for one in text)


def tokens_a_syllable(tokenizer: Any) -> float:
    """Of the sample that takes most: so a longest caption holds what was asked for, but where it is
    little else than numbers and other scripts, for those are no syllables and take tokens."""
    return max(
        len(tokenizer(f" {text}", add_special_tokens=False).input_ids) / syllables_in(text)
        for text in SAMPLES
    )


def longest(decoding: Decoding, each: float) -> int:
    """Tokens of the longest caption, with the one that ends it.

    Args:
        each: tokens that a syllable takes.
    """
    if decoding.max_syllables is None:
        return decoding.max_new_tokens
    return math.ceil(decoding.max_syllables * each) + 1
