"""Where requests come from, as far as that can be believed."""

from fastapi import Request

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
