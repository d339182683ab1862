-- libmish for LuaJIT: FFI arrays in host memory, and statuses as errors. Everything else is called
-- through mish.lib, whose declarations are generated; pass what it returns to mish.check.
--
-- The library is the one that MISH_LIBRARY names, else libmish.so where the system finds it. An
-- error's position is the caller's.

local ffi = require "mish_abi"
local named = os.getenv("MISH_LIBRARY")
local lib = ffi.load(named and named ~= "" and named or "mish")

local mish = { lib = lib }

-- What the library refused: `status` is one of lib.MISH_STATUS_*, `message` in its own words, which
-- name the argument.
local Error = {}
Error.__index = Error
function Error:__tostring()
    return self.message
end

-- Raises an error unless a call succeeded, with the library's message.
function mish.check(status)
    if status ~= lib.MISH_STATUS_OK then
        local name, words = lib.mish_status_name(status), lib.mish_last_error()
        local message = ffi.string(name) .. ": " .. ffi.string(words)
        error(setmetatable({ status = status, message = message }, Error), 2)
    end
end

local DTYPES = { float = lib.MISH_DTYPE_F32, double = lib.MISH_DTYPE_F64 }

-- The element type of an array and how many there are, as `ffi.new("float[?]", n)` makes one.
local function describe(name, array)
    local ctype = type(array) == "cdata" and tostring(ffi.typeof(array)) or type(array)
    local element = ctype:match("^ctype<(%a+) %[[%d?]+%]>$")
    if not DTYPES[element] then
        error(name .. ": is a " .. ctype .. ", not an FFI array of float or double", 4)
    end
    return element, ffi.sizeof(array) / ffi.sizeof(element)
end

-- The same of several arrays, as { name, array } pairs, which have to agree.
local function agree(arrays)
    local element, n = describe(arrays[1][1], arrays[1][2])
    for i = 2, #arrays do
        local other, m = describe(arrays[i][1], arrays[i][2])
        if other ~= element or m ~= n then
            error(("%s: is %s[%d], but %s is %s[%d]"):format(
                arrays[i][1], other, m, arrays[1][1], element, n), 3)
        end
    end
    return DTYPES[element], n, function() return ffi.new(element .. "[?]", n) end
end

-- mish(x)
function mish.forward(x)
    local dtype, n, new = agree { { "x", x } }
    local y = new()
    mish.check(lib.mish_forward(lib.MISH_DEVICE_CPU, dtype, x, y, n, nil))
    return y
end

-- grad_y * mish'(x)
function mish.backward(grad_y, x)
    local dtype, n, new = agree { { "x", x }, { "grad_y", grad_y } }
    local grad_x = new()
    mish.check(lib.mish_backward(lib.MISH_DEVICE_CPU, dtype, grad_y, x, grad_x, n, nil))
    return grad_x
end

-- The gradient of mish.backward with respect to grad_y and to x.
function mish.double_backward(grad_grad_x, grad_y, x)
    local dtype, n, new = agree { { "x", x }, { "grad_y", grad_y }, { "grad_grad_x", grad_grad_x } }
    local grad_grad_y, grad_x = new(), new()
    mish.check(lib.mish_double_backward(
        lib.MISH_DEVICE_CPU, dtype, grad_grad_x, grad_y, x, grad_grad_y, grad_x, n, nil))
    return grad_grad_y, grad_x
end

-- The number of devices of a kind, one of lib.MISH_DEVICE_*.
function mish.device_count(device)
    local count = ffi.new("int32_t[1]")
    mish.check(lib.mish_device_count(device, count))
    return count[0]
end

return mish
