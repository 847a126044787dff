from torch import Tensor

def has_cuda() -> bool: ...
def signs_(out: Tensor, seed: int, first_row: int, first_entry: int) -> Tensor: ...
def normals_(out: Tensor, seed: int, first_row: int, first_entry: int) -> Tensor: ...
def row_dots(x: Tensor, y: Tensor) -> Tensor: ...
def block_dots(x: Tensor, y: Tensor) -> Tensor: ...
def block_update_(y: Tensor, coefficients: Tensor, basis: Tensor) -> None: ...
def orthogonalise_(block: Tensor, basis: Tensor) -> Tensor: ...
def affine_norm_tangent_(
    first: Tensor | None,
    second: Tensor | None,
    result: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    gain: Tensor,
    weight_dot: Tensor | None,
    bias_dot: Tensor | None,
    residual: Tensor | None,
    output: Tensor | None,
) -> Tensor: ...
def affine_norm_gradient_tangent_(
    first: Tensor,
    second: Tensor | None,
    result: Tensor | None,
    delta: Tensor,
    x: Tensor,
    x_dot: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    gain: Tensor,
    weight_dot: Tensor | None,
    output: Tensor | None,
) -> tuple[Tensor, Tensor]: ...
def pointwise_tangent_(kind: str, z: Tensor, dot: Tensor, out: Tensor) -> Tensor: ...
def pointwise_gradient_tangent_(
    kind: str,
    z: Tensor,
    delta: Tensor,
    z_dot: Tensor | None,
    delta_dot: Tensor | None,
    out: Tensor,
) -> Tensor: ...
def pointwise_quadratic(kind: str, z: Tensor, adjoint: Tensor, z_dot: Tensor) -> Tensor: ...
def softmax_tangent_(p: Tensor, dot: Tensor, row_weight: Tensor, out: Tensor) -> Tensor: ...
def softmax_quadratic(p: Tensor, dot: Tensor, row_weight: Tensor) -> Tensor: ...
def layer_norm_tangent_(
    dot: Tensor | None,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    weight_dot: Tensor | None,
    bias_dot: Tensor | None,
    out: Tensor,
) -> Tensor: ...
def layer_norm_gradient_tangent_(
    delta_dot: Tensor | None,
    x_dot: Tensor | None,
    delta: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    weight_dot: Tensor | None,
    out: Tensor,
) -> tuple[Tensor, Tensor]: ...
def layer_norm_quadratic(
    dot: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    weight_dot: Tensor | None,
    adjoint: Tensor,
) -> Tensor: ...
def batch_norm_tangent_(
    dot: Tensor | None,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    weight_dot: Tensor | None,
    bias_dot: Tensor | None,
    out: Tensor,
) -> Tensor: ...
def batch_norm_gradient_tangent_(
    delta_dot: Tensor | None,
    x_dot: Tensor | None,
    delta: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    weight_dot: Tensor | None,
    out: Tensor,
) -> tuple[Tensor, Tensor]: ...
def batch_norm_quadratic(
    dot: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    weight_dot: Tensor | None,
    adjoint: Tensor,
) -> Tensor: ...
def square_sums(block: Tensor) -> Tensor: ...
def filter_squares(
    delta: Tensor,
    x: Tensor,
    window: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor: ...
def affine_norm_squares_(
    first: Tensor,
    second: Tensor | None,
    result: Tensor | None,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    gain: Tensor,
    output: Tensor | None,
) -> tuple[Tensor, Tensor]: ...
def select_instruction_set(name: str | None) -> str: ...
