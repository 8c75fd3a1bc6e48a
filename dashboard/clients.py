"""Where requests come from, as far as that can be believed."""

import re

from fastapi import Request

from dashboard.messages import gettext as _
from moderation.accounts.sessions import Client
from moderation.application import Application


def application(request: Request) -> Application:
    """The parts behind the pages."""
    found: Application = request.app.state.application
    return found


def address(request: Request) -> str:
    """The network address: of the connection, or what the nearest trusted proxy says."""
    proxies = application(request).settings.trusted_proxies
    named = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    if proxies and len(named) >= proxies:
        return named[-proxies][:64]
    return request.client.host if request.client else "unknown"


def is_https(request: Request) -> bool:
    """Whether the browser speaks HTTPS, to us or to the proxy in front."""
    if application(request).settings.trusted_proxies:
        said = request.headers.get("x-forwarded-proto", "").split(",")[-1].strip().lower()
        if said:
            return said == "https"
    return request.url.scheme == "https"


def client(request: Request) -> Client:
    """As sessions are listed."""
    return Client(address(request), request.headers.get("user-agent", ""))


BROWSERS = (
    ("Edg", "Edge"), ("OPR", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox", "Firefox"), ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"), ("Chrome", "Chrome"), ("HeadlessChrome", "Chrome"), ("Safari", "Safari"),
)  # fmt: skip
"""How browsers name themselves, those first that name others besides."""

SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def browser_words(agent: str) -> str:
    """A browser as its person knows it, such as `Firefox on Windows`; what it says of itself where it is another."""
    browser = next((name for mark, name in BROWSERS if re.search(rf"\b{mark}/", agent)), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or agent[:60] or _("Unknown browser")
