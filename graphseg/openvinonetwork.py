"""A network that OpenVINO runs on a processor: the answers of PyTorch but for rounding.

`graphseg.openvinograph` builds it layer by layer, so that no converter is needed.
"""

import sys
import threading
from functools import cache
from types import ModuleType
from weakref import WeakKeyDictionary

import torch

from graphseg.errors import InputError
from graphseg.fastnetwork import prediction_copy, state
from graphseg.openvinograph import openvino_model
from graphseg.unet import UNet

CORES = torch.get_num_threads()  # as OMP_NUM_THREADS or the machine says
ENGINES = ("torch", "openvino")  # that can run a network
HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}
REMEMBERED = 128  # layers at one size of image: several sizes; 5000, as usual, cost gigabytes
TELEMETRY = "openvino_telemetry"

_MADE: WeakKeyDictionary[UNet, tuple[tuple, dict]] = WeakKeyDictionary()
_MAKING = threading.Lock()


def check_engine(engine: str, device: str) -> None:
    """Refuse an engine that cannot be used.

    Parameters
    ----------
    engine
        One of :data:`ENGINES`.
    device
        ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    InputError
        If it is unknown, not installed, or not for this device.
    """
    if engine not in ENGINES:
        raise InputError(f"The engine {engine!r} is unknown: use 'torch' or 'openvino'.")
    if engine == "openvino":
        if device.startswith("cuda"):
            raise InputError("The engine 'openvino' runs on processors: use the device 'cpu'.")
        package()


@cache
def package() -> ModuleType:
    """Return the package openvino, imported without its telemetry; InputError if it is missing.

    On import it would send an event to its makers and keep an identification in the user's home.
    Without the package that does so, it takes a stand-in of its own that sends nothing.
    """
    before = {name: sys.modules[name] for name in (TELEMETRY,) if name in sys.modules}
    sys.modules[TELEMETRY] = None  # an import of it fails
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise InputError(
            "The engine 'openvino' needs the Python package openvino: install it with "
            'pip install "graphseg[openvino]".'
        ) from error
    finally:
        del sys.modules[TELEMETRY]
        sys.modules.update(before)
    return openvino


class OpenVINONetwork:
    """A compiled network, which any number of threads may call at a time.

    Parameters
    ----------
    network
        In evaluation mode, in float32 or less.
    precision
        Of the convolutions.
    threads
        That work on one image. With one, as many images as there are cores are worked on at a
        time.
    """

    def __init__(self, network: UNet, precision: torch.dtype, threads: int):
        self._compiled = _core().compile_model(
            openvino_model(package(), prediction_copy(network, torch.float32)),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": HINTS[precision],
                "INFERENCE_NUM_THREADS": threads if threads > 1 else CORES,
                "NUM_STREAMS": 1 if threads > 1 else CORES,
                "ENABLE_CPU_PINNING": False,  # other processes work on these cores too
                "CPU_RUNTIME_CACHE_CAPACITY": REMEMBERED,
            },
        )
        self._idle: list = []  # requests; each is used by one thread at a time

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of every class.

        Parameters
        ----------
        images
            (1, 1, H, W) float32, contiguous; height and width are multiples of the network's
            ``multiple``.

        Returns
        -------
            (1, classes, H, W) float32.
        """
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        found = request.infer([images.numpy()], share_inputs=True)
        self._idle.append(request)
        return torch.from_numpy(found[0])


def compiled(network: UNet, precision: torch.dtype) -> OpenVINONetwork:
    """Return a network for prediction, made once as long as the weights stay what they are.

    Parameters
    ----------
    network
        In evaluation mode; it is left as it is.
    precision
        Of the convolutions, float32 or bfloat16.

    Returns
    -------
        It works with as many threads as PyTorch would here and now.
    """
    threads = torch.get_num_threads()
    with _MAKING:
        known = _MADE.get(network)
        if known is None or known[0] != state(network):
            known = _MADE[network] = state(network), {}
        if (precision, threads) not in known[1]:
            known[1][precision, threads] = OpenVINONetwork(network, precision, threads)
        return known[1][precision, threads]


@cache
def _core():
    return package().Core()
