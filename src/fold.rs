//! `fold`: events in, verdicts out, as a pure pipe of JSON Lines. No broker, no state directory, no host clock.

use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;

use memchr::memchr;

use crate::domain::effect::{Origin, Outcome};
use crate::domain::event::{Event, Subject, split_key};
use crate::domain::policy::Policy;
use crate::domain::time::Timestamp;
use crate::engine::core::{Core, Progress};
use crate::engine::table::{Kind, WARM_MAX};
use crate::wire::dead_letter;
use crate::wire::decode::{self, Limits, Line, Scratch};
use crate::wire::output::{self, Identity};
use crate::wire::reject::{Reason, Reject};

/// What moves the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FoldClock {
    /// The highest observedAt so far, and ticks.
    #[default]
    Observed,
    /// Ticks alone.
    Ticks,
}

/// How to fold.
#[derive(Clone, Debug, Default)]
pub struct FoldOptions {
    /// The policy at the start.
    pub policy: Option<Policy>,
    /// Where the clock ends.
    pub until: Option<Timestamp>,
    /// What moves the clock.
    pub clock: FoldClock,
    /// Whether the state of every device follows at the end.
    pub state: bool,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FoldSummary {
    /// Lines read, blank ones too.
    pub lines: u64,
    /// Events that took effect.
    pub applied: u64,
    /// Events that were ignored.
    pub ignored: u64,
    /// Dead letters.
    pub rejected: u64,
    /// Outputs written, dead letters not counted.
    pub outputs: u64,
    /// Devices at the end.
    pub devices: u64,
    /// The first dead letter: its line and why.
    pub first_rejected: Option<(u64, String)>,
}

/// Outputs are written out at least this often.
const OUTPUTS_AT_ONCE: usize = 4096;

/// Folds JSON Lines from `input` to `output`.
pub fn run(options: &FoldOptions, input: impl Read, output: impl Write) -> io::Result<FoldSummary> {
    let mut folder = Folder::new(options, output);
    let mut lines = Lines::new(input);
    let mut ahead = Vec::with_capacity(WARM_MAX);
    loop {
        if !lines.has_line() {
            // Whoever waits for our output must not wait for more input first.
            folder.output.flush()?;
        }
        // One line, and of those behind it what is there without reading: it would move the lines before.
        ahead.clear();
        while ahead.len() < WARM_MAX && (ahead.is_empty() || lines.has_line()) {
            match lines.next()? {
                Some(line) => ahead.push(line),
                None => break,
            }
        }
        if ahead.is_empty() {
            return folder.finish();
        }
        folder.lines(&lines.buffer, &ahead)?;
    }
}

/// Where a line stands in the buffer; `Err` with the length of one that is too long.
type Place = Result<Range<usize>, usize>;

/// The key of the device that a line is about.
fn key_of<'a>(line: &Line<'a>) -> Option<&'a [u8]> {
    match line {
        Line::Event(Event { subject: Subject::Device { key, .. }, .. }) => Some(key.as_bytes()),
        _ => None,
    }
}

struct Folder<'a, W: Write> {
    options: &'a FoldOptions,
    core: Core,
    scratch: Scratch,
    limits: Limits,
    buffer: Vec<u8>,
    output: BufWriter<W>,
    summary: FoldSummary,
    /// A tick or a return of sight was read: from then on times too far ahead are clamped.
    ticked: bool,
}

impl<'a, W: Write> Folder<'a, W> {
    fn new(options: &'a FoldOptions, output: W) -> Folder<'a, W> {
        let mut core = Core::default();
        if let Some(policy) = &options.policy {
            core.policy = std::sync::Arc::new(policy.clone());
        }
        Folder {
            options,
            core,
            scratch: Scratch::new(),
            limits: Limits::default(),
            buffer: Vec::new(),
            output: BufWriter::with_capacity(1 << 16, output),
            summary: FoldSummary::default(),
            ticked: false,
        }
    }

    /// Takes up to [`WARM_MAX`] lines, one after the other. What they say does not depend on what came before, so all
    /// are decoded first: then the devices are known that they are about.
    fn lines(&mut self, buffer: &[u8], places: &[Place]) -> io::Result<()> {
        self.scratch.clear();
        let scratch = std::mem::take(&mut self.scratch);
        let mut decoded = [const { None }; WARM_MAX];
        for (line, place) in decoded.iter_mut().zip(places) {
            *line = self.decode(buffer, place, &scratch);
        }
        self.core.table.warm(decoded.iter().flatten().flatten().filter_map(key_of));
        for line in &decoded[..places.len()] {
            self.summary.lines += 1;
            match line {
                None => {}
                Some(Ok(Line::Event(event))) => self.event(event)?,
                Some(Ok(Line::Tick(at))) => {
                    self.ticked = true;
                    self.advance(*at)?;
                }
                Some(Ok(Line::Sight(at))) => {
                    self.ticked = true;
                    self.sight(*at)?;
                }
                Some(Err(reject)) => self.reject(reject)?,
            }
        }
        drop(decoded);
        self.scratch = scratch;
        Ok(())
    }

    /// What a line says; `None` for a blank one.
    fn decode<'l>(
        &self,
        buffer: &'l [u8],
        place: &Place,
        scratch: &'l Scratch,
    ) -> Option<Result<Line<'l>, Reject>> {
        let line = match place {
            Ok(place) => &buffer[place.clone()],
            Err(length) => {
                let message = format!("{length} bytes; at most {} are taken", self.limits.bytes_max);
                return Some(Err(Reject::new(Reason::Oversize, message)));
            }
        };
        let is_blank = line.iter().all(u8::is_ascii_whitespace);
        (!is_blank).then(|| decode::decode_line(line, scratch, &self.limits))
    }

    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let clock = self.core.clock;
        let Some(mut observed_at) = event.observed_at.or(clock.known()) else {
            return self.reject(&Reject::no_time());
        };
        if self.ticked {
            observed_at = self.core.clamp(observed_at, clock, clock);
        }
        if self.options.clock == FoldClock::Observed || !clock.happened() {
            self.advance(clock.max(observed_at))?;
        }
        let outcome = self.core.apply(event, observed_at, Origin::Line(self.summary.lines));
        match outcome {
            Outcome::Applied => self.summary.applied += 1,
            Outcome::Ignored(_) => self.summary.ignored += 1,
        }
        // What it makes due, and a change for all devices, follow at once.
        self.advance(self.core.clock)
    }

    fn sight(&mut self, at: Timestamp) -> io::Result<()> {
        // Sight comes before any deadline of its moment and of the silence before it.
        if at >= self.core.clock {
            self.core.see(at);
        }
        self.advance(self.core.clock)
    }

    fn advance(&mut self, to: Timestamp) -> io::Result<()> {
        let to = to.max(self.core.clock);
        while self.core.advance(to, OUTPUTS_AT_ONCE) == Progress::Full {
            self.write()?;
        }
        if self.core.touched.len() >= OUTPUTS_AT_ONCE || !self.core.outputs.is_empty() {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        for told in &self.core.outputs {
            let (tenant, device_id) = split_key(&told.key);
            output::encode_line(
                &Identity { tenant, device_id, birth: told.birth },
                &told.effect,
                &mut self.buffer,
            );
            self.buffer.push(b'\n');
            self.summary.outputs += 1;
        }
        self.output.write_all(&self.buffer)?;
        self.buffer.clear();
        self.core.begin_step();
        Ok(())
    }

    fn reject(&mut self, reject: &Reject) -> io::Result<()> {
        self.summary.rejected += 1;
        if self.summary.first_rejected.is_none() {
            self.summary.first_rejected = Some((self.summary.lines, reject.message.clone()));
        }
        dead_letter::encode_line(reject, self.summary.lines, &mut self.buffer);
        self.buffer.push(b'\n');
        self.output.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<FoldSummary> {
        if let Some(until) = self.options.until {
            self.advance(until)?;
        }
        self.write()?;
        let table = &self.core.table;
        let is_live = |number: &u32| table.slot(*number).kind() == Kind::Live;
        self.summary.devices = (0..table.capacity()).filter(is_live).count() as u64;
        if self.options.state {
            for number in table.in_key_order(None).into_iter().filter(is_live) {
                let key = table.slot(number).key();
                let line = crate::wire::state::device_json(key, &self.core.device(number), &self.core.policy);
                serde_json::to_writer(&mut self.output, &line)?;
                self.output.write_all(b"\n")?;
            }
        }
        self.output.flush()?;
        Ok(self.summary)
    }
}

/// The longest line that is kept; of a longer one only its length is known.
const LINE_MAX: usize = decode::BYTES_MAX;
const CHUNK: usize = 1 << 18;

/// Lines of a reader, without copies, in bounded memory.
struct Lines<R: Read> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Up to here there is no line end.
    searched: usize,
    eof: bool,
}

impl<R: Read> Lines<R> {
    fn new(input: R) -> Lines<R> {
        Lines { input, buffer: vec![0; CHUNK], start: 0, end: 0, searched: 0, eof: false }
    }

    /// Whether the next line can be had without reading.
    fn has_line(&mut self) -> bool {
        match memchr(b'\n', &self.buffer[self.searched..self.end]) {
            Some(found) => {
                self.searched += found;
                true
            }
            None => {
                self.searched = self.end;
                self.eof
            }
        }
    }

    /// The next line, without its end. It stays in its place until more is read, which is only where
    /// [`Lines::has_line`] denies.
    fn next(&mut self) -> io::Result<Option<Place>> {
        let mut dropped = 0;
        loop {
            if let Some(found) = memchr(b'\n', &self.buffer[self.searched..self.end]) {
                let stop = self.searched + found;
                let line = self.start..stop;
                self.start = stop + 1;
                self.searched = self.start;
                return Ok(Some(self.checked(line, dropped)));
            }
            self.searched = self.end;
            if self.eof {
                let line = self.start..self.end;
                self.start = self.end;
                let is_none = line.is_empty() && dropped == 0;
                return Ok((!is_none).then(|| self.checked(line, dropped)));
            }
            if self.end - self.start > LINE_MAX {
                dropped += self.end - self.start;
                (self.start, self.end, self.searched) = (0, 0, 0);
            }
            self.fill()?;
        }
    }

    fn checked(&self, mut line: Range<usize>, dropped: usize) -> Place {
        if self.buffer[line.clone()].ends_with(b"\r") {
            line.end -= 1;
        }
        match dropped + line.len() {
            length if length > LINE_MAX => Err(length),
            _ => Ok(line),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < CHUNK / 2 {
            self.buffer.resize(self.buffer.len() + CHUNK, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.eof = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }
}
