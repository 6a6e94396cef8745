"""Correcting the masks of a run in the browser, image by image: ``graphseg review``.

The page is the painter that notebooks have too (painter.js), served from this machine to this
machine only. What is painted is on disk after every stroke.
"""

import fcntl
import json
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from graphseg.batch.manifest import HIDDEN
from graphseg.batch.masks import MaskFolder
from graphseg.colours import SKY, VERMILION
from graphseg.errors import InputError
from graphseg.plotting.labels import History, Patch, png

HOST = "127.0.0.1"
HERE = Path(__file__).parent
FILES = {"": ("review.html", "text/html"), "painter.js": ("painter.js", "text/javascript")}
FILES |= {"painter.css": ("painter.css", "text/css")}
# Of a pixel: contaminated or not, and whether somebody has looked at it.
CONTAMINATED, SEEN = 1, 2
LIGHT = "#ff9e7a"  # contamination that nobody has looked at
LARGEST = 2**30  # bytes of a message
COMMANDS = ("ready", "undo", "redo", "accept", "next", "previous", "threshold")
Message = tuple[dict, list[bytes]]


class Review:
    """A walk through the masks of a run; those that need a look first come first.
    The model is the weight file that made them, for the threshold, if neither bundled nor in
    ``run.toml``. InputError if there are no masks, or none of their images can be read."""

    def __init__(self, masks: MaskFolder, model: Path | None = None):
        self.masks, self._model = masks, model
        self.names = masks.names()
        self.seen = {name: masks.reviewed_fraction(name) for name in self.names}
        self._lock, self._view, self._status = threading.Lock(), 0, ""
        waiting = (i for i, name in enumerate(self.names) if self.seen[name] < 1)
        self._open(next(waiting, 0), 1)

    # The image that is open.

    def _open(self, index: int, by: int) -> None:
        """Open the first image from one on whose file can be read."""
        problem = None
        while 0 <= index < len(self.names):
            name = self.names[index]
            try:
                micrograph = self.masks.micrograph(name)
                mask, reviewed = self.masks.read(name)
                if mask.shape != micrograph.image.shape:
                    raise InputError(f"The mask of {name} is of another size than its image.")
            except InputError as error:
                problem, index = problem or error, index + by
                continue
            self._index, self._name, self._micrograph = index, name, micrograph
            self._history = History(mask * np.uint8(CONTAMINATED) + reviewed * np.uint8(SEEN))
            self._probability = None
            self._threshold = self.masks.threshold
            # Why the mask needs a look, or what is to be expected of it.
            row = self.masks.record(name)["row"]
            expected = row.get("expected_jaccard")
            jaccard = f"Expected Jaccard index: {expected:.2f}." if expected else ""
            self._status = str(problem or row["warning"] or jaccard)
            return
        if problem and not hasattr(self, "_history"):
            raise problem
        self._status = str(problem or self._status)

    def _save(self) -> None:
        state = self._history.mask
        reviewed = (state & SEEN) > 0
        contaminated = (state & CONTAMINATED) > 0
        self.masks.write(self._name, contaminated, reviewed)
        self.seen[self._name] = float(reviewed.mean())

    # What the page asks for.

    def values(self) -> dict[str, Any]:
        """Return what the page shows besides image and mask."""
        accepted = [fraction == 1 for fraction in self.seen.values()]
        done = ", accepted" if accepted[self._index] else ""
        return {
            "reviewing": True,
            "classes": [{"label": "contamination", "value": 3, "colour": VERMILION}],
            "shown": [{"value": CONTAMINATED, "colour": LIGHT}, {"value": SEEN, "colour": SKY}],
            "unmarked": SEEN if accepted[self._index] else None,  # else all of it had a colour
            "erased": SEEN,
            "name": self._name,
            "place": f"{self._index + 1} of {len(accepted)}{done}; {sum(accepted)} accepted in all",
            "status": self._status,
            "threshold": self._threshold,
            "undoable": self._history.undoable,
            "redoable": self._history.redoable,
            "has_previous": self._index > 0,
            "has_next": self._index + 1 < len(accepted),
            "view": self._view,
        }

    def receive(self, content: dict, body: bytes) -> tuple[dict, list[Message]]:
        """Do what a page asks for; return its new values, and messages for it."""
        kind = content.get("kind")
        done: list[Message] = [({"kind": "done"}, [])] if kind in COMMANDS else []
        with self._lock:
            if kind == "ready":
                self._view += 1
            elif content.get("view") != self._view:
                said = "This image is open on another page; load this one again to go on here."
                return {"status": said}, done
            try:
                messages = self._act(kind, content, body)
            except (InputError, OSError) as error:
                self._status = str(error)
                messages = [self._image()]
            return self.values(), messages + done

    def _act(self, kind: str | None, content: dict, body: bytes) -> list[Message]:
        if kind == "ready":
            return [self._image()]
        if kind in ("next", "previous"):
            by = 1 if kind == "next" else -1
            self._open(self._index + by, by)
            return [self._image()]
        self._status = ""
        if kind == "stroke":
            self._paint(content, body)
            return []
        if kind == "accept":
            self._replace(self._history.mask | SEEN)
            waiting = [i for i, name in enumerate(self.names) if self.seen[name] < 1]
            after = [i for i in waiting if i > self._index] or waiting
            if after:
                self._open(after[0], 1)
            else:
                self._status = f"All {len(self.names)} masks are accepted."
            return [self._image()]
        if kind == "threshold":
            return [self._cut(float(content["value"])).message()]
        steps = {"undo": self._history.undo, "redo": self._history.redo}
        if kind not in steps:
            raise InputError(f"{kind} is nothing that a page can ask for.")
        patches = steps[kind]()
        self._save()
        return [patch.message() for patch in patches]

    def _paint(self, content: dict, body: bytes) -> None:
        row, column, height, width = (
            int(content[key]) for key in ("row", "column", "height", "width")
        )
        values = np.frombuffer(body, np.uint8)
        ends = np.array((row + height, column + width))
        if min(row, column, height, width) < 0 or (ends > self._history.mask.shape).any():
            raise InputError("The stroke lies outside of the image.")
        if values.size != height * width or (values > CONTAMINATED + SEEN).any():
            raise InputError("The stroke has other values than a mask.")
        self._history.paint(Patch(row, column, values.reshape(height, width)), content["last"])
        if content["last"]:
            self._save()

    def _cut(self, threshold: float) -> Patch:
        """Mark what reaches a threshold wherever nobody has painted."""
        # In a mask that was accepted nothing tells what was painted, so that all of it is marked.
        if self._probability is None:
            self._probability = self.masks.probability(self._name, self._micrograph, self._model)
        self._threshold = threshold
        state = self._history.mask
        marked = (self._probability >= threshold) * np.uint8(CONTAMINATED)
        kept = (state & SEEN) > 0
        return self._replace(marked if kept.all() else np.where(kept, state, marked))

    def _replace(self, state: np.ndarray) -> Patch:
        patch = Patch(0, 0, state.astype(np.uint8))
        self._history.paint(patch)
        self._save()
        return patch

    def _image(self) -> Message:
        return self._history.message(png(self._micrograph.image))

    def summary(self) -> str:
        """Return one sentence on what has been reviewed."""
        fractions = np.array(list(self.seen.values()))
        accepted = int((fractions == 1).sum())
        partly = int(((fractions > 0) & (fractions < 1)).sum())
        return (
            f"{accepted} of {len(fractions)} masks accepted, {partly} corrected in part: "
            f"{self.masks.folder}/NAME_corrected.tif."
        )


def framed(values: dict, messages: Sequence[Message]) -> bytes:
    """Return an answer as one string of bytes: length of the head, JSON head, buffers."""
    listed = [{"content": content, "sizes": [len(b) for b in parts]} for content, parts in messages]
    head = json.dumps({"values": values, "messages": listed}).encode()
    buffers = [buffer for _, parts in messages for buffer in parts]
    return b"".join([len(head).to_bytes(4, "big"), head, *buffers])


class _Handler(BaseHTTPRequestHandler):
    """Answers the page; who does not know the token in its address gets nothing."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        page = self._page()
        if page == "start":
            self._answer(json.dumps(self.server.review.values()).encode(), "application/json")
        elif page in FILES:
            file, kind = FILES[page]
            self._answer((HERE / file).read_bytes(), kind)
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if self._page() != "message" or size > LARGEST:
            self.close_connection = True
            self.send_error(404)
            return
        body = self.rfile.read(size)
        answer = self.server.review.receive(json.loads(self.headers["X-Message"]), body)
        self._answer(framed(*answer), "application/octet-stream")

    def _page(self) -> str | None:
        head, _, page = self.path.removeprefix("/").partition("/")
        return page if secrets.compare_digest(head, self.server.token) else None

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keep the terminal for what the user must know."""


class Server(ThreadingHTTPServer):
    """Serves a review to a browser on this machine."""

    daemon_threads = True

    def __init__(self, review: Review, port: int = 0):
        self.review, self.token = review, secrets.token_urlsafe(16)
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """What to open in the browser."""
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second review of a folder out (InputError), by a lock that ends with this process."""
    with (folder / HIDDEN / "review.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{folder} is being reviewed already; end that review with Ctrl-C first."
            ) from error
        yield
