//! Status codes and the error every layer returns.
//!
//! A failure is a [`Status`] (what kind) and a message (which argument, what was passed, what is
//! expected). The C ABI returns the first and keeps the second in this thread's last error.

use std::fmt;

/// Declares [`Status`] once: the number, the C name and the meaning stand side by side, so that
/// the header, `mish_status_name` and the checked decoding cannot drift apart.
macro_rules! statuses {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// The kind of outcome of a call. The numbers are part of the ABI: they never change
        /// meaning, and a retired one is never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum Status { $($(#[$doc])* $variant = $number,)* }

        impl Status {
            /// Every status, in the order of the numbers.
            pub const ALL: &'static [Status] = &[$(Status::$variant),*];

            /// The name of the C constant, such as `MISH_STATUS_NULL_POINTER`.
            pub const fn name(self) -> &'static str { self.c_name().to_str_const() }

            /// [`Status::name`] with a terminating NUL.
            pub(crate) const fn c_name(self) -> CName {
                match self { $(Status::$variant => CName(concat!($name, "\0")),)* }
            }

            /// The status with this number, if there is one.
            pub const fn from_code(code: i32) -> Option<Status> {
                match code { $($number => Some(Status::$variant),)* _ => None }
            }
        }
    };
}

/// A string literal that ends in NUL, so that one constant serves Rust and C.
#[derive(Clone, Copy)]
pub(crate) struct CName(&'static str);

impl CName {
    const fn to_str_const(self) -> &'static str {
        self.0.split_at(self.0.len() - 1).0
    }
    pub(crate) const fn as_ptr(self) -> *const std::ffi::c_char {
        self.0.as_ptr().cast()
    }
}

statuses! {
    /// The call succeeded.
    Ok = 0, "MISH_STATUS_OK";
    // 1-19: the arguments themselves.
    /// A required pointer is NULL.
    NullPointer = 1, "MISH_STATUS_NULL_POINTER";
    /// The device is none of the `MISH_DEVICE_*` constants.
    UnknownDevice = 2, "MISH_STATUS_UNKNOWN_DEVICE";
    /// The data type is none of the `MISH_DTYPE_*` constants.
    UnknownDtype = 3, "MISH_STATUS_UNKNOWN_DTYPE";
    /// A pointer is not a multiple of its element's size.
    Misaligned = 4, "MISH_STATUS_MISALIGNED";
    /// An output overlaps an input or another output other than exactly in place.
    Overlap = 5, "MISH_STATUS_OVERLAP";
    /// The number of bytes does not fit the address space.
    TooLarge = 6, "MISH_STATUS_TOO_LARGE";
    /// The stream is not one that this device takes (for the CPU it must be NULL).
    InvalidStream = 7, "MISH_STATUS_INVALID_STREAM";
    /// The device ordinal names no device.
    InvalidOrdinal = 8, "MISH_STATUS_INVALID_ORDINAL";
    // 20-39: tensors.
    /// The number of dimensions is negative or above 8, or a dimension is negative.
    InvalidShape = 20, "MISH_STATUS_INVALID_SHAPE";
    /// The tensors do not all have the same shape.
    ShapeMismatch = 21, "MISH_STATUS_SHAPE_MISMATCH";
    /// The tensors do not all have the same data type.
    DtypeMismatch = 22, "MISH_STATUS_DTYPE_MISMATCH";
    /// The tensor's data type (code and bits) is not one of float16, bfloat16, float32, float64.
    UnsupportedDtype = 23, "MISH_STATUS_UNSUPPORTED_DTYPE";
    /// The tensor's data type has other than one lane.
    UnsupportedLanes = 24, "MISH_STATUS_UNSUPPORTED_LANES";
    /// The tensor is on a kind of device that the library does not serve.
    UnsupportedDevice = 25, "MISH_STATUS_UNSUPPORTED_DEVICE";
    /// The strides reach further than the address space.
    StrideOverflow = 26, "MISH_STATUS_STRIDE_OVERFLOW";
    /// Two elements of an output share memory.
    SelfOverlap = 27, "MISH_STATUS_SELF_OVERLAP";
    /// The output may not be written. Reported by bindings whose arrays know it; `mish_tensor` does
    /// not.
    ReadOnly = 28, "MISH_STATUS_READ_ONLY";
    // 40-59: where memory lies.
    /// The operands are on different devices.
    DeviceMismatch = 40, "MISH_STATUS_DEVICE_MISMATCH";
    /// A host pointer was passed where device memory is expected.
    NotDevicePointer = 41, "MISH_STATUS_NOT_DEVICE_POINTER";
    /// A device pointer was passed where host memory is expected.
    NotHostPointer = 42, "MISH_STATUS_NOT_HOST_POINTER";
    /// An operand reaches past the end of its allocation.
    OutOfBounds = 43, "MISH_STATUS_OUT_OF_BOUNDS";
    /// The stream belongs to another device or context than the memory.
    StreamMismatch = 44, "MISH_STATUS_STREAM_MISMATCH";
    // 60-79: the machine.
    /// This build of the library has no CUDA backend.
    NotBuilt = 60, "MISH_STATUS_NOT_BUILT";
    /// The CUDA driver (`libcuda.so.1`) is not there or cannot be initialised.
    NoDriver = 61, "MISH_STATUS_NO_DRIVER";
    /// The CUDA driver is older than the library needs.
    DriverTooOld = 62, "MISH_STATUS_DRIVER_TOO_OLD";
    /// The CUDA driver is there but sees no device.
    NoDevice = 63, "MISH_STATUS_NO_DEVICE";
    /// No embedded kernel runs on this GPU.
    NoKernelImage = 64, "MISH_STATUS_NO_KERNEL_IMAGE";
    /// Kernels cannot be loaded during a stream capture on this driver: call `mish_warmup` before.
    CaptureUnsupported = 65, "MISH_STATUS_CAPTURE_UNSUPPORTED";
    /// The device or the host is out of memory.
    OutOfMemory = 66, "MISH_STATUS_OUT_OF_MEMORY";
    /// The CUDA driver reported an error; the message has its name and number.
    DriverError = 67, "MISH_STATUS_DRIVER_ERROR";
    // 80-89: frameworks.
    /// A framework's library cannot be opened.
    MissingLibrary = 80, "MISH_STATUS_MISSING_LIBRARY";
    /// A framework's library lacks a function: the framework is too old.
    MissingSymbol = 81, "MISH_STATUS_MISSING_SYMBOL";
    /// The framework's operators must be registered before.
    NotRegistered = 82, "MISH_STATUS_NOT_REGISTERED";
    /// A function of the framework failed.
    FrameworkError = 83, "MISH_STATUS_FRAMEWORK_ERROR";
    // 90-: the library itself.
    /// A defect in the library was caught at the boundary.
    Internal = 90, "MISH_STATUS_INTERNAL";
}

/// A failed call: the kind, and a message that names the argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    message: String,
}

impl Error {
    /// An error of this kind with a message for people.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Error {
            status,
            message: message.into(),
        }
    }

    /// The kind of failure.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Which argument is wrong, what was passed and what is expected.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status.name(), self.message)
    }
}

impl std::error::Error for Error {}

/// The result of every fallible function of the library.
pub type Result<T> = std::result::Result<T, Error>;

/// Shorthand for `Err(Error::new(status, format!(...)))`.
macro_rules! fail {
    ($status:ident, $($message:tt)*) => {
        return Err($crate::status::Error::new($crate::status::Status::$status, format!($($message)*)))
    };
}
pub(crate) use fail;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_round_trip() {
        for &status in Status::ALL {
            assert_eq!(Status::from_code(status as i32), Some(status));
            assert!(status.name().starts_with("MISH_STATUS_"));
            assert!(status.name().is_ascii());
        }
        assert_eq!(Status::from_code(-1), None);
        assert_eq!(Status::Ok.name(), "MISH_STATUS_OK");
    }
}
