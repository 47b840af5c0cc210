//! Addresses of pages: paths, and what stands behind the question mark.

use std::fmt::Write;

/// A piece of a path or of a query, so that it means itself.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            // Writing to a text does not fail.
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// The page of a tenant's fleet.
pub fn fleet(tenant: &str) -> String {
    format!("/tenants/{}", encoded(tenant))
}

/// The page of a device.
pub fn device(tenant: &str, device_id: &str) -> String {
    // A path segment of dots alone would be walked, not named.
    let id = match device_id {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        id => encoded(id),
    };
    format!("/tenants/{}/devices/{id}", encoded(tenant))
}

/// What stands behind the question mark.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Without these.
    pub fn without(&self, names: &[&str]) -> Query {
        Query(self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect())
    }

    /// With this value of a parameter, and no other of it.
    pub fn with(&self, name: &str, value: &str) -> Query {
        let mut query = self.without(&[name]);
        query.0.push((name.to_owned(), value.to_owned()));
        query
    }

    /// Behind a path.
    pub fn behind(&self, path: &str) -> String {
        let mut out = path.to_owned();
        for ((name, value), mark) in self.0.iter().zip(std::iter::once('?').chain(std::iter::repeat('&'))) {
            let _ = write!(out, "{mark}{}={}", encoded(name), encoded(value));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_an_address_means_itself() {
        assert_eq!(device("acme", "a b/ü?"), "/tenants/acme/devices/a%20b%2F%C3%BC%3F");
        let query = Query::default().with("label", "site:a&b").with("x", "1").with("label", "c");
        assert_eq!(query.behind("/t"), "/t?x=1&label=c");
        assert_eq!(query.without(&["x", "label"]).behind("/t"), "/t");
        assert_eq!(device("acme", ".."), "/tenants/acme/devices/%2E%2E");
    }
}
