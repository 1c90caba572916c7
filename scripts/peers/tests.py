"""The tests, under the names that our bench has for them."""
import collections
import re

# What is read, what is written after the first new token, for how many rows, and how much a second turn adds to the conversation.
Test = collections.namedtuple("Test", "name unit lower prompt new rows more", defaults=(0, 1, 0))
COPIED = 128  # tokens that copy writes


def parse(name):
    """pp512, tg128@d16, tg128b8@d16, turn2, copy, load, peak; spaces as our bench writes them."""
    short = name.replace(" ", "")
    if m := re.fullmatch(r"pp(\d+)", short):
        return Test(short, "tok/s", False, int(m[1]))
    if m := re.fullmatch(r"tg(\d+)(?:b(\d+))?@d(\d+)", short):
        return Test(f"tg{m[1]}{' b' + m[2] if m[2] else ''} @ d{m[3]}", "tok/s", False, int(m[3]), int(m[1]), int(m[2] or 1))
    fixed = {"turn2": Test("turn2", "s", True, 1000, 16, 1, 32), "copy": Test("copy", "tok/s", False, 0, COPIED),
             "load": Test("load", "s", True, 16), "peak": Test("peak", "MB", True, 2048)}
    if short not in fixed:
        raise ValueError(f"{name!r} is no test: expected such as pp512, tg128@d16, tg128b8@d16, turn2, copy, load or peak")
    return fixed[short]
