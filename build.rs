//! Compiles the kernels with NVRTC to one image per GPU architecture, for embedding, and sets the
//! link arguments of `libmish.so`.
//!
//! NVRTC 12.9 exactly: 13 no longer knows sm_60 and sm_70, and before 12.9 there are no 256-bit
//! accesses for sm_100.

#[path = "src/catalogue/mod.rs"]
mod catalogue;
#[path = "kernels/header.rs"]
mod header;
#[path = "src/gpu/tuning.rs"]
mod tuning;

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::ptr::null_mut;
use std::sync::Mutex;

use catalogue::{ARCHITECTURES, PTX};
use libloading::{Library, Symbol};
use miniz_oxide::deflate;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    link_arguments();
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        compile_kernels();
    }
}

fn link_arguments() {
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        for argument in [
            "-soname,libmish.so",
            "-z,relro",
            "-z,now",
            "-z,noexecstack",
            "-z,defs",
            // Its threads run on after a `dlclose`.
            "-z,nodelete",
        ] {
            println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
        }
    }
}

fn compile_kernels() {
    for path in ["kernels", "src/catalogue", "src/gpu/tuning.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("kernels");
    fs::create_dir_all(&out).unwrap_or_else(|e| fail(&format!("{}: {e}", out.display())));
    let sources = sources();
    if reused(&sources, &out) {
        return;
    }
    // Until the images are whole again.
    let _ = fs::remove_file(out.join(SOURCES));
    let nvrtc = find_nvrtc().unwrap_or_else(|reason| fail(&reason));

    let machine_code = ARCHITECTURES.iter().map(|arch| Target {
        sm: arch.sm,
        ptx: false,
    });
    let ptx = Target { sm: PTX, ptx: true };
    let targets: Vec<Target> = machine_code.chain([ptx]).collect();
    // The largest first, for an even end.
    let queue = Mutex::new(targets.clone());
    let results = Mutex::new(Vec::new());
    let jobs = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok());
    std::thread::scope(|scope| {
        for _ in 0..jobs.unwrap_or(1).clamp(1, targets.len()) {
            scope.spawn(|| {
                while let Some(target) = { queue.lock().expect("no panics").pop() } {
                    let result = nvrtc.compile(target);
                    results.lock().expect("no panics").push((target, result));
                }
            });
        }
    });

    let mut report = String::new();
    let mut table = String::from("&[\n");
    let mut results = results.into_inner().expect("no panics");
    results.sort_by_key(|(target, _)| (target.ptx, target.sm));
    for (target, result) in results {
        let compiled = result.unwrap_or_else(|log| {
            eprintln!("{log}");
            fail(&format!("the kernels do not compile for {target}"))
        });
        let write = |name: &str, bytes: &[u8]| {
            let path = out.join(name);
            fs::write(&path, bytes).unwrap_or_else(|e| fail(&format!("{}: {e}", path.display())));
        };
        let image = match target.ptx {
            true => &compiled.ptx,
            false => &compiled.image,
        };
        // Images are most of the library's size, and inflating one takes a few milliseconds of
        // its first use.
        write(&format!("{target}.z"), &deflate::compress_to_vec(image, 9));
        let (sm, is_ptx, size) = (target.sm, target.ptx, image.len());
        writeln!(table, "    image!({sm}, {is_ptx}, {size}, \"{target}.z\"),")
            .expect("into a string");
        if !target.ptx {
            write(&format!("{target}.cubin"), image);
            writeln!(report, "== {target}\n{}", compiled.log.trim()).expect("into a string");
        }
        write(&format!("{target}.ptx"), &compiled.ptx);
        write(
            &format!("{target}.{}", header::NAME),
            header::header(target.sm).as_bytes(),
        );
    }
    table.push_str("]\n");
    for (name, text) in [
        ("ptxas.txt", report),
        ("images.rs", table),
        (SOURCES, sources),
    ] {
        fs::write(out.join(name), text).unwrap_or_else(|e| fail(&format!("{name}: {e}")));
    }
}

/// Beside the images: all that they were made from.
const SOURCES: &str = "sources.txt";

fn sources() -> String {
    let mut all = include_str!("build.rs").to_owned();
    append(Path::new("kernels"), &mut all);
    for sm in ARCHITECTURES.iter().map(|arch| arch.sm).chain([PTX]) {
        all.push_str(&header::header(sm));
    }
    all
}

/// Appends the files of a folder and of those in it.
fn append(folder: &Path, all: &mut String) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|e| fail(&format!("{}: {e}", folder.display())));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match fs::read_to_string(&path) {
            Ok(text) => all.push_str(&text),
            Err(_) => append(&path, all),
        }
    }
}

/// Takes the images of an earlier build, whose folder a variable names, if their sources are the
/// same: other profiles and compilers need not wait for the kernels again.
fn reused(sources: &str, out: &Path) -> bool {
    println!("cargo::rerun-if-env-changed=MISH_KERNEL_IMAGES");
    let Some(folder) = env::var_os("MISH_KERNEL_IMAGES").map(PathBuf::from) else {
        return false;
    };
    let found = fs::read_to_string(folder.join(SOURCES));
    let copy = || -> std::io::Result<()> {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            fs::copy(entry.path(), out.join(entry.file_name()))?;
        }
        Ok(())
    };
    found.is_ok_and(|found| found == sources) && copy().is_ok()
}

#[derive(Clone, Copy)]
struct Target {
    sm: u32,
    ptx: bool,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", if self.ptx { "compute" } else { "sm" }, self.sm)
    }
}

struct Compiled {
    /// Machine code; empty for a PTX target.
    image: Vec<u8>,
    /// PTX text, with a terminating NUL.
    ptx: Vec<u8>,
    /// What the compiler and the assembler said.
    log: String,
}

type Program = *mut c_void;

/// The functions of NVRTC that are used.
struct Nvrtc {
    library: Library,
    kernels: PathBuf,
}

impl Nvrtc {
    fn open(path: &Path) -> Result<Nvrtc, String> {
        // SAFETY: NVRTC's initialisers have no requirements.
        let library = unsafe { Library::new(path) }.map_err(|e| e.to_string())?;
        let nvrtc = Nvrtc {
            library,
            kernels: PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
                .join("kernels"),
        };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the signature is NVRTC's.
        unsafe {
            let version: Symbol<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int> =
                nvrtc.get("nvrtcVersion")?;
            version(&mut major, &mut minor);
        }
        match (major, minor) {
            (12, 9) => Ok(nvrtc),
            _ => Err(format!(
                "{} is version {major}.{minor}, not 12.9",
                path.display()
            )),
        }
    }

    /// # Safety
    /// `T` must be the function's type.
    unsafe fn get<T>(&self, name: &str) -> Result<Symbol<'_, T>, String> {
        // SAFETY: the caller's promise.
        unsafe { self.library.get(name) }.map_err(|e| e.to_string())
    }

    fn compile(&self, target: Target) -> Result<Compiled, String> {
        let source = fs::read_to_string(self.kernels.join("mish.cu")).map_err(|e| e.to_string())?;
        let source = CString::new(source).map_err(|e| e.to_string())?;
        let text = CString::new(header::header(target.sm)).map_err(|e| e.to_string())?;
        let name = CString::new(header::NAME).map_err(|e| e.to_string())?;
        let mut options = vec![
            format!("--gpu-architecture={target}"),
            format!("--include-path={}", self.kernels.display()),
            "--std=c++17".into(),
            // Every fused multiply-add is in the source: the error terms rely on it.
            "--fmad=false".into(),
        ];
        if !target.ptx {
            options.push("--ptxas-options=-v".into());
        }
        let options: Vec<CString> = options
            .into_iter()
            .map(|option| CString::new(option).expect("no NUL in an option"))
            .collect();
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();

        // SAFETY: the signatures are NVRTC's, and every pointer outlives its call.
        unsafe {
            let create: Symbol<
                unsafe extern "C" fn(
                    *mut Program,
                    *const c_char,
                    *const c_char,
                    c_int,
                    *const *const c_char,
                    *const *const c_char,
                ) -> c_int,
            > = self.get("nvrtcCreateProgram")?;
            let compile: Symbol<
                unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
            > = self.get("nvrtcCompileProgram")?;
            let mut program = null_mut();
            self.check(create(
                &mut program,
                source.as_ptr(),
                c"mish.cu".as_ptr(),
                1,
                &text.as_ptr(),
                &name.as_ptr(),
            ))?;
            let result = compile(program, options.len() as c_int, options.as_ptr());
            let log = self.fetch(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?;
            let log = String::from_utf8_lossy(&log)
                .trim_end_matches('\0')
                .to_owned();
            if let Err(error) = self.check(result) {
                return Err(format!("{error}\n{log}"));
            }
            let ptx = self.fetch(program, "nvrtcGetPTXSize", "nvrtcGetPTX")?;
            let image = if target.ptx {
                Vec::new()
            } else {
                self.fetch(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")?
            };
            let destroy: Symbol<unsafe extern "C" fn(*mut Program) -> c_int> =
                self.get("nvrtcDestroyProgram")?;
            destroy(&mut program);
            Ok(Compiled { image, ptx, log })
        }
    }

    /// Fetches one of a program's outputs by its pair of functions.
    ///
    /// # Safety
    /// The program must be compiled and the names a pair of NVRTC's.
    unsafe fn fetch(&self, program: Program, size: &str, get: &str) -> Result<Vec<u8>, String> {
        // SAFETY: all such pairs have these signatures.
        unsafe {
            let size: Symbol<unsafe extern "C" fn(Program, *mut usize) -> c_int> =
                self.get(size)?;
            let get: Symbol<unsafe extern "C" fn(Program, *mut u8) -> c_int> = self.get(get)?;
            let mut length = 0;
            self.check(size(program, &mut length))?;
            let mut bytes = vec![0; length];
            self.check(get(program, bytes.as_mut_ptr()))?;
            Ok(bytes)
        }
    }

    fn check(&self, result: c_int) -> Result<(), String> {
        if result == 0 {
            return Ok(());
        }
        // SAFETY: the signature is NVRTC's; it returns a static string for every number.
        unsafe {
            let text: Symbol<unsafe extern "C" fn(c_int) -> *const c_char> =
                self.get("nvrtcGetErrorString")?;
            let text = text(result);
            let text = if text.is_null() {
                c"unknown"
            } else {
                CStr::from_ptr(text)
            };
            Err(format!("{} ({result})", text.to_string_lossy()))
        }
    }
}

/// The first NVRTC 12.9 among the project's own and the installed toolkits.
fn find_nvrtc() -> Result<Nvrtc, String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    // A packaged crate is verified in a folder below the repository's.
    let mut folders: Vec<PathBuf> = (root.ancestors())
        .map(|folder| folder.join(".deps/cuda/nvidia/cuda_nvrtc/lib"))
        .collect();
    for variable in ["CUDA_PATH", "CUDA_HOME"] {
        println!("cargo::rerun-if-env-changed={variable}");
        if let Some(toolkit) = env::var_os(variable) {
            folders.push(Path::new(&toolkit).join("lib64"));
        }
    }
    for toolkit in ["/usr/local/cuda-12.9", "/usr/local/cuda"] {
        folders.push(Path::new(toolkit).join("lib64"));
    }
    let mut reasons = Vec::new();
    for folder in folders {
        let path = folder.join("libnvrtc.so.12");
        if !path.exists() {
            continue;
        }
        match Nvrtc::open(&path) {
            Ok(nvrtc) => {
                println!("cargo::rerun-if-changed={}", path.display());
                return Ok(nvrtc);
            }
            Err(reason) => reasons.push(reason),
        }
    }
    let seen = match reasons.is_empty() {
        true => String::new(),
        false => format!(" ({})", reasons.join("; ")),
    };
    Err(format!(
        "NVRTC 12.9 was not found{seen}: run `cargo xtask build` in the repository, which \
         fetches it, or set CUDA_PATH to a CUDA 12.9 toolkit, or build with --no-default-features"
    ))
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
