//! Which inputs a sweep consists of.

use crate::catalogue::Dtype;
use crate::catalogue::accuracy::ZEROS;
use crate::format::Element;

/// A sequence of inputs that can be entered anywhere.
#[derive(Clone, Copy)]
pub struct Points {
    /// What they are, for the report.
    pub name: &'static str,
    /// How many.
    pub count: u64,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Every bit pattern, as often as fits; each time with other gradients.
    All,
    /// One at random of each run of neighbours of this length.
    Stratified(u64),
    /// Neighbouring numbers around each of [`CENTRES`].
    Neighbours,
    /// Ever closer to each of the centres, at random.
    Around,
    /// Neighbouring numbers around (k + 1/2)·ln 2, where a reduction of x changes its k.
    Steps,
    /// Any bit pattern of an exponent that matters.
    LogUniform,
    /// Evenly from the first to the second.
    Uniform(f64, f64),
    /// [`special`], repeatedly; each time with other gradients.
    Special,
}

/// Where something changes: zeros of the derivatives, up to mish‴; where numbers overflow, become
/// subnormal or zero; where approximations commonly change, this library's and others'.
const CENTRES: [f64; 44] = [
    0.0,
    ZEROS[1][0],
    ZEROS[2][0],
    ZEROS[2][1],
    -3.267_337_846_520_404_5,
    -0.087_934_431_234_914_2,
    2.6,
    0.5,
    -0.5,
    1.0,
    -1.0,
    4.0,
    8.0,
    -8.0,
    15.0,
    20.0,
    -20.0,
    25.0,
    36.7368,
    37.4299,
    -36.7368,
    -37.4299,
    40.0,
    41.6,
    -41.6,
    44.4,
    -138.629,
    -150.0,
    -207.9,
    354.89,
    372.6,
    376.57,
    -693.147,
    -708.396,
    709.78,
    -745.133,
    -751.75,
    -760.0,
    -1418.0,
    -1480.0,
    1120.0,
    -2200.0,
    2.2e-308,
    -2.2e-308,
];

/// The bits of NaN, the infinities, the largest and smallest numbers and the zeros.
fn special<E: Element>() -> [u64; 11] {
    let sign = 1 << (E::BITS - 1);
    let smallest_normal = 1 << E::FRACTION_BITS;
    let infinity = sign - smallest_normal;
    let nan = infinity | smallest_normal >> 1;
    let largest = infinity - 1;
    let positive = [infinity, largest, smallest_normal, 1, 0];
    let mut bits = [nan; 11];
    for (i, number) in positive.into_iter().enumerate() {
        bits[2 * i] = number;
        bits[2 * i + 1] = sign | number;
    }
    bits
}

/// Numbers that look random and depend on nothing but the index.
pub fn random(index: u64) -> u64 {
    let mut z = index
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// From 0 to 1.
pub fn unit(random: u64) -> f64 {
    (random >> 11) as f64 * 2f64.powi(-53)
}

/// The number this many places after another; beyond zero the sign changes.
pub fn neighbour(x: f64, places: i64) -> f64 {
    let ordered = |bits: i64| if bits < 0 { i64::MIN - bits } else { bits };
    f64::from_bits(ordered(ordered(x.to_bits() as i64) + places) as u64)
}

impl Points {
    /// The input with this index.
    pub fn get<E: Element>(&self, index: u64) -> E {
        match self.kind {
            Kind::All => E::from_bits(index & (u64::MAX >> (64 - E::BITS))),
            Kind::Special => {
                let bits = special::<E>();
                E::from_bits(bits[(index % bits.len() as u64) as usize])
            }
            Kind::Stratified(length) => E::from_bits(index * length + random(index) % length),
            _ => E::from_bits(self.wide(index).to_bits()),
        }
    }

    /// A float64.
    fn wide(&self, index: u64) -> f64 {
        let noise = random(index);
        let centres = CENTRES.len() as u64;
        match self.kind {
            Kind::Neighbours => {
                let each = self.count / centres + 1;
                let centre = CENTRES[(index / each) as usize];
                neighbour(centre, (index % each) as i64 - (each / 2) as i64)
            }
            Kind::Around => {
                let centre = CENTRES[(index % centres) as usize];
                let off = 2f64.powf(-56.0 * unit(random(!index))) * 0.5;
                centre + if noise & 1 == 0 { off } else { -off }
            }
            Kind::Steps => {
                let each = self.count / 4096 + 1;
                let k = (index / each) as f64 - 3200.0;
                let centre = (k + 0.5) * std::f64::consts::LN_2;
                neighbour(centre, (index % each) as i64 - (each / 2) as i64)
            }
            Kind::LogUniform => {
                // Exponents from −1023 (one in eight), else from −70 to 11.
                let exponent = if noise & 7 == 0 {
                    (noise >> 3) % 2047
                } else {
                    1023 - 70 + (noise >> 3) % 82
                };
                let bits = random(!index);
                f64::from_bits(bits & (1 << 63 | ((1 << 52) - 1)) | exponent << 52)
            }
            Kind::Uniform(from, to) => from + (to - from) * unit(noise),
            Kind::All | Kind::Stratified(_) | Kind::Special => {
                unreachable!("not for float64 alone")
            }
        }
    }
}

/// How many inputs.
#[derive(Clone, Copy)]
pub struct Amount {
    /// Of float32, a power of two: 2³² are all.
    pub single: u64,
    /// Of float64.
    pub wide: u64,
    /// How often each of a 16-bit type, each time with other gradients.
    pub rounds: u64,
}

/// The inputs for an element type.
pub fn sets(dtype: Dtype, amount: Amount) -> Vec<Points> {
    let Amount {
        single,
        wide,
        rounds,
    } = amount;
    let set = |name, count, kind| Points { name, count, kind };
    let special = set(
        "NaN, infinities, zeros, smallest and largest numbers",
        11 * 256,
        Kind::Special,
    );
    match dtype {
        Dtype::F16 | Dtype::BF16 => {
            vec![set(
                "every input, once or several times with other gradients",
                rounds << 16,
                Kind::All,
            )]
        }
        Dtype::F32 if single == 1 << 32 => vec![set("every input", single, Kind::All)],
        Dtype::F32 => {
            let length = (1 << 32) / single;
            let name = "one of every run of neighbours, at random";
            vec![set(name, single, Kind::Stratified(length)), special]
        }
        Dtype::F64 => {
            let part = |share: f64| (wide as f64 * share).ceil() as u64;
            vec![
                set(
                    "neighbours around zeros, inflections, thresholds and the edges of the range",
                    part(0.25),
                    Kind::Neighbours,
                ),
                set(
                    "at random around the same, ever closer",
                    part(0.15),
                    Kind::Around,
                ),
                set("neighbours around (k + 1/2) ln 2", part(0.1), Kind::Steps),
                set("log-uniform", part(0.2), Kind::LogUniform),
                set("uniform from -6 to 6", part(0.1), Kind::Uniform(-6.0, 6.0)),
                set(
                    "uniform from -760 to 380",
                    part(0.1),
                    Kind::Uniform(-760.0, 380.0),
                ),
                set(
                    "uniform from -2250 to 1150",
                    part(0.1),
                    Kind::Uniform(-2250.0, 1150.0),
                ),
                special,
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_pass_through_zero() {
        assert_eq!(neighbour(0.0, 1), 5e-324);
        assert_eq!(neighbour(5e-324, -2), -5e-324);
        assert_eq!(neighbour(-1.0, 1), -1.0 + f64::EPSILON / 2.0);
    }

    fn amount(wide: u64) -> Amount {
        Amount {
            single: 1 << 32,
            wide,
            rounds: 4,
        }
    }

    #[test]
    fn the_sets_are_as_large_as_promised() {
        let total = |sets: Vec<Points>| sets.iter().map(|set| set.count).sum::<u64>();
        assert_eq!(total(sets(Dtype::F32, amount(0))), 1 << 32);
        assert!(total(sets(Dtype::F64, amount(1_000_000_000))) >= 1_000_000_000);
        for set in sets(Dtype::F64, amount(1_000_000)) {
            if matches!(set.kind, Kind::Special) {
                continue;
            }
            for index in (0..set.count).step_by(997) {
                assert!(set.get::<f64>(index).is_finite(), "{} {index}", set.name);
            }
        }
    }

    #[test]
    fn special_numbers() {
        let numbers = special::<f32>().map(|bits| f32::from_bits(bits as u32));
        assert!(numbers[10].is_nan());
        assert_eq!(numbers[0], f32::INFINITY);
        assert_eq!(numbers[3], f32::MIN);
        assert_eq!(numbers[4], f32::MIN_POSITIVE);
        assert!(numbers[9] == 0.0 && numbers[9].is_sign_negative());
    }

    #[test]
    fn every_bit_pattern_is_there() {
        let set = sets(Dtype::F16, amount(0))[0];
        let mut seen = vec![0; 1 << 16];
        for index in 0..set.count {
            seen[set.get::<half::f16>(index).to_bits() as usize] += 1;
        }
        assert!(seen.iter().all(|&times| times == 4));
    }
}
