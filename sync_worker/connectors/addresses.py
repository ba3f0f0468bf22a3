"""Where a call goes: below the base address of its system, never to another host, never out of the base."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from sync_worker.errors import Rejected


@dataclass(frozen=True, slots=True)
class Base:
    """``text``: the address without a slash at its end; ``root``: its part before ``path``."""

    system: str
    text: str
    root: str
    path: str

    @classmethod
    def of(cls, system: str, url: str) -> Base:
        text = url.rstrip("/")
        path = urlsplit(text).path
        return cls(system, text, text.removesuffix(path), path)

    def address_of(self, path: str) -> str:
        """A path of ours, or a link in a vendor's answer, as an address below the base. Raises Rejected."""
        if path.startswith(self.text + "/"):
            url = path
        elif self.path and path.startswith(self.path + "/"):
            url = self.root + path
        elif "://" in path.partition("?")[0] or path.startswith("//"):
            raise Rejected("a link leads to another host", system=self.system)
        else:
            url = f"{self.text}/{path.lstrip('/')}"
        # servers read %2e as a dot, some a backslash as a slash
        if ".." in unquote(url.partition("?")[0]).replace("\\", "/").split("/"):
            raise Rejected("a path leaves the base address", system=self.system)
        return url
