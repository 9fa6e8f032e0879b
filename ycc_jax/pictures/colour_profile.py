"""The colours that a picture file means -> sRGB.

A file says what its codes mean by an ICC profile or, being a PNG, by chunks of its own. The first
of these that is there counts (PNG, third edition, section 4.3); without any the codes are sRGB:

    cICP        code points of ITU-T H.273
    iCCP        an ICC profile, of any format
    sRGB        sRGB it is
    gAMA, cHRM  exponent of the transfer function; chromaticities of the primaries and of white

AVIF's own code points (nclx), which Pillow does not give, are not looked at.
"""

import io
import struct
import warnings

import numpy as np
from PIL import Image, ImageCms

from ycc_jax.errors import InputError
from ycc_jax.pictures.rgb_spaces import SRGB, power_curve, srgb_curve, to_srgb

_PNG = b"\x89PNG\r\n\x1a\n"
_D65 = SRGB[3]

# H.273 tables 2 and 3, what of them is converted. 2 says "unspecified". The curves of BT.709 and
# its kin (1, 6, 14, 15) are those of cameras, and near that of sRGB: such codes are taken as sRGB.
_PRIMARIES = {
    1: SRGB,
    2: SRGB,
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),  # BT.601, 625 lines
    6: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), _D65),  # BT.601, 525 lines
    7: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), _D65),  # SMPTE 240M
    9: ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046), _D65),  # BT.2020
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), _D65),  # Display P3
}
_CURVES = {
    **dict.fromkeys((1, 2, 6, 13, 14, 15), srgb_curve()),
    4: power_curve(2.2),
    5: power_curve(2.8),
    8: power_curve(1),
}
_HIGH_DYNAMIC_RANGE = {16: "PQ", 18: "HLG"}

# gAMA of 1 / 2.2 beside the primaries of sRGB is how files without an sRGB chunk say sRGB.
_GAMMA_OF_SRGB, _GAMMA_TOLERANCE = 1 / 2.2, 0.005
_CHROMATICITY_TOLERANCE = 0.001


def convert_to_srgb(name, image: Image.Image, data: bytes, icc: bytes | None) -> Image.Image:
    """The picture in sRGB, of the mode it has. A conversion warns, and names the caller's caller.

    Args:
      name: of the file, for messages.
      image: its pixels, of mode RGB or L.
      data: the file.
      icc: its ICC profile.

    Raises:
      InputError: code points whose colours have no exact form in sRGB: PQ, HLG, limited range.
    """
    chunks = _png_chunks(data)
    if b"cICP" in chunks:
        return _from_code_points(name, image, chunks[b"cICP"])
    if icc:
        return _from_icc(name, image, icc)
    if b"sRGB" in chunks or not chunks:
        return image
    return _from_gamma(name, image, chunks)


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
    """Those of a PNG's chunks on colour that lie, as they must, before the pixels."""
    found, start = {}, len(_PNG)
    while data[: len(_PNG)] == _PNG and start + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        if kind == b"IDAT":
            break
        if kind in (b"cICP", b"sRGB", b"gAMA", b"cHRM"):
            found[kind] = data[start + 8 : start + 8 + size]
        start += 8 + size + 4  # a checksum, which Pillow has checked
    return found


def _from_code_points(name, image: Image.Image, cicp: bytes) -> Image.Image:
    if len(cicp) != 4:
        raise InputError(f"{name}: expected a cICP chunk of 4 bytes, found {len(cicp)}")
    primaries, transfer, matrix, full_range = cicp
    if primaries not in _PRIMARIES or transfer not in _CURVES or matrix or full_range != 1:
        found = _HIGH_DYNAMIC_RANGE.get(transfer, f"transfer function {transfer}")
        raise InputError(
            f"{name}: expected full-range RGB of standard dynamic range in primaries of sRGB, "
            f"Display P3, BT.601 or BT.2020, found {found}, primaries {primaries}, "
            f"matrix {matrix}, range {full_range} (cICP); convert it to an sRGB PNG first, with "
            "tone mapping if it is PQ or HLG, say with an image editor or FFmpeg"
        )
    curve, chromaticities = _CURVES[transfer], _PRIMARIES[primaries]
    if curve is _CURVES[13] and (chromaticities == SRGB or image.mode == "L"):
        return image
    _warn(name, f"primaries {primaries} and transfer function {transfer} (cICP)")
    return to_srgb(image, curve, chromaticities)


def _from_gamma(name, image: Image.Image, chunks: dict[bytes, bytes]) -> Image.Image:
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4], "big") / 100000
    # Grey is grey whatever the primaries.
    primaries = None if image.mode == "L" else _other_primaries(chunks.get(b"cHRM"))
    if gamma and (primaries is not None or abs(gamma - _GAMMA_OF_SRGB) > _GAMMA_TOLERANCE):
        curve, meaning = power_curve(1 / gamma), f"gamma {gamma:g} (gAMA)"
    elif primaries is not None:
        curve, meaning = srgb_curve(), "the curve of sRGB"
    else:
        return image
    if primaries is not None:
        meaning += " and other primaries (cHRM)"
    try:
        converted = to_srgb(image, curve, SRGB if primaries is None else primaries)
    except ValueError as error:
        _warn_of_unusable(name, "cHRM chunk", error)
        return image
    _warn(name, meaning)
    return converted


def _other_primaries(chrm: bytes | None) -> np.ndarray | None:
    """Chromaticities (4, 2) as of `rgb_spaces`, or None if they are those of sRGB."""
    if chrm is None:
        return None
    white, *primaries = np.reshape(struct.unpack(">8I", chrm[:32]), (4, 2)) / 100000
    found = np.array([*primaries, white])
    return found if abs(found - SRGB).max() > _CHROMATICITY_TOLERANCE else None


def _from_icc(name, image: Image.Image, icc: bytes) -> Image.Image:
    """Unchanged where the profile changes no colour by more than a code, whatever its name."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        description = ImageCms.getProfileDescription(profile).strip()
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(profile, srgb, image.mode, "RGB")
        probe = _probe(image.mode)
        shown = transform.apply(probe)
        if abs(np.asarray(shown, int) - np.asarray(probe.convert("RGB"), int)).max() <= 1:
            return image
        converted = transform.apply(image)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        _warn_of_unusable(name, "ICC profile", error)
        return image
    _warn(name, repr(description))
    # A grey profile maps to equal R, G and B.
    return converted.getchannel("G") if image.mode == "L" else converted


def _probe(mode: str) -> Image.Image:
    """All greys and, of an RGB picture, a grid of colours."""
    greys = np.arange(256, dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(greys[None])
    steps = greys[::15]  # both ends included
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    return Image.fromarray(np.concatenate([np.repeat(greys[:, None], 3, axis=1), grid])[None])


def _warn(name, found: str) -> None:
    warnings.warn(f"{name}: colours converted from {found} to sRGB", stacklevel=5)


def _warn_of_unusable(name, what: str, error: Exception) -> None:
    warnings.warn(f"{name}: unusable {what} ignored, colours taken as sRGB: {error}", stacklevel=5)
