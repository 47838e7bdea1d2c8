"""Keys normalised, rotated and stored in one launch (templates/k_norm_rope_store.cuh.j2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wavejit import pages
from wavejit.bind import dtype_name, module_for
from wavejit.check import not_negative, one_of, taken
from wavejit.jit import arch as archs
from wavejit.jit.spec import Arch, KernelSpec, kernel_spec
from wavejit.layouts import FlashMLA, from_params
from wavejit.presets import PRESETS, preset_name
from wavejit.rotation import ROPE_DIMS, angles_of, clamped, rotated
from wavejit.rounding import normalised, rounded

__all__ = ["k_norm_rope_store"]
DTYPES = ("bfloat16", "float16")
WEIGHTS = ("bfloat16", "float16", "float")
_ready: dict[Any, tuple[Callable[..., Any], Any]] = {}


def spec(
    layout: Any,
    element: str = "bfloat16",
    weight: str = "bfloat16",
    preset: str = "default",
    **constants: Any,
) -> KernelSpec:
    """One instance: a layout whose page size and flavour are known, dtypes, and the preset."""
    layout, preset = from_params(layout, constants), preset_name(preset)
    one_of("kv dtype", element, DTYPES)
    one_of("weight dtype", weight, WEIGHTS)
    if layout.DIMS != 512:
        raise ValueError(f"layout: expected one of 512 dims, got {layout}")
    return kernel_spec(
        "k_norm_rope_store",
        ("run",),
        **layout.params(),
        **layout.rules(),
        element=element,
        weight=weight,
        preset=preset.capitalize(),
    )


def variants(arch: Arch, model: str) -> list[KernelSpec]:
    """A server's sliding-window pages of 256 slots."""
    return [spec(FlashMLA(256).at(flavour=arch.fp8_flavour))]


def k_norm_rope_store(
    kv: Any,
    weight: Any,
    freqs_cis: Any,
    positions: Any,
    out_loc: Any,
    cache: Any,
    *,
    eps: float,
    layout: Any,
    page_size: int | None = None,
    preset: str = "default",
    skip_zero: bool = False,
) -> Any:
    """Row i of `kv` normalised, times weight, its last 64 dims rotated, stored in slot out_loc[i].

    kv: [tokens, 512] bf16 or fp16, rows may lie apart, left as it is. weight: [512] bf16, fp16 or
    fp32. freqs_cis: from rope_table, complex64 [positions, 32] or its fp32 [positions, 64].
    positions: int32 or int64 [tokens]; one outside the table counts as the nearest in it.
    out_loc: as store_cache's loc; cache, layout, page_size, skip_zero: as there. eps: added to the
    mean of the squares.
    preset: "default" rounds to bf16 what is then quantised; "cuda" quantises fp32; "amd" is the
    default with angles rounded to bf16 (that implementation's floor is the layout's
    amax_floor=1e-8). Everything else is in fp32: the bytes are those of norm_rope_inplace of
    kv.float(), and store_cache.

    Returns `cache`. Raises ValueError or TypeError naming the argument.
    """
    kv, weight, freqs_cis, positions, out_loc = taken(
        kv=kv, weight=weight, freqs_cis=freqs_cis, positions=positions, out_loc=out_loc
    )
    first, second = cache if isinstance(cache, tuple) and len(cache) == 2 else (cache, None)
    key = layout, page_size, preset, kv.dtype, weight.dtype, kv.get_device(), archs._host
    found = _ready.get(key)
    if found is None:
        found = _prepare(key, kv)
    run, whole = found
    given = kv, weight, angles_of(freqs_cis), positions
    rest = out_loc, not_negative("eps", eps), skip_zero
    try:
        run(*given, first, second, *rest)
    except (ValueError, TypeError):
        run(*given, *pages.explained(whole, cache), *rest)
    return cache


def _prepare(key: Any, kv: Any) -> tuple[Any, Any]:
    layout, page_size, preset, element, weight = key[:5]
    whole = pages.settled(layout, page_size, kv)
    module = module_for(spec(whole, dtype_name(element), dtype_name(weight), preset), kv)
    _ready[(*key[:-1], archs._host)] = found = (module.run, whole)
    return found


def k_norm_rope_store_reference(
    kv: Any,
    weight: Any,
    freqs_cis: Any,
    positions: Any,
    out_loc: Any,
    cache: Any,
    *,
    eps: float,
    layout: Any,
    page_size: int | None = None,
    preset: str = "default",
    skip_zero: bool = False,
) -> Any:
    """`k_norm_rope_store` with torch's operations, then store_cache's bytes; on the CPU."""
    import torch

    from wavejit.ops.store_cache import store_cache_reference

    y = normalised_rows(kv, weight, freqs_cis, positions, eps, preset)
    source = rounded(y, torch.bfloat16) if PRESETS[preset].source else y
    options = {"layout": layout, "page_size": page_size, "skip_zero": skip_zero}
    return store_cache_reference(source, cache, out_loc, **options)


def normalised_rows(
    kv: Any, weight: Any, freqs_cis: Any, positions: Any, eps: float, preset: str
) -> Any:
    """For references: rows of fp32, normalised and rotated, before anything is rounded."""
    angles = angles_of(freqs_cis)
    if PRESETS[preset].angles:
        angles = angles.bfloat16().float()
    y = normalised(kv, eps) * weight.float()
    for token, position in enumerate(clamped(positions, len(angles))):
        y[token, -ROPE_DIMS:] = rotated(y[token, -ROPE_DIMS:], angles[position])
    return y


def golden_cases() -> dict[str, Callable[[Any], str]]:
    """Every preset, layout and dtype at least once, and batches of many keys."""
    from functools import partial

    cases = {
        "flashmla-64-fn": ("bfloat16", "bfloat16", "default"),
        "flashmla-2-fnuz": ("bfloat16", "float32", "cuda"),
        "flashmla-5-fnuz-224": ("bfloat16", "bfloat16", "amd"),
        "two-pool-fn": ("float16", "float16", "default"),
        "rows": ("bfloat16", "bfloat16", "default"),
    }
    found = {
        f"k_norm_rope_store-{layout}-{element}-{weight}-{preset}": partial(
            _golden, layout, element, weight, preset
        )
        for layout, (element, weight, preset) in cases.items()
    }
    for layout in ("flashmla-64-fn", "flashmla-2-fnuz"):
        many = partial(_golden, layout, *cases[layout], tokens=515)
        found[f"k_norm_rope_store-many-{layout}"] = many
    return found


def _golden(
    name: str, element: str, weight: str, preset: str, device: Any, tokens: int = 13
) -> str:
    import torch

    from wavejit.ops.rope_table import rope_table
    from wavejit.testing import inputs, parity_caches

    layout = parity_caches.LAYOUTS[name].at()
    table = rope_table(70, base=10000.0).to(device)
    kv = inputs.normal(1, (tokens, 512 + 64), 3.0).to(getattr(torch, element)).to(device)
    weights = inputs.normal(2, (512,)).to(getattr(torch, weight)).to(device)
    positions = inputs.integers(3, (tokens,), -5, 80).to(device)
    cache = parity_caches.any_cache(layout, device)
    loc = torch.full((tokens,), -1, dtype=torch.int32)
    loc[-13:] = parity_caches.places(13)
    loc = loc.to(device)
    options = {"eps": 1e-6, "layout": layout, "preset": preset}
    k_norm_rope_store(kv[:, 64:], weights, table, positions, loc, cache, **options)
    return parity_caches.whole_digest(cache)
