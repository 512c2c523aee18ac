"""The words of the tales: who, what and where.

No word stands in two of the tables of kinds, things and colours, and the places' descriptions use
none of them: so a reader, and the checker, can tell who and what a tale is about.
"""

from dataclasses import dataclass

SHE = (
    "Mia", "Luna", "Ada", "Lily", "Rosa", "Nell", "Zoe", "Ruby", "Ivy",
    "Tess", "Bea", "Anna", "Emma", "Nora", "Clara", "Maya",
)  # fmt: skip
HE = (
    "Pip", "Tom", "Max", "Leo", "Ben", "Finn", "Otto", "Sam", "Hugo",
    "Jack", "Nico", "Bruno", "Theo", "Oscar", "Felix", "Gus",
)  # fmt: skip

KINDS = (
    "fox", "owl", "bear", "mouse", "rabbit", "cat", "dog",
    "frog", "duck", "mole", "goat", "hedgehog", "robot", "dragon",
)  # fmt: skip
CHARACTERS = ("little", "young", "brave", "shy", "clever", "merry", "kind", "curious", "gentle")
"""What a hero or friend is like."""

COLOURS = ("red", "blue", "green", "yellow", "silver", "golden", "white", "purple")


@dataclass(frozen=True)
class Thing:
    """An object that a tale turns on, with what fits it.

    ``use`` and ``used`` fill "wanted to ..." and "they ...". ``broke`` follows "now", ``mended``
    follows the friend's name. ``signal`` tells how it calls somebody from afar; empty where it
    cannot. ``flies`` and ``floats``: the wind or the water may take it; ``shows``: it
    suits a fair.
    """

    noun: str
    joy: str
    use: str
    used: str
    broke: str
    mended: str
    signal: str = ""
    flies: bool = False
    floats: bool = False
    shows: bool = False


THINGS = (
    Thing("kite", "It flew higher than the birds.", "fly the kite", "flew the kite",
          "the string was torn", "tied a new string to it", flies=True, shows=True),
    Thing("drum", "It went boom, boom, boom.", "play the drum", "played the drum",
          "there was a hole in it", "put a patch on the hole",
          signal="beat the drum", shows=True),
    Thing("boat", "It sailed faster than the wind.", "sail the boat", "sailed the boat",
          "the sail was torn", "made a new sail from a leaf", floats=True),
    Thing("lantern", "It glowed like a small moon.", "light the lantern",
          "sat by the light of the lantern",
          "the glass was broken", "put a new glass in it",
          signal="swung the lantern"),
    Thing("bell", "It rang as clear as water.", "ring the bell", "rang the bell",
          "it did not ring any more", "cleaned it until it rang again",
          signal="rang the bell", shows=True),
    Thing("hat", "It kept off the sun and the rain.", "wear the hat", "took turns with the hat",
          "there was a hole in it", "put a patch on the hole", flies=True, floats=True),
    Thing("scarf", "It was as soft as a cloud.", "wear the scarf", "shared the scarf",
          "the wool was torn", "knitted the torn part again", flies=True),
    Thing("book", "It was full of stories about the stars.", "read the book", "read the book",
          "the pages were loose", "sewed the pages together", shows=True),
    Thing("ball", "It bounced higher than the roof.", "play with the ball",
          "played with the ball", "all the air was gone", "closed the hole and blew it up",
          flies=True, floats=True),
    Thing("flute", "It sang like the wind in spring.", "play the flute", "played the flute",
          "it was cracked", "closed the crack with wax",
          signal="played the flute", floats=True, shows=True),
    Thing("cart", "It rolled down every hill.", "ride in the cart", "rode in the cart",
          "a wheel was off", "put the wheel back on"),
    Thing("clock", "It went tick, tock, tick, tock.", "wind the clock", "listened to the clock",
          "it did not tick any more", "cleaned the tiny wheels until it ticked again"),
    Thing("umbrella", "It opened like a flower.", "open the umbrella", "danced under the umbrella",
          "there was a hole in it", "put a patch on the hole", flies=True, floats=True),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a tale happens.

    ``home`` follows "lived"; ``spots`` follow "looked"; ``high`` is where the wind leaves things,
    ``water`` is what they fall into; ``way`` follows "on"; ``everyone`` came to see.
    """

    home: str
    spots: tuple[str, ...]
    high: str
    water: str
    way: str
    everyone: str


PLACES = (
    Place("in a deep forest",
          ("under the ferns", "behind the old oak", "in the leaves", "beside the stream"),
          "a tall tree", "the stream", "the forest path", "the whole forest"),
    Place("near the sea",
          ("behind the rocks", "in the warm sand", "under the shells", "on the pier"),
          "the roof of the lighthouse", "the waves", "the beach", "the whole harbour"),
    Place("in a quiet village",
          ("behind the bakery", "under the bench", "beside the well", "at the school gate"),
          "the roof of the school", "the pond", "the village street", "the whole village"),
    Place("on a high mountain",
          ("under the flat stones", "in the small cave", "behind the hut", "in the snow"),
          "the roof of the hut", "the cold lake", "the mountain path", "the whole valley"),
    Place("on a sunny farm",
          ("in the hay", "behind the barn", "under the apple tree", "beside the fence"),
          "the roof of the barn", "the pond", "the farm road", "the whole farm"),
    Place("in a busy city",
          ("under the bench", "behind the station", "in the park", "beside the fountain"),
          "a street lamp", "the river", "the long street", "the whole city"),
    Place("on a tiny island",
          ("under the palm trees", "behind the dunes", "in the tall grass", "on the beach"),
          "a palm tree", "the sea", "the island path", "the whole island"),
    Place("in a sleepy garden",
          ("under the roses", "behind the shed", "in the tall grass", "beside the wall"),
          "the apple tree", "the pond", "the garden path", "the whole garden"),
)  # fmt: skip

DAYS = (
    "One sunny morning", "One windy day", "One rainy day", "One spring morning",
    "One summer day", "One fine day", "One day",
)  # fmt: skip
