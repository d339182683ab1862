# Mish, its gradient and its second derivative from Julia: on Arrays and, where there is a GPU, on
# device memory, here the driver's own; CuArrays are passed the same way, as pointers.
#
#     MISH_LIBRARY=target/release/libmish.so julia examples/quickstart.jl

module LibMish
const libmish = get(ENV, "MISH_LIBRARY", "libmish.so")
include("../bindings/julia/src/abi.jl")
end

using .LibMish: mish_forward, mish_backward, mish_double_backward, mish_device_count,
    mish_status_name, mish_last_error, MISH_DEVICE_CPU, MISH_DEVICE_CUDA, MISH_DTYPE_F32
using Printf: @printf

const x = Float32[-20, -5, -2, -1, 0, 0.5, 1, 10]
const grad_y = Float32[1, 2, 3, 4, 5, 6, 7, 8]
const grad_grad_x = Float32[8, 7, 6, 5, 4, 3, 2, 1]
const n = length(x)

reason(status) = string(unsafe_string(mish_status_name(status)), ": ",
                        unsafe_string(mish_last_error()))
check(status) = status == 0 || error(reason(status))

function show_values(device, operation, values)
    for (i, value) in enumerate(values)
        @printf("%s %s %d %.9g\n", device, operation, i - 1, value)
    end
end

function on_host()
    first, second = similar(x), similar(x)
    check(mish_forward(MISH_DEVICE_CPU, MISH_DTYPE_F32, x, first, n, C_NULL))
    show_values("cpu", "forward", first)
    check(mish_backward(MISH_DEVICE_CPU, MISH_DTYPE_F32, grad_y, x, first, n, C_NULL))
    show_values("cpu", "backward", first)
    check(mish_double_backward(MISH_DEVICE_CPU, MISH_DTYPE_F32, grad_grad_x, grad_y, x,
                               first, second, n, C_NULL))
    show_values("cpu", "grad_grad_y", first)
    show_values("cpu", "grad_x", second)
end

const libcuda = "libcuda.so.1"
succeed(code) = code == 0 || error("CUDA driver error $code")

function upload(values)
    pointer = Ref{Ptr{Cvoid}}()
    succeed(ccall((:cuMemAlloc_v2, libcuda), Cint, (Ptr{Ptr{Cvoid}}, Csize_t),
                  pointer, sizeof(values)))
    succeed(ccall((:cuMemcpyHtoD_v2, libcuda), Cint, (Ptr{Cvoid}, Ptr{Cvoid}, Csize_t),
                  pointer[], values, sizeof(values)))
    return pointer[]
end

# A copy on the default stream waits for what was enqueued there.
function download(pointer)
    values = similar(x)
    succeed(ccall((:cuMemcpyDtoH_v2, libcuda), Cint, (Ptr{Cvoid}, Ptr{Cvoid}, Csize_t),
                  values, pointer, sizeof(values)))
    return values
end

function on_gpu()
    context = Ref{Ptr{Cvoid}}()
    succeed(ccall((:cuInit, libcuda), Cint, (Cuint,), 0))
    succeed(ccall((:cuDevicePrimaryCtxRetain, libcuda), Cint, (Ptr{Ptr{Cvoid}}, Cint), context, 0))
    succeed(ccall((:cuCtxSetCurrent, libcuda), Cint, (Ptr{Cvoid},), context[]))
    dx, dg, dh = upload(x), upload(grad_y), upload(grad_grad_x)
    first, second = upload(x), upload(x)
    check(mish_forward(MISH_DEVICE_CUDA, MISH_DTYPE_F32, dx, first, n, C_NULL))
    show_values("cuda", "forward", download(first))
    check(mish_backward(MISH_DEVICE_CUDA, MISH_DTYPE_F32, dg, dx, first, n, C_NULL))
    show_values("cuda", "backward", download(first))
    check(mish_double_backward(MISH_DEVICE_CUDA, MISH_DTYPE_F32, dh, dg, dx, first, second, n,
                               C_NULL))
    show_values("cuda", "grad_grad_y", download(first))
    show_values("cuda", "grad_x", download(second))
end

on_host()
gpus = Ref{Int32}(0)
status = mish_device_count(MISH_DEVICE_CUDA, gpus)
if status != 0
    println(stderr, "no GPU: ", reason(status))
elseif gpus[] > 0
    on_gpu()
end
