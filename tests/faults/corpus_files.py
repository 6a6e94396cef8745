"""Malformed and hostile weight files, folders of labels, reduced stacks and records."""

import json
import pickle
import struct

import numpy as np
import tifffile
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from graphseg.unet import pretrained


class Runs:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def weight_files(folder):
    """Write weight files that cannot be used: name to path."""
    folder.mkdir(parents=True)
    good = pretrained.FOLDER / "default.safetensors"
    content = good.read_bytes()
    with safe_open(good, "pt") as file:
        header = json.loads(file.metadata()["graphseg"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    files = {}

    def raw(name, data):
        files[name] = folder / f"{name}.safetensors"
        files[name].write_bytes(data)

    def changed(name, header=header, tensors=tensors):
        files[name] = folder / f"{name}.safetensors"
        text = header if isinstance(header, str) else json.dumps(header)
        save_file(tensors, files[name], metadata={"graphseg": text})

    raw("empty", b"")
    raw("text", b"no weights")
    raw("cut", content[: len(content) // 2])
    raw("cut_header", content[:500])
    raw("long_header", struct.pack("<Q", 2**60) + content[8:])
    raw("pickle", pickle.dumps(Runs(folder / "ran_raw")))
    raw("json_bomb", struct.pack("<Q", 10**6) + b"[" * 10**6)
    torch.save(Runs(folder / "ran_torch"), folder / "torch.safetensors")
    files["torch"] = folder / "torch.safetensors"
    files["missing"], files["folder"] = folder / "none.safetensors", folder
    changed("no_json", "{")
    changed("list", [])
    changed("nothing", {})
    changed("deep", "[" * 100000)
    changed("other_kind", header | {"kind": "Forest"})
    changed("other_format", header | {"format": 99})
    changed("no_parameters", {k: v for k, v in header.items() if k != "parameters"})
    changed("no_card", {k: v for k, v in header.items() if k != "card"})
    changed("listed_parameters", header | {"parameters": [1, 2]})
    for name, value in {"levels": 10**9, "features": 10**9, "stride": -1, "classes": 10**6,
                        "threshold": float("nan"), "tile": 0, "overlap": -5, "precision": "int4",
                        "normalisation": "evil", "device": "/dev/zero", "seed": "x",
                        "epochs": None, "test_time_augmentation": "yes", "contamination": [[1]],
                        "unknown": 1}.items():  # fmt: skip
        changed(f"{name}_wrong", header | {"parameters": header["parameters"] | {name: value}})
    for name, value in {"pixel_sizes": [1], "classes": "all"}.items():
        changed(f"card_{name}", header | {"card": header["card"] | {name: value}})
    card = header["card"] | {"pixel_sizes": [-1, float("inf")]}
    changed("card_negative_sizes", header | {"card": card})
    first = next(iter(tensors))
    changed("missing_tensor", tensors={k: v for k, v in tensors.items() if k != first})
    changed("further_tensor", tensors=tensors | {"evil": torch.zeros(3)})
    changed("no_tensors", tensors={})
    changed("flat_tensor", tensors=tensors | {first: tensors[first].flatten()})
    changed("integers", tensors=tensors | {first: tensors[first].to(torch.int32)})
    changed("not_finite", tensors=tensors | {first: tensors[first] * float("nan")})
    changed("larger", header | {"parameters": header["parameters"] | {"features": 512}})
    return files


def label_folders(folder):
    """Write folders of labels that cannot be used, and a few that can: name to path."""
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (64, 64)).astype(np.uint8)
    label = np.zeros((64, 64), np.uint8)
    label[10:30, 10:30] = 255
    folders = {}

    def make(name, **files):
        folders[name] = folder / name
        folders[name].mkdir(parents=True)
        for file, content in files.items():
            path = folders[name] / file.replace("__", ".")
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif path.suffix == ".png":
                Image.fromarray(content).save(path)
            else:
                tifffile.imwrite(path, content)

    def pair(name, image=image, label=label, **more):
        make(name, **({"a__png": image, "a_LABEL__png": label} | more))

    make("nothing")
    make("image_only", a__png=image)
    make("label_only", a_LABEL__png=label)
    make("text", a__png=b"no image", a_LABEL__png=b"no label")
    make("empty_files", a__png=b"", a_LABEL__png=b"")
    pair("cut", a__png=b"\x89PNG\r\n\x1a\n")
    pair("smaller_label", label=label[:32])
    pair("two_sizes", b__png=image[:32], b_LABEL__png=label[:32])
    pair("one_pixel", image[:1, :1], label[:1, :1])
    pair("constant", np.full_like(image, 3))
    pair("clean", label=np.zeros_like(label))
    pair("contaminated", label=np.full_like(label, 255))
    pair("smooth", label=image)
    pair("colours", np.stack([image, label, image], -1))
    make("not_finite", a__tif=np.full((64, 64), np.nan, np.float32), a_LABEL__png=label)
    make("fractions", a__png=image, a_LABEL__tif=(label / 510).astype(np.float32))
    make("negative", a__png=image, a_LABEL__tif=-label.astype(np.int16))
    make("endless", a__png=image, a_LABEL__tif=np.full((64, 64), np.inf, np.float32))
    make("twice", a__png=image, a__tif=image, a_LABEL__png=label)
    for name, text in {"list": "[]", "no_json": "{", "words": '{"a": "wide"}',
                       "negative": '{"a": -1}', "null": '{"a": null}', "nan": '{"a": NaN}',
                       "deep": "[" * 100000, "bytes": "\xff\xfe"}.items():  # fmt: skip
        pair(f"sizes_{name}", pixel_sizes__json=text.encode("latin-1"))
    pair("sizes_of_others", pixel_sizes__json=b'{"b": 0.4}')
    folders["missing"] = folder / "missing"
    folders["file"] = folder / "file.png"
    folders["file"].write_bytes(b"x")
    return folders
