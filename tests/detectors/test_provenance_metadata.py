"""Metadata: what is read from where, what is not made more of than it says, and what no file can do to a scan."""

import json
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from detectors.provenance import ProvenanceDetector
from detectors.provenance.containers import MOST_BYTES, MOST_TOTAL, inflate, read_metadata
from detectors.provenance.exif import read_exif
from detectors.provenance.generators import READERS, SERVICES, TOOLS, Clues, find_generator
from detectors.provenance.graph import from_workflow, read_graph
from detectors.provenance.source_types import term
from detectors.provenance.xmp import MOST_ELEMENTS, read_xmp
from detectors.runtime import Runtime
from tests.factories import encode, make_image, picture

SMALL = picture(64, 48)
PARAMETERS = "a lighthouse\nNegative prompt: fog\nSteps: 20, Sampler: Euler, Seed: 77, Model: dream"
SECONDS = 2.0
"""Hostile metadata takes well under a second on an idle core; it took ten and more, or for ever, where it was not bounded."""


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(*chunks: bytes, at: int = 33) -> bytes:
    data = encode(SMALL)
    return data[:at] + b"".join(chunks) + data[at:]


def timed(action: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = action()
    assert time.perf_counter() - started < SECONDS
    return result


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "PNG", "AVIF", "HEIF"])
def test_exif_is_found_in_every_format(format: str) -> None:
    pillow_heif.register_heif_opener()
    exif = Pillow.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + PARAMETERS.encode("utf-16-be")
    found = read_exif(read_metadata(encode(SMALL, format, exif=exif.tobytes()), format).exif)

    assert found["UserComment"] == PARAMETERS


def test_texts_behind_many_pieces_of_pixels_are_found() -> None:
    pixels = [chunk(b"IDAT", b"") for _ in range(5000)]
    found = read_metadata(with_chunks(*pixels, chunk(b"tEXt", b"parameters\0x")), "PNG")

    assert found.texts == {"parameters": "x"}


def test_fill_bytes_before_jpeg_markers_are_passed_over() -> None:
    data = encode(SMALL, "JPEG", comment=b"hello")

    assert read_metadata(data[:2] + b"\xff" * 40 + data[2:], "JPEG").texts == {"Comment": "hello"}


def test_the_first_text_of_a_key_counts() -> None:
    data = with_chunks(chunk(b"tEXt", b"prompt\0one"), chunk(b"tEXt", b"prompt\0two"))

    assert read_metadata(data, "PNG").texts == {"prompt": "one"}


def test_many_small_bombs_inflate_no_more_than_one() -> None:
    bomb = zlib.compress(b"\0" * MOST_BYTES, 9)
    data = with_chunks(*[chunk(b"zTXt", b"k%d\0\0" % i + bomb) for i in range(1900)])
    found = timed(lambda: read_metadata(data, "PNG"))

    assert sum(len(text) for text in found.texts.values()) <= MOST_TOTAL


def test_of_a_broken_stream_its_beginning_is_kept() -> None:
    stream = zlib.compress(b"a prompt " * 100_000)
    text = inflate(stream[: len(stream) // 2] + b"broken" * 10)

    assert text.startswith(b"a prompt ")


def exif_of(count: int) -> bytes:
    """Entries that all point to the same comment of a megabyte."""
    at = 10 + 12 * count
    entries = struct.pack("<HHII", 0x9286, 7, 1_000_000, at) * count
    return b"II*\0" + struct.pack("<IH", 8, count) + entries + b"UNICODE\0" + b"a\0" * 500_000


GRAPHS: Mapping[str, dict[str, Any]] = {
    "a chain": {str(i): {"class_type": "K", "inputs": {"positive": [str(i + 1), 0]}} for i in range(4900)},
    "everything with everything": {
        str(i): {"class_type": "K", "inputs": {"positive": ["0"], **{f"a{j}": [str(j)] for j in range(300)}}}
        for i in range(300)
    },
    "a circle": {
        str(i): {"class_type": "K", "inputs": {"model": [str((i + 1) % 3)], "positive": ["0"]}} for i in range(3)
    },
}
HOSTILE: Mapping[str, Callable[[], Any]] = {
    **{f"graph: {name}": lambda graph=graph: read_graph(graph) for name, graph in GRAPHS.items()},  # type: ignore[misc]
    "spaces in a Dream text": lambda: find_generator(Clues({"Dream": " " * 1_000_000})),
    "quotes in a Dream text": lambda: find_generator(Clues({"Dream": '" -' * 500_000})),
    "settings that never end": lambda: find_generator(Clues({"parameters": "\nSteps: 20, " + ', Model: "' * 400_000})),
    "JSON of a million lists": lambda: find_generator(
        Clues(dict.fromkeys(("parameters", "Comment"), f'{{"a":{"[]," * 999_999}[]}}'))
    ),
    "EXIF entries on one text": lambda: read_exif(exif_of(500)),
    "a GIF comment of thousands of pieces": lambda: read_metadata(
        b"GIF89a\x21\xfe" + (b"\xff" + b"a" * 255) * 40_000, "GIF"
    ),
    "XMP of attributes": lambda: read_xmp("<a " + " ".join(f'b{i}="c"' for i in range(200_000)) + "/>"),
    "XMP of elements": lambda: read_xmp("<a>" + '<b:c d="e"/>' * 330_000),
    "XMP of depth": lambda: read_xmp("<a>" * 1_300_000),
    "XMP of references": lambda: read_xmp("<a:Credit>" + "&#97;" * 780_000),
    "XMP of lines": lambda: read_xmp("<a:Credit>" + "a\n" * 1_990_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_is_read_in_no_time(name: str) -> None:
    timed(HOSTILE[name])


def test_entities_are_not_expanded() -> None:
    declared = '<!DOCTYPE a [<!ENTITY secret SYSTEM "file:///etc/passwd"><!ENTITY a "aaaa">]>'

    assert read_xmp(f"{declared}<x><p:Credit>&a;&secret;</p:Credit></x>") == {}


def test_xmp_is_read_in_all_its_forms() -> None:
    packet = """\ufeff<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
        <x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmp:CreatorTool="it's a &quot;tool&quot;">
        <dc:description><rdf:Alt><rdf:li xml:lang="x-default">a harbour</rdf:li><rdf:li>ein Hafen</rdf:li></rdf:Alt></dc:description>
        <photoshop:Credit><![CDATA[A & B]]></photoshop:Credit>
        <Iptc4xmpExt:DigitalSourceType rdf:resource="http://x/digitalCapture"/>
        </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
    found = read_xmp(packet)

    assert found["CreatorTool"] == 'it\'s a "tool"'
    assert found["description"] == "a harbour"
    assert found["Credit"] == "A & B"
    assert found["DigitalSourceType"] == "http://x/digitalCapture"


def test_of_malformed_xmp_what_came_before_is_kept() -> None:
    assert read_xmp("<x><p:Credit>me</p:Credit><p:broken") == {"Credit": "me"}
    assert len(read_xmp("<x>" + "".join(f"<p:k{i}>v</p:k{i}>" for i in range(MOST_ELEMENTS * 2)))) < MOST_ELEMENTS


@pytest.mark.parametrize(
    "written",
    [
        "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
        "digsrctype:digitalCapture",
        "digitalCapture",
        " digitalCapture/ ",
    ],
)
def test_source_types_are_known_however_they_are_written(written: str) -> None:
    assert term(written) == "digitalCapture"


def test_a_composite_in_xmp_is_edited_and_not_generated() -> None:
    packet = (
        '<x:xmpmeta xmlns:x="a"><r:D I:DigitalSourceType="http://x/compositeWithTrainedAlgorithmicMedia"/></x:xmpmeta>'
    )
    image = make_image(SMALL, data=encode(SMALL, "JPEG", xmp=packet.encode()), format="JPEG")
    found = {f.label: f.evidence for f in ProvenanceDetector(Runtime(Path("none"))).detect([image])[0]}["source_type"]

    assert (found["ai_generated"], found["ai_edited"]) == (False, True)


SAMPLER = {
    "class_type": "KSampler",
    "inputs": {"seed": ["9", 0], "model": ["3", 0], "positive": ["4", 0], "negative": ["4", 1]},
}
GRAPH = {
    "1": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "4x.pth"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a note that nothing uses"}},
    "3": {"class_type": "LoraLoader", "inputs": {"lora_name": "style", "model": ["5", 0]}},
    "4": {"class_type": "ControlNetApplyAdvanced", "inputs": {"negative": ["7", 0], "positive": ["6", 0]}},
    "5": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["5", 1], "text": ["8", 0]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["5", 1], "text": "fog"}},
    "8": {"class_type": "PrimitiveString", "inputs": {"value": "a lighthouse"}},
    "9": {"class_type": "PrimitiveInt", "inputs": {"value": 12}},
    "10": SAMPLER,
}


def test_links_are_followed_to_the_nodes_that_count() -> None:
    assert read_graph(GRAPH) == ("a lighthouse", "fog", "dream.safetensors", "12")


def test_a_node_with_both_prompts_gives_each_its_own() -> None:
    graph = {"1": {"inputs": {"positive": "a fox", "negative": "fog", "ckpt_name": "m", "seed": 3}}}
    linked = {**graph, "2": {"inputs": {"positive": ["1", 1], "negative": ["1", 2], "seed": 4}}}

    assert read_graph(graph) == ("a fox", "fog", "m", "3")
    assert read_graph(linked)[:2] == ("a fox", "fog")


def test_guiders_lead_to_the_text_too() -> None:
    graph = {
        "1": {"inputs": {"noise": ["2", 0], "guider": ["3", 0]}},
        "2": {"inputs": {"noise_seed": 5}},
        "3": {"inputs": {"model": ["4", 0], "conditioning": ["5", 0]}},
        "4": {"inputs": {"unet_name": "flux"}},
        "5": {"inputs": {"guidance": 3.5, "conditioning": ["6", 0]}},
        "6": {"inputs": {"clip_l": "short", "t5xxl": "a long text"}},
    }

    assert read_graph(graph) == ("a long text", "", "flux", "5")


WORKFLOW = {
    "nodes": [
        {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": ["dream.safetensors"]},
        {
            "id": 2,
            "type": "CLIPTextEncode",
            "inputs": [{"name": "clip", "link": 1}],
            "widgets_values": ["a lighthouse"],
        },
        {"id": 3, "type": "CLIPTextEncode", "inputs": [{"name": "clip", "link": 1}], "widgets_values": ["fog"]},
        {
            "id": 4,
            "type": "KSampler",
            "inputs": [{"name": "model", "link": 2}, {"name": "positive", "link": 3}, {"name": "negative", "link": 4}],
            "widgets_values": [99, "fixed", 20],
        },
    ],
    "links": [[1, 1, 1, 2, 0, "CLIP"], [2, 1, 0, 4, 0, "MODEL"], [3, 2, 0, 4, 1, "C"], [4, 3, 0, 4, 2, "C"]],
}


def test_workflows_are_read_where_there_is_no_graph() -> None:
    found = find_generator(Clues({"workflow": json.dumps(WORKFLOW)}))

    assert found
    assert (found.tool, found.prompt, found.negative_prompt) == ("comfyui", "a lighthouse", "fog")
    assert (found.model, found.seed) == ("dream.safetensors", "99")


def test_workflow_and_graph_of_real_files_agree(shared_data: Path) -> None:
    texts = read_metadata((shared_data / "provenance/comfyui/03.png").read_bytes(), "PNG").texts

    assert read_graph(from_workflow(json.loads(texts["workflow"]))) == read_graph(json.loads(texts["prompt"]))


@pytest.mark.parametrize(
    "clues",
    [
        Clues({"Description": "Speakers at the Midjourney meeting"}),
        Clues(exif={"Artist": "Gemini Studio"}),
        Clues(exif={"Make": "Canon", "Model": "EOS R5", "Software": "Adobe Lightroom 13"}),
        Clues(xmp={"Credit": "Edited with Google AI"}),
        Clues({"parameters": "f/2.8, 1/200 s"}),
        Clues({"Comment": '{"a": 1}'}),
        Clues({"prompt": '{"a": 1, "b": {"c": 2}}'}),
    ],
)
def test_what_names_no_generator_is_none(clues: Clues) -> None:
    assert find_generator(clues) is None


@pytest.mark.parametrize(
    ("clues", "said"),
    [
        (Clues({"Dream": '"a fox" -s 50 -S 42 -W512'}), ("invokeai", "a fox", "", "42")),
        (
            Clues(
                {
                    "sd-metadata": json.dumps(
                        {"model_weights": "sd-1.5", "image": {"prompt": [{"prompt": "a fox"}], "seed": 42}}
                    )
                }
            ),
            ("invokeai", "a fox", "sd-1.5", "42"),
        ),
        (
            Clues(xmp={"AISystemUsed": "Some model", "AIPromptInformation": "a fox"}),
            ("other", "a fox", "Some model", ""),
        ),
        (Clues(xmp={"Credit": "Made with Google AI"}), ("google-ai", "", "", "")),
        (Clues({"Author": "Midjourney"}), ("midjourney", "", "", "")),
        (Clues(exif={"Make": "prompt:" + json.dumps(GRAPH)}), ("comfyui", "a lighthouse", "dream.safetensors", "12")),
    ],
)
def test_older_and_rarer_marks_are_read(clues: Clues, said: tuple[str, str, str, str]) -> None:
    found = find_generator(clues)

    assert found
    assert (found.tool, found.prompt, found.model, found.seed) == said


def test_policies_know_every_tool() -> None:
    assert len(TOOLS) == len(set(TOOLS)) == len(READERS) + len(SERVICES) + 1
    assert {label.name: label for label in ProvenanceDetector.labels}["generator"].fields["tool"].choices == TOOLS


REAL = (
    "c2pa_formats/C.jpg",
    "c2pa_formats/sample1.webp",
    "c2pa/adobe-20220124-E-clm-CAICAI.jpg",
    "comfyui/05.png",
    "exif/09_Nikon_D70.jpg",
)
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_mutated_real_files_raise_nothing(shared_data: Path, data: st.DataObject) -> None:
    folder = shared_data / "provenance"
    name = data.draw(st.sampled_from(REAL))
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        # Metadata comes first: most changes go there.
        at = data.draw(st.one_of(st.integers(0, min(4000, len(content) - 1)), st.integers(0, len(content) - 1)))
        content[at : at + 1] = data.draw(st.binary(max_size=6))
    image = make_image(SMALL, data=bytes(content), format=FORMATS[name.rsplit(".", 1)[1]])
    (findings,) = ProvenanceDetector(Runtime(Path("none"))).detect([image])

    for finding in findings:
        assert finding.status == "ok"
        json.dumps(finding.as_dict()).encode("utf-8")
