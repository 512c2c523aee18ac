"""Strings that tokenizers stumble over, the same ones each time."""

import random

WORDS = (
    *("the", "quick", "brown", "fox", "lazy", "dog", "Once", "upon", "a", "time", "little", "girl"),
    *("she's", "I'll", "we've", "don't", "THEY'RE", "naive", "café", "façade", "Ångström", "ñandú"),
    *("смысл", "жизни", "שלום", "مرحبا", "नमस्ते", "你好", "世界", "こんにちは", "안녕하세요", "ไทย"),
    *("12", "345", "6789", "3.14", "1e-9", "0x7F", "named", "Lily", "jumps", "over", "and"),
)

EMOJI = [
    "😀",
    "👩‍👩‍👧",
    "🏳️‍🌈",
    "🇪🇺",
    "👍🏽",
    "❤️",
    "🤖",
    "\U0001d518\U0001d52b",
    "é",
    "é",
    "ﬁ",
    "Ⅷ",
    "𒀀",
]

SPACES = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\n\n\n",
    " \n ",
    "\u00a0",
    "\u3000",
    "\u200b",
    "  \t",
]

CODE = [
    "def f(x):\n    return x ** 2\n", "for (int i = 0; i < 10; ++i) {\n\ta[i] += i;\n}",
    "<p class=\"x\">&amp;</p>", "SELECT * FROM t WHERE a >= 10;", "x = {'a': [1, 2], \"b\": None}",
    "#include <stdio.h>", "http://example.org/a?b=c&d=%20", "\\frac{a}{b}", "!!!???...", "--==>>",
]  # fmt: skip

CONTROLS = [chr(code) for code in (*range(1, 32), 127, 0x85, 0xAD, 0xFEFF, 0xFFFD, 0x2028)]


def strings(count: int, seed: int) -> list[str]:
    """So many strings: words, emoji, runs of white space, control characters, code, anything."""
    source = random.Random(seed)

    def anything() -> str:
        code = source.choice((0x80, 0x800, 0x10000, 0x110000))
        while 0xD800 <= (found := source.randrange(1, code)) < 0xE000:
            pass
        return chr(found)

    makers = (
        lambda: source.choice(WORDS),
        lambda: source.choice(WORDS),
        lambda: source.choice(EMOJI),
        lambda: source.choice(SPACES),
        lambda: source.choice(SPACES),
        lambda: source.choice(CODE),
        lambda: source.choice(CONTROLS),
        lambda: str(source.randrange(10 ** source.randrange(1, 12))),
        anything,
    )
    first = ["", " ", "\n", "a", " a", "a ", "  a  b  "]
    texts = ["".join(source.choice(makers)() for _ in range(source.randrange(1, 14))) for _ in
             range(count - len(first))]  # fmt: skip
    return first + texts
