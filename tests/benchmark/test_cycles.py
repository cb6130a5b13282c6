"""Which inner loops ``bench/cycles.py`` finds in a compiler's assembly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))

from cycles import kernel_of, loops

ASSEMBLY = """
_ZN8sparsebp12_GLOBAL__N_14gemmINS0_4NeonEEEvRKNS_8GemmArgsINT_5valueEEE: // @_ZN8...
\t.cfi_startproc
\tmov\tx8, x0
.LBB0_1:                               // =>This Loop Header: Depth=1
\tldr\tx9, [x8]
.LBB0_2:                               //   Parent Loop BB0_1 Depth=1
                                        // =>  This Inner Loop Header: Depth=2
\tldp\tq0, q1, [x9]
\t//APP
\t//NO_APP
\tfmla\tv2.4s, v0.4s, v1.s[0]          // a comment
\tsubs\tx10, x10, #1
\tb.ne\t.LBB0_2
// %bb.3:
\tcbnz\tx8, .LBB0_1
\tret
_ZN8sparsebp12_GLOBAL__N_116weight_grad_tileINS0_4NeonEEEvv:
.LBB1_1:
\tfmla\tv0.4s, v1.4s, v2.4s
\ttbz\tw8, #0, .LBB1_1
"""


def test_only_innermost_loops_are_found_with_the_kernel_they_belong_to() -> None:
    found = list(loops(ASSEMBLY))
    assert [(loop.kernel, loop.multiply_adds) for loop in found] == [("gemm", 1), ("weight_grad_tile", 1)]
    assert found[0].instructions == (
        "ldp q0, q1, [x9]",
        "fmla v2.4s, v0.4s, v1.s[0]",
        "subs x10, x10, #1",
        "b.ne .LBB0_2",
    )


@pytest.mark.parametrize(
    ("mangled", "name"),
    [("_ZN8sparsebp12_GLOBAL__N_112conv_forwardINS0_4NeonEEEv", "conv_forward"), ("main", "main")],
)
def test_a_kernel_is_named_as_in_the_source(mangled: str, name: str) -> None:
    assert kernel_of(mangled) == name
