//! The properties of devices, applications, device types and the organization, and what each is of ours (balena B01).

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ids::{DeviceIds, of_name, uuid_of_name};
use super::{Version, status};
use crate::domain::facet::{Connection, Heartbeat, Overall};
use crate::domain::time::Timestamp;
use crate::query::cells::{self, Cells, Facts, Moment, Time};
use crate::query::fleet::Tenant;

/// What stands in the place of an application where a device has no type.
pub const UNTYPED: &str = "untyped";

crate::domain::event::words!(
    /// The properties of a device.
    DeviceField {
        Id = "id", Uuid = "uuid", DeviceName = "device_name", BelongsTo = "belongs_to__application",
        IsOf = "is_of__device_type", IsActive = "is_active", IsFrozen = "is_frozen", IsOnline = "is_online",
        IsConnectedToVpn = "is_connected_to_vpn", LastConnectivityEvent = "last_connectivity_event",
        LastVpnEvent = "last_vpn_event", ApiHeartbeatState = "api_heartbeat_state", OverallStatus = "overall_status",
        OverallProgress = "overall_progress", Status = "status", DownloadProgress = "download_progress",
        ProvisioningState = "provisioning_state", ProvisioningProgress = "provisioning_progress",
        ModifiedAt = "modified_at", ChangedHeartbeat = "changed_api_heartbeat_state_on__date",
    }
);

crate::domain::event::words!(
    /// The properties of an application: a type of devices.
    AppField {
        Id = "id", Uuid = "uuid", AppName = "app_name", Slug = "slug", Organization = "organization",
        IsFor = "is_for__device_type", IsOfClass = "is_of__class", IsArchived = "is_archived",
    }
);

crate::domain::event::words!(
    /// The properties of a device type.
    KindField { Id = "id", Slug = "slug", Name = "name" }
);

crate::domain::event::words!(
    /// The properties of an organization: a tenant.
    OrgField { Id = "id", Name = "name", Handle = "handle" }
);

/// A property of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// Of a device.
    Device(DeviceField),
    /// Of an application, or of a device's.
    App(AppField),
    /// Of a device type.
    Kind(KindField),
    /// Of the organization.
    Org(OrgField),
}

/// What kind of value a property has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// A number, also one that stands for something else.
    Number,
    /// A text.
    Text,
    /// A time.
    Time,
}

/// What has to be looked at for a property, the cheapest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// The small facts in a row's word.
    Word,
    /// The number of its type.
    Type,
    /// Its times.
    Times,
    /// Its id and name, which lie elsewhere.
    Text,
}

/// Something that has properties.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// `device`
    Device,
    /// `application`
    Application,
    /// `device_type`, behind a property only.
    Kind,
    /// `organization`
    Organization,
    /// Users are not served: only that the one who asks may see what they see.
    User,
}

impl Resource {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Resource::Device => "device",
            Resource::Application => "application",
            Resource::Kind => "device_type",
            Resource::Organization => "organization",
            Resource::User => "user",
        }
    }

    /// Its properties.
    pub fn fields(self) -> Vec<Field> {
        match self {
            Resource::Device => DeviceField::ALL.iter().map(|field| Field::Device(*field)).collect(),
            Resource::Application => AppField::ALL.iter().map(|field| Field::App(*field)).collect(),
            Resource::Kind => KindField::ALL.iter().map(|field| Field::Kind(*field)).collect(),
            Resource::Organization => OrgField::ALL.iter().map(|field| Field::Org(*field)).collect(),
            Resource::User => Vec::new(),
        }
    }

    /// One of its properties.
    pub fn field(self, name: &str) -> Option<Field> {
        match self {
            Resource::Device => DeviceField::from_word(name).map(Field::Device),
            Resource::Application => AppField::from_word(name).map(Field::App),
            Resource::Kind => KindField::from_word(name).map(Field::Kind),
            Resource::Organization => OrgField::from_word(name).map(Field::Org),
            Resource::User => None,
        }
    }

    /// What one of its properties leads to.
    pub fn behind(self, name: &str) -> Option<Resource> {
        match (self, name) {
            (Resource::Device, "belongs_to__application") => Some(Resource::Application),
            (Resource::Device, "is_of__device_type") => Some(Resource::Kind),
            (Resource::Application, "organization") => Some(Resource::Organization),
            (Resource::Application, "is_for__device_type") => Some(Resource::Kind),
            (Resource::Application, "is_directly_accessible_by__user") => Some(Resource::User),
            _ => None,
        }
    }

    /// A property that there is not, in words that say which there are.
    pub fn unknown(self, name: &str) -> String {
        let known: Vec<&str> = self.fields().into_iter().map(Field::name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!("{name:?} is no property of {} that is served; served are {known}", self.name())
    }

    /// One of its properties that things are found or put in order by.
    ///
    /// # Errors
    /// There is none, or it is told only: in words that say so.
    pub fn asked_by(self, name: &str) -> Result<Field, String> {
        let field = self.field(name).ok_or_else(|| self.unknown(name))?;
        if field.is_past() {
            return Err(format!(
                "{name} is read from the past of each {}: it is told where $select names it, and nothing is found or put \
                 in order by it",
                self.name()
            ));
        }
        Ok(field)
    }
}

impl Field {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Field::Device(field) => field.word(),
            Field::App(field) => field.word(),
            Field::Kind(field) => field.word(),
            Field::Org(field) => field.word(),
        }
    }

    /// What kind of value it has.
    pub fn shape(self) -> Shape {
        use DeviceField as D;
        match self {
            Field::Device(D::IsActive | D::IsFrozen | D::IsOnline | D::IsConnectedToVpn)
            | Field::App(AppField::IsArchived) => Shape::Bool,
            Field::Device(
                D::Id
                | D::BelongsTo
                | D::IsOf
                | D::OverallProgress
                | D::DownloadProgress
                | D::ProvisioningProgress,
            )
            | Field::App(AppField::Id | AppField::Organization | AppField::IsFor)
            | Field::Kind(KindField::Id)
            | Field::Org(OrgField::Id) => Shape::Number,
            Field::Device(
                D::LastConnectivityEvent | D::LastVpnEvent | D::ModifiedAt | D::ChangedHeartbeat,
            ) => Shape::Time,
            _ => Shape::Text,
        }
    }

    /// Whether its value is the id of something else: told as `{"__id": …}`.
    pub fn is_reference(self) -> bool {
        matches!(
            self,
            Field::Device(DeviceField::BelongsTo | DeviceField::IsOf)
                | Field::App(AppField::Organization | AppField::IsFor)
        )
    }

    /// Whether it is read from the past of a device, on disk: it can be told, but nothing is found or put in order by it.
    pub fn is_past(self) -> bool {
        self == Field::Device(DeviceField::ChangedHeartbeat)
    }

    /// The small facts that it is made of, as bits of a row's word.
    pub fn word(self) -> u64 {
        use DeviceField as D;
        let Field::Device(field) = self else { return 0 };
        match field {
            D::IsActive | D::ProvisioningState => cells::OVERALL.mask(),
            D::IsOnline | D::IsConnectedToVpn => REACH,
            D::ApiHeartbeatState => cells::HEARTBEAT.mask(),
            D::OverallStatus => STATUS,
            D::OverallProgress => STATUS | cells::UPDATE_PROGRESS.mask(),
            D::Status => cells::UPDATE_PHASE.mask(),
            D::DownloadProgress => cells::UPDATE_PHASE.mask() | cells::UPDATE_PROGRESS.mask(),
            D::ProvisioningProgress => cells::STAGE_PROGRESS.mask(),
            _ => 0,
        }
    }

    /// What has to be looked at for it.
    pub fn source(self) -> Source {
        use DeviceField as D;
        match self {
            Field::Device(D::Id | D::Uuid | D::DeviceName) => Source::Text,
            Field::Device(D::LastConnectivityEvent | D::LastVpnEvent | D::ModifiedAt) => Source::Times,
            Field::Device(D::BelongsTo | D::IsOf) | Field::App(_) | Field::Kind(_) | Field::Org(_) => {
                Source::Type
            }
            Field::Device(_) => Source::Word,
        }
    }
}

/// Small facts that several properties are made of, as bits of a row's word.
const LIFE: u64 = cells::VPN.mask() | cells::HEARTBEAT.mask() | cells::OVERALL.mask();
const REACH: u64 = LIFE | cells::AVAILABILITY.mask() | cells::PUSH.mask() | cells::CONNECTION.mask();
const STATUS: u64 = LIFE
    | cells::STAGE.mask()
    | cells::STAGE_PROGRESS.mask()
    | cells::UPDATE_PHASE.mask()
    | cells::NO_TUNNEL.mask();

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Val<'v> {
    /// There is none.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(Cow<'v, str>),
    /// A time.
    Time(Timestamp),
}

impl Val<'_> {
    /// A time; null for never.
    pub fn of_time(at: Timestamp) -> Val<'static> {
        at.known().map_or(Val::Null, Val::Time)
    }

    fn of_percent(percent: Option<u8>) -> Val<'static> {
        percent.map_or(Val::Null, |percent| Val::Number(f64::from(percent)))
    }

    /// The same, of the same text.
    pub fn borrowed(&self) -> Val<'_> {
        match self {
            Val::Null => Val::Null,
            Val::Bool(value) => Val::Bool(*value),
            Val::Number(value) => Val::Number(*value),
            Val::Text(text) => Val::Text(Cow::Borrowed(text)),
            Val::Time(at) => Val::Time(*at),
        }
    }

    /// The same, for longer.
    pub fn owned(self) -> Val<'static> {
        match self {
            Val::Null => Val::Null,
            Val::Bool(value) => Val::Bool(value),
            Val::Number(value) => Val::Number(value),
            Val::Text(text) => Val::Text(text.into_owned().into()),
            Val::Time(at) => Val::Time(at),
        }
    }

    /// Which is less; `None`: one of them is not there, or they are of different kinds.
    pub fn compare(&self, other: &Val<'_>) -> Option<Ordering> {
        match (self, other) {
            (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
            (Val::Number(a), Val::Number(b)) => a.partial_cmp(b),
            (Val::Text(a), Val::Text(b)) => Some(a.cmp(b)),
            (Val::Time(a), Val::Time(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// Who asks for what version of whom: the ids and slugs of a tenant.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'t> {
    /// The version of the interface.
    pub version: Version,
    /// The tenant.
    pub tenant: &'t str,
    /// What its ids are made with.
    pub ids: DeviceIds<'t>,
}

/// A device as the face sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'r> {
    /// Its small facts and times.
    pub cells: Cells,
    /// Its id.
    pub id: &'r str,
    /// Its name.
    pub name: Option<&'r str>,
    /// Its type.
    pub device_type: Option<&'r str>,
    /// When it was last seen to come or to go.
    pub moved: Moment,
}

impl<'r> Seen<'r> {
    /// The device of a row.
    pub fn of(tenant: &'r Tenant, index: u32) -> Seen<'r> {
        let (row, at) = (tenant.row(index), tenant.at(index));
        Seen {
            cells: at.cells(),
            id: row.id(),
            name: row.name(),
            device_type: tenant.type_of(at.device_type()),
            moved: at.moved(),
        }
    }

    /// Its name for people: its id, where it has none.
    pub fn device_name(&self) -> &'r str {
        self.name.unwrap_or(self.id)
    }
}

/// The name of the application of a type.
pub fn app_name(device_type: Option<&str>) -> &str {
    device_type.filter(|known| !known.is_empty()).unwrap_or(UNTYPED)
}

impl Scope<'_> {
    /// The value of a property of a device, or of what it leads to.
    pub fn of_device<'r>(&self, field: Field, seen: &Seen<'r>) -> Val<'r> {
        use DeviceField as D;
        let cells = &seen.cells;
        let Field::Device(field) = field else { return self.of_app(field, app_name(seen.device_type)) };
        match field {
            D::Id => Val::Number(self.ids.id(seen.id, cells.number) as f64),
            D::Uuid => Val::Text(seen.id.into()),
            D::DeviceName => Val::Text(seen.device_name().into()),
            D::BelongsTo => self.of_app(Field::App(AppField::Id), app_name(seen.device_type)),
            D::IsOf => self.of_app(Field::Kind(KindField::Id), app_name(seen.device_type)),
            D::IsActive => Val::Bool(cells.facets().overall != Overall::Inactive),
            D::IsFrozen => Val::Bool(false),
            D::IsOnline | D::IsConnectedToVpn => Val::Bool(status::has_tunnel(cells)),
            D::LastVpnEvent | D::LastConnectivityEvent | D::ModifiedAt => {
                Val::of_time(Moment::of_rank(rank(field, cells, seen.moved)).time())
            }
            // It does not lie in memory: see `Field::is_past`.
            D::ChangedHeartbeat => Val::Null,
            D::ApiHeartbeatState => Val::Text(heartbeat(cells).into()),
            D::OverallStatus => Val::Text(status::overall_status(self.version, cells).into()),
            D::OverallProgress => Val::of_percent(status::overall_progress(cells)),
            D::Status => Val::Text(status::status(cells).into()),
            D::DownloadProgress => Val::of_percent(status::download_progress(cells)),
            D::ProvisioningState => Val::Text(status::provisioning_state(cells).into()),
            D::ProvisioningProgress => Val::of_percent(status::provisioning_progress(cells)),
        }
    }

    /// The value of a property of an application, or of what it leads to.
    pub fn of_app<'r>(&self, field: Field, name: &'r str) -> Val<'r> {
        let id = |kind: &str, name: &str| Val::Number(of_name(kind, self.tenant, name) as f64);
        match field {
            Field::App(AppField::Id) => id("application", name),
            Field::App(AppField::Uuid) => Val::Text(uuid_of_name("application", self.tenant, name).into()),
            Field::App(AppField::AppName) | Field::Kind(KindField::Name) => Val::Text(name.into()),
            // Slugs are in lower case there: the client asks so.
            Field::App(AppField::Slug) => Val::Text(format!("{}/{name}", self.tenant).to_lowercase().into()),
            Field::App(AppField::IsFor) | Field::Kind(KindField::Id) => id("device_type", name),
            Field::App(AppField::IsOfClass) => Val::Text("fleet".into()),
            Field::App(AppField::IsArchived) => Val::Bool(false),
            Field::Kind(KindField::Slug) => Val::Text(name.to_lowercase().into()),
            Field::App(AppField::Organization) | Field::Org(OrgField::Id) => id("organization", ""),
            Field::Org(OrgField::Name | OrgField::Handle) => Val::Text(self.tenant.to_owned().into()),
            // Nothing leads from an application to a device.
            Field::Device(_) => Val::Null,
        }
    }
}

/// One of the times of a device, as the rank of its moment: 0 is never.
///
/// `last_connectivity_event` is that of the tunnel (balena B06); of a device that never had one, of its client session.
#[inline]
pub fn rank(time: DeviceField, facts: &impl Facts, moved: Moment) -> u64 {
    match time {
        DeviceField::ModifiedAt => facts.time(Time::LastUpdated).rank(),
        DeviceField::LastVpnEvent if !has_had_tunnel(facts.word()) => 0,
        _ => moved.rank(),
    }
}

/// Whether a device had a tunnel, by its small facts.
#[inline]
pub fn has_had_tunnel(word: u64) -> bool {
    cells::VPN.of(word) != Connection::Unknown as usize
}

/// `api_heartbeat_state` (balena B02).
fn heartbeat(cells: &Cells) -> &'static str {
    match cells.facets().heartbeat {
        Heartbeat::Unknown => "unknown",
        Heartbeat::Online => "online",
        Heartbeat::Timeout => "timeout",
        Heartbeat::Offline => "offline",
    }
}
