//! The query language of device lists, as far as lists can answer it (Cumulocity C30, C31).
//!
//! A query becomes an expression, the expression alternatives, and each alternative a filter of ours: what one cannot say
//! the language does not have here.

use crate::domain::event::ClientKind;
use crate::domain::facet::{Availability, Push};
use crate::domain::policy::Severity;
use crate::domain::time::Timestamp;
use crate::http::face::time_in;
use crate::http::problem::Problem;
use crate::query::cells::Time;
use crate::query::filter::{BadFilter, Filter, Sort};
use crate::query::pattern::{Pattern, Text};

use super::objects::{push_status, send_status};
use super::syntax::{Cursor, Operator, sections};

/// Alternatives that a query may come to: each of them goes through the fleet.
const ALTERNATIVES_MAX: usize = 32;

/// What can be asked, for whoever asked for something else.
pub const SUPPORTED: &str = "supported are c8y_Availability.status, c8y_Connection.status, type, name and id with eq and ne \
    (* stands for any letters in type, name and id); c8y_Availability.lastMessage, lastUpdated, \
    c8y_RequiredAvailability.responseInterval and c8y_ActiveAlarmsStatus.critical, .major, .minor and .warning with eq, ne, \
    gt, ge, lt and le; has(FRAGMENT); and, or, not and brackets; $orderby of id, lastUpdated or c8y_Availability.lastMessage";

/// Fragments that a managed object may have.
const FRAGMENTS: &str = "c8y_IsDevice, c8y_Availability, c8y_Connection, c8y_RequiredAvailability, c8y_ActiveAlarmsStatus; \
    none has c8y_IsDeviceGroup or c8y_IsBinary";

/// What is asked of a device.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// All of these.
    All(Vec<Expr>),
    /// One of these.
    Any(Vec<Expr>),
    /// This.
    Is(Term),
}

/// What a filter can say.
#[derive(Clone, PartialEq, Debug)]
pub enum Term {
    /// A parameter of the filter language has one of these words, or none of them.
    Words(&'static str, Vec<&'static str>, bool),
    /// A text looks like this, or does not.
    Text(Text, Pattern, bool),
    /// A time lies at the first one or later, and before the second; it is not never.
    Within(Time, Option<Timestamp>, Option<Timestamp>),
    /// A time is never.
    Never(Time),
    /// The required interval has so many minutes, from and below.
    Minutes(i32, i32),
}

/// A query, read.
#[derive(Debug)]
pub struct Query {
    /// Which devices; `None`: all.
    pub filter: Option<Expr>,
    /// In which order.
    pub sort: Option<Sort>,
}

/// Reads a query: a filter alone, or `$filter=…` and `$orderby=…`. `name` is the parameter that it was said by.
///
/// # Errors
/// It is none, or asks for what lists cannot answer: what they can.
pub fn read(name: &str, text: &str, now: Timestamp) -> Result<Query, Problem> {
    let bad = |why: String| Problem::from(BadFilter::new(name, format!("{why}; {SUPPORTED}")));
    let (filter, order) = sections(text).map_err(bad)?;
    let filter = match filter {
        "" => None,
        text => {
            let mut cursor = Cursor::new(text).map_err(bad)?;
            Some(cursor.expression(&mut |asked| term(asked, now)).map_err(bad)?)
        }
    };
    let sort = match order {
        "" => None,
        text => Some(order_of(&text.replace('+', " ")).map_err(bad)?),
    };
    Ok(Query { filter, sort })
}

fn order_of(text: &str) -> Result<Sort, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (field, is_descending) = match *words {
        [field] | [field, "asc"] => (field, false),
        [field, "desc"] => (field, true),
        _ => return Err(format!("lists are not ordered by {text:?}")),
    };
    match (time_field(field), field, is_descending) {
        (Some(time), ..) => Ok(Sort::By(time, is_descending)),
        (None, "id", false) => Ok(Sort::Id),
        _ => Err(format!("lists are not ordered by {text:?}")),
    }
}

/// That it is a device, not an application.
pub fn is_device() -> Expr {
    Expr::Is(Term::Words("clientKind", vec![ClientKind::Application.word()], false))
}

/// That it has exactly this type.
pub fn is_of_type(wanted: &str) -> Expr {
    Expr::Is(Term::Text(Text::Type, Pattern::exact(wanted), true))
}

/// That it has a fragment. `name` is the parameter that says so.
///
/// # Errors
/// No managed object has such a fragment: those that there are.
pub fn has(name: &str, fragment: &str) -> Result<Expr, Problem> {
    has_fragment(fragment).map_err(|why| BadFilter::new(name, why).into())
}

fn has_fragment(fragment: &str) -> Result<Expr, String> {
    let no = |name, word| Expr::Is(Term::Words(name, vec![word], false));
    Ok(match fragment {
        "c8y_IsDevice" => is_device(),
        "c8y_RequiredAvailability" => no("availability", Availability::NotMonitored.word()),
        "c8y_Connection" => no("push", Push::NotMonitored.word()),
        "c8y_Availability" => {
            let has_status = words("availability", Availability::ALL, |one| send_status(one).is_some());
            Expr::Any(vec![has_status, Expr::Is(Term::Within(Time::LastMessage, None, None))])
        }
        "c8y_ActiveAlarmsStatus" => Expr::All(Vec::new()),
        "c8y_IsDeviceGroup" | "c8y_IsBinary" => Expr::Any(Vec::new()),
        other => {
            return Err(format!("no managed object here has a fragment {other:?}; there are {FRAGMENTS}"));
        }
    })
}

trait Word: Copy {
    fn of(self) -> &'static str;
}

impl Word for Availability {
    fn of(self) -> &'static str {
        self.word()
    }
}

impl Word for Push {
    fn of(self) -> &'static str {
        self.word()
    }
}

/// The words of a facet that are taken.
fn words<T: Word>(name: &'static str, all: &[T], is_taken: impl Fn(T) -> bool) -> Expr {
    let taken = all.iter().filter(|one| is_taken(**one)).map(|one| one.of()).collect();
    Expr::Is(Term::Words(name, taken, true))
}

/// What a query asks about one thing.
pub enum Asked<'q> {
    /// `has(FRAGMENT)`
    Has(&'q str),
    /// A field, held against a value.
    Compare(&'q str, Operator, &'q str),
}

fn time_field(field: &str) -> Option<Time> {
    match field {
        "c8y_Availability.lastMessage" => Some(Time::LastMessage),
        "lastUpdated" | "lastUpdated.date" => Some(Time::LastUpdated),
        _ => None,
    }
}

fn term(asked: Asked<'_>, now: Timestamp) -> Result<Expr, String> {
    let (field, operator, value) = match asked {
        Asked::Has(fragment) => return has_fragment(fragment),
        Asked::Compare(field, operator, value) => (field, operator, value),
    };
    if let Some(time) = time_field(field) {
        return compare_time(time, operator, time_in(value, now)?);
    }
    if let Some(severity) = field.strip_prefix("c8y_ActiveAlarmsStatus.") {
        let severity = Severity::from_word(&severity.to_ascii_uppercase())
            .filter(|_| severity.bytes().all(|byte| byte.is_ascii_lowercase()))
            .ok_or_else(|| format!("{field:?} cannot be asked for"))?;
        return Ok(compare_alarms(severity.word(), operator, whole(value)?));
    }
    let is_equal = match (field, operator) {
        ("c8y_RequiredAvailability.responseInterval", _) => {
            return Ok(compare_minutes(operator, whole(value)?));
        }
        (_, Operator::Eq) => true,
        (_, Operator::Ne) => false,
        ("c8y_Availability.status" | "c8y_Connection.status" | "type" | "name" | "id", _) => {
            return Err(format!("{field:?} cannot be compared by {}", operator.word()));
        }
        _ => return Err(format!("{field:?} cannot be asked for")),
    };
    let text = |of: Text| Ok(Expr::Is(Term::Text(of, Pattern::new(value), true)));
    let found = match field {
        "c8y_Availability.status" => status(value, Availability::ALL, send_status, "availability"),
        "c8y_Connection.status" => status(value, Push::ALL, push_status, "push"),
        "type" => text(Text::Type),
        "name" => text(Text::Name),
        "id" => text(Text::Id),
        _ => Err(format!("{field:?} cannot be asked for")),
    }?;
    Ok(if is_equal { found } else { found.not() })
}

fn status<T: Word>(
    value: &str,
    all: &[T],
    status: impl Fn(T) -> Option<&'static str>,
    name: &'static str,
) -> Result<Expr, String> {
    let known: Vec<&str> = all.iter().filter_map(|one| status(*one)).collect();
    if !known.contains(&value) {
        return Err(format!("the status {value:?} is none of {}", known.join(", ")));
    }
    Ok(words(name, all, |one| status(one) == Some(value)))
}

fn whole(value: &str) -> Result<i32, String> {
    value.parse().map_err(|_| format!("{value:?} is no whole number"))
}

fn compare_time(time: Time, operator: Operator, at: Timestamp) -> Result<Expr, String> {
    let within = |from, below| Expr::Is(Term::Within(time, from, below));
    Ok(match operator {
        Operator::Eq => within(Some(at), Some(at.next())),
        Operator::Ne => within(Some(at), Some(at.next())).not(),
        Operator::Ge => within(Some(at), None),
        Operator::Gt => within(Some(at.next()), None),
        Operator::Lt => within(None, Some(at)),
        Operator::Le => within(None, Some(at.next())),
    })
}

/// Beyond every number of minutes.
const MINUTES: (i32, i32) = (i16::MIN as i32, i16::MAX as i32 + 1);

fn compare_minutes(operator: Operator, minutes: i32) -> Expr {
    let next = minutes.saturating_add(1);
    let is = |from, below| Expr::Is(Term::Minutes(from, below));
    match operator {
        Operator::Eq => is(minutes, next),
        Operator::Ne => is(minutes, next).not(),
        Operator::Ge => is(minutes, MINUTES.1),
        Operator::Gt => is(next, MINUTES.1),
        Operator::Lt => is(MINUTES.0, minutes),
        Operator::Le => is(MINUTES.0, next),
    }
}

/// How many alarms of a severity are not cleared: none or one here.
fn compare_alarms(severity: &'static str, operator: Operator, count: i32) -> Expr {
    let is_open = Expr::Is(Term::Words("severity", vec![severity], true));
    match (operator.holds(&0, &count), operator.holds(&1, &count)) {
        (true, true) => Expr::All(Vec::new()),
        (false, false) => Expr::Any(Vec::new()),
        (false, true) => is_open,
        (true, false) => is_open.not(),
    }
}

impl Expr {
    /// The opposite. What is not there is not equal to anything, nor earlier, nor later.
    pub fn not(self) -> Expr {
        match self {
            Expr::All(all) => Expr::Any(all.into_iter().map(Expr::not).collect()),
            Expr::Any(any) => Expr::All(any.into_iter().map(Expr::not).collect()),
            Expr::Is(term) => match term {
                // A severity is one of an open alarm.
                Term::Words("severity", words, taken) => Expr::Any(vec![
                    Expr::Is(Term::Words("alarm", vec!["none"], true)),
                    Expr::Is(Term::Words("severity", words, !taken)),
                ]),
                Term::Words(name, words, taken) => Expr::Is(Term::Words(name, words, !taken)),
                Term::Text(of, pattern, wanted) => Expr::Is(Term::Text(of, pattern, !wanted)),
                Term::Never(time) => Expr::Is(Term::Within(time, None, None)),
                Term::Within(time, from, below) => {
                    let mut any = vec![Expr::Is(Term::Never(time))];
                    any.extend(from.map(|from| Expr::Is(Term::Within(time, None, Some(from)))));
                    any.extend(below.map(|below| Expr::Is(Term::Within(time, Some(below), None))));
                    Expr::Any(any)
                }
                Term::Minutes(from, below) => {
                    let none = Availability::NotMonitored.word();
                    Expr::Any(vec![
                        Expr::Is(Term::Words("availability", vec![none], true)),
                        Expr::Is(Term::Minutes(MINUTES.0, from)),
                        Expr::Is(Term::Minutes(below, MINUTES.1)),
                    ])
                }
            },
        }
    }

    /// Its alternatives, each a list of terms that all must hold; `None`: there are too many.
    fn alternatives(&self) -> Option<Vec<Vec<Term>>> {
        match self {
            Expr::Is(term) => Some(vec![vec![term.clone()]]),
            Expr::Any(any) => {
                let mut found: Vec<Vec<Term>> = Vec::new();
                for more in any {
                    for more in more.alternatives()? {
                        let is_joined = found.iter_mut().any(|one| join(one, &more));
                        if !is_joined {
                            found.push(more);
                        }
                    }
                    if found.len() > ALTERNATIVES_MAX {
                        return None;
                    }
                }
                Some(found)
            }
            Expr::All(all) => {
                let mut found: Vec<Vec<Term>> = vec![Vec::new()];
                for one in all {
                    let more = one.alternatives()?;
                    if found.len() * more.len() > ALTERNATIVES_MAX {
                        return None;
                    }
                    let mut both = Vec::with_capacity(found.len() * more.len());
                    for first in &found {
                        both.extend(more.iter().map(|second| [&**first, &**second].concat()));
                    }
                    found = both;
                }
                Some(found)
            }
        }
    }
}

/// Makes one alternative of two that ask for words of the same fact and for nothing else, if these are such.
fn join(one: &mut [Term], other: &[Term]) -> bool {
    match (one, other) {
        ([Term::Words(name, words, true)], [Term::Words(same, more, true)]) if name == same => {
            words.extend(more);
            true
        }
        _ => false,
    }
}

/// Filters of which a device must satisfy one; at least one of them.
///
/// # Errors
/// There would be too many of them.
pub fn filters(expression: &Expr) -> Result<Vec<Filter>, Problem> {
    let alternatives = expression.alternatives().ok_or_else(|| {
        let why = format!("it comes to more than {ALTERNATIVES_MAX} alternatives; ask in several queries");
        BadFilter::new("query", why)
    })?;
    let mut filters = Vec::with_capacity(alternatives.len());
    for terms in alternatives {
        let mut filter = Filter::default();
        terms.iter().try_for_each(|term| add(&mut filter, term))?;
        filters.push(filter);
    }
    if filters.is_empty() {
        let mut nobody = Filter::default();
        let all = Availability::ALL.iter().map(|one| one.word()).collect();
        add(&mut nobody, &Term::Words("availability", all, false))?;
        filters.push(nobody);
    }
    Ok(filters)
}

fn add(filter: &mut Filter, term: &Term) -> Result<(), BadFilter> {
    match term {
        Term::Words(name, words, taken) => {
            let said: Vec<String> =
                words.iter().map(|word| format!("{}{word}", if *taken { "" } else { "!" })).collect();
            // None of its words is relative to now.
            filter.read(name, &said.join(","), Timestamp::NEVER)?;
        }
        Term::Text(of, pattern, wanted) => filter.text(*of, pattern.clone(), *wanted),
        Term::Within(time, from, below) => {
            filter.since(*time, *from);
            if let Some(below) = below {
                filter.before(*time, *below);
            }
        }
        Term::Never(time) => filter.never(*time),
        Term::Minutes(from, below) => filter.minutes(*from, *below),
    }
    Ok(())
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
