"""What everything generated carries: a signed C2PA manifest, an IPTC source type in XMP, and an invisible mark.

The network is never touched: the manifest is embedded, and no time-stamp authority is asked.
"""

import datetime
import hashlib
import io
import os
import secrets
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import PIL.Image
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL.PngImagePlugin import PngInfo

from detectors.errors import ModerationError
from detectors.provenance import own_mark
from detectors.provenance.credentials import OFFLINE
from generator.unsalted import unsalted

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
SIGNER_FILE = "generator-signer.pem"
YEARS = 10
SOFTWARE = "Palisade generator"

_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
    f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
    f"<xmp:CreatorTool>{SOFTWARE}</xmp:CreatorTool></rdf:Description></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="w"?>'
).encode()


class MarkError(ModerationError):
    """A picture cannot be marked, or the signer cannot be used: nothing unmarked may leave the generator."""

    code = "mark_failed"
    status = 422


@dataclass(frozen=True)
class Marker:
    """Marks pictures with one signer: a certificate chain and its private key, both PEM."""

    chain: str
    key: str

    @classmethod
    def default(cls, folder: Path) -> "Marker":
        """The signer in a folder, made when there is none (mode 0600). Raises MarkError when it cannot be used.

        It is signed by a certificate of its own whose key is thrown away, and so trusted by nobody who was not given it.
        """
        path = folder / SIGNER_FILE
        try:
            if not path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                _keep(path, _new_signer())
            text = path.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise MarkError(f"The signer {path} cannot be read or made: {error}.", hint="Check the folder.") from error
        key, end, chain = text.partition("-----END PRIVATE KEY-----\n")
        try:
            serialization.load_pem_private_key((key + end).encode(), None)
            x509.load_pem_x509_certificates(chain.encode())
        except ValueError as error:
            raise MarkError(
                f"{path} is not a private key with its certificates: {error}.", hint="Delete it to have a new one made."
            ) from error
        return cls(chain, key + end)

    def mark(
        self,
        image: PIL.Image.Image,
        *,
        fmt: str,
        quality: int | None,
        prompt_digest: str,
        model: str,
        seed: int,
    ) -> bytes:
        """The encoded, marked and signed file. The same picture, facts and signer give the same bytes.

        fmt: JPEG, PNG or WEBP. quality: 1 to 100 for JPEG and WEBP; None: 90 for JPEG, lossless WEBP. prompt_digest: 64 hex
        digits. At least 64 px a side. Raises MarkError.
        """
        name = {"JPG": "JPEG"}.get(fmt.upper(), fmt.upper())
        _check(name, quality, prompt_digest, image)
        pixels = own_mark.embed(np.asarray(image.convert("RGB")))
        encoded = _encode(PIL.Image.fromarray(pixels), name, quality)
        return self._sign(encoded, name, _manifest(name, prompt_digest, model, seed, encoded))

    def _sign(self, encoded: bytes, name: str, manifest: dict[str, Any]) -> bytes:
        """The file with its manifest; the same for the same picture and facts (`generator.unsalted`)."""
        info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ED25519, self.chain.encode(), self.key.encode(), None)
        signed = io.BytesIO()
        try:
            with (
                c2pa.Context(settings=c2pa.Settings.from_dict(_SETTINGS)) as context,
                c2pa.Builder(manifest, context) as builder,
                c2pa.Signer.from_info(info) as signer,
            ):
                builder.sign(signer, FORMATS[name], io.BytesIO(encoded), signed)
            return unsalted(signed.getvalue(), self._private.sign, manifest["label"])
        except (c2pa.C2paError, ValueError) as error:
            raise MarkError(
                f"The picture cannot be signed: {error}.", hint="Delete the signer to have a new one."
            ) from error

    @cached_property
    def _private(self) -> ed25519.Ed25519PrivateKey:
        key = serialization.load_pem_private_key(self.key.encode(), None)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise MarkError("The signer's key is not an Ed25519 one.", hint="Delete the signer to have a new one.")
        return key


_SETTINGS = {**OFFLINE, "builder": {"thumbnail": {"enabled": False}}}


def _check(name: str, quality: int | None, prompt_digest: str, image: PIL.Image.Image) -> None:
    if name not in FORMATS:
        raise MarkError(f"{name!r} cannot be marked.", hint=f"Use one of {', '.join(FORMATS)}.")
    if quality is not None and (name == "PNG" or not 1 <= quality <= 100):
        raise MarkError(
            f"Quality {quality} is not one of {name}.", hint="Use 1 to 100 for JPEG and WEBP, none for PNG."
        )
    if len(prompt_digest) != 64 or not set(prompt_digest) <= set("0123456789abcdef"):
        raise MarkError(
            "The prompt's digest is not a SHA-256 of 64 lower-case hex digits.", hint="Never pass the text."
        )
    if min(image.size) < own_mark.LEAST_SIDE:
        raise MarkError(
            f"The picture has {image.width} × {image.height} px; the mark needs {own_mark.LEAST_SIDE} a side.",
            hint="Generate larger pictures.",
        )


def _encode(image: PIL.Image.Image, name: str, quality: int | None) -> bytes:
    """The file with its XMP. JPEG keeps full colour, so that no other mark in the colours is lost."""
    buffer = io.BytesIO()
    if name == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", _XMP.decode())
        image.save(buffer, "PNG", pnginfo=info)
    elif name == "JPEG":
        image.save(buffer, "JPEG", quality=90 if quality is None else quality, subsampling=0, xmp=_XMP)
    else:
        image.save(buffer, "WEBP", lossless=quality is None, quality=80 if quality is None else quality, xmp=_XMP)
    return buffer.getvalue()


def _manifest(name: str, prompt_digest: str, model: str, seed: int, encoded: bytes) -> dict[str, Any]:
    made_of = f"{prompt_digest}/{model}/{seed}/{hashlib.sha256(encoded).hexdigest()}"
    identity = uuid.UUID(bytes=hashlib.sha256(made_of.encode()).digest()[:16], version=4)
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE, "softwareAgent": {"name": SOFTWARE}}
    facts = {"prompt_sha256": prompt_digest, "model": model, "seed": seed}
    return {
        "claim_generator_info": [{"name": SOFTWARE, "version": "1"}],
        "format": FORMATS[name],
        "label": f"urn:c2pa:{identity}",
        "instance_id": f"xmp:iid:{identity}",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": "org.palisade.generation", "data": facts},
        ],
    }


def _keep(path: Path, text: str) -> None:
    """Write a new file that only its owner may read, whole or not at all; one that another process made first stays."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink()


def _new_signer() -> str:
    """A new private key, its certificate for signing claims, and the certificate that issued it, all PEM."""
    root_key, key = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    root_name, name = _name("Palisade local root"), _name("Palisade generator")
    root = _certificate(root_name, root_name, root_key, root_key, authority=True)
    leaf = _certificate(name, root_name, key, root_key, authority=False)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = leaf.public_bytes(serialization.Encoding.PEM) + root.public_bytes(serialization.Encoding.PEM)
    return (private + chain).decode()


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Palisade"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ed25519.Ed25519PrivateKey,
    issuer_key: ed25519.Ed25519PrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    """A certificate as the C2PA specification (section 14.5) asks: version 3, key usages, both key identifiers."""
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, None)
