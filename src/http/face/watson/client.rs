//! Client ids: `d:{tenant}:{type}:{id}` of devices, `g:…` of gateways, `a:{tenant}:{id}` of applications (Watson W01).

use crate::domain::event::ClientKind;
use crate::http::app::App;
use crate::http::problem::{self, Problem};
use crate::query::fleet::Listed;

/// What stands in the place of a type where a device has none.
pub const UNTYPED: &str = "untyped";

/// The type of a device or gateway.
pub fn type_of(listed: &Listed) -> &str {
    listed.device_type.as_deref().filter(|known| !known.is_empty()).unwrap_or(UNTYPED)
}

/// What kind of client a device is: a device, unless it was registered as something else.
pub fn kind_of(listed: &Listed) -> ClientKind {
    listed.cells.client_kind().unwrap_or(ClientKind::Device)
}

/// The id of a client.
pub fn id_of(tenant: &str, listed: &Listed) -> String {
    let id = &listed.id;
    match kind_of(listed) {
        ClientKind::Device => format!("d:{tenant}:{}:{id}", type_of(listed)),
        ClientKind::Gateway => format!("g:{tenant}:{}:{id}", type_of(listed)),
        ClientKind::Application => format!("a:{tenant}:{id}"),
    }
}

/// The client of a tenant that has this id. Types and device ids may hold colons here: every way to read the id is
/// tried, the shortest type first.
///
/// # Errors
/// None has. The id of another tenant's client is answered in the same words.
pub fn by_id(app: &App, tenant: &str, client_id: &str) -> Result<Listed, Problem> {
    let unknown = || {
        problem::not_found(format!(
            "there is no client {client_id:?}: ids are d:{tenant}:TYPE:ID for devices, g:{tenant}:TYPE:ID for gateways, \
             a:{tenant}:ID for applications, TYPE being {UNTYPED} where there is none"
        ))
        .about(client_id)
    };
    let rest =
        client_id.split_at_checked(2).and_then(|(kind, rest)| Some((kind, rest.strip_prefix(tenant)?)));
    let (kind, rest) =
        rest.and_then(|(kind, rest)| Some((kind, rest.strip_prefix(':')?))).ok_or_else(unknown)?;
    let state = app.view.state();
    let known = state.fleet.tenant(tenant).ok_or_else(unknown)?;
    let find = |id: &str| {
        let listed = known.listed(known.find(id)?);
        // What the device is decides, not how the id was read.
        (id_of(tenant, &listed) == client_id).then_some(listed)
    };
    let found = match kind {
        "a:" => find(rest),
        "d:" | "g:" => rest.match_indices(':').find_map(|(at, _)| find(&rest[at + 1..])),
        _ => None,
    };
    found.ok_or_else(unknown)
}
