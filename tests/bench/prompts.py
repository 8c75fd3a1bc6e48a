"""How well prompts are checked: `python -m tests.bench.prompts [--quick]`. The last line is one JSON object.

recall          share of evasions that are refused: composed of the guard's own single terms, in every language and spelling
recall_held_out the same, of the kinds of spelling that were not looked at when the guard was written
false_refusals  share of everyday prompts that are refused; false_refusals_held_out: of the half that was not looked at
ms              median milliseconds of a check
slowest_ms      the slowest of prompts as long as is allowed, made of what takes longest to read (least of three checks)
"""

import argparse
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

from detectors.prompts import MOST_CHARACTERS, check_prompt
from tests.bench.prompt_cases import HELD_OUT, TUNED, ages_and_people, benign, evasions

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def slowest() -> float:
    """Milliseconds of the slowest of long, hostile prompts."""
    rng = random.Random(1)

    def word(size: int) -> str:
        return "".join(rng.choices(LETTERS, k=size))

    makers: list[Callable[[], str]] = [
        lambda: f"{word(2)}*{word(2)} ",
        lambda: f"{word(1)}*{word(1)}*{word(1)}*{word(1)} ",
        lambda: f"{word(1)} ",
        lambda: f"{word(2)}.",
        lambda: "".join(letter * 2 for letter in word(6)) + " ",
        lambda: f"{word(2)}1{word(2)}0 ",
        lambda: word(4000),
        lambda: "".join(rng.choices("асеорху ", k=4000)),
        lambda: f"{rng.randrange(100)}" + " " * 2000,
    ]
    return max(min(_seconds(_filled(maker)) for _ in range(3)) for maker in makers) * 1000


def _filled(maker: Callable[[], str]) -> str:
    text = ""
    while len(text) < MOST_CHARACTERS:
        text += maker()
    return text[:MOST_CHARACTERS]


def _seconds(prompt: str) -> float:
    started = time.perf_counter()
    check_prompt(prompt)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer evasions")
    parser.add_argument(
        "--show", action="store_true", help="name what was missed, of the kinds and the half that were looked at"
    )
    options = parser.parse_args()
    each = 12 if options.quick else 80
    times: list[float] = []
    missed: dict[str, list[int]] = defaultdict(list)

    def refused(prompt: str) -> bool:
        started = time.perf_counter()
        verdict = check_prompt(prompt)
        times.append((time.perf_counter() - started) * 1000)
        return not verdict.allowed

    def run(cases: object, kinds: list[int]) -> None:
        for kind, language, prompt in cases:  # type: ignore[attr-defined]
            kinds.append(refused(prompt))
            missed[kind].append(kinds[-1])
            missed[language].append(kinds[-1])
            if options.show and not kinds[-1] and kinds is tuned:
                print(kind, language, prompt, sep=" | ")

    tuned: list[int] = []
    held: list[int] = []
    run(evasions(TUNED, each), tuned)
    run(ages_and_people(each), tuned)
    run(evasions(HELD_OUT, each), held)
    for name, hits in missed.items():
        print(f"{name:16} {len(hits):6} evasions, {sum(hits) / len(hits):.4f} refused")
    seen, unseen = benign()
    wrong = [prompt for prompt in seen if refused(prompt)]
    if options.show:
        print(*wrong, sep="\n")
    wrong_held = [refused(prompt) for prompt in unseen]
    result = {
        "recall": round(sum(tuned + held) / len(tuned + held), 4),
        "recall_tuned": round(sum(tuned) / len(tuned), 4),
        "recall_held_out": round(sum(held) / len(held), 4),
        "evasions": len(tuned + held),
        "false_refusals": round((len(wrong) + sum(wrong_held)) / (len(seen) + len(unseen)), 4),
        "false_refusals_held_out": round(sum(wrong_held) / len(unseen), 4),
        "benign": len(seen) + len(unseen),
        "ms": round(statistics.median(times), 2),
        "slowest_ms": round(slowest()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
