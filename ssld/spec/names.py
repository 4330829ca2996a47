"""What a name may be that becomes a file or a folder: a plain name, in any language."""

from ssld.errors import RecipeError, SsldError
from ssld.spec.printable import printable

LONGEST = 200
"""Bytes of a name in UTF-8. File systems take 255; a digest, or the ending of an unfinished file, is put behind it."""
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
"""Names of devices, with any ending, on other systems to which a folder may be copied."""


def check_name(name: str, where: str, kind: type[SsldError] = RecipeError) -> None:
    """Raise an error of this kind, which begins with `where`, unless a name is a plain one."""
    if fault := fault_of(name):
        shown = name if len(name) <= 60 else f"{name[:60]}..."
        raise kind(f"{where}: {printable(repr(shown))} {fault}; write a plain name, which may be in any language")


def fault_of(name: str) -> str | None:
    """Say why a name is no plain one; None where it is one."""
    faults = {
        "is empty": not name,
        "has a path separator": "/" in name or "\\" in name,
        "begins with a dot": name.startswith("."),
        "begins or ends with white space": name != name.strip(),
        "ends with a dot": name.endswith("."),
        "has a character that cannot be seen": printable(name) != name,
        f"has more than {LONGEST} bytes": len(name.encode("utf-8", "surrogatepass")) > LONGEST,
        "is the name of a device": name.partition(".")[0].rstrip().upper() in _RESERVED,
    }
    return next((fault for fault, holds in faults.items() if holds), None)
