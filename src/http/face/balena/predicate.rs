//! Filters held against the properties that there are, and against devices.
//!
//! What looks at statuses alone is decided once for each combination of them that occurs, what looks at the application alone once for
//! each of them; so most filters cost a device no more than those of the native API do.

use super::fields::{DeviceField, Field, Resource, Scope, Seen, Shape, Source, Val, has_had_tunnel, rank};
use super::syntax::{Expr, Op, Operand, Part, Wrong};
use crate::domain::time::Timestamp;
use crate::http::face::time_in;
use crate::query::cells::{Cells, Facts, Moment, Time};
use crate::query::columns::{Chunk, Found, Selection};
use crate::query::fleet::Tenant;

/// Combinations of statuses that are remembered at a time: a power of two.
const REMEMBERED: usize = 256;

/// A value of something, or always the same one.
#[derive(Clone, PartialEq, Debug)]
pub enum Term {
    /// A property.
    Field(Field),
    /// Always this.
    Always(Val<'static>),
    /// In lower case.
    Lower(Box<Term>),
    /// In upper case.
    Upper(Box<Term>),
}

/// A condition over properties that there are.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    /// Always this.
    Always(bool),
    /// Any of these.
    Or(Vec<Test>),
    /// All of these.
    And(Vec<Test>),
    /// Not this.
    Not(Box<Test>),
    /// Two values compared.
    Compare(Op, Term, Term),
    /// One of these values.
    In(Term, Vec<Val<'static>>),
    /// A part of a text.
    Has(Part, Term, Term),
}

impl Term {
    fn value<'s, 'v: 's>(&'s self, of: &impl Fn(Field) -> Val<'v>) -> Val<'s> {
        match self {
            Term::Field(field) => of(*field),
            Term::Always(value) => value.borrowed(),
            Term::Lower(term) => match term.value(of) {
                Val::Text(text) => Val::Text(text.to_lowercase().into()),
                other => other,
            },
            Term::Upper(term) => match term.value(of) {
                Val::Text(text) => Val::Text(text.to_uppercase().into()),
                other => other,
            },
        }
    }

    /// What has to be looked at, as bits by [`Source`].
    fn sources(&self) -> u8 {
        match self {
            Term::Field(field) => 1 << field.source() as u8,
            Term::Always(_) => 0,
            Term::Lower(term) | Term::Upper(term) => term.sources(),
        }
    }

    /// The small facts that have to be looked at.
    fn word(&self) -> u64 {
        match self {
            Term::Field(field) => field.word(),
            Term::Always(_) => 0,
            Term::Lower(term) | Term::Upper(term) => term.word(),
        }
    }

    fn shape(&self) -> Option<Shape> {
        match self {
            Term::Field(field) => Some(field.shape()),
            Term::Always(Val::Null) => None,
            Term::Always(Val::Bool(_)) => Some(Shape::Bool),
            Term::Always(Val::Number(_)) => Some(Shape::Number),
            Term::Always(Val::Time(_)) => Some(Shape::Time),
            Term::Always(Val::Text(_)) | Term::Lower(_) | Term::Upper(_) => Some(Shape::Text),
        }
    }
}

impl Test {
    /// Whether something satisfies it. What is not there equals nothing but null, and is neither less nor more than anything.
    pub fn holds<'v>(&self, of: &impl Fn(Field) -> Val<'v>) -> bool {
        match self {
            Test::Always(always) => *always,
            Test::Or(all) => all.iter().any(|test| test.holds(of)),
            Test::And(all) => all.iter().all(|test| test.holds(of)),
            Test::Not(test) => !test.holds(of),
            Test::Compare(op, left, right) => {
                let (left, right) = (left.value(of), right.value(of));
                let order = left.compare(&right);
                match op {
                    Op::Eq => left == right,
                    Op::Ne => left != right,
                    Op::Lt => order.is_some_and(|order| order.is_lt()),
                    Op::Le => order.is_some_and(|order| order.is_le()),
                    Op::Gt => order.is_some_and(|order| order.is_gt()),
                    Op::Ge => order.is_some_and(|order| order.is_ge()),
                }
            }
            Test::In(term, values) => {
                let value = term.value(of);
                values.contains(&value)
            }
            Test::Has(part, whole, within) => match (whole.value(of), within.value(of)) {
                (Val::Text(whole), Val::Text(within)) => match part {
                    Part::Begin => whole.starts_with(&*within),
                    Part::End => whole.ends_with(&*within),
                    Part::Within => whole.contains(&*within),
                },
                _ => false,
            },
        }
    }

    /// What has to be looked at, as bits by [`Source`].
    fn sources(&self) -> u8 {
        match self {
            Test::Always(_) => 0,
            Test::Or(all) | Test::And(all) => all.iter().fold(0, |sources, test| sources | test.sources()),
            Test::Not(test) => test.sources(),
            Test::Compare(_, left, right) | Test::Has(_, left, right) => left.sources() | right.sources(),
            Test::In(term, _) => term.sources(),
        }
    }

    /// The small facts that have to be looked at, as bits of a row's word.
    fn word(&self) -> u64 {
        match self {
            Test::Always(_) => 0,
            Test::Or(all) | Test::And(all) => all.iter().fold(0, |word, test| word | test.word()),
            Test::Not(test) => test.word(),
            Test::Compare(_, left, right) | Test::Has(_, left, right) => left.word() | right.word(),
            Test::In(term, _) => term.word(),
        }
    }
}

/// Holds a filter against the properties of a resource.
///
/// # Errors
/// A property that there is not, or values that cannot be compared.
pub fn check(expr: &Expr, of: Resource, now: Timestamp) -> Result<Test, Wrong> {
    Checker { root: of, names: Vec::new(), now }.check(expr)
}

struct Checker {
    root: Resource,
    /// The names of `any`, the innermost last.
    names: Vec<(String, Resource)>,
    now: Timestamp,
}

impl Checker {
    fn check(&mut self, expr: &Expr) -> Result<Test, Wrong> {
        match expr {
            Expr::Or(all) => Ok(Test::Or(all.iter().map(|one| self.check(one)).collect::<Result<_, _>>()?)),
            Expr::And(all) => Ok(Test::And(all.iter().map(|one| self.check(one)).collect::<Result<_, _>>()?)),
            Expr::Not(one) => Ok(Test::Not(Box::new(self.check(one)?))),
            Expr::Compare(op, left, right, at) => {
                let (mut left, mut right) = (self.term(left, *at)?, self.term(right, *at)?);
                self.match_up(&mut left, &mut right, *at)?;
                Ok(Test::Compare(*op, left, right))
            }
            Expr::In(left, all, at) => {
                let mut left = self.term(left, *at)?;
                let value = |one: &Operand| {
                    let mut term = self.term(one, *at)?;
                    self.match_up(&mut left, &mut term, *at)?;
                    match term {
                        Term::Always(value) => Ok(value),
                        _ => {
                            Err(Wrong { at: *at, message: "in (…) takes texts, numbers and times".into() })
                        }
                    }
                };
                let values = all.iter().map(value).collect::<Result<_, _>>()?;
                Ok(Test::In(left, values))
            }
            Expr::Has(part, whole, within, at) => {
                let (whole, within) = (self.term(whole, *at)?, self.term(within, *at)?);
                match (whole.shape(), within.shape()) {
                    (Some(Shape::Text), Some(Shape::Text)) => Ok(Test::Has(*part, whole, within)),
                    _ => Err(Wrong { at: *at, message: "both must be texts here".into() }),
                }
            }
            Expr::Any(path, name, within, at) => {
                let behind = self.behind(path, *at)?;
                self.names.push((name.clone(), behind));
                let test = self.check(within);
                self.names.pop();
                test
            }
            Expr::Holds(operand, at) => match self.term(operand, *at)? {
                Term::Always(Val::Bool(always)) => Ok(Test::Always(always)),
                term if term.shape() == Some(Shape::Bool) => {
                    Ok(Test::Compare(Op::Eq, term, Term::Always(Val::Bool(true))))
                }
                _ => Err(Wrong {
                    at: *at,
                    message: "this is neither true nor false; compare it with something".into(),
                }),
            },
        }
    }

    /// What a path leads to: of each name there is one thing at most, so that `any` asks the same as the path.
    fn behind(&self, path: &[String], at: usize) -> Result<Resource, Wrong> {
        let (mut here, rest) = self.begin(path);
        for name in rest {
            here = here.behind(name).ok_or_else(|| unknown(here, name, at))?;
        }
        Ok(here)
    }

    fn begin<'p>(&self, path: &'p [String]) -> (Resource, &'p [String]) {
        let named = path.split_first().and_then(|(first, rest)| {
            let mut names = self.names.iter().rev();
            names.find(|(name, _)| name == first).map(|(_, resource)| (*resource, rest))
        });
        named.unwrap_or((self.root, path))
    }

    fn term(&self, operand: &Operand, at: usize) -> Result<Term, Wrong> {
        Ok(match operand {
            Operand::Path(path, at) => {
                let (last, before) = path.split_last().ok_or_else(|| unknown(self.root, "", *at))?;
                let mut here = self.root;
                if !before.is_empty() {
                    here = self.behind(before, *at)?;
                }
                Term::Field(here.asked_by(last).map_err(|message| Wrong { at: *at, message })?)
            }
            Operand::Text(text) => Term::Always(Val::Text(text.clone().into())),
            Operand::Number(number) => Term::Always(Val::Number(*number)),
            Operand::Bool(value) => Term::Always(Val::Bool(*value)),
            Operand::Time(time) => Term::Always(Val::Time(time.unwrap_or(self.now))),
            Operand::Null => Term::Always(Val::Null),
            Operand::Lower(inner) => Term::Lower(Box::new(self.text(inner, at)?)),
            Operand::Upper(inner) => Term::Upper(Box::new(self.text(inner, at)?)),
        })
    }

    fn text(&self, operand: &Operand, at: usize) -> Result<Term, Wrong> {
        let term = self.term(operand, at)?;
        match term.shape() {
            Some(Shape::Text) => Ok(term),
            _ => Err(Wrong { at, message: "only texts have letters to turn".into() }),
        }
    }

    /// Makes times of texts that stand beside a time; whatever else differs cannot be compared.
    fn match_up(&self, left: &mut Term, right: &mut Term, at: usize) -> Result<(), Wrong> {
        let (of_left, of_right) = (left.shape(), right.shape());
        for (one, other) in [(of_left, &mut *right), (of_right, &mut *left)] {
            if one == Some(Shape::Time)
                && let Term::Always(Val::Text(text)) = other
            {
                let time = time_in(text, self.now).map_err(|message| Wrong { at, message })?;
                *other = Term::Always(Val::Time(time));
            }
        }
        match (left.shape(), right.shape()) {
            (Some(one), Some(other)) if one != other => {
                let word = |shape: Shape| match shape {
                    Shape::Bool => "true or false",
                    Shape::Number => "a number",
                    Shape::Text => "a text",
                    Shape::Time => "a time",
                };
                let message = format!("{} cannot be compared with {}", word(one), word(other));
                Err(Wrong { at, message })
            }
            _ => Ok(()),
        }
    }
}

fn unknown(of: Resource, name: &str, at: usize) -> Wrong {
    Wrong { at, message: of.unknown(name) }
}

/// A filter of devices, taken apart: what is cheap is asked first.
#[derive(Clone, Debug, Default)]
pub struct Predicate {
    word: Vec<Test>,
    /// The small facts that these look at.
    mask: u64,
    of_type: Vec<Test>,
    bounds: Vec<Bound>,
    rest: Vec<Test>,
    /// Only these devices can satisfy it.
    pub only: Option<Only>,
    /// Only devices whose id begins so can.
    pub prefix: Option<String>,
    /// Only devices whose name, or id, begins so can: who has no name is called by the id.
    pub called: Option<String>,
}

/// A time held against others: its rank, of which that of never is 0, lies within these, or does not.
#[derive(Clone, Copy, Debug)]
struct Bound {
    time: DeviceField,
    from: u64,
    below: u64,
    wanted: bool,
}

impl Bound {
    fn new(time: DeviceField, op: Op, value: &Val<'_>) -> Option<Bound> {
        let (from, below) = match (op, value) {
            (Op::Eq | Op::Ne, Val::Null) => (0, 1),
            (op, Val::Time(at)) => {
                let rank = Moment::new(*at).rank();
                match op {
                    Op::Eq | Op::Ne => (rank, rank + 1),
                    Op::Lt => (1, rank),
                    Op::Le => (1, rank + 1),
                    Op::Gt => (rank + 1, u64::MAX),
                    Op::Ge => (rank, u64::MAX),
                }
            }
            _ => return None,
        };
        Some(Bound { time, from, below, wanted: op != Op::Ne })
    }

    /// Leaves the rows of a chunk that satisfy it: a column at a time, as the filters of the native API.
    fn narrow(&self, chunk: &Chunk, rows: &mut Selection) {
        if self.time == DeviceField::ModifiedAt {
            return rows.retain(chunk.times(Time::LastUpdated), |at| self.takes(at.rank()));
        }
        let mut others = Selection::default();
        if self.time == DeviceField::LastVpnEvent {
            // Whoever never had a tunnel: never.
            others.clone_from(rows);
            rows.retain(&chunk.words, has_had_tunnel);
            others.without(rows);
            others.retain_at(|_| self.takes(0));
        }
        match chunk.moved() {
            Some(moved) => rows.retain(moved, |at| self.takes(at.rank())),
            None => {
                let went = chunk.times(Time::LastDisconnect);
                rows.retain_with(chunk.times(Time::LastConnect), |at, came| {
                    self.takes(came.rank().max(went[at].rank()))
                });
            }
        }
        rows.join(&others);
    }

    #[inline]
    fn takes(&self, rank: u64) -> bool {
        (self.from..self.below).contains(&rank) == self.wanted
    }
}

/// Devices by name.
#[derive(Clone, PartialEq, Debug)]
pub enum Only {
    /// By `uuid`.
    Uuids(Vec<String>),
    /// By `id`.
    Ids(Vec<u64>),
}

/// What was decided for combinations of statuses, each at a place of its own or in the place of another, and for types.
#[derive(Debug)]
pub struct Memory {
    words: Box<[(u64, Decided); REMEMBERED]>,
    /// By number of the type; empty: not decided yet.
    types: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decided {
    NotYet,
    No,
    Yes,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { words: Box::new([(0, Decided::NotYet); REMEMBERED]), types: Vec::new() }
    }
}

impl Decided {
    fn of(decided: bool) -> Decided {
        if decided { Decided::Yes } else { Decided::No }
    }
}

impl Predicate {
    /// Of a filter; `None`: every device.
    pub fn of(test: Option<Test>) -> Predicate {
        let mut predicate = Predicate::default();
        if let Some(test) = test {
            predicate.take(test);
        }
        predicate.rest.sort_by_key(Test::sources);
        predicate
    }

    /// Whether every device satisfies it.
    pub fn is_open(&self) -> bool {
        self.word.is_empty() && self.of_type.is_empty() && self.bounds.is_empty() && self.rest.is_empty()
    }

    fn take(&mut self, test: Test) {
        if let Test::And(all) = test {
            all.into_iter().for_each(|test| self.take(test));
            return;
        }
        if let Test::Compare(op, Term::Field(field @ Field::Device(time)), Term::Always(value)) = &test
            && field.shape() == Shape::Time
            && let Some(bound) = Bound::new(*time, *op, value)
        {
            match self
                .bounds
                .iter_mut()
                .find(|known| known.time == bound.time && known.wanted && bound.wanted)
            {
                Some(known) => {
                    (known.from, known.below) = (known.from.max(bound.from), known.below.min(bound.below));
                }
                None => self.bounds.push(bound),
            }
            return;
        }
        self.note(&test);
        const WORD_ALONE: u8 = 1 << Source::Word as u8;
        const TYPE_ALONE: u8 = 1 << Source::Type as u8;
        match test.sources() {
            0 | WORD_ALONE => {
                self.mask |= test.word();
                self.word.push(test);
            }
            TYPE_ALONE => self.of_type.push(test),
            _ => self.rest.push(test),
        }
    }

    /// Notes what makes a look-up of a scan.
    fn note(&mut self, test: &Test) {
        let (field, values) = match test {
            Test::Compare(Op::Eq, Term::Field(Field::Device(field)), Term::Always(value)) => {
                (*field, std::slice::from_ref(value))
            }
            Test::In(Term::Field(Field::Device(field)), values) => (*field, &**values),
            Test::Has(
                Part::Begin,
                Term::Field(Field::Device(DeviceField::Uuid)),
                Term::Always(Val::Text(text)),
            ) => {
                self.prefix = Some(text.to_string());
                return;
            }
            _ => return,
        };
        match field {
            DeviceField::Uuid => {
                let text = |value: &Val<'_>| match value {
                    Val::Text(text) => Some(text.to_string()),
                    _ => None,
                };
                self.only = Some(Only::Uuids(values.iter().filter_map(text).collect()));
            }
            DeviceField::Id => {
                let whole = |value: &Val<'_>| match value {
                    Val::Number(number) if *number >= 0.0 && number.fract() == 0.0 => Some(*number as u64),
                    _ => None,
                };
                self.only = Some(Only::Ids(values.iter().filter_map(whole).collect()));
            }
            DeviceField::DeviceName => {
                if let [Val::Text(name)] = values {
                    self.called = Some(name.to_string());
                }
            }
            _ => {}
        }
    }

    /// Whether the device of a row satisfies it.
    pub fn takes(&self, scope: &Scope<'_>, tenant: &Tenant, index: u32, memory: &mut Memory) -> bool {
        let at = tenant.at(index);
        (self.word.is_empty() || self.takes_word(scope, at.word(), memory))
            && (self.of_type.is_empty() || self.types(scope, tenant, memory)[at.device_type() as usize])
            && self.bounds.iter().all(|bound| bound.takes(rank(bound.time, &at, at.moved())))
            && (self.rest.is_empty() || self.takes_rest(scope, tenant, index))
    }

    /// Leaves the rows of a chunk that satisfy it.
    pub fn narrow(&self, scope: &Scope<'_>, tenant: &Tenant, found: &mut Found<'_>, memory: &mut Memory) {
        let Found { chunk, first, rows } = found;
        let first = *first;
        if !self.word.is_empty() {
            rows.retain(&chunk.words, |word| self.takes_word(scope, word, memory));
        }
        if !self.of_type.is_empty() {
            let types = self.types(scope, tenant, memory);
            rows.retain(&chunk.types, |number| types[number as usize]);
        }
        for bound in &self.bounds {
            bound.narrow(chunk, rows);
        }
        if !self.rest.is_empty() {
            found.retain_texts(|at, _| self.takes_rest(scope, tenant, first + at as u32));
        }
    }

    /// What lies elsewhere than in the columns.
    fn takes_rest(&self, scope: &Scope<'_>, tenant: &Tenant, index: u32) -> bool {
        let seen = Seen::of(tenant, index);
        self.rest.iter().all(|test| test.holds(&|field| scope.of_device(field, &seen)))
    }

    #[inline]
    fn takes_word(&self, scope: &Scope<'_>, word: u64, memory: &mut Memory) -> bool {
        let word = word & self.mask;
        let place = word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - REMEMBERED.trailing_zeros());
        match memory.words[place as usize] {
            (known, decided) if known == word && decided != Decided::NotYet => decided == Decided::Yes,
            _ => self.decide(scope, word, &mut memory.words[place as usize]),
        }
    }

    #[cold]
    fn decide(&self, scope: &Scope<'_>, word: u64, place: &mut (u64, Decided)) -> bool {
        let cells = Cells { word, ..Cells::default() };
        let seen = Seen { cells, id: "", name: None, device_type: None, moved: Default::default() };
        let decided = self.word.iter().all(|test| test.holds(&|field| scope.of_device(field, &seen)));
        *place = (word, Decided::of(decided));
        decided
    }

    /// Which types satisfy it, by their numbers.
    fn types<'m>(&self, scope: &Scope<'_>, tenant: &Tenant, memory: &'m mut Memory) -> &'m [bool] {
        if memory.types.is_empty() {
            let numbers = tenant.types().map(|(number, ..)| number).max().unwrap_or(0);
            let takes = |number| {
                let device_type = tenant.type_of(number);
                let (cells, moved) = Default::default();
                let seen = Seen { cells, id: "", name: None, device_type, moved };
                self.of_type.iter().all(|test| test.holds(&|field| scope.of_device(field, &seen)))
            };
            memory.types = (0..=numbers).map(takes).collect();
        }
        &memory.types
    }
}

#[cfg(test)]
#[path = "predicate_tests.rs"]
mod tests;
