-- Mish, its gradient and its second derivative from LuaJIT: on FFI arrays and, where there is a
-- GPU, on device memory, here the driver's own.
--
--     MISH_LIBRARY=target/release/libmish.so luajit examples/quickstart.lua

package.path = "bindings/lua/?.lua;" .. package.path

local ffi = require "ffi"
local mish = require "mish"
local lib = mish.lib

local n = 8
local x = ffi.new("float[?]", n, { -20, -5, -2, -1, 0, 0.5, 1, 10 })
local grad_y = ffi.new("float[?]", n, { 1, 2, 3, 4, 5, 6, 7, 8 })
local grad_grad_x = ffi.new("float[?]", n, { 8, 7, 6, 5, 4, 3, 2, 1 })

local function show(device, operation, values)
    for i = 0, n - 1 do
        print(("%s %s %d %.9g"):format(device, operation, i, values[i]))
    end
end

local function on_host()
    show("cpu", "forward", mish.forward(x))
    show("cpu", "backward", mish.backward(grad_y, x))
    local grad_grad_y, grad_x = mish.double_backward(grad_grad_x, grad_y, x)
    show("cpu", "grad_grad_y", grad_grad_y)
    show("cpu", "grad_x", grad_x)
end

-- What the library refuses is an error with its words.
local function on_error()
    local succeeded, problem = pcall(function()
        mish.check(lib.mish_forward(lib.MISH_DEVICE_CPU, lib.MISH_DTYPE_F32, nil, nil, n, nil))
    end)
    assert(not succeeded, "a NULL pointer was taken")
    assert(problem.status == lib.MISH_STATUS_NULL_POINTER, problem)
    assert(problem.message:find("^MISH_STATUS_NULL_POINTER: x: "), problem.message)
    io.stderr:write("as it should be: ", tostring(problem), "\n")
    -- So is what is no array, where it was passed.
    succeeded, problem = pcall(function() mish.backward("no array", x) end)
    assert(not succeeded, "a string was taken")
    assert(problem:find("quickstart.lua:%d+: grad_y: "), problem)
end

ffi.cdef [[
int cuInit(unsigned flags);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuCtxSetCurrent(void *context);
int cuMemAlloc_v2(void **pointer, size_t bytes);
int cuMemcpyHtoD_v2(void *to, const void *from, size_t bytes);
int cuMemcpyDtoH_v2(void *to, const void *from, size_t bytes);
]]

local function succeed(code)
    assert(code == 0, "CUDA driver error " .. code)
end

local function on_gpu()
    local driver = ffi.load("libcuda.so.1")
    local function upload(values)
        local pointer = ffi.new("void *[1]")
        succeed(driver.cuMemAlloc_v2(pointer, ffi.sizeof(values)))
        succeed(driver.cuMemcpyHtoD_v2(pointer[0], values, ffi.sizeof(values)))
        return pointer[0]
    end
    -- A copy on the default stream waits for what was enqueued there.
    local function download(pointer)
        local values = ffi.new("float[?]", n)
        succeed(driver.cuMemcpyDtoH_v2(values, pointer, ffi.sizeof(values)))
        return values
    end
    local context = ffi.new("void *[1]")
    succeed(driver.cuInit(0))
    succeed(driver.cuDevicePrimaryCtxRetain(context, 0))
    succeed(driver.cuCtxSetCurrent(context[0]))
    local cuda, f32 = lib.MISH_DEVICE_CUDA, lib.MISH_DTYPE_F32
    local dx, dg, dh = upload(x), upload(grad_y), upload(grad_grad_x)
    local first, second = upload(x), upload(x)
    mish.check(lib.mish_forward(cuda, f32, dx, first, n, nil))
    show("cuda", "forward", download(first))
    mish.check(lib.mish_backward(cuda, f32, dg, dx, first, n, nil))
    show("cuda", "backward", download(first))
    mish.check(lib.mish_double_backward(cuda, f32, dh, dg, dx, first, second, n, nil))
    show("cuda", "grad_grad_y", download(first))
    show("cuda", "grad_x", download(second))
end

on_host()
on_error()
local found, gpus = pcall(mish.device_count, lib.MISH_DEVICE_CUDA)
if not found then
    io.stderr:write("no GPU: ", tostring(gpus), "\n")
elseif gpus > 0 then
    on_gpu()
end
