//! The scenarios and what each of them needs.

mod contexts;
mod faults;
pub mod fuzz;
mod launch;
mod lifetimes;
pub mod stability;
mod torch;

/// Which driver a scenario finds.
pub enum Driver {
    /// The stand-in.
    StandIn,
    /// A file that is no library.
    Broken,
    /// The stand-in without a symbol, for each of these in turn.
    Without(&'static [&'static str]),
    /// The stand-in, and beside it a `libcuda.so` that is another library.
    BesideStub,
    /// Others by the driver's names; the stand-in in the same folder by a name of the runner's.
    Elsewhere,
}

/// A test in a process of its own.
pub struct Scenario {
    pub name: &'static str,
    /// `MISH_STANDIN`.
    pub settings: &'static str,
    pub driver: Driver,
    /// Whether it needs the library built with its test hooks.
    pub needs_hooks: bool,
    /// Why it cannot run beside the sanitizers' runtimes, if it cannot.
    pub not_sanitized: Option<&'static str>,
    run: fn(),
}

impl Scenario {
    pub fn call(&self) {
        (self.run)();
    }
}

const fn with(name: &'static str, settings: &'static str, run: fn()) -> Scenario {
    Scenario {
        name,
        settings,
        driver: Driver::StandIn,
        needs_hooks: false,
        not_sanitized: None,
        run,
    }
}

const fn plain(name: &'static str, run: fn()) -> Scenario {
    with(name, "", run)
}

/// Whether to run everything, not the bounded share.
pub fn is_full() -> bool {
    std::env::var_os("MISH_RELIABILITY_FULL").is_some()
}

/// Whether to run less than the usual share, as for each of many planted bugs.
pub fn is_brief() -> bool {
    std::env::var_os("MISH_FAIL_FAST").is_some()
}

pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

/// Every symbol without which the library must refuse the driver.
const NEEDED: &[&str] = &[
    "cuDriverGetVersion",
    "cuInit",
    "cuGetErrorName",
    "cuDeviceGetCount",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxGetState",
    "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent_v2",
    "cuCtxGetCurrent",
    "cuCtxGetDevice",
    "cuCtxGetId",
    "cuStreamGetCtx",
    "cuStreamIsCapturing",
    "cuThreadExchangeStreamCaptureMode",
    "cuPointerGetAttributes",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuModuleGetLoadingMode",
    "cuLaunchKernel",
];

/// All of them, the quick ones first.
pub const ALL: &[Scenario] = &[
    plain(
        "arguments: statuses of memory, streams, devices",
        contexts::arguments,
    ),
    plain(
        "contexts: current, primary, created, two devices",
        contexts::contexts,
    ),
    plain(
        "contexts: destroyed, reset, sticky errors",
        contexts::destroyed,
    ),
    plain(
        "capture: launches, first use, other streams",
        contexts::capture,
    ),
    with(
        "capture: old driver",
        "version=12020",
        contexts::capture_on_old_driver,
    ),
    with("capture: eager loading", "lazy=0", contexts::capture),
    // One multiprocessor: few elements are enough for vectors.
    with(
        "images: sm_60",
        "devices=60 multiprocessors=1",
        launch::image_sm_60,
    ),
    with(
        "images: sm_61",
        "devices=61 multiprocessors=1",
        launch::image_sm_60,
    ),
    with(
        "images: sm_70",
        "devices=70 multiprocessors=1",
        launch::image_sm_70,
    ),
    with(
        "images: sm_72",
        "devices=72 multiprocessors=1",
        launch::image_sm_70,
    ),
    with(
        "images: sm_75",
        "devices=75 multiprocessors=1",
        launch::image_sm_75,
    ),
    with(
        "images: sm_87",
        "devices=87 multiprocessors=1",
        launch::image_sm_87,
    ),
    with(
        "images: sm_89",
        "devices=89 multiprocessors=1",
        launch::image_sm_89,
    ),
    with(
        "images: sm_90",
        "devices=90 multiprocessors=1",
        launch::image_sm_90,
    ),
    with(
        "images: sm_103",
        "devices=103 multiprocessors=1",
        launch::image_sm_100,
    ),
    with(
        "images: sm_110",
        "devices=110 multiprocessors=1",
        launch::image_sm_101,
    ),
    with(
        "images: sm_121",
        "devices=121 multiprocessors=1",
        launch::image_sm_120,
    ),
    with(
        "images: sm_200, PTX only",
        "devices=200 multiprocessors=1",
        launch::image_ptx,
    ),
    with("images: sm_53, none", "devices=53", launch::image_none),
    plain("contexts: warm-up", contexts::warm_up),
    with(
        "contexts: replaced under many threads",
        "keeps_ids=1",
        contexts::replaced,
    ),
    plain(
        "contexts: launches that keep failing",
        contexts::failing_launches,
    ),
    with("driver: no device", "devices=", faults::no_device),
    with("driver: too old", "version=11080", faults::too_old),
    Scenario {
        driver: Driver::Broken,
        ..plain("driver: broken library", faults::no_driver)
    },
    Scenario {
        driver: Driver::Without(NEEDED),
        ..plain("driver: a needed symbol missing", faults::missing_symbol)
    },
    Scenario {
        driver: Driver::Without(&["cuFuncLoad"]),
        ..plain("driver: an optional symbol missing", faults::missing_option)
    },
    plain("driver: initialisation fails", faults::initialisation),
    plain("driver: a toolkit's stub", faults::toolkit_stub),
    Scenario {
        driver: Driver::BesideStub,
        ..plain("driver: a stub beside it", faults::beside_stub)
    },
    Scenario {
        driver: Driver::Elsewhere,
        ..plain("driver: loaded from elsewhere", faults::loaded_elsewhere)
    },
    // Fewer elements than this device does one by one.
    with(
        "launch: contiguous, sm_90, one by one",
        "",
        launch::contiguous,
    ),
    with(
        "launch: contiguous, sm_90, small",
        "multiprocessors=1",
        launch::contiguous,
    ),
    with(
        "launch: contiguous, sm_90, large",
        "multiprocessors=1",
        launch::contiguous_large,
    ),
    with(
        "launch: contiguous, sm_60, large",
        "devices=60 multiprocessors=1",
        launch::contiguous_large,
    ),
    with(
        "launch: contiguous, sm_120, small",
        "devices=120 multiprocessors=1",
        launch::contiguous,
    ),
    with(
        "launch: contiguous, sm_100, large",
        "devices=100 multiprocessors=1",
        launch::contiguous_large,
    ),
    with(
        "launch: strided, sm_90",
        "multiprocessors=1",
        launch::strided,
    ),
    with("launch: strided, sm_100", "devices=100", launch::strided),
    with(
        "launch: beyond 2^32 elements",
        "most_blocks=4",
        launch::huge,
    ),
    with(
        "launch: reference vectors, sm_90",
        "devices=90",
        launch::reference,
    ),
    with(
        "launch: reference vectors, sm_86",
        "devices=86",
        launch::reference,
    ),
    with(
        "adapter: PyTorch's operators, every layout",
        "multiprocessors=1",
        torch::operators,
    ),
    plain("adapter: operands that do not fit", torch::refusals),
    plain("faults: every driver call in turn", faults::sweep),
    plain("threads: first use from many", lifetimes::first_use),
    plain("threads: 64, mixed calls", lifetimes::many_threads),
    plain("process: fork after first use", lifetimes::fork),
    plain(
        "process: fork, driver only loaded",
        lifetimes::fork_when_loaded,
    ),
    plain(
        "process: fork, equal process ids",
        lifetimes::fork_with_equal_ids,
    ),
    plain(
        "process: fork in nested namespaces",
        lifetimes::fork_in_namespaces,
    ),
    Scenario {
        not_sanitized: Some(
            "the sanitizers' allocator stays locked in a child that forked amid another thread's allocation",
        ),
        ..plain("process: fork amid calls", lifetimes::fork_amid_calls)
    },
    plain("process: exit while calling", lifetimes::exit_while_calling),
    plain("process: signals", lifetimes::signals),
    Scenario {
        needs_hooks: true,
        ..plain(
            "process: failing calls in signal handlers",
            lifetimes::failing_in_handlers,
        )
    },
    plain(
        "library: closed, stays, and opened again",
        lifetimes::reload,
    ),
    plain("library: a million calls leak nothing", lifetimes::leaks),
    Scenario {
        needs_hooks: true,
        ..plain("library: a panic becomes a status", lifetimes::panic)
    },
    plain("fuzz: a seeded share", fuzz::share),
    plain("stability: 1,000 training iterations", stability::share),
];
