//! The same questions, as the native API and each face are asked them.

/// Where an answer says how many it found.
#[derive(Clone, Copy)]
pub enum Found {
    /// The items of a list, by its JSON pointer.
    Listed(&'static str),
    /// A number, by its JSON pointer.
    Told(&'static str),
    /// Nothing to hold against each other.
    Nothing,
}

/// A question.
pub struct Question {
    pub face: &'static str,
    pub what: &'static str,
    /// Behind `/v1/tenants/acme/`, and where the answer says how many.
    pub native: (&'static str, Found),
    /// The whole path.
    pub theirs: (&'static str, Found),
}

const ITEMS: Found = Found::Listed("/items");
const MATCHED: Found = Found::Told("/matched");
const RESULTS: Found = Found::Listed("/results");
const OBJECTS: Found = Found::Listed("/managedObjects");
const ELEMENTS: Found = Found::Told("/statistics/totalElements");
const ALARMS: Found = Found::Listed("/alarms");
const D: Found = Found::Listed("/d");
const COUNT: Found = Found::Told("/d");

const fn ask(
    face: &'static str,
    what: &'static str,
    native: (&'static str, Found),
    theirs: (&'static str, Found),
) -> Question {
    Question { face, what, native, theirs }
}

macro_rules! watson {
    ($what:literal, $native:literal, $theirs:literal) => {
        ask(
            "watson",
            $what,
            (concat!("devices?limit=100", $native), ITEMS),
            (concat!("/api/v0002/clientconnectionstates?_limit=100", $theirs), RESULTS),
        )
    };
}

macro_rules! cumulocity {
    ($what:literal, $native:literal, $theirs:literal) => {
        ask(
            "cumulocity",
            $what,
            (concat!("devices?limit=100", $native), ITEMS),
            (concat!("/inventory/managedObjects?pageSize=100", $theirs), OBJECTS),
        )
    };
}

macro_rules! balena {
    ($what:literal, $native:literal, $theirs:literal) => {
        ask(
            "balena",
            $what,
            (concat!("devices?limit=100", $native), ITEMS),
            (concat!("/v7/device?$top=100", $theirs), D),
        )
    };
}

macro_rules! balena_count {
    ($what:literal, $native:literal, $theirs:literal) => {
        ask(
            "balena",
            $what,
            (concat!("devices?limit=1", $native), MATCHED),
            (concat!("/v7/device/$count", $theirs), COUNT),
        )
    };
}

/// `%20` is a space, `%27` a quotation mark.
pub const QUESTIONS: &[Question] = &[
    watson!("all", "", ""),
    watson!("by type", "&type=type-7&connection=!UNKNOWN", "&deviceType=type-7"),
    watson!("disconnected", "&connection=DISCONNECTED", "&connectionStatus=disconnected"),
    watson!(
        "connected since an hour",
        "&lastConnectAfter=-1h&sort=-lastConnect",
        "&connectedAfter=-1h&_sort=-lastConnectTime"
    ),
    watson!("latest activity", "&connection=!UNKNOWN&sort=-lastActivity", "&_sort=-lastActivityTime"),
    watson!("nobody", "&lastConnectAfter=now&connection=CONNECTED", "&connectedAfter=now"),
    ask(
        "watson",
        "one",
        ("devices/device-00000121", Found::Nothing),
        ("/api/v0002/clientconnectionstates/d:acme:type-1:device-00000121", Found::Nothing),
    ),
    ask(
        "watson",
        "connection log of one",
        ("devices/device-00000121/connection-log?limit=20", ITEMS),
        ("/api/v0002/logs/connection?typeId=type-1&deviceId=device-00000121", Found::Listed("")),
    ),
    cumulocity!("a page of 100", "", ""),
    ask(
        "cumulocity",
        "a page of 1000",
        ("devices?limit=1000", ITEMS),
        ("/inventory/managedObjects?pageSize=1000", OBJECTS),
    ),
    cumulocity!(
        "unavailable",
        "&availability=UNAVAILABLE&clientKind=!application",
        "&q=$filter=(c8y_Availability.status%20eq%20%27UNAVAILABLE%27)"
    ),
    ask(
        "cumulocity",
        "unavailable, counted",
        ("devices?limit=100&availability=UNAVAILABLE", MATCHED),
        (
            "/inventory/managedObjects?pageSize=100&withTotalPages=true&withTotalElements=true&\
             query=$filter=(c8y_Availability.status%20eq%20%27UNAVAILABLE%27)",
            ELEMENTS,
        ),
    ),
    cumulocity!(
        "two statuses",
        "&availability=UNAVAILABLE,MAINTENANCE&push=OFFLINE,MAINTENANCE",
        "&query=$filter=((c8y_Availability.status%20eq%20%27UNAVAILABLE%27%20or%20c8y_Availability.status%20eq%20\
         %27MAINTENANCE%27)%20and%20(c8y_Connection.status%20eq%20%27DISCONNECTED%27%20or%20c8y_Connection.status\
         %20eq%20%27MAINTENANCE%27))"
    ),
    cumulocity!("by type", "&type=type-7", "&type=type-7"),
    cumulocity!("by name", "&namePrefix=Pump%2012", "&query=$filter=(name%20eq%20%27Pump%2012*%27)"),
    cumulocity!(
        "silent since two hours, longest first",
        "&lastMessageBefore=-2h&lastMessageAfter=-30d&sort=lastMessage",
        "&query=$filter=(c8y_Availability.lastMessage%20lt%20-2h)%20$orderby=c8y_Availability.lastMessage%20asc"
    ),
    cumulocity!(
        "nobody",
        "&availability=MAINTENANCE&lastMessageAfter=now",
        "&query=$filter=(c8y_Availability.status%20eq%20%27MAINTENANCE%27%20and%20\
         c8y_Availability.lastMessage%20ge%20now)"
    ),
    ask(
        "cumulocity",
        "one",
        ("devices/device-00000121", Found::Nothing),
        ("/inventory/managedObjects/device-00000121", Found::Nothing),
    ),
    ask(
        "cumulocity",
        "availability of one",
        ("devices/device-00000121", Found::Nothing),
        ("/inventory/managedObjects/device-00000121/availability", Found::Nothing),
    ),
    ask("cumulocity", "alarms", ("alarms?limit=100", ITEMS), ("/alarm/alarms?pageSize=100", ALARMS)),
    ask(
        "cumulocity",
        "acknowledged alarms",
        ("alarms?limit=100&state=acknowledged", ITEMS),
        ("/alarm/alarms?pageSize=100&status=ACKNOWLEDGED", ALARMS),
    ),
    balena!("all", "", ""),
    balena!("operational", "&overall=ONLINE", "&$filter=overall_status%20eq%20%27operational%27"),
    balena!(
        "a rare status",
        "&overall=POST_PROVISIONING",
        "&$filter=overall_status%20eq%20%27post-provisioning%27"
    ),
    balena!(
        "one of two statuses",
        "&overall=POST_PROVISIONING,INACTIVE",
        "&$filter=overall_status%20eq%20%27post-provisioning%27%20or%20overall_status%20eq%20%27inactive%27"
    ),
    balena!(
        "in two statuses",
        "&overall=POST_PROVISIONING,INACTIVE",
        "&$filter=overall_status%20in%20(%27post-provisioning%27,%27inactive%27)"
    ),
    balena!(
        "of an application",
        "&type=type-7",
        "&$filter=belongs_to__application/app_name%20eq%20%27type-7%27"
    ),
    balena!(
        "changed lately",
        "&lastUpdatedAfter=-30s",
        "&$filter=modified_at%20ge%20datetime%272025-12-31T23:59:30Z%27"
    ),
    balena!(
        "tunnel long ago",
        "&lastConnectAfter=-11h&lastConnectBefore=-10h",
        "&$filter=last_connectivity_event%20ge%20datetime%272025-12-31T13:00:00Z%27%20and%20\
         last_connectivity_event%20lt%20datetime%272025-12-31T14:00:00Z%27"
    ),
    balena!("latest first", "&sort=-lastConnect", "&$orderby=last_connectivity_event%20desc"),
    balena!(
        "latest first, of those that ever came",
        "&lastConnectAfter=-30d&sort=-lastConnect",
        "&$filter=last_connectivity_event%20ne%20null&$orderby=last_connectivity_event%20desc"
    ),
    balena!("changed last, first", "&sort=-lastUpdated", "&$orderby=modified_at%20desc"),
    balena_count!("how many", "", ""),
    balena_count!(
        "how many of a status",
        "&overall=POST_PROVISIONING",
        "?$filter=overall_status%20eq%20%27post-provisioning%27"
    ),
    balena_count!(
        "how many of an application",
        "&type=type-7",
        "?$filter=belongs_to__application/app_name%20eq%20%27type-7%27"
    ),
    ask(
        "balena",
        "one",
        ("devices/device-00000121", Found::Nothing),
        ("/v7/device(uuid=%27device-00000121%27)", Found::Nothing),
    ),
    ask("balena", "applications", ("summary", Found::Nothing), ("/v7/application", Found::Nothing)),
];
