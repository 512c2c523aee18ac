"""Chat templates: from the messages of a conversation to the text that a model reads.

Models bring them as Jinja source, which is a program from a file that nobody checked: it runs in
Jinja's sandbox, without access to anything but the messages.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jalhost.errors import EnvironmentProblem, ModelError

Message = dict[str, str]
"""``role`` (system, user, assistant) and ``content``."""

MAX_SOURCE = 1 << 20
"""Characters of a template that is run at all."""


class ChatTemplate:
    """A model's chat template.

    Args:
        source: in Jinja's language, as transformers runs it.
        words: special tokens by the names that templates use.

    Raises:
        EnvironmentProblem: Jinja is not installed.
        ModelError: the source is no template.
    """

    def __init__(self, source: str, words: Mapping[str, str]) -> None:
        try:
            from jinja2 import TemplateError
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError as error:
            raise EnvironmentProblem(
                "chat templates need the package jinja2", "pip install 'jalhost[models]'"
            ) from error
        if len(source) > MAX_SOURCE:
            raise ModelError(f"the chat template has {len(source):,} characters")
        # Loop controls and blocks without their lines' white space, as transformers has them.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._words = dict(words)
        self._errors = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError,
                        AttributeError, RecursionError)  # fmt: skip
        try:
            self._template = environment.from_string(source)
        except self._errors as error:
            raise ModelError(f"the model's chat template cannot be read: {error}") from error

    def render(self, messages: Sequence[Message], answer_next: bool = True) -> str:
        """The text of a conversation; with ``answer_next``, up to where the answer begins.

        Raises:
            ModelError: the template fails, or refuses these messages.
        """
        variables: dict[str, Any] = {"bos_token": "", "eos_token": "", **self._words}
        try:
            return self._template.render(
                messages=list(messages), add_generation_prompt=answer_next, **variables
            )
        except self._errors as error:
            raise ModelError(f"the model's chat template fails: {error}") from error


def _refuse(reason: object) -> None:
    """What templates call where they cannot take a conversation.

    Raises:
        ValueError: always, with the template's reason.
    """
    raise ValueError(str(reason))
