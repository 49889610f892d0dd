"""Tables and figures of a benchmark file."""

from collections.abc import Mapping
from typing import Any
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure


def _cell(value: Mapping[str, float] | None, scale: float = 1.0, digits: int = 2) -> str:
    return (
        f"{value['median'] * scale:.{digits}f} ({value['low'] * scale:.{digits}f}–{value['high'] * scale:.{digits}f})"
        if value
        else ""
    )


def bench_table(
    report: Mapping[str, Any],  # from `run_bench`
) -> str:  # Markdown
    "Milliseconds per unit of work, ratio to the reference and to the roofline; ranges in brackets."
    lines = ["| area | what | ms | reference | times faster | roofline | times the roofline |", "|" + "---|" * 7]
    for area, rows in report["areas"].items():
        for r in rows:
            words = [
                r.get("reference", ""),
                _cell(r.get("speedup")),
                r.get("roofline", ""),
                _cell(r.get("times_roofline")),
            ]
            if "seconds" not in r:
                words = [
                    r.get("skipped") or ", ".join(f"{k}: {v / 2**20:.0f} MiB" for k, v in r["peak_bytes"].items()),
                    "",
                    "",
                    "",
                ]
            lines.append("| " + " | ".join([area, r["what"], _cell(r.get("seconds"), 1e3), *words]) + " |")
    return "\n".join(lines)


def optimizations(
    report: Mapping[str, Any],  # from `run_bench`
) -> pd.DataFrame:  # area, optimization, gain, low, high, "verdict": helped, cost, or no gain shown
    "List what was tried; a gain counts only when it was above 1 in every round."

    def verdict(g):
        return "helped" if g["low"] > 1 else "cost" if g["high"] < 1 else "no gain shown"

    found = [
        (area, r["optimization"], r["speedup"])
        for area, rows in report["areas"].items()
        for r in rows
        if "optimization" in r
    ]
    return pd.DataFrame(
        [
            {
                "area": a,
                "optimization": k,
                "gain": g["median"],
                "low": g["low"],
                "high": g["high"],
                "verdict": verdict(g),
            }
            for a, k, g in found
        ]
    )


def plot_bench(
    report: Mapping[str, Any],  # from `run_bench`
) -> Figure:  # left: times faster than the reference; right: times the roofline
    "Draw every row's two ratios with their ranges on a logarithmic scale; 1 is a line."
    rows = [(area, r) for area, lines in report["areas"].items() for r in lines if "seconds" in r][::-1]
    fig, axes = plt.subplots(1, 2, figsize=(9, 0.17 * len(rows) + 1), sharey=True)
    colors = dict(zip(report["areas"], plt.get_cmap("tab10").colors))
    for ax, key, title in (
        (axes[0], "speedup", "times faster than the reference"),
        (axes[1], "times_roofline", "times the roofline"),
    ):
        for y, (area, r) in enumerate(rows):
            v = r[key]
            ax.errorbar(
                v["median"],
                y,
                xerr=[[v["median"] - v["low"]], [v["high"] - v["median"]]],
                fmt="o",
                ms=3,
                color=colors[area],
            )
        ax.axvline(1, color="0.7", zorder=0)
        ax.set(xscale="log", title=title)
    axes[0].set_yticks(range(len(rows)), [f"{area}: {r['what']}" for area, r in rows], fontsize=6)
    fig.tight_layout()
    return fig


def plot_growth(
    report: Mapping[str, Any],  # from `run_bench`, with loading
) -> Figure:  # left: milliseconds; right: MiB; against the slices of the store
    "Time to the first batch, time per slice after it, and peak memory, against the size of the store."
    rows = [r for r in report["areas"]["loading"] if "slices" in r]
    fig, axes = plt.subplots(1, 2, figsize=(8, 2.6))
    kinds = {"open the store and give the first batch": "first batch", "a slice of the store": "a slice"}
    for (start, label), color in zip(kinds.items(), ("tab:blue", "tab:orange")):
        those = [r for r in rows if r["what"].startswith(start)]
        slices, times = [r["slices"] for r in those], [r["seconds"] for r in those]
        axes[0].fill_between(
            slices, [t["low"] * 1e3 for t in times], [t["high"] * 1e3 for t in times], color=color, alpha=0.3, lw=0
        )
        axes[0].plot(slices, [t["median"] * 1e3 for t in times], color=color, marker=".", label=label)
    axes[1].plot(slices, [r["peak_bytes"] / 2**20 for r in those], color="tab:green", marker=".")
    axes[0].set(ylabel="ms", yscale="log")
    axes[0].legend(fontsize=8)
    axes[1].set(ylabel="peak memory, MiB", ylim=0)
    for ax in axes:
        ax.set(xlabel="slices in the store", xscale="log")
    fig.tight_layout()
    return fig
