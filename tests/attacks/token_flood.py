"""B1: a flood of bad tokens, alone, so that the bystander is measured while it runs and only then."""

from tokens import CONFIG, FLOOD_SECONDS, flood  # noqa: F401


def rows():
    yield f"B1 bad tokens for {FLOOD_SECONDS} s", flood
