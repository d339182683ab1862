//! Compiles the kernels for the host, once per different tuning.

#[path = "../../src/catalogue/mod.rs"]
mod catalogue;
#[path = "../../kernels/header.rs"]
mod header;
#[path = "../../src/gpu/tuning.rs"]
mod tuning;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use catalogue::ARCHITECTURES;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for path in [
        "../../kernels",
        "../../src/catalogue",
        "../../src/gpu/tuning.rs",
        "../kernels/host.hpp",
        "src/kernels.cpp",
        "build.rs",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=MISH_SANITIZE");
    let is_sanitized = env::var_os("MISH_SANITIZE").is_some();
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    if !is_sanitized {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,defs");
    }
    let mut variants: Vec<(u32, String)> = Vec::new();
    let mut table = String::from("match sm {\n");
    for sm in ARCHITECTURES.iter().map(|arch| arch.sm) {
        let header = header::header(sm);
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
    for (sm, _) in &variants {
        writeln!(
            declarations,
            "    fn standin_kernel_sm_{sm}(name: *const c_char) -> *const Kernel;"
        )
        .expect("into a string");
    }
    // Each takes some seconds.
    let jobs = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok());
    let queue = Mutex::new(variants);
    std::thread::scope(|scope| {
        for _ in 0..jobs.unwrap_or(1) {
            scope.spawn(|| {
                while let Some((sm, header)) = { queue.lock().expect("no panics").pop() } {
                    compile(&out, sm, &header, is_sanitized);
                }
            });
        }
    });
    if is_sanitized {
        println!("cargo::rustc-link-lib=dylib=asan");
        println!("cargo::rustc-link-lib=dylib=ubsan");
    }
    declarations.push_str("}\n");
    fs::write(out.join("declarations.rs"), declarations).expect("OUT_DIR is writable");
}

/// Compiles the kernels with the tuning of one architecture.
fn compile(out: &Path, sm: u32, header: &str, is_sanitized: bool) {
    let folder = out.join(format!("sm_{sm}"));
    fs::create_dir_all(&folder).expect("OUT_DIR is writable");
    fs::write(folder.join(header::NAME), header).expect("OUT_DIR is writable");
    let mut build = cc::Build::new();
    if is_sanitized {
        // Both runtimes must come first in the process: preload the first.
        build
            .flag("-fsanitize=address,undefined")
            .flag("-fno-sanitize-recover=undefined")
            .flag("-fno-omit-frame-pointer");
    }
    build
        // The objects have one name.
        .out_dir(&folder)
        .cpp(true)
        .std("c++17")
        .opt_level(1)
        // Their own test compiles the mathematics with every warning.
        .warnings(false)
        .file("src/kernels.cpp")
        .include("../../kernels")
        .include(&folder)
        .define("STANDIN_VARIANT", format!("sm_{sm}").as_str())
        .flag("-Wno-unknown-pragmas")
        // One rounding per operation unless the source says fma, as nowhere else.
        .flag("-ffp-contract=off")
        .compile(&format!("standin_sm_{sm}"));
}
