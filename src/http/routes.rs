//! Every route, once: what it is, who may, what it takes and answers. The router and the OpenAPI document are both made
//! of this table, so that neither can say what the other does not.

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post, put};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::app::App;
use super::auth::Need;
use super::{commands, devices, face, health, ingest, live, metrics, openapi, page, policy, shapes};

/// A schema and the schemas that it speaks of.
pub struct Shape {
    /// Its name.
    pub name: String,
    /// It.
    pub schema: RefOr<Schema>,
    /// The others, by name.
    pub others: Vec<(String, RefOr<Schema>)>,
}

fn shape<T: ToSchema + PartialSchema>() -> Shape {
    let mut others = Vec::new();
    T::schemas(&mut others);
    Shape { name: T::name().into_owned(), schema: T::schema(), others }
}

/// What a body is.
#[derive(Clone, Copy)]
pub enum Content {
    /// JSON of this shape.
    Json(fn() -> Shape),
    /// JSON without a schema of its own: what it is.
    Free(&'static str),
    /// Of these content types: what it is.
    Other(&'static [&'static str], &'static str),
    /// Nothing.
    Nothing,
}

/// A parameter of the address: name, and what it says.
pub type Parameter = (&'static str, &'static str);

/// A route.
pub struct Route {
    /// GET, PUT, POST or DELETE.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// What it takes to ask; `None`: nothing.
    pub need: Option<Need>,
    /// Its name for programs.
    pub id: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Its parameters behind the question mark.
    pub parameters: &'static [&'static [Parameter]],
    /// Whether it takes the filter language besides.
    pub takes_filter: bool,
    /// What it takes.
    pub body: Content,
    /// What it answers, by status.
    pub answers: &'static [(u16, &'static str, Content)],
    handler: fn() -> MethodRouter<App>,
    /// Whether its answer may take longer than others.
    pub is_slow: bool,
    /// Whether it is for people, not for programs: the OpenAPI document is about the others.
    pub is_page: bool,
}

const PAGE: &[Parameter] = &[
    ("limit", "Items of a page, 1 to 1000; 100 if it is left out."),
    ("cursor", "`next` of the page before."),
];
const SPAN: &[Parameter] = &[
    ("from", "Concluded at this time or later; a time, or relative to now as -2d."),
    ("to", "Concluded before this time."),
];
const WAIT: &[Parameter] = &[(
    "wait",
    "Seconds, up to 30, to wait until the view shows what became of it: then 200, or 409 with the reason.",
)];
const STREAM: &[Parameter] = &[(
    "lastEventId",
    "Where to go on, as the header Last-Event-ID: an id of the stream, or `mark` of a list.",
)];
const ALARM: &[Parameter] = &[
    ("state", "open, active, acknowledged or cleared."),
    ("severity", "CRITICAL, MAJOR, MINOR or WARNING."),
];

const DONE: &[(u16, &str, Content)] = &[
    (202, "It is in the log.", Content::Json(shape::<shapes::CommandAnswer>)),
    (
        200,
        "With `wait`: it took effect, and the view shows it.",
        Content::Json(shape::<shapes::CommandAnswer>),
    ),
    (409, "With `wait`: it was ignored; `reason` says why.", Content::Json(shape::<super::problem::Problem>)),
];
const PAST: &[(u16, &str, Content)] =
    &[(200, "A page, latest first.", Content::Json(shape::<shapes::PastPage>))];

const fn route(
    method: &'static str,
    path: &'static str,
    need: Option<Need>,
    id: &'static str,
    summary: &'static str,
    handler: fn() -> MethodRouter<App>,
) -> Route {
    Route {
        method,
        path,
        need,
        id,
        summary,
        parameters: &[],
        takes_filter: false,
        body: Content::Nothing,
        answers: &[],
        handler,
        is_slow: false,
        is_page: false,
    }
}

/// A page, or what pages are made of.
const fn page(
    method: &'static str,
    path: &'static str,
    need: Option<Need>,
    summary: &'static str,
    handler: fn() -> MethodRouter<App>,
) -> Route {
    Route { is_page: true, ..route(method, path, need, "", summary, handler) }
}

const READ: Option<Need> = Some(Need::Read);
const COMMAND: Option<Need> = Some(Need::Command);
const AUDIT: Option<Need> = Some(Need::Audit);

/// Every route.
pub const ROUTES: &[Route] = &[
    Route {
        parameters: &[
            PAGE,
            &[
                (
                    "sort",
                    "id, or lastMessage, lastActivity, lastPoll, lastConnect, lastDisconnect, lastUpdated; - in front: latest first.",
                ),
                ("counts", "true counts the devices that satisfy the filter, by facet and word."),
            ],
        ],
        takes_filter: true,
        answers: &[(200, "A page of devices.", Content::Json(shape::<shapes::DevicePage>))],
        ..route(
            "GET",
            "/v1/tenants/{tenant}/devices",
            READ,
            "listDevices",
            "The devices of a tenant: filtered, sorted, in pages",
            || get(devices::list),
        )
    },
    Route {
        parameters: &[&[(
            "at",
            "The status at a past time, as it was known then; a time, or relative to now as -2d.",
        )]],
        answers: &[
            (
                200,
                "The device: facts and statuses. With `at`: its statuses then.",
                Content::Free("A device; names and words as `fold --state` prints them"),
            ),
            (304, "It is as `If-None-Match` knows it.", Content::Nothing),
        ],
        ..route(
            "GET",
            "/v1/tenants/{tenant}/devices/{deviceId}",
            READ,
            "getDevice",
            "One device, now or at a past time",
            || get(devices::device),
        )
    },
    Route {
        parameters: &[WAIT],
        answers: DONE,
        ..route(
            "DELETE",
            "/v1/tenants/{tenant}/devices/{deviceId}",
            COMMAND,
            "deleteDevice",
            "Forgets a device",
            || delete(commands::delete),
        )
    },
    Route {
        parameters: &[PAGE, SPAN],
        answers: PAST,
        ..route(
            "GET",
            "/v1/tenants/{tenant}/devices/{deviceId}/history",
            READ,
            "getHistory",
            "Its status changes",
            || get(devices::history),
        )
    },
    Route {
        parameters: &[PAGE, SPAN],
        answers: PAST,
        ..route(
            "GET",
            "/v1/tenants/{tenant}/devices/{deviceId}/connection-log",
            READ,
            "getConnectionLog",
            "Its connects, disconnects and failed attempts",
            || get(devices::connection_log),
        )
    },
    Route {
        parameters: &[PAGE, SPAN, ALARM],
        answers: PAST,
        ..route(
            "GET",
            "/v1/tenants/{tenant}/devices/{deviceId}/alarms",
            READ,
            "getAlarmsOfDevice",
            "Its alarms, each as it stands",
            || get(devices::alarms_of_device),
        )
    },
    Route {
        parameters: &[PAGE, SPAN],
        answers: PAST,
        ..route(
            "GET",
            "/v1/tenants/{tenant}/devices/{deviceId}/audit",
            AUDIT,
            "getAudit",
            "What became of the commands given to it, and who gave them",
            || get(devices::audit),
        )
    },
    Route {
        answers: &[(200, "The chain of receipts.", Content::Json(shape::<shapes::ExplanationShape>))],
        ..route(
            "GET",
            "/v1/tenants/{tenant}/devices/{deviceId}/explain",
            READ,
            "explainDevice",
            "Why it has its status, in plain sentences, with the records they rest on",
            || get(devices::why),
        )
    },
    Route {
        parameters: &[STREAM],
        answers: &[(
            200,
            "A stream that begins with the present state.",
            Content::Other(&["text/event-stream"], "events: present, device, deleted, reset, bye"),
        )],
        is_slow: true,
        ..route(
            "GET",
            "/v1/tenants/{tenant}/devices/{deviceId}/live",
            READ,
            "watchDevice",
            "One device, live",
            || get(live::device),
        )
    },
    Route {
        parameters: &[WAIT],
        body: Content::Json(shape::<commands::IntervalCommand>),
        answers: DONE,
        ..route(
            "PUT",
            "/v1/tenants/{tenant}/devices/{deviceId}/required-interval",
            COMMAND,
            "setRequiredInterval",
            "How often it must send",
            || put(commands::required_interval),
        )
    },
    Route {
        parameters: &[WAIT],
        body: Content::Json(shape::<commands::MaintenanceCommand>),
        answers: DONE,
        ..route(
            "PUT",
            "/v1/tenants/{tenant}/devices/{deviceId}/maintenance",
            COMMAND,
            "setMaintenance",
            "Maintenance on or off",
            || put(commands::maintenance),
        )
    },
    Route {
        parameters: &[WAIT],
        body: Content::Json(shape::<commands::LifecycleCommand>),
        answers: DONE,
        ..route(
            "PUT",
            "/v1/tenants/{tenant}/devices/{deviceId}/lifecycle",
            COMMAND,
            "setLifecycle",
            "The stage of its life",
            || put(commands::lifecycle),
        )
    },
    Route {
        parameters: &[WAIT],
        body: Content::Json(shape::<commands::LabelsCommand>),
        answers: DONE,
        ..route(
            "PUT",
            "/v1/tenants/{tenant}/devices/{deviceId}/labels",
            COMMAND,
            "setLabels",
            "Its labels, all of them",
            || put(commands::labels),
        )
    },
    Route {
        parameters: &[WAIT],
        answers: DONE,
        ..route(
            "POST",
            "/v1/tenants/{tenant}/devices/{deviceId}/alarms/{alarmId}/acknowledge",
            COMMAND,
            "acknowledgeAlarm",
            "Acknowledges an open alarm",
            || post(commands::acknowledge),
        )
    },
    Route {
        parameters: &[WAIT],
        answers: DONE,
        ..route(
            "POST",
            "/v1/tenants/{tenant}/devices/{deviceId}/alarms/{alarmId}/clear",
            COMMAND,
            "clearAlarm",
            "Clears an open alarm",
            || post(commands::clear),
        )
    },
    Route {
        takes_filter: true,
        body: Content::Json(shape::<commands::BulkCommand>),
        answers: &[
            (
                200,
                "Without `expect`: how many devices match; nothing was done.",
                Content::Json(shape::<shapes::BulkAnswer>),
            ),
            (202, "The commands are in the log.", Content::Json(shape::<shapes::BulkAnswer>)),
            (
                409,
                "Another number matches by now; nothing was done.",
                Content::Json(shape::<super::problem::Problem>),
            ),
        ],
        is_slow: true,
        ..route(
            "POST",
            "/v1/tenants/{tenant}/commands",
            COMMAND,
            "commandMany",
            "One command for all devices that match: counted first, then confirmed by the count",
            || post(commands::bulk),
        )
    },
    Route {
        body: Content::Other(
            &[
                "application/json",
                "application/x-ndjson",
                "application/jsonl",
                "application/cloudevents+json",
                "application/cloudevents-batch+json",
            ],
            "Events as in proto/lastseen/v1/events.proto, in their JSON form: one, an array, lines, or as data of CloudEvents; 10,000 at most. All are taken, or none",
        ),
        answers: &[(
            202,
            "They are in the log, acknowledged by all replicas.",
            Content::Json(shape::<shapes::EventsAnswer>),
        )],
        ..route(
            "POST",
            "/v1/tenants/{tenant}/events",
            Some(Need::Send),
            "sendEvents",
            "Sends events of devices",
            || post(ingest::events),
        )
    },
    Route {
        parameters: &[PAGE, SPAN, ALARM],
        answers: PAST,
        ..route(
            "GET",
            "/v1/tenants/{tenant}/alarms",
            READ,
            "listAlarms",
            "The alarms of a tenant, each as it stands, by when they were raised",
            || get(devices::alarms),
        )
    },
    Route {
        parameters: &[
            PAGE,
            SPAN,
            &[
                (
                    "kind",
                    "CONNECTED, CONNECT_FAILED, DISCONNECTED_BY_CLIENT, DISCONNECTED_BY_SERVER, DISCONNECTED_BY_NETWORK, TAKEN_OVER; several with commas.",
                ),
                ("reasonCode", "MQTT reason code."),
                ("idPrefix", "What the device id begins with."),
            ],
        ],
        answers: PAST,
        ..route(
            "GET",
            "/v1/tenants/{tenant}/connection-log",
            READ,
            "listConnectionLog",
            "The connection log across devices",
            || get(devices::log_of_tenant),
        )
    },
    Route {
        takes_filter: true,
        answers: &[(200, "Counts.", Content::Json(shape::<shapes::Summary>))],
        ..route("GET", "/v1/tenants/{tenant}/summary", READ, "summarize", "The fleet in numbers", || {
            get(devices::summary)
        })
    },
    Route {
        parameters: &[STREAM],
        takes_filter: true,
        answers: &[(
            200,
            "A stream.",
            Content::Other(&["text/event-stream"], "events: device, left, deleted, reset, bye"),
        )],
        is_slow: true,
        ..route(
            "GET",
            "/v1/tenants/{tenant}/live",
            READ,
            "watchFleet",
            "What changes among the devices that satisfy the filter, live",
            || get(live::fleet),
        )
    },
    Route {
        answers: &[(200, "The policy.", Content::Free("The policy as SEMANTICS §11 writes it"))],
        ..route("GET", "/v1/policy", AUDIT, "getPolicy", "The policy in force", || get(policy::get))
    },
    Route {
        parameters: &[WAIT],
        body: Content::Free("A whole policy as SEMANTICS §11 writes it; absent keys are at their defaults"),
        answers: &[
            (202, "It is in the log of every partition.", Content::Json(shape::<policy::PolicyAnswer>)),
            (
                200,
                "With `wait`: it is in force in all of them.",
                Content::Json(shape::<policy::PolicyAnswer>),
            ),
        ],
        ..route("PUT", "/v1/policy", COMMAND, "setPolicy", "Sets the policy", || put(policy::set))
    },
    Route {
        body: Content::Free("A whole policy as SEMANTICS §11 writes it; absent keys are at their defaults"),
        answers: &[(200, "What would change.", Content::Json(shape::<policy::TrialShape>))],
        is_slow: true,
        ..route(
            "POST",
            "/v1/policy/try",
            AUDIT,
            "tryPolicy",
            "What a policy would change among the devices as they are; changes nothing",
            || post(policy::attempt),
        )
    },
    Route {
        parameters: &[PAGE.split_at(1).0],
        answers: &[(
            200,
            "Its health, and what it told of itself.",
            Content::Free("Health, and entries of `devices.audit` without a device"),
        )],
        ..route(
            "GET",
            "/v1/monitor",
            AUDIT,
            "getMonitor",
            "How the monitor itself does: clocks, blind spells, nodes, policies",
            || get(health::monitor),
        )
    },
    Route {
        answers: &[(200, "This document.", Content::Free("OpenAPI 3.1"))],
        ..route("GET", "/v1/openapi.json", None, "getOpenapi", "This document", || get(openapi::get))
    },
    Route {
        answers: &[(200, "It lives.", Content::Free("Its status"))],
        ..route("GET", "/healthz", None, "getHealthz", "Whether the service lives", || get(health::healthz))
    },
    Route {
        answers: &[
            (200, "It is ready.", Content::Free("Its status")),
            (503, "It is restoring, or too far behind.", Content::Free("Its status")),
        ],
        ..route("GET", "/readyz", None, "getReadyz", "Whether the service can answer", || get(health::readyz))
    },
    Route {
        answers: &[(
            200,
            "Metrics; deploy/METRICS.md lists them.",
            Content::Other(&["application/openmetrics-text"], "OpenMetrics"),
        )],
        ..route("GET", "/metrics", AUDIT, "getMetrics", "Metrics for Prometheus", || get(metrics::metrics))
    },
    // It takes a token that may read, of whichever tenants.
    page("GET", "/", None, "The tenants of whoever asks", || get(page::fleet::home)),
    page("GET", "/page.css", None, "The style of all pages", || get(page::frame::css)),
    page("GET", "/page.js", None, "What makes pages live", || get(page::frame::js)),
    page("GET", "/page.svg", None, "The icon of the browser's tab", || get(page::frame::svg)),
    page("GET", "/docs", None, "Where to read what", || get(face::pages)),
    page("GET", "/docs/{face}", None, "What the people of another product find here", || get(face::page)),
    page("GET", "/tenants/{tenant}", READ, "The fleet", || get(page::fleet::fleet)),
    page("GET", "/tenants/{tenant}/alarms", READ, "The alarms", || get(page::lists::alarms)),
    page("GET", "/tenants/{tenant}/connections", READ, "The connection log", || {
        get(page::lists::connections)
    }),
    page("GET", "/tenants/{tenant}/monitor", READ, "The monitor itself", || get(page::monitor::monitor)),
    page("GET", "/tenants/{tenant}/devices/{deviceId}", READ, "A device", || get(page::device::device)),
    page(
        "POST",
        "/tenants/{tenant}/devices/{deviceId}/required-interval",
        COMMAND,
        "Sets its interval",
        || post(page::commands::required_interval),
    ),
    page(
        "POST",
        "/tenants/{tenant}/devices/{deviceId}/maintenance",
        COMMAND,
        "Maintenance on or off",
        || post(page::commands::maintenance),
    ),
    page(
        "POST",
        "/tenants/{tenant}/devices/{deviceId}/alarms/{alarmId}/acknowledge",
        COMMAND,
        "Acknowledges an alarm",
        || post(page::commands::acknowledge),
    ),
    page(
        "POST",
        "/tenants/{tenant}/devices/{deviceId}/alarms/{alarmId}/clear",
        COMMAND,
        "Clears an alarm",
        || post(page::commands::clear),
    ),
];

/// The router of all routes; those that `is_slow` says are apart, since they have no timeout.
pub fn router(is_slow: bool) -> Router<App> {
    ROUTES.iter().filter(|route| route.is_slow == is_slow).fold(Router::new(), |router, route| {
        let path = route.path.replace("{deviceId}", "{device_id}").replace("{alarmId}", "{alarm_id}");
        // Several methods of one path are merged.
        router.route(&path, (route.handler)())
    })
}
