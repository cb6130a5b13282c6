"""Native core: the arena, the kernels and the program executor."""

from collections.abc import Callable, Sequence
from typing import Any

__version__: str
PANEL: int
SQUARE_DECAY: float

class ConvShape:
    out: int
    groups: int
    height: int
    width: int
    out_height: int
    out_width: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    def __init__(self) -> None: ...

class Activation:
    identity: Activation
    relu: Activation
    relu6: Activation
    leaky_relu: Activation
    clip: Activation
    hardsigmoid: Activation
    hardswish: Activation
    sigmoid: Activation
    silu: Activation
    gelu: Activation
    gelu_tanh: Activation
    tanh: Activation
    elu: Activation
    softplus: Activation
    mish: Activation
    @property
    def name(self) -> str: ...

class OpKind:
    conv: OpKind
    depthwise: OpKind
    block: OpKind
    head: OpKind
    add: OpKind
    activation: OpKind
    pool: OpKind
    dropout: OpKind
    max_pool: OpKind
    adaptive_pool: OpKind
    affine: OpKind
    multiply: OpKind
    concat: OpKind
    channels: OpKind
    reshape: OpKind
    resize: OpKind
    conv_transpose: OpKind
    norm: OpKind
    group_norm: OpKind
    layer_norm: OpKind
    prelu: OpKind
    softmax: OpKind
    gather: OpKind
    gated: OpKind
    zeros: OpKind
    channel_pool: OpKind
    @property
    def name(self) -> str: ...

class LayerKind:
    convolution: LayerKind
    transposed: LayerKind
    channelwise: LayerKind
    @property
    def name(self) -> str: ...

class Reduction:
    mean: Reduction
    first_largest: Reduction
    all_largest: Reduction
    @property
    def name(self) -> str: ...

class Resampling:
    nearest: Resampling
    linear: Resampling
    linear_corners: Resampling
    @property
    def name(self) -> str: ...

class DropUnit:
    element: DropUnit
    channel: DropUnit
    image: DropUnit
    @property
    def name(self) -> str: ...

def is_curve(activation: Activation) -> bool: ...

class Draw:
    uniform: Draw
    cyclic: Draw
    weighted: Draw
    largest: Draw

class ValueSpec:
    def __init__(self, height: int, width: int, channels: int) -> None: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def channels(self) -> int: ...

class LayerSpec:
    name: str
    shape: ConvShape
    activation: Activation
    has_bias: bool
    has_norm: bool
    eps: float
    selected: int
    train_bias: bool
    kind: LayerKind
    shared: bool
    def __init__(self) -> None: ...

class Keep:
    masks: Keep
    input: Keep
    input8: Keep
    @property
    def name(self) -> str: ...

class OpSpec:
    kind: OpKind
    inputs: Sequence[int]
    output: int
    layers: Sequence[int]
    residual: bool
    block: int
    activation: Activation
    window: ConvShape
    count_padding: bool
    drop: float
    forward_rows: int
    forward_block: int
    keep: Keep
    alpha: float
    beta: float
    groups: int
    bits: int
    resampling: Resampling
    map: Sequence[int]
    drop_unit: DropUnit
    top: int
    left: int
    reduction: Reduction
    scale_h: float
    scale_w: float
    def __init__(self) -> None: ...

class Scope:
    training: Scope
    step: Scope
    @property
    def name(self) -> str: ...

class StreamSpec:
    def __init__(self, first: int, last: int) -> None: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...

class ProgramSpec:
    values: Sequence[ValueSpec]
    layers: Sequence[LayerSpec]
    ops: Sequence[OpSpec]
    input: int
    output: int
    span_begin: int
    batch: int
    input_grad: bool
    momentum: bool
    sums: bool
    scores: bool
    normalise: bool
    loss: bool
    scope: Scope
    pictures: bool
    streams: Sequence[StreamSpec]
    def __init__(self) -> None: ...

class Arena:
    @property
    def capacity(self) -> int: ...
    @property
    def used(self) -> int: ...
    @property
    def peak(self) -> int: ...
    @property
    def held(self) -> dict[str, int]: ...
    @property
    def held_peak(self) -> dict[str, int]: ...
    @property
    def address(self) -> int: ...

class Program:
    def __init__(self, spec: ProgramSpec, float64: bool = ..., isa: str = ..., gpu: int | None = ...) -> None: ...
    def set_stream(self, stream: int) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def training_peak(self) -> int: ...
    @property
    def workspace_peak(self) -> int: ...
    def training_buffers(self) -> list[dict[str, Any]]: ...
    def workspace_buffers(self) -> list[dict[str, Any]]: ...
    def allocate(self, budget: int) -> None: ...
    @property
    def arena(self) -> Arena: ...
    @property
    def workspace(self) -> Arena: ...
    def bind(
        self,
        layer: int,
        weight: int,
        bias: int = ...,
        gamma: int = ...,
        beta: int = ...,
        mean: int = ...,
        var: int = ...,
    ) -> None: ...
    def forward(
        self,
        first: int,
        last: int,
        input: int,
        output: int,
        images: int,
        save: bool,
        drop: bool = ...,
        dropout_key: int = ...,
    ) -> None: ...
    def backward(self, output_grad: int, input_grad: int, rules: Sequence[LayerRule], keep: bool = ...) -> None: ...
    def apply(self, rules: Sequence[LayerRule]) -> None: ...
    def prepare_replay(self, rules: Sequence[LayerRule], dropout_key: int) -> None: ...
    def replayed(self) -> None: ...
    @property
    def spoilt(self) -> bool: ...
    def discard(self) -> None: ...
    @property
    def in_flight(self) -> bool: ...
    def draw(self, layer: int, method: Draw, seed: int, turn: int) -> None: ...
    def draw_all(self, method: Draw, seed: int, turn: int) -> None: ...
    def set_indices(self, layer: int, channels: Sequence[int]) -> None: ...
    def indices(self, layer: int) -> list[int]: ...
    def visited(self, layer: int) -> int: ...
    def persistent(self) -> list[tuple[str, int, int]]: ...
    def read(self, offset: int) -> bytes: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def sum_region(self, layer: int, parameter: str) -> tuple[int, int]: ...

CUDA_BUILD: str

def cuda_devices() -> tuple[int, str]: ...
def usable_isas() -> list[str]: ...
def chosen_isa() -> str: ...
def fma_peak() -> float: ...
def thread_count() -> int: ...
def thread_pool_name() -> str: ...
def release_free_memory() -> None: ...
def set_plain_threads(threads: int) -> None: ...

class Sampling:
    uniform: Sampling
    cyclic: Sampling
    weighted: Sampling
    largest: Sampling
    fixed: Sampling

class Schedule:
    constant: Schedule
    linear: Schedule
    cosine: Schedule

class ParameterRule:
    trains: bool
    rate: float
    weight_decay: float
    momentum: float
    normalise: bool

class LayerRule:
    weight: ParameterRule
    bias: ParameterRule
    shift: ParameterRule

class Trainer:
    steps: int
    turn: int
    forwards: int
    due: bool
    pending: bool
    dropout_seed: int
    resample_every: int
    stride: int
    def __init__(
        self,
        program: Program,
        draw: Callable[[int], None] | None = ...,
        sampling: Sampling = ...,
        seed: int = ...,
        dropout_seed: int = ...,
        resample_every: int = ...,
    ) -> None: ...
    def clear_rules(self) -> None: ...
    def draw(self) -> None: ...
    def forward(self, first: int, last: int, input: int, output: int, images: int, drop: bool) -> None: ...
    def infer(self, first: int, last: int, input: int, output: int, images: int, drop: bool) -> None: ...
    def backward(self, output_grad: int, input_grad: int, share: float = ..., keep: bool = ...) -> None: ...
    def train_batch(
        self,
        first: int,
        input: int,
        images: int,
        labels: int,
        logits: int,
        label_smoothing: float,
        skip_above: float,
        drop: bool,
        finish: bool,
        learned: int = ...,
    ) -> tuple[float, int, int]: ...
    def prepare_replay(self, share: float) -> None: ...
    def replayed(self) -> None: ...
    def finish_step(self, share: float = ...) -> None: ...

class RuleGroup:
    def __init__(self, trainer: Trainer, places: Sequence[tuple[int, int]]) -> None: ...
    def set(self, rate: float, weight_decay: float, momentum: float, normalise: bool) -> None: ...

class Recipe:
    rules: list[LayerRule]
    sampling: Sampling
    seed: int
    dropout_seed: int
    resample_every: int
    batch: int
    schedule: Schedule
    warmup: float
    steps: int
    label_smoothing: float
    skip_above: float

class Form:
    numbers: Form
    bytes: Form
    features: Form

class OpenPlan:
    def __init__(self, path: str) -> None: ...
    @staticmethod
    def from_bytes(data: bytes) -> OpenPlan: ...
    @property
    def sizes(self) -> dict[str, Any]: ...
    @property
    def metadata(self) -> dict[str, str]: ...
    @property
    def classes(self) -> list[str] | None: ...
    def add_class(self, name: str) -> int: ...
    @property
    def takes_bytes(self) -> bool: ...
    @property
    def plan(self) -> dict[str, Any]: ...
    def attach(self) -> None: ...
    @property
    def pictures(self) -> int: ...
    @property
    def arena_peak(self) -> int: ...
    def train(self, images: int, form: Form, labels: int, n: int) -> tuple[float, int, int]: ...
    def evaluate(self, images: int, form: Form, labels: int, n: int) -> tuple[float, int, int]: ...
    def predict(self, images: int, form: Form, n: int, logits: int) -> None: ...
    def features(self, images: int, form: Form, n: int, out: int) -> None: ...
    def hold(self, turn: int) -> None: ...
    @property
    def trainable(self) -> list[tuple[str, tuple[int, ...], bool]]: ...
    def get_trainable(self, out: int) -> None: ...
    def set_trainable(self, values: int) -> None: ...
    def set_rate(self, factor: float) -> None: ...
    @property
    def rate(self) -> float: ...
    @property
    def coverage(self) -> float: ...
    @property
    def progress(self) -> tuple[int, int, int, int, bool]: ...
    def save(self, path: str) -> None: ...
    def save_delta(self, path: str) -> None: ...

def apply_delta(base: str, delta: str, out: str) -> None: ...
def make_delta(base: str, new: str, out: str) -> None: ...
def classifier(spec: ProgramSpec) -> int: ...
def plan_record(
    spec: ProgramSpec, recipe: Recipe, tensors: Sequence[Sequence[str]], budget: int, classes: int | None
) -> bytes: ...
def state_record(
    batches: int, steps: int, turn: int, forwards: int, due: bool, regions: Sequence[tuple[str, bytes]]
) -> bytes: ...
