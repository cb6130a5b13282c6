"""More parts of random networks: pools, sizes, gates, and what joins and parts values."""

from __future__ import annotations

import itertools

from random_parts import Draw, Part, _text


def max_pool(draw: Draw) -> Part:
    kernel, stride = draw.each(1, 4), draw.each(1, 3)
    padding = _text([draw.rng.randint(0, k // 2) for k in kernel])
    window = f"{_text(kernel)}, {_text(stride)}, {padding}, {_text(draw.each(1, 2))}, ceil_mode={draw.flag()}"
    return Part("{a}({0})", (draw.x,), (f"nn.MaxPool{draw.d}({window})",))


def avg_pool(draw: Draw) -> Part:
    kernel, stride = draw.each(1, 4), draw.each(1, 3)
    if draw.flat:
        kernel, stride = kernel[:1], stride[:1]
    padding = _text([draw.rng.randint(0, k // 2) for k in kernel])
    options = f", ceil_mode={draw.flag()}, count_include_pad={draw.flag()}"
    return Part("{a}({0})", (draw.x,), (f"nn.AvgPool{draw.d}({_text(kernel)}, {_text(stride)}, {padding}{options})",))


def adaptive_pool(draw: Draw) -> Part:
    size = [draw.rng.randint(1, max(1, p)) for p in draw.pixels]
    return Part("{a}({0})", (draw.x,), (f"nn.AdaptiveAvgPool{draw.d}({_text(size)})",))


def global_max(draw: Draw) -> Part:
    """The largest of each channel; also of a few windows."""
    size = draw.rng.choice([1, 1, draw.rng.randint(1, min(draw.pixels))])
    return Part("{a}({0})", (draw.x,), (f"nn.AdaptiveMaxPool{draw.d}({size})",))


def resize(draw: Draw) -> Part:
    linear = "linear" if draw.flat else "bilinear"
    size = [draw.rng.randint(1, 2 * p) for p in draw.pixels]
    factors = tuple(draw.rng.choice([0.6, 1.25, 1.5, 1.7, 2.3]) for _ in draw.pixels)
    options = draw.rng.choice(
        [
            f"scale_factor={factors}",
            f"scale_factor={factors}, mode='{linear}'",
            f"scale_factor={factors}, mode='{linear}', recompute_scale_factor=True",
            "scale_factor=2",
            f"size={tuple(size)}",
            f"scale_factor=2, mode='{linear}', align_corners=False",
            f"size={tuple(size)}, mode='{linear}', align_corners=False",
            f"size={tuple(size)}, mode='{linear}', align_corners=True",
        ]
    )
    return Part("F.interpolate({0}, " + options + ")", (draw.x,))


def add(draw: Draw) -> Part | None:
    y = draw.other(lambda shape: shape == draw.shapes[draw.x])
    lines = ["{0} + {1}", "{0} - {1}", "torch.add({0}, {1}, alpha=0.5)", "{0} + {1} + {0}", "0.3 * {0} + {1}"]
    return Part(draw.rng.choice(lines), (draw.x, y)) if y is not None else None


def stacked(draw: Draw) -> Part:
    """Several values of one size, added up."""
    others = [draw.other(lambda shape: shape == draw.shapes[draw.x]) for _ in range(draw.rng.randint(0, 2))]
    inputs = (draw.x, *(other for other in others if other is not None))
    listed = f"[{', '.join(f'{{{i}}}' for i in range(len(inputs)))}]"
    lines = [f"sum({listed})", f"torch.stack({listed}).sum(0)", f"torch.sum(torch.stack({listed}, dim=1), dim=1)"]
    return Part(draw.rng.choice([*lines, f"torch.stack({listed}).mean(dim=0)"]), inputs)


def channel_pool(draw: Draw) -> Part:
    """One number of each pixel, or a gate of two."""
    pools = ["{0}.mean(1, keepdim=True)", "{0}.max(1, keepdim=True)[0]", "torch.max({0}, 1, keepdim=True).values"]
    pools += ["torch.amax({0}, 1, keepdim=True)", "{0}.mean(1).unsqueeze(1)", "{0}.amax(dim=1, keepdim=True)"]
    if draw.flag():
        return Part(draw.rng.choice(pools), (draw.x,))
    both = f"torch.cat([{', '.join(draw.rng.sample(pools, 2))}], 1)"
    return Part("{0} * torch.sigmoid({a}(" + both + "))", (draw.x,), (f"nn.Conv{draw.d}(2, 1, 3, padding=1)",))


def affine(draw: Draw) -> Part:
    lines = ["2 * {0} - 1", "{0} / 3 + 0.5", "1 - {0}", "-{0}", "({0} - 0.4) * 1.7", "{0}.mul(0.5).add(1)"]
    return Part(draw.rng.choice(lines), (draw.x,))


def multiply(draw: Draw) -> Part | None:
    y = draw.other(lambda shape: shape == draw.shapes[draw.x])
    return Part(draw.rng.choice(["{0} * {1}", "{0} * torch.sigmoid({1})"]), (draw.x, y)) if y is not None else None


def gate(draw: Draw) -> Part:
    """Squeeze-excite: a factor for each channel."""
    c, few = draw.channels, draw.rng.randint(1, 8)
    pool = "F.adaptive_avg_pool1d({0}, 1)" if draw.flat else "F.adaptive_avg_pool2d({0}, 1)"
    if draw.flag() and not draw.flat:
        pool = "{0}.mean((2, 3), keepdim=True)"
    squeeze, last = draw.rng.choice(["F.relu", "F.silu"]), draw.rng.choice(["torch.sigmoid", "F.hardsigmoid"])
    line = "{0} * " + last + "({b}(" + squeeze + "({a}(" + pool + "))))"
    return Part(line, (draw.x,), (f"nn.Conv{draw.d}({c}, {few}, 1)", f"nn.Conv{draw.d}({few}, {c}, 1)"))


def pixel_gate(draw: Draw) -> Part:
    """A factor for each pixel."""
    return Part("{0} * torch.sigmoid({a}({0}))", (draw.x,), (f"nn.Conv{draw.d}({draw.channels}, 1, 1)",))


def softmax(draw: Draw) -> Part:
    return Part("{0}.softmax(1)", (draw.x,))


def concat(draw: Draw) -> Part | None:
    def fits(shape: tuple[int, ...]) -> bool:
        return shape[1:] == draw.pixels and shape[0] <= 24

    parts = [draw.other(fits) for _ in range(draw.rng.randint(1, 2))]
    inputs = (draw.x, *(p for p in parts if p is not None))
    return Part("torch.cat([" + ", ".join(f"{{{i}}}" for i in range(len(inputs))) + "], 1)", inputs)


def slices(draw: Draw) -> Part:
    c = draw.channels
    begin = draw.rng.randrange(c)
    end = draw.rng.randint(begin + 1, c)
    lines = [f"{{0}}[:, {begin}:{end}]", f"{{0}}[:, {begin}::{draw.rng.randint(1, 3)}]", f"{{0}}[:, -{c - begin}:]"]
    if c > 1:
        lines.append(f"torch.split({{0}}, [{max(1, begin)}, {c - max(1, begin)}], 1)[{draw.rng.randint(0, 1)}]")
        lines.append("(lambda p: torch.cat([p[1], p[0]], 1))({0}.chunk(2, 1))")
        lines.append("(lambda p: torch.cat([p[1], F.relu(p[0])], 1))({0}.chunk(2, 1))")
        lines.append("torch.cat({0}.chunk(3, 1)[::-1], 1)")
    if c % 2 == 0:
        lines.append("{0}.chunk(2, 1)[0] * {0}.chunk(2, 1)[1]")
    return Part(draw.rng.choice(lines), (draw.x,))


def shuffle(draw: Draw) -> Part:
    c, p = draw.channels, ", ".join(map(str, draw.pixels))
    groups = draw.divisor(c)
    view = f"{{0}}.view(-1, {groups}, {c // groups}, {p}).transpose(1, 2)"
    return Part(f"{view}.reshape(-1, {c}, {p})", (draw.x,))


def space_to_depth(draw: Draw) -> Part | None:
    if draw.flat or any(p % 2 for p in draw.pixels):
        return None
    parts = ", ".join(f"{{0}}[..., {i}::2, {j}::2]" for j in (0, 1) for i in (0, 1))
    return Part(draw.rng.choice([f"torch.cat([{parts}], 1)", "F.pixel_unshuffle({0}, 2)"]), (draw.x,))


def pixel_shuffle(draw: Draw) -> Part | None:
    return None if draw.flat or draw.channels % 4 else Part("F.pixel_shuffle({0}, 2)", (draw.x,))


def means(draw: Draw) -> Part:
    """Over the pixels, in other words; the result is an image of one pixel."""
    dims = "(2,)" if draw.flat else "(2, 3)"
    return Part(f"{{0}}.mean({dims}, keepdim=True)", (draw.x,))


def broadcast(draw: Draw) -> Part | None:
    """A value with an image of one pixel, added or multiplied."""
    y = draw.other(lambda shape: shape[0] == draw.channels and set(shape[1:]) == {1})
    return Part("{0} * torch.sigmoid({1})", (draw.x, y)) if y is not None else None


def places(draw: Draw) -> Part:
    """Nothing but names and places: what a network may do without computing anything."""
    c, p = draw.channels, ", ".join(map(str, draw.pixels))
    lines = [f"{{0}}.reshape(-1, {c}, {p}).contiguous()", "{0}.flatten(2).view_as({0})", "{0}.unsqueeze(1).squeeze(1)"]
    lines += ["nn.Identity()({0})", "{0}.transpose(1, 2).transpose(2, 1)", f"{{0}}.flatten(1).view(-1, {c}, {p})"]
    return Part(draw.rng.choice(lines), (draw.x,))


def flip_channels(draw: Draw) -> Part:
    """All channels in another order, by pieces."""
    pieces = sorted({0, draw.channels, *(draw.rng.randint(0, draw.channels) for _ in range(2))})
    parts = [f"{{0}}[:, {a}:{b}]" for a, b in itertools.pairwise(pieces)]
    draw.rng.shuffle(parts)
    return Part(f"torch.cat([{', '.join(parts)}], dim={draw.rng.choice([1, 1 - 2 - len(draw.pixels)])})", (draw.x,))


def dropout(draw: Draw) -> Part:
    return Part("{a}({0})", (draw.x,), ("nn.Dropout(0.0)",))
