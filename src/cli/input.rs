//! Input by lines, with a bar that shows how far it is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

/// A file or standard input, under a bar on standard error.
pub struct Input {
    reader: Box<dyn Read>,
    bar: ProgressBar,
    /// What complaints call it.
    pub name: String,
}

/// Opens a file, or standard input for none and for `-`. `quiet` shows no bar: where output goes to the same terminal.
pub fn open(file: Option<&Path>, quiet: bool) -> anyhow::Result<Input> {
    let bar = |length: Option<u64>| {
        if quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        match length.filter(|&length| length > 0) {
            Some(length) => styled(
                ProgressBar::new(length),
                "{bar:30} {percent:>3} %  {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left  {msg}",
            ),
            None => styled(ProgressBar::new_spinner(), "{spinner} {bytes}, {bytes_per_sec}  {msg}"),
        }
    };
    match file.filter(|file| *file != Path::new("-")) {
        Some(file) => {
            let name = file.display().to_string();
            let opened = File::open(file).with_context(|| format!("cannot read {name}"))?;
            let about = opened.metadata().with_context(|| format!("cannot read {name}"))?;
            anyhow::ensure!(!about.is_dir(), "cannot read {name}: it is a directory");
            Ok(Input { reader: Box::new(opened), bar: bar(about.is_file().then_some(about.len())), name })
        }
        None => {
            if io::stdin().is_terminal() {
                eprintln!("reading JSON Lines from the terminal; Ctrl-D ends them (--help has examples)");
            }
            Ok(Input { reader: Box::new(io::stdin()), bar: bar(None), name: "line".to_owned() })
        }
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("━╸ "))
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.bar.inc(count as u64);
        Ok(count)
    }
}

impl Input {
    /// The bar, for words and for its end.
    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// What a complaint about a line begins with.
    pub fn place(name: &str, line: u64) -> String {
        if name == "line" { format!("line {line}") } else { format!("{name}:{line}") }
    }
}

/// A line of an input, or that it was too long to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A line, without its end.
    Line,
    /// One with so many bytes, which were not kept.
    TooLong(usize),
}

/// Lines in bounded memory.
pub struct Lines<R> {
    reader: BufReader<R>,
    bytes_max: usize,
    /// The number of the last line that was read, from 1.
    pub number: u64,
}

impl<R: Read> Lines<R> {
    /// Lines of at most `bytes_max` bytes.
    pub fn new(reader: R, bytes_max: usize) -> Lines<R> {
        Lines { reader: BufReader::with_capacity(1 << 16, reader), bytes_max, number: 0 }
    }

    /// Whether the next line can be had without waiting for the input.
    pub fn at_hand(&self) -> bool {
        memchr::memchr(b'\n', self.reader.buffer()).is_some()
    }

    /// Reads the next line into `line`; `None` at the end.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<Found>> {
        line.clear();
        let mut length = 0;
        let mut ended = false;
        while !ended {
            let chunk = match self.reader.fill_buf() {
                Ok([]) => break,
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (bytes, taken) = match memchr::memchr(b'\n', chunk) {
                Some(at) => (&chunk[..at], at + 1),
                None => (chunk, chunk.len()),
            };
            ended = taken > bytes.len();
            length += bytes.len();
            // One more than is taken, for a carriage return.
            if length <= self.bytes_max + 1 {
                line.extend_from_slice(bytes);
            }
            self.reader.consume(taken);
        }
        if length == 0 && !ended {
            return Ok(None);
        }
        self.number += 1;
        if line.last() == Some(&b'\r') {
            line.pop();
            length -= 1;
        }
        Ok(Some(if length > self.bytes_max { Found::TooLong(length) } else { Found::Line }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_exact_numbers_and_long_ones_do_not_fill_memory() {
        let text = b"one\r\n\nxxxxxxxxxxxx\nlast";
        let mut lines = Lines::new(&text[..], 8);
        let mut line = Vec::new();
        let mut found = Vec::new();
        while let Some(next) = lines.next(&mut line).unwrap() {
            found.push((lines.number, next, String::from_utf8(line.clone()).unwrap()));
        }
        assert_eq!(found[0], (1, Found::Line, "one".to_owned()));
        assert_eq!(found[1], (2, Found::Line, String::new()));
        assert_eq!((found[2].0, found[2].1), (3, Found::TooLong(12)));
        assert_eq!(found[3], (4, Found::Line, "last".to_owned()));
        assert_eq!(found.len(), 4);
    }
}
