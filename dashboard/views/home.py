"""The home page of the dashboard, at `/app`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from dashboard.navigation import HOME, places
from dashboard.pages import page
from dashboard.sessions import signed_in
from moderation.roles import Person

router = APIRouter()


@router.get(HOME)
def home(request: Request, person: Annotated[Person, Depends(signed_in())]) -> Response:
    """What this person may do here."""
    cards = [place for place in places(person) if place.about]
    return page(request, "home.html", {"cards": cards})
