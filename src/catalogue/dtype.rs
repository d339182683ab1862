//! The element types.

/// The element types. The numbers are the C ABI's `MISH_DTYPE_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Dtype {
    /// IEEE 754 binary16.
    F16 = 1,
    /// bfloat16: the upper half of a binary32.
    BF16 = 2,
    /// IEEE 754 binary32.
    F32 = 3,
    /// IEEE 754 binary64.
    F64 = 4,
}

/// An element type's row.
struct Row {
    name: &'static str,
    class: &'static str,
    full_name: &'static str,
    scalar_type: &'static str,
    size: usize,
    /// DLPack's type code.
    dlpack: u8,
    /// Binary digits of the significand, the leading one included.
    digits: u32,
    /// Exponent of the smallest normal number.
    min_exponent: i32,
}

/// DLPack's code of IEEE floating point.
const FLOAT: u8 = 2;
/// DLPack's code of bfloat16.
const BFLOAT: u8 = 4;

const F16: Row = Row {
    name: "f16",
    class: "F16",
    full_name: "float16",
    scalar_type: "Half",
    size: 2,
    dlpack: FLOAT,
    digits: 11,
    min_exponent: -14,
};

const BF16: Row = Row {
    name: "bf16",
    class: "BF16",
    full_name: "bfloat16",
    scalar_type: "BFloat16",
    size: 2,
    dlpack: BFLOAT,
    digits: 8,
    min_exponent: -126,
};

const F32: Row = Row {
    name: "f32",
    class: "F32",
    full_name: "float32",
    scalar_type: "Float",
    size: 4,
    dlpack: FLOAT,
    digits: 24,
    min_exponent: -126,
};

const F64: Row = Row {
    name: "f64",
    class: "F64",
    full_name: "float64",
    scalar_type: "Double",
    size: 8,
    dlpack: FLOAT,
    digits: 53,
    min_exponent: -1022,
};

impl Dtype {
    /// Every data type, in the order of the numbers.
    pub const ALL: [Dtype; 4] = [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64];

    /// By value, so that the compiler knows the fields in every call.
    #[inline(always)]
    const fn row(self) -> Row {
        match self {
            Dtype::F16 => F16,
            Dtype::BF16 => BF16,
            Dtype::F32 => F32,
            Dtype::F64 => F64,
        }
    }

    /// The short name used in kernels, messages and files, such as `bf16`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// As types and constants are named, such as `BF16`.
    pub const fn class(self) -> &'static str {
        self.row().class
    }

    /// What NumPy, PyTorch and people call it, such as `bfloat16`.
    pub const fn full_name(self) -> &'static str {
        self.row().full_name
    }

    /// What PyTorch's C++ calls it, such as `BFloat16`.
    pub const fn scalar_type(self) -> &'static str {
        self.row().scalar_type
    }

    /// Bytes per element, which is also the alignment a pointer needs.
    pub const fn size(self) -> usize {
        self.row().size
    }

    /// Bits per element.
    pub const fn bits(self) -> u32 {
        self.size() as u32 * 8
    }

    /// The number of the C constant.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// DLPack's type code; with [`Dtype::bits`] it tells the types apart.
    pub const fn dlpack_code(self) -> u8 {
        self.row().dlpack
    }

    /// Whether it has 16 bits: then results are rounded once, from float32's arithmetic.
    pub const fn is_narrow(self) -> bool {
        self.size() == 2
    }

    /// DLPack's type code and bits.
    pub const fn dlpack(self) -> (u8, u8) {
        (self.dlpack_code(), self.bits() as u8)
    }

    /// Binary digits of the significand, the leading one included.
    pub const fn digits(self) -> u32 {
        self.row().digits
    }

    /// The exponent of the smallest normal number, which is 2 to this power.
    pub const fn min_exponent(self) -> i32 {
        self.row().min_exponent
    }
}
