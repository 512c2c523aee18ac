"""Conversations: only what is new is run, and the answers are those of whole runs."""

import os
import pty
import signal
import subprocess
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from jalgateware.golden.sampler import Sampling
from jalhost.engine.chat import Conversation, Settings
from jalhost.engine.emulator import Emulator
from jalhost.engine.target import Request, Sampled
from jalhost.errors import DeviceRestarted, ModelError, UsageError
from jalhost.models.chat_template import ChatTemplate
from jalhost.models.convert import convert
from jalhost.models.fast_tokenizer import FastTokenizer
from jalhost.models.image import Image
from jalhost.models.image_file import save_image
from jalhost.models.source import open_source
from jaltest.model_files import write_folder
from jaltest.texts import JALHOST
from jaltest.tiny import ARCHITECTURE, tiny_model, tiny_tokenizer
from jaltest.vocabularies import TEMPLATE

PLAIN = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
SHAPE = replace(ARCHITECTURE, vocabulary=400, context=256)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """A model with special tokens, whose answers are noise, of tokens that no text has so."""
    folder = tmp_path_factory.mktemp("chat") / "x"
    write_folder(tiny_model(SHAPE), folder)
    source = open_source(folder)
    image = convert(source.checkpoint.load(), source.tokenizer, "x")
    return replace(image, stop_tokens=source.stop_tokens)


class Recorder(Emulator):
    """Keeps the requests, and the tokens that were sampled for each."""

    requests: list[Request]
    samples: list[list[int]]

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        self.requests = [*getattr(self, "requests", []), request]
        self.samples = [*getattr(self, "samples", []), []]
        for sampled in super().run(request):
            self.samples[-1].append(sampled.token)
            yield sampled


def talk(image: Image, settings: Settings, template: str = TEMPLATE, system: str = "") -> tuple[
    Recorder, Conversation
]:  # fmt: skip
    target = Recorder()
    target.load(image)
    words = image.tokenizer.words
    return target, Conversation(target, image, ChatTemplate(template, words), settings, system)


SETTINGS = Settings(12, Sampling.from_temperature(0.9, 5))


def test_turns_run_new_tokens_only(image: Image) -> None:
    target, conversation = talk(image, SETTINGS, system="Be brief.")
    answers = ["".join(conversation.ask(text)) for text in ("hello there", "and the dog?", "why")]
    assert [message["role"] for message in conversation.messages] == [
        "system", *["user", "assistant"] * 3,
    ]  # fmt: skip
    assert [message["content"] for message in conversation.messages[2::2]] == answers
    tokens: list[int] = []
    for index, (request, samples) in enumerate(zip(target.requests, target.samples, strict=True)):
        # An answer that ended at the most tokens: its last one was not run.
        assert request.position == max(0, len(tokens) - 1) if index else request.position == 0
        tokens = [*tokens[: request.position], *request.prompts[0], *samples]
        # The same from the start, in one go, on an engine that knows nothing.
        fresh = Emulator()
        fresh.load(image)
        whole = Request((tuple(tokens[: -len(samples)]),), len(samples), SETTINGS.sampling)
        assert [item.token for item in fresh.run(whole)] == samples
    last = conversation.last
    assert last
    assert (last.reused, last.finish) == (target.requests[-1].position, "length")
    assert last.prefilled == len(target.requests[-1].prompts[0]) < 25


def test_stop_tokens_end_answers_and_are_not_run_twice(image: Image) -> None:
    first = Recorder()
    first.load(image)
    _, probe = talk(image, SETTINGS)
    "".join(probe.ask("hello there"))
    stop = probe._tokens[-4]
    ended = replace(image, stop_tokens=(stop,))
    target, conversation = talk(ended, SETTINGS)
    "".join(conversation.ask("hello there"))
    assert conversation.last
    assert conversation.last.finish == "stop"
    known = len(conversation._tokens)
    "".join(conversation.ask("go on"))
    assert target.requests[1].position == known


def test_stop_texts_end_answers_and_are_never_shown(image: Image) -> None:
    _, conversation = talk(image, SETTINGS)
    whole = "".join(conversation.ask("hello there"))
    stop = whole[3:6]
    target, stopped = talk(image, replace(SETTINGS, stops=(stop, "no such text")))
    parts = list(stopped.ask("hello there"))
    assert "".join(parts) == whole[: whole.find(stop)]
    assert stopped.last
    assert stopped.last.finish == "stop"
    assert stopped.last.generated < 12
    "".join(stopped.ask("go on"))
    # What was cut off the answer is not in the conversation; all before it is reused.
    assert 0 < target.requests[1].position < len(target.requests[0].prompts[0]) + 12


def test_leaving_early_keeps_what_came(image: Image) -> None:
    target, conversation = talk(image, SETTINGS)
    parts = conversation.ask("hello there")
    first = next(parts)
    parts.close()
    assert conversation.messages[-1]["content"].startswith(first)
    assert conversation.last
    assert conversation.last.finish == "left"
    "".join(conversation.ask("go on"))
    assert target.requests[1].position >= len(target.requests[0].prompts[0])


def test_reset_forgets_all_but_the_system(image: Image) -> None:
    target, conversation = talk(image, SETTINGS, system="Be brief.")
    first = "".join(conversation.ask("hello there"))
    conversation.reset()
    assert [message["role"] for message in conversation.messages] == ["system"]
    assert "".join(conversation.ask("hello there")) == first
    assert [request.position for request in target.requests] == [0, 0]


def test_a_device_that_restarts_gets_everything_again(image: Image) -> None:
    class Fragile(Recorder):
        broken = False

        def run(self, request: Request) -> Generator[Sampled, None, None]:
            if self.broken:
                self.broken = False
                raise DeviceRestarted("it started again")
            yield from super().run(request)

    target = Fragile()
    target.load(image)
    conversation = Conversation(target, image, ChatTemplate(TEMPLATE, {}), SETTINGS)
    "".join(conversation.ask("hello there"))
    target.broken = True
    "".join(conversation.ask("go on"))
    assert target.requests[-1].position == 0
    assert conversation.last
    assert conversation.last.reused == 0


@pytest.mark.parametrize(
    ("system", "turns", "hint"),
    [
        ("", 0, "shorten the message"),
        ("Be brief.", 0, "shorten the message or what --system says"),
        ("Be brief.", 1, "begin a new one with /reset"),
    ],
)
def test_conversations_end_with_the_context(
    image: Image, system: str, turns: int, hint: str
) -> None:
    _, conversation = talk(image, SETTINGS, system=system)
    for _ in range(turns):
        "".join(conversation.ask("hello there"))
    before = list(conversation.messages)
    with pytest.raises(UsageError, match=rf"tokens, the model's context is 256 \({hint}\)$"):
        "".join(conversation.ask("word " * 400))
    assert conversation.messages == before


def test_empty_messages_are_refused(image: Image) -> None:
    _, conversation = talk(image, SETTINGS)
    with pytest.raises(UsageError, match="the message is empty"):
        "".join(conversation.ask("  "))


def test_templates_of_models_without_one(image: Image) -> None:
    old = convert(tiny_model(), tiny_tokenizer(), "tiny")
    _, conversation = talk(old, replace(SETTINGS, max_tokens=4), PLAIN)
    "".join(conversation.ask("the one"))
    "".join(conversation.ask("on the"))
    assert conversation.last
    assert conversation.last.reused > 8


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for %}", "cannot be read"),
        ("{{ raise_exception('roles must alternate') }}", "fails: roles must alternate"),
        ("{{ messages.__class__.__mro__ }}", "fails: access to attribute '__class__'"),
        ("{% for x in range(10 ** 9) %}{% endfor %}", "fails: Range too big"),
        ("{{ messages.append(1) }}", "fails"),
        ("{{ nothing.at.all }}", "fails"),
        ("x" * (1 << 21), "has 2,097,152 characters"),
    ],
)
def test_templates_that_misbehave(source: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ChatTemplate(source, {}).render([{"role": "user", "content": "x"}])


def chat(*arguments: str, lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*JALHOST, "chat", "--target", "emu", *arguments],
        input=lines, capture_output=True, encoding="utf-8", check=False, timeout=120,
    )  # fmt: skip


def test_on_the_command_line(image: Image, tmp_path: Path) -> None:
    save(image, tmp_path / "x.jal")
    lines = "hello there\n\ngo on\n/reset\nhello there\n/exit\nnever\n"
    run = chat("--model", str(tmp_path / "x.jal"), "--max-tokens=5", lines=lines)
    assert run.returncode == 0, run.stderr
    figures = [line for line in run.stderr.splitlines() if line.startswith("[")]
    assert len(figures) == 3
    assert " 0 reused" in figures[0]
    assert " 0 reused" not in figures[1]
    assert " 0 reused" in figures[2]
    kind = "; emulated: the times are this computer's, not hardware's]"
    assert all(line.endswith(kind) for line in figures)
    assert "a new conversation" in run.stderr
    assert run.stdout.strip()
    assert "Traceback" not in run.stderr


def save(image: Image, path: Path) -> None:
    assert isinstance(image.tokenizer, FastTokenizer)
    named = replace(image.tokenizer, chat_template=TEMPLATE)
    save_image(replace(image, tokenizer=named), path)


def test_on_a_terminal(image: Image, tmp_path: Path) -> None:
    """Ctrl-C ends an answer and not the conversation, Ctrl-D ends that."""
    save(image, tmp_path / "x.jal")
    options = ["--target", "emu", "--model", str(tmp_path / "x.jal"), "--max-tokens=150"]
    terminal, inner = pty.openpty()
    shown = b""

    def wait_for(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(terminal, 4096)
        shown = shown.partition(text)[2]

    command = [*JALHOST, "chat", *options]
    with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner) as process:
        os.close(inner)
        try:
            wait_for(b"/exit or Ctrl-D ends")
            wait_for(b"> ")
            os.write(terminal, b"hello\n")
            wait_for(b"hello\r\n")
            shown += os.read(terminal, 4096)
            process.send_signal(signal.SIGINT)
            wait_for(b" tokens (left)")
            wait_for(b"> ")
            os.write(terminal, b"/reset\n")
            wait_for(b"a new conversation")
            wait_for(b"> ")
            os.write(terminal, b"\x04")
            wait_for(b"\r\n")
            assert process.wait() == 0
        finally:
            process.kill()
            os.close(terminal)


def test_models_without_a_template_are_refused(image: Image, tmp_path: Path) -> None:
    save_image(image, tmp_path / "x.jal")
    run = chat("--model", str(tmp_path / "x.jal"), lines="hello\n")
    assert run.returncode == 3
    assert "the model x has no chat template (it was not made for conv" in run.stderr
    assert run.stderr.count("\n") == 1
