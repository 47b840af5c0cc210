//! Why a record is refused: a bounded word for counters, and a sentence for whoever sent it.

use std::borrow::Cow;
use std::fmt;

use crate::domain::event::words;

words!(
    /// Why a record went to the dead letters.
    Reason {
        /// It is no JSON, or no JSON object.
        NotJson = "not_json",
        /// It is neither JSON nor an event in protobuf.
        NotProtobuf = "not_protobuf",
        /// It ends in the middle.
        Truncated = "truncated",
        /// It has no payload.
        Empty = "empty",
        /// It is larger than records may be.
        Oversize = "oversize",
        /// Its content-type header names a format that is not understood.
        UnknownContentType = "unknown_content_type",
        /// It begins like a Confluent frame and does not go on like one.
        BadFraming = "bad_framing",
        /// Nested deeper than any event is.
        TooDeep = "too_deep",
        /// A key of the JSON form stands twice in one object.
        DuplicateKey = "duplicate_key",
        /// The envelope holds no event.
        NoBody = "no_body",
        /// The envelope holds more than one event.
        TwoBodies = "two_bodies",
        /// No tenant, or no device id.
        MissingIdentity = "missing_identity",
        /// A tenant or device id that may not be.
        BadIdentity = "bad_identity",
        /// A field that the event needs is not there.
        MissingField = "missing_field",
        /// A word or number that stands for nothing.
        UnknownEnum = "unknown_enum",
        /// A value of the wrong kind or out of its range.
        BadValue = "bad_value",
        /// A text or a policy that is too long, or too many labels.
        TooLong = "too_long",
        /// A key of a policy that does not exist.
        UnknownPolicyKey = "unknown_policy_key",
        /// An event of a device whose record has no key.
        NoKey = "no_key",
        /// An event of a device whose record has another key than `tenant/device_id`.
        WrongKey = "wrong_key",
        /// A record in another partition than its key belongs to.
        WrongPartition = "wrong_partition",
        /// In `fold`: no observedAt, and no clock yet that could stand in.
        NoTime = "no_time",
    }
);

/// A record that is refused, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reject {
    /// The reason, for counters.
    pub reason: Reason,
    /// The reason, for people: which field, what is wrong with it, what it should be.
    pub message: String,
}

impl Reject {
    /// A refusal with these words.
    pub fn new(reason: Reason, message: impl Into<String>) -> Reject {
        Reject { reason, message: message.into() }
    }

    /// In `fold`: an event without a time before there is a clock.
    pub fn no_time() -> Reject {
        Reject::new(
            Reason::NoTime,
            "observedAt is missing, and no earlier line has set the clock that could stand in",
        )
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Reject {}

/// A refusal under way: it learns the names of the fields it lies in on its way out.
#[derive(Debug)]
pub(super) struct Fault {
    reason: Reason,
    /// Innermost first.
    path: Vec<Cow<'static, str>>,
    message: String,
}

/// What reading gives. The fault is boxed, so that the good case stays small.
pub(super) type Read<T> = Result<T, Box<Fault>>;

impl Fault {
    #[cold]
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { reason, path: Vec::new(), message: message.into() })
    }

    /// A fault of one field.
    #[cold]
    pub(super) fn at(
        reason: Reason,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Box<Fault> {
        Fault::new(reason, message).under(field)
    }

    /// Adds the name of the field that it lies in. What is wrong with the bytes as such tells its place by itself.
    #[cold]
    pub(super) fn under(mut self: Box<Fault>, field: impl Into<Cow<'static, str>>) -> Box<Fault> {
        if !matches!(self.reason, Reason::NotJson | Reason::Truncated | Reason::TooDeep | Reason::TwoBodies) {
            self.path.push(field.into());
        }
        self
    }

    /// Adds the index in the list that it lies in.
    #[cold]
    pub(super) fn at_index(self: Box<Fault>, index: usize) -> Box<Fault> {
        self.under(format!("[{index}]"))
    }

    #[cold]
    pub(super) fn into_reject(self) -> Reject {
        let mut message = String::new();
        for name in self.path.iter().rev() {
            if !message.is_empty() && !name.starts_with('[') {
                message.push('.');
            }
            message.push_str(name);
        }
        if !message.is_empty() {
            message.push_str(": ");
        }
        message.push_str(&self.message);
        Reject { reason: self.reason, message }
    }
}

/// A foreign text as it may stand in a message: short, and without control characters.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown = String::with_capacity(text.len().min(SHOWN) + 2);
    shown.push('"');
    for (at, c) in text.chars().enumerate() {
        if at == SHOWN {
            shown.push('…');
            break;
        }
        if c.is_control() || c == '"' || c == '\\' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.push('"');
    shown
}
