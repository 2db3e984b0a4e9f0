"""A warm-up before rows are counted, on a device whose memory a test plays."""

from dataclasses import dataclass

import pytest

from shared.cards import CLASSES
from shared.errors import DoesNotFit
from tests.tiny_model import save_tiny_llava
from workers.caption.budget import GIB, Asked, CardPlan, machine_of, plan_card
