"""What an XMP packet says of a picture's making.

Read with expat, each element once. A packet with a document type is not read further: XMP has none, and entities, which
could refer to files or grow without bound, are declared there. (XMP Specification, part 1.)
"""

from xml.parsers import expat

MOST_ELEMENTS = 20_000
MOST_VALUE = 8_000
CONTAINERS = frozenset({"Alt", "Bag", "Seq", "li", "Description", "RDF"})
"""RDF's own elements: a text in them is the value of the property around them."""


class _StopError(Exception):
    """The rest of the packet is not read."""


class _Reader:
    """Collects the first value of each property by its local name, whatever its prefix."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.open: list[str] = []
        self.text = ""
        self.elements = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        if self.elements > MOST_ELEMENTS:
            raise _StopError
        self.open.append(local(name))
        self.text = ""
        for key, value in attributes.items():
            if local(key) == "resource":
                self.keep(value)
            elif not key.startswith("xmlns"):
                self.values.setdefault(local(key), value[:MOST_VALUE])

    def characters(self, text: str) -> None:
        self.text = (self.text + text)[:MOST_VALUE]  # expat gives buffered text, in few pieces

    def end(self, _name: str) -> None:
        self.keep(self.text)
        self.text = ""
        self.open.pop()

    def keep(self, value: str) -> None:
        """Keep a value for the innermost open property."""
        name = next((name for name in reversed(self.open[-4:]) if name not in CONTAINERS), "")
        if name and value.strip():
            self.values.setdefault(name, value.strip()[:MOST_VALUE])

    def doctype(self, *_declared: object) -> None:
        raise _StopError


def read_xmp(packet: str) -> dict[str, str]:
    """The values of a packet's properties by local name. Of a malformed packet, those before the fault. Never raises."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(packet.lstrip("\ufeff \t\r\n").encode("utf-8", "replace"), False)
    except (expat.ExpatError, _StopError):
        return reader.values
    return reader.values


def local(name: str) -> str:
    return name.rsplit(":", 1)[-1]
