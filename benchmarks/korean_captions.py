"""Korean captions: short ones of the demo's own grammar, and detailed ones of several sentences.

The detailed ones are put together from parts that stand in any order of words: each part brings its
particles with it. They hold common and rare syllables, numbers, Latin letters and signs.
"""

import random
from collections.abc import Iterator

from infra.demo.captions import phrasings
from infra.demo.scenes import sample_scenes

DRAWN = 150
"""Of the captions, those of the demo's grammar."""

PLACES = (
    "햇살이 비치는 공원의 산책로",
    "비에 젖은 도심의 횡단보도",
    "짙은 안개가 깔린 숲속의 개울가",
    "형광등이 깜빡이는 지하철 승강장",
    "눈이 소복이 쌓인 산기슭의 통나무집",
    "손님으로 붐비는 재래시장 골목",
    "파도가 거세게 부딪치는 갯바위",
    "먼지가 뿌옇게 이는 공사장",
    "책이 빽빽이 꽂힌 오래된 서점",
    "네온사인이 번쩍이는 밤거리",
    "벼가 누렇게 익은 논두렁",
    "창문이 활짝 열린 햇볕 좋은 부엌",
)
SUBJECTS = (
    "노란 우비를 입은 아이가",
    "흰 강아지를 데리고 나온 젊은 여성이",
    "안전모를 쓴 작업자 두 명이",
    "지팡이를 짚은 백발의 할아버지가",
    "교복 차림의 학생 서너 명이",
    "앞치마를 두른 요리사가",
    "꿩 한 마리가",
    "얼룩무늬 고양이가",
    "짐을 가득 실은 트럭이",
    "헬멧을 쓴 자전거 선수들이",
    "한복을 곱게 차려입은 신부가",
    "삽살개와 송아지가",
)
ACTIONS = (
    "천천히 걸으며 주위를 두리번거립니다",
    "덤불 틈에서 푸드덕 튀어나와 왼쪽으로 사라집니다",
    "허리를 굽혀 떨어진 낙엽을 줍습니다",
    "도마 위의 채소를 얇게 썰어 달군 팬에 볶습니다",
    "손을 흔들며 카메라 쪽으로 뛰어옵니다",
    "멈춰 서서 휴대 전화로 사진을 찍습니다",
    "웅덩이를 밟아 흙탕물을 튀깁니다",
    "밧줄을 당겨 무거운 짐을 들어 올립니다",
    "책장을 넘기다 말고 창밖을 내다봅니다",
    "서로 쫓고 쫓기며 풀밭을 뛰어다닙니다",
    "훌쩍 뛰어 담장 위에 올라앉습니다",
    "고개를 끄덕이며 무언가를 읊조립니다",
)
DETAILS = (
    "배경에는 낡은 벽돌 건물과 전봇대가 보입니다",
    "화면 오른쪽 위에는 'LED 50% 할인'이라고 적힌 간판이 걸려 있습니다",
    "바닥에는 노란 점자 블록이 길게 이어져 있습니다",
    "멀리 희끗희끗한 산봉우리와 옅은 구름이 겹쳐 보입니다",
    "탁자 위에는 찻잔 3개와 꽃병이 가지런히 놓여 있습니다",
    "벽에 걸린 시계는 10시 25분을 가리킵니다",
    "양옆으로 늘어선 벚나무에서 꽃잎이 흩날립니다",
    "유리창에 맺힌 물방울이 불빛을 받아 반짝입니다",
    "접시 곁에는 붉은 양념이 담긴 뚝배기가 김을 뿜고 있습니다",
    "울타리 너머로 젖소 떼가 풀을 뜯습니다",
)
CAMERA = (
    "카메라는 고정되어 있습니다",
    "카메라가 왼쪽에서 오른쪽으로 천천히 움직입니다",
    "화면이 점점 가까워지면서 얼굴이 크게 잡힙니다",
    "드론으로 찍은 듯 위에서 내려다보는 구도입니다",
    "장면이 두 번 바뀌고 마지막에 다시 처음 자리로 돌아옵니다",
    "손으로 들고 찍어 화면이 조금 흔들립니다",
)
MOODS = (
    "전반적으로 차분하고 쓸쓸한 분위기입니다",
    "밝고 활기찬 느낌이 듭니다",
    "어딘가 긴장감이 감돕니다",
    "따뜻하고 정겨운 분위기가 느껴집니다",
    "시끌벅적하면서도 즐거워 보입니다",
    "꿈결처럼 몽환적인 분위기를 자아냅니다",
)


def captions(count: int, seed: int = 19) -> list[str]:
    """Of both kinds, all of them different."""
    dice = random.Random(seed)  # noqa: S311  # reproducible, not secret
    drawn = max(1, count * DRAWN // 500)
    found = dict.fromkeys(_short(drawn, seed, dice))
    detailed = _detailed(dice)
    while len(found) < count:
        found[next(detailed)] = None
    return list(found)


def _short(count: int, seed: int, dice: random.Random) -> list[str]:
    kinds = ("single", "two_objects", "scene_change")
    each = -(-count // len(kinds))
    scenes = [
        scene for kind in kinds for scene in sample_scenes(each, seed, split="train", kind=kind)
    ]
    return [dice.choice(phrasings(scene)) for scene in scenes[:count]]


def _detailed(dice: random.Random) -> Iterator[str]:
    """Two to seven sentences."""
    while True:
        told = [f"{dice.choice(PLACES)}에서 {dice.choice(SUBJECTS)} {dice.choice(ACTIONS)}"]
        told += dice.sample(DETAILS, dice.randint(0, 3))
        told += dice.sample(CAMERA, dice.randint(0, 1))
        told += dice.sample(MOODS, dice.randint(0, 1))
        if dice.random() < 0.3:
            told.insert(1, f"이어서 {dice.choice(SUBJECTS)} {dice.choice(ACTIONS)}")
        yield ". ".join(told) + "."
