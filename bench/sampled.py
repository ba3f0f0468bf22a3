"""``python -m bench.sampled FILE MODULE …``: as ``python -m MODULE …``, and FILE tells where its threads spend CPU.

A thread of its own looks at all others every few milliseconds: what a thread's CPU clock has gone on by since the last
look is put down to the function of ours it is in (the innermost one of this project; whoever opened the transaction
instead of ``store/session.py``), with the package whose code was running, and, as ``+``, to every function of ours that
called it. The sums are exact. What functions spend themselves leans towards those that wait next, since a thread is
seen where it lets others run; what they spend with all they call is as exact as sampling is. Four times a second a line
is appended: ``{"at": seconds since 1970, "cpu": {"function|package or +": seconds}, "rest": seconds nobody saw}``.
"""

from __future__ import annotations

import json
import runpy
import sys
import sysconfig
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

LOOK_SECONDS = 0.004
LINE_SECONDS = 0.25
# A thread that computes gives way to the one that looks this soon; by Python's own 5 ms it would have come to its next
# lock or socket, and be seen there instead.
SWITCH_SECONDS = 0.0003
OURS = ("sync_worker", "handlers", "mappings", "bench")
_ROOT = str(Path(__file__).resolve().parents[1])
_PASSED_BY = ("bench/sampled.py", "store/session.py")
_LIBRARIES = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


class Sampler(threading.Thread):
    """Appends to ``file`` until the process ends."""

    def __init__(self, file: Path) -> None:
        super().__init__(name="sampler", daemon=True)
        self._file = file
        self._seen: dict[int, float] = {}
        self._spent: Counter[str] = Counter()
        self._process = time.process_time()
        self._own = 0.0

    def run(self) -> None:
        with self._file.open("a", encoding="utf-8", buffering=1) as out:
            told = time.time()
            while True:
                time.sleep(LOOK_SECONDS)
                self._look()
                if time.time() - told >= LINE_SECONDS:
                    told = time.time()
                    out.write(json.dumps(self._line(told)) + "\n")

    def _look(self) -> None:
        frames = sys._current_frames()
        mine = threading.get_ident()
        for ident in [*self._seen]:
            if ident not in frames:
                del self._seen[ident]
        for ident, frame in frames.items():
            if ident == mine:
                continue
            try:
                now = time.clock_gettime(time.pthread_getcpuclockid(ident))
            except OSError:  # it has just ended
                continue
            spent = now - self._seen.get(ident, now)
            self._seen[ident] = now
            if spent > 0:
                stack = _ours(frame)
                package = _package(frame.f_code.co_filename)
                self._spent[f"{stack[0] if stack else f'({package})'}|{package}"] += spent
                for name in set(stack):
                    self._spent[f"{name}|+"] += spent

    def _line(self, at: float) -> dict[str, object]:
        sampled = dict(self._spent)
        self._spent.clear()
        seen = sum(seconds for where, seconds in sampled.items() if not where.endswith("|+"))
        process = time.process_time()
        thread = time.thread_time()
        own, self._own = thread - self._own, thread
        whole, self._process = process - self._process - own, process
        return {"at": at, "cpu": sampled, "rest": max(0.0, whole - seen)}


def _ours(frame: FrameType | None) -> list[str]:
    """Functions of this project that are on the stack, the innermost first."""
    names = []
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_ROOT) and _package(file) in OURS and not file.endswith(_PASSED_BY):
            path = file[len(_ROOT) + 1 :].removeprefix("sync_worker/")
            names.append(f"{path}: {frame.f_code.co_qualname}")
        frame = frame.f_back
    return names


def _package(file: str) -> str:
    for root in _LIBRARIES:
        if file.startswith(root):
            return file[len(root) + 1 :].partition("/")[0].removesuffix(".py")
    if file.startswith(_ROOT):
        return file[len(_ROOT) + 1 :].partition("/")[0]
    return "python"


if __name__ == "__main__":
    told_to, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    sys.setswitchinterval(SWITCH_SECONDS)
    Sampler(told_to).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
