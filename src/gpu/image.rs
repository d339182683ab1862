//! The embedded kernels: one image of machine code per architecture, and PTX for the rest.

use miniz_oxide::inflate::decompress_slice_iter_to_slice;

use crate::catalogue::arch;
use crate::status::{Result, fail};

/// A compiled set of all kernels.
pub(super) struct Image {
    /// Compute capability, 10 · major + minor.
    pub sm: u32,
    /// Whether the driver has to compile it first.
    pub is_ptx: bool,
    /// Deflated; for PTX the text and a terminating NUL.
    deflated: &'static [u8],
    inflated_bytes: usize,
}

macro_rules! image {
    ($sm:literal, $is_ptx:literal, $inflated_bytes:literal, $file:literal) => {
        Image {
            sm: $sm,
            is_ptx: $is_ptx,
            deflated: include_bytes!(concat!(env!("OUT_DIR"), "/kernels/", $file)),
            inflated_bytes: $inflated_bytes,
        }
    };
}

/// Every image, oldest architecture first, PTX last.
pub(super) static IMAGES: &[Image] = include!(concat!(env!("OUT_DIR"), "/kernels/images.rs"));

impl Image {
    /// `sm_90` or `compute_60`.
    pub fn name(&self) -> String {
        format!("{}_{}", if self.is_ptx { "compute" } else { "sm" }, self.sm)
    }

    /// The image as the driver takes it.
    pub fn inflate(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.inflated_bytes];
        let input = std::iter::once(self.deflated);
        match decompress_slice_iter_to_slice(&mut bytes, input, false, true) {
            Ok(length) if length == self.inflated_bytes => Ok(bytes),
            _ => fail!(
                Internal,
                "the embedded kernels for {} are damaged",
                self.name()
            ),
        }
    }

    /// Whether a device can run it: machine code within the major version, PTX on anything newer.
    fn runs_on(&self, sm: u32) -> bool {
        let own = arch(self.sm).capability();
        own <= sm && (self.is_ptx || own / MAJOR == sm / MAJOR)
    }
}

/// The weight of a compute capability's major number where it is one with the minor.
const MAJOR: u32 = 10;

/// The images for a compute capability, major and minor, best first.
pub(super) fn images_for((major, minor): (i32, i32)) -> impl Iterator<Item = &'static Image> {
    let sm = major.max(0) as u32 * MAJOR + minor.max(0) as u32;
    let runs = move |image: &&Image| image.runs_on(sm);
    let code = IMAGES.iter().rev().filter(|image| !image.is_ptx);
    let ptx = IMAGES.iter().filter(|image| image.is_ptx);
    code.filter(runs).take(1).chain(ptx.filter(runs))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use object::{Object, ObjectSymbol};

    use super::*;
    use crate::catalogue::{ARCHITECTURES, Dtype, Op, PTX};
    use crate::gpu::kernel::{self, Loop};
    use crate::gpu::tuning::policy;

    /// Every kernel that can be launched.
    fn kernels() -> impl Iterator<Item = (Op, Dtype, Loop, String)> {
        let all = Op::ALL
            .into_iter()
            .flat_map(|op| Dtype::ALL.map(|dtype| (op, dtype)));
        all.flat_map(|(op, dtype)| {
            Loop::ALL.map(|walk| {
                let name = kernel::name(op, dtype, walk);
                (op, dtype, walk, name.into_string().expect("ASCII"))
            })
        })
    }

    fn built(file: &str) -> PathBuf {
        Path::new(env!("OUT_DIR")).join("kernels").join(file)
    }

    fn text(image: &Image) -> String {
        let mut bytes = image.inflate().expect("inflates");
        assert_eq!(bytes.pop(), Some(0), "PTX ends in NUL");
        String::from_utf8(bytes).expect("PTX is text")
    }

    #[test]
    fn every_architecture_has_an_image() {
        let names: Vec<_> = IMAGES.iter().map(Image::name).collect();
        let code = ARCHITECTURES.iter().map(|arch| format!("sm_{}", arch.sm));
        let expected: Vec<_> = code.chain([format!("compute_{PTX}")]).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn the_best_image_comes_first() {
        let names = |sm| {
            images_for((sm / 10, sm % 10))
                .map(Image::name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(53), [""; 0]);
        assert_eq!(names(60), ["sm_60", "compute_60"]);
        assert_eq!(names(61), ["sm_60", "compute_60"]);
        assert_eq!(names(75), ["sm_75", "compute_60"]);
        assert_eq!(names(87), ["sm_87", "compute_60"]);
        assert_eq!(names(90), ["sm_90", "compute_60"]);
        assert_eq!(names(103), ["sm_100", "compute_60"]);
        assert_eq!(names(110), ["sm_101", "compute_60"]);
        assert_eq!(names(121), ["sm_120", "compute_60"]);
        assert_eq!(names(200), ["compute_60"]);
    }

    #[test]
    fn a_damaged_image_is_an_error() {
        let whole = &IMAGES[0];
        let damaged = Image {
            deflated: &whole.deflated[..whole.deflated.len() / 2],
            ..*whole
        };
        assert_eq!(
            damaged.inflate().map(drop).map_err(|error| error.status()),
            Err(crate::Status::Internal)
        );
    }

    #[test]
    fn every_kernel_is_in_every_image() {
        for image in IMAGES {
            let mut found: Vec<String> = if image.is_ptx {
                let text = text(image);
                let entries = text.lines().filter_map(|line| line.split_once(".entry "));
                entries
                    .map(|(_, rest)| rest.split('(').next().unwrap_or("").to_owned())
                    .collect()
            } else {
                let bytes = image.inflate().expect("inflates");
                let elf = object::File::parse(&*bytes).expect("a cubin is ELF");
                elf.symbols()
                    .filter(|s| s.kind() == object::SymbolKind::Text)
                    .map(|s| s.name().expect("a name").to_owned())
                    // The compiler's own routines.
                    .filter(|name| !name.starts_with('$'))
                    .collect()
            };
            let mut wanted: Vec<String> = kernels().map(|(.., name)| name).collect();
            found.sort();
            wanted.sort();
            assert_eq!(found, wanted, "{}", image.name());
        }
    }

    /// One kernel's lines of the assembler's report.
    struct Report {
        registers: u32,
        text: String,
    }

    /// The assembler's report by architecture and kernel.
    fn reports() -> BTreeMap<(String, String), Report> {
        let text = fs::read_to_string(built("ptxas.txt")).expect("the build script's report");
        let mut reports = BTreeMap::new();
        for section in text.split("== sm_").skip(1) {
            let (number, body) = section.split_once('\n').expect("a heading");
            assert!(!body.contains("warning #"), "sm_{number}: {body}");
            let architecture = format!("sm_{number}");
            for entry in body.split("Compiling entry function '").skip(1) {
                let (name, text) = entry.split_once('\'').expect("a quoted name");
                let registers = text
                    .split_once("Used ")
                    .and_then(|(_, rest)| rest.split_once(" registers"))
                    .and_then(|(number, _)| number.parse().ok())
                    .expect("a number of registers");
                let report = Report {
                    registers,
                    text: text.to_owned(),
                };
                reports.insert((architecture.clone(), name.to_owned()), report);
            }
        }
        reports
    }

    #[test]
    fn no_kernel_spills_or_uses_local_memory() {
        let reports = reports();
        let cubins = IMAGES.iter().filter(|image| !image.is_ptx).count();
        assert_eq!(reports.len(), cubins * kernels().count());
        let mut bad = Vec::new();
        for ((architecture, name), report) in &reports {
            let clean = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads";
            let is_clean = report.text.contains(clean)
                && !report.text.contains("cumulative stack size")
                && !report.text.contains("lmem");
            if !is_clean {
                bad.push(format!("{architecture} {name}"));
            }
        }
        assert!(bad.is_empty(), "{bad:#?}");
    }

    /// Fewer than four blocks' worth of threads in flight would not hide the memory's latency.
    #[test]
    fn registers_leave_room_for_enough_threads() {
        const MOST_REGISTERS: u32 = 128;
        for ((architecture, name), report) in reports() {
            assert!(
                report.registers <= MOST_REGISTERS,
                "{architecture} {name}: {} registers",
                report.registers
            );
        }
    }

    /// The instructions of a kernel in PTX.
    fn ptx_body<'a>(ptx: &'a str, name: &str) -> &'a str {
        let start = ptx.find(&format!(".entry {name}(")).expect(name);
        let body = &ptx[start..];
        &body[..body.find("\n}").expect("an end")]
    }

    #[test]
    fn contiguous_kernels_access_whole_vectors_in_ptx() {
        for image in IMAGES {
            let ptx = fs::read_to_string(built(&format!("{}.ptx", image.name()))).expect("PTX");
            for (op, dtype, walk, name) in kernels() {
                if walk != Loop::Contiguous {
                    continue;
                }
                let policy = policy(image.sm, op, dtype);
                let vector = format!(".v{}.b32", policy.vector_bytes / 4);
                let body = ptx_body(&ptx, &name);
                let count = |access: &str| {
                    body.lines()
                        .filter(|line| line.contains(access) && line.contains(&vector))
                        .count()
                };
                let outputs = op.operands().iter().filter(|o| o.is_output()).count();
                let inputs = op.operands().len() - outputs;
                // The unrolled tile, and the loop over a partial one.
                let times = policy.vectors as usize + 1;
                assert_eq!(
                    count("ld.global"),
                    inputs * times,
                    "{} {name}",
                    image.name()
                );
                assert_eq!(
                    count("st.global"),
                    outputs * times,
                    "{} {name}",
                    image.name()
                );
            }
        }
    }

    /// Where `cargo xtask test` puts the disassembler.
    fn nvdisasm() -> PathBuf {
        let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
        Path::new(&root).join(".deps/nvdisasm/nvidia/cu13/bin/nvdisasm")
    }

    #[test]
    #[ignore = "needs the disassembler, which `cargo xtask test` fetches"]
    fn contiguous_kernels_access_whole_vectors_in_machine_code() {
        let mut checked = 0;
        // The disassembler knows nothing older than sm_75.
        for image in IMAGES
            .iter()
            .filter(|image| !image.is_ptx && image.sm >= 75)
        {
            let output = Command::new(nvdisasm())
                .arg("--print-code")
                .arg(built(&format!("{}.cubin", image.name())))
                .output()
                .expect("nvdisasm runs");
            let code = String::from_utf8_lossy(&output.stdout);
            for (op, dtype, walk, name) in kernels() {
                let label = format!("\n.text.{name}:\n");
                let start = code.find(&label).expect("a label") + label.len();
                let end = code[start..].find("\n.text.").unwrap_or(code.len() - start);
                let code: Vec<&str> = code[start..start + end]
                    .lines()
                    .filter(|line| line.contains(';'))
                    .collect();
                let has = |access: &str| code.iter().any(|line| line.contains(access));
                let kernel = format!("{} {name}", image.name());
                assert!(!has("LDL") && !has("STL"), "{kernel}: uses local memory");
                // The strided kernels move 16 bytes at most.
                let bits = match walk {
                    Loop::Contiguous => policy(image.sm, op, dtype).vector_bytes * 8,
                    Loop::Strided => 128,
                };
                let is_wide = |access: &str| {
                    code.iter()
                        .any(|line| line.contains(access) && line.contains(&format!(".{bits}")))
                };
                assert!(is_wide("LDG"), "{kernel}: no {bits}-bit load");
                assert!(is_wide("STG"), "{kernel}: no {bits}-bit store");
                checked += 1;
            }
        }
        let old = ARCHITECTURES.iter().filter(|arch| arch.sm < 75).count();
        assert_eq!(old, 2);
        let each = kernels().count();
        assert_eq!(checked, (ARCHITECTURES.len() - old) * each);
    }
}
