//! Pages by number, and what a page tells of itself.

use serde::Serialize;

use crate::http::app::Parameters;
use crate::http::face::Asked;
use crate::http::page::address::encoded;
use crate::http::problem::Problem;

/// Items of a page, unless `pageSize` says otherwise, and at most (C26).
const SIZE: u64 = 5;
const SIZE_MAX: u64 = 2_000;
/// The last page that can be asked for.
const PAGE_MAX: u64 = 1_000_000_000;

/// A page that is asked for.
pub struct Paging {
    size: u64,
    page: u64,
    with_pages: bool,
    with_elements: bool,
    /// Where the list stands, and what it was asked with, the page left out.
    address: String,
}

/// What a page tells of itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    current_page: u64,
    page_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_pages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_elements: Option<u64>,
}

/// A page, without its items.
#[derive(Serialize)]
pub struct Frame {
    #[serde(rename = "self")]
    own: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<String>,
    statistics: Statistics,
}

impl Paging {
    /// Takes the parameters of pages. `path` is where the list stands.
    ///
    /// # Errors
    /// A number that is none, or out of bounds.
    pub fn take(asked: &mut Asked, path: &str) -> Result<Paging, Problem> {
        let mut address = format!("{}{path}?", asked.origin);
        for (name, value) in asked.parameters.pairs().iter().filter(|(name, _)| name != "currentPage") {
            address.push_str(&format!("{}={}&", encoded(name), encoded(value)));
        }
        let parameters: &mut Parameters = &mut asked.parameters;
        Ok(Paging {
            size: parameters.whole("pageSize", 1..=SIZE_MAX)?.unwrap_or(SIZE),
            page: parameters.whole("currentPage", 1..=PAGE_MAX)?.unwrap_or(1),
            with_pages: parameters.flag("withTotalPages")?,
            with_elements: parameters.flag("withTotalElements")?,
            address,
        })
    }

    /// How many items lie before the page.
    pub fn skip(&self) -> usize {
        ((self.page - 1) * self.size) as usize
    }

    /// How many items it has at most.
    pub fn limit(&self) -> usize {
        self.size as usize
    }

    /// Whether the page tells how many items there are at all.
    pub fn wants_total(&self) -> bool {
        self.with_pages || self.with_elements
    }

    /// What stands around the items. `total`: how many there are on all pages, where that is wanted.
    pub fn frame(&self, has_next: bool, total: usize) -> Frame {
        let page = |number: u64| format!("{}currentPage={number}", self.address);
        let total = total as u64;
        Frame {
            own: page(self.page),
            next: has_next.then(|| page(self.page + 1)),
            prev: (self.page > 1).then(|| page(self.page - 1)),
            statistics: Statistics {
                current_page: self.page,
                page_size: self.size,
                total_pages: self.with_pages.then(|| total.div_ceil(self.size)),
                total_elements: self.with_elements.then_some(total),
            },
        }
    }
}

/// The items of a page, out of all that come by.
pub struct Collected<T> {
    /// Those of the page.
    pub items: Vec<T>,
    /// Whether there are more behind it.
    pub has_next: bool,
    /// How many came by.
    pub seen: usize,
}

impl<T> Collected<T> {
    /// Nothing yet.
    pub fn new() -> Collected<T> {
        Collected { items: Vec::new(), has_next: false, seen: 0 }
    }

    /// Takes what comes by; whether the page, and with it the count where that is wanted, needs more.
    pub fn take(&mut self, paging: &Paging, make: impl FnOnce() -> T) -> bool {
        let at = self.seen;
        self.seen += 1;
        let end = paging.skip() + paging.limit();
        if at >= end {
            self.has_next = true;
        } else if at >= paging.skip() {
            self.items.push(make());
        }
        !self.has_next || paging.wants_total()
    }
}
