//! Compiles the kernels for the host, once per different tuning.

#[path = "../../src/cuda/policy.rs"]
mod policy;
#[path = "../../kernels/policy_header.rs"]
mod policy_header;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// The architectures with an image of their own.
const ARCHITECTURES: [u32; 9] = [60, 70, 75, 80, 86, 89, 90, 100, 120];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for path in [
        "../../kernels",
        "../../src/cuda/policy.rs",
        "src",
        "build.rs",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    let mut variants: Vec<(u32, String)> = Vec::new();
    let mut table = String::from("match sm {\n");
    for sm in ARCHITECTURES {
        let header = policy_header::header(sm);
        let same = variants.iter().find(|(_, text)| *text == header);
        let variant = same.map_or(sm, |&(variant, _)| variant);
        writeln!(table, "    {sm} => Some(standin_kernel_sm_{variant}),").expect("into a string");
        if variant == sm {
            variants.push((sm, header));
        }
    }
    table.push_str("    _ => None,\n}\n");
    fs::write(out.join("variants.rs"), table).expect("OUT_DIR is writable");
    let mut declarations = String::from("unsafe extern \"C\" {\n");
    for (sm, header) in variants {
        let folder = out.join(format!("sm_{sm}"));
        fs::create_dir_all(&folder).expect("OUT_DIR is writable");
        fs::write(folder.join("policy.cuh"), header).expect("OUT_DIR is writable");
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .opt_level(1)
            .file("src/kernels.cpp")
            .include("../../kernels")
            .include(&folder)
            .define("STANDIN_VARIANT", format!("sm_{sm}").as_str())
            .flag("-Wno-unknown-pragmas")
            // One rounding per operation unless the source says fma, as nowhere else.
            .flag("-ffp-contract=off")
            .compile(&format!("standin_sm_{sm}"));
        writeln!(
            declarations,
            "    fn standin_kernel_sm_{sm}(name: *const c_char) -> *const Kernel;"
        )
        .expect("into a string");
    }
    declarations.push_str("}\n");
    fs::write(out.join("declarations.rs"), declarations).expect("OUT_DIR is writable");
}
