"""Kinds of judges that installed packages add, by entry points of the group `muster.judges`.

Looks names up only; the package is imported when its judge is built. A built-in kind cannot be taken over: its name is never
looked up here.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from harness.errors import UserError

GROUP = "muster.judges"


def installed_kinds() -> dict[str, EntryPoint]:
    """What each added kind stands for, by name. Of two packages with one name neither counts; asking for it says so."""
    found = _offers()
    return {name: offers[0] for name, offers in sorted(found.items()) if len({offer.value for offer in offers}) == 1}


def find_factory(kind: str) -> str | None:
    """`package.module:function` of an added kind, or None where no package adds it.

    Raises UserError where two packages do.
    """
    offers = _offers().get(kind, [])
    if len({offer.value for offer in offers}) > 1:
        packages = " and ".join(sorted({package_of(offer) for offer in offers}))
        raise UserError(f"the kind of judge '{kind}' is added by two packages ({packages}). Uninstall one")
    return offers[0].value if offers else None


def package_of(offer: EntryPoint) -> str:
    """Name and version of the package that adds a kind."""
    return f"{offer.dist.name} {offer.dist.version}" if offer.dist is not None else "an unnamed package"


def _offers() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for offer in entry_points(group=GROUP):
        found.setdefault(offer.name, []).append(offer)
    return found
