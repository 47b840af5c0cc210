#![doc = include_str!("README.md")]

mod alarms;
mod audit;
mod objects;
mod paging;
mod query;
mod service;
mod syntax;
mod update;

use axum::routing::{get, put};
use serde_json::{Value, json};

use super::{Face, FaceParameter, FaceRoute, Treatment, ignored, refused, served};
use crate::http::auth::Need;
use crate::http::problem::Problem;

/// The face.
pub const FACE: Face = Face {
    name: "cumulocity",
    title: "Cumulocity",
    roots: &[
        "/inventory/",
        "/alarm/",
        "/audit/",
        // Of these nothing is served, and an error says what is.
        "/devicecontrol/",
        "/event/",
        "/identity/",
        "/measurement/",
        "/notification/",
        "/notification2/",
        "/tenant/",
        "/user/",
    ],
    merges_slashes: true,
    media,
    routes: &[
        FaceRoute {
            method: "GET",
            path: objects::OBJECTS,
            need: Need::Read,
            about: "the devices of a tenant as managed objects, in pages (C30)",
            parameters: OBJECTS,
            handler: || get(objects::list),
        },
        FaceRoute {
            method: "GET",
            path: "/inventory/managedObjects/{id}",
            need: Need::Read,
            about: "one of them",
            parameters: OBJECT,
            handler: || get(objects::one),
        },
        FaceRoute {
            method: "PUT",
            path: "/inventory/managedObjects/{id}",
            need: Need::Send,
            about: "`{}`: a heartbeat (C09); with `c8y_RequiredAvailability` sets the interval, negates it (maintenance), or with \
                    null removes it (C01 to C04): that takes the role operator",
            parameters: &[],
            handler: || put(update::put),
        },
        FaceRoute {
            method: "GET",
            path: "/inventory/managedObjects/{id}/availability",
            need: Need::Read,
            about: "last message, interval and both statuses, as today's client reads them (C29)",
            parameters: &[],
            handler: || get(objects::availability),
        },
        FaceRoute {
            method: "GET",
            path: "/inventory/managedObjects/{id}/serviceAvailability",
            need: Need::Read,
            about: "extension: the share of the last day, week and month without an open CRITICAL alarm (C33)",
            parameters: &[],
            handler: || get(service::one),
        },
        FaceRoute {
            method: "GET",
            path: "/inventory/serviceAvailability",
            need: Need::Read,
            about: "extension: the same across all devices (C33)",
            parameters: &[],
            handler: || get(service::all),
        },
        FaceRoute {
            method: "GET",
            path: alarms::ALARMS,
            need: Need::Read,
            about: "the alarms of a tenant, the newest first, in pages (C26)",
            parameters: ALARMS,
            handler: || get(alarms::list),
        },
        FaceRoute {
            method: "PUT",
            path: alarms::ALARMS,
            need: Need::Command,
            about: "`{\"status\": …}`: acknowledges or clears all open alarms that satisfy the filter (C23)",
            parameters: ALARM_FILTER,
            handler: || put(alarms::put_all),
        },
        FaceRoute {
            method: "GET",
            path: "/alarm/alarms/count",
            need: Need::Read,
            about: "how many alarms satisfy the filter: a number",
            parameters: ALARM_FILTER,
            handler: || get(alarms::count),
        },
        FaceRoute {
            method: "GET",
            path: "/alarm/alarms/{id}",
            need: Need::Read,
            about: "an alarm (C25)",
            parameters: &[],
            handler: || get(alarms::one),
        },
        FaceRoute {
            method: "PUT",
            path: "/alarm/alarms/{id}",
            need: Need::Command,
            about: "`{\"status\": …}`: acknowledges or clears it (C23)",
            parameters: &[],
            handler: || put(alarms::put),
        },
        FaceRoute {
            method: "GET",
            path: audit::RECORDS,
            need: Need::Audit,
            about: "who changed what of a device, the latest first, in pages (C32)",
            parameters: RECORDS,
            handler: || get(audit::list),
        },
    ],
    unknown: Treatment::Ignored,
    names: |user, tenant| user.split_once('/').is_some_and(|(named, _)| named == tenant),
    user: "TENANT/ANYTHING",
    error,
    page: include_str!("README.md"),
};

const PAGE_SIZE: FaceParameter = served("pageSize", "items of a page, 1 to 2000; 5 if it is left out");
const CURRENT_PAGE: FaceParameter =
    served("currentPage", "the number of the page, from 1; one past the end is empty");
const TOTAL_PAGES: FaceParameter = served("withTotalPages", "`true` tells `totalPages`");
const TOTAL_ELEMENTS: FaceParameter = served("withTotalElements", "`true` tells `totalElements`");
const NO_CHILDREN: &str = "devices have no children, parents or groups here";

const OBJECTS: &[FaceParameter] = &[
    served("query", "a query, or `$filter=…` and `$orderby=…` (C30, C31)"),
    served("q", "the same, of devices only"),
    served("type", "exactly this type"),
    served(
        "fragmentType",
        "`c8y_IsDevice`, `c8y_Availability`, `c8y_Connection`, `c8y_RequiredAvailability`, `c8y_ActiveAlarmsStatus`; nobody has \
         `c8y_IsDeviceGroup` or `c8y_IsBinary`",
    ),
    served("ids", "these, with commas between them, in this order"),
    PAGE_SIZE,
    CURRENT_PAGE,
    TOTAL_PAGES,
    TOTAL_ELEMENTS,
    refused("text", "texts are not searched for; query finds names by name eq 'pump*'"),
    refused("owner", "devices have no owners here"),
    refused("onlyRoots", NO_CHILDREN),
    refused("childAdditionId", NO_CHILDREN),
    refused("childAssetId", NO_CHILDREN),
    refused("childDeviceId", NO_CHILDREN),
    ignored("withChildren", NO_CHILDREN),
    ignored("withChildrenCount", NO_CHILDREN),
    ignored("skipChildrenNames", NO_CHILDREN),
    ignored("withGroups", NO_CHILDREN),
    ignored("withParents", NO_CHILDREN),
    ignored("withLatestValues", "measurements are not kept here"),
];

const OBJECT: &[FaceParameter] = &[
    ignored("withChildren", NO_CHILDREN),
    ignored("withChildrenCount", NO_CHILDREN),
    ignored("skipChildrenNames", NO_CHILDREN),
    ignored("withParents", NO_CHILDREN),
    ignored("withLatestValues", "measurements are not kept here"),
];

/// What alarms are chosen by: the same for lists, counts and changes.
macro_rules! alarm_filter {
    ($($more:expr),* $(,)?) => {
        &[
            served("source", "of this device"),
            served("status", "`ACTIVE`, `ACKNOWLEDGED`, `CLEARED`, several with commas"),
            served("severity", "`CRITICAL`, `MAJOR`, `MINOR`, `WARNING`, several with commas"),
            served("type", "`c8y_UnavailabilityAlarm`: others there are not; several with commas"),
            served("resolved", "`true`: cleared; `false`: not"),
            served("dateFrom", "occurred last then or later"),
            served("dateTo", "occurred last before"),
            served("createdFrom", "occurred first then or later"),
            served("createdTo", "occurred first before"),
            served("lastUpdatedFrom", "something of it was concluded last then or later"),
            served("lastUpdatedTo", "something of it was concluded last before"),
            ignored("withSourceAssets", NO_CHILDREN),
            ignored("withSourceDevices", NO_CHILDREN),
            $($more),*
        ]
    };
}

const ALARM_FILTER: &[FaceParameter] = alarm_filter!();
const ALARMS: &[FaceParameter] = alarm_filter!(
    served("revert", "`true`: the oldest first"),
    PAGE_SIZE,
    CURRENT_PAGE,
    TOTAL_PAGES,
    TOTAL_ELEMENTS,
);

const RECORDS: &[FaceParameter] = &[
    served("source", "of this device; it must be said"),
    served("type", "`Devices availability monitoring`, `Alarm` or `Inventory`"),
    served("user", "by this token"),
    served("dateFrom", "took effect then or later"),
    served("dateTo", "took effect before"),
    served("revert", "`true`: the oldest first"),
    PAGE_SIZE,
    CURRENT_PAGE,
    TOTAL_PAGES,
    TOTAL_ELEMENTS,
    refused("application", "applications are not told apart here; user is the name of a token"),
];

/// The vendor's type that a client accepts; without its parameters.
fn media(accepts: &str) -> Option<&str> {
    let types = accepts.split(',').map(|one| one.split(';').next().unwrap_or(one).trim());
    types.into_iter().find(|one| {
        one.strip_prefix("application/vnd.com.nsn.cumulocity.").is_some_and(|rest| rest.ends_with("+json"))
    })
}

/// An error as that product tells it: which it is, what was wrong, and where to read more.
fn error(problem: &Problem) -> Value {
    let kind = problem.kind.rsplit(':').next().unwrap_or(problem.kind);
    json!({ "error": format!("lastseen/{kind}"), "message": problem.detail, "info": "/docs/cumulocity" })
}

#[cfg(test)]
mod tests {
    use super::media;

    #[test]
    fn the_vendors_types_are_answered_by_their_names() {
        let managed = "application/vnd.com.nsn.cumulocity.managedobject+json";
        for (accepts, expected) in [
            (managed, Some(managed)),
            ("application/vnd.com.nsn.cumulocity.managedobject+json;ver=0.9", Some(managed)),
            ("text/html, application/vnd.com.nsn.cumulocity.managedobject+json; q=0.5", Some(managed)),
            ("application/json", None),
            ("*/*", None),
            ("", None),
            ("application/vnd.com.nsn.cumulocity.alarm", None),
        ] {
            assert_eq!(media(accepts), expected, "{accepts}");
        }
    }
}
