"""Finds Mish written out, ``x * torch.tanh(F.softplus(x))`` and its like, in a class's source."""

import ast
import functools
import inspect
import textwrap


@functools.cache
def is_mish(kind):
    """Whether a module class's ``forward`` is the formula and nothing else."""
    function = _forward(kind)
    if function is None:
        return False
    names = [argument.arg for argument in function.args.args if argument.arg != "self"]
    body = [statement for statement in function.body if not _is_text(statement)]
    if not (len(names) == 1 and body and isinstance(body[-1], ast.Return)):
        return False
    values = {}
    for statement in body[:-1]:
        if not (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            return False
        values[statement.targets[0].id] = _Inlined(values).visit(statement.value)
    value = body[-1].value
    if value is None:
        return False
    argument = _argument(_Inlined(values).visit(value))
    return isinstance(argument, ast.Name) and argument.id == names[0]


@functools.cache
def find(kind):
    """``file:line`` of the first Mish written out in a module class's ``forward``, or ``None``."""
    function = _forward(kind)
    if function is None:
        return None
    for node in ast.walk(function):
        if _argument(node) is not None:
            return f"{inspect.getsourcefile(kind.forward)}:{node.lineno}"
    return None


def _forward(kind):
    """The syntax tree of ``forward``, with the line numbers of its file; ``None`` if there is none."""
    try:
        lines, first = inspect.getsourcelines(kind.forward)
        (function,) = ast.parse(textwrap.dedent("".join(lines))).body
    except (AttributeError, OSError, TypeError, ValueError, SyntaxError):
        return None
    ast.increment_lineno(function, first - 1)
    return function if isinstance(function, ast.FunctionDef) else None


def _is_text(statement):
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


class _Inlined(ast.NodeTransformer):
    """Puts the expressions of local variables in their places."""

    def __init__(self, values):
        self._values = values

    def visit_Name(self, node):
        return self._values.get(node.id, node)


def _argument(node):
    """The argument of the Mish that an expression is, or ``None``."""
    for factor, other in _products(node):
        inner = _applied("tanh", other)
        inner = None if inner is None else _softplus(inner)
        if inner is not None and ast.dump(inner) == ast.dump(factor):
            return factor
    return None


def _products(node):
    """The two factors of a product, both ways round."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        pair = node.left, node.right
    elif (call := _call(node)) and call[0] in ("mul", "multiply") and len(call[1]) == 2:
        pair = tuple(call[1])
    else:
        return ()
    return pair, pair[::-1]


def _softplus(node):
    inner = _applied("softplus", node)
    if inner is not None:
        return inner
    # log1p(exp(x)) and log(1 + exp(x))
    inner = _applied("log1p", node)
    if inner is None:
        inner = _applied("log", node)
        if not (isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Add)):
            return None
        terms = (inner.left, inner.right), (inner.right, inner.left)
        ones = [b for a, b in terms if isinstance(a, ast.Constant) and a.value == 1]
        inner = ones[0] if ones else None
    return None if inner is None else _applied("exp", inner)


def _applied(name, node):
    """The single argument of a call of this name, as a function, method or module."""
    call = _call(node)
    if call and call[0].lower().strip("_") == name and len(call[1]) == 1:
        return call[1][0]
    return None


# What the functions are called on, where that is not the first argument.
_NAMESPACES = ("torch", "F", "nn", "functional", "self", "math")


def _call(node):
    """The name and the arguments of a call, a method's object being the first of them."""
    if not isinstance(node, ast.Call) or node.keywords:
        return None
    function, arguments = node.func, list(node.args)
    if isinstance(function, ast.Call) and not (function.args or function.keywords):
        # nn.Tanh()(x)
        function = function.func
    if isinstance(function, ast.Name):
        return function.id, arguments
    if not isinstance(function, ast.Attribute):
        return None
    root = function.value
    while isinstance(root, ast.Attribute):
        root = root.value
    is_namespace = isinstance(root, ast.Name) and root.id in _NAMESPACES
    return function.attr, arguments if is_namespace else [function.value, *arguments]
