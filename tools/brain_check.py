"""Measure the two error rates of the brain check, and fit its weights anew.

python -m tools.brain_check data/raw results/reference/brain_check.json [--photos FOLDER] [--fit]
"""

import argparse
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import matplotlib
import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage as ndi
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import PolynomialFeatures
from tqdm import tqdm

from brainmtl.data.io import Scan, read_channels, read_input
from brainmtl.data.phantom import phantom_volume
from brainmtl.data.preprocess import PREPROCESS_VERSION, prepare_scan
from brainmtl.files import write_json
from brainmtl.inference.brain_check import (
    BRAIN_MODEL,
    FEATURES,
    BrainModel,
    brain_features,
    brain_score,
    decide,
    head_size_mm,
    largest_slices,
)


WEIGHTS = {"photographs": 5.0}  # of a kind in the fit


@dataclass(frozen=True)
class Item:
    "What is known of one image or volume."

    kind: str  # source, and whether it is an image or a volume
    group: str  # items of one patient, or of one photograph, share it
    features: np.ndarray  # (slices, features); empty without any usable slice
    size_mm: float  # NaN: unknown
    unusable: int  # slices with too little foreground


def flat(x: np.ndarray) -> Scan:
    "An array as a 2-D image."
    return Scan(np.asarray(x, np.float32)[None, ..., None], None, None, ("flair",), None)


def heads(raw: Path) -> Iterator[tuple[str, str, Callable[[], Scan]]]:
    "Head MRI of every source: volumes whole, and single slices of them as images."
    for folder, step in (("br35h/*", 2), ("kaggle/*", 1), ("cheng/images", 5)):
        for path in sorted(raw.glob(f"{folder}/*"))[::step]:
            yield folder.split("/")[0] + " images", path.name, lambda path=path: read_input(path)
    for folder in sorted(raw.glob("lgg/kaggle_3m/TCGA*")):
        files = sorted(folder.glob("*[0-9].tif"), key=lambda p: int(p.stem.split("_")[-1]))

        def stack(files=files, part: float | None = None) -> Scan:
            chosen = files if part is None else [files[int(part * len(files))]]
            image = np.stack([read_channels(p)[..., 1] for p in chosen], -1).astype(np.float32)
            return Scan(image[None], None, None, ("flair",), None)

        yield "lgg volumes", folder.name, stack
        for part in (0.35, 0.5, 0.65):
            yield "lgg images", folder.name, lambda stack=stack, part=part: stack(part=part)
    for pattern in ("brats2021/*/*", "brats/*/*", "brats2015/*/Flair*", "tumour_free/*"):
        for path in sorted(p for p in raw.glob(pattern) if ".nii" in p.name and "seg" not in p.name):
            kind, group = pattern.split("/")[0], path.parent.name if "/*/" in pattern else path.name
            yield f"{kind} volumes", group, lambda path=path: read_input(path)
            for part in (0.3, 0.42, 0.5, 0.58, 0.7) if kind == "brats2021" else (0.35, 0.5, 0.65):
                yield f"{kind} images", group, lambda path=path, part=part: slice_of(path, part)
    for seed in range(60):
        size = (64, 96, 128)[seed % 3]
        volume = phantom_volume(1000 + seed, (size, size, 10), skull=seed % 2 == 0, modalities=("flair",))[0]["flair"]
        yield "phantom volumes", f"phantom {seed}", lambda v=volume: Scan(v[None], None, np.eye(4), ("flair",), None)
        yield "phantom images", f"phantom {seed}", lambda v=volume: flat(v[..., 5].T)


def slice_of(path: Path, part: float) -> Scan:
    "One axial slice of a volume as an image."
    volume = nib.as_closest_canonical(nib.load(path))
    return flat(np.asarray(volume.dataobj[..., int(part * volume.shape[2])]).T[::-1])


def others(raw: Path, photos: Path | None) -> Iterator[tuple[str, str, Callable[[], Scan]]]:
    "Photographs, noise, drawings, statistic maps in the outline of a brain, and simulated CT of the trunk."
    rng = np.random.default_rng(1)
    files = sorted(photos.iterdir()) if photos else []
    grace = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    images = [(p.name, np.asarray(Image.open(p).convert("L"))) for p in [grace, *files]]
    images += [(f"sample {i}", p.mean(-1)) for i, p in enumerate(load_sample_images().images)]
    for name, photo in images:
        yield "photographs", name, lambda photo=photo: flat(photo)
        for _ in range(12):
            h, w = (min(a, b) for a, b in zip(rng.integers(80, 350, 2), photo.shape))
            r, c = rng.integers(0, photo.shape[0] - h + 1), rng.integers(0, photo.shape[1] - w + 1)
            yield "crops of photographs", name, lambda x=photo[r : r + h, c : c + w]: flat(x)
    for i in range(60):
        white, gauss = rng.integers(0, 256, (120, 140)), rng.normal(100, 40, (128, 128))
        f = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
        f[0, 0] = 1
        cloud = np.fft.ifft2(np.fft.fft2(rng.normal(size=f.shape)) / f ** rng.uniform(0.8, 2.2)).real
        drawing = np.full((150, 150), rng.integers(256))
        for _ in range(rng.integers(1, 12)):
            (r, c), (h, w) = rng.integers(0, 150, 2), rng.integers(5, 80, 2)
            drawing[r : r + h, c : c + w] = rng.integers(256)
        for kind, x in (("noise", white), ("noise", gauss), ("clouds (1/f noise)", cloud), ("drawings", drawing)):
            yield kind, f"{kind} {i}", lambda x=x: flat(x)
    for path in sorted(raw.glob("brats2021/*/*flair.nii*")):
        brain = ndi.binary_closing(nib.as_closest_canonical(nib.load(path)).get_fdata() > 0, iterations=2)[
            ..., 50:110:6
        ]
        for fwhm in (3, 4, 6, 8, 12):
            sd = fwhm / 2.355
            noise = ndi.gaussian_filter(rng.normal(size=brain.shape), (sd, sd, sd / 6))
            noise /= noise[brain].std()
            active = noise.copy()
            for center in rng.permutation(np.argwhere(brain))[:4]:
                far = (np.stack(np.indices(brain.shape), -1) - center) * [1, 1, 6]
                active += 5 * np.exp(-(far**2).sum(-1) / 2 / 8**2)
            for x in (noise, active, np.where(np.abs(active) > 2.3, active, 0)):
                x = np.where(brain, x, 0).astype(np.float32)
                affine = np.diag([1.0, 1, 6, 1])
                yield "statistic maps", path.name, lambda x=x, a=affine: Scan(x[None], None, a, ("flair",), None)
                yield "statistic maps", path.name, lambda x=x: flat(x[..., 5].T[::-1])
    for i in range(25):
        for chest in (False, True):
            one, slab = trunk(rng, chest), trunk(rng, chest)
            slab = (slab[..., None] + rng.normal(0, 5, (*slab.shape, 8))).transpose(1, 0, 2)[:, ::-1].astype(np.float32)
            affine = np.diag([1.5, 1.5, 5, 1])
            yield "CT of the trunk", f"trunk {i}", lambda x=slab, a=affine: Scan(x[None], None, a, ("flair",), None)
            yield "CT of the trunk", f"trunk {i}", lambda x=one: flat(x)
            yield "CT of the trunk", f"trunk {i}", lambda x=one: flat(np.clip((x + 160) / 400, 0, 1) * 255)


def trunk(rng: np.random.Generator, chest: bool, n: int = 256, mm: float = 1.5) -> np.ndarray:
    "Simulated CT in Hounsfield units: fat, muscle, lungs or organs, spine, ribs, often a table."
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j] * (n * mm / 2)
    w, h, fat = rng.uniform(140, 200), rng.uniform(95, 140), rng.uniform(8, 30)
    cx, cy = rng.normal(0, 8, 2)

    def ellipse(x0, y0, a, b, turn=0.0):
        u, v = x - cx - x0, y - cy - y0
        c, s = np.cos(turn), np.sin(turn)
        return ((u * c + v * s) / a) ** 2 + ((v * c - u * s) / b) ** 2 < 1

    out = np.full((n, n), -1000.0)
    out[ellipse(0, 0, w, h)] = -100
    out[ellipse(0, 0, w - fat, h - fat)] = 50
    if chest:
        for side in (-1, 1):
            out[ellipse(side * w * 0.42, -h * 0.05, w * 0.3, h * 0.55)] = -850
        out[ellipse(10, -15, 50, 40)] = 45
    else:
        out[ellipse(-w * 0.3, -10, w * 0.42, h * 0.5, 0.3)] = 65
        out[ellipse(w * 0.45, 10, w * 0.2, h * 0.3)] = 55
        for _ in range(12):
            out[ellipse(*(rng.uniform(-0.5, 0.5, 2) * [w, h]), *rng.uniform(8, 22, 2))] = rng.choice(
                [-700, 30, 120, -90]
            )
    for y0, size, hu in ((0.55, 20, 400), (0.75, 12, 300), (0.66, 8, 40)):
        out[ellipse(0, h * y0, size, size)] = hu
    for a in np.linspace(0.2, 2 * np.pi - 0.2, 18):
        out[ellipse((w - fat - 5) * np.cos(a), (h - fat - 5) * np.sin(a), 7, 4, a)] = 500
    if rng.random() < 0.6:
        out[(y > cy + h + 4) & (y < cy + h + 9) & (abs(x) < 220)] = -200
    return np.maximum(ndi.gaussian_filter(out, 0.7) + rng.normal(0, rng.uniform(8, 25), out.shape), -1024)


def measured(entries: Iterator[tuple[str, str, Callable[[], Scan]]]) -> list[Item]:
    "Prepare each entry and compute its features."
    items = []
    for kind, group, read in tqdm(entries, unit="item"):
        prepared = prepare_scan(read())
        found = [brain_features(prepared.image[s, 0]) for s in largest_slices(prepared)]
        features = np.array([f for f in found if f is not None]).reshape(-1, len(FEATURES))
        unusable = sum(f is None for f in found)
        items.append(Item(kind, group, features, head_size_mm(prepared), unusable))
    return items


def design(items: list[Item]) -> np.ndarray:
    "Features of all slices."
    return np.concatenate([i.features for i in items])


def fitted(positive: list[Item], negative: list[Item]) -> BrainModel:
    "Logistic regression on standardized features, their squares and products; ranges 15 % wider than those of heads."
    x, y = design(positive), design(negative)
    both = np.concatenate([x, y])
    center, scale = both.mean(0), both.std(0)
    products = PolynomialFeatures(2, include_bias=False)
    z = products.fit_transform((both - center) / scale)
    # a whole photograph is what people give by mistake; crops of it are many
    weight = np.concatenate([np.full(len(i.features), WEIGHTS.get(i.kind, 1.0)) for i in positive + negative])
    model = LogisticRegression(max_iter=10_000).fit(z, np.arange(len(both)) < len(x), weight)
    n = len(FEATURES)
    weights = np.zeros((n, n))
    weights[np.triu_indices(n)] = model.coef_[0, n:]
    margin = 0.15 * np.ptp(x, axis=0)
    bias = float(model.intercept_[0])
    return BrainModel(x.min(0) - margin, x.max(0) + margin, center, scale, bias, model.coef_[0, :n], weights)


def accepted(item: Item, model: BrainModel) -> bool:
    "The decision of `looks_like_brain` with a model, from features that are measured already."
    return decide([brain_score(f, model) for f in item.features] + [-np.inf] * item.unusable, item.size_mm)


def held_out(positive: list[Item], negative: list[Item], folds: int = 5) -> tuple[list[bool], list[bool]]:
    "Decisions of models that were fitted without the patient or photograph."
    names = sorted({i.group for i in positive + negative})
    fold = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % folds))
    out: dict[int, bool] = {}
    for k in range(folds):
        parts = [[i for i in part if fold[i.group] != k] for part in (positive, negative)]
        model = fitted(*parts)
        out |= {id(i): accepted(i, model) for i in positive + negative if fold[i.group] == k}
    return [out[id(i)] for i in positive], [out[id(i)] for i in negative]


def counts(items: list[Item], wrong: list[bool]) -> dict[str, dict[str, int]]:
    "Errors and number of items for each kind, and of all."
    table: dict[str, dict[str, int]] = {}
    for item, error in zip(items, wrong, strict=True):
        row = table.setdefault(item.kind, {"errors": 0, "n": 0})
        row["errors"] += int(error)
        row["n"] += 1
    return {**table, "all": {"errors": int(sum(wrong)), "n": len(items)}}


def literals(model: BrainModel) -> str:
    "The constants as they stand in the notebook."
    text = ""
    for field in fields(model):
        value = getattr(model, field.name)
        text += (
            f"    {field.name}={np.array2string(np.asarray(value), separator=', ', precision=4, max_line_width=100)},\n"
        )
    return text


def main(raw: Path, out: Path, photos: Path | None, cache: Path | None, fit: bool) -> None:
    "Measure, and print or write."
    if cache and cache.exists():
        positive, negative = pickle.loads(cache.read_bytes())
    else:
        negative = measured(others(raw, photos))
        positive = measured(heads(raw))
        if cache:
            cache.write_bytes(pickle.dumps((positive, negative)))
    model = fitted(positive, negative) if fit else BRAIN_MODEL
    if fit:
        print(literals(model))
    ok = [[accepted(i, model) for i in part] for part in (positive, negative)]
    held = held_out(positive, negative)
    rates = {
        "heads_refused": counts(positive, [not a for a in ok[0]]),
        "others_accepted": counts(negative, ok[1]),
        "heads_refused_held_out": counts(positive, [not a for a in held[0]]),
        "others_accepted_held_out": counts(negative, held[1]),
        "preprocess_version": PREPROCESS_VERSION,
    }
    print(json.dumps(rates, indent=1))
    if not fit:
        write_json(out, rates)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=Path, help="a folder of further photographs")
    parser.add_argument("--cache", type=Path, help="keep the measured features here")
    parser.add_argument("--fit", action="store_true", help="fit and print the weights, write nothing")
    args = parser.parse_args()
    main(args.raw, args.out, args.photos, args.cache, args.fit)
