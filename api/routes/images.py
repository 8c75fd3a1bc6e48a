"""`/v1/images`: what is known of an image, by its SHA-256."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.dependencies import CallerDep, ScansDep
from api.routes.scans import ERRORS
from api.schemas.scans import HeatCell, HeatMap, ImageAnswer, ImageFacts, ScanSummary

router = APIRouter(prefix="/v1/images", tags=["images"])


@router.get("/{sha256}", responses=ERRORS)
def read_image(
    sha256: Annotated[str, Path(description="64 lower-case hex digits.", examples=["9f86d081" * 8])],
    caller: CallerDep,
    scans: ScansDep,
) -> ImageAnswer:
    """An image that was scanned, with its newest scans."""
    caller.require("read")
    image, newest = scans.find_image(caller.tenant, sha256)
    return ImageAnswer(image=ImageFacts.of(image), scans=[ScanSummary.of(scan) for scan in newest])


@router.get("/{sha256}/heatmap", responses=ERRORS)
def read_heat_map(
    sha256: Annotated[str, Path(description="64 lower-case hex digits.", examples=["9f86d081" * 8])],
    caller: CallerDep,
    scans: ScansDep,
) -> HeatMap:
    """Which parts of a kept image speak for generation: `synthetic` on a grid of squares. Takes seconds.

    Only images that the policy kept can be looked at again; a picture below about 200 px has no cells.
    """
    caller.require("read")
    frame, cells = scans.heat_map(caller.tenant, sha256)
    return HeatMap(width=frame.width, height=frame.height, cells=[HeatCell(**cell.as_dict()) for cell in cells])
