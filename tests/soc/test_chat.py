"""A conversation on the simulated system: keys and values of earlier turns stay in its DRAM."""

import pytest

from jalgateware.golden.sampler import Sampling
from jalhost.engine.chat import Conversation, Settings
from jalhost.engine.targets import open_target
from jalhost.models.chat_template import ChatTemplate
from jaltest.tiny import tiny_image

pytestmark = [pytest.mark.sim, pytest.mark.slow]

TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"


def test_turns_are_the_emulators() -> None:
    image = tiny_image()
    settings = Settings(6, Sampling.from_temperature(0.8, 3), drafts=3)
    turns: dict[str, list[tuple[str, int, int, str]]] = {}
    for name in ("emu", "sim"):
        with open_target(name, print) as target:
            target.load(image)
            conversation = Conversation(target, image, ChatTemplate(TEMPLATE, {}), settings)
            turns[name] = []
            for text in ("the one", "on", "then"):
                "".join(conversation.ask(text))
                turn = conversation.last
                assert turn
                turns[name].append((turn.answer, turn.reused, turn.prefilled, turn.finish))
    assert turns["sim"] == turns["emu"]
    assert turns["sim"][2][1] > turns["sim"][1][1] > 0
