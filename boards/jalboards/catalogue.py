"""All boards, found by file."""

from importlib import import_module
from pkgutil import iter_modules

from jalboards import boards as files
from jalboards.board import Board
from jalhost.errors import UsageError


def all_boards() -> list[Board]:
    """Every board, those of tier 1 first, by name."""
    names = [module.name for module in iter_modules(files.__path__)]
    found: list[Board] = [import_module(f"{files.__name__}.{name}").BOARD for name in names]
    return sorted(found, key=lambda board: (board.tier, board.name))


def find_board(name: str) -> Board:
    """Looks a board up.

    Raises:
        UsageError: there is no such board; the hint names those that exist.
    """
    boards = {board.name: board for board in all_boards()}
    if name not in boards:
        raise UsageError(f"there is no board {name!r}", f"choose from {', '.join(boards)}")
    return boards[name]
