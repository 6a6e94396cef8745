"""Masks of a run corrected, or labels painted, in the browser: ``graphseg review``.

The page (review.html and painter.js) is served from this machine to this machine only. What is
painted is on disk after every stroke.
"""

import fcntl
import json
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from graphseg.batch.manifest import HIDDEN
from graphseg.batch.masks import MaskFolder
from graphseg.batch.tasks import Network
from graphseg.colours import SKY, VERMILION
from graphseg.datasets import load
from graphseg.datasets.load import LABEL
from graphseg.errors import InputError
from graphseg.io.micrographs import SUFFIXES, Micrograph, read_micrograph
from graphseg.io.outputs import whole_file, write_labels
from graphseg.plotting.labels import History, Patch, as_values, described, png

HOST = "127.0.0.1"
HERE = Path(__file__).parent
FILES = {"": ("review.html", "text/html"), "painter.js": ("painter.js", "text/javascript")}
# Of a pixel: contaminated or not, and whether somebody has looked at it.
CONTAMINATED, SEEN = 1, 2
LIGHT = "#ff9e7a"  # contamination that nobody has looked at
LARGEST = 2**30  # bytes of a message
Message = tuple[dict, list[bytes]]


class Review:
    """A walk through the masks of a run; those that need a look first come first.
    The model is the weight file that made them, for the threshold, if neither bundled nor in
    ``run.toml``. InputError if there are no masks, or none of their images can be read."""

    nouns = "masks", "corrected", "NAME_corrected.tif"
    # Of the page: what can be painted, what else has a colour, and what the eraser leaves.
    look: ClassVar[dict[str, Any]] = {
        "classes": [{"label": "contamination", "value": CONTAMINATED + SEEN, "colour": VERMILION}],
        "shown": [{"value": CONTAMINATED, "colour": LIGHT}, {"value": SEEN, "colour": SKY}],
        "erased": SEEN,
    }
    _threshold = None

    def __init__(self, masks: MaskFolder, model: Path | None = None):
        self.masks, self._model, self.folder = masks, model, masks.folder
        self._walk({name: masks.reviewed_fraction(name) for name in masks.names()})

    def _walk(self, seen: dict[str, float]) -> None:
        """Begin with the first image of which not all was seen; `seen` are fractions by names."""
        self.names, self.seen = list(seen), seen
        self._lock, self._view, self._status = threading.Lock(), 0, ""
        waiting = (i for i, name in enumerate(self.names) if self.seen[name] < 1)
        self._open(next(waiting, 0), 1)

    # The image that is open.

    def _open(self, index: int, by: int) -> None:
        """Open the first image from one on whose file can be read."""
        problem = None
        while 0 <= index < len(self.names):
            try:
                micrograph, state, status = self._read(self.names[index])
            except InputError as error:
                problem, index = problem or error, index + by
                continue
            self._index, self._name, self._micrograph = index, self.names[index], micrograph
            self._history, self._status = History(state), str(problem or status)
            return
        if problem and not hasattr(self, "_history"):
            raise problem
        self._status = str(problem or self._status)

    def _read(self, name: str) -> tuple[Micrograph, np.ndarray, str]:
        """Return an image, its state (H, W) uint8, and what there is to say."""
        micrograph = self.masks.micrograph(name)
        mask, reviewed = self.masks.read(name)
        if mask.shape != micrograph.image.shape:
            raise InputError(f"The mask of {name} is of another size than its image.")
        self._probability, self._threshold = None, self.masks.threshold
        # Why the mask needs a look, or what is to be expected of it.
        row = self.masks.record(name)["row"]
        expected = row.get("expected_jaccard")
        jaccard = f"Expected Jaccard index: {expected:.2f}." if expected else ""
        state = mask * np.uint8(CONTAMINATED) + reviewed * np.uint8(SEEN)
        return micrograph, state, row["warning"] or jaccard

    def _save(self) -> None:
        state = self._history.mask
        reviewed = (state & SEEN) > 0
        self.masks.write(self._name, (state & CONTAMINATED) > 0, reviewed)
        self.seen[self._name] = float(reviewed.mean())

    def _accept(self) -> None:
        self._replace(self._history.mask | SEEN)

    # What the page asks for.

    def values(self) -> dict[str, Any]:
        """Return what the page shows besides image and mask."""
        accepted = [fraction == 1 for fraction in self.seen.values()]
        done = ", accepted" if accepted[self._index] else ""
        return {
            **self.look,
            # Else all of an accepted mask had a colour.
            "unmarked": self.look["erased"] if accepted[self._index] else None,
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
        done: list[Message] = [] if kind == "stroke" else [({"kind": "done"}, [])]
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
            self._accept()
            waiting = [i for i, name in enumerate(self.names) if self.seen[name] < 1]
            after = [i for i in waiting if i > self._index] or waiting
            if after:
                self._open(after[0], 1)
            else:
                self._status = f"All {len(self.names)} {self.nouns[0]} are accepted."
            return [self._image()]
        if kind == "threshold" and self._threshold is not None:
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
        known = [0, *(one["value"] for key in ("classes", "shown") for one in self.look[key])]
        if values.size != height * width or not np.isin(values, known).all():
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
        fractions, (masks, corrected, file) = np.array(list(self.seen.values())), self.nouns
        accepted = int((fractions == 1).sum())
        partly = int(((fractions > 0) & (fractions < 1)).sum())
        return (
            f"{accepted} of {len(fractions)} {masks} accepted, {partly} {corrected} in part: "
            f"{self.folder}/{file}."
        )


class Labelling(Review):
    """A walk through the micrographs of a folder, to paint ``NAME_LABEL.png`` beside each.
    A label starts as the one that exists, else as the contamination that the `network` finds, else
    empty, and is a draft until it is accepted. One that exists is replaced only with `overwrite`,
    or if it is this walk's own. InputError if there is no image, or the classes do not fit."""

    nouns = "labels", "painted", f"NAME{LABEL}.png"

    def __init__(
        self, folder: Path, classes: Sequence[str], network: Network | None, overwrite: bool
    ):
        self.folder, self._classes, self._network = folder, classes, network
        self.look = {"classes": described(classes), "shown": [], "erased": 0}
        if network is not None and "contamination" not in classes:
            raise InputError("A network finds contamination: name that among the --classes, too.")
        found = load.visible_files(folder) if folder.is_dir() else []
        found = [p for p in found if p.suffix.lower() in SUFFIXES and not p.stem.endswith(LABEL)]
        if not found:
            raise InputError(
                f"{folder} has no masks of graphseg segment and no micrographs; name a folder of "
                "its results, or of images to label."
            )
        # Of two files of one name a picture comes before a microscope's, as `train` takes them.
        found.sort(key=lambda path: path.suffix.lower() in load.SUFFIXES)
        self._files = {path.stem: path for path in found}
        self._overwrite, self._own = overwrite, {}  # labels as this walk has written them
        done, names = load.find_pairs(folder)[0], sorted(self._files)
        self._walk({n: 0.5 if self._draft(n).exists() else float(n in done) for n in names})

    def _draft(self, name: str) -> Path:
        return self.folder / HIDDEN / "drafts" / f"{name}.png"

    def _label(self, name: str) -> Path | None:
        found = sorted(self.folder.glob(f"{escape(name)}{LABEL}.*"))
        return next((path for path in found if path.suffix.lower() in load.SUFFIXES), None)

    def _read(self, name: str) -> tuple[Micrograph, np.ndarray, str]:
        micrograph, file, status = read_micrograph(self._files[name]), self._label(name), ""
        if file and not self._overwrite and name not in self._own:
            status = f"{file.name} exists; only a review with --overwrite replaces it."
        file = self._draft(name) if self._draft(name).exists() else file
        label = np.zeros(micrograph.image.shape, bool)
        if file:
            label = read_micrograph(file).image
        elif self._network is not None:
            found = self._network.predict(micrograph)
            label, status, file = found.labels, found.warning, self._network.file
            if label is None or len(self._classes) == 1:
                label = found.mask * np.uint8(1 + self._classes.index("contamination"))
        shape = micrograph.image.shape
        return micrograph, as_values(label, shape, len(self._classes), file), status

    def _save(self) -> None:
        with whole_file(self._draft(self._name)) as temporary:
            write_labels(temporary, self._history.mask, form="png")
        self.seen[self._name] = 0.5

    def _accept(self) -> None:
        name, state, file = self._name, self._history.mask, self._label(self._name)
        kinds = len(self._classes)
        now = file and as_values(read_micrograph(file).image, state.shape, kinds, file)
        if not np.array_equal(now, state):
            if file and not (self._overwrite or np.array_equal(now, self._own.get(name))):
                raise InputError(
                    f"{file.name} exists; to replace it, end this review with Ctrl-C and start it "
                    "again with --overwrite: what is painted here is kept."
                )
            file = file or self.folder / f"{name}{LABEL}.png"
            with whole_file(file) as temporary:
                form = file.suffix.lower()[1:4]
                write_labels(temporary, state, self._micrograph.pixel_size, form)
            self._own[name] = state.copy()
        self._draft(name).unlink(missing_ok=True)
        self.seen[name] = 1.0


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
    (folder / HIDDEN).mkdir(exist_ok=True)
    with (folder / HIDDEN / "review.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{folder} is being reviewed already; end that review with Ctrl-C first."
            ) from error
        yield
