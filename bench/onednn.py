"""oneDNN's Mish on the CPU, through its C interface and ctypes (the package `onednn-cpu-gomp`)."""

import ctypes
import pathlib
import sys

# Values of the header, the same in every version 3.
CPU, IN_ORDER, TAG_A, FORWARD_INFERENCE, ELTWISE_MISH = 1, 1, 2, 96, 51
DTYPES = {"f16": 1, "bf16": 2, "f32": 3, "f64": 7}
SRC, DST, DIFF_SRC, DIFF_DST = 1, 17, 129, 145


class Argument(ctypes.Structure):
    """`dnnl_exec_arg_t`."""

    _fields_ = [("index", ctypes.c_int), ("memory", ctypes.c_void_p)]


class OneDnn:
    def __init__(self):
        path = pathlib.Path(sys.prefix) / "lib" / "libdnnl.so.3"
        if not path.exists():
            raise RuntimeError("onednn-cpu-gomp is not installed")
        self.library = ctypes.CDLL(str(path))
        self.engine = self.create("engine_create", CPU, ctypes.c_size_t(0))
        self.stream = self.create("stream_create", self.engine, IN_ORDER)

    def call(self, name, *arguments):
        if status := getattr(self.library, f"dnnl_{name}")(*arguments):
            raise RuntimeError(f"dnnl_{name}: {'unimplemented' if status == 3 else f'status {status}'}")

    def create(self, name, *arguments):
        made = ctypes.c_void_p()
        self.call(name, ctypes.byref(made), *arguments)
        return made

    def version(self):
        numbers = (ctypes.c_int * 3).from_address(ctypes.cast(self._version(), ctypes.c_void_p).value)
        return ".".join(map(str, numbers))

    def _version(self):
        self.library.dnnl_version.restype = ctypes.c_void_p
        return self.library.dnnl_version()

    def prepared(self, op, dtype, n, pointers):
        """A call without arguments. Pointers: x, y of the forward; grad_y, x, grad_x of the backward."""
        dims = (ctypes.c_int64 * 12)(n)
        shape = self.create("memory_desc_create_with_tag", 1, dims, DTYPES[dtype], TAG_A)
        zero = ctypes.c_float(0)
        descriptor = self.create(
            "eltwise_forward_primitive_desc_create", self.engine, FORWARD_INFERENCE, ELTWISE_MISH, shape, shape, zero, zero, None
        )
        slots = (SRC, DST)
        if op == "backward":
            descriptor = self.create(
                "eltwise_backward_primitive_desc_create", self.engine, ELTWISE_MISH, shape, shape, shape, zero, zero, descriptor, None
            )
            slots = (DIFF_DST, SRC, DIFF_SRC)
        primitive = self.create("primitive_create", descriptor)
        memories = [self.create("memory_create", shape, self.engine, ctypes.c_void_p(p)) for p in pointers]
        arguments = (Argument * len(slots))(*((slot, memory.value) for slot, memory in zip(slots, memories)))
        execute, count = self.library.dnnl_primitive_execute, len(slots)
        # The CPU's stream runs what it is given before it returns.
        return lambda: execute(primitive, self.stream, count, arguments)
