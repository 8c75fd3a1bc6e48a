"""What was found, in plain words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dashboard.messages import gettext as _
from dashboard.messages import marked

LABELS = {
    "nsfw": marked("Looks explicit"),
    "synthetic": marked("Looks made with AI"),
    "likeness": marked("Looks like a protected person"),
    "swap": marked("A face seems to be put in"),
    "known": marked("Matches a known picture"),
    "known_unapplied": marked("Matches a known picture on a list that is not applied"),
    "c2pa": marked("Content credentials"),
    "source_type": marked("Says how it was made"),
    "generator": marked("Carries a generator's metadata"),
    "software": marked("Names the software that made it"),
    "watermark": marked("Carries an invisible watermark"),
    "faces": marked("Shows a face"),
    "face": marked("Shows a face"),
}

PROVENANCE = ("c2pa", "source_type", "generator", "software", "watermark")

PROVENANCE_WORDS = {
    "c2pa": marked(
        "Signed statements of how it was made. Valid: unchanged since they were signed. Trusted: the signer is on a list of known ones."
    ),
    "source_type": marked("What the file says of itself. Anybody can write or remove it."),
    "generator": marked(
        "Left by an image generator, often with the prompt. Removing it is easy, and nobody adds it by chance."
    ),
    "software": marked("What last saved the file. Editing is no sign of generation."),
    "watermark": marked("A pattern that a generator hides in the pixels. Bits that match tell how sure it is."),
}

HARMS = {
    "child_abuse": marked("Known child abuse material"),
    "likeness": marked("Protected person"),
    "deepfake": marked("Put-in face"),
    "known": marked("Known picture"),
    "adult": marked("Explicit"),
    "generated": marked("Made with AI"),
    "general": marked("Other"),
}


def label_words(label: str) -> str:
    """What a finding says; its label where it is another's."""
    return _(LABELS[label]) if label in LABELS else label


def provenance_words(label: str) -> str:
    """What a kind of provenance is worth, for a newcomer."""
    return _(PROVENANCE_WORDS[label]) if label in PROVENANCE_WORDS else ""


def harm_words(harm: str) -> str:
    return _(HARMS.get(harm, harm))


def fpr_words(fpr: float | None) -> str:
    """How often a benign picture scores as high."""
    if fpr is None:
        return ""
    if fpr >= 0.5:
        return _("most benign pictures score as high")
    return _("1 in %(number)s benign pictures scores as high") % {"number": f"{round(1 / max(fpr, 1e-9)):,}"}


def stranger_words(fpr: float | None) -> str:
    """How often the face of a stranger looks as much like somebody enrolled."""
    if fpr is None:
        return ""
    return _("1 in %(number)s strangers looks as much like somebody enrolled") % {
        "number": f"{round(1 / max(fpr, 1e-9)):,}"
    }


def bits_words(distance: int) -> str:
    """A distance of PDQ hashes."""
    if not distance:
        return _("the same to the last bit")
    return _("%(number)s of 256 bits apart") % {"number": distance}


def age_words(moment: datetime, now: datetime) -> str:
    """How long ago, or how long until, without saying which."""
    hours = abs((now - moment).total_seconds()) / 3600
    if hours < 1:
        return _("%(number)s min") % {"number": max(1, round(hours * 60))}
    if hours < 48:
        return _("%(number)s h") % {"number": round(hours)}
    return _("%(number)s days") % {"number": round(hours / 24)}


MONTHS = tuple(
    marked(name)
    for name in (
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    )
)  # fmt: skip


def day_words(moment: datetime) -> str:
    """A day, such as `5 May 2026`."""
    return _("%(day)s %(month)s %(year)s") % {
        "day": moment.day,
        "month": _(MONTHS[moment.month - 1]),
        "year": moment.year,
    }


def moment_words(moment: datetime) -> str:
    """A moment, such as `5 May 2026, 14:07 UTC`."""
    return _("%(day)s, %(time)s UTC") % {"day": day_words(moment), "time": f"{moment:%H:%M}"}


def facts(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Evidence as short pairs for people: no nested values, none of great length."""
    plain = (str, int, float, bool)
    return [
        (
            str(name).replace("_", " "),
            {True: _("yes"), False: _("no")}[value] if isinstance(value, bool) else str(value)[:200],
        )
        for name, value in evidence.items()
        if isinstance(value, plain) and value != ""
    ]
