//! What is told of what was found: `$select` and `$expand`, and the objects that they make.

use std::fmt::Write as _;

use serde_json::Value;

use super::fields::{Field, Resource, Val};
use super::predicate::{Predicate, Test, check};
use super::syntax::{self, Expand};
use crate::domain::time::Timestamp;
use crate::query::filter::BadFilter;
use crate::wire::rfc3339;

/// What can be expanded, for whoever wrote something else.
const EXPANDED: &str = "of a device belongs_to__application and is_of__device_type; of an application organization, \
     is_for__device_type and owns__device/$count($filter=…)";
/// Expansions lie in one another so deep at most.
const DEPTH_MAX: usize = 4;

/// What is told of a thing.
#[derive(Clone, Debug)]
pub struct Shown {
    /// These properties.
    pub fields: Vec<Field>,
    /// What they lead to.
    pub expanded: Vec<Expanded>,
}

/// What a property leads to, told in the place of its id.
#[derive(Clone, Debug)]
pub enum Expanded {
    /// The one thing behind it.
    One(&'static str, Shown),
    /// `owns__device/$count`: how many devices of an application satisfy a filter.
    Devices(Predicate),
}

/// Reads `$select` and `$expand` of a resource.
///
/// # Errors
/// A property that there is not, or something that is not served.
pub fn shown(
    of: Resource,
    select: Option<&str>,
    expand: Option<&str>,
    now: Timestamp,
) -> Result<Shown, BadFilter> {
    read(of, select, expand, now, 0)
}

fn read(
    of: Resource,
    select: Option<&str>,
    expand: Option<&str>,
    now: Timestamp,
    depth: usize,
) -> Result<Shown, BadFilter> {
    let refused = |message: String| BadFilter::new("$expand", message);
    let wanted = match expand {
        None => Vec::new(),
        Some(_) if depth == DEPTH_MAX => {
            return Err(refused(format!("more than {DEPTH_MAX} expansions lie in one another")));
        }
        Some(text) => syntax::expand(text).map_err(refused)?,
    };
    let mut expanded = Vec::new();
    let mut names = Vec::new();
    for one in &wanted {
        if names.contains(&&*one.name) {
            return Err(refused(format!("{} is said twice", one.name)));
        }
        names.push(&*one.name);
        expanded.push(one_expanded(of, one, now, depth)?);
    }
    let mut fields = match select.filter(|text| text.trim() != "*") {
        None => of.fields(),
        Some(text) => selected(of, text)?,
    };
    fields.retain(|field| !names.contains(&field.name()));
    Ok(Shown { fields, expanded })
}

fn selected(of: Resource, text: &str) -> Result<Vec<Field>, BadFilter> {
    let mut fields = Vec::new();
    for name in text.split(',').map(str::trim) {
        let field = of.field(name).ok_or_else(|| BadFilter::new("$select", of.unknown(name)))?;
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    Ok(fields)
}

fn one_expanded(of: Resource, one: &Expand, now: Timestamp, depth: usize) -> Result<Expanded, BadFilter> {
    let Expand { name, counts, options } = one;
    let refused = |message: String| BadFilter::new("$expand", format!("{name}: {message}"));
    let option = |known: &[&str]| {
        let unknown = options.iter().find(|(option, _)| !known.contains(&&**option));
        match unknown {
            Some((option, _)) => {
                let known = known.join(" and ");
                Err(refused(format!("{option} is not served within; served there: {known}")))
            }
            None => Ok(()),
        }
    };
    let said = |wanted: &str| options.iter().find(|(option, _)| option == wanted).map(|(_, value)| &**value);
    if of == Resource::Application && name == "owns__device" && *counts && depth == 0 {
        option(&["$filter"])?;
        let test = said("$filter").map(|text| filter(Resource::Device, text, now)).transpose();
        return Ok(Expanded::Devices(Predicate::of(test.map_err(|wrong| refused(wrong.to_string()))?)));
    }
    let field = of.field(name).filter(|field| field.is_reference() && !counts);
    match (field, of.behind(name)) {
        (Some(field), Some(behind)) => {
            option(&["$select", "$expand"])?;
            let shown = read(behind, said("$select"), said("$expand"), now, depth + 1)?;
            Ok(Expanded::One(field.name(), shown))
        }
        _ => {
            let count = if *counts { "/$count" } else { "" };
            Err(BadFilter::new(
                "$expand",
                format!("{name}{count} of {} is not served; served are {EXPANDED}", of.name()),
            ))
        }
    }
}

/// Reads a filter of a resource.
///
/// # Errors
/// It cannot be read, or asks for what there is not: where, and what is served.
pub fn filter(of: Resource, text: &str, now: Timestamp) -> Result<Test, BadFilter> {
    let test = syntax::filter(text, now).and_then(|expr| {
        // Places of properties are counted in bytes until here.
        let in_letters = |at: usize| text.get(..at).map_or(at, |before| before.chars().count());
        check(&expr, of, now).map_err(|wrong| syntax::Wrong { at: in_letters(wrong.at), ..wrong })
    });
    test.map_err(|wrong| BadFilter::new("$filter", wrong.to_string()))
}

/// Reads `$orderby` of a resource.
///
/// # Errors
/// A property that there is not, or that is told only.
pub fn order(of: Resource, text: &str) -> Result<Vec<(Field, bool)>, BadFilter> {
    let refused = |message: String| BadFilter::new("$orderby", message);
    let property =
        |(name, is_descending): (String, bool)| Ok((of.asked_by(&name).map_err(refused)?, is_descending));
    syntax::order(text).map_err(refused)?.into_iter().map(property).collect()
}

impl Shown {
    /// Writes what is told, as an object. `devices`: how many there are, for each expansion that counts, in their order.
    pub fn write<'v>(&self, out: &mut String, of: &impl Fn(Field) -> Val<'v>, devices: &[u64]) {
        out.push('{');
        let mut is_first = true;
        let mut key = |out: &mut String, name: &str| {
            out.push_str(if is_first { "\"" } else { ",\"" });
            out.push_str(name);
            out.push_str("\":");
            is_first = false;
        };
        for field in &self.fields {
            key(out, field.name());
            if field.is_reference() {
                out.push_str("{\"__id\":");
                value(out, &of(*field));
                out.push('}');
            } else {
                value(out, &of(*field));
            }
        }
        let mut devices = devices.iter();
        for expanded in &self.expanded {
            match expanded {
                Expanded::One(name, shown) => {
                    key(out, name);
                    out.push('[');
                    shown.write(out, of, &[]);
                    out.push(']');
                }
                Expanded::Devices(_) => {
                    key(out, "owns__device");
                    value(out, &Val::Number(devices.next().copied().unwrap_or(0) as f64));
                }
            }
        }
        out.push('}');
    }
}

fn value(out: &mut String, value: &Val<'_>) {
    // Writing to a text does not fail.
    let _ = match value {
        Val::Null => out.write_str("null"),
        Val::Bool(value) => write!(out, "{value}"),
        Val::Number(value) => write!(out, "{value}"),
        Val::Time(at) => write!(out, "\"{}\"", rfc3339::text(*at)),
        Val::Text(text) if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') => {
            write!(out, "\"{text}\"")
        }
        Val::Text(text) => write!(out, "{}", Value::from(&**text)),
    };
}
