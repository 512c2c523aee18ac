"""What happens in the tales: their plots.

A tale is a list of beats, and each beat is a choice of sentences with slots. ``H``, ``he``, ``him``
and ``his`` are the hero (I, me and my where the hero tells the tale), ``name`` is the hero's name
in any voice; ``F``, ``fhe`` and ``fhim`` are the friend; ``both``, ``they`` and ``them``
the two; ``o`` is the thing, ``co`` the thing with its colour. A capital first letter starts a
sentence.

No name comes right behind a quotation mark: a tokenizer spells a word otherwise without its space,
and a small model would have to learn each name twice.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tools.demo_model.lexicon import Thing
from tools.demo_model.voices import Beat


def _any_thing(_: Thing) -> bool:
    return True


@dataclass(frozen=True)
class Plot:
    """The beats between opening and ending, and which things can play in it."""

    beats: tuple[Beat, ...]
    fits: Callable[[Thing], bool] = _any_thing


_OWNS = (
    "{H} had a {co}. {joy}",
    "{H} loved {his} {co} more than anything. {joy}",
    "On {his} birthday, {H} got a {co}. {joy}",
    "In a corner of the house, {H} found an old box with a {co} in it. {joy}",
)
_GOT = (*_OWNS, "{F} once gave {him} a {co}. {joy}")
_THANKS = (
    '"Thank you, {F}!" {H} said. "You are a true friend."',
    "{H} gave {F} a big hug.",
    '"You did it, {F}!" {H} said, and hugged {fhim}.',
    '"What would I do without you, {F}?" {H} said.',
    '"Thank you, {F}!" {H} said, and {fhe} smiled.',
)
_SORROW = (
    "{H} was very sad.",
    "{H} sat down and cried.",
    '"Oh no!" {H} said. "What can I do now?"',
    '"My {o}!" {H} cried. "My {co}!"',
)
_COMFORT = (
    '"Do not cry, {name}," said {F}. "I will help you."',
    '{F} came at once. "Do not worry, {name}," {fhe} said.',
    '"What is wrong, {name}?" asked {F}. "Let me help you."',
    '{F} heard it. "I will help you, {name}," {fhe} said.',
)
_TOGETHER = (
    "Then {they} {used} until the sun went down.",
    "Then {they} {used}, and {F} laughed out loud.",
    "After that, {they} {used} all day long.",
    "{both} {used} until the stars came out.",
)

LOST = Plot(
    (
        _GOT,
        (
            "{Day}, the {co} was gone.",
            "{Day}, {H} could not find the {o} anywhere.",
            "But {day}, {H} lost the {o} on {way}.",
        ),
        _SORROW,
        _COMFORT,
        (
            "{They} looked {spot1}, but there was no {o}.",
            "First {they} looked {spot1}. Then {they} looked {spot2}. No {o}!",
            "{They} looked {spot1} and {spot2}, but {they} did not find it.",
        ),
        (
            "At last, {F} saw something {colour} {spot3}. It was the {o}!",
            'Then {F} looked {spot3}. "Here it is!" {fhe} called, and held up the {co}.',
            "Then {H} saw something {colour} {spot3}. {F} ran and came back with the {o}.",
        ),
        _THANKS,
        _TOGETHER,
    )
)

BROKEN = Plot(
    (
        _GOT,
        (
            "{Day}, {H} fell on {way}, and the {o} hit a stone.",
            "{Day}, {H} was in a hurry and dropped the {o} on {way}.",
            "{Day}, {both} were playing, and the {o} fell to the ground.",
        ),
        ("Now {broke}.", "{H} picked up the {o}. Now {broke}."),
        _SORROW,
        _COMFORT,
        (
            "{F} took the {o} home and {mended}.",
            "{F} had clever hands. {Fhe} took the {o} and {mended}.",
            "{F} worked all night. {Fhe} {mended}.",
        ),
        (
            "Soon the {co} was as good as new.",
            '"Look!" said {F}. "The {o} is as good as new."',
            "The {co} was better than ever.",
        ),
        _THANKS,
        _TOGETHER,
    )
)

WIND = Plot(
    (
        _GOT,
        (
            "One windy day, the wind took the {o} and carried it to {high}.",
            "One windy day, {H} let go of the {o}, and it landed on {high}.",
        ),
        (
            "{H} jumped and jumped, but it was too high.",
            "{H} threw a stick, but the {o} did not come down.",
            "{H} was much too small to reach it.",
        ),
        _COMFORT,
        (
            "{F} found a long ladder and climbed up.",
            "{F} climbed up slowly, step by step.",
            '"Stand on my back," said {F}. So {H} climbed on {F} and reached up.',
        ),
        (
            "Down came the {co}!",
            "Soon the {co} was down again.",
            "And there was the {o}, safe and sound.",
        ),
        _THANKS,
        (
            "{They} tied a string to the {o}, so that the wind could not take it again.",
            "After that, {H} always held the {o} very tight.",
            "Then {they} {used} behind a wall, out of the wind.",
        ),
    ),
    fits=lambda thing: thing.flies,
)

WATER = Plot(
    (
        _GOT,
        (
            "{Day}, {H} slipped, and the {o} fell into {water}.",
            "{Day}, the {o} rolled into {water} and began to float away.",
        ),
        (
            '"Help!" {H} called. "I cannot swim!"',
            "{H} ran after it, but the water was too deep.",
            "{H} watched it get smaller and smaller.",
        ),
        (
            "{F} heard the noise and jumped in with a splash.",
            '"Wait here, {name}," said {F}, and jumped into the water.',
            "{F} was a good swimmer. {Fhe} jumped right in.",
        ),
        (
            "Soon {F} came back, wet from head to toe, with the {co}.",
            "{F} swam hard and caught the {o} just in time.",
            "A moment later, {F} held up the {co}.",
        ),
        _THANKS,
        (
            "{They} sat by the fire until {F} and the {o} were dry.",
            "{H} gave {F} a warm blanket and a cup of tea, and put the {o} in the sun.",
            "When the {o} was dry, {they} {used} far away from the water.",
        ),
    ),
    fits=lambda thing: thing.floats,
)

QUARREL = Plot(
    (
        _OWNS,
        (
            "{Day}, {F} wanted to {use} too.",
            '{Day}, {F} came to play. "May I {use}?" {fhe} asked.',
        ),
        (
            '"No!" {H} said. "The {o} is mine!"',
            '"No, you may not," {H} said, and held the {o} tight.',
        ),
        (
            "{F} went home without a word.",
            "{F} was sad and went away.",
            "So {F} went home and cried.",
        ),
        (
            "Now {H} had the {o}, but nobody to play with.",
            "Without {F}, the {co} was not half as nice.",
        ),
        (
            "So {H} took the {o} and knocked on the door of {F}.",
            "So {he} ran to the house of {F} with the {co}.",
        ),
        (
            '"I am sorry, {F}," {H} said. "The {o} is for both of us."',
            '"I was wrong, {F}," {H} said. "Let us share."',
        ),
        (
            '"That is all right, {name}," said {F}.',
            "{F} smiled and wiped the tears away.",
            "{F} smiled again.",
        ),
        _TOGETHER,
    )
)

GIFT = Plot(
    (
        (
            "Soon it would be the birthday of {F}.",
            "It was the day before the birthday of {F}.",
        ),
        (
            "In a shop, {H} saw a {co}. {joy}",
            "At the market there was a {co}. {joy}",
        ),
        (
            '"That is just right for {F}," {H} thought. But {he} had no money.',
            "{H} wanted to buy the {o} for {F}, but {he} had only one coin.",
        ),
        (
            "So {H} worked all day for the baker and carried bags of flour.",
            "So {H} swept the floor of the shop from morning to night.",
            "So {H} picked apples until {his} arms were tired.",
        ),
        (
            "In the evening, {he} could pay for the {co}.",
            '"You worked well," said the old woman in the shop, and gave {him} the {co}.',
        ),
        (
            "The next day, {F} opened the box and saw the {o}.",
            '"Happy birthday, {F}!" {H} said, and gave {fhim} the {o}.',
        ),
        (
            '"A {co}!" cried {F}. "Thank you, {name}!"',
            '"It is the best gift of all, {name}," said {F}.',
            "{F} was so happy that {fhe} danced around the room.",
        ),
        _TOGETHER,
    )
)

FOUND = Plot(
    (
        (
            "{Day}, {H} found a {co} {spot1}. {joy}",
            "{Day}, there was a {co} on {way}. {joy}",
        ),
        (
            '"How nice!" {H} said. "But it must belong to somebody."',
            "{H} wanted to keep it. But whose {o} was it?",
        ),
        (
            "{He} asked the baker, and {he} asked the teacher. It was not theirs.",
            "{H} asked at every door, but nobody knew the {o}.",
        ),
        (
            "Then {he} met {F}, who was crying.",
            "In the evening, {he} heard somebody cry. It was {F}.",
        ),
        ('"I lost my {o}," said {F}.', '"My {co} is gone," said {F}.'),
        (
            '"Look what I found!" {H} said, and gave {fhim} the {o}.',
            "{H} smiled and held up the {co}.",
        ),
        (
            '"Oh, thank you, {name}!" cried {F}.',
            "{F} was so happy that {fhe} danced in the street.",
            '"You are a true friend, {name}," said {F}.',
        ),
        _TOGETHER,
    )
)

BORROWED = Plot(
    (
        _OWNS,
        (
            '{Day}, {F} asked, "May I take your {o} home, {name}?"',
            '{Day}, {F} said, "I would like to borrow your {o}."',
        ),
        (
            '"Yes," {H} said. "But please take care of it."',
            "{H} thought for a moment and gave {fhim} the {o}.",
        ),
        (
            "One day went by, and then two, but {F} did not come back.",
            "The next day came, but there was no {F} and no {o}.",
        ),
        (
            "{H} began to worry about {his} {co}.",
            '"Did {F} forget me?" {H} thought.',
        ),
        (
            "At last, there was a knock at the door. It was {F} with the {o}.",
            "Then {F} came up the path with the {co} and a big basket.",
        ),
        (
            '"I am sorry, {name}," said {F}. "I was ill. But I baked a cake for you."',
            '"I made a new box for your {o}," said {F}. "It took a long time."',
        ),
        ("{H} laughed and hugged {F}.", '"I am so glad to see you, {F}," {H} said.'),
        _TOGETHER,
    )
)

WAY_HOME = Plot(
    (
        _GOT,
        (
            "One cold evening, {F} went out to get wood and did not come back.",
            "One cold evening, {F} was late, and a thick fog came down.",
        ),
        (
            '"Where is {F}?" {H} thought. "It is so dark outside."',
            "{H} looked out of the window, but {he} saw only fog.",
        ),
        (
            "Then {he} had an idea. {He} took the {co} and ran outside.",
            "So {he} took the {co} and went out into the dark.",
        ),
        ("{H} {signal} again and again.", "{H} stood on {way} and {signal}."),
        (
            "Far away, {F} noticed the {o} and knew the way.",
            'Far away, {F} stood still. "That is the {o} of {name}!" {fhe} said.',
        ),
        (
            "Step by step, {F} came closer.",
            "{F} walked and walked, and soon {fhe} was home.",
        ),
        (
            '"Your {o} showed me the way, {name}," said {F}.',
            '"Thank you, {name}," said {F}. "You and your {o} saved me."',
        ),
        (
            "{They} drank hot tea by the fire.",
            "{H} put the {co} next to the fire, and {they} ate hot soup.",
        ),
    ),
    fits=lambda thing: bool(thing.signal),
)

FAIR = Plot(
    (
        _GOT,
        (
            "There was a fair, and {H} wanted to {use} there.",
            "{Day}, there was a big fair, and everyone came to see {him} and the {o}.",
        ),
        (
            "But {everyone} was there, and {he} was afraid.",
            '"I cannot do it," {H} said. "What if they laugh at me?"',
        ),
        (
            '"You can do it, {name}," said {F}. "I will stand next to you."',
            '"Just look at me, {name}," said {F}, "and forget the rest."',
        ),
        (
            "{H} looked at {F}, took a deep breath and picked up the {co}.",
            "So {H} took the {co} and walked up to the front with {F}.",
        ),
        ("And then {they} {used} together.", "{They} {used} as never before."),
        (
            "Everyone clapped and cheered for {both}.",
            "{Everyone} clapped for the two of {them}.",
        ),
        (
            '"We did it, {F}!" {H} said.',
            '"I am so proud of you, {name}," said {F}.',
        ),
        (
            "{H} carried the {o} home and was not afraid any more.",
            "{They} ate apple cake and went home with the {o}.",
        ),
    ),
    fits=lambda thing: thing.shows,
)

PLOTS = (LOST, BROKEN, WIND, WATER, QUARREL, GIFT, FOUND, BORROWED, WAY_HOME, FAIR)
