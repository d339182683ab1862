//! What the stand-in driver knows: devices, contexts, memory, modules, streams, faults.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fork::fork_generation;
use crate::kernel::{Kernel, Launch};

/// Codes that the driver returns.
pub mod code {
    pub const SUCCESS: u32 = 0;
    pub const INVALID_VALUE: u32 = 1;
    pub const OUT_OF_MEMORY: u32 = 2;
    pub const NOT_INITIALIZED: u32 = 3;
    pub const NO_DEVICE: u32 = 100;
    pub const INVALID_DEVICE: u32 = 101;
    pub const INVALID_IMAGE: u32 = 200;
    pub const INVALID_CONTEXT: u32 = 201;
    pub const NO_BINARY_FOR_GPU: u32 = 209;
    pub const INVALID_HANDLE: u32 = 400;
    pub const NOT_FOUND: u32 = 500;
    pub const ILLEGAL_ADDRESS: u32 = 700;
    pub const CONTEXT_IS_DESTROYED: u32 = 709;
    pub const CAPTURE_UNSUPPORTED: u32 = 900;
    pub const CAPTURE_INVALIDATED: u32 = 901;
    pub const CAPTURE_IMPLICIT: u32 = 906;
}

pub const NAMES: &[(u32, &std::ffi::CStr)] = &[
    (0, c"CUDA_SUCCESS"),
    (1, c"CUDA_ERROR_INVALID_VALUE"),
    (2, c"CUDA_ERROR_OUT_OF_MEMORY"),
    (3, c"CUDA_ERROR_NOT_INITIALIZED"),
    (100, c"CUDA_ERROR_NO_DEVICE"),
    (101, c"CUDA_ERROR_INVALID_DEVICE"),
    (200, c"CUDA_ERROR_INVALID_IMAGE"),
    (201, c"CUDA_ERROR_INVALID_CONTEXT"),
    (209, c"CUDA_ERROR_NO_BINARY_FOR_GPU"),
    (400, c"CUDA_ERROR_INVALID_HANDLE"),
    (500, c"CUDA_ERROR_NOT_FOUND"),
    (700, c"CUDA_ERROR_ILLEGAL_ADDRESS"),
    (709, c"CUDA_ERROR_CONTEXT_IS_DESTROYED"),
    (218, c"CUDA_ERROR_INVALID_PTX"),
    (222, c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION"),
    (719, c"CUDA_ERROR_LAUNCH_FAILED"),
    (900, c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"),
    (901, c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"),
    (906, c"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT"),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Device,
    Pinned,
    Managed,
    /// Device memory that belongs to no context, as from a pool.
    Pool,
}

pub struct Allocation {
    pub size: u64,
    pub kind: Kind,
    /// NULL for a pool.
    pub context: usize,
    pub device: i32,
    /// The memory itself; `None` where only addresses are pretended, or the test owns it.
    #[allow(dead_code, reason = "held, not read")]
    pub memory: Option<Box<[u128]>>,
    /// Whether kernels may touch it.
    pub is_accessible: bool,
}

pub struct Context {
    pub id: u64,
    pub device: i32,
    /// A sticky error.
    pub error: u32,
}

#[derive(Default)]
pub struct Primary {
    pub context: usize,
    pub retained: u32,
    /// Handle and id of the context before a reset, where they come again.
    pub before: Option<(usize, u64)>,
}

pub struct Function {
    pub context: u64,
    pub module: usize,
    pub kernel: &'static Kernel,
    pub is_loaded: bool,
}

pub struct Module {
    pub context: u64,
    pub sm: u32,
    /// Which image, by its hash.
    pub image: u64,
}

pub struct Stream {
    pub context: usize,
    /// The launches captured so far, the mode and the thread, while capturing.
    pub capture: Option<Capture>,
}

pub struct Capture {
    pub mode: u32,
    pub launches: Vec<Launch>,
    pub is_invalid: bool,
}

/// Makes the nth call (1 is the next) of a function fail.
pub struct Fault {
    /// Empty means any function.
    pub function: String,
    pub countdown: u32,
    pub code: u32,
    /// Whether all later calls fail too.
    pub is_sticky: bool,
}

pub struct Record {
    pub kernel: &'static std::ffi::CStr,
    pub stream: usize,
    pub blocks: u32,
    pub threads: u32,
}

pub struct State {
    pub is_initialised: bool,
    pub version: i32,
    pub is_lazy: bool,
    /// Compute capability, 10 · major + minor, by ordinal.
    pub devices: Vec<u32>,
    pub multiprocessors: i32,
    /// Whether a device's primary context has the same handle and id after a reset.
    pub keeps_ids: bool,
    /// Blocks that a launch runs at most; of more, the first and last half of these.
    pub most_blocks: u32,
    pub primaries: HashMap<i32, Primary>,
    pub contexts: HashMap<usize, Context>,
    pub allocations: BTreeMap<u64, Allocation>,
    pub modules: HashMap<usize, Module>,
    /// The kernels that are in an image, by its hash.
    pub images: HashMap<u64, HashSet<CString>>,
    pub functions: HashMap<usize, Function>,
    /// Handles of functions that are gone, to be used again.
    pub free_functions: Vec<usize>,
    pub streams: HashMap<usize, Stream>,
    /// Events, each with its context. The work of a stream is always done, so they hold nothing.
    pub events: HashMap<usize, usize>,
    pub graphs: HashMap<usize, Vec<Launch>>,
    pub faults: Vec<Fault>,
    /// The function that an injected fault hit last, and how many it hit.
    pub hit: (&'static str, u64),
    /// The process that called `cuInit`, by its fork generation.
    pub process: u64,
    pub calls: HashMap<&'static str, u64>,
    /// The last launch, and how many there were.
    pub last_launch: Option<Record>,
    pub launches: usize,
    /// The architecture of the image loaded last; negative for PTX.
    pub last_image: i32,
    next: u64,
}

thread_local! {
    pub static CURRENT: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    /// 0 global, 1 thread-local, 2 relaxed.
    pub static CAPTURE_MODE: Cell<u32> = const { Cell::new(0) };
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

pub struct Locked(MutexGuard<'static, Option<State>>);

impl std::ops::Deref for Locked {
    type Target = State;
    fn deref(&self) -> &State {
        self.0.as_ref().expect("set by `state`")
    }
}
impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("set by `state`")
    }
}

/// The state, made from the environment at the first use.
pub fn state() -> Locked {
    let mut guard = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    guard.get_or_insert_with(State::from_environment);
    Locked(guard)
}

impl State {
    /// `MISH_STANDIN` holds `name=value` pairs, separated by blanks: `devices` (architectures,
    /// separated by commas), `version`, `lazy`, `multiprocessors`, `most_blocks`, `keeps_ids`.
    fn from_environment() -> State {
        let mut state = State {
            is_initialised: false,
            version: 12_080,
            is_lazy: true,
            devices: vec![90, 90],
            multiprocessors: 132,
            keeps_ids: false,
            most_blocks: u32::MAX,
            primaries: HashMap::new(),
            contexts: HashMap::new(),
            allocations: BTreeMap::new(),
            modules: HashMap::new(),
            images: HashMap::new(),
            functions: HashMap::new(),
            free_functions: Vec::new(),
            streams: HashMap::new(),
            events: HashMap::new(),
            graphs: HashMap::new(),
            faults: Vec::new(),
            hit: ("", 0),
            process: 0,
            calls: HashMap::new(),
            last_launch: None,
            launches: 0,
            last_image: 0,
            next: 0,
        };
        let settings = std::env::var("MISH_STANDIN").unwrap_or_default();
        for (name, value) in settings.split(' ').filter_map(|pair| pair.split_once('=')) {
            let number = || value.parse().expect("a number");
            match name {
                "devices" => {
                    let list = value.split(',').filter(|sm| !sm.is_empty());
                    state.devices = list.map(|sm| sm.parse().expect("sm")).collect();
                }
                "version" => state.version = number(),
                "keeps_ids" => state.keeps_ids = number() != 0,
                "lazy" => state.is_lazy = number() != 0,
                "multiprocessors" => state.multiprocessors = number(),
                "most_blocks" => state.most_blocks = number() as u32,
                _ => panic!("MISH_STANDIN: unknown setting {name}"),
            }
        }
        state
    }

    /// A number never given out before.
    pub fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A handle that looks like a pointer.
    pub fn handle(&mut self) -> usize {
        0x5000_0000 + 0x100 * self.fresh() as usize
    }

    /// A new context. Addresses are used again as soon as they are free, ids never.
    pub fn new_context(&mut self, device: i32) -> usize {
        let primaries = self.primaries.values();
        let kept: Vec<usize> = primaries.filter_map(|p| Some(p.before?.0)).collect();
        let handle = (1..)
            .map(|i| 0x4000_0000 + 0x1000 * i)
            .find(|handle| !self.contexts.contains_key(handle) && !kept.contains(handle))
            .expect("an endless row");
        let id = self.fresh();
        self.put_context(handle, id, device)
    }

    pub fn put_context(&mut self, handle: usize, id: u64, device: i32) -> usize {
        let context = Context {
            id,
            device,
            error: 0,
        };
        self.contexts.insert(handle, context);
        handle
    }

    /// Destroys a context with all that is in it; returns its id.
    pub fn destroy_context(&mut self, handle: usize) -> Option<u64> {
        let id = self.contexts.remove(&handle)?.id;
        self.modules.retain(|_, module| module.context != id);
        self.free_functions_where(|function| function.context == id);
        self.streams.retain(|_, stream| stream.context != handle);
        self.events.retain(|_, context| *context != handle);
        self.allocations
            .retain(|_, allocation| allocation.context != handle || allocation.kind == Kind::Pool);
        Some(id)
    }

    /// Functions that go away. Their handles are used again, those freed last first: a stale one
    /// may name another kernel.
    pub fn free_functions_where(&mut self, goes: impl Fn(&Function) -> bool) {
        let all = self.functions.iter();
        let mut gone: Vec<usize> = all.filter(|(_, f)| goes(f)).map(|(&h, _)| h).collect();
        gone.sort_unstable();
        for handle in &gone {
            self.functions.remove(handle);
        }
        self.free_functions.append(&mut gone);
    }

    /// The allocation around an address.
    pub fn allocation(&self, address: u64) -> Option<(u64, &Allocation)> {
        let (&start, allocation) = self.allocations.range(..=address).next_back()?;
        (address - start < allocation.size).then_some((start, allocation))
    }

    /// Whether a call that captures forbid may happen on this thread; spoils the captures if not.
    pub fn is_allowed(&mut self) -> bool {
        if CAPTURE_MODE.get() == 2 {
            return true;
        }
        let mut allowed = true;
        for stream in self.streams.values_mut() {
            if let Some(capture) = &mut stream.capture
                && capture.mode != 2
            {
                capture.is_invalid = true;
                allowed = false;
            }
        }
        allowed
    }

    /// Counts a call, and says what it must return instead of doing its work.
    pub fn enter(&mut self, function: &'static str) -> Result<(), u32> {
        *self.calls.entry(function).or_default() += 1;
        for fault in &mut self.faults {
            if fault.countdown == 0 || !(fault.function.is_empty() || fault.function == function) {
                continue;
            }
            fault.countdown -= 1;
            if fault.countdown == 0 {
                // A sticky one stays ready; the other is spent.
                fault.countdown = u32::from(fault.is_sticky);
                self.hit = (function, self.hit.1 + 1);
                return Err(fault.code);
            }
        }
        if self.is_initialised && self.process != fork_generation() && function != "cuGetErrorName"
        {
            return Err(code::NOT_INITIALIZED);
        }
        Ok(())
    }
}
