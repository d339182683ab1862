//! Runs a sweep: calls the library on buffers of inputs, on all threads, and measures.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::slice::ParallelSlice;
use serde::{Deserialize, Serialize};

use crate::catalogue::Op;
use crate::directed::{self, Point, Round};
use crate::format::Element;
use crate::library::{Device, Memory, Mish};
use crate::measure::{BLOCK, Block, Meter, Tallies, Tally, Worst};
use crate::peer::Peer;
use crate::points::{Points, random};
use crate::progress::Progress;
use crate::quantity::{COUNT, Gradients, QUANTITIES};

/// Points that one thread takes at a time.
const ITEM: u64 = 1 << 18;
/// Points after which the threads meet and the state can be written.
const SEGMENT: u64 = 1 << 26;
/// Inputs whose functions' errors the directed search looks at.
const CANDIDATES: u64 = 1 << 19;
/// How often it is.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// What is measured.
pub enum Subject {
    /// The library.
    Library(Box<Mish>),
    /// The program that this command starts.
    Peer(String),
}

/// What to run.
pub struct Plan {
    /// The operations to call.
    pub operations: Vec<Op>,
    /// Where.
    pub device: Device,
    /// The state's file; without one nothing is kept and nothing resumed.
    pub state: Option<PathBuf>,
}

impl Plan {
    fn measures(&self, subject: &Subject) -> [bool; COUNT] {
        let is_library = matches!(subject, Subject::Library(_));
        QUANTITIES.each_ref().map(|quantity| {
            // A peer returns mish, mish′ and mish″.
            let has_gradients = quantity.gradients != Gradients::One;
            let is_first_again = quantity.operation == Op::DoubleBackward && quantity.order == 1;
            self.has(quantity.operation) && (is_library || !has_gradients && !is_first_again)
        })
    }
    /// What the directed search measures: the functions themselves have been.
    fn measures_products(&self, subject: &Subject) -> [bool; COUNT] {
        let all = self.measures(subject);
        std::array::from_fn(|index| all[index] && QUANTITIES[index].is_product())
    }
    fn has(&self, operation: Op) -> bool {
        self.operations.contains(&operation)
    }
}

/// An interrupted sweep.
#[derive(Default, Serialize, Deserialize)]
struct State {
    segments: u64,
    seconds: f64,
    tallies: Tallies,
}

impl State {
    /// The state in the file, or that of a sweep not begun.
    fn load(path: Option<&Path>) -> State {
        path.and_then(|path| fs::read(path).ok())
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    fn save(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Renamed into place, so that an interruption leaves the old or the new one.
        let partial = path.with_extension("partial");
        fs::write(&partial, serde_json::to_vec(self)?)?;
        Ok(fs::rename(&partial, path)?)
    }
}

/// A sweep's outcome.
pub struct Swept {
    /// The errors.
    pub tallies: Tallies,
    /// Seconds in all.
    pub seconds: f64,
    /// Points of the directed search, beside those of the sets.
    pub directed: u64,
}

/// Sweeps one element type.
pub fn sweep<E: Element>(subject: &Subject, plan: &Plan, sets: &[Points]) -> Result<Swept> {
    let workers = Mutex::new(Vec::new());
    let mut state = State::load(plan.state.as_deref());
    let total = sets.iter().map(|set| set.count).sum();
    let segments: Vec<(usize, u64, u64)> = sets
        .iter()
        .enumerate()
        .flat_map(|(index, set)| {
            (0..set.count.div_ceil(SEGMENT)).map(move |segment| {
                let start = segment * SEGMENT;
                (index, start, set.count.min(start + SEGMENT))
            })
        })
        .collect();
    let is_done = |&(index, (_, start, end)): &(usize, (usize, u64, u64))| {
        if (index as u64) < state.segments {
            end - start
        } else {
            0
        }
    };
    let done = segments
        .iter()
        .copied()
        .enumerate()
        .map(|s| is_done(&s))
        .sum();
    let progress = Progress::new(E::DTYPE.name(), total, done);
    let mut saved = Instant::now();
    for &(set, start, end) in &segments[state.segments.min(segments.len() as u64) as usize..] {
        let begin = Instant::now();
        let items = (end - start).div_ceil(ITEM);
        let tallies = (0..items)
            .into_par_iter()
            .map(|item| {
                let idle = workers.lock().expect("no worker panics").pop();
                let mut worker = match idle {
                    Some(worker) => worker,
                    None => Worker::<E>::new(subject, plan, plan.measures(subject))?,
                };
                let from = start + item * ITEM;
                let tallies = worker.item(plan, &sets[set], from, end.min(from + ITEM))?;
                workers.lock().expect("no worker panics").push(worker);
                progress.advance(end.min(from + ITEM) - from);
                Ok(tallies)
            })
            .try_reduce(Tallies::default, |mut a, b| {
                merge(&mut a, &b);
                Ok::<_, anyhow::Error>(a)
            })?;
        merge(&mut state.tallies, &tallies);
        state.segments += 1;
        state.seconds += begin.elapsed().as_secs_f64();
        if let Some(path) = &plan.state
            && saved.elapsed() > SAVE_EVERY
        {
            state.save(path)?;
            saved = Instant::now();
        }
    }
    if let Some(path) = &plan.state {
        state.save(path)?;
    }
    progress.finish();
    let begin = Instant::now();
    let directed = direct::<E>(subject, plan, &mut state.tallies)?;
    state.seconds += begin.elapsed().as_secs_f64();
    for tally in &mut state.tallies {
        tally.not_correctly_rounded.sort_unstable();
        tally.not_correctly_rounded.dedup();
    }
    Ok(Swept {
        tallies: state.tallies,
        seconds: state.seconds,
        directed,
    })
}

/// The directed search; returns how many points it tried.
fn direct<E: Element>(subject: &Subject, plan: &Plan, tallies: &mut Tallies) -> Result<u64> {
    if matches!(subject, Subject::Peer(_)) {
        return Ok(0);
    }
    let run = |points: &[Point<E>], kind, measured| {
        points
            .par_chunks(ITEM as usize)
            .map(|points| Worker::<E>::new(subject, plan, measured)?.directed(plan, points, kind))
            .try_reduce(Tallies::default, |mut a, b| {
                merge(&mut a, &b);
                Ok::<_, anyhow::Error>(a)
            })
    };
    let (all, products) = (plan.measures(subject), plan.measures_products(subject));
    merge(
        tallies,
        &run(&directed::special(), Kind::Special, products)?,
    );
    let mut tried = 0;
    if E::BITS > 16 {
        // For their errors alone: they are no neighbours, between whom steps would count.
        let found = run(&directed::candidates(CANDIDATES), Kind::All, all)?;
        for (to, from) in tallies.iter_mut().zip(&found) {
            to.merge(&Tally {
                jump: Worst::default(),
                ..from.clone()
            });
        }
        tried += CANDIDATES;
    }
    for round in [Round::First, Round::Second] {
        let points = directed::points::<E>(tallies, round);
        tried += points.len() as u64;
        merge(tallies, &run(&points, Kind::All, products)?);
    }
    Ok(tried)
}

fn merge(to: &mut Tallies, from: &Tallies) {
    for (to, from) in to.iter_mut().zip(from) {
        to.merge(from);
    }
}

/// What points are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of any kind of x, with finite gradients.
    All,
    /// With an x or a gradient that is infinite or NaN.
    Special,
}

/// Where a thread's results come from.
enum Source<'a> {
    Library(&'a Mish),
    Peer(Peer),
}

/// One thread's memory.
struct Worker<'a, E> {
    source: Source<'a>,
    length: usize,
    x: Memory<E>,
    ones: Memory<E>,
    grad: Memory<E>,
    grad_grad: Memory<E>,
    results: [Memory<E>; COUNT],
    block: Box<Block>,
    meter: Box<Meter>,
}

impl<'a, E: Element> Worker<'a, E> {
    fn new(subject: &'a Subject, plan: &Plan, measured: [bool; COUNT]) -> Result<Self> {
        let source = match subject {
            Subject::Library(mish) => Source::Library(mish),
            Subject::Peer(command) => Source::Peer(Peer::start(command, E::DTYPE)?),
        };
        // On a CPU the buffers fit its cache; where a call costs more they are larger.
        let length = match (&source, plan.device) {
            (Source::Library(_), Device::Cpu) => 16 * BLOCK,
            _ => ITEM as usize,
        };
        if let Source::Library(mish) = &source {
            mish.enter()?;
        }
        let memory = || match &source {
            Source::Library(mish) => mish.memory::<E>(length),
            Source::Peer(_) => Ok(Memory::host(length)),
        };
        let mut ones = memory()?;
        let one = ((1u64 << (E::BITS - 2 - E::FRACTION_BITS)) - 1) << E::FRACTION_BITS;
        ones.as_mut_slice().fill(E::from_bits(one));
        let results: Vec<Memory<E>> = (0..COUNT).map(|_| memory()).collect::<Result<_>>()?;
        let inputs: Vec<Memory<E>> = (0..3).map(|_| memory()).collect::<Result<_>>()?;
        let [x, grad, grad_grad] = inputs
            .try_into()
            .unwrap_or_else(|_| unreachable!("three of them"));
        Ok(Worker {
            source,
            length,
            x,
            ones,
            grad,
            grad_grad,
            results: results
                .try_into()
                .unwrap_or_else(|_| unreachable!("COUNT of them")),
            block: Box::default(),
            meter: Box::new(Meter::new(
                E::DTYPE,
                E::FORMAT,
                measured,
                matches!(subject, Subject::Library(_)),
            )),
        })
    }

    /// Measures the points from `start` to `end`.
    fn item(&mut self, plan: &Plan, set: &Points, start: u64, end: u64) -> Result<Tallies> {
        self.meter.restart();
        if let Source::Library(mish) = &self.source {
            mish.enter()?;
        }
        if start > 0 {
            // The point before, for the step from it to the first.
            self.buffer(plan, set, start - 1, start)?;
        }
        self.meter.tallies = Tallies::default();
        let mut from = start;
        while from < end {
            let to = end.min(from + self.length as u64);
            self.buffer(plan, set, from, to)?;
            from = to;
        }
        Ok(std::mem::take(&mut self.meter.tallies))
    }

    /// Measures points with gradients of their own.
    fn directed(&mut self, plan: &Plan, points: &[Point<E>], kind: Kind) -> Result<Tallies> {
        for points in points.chunks(self.length) {
            let columns = [&mut self.x, &mut self.grad, &mut self.grad_grad];
            for (part, column) in columns.into_iter().enumerate() {
                for (to, point) in column.as_mut_slice().iter_mut().zip(points) {
                    *to = point[part];
                }
            }
            self.compute(plan, points.len(), kind)?;
        }
        Ok(std::mem::take(&mut self.meter.tallies))
    }

    fn buffer(&mut self, plan: &Plan, set: &Points, start: u64, end: u64) -> Result<()> {
        let n = (end - start) as usize;
        self.fill(set, start, n);
        self.compute(plan, n, Kind::All)
    }

    /// Calls the library on the first elements of the inputs, and measures.
    fn compute(&mut self, plan: &Plan, n: usize, kind: Kind) -> Result<()> {
        let [
            y,
            first,
            also_first,
            second,
            grad_x,
            grad_grad_y,
            double_grad_x,
        ] = &mut self.results;
        let (x, ones, grad, grad_grad) = (&self.x, &self.ones, &self.grad, &self.grad_grad);
        match &mut self.source {
            Source::Peer(peer) => peer.run(x, [y, first, second], n)?,
            Source::Library(mish) => {
                if plan.has(Op::Forward) {
                    mish.forward(x, y, n)?;
                }
                if plan.has(Op::Backward) {
                    mish.backward(ones, x, first, n)?;
                    mish.backward(grad, x, grad_x, n)?;
                }
                if plan.has(Op::DoubleBackward) {
                    mish.double_backward([ones, ones, x], also_first, second, n)?;
                    mish.double_backward([grad_grad, grad, x], grad_grad_y, double_grad_x, n)?;
                }
                mish.finish()?;
            }
        }
        for from in (0..n).step_by(BLOCK) {
            self.measure(from, n.min(from + BLOCK), kind);
        }
        Ok(())
    }

    /// The inputs and gradients. Half of the gradients are large where the derivatives are
    /// smallest, so that subnormal derivatives have ordinary products.
    fn fill(&mut self, set: &Points, start: u64, n: usize) {
        let far = match E::DTYPE.min_exponent() {
            -14 => 8.0,
            -126 => 60.0,
            _ => 500.0,
        };
        let (xs, grads) = (self.x.as_mut_slice(), self.grad.as_mut_slice());
        let grad_grads = self.grad_grad.as_mut_slice();
        for i in 0..n {
            let index = start + i as u64;
            let x: E = set.get(index);
            let noise = random(index ^ 0x5eed_0000_0000_0000);
            let large = x.widen().abs() > far && noise & 1 == 1;
            xs[i] = x;
            grads[i] = E::gradient(random(noise), large);
            grad_grads[i] = E::gradient(random(!noise), large);
        }
    }

    fn measure(&mut self, from: usize, to: usize, kind: Kind) {
        let block = &mut *self.block;
        block.used = to - from;
        let mut all_finite = true;
        let (x, grad) = (
            &self.x.as_slice()[from..to],
            &self.grad.as_slice()[from..to],
        );
        let grad_grad = &self.grad_grad.as_slice()[from..to];
        for i in 0..block.used {
            block.x[i] = x[i].widen();
            block.grad[i] = grad[i].widen();
            block.grad_grad[i] = grad_grad[i].widen();
            all_finite &= block.x[i].is_finite();
        }
        for (to_lanes, result) in block.got.iter_mut().zip(&self.results) {
            for (lane, value) in to_lanes.iter_mut().zip(&result.as_slice()[from..to]) {
                *lane = value.widen();
            }
        }
        if kind == Kind::All {
            self.meter.add(block);
        }
        if kind == Kind::Special || !all_finite {
            self.meter.special(block);
        }
    }
}
