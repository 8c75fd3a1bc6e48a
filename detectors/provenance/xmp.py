"""What an XMP packet says of a picture's making. Read by pattern: no XML parser, so no entities to expand."""

import html
import re

from detectors.provenance.text import clean

SOURCE_TYPE = "DigitalSourceType"
AI_SOURCE_TYPES = {
    "trainedAlgorithmicMedia",
    "compositeWithTrainedAlgorithmicMedia",
    "compositeSynthetic",
    "algorithmicMedia",
}
"""IPTC NewsCodes, digital source type: those that say that a model made the picture, or a part of it."""


def xmp_value(packet: str, name: str) -> str:
    """The first value of a property by its local name, as an attribute, an element, a resource or a list's first item."""
    prefix = r"[\w-]{1,40}:"
    attribute = re.search(rf"\s{prefix}{name}\s*=\s*[\"']([^\"']{{1,4000}})[\"']", packet)
    if attribute:
        return clean(html.unescape(attribute.group(1)))
    start = re.search(rf"<{prefix}{name}\b([^>]{{0,500}})>", packet)
    if not start:
        return ""
    resource = re.search(r"rdf:resource\s*=\s*[\"']([^\"']{1,2000})[\"']", start.group(1))
    if resource:
        return clean(html.unescape(resource.group(1)))
    body = packet[start.end() : start.end() + 20_000]
    text = body.split(f":{name}>", 1)[0]
    item = re.search(r"<rdf:li[^>]{0,300}>([^<]{0,8000})", text)
    return clean(html.unescape(item.group(1) if item else text.split("<", 1)[0]))
